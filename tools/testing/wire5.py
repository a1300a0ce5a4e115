"""MQTT 5.0 on the wire, both directions: the host's second opinion.

Written from the OASIS standard alone and sharing no code with the firmware, so that an error there
cannot hide here. Framing (fixed header, Splitter, Transcript) is that of wire.py; section numbers
are those of MQTT 5.0. Properties are dicts: the names are the firmware's, the values are int, str,
bytes, for `user_properties` a list of pairs, for `subscription_id` of a PUBLISH a list of int.
Builders check nothing, so that a peer can misbehave; where they take properties they also take
bytes, which are written as they are, behind their length.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from . import wire
from .wire import (
    CONNACK,
    CONNECT,
    DISCONNECT,
    FLAGS,
    MAX_REMAINING,
    PINGREQ,
    PINGRESP,
    PUBACK,
    PUBCOMP,
    PUBLISH,
    PUBREC,
    PUBREL,
    SUBACK,
    SUBSCRIBE,
    UNSUBACK,
    UNSUBSCRIBE,
    Body,
    Direction,
    Splitter,
    Transcript,
    WireError,
    build,
    encode_id,
    encode_remaining_length,
    encode_string,
    pingreq,
    pingresp,
)

__all__ = ["Packet", "Splitter", "Subscription", "Transcript", "Will", "WireError", "decode"]
__all__ += ["pingreq", "pingresp"]

AUTH = 15
WILL = 0  # stands for will properties where a packet type is asked for
NAMES = {**wire.NAMES, AUTH: "AUTH"}

MALFORMED = 0x81
PROTOCOL_ERROR = 0x82

Properties = Mapping[str, Any]
Writable = Properties | bytes | None

_ACKS = (PUBACK, PUBREC, PUBREL, PUBCOMP)


class WireError5(WireError):
    """A WireError with the reason code that a DISCONNECT would carry for it (4.13)."""

    def __init__(self, reason: str, offset: int = 0, code: int = MALFORMED) -> None:
        super().__init__(reason, offset)
        self.code = code


# --- Properties (2.2.2) ---------------------------------------------------------------------------


@dataclass(frozen=True)
class _Property:
    """A row of table 2-4: data type, packets, and what its section says of its values."""

    id: int
    name: str
    kind: str  # bool, u16, u32, varint, string, binary, pair
    packets: tuple[int, ...]
    zero: bool = True  # whether 0 is allowed


_MESSAGE = (PUBLISH, WILL)
_BOTH_CONNECT = (CONNECT, CONNACK)
_REASON = (CONNACK, PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK, UNSUBACK, DISCONNECT, AUTH)
_ALL = (*_REASON, CONNECT, PUBLISH, WILL, SUBSCRIBE, UNSUBSCRIBE)

_ROWS = (
    _Property(0x01, "payload_format", "bool", _MESSAGE),
    _Property(0x02, "message_expiry", "u32", _MESSAGE),
    _Property(0x03, "content_type", "string", _MESSAGE),
    _Property(0x08, "response_topic", "string", _MESSAGE),
    _Property(0x09, "correlation_data", "binary", _MESSAGE),
    _Property(0x0B, "subscription_id", "varint", (PUBLISH, SUBSCRIBE), zero=False),
    _Property(0x11, "session_expiry", "u32", (*_BOTH_CONNECT, DISCONNECT)),
    _Property(0x12, "assigned_client_id", "string", (CONNACK,)),
    _Property(0x13, "server_keepalive", "u16", (CONNACK,)),
    _Property(0x15, "auth_method", "string", (*_BOTH_CONNECT, AUTH)),
    _Property(0x16, "auth_data", "binary", (*_BOTH_CONNECT, AUTH)),
    _Property(0x17, "request_problem_information", "bool", (CONNECT,)),
    _Property(0x18, "will_delay", "u32", (WILL,)),
    _Property(0x19, "request_response_information", "bool", (CONNECT,)),
    _Property(0x1A, "response_information", "string", (CONNACK,)),
    _Property(0x1C, "server_reference", "string", (CONNACK, DISCONNECT)),
    _Property(0x1F, "reason_string", "string", _REASON),
    _Property(0x21, "receive_maximum", "u16", _BOTH_CONNECT, zero=False),
    _Property(0x22, "topic_alias_maximum", "u16", _BOTH_CONNECT),
    _Property(0x23, "topic_alias", "u16", (PUBLISH,), zero=False),
    _Property(0x24, "maximum_qos", "bool", (CONNACK,)),
    _Property(0x25, "retain_available", "bool", (CONNACK,)),
    _Property(0x26, "user_properties", "pair", _ALL),
    _Property(0x27, "maximum_packet_size", "u32", _BOTH_CONNECT, zero=False),
    _Property(0x28, "wildcard_available", "bool", (CONNACK,)),
    _Property(0x29, "subscription_id_available", "bool", (CONNACK,)),
    _Property(0x2A, "shared_available", "bool", (CONNACK,)),
)
_BY_ID = {row.id: row for row in _ROWS}
_BY_NAME = {row.name: row for row in _ROWS}
_WIDTH = {"bool": 1, "u16": 2, "u32": 4}


def encode_property(name: str, value: Any) -> bytes:
    """Encode one property with its identifier, whatever the packet; a list is written once for
    each of its items. Raises KeyError for an unknown name, OverflowError, ValueError."""
    row = _BY_NAME[name]
    lead = bytes([row.id])
    if row.kind == "pair":
        return b"".join(lead + encode_string(k) + encode_string(v) for k, v in value)
    if isinstance(value, list | tuple):
        return b"".join(encode_property(name, item) for item in value)
    if row.kind == "varint":
        return lead + encode_remaining_length(value)
    if row.kind in _WIDTH:
        return lead + int(value).to_bytes(_WIDTH[row.kind], "big")
    return lead + encode_string(value)


def encode_properties(values: Writable) -> bytes:
    """Encode properties with their length in front (2.2.2.1)."""
    if not isinstance(values, bytes):
        items = (values or {}).items()
        values = b"".join(encode_property(name, value) for name, value in items)
    return encode_remaining_length(len(values)) + values


# --- Packets --------------------------------------------------------------------------------------


class Subscription(NamedTuple):
    """A topic filter and its Subscription Options (3.8.3.1)."""

    topic_filter: str
    qos: int = 0
    no_local: bool = False
    retain_as_published: bool = False
    retain_handling: int = 0

    @property
    def options(self) -> int:
        """The options byte."""
        low = self.qos | self.no_local << 2 | self.retain_as_published << 3
        return low | self.retain_handling << 4


@dataclass(frozen=True)
class Will(wire.Will):
    """A will as CONNECT carries it."""

    properties: Properties = field(default_factory=dict)


@dataclass(frozen=True)
class Packet:
    """A decoded packet. Fields that its type does not have keep their defaults."""

    type: int
    raw: bytes = field(default=b"", repr=False, compare=False)
    packet_id: int | None = None
    properties: Properties = field(default_factory=dict)
    # CONNACK, PUBACK to PUBCOMP, DISCONNECT, AUTH; SUBACK and UNSUBACK have one for each filter
    reason_code: int = 0
    reason_codes: tuple[int, ...] = ()
    # PUBLISH
    topic: str = ""
    payload: bytes = b""
    qos: int = 0
    retain: bool = False
    dup: bool = False
    # SUBSCRIBE, UNSUBSCRIBE
    subscriptions: tuple[Subscription, ...] = ()
    topic_filters: tuple[str, ...] = ()
    # CONNACK
    session_present: bool = False
    # CONNECT
    client_id: str = ""
    clean_start: bool = True
    keep_alive: int = 0
    username: str | None = None
    password: bytes | None = None
    will: Will | None = None
    protocol_name: str = ""
    protocol_level: int = 0

    @property
    def name(self) -> str:
        """The packet type's name in the standard."""
        return NAMES[self.type]


# --- Encoding -------------------------------------------------------------------------------------


def connect(
    client_id: str = "",
    *,
    clean: bool = True,
    keep_alive: int = 0,
    will: Will | None = None,
    username: str | None = None,
    password: str | bytes | None = None,
    properties: Writable = None,
    protocol_name: str = "MQTT",
    protocol_level: int = 5,
) -> bytes:
    """Build CONNECT (3.1); `keep_alive` in seconds."""
    flags = 0x02 if clean else 0
    payload = encode_string(client_id)
    if will is not None:
        flags |= 0x04 | will.qos << 3 | (0x20 if will.retain else 0)
        payload += encode_properties(will.properties)
        payload += encode_string(will.topic) + encode_string(will.payload)
    if username is not None:
        flags |= 0x80
        payload += encode_string(username)
    if password is not None:
        flags |= 0x40
        payload += encode_string(password)
    header = encode_string(protocol_name) + bytes([protocol_level, flags])
    header += keep_alive.to_bytes(2, "big") + encode_properties(properties)
    return build(CONNECT, 0, header + payload)


def connack(
    session_present: bool = False, reason_code: int = 0, properties: Writable = None
) -> bytes:
    """Build CONNACK (3.2)."""
    head = bytes([session_present, reason_code])
    return build(CONNACK, 0, head + encode_properties(properties))


def publish(
    topic: str,
    payload: bytes = b"",
    *,
    qos: int = 0,
    packet_id: int | None = None,
    retain: bool = False,
    dup: bool = False,
    properties: Writable = None,
) -> bytes:
    """Build PUBLISH (3.3). Raises ValueError if the packet identifier does not fit the QoS."""
    if (packet_id is None) != (qos == 0):
        raise ValueError("a packet identifier goes with QoS 1 and 2, and only with them")
    identifier = b"" if packet_id is None else encode_id(packet_id)
    flags = (8 if dup else 0) | qos << 1 | (1 if retain else 0)
    head = encode_string(topic) + identifier + encode_properties(properties)
    return build(PUBLISH, flags, head + payload)


def _reasoned(packet_type: int, head: bytes, reason_code: int, properties: Writable) -> bytes:
    """Build a packet whose end may be left out: as short as may be where `properties` is None."""
    if properties is not None:
        head += bytes([reason_code]) + encode_properties(properties)
    elif reason_code:
        head += bytes([reason_code])
    return build(packet_type, FLAGS.get(packet_type, 0), head)


def puback(packet_id: int, reason_code: int = 0, properties: Writable = None) -> bytes:
    """Build PUBACK (3.4); properties {} are written as such, None is left out where it can be."""
    return _reasoned(PUBACK, encode_id(packet_id), reason_code, properties)


def pubrec(packet_id: int, reason_code: int = 0, properties: Writable = None) -> bytes:
    """Build PUBREC (3.5)."""
    return _reasoned(PUBREC, encode_id(packet_id), reason_code, properties)


def pubrel(packet_id: int, reason_code: int = 0, properties: Writable = None) -> bytes:
    """Build PUBREL (3.6)."""
    return _reasoned(PUBREL, encode_id(packet_id), reason_code, properties)


def pubcomp(packet_id: int, reason_code: int = 0, properties: Writable = None) -> bytes:
    """Build PUBCOMP (3.7)."""
    return _reasoned(PUBCOMP, encode_id(packet_id), reason_code, properties)


def subscribe(
    packet_id: int,
    *subscriptions: Subscription | tuple[str, int],
    properties: Writable = None,
) -> bytes:
    """Build SUBSCRIBE (3.8) from Subscriptions, or pairs of topic filter and maximum QoS."""
    payload = b""
    for each in subscriptions:
        subscription = Subscription(*each)
        payload += encode_string(subscription.topic_filter) + bytes([subscription.options])
    return build(SUBSCRIBE, 2, encode_id(packet_id) + encode_properties(properties) + payload)


def suback(packet_id: int, *reason_codes: int, properties: Writable = None) -> bytes:
    """Build SUBACK (3.9)."""
    head = encode_id(packet_id) + encode_properties(properties)
    return build(SUBACK, 0, head + bytes(reason_codes))


def unsubscribe(packet_id: int, *topic_filters: str, properties: Writable = None) -> bytes:
    """Build UNSUBSCRIBE (3.10)."""
    payload = b"".join(map(encode_string, topic_filters))
    return build(UNSUBSCRIBE, 2, encode_id(packet_id) + encode_properties(properties) + payload)


def unsuback(packet_id: int, *reason_codes: int, properties: Writable = None) -> bytes:
    """Build UNSUBACK (3.11)."""
    head = encode_id(packet_id) + encode_properties(properties)
    return build(UNSUBACK, 0, head + bytes(reason_codes))


def disconnect(reason_code: int = 0, properties: Writable = None) -> bytes:
    """Build DISCONNECT (3.14)."""
    return _reasoned(DISCONNECT, b"", reason_code, properties)


def auth(reason_code: int = 0, properties: Writable = None) -> bytes:
    """Build AUTH (3.15)."""
    return _reasoned(AUTH, b"", reason_code, properties)


def _encode_connect(packet: Packet) -> bytes:
    return connect(
        packet.client_id,
        clean=packet.clean_start,
        keep_alive=packet.keep_alive,
        will=packet.will,
        username=packet.username,
        password=packet.password,
        properties=packet.properties,
        protocol_name=packet.protocol_name,
        protocol_level=packet.protocol_level,
    )


def encode(packet: Packet) -> bytes:
    """Build the bytes of a Packet, as short as may be; `decode` is the inverse.

    Raises ValueError if there is no such packet.
    """
    kind, identifier, properties = packet.type, packet.packet_id, packet.properties
    if kind == CONNECT:
        return _encode_connect(packet)
    if kind == CONNACK:
        return connack(packet.session_present, packet.reason_code, properties)
    if kind == PUBLISH:
        return publish(
            packet.topic,
            packet.payload,
            qos=packet.qos,
            packet_id=identifier,
            retain=packet.retain,
            dup=packet.dup,
            properties=properties,
        )
    if kind in (PINGREQ, PINGRESP):
        return build(kind, 0)
    if kind in (DISCONNECT, AUTH):
        return _reasoned(kind, b"", packet.reason_code, properties or None)
    if kind not in NAMES or identifier is None:
        raise ValueError(f"no such packet: {packet!r}")
    if kind in _ACKS:
        return _reasoned(kind, encode_id(identifier), packet.reason_code, properties or None)
    if kind == SUBSCRIBE:
        return subscribe(identifier, *packet.subscriptions, properties=properties)
    if kind == UNSUBSCRIBE:
        return unsubscribe(identifier, *packet.topic_filters, properties=properties)
    make = suback if kind == SUBACK else unsuback
    return make(identifier, *packet.reason_codes, properties=properties)


# --- Decoding -------------------------------------------------------------------------------------

_ERRORS = {0x80, 0x83, 0x87}  # unspecified, implementation specific, not authorized
_PUBLISHED = {0x00, 0x10, 0x90, 0x91, 0x97, 0x99} | _ERRORS
_RELEASED = {0x00, 0x92}
_EITHER_DISCONNECTS = {0x00, 0x80, 0x81, 0x82, 0x83, 0x90, *range(0x93, 0x9A)}

# Tables 3-1 and 3-4 to 3-10; 0x8C in DISCONNECT is from table 2-6.
_CODES: dict[tuple[int, Direction], set[int]] = {
    (CONNACK, "down"): {0x00, *range(0x80, 0x8B), 0x8C, 0x90, 0x95, 0x97}
    | {0x99, 0x9A, 0x9B, 0x9C, 0x9D, 0x9F},
    (SUBACK, "down"): {0x00, 0x01, 0x02, 0x8F, 0x91, 0x97, 0x9E, 0xA1, 0xA2} | _ERRORS,
    (UNSUBACK, "down"): {0x00, 0x11, 0x8F, 0x91} | _ERRORS,
    (DISCONNECT, "up"): _EITHER_DISCONNECTS | {0x04},
    (DISCONNECT, "down"): _EITHER_DISCONNECTS
    | {0x87, 0x89, 0x8B, 0x8C, 0x8D, 0x8E, 0x8F}
    | set(range(0x9A, 0xA3)),
    (AUTH, "up"): {0x18, 0x19},
    (AUTH, "down"): {0x00, 0x18},
}
for _way in ("up", "down"):
    for _kind in (PUBACK, PUBREC):
        _CODES[_kind, _way] = _PUBLISHED
    for _kind in (PUBREL, PUBCOMP):
        _CODES[_kind, _way] = _RELEASED

_UP = (CONNECT, SUBSCRIBE, UNSUBSCRIBE, PINGREQ)
_DOWN = (CONNACK, SUBACK, UNSUBACK, PINGRESP)


def codes(packet_type: int, direction: Direction | None = None) -> set[int]:
    """Return the reason codes that the standard lists for a packet that goes this way, or any."""
    ways: tuple[Direction, ...] = (direction,) if direction else ("up", "down")
    return set().union(*(_CODES.get((packet_type, way), set()) for way in ways))


class _Body(Body):
    """A cursor over one packet's body that raises WireError5 instead of running over its end."""

    def __init__(self, data: bytes, at: int, end: int, way: Direction | None) -> None:
        super().__init__(data, at, end)
        self.way = way

    def bad(self, reason: str, code: int = MALFORMED, *, at: int | None = None) -> WireError5:
        return WireError5(reason, self.at if at is None else at, code)

    def varint(self, what: str) -> int:
        start, value = self.at, 0
        for place in range(4):
            byte = self.number(1, what)
            value |= (byte & 0x7F) << 7 * place
            if byte < 0x80:
                if self.data[start : self.at] != encode_remaining_length(value):
                    raise self.bad(f"{what} longer than it must be")  # [MQTT-1.5.5-1]
                return value
        raise self.bad(f"{what} longer than 4 bytes")

    def packet_id(self) -> int:
        value = self.number(2, "packet identifier")
        if not value:
            raise self.bad("packet identifier 0", PROTOCOL_ERROR)  # [MQTT-2.2.1-3]
        return value

    def topic(self, what: str) -> str:
        text = self.string(what)
        self.topic_name(text, what)
        return text

    def topic_name(self, text: str, what: str) -> None:
        if not text or set(text) & set("+#"):  # [MQTT-4.7.0-1], [MQTT-4.7.3-1]
            raise self.bad(f"{what} {text!r}", PROTOCOL_ERROR)

    def topic_filter(self) -> str:
        text = self.string("topic filter")
        if not is_topic_filter(text):
            raise self.bad(f"topic filter {text!r}", PROTOCOL_ERROR)
        return text

    def reason(self, packet_type: int) -> int:
        code = self.number(1, "reason code")
        if code not in codes(packet_type, self.way):
            raise self.bad(f"reason code {code:#04x} in {NAMES[packet_type]}", PROTOCOL_ERROR)
        return code

    def properties(self, packet_type: int) -> dict[str, Any]:
        """Take the properties of a packet of this type, or will properties (2.2.2)."""
        length = self.varint("property length")
        if length > self.left():
            raise self.bad("properties cut short")
        end, self.end = self.end, self.at + length
        values: dict[str, Any] = {}
        while self.left():
            row = _BY_ID.get(self.varint("property identifier"))
            if row is None or packet_type not in row.packets:
                raise self.bad(f"property {row and row.name} in {NAMES.get(packet_type, 'will')}")
            value = self._value(row)
            if row.kind == "pair" or (row.name == "subscription_id" and packet_type == PUBLISH):
                values.setdefault(row.name, []).append(value)
            elif row.name in values:
                raise self.bad(f"{row.name} twice", PROTOCOL_ERROR)
            else:
                values[row.name] = value
        self.end = end
        self._fit(packet_type, values)
        return values

    def _value(self, row: _Property) -> Any:
        if row.kind == "pair":
            return self.string("name"), self.string("value")
        if row.kind == "binary":
            return self.binary(row.name)
        if row.kind == "string":
            return (self.topic if row.name == "response_topic" else self.string)(row.name)
        if row.kind == "varint":
            value = self.varint(row.name)
        else:
            value = self.number(_WIDTH[row.kind], row.name)
        if (row.kind == "bool" and value > 1) or not (value or row.zero):
            raise self.bad(f"{row.name} {value}", PROTOCOL_ERROR)
        return value

    def _fit(self, packet_type: int, values: dict[str, Any]) -> None:
        """Raise for properties that do not go this way, or not without each other."""
        wrong = {
            (PUBLISH, "up"): "subscription_id",  # [MQTT-3.3.4-6]
            (DISCONNECT, "down"): "session_expiry",  # [MQTT-3.14.2-2]
            (DISCONNECT, "up"): "server_reference",  # 3.14.2.2.5
        }
        name = wrong.get((packet_type, self.way or ""))
        if name in values:
            raise self.bad(f"{name} from the wrong side", PROTOCOL_ERROR)
        alone = packet_type == CONNECT and "auth_data" in values  # 3.1.2.11.10
        if (alone or packet_type == AUTH) and "auth_method" not in values:  # 3.15.2.2.2
            raise self.bad("no auth_method", PROTOCOL_ERROR)


def is_topic_filter(text: str) -> bool:
    """Tell whether a string is a topic filter, shared or not (4.7, 4.8.2)."""
    if text.startswith("$share/"):
        _, name, *rest = text.split("/", 2)
        if not name or set(name) & set("+#") or not rest:
            return False
        text = rest[0]
    if not text:
        return False
    *parents, last = text.split("/")
    return all(level == "+" or not set(level) & set("+#") for level in parents) and (
        last in ("+", "#") or not set(last) & set("+#")
    )


def _decode_connect(body: _Body, raw: bytes) -> Packet:
    name = body.string("protocol name")
    level = body.number(1, "protocol version")
    flags = body.number(1, "connect flags")
    if flags & 1:
        raise body.bad("reserved connect flag set")  # [MQTT-3.1.2-3]
    has_will, will_qos = bool(flags & 4), flags >> 3 & 3
    if (not has_will and flags & 0x38) or will_qos == 3:  # [MQTT-3.1.2-11 to 3.1.2-13]
        raise body.bad("will flags do not fit each other")
    keep_alive = body.number(2, "keep alive")
    properties = body.properties(CONNECT)
    client_id = body.string("client identifier")
    will = None
    if has_will:
        will_properties = body.properties(WILL)
        topic, payload = body.topic("will topic"), body.binary("will payload")
        will = Will(topic, payload, will_qos, bool(flags & 0x20), will_properties)
    return Packet(
        CONNECT,
        raw,
        properties=properties,
        protocol_name=name,
        protocol_level=level,
        clean_start=bool(flags & 2),
        keep_alive=keep_alive,
        client_id=client_id,
        will=will,
        username=body.string("user name") if flags & 0x80 else None,
        password=body.binary("password") if flags & 0x40 else None,
    )


def _decode_connack(body: _Body, raw: bytes) -> Packet:
    flags = body.number(1, "acknowledge flags")
    if flags > 1:
        raise body.bad("acknowledge flags")  # [MQTT-3.2.2-1]
    code = body.reason(CONNACK)
    properties = body.properties(CONNACK)
    return Packet(
        CONNACK, raw, session_present=bool(flags), reason_code=code, properties=properties
    )


def _decode_publish(body: _Body, raw: bytes) -> Packet:
    flags = raw[0] & 15
    qos = flags >> 1 & 3
    if qos == 3 or (flags & 8 and not qos):  # [MQTT-3.3.1-4], [MQTT-3.3.1-2]
        raise body.bad(f"PUBLISH with flags {flags}")
    topic = body.string("topic name")
    packet_id = body.packet_id() if qos else None
    properties = body.properties(PUBLISH)
    if topic or "topic_alias" not in properties:
        body.topic_name(topic, "topic name")
    return Packet(
        PUBLISH,
        raw,
        packet_id=packet_id,
        properties=properties,
        topic=topic,
        qos=qos,
        retain=bool(flags & 1),
        dup=bool(flags & 8),
        payload=body.take(body.left(), "payload"),
    )


def _decode_reasoned(body: _Body, raw: bytes, kind: int) -> Packet:
    """Decode a packet whose reason code and properties may be left out."""
    packet_id = body.packet_id() if kind in _ACKS else None
    code, properties = 0, {}
    if body.left():
        code = body.reason(kind)
        if body.left():
            properties = body.properties(kind)
        elif kind == AUTH:
            raise body.bad("no auth_method", PROTOCOL_ERROR)  # 3.15.2.2.2
    return Packet(kind, raw, packet_id=packet_id, reason_code=code, properties=properties)


def _decode_subscribe(body: _Body, raw: bytes) -> Packet:
    packet_id = body.packet_id()
    properties = body.properties(SUBSCRIBE)
    subscriptions: list[Subscription] = []
    while body.left() or not subscriptions:  # at least one: [MQTT-3.8.3-2]
        name, options = body.topic_filter(), body.number(1, "subscription options")
        made = Subscription(
            name, options & 3, bool(options & 4), bool(options & 8), options >> 4 & 3
        )
        if options > 0x3F:
            raise body.bad(f"subscription options {options:#04x}")  # [MQTT-3.8.3-5]
        if 3 in (made.qos, made.retain_handling):
            raise body.bad(f"subscription options {options:#04x}", PROTOCOL_ERROR)
        if made.no_local and name.startswith("$share/"):
            raise body.bad("no local on a shared subscription", PROTOCOL_ERROR)  # [MQTT-3.8.3-4]
        subscriptions.append(made)
    return Packet(
        SUBSCRIBE,
        raw,
        packet_id=packet_id,
        properties=properties,
        subscriptions=tuple(subscriptions),
    )


def _decode_unsubscribe(body: _Body, raw: bytes) -> Packet:
    packet_id = body.packet_id()
    properties = body.properties(UNSUBSCRIBE)
    filters: list[str] = []
    while body.left() or not filters:  # [MQTT-3.10.3-2]
        filters.append(body.topic_filter())
    return Packet(
        UNSUBSCRIBE, raw, packet_id=packet_id, properties=properties, topic_filters=tuple(filters)
    )


def _decode_suback(body: _Body, raw: bytes, kind: int) -> Packet:
    packet_id = body.packet_id()
    properties = body.properties(kind)
    found: list[int] = []
    while body.left() or not found:
        found.append(body.reason(kind))
    return Packet(kind, raw, packet_id=packet_id, properties=properties, reason_codes=tuple(found))


def _decode_one(data: bytes, at: int, start: int, end: int, way: Direction | None) -> Packet:
    """Decode the packet from `at` to `end` whose body starts at `start`. Raises WireError5."""
    kind, flags = data[at] >> 4, data[at] & 15
    body, raw = _Body(data, start, end, way), data[at:end]
    if kind not in NAMES:
        raise WireError5(f"packet type {kind}", at)
    if kind != PUBLISH and flags != FLAGS.get(kind, 0):
        raise WireError5(f"{NAMES[kind]} with flags {flags}", at)  # [MQTT-2.1.3-1]
    if (way == "up" and kind in _DOWN) or (way == "down" and kind in _UP):
        raise WireError5(f"{NAMES[kind]} from the wrong side", at, PROTOCOL_ERROR)
    if kind == CONNECT:
        packet = _decode_connect(body, raw)
    elif kind == CONNACK:
        packet = _decode_connack(body, raw)
    elif kind == PUBLISH:
        packet = _decode_publish(body, raw)
    elif kind == SUBSCRIBE:
        packet = _decode_subscribe(body, raw)
    elif kind == UNSUBSCRIBE:
        packet = _decode_unsubscribe(body, raw)
    elif kind in (SUBACK, UNSUBACK):
        packet = _decode_suback(body, raw, kind)
    elif kind in (PINGREQ, PINGRESP):
        packet = Packet(kind, raw)
    else:
        packet = _decode_reasoned(body, raw, kind)
    body.done()
    return packet


def _frame(data: bytes, at: int) -> tuple[int, int]:
    """Return where the body of the packet at `at` starts and ends. Raises WireError5."""
    length = 0
    for place, byte in enumerate(data[at + 1 : at + 5]):
        length |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            start = at + 2 + place
            if data[at + 1 : start] != encode_remaining_length(length):  # [MQTT-1.5.5-1]
                raise WireError5("remaining length longer than it must be", at)
            if start + length > len(data):
                break
            return start, start + length
        if place == 3:
            raise WireError5(f"remaining length above {MAX_REMAINING}", at)
    raise WireError5("packet cut short", at)


def decode(data: bytes, direction: Direction | None = None) -> list[Packet]:
    """Decode whole packets, which go "up" to a server, "down" to a client, or either way.

    Raises WireError5, with its reason code, for anything malformed, forbidden or cut short.
    """
    data, at, packets = bytes(data), 0, []
    while at < len(data):
        start, end = _frame(data, at)
        packets.append(_decode_one(data, at, start, end, direction))
        at = end
    return packets


# --- Readable text --------------------------------------------------------------------------------


def _details(packet: Packet) -> Iterable[str]:
    if packet.type == CONNECT:
        yield f"client_id={packet.client_id!r}"
        yield "clean" if packet.clean_start else "persistent"
        yield f"keep_alive={packet.keep_alive}"
        if packet.username is not None:
            yield f"username={packet.username!r}"
        if packet.password is not None:
            yield "password=…"
        if packet.will is not None:
            will = packet.will
            retain = " retain" if will.retain else ""
            yield f"will={will.topic!r} qos={will.qos}{retain} {dict(will.properties) or ''}"
    if packet.packet_id is not None:
        yield f"id={packet.packet_id}"
    if packet.type == PUBLISH:
        yield f"qos={packet.qos}"
        yield from (word for word in ("dup", "retain") if getattr(packet, word))
        yield f"topic={packet.topic!r} payload={len(packet.payload)} B {packet.payload[:8].hex()}"
    if packet.type == CONNACK:
        yield f"session_present={int(packet.session_present)}"
    if packet.type in (CONNACK, DISCONNECT, AUTH) or packet.reason_code:
        yield f"code={packet.reason_code:#04x}"
    yield from (
        f"{each.topic_filter!r} options={each.options:#04x}" for each in packet.subscriptions
    )
    yield from map(repr, packet.topic_filters)
    if packet.reason_codes:
        yield "codes=" + ",".join(f"{code:#04x}" for code in packet.reason_codes)
    if packet.properties:
        yield f"{dict(packet.properties)}"


def describe_packet(packet: Packet) -> str:
    """Return one line for a decoded packet."""
    return " ".join((packet.name, *(part.strip() for part in _details(packet))))


def describe(data: bytes) -> str:
    """Return one readable line for each packet in `data`; garbage is told with its offset."""
    lines: list[str] = []
    splitter = Splitter()
    try:
        for raw in splitter.feed(bytes(data)):
            lines += map(describe_packet, decode(raw))
        if splitter.rest:
            lines.append(f"incomplete: {splitter.rest[:16].hex()}")
    except WireError as error:
        lines.append(f"garbage: {error}: {bytes(data[:16]).hex()}")
    return "\n".join(lines) or "(nothing)"

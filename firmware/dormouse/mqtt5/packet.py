"""MQTT 5.0 wire format: what differs from packet.py. Knows no session; for version=5 only.

Section and table numbers are those of the OASIS standard, MQTT Version 5.0. Properties are dicts
of these names (table 2-4); what is None is left out:

- int, 0 or 1 (a bool will do): payload_format, request_problem_information,
  request_response_information, maximum_qos, retain_available, wildcard_available,
  subscription_id_available, shared_available
- int, seconds: message_expiry, session_expiry, will_delay, server_keepalive
- int: receive_maximum, topic_alias_maximum, topic_alias, maximum_packet_size (bytes),
  subscription_id (in a PUBLISH that came: a list, in the order of the packet)
- str: content_type, response_topic, assigned_client_id, auth_method, response_information,
  server_reference, reason_string
- bytes: correlation_data, auth_data
- user_properties: a list of (str, str), order and repeats kept

Wrong arguments raise ValueError or TypeError before a byte is made; of a property with its name
and value.
"""

from micropython import const

from .. import packet as core
from ..packet import ProtocolError, binary, encode_topic, frame, number, own, string

_MALFORMED = const(0x81)
_FORBIDDEN = const(0x82)

_WILL = const(0)  # in the place of a packet type
_PUBLISH = const(3)
_DISCONNECT = const(14)

_SUBSCRIPTION_ID = const(11)
_SERVER_REFERENCE = const(28)
_LAST = const(42)

_USERS = const(16)  # user properties that are kept of what answers

# Types of values. Below 128 an integer of so many bits, and 64 added where 0 is a protocol error;
# one of 28 bits has a variable length. Above 128 it begins with a string.
_VARIABLE = const(28 + 64)
_BINARY = const(128)
_STRING = const(129)
_TOPIC = const(130)
_PAIRS = const(131)

# Table 2-4 by identifier: the type, and the packets (bit 0 is for will properties).
_TABLE = (
    b"\x00\x00\x00"
    b"\x01\x00\x09"  # 1 payload_format: PUBLISH, will
    b"\x20\x00\x09"  # 2 message_expiry
    b"\x81\x00\x09"  # 3 content_type
    b"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
    b"\x82\x00\x09"  # 8 response_topic
    b"\x80\x00\x09"  # 9 correlation_data
    b"\x00\x00\x00"
    b"\x5c\x01\x08"  # 11 subscription_id: PUBLISH, SUBSCRIBE
    b"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
    b"\x20\x40\x06"  # 17 session_expiry: CONNECT, CONNACK, DISCONNECT
    b"\x81\x00\x04"  # 18 assigned_client_id: CONNACK
    b"\x10\x00\x04"  # 19 server_keepalive
    b"\x00\x00\x00"
    b"\x81\x80\x06"  # 21 auth_method: CONNECT, CONNACK, AUTH
    b"\x80\x80\x06"  # 22 auth_data
    b"\x01\x00\x02"  # 23 request_problem_information: CONNECT
    b"\x20\x00\x01"  # 24 will_delay: will
    b"\x01\x00\x02"  # 25 request_response_information: CONNECT
    b"\x81\x00\x04"  # 26 response_information: CONNACK
    b"\x00\x00\x00"
    b"\x81\x40\x04"  # 28 server_reference: CONNACK, DISCONNECT
    b"\x00\x00\x00\x00\x00\x00"
    b"\x81\xca\xf4"  # 31 reason_string: CONNACK, PUBACK to PUBCOMP, SUBACK, UNSUBACK, 14, 15
    b"\x00\x00\x00"
    b"\x50\x00\x06"  # 33 receive_maximum: CONNECT, CONNACK
    b"\x10\x00\x06"  # 34 topic_alias_maximum
    b"\x50\x00\x08"  # 35 topic_alias: PUBLISH
    b"\x01\x00\x04"  # 36 maximum_qos: CONNACK
    b"\x01\x00\x04"  # 37 retain_available
    b"\x83\xcf\xff"  # 38 user_properties: all but PINGREQ, PINGRESP
    b"\x60\x00\x06"  # 39 maximum_packet_size: CONNECT, CONNACK
    b"\x01\x00\x04"  # 40 wildcard_available: CONNACK
    b"\x01\x00\x04"  # 41 subscription_id_available
    b"\x01\x00\x04"  # 42 shared_available
)
# Each name behind its identifier: in one piece, for a str of its own takes 40 bytes of heap.
_NAMES = (
    "\x01payload_format \x02message_expiry \x03content_type \x08response_topic "
    "\x09correlation_data \x0bsubscription_id \x11session_expiry \x12assigned_client_id "
    "\x13server_keepalive \x15auth_method \x16auth_data \x17request_problem_information "
    "\x18will_delay \x19request_response_information \x1aresponse_information "
    "\x1cserver_reference \x1freason_string \x21receive_maximum \x22topic_alias_maximum "
    "\x23topic_alias \x24maximum_qos \x25retain_available \x26user_properties "
    "\x27maximum_packet_size \x28wildcard_available \x29subscription_id_available "
    "\x2ashared_available "
)

# Reason codes but 0, which goes everywhere, by packet type: tables 3-1, 3-4 to 3-10 and 2-6. In the
# places of PINGREQ and PINGRESP: DISCONNECT and AUTH as a client sends them.
_CODES = (
    b"\xff\xff"  # CONNACK
    b"\x80\x81\x82\x83\x84\x85\x86\x87\x88\x89\x8a\x8c\x90\x95\x97\x99\x9a\x9b\x9c\x9d\x9f\xff"
    b"\xff"
    b"\x10\x80\x83\x87\x90\x91\x97\x99\xff"  # PUBACK
    b"\x10\x80\x83\x87\x90\x91\x97\x99\xff"
    b"\x92\xff"
    b"\x92\xff"
    b"\xff"
    b"\x01\x02\x80\x83\x87\x8f\x91\x97\x9e\xa1\xa2\xff"  # SUBACK
    b"\xff"
    b"\x11\x80\x83\x87\x8f\x91\xff"  # UNSUBACK
    b"\x04\x80\x81\x82\x83\x90\x93\x94\x95\x96\x97\x98\x99\xff"
    b"\x18\x19\xff"
    b"\x80\x81\x82\x83\x87\x89\x8b\x8c\x8d\x8e\x8f\x90\x93\x94\x95\x96\x97\x98\x99"  # DISCONNECT
    b"\x9a\x9b\x9c\x9d\x9e\x9f\xa0\xa1\xa2\xff"
    b"\x18"
)


class ProtocolError5(ProtocolError):
    """A ProtocolError whose ``code`` is the reason to send in DISCONNECT (section 4.13).

    0x81 where the packet cannot be parsed, 0x82 where it holds what the standard forbids.
    """

    def __init__(self, first, code):
        super().__init__(first)
        self.code = code


# --- what is sent


def _goes(kind, key):
    # Whether a property goes into such packets.
    return key <= _LAST and (_TABLE[3 * key + 1] << 8 | _TABLE[3 * key + 2]) >> kind & 1


def _put(out, kind, name, value):
    # (The end of a name has a letter before it, which is no key.)
    key = ord(_NAMES[_NAMES.rfind(name + " ") - 1])
    # Table 2-4 tells no direction; two come from a server only [MQTT-3.3.4-6], 3.14.2.2.5.
    if (
        " " in name
        or not _goes(kind, key)
        or key == _SERVER_REFERENCE
        or (key == _SUBSCRIPTION_ID and kind == _PUBLISH)
    ):
        raise ValueError
    form = _TABLE[3 * key]
    if form == _PAIRS:
        for pair in value:
            if isinstance(pair, str):  # the key of a dict, which has two letters at times
                raise TypeError
            name, text = pair
            out.append(key)
            out += string(name) + string(text)
        return
    out.append(key)
    if form == _STRING:
        out += string(value)
    elif form == _TOPIC:
        out += encode_topic(value, 0)
    elif form == _BINARY:
        out += binary(value)
    elif value < form >> 6 or value >> (form & 63):
        raise ValueError
    elif form == _VARIABLE:
        while value > 127:
            out.append(value & 0x7F | 0x80)
            value >>= 7
        out.append(value)
    else:
        out += int(value).to_bytes((form & 63) + 7 >> 3, "big")


def encode_properties(kind: int, values) -> bytes:
    """Return properties with their length in front (section 2.2.2) for packets of type ``kind``,
    1 to 15, or will properties with 0. ``values`` is a dict or None. Raises ValueError for a
    property that is unknown or that a client must not send there; ValueError or TypeError for
    its value."""
    out = bytearray()
    for name in values or ():
        value = values[name]
        if value is not None:
            if name == "auth_data" and values.get("auth_method") is None:
                raise ValueError("auth_method")  # section 3.1.2.11.10
            try:
                _put(out, kind, name, value)
            except ValueError:
                raise ValueError(name, value)
            except TypeError:
                raise TypeError(name, value)
    return bytes(frame(0, out)[1:])


def connect(
    client_id: str,
    clean: bool,
    keepalive: int,
    will,
    username,
    password,
    properties=None,
    will_properties=None,
) -> bytearray:
    """Return CONNECT (section 3.1) with Clean Start; both properties are dicts or None.

    ``will`` is what packet.Will returned. A password needs no user name, and a server gives an
    identifier to who has none. Raises ValueError or TypeError.
    """
    flags = clean << 1
    data = encode_properties(1, properties) + string(client_id)
    if will:
        will_flags, will_data = will
        flags |= will_flags
        data += encode_properties(_WILL, will_properties) + will_data
    elif will_properties:
        raise ValueError("will")
    if username is not None:
        flags |= 0x80
        data += string(username)
    if password is not None:
        flags |= 0x40
        data += binary(password)
    return frame(0x10, b"\x00\x04MQTT\x05" + bytes((flags,)) + number(keepalive), data)


def publish(topic: str, payload, qos: int, retain: bool, pid: int, properties: bytes) -> bytearray:
    """Return PUBLISH with DUP 0 (section 3.3); ``properties`` as encode_properties returns them.

    ``topic`` may be "" when a topic alias is among them. Raises ValueError or TypeError.
    """
    if topic == "" and "topic_alias" in read_properties(0x30, properties, 0)[0]:
        encode_topic("-", qos)  # for the QoS
        data = b"\x00\x00"
    else:
        data = encode_topic(topic, qos)
    if qos:
        data += number(pid)
    if isinstance(payload, str):
        payload = payload.encode()
    return frame(0x30 | qos << 1 | bool(retain), data + properties, payload)


def request(first: int, pid: int, filters, properties=None) -> bytearray:
    """Return SUBSCRIBE (0x82) for pairs of topic filter and options, or UNSUBSCRIBE (0xA2) for
    topic filters (sections 3.8, 3.10).

    Options: QoS, +4 no local, +8 retain as published, +16 retained messages only with a new
    subscription, +32 no retained messages. Raises ValueError or TypeError.
    """
    data = number(pid) + encode_properties(first >> 4, properties)
    n = len(data)
    for name in filters:
        options = 0
        if first == 0x82:
            name, options = name
        data += encode_topic(name, options & 3, True)
        if options >> 4 not in (0, 1, 2):  # [MQTT-3.8.3-5]
            raise ValueError(name, options)
        if name.startswith("$share/"):
            # [MQTT-4.8.2-1, 4.8.2-2, 3.8.3-4]
            group, _, rest = name[7:].partition("/")
            if not group or not rest or "+" in group or options & 4:
                raise ValueError(name, options)
        if first == 0x82:
            data += bytes((options,))
    if len(data) == n:
        raise ValueError(filters)  # [MQTT-3.8.3-2, 3.10.3-2]
    return frame(first, data)


def _reason(first, data, code, properties):
    kind = first >> 4
    if code and code not in _CODES.split(b"\xff")[kind if kind < _DISCONNECT else kind - 2]:
        raise ValueError(code)
    properties = encode_properties(kind, properties)
    if len(properties) > 1:
        data += bytes((code,)) + properties
    elif code:
        data += bytes((code,))
    return frame(first, data)


def ack(first: int, pid: int, code: int = 0, properties=None) -> bytearray:
    """Return PUBACK (0x40), PUBREC (0x50), PUBREL (0x62) or PUBCOMP (0x70), as short as may be
    (sections 3.4 to 3.7). Raises ValueError or TypeError."""
    return _reason(first, number(pid), code, properties)


def disconnect(code: int = 0, properties=None) -> bytearray:
    """Return DISCONNECT (section 3.14). Raises ValueError or TypeError."""
    return _reason(0xE0, b"", code, properties)


def auth(code: int, properties) -> bytearray:
    """Return AUTH (section 3.15): 0x18 goes on, 0x19 starts anew; auth_method must be there.

    Raises ValueError or TypeError.
    """
    if not code or not properties or properties.get("auth_method") is None:
        raise ValueError(code, "auth_method")
    return _reason(0xF0, b"", code, properties)


# --- what is received


def _take(first, body, at, n):
    data = body[at : at + n]
    if len(data) < n:
        raise ProtocolError5(first, _MALFORMED)
    return data


def _uint(first, body, at, n):
    return int.from_bytes(_take(first, body, at, n), "big")


def _pid(first, body, at):
    pid = body[at] << 8 | body[at + 1] if len(body) > at + 1 else _uint(first, body, at, 2)
    if not pid:
        raise ProtocolError5(first, _FORBIDDEN)  # [MQTT-2.2.1-3]
    return pid


def _varint(first, body, at):
    n = 0
    for shift in (0, 7, 14, 21):
        c = _uint(first, body, at, 1)
        at += 1
        n |= (c & 0x7F) << shift
        if c < 128:
            if c or not shift:  # [MQTT-1.5.5-1]
                return n, at
            break
    raise ProtocolError5(first, _MALFORMED)


def _text(first, body, at):
    data = _take(first, body, at + 2, _uint(first, body, at, 2))
    try:
        text = str(data, "utf-8")
        string(text)
    except ValueError:
        raise ProtocolError5(first, _MALFORMED)  # [MQTT-1.5.4-1, 1.5.4-2]
    return text, at + 2 + len(data)


def read_properties(first: int, body, at: int, users: bool = True) -> tuple:
    """Return the properties whose length is at ``at``, a dict, and where they end.

    ``first`` is the packet's first byte. Raises ProtocolError5: 0x81 for one that is unknown, not
    for this packet or cut short (section 2.2.2.2), 0x82 for a repeat or a value out of range.
    They take up to ten times the packet's bytes of heap, where all are tiny user properties; with
    ``users`` False those are checked and not kept: "user_properties" is then all properties as they
    came, bytes, to be read when somebody asks. With a number so many of them are kept.
    """
    if body[at : at + 1] == b"\0":
        return {}, at + 1
    begin = at
    n, at = _varint(first, body, at)
    _take(first, body, at, n)
    end = at + n
    body = body[:end]
    values = {}
    while at < end:
        key, at = _varint(first, body, at)
        if not _goes(first >> 4, key):
            raise ProtocolError5(first, _MALFORMED)
        # (By chr it would be a name, as MicroPython keeps them: their table may have to grow, by
        # more than there is in one piece.)
        start = _NAMES.find("%c" % key) + 1
        name = _NAMES[start : _NAMES.find(" ", start)]
        form = _TABLE[3 * key]
        if form > _BINARY:
            value, at = _text(first, body, at)
            if form == _PAIRS:
                text, at = _text(first, body, at)
                value = value, text
                if not users:
                    values[name] = b""
                    continue
                if users is not True and len(values.get(name, ())) >= users:
                    continue
        elif form == _BINARY:
            value = bytes(_take(first, body, at + 2, _uint(first, body, at, 2)))
            at += 2 + len(value)
        else:
            if form == _VARIABLE:
                value, at = _varint(first, body, at)
            else:
                n = (form & 63) + 7 >> 3
                value = _uint(first, body, at, n)
                at += n
            if value < form >> 6 or value >> (form & 63):
                raise ProtocolError5(first, _FORBIDDEN)
        if form in (_PAIRS, _VARIABLE):
            values.setdefault(name, []).append(value)
        elif name in values:
            raise ProtocolError5(first, _FORBIDDEN)
        else:
            values[name] = value
    if values.get("user_properties") == b"":
        values["user_properties"] = bytes(body[begin:end])
    return values, at


def read_publish(first: int, body, users: bool = True) -> tuple:
    """Return topic, payload, QoS, packet identifier (0 at QoS 0) and properties (section 3.3; for
    ``users`` see read_properties).

    The topic is "" where only its alias came. Raises ProtocolError5.
    """
    qos = first >> 1 & 3
    if qos == 3 or first & 0xE == 8:  # [MQTT-3.3.1-4, 3.3.1-2]
        raise ProtocolError5(first, _MALFORMED)
    topic, data, _ = core._last  # the same again, mostly
    at = len(data)
    if body[:at] != data:
        topic, at = _text(first, body, 0)
    pid = 0
    if qos:
        pid = _pid(first, body, at)
        at += 2
    # (A view: parts of a long body, which is a bytearray, would be copies.)
    properties, at = read_properties(first, memoryview(body), at, users)
    try:
        # What has wildcards can be parsed, so it is not malformed [MQTT-3.3.2-2, 3.3.2-14].
        if topic or "topic_alias" not in properties:
            encode_topic(topic, qos)
        if "response_topic" in properties:
            encode_topic(properties["response_topic"], qos)
    except ValueError:
        raise ProtocolError5(first, _FORBIDDEN)
    return topic, own(body, at), qos, pid, properties


def _check(first, codes, known=255):
    for code in codes:
        if 0 < code <= known and code not in _CODES.split(b"\xff")[first >> 4]:
            raise ProtocolError5(first, _FORBIDDEN)


def _read_reason(first, body, at, known=255):
    code = 0
    properties = {}
    if len(body) > at:
        code = body[at]
        at += 1
        if len(body) > at:
            properties, at = read_properties(first, body, at, _USERS)
    if at != len(body):
        raise ProtocolError5(first, _MALFORMED)
    _check(first, (code,), known)
    return code, properties


def read_connack(body) -> tuple:
    """Return session present (0 or 1), reason code and properties (section 3.2).

    Raises ProtocolError5.
    """
    if len(body) < 3 or body[0] > 1:  # [MQTT-3.2.2-1]
        raise ProtocolError5(0x20, _MALFORMED)
    return (body[0],) + _read_reason(0x20, body, 1)


def read_ack(first: int, body, known: int = 255) -> tuple:
    """Return packet identifier, reason code and properties of PUBACK, PUBREC, PUBREL, PUBCOMP
    (sections 3.4 to 3.7). Reason codes up to ``known`` have to be the standard's. Raises
    ProtocolError5."""
    pid = _pid(first, body, 0)
    if len(body) == 2:
        return pid, 0, {}
    return (pid,) + _read_reason(first, body, 2, known)


def read_suback(first: int, body, known: int = 255) -> tuple:
    """Return packet identifier, list of reason codes and properties of SUBACK, UNSUBACK
    (sections 3.9, 3.11). ``known`` as there. Raises ProtocolError5."""
    pid = _pid(first, body, 0)
    properties, at = read_properties(first, body, 2, _USERS)
    codes = list(body[at:])
    if not codes:
        raise ProtocolError5(first, _MALFORMED)
    _check(first, codes, known)
    return pid, codes, properties


def read_disconnect(body) -> tuple:
    """Return reason code and properties (section 3.14). Raises ProtocolError5."""
    fields = _read_reason(0xE0, body, 0)
    if "session_expiry" in fields[1]:  # [MQTT-3.14.2-2]
        raise ProtocolError5(0xE0, _FORBIDDEN)
    return fields


def read_auth(body) -> tuple:
    """Return reason code and properties (section 3.15). Raises ProtocolError5.

    An empty one is success without properties, as section 3.15.2.1 has it.
    """
    fields = _read_reason(0xF0, body, 0)
    if len(body) and "auth_method" not in fields[1]:  # section 3.15.2.2.2
        raise ProtocolError5(0xF0, _FORBIDDEN)
    return fields

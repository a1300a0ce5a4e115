"""MQTT 3.1.1 on the wire, both directions: the host's second opinion.

Written from the OASIS standard alone and sharing no code with the firmware, so that an error there
cannot hide here. Section numbers are those of MQTT 3.1.1.
"""

import itertools
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

CONNECT, CONNACK, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP = range(1, 8)
SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK, PINGREQ, PINGRESP, DISCONNECT = range(8, 15)

NAMES = {
    CONNECT: "CONNECT",
    CONNACK: "CONNACK",
    PUBLISH: "PUBLISH",
    PUBACK: "PUBACK",
    PUBREC: "PUBREC",
    PUBREL: "PUBREL",
    PUBCOMP: "PUBCOMP",
    SUBSCRIBE: "SUBSCRIBE",
    SUBACK: "SUBACK",
    UNSUBSCRIBE: "UNSUBSCRIBE",
    UNSUBACK: "UNSUBACK",
    PINGREQ: "PINGREQ",
    PINGRESP: "PINGRESP",
    DISCONNECT: "DISCONNECT",
}
FLAGS = {PUBREL: 2, SUBSCRIBE: 2, UNSUBSCRIBE: 2}  # 2.2.2: all others 0; PUBLISH has its own
_ID_ONLY = (PUBACK, PUBREC, PUBREL, PUBCOMP, UNSUBACK)
_EMPTY = (PINGREQ, PINGRESP, DISCONNECT)
MAX_REMAINING = 268_435_455
FAILURE = 0x80  # the SUBACK return code

Direction = Literal["up", "down"]  # up: from client to server


class WireError(Exception):
    """Bytes that are no MQTT 3.1.1 packet. `offset` counts from the start of what was given."""

    def __init__(self, reason: str, offset: int = 0) -> None:
        super().__init__(f"{reason} at offset {offset}")
        self.reason = reason
        self.offset = offset


# --- Packets --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Will:
    """A will as CONNECT carries it."""

    topic: str
    payload: bytes
    qos: int = 0
    retain: bool = False


@dataclass(frozen=True)
class Packet:
    """A decoded packet. Fields that its type does not have keep their defaults."""

    type: int
    raw: bytes = field(default=b"", repr=False, compare=False)
    packet_id: int | None = None
    # PUBLISH
    topic: str = ""
    payload: bytes = b""
    qos: int = 0
    retain: bool = False
    dup: bool = False
    # SUBSCRIBE: (topic filter, maximum QoS); UNSUBSCRIBE: topic filters; SUBACK: return codes
    subscriptions: tuple[tuple[str, int], ...] = ()
    topic_filters: tuple[str, ...] = ()
    return_codes: tuple[int, ...] = ()
    # CONNACK
    session_present: bool = False
    return_code: int = 0
    # CONNECT
    client_id: str = ""
    clean_session: bool = True
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


def encode_remaining_length(length: int) -> bytes:
    """Encode a Remaining Length (2.2.3). Raises ValueError outside 0 to 268,435,455."""
    if not 0 <= length <= MAX_REMAINING:
        raise ValueError(f"remaining length {length}")
    out = bytearray()
    while True:
        length, low = divmod(length, 128)
        out.append(low | (0x80 if length else 0))
        if not length:
            return bytes(out)


def encode_string(text: str | bytes) -> bytes:
    """Encode with a two-byte length prefix (1.5.3). Raises ValueError over 65,535 bytes."""
    data = text.encode() if isinstance(text, str) else text
    if len(data) > 0xFFFF:
        raise ValueError(f"a string of {len(data)} bytes")
    return len(data).to_bytes(2, "big") + data


def build(packet_type: int, flags: int, body: bytes = b"") -> bytes:
    """Put a fixed header before `body`. Checks nothing: malformed packets are made with it too."""
    return bytes([packet_type << 4 | flags]) + encode_remaining_length(len(body)) + body


def encode_id(packet_id: int) -> bytes:
    """Encode a packet identifier (2.3.1)."""
    return packet_id.to_bytes(2, "big")


def connect(
    client_id: str = "",
    *,
    clean: bool = True,
    keep_alive: int = 0,
    will: Will | None = None,
    username: str | None = None,
    password: str | bytes | None = None,
    protocol_name: str = "MQTT",
    protocol_level: int = 4,
) -> bytes:
    """Build CONNECT (3.1); `keep_alive` in seconds."""
    flags = 0x02 if clean else 0
    payload = encode_string(client_id)
    if will is not None:
        flags |= 0x04 | will.qos << 3 | (0x20 if will.retain else 0)
        payload += encode_string(will.topic) + encode_string(will.payload)
    if username is not None:
        flags |= 0x80
        payload += encode_string(username)
    if password is not None:
        flags |= 0x40
        payload += encode_string(password)
    header = encode_string(protocol_name) + bytes([protocol_level, flags])
    return build(CONNECT, 0, header + keep_alive.to_bytes(2, "big") + payload)


def connack(session_present: bool = False, return_code: int = 0) -> bytes:
    """Build CONNACK (3.2)."""
    return build(CONNACK, 0, bytes([session_present, return_code]))


def publish(
    topic: str,
    payload: bytes = b"",
    *,
    qos: int = 0,
    packet_id: int | None = None,
    retain: bool = False,
    dup: bool = False,
) -> bytes:
    """Build PUBLISH (3.3). Raises ValueError if the packet identifier does not fit the QoS."""
    if (packet_id is None) != (qos == 0):
        raise ValueError("a packet identifier goes with QoS 1 and 2, and only with them")
    identifier = b"" if packet_id is None else encode_id(packet_id)
    flags = (8 if dup else 0) | qos << 1 | (1 if retain else 0)
    return build(PUBLISH, flags, encode_string(topic) + identifier + payload)


def puback(packet_id: int) -> bytes:
    """Build PUBACK (3.4)."""
    return build(PUBACK, 0, encode_id(packet_id))


def pubrec(packet_id: int) -> bytes:
    """Build PUBREC (3.5)."""
    return build(PUBREC, 0, encode_id(packet_id))


def pubrel(packet_id: int) -> bytes:
    """Build PUBREL (3.6)."""
    return build(PUBREL, 2, encode_id(packet_id))


def pubcomp(packet_id: int) -> bytes:
    """Build PUBCOMP (3.7)."""
    return build(PUBCOMP, 0, encode_id(packet_id))


def subscribe(packet_id: int, *subscriptions: tuple[str, int]) -> bytes:
    """Build SUBSCRIBE (3.8) from (topic filter, maximum QoS) pairs."""
    payload = b"".join(encode_string(name) + bytes([qos]) for name, qos in subscriptions)
    return build(SUBSCRIBE, 2, encode_id(packet_id) + payload)


def suback(packet_id: int, *return_codes: int) -> bytes:
    """Build SUBACK (3.9)."""
    return build(SUBACK, 0, encode_id(packet_id) + bytes(return_codes))


def unsubscribe(packet_id: int, *topic_filters: str) -> bytes:
    """Build UNSUBSCRIBE (3.10)."""
    return build(UNSUBSCRIBE, 2, encode_id(packet_id) + b"".join(map(encode_string, topic_filters)))


def unsuback(packet_id: int) -> bytes:
    """Build UNSUBACK (3.11)."""
    return build(UNSUBACK, 0, encode_id(packet_id))


def pingreq() -> bytes:
    """Build PINGREQ (3.12)."""
    return build(PINGREQ, 0)


def pingresp() -> bytes:
    """Build PINGRESP (3.13)."""
    return build(PINGRESP, 0)


def disconnect() -> bytes:
    """Build DISCONNECT (3.14)."""
    return build(DISCONNECT, 0)


def encode(packet: Packet) -> bytes:
    """Build the bytes of a Packet; the inverse of `decode`. Raises ValueError if it has no type."""
    kind, identifier = packet.type, packet.packet_id
    if kind == CONNECT:
        return connect(
            packet.client_id,
            clean=packet.clean_session,
            keep_alive=packet.keep_alive,
            will=packet.will,
            username=packet.username,
            password=packet.password,
            protocol_name=packet.protocol_name,
            protocol_level=packet.protocol_level,
        )
    if kind == CONNACK:
        return connack(packet.session_present, packet.return_code)
    if kind == PUBLISH:
        return publish(
            packet.topic,
            packet.payload,
            qos=packet.qos,
            packet_id=identifier,
            retain=packet.retain,
            dup=packet.dup,
        )
    if kind in _EMPTY:
        return build(kind, 0)
    if kind not in NAMES or identifier is None:
        raise ValueError(f"no such packet: {packet!r}")
    if kind == SUBSCRIBE:
        return subscribe(identifier, *packet.subscriptions)
    if kind == UNSUBSCRIBE:
        return unsubscribe(identifier, *packet.topic_filters)
    if kind == SUBACK:
        return suback(identifier, *packet.return_codes)
    return build(kind, FLAGS.get(kind, 0), encode_id(identifier))


# --- Decoding -------------------------------------------------------------------------------------


def _frame(data: bytes, at: int) -> tuple[int, int] | None:
    """Find the packet at `at`: (start of its body, its end), or None if not all of it is there.

    Raises WireError for a Remaining Length of more than four bytes (2.2.3).
    """
    length = 0
    for place in range(4):
        position = at + 1 + place
        if position >= len(data):
            return None
        length |= (data[position] & 0x7F) << 7 * place
        if not data[position] & 0x80:
            end = position + 1 + length
            return (position + 1, end) if end <= len(data) else None
    raise WireError("remaining length longer than 4 bytes", at)


class Body:
    """A cursor over one packet's body that raises WireError instead of running over its end."""

    def __init__(self, data: bytes, at: int, end: int) -> None:
        self.data, self.at, self.end = data, at, end

    def bad(self, reason: str, *, at: int | None = None) -> WireError:
        """Make the error for what is wrong here, or at another offset."""
        return WireError(reason, self.at if at is None else at)

    def left(self) -> int:
        """Return how many bytes are left."""
        return self.end - self.at

    def take(self, count: int, what: str) -> bytes:
        """Take so many bytes. Raises WireError if there are fewer, as all that takes does."""
        if count > self.left():
            raise self.bad(f"{what} cut short")
        self.at += count
        return self.data[self.at - count : self.at]

    def number(self, count: int, what: str) -> int:
        """Take an integer of so many bytes."""
        return int.from_bytes(self.take(count, what), "big")

    def packet_id(self) -> int:
        """Take a packet identifier. Raises WireError if it is 0, which none may be."""
        value = self.number(2, "packet identifier")
        if not value:
            raise self.bad("packet identifier 0", at=self.at - 2)  # [MQTT-2.3.1-1]
        return value

    def binary(self, what: str) -> bytes:
        """Take bytes behind their length."""
        return self.take(self.number(2, f"length of {what}"), what)

    def string(self, what: str) -> str:
        """Take a string behind its length. Raises WireError if MQTT allows no such string."""
        start = self.at
        try:
            text = self.binary(what).decode()
        except UnicodeDecodeError as error:
            raise self.bad(f"{what} is not UTF-8", at=start) from error  # [MQTT-1.5.3-1], 5: 1.5.4
        if "\0" in text:
            raise self.bad(f"{what} contains U+0000", at=start)  # [MQTT-1.5.3-2]
        return text

    def done(self) -> None:
        """Raise WireError if anything is left."""
        if self.left():
            raise self.bad(f"{self.left()} bytes too many")


def _decode_connect(body: Body, raw: bytes) -> Packet:
    name = body.string("protocol name")
    level = body.number(1, "protocol level")
    flags = body.number(1, "connect flags")
    if flags & 1:
        raise WireError("reserved connect flag set", body.at - 1)  # [MQTT-3.1.2-3]
    has_will, will_qos = bool(flags & 4), flags >> 3 & 3
    if (not has_will and flags & 0x38) or will_qos == 3:
        raise WireError("will flags do not fit each other", body.at - 1)
    if flags & 0x40 and not flags & 0x80:
        raise WireError("password without user name", body.at - 1)  # [MQTT-3.1.2-22]
    keep_alive = body.number(2, "keep alive")
    client_id = body.string("client identifier")
    will = None
    if has_will:
        topic, payload = body.string("will topic"), body.binary("will message")
        will = Will(topic, payload, will_qos, bool(flags & 0x20))
    return Packet(
        CONNECT,
        raw,
        protocol_name=name,
        protocol_level=level,
        clean_session=bool(flags & 2),
        keep_alive=keep_alive,
        client_id=client_id,
        will=will,
        username=body.string("user name") if flags & 0x80 else None,
        password=body.binary("password") if flags & 0x40 else None,
    )


def _decode_publish(body: Body, raw: bytes, flags: int, at: int) -> Packet:
    qos = flags >> 1 & 3
    if qos == 3:
        raise WireError("PUBLISH with QoS 3", at)  # [MQTT-3.3.1-4]
    if flags & 8 and not qos:
        raise WireError("PUBLISH with DUP at QoS 0", at)  # [MQTT-3.3.1-2]
    start = body.at
    topic = body.string("topic name")
    if not topic or "+" in topic or "#" in topic:
        raise WireError(f"topic name {topic!r}", start)  # [MQTT-3.3.2-2], [MQTT-4.7.3-1]
    packet_id = body.packet_id() if qos else None
    return Packet(
        PUBLISH,
        raw,
        packet_id=packet_id,
        topic=topic,
        qos=qos,
        retain=bool(flags & 1),
        dup=bool(flags & 8),
        payload=body.take(body.left(), "payload"),
    )


def _decode_subscribe(body: Body, raw: bytes) -> Packet:
    packet_id = body.packet_id()
    subscriptions: list[tuple[str, int]] = []
    while body.left() or not subscriptions:  # at least one: [MQTT-3.8.3-3]
        topic_filter, qos = body.string("topic filter"), body.number(1, "requested QoS")
        if qos > 2:
            raise WireError(f"requested QoS {qos}", body.at - 1)
        subscriptions.append((topic_filter, qos))
    return Packet(SUBSCRIBE, raw, packet_id=packet_id, subscriptions=tuple(subscriptions))


def _decode_unsubscribe(body: Body, raw: bytes) -> Packet:
    packet_id = body.packet_id()
    filters: list[str] = []
    while body.left() or not filters:
        filters.append(body.string("topic filter"))
    return Packet(UNSUBSCRIBE, raw, packet_id=packet_id, topic_filters=tuple(filters))


def _decode_suback(body: Body, raw: bytes) -> Packet:
    packet_id = body.packet_id()
    codes = body.take(max(1, body.left()), "return codes")
    if any(code not in (0, 1, 2, FAILURE) for code in codes):
        raise WireError(f"return codes {codes.hex(' ')}", body.at - len(codes))
    return Packet(SUBACK, raw, packet_id=packet_id, return_codes=tuple(codes))


def _decode_connack(body: Body, raw: bytes) -> Packet:
    flags, code = body.number(1, "acknowledge flags"), body.number(1, "return code")
    if flags > 1 or (flags and code):
        raise WireError("acknowledge flags", body.at - 2)  # [MQTT-3.2.2-4]
    if code > 5:
        raise WireError(f"return code {code}", body.at - 1)
    return Packet(CONNACK, raw, session_present=bool(flags), return_code=code)


def _decode_at(data: bytes, at: int, start: int, end: int) -> Packet:
    """Decode the packet from `at` to `end` whose body starts at `start`. Raises WireError."""
    kind, flags = data[at] >> 4, data[at] & 15
    body, raw = Body(data, start, end), data[at:end]
    if kind not in NAMES:
        raise WireError(f"packet type {kind}", at)
    if kind != PUBLISH and flags != FLAGS.get(kind, 0):
        raise WireError(f"{NAMES[kind]} with flags {flags}", at)  # [MQTT-2.2.2-2]
    if kind == CONNECT:
        packet = _decode_connect(body, raw)
    elif kind == CONNACK:
        packet = _decode_connack(body, raw)
    elif kind == PUBLISH:
        packet = _decode_publish(body, raw, flags, at)
    elif kind == SUBSCRIBE:
        packet = _decode_subscribe(body, raw)
    elif kind == UNSUBSCRIBE:
        packet = _decode_unsubscribe(body, raw)
    elif kind == SUBACK:
        packet = _decode_suback(body, raw)
    else:
        packet = Packet(kind, raw, packet_id=body.packet_id() if kind in _ID_ONLY else None)
    body.done()
    return packet


def decode(data: bytes) -> list[Packet]:
    """Decode whole packets. Raises WireError for anything malformed or cut short."""
    data, at, packets = bytes(data), 0, []
    while at < len(data):
        frame = _frame(data, at)
        if frame is None:
            raise WireError("packet cut short", at)
        packets.append(_decode_at(data, at, *frame))
        at = frame[1]
    return packets


class Splitter:
    """Splits a stream into whole packets, however it is chunked. Looks at fixed headers only."""

    def __init__(self) -> None:
        self.rest = b""  # the beginning of a packet that is not yet whole
        self.offset = 0  # in the stream, of the first byte of `rest`

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Take a chunk and yield the packets that are whole now.

        Raises WireError, at the stream's offset, when no packet can begin there. The bytes are
        taken when iteration starts.
        """
        self.rest += data
        while self.rest:
            try:
                frame = _frame(self.rest, 0)
            except WireError as error:
                raise WireError(error.reason, self.offset) from None
            if frame is None:
                return
            packet, self.rest = self.rest[: frame[1]], self.rest[frame[1] :]
            self.offset += len(packet)
            yield packet


# --- Readable text --------------------------------------------------------------------------------


def _short(data: bytes, limit: int = 8) -> str:
    """Tell the length and the first bytes: `4 B 68696869`."""
    shown = data[:limit].hex() + ("…" if len(data) > limit else "")
    return f"{len(data)} B {shown}".rstrip()


def _describe_connect(packet: Packet) -> str:
    words = [f"client_id={packet.client_id!r}"]
    words.append("clean" if packet.clean_session else "persistent")
    words.append(f"keep_alive={packet.keep_alive}")
    if packet.username is not None:
        words.append(f"username={packet.username!r}")
    if packet.password is not None:
        words.append("password=…")
    if packet.will is not None:
        will = packet.will
        words.append(f"will={will.topic!r} qos={will.qos}{' retain' if will.retain else ''}")
    if (packet.protocol_name, packet.protocol_level) != ("MQTT", 4):
        words.append(f"protocol={packet.protocol_name!r} {packet.protocol_level}")
    return " ".join(words)


def _describe_publish(packet: Packet) -> str:
    words = [] if packet.packet_id is None else [f"id={packet.packet_id}"]
    words.append(f"qos={packet.qos}")
    words += [word for word in ("dup", "retain") if getattr(packet, word)]
    words += [f"topic={packet.topic!r}", f"payload={_short(packet.payload)}"]
    return " ".join(words)


def describe_packet(packet: Packet) -> str:
    """Return one line for a decoded packet."""
    if packet.type == CONNECT:
        details = _describe_connect(packet)
    elif packet.type == CONNACK:
        details = f"session_present={int(packet.session_present)} code={packet.return_code}"
    elif packet.type == PUBLISH:
        details = _describe_publish(packet)
    elif packet.packet_id is None:
        details = ""
    else:
        details = f"id={packet.packet_id}"
    if packet.type == SUBSCRIBE:
        details += "".join(f" {name!r} qos={qos}" for name, qos in packet.subscriptions)
    elif packet.type == UNSUBSCRIBE:
        details += "".join(f" {name!r}" for name in packet.topic_filters)
    elif packet.type == SUBACK:
        details += " codes=" + ",".join(f"{code:#04x}" for code in packet.return_codes)
    return f"{packet.name} {details}".rstrip()


def describe(data: bytes) -> str:
    """Return one readable line for each packet in `data`; garbage is told with its offset."""
    data, at, lines = bytes(data), 0, []
    while at < len(data):
        try:
            frame = _frame(data, at)
        except WireError as error:
            lines.append(f"garbage at offset {at}: {error.reason}: {_short(data[at:], 16)}")
            break
        if frame is None:
            name = NAMES.get(data[at] >> 4, f"packet type {data[at] >> 4}")
            lines.append(f"incomplete {name} at offset {at}: {_short(data[at:], 16)}")
            break
        try:
            lines.append(describe_packet(_decode_at(data, at, *frame)))
        except WireError as error:
            lines.append(f"garbage at offset {at}: {error}: {_short(data[at : frame[1]], 16)}")
        at = frame[1]
    return "\n".join(lines) or "(nothing)"


class Transcript:
    """What went over a connection, both ways, in order."""

    def __init__(self) -> None:
        self.chunks: list[tuple[Direction, bytes]] = []
        self.times: list[float] = []  # s since `began`, one for each chunk
        self.began = time.monotonic()

    def add(self, direction: Direction, data: bytes) -> None:
        """Note that `data` passed."""
        self.chunks.append((direction, bytes(data)))
        self.times.append(time.monotonic() - self.began)

    def data(self, direction: Direction) -> bytes:
        """Return all bytes of one direction."""
        return b"".join(data for way, data in self.chunks if way == direction)

    @property
    def turnarounds(self) -> int:
        """How often the flow of data changed its direction."""
        ways = [way for way, _ in self.chunks]
        return sum(a != b for a, b in itertools.pairwise(ways))

    def describe(self) -> str:
        """Return one line for each packet: time in ms, client → or ← server, the packet."""
        splitters: dict[Direction, Splitter] = {"up": Splitter(), "down": Splitter()}
        lines: list[str] = []
        for (way, data), seconds in zip(self.chunks, self.times, strict=True):
            lead = f"{seconds * 1000:8.1f} ms {_ARROWS[way]} "
            lines += _describe_stream(splitters[way], data, lead)
        for way, splitter in splitters.items():
            if splitter.rest:
                lines.append(f"{'at end':>11} {_ARROWS[way]} {describe(splitter.rest)}")
        return "\n".join(lines) or "(nothing was sent or received)"


_ARROWS = {"up": "client →", "down": "← server"}


def _describe_stream(splitter: Splitter, data: bytes, lead: str) -> list[str]:
    """Describe the packets that `data` completes. After garbage it stays in splitter.rest."""
    lines = []
    try:
        for packet in splitter.feed(data):
            lines.append(lead + describe(packet))
    except WireError:
        # Nothing can be found behind it; the rest is shown once, at the end.
        return lines
    return lines


def payloads(packets: Sequence[Packet], topic: str | None = None) -> list[bytes]:
    """Return the payloads of the PUBLISH packets in `packets`, of one topic if it is given."""
    wanted = [p for p in packets if p.type == PUBLISH and topic in (None, p.topic)]
    return [packet.payload for packet in wanted]

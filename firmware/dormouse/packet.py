"""MQTT 3.1.1 wire format: bytes in, fields out, and back. Knows nothing else.

Section numbers are those of the OASIS standard, MQTT Version 3.1.1. Wrong arguments raise
ValueError or TypeError with the offending value, before a byte is made.
"""

# Named here, they are found at once: a built-in name costs more instructions than its call.
from builtins import bytearray, bytes, isinstance, len

from micropython import const

_SPARE = const(2048)  # bytes of a buffer that is kept for as long as a connection
_LONG = const(4096)  # bytes of a packet that comes to those only who set ``max_packet``


class MQTTError(Exception):
    """Every error that dormouse raises of its own, but for ValueError and TypeError."""


class ProtocolError(MQTTError):
    """The broker sent what the standard forbids, so the connection ends [MQTT-4.8.0-1].

    Its argument is the first byte of the packet: 0x20 CONNACK, 0x30 to 0x3F PUBLISH, 0x40 PUBACK,
    0x50 PUBREC, 0x62 PUBREL, 0x70 PUBCOMP, 0x90 SUBACK, 0xB0 UNSUBACK, 0xD0 PINGRESP. With a
    second argument the packet was longer than ``max_packet``; that is its remaining length. A third
    one is the topic, as ASCII, of a message that was read past.
    """


class ConnectionLost(MQTTError):
    """The connection ended: closed by the broker, silent for too long, or by ``disconnect``."""


class Refused(MQTTError):
    """The broker said no.

    ``code`` is the return code of a refusing CONNACK (section 3.2.2.3), or the list of those of a
    SUBACK in the order of the topic filters: the granted QoS, or 0x80 for a refused one. The
    granted ones are subscribed.
    """

    def __init__(self, *args) -> None:
        super().__init__(*args)
        self.code = args[-1]


class OutboxFull(MQTTError):
    """The outbox has no room, or what waited at QoS 0 had to make room."""


class SessionLost(MQTTError):
    """The broker took a QoS 2 message (PUBREC) and forgot its session before the handshake ended.

    Whether it passed the message on cannot be known; sending it again could double it.
    """


def number(n: int) -> bytes:
    """Return a two byte integer, high byte first (section 1.5.2). Raises ValueError."""
    if not 0 <= n < 65536:
        raise ValueError(n)
    return n.to_bytes(2, "big")


def binary(data) -> bytes:
    """Return two length bytes and the data; a str is encoded. Raises ValueError, TypeError."""
    if not isinstance(data, bytes):
        data = data.encode() if isinstance(data, str) else bytes(memoryview(data))
    return number(len(data)) + data


def string(text: str) -> bytes:
    """Return an MQTT string: strict UTF-8 without U+0000 [MQTT-1.5.3-1, 1.5.3-2].

    Raises TypeError for what is no str, ValueError for what is too long or not well formed.
    """
    data = ("" + text).encode()  # TypeError for what is no str
    if len(data) != len(text):  # what is as long as its text is ASCII
        from .text import check

        check(data, text)
    if "\0" in text:
        raise ValueError(text)
    return number(len(data)) + data


# The last topic name that was sent or came, encoded, and a packet's begin: most come again.
_last = "-", b"\0\1-", b"\0\0\0\1-"


def encode_topic(text: str, qos: int, wild: bool = False) -> bytes:
    """Return an encoded topic name, or with ``wild`` a topic filter, that goes with a QoS.

    Not empty; wildcards in filters only, alone in their level, # last [MQTT-4.7.1-1 to 4.7.1-3,
    4.7.3-1]. Raises ValueError or TypeError.
    """
    global _last
    last, data, _ = _last
    if text != last:
        data = string(text)
        if "#" in text or "+" in text:
            from .text import wildcards

            if not (wild and wildcards(text)):
                raise ValueError(text)
        # A long one is not to be held. (With 60 bytes of payload it still has one length byte.)
        elif 2 < len(data) < 66 and type(text) is str:
            _last = text, data, b"\0\0" + data
    if not text or qos not in (0, 1, 2):
        raise ValueError(text, qos)
    if qos is True or qos is False:  # umqtt and mqtt_as have retain in its place
        raise TypeError("qos, retain")
    return data


def frame(first: int, data, payload=b"") -> bytearray:
    """Return a whole packet: fixed header (section 2.2), data and payload, which are copied.

    Raises TypeError for a payload that is no buffer of bytes.
    """
    n = len(data) + len(payload)
    packet = bytearray(2)
    packet[0] = first
    end = n + 2
    while n > 127:
        packet[-1] = n & 0x7F | 0x80
        n >>= 7
        packet.append(0)
        end += 1
    packet[-1] = n
    packet += data
    packet += payload
    if len(packet) != end:  # its items are wider than a byte
        raise TypeError(payload)
    return packet


def Will(topic: str, payload=b"", qos: int = 0, retain: bool = False) -> tuple:
    """Return what the broker publishes for a client that dies without DISCONNECT (section 3.1.2.5).

    Raises ValueError or TypeError for a bad topic, QoS or payload.
    """
    return 4 | qos << 3 | bool(retain) << 5, encode_topic(topic, qos) + binary(payload)


def connect(client_id: str, clean: bool, keepalive: int, will, username, password) -> bytearray:
    """Return CONNECT (section 3.1). Raises ValueError or TypeError."""
    flags = clean << 1
    data = string(client_id)
    if not client_id and not clean:
        # A random one would be a new session at every start: nothing is ever resumed, and
        # the broker keeps each abandoned session and its queue for ever.
        raise ValueError("clean=False needs a fixed client_id")
    if will:
        will_flags, will_data = will
        flags |= will_flags
        data += will_data
    if username is not None:
        flags |= 0x80
        data += string(username)
    if password is not None:
        flags |= 0x40
        data += binary(password)
        if username is None:
            raise ValueError("username")  # [MQTT-3.1.2-22]
    return frame(0x10, b"\x00\x04MQTT\x04" + bytes((flags,)) + number(keepalive), data)


def publish(topic: str, payload, qos: int, retain: bool, pid: int) -> bytearray:
    """Return PUBLISH with DUP 0 (section 3.3), without identifier at QoS 0 [MQTT-2.3.1-5]."""
    if not isinstance(payload, bytes):
        payload = payload.encode() if isinstance(payload, str) else memoryview(payload)
    elif (
        topic == _last[0]
        and len(payload) < 61
        and qos in (0, 1, 2)
        and qos is not True
        and qos is not False
    ):
        # As what follows, in two thirds of the time: nothing of it has to be looked at.
        packet = bytearray(_last[2])
        if qos:
            packet.append(pid >> 8)
            packet.append(pid & 0xFF)
        packet += payload
        packet[0] = (0x31 if retain else 0x30) | qos << 1
        packet[1] = len(packet) - 2
        return packet
    packet = encode_topic(topic, qos)
    if qos:
        packet += number(pid)
    return frame((0x31 if retain else 0x30) | qos << 1, packet, payload)


def request(first: int, pid: int, filters) -> bytearray:
    """Return SUBSCRIBE (0x82) for pairs of topic filter and QoS, or UNSUBSCRIBE (0xA2) for
    topic filters (sections 3.8, 3.10). Raises ValueError or TypeError."""
    data = number(pid)
    for name in filters:
        if first == 0x82:
            name, qos = name
            data += encode_topic(name, qos, True) + bytes((qos,))
        else:
            data += encode_topic(name, 0, True)
    if len(data) < 3:
        raise ValueError(filters)  # [MQTT-3.8.3-3, 3.10.3-2]
    return frame(first, data)


def own(body, n: int):
    """Return what follows ``n`` bytes of a body, a payload, as bytes. Of a long packet, where there
    is no memory to hold it twice: as a bytearray, which is ``body`` itself."""
    if len(body) < _LONG:
        return bytes(body[n:])
    try:
        return bytes(memoryview(body)[n:])
    except MemoryError:
        body[:n] = b""
        return body


def read_publish(first: int, body) -> tuple:
    """Return topic, payload, QoS and packet identifier (0 at QoS 0). Raises ProtocolError."""
    qos = first >> 1 & 3
    end = 2 + (body[0] << 8 | body[1]) if len(body) > 1 else 0
    at = end + 2 if qos else end
    if len(body) < at or qos == 3 or first & 0xE == 8:  # [MQTT-3.3.1-4, 3.3.1-2]
        raise ProtocolError(first)
    name, data, _ = _last
    if body[:end] != data:
        try:
            name = str(body[2:end], "utf-8")
            encode_topic(name, qos)
        except ValueError:
            raise ProtocolError(first)
    pid = 0
    if qos:
        pid = body[end] << 8 | body[end + 1]
        if not pid:
            raise ProtocolError(first)
    return name, own(body, at), qos, pid


def reader(limit: int, handle, fault, owner):
    """Cut a byte stream into packets: a generator, to be started and then sent memoryviews.

    Calls ``handle(first, body)`` for each packet, whatever the chunks; ``body`` is valid during
    the call only, but a long one, a bytearray, is for who takes it. It yields where the rest of a
    packet goes, a memoryview, or None or an empty one: who reads straight into it, and sends back
    what of it was filled, saves a buffer and calls. That may also be where a whole packet goes: one
    as long as the longest so far. A packet takes ``limit`` bytes at most; what is longer is for
    ``owner.too_long``, which returns a generator that reads it, and returns where the next packet
    begins. ``owner.size`` is set to the length of a PUBLISH that comes in several chunks, and needs
    memory of its own. What it raises ends it: what ``fault`` makes of the packet's first byte,
    MemoryError, and what the others raise. With a ``fault`` of its own, MQTT 5's, a length must not
    have a byte too many either.
    """
    data = spare = b""
    size = i = 0
    while True:
        while i == size:
            data = yield spare
            size = len(data)
            i = 0
        first = data[i]
        i += 1
        if not first:
            raise fault(first)
        n = shift = 0
        c = 128
        while c > 127:
            while i == size:
                data = yield
                size = len(data)
                i = 0
            c = data[i]
            i += 1
            n |= (c & 0x7F) << shift
            shift += 7
            if shift > 7 and (shift > 21 if c > 127 else not c and fault != ProtocolError):
                raise fault(first)
        # The seam for streaming: here a body that is too large to hold is known.
        if n + shift // 7 >= limit:
            data, i, size = yield from owner.too_long(first, n, data, i)
            continue
        body = data[i : i + n]
        i += n
        if i > size:  # the rest comes in later chunks
            if first >> 4 == 3:
                owner.size = n  # until there was memory for it
            whole = None  # no longer held: its memory may be what this one needs
            whole = bytearray(n if n >= _LONG else n + shift // 7 + 1)
            owner.size = 0
            k = len(body)
            whole[:k] = body
            while k < n:
                data = yield memoryview(whole)[k:n]
                size = len(data)
                i = min(size, n - k)
                whole[k : k + i] = data[:i]
                k += i
            if first >> 4 == 3:
                owner.size = n
            handle(first, whole if n >= _LONG else memoryview(whole)[:n])
            owner.size = 0
            if len(spare) < n < _SPARE:
                # To read the next one at once, and without another buffer.
                spare = memoryview(whole)
        else:
            handle(first, body)

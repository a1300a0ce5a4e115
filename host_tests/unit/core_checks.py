"""Checks of packet.py, session.py and router.py that run on every runtime, with no test library.

Each ``check_*`` function is one test. pytest collects them on CPython (test_core.py); MicroPython
runs this file as a program, and it prints a line for each. Bytes are written out by hand from the
standard, MQTT 3.1.1, never made by the code that is checked.
"""

import gc
import sys
from array import array
from binascii import unhexlify

import dormouse
import dormouse.packet as packet
from dormouse.resume import reserve
from dormouse.session import Session

MS = 1000


def h(text):
    """Return the bytes that a text spells: pairs of hex digits, and 'letters' in quotes."""
    out = b""
    for i, part in enumerate(text.split("'")):
        out += part.encode() if i % 2 else unhexlify(part.replace(" ", ""))
    return out


def raises(error, function, *args, **kwargs):
    """Call; the error it must raise is returned."""
    try:
        result = function(*args, **kwargs)
    except error as e:
        return e
    raise AssertionError("no %s from %r %r: %r" % (error.__name__, args, kwargs, result))


def same(got, expected):
    assert got == expected, "got %r, expected %r" % (got, expected)


class Line:
    """A session and the bytes it would write and read."""

    def __init__(self, **options):
        self.kicks = 0
        options.setdefault("client_id", "c")
        options.setdefault("clean", False)
        self.session = Session(self.kick, **options)

    def kick(self):
        self.kicks += 1

    def written(self, now=0):
        """All that the session would write now."""
        out = b""
        while True:
            data = self.session.take(now)
            if not data:
                return out
            out += bytes(data)

    def writes(self, text, now=0):
        same(self.written(now), h(text))

    def reads(self, text, now=0):
        self.session.receive(memoryview(h(text)), now)

    def up(self, present=0, now=0):
        """Connect; what the session wrote after CONNACK is left for ``writes``."""
        self.session.lost()
        self.session.connect(now)
        same(self.written(now)[:1], b"\x10")
        self.reads("20 02 0%d 00" % present, now)
        return self


# --- packet.py: what is sent


# mqtt311: MQTT-2.2.2-1 MQTT-3.1.2-3 MQTT-3.1.2-9 MQTT-3.1.2-11 MQTT-3.1.2-13 MQTT-3.1.2-15
# mqtt311: MQTT-3.1.2-18 MQTT-3.1.2-19 MQTT-3.1.2-20 MQTT-3.1.2-21 MQTT-3.1.3-1 MQTT-3.1.3-3
def check_connect():
    connect = packet.connect
    same(connect("c", True, 60, None, None, None), h("10 0d 0004'MQTT' 04 02 003c 0001'c'"))
    same(connect("", True, 0, None, None, None), h("10 0c 0004'MQTT' 04 02 0000 0000"))
    will = packet.Will("w", b"off", qos=1, retain=True)
    same(
        connect("id", False, 10, will, "u", b"\x00p"),
        h("10 1d 0004'MQTT' 04 ec 000a 0002'id' 0001'w' 0003'off' 0001'u' 0002 00'p'"),
    )
    will = packet.Will("w", b"", qos=2)
    same(
        connect("c", True, 1, will, "u", None),
        h("10 15 0004'MQTT' 04 96 0001 0001'c' 0001'w' 0000 0001'u'"),
    )
    same(connect("c", True, 65535, None, "", "")[-4:], h("0000 0000"))


# mqtt311: MQTT-3.1.2-14 MQTT-3.1.2-22 MQTT-3.1.3-7
# mqtt5: MQTT-3.1.2-12
def check_connect_arguments():
    connect = packet.connect
    assert "fixed client_id" in str(raises(ValueError, connect, "", False, 60, None, None, None))
    raises(ValueError, connect, "c", True, 60, None, None, b"secret")
    raises(ValueError, connect, "c", True, 65536, None, None, None)
    raises(ValueError, connect, "c", True, -1, None, None, None)
    raises(ValueError, connect, "c" * 65536, True, 0, None, None, None)
    raises(ValueError, connect, "c", True, 0, None, "u\x00", None)
    raises(TypeError, connect, 7, True, 0, None, None, None)
    raises(TypeError, connect, "c", True, 0, None, "u", 5)
    raises(ValueError, connect, "c", True, 0, None, "u", b"x" * 65536)
    raises(ValueError, packet.Will, "a/#")
    raises(ValueError, packet.Will, "a", b"", 3)
    raises(ValueError, packet.Will, "a", b"x" * 65536)
    raises(TypeError, packet.Will, "a", 1.5)


def check_publish_again():
    """A topic that comes twice takes a short way: it must give what the long one gives."""
    for topic in ("a", "a" * 63, "a" * 64, "я" * 31, "я" * 32, "я" * 63, "木" * 21, "木" * 63):
        for n in (0, 60, 61, 200):
            for qos in (0, 1, 2):
                packet.encode_topic("other", 0)
                made = packet.publish(topic, b"x" * n, qos, True, qos and 7)
                same(packet.publish(topic, b"x" * n, qos, True, qos and 7), made)
                data = packet.string(topic) + (b"\0\7" if qos else b"")
                same(made, packet.frame(0x31 | qos << 1, data, b"x" * n))


# mqtt311: MQTT-2.3.1-1 MQTT-2.3.1-5 MQTT-3.3.2-1
def check_publish():
    publish = packet.publish
    same(publish("a/b", b"hi", 0, False, 0), h("30 07 0003'a/b' 'hi'"))
    same(publish("a", b"", 1, True, 1), h("33 05 0001'a' 0001"))
    same(publish("a", "\xe9", 2, False, 65535), h("34 07 0001'a' ffff c3a9"))
    same(publish("a", bytearray(b"x"), 0, False, 0), publish("a", memoryview(b"x"), 0, False, 0))
    # Remaining Length, table 2.4: the borders of one, two, three bytes.
    same(publish("a", b"x" * 124, 0, False, 0)[:2], h("30 7f"))
    same(publish("a", b"x" * 125, 0, False, 0)[:3], h("30 80 01"))
    same(publish("a", b"x" * 16380, 0, False, 0)[:3], h("30 ff 7f"))
    same(publish("a", b"x" * 16381, 0, False, 0)[:4], h("30 80 80 01"))
    wide = array("H", [1, 2, 3])  # three items, six bytes
    raises(TypeError, publish, "a", wide, 0, False, 0)
    same(packet.Will("a", wide)[1][3:5], h("0006"))
    payload = bytearray(b"1")
    p = publish("a", payload, 0, False, 0)
    payload[0] = 0
    same(p, h("30 04 0001'a' '1'"))


# mqtt311: MQTT-1.5.3-2 MQTT-1.5.3-3 MQTT-3.3.1-4 MQTT-3.3.2-2 MQTT-4.7.1-1 MQTT-4.7.1-2
# mqtt311: MQTT-4.7.1-3 MQTT-4.7.3-1 MQTT-4.7.3-2 MQTT-4.7.3-3
# mqtt5: MQTT-4.7.0-1 MQTT-4.7.1-1 MQTT-4.7.1-2 MQTT-4.7.3-1 MQTT-4.7.3-2 MQTT-4.7.3-3
def check_topics():
    for good in ("a", "/", "a//b", " ", "$SYS/x", "\xe9\u20ac\U0001f600", "a" * 65535, "\ufeffa"):
        packet.encode_topic(good, 0)
    same(packet.encode_topic("\ufeff", 0), h("0003 efbbbf"))
    for bad in ("", "a+", "+", "#", "a/#", "a\x00b", "a" * 65536, "\u20ac" * 21846):
        e = raises(ValueError, packet.encode_topic, bad, 0)
        assert e.args and (bad in e.args or len(bad) > 999), e
    for bad in (None, b"a", 3):
        raises(TypeError, packet.encode_topic, bad, 0)
    for qos in (-1, 3, "1", None):
        raises((ValueError, TypeError), packet.encode_topic, "a", qos)
    for good in ("a", "#", "+", "a/#", "/#", "+/+", "+/a/#", "a/+/b", "$share/g/a/#"):
        packet.encode_topic(good, 2, True)
    for bad in ("", "a#", "#/a", "a/#/b", "a+/b", "+a", "++", "##", "a/b#", "#/", "\x00"):
        raises(ValueError, packet.encode_topic, bad, 0, True)


ILL_FORMED = (
    "c0 80",
    "c1 bf",
    "e0 80 80",
    "e0 9f bf",
    "f0 80 80 80",
    "f0 8f bf bf",  # overlong
    "ed a0 80",
    "ed bf bf",  # surrogates
    "f4 90 80 80",
    "f5 80 80 80",
    "f8 88 80 80 80",
    "ff",
    "fe",  # above U+10FFFF
    "80",
    "41 80",
    "c3",
    "e2 82",
    "f0 9f 98",
    "c3 41",
    "e2 82 41",  # cut, or stray
    "00",
    "41 00 42",
)


# mqtt311: MQTT-1.5.3-1 MQTT-1.5.3-2 MQTT-3.3.2-1 MQTT-4.7.3-2
def check_utf8():
    for good in (
        "ed 9f bf",
        "ee 80 80",
        "e0 a0 80",
        "f0 90 80 80",
        "f4 8f bf bf",
        "c2 80",
        "df bf",
        "7f",
        "01",
    ):
        text = h(good)
        name = packet.read_publish(0x30, memoryview(packet.binary(text)))[0]
        same(name.encode(), text)
    for bad in ILL_FORMED:
        raises(packet.ProtocolError, packet.read_publish, 0x30, memoryview(packet.binary(h(bad))))


# mqtt311: MQTT-2.2.2-1 MQTT-2.3.1-1 MQTT-3.8.1-1 MQTT-3.8.3-3 MQTT-3-8.3-4 MQTT-3.10.1-1
# mqtt311: MQTT-3.10.3-1 MQTT-3.10.3-2
def check_request():
    same(
        packet.request(0x82, 10, [("a/b", 1), ("c/#", 2)]),
        h("82 0e 000a 0003'a/b' 01 0003'c/#' 02"),
    )
    same(packet.request(0xA2, 10, ["a/b", "c"]), h("a2 0a 000a 0003'a/b' 0001'c'"))
    raises(ValueError, packet.request, 0x82, 1, [])
    raises(ValueError, packet.request, 0xA2, 1, [])
    raises(ValueError, packet.request, 0x82, 1, [("a", 3)])


# --- packet.py: what is received


class Owner:
    """A reader's owner that takes nothing that is too long."""

    def too_long(self, first, n, data, i):
        raise packet.ProtocolError(first, n)


def reader(limit, got):
    """Return a reader, started, that appends packets to ``got``."""
    r = packet.reader(
        limit,
        lambda first, body: got.append((first, bytes(body))),
        packet.ProtocolError,
        Owner(),
    )
    next(r)
    return r


def packets(data, limit=4096, chunk=None):
    """Return what a reader makes of bytes, whole or cut into chunks: packets, then an error."""
    got = []
    r = reader(limit, got)
    try:
        for i in range(0, len(data), chunk or len(data) or 1):
            r.send(memoryview(data)[i : i + (chunk or len(data))])
    except packet.ProtocolError as e:
        # With a second argument: too large, and how large.
        got.append((type(e), e.args[1]) if len(e.args) > 1 else type(e))
    return got


# mqtt311: MQTT-7.1.2-1
def check_reader():
    data = (
        h("d000 40020001 3005 0001'a' 'hi' 9003 0001 00")
        + h("30 83 01 0001'a'")
        + b"x" * 128
        + h("d000")
    )
    expected = [
        (0xD0, b""),
        (0x40, h("0001")),
        (0x30, h("0001'a' 'hi'")),
        (0x90, h("0001 00")),
        (0x30, h("0001'a'") + b"x" * 128),
        (0xD0, b""),
    ]
    for chunk in (None, 1, 2, 3, 5, 7, 11, 64, 130):
        same(packets(data, chunk=chunk), expected)


def check_reader_limit():
    for n, header in ((10, 2), (127, 2), (128, 3), (16384, 4)):
        p = packet.frame(0x30, b"x" * n)
        same(len(p), n + header)
        for chunk in (None, 1):
            same(packets(p, len(p), chunk), [(0x30, b"x" * n)])
            same(packets(p, len(p) - 1, chunk), [(packet.ProtocolError, n)])
    same(packet.frame(0x30, bytes(33000))[:4], h("30 e88102"))
    same(packets(h("30 ff ff ff 7f")), [(packet.ProtocolError, 0xFFFFFFF)])
    same(packets(h("30 ff ff ff ff")), [packet.ProtocolError])
    same(packets(h("d000 00")), [(0xD0, b""), packet.ProtocolError])


# mqtt311: MQTT-1.5.3-3 MQTT-2.2.2-2 MQTT-3.3.1-2 MQTT-3.3.1-4 MQTT-3.3.2-1 MQTT-3.3.2-2
# mqtt311: MQTT-4.7.1-1 MQTT-4.7.3-1
def check_read_publish():
    def read(first, text):
        return packet.read_publish(first, memoryview(h(text)))

    for _ in range(2):  # no topic is remembered that is none
        raises(packet.ProtocolError, read, 0x30, "0000 'hi'")
    same(read(0x30, "0003'a/b' 'hi'"), ("a/b", b"hi", 0, 0))
    same(read(0x3B, "0001'a' 0007"), ("a", b"", 1, 7))
    same(read(0x34, "0001'a' ffff 00"), ("a", b"\x00", 2, 65535))
    same(read(0x30, "0003 efbbbf")[0], "\ufeff")
    for first, text in (
        (0x36, "0001'a' 0001"),  # QoS 3
        (0x38, "0001'a'"),  # DUP at QoS 0
        (0x32, "0001'a' 0000"),  # identifier 0
        (0x32, "0001'a' 00"),
        (0x32, "0001'a'"),
        (0x30, "0000"),  # no topic
        (0x30, "0002'a'"),
        (0x30, "00"),
        (0x30, ""),
        (0x30, "0001'+'"),
        (0x30, "0003'a/#'"),
        (0x30, "ffff'a'"),
    ):
        raises(packet.ProtocolError, read, first, text)


# --- session.py: connecting


# mqtt311: MQTT-3.1.0-1 MQTT-3.2.2-2
def check_connack():
    line = Line()
    line.session.connect(0)
    line.session.publish("a", b"", 1)
    line.writes("10 0d 0004'MQTT' 04 00 003c 0001'c'")  # and nothing else before CONNACK
    line.reads("20 02 01 00")
    line.writes("32 05 0001'a' 0001")
    same(line.session.resumed, 1)


def check_connack_refused():
    words = ("version", "Client identifier", "unavailable", "user name", "authorized")
    for code in range(1, 6):
        line = Line()
        line.session.connect(0)
        e = raises(dormouse.Refused, line.reads, "20 02 00 0%d" % code)
        same(e.code, code)
        assert words[code - 1] in str(e), e
    line = Line()
    line.session.connect(0)
    same(raises(dormouse.Refused, line.reads, "20 02 01 05").code, 5)  # as amqtt says it


def check_connack_refuses_as_mqtt_5_does():
    # An older mochi-mqtt does, also to who speaks 3.1.1. It has made no session: nothing is lost.
    for code, words in (("86", "user name"), ("89", "busy"), ("ff", "0xff")):
        line = Line().up()
        o = line.session.publish("a", b"", 2)
        line.written()
        line.reads("50 02 %04x" % o.pid)
        line.session.lost()
        line.session.connect(0)
        line.written()
        e = raises(dormouse.Refused, line.reads, "20 02 00" + code)
        same(e.code, h(code)[0])
        assert words in str(e), e
        line.session.lost()
        line.up(present=1).writes("62 02 %04x" % o.pid)
        line.reads("70 02 %04x" % o.pid)
        same((o.done, o.error), (True, None))


# mqtt311: MQTT-2.2.2-2 MQTT-3.2.0-1 MQTT-3.2.2-1
def check_connack_bad():
    for text in (
        "20 02 02 00",  # reserved flag
        "20 02 00 06",  # reserved code
        "20 03 00 00 00",
        "20 01 00",
        "21 02 00 00",  # flags
        "d0 00",  # not CONNACK [MQTT-3.2.0-1]
        "30 03 0001'a'",
        "40 02 00 01",
    ):
        line = Line()
        line.session.connect(0)
        raises(packet.ProtocolError, line.reads, text)
    line = Line(clean=True)
    line.session.connect(0)
    raises(packet.ProtocolError, line.reads, "20 02 01 00")  # [MQTT-3.2.2-1]
    raises(packet.ProtocolError, Line().up().reads, "20 02 00 00")  # a second one


# mqtt311: MQTT-2.2.2-2 MQTT-4.8.0-1
def check_out_of_place():
    for text in (
        "10 0d 0004'MQTT' 04 02 003c 0001'c'",  # what only a server receives
        "82 06 0001 0001'a' 00",
        "a2 05 0001 0001'a'",
        "c0 00",
        "e0 00",
        "f0 00",
        "00 00",
        "d1 00",  # flags [MQTT-2.2.2-2]
        "41 02 0001",
        "60 02 0001",
        "63 02 0001",
        "d0 01 00",  # lengths
        "40 01 00",
        "40 03 0001 00",
        "62 02 0000",  # identifier 0
    ):
        raises(packet.ProtocolError, Line().up().reads, text)


# --- session.py: sending


# mqtt311: MQTT-2.3.1-5 MQTT-3.3.1-2 MQTT-4.3.1-1
def check_qos0():
    line = Line().up()
    o = line.session.publish("a", b"x")
    assert not o.done
    line.writes("30 04 0001'a' 'x'")
    assert o.done and not o.error
    line.up(present=1).writes("")


# mqtt311: MQTT-4.3.2-1
def check_qos1():
    line = Line().up()
    o = line.session.publish("a", b"x", 1)
    line.writes("32 06 0001'a' 0001 'x'")
    assert not o.done
    line.reads("40 02 0001")
    assert o.done and not o.error
    line.up(present=1).writes("")


# mqtt311: MQTT-2.3.1-3 MQTT-3.1.2-4 MQTT-3.2.2-2 MQTT-3.3.1-1 MQTT-4.3.2-1 MQTT-4.4.0-1
def check_qos1_lost_puback():
    line = Line().up()
    o = line.session.publish("a", b"x", 1)
    line.writes("32 06 0001'a' 0001 'x'")
    line.writes("", now=60 * MS)  # never again on a live connection [MQTT-4.4.0-1]
    line.up(present=1).writes("3a 06 0001'a' 0001 'x'")
    line.up(present=1).writes("3a 06 0001'a' 0001 'x'")
    line.reads("40 02 0001")
    assert o.done


# mqtt311: MQTT-2.2.2-1 MQTT-2.3.1-6 MQTT-3.6.1-1 MQTT-4.3.3-1
def check_qos2():
    line = Line().up()
    o = line.session.publish("a", b"x", 2)
    line.writes("34 06 0001'a' 0001 'x'")
    line.reads("50 02 0001")
    line.writes("62 02 0001")
    assert not o.done and not o.packet
    line.reads("70 02 0001")
    assert o.done and not o.error


# mqtt311: MQTT-2.3.1-3 MQTT-3.3.1-1 MQTT-4.3.3-1 MQTT-4.4.0-1
def check_qos2_lost_at_each_step():
    line = Line().up()
    o = line.session.publish("a", b"x", 2)
    line.writes("34 06 0001'a' 0001 'x'")
    line.up(present=1).writes("3c 06 0001'a' 0001 'x'")  # PUBLISH or PUBREC lost
    line.reads("50 02 0001")  # PUBREL is made, but never written
    line.up(present=1).writes("62 02 0001")
    line.reads("50 02 0001")  # the broker repeats PUBREC
    line.writes("62 02 0001")
    line.up(present=1).writes("62 02 0001")  # PUBCOMP lost; no PUBLISH any more [MQTT-4.3.3-1]
    line.reads("70 02 0001")
    assert o.done
    line.up(present=1).writes("")


def check_pubrec_before_the_repeat():
    # A broker may repeat its PUBREC before the client repeated its PUBLISH.
    line = Line(window=1).up()
    line.session.publish("a", b"x", 2)
    line.written()
    line.session.lost()
    line.session.connect(0)
    line.written()
    line.reads("20 02 01 00 50 02 0001")
    line.writes("62 02 0001")


# mqtt311: MQTT-3.1.2-4 MQTT-4.1.0-1 MQTT-4.4.0-1 MQTT-4.6.0-1 MQTT-4.6.0-4
def check_resume_order():
    line = Line().up()
    for qos in (2, 1, 2, 1, 2):
        line.session.publish("a", b"", qos)
    line.written()
    line.reads("50 02 0003 50 02 0001")  # PUBRECs, and in this order the PUBRELs [MQTT-4.6.0-4]
    line.writes("62 02 0003 62 02 0001")
    line.session.publish("b", b"", 1)
    line.up(present=1)
    line.writes(
        "62 02 0003 62 02 0001  3a 05 0001'a' 0002  3a 05 0001'a' 0004  3c 05 0001'a' 0005"
        " 32 05 0001'b' 0006"
    )


# mqtt311: MQTT-3.2.2-3
def check_session_gone():
    line = Line().up()
    s = line.session
    done = [s.publish("a", b"", qos) for qos in (1, 2, 2)]
    line.written()
    line.reads("50 02 0003")
    line.written()
    line.up(present=0)
    line.writes("32 05 0001'a' 0001  34 05 0001'a' 0002")  # anew: no DUP
    assert isinstance(done[2].error, dormouse.SessionLost) and done[2].done
    line.reads("40 02 0001 50 02 0002")
    line.writes("62 02 0002")
    line.reads("70 02 0002")
    assert done[0].done and done[1].done and not s.outbox


# mqtt311: MQTT-2.3.1-1 MQTT-2.3.1-2 MQTT-2.3.1-3 MQTT-4.3.2-1 MQTT-4.3.3-1
def check_identifiers():
    line = Line(outbox=10, pid=65533).up()
    s = line.session
    pids = [s.publish("a", b"", 1).pid for _ in range(4)]
    same(pids, [65534, 65535, 1, 2])
    line.written()
    s.pid = 65533
    same(s.request(0x82, [("a", 0)]).pid, 3)  # none that is in use [MQTT-2.3.1-2]
    line.reads("40 02 ffff")
    s.pid = 65533
    same(s.publish("a", b"", 2).pid, 65535)


def check_window():
    line = Line(window=2).up()
    s = line.session
    for i, qos in enumerate((2, 1, 1, 0, 2)):
        s.publish("a", b"%d" % i, qos)
    s.request(0x82, [("b", 1)])
    line.writes("34 06 0001'a' 0001 '0' 32 06 0001'a' 0002 '1'  82 06 0005 0001'b' 01")
    line.reads("50 02 0001")  # its place is free at PUBCOMP only
    line.writes("62 02 0001")
    kicks = line.kicks
    line.reads("40 02 0002")
    assert line.kicks > kicks
    line.writes("32 06 0001'a' 0003 '2' 30 04 0001'a' '3'")
    line.reads("70 02 0001")
    line.writes("34 06 0001'a' 0004 '4'")


def check_burst():
    line = Line().up()
    for i in range(3):
        line.session.publish("a", b"%d" % i, 1)
    same(len(line.session.take(0)), 24)  # one piece
    same(line.session.take(0), None)
    line.session.publish("a", b"y" * 600, 1)  # too large to be put behind another
    line.session.publish("b", b"")
    line.session.publish("c", b"z" * 530)
    line.session.publish("d", b"")
    same([len(line.session.take(0)) for _ in range(4)], [608, 5, 536, 5])
    same(line.session.take(0), None)


# mqtt311: MQTT-4.8.0-1
def check_wrong_acknowledgements():
    # An answer of the wrong kind ends its message at most, and is told; nothing behind it.
    for qos, text, done, more in (
        (1, "50020001", False, "62 02 0001"),  # it takes it for QoS 2
        (1, "70020001", True, ""),
        (2, "40020001", True, ""),  # as RabbitMQ does
        (2, "70020001", True, ""),
        (1, "90030001 00", False, ""),
        (1, "40020002", False, ""),
        (1, "b0020001", False, ""),
    ):
        line = Line().up()
        s = line.session
        o = s.publish("a", b"", qos)
        line.written()
        line.reads(text)
        same((o.done, o.error), (done, None))
        line.writes(more)
        assert more or isinstance(s.trouble, packet.ProtocolError)
        same(s.troubles, not more)
        line.reads("40020001" if qos == 1 and not more else "70020001")
        same((o.done, o.error, s.outbox), (True, None, []))
    line = Line().up()
    o = line.session.publish("a", b"", 1)
    line.reads("40020001")  # before it was sent
    same((o.done, line.session.troubles), (False, 1))


def check_forgotten_handshakes():
    # After a restart with nothing remembered the broker may be in the middle of one: end it.
    line = Line().up(present=1)
    line.reads("50 02 0009")
    line.writes("62 02 0009")
    line.reads("70 02 0009 62 02 0008")
    line.writes("70 02 0008")


def check_room():
    # The rest of a packet is read straight to where it goes, whatever comes of it at once.
    line = Line().up()
    s = line.session
    whole = bytes(packet.publish("a", b"0123456789" * 20, 0, False, 0))
    room = None
    for first in (1, 2, 3, 5, 100):
        for step in (1, 7, 1000):
            assert bool(room) == (first + step > 2)
            room = s.receive(memoryview(whole[:first]), 0)
            at = first
            while at < len(whole):
                data = memoryview(whole)[at : at + min(step, len(room) if at > 3 else 3)]
                if at > 3:
                    assert len(room) == len(whole) - at
                    room[: len(data)] = data
                    data = room[: len(data)]
                at += len(data)
                room = s.receive(data, 0)
            same(s.inbox.pop(0).payload, b"0123456789" * 20)
    # The next one as a whole: nothing that is kept is of that place. With another one's begin.
    assert len(room) == len(whole)
    for payload in (b"9876543210" * 20, b"0123456789" * 20):
        room[:] = packet.publish("a", payload, 0, False, 0)
        s.receive(room, 0)
        same(s.inbox[-1].payload, payload)
    longer = bytes(packet.publish("a", b"9876543210" * 30, 0, False, 0))
    room[:] = bytes(packet.publish("a", b"ab" * 99, 0, False, 0)) + longer[:2]
    s.receive(room, 0)
    room = s.receive(memoryview(longer)[2:100], 0)
    room = s.receive(memoryview(longer)[100:], 0)
    same([m.payload[:3] for m in s.inbox], [b"987", b"012", b"aba", b"987"])
    assert len(room) == len(longer)
    # A long one is not kept, and none for longer than a connection.
    huge = bytes(packet.publish("a", bytes(2100), 0, False, 0))
    room = s.receive(memoryview(huge)[:100], 0)
    room[:] = huge[100:]
    room = s.receive(room, 0)
    same(len(s.inbox[-1].payload), 2100)
    assert len(room) == len(longer)
    s.lost()
    s.connect(0)
    s.take(0)
    assert not s.receive(memoryview(b"\x20"), 0)


def check_reserve():
    # What is of the class until it changes is the session's own then, whatever type it has.
    s = Session(lambda: None, "c")
    assert "past" not in s.__dict__
    reserve(s)
    for name in ("past", "unsure", "paused", "ended", "lacking", "late", "trouble", "turn", "size"):
        assert name in s.__dict__, name
    assert "publish" not in s.__dict__ and "_fault" not in s.__dict__
    same((s.past, s.lacking, s.trouble), (False, (0, 0), None))


def check_room_in_the_outbox():
    # What is counted is what is there, whatever way it left.
    line = Line(outbox=4, outbox_bytes=300).up()
    s = line.session

    def counted():
        packets = [o.packet for o in s.outbox if o.packet]
        same((s.bulk, s.used), (sum([len(p) for p in packets]), len(packets)))
        same(sorted(s.pids), sorted([o.pid for o in s.outbox if o.expect]))

    first, second = s.publish("a", b"1", 1), s.publish("a", b"2", 2)
    s.publish("a", b"3")
    counted()
    s.publish("a", b"4")
    s.publish("a", b"5")  # the oldest at QoS 0 makes room
    counted()
    line.written()
    counted()
    line.reads("50 02 0002")
    counted()
    line.reads("40 02 0001")
    counted()
    s.lost()
    s.withdraw(first)
    counted()
    assert first.done and not second.done


def check_flood():
    # Answers are not heaped up for a peer that does not take them.
    line = Line().up()
    raises(dormouse.ConnectionLost, line.reads, "62020001" * 1000)
    line = Line(inbox_bytes=1 << 20).up()
    s = line.session
    for pid in range(1, 5000):  # never a PUBREL
        s.receive(memoryview(packet.publish("a", b"", 2, False, pid)), 0)
        s.inbox.pop(0).ack()
        line.written()
    same(len(s.released), 100)  # no broker has more in flight


def check_withdraw():
    line = Line(window=1).up()
    s = line.session
    a, b = s.publish("a", b"", 2), s.publish("b", b"", 2)
    line.writes("34 05 0001'a' 0001")
    s.withdraw(a)
    s.withdraw(b)
    s.withdraw(b)
    same(s.outbox, [a])
    line.reads("50 02 0001")
    line.writes("62 02 0001")
    line.reads("70 02 0001")
    s.withdraw(a)
    line.writes("")


def check_outbox():
    s = Line(outbox=3, outbox_bytes=100).session
    a, b = s.publish("a", b"1"), s.publish("a", b"2", 1)
    c = s.publish("a", b"3")
    d = s.publish("a", b"4", 1)  # drops the oldest at QoS 0
    assert a.done and isinstance(a.error, dormouse.OutboxFull)
    e = s.publish("a", b"5")
    assert c.done and not b.done
    same(s.outbox, [b, d, e])
    s.publish("a", b"6", 2)
    raises(dormouse.OutboxFull, s.publish, "a", b"7", 1)
    raises(dormouse.OutboxFull, s.publish, "a", b"7")
    same(len(s.outbox), 3)
    s = Line(outbox_bytes=100).session
    s.publish("a", b"x" * 60, 1)
    raises(dormouse.OutboxFull, s.publish, "a", b"x" * 60, 1)
    raises(ValueError, s.publish, "a", b"x" * 96)  # could never fit
    s.publish("a", b"x" * 20, 1)
    raises(ValueError, s.publish, "a", b"", 3)
    raises(ValueError, s.publish, "a/#")
    raises(TypeError, s.publish, "a", 5)
    raises(TypeError, s.publish, "a", [1])
    raises(TypeError, s.publish, "a", None)
    same(len(s.outbox), 2)


def check_limits():
    for limits in ({"window": 0}, {"outbox": 0}, {"timeout": 0}, {"max_packet": 9000}):
        assert "limits" in str(raises(ValueError, Line, **limits))
    raises(TypeError, Line, window="x")


# mqtt311: MQTT-2.2.2-1 MQTT-3.14.1-1 MQTT-3.14.4-2
def check_disconnect():
    line = Line(window=1).up()
    line.session.publish("a", b"", 1)
    line.session.publish("b", b"", 1)
    line.session.disconnect()
    line.writes("32 05 0001'a' 0001 e000")
    line.session.publish("c")
    line.reads("40 02 0001 32 05 0001'd' 0001")
    line.session.inbox[0].ack()
    line.writes("")  # nothing after DISCONNECT [MQTT-3.14.4-2]
    line.session.disconnect()
    line.writes("")
    line.up(present=1).writes("32 05 0001'b' 0002 30 03 0001'c'")


# --- session.py: subscribing


# mqtt311: MQTT-3.10.4-5
def check_subscribe():
    line = Line().up()
    s = line.session
    o = s.request(0x82, [("a", 1), ("b/#", 2), ("c", 0)])
    line.writes("82 10 0001 0001'a' 01 0003'b/#' 02 0001'c' 00")
    line.reads("90 05 0001 01 80 00")
    same(o.codes, [1, 0x80, 0])
    same(o.error.code, o.codes)
    assert o.done and isinstance(o.error, dormouse.Refused)
    same(s.filters, {"a": 1, "c": 0})
    o = s.request(0xA2, ["a", "never"])
    line.writes("a2 0c 0002 0001'a' 0005'never'")
    line.reads("b0 02 0002")
    assert o.done and not o.error
    same(s.filters, {"c": 0})


# mqtt311: MQTT-3.8.4-5 MQTT-3.9.3-2
def check_suback_bad():
    for text in (
        "90 04 0001 00 00",
        "90 02 0001",
        "90 03 0001 03",
        "90 03 0001 7f",
    ):
        line = Line().up()
        o = line.session.request(0x82, [("a", 1)])
        line.writes("82 06 0001 0001'a' 01")
        line.reads(text)  # it ends this request, and nothing else
        assert o.done and isinstance(o.error, packet.ProtocolError), text
        same(line.session.filters, {})
        line.session.request(0x82, [("a", 1)])
        line.writes("82 06 0002 0001'a' 01")
        line.reads("90 03 0002 01")
        same(line.session.filters, {"a": 1})


def check_suback_refuses_as_mqtt_5_does():
    # ejabberd answers a filter that is too deep so, also to who speaks 3.1.1.
    line = Line().up()
    o = line.session.request(0x82, [("a", 1), ("b/#", 1)])
    line.writes("82 0c 0001 0001'a' 01 0003'b/#' 01")
    line.reads("90 04 0001 01 8f")
    assert o.done and isinstance(o.error, dormouse.Refused)
    same(o.error.code, [1, 0x8F])
    same(line.session.filters, {"a": 1})


def check_what_is_asked_for_counts_behind_what_is_repeated():
    # The broker forgot while an UNSUBSCRIBE, or a SUBSCRIBE with another QoS, was under way: that
    # one goes last, so what the application is told is what there is.
    for first, filters, text, answer, left in (
        (0xA2, ["a"], "a2 05 0002 0001'a'", "b0 02 0002", {"b": 0}),
        (0x82, [("a", 2)], "82 06 0002 0001'a' 02", "90 03 0002 02", {"a": 2, "b": 0}),
    ):
        line = Line().up()
        s = line.session
        s.request(0x82, [("a", 0), ("b", 0)])
        line.written()
        line.reads("90 04 0001 00 00")
        s.publish("x", b"", 2)
        line.written()
        line.reads("50 02 0002")
        line.written()
        line.reads("70 02 0002")
        s.pid = 1
        o = s.request(first, filters)
        line.writes(text)
        for pid in (3, 4):  # again, behind a connection that says so, too
            line.up(present=0).writes("82 0a %04x 0001'a' 00 0001'b' 00" % pid + text)
        line.reads("90 04 0004 00 00" + answer)
        same((o.done, o.error, s.filters, s.outbox), (True, None, left, []))


# mqtt311: MQTT-3.2.2-2 MQTT-3.2.2-3
def check_subscribe_again():
    line = Line().up()
    s = line.session
    s.request(0x82, [("a", 1)])
    line.writes("82 06 0001 0001'a' 01")
    line.up(present=1).writes("82 06 0001 0001'a' 01")  # SUBACK lost
    line.reads("90 03 0001 01")
    line.up(present=1).writes("")  # the broker knows
    s.publish("x", b"", 1)
    line.up(present=0).writes("82 06 0003 0001'a' 01 32 05 0001'x' 0002")  # first of all
    line.up(present=0).writes("82 06 0004 0001'a' 01 32 05 0001'x' 0002")  # once
    # The broker may know the session of that connection, and not have had the SUBSCRIBE.
    line.up(present=1).writes("82 06 0004 0001'a' 01 3a 05 0001'x' 0002")
    line.reads("90 03 0004 80")  # nobody waits for it: it is told, and ends nothing
    assert isinstance(s.trouble, dormouse.Refused)
    same((s.trouble.code, s.troubles), ([0x80], 1))
    same(s.filters, {})
    line.reads("40 02 0002")
    # It is asked for again at each connection, behind all else, until it is granted.
    line.up(present=1).writes("c000")
    line.reads("d000")
    line.writes("82 06 0005 0001'a' 01")
    line.reads("90 03 0005 01")
    same((s.filters, s.suspects), ({"a": 1}, 0))
    line.up(present=1).writes("")


# --- session.py: receiving


def take(line):
    """The application takes the next message."""
    return line.session.inbox.pop(0)


# mqtt311: MQTT-2.2.2-1 MQTT-2.3.1-6 MQTT-3.3.1-8 MQTT-3.3.1-9 MQTT-3.3.4-1 MQTT-4.3.2-2
# mqtt311: MQTT-4.3.3-2 MQTT-4.5.0-2
def check_receive():
    line = Line().up()
    line.reads("31 04 0001'a' 'x'  32 05 0001'b' 0005  34 05 0001'c' 0006")
    a, b, c = take(line), take(line), take(line)
    same((a.topic, a.payload, a.qos, a.retain), ("a", b"x", 0, True))
    same((b.qos, b.retain, c.qos), (1, False, 2))
    line.writes("")  # acknowledged when the application is done, not before
    a.ack()
    line.writes("")
    b.ack()
    line.writes("40 02 0005")
    c.ack()
    c.ack()
    b.ack()
    line.writes("50 02 0006")
    line.reads("62 02 0006")
    line.writes("70 02 0006")


# mqtt311: MQTT-4.6.0-2 MQTT-4.6.0-3
def check_acknowledged_in_order():
    line = Line().up()
    line.reads("3205 0001'a' 0001 3405 0001'a' 0002 3205 0001'a' 0003 3405 0001'a' 0004")
    a, b, c, d = (take(line) for _ in range(4))
    d.ack()
    c.ack()
    line.writes("")
    b.ack()  # QoS 1 and 2 apart [MQTT-4.6.0-2, 4.6.0-3]
    line.writes("50020002 50020004")
    a.ack()
    line.writes("40020001 40020003")


# mqtt311: MQTT-3.1.2-4 MQTT-4.1.0-1 MQTT-4.3.3-2
def check_qos2_suppressed():
    line = Line().up()
    line.reads("34 05 0001'a' 0001")
    m = take(line)
    line.up(present=1)
    line.reads("3c 05 0001'a' 0001")  # while the application has it
    same(line.session.inbox, [])
    line.writes("")
    m.ack()
    line.writes("50 02 0001")
    line.up(present=1)
    line.reads("3c 05 0001'a' 0001")  # PUBREC lost
    same(line.session.inbox, [])
    line.writes("50 02 0001")
    line.reads("62 02 0001")
    line.writes("70 02 0001")
    line.reads("62 02 0001")  # PUBCOMP lost
    line.writes("70 02 0001")
    line.reads("34 05 0001'a' 0001")  # a new message [MQTT-4.3.3-2]
    same(len(line.session.inbox), 1)


def check_acknowledged_while_offline():
    line = Line().up()
    line.reads("32 05 0001'a' 0001 34 05 0001'b' 0002 32 05 0001'c' 0003")
    a, b, c = (take(line) for _ in range(3))
    line.session.lost()
    a.ack()
    b.ack()
    line.up(present=1)
    line.writes("")  # the broker repeats first
    line.reads("34 05 0001'd' 0009")
    take(line).ack()
    line.writes("50 02 0009")  # nothing is held up by what may never be repeated
    line.reads("3a 05 0001'a' 0001 3c 05 0001'b' 0002 3a 05 0001'c' 0003")
    same(line.session.inbox, [])
    line.writes("40 02 0001 50 02 0002")
    c.ack()
    line.writes("40 02 0003")


def check_identifier_used_again():
    line = Line().up()
    line.reads("32 05 0001'a' 0001")
    old = take(line)
    line.up(present=1)
    line.reads("32 05 0001'b' 0001")  # no DUP: another message
    same(take(line).topic, "b")
    old.ack()
    line.writes("")
    line.reads("34 05 0001'c' 0002")
    old = take(line)
    line.up(present=1)
    line.reads("32 05 0001'd' 0002")
    d = take(line)
    line.up(present=1)
    line.reads("3a 05 0001'd' 0002")  # repeats d, which is held, and not c
    same(line.session.inbox, [])
    d.ack()
    line.writes("40 02 0002")


def check_new_message_under_an_old_identifier():
    # The broker forgot its session, and the CONNACK that said so was lost: what it sends with DUP 0
    # is new [MQTT-3.3.1-1], whatever the identifier meant before.
    line = Line().up()
    line.reads("34 06 0001't' 0001 '1' 34 06 0001't' 0002 '2'")
    line.session.inbox[0].ack()
    line.writes("50 02 0001")
    line.session.connect(0)
    line.written()
    line.session.lost()
    line.up(1)
    line.reads("34 06 0001't' 0001 '3' 34 06 0001't' 0002 '4'")
    same([m.payload for m in line.session.inbox], [b"1", b"2", b"3", b"4"])
    for m in line.session.inbox:
        m.ack()
    line.writes("50 02 0001 50 02 0002")
    line.reads("3c 06 0001't' 0001 '3'")  # and this is the same once more
    line.writes("50 02 0001")
    same(len(line.session.inbox), 4)


def check_broker_forgot():
    line = Line().up()
    line.reads("34 05 0001'a' 0001 34 05 0001'b' 0002")
    a, b = take(line), line.session.inbox[0]
    b.ack()
    line.up(present=0)
    a.ack()
    line.writes("")
    line.reads("34 05 0001'c' 0001 34 05 0001'd' 0002")  # new messages with old identifiers
    same([m.topic for m in line.session.inbox], ["b", "c", "d"])


# mqtt311: MQTT-3.1.2-6
def check_clean_session():
    line = Line(clean=True).up()
    line.session.publish("a", b"", 2)
    line.written()
    line.reads("34 05 0001'a' 0001")
    take(line).ack()
    line.written()
    line.up()
    line.writes("34 05 0001'a' 0001")
    line.reads("3c 05 0001'a' 0001")  # [MQTT-3.1.2-6]
    same(len(line.session.inbox), 1)


# mqtt311: MQTT-4.8.0-2
def check_inbox():
    raises(ValueError, Line, inbox_bytes=200)  # what never fits would come again for ever
    line = Line(inbox_bytes=200, max_packet=100).up()
    s = line.session
    for full in (False, False, True):
        line.reads("30 06 0001'a' 'xyz'")
        same(s.behind(), full)
    # The driver reads no more, so the PINGRESP that lies there is not missed.
    s.paused = True
    s.tick(50 * MS)
    line.writes("", now=50 * MS)
    for now in (60 * MS, 120 * MS, 150 * MS):
        s.tick(now)
    line.writes("c000c000c000", now=150 * MS)
    # But for an answer that the application waits for.
    s.paused = False
    s.shed = True
    o = s.publish("b", b"", 1)
    line.writes("32 05 0001'b' 0001", now=150 * MS)
    line.reads("32 08 0001'a' 0001 'xyz' 30 06 0001'a' 'xyz' 40 02 0001", now=150 * MS)
    same((o.done, len(s.inbox), s.dropped), (True, 3, 1))
    line.writes("", now=150 * MS)  # it is left to the broker
    s.inbox.clear()
    e = raises(dormouse.ConnectionLost, s.take, 150 * MS)
    assert "inbox" in str(e) and e.again
    line.up(present=1).reads("3a 08 0001'a' 0001 'xyz'")
    same(len(s.inbox), 1)


# --- session.py: time


# mqtt311: MQTT-2.2.2-1 MQTT-3.1.2-23
def check_keepalive():
    line = Line(keepalive=40)
    s = line.session
    line.up(now=0)
    left = s.tick(0)
    assert 30 * MS < left < 40 * MS
    line.writes("", now=left - 1)
    s.tick(left - 1)
    line.writes("", now=left - 1)
    same(s.tick(left), 10 * MS)
    line.writes("c0 00", now=left)
    line.reads("d0 00", now=left + 5)
    same(s.tick(left + 5), left - 5)
    # Sending puts it off, but only while something is heard too.
    t = left + 5
    for _ in range(3):
        t += 20 * MS
        s.publish("a", b"", 1)
        line.written(t)
        pid = s.pid
        line.reads("40 02 000%d" % pid, now=t)
        same(s.tick(t), left)
    t += 20 * MS
    s.publish("a")
    line.writes("30 03 0001'a'", now=t)
    t += 16 * MS
    s.tick(t)
    line.writes("c0 00", now=t)  # sent a while ago, but nothing was heard for long


# mqtt311: MQTT-3.12.4-1
def check_no_answer():
    line = Line(keepalive=40, timeout=3000)
    s = line.session
    s.connect(0)
    line.written()
    same(s.tick(1), 2999)
    raises(dormouse.ConnectionLost, s.tick, 3000)
    line.up(now=0)
    s.tick(39 * MS)
    line.writes("c0 00", now=39 * MS)
    same(s.tick(39 * MS + 1), 2999)
    raises(dormouse.ConnectionLost, s.tick, 42 * MS)


def check_keepalive_shorter_than_timeout():
    # An answer may come at once, and the next ping be due before the wait for it would end.
    line = Line(keepalive=1, timeout=10000)
    s = line.session
    s.connect(0)
    line.written()
    assert s.tick(0) <= 1000
    line.reads("20 02 00 00")
    assert s.tick(900) <= 1000
    line.writes("c0 00", now=900)
    line.reads("d0 00", now=901)
    assert s.tick(1000) <= 900


def check_no_keepalive():
    line = Line(keepalive=0).up()
    assert line.session.tick(1000 * MS) > 1000 * MS
    line.writes("", now=1000 * MS)


def check_clock_wraps():
    for period in (1 << 30, 1 << 62):
        now = period - 5
        line = Line(keepalive=40).up(now=now)
        left = line.session.tick(now)
        same(line.session.tick((now + 10) % period), left - 10)
        line = Line(timeout=3000)
        line.session.connect(now)
        same(line.session.tick((now + 10) % period), 2990)


# --- router.py


# mqtt311: MQTT-4.7.2-1 MQTT-4.7.3-4
# mqtt5: MQTT-4.7.2-1 MQTT-4.7.3-4
def check_matches():
    from dormouse.router import matches

    for pattern, topic in (
        ("a", "a"),
        ("a/b", "a/b"),
        ("#", "a"),
        ("#", "a/b"),
        ("#", "/"),
        ("a/#", "a"),
        ("a/#", "a/b/c"),
        ("+", "a"),
        ("+/+", "/a"),
        ("/+", "/a"),
        ("a/+/c", "a/b/c"),
        ("a/+/c", "a//c"),
        ("+/b/#", "a/b/c/d"),
        ("$SYS/#", "$SYS/x"),
        ("$SYS/+", "$SYS/x"),
        ("a/$b/#", "a/$b"),
        ("a/+", "a/$b"),
        ("a/+", "a/"),
    ):
        assert matches(pattern, topic), (pattern, topic)
    for pattern, topic in (
        ("a", "b"),
        ("a", "a/b"),
        ("a/b", "a"),
        ("A", "a"),
        ("+", "a/b"),
        ("+", "/a"),
        ("a/+", "a"),
        ("a/+/c", "a/b/d"),
        ("a/#", "b"),
        ("a/#", "ab"),
        ("/a", "a"),
        ("a", "a/"),
        ("#", "$SYS/x"),
        ("+/x", "$SYS/x"),
        ("+", "$x"),
        ("$SYS/#", "$sys/x"),
        ("e\u0301", "\u00e9"),
    ):
        assert not matches(pattern, topic), (pattern, topic)


def check_router_keeps_no_characters():
    """MicroPython keeps a character of a str, text[0], as a name, for ever: no stranger's topics
    are to take the heap."""
    import gc

    from dormouse.router import matches

    if not hasattr(gc, "mem_alloc") or sys.platform == "webassembly":  # collects at its end only
        return
    held = []
    for start in (0x4000, 0x8000):
        gc.collect()
        held.append(gc.mem_alloc())
        for c in range(start, start + 1000):
            data = bytes((0xE0 | c >> 12, 0x80 | c >> 6 & 63, 0x80 | c & 63))
            matches("#", str(data, "utf-8") + "/a")
    gc.collect()
    assert gc.mem_alloc() - held[1] < 2000, (held, gc.mem_alloc())


def check_router_calls_what_matches():
    # In the order in which they were added, each once; and a message is not compared with all.
    import dormouse.router as module

    class Routed:
        def __init__(self, topic):
            self.topic = topic

    def handle(topic):
        called.clear()
        try:
            router.handle(Routed(topic)).send(None)
        except StopIteration as e:
            found = e.value
        same(found, bool(called))
        return called

    called = []
    missed = []
    router = module.Router(lambda m, e: missed.append((m.topic, e)))
    patterns = ["a/#", "a", "#", "a/b", "+/b", "a/+", "", "/", "/+", "a/b/", "$share/g/a/#", "$S/#"]
    patterns += ["a/b", "+", "a/b/c/+/#", "a/", "e\u0301/+", "+/+/c", "$share/g/+/b", "a/+/", "a/#"]
    raises(ValueError, router.on, "", None)
    raises(ValueError, router.on, "a#", None)
    patterns.remove("")
    for i, pattern in enumerate(patterns):
        router.on(pattern, lambda m, i=i: called.append(i))
    topics = ["a", "a/", "a/b", "a/b/", "a/b/c", "a/b/c/d", "a/b/c/d/e", "ab", "b", "b/b", "/b"]
    topics += ["/", "//", "/" * 99, "$S", "$S/x", "$S/b", "$", "e\u0301/", "\u00e9/x"]
    for topic in topics:
        wanted = [i for i in range(len(patterns)) if module.matches(patterns[i], topic)]
        same(handle(topic), wanted)
    same(missed, [("$", None)])
    matches = module.matches
    compared = [0]

    def counting(pattern, name):
        compared[0] += 1
        return matches(pattern, name)

    router = module.Router()
    for i in range(100):
        router.on("a/%d/+" % i, lambda m, i=i: called.append(i))
        router.on("b/%d" % i, lambda m, i=i: called.append(-i))
    module.matches = counting
    try:
        same(handle("a/77/x"), [77])
        same(handle("b/78"), [-78])  # and b/7
        same(compared, [3])
    finally:
        module.matches = matches


class Untold(Exception):
    def __str__(self):
        return "Untold" + 1  # a mistake in it

    __repr__ = __str__


def check_router_error_that_cannot_be_told():
    """It ends no loop over messages: the broker would send that one again, for ever."""
    import dormouse.router as module

    def fail(message):
        raise Untold

    router = module.Router()
    router.on("a", fail)
    message = dormouse.Message()
    message.topic = "a"
    try:
        router.handle(message).send(None)
    except StopIteration as e:
        same(e.value, True)


def check_public_names():
    for name in ("Will", "Message", "MQTTError", "ProtocolError", "Refused"):
        assert getattr(dormouse, name).__name__ == name
    try:
        from os import urandom  # MicroPython in Node has none, and no socket for a client either
    except ImportError:
        return
    assert urandom(1) and dormouse.Client.__name__ == "Client"
    raises(AttributeError, getattr, dormouse, "nonsense")


CHECKS = sorted(name for name in globals() if name.startswith("check_"))


def run(checks, names):
    """Run checks by name, and print a line for each; for MicroPython. Arguments of the program
    name checks to leave out."""
    failed = 0
    names = [name for name in names if name not in sys.argv[1:]]
    for name in names:
        gc.collect()  # some want 64 KiB in one piece
        try:
            checks[name]()
            print("ok", name)
        except Exception as e:
            failed += 1
            print("FAILED", name)
            if hasattr(sys, "print_exception"):
                sys.print_exception(e)
            else:
                import traceback

                traceback.print_exception(e)
    print("done", len(names), "checks,", failed, "failed")


if __name__ == "__main__":
    run(globals(), CHECKS)

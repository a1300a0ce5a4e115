"""Checks of what MQTT 5.0 demands of a client's session, on every runtime.

See core_checks.py, whose way this is. Bytes are written out by hand from the standard.
"""

import core_checks
import dormouse.mqtt5.session as session5
import dormouse.store.durable as durable
from core_checks import MS, Line, h, raises, same
from dormouse.packet import MQTTError, ProtocolError, Will
from dormouse.session import ConnectionLost, SessionLost
from dormouse.store import Store

MALFORMED = "81"
FORBIDDEN = "82"


class Line5(Line):
    """A session of version 5.0 and the bytes it would write and read."""

    def __init__(self, **options):
        self.kicks = 0
        self.time = 1000000
        options.setdefault("client_id", "c")
        options.setdefault("clean", False)
        options.setdefault("clock", lambda: self.time)
        self.session = session5.Session5(self.kick, **options)

    def dial(self, now=0):
        """Connect; returns CONNECT."""
        self.session.lost()
        self.session.connect(now)
        return self.written(now)

    def up(self, present=0, now=0, properties=""):
        """Connect, and be accepted with these properties of CONNACK."""
        same(self.dial(now)[:1], b"\x10")
        self.accepted(present, now, properties)
        return self

    def accepted(self, present=0, now=0, properties=""):
        n = len(h(properties))
        self.reads("20 %02x 0%d 00 %02x" % (n + 3, present, n) + properties, now)

    def ends(self, text):
        """Read what ends the connection. Returns what the session told the server, and why."""
        out = b""
        try:
            self.reads(text)
            while True:
                data = self.session.take(0)
                assert data, "went on after %r" % text
                out += bytes(data)
        except MQTTError as e:
            return out, e

    def refuses(self, text, code):
        """What is read is a fault of the server, and it is told so."""
        out, _ = self.ends(text)
        same((text, out), (text, h("e0 01" + code)))


# --- strings


# mqtt5: MQTT-1.5.4-1 MQTT-1.5.4-2 MQTT-1.5.7-1 MQTT-3.1.3-4 MQTT-3.1.3-11 MQTT-3.1.3-12
# mqtt5: MQTT-3.3.2-1 MQTT-3.3.2-13 MQTT-3.3.2-19 MQTT-3.8.3-1 MQTT-3.10.3-1 MQTT-4.7.3-2
def check_ill_formed_strings_are_not_sent():
    # A str may hold half a surrogate pair, on MicroPython anything; no string on the wire may.
    for bad in ("a\x00", chr(0xD800), "a" + chr(0xDFFF), chr(0xD83D) + chr(0xDE00)):
        raises(ValueError, Line5, client_id=bad)
        raises(ValueError, Line5, username=bad)
        raises(ValueError, Will, bad)
        raises(ValueError, Line5, properties={"user_properties": [("k", bad)]})
        s = Line5().up().session
        raises(ValueError, s.publish, bad)
        raises(ValueError, s.publish, "a", content_type=bad)
        raises(ValueError, s.publish, "a", response_topic=bad)
        raises(ValueError, s.publish, "a", user_properties=[(bad, "v")])
        raises(ValueError, s.request, 0x82, [("a", 0), (bad, 0)])
        raises(ValueError, s.request, 0xA2, ["a", bad])
        same(s.outbox, [])


# --- connecting


# mqtt5: MQTT-3.1.0-1 MQTT-3.1.0-2 MQTT-3.1.3-2
def check_one_connect_for_each_connection():
    line = Line5()
    s = line.session
    s.publish("a", b"", 1)
    s.request(0x82, [("b", 0)])
    first = line.dial()
    # Protocol name and version, nothing but CONNECT, and the client identifier at its end.
    same(first[:9], bytes((0x10, len(first) - 2)) + h("0004'MQTT' 05"))
    same(first[9:12], h("00 003c"))
    same(first[-3:], h("0001'c'"))
    for present in (0, 1, 0):
        line.writes("")
        line.accepted(present)
        assert line.written()[:1] in (b"\x32", b"\x3a", b"\x82")
        s.tick(59 * MS)
        line.writes("c0 00", 59 * MS)
        s.disconnect()
        line.writes("e0 00")
        line.writes("")
        same(line.dial(), first)


# mqtt5: MQTT-3.2.0-1 MQTT-3.2.0-2 MQTT-3.14.0-1
def check_nothing_before_connack_and_no_second():
    for text in (
        "30 04 0001'a' 00",
        "32 06 0001'a' 0001 00",
        "40 02 0001",
        "50 02 0001",
        "62 02 0001",
        "70 02 0001",
        "90 04 0001 00 00",
        "b0 04 0001 00 00",
        "d0 00",
    ):
        line = Line5()
        line.dial()
        line.refuses(text, FORBIDDEN)
        same(line.session.inbox, [])
    for text in ("e0 00", "e0 01 8b", "e0 02 8e 00"):
        line = Line5()
        line.session.publish("a", b"", 1)
        line.dial()
        out, _ = line.ends(text)
        assert out in (b"", h("e0 01" + FORBIDDEN)), out
    Line5().up().refuses("20 03 00 00 00", FORBIDDEN)


# mqtt5: MQTT-2.1.3-1 MQTT-3.6.1-1 MQTT-3.14.1-1 MQTT-3.15.1-1
def check_flags_of_what_arrives():
    for n in range(1, 16):
        line = Line5()
        line.dial()
        line.refuses("2%x 03 00 00 00" % n, MALFORMED)
        for kind, rest in (
            ("4", "02 0001"),
            ("5", "02 0001"),
            ("6", "02 0001"),
            ("7", "02 0001"),
            ("9", "04 0001 00 00"),
            ("b", "04 0001 00 00"),
            ("d", "00"),
            ("e", "00"),
            ("f", "06 18 04 15 0001'm'"),
        ):
            if kind != "6" or n != 2:
                line = Line5(properties={"auth_method": "m"}, auth=lambda data: b"x")
                line.up(properties="15 0001'm'")
                line.session.publish("a", b"", 1)
                line.written()
                line.refuses("%s%x " % (kind, n) + rest, MALFORMED)
    Line5().up().refuses("60 02 0001", MALFORMED)


CONNACK_CODES = "80 81 82 83 84 85 86 87 88 89 8a 8c 90 95 97 99 9a 9b 9c 9d 9f"
DISCONNECT_CODES = (
    "80 81 82 83 87 89 8b 8d 8e 8f 90 93 94 95 96 97 98 99 9a 9b 9c 9d 9e 9f a0 a1 a2"
)


# mqtt5: MQTT-3.1.2-2 MQTT-3.2.2-7 MQTT-3.2.2-12 MQTT-3.2.2-13 MQTT-4.12.0-1 MQTT-4.12.0-4
# mqtt5: MQTT-4.13.2-1
def check_every_refusal_ends_the_connection():
    for codes, form in (
        (CONNACK_CODES, "20 09 00 %s 06 1f 0003'why'"),
        (DISCONNECT_CODES, "e0 08 %s 06 1f 0003'why'"),
    ):
        for code in codes.split():
            line = Line5(will=Will("w", b"", 2, True))
            s = line.session
            s.publish("a", b"", 1)
            if form[0] == "2":
                line.dial()
            else:
                line.up().written()
            error = raises((session5.Failed, session5.Disconnected), line.reads, form % code)
            same(error.code, h(code)[0])
            same(error.properties, {"reason_string": "why"})
            same(len(s.outbox), 1)  # nothing is lost of the session


# mqtt5: MQTT-3.1.2-4 MQTT-3.2.2-2
def check_clean_start():
    line = Line5(clean=True)
    assert line.dial()[9] == 2
    line.accepted()
    s = line.session
    s.publish("a", b"", 2)
    line.written()
    line.reads("34 06 0001'b' 0007 00")
    s.inbox.pop(0).ack()
    line.writes("50 02 0007")
    assert line.dial()[9] == 2  # with no session expiry the session ended with its connection
    line.accepted()
    line.writes("34 06 0001'a' 0001 00")
    line.reads("3c 06 0001'b' 0007 00")  # another message
    same(len(s.inbox), 1)
    line = Line5(clean=True)
    line.dial()
    line.refuses("20 03 01 00 00", FORBIDDEN)


# mqtt5: MQTT-3.1.2-23 MQTT-4.1.0-1
def check_session_expiry():
    assert h("11 ffffffff") in Line5().dial()  # clean=False, with no other word: for ever
    for clean in (False, True):
        line = Line5(clean=clean, session_expiry=600)
        hello = line.dial()
        assert h("11 00000258") in hello and hello[9] == (2 if clean else 0)
        line.accepted()
        s = line.session
        s.publish("a", b"", 1)
        s.publish("b", b"", 2)
        line.written()
        line.reads("50 02 0002 34 06 0001'c' 0007 00")
        line.writes("62 02 0002")
        s.inbox.pop(0).ack()
        line.writes("50 02 0007")
        hello = line.dial()
        same(hello[9], 0)  # the session goes on
        line.accepted(1)
        line.writes("62 02 0002 3a 06 0001'a' 0001 00")
        line.reads("3c 06 0001'c' 0007 00")
        same(s.inbox, [])
        line.writes("50 02 0007")


# mqtt5: MQTT-3.2.2-3 MQTT-3.2.2-5
def check_session_gone():
    line = Line5().up()
    s = line.session
    s.request(0x82, [("f", 1)])
    one, two, three = s.publish("a", b"", 1), s.publish("a", b"", 2), s.publish("a", b"", 2)
    line.written()
    line.reads("90 04 0001 00 01 50 02 0004 34 06 0001'b' 0007 00 34 06 0001'b' 0008 00")
    s.inbox.pop(0).ack()
    line.written()
    line.up(present=0)
    # What was begun is over: new messages, and the subscription made again.
    line.writes("82 07 0005 00 0001'f' 01 32 06 0001'a' 0002 00 34 06 0001'a' 0003 00")
    assert isinstance(three.error, SessionLost) and not one.done and not two.done
    # Of what came then nothing arrived, so it comes again; the identifiers are known from before.
    line.up(present=1)
    line.reads("3c 06 0001'c' 0007 00 3c 06 0001'd' 0008 00")
    same([m.topic for m in s.inbox], ["b", "c", "d"])


# mqtt5: MQTT-3.1.2-20 MQTT-3.1.2-21 MQTT-3.2.2-21 MQTT-3.12.4-1
def check_keepalive():
    line = Line5(keepalive=40)
    s = line.session
    line.up()
    left = s.tick(0)
    assert 30 * MS < left < 40 * MS
    s.tick(left)
    line.writes("c0 00", left)
    line.reads("d0 00", left)
    line = Line5(keepalive=40, timeout=3000)
    s = line.session
    line.up(properties="13 000a")  # the server says 10 s
    left = s.tick(0)
    assert 7 * MS < left < 10 * MS
    s.tick(left)
    line.writes("c0 00", left)
    raises(ConnectionLost, s.tick, left + 3000)
    line.up(properties="13 0000")  # it wants none
    assert s.tick(1000 * MS) > 1000 * MS
    line.writes("", 1000 * MS)
    line.up()  # and says nothing: what the client asked for
    assert 30 * MS < s.tick(0) < 40 * MS


# mqtt5: MQTT-3.1.3-6 MQTT-3.1.3-7 MQTT-3.2.2-16
def check_assigned_client_id():
    line = Line5(client_id="", clean=True, session_expiry=60)
    same(line.dial()[-2:], h("0000"))
    line.accepted(properties="12 0003'abc'")
    same(line.session.server["assigned_client_id"], "abc")
    same(line.dial()[-5:], h("0003'abc'"))
    line.accepted(1)
    same(line.dial()[-5:], h("0003'abc'"))


# --- what the server can take


# mqtt5: MQTT-3.2.2-9 MQTT-3.2.2-10 MQTT-3.2.2-11
def check_maximum_qos():
    line = Line5()
    s = line.session
    early = s.publish("a", b"", 2)  # before anyone can know
    fits = s.publish("b", b"", 1)
    line.up(properties="24 01")
    line.writes("32 06 0001'b' 0002 00")
    assert early.done and early.error.code == 0x9B and not fits.done
    same(raises(session5.Failed, s.publish, "a", b"", 2).code, 0x9B)
    pid = s.request(0x82, [("f", 2)]).pid
    line.writes("82 07 %04x 00 0001'f' 02" % pid)
    line.reads("90 04 %04x 00 01" % pid)  # it grants less
    same(list(s.filters), ["f"])
    pid = s.request(0x82, [("g", 2)]).pid
    line.up(present=1, properties="24 00")
    line.writes("82 07 %04x 00 0001'g' 02" % pid)
    line.reads("90 04 %04x 00 00" % pid)
    assert fits.error.code == 0x9B
    same(raises(session5.Failed, s.publish, "a", b"", 1).code, 0x9B)
    s.publish("a")
    line.writes("30 04 0001'a' 00")
    line.up(present=1)  # a server that says nothing takes all
    s.publish("a", b"", 2)
    assert line.written()[0] == 0x34


# mqtt5: MQTT-3.2.2-14
def check_retain_not_available():
    line = Line5()
    s = line.session
    early = s.publish("a", b"", 1, True)
    line.up(properties="25 00")
    line.writes("")
    same(early.error.code, 0x9A)
    same(raises(session5.Failed, s.publish, "a", b"", 0, True).code, 0x9A)
    s.publish("a")
    line.writes("30 04 0001'a' 00")
    line.up(properties="25 01")
    s.publish("a", b"", 0, True)
    line.writes("31 04 0001'a' 00")


# mqtt5: MQTT-3.2.2-15
def check_packets_that_are_too_large():
    line = Line5()
    s = line.session
    early = s.publish("a", b"x" * 40, 1)
    fits = s.publish("a", b"x" * 22, 1)
    line.up(properties="27 0000001e")  # 30 bytes
    same(len(line.written()), 30)
    assert early.error.code == 0x95 and not fits.done
    same(raises(session5.Failed, s.publish, "a", b"x" * 23, 1).code, 0x95)
    raises(session5.Failed, s.publish, "a", b"", 1, user_properties=[("k" * 10, "v" * 10)])
    s.publish("b", b"x" * 22, 1)
    same(len(line.written()), 30)


# mqtt5: MQTT-3.2.2-15
def check_requests_that_are_too_large():
    line = Line5().up(properties="27 0000001e")
    for first, filters in ((0x82, [("f" * 23, 1)]), (0xA2, ["f" * 24])):
        same(raises(session5.Failed, line.session.request, first, filters).code, 0x95)
        line.writes("")
    line.session.request(0x82, [("f" * 22, 1)])
    same(len(line.written()), 30)
    line = Line5()  # before anyone can know
    o = line.session.request(0x82, [("f" * 23, 1)])
    line.up(properties="27 0000001e").writes("")
    assert o.done and o.error.code == 0x95


# mqtt5: MQTT-3.14.2-3 MQTT-3.14.2-4
def check_long_reason_of_disconnect_is_not_sent():
    line = Line5().up(properties="27 0000001e")
    for extra in ({"reason_string": "x" * 21}, {"user_properties": [("k" * 10, "v" * 10)]}):
        error = raises(session5.Failed, line.session.disconnect, 4, session_expiry=60, **extra)
        same(error.code, 0x95)
        line.writes("")
    line.session.disconnect(4, session_expiry=60)
    line.writes("e0 07 04 05 11 0000003c")
    line.up(present=1, properties="27 0000001e")
    line.session.disconnect(4, reason_string="x" * 23)
    line.writes("e0 1c 04 1a 1f 0017'xxxxxxxxxxxxxxxxxxxxxxx'")


# mqtt5: MQTT-3.3.4-7 MQTT-3.3.4-8 MQTT-4.9.0-1 MQTT-4.9.0-2 MQTT-4.9.0-3
def check_receive_maximum_of_the_server():
    line = Line5(window=5).up(properties="21 0002")
    s = line.session
    sent = [s.publish("a", b"%d" % n, 1 + n % 2) for n in range(6)]
    line.writes("32 07 0001'a' 0001 00 '0' 34 07 0001'a' 0002 00 '1'")
    # Everything else goes on: SUBSCRIBE, UNSUBSCRIBE, acknowledgements, pings.
    s.request(0x82, [("f", 0)])
    s.request(0xA2, ["f"])
    line.writes("82 07 0007 00 0001'f' 00 a2 06 0008 00 0001'f'")
    line.reads("90 04 0007 00 00 b0 04 0008 00 00 34 06 0001'b' 0009 00 50 02 0002")
    s.inbox.pop(0).ack()
    line.writes("50 02 0009 62 02 0002")  # its place is free at PUBCOMP, not before
    line.reads("62 02 0009")
    line.writes("70 02 0009")
    s.tick(58 * MS)
    line.writes("c0 00", 58 * MS)
    line.reads("70 02 0002")
    line.writes("32 07 0001'a' 0003 00 '2'")
    line.reads("40 02 0001")
    line.writes("34 07 0001'a' 0004 00 '3'")
    line.reads("50 03 0004 97")  # a failing PUBREC frees it as well
    line.writes("32 07 0001'a' 0005 00 '4'")
    line.reads("40 03 0003 87")
    line.writes("34 07 0001'a' 0006 00 '5'")
    same([o.done for o in sent], [True, True, True, True, False, False])
    # At each connection anew, and never above the client's own window.
    line.up(present=1, properties="21 0001")
    line.writes("3a 07 0001'a' 0005 00 '4'")
    line.up(present=1, properties="21 ffff")
    for n in range(9):
        s.publish("c", b"%d" % n, 1)
    same(line.written().count(b"\x00\x01c"), 3)


# --- publishing


# mqtt5: MQTT-2.2.1-3 MQTT-4.3.2-1 MQTT-4.3.3-1
def check_identifiers():
    line = Line5(pid=65533).up()
    s = line.session
    line.session.window = 10
    pids = [s.publish("a", b"", 1 + n % 2).pid for n in range(4)]
    same(pids, [65534, 65535, 1, 2])  # never 0
    line.written()
    for text, free in (
        ("50 02 ffff", 3),  # PUBREC: the exchange goes on
        ("70 02 ffff", 65535),
        ("40 02 fffe", 65534),
        ("50 03 0002 80", 2),  # a failing one ends it
    ):
        line.reads(text)
        line.written()
        s.pid = free - 1 if free != 3 else 65534
        o = s.request(0x82, [("a", 0)])
        same(o.pid, free)
        s.withdraw(o)


# mqtt5: MQTT-2.2.1-5 MQTT-3.3.1-2 MQTT-4.3.1-1 MQTT-4.3.2-2 MQTT-4.3.2-3 MQTT-4.3.3-2
# mqtt5: MQTT-4.3.3-3 MQTT-4.3.3-4 MQTT-4.3.3-5 MQTT-4.4.0-1
def check_handshakes_out():
    for code in ("", " 00", " 10", " 00 00", " 10 06 1f 0003'why'"):
        n = 2 + len(h(code))
        line = Line5().up()
        s = line.session
        zero, one, two = s.publish("a"), s.publish("a", b"x", 1), s.publish("a", b"y", 2)
        line.writes("30 04 0001'a' 00 32 07 0001'a' 0001 00 'x' 34 07 0001'a' 0002 00 'y'")
        assert zero.done and not one.done and not two.done
        line.writes("", 50 * MS)  # not on a living connection
        line.reads("40 %02x 0001" % n + code)
        assert one.done and not one.error
        line.reads("50 %02x 0002" % n + code)
        line.writes("62 02 0002")
        assert not two.done
        line.writes("", 50 * MS)
        line.reads("70 02 0002")
        assert two.done and not two.error and not s.outbox


# mqtt5: MQTT-2.2.1-3 MQTT-3.3.1-1 MQTT-4.1.0-1 MQTT-4.3.2-3 MQTT-4.3.3-3 MQTT-4.3.3-5
# mqtt5: MQTT-4.3.3-6 MQTT-4.4.0-1 MQTT-4.6.0-1 MQTT-4.6.0-4
def check_repeated_after_a_reconnect():
    line = Line5().up()
    s = line.session
    for qos in (2, 1, 2, 1, 2):
        s.publish("a", b"", qos)
    line.written()
    line.reads("50 02 0003 50 02 0001")
    line.writes("62 02 0003 62 02 0001")
    s.publish("b", b"", 1)
    again = (
        "62 02 0003 62 02 0001 3a 06 0001'a' 0002 00 3a 06 0001'a' 0004 00 3c 06 0001'a' 0005 00"
    )
    line.up(present=1)
    line.writes(again + "32 06 0001'b' 0006 00")
    line.writes("", 50 * MS)
    line.up(present=1)
    line.writes(again + "3a 06 0001'b' 0006 00")


# mqtt5: MQTT-4.4.0-2
def check_refused_publishes_are_not_repeated():
    for code in ["80", "83", "87", "90", "91", "97", "99"]:
        line = Line5().up()
        s = line.session
        one, two = s.publish("a", b"", 1), s.publish("a", b"", 2)
        line.written()
        line.reads("40 09 0001 %s 05 1f 0002'no' 50 03 0002 %s" % (code, code))
        line.writes("")  # no PUBREL
        for o in (one, two):
            assert o.done and isinstance(o.error, session5.Failed)
            same(o.error.code, h(code)[0])
        same(one.error.properties, {"reason_string": "no"})
        line.up(present=1).writes("")


# mqtt5: MQTT-4.3.3-7
def check_expiry_ends_with_the_first_sending():
    line = Line5(window=1).up()
    s = line.session
    sent = s.publish("a", b"", 2, message_expiry=10)
    late = s.publish("b", b"", 2, message_expiry=10)
    line.writes("34 0b 0001'a' 0001 05 02 0000000a")
    line.time += 100
    line.up(present=1)
    assert line.written()[:1] == b"\x3c"  # it goes to its end
    line.reads("50 02 0001")
    line.writes("62 02 0001")
    line.up(present=1).writes("62 02 0001")
    line.reads("70 02 0001")
    assert sent.done and not sent.error
    line.writes("")
    assert late.done and late.error  # and this one never began


# mqtt5: MQTT-3.2.2-17 MQTT-3.2.2-18 MQTT-3.3.2-7 MQTT-3.3.2-8 MQTT-3.3.2-9
def check_aliases_out():
    def sent(line, topic):
        line.session.publish(topic)
        return line.written()

    line = Line5().up()
    for _ in range(3):  # the server stated none
        same(sent(line, "topic/a"), h("30 0a 0007'topic/a' 00"))
    line = Line5().up(properties="22 0002")
    for topic, alias in (("topic/a", 1), ("topic/b", 2)):
        # Told with the second message, for most topics are used once.
        same(sent(line, topic), h("30 0a 0007'%s' 00" % topic))
        same(sent(line, topic), h("30 0d 0007'%s' 03 23 000%d" % (topic, alias)))
        same(sent(line, topic), h("30 06 0000 03 23 000%d" % alias))
    for _ in range(3):  # no more than it stated
        same(sent(line, "topic/c"), h("30 0a 0007'topic/c' 00"))
    same(sent(line, "topic/a"), h("30 06 0000 03 23 0001"))
    line.up(present=1, properties="22 0001")  # a new connection knows none
    same(sent(line, "topic/a"), h("30 0a 0007'topic/a' 00"))
    same(sent(line, "topic/b"), h("30 0a 0007'topic/b' 00"))
    same(sent(line, "topic/b"), h("30 0d 0007'topic/b' 03 23 0001"))
    line.up(present=1)
    for _ in range(3):
        same(sent(line, "topic/b"), h("30 0a 0007'topic/b' 00"))
    # A message that goes again on another connection has its topic.
    line.up(properties="22 0001")
    for _ in range(3):
        line.session.publish("topic/d", b"", 1)
    topic = "0007'topic/d'"
    line.writes(
        "32 0c %s 0001 00 32 0f %s 0002 03 23 0001 32 08 0000 0003 03 23 0001" % (topic, topic)
    )
    line.up(present=1)
    line.writes("3a 0c %s 0001 00 3a 0c %s 0002 00 3a 0c %s 0003 00" % (topic, topic, topic))


# --- receiving


# mqtt5: MQTT-1.5.5-1
def check_remaining_length_has_no_byte_too_many():
    for text in ("d0 80 00", "40 82 00 0001", "30 84 80 00 0001'a' 00", "30 80 80 80 00"):
        line = Line5().up()
        o = line.session.publish("a", b"", 1)
        line.written()
        out, _ = line.ends(text)
        assert out in (h("e0 01 81"), h("e0 01 82")), out
        assert not o.done


# mqtt5: MQTT-3.1.2-24
def check_maximum_packet_size():
    line = Line5(max_packet=200)
    assert h("27 000000c8") in line.dial()
    line.accepted()
    line.reads("30 c5 01 0001'a' 00" + "00" * 193)
    same(len(line.session.inbox), 1)
    # A message is read past, whoever sent it; all else is a fault of the server.
    line.reads("32 c8 01 0001'a' 0001 00" + "00" * 194)
    line.writes("40 02 0001")
    same((len(line.session.inbox), line.session.trouble.args), (1, (0x32, 200, "a")))
    line.refuses("40 c6 01 0001" + "00" * 196, "95")


# mqtt5: MQTT-3.1.2-26 MQTT-3.1.2-27 MQTT-3.3.2-7 MQTT-3.3.2-8 MQTT-3.3.2-10 MQTT-3.3.2-11
def check_aliases_in():
    def got(line):
        m = line.session.inbox.pop(0)
        return m.topic, m.payload

    for stated, limit in (
        ({}, 0),
        ({"topic_alias_maximum": 0}, 0),
        ({"topic_alias_maximum": 9}, 9),
    ):
        line = Line5(properties=stated)
        hello = line.dial()
        same(h("22 0009") in hello, limit == 9)
        line.accepted()
        for n in range(1, limit + 1):
            line.reads("30 07 0001'%s' 03 23 000%d" % ("abcdefghi"[n - 1], n))
            same(got(line)[0], "abcdefghi"[n - 1])
        for n in range(limit, 0, -1):
            line.reads("30 07 0000 03 23 000%d '!'" % n)
            same(got(line), ("abcdefghi"[n - 1], b"!"))
        if limit:
            line.reads("30 07 0001'z' 03 23 0001 30 06 0000 03 23 0001")  # mapped anew
            same([got(line)[0] for _ in "12"], ["z", "z"])
        line.refuses("30 07 0001'a' 03 23 %04x" % (limit + 1), "94")
        same(line.session.inbox, [])
    line.up(present=1)  # a new connection knows none
    line.refuses("30 06 0000 03 23 0001", FORBIDDEN)
    line.up(present=1)
    line.refuses("30 07 0001'a' 03 23 0000", FORBIDDEN)
    same(line.session.inbox, [])


# mqtt5: MQTT-3.1.2-29
def check_no_problem_information_was_asked_for():
    for text, good in (
        ("30 0b 0001'a' 07 26 0001'k' 0001'v'", True),
        ("40 08 0001 00 04 1f 0001'x'", False),
        ("50 0b 0002 00 07 26 0001'k' 0001'v'", False),
        ("90 08 0003 04 1f 0001'x' 00", False),
    ):
        line = Line5(properties={"request_problem_information": 0})
        assert h("17 00") in line.dial()
        line.accepted(properties="1f 0001'x' 26 0001'k' 0001'v'")  # here it may all the same
        line.session.publish("a", b"", 1)
        line.session.publish("a", b"", 2)
        line.session.request(0x82, [("f", 0)])
        line.written()
        if good:
            line.reads(text)
            same(len(line.session.inbox), 1)
        else:
            line.refuses(text, FORBIDDEN)


# mqtt5: MQTT-2.2.1-5 MQTT-3.3.4-1 MQTT-4.3.2-4 MQTT-4.3.2-5 MQTT-4.3.3-8 MQTT-4.3.3-10
# mqtt5: MQTT-4.3.3-11 MQTT-4.3.3-12 MQTT-4.5.0-2
def check_handshakes_in():
    line = Line5().up()  # subscribed to nothing: acknowledged, wanted or not
    s = line.session
    line.reads("30 05 0001'a' 00 'x' 32 07 0001'a' 0001 00 'y' 34 07 0001'a' 0002 00 'z'")
    line.writes("")
    while s.inbox:
        s.inbox.pop(0).ack()
    line.writes("40 02 0001 50 02 0002")
    line.reads("3a 06 0001'b' 0001 00")  # acknowledged: whatever DUP says, a new one
    same([m.topic for m in s.inbox], ["b"])
    s.inbox.pop(0).ack()
    line.writes("40 02 0001")
    for present in (None, 1):  # on this connection, and on the next
        if present:
            line.up(present=1)
        line.reads("3c 07 0001'a' 0002 00 'z'")
        same(s.inbox, [])
        line.writes("50 02 0002")
    for _ in "12":
        line.reads("62 02 0002")
        line.writes("70 02 0002")
    line.reads("3c 06 0001'c' 0002 00")
    same([m.topic for m in s.inbox], ["c"])


# mqtt5: MQTT-4.6.0-2 MQTT-4.6.0-3
def check_acknowledged_in_order():
    line = Line5().up()
    for n in (1, 2, 3, 4):
        line.reads("3%d 06 0001'a' 000%d 00" % (4 - n % 2 * 2, n))
    a, b, c, d = line.session.inbox
    d.ack()
    c.ack()
    line.writes("")
    b.ack()
    line.writes("50 02 0002 50 02 0004")
    a.ack()
    line.writes("40 02 0001 40 02 0003")


# mqtt5: MQTT-4.3.3-13
def check_expired_messages_are_finished_too():
    line = Line5().up()
    line.reads("34 0b 0001'a' 0007 05 02 00000001")
    line.time += 1000
    line.session.inbox.pop(0).ack()
    line.writes("50 02 0007")
    line.time += 1000
    line.up(present=1)
    line.reads("3c 0b 0001'a' 0007 05 02 00000000")
    same(line.session.inbox, [])
    line.writes("50 02 0007")
    line.reads("62 02 0007")
    line.writes("70 02 0007")


# mqtt5: MQTT-3.3.1-1 MQTT-3.3.1-3 MQTT-3.3.1-12 MQTT-3.3.1-13
def check_flags_of_a_message():
    line = Line5().up()
    s = line.session
    for name, more, options in (("f", {}, 1), ("g", {"retain_as_published": True}, 9)):
        s.request(0x82, [(name, 1)], **more)
        same(line.written()[-1], options)
    line.reads("32 06 0001'f' 0001 00 3b 06 0001'g' 0002 00")
    same([m.retain for m in s.inbox], [False, True])
    # That it came again says nothing of how it goes on.
    m = s.inbox.pop()
    s.publish("b", m.payload, m.qos, m.retain)
    line.writes("33 06 0001'b' 0003 00")
    line.up(present=1)
    assert h("3b 06 0001'b' 0003 00") in line.written()


# mqtt5: MQTT-3.3.4-3 MQTT-3.3.4-4 MQTT-3.3.4-5
def check_subscription_identifiers():
    line = Line5().up()
    s = line.session
    s.request(0x82, [("a", 1)], subscription_id=5)
    s.request(0x82, [("+", 1)], subscription_id=300)
    line.writes("82 09 0001 02 0b 05 0001'a' 01 82 0a 0002 03 0b ac02 0001'+' 01")
    # One copy with both, in whatever order; or a copy for each.
    line.reads("30 09 0001'a' 05 0b ac02 0b 05 30 06 0001'a' 02 0b 05 30 07 0001'a' 03 0b ac02")
    same([m.properties["subscription_id"] for m in s.inbox], [[300, 5], [5], [300]])


# mqtt5: MQTT-3.3.4-9 MQTT-3.3.4-10
def check_receive_maximum_of_the_client():
    line = Line5(properties={"receive_maximum": 3})
    assert h("21 0003") in line.dial()
    line.accepted()
    s = line.session
    o = s.request(0x82, [("f", 0)])
    line.written()
    for n in (1, 2, 3):
        line.reads("3%d 06 0001'a' 000%d 00" % (2 + n % 2 * 2, n))
    # The window is full: other packets, and QoS 0, still come.
    line.reads("30 04 0001'z' 00 90 04 0001 00 00 d0 00")
    assert o.done
    same(len(s.inbox), 4)
    first, second, _, _ = s.inbox
    first.ack()
    line.writes("50 02 0001")  # QoS 2: its place is free at PUBCOMP
    line.refuses("32 06 0001'a' 0004 00", "93")
    line.up(present=1)
    line.reads("3a 06 0001'a' 0002 00 3c 06 0001'a' 0003 00")  # counted as new ones are
    second.ack()
    line.writes("40 02 0002")
    line.reads("32 06 0001'a' 0005 00 32 06 0001'a' 0006 00")
    line.refuses("32 06 0001'a' 0007 00", "93")


# --- subscribing


# mqtt5: MQTT-2.2.1-6 MQTT-3.8.3-3 MQTT-3.8.4-2 MQTT-3.8.4-6 MQTT-3.8.4-7 MQTT-3.9.3-1
def check_suback():
    line = Line5().up()
    s = line.session
    a = s.request(0x82, [("a", 2), ("b", 1), ("c", 0), ("d", 2)])
    b = s.request(0x82, [("e", 2)], no_local=True)
    line.writes(
        "82 13 0001 00 0001'a' 02 0001'b' 01 0001'c' 00 0001'd' 02 82 07 0002 00 0001'e' 06"
    )
    line.reads("90 04 0002 00 02")
    assert b.done and not b.error and not a.done
    line.reads("90 07 0001 00 02 87 00 01")
    same((a.codes, a.error.code), ([2, 0x87, 0, 1], [2, 0x87, 0, 1]))
    same(sorted(s.filters), ["a", "c", "d", "e"])
    for codes in ("00", "00 00 00"):
        line = Line5().up()
        o = line.session.request(0x82, [("a", 0), ("b", 0)])
        line.written()
        line.reads("90 %02x 0001 00" % (3 + len(h(codes))) + codes)
        assert o.done and isinstance(o.error, ProtocolError)  # nothing of it takes effect
        same(line.session.filters, {})
    for code in ["01", "02", "80", "83", "87", "8f", "91", "97", "9e", "a1", "a2"]:
        line = Line5().up()
        o = line.session.request(0x82, [("a", 2)])
        line.written()
        line.reads("90 04 0001 00" + code)
        same((o.done, bool(o.error)), (True, code > "02"))
        same(bool(line.session.filters), code <= "02")


# mqtt5: MQTT-2.2.1-6 MQTT-3.10.4-3 MQTT-3.10.4-4 MQTT-3.10.4-5 MQTT-3.11.3-1
def check_unsuback():
    line = Line5().up()
    s = line.session
    s.request(0x82, [("a", 2), ("b", 0), ("c", 0)])
    line.written()
    line.reads("90 06 0001 00 02 00 00 34 06 0001'a' 0007 00")
    one, two = s.request(0xA2, ["a", "x", "b"]), s.request(0xA2, ["c"])
    line.writes("a2 0c 0002 00 0001'a' 0001'x' 0001'b' a2 06 0003 00 0001'c'")
    line.reads("b0 04 0003 00 00")
    assert two.done and not two.error and not one.done
    same(sorted(s.filters), ["a", "b"])
    line.reads("b0 06 0002 00 00 11 87")  # no subscription existed; not authorized
    same((one.codes, one.error.code), ([0, 0x11, 0x87], [0, 0x11, 0x87]))
    same(list(s.filters), ["b"])
    line.reads("34 06 0001'a' 0008 00")  # begun before: finished
    for m in list(s.inbox):
        m.ack()
    line.writes("50 02 0007 50 02 0008")
    line.reads("62 02 0007 62 02 0008")
    line.writes("70 02 0007 70 02 0008")
    for codes in ("00", "00 00 00"):
        line = Line5().up()
        o = line.session.request(0xA2, ["a", "b"])
        line.written()
        line.reads("b0 %02x 0001 00" % (3 + len(h(codes))) + codes)
        assert o.done and isinstance(o.error, ProtocolError)


# --- the end


# mqtt5: MQTT-3.14.4-1
def check_nothing_after_disconnect():
    line = Line5(window=1).up()
    s = line.session
    s.publish("a", b"", 1)
    s.publish("b", b"", 1)
    s.disconnect(4, session_expiry=60)
    line.writes("32 06 0001'a' 0001 00 e0 07 04 05 11 0000003c")
    s.publish("c")
    s.request(0x82, [("f", 0)])
    line.reads("40 02 0001 32 06 0001'd' 0001 00 62 02 0009")
    s.inbox[0].ack()
    line.writes("")
    # Nor after one that tells the server of its fault.
    line = Line5().up()
    line.session.publish("a", b"", 1)
    out, error = line.ends("36 06 0001'a' 0001 00 d0 00")
    same(out, h("e0 01" + MALFORMED))
    line.reads("62 02 0009")  # was under way
    same(raises(MQTTError, line.session.take, 0), error)
    # Nor a PINGREQ that is due before that one was taken to be written.
    line = Line5(keepalive=1).up()
    s = line.session
    s.receive(memoryview(h("30 02 0005")), 100)
    s.tick(2000)
    same(bytes(s.take(2000)), h("e0 01" + MALFORMED))
    raises(ConnectionLost, s.tick, 100 + s.timeout)  # a peer that takes nothing is left


# mqtt5: MQTT-4.13.1-1
def check_faults_of_the_server():
    for text, code in (
        ("36 06 0001'a' 0001 00", MALFORMED),  # QoS 3
        ("30 04 0001 ff 00", MALFORMED),  # UTF-8
        ("30 05 0001'a' 01 7f", MALFORMED),  # no such property
        ("40 00", MALFORMED),
        ("40 03 0001 01", FORBIDDEN),  # no such reason code
        ("40 02 0000", FORBIDDEN),  # identifier 0
        ("10 0d 0004'MQTT' 05 02 003c 00 0000", FORBIDDEN),  # what only a server receives
        ("c0 00", FORBIDDEN),
        ("f0 06 18 04 15 0001'm'", FORBIDDEN),  # nobody asked for it
        ("30 06 0000 03 23 0001", "94"),
    ):
        line = Line5().up()
        o = line.session.publish("a", b"", 1)
        line.written()
        line.refuses(text, code)
        same((line.session.inbox, o.done), ([], False))
        line.up(present=1).writes("3a 06 0001'a' 0001 00")
    for text in ("00 00", "82 07 0001 00 0001'a' 00", "a2 06 0001 00 0001'a'"):
        out, _ = Line5().up().ends(text)  # whichever of the two it is called
        assert out in (h("e0 01 81"), h("e0 01 82")), out


# --- authentication


def authenticated(**options):
    """A line whose method is "m". Returns it and a list of what the server said to the method."""
    asked = []

    def auth(data):
        if data:
            asked.append(data)
        return b"?" if data is None else b"!" + data

    return Line5(properties={"auth_method": "m"}, auth=auth, **options), asked


def same_auth(packet, code, data):
    """AUTH with its two properties, in either order."""
    properties = (h("15 0001'm'"), b"\x16" + bytes((0, len(data))) + data)
    n = len(properties[0] + properties[1])
    head = bytes((0xF0, n + 2, code, n))
    a, b = properties
    assert packet in (head + a + b, head + b + a), packet


# mqtt5: MQTT-3.1.2-30 MQTT-4.12.0-2 MQTT-4.12.0-3 MQTT-4.12.0-5
def check_authentication():
    line, asked = authenticated()
    s = line.session
    s.publish("a", b"", 1)
    s.request(0x82, [("f", 0)])
    hello = line.dial()
    assert h("15 0001'm'") in hello and h("16 0001'?'") in hello
    line.reads("f0 0a 18 08 15 0001'm' 16 0001'A'")
    same_auth(line.written(), 0x18, b"!A")  # and nothing else before CONNACK
    line.reads("f0 0a 18 08 16 0001'B' 15 0001'm'")
    same_auth(line.written(), 0x18, b"!B")
    line.accepted(properties="15 0001'm' 16 0001'C'")
    same(asked, [b"A", b"B", b"C"])  # the server's proof too
    assert line.written()[:1] in (b"\x32", b"\x82")


# mqtt5: MQTT-3.1.2-30
def check_no_burst_with_authentication():
    for options in ({}, {"properties": {"auth_method": "m"}, "auth": lambda data: b"?"}):
        line = Line5()
        kind = durable.durable(session5.Session5)
        line.session = s = kind(line.kick, "c", Store(), clean=False, **options)
        line.up(properties="15 0001'm'" if options else "")
        s.burst = True
        s.publish("a", b"", 1)
        hello = line.dial()
        same(hello[-6:] == h("0001'a' 0001 00")[-6:], not options)
        line.accepted(1, properties="15 0001'm'" if options else "")
        same(line.written(), h("32 06 0001'a' 0001 00") if options else b"")


# mqtt5: MQTT-4.12.0-2
def check_the_server_asks_with_0x18():
    for code in ("00", "19"):
        line, asked = authenticated()
        line.dial()
        line.refuses("f0 0a %s 08 15 0001'm' 16 0001'A'" % code, FORBIDDEN)
        same(asked, [])


# mqtt5: MQTT-4.12.0-5
def check_another_method():
    for text in (
        "f0 0a 18 08 15 0001'n' 16 0001'A'",
        "20 0b 00 00 08 15 0001'n' 16 0001'A'",
        "20 03 00 00 00",
    ):
        line, asked = authenticated()
        line.dial()
        line.refuses(text, FORBIDDEN)
        same(asked, [])


# mqtt5: MQTT-4.12.0-6 MQTT-4.12.0-7
def check_no_method():
    line = Line5()
    assert b"\x15" not in line.dial()
    line.refuses("f0 06 18 04 15 0001'm'", FORBIDDEN)  # and no AUTH in answer
    line = Line5()
    line.dial()
    line.refuses("20 07 00 00 04 15 0001'm'", FORBIDDEN)
    line = Line5().up()
    raises(Exception, line.session.reauthenticate)
    line.writes("")


# mqtt5: MQTT-4.12.1-1 MQTT-4.12.1-2
def check_authentication_again():
    line, asked = authenticated()
    line.up(properties="15 0001'm'")
    s = line.session
    s.reauthenticate()
    same_auth(line.written(), 0x19, b"?")
    s.publish("a")
    line.writes("30 04 0001'a' 00")  # the connection goes on meanwhile
    line.reads("f0 0a 18 08 15 0001'm' 16 0001'A'")
    same_auth(line.written(), 0x18, b"!A")
    line.reads("f0 0a 00 08 15 0001'm' 16 0001'B'")
    line.writes("")
    same(asked, [b"A", b"B"])
    line.reads("d0 00")
    s.reauthenticate()
    same_auth(line.written(), 0x19, b"?")
    same(raises(session5.Failed, line.reads, "e0 01 87").code, 0x87)


CHECKS = sorted(name for name in globals() if name.startswith("check_"))

if __name__ == "__main__":
    core_checks.run(globals(), CHECKS)

"""Checks of session5.py, expiry.py and request.py without a network, on every runtime.

See core_checks.py, whose way this is. Bytes are written out by hand from the standard, MQTT 5.0.
The order of properties is free, and that of a dict differs between the Pythons: a packet with
several is taken apart by ``pieces``, which knows the lengths of table 2-4 and nothing else.
"""

import sys

import core_checks
import dormouse.packet as packet
from core_checks import Line, h, raises, same
from dormouse.expiry import Expired, expiring
from dormouse.mqtt5.session import Disconnected, Failed, Session5
from dormouse.packet import ProtocolError, Will
from dormouse.session import ConnectionLost, OutboxFull, Refused, Session
from dormouse.store.durable import durable
from durable_checks import Medium

DurableSession5 = durable(Session5)

# CONNECT of Line5: clean start 0, keep alive 60 s; receive maximum 16, maximum packet size 4096,
# session expiry for ever; identifier "c".
HELLO = "10 1b 0004'MQTT' 05 00 003c"
USUAL = ["11 ffffffff", "21 0010", "27 00001000"]
FIXED = {1: 1, 2: 4, 0x11: 4, 0x13: 2, 0x17: 1, 0x18: 4, 0x19: 1, 0x21: 2, 0x22: 2, 0x23: 2}
FIXED.update({0x24: 1, 0x25: 1, 0x27: 4, 0x28: 1, 0x29: 1, 0x2A: 1, 0x0B: 1})


def pieces(data, at):
    """Return the properties whose one byte length is at ``at``, sorted, and where they end."""
    end = at + 1 + data[at]
    assert data[at] < 128
    at += 1
    found = []
    while at < end:
        start = at
        key = data[at]
        at += 1
        if key in FIXED:
            at += FIXED[key]
        else:
            for _ in range(2 if key == 0x26 else 1):
                at += 2 + (data[at] << 8 | data[at + 1])
        found.append(bytes(data[start:at]))
    same(at, end)
    return sorted(found), end


def properties_at(data, at, texts):
    """The properties at ``at`` are these; return where they end."""
    found, end = pieces(data, at)
    same(found, sorted([h(text) for text in texts]))
    return end


class Line5(Line):
    """An MQTT 5.0 session, and the bytes it would write and read."""

    def __init__(self, kind=Session5, **options):
        self.kicks = 0
        options.setdefault("client_id", "c")
        options.setdefault("clean", False)
        self.session = kind(self.kick, **options)

    def hello(self, now=0):
        """Connect; return what was written."""
        self.session.lost()
        self.session.connect(now)
        return self.written(now)

    def up(self, present=0, now=0, more=""):
        """Connect; ``more``: properties of CONNACK. What follows is left for ``writes``."""
        same(self.hello(now)[:1], b"\x10")
        return self.connack(present, more, now)

    def connack(self, present=0, more="", now=0):
        more = h(more)
        data = bytes((0x20, 3 + len(more), present, 0, len(more))) + more
        self.session.receive(memoryview(data), now)
        return self

    def fails(self, text, reason, error=ProtocolError):
        """What was read is a fault of the server: it is told why, then the connection ends."""
        self.kicks = 0
        self.reads(text)
        assert self.kicks
        self.written_last(reason)
        return raises(error, self.session.take, 0)

    def written_last(self, reason):
        data = self.session.take(0)
        same(bytes(data), h("e0 01" + reason))


def subscribed(line, name="t", options=0, **more):
    """Subscribe; return the request, answered."""
    o = line.session.request(0x82, [(name, options)], **more)
    line.written()
    line.reads("90 04 %04x 00 %02x" % (o.pid, options & 3))
    return o


# --- CONNECT


def check_connect():
    data = Line5().hello()
    same(data[:12], h(HELLO))
    same(data[properties_at(data, 12, USUAL) :], h("0001'c'"))
    # A clean start, and no session afterwards.
    data = Line5(clean=True, client_id="", keepalive=10, max_packet=300).hello()
    same(data[1:12], h("15 0004'MQTT' 05 02 000a"))
    same(data[properties_at(data, 12, ["21 0010", "27 0000012c"]) :], h("0000"))


def check_connect_with_everything():
    line = Line5(
        client_id="id",
        clean=True,
        keepalive=7,
        will=Will("w", b"off", 1, True),
        username="u",
        password=b"p",
        session_expiry=600,
        properties={
            "receive_maximum": 3,
            "topic_alias_maximum": 2,
            "request_problem_information": 0,
            "request_response_information": True,
            "user_properties": [("a", "1"), ("a", "2")],
            "auth_method": "M",
        },
        will_properties={
            "will_delay": 5,
            "payload_format": 1,
            "message_expiry": 9,
            "content_type": "x",
            "response_topic": "r",
            "correlation_data": b"\x00\xff",
            "user_properties": [("k", "v")],
        },
        auth=lambda data: b"hi",
    )
    data = line.hello()
    same(data[2:12], h("0004'MQTT' 05 ee 0007"))
    at = properties_at(
        data,
        12,
        [
            "21 0003",
            "22 0002",
            "17 00",
            "19 01",
            "26 0001'a' 0001'1'",
            "26 0001'a' 0001'2'",
            "15 0001'M'",
            "16 0002'hi'",
            "11 00000258",
            "27 00001000",
        ],
    )
    same(data[at : at + 4], h("0002'id'"))
    at = properties_at(
        data,
        at + 4,
        [
            "18 00000005",
            "01 01",
            "02 00000009",
            "03 0001'x'",
            "08 0001'r'",
            "09 0002 00ff",
            "26 0001'k' 0001'v'",
        ],
    )
    same(data[at:], h("0001'w' 0003'off' 0001'u' 0001'p'"))
    same(line.session.will_delay, 5)


def check_connect_arguments():
    raises(ValueError, Line5, properties={"topic_alias": 1})
    raises(ValueError, Line5, properties={"receive_maximum": 0})
    raises(ValueError, Line5, will_properties={"will_delay": 5})  # without a will
    raises(ValueError, Line5, session_expiry=1 << 32)
    raises(ValueError, Line5, client_id="", clean=False)
    raises(ValueError, Line5, window=0)
    raises(TypeError, Line5, properties={"user_properties": {"ab": "c"}})
    Line5(username=None, password=b"secret")  # as 3.1.1 forbids


def check_password_without_user_name():
    data = Line5(password=b"p").hello()
    same(data[9:10], b"\x40")
    same(data[-6:], h("0001'c' 0001'p'"))


def check_max_packet_is_told():
    # What is told is what is accepted, whatever else is asked for.
    data = Line5(max_packet=200, properties={"maximum_packet_size": 5000}).hello()
    assert h("27 000000c8") in pieces(data, 12)[0]


# --- what CONNACK says


def check_receive_maximum_is_the_window():
    line = Line5(window=3)
    s = line.session
    for _ in range(4):
        s.publish("a", b"", 1)
    line.up(more="21 0002")
    line.writes("32 06 0001'a' 0001 00 32 06 0001'a' 0002 00")
    line.reads("40 02 0001")
    line.writes("32 06 0001'a' 0003 00")
    # Without it: the client's own.
    line.up(present=1)
    line.writes("3a 06 0001'a' 0002 00 3a 06 0001'a' 0003 00 32 06 0001'a' 0004 00")
    # Above it: the client's own as well.
    line.up(present=1, more="21 ffff")
    same(s.window, 3)


def check_window_opens_as_the_standard_says():
    line = Line5().up(more="21 0001")
    s = line.session
    s.publish("a", b"1", 2)
    s.publish("a", b"2", 2)
    line.writes("34 07 0001'a' 0001 00'1'")
    line.reads("50 02 0001")
    line.writes("62 02 0001")  # not at PUBREC
    line.reads("70 02 0001")
    line.writes("34 07 0001'a' 0002 00'2'")
    o = s.publish("a", b"3", 1)
    line.writes("")
    line.reads("50 03 0002 97")  # but at one that fails
    line.writes("32 07 0001'a' 0003 00'3'")
    assert not o.done


def check_maximum_packet_size():
    line = Line5(outbox=50)
    s = line.session
    early = s.publish("a", bytes(20), 1)
    fits = s.publish("a", bytes(4), 1)
    line.up(more="27 0000000c")
    line.writes("32 0a 0001'a' 0002 00 00000000")
    assert early.done and isinstance(early.error, Failed) and fits not in (early,)
    same(early.error.code, 0x95)
    same(raises(Failed, s.publish, "a", bytes(8)).code, 0x95)
    same(len(s.outbox), 1)
    s.publish("a", bytes(6))
    line.writes("30 0a 0001'a' 00 000000000000")
    # Properties count, and what the session itself sends.
    same(raises(Failed, s.publish, "a", b"", content_type="long").code, 0x95)
    same(raises(Failed, s.request, 0x82, [("long/topic", 1)]).code, 0x95)
    same(len(s.outbox), 1)
    line.session.lost()


def check_packets_larger_than_told():
    line = Line5(max_packet=20).up()
    line.reads("30 12 0001't' 00" + "78" * 14)
    same(len(line.session.inbox), 1)
    # Read past, whatever the server was told; an answer that is too long ends the connection.
    line.reads("32 15 0001't' 0001 00" + "78" * 15)
    line.writes("40 02 0001")
    same(line.session.trouble.args, (0x32, 21, "t"))
    error = line.fails("40 13 0001 00" + "78" * 16, "95")
    same(error.args, (0x40, 19))
    line = Line5(max_packet=20, oversize="keep").up()
    error = line.fails("30 13 0001't' 00" + "78" * 15, "95")
    same(error.args, (0x30, 19))


def check_maximum_qos_and_retain():
    line = Line5()
    s = line.session
    waits = [s.publish("a", b"", 2), s.publish("a", b"", 1), s.publish("a", b"", 0, True)]
    line.up(more="24 01 25 00")
    line.writes("32 06 0001'a' 0002 00")
    same([o.done for o in waits], [True, False, True])
    same([waits[0].error.code, waits[2].error.code], [0x9B, 0x9A])
    same(raises(Failed, s.publish, "a", b"", 2).code, 0x9B)
    same(raises(Failed, s.publish, "a", b"", 1, True).code, 0x9A)
    raises(ValueError, s.publish, "a", b"", 3)
    same(len(s.outbox), 1)
    # Also what was sent, when another server would have taken it.
    line.up(present=1)
    o = s.publish("b", b"", 2)
    line.written()
    line.up(present=1, more="24 01")
    line.writes("3a 06 0001'a' 0002 00")
    same((o.done, o.error.code), (True, 0x9B))
    # Another server: what it does not say is allowed.
    line.up(present=1)
    s.publish("a", b"", 2, True)
    line.writes("3a 06 0001'a' 0002 00 35 06 0001'a' 0007 00")


def check_uncertain_end():
    """A CONNECT had no CONNACK: the session that is there may be a new one, in which PUBREC meant
    nothing. What the server says of itself does not make that certain."""
    line = Line5().up()
    o = line.session.publish("a", b"", 2)
    line.written()
    line.reads("50 02 0001")
    line.hello()
    line.up(present=1)
    line.written()
    line.reads("70 02 0001")
    same((o.done, type(o.error).__name__), (True, "SessionLost"))


def check_what_may_be_subscribed():
    line = Line5().up(more="28 00 29 00 2a 00")
    s = line.session
    for name, more, code in (
        ("a/#", {}, 0xA2),
        ("+", {}, 0xA2),
        ("$share/g/t", {}, 0x9E),
        ("t", {"subscription_id": 1}, 0xA1),
    ):
        same(raises(Failed, s.request, 0x82, [(name, 0)], **more).code, code)
    for qos in (True, False, "1", None):  # as with 3.1.1
        raises(TypeError, s.request, 0x82, [("t", qos)])
        raises(TypeError, s.request, 0x82, [("t", qos)], no_local=True)
    line.writes("")
    same(s.outbox, [])
    s.request(0x82, [("t", 1)])
    line.writes("82 07 0001 00 0001't' 01")


def check_server_keep_alive():
    line = Line5(keepalive=60, timeout=1000).up(more="13 0008")
    same(line.session.tick(0), 7000)
    same(line.session.tick(7000), 1000)
    line.writes("c0 00", 7000)
    line.up(present=1)
    same(line.session.tick(0), 52500)
    line.up(present=1, more="13 0000")
    assert line.session.tick(0) > 10**8


def check_assigned_client_id():
    line = Line5(client_id="", clean=True, session_expiry=60).up(more="12 0002'x7'")
    data = line.hello()
    same(data[9:10], b"\0")  # the session goes on
    same(data[-4:], h("0002'x7'"))
    line.connack(1)
    same(line.hello()[-4:], h("0002'x7'"))  # and is kept without being told again


def check_server_properties_are_told():
    line = Line5().up(more="1a 0002'r/' 1f 0002'hi' 26 0001'k' 0001'v' 26 0001'k' 0001'w'")
    server = line.session.server
    same(server["response_information"], "r/")
    same(server["reason_string"], "hi")
    same(server["user_properties"], [("k", "v"), ("k", "w")])


# --- topic aliases


def check_alias_out():
    line = Line5()
    s = line.session
    for n in b"123":
        s.publish("long/1", bytes((n,)))
    line.up(more="22 0002")
    line.writes(
        "30 0a 0006'long/1' 00 '1'  30 0d 0006'long/1' 03 23 0001 '2'  30 07 0000 03 23 0001 '3'"
    )
    for name in ("long/2", "long/3", "tiny", "tin"):
        for n in b"123":
            s.publish(name, bytes((n,)), 1)
    line.writes(ALIASED)
    # A new connection begins without any, also for what is repeated.
    line.up(present=1)
    line.writes(
        ALIASED.replace("0f 0006'long/2' 0002 03 23 0002", "0c 0006'long/2' 0002 00")
        .replace("09 0000 0003 03 23 0002", "0c 0006'long/2' 0003 00")
        .replace("32 ", "3a ")
    )


ALIASED = (
    "32 0c 0006'long/2' 0001 00 '1' 32 0f 0006'long/2' 0002 03 23 0002 '2'"
    "32 09 0000 0003 03 23 0002 '3'"
    "32 0c 0006'long/3' 0004 00 '1' 32 0c 0006'long/3' 0005 00 '2'"
    "32 0c 0006'long/3' 0006 00 '3' 32 0a 0004'tiny' 0007 00 '1'"
    "32 0a 0004'tiny' 0008 00 '2' 32 0a 0004'tiny' 0009 00 '3'"
    "32 09 0003'tin' 000a 00 '1' 32 09 0003'tin' 000b 00 '2' 32 09 0003'tin' 000c 00 '3'"
)


def check_alias_is_for_topics():
    line = Line5(pid=99).up(more="22 0005")
    line.session.request(0x82, [("long/1", 0)])
    line.session.request(0xA2, ["long/1"])
    line.writes("82 0c 0064 00 0006'long/1' 00 a2 0b 0065 00 0006'long/1'")
    same(line.session.aliases, {})  # there is room for few


def check_alias_out_is_not_remembered():
    line = Line5().up(more="22 0001")
    s = line.session
    for _ in range(3):
        s.publish("long/1")
    line.writes("30 09 0006'long/1' 00  30 0c 0006'long/1' 03 23 0001  30 06 0000 03 23 0001")
    same(line.hello()[:1], b"\x10")
    s.publish("long/1")
    line.writes("")
    line.connack(1, "22 0001")
    line.writes("30 09 0006'long/1' 00")
    # The application gives none, and a server that takes none gets none.
    raises(ValueError, s.publish, "long/1", b"", topic_alias=1)
    line.up(present=1)
    for _ in range(3):
        s.publish("long/1")
    line.writes("30 09 0006'long/1' 00  30 09 0006'long/1' 00  30 09 0006'long/1' 00")


def check_alias_fits_the_maximum_packet_size():
    whole = "30 0c 0006'long/1' 00 'aa%d'"
    for most in ("0e", "10"):  # a packet with topic and alias has 17 bytes
        line = Line5().up(more="22 0001 27 000000" + most)
        for n in b"123":
            line.session.publish("long/1", b"aa" + bytes((n,)))
        line.writes(whole % 1 + whole % 2 + whole % 3)


def check_alias_is_worth_it():
    # Of a topic of four bytes it is as long, and spares a second look at longer ones.
    line = Line5().up(more="22 0005")
    for name in ("tin", "tiny"):
        for _ in range(3):
            line.session.publish(name)
    line.writes(
        "30 06 0003'tin' 00 30 06 0003'tin' 00 30 06 0003'tin' 00"
        "30 07 0004'tiny' 00 30 0a 0004'tiny' 03 23 0001 30 06 0000 03 23 0001"
    )


def check_malformed_message():
    # As at 3.1.1: the first ones end the connection, as the standard wants.
    for bad, reason in (
        ("32 07 0001 ff 0007 00'x'", "81"),
        ("34 07 0001'#' 0007 00'x'", "82"),
        ("32 09 0001'a' 0007 02 7f00'x'", "81"),  # no such property
        ("32 0b 0001'a' 0007 04 080001'+' 'x'", "82"),  # no topic name to respond to
    ):
        told = []
        line = Line5(on_trouble=told.append).up()
        for _ in range(2):
            line.fails(bad, reason)
            line.up(1)
        line.reads(bad + "32 07 0001't' 0008 00'y'")
        line.writes("40 02 0007" if bad[:2] == "32" else "50 02 0007")
        same([e.args[0] for e in told], [int(bad[:2], 16)])
        same([m.topic for m in line.session.inbox], ["t"])
        line.session.inbox.pop().ack()
        line.writes("40 02 0008")


def check_alias_in():
    line = Line5(properties={"topic_alias_maximum": 2}).up()
    s = line.session
    line.reads("30 08 0001't' 03 23 0002 '1'  30 07 0000 03 23 0002 '2'")
    same([(m.topic, m.payload) for m in s.inbox], [("t", b"1"), ("t", b"2")])
    line.reads("30 08 0001'u' 03 23 0002 '3'  32 09 0000 0001 03 23 0002 '4'")
    same([m.topic for m in s.inbox], ["t", "t", "u", "u"])
    same(s.inbox[3].properties, {})  # it is for the connection, not for the application
    line.fails("30 07 0000 03 23 0003 'x'", "94")
    # The next connection knows none.
    line.up(present=1)
    line.fails("30 07 0000 03 23 0002 'x'", "82")
    line.up(present=1)
    line.fails("30 07 0000 03 23 0001 'x'", "82")
    line.up(present=1)
    line.fails("30 07 0001't' 03 23 0000", "82")  # alias 0
    line = Line5().up()  # none allowed
    line.fails("30 08 0001't' 03 23 0001 'x'", "94")


# --- acknowledgements


def check_codes_reach_the_caller():
    line = Line5().up()
    s = line.session
    one, two, many = s.publish("a", b"", 1), s.publish("a", b"", 2), s.request(0x82, [("t", 2)])
    line.written()
    same([one.properties, two.properties], [None, None])
    line.reads("40 0e 0001 10 0a 1f 0001'x' 26 0001'k' 0000")
    same(
        (one.codes, one.properties), (0x10, {"reason_string": "x", "user_properties": [("k", "")]})
    )
    assert one.done and not one.error
    # What PUBREC said is kept when PUBCOMP says nothing.
    line.reads("50 08 0002 10 04 1f 0001'r'")
    line.writes("62 02 0002")
    line.reads("70 02 0002")
    same((two.codes, two.properties), (0x10, {"reason_string": "r"}))
    line.reads("90 08 0003 04 1f 0001's' 01")
    same((many.codes, many.codes.properties), ([1], {"reason_string": "s"}))
    gone = s.request(0xA2, ["t", "u"])
    line.written()
    line.reads("b0 09 0004 04 1f 0001'u' 00 11")
    same((gone.codes, gone.codes.properties), ([0, 0x11], {"reason_string": "u"}))
    assert gone.done and not gone.error
    same(s.filters, {})


def check_empty_acknowledgements():
    line = Line5().up()
    o = line.session.publish("a", b"", 1)
    line.written()
    line.reads("40 02 0001")
    same((o.codes, o.properties, o.error, o.done), (0, {}, None, True))
    o = line.session.publish("a", b"", 2)
    line.written()
    line.reads("50 03 0002 00 70 04 0002 00 00")
    same((o.codes, o.properties, o.error, o.done), (0, {}, None, True))


def check_pubcomp_not_found():
    line = Line5().up()
    o = line.session.publish("a", b"", 2)
    line.written()
    line.reads("50 02 0001")
    line.writes("62 02 0001")
    line.reads("70 03 0001 92")
    same((o.codes, o.error, o.done), (0x92, None, True))  # when PUBREL is repeated it is no error
    same(line.session.outbox, [])
    # PUBREL for what is unknown is answered in any case; a PUBCOMP nobody waits for is none.
    line.reads("62 03 0007 92 70 03 0009 92 70 02 0009")
    line.writes("70 02 0007")


def check_failing_puback():
    line = Line5(window=1).up()
    s = line.session
    o, later = s.publish("a", b"1", 1), s.publish("a", b"2", 1)
    line.writes("32 07 0001'a' 0001 00 '1'")
    line.reads("40 09 0001 97 05 1f 0002'no'")
    assert o.done and isinstance(o.error, Failed) and isinstance(o.error, Refused)
    same(
        (o.error.code, o.error.properties, str(o.error.args[0])),
        (0x97, {"reason_string": "no"}, "no"),
    )
    same(o.codes, 0x97)
    line.writes("32 07 0001'a' 0002 00 '2'")
    s.pid = 0
    same(s.publish("a", b"3", 1).pid, 1)  # is free again
    assert not later.done
    line.up(present=1).writes("3a 07 0001'a' 0002 00 '2'")


def check_failing_pubrec():
    line = Line5(window=1).up()
    s = line.session
    o = s.publish("a", b"1", 2)
    s.publish("a", b"2", 2)
    line.writes("34 07 0001'a' 0001 00 '1'")
    line.reads("50 03 0001 80")
    same((o.done, o.error.code, o.error.properties), (True, 0x80, {}))
    line.writes("34 07 0001'a' 0002 00 '2'")  # and no PUBREL [MQTT-4.3.3-4]
    # 0x7f is the border: less is no failure (0x10: no subscribers).
    line.reads("50 03 0002 10")
    line.writes("62 02 0002")
    # A PUBREC that fails may come in answer to a repeat, too.
    line.reads("50 03 0002 80")
    line.writes("")
    same(s.outbox, [])
    line.reads("50 03 0063 80")  # and for what this client forgot: nothing is to be released
    line.writes("")
    line.reads("50 02 0063")
    line.writes("62 02 0063")


def check_disconnect_for_another_reason():
    # An administrator's, or the end of a plan: if it comes at one packet each time, that one lets
    # all else go first. It is not given up.
    told = []
    line = Line5(on_trouble=told.append, timeout=1000).up()
    s = line.session
    bad = s.publish("bad", b"", 1)
    good = s.publish("good", b"", 1)
    line.written()
    now = 0
    for n in range(9):
        s.lost(raises((Disconnected, Failed), line.reads, "e0 01 98", now))
        line.up(1, now)
        line.written(now)
        if not good.done and n:
            line.reads("40 02 0002", now)
        now += 1000  # it rests
        line.written(now)
        line.reads("d0 00", now)
        line.written(now)
    assert good.done and not bad.done
    same((told, s.suspects), ([], 1))


def check_malformed_acknowledgement():
    line = Line5().up()
    s = line.session
    bad = s.publish("bad", b"", 1)
    line.written()
    s.lost(line.fails("40 03 0001 04", "82"))
    same(bad.tries, 1)


def check_pubrec_identifier_in_use():
    # EMQX says so of a message that it has, when it comes again because PUBREC was lost.
    line = Line5().up()
    s = line.session
    o = s.publish("a", b"1", 2)
    line.writes("34 07 0001'a' 0001 00 '1'")
    line.up(1).writes("3c 07 0001'a' 0001 00 '1'")
    line.reads("50 03 0001 91")
    line.writes("62 02 0001")
    line.reads("70 02 0001")
    assert o.done and not o.error
    o = s.publish("a", b"2", 2)  # without DUP it is another's identifier
    line.writes("34 07 0001'a' 0002 00 '2'")
    line.reads("50 03 0002 91")
    same((o.done, o.error.code), (True, 0x91))


def check_expiring_at_3_1_1_then_5():
    s = durable(expiring())(lambda: None, "c", Medium(), clean=False, clock=lambda: 1000)
    s.publish("t", b"x", 1, message_expiry=9)
    data = {key: bytearray(value) for key, value in s.store.data.items()}
    line = Line5()
    line.session = DurableSession5(
        line.kick, "c", Medium(data), clean=False, clock=lambda: 1004, timeout=1000
    )
    line.up(1).writes("32 0c 0001't' 0001 05 02 00000005 'x'")


def check_what_the_server_forbids_is_told():
    for more in ("24 00", "27 0000 000a", "25 00"):
        line = Line5()
        line.hello()
        s = line.session
        o = s.publish("reading", b"1234567", 1, True)
        line.connack(more=more)
        line.written()
        same((s.outbox, s.troubles, s.trouble), ([], 1, o.error))


def check_who_is_told_publishes():
    # Which makes room at the expense of the next one that the server does not take.
    def tell(error):
        told.append(error)
        if len(told) == 1:
            small.extend([s.publish("s", b""), s.publish("s", b"")])

    told = []
    small = []
    line = Line5(outbox=2, on_trouble=tell)
    line.hello()
    s = line.session
    large = [s.publish("reading", b"1234567"), s.publish("reading", b"1234567")]
    line.connack(more="27 0000 000a")
    line.writes("30 04 0001's' 00 30 04 0001's' 00")
    same(([o.done for o in large + small], told), ([True] * 4, [large[0].error]))


def check_answers_to_other_packets():
    # An answer that fits nothing is told, and a refusal, for perhaps nobody waits for that message;
    # one with two codes for a topic filter ends its request.
    for text, left in (
        ("40 03 0001 80", 3),  # PUBACK for QoS 2: refused all the same
        ("50 03 0002 80", 3),  # PUBREC for QoS 1
        ("50 03 0003 80", 4),  # for SUBSCRIBE, and UNSUBSCRIBE
        ("50 03 0004 80", 4),
        ("40 03 0004 80", 4),
        ("90 04 0004 00 80", 4),
        ("b0 04 0003 00 80", 4),
        ("90 04 0001 00 00", 4),
        ("40 02 0009", 4),  # for nothing
        ("90 04 0009 00 00", 4),
        ("b0 04 0009 00 00", 4),
        ("90 05 0003 00 00 00", 3),  # two codes for one
        ("b0 05 0004 00 00 00", 3),
    ):
        line = Line5().up()
        s = line.session
        every = [s.publish("a", b"", 2), s.publish("a", b"", 1)]
        every += [s.request(0x82, [("t", 0)]), s.request(0xA2, ["u"])]
        line.written()
        line.reads(text)
        same((len(s.outbox), s.troubles), (left, left == 4 or text[0] in "45"))
        for o in every:
            assert not o.done or isinstance(o.error, (Failed, ProtocolError))


def check_failing_suback():
    line = Line5().up()
    s = line.session
    o = s.request(0x82, [("a", 0), ("b", 1), ("c", 2)])
    line.written()
    line.reads("90 0a 0001 04 1f 0001'q' 00 97 02")
    assert o.done and isinstance(o.error, Failed)
    same((o.error.code, o.error.properties), ([0, 0x97, 2], {"reason_string": "q"}))
    same(s.filters, {"a": 0, "c": 2})
    s.request(0x82, [("c", 1)])
    line.written()
    line.reads("90 04 0002 00 87")  # what was granted before is no more
    same(s.filters, {"a": 0})
    s.filters["c"] = 2
    o = s.request(0xA2, ["a", "c"])
    line.written()
    line.reads("b0 05 0003 00 00 87")
    same((o.error.code, o.done, s.filters), ([0, 0x87], True, {"c": 2}))


# --- what ends the connection


FINAL = b"\x81\x82\x84\x85\x86\x87\x8a\x8c\x8e\x8f\x90\x94\x95\x99\x9a\x9b\x9c\x9d\x9e\xa1\xa2"
RETRIED = b"\x80\x83\x88\x89\x8b\x8d\x93\x96\x97\x98\x9f\xa0"
IN_CONNACK = b"\x80\x81\x82\x83\x84\x85\x86\x87\x88\x89\x8a\x8c\x90\x95\x97\x99\x9a\x9b\x9c\x9d\x9f"
NOT_IN_DISCONNECT = b"\x84\x85\x86\x88\x8a"


def check_disconnect_from_the_server():
    for code in b"\0" + FINAL + RETRIED:
        line = Line5().up()
        text = "e0 02 %02x 00" % code
        if code in NOT_IN_DISCONNECT:
            line.fails(text, "82")
            continue
        e = raises(Failed if code in FINAL else Disconnected, line.reads, text)
        same((e.code, e.properties), (code, {}))
        same(isinstance(e, Refused), code in FINAL)  # which is what ends a Client for good
        same(isinstance(e, ConnectionLost), code not in FINAL)
        line.writes("")  # and nothing is answered
    line = Line5().up()
    same(raises(Disconnected, line.reads, "e0 00").code, 0)
    line = Line5().up()
    e = raises(Failed, line.reads, "e0 0a 8e 08 1f 0005'other'")
    same((e.code, e.args[0], e.properties), (0x8E, "other", {"reason_string": "other"}))


def check_refusing_connack():
    for code in IN_CONNACK:
        line = Line5()
        line.hello()
        e = raises(Failed if code in FINAL else Disconnected, line.reads, "20 03 00 %02x 00" % code)
        same((e.code, e.properties), (code, {}))
        same(line.session.server, {})
    line.hello()
    e = raises(Disconnected, line.reads, "20 07 00 89 04 1f 0001'b'")
    same((e.args[0], e.properties), ("b", {"reason_string": "b"}))


class Owner:
    def __init__(self, tls="tls"):
        self.address = ("first", 1883, tls)


MOVED = {
    "other": "20 0e 00 9d 0b 1c 0008'other:18'",
    "first": "20 0d 00 9d 0a 1c 0007'first:5'",
}


def split(data):
    """Return the packets in some bytes, each shorter than 130."""
    out = []
    while data:
        out.append(bytes(data[: data[1] + 2]))
        data = data[data[1] + 2 :]
    return out


def check_filters_that_go_together_no_more():
    """Each was subscribed by itself, and the broker forgot: together they are longer than it takes,
    or one of them is of a kind that it takes no more. What it takes is subscribed, the rest told,
    and asked for again at the next connection."""
    for more, lost in (("27 00000040", 0), ("28 00", 1)):
        told = []
        line = Line5(on_trouble=told.append).up()
        s = line.session
        names = ["greenhouse/7/%d" % i for i in range(7)] + ["all/#"]
        for name in names:
            s.filters[name] = 1
        line.up(more=more)
        subscribed_to = []
        while True:
            data = line.written()
            if not data:
                break
            for one in split(data):
                same(one[0], 0x82)
                n = one[6]
                subscribed_to.append(str(one[7 : 7 + n], "utf-8"))
                s.receive(memoryview(h("90 04") + one[2:4] + b"\0\1"), 0)
        same(sorted(subscribed_to), sorted(names[:7] if lost else names))
        same(([e.code for e in told], dict(s.denied)), ([0xA2], {"all/#": 1}) if lost else ([], {}))
        same(sorted(s.filters), sorted(subscribed_to))
        line.up(present=1)
        if lost:
            line.writes("c000")  # behind all else
            line.reads("d000")
            same(line.written()[7:], h("'all/#' 01"))
        line.writes("")


def check_answer_that_does_not_fit_a_repeat():
    """As in liveness_checks: of none of these filters it is known that it is subscribed."""
    told = []
    line = Line5(on_trouble=told.append).up()
    s = line.session
    s.filters["a"] = s.filters["b"] = 1
    line.up()
    line.written()
    line.reads("90 04 0001 00 01")
    same((len(told), s.filters, sorted(s.denied)), (1, {}, ["a", "b"]))
    line.up(present=1).writes("c000")
    line.reads("d000")
    for pid in ("0002", "0003"):
        same(len(split(line.written())), 1)
        line.reads("90 04 %s 00 01" % pid)
    same((sorted(s.filters), s.denied), (["a", "b"], {}))


def check_server_moved_now_and_then():
    """Three times in a row is not three times in a life, for who gets no acknowledgement."""
    owner = Owner()
    line = Line5(owner=owner, redirect=True, timeout=1000)
    now = 0
    for _ in range(9):
        now += 9000
        line.session.lost()
        line.session.connect(now)
        line.written(now)
        raises(Disconnected, line.reads, MOVED["other"], now)
        same(owner.address[0], "other")
        line.session.lost()
        line.session.connect(now)
        line.written(now)
        line.connack(now=now)
        line.session.publish("t")
        line.written(now)
        line.session.receive(memoryview(h("d000")), now + 1001)


def check_receive_maximum_is_bounded():
    """As many identifiers are kept as the server may have in flight: else one comes twice."""
    for asked, said in ((16, 16), (100, 100), (5000, 100)):
        line = Line5(properties={"receive_maximum": asked})
        same(line.session.properties["receive_maximum"], said)
        assert b"\x21" + said.to_bytes(2, "big") in line.hello()
    line.connack()
    s = line.session
    for dup in (0, 8):
        for pid in range(1, 101):
            line.reads("3%x 07 0001't' %04x 00 'x'" % (4 | dup, pid))
            same(len(s.inbox), 0 if dup else 1)
            while s.inbox:
                s.inbox.pop().ack()
            line.written()
        line.up(present=1)


def check_code_of_what_it_has():
    """EMQX says "in use" of what it has, and gets again with DUP: that is no failure."""
    line = Line5().up()
    o = line.session.publish("a", b"", 2)
    line.written()
    line.up(present=1)
    line.written()
    line.reads("50 03 0001 91")
    line.writes("62 02 0001")
    line.reads("70 02 0001")
    same((o.codes, o.error, o.done), (0, None, True))


def check_refused_connack_is_no_owed_one():
    line = Line5().up()
    o = line.session.publish("a", b"", 2)
    line.written()
    line.reads("50 02 0001")
    line.written()
    for refused in ("20 03 00 89 00", "20 02 00 01"):
        line.hello()
        raises(Disconnected if "89" in refused else Failed, line.reads, refused)
        line.session.lost()
        same(line.session.owed, False)
    line.up(present=1).writes("62 02 0001")
    line.reads("70 02 0001")
    same((o.codes, o.error, o.done), (0, None, True))


def check_auth_is_asked_when_it_is_sent():
    """Not before: what it says may hold once."""
    asked = []

    def auth(data):
        asked.append(data)
        return b"%d" % len(asked)

    line = Line5(auth=auth, properties={"auth_method": "m"})
    same(asked, [])
    assert b"\x16\x00\x01" + b"1" in line.hello()
    same(asked, [None])


def check_alias_of_what_did_not_go():
    """A large message takes an alias, and its source fails before a byte of it goes: the next one
    must not go by it."""
    from dormouse.large import Source
    from dormouse.large.sending import sending

    class Nothing:
        def readinto(self, buf):
            raise OSError(2)

        def seek(self, *_):
            return 5000

    told = []
    line = Line5(sending(Session5), on_trouble=told.append).up(more="22 0005")
    s = line.session
    s.publish("topic/1", b"a")
    line.written()
    o = s.publish("topic/1", Source(Nothing(), 5000))
    s.publish("topic/1", b"b")
    out = b""
    while True:
        try:
            data = s.take(0)
        except ConnectionLost:
            break
        if not data:
            break
        out += bytes(data)
    assert o.done and o.error
    assert not out or b"topic/1" in out, out


def check_longer_by_its_alias():
    """With its alias a message is three bytes longer: not if it is too long then."""
    from dormouse.large import Source
    from dormouse.large.sending import sending

    class Zeros:
        def readinto(self, buf):
            return len(buf)

    for n in (2000, 2900, 2982, 2984, 2986):
        line = Line5(sending(Session5)).up(more="22 0005 27 00000bb8")  # 3000
        s = line.session
        s.publish("topic/1", b"a")
        line.written()
        s.publish("topic/1", Source(Zeros(), n))
        out = line.written()
        k = out[1] & 127 | out[2] << 7
        assert k + 3 == len(out) <= 3000, (k, len(out))


def check_server_moved():
    owner = Owner()
    line = Line5(owner=owner, redirect=True)
    for text, host, port in (
        (MOVED["other"], "other", 18),
        ("20 0d 00 9c 0a 1c 0007'third x'", "third", 1883),
        ("20 11 00 9d 0e 1c 000b'[fe80::1]:5'", "fe80::1", 5),
    ):
        line.hello()
        e = raises(Disconnected, line.reads, text)
        assert e.code in (0x9C, 0x9D) and e.again
        same(owner.address, (host, port, "tls"))
        line.session.lost()
        same(owner.address[0], host)
    # Not for ever; and back after one attempt that failed, be it refused or not even a connection.
    line.hello()
    raises(Failed, line.reads, "20 0d 00 9d 0a 1c 0007'fourth!'")
    line.session.lost()
    same(owner.address, ("first", 1883, "tls"))
    # Nor by servers that accept, and send it on at once.
    line.up()
    raises(Failed, line.reads, "e0 0a 9d 08 1c 0005'fifth'")
    # Once one has done something, there may be as many again; from DISCONNECT too.
    line.up()
    line.session.publish("a", b"", 1)
    line.written()
    line.reads("40 02 0001")
    raises(Disconnected, line.reads, "e0 0a 9d 08 1c 0005'fifth'")
    same(owner.address, ("fifth", 1883, "tls"))
    line.up().session.lost()  # it stays where it was taken
    same(owner.address[0], "fifth")
    line.session.lost()
    same(owner.address[0], "first")
    # Not for another reason, or without a reference.
    line.hello()
    same(raises(Disconnected, line.reads, "20 0b 00 89 08 1c 0005'sixth'").code, 0x89)
    same(owner.address[0], "first")
    line.up()
    same(raises(Failed, line.reads, "e0 02 9c 00").code, 0x9C)


def check_server_moved_is_obeyed_where_asked_for():
    """Not to where the password would be read, nor to where there is nothing."""
    login = {"username": "u", "password": b"p"}
    proof = {"auth": lambda data: b"proof", "properties": {"auth_method": "M"}}
    for options, tls, to, ok in (
        ({}, "tls", "other", False),
        ({"redirect": False}, "tls", "first", False),
        ({"redirect": True}, None, "other", False),
        ({"redirect": True}, None, "first", True),
        (dict(login, redirect=True), None, "first", True),
        (dict(login, redirect=True), "tls", "other", False),
        ({"redirect": True, "password": lambda: b"p"}, "tls", "other", False),
        (dict(proof, redirect=True), "tls", "other", False),
        (dict(proof, redirect=True), None, "first", True),
        (dict(proof, redirect=("other",)), "tls", "other", True),
        (dict(login, redirect=("other",)), "tls", "other", True),
        ({"redirect": ("other",)}, None, "other", False),
        (dict(login, redirect=("another",)), "tls", "other", False),
    ):
        owner = Owner(tls)
        line = Line5(owner=owner, **options)
        line.hello()
        raises(Disconnected if ok else Failed, line.reads, MOVED[to])
        same(owner.address[0], to if ok else "first")
    owner = Owner()
    owner.address = ("10.0.0.7", 1883, None, "name")  # a Node's: looked up already
    line = Line5(owner=owner, redirect=True)
    line.hello()
    raises(Disconnected, line.reads, "20 0c 00 9d 09 1c 0006'name:5'")
    same(owner.address, ("name", 5, None))
    line.session.lost()
    line.session.lost()
    same(owner.address, ("10.0.0.7", 1883, None, "name"))
    for text in ("first:0", "first:70000", "first:x", "first:", "", ":5", "a/b", "a@b", "[::1]5"):
        line = Line5(owner=Owner(), redirect=True)
        line.hello()
        n = len(text)
        packet = bytes((0x20, n + 6, 0, 0x9D, n + 3, 0x1C, 0, n)) + text.encode()
        raises(Failed, line.session.receive, memoryview(packet), 0)
        same(line.session.owner.address, ("first", 1883, "tls"))


def check_faults_of_the_server():
    for text, reason in (
        ("30 02 0005", "81"),  # cut short
        ("30 05 0001't' 01 7f", "81"),  # a property that is none
        ("30 04 0001 ff 00", "81"),  # not UTF-8
        ("36 06 0001't' 0001 00", "81"),  # QoS 3
        ("38 04 0001't' 00", "81"),  # DUP at QoS 0
        ("41 02 0001", "81"),  # flags
        ("60 02 0001", "81"),
        ("d1 00", "81"),
        ("e1 00", "81"),
        ("f1 00", "81"),
        ("40 01 00", "81"),
        ("32 06 0001't' 0000 00", "82"),  # identifier 0
        ("30 04 0001'+' 00", "82"),
        ("30 08 0001't' 04 01 00 01 00", "82"),  # twice
        ("40 03 0001 55", "82"),  # a code that is none
        ("20 03 00 00 00", "82"),  # a second CONNACK
        ("10 02 0000", "82"),  # what goes the other way
        ("c0 00", "82"),
        ("f0 02 18 00", "82"),  # AUTH without a method
        ("f0 00", "82"),
        ("f0 09 18 07 15 0001'M' 16 0000", "82"),  # AUTH, when none was asked for
        ("e0 07 00 05 11 00000001", "82"),  # session expiry from the server
    ):
        line = Line5().up()
        o = line.session.publish("a", b"", 1)
        line.written()
        line.fails(text, reason)
        # Nothing goes behind it, nothing is heard, and the session goes on.
        line.reads("30 04 0001't' 00")
        same(line.session.inbox, [])
        line.session.lost()
        assert line.session.take(0) is None
        line.up(present=1).writes("3a 06 0001'a' 0001 00")
        assert not o.done


def check_faults_before_connack():
    for text, reason in (
        ("30 04 0001't' 00", "82"),
        ("40 02 0001", "82"),
        ("62 02 0001", "82"),
        ("d0 00", "82"),
        ("e0 00", "82"),  # [MQTT-3.14.0-1]
        ("20 02 00 00", "81"),  # 3.1.1's
        ("20 03 02 00 00", "81"),
        ("20 03 00 01 00", "82"),
        ("20 07 00 00 04 15 0001'M'", "82"),  # [MQTT-4.12.0-6]
    ):
        line = Line5()
        line.hello()
        line.fails(text, reason)
    line = Line5(clean=True)
    line.hello()
    line.fails("20 03 01 00 00", "82")  # a session after a clean start [MQTT-3.2.2-2]


def check_receive_maximum_exceeded():
    line = Line5(properties={"receive_maximum": 2}).up()
    s = line.session
    line.reads("32 06 0001't' 0001 00 34 06 0001't' 0002 00 30 04 0001't' 00")
    for m in list(s.inbox):
        m.ack()
    line.writes("40 02 0001 50 02 0002")
    line.reads("32 06 0001't' 0003 00")  # QoS 2 counts until PUBCOMP
    line.reads("62 02 0002")
    line.writes("70 02 0002")
    line.reads("34 06 0001't' 0004 00")
    line.fails("32 06 0001't' 0005 00", "93")
    same(len(s.inbox), 5)


def check_receive_maximum_at_qos_2():
    line = Line5(properties={"receive_maximum": 1}).up()
    line.reads("34 06 0001't' 0001 00")
    line.session.inbox[0].ack()
    line.writes("50 02 0001")
    line.fails("34 06 0001't' 0002 00", "93")  # PUBREC is not the end of it


def check_receive_maximum_begins_anew():
    # The server counts from zero at each connection (section 4.9): what it had in flight before,
    # and releases now, is no part of it.
    line = Line5(properties={"receive_maximum": 2}).up()
    s = line.session
    line.reads("34 06 0001't' 0001 00 34 06 0001't' 0002 00")
    for m in list(s.inbox):
        m.ack()
    line.written()
    line.up(present=1)
    line.reads("62 02 0001 62 02 0002 32 06 0001't' 0003 00 32 06 0001't' 0004 00")
    line.writes("70 02 0001 70 02 0002")
    line.up(present=1)
    line.reads("3a 06 0001't' 0003 00 3a 06 0001't' 0004 00")
    same(len(s.inbox), 4)
    line.fails("32 06 0001't' 0005 00", "93")


def check_quota_exceeded():
    line = Line5().up()
    line.reads("62 02 0001" * 400 + "62 02 0001" * 113)
    line.written_last("97")
    same(raises(ConnectionLost, line.session.take, 0).args, ("flood",))


# --- DISCONNECT from here


def check_disconnect():
    line = Line5().up()
    line.session.disconnect()
    line.writes("e0 00")
    raises(ProtocolError, line.reads, "d0 01 00")  # a fault of the server: it is not told any more
    line.writes("")
    line.up(present=1)
    o = line.session.publish("a", b"", 1)
    line.session.disconnect(4)
    line.writes("32 06 0001'a' 0001 00 e0 01 04")
    line.up(present=1)
    line.session.disconnect(session_expiry=3600)
    line.writes("3a 06 0001'a' 0001 00 e0 07 00 05 11 00000e10")
    line.up(present=1)
    line.session.disconnect(4, reason_string="b", user_properties=[("k", "v")])
    data = line.written()[8:]
    same(data[:3], h("e0 0d 04"))
    properties_at(data, 3, ["1f 0001'b'", "26 0001'k' 0001'v'"])
    raises(ValueError, line.session.disconnect, 0x8E)
    raises(ValueError, line.session.disconnect, server_reference="x")
    line.up(present=1, more="27 00000008")
    line.written()
    same(raises(Failed, line.session.disconnect, reason_string="long").code, 0x95)
    same(line.session.state, 2)
    line.session.disconnect(reason_string="l")
    line.writes("e0 06 00 04 1f 0001'l'")
    assert not o.done


def check_disconnect_that_the_server_does_not_take():
    # None can be as short as that: nothing goes, and the connection is closed all the same. The
    # will is published then, as code 4 says; without that there is no other way.
    for most, code, left in (
        (1, 0, ""),
        (1, 4, ""),
        (2, 4, ""),
        (2, 0, "e0 00"),
        (3, 4, "e0 01 04"),
    ):
        line = Line5()
        o = line.session.publish("a", b"", 1)
        line.up(more="27 0000000%d" % most)
        line.kicks = 0
        line.session.disconnect(code)
        assert line.kicks
        line.writes(left)
        same((line.session.state, o.error.code), (4, 0x95))
        line.up(1).writes("")
        line.session.disconnect(code)
        line.writes("e0 01 04" if code else "e0 00")


def check_session_expiry_at_disconnect():
    # Where CONNECT had none, or 0, DISCONNECT must not have one (section 3.14.2.2.2).
    for options in ({"clean": True}, {"session_expiry": 0}):
        line = Line5(**options).up()
        raises(ValueError, line.session.disconnect, session_expiry=1)
        line.session.disconnect(session_expiry=0)
        line.writes("e0 07 00 05 11 00000000")
    # What the server made of it is another matter.
    line = Line5(session_expiry=60).up(more="11 00000000")
    same(line.session.expiry, 0)
    line.session.disconnect(session_expiry=1)
    line.writes("e0 07 00 05 11 00000001")


def check_clean_start_then_a_session():
    line = Line5(clean=True, session_expiry=60)
    data = line.hello()
    same(data[9:10], b"\x02")
    properties_at(data, 12, ["11 0000003c", "21 0010", "27 00001000"])
    line.hello()  # no CONNACK came: still the beginning
    line.connack(0)
    o = line.session.publish("a", b"", 1)
    line.written()
    same(line.hello()[9:10], b"\0")
    line.connack(1)
    line.writes("3a 06 0001'a' 0001 00")
    assert not o.done
    # No expiry, no session: each connection begins one.
    line = Line5(clean=True).up()
    same(line.hello()[9:10], b"\x02")
    # ... and so where the server keeps none.
    line = Line5(clean=True, session_expiry=60).up(more="11 00000000")
    same(line.hello()[9:10], b"\x02")


def check_server_session_expiry():
    line = Line5(session_expiry=60).up(more="11 00000005")
    same(line.session.expiry, 5)
    line.up(present=1)
    same(line.session.expiry, 60)  # not told: as asked for (section 3.2.2.3.2)


# --- messages


def check_publish_properties():
    line = Line5().up()
    s = line.session
    s.publish(
        "a",
        "\xe9",
        1,
        True,
        payload_format=1,
        content_type="t",
        response_topic="r",
        correlation_data=b"\0",
        user_properties=[("k", "1"), ("k", "2")],
    )
    data = line.written()
    same(data[:7], h("33 24 0001'a' 0001"))
    end = properties_at(
        data,
        7,
        [
            "01 01",
            "03 0001't'",
            "08 0001'r'",
            "09 0001 00",
            "26 0001'k' 0001'1'",
            "26 0001'k' 0001'2'",
        ],
    )
    same(data[end:], b"\xc3\xa9")
    assert data.find(b"\0011") < data.find(b"\0012")  # in order
    # The same after a reconnect, but for DUP.
    line.up(present=1)
    same(line.written(), b"\x3b" + data[1:])
    for wrong in ({"subscription_id": 1}, {"session_expiry": 1}, {"payload_format": 2}, {"x": 1}):
        raises(ValueError, s.publish, "a", **wrong)
    raises(ValueError, s.publish, "a", response_topic="a/#")
    raises(TypeError, s.publish, "a", 1.5)
    raises(TypeError, s.publish, "a", 7)
    raises(ValueError, s.publish, "a/#")
    same(len(s.outbox), 1)


def check_payload_of_wide_items():
    from array import array

    s = Line5().up().session
    raises(TypeError, s.publish, "a", array("H", [1, 2]))
    payload = bytearray(b"1")
    s.publish("a", payload)
    payload[0] = 0
    same(bytes(s.take(0)), h("30 05 0001'a' 00 '1'"))


def check_outbox_counts_properties():
    s = Line5(outbox_bytes=200).session
    raises(ValueError, s.publish, "a", b"", 1, content_type="x" * 200)
    s.publish("a", b"", 1, content_type="x" * 100)
    raises(OutboxFull, s.publish, "a", b"", 1, content_type="x" * 100)
    same(len(s.outbox), 1)


def check_properties_that_came():
    line = Line5().up()
    line.reads(
        "30 1e 0001't' 19 01 01 0b 05 0b 07 26 0001'k' 0001'1' 26 0001'k' 0001'2'09 0002 00ff '!'"
    )
    (m,) = line.session.inbox
    same(
        m.properties,
        {
            "payload_format": 1,
            "subscription_id": [5, 7],
            "user_properties": [("k", "1"), ("k", "2")],
            "correlation_data": b"\0\xff",
        },
    )
    same((m.topic, m.payload, m.qos, m.retain), ("t", b"!", 0, False))
    line.reads("35 06 0001't' 0001 00 3d 06 0001't' 0001 00")
    same(len(line.session.inbox), 2)  # its repeat is none of its own
    m = line.session.inbox[1]
    same((m.qos, m.retain, m.properties), (2, True, {}))
    line.reads("30 09 0001't' 05 02 00000007 3d 06 0001't' 0001 00")
    same(line.session.inbox[2].properties, {"message_expiry": 7})


def check_inbox_counts_properties():
    line = Line5(max_packet=120, inbox_bytes=190).up()
    s = line.session
    long = "67 0001't' 63 03 0060" + "78" * 96
    line.reads("30 " + long)
    assert not s.behind()
    line.reads("32 69 0001't' 0001 63 03 0060" + "78" * 96)
    assert s.behind()
    s.inbox.pop()
    assert not s.behind()


# --- expiry


class Clock:
    now = 1000

    def __call__(self):
        return self.now


def check_expiry_on_3_1_1():
    clock = Clock()
    line = Line5(expiring(Session), clock=clock)
    s = line.session
    early, late, never = (
        s.publish("a", b"1", 1, message_expiry=10),
        s.publish("a", b"2", 1, message_expiry=11),
        s.publish("a", b"3", 1),
    )
    raises(TypeError, s.publish, "a", content_type="x")
    clock.now += 10
    same(line.hello(), h("10 0d 0004'MQTT' 04 00 003c 0001'c'"))
    line.reads("20 02 00 00")
    line.writes("32 06 0001'a' 0002 '2' 32 06 0001'a' 0003 '3'")
    assert early.done and isinstance(early.error, Expired)
    # Sent is sent: it goes on to its end, also after its time.
    clock.now += 10
    line.hello()
    line.reads("20 02 01 00")
    line.writes("3a 06 0001'a' 0002 '2' 3a 06 0001'a' 0003 '3'")
    assert not late.done and not never.done
    line.reads("40 02 0002")
    assert late.done and not late.error


def check_expiry_before_the_connection():
    clock = Clock()
    s = Line5(expiring(Session), clock=clock, outbox=1).session
    old = s.publish("a", b"1", 1, message_expiry=10)
    raises(OutboxFull, s.publish, "a", b"2", 1)
    clock.now += 10
    s.publish("a", b"2", 1)  # takes the room of what nobody wants any more
    assert old.done and isinstance(old.error, Expired)


def check_expiry_looks_when_it_is_time():
    # And not at all that wait, at each message; also at what was sent, where the broker forgot it.
    for kind in (expiring(Session), Session5):
        looks = [0]

        class Counting(kind):
            def left(self, o, looks=looks):
                looks[0] += 1
                return super().left(o)

        for after in ([10, 20, 50, 60, 90], [50, 10, 90, 20, 60]):
            clock = Clock()
            line = Line5(Counting, clock=clock, outbox=99)
            s = line.session
            waiting = [s.publish("a", b"", 1, message_expiry=n) for n in after]
            for _ in range(20):
                s.publish("a", b"", 1)
            looks[0] = 0
            for _ in range(5):
                s.publish("a", b"", 1)
            same(looks, [0])
            for now in (1009, 1010, 1030, 1059):
                clock.now = now
                s.publish("b", b"")
                same([o.done for o in waiting], [n <= now - 1000 for n in after])
            for _ in range(2):
                Line5.up(line) if kind is Session5 else Line.up(line)
                line.written()
                o = waiting[after.index(60)]
                same((o.done, bool(o.error)), (clock.now > 1060, clock.now > 1060))
                clock.now = 1070
                line.written()  # it is on its way
                same(len(s.outbox) > 20, True)


def check_expiry():
    clock = Clock()
    line = Line5(clock=clock)
    s = line.session
    early = s.publish("a", b"1", 1, message_expiry=10)
    late = s.publish("a", b"2", 1, message_expiry=60, content_type="t")
    clock.now += 10
    line.up()
    data = line.written()
    same(data[:7], h("32 10 0001'a' 0002"))
    end = properties_at(data, 7, ["02 00000032", "03 0001't'"])
    same(data[end:], b"2")
    assert early.done and isinstance(early.error, Expired)
    clock.now += 20
    line.up(present=1)
    data = line.written()
    same(data[0], 0x3A)
    properties_at(data, 7, ["02 0000001e", "03 0001't'"])
    clock.now += 1000
    line.up(present=1)
    properties_at(line.written(), 7, ["02 00000001", "03 0001't'"])
    line.reads("40 02 0002")
    assert late.done and not late.error
    s.publish("a", b"", 0, message_expiry=5)
    line.writes("30 09 0001'a' 05 02 00000005")
    raises(ValueError, s.publish, "a", message_expiry=-1)
    line.up(present=1, more="27 0000000a")  # bytes that it takes, too
    same(raises(Failed, s.publish, "a", message_expiry=5).code, 0x95)
    same(s.outbox, [])


def check_expiry_with_alias():
    clock = Clock()
    line = Line5(clock=clock).up(more="22 0001")
    for _ in range(3):
        line.session.publish("long/1", message_expiry=7)
    clock.now += 2
    data = line.written()
    same(data[:10], h("30 0e 0006'long/1'"))
    data = data[properties_at(data, 10, ["02 00000005"]) :]
    data = data[properties_at(data, 10, ["02 00000005", "23 0001"]) :]
    same(data[:4], h("30 0b 0000"))
    same(properties_at(data, 4, ["02 00000005", "23 0001"]), len(data))
    for _ in range(2):  # no alias is left
        line.session.publish("long/2", message_expiry=7)
        line.writes("30 0e 0006'long/2' 05 02 00000007")


# --- subscriptions


def check_subscription_options():
    line = Line5().up()
    s = line.session
    s.request(
        0x82,
        [("a", 1), ("b", 2)],
        subscription_id=300,
        no_local=True,
        retain_as_published=True,
        retain_handling=2,
        user_properties=[("k", "v")],
    )
    data = line.written()
    same(data[:4], h("82 15 0001"))
    same(data[4], 10)
    found = data[5:15]
    assert found in (h("0b ac02 26 0001'k' 0001'v'"), h("26 0001'k' 0001'v' 0b ac02")), found
    same(data[15:], h("0001'a' 2d 0001'b' 2e"))
    s.request(0xA2, ["b"], user_properties=[("k", "v")])
    line.writes("a2 0d 0002 07 26 0001'k' 0001'v' 0001'b'")
    s.request(0x82, [("$share/g/t", 1)])
    line.writes("82 10 0003 00 000a'$share/g/t' 01")
    for wrong in (
        {"retain_handling": 3},
        {"subscription_id": 1 << 28},
        {"subscription_id": -1},
        {"retain_handling": 16},
        {"no_local": 1, "retain_handling": 4},
    ):
        raises(ValueError, s.request, 0x82, [("t", 0)], **wrong)
    raises(ValueError, s.request, 0x82, [("$share/g/t", 0)], no_local=True)
    raises(ValueError, s.request, 0x82, [])
    raises(ValueError, s.request, 0xA2, [])


def check_subscriptions_are_repeated():
    line = Line5().up()
    s = line.session
    subscribed(line, "a", 1, subscription_id=7, no_local=True)
    subscribed(line, "b", 2)
    subscribed(line, "c", 0, subscription_id=7, retain_handling=1)
    subscribed(line, "d", 1, subscription_id=8)
    s.publish("x", b"", 1)
    line.up(present=1).writes("32 06 0001'x' 0005 00")
    for _ in range(3):  # as often as the server forgets before it answers
        line.up(present=0)
        data = line.written()
        packets = {}
        while data:
            if data[0] == 0x82:
                packets[bytes(data[4 : 2 + data[1]])] = data[2:4]
            data = data[2 + data[1] :]
        same(
            sorted(packets),
            [h("00 0001'b' 02"), h("02 0b07 0001'a' 05 0001'c' 10"), h("02 0b08 0001'd' 01")],
        )
        same((len(s.outbox), len(s.again)), (4, 3))
    for body, pid in packets.items():
        codes = "01 00" if b"c" in body else "00"
        line.reads("90 %02x %04x 00 %s" % (3 + len(codes) // 2, pid[0] << 8 | pid[1], codes))
    same([o.expect for o in s.outbox], [4])
    same(sorted(s.filters), ["a", "b", "c", "d"])
    line.up(present=1).writes("3a 06 0001'x' 0005 00")


def check_repeated_subscription_refused():
    # Told, and asked for again at each connection; the others stand.
    for which in (0, 1):
        line = Line5().up()
        s = line.session
        subscribed(line, "a", 0, subscription_id=7)
        subscribed(line, "b", 0, subscription_id=8)
        line.up(present=0)
        line.writes("82 09 0003 02 0b07 0001'a' 00 82 09 0004 02 0b08 0001'b' 00")
        line.reads("90 04 0003 00 %s 90 04 0004 00 %s" % (("00", "87") if which else ("87", "00")))
        same(s.trouble.code, [0x87])
        same(sorted(s.filters), ["ba"[which]])
        line.up(present=1)
        line.writes("c000")
        line.reads("d000")
        line.written()
        line.reads("90 04 %04x 00 00" % s.pid)
        same(sorted(s.filters), ["a", "b"])


# --- AUTH


class Method:
    """Answers challenges; what it is asked is its log."""

    def __init__(self):
        self.log = []

    def __call__(self, data):
        self.log.append(data)
        if data == b"bad":
            raise ValueError("proof")
        return b"first%d" % len(self.log) if data is None else data + b"!"


M = "15 0001'M'"


def authenticating(**options):
    method = Method()
    line = Line5(properties={"auth_method": "M"}, auth=method, **options)
    del method.log[:]
    data = line.hello()
    same(method.log, [None])
    assert h("16 0006'first1'") in pieces(data, 12)[0]
    return line, method


def reply(line, first):
    """What AUTH the session wrote: its reason code and its data."""
    data = line.written()
    same(data[0], 0xF0)
    found, end = pieces(data, 3)
    same(end, len(data))
    same(found[0], h(M))
    return data[2], found[1][3:]


def check_auth():
    line, method = authenticating()
    line.reads("f0 0a 18 08" + M + "16 0001'1'")
    same(reply(line, 0xF0), (0x18, b"1!"))
    line.reads("f0 06 18 04" + M)  # a challenge without data is not the beginning
    same(reply(line, 0xF0), (0x18, b"!"))
    same(line.session.state, 1)
    line.connack(0, M + "16 0001'p'")
    same(method.log, [None, b"1", b"", b"p"])
    same(line.session.state, 2)
    line.writes("")
    # Anew, on the living connection: the last word of the server is looked at too.
    del method.log[:]
    line.session.reauthenticate()
    same(reply(line, 0xF0), (0x19, b"first1"))
    line.reads("f0 0a 18 08" + M + "16 0001'2'")
    same(reply(line, 0xF0), (0x18, b"2!"))
    line.reads("f0 0a 00 08" + M + "16 0001'q'")
    line.writes("")
    same(method.log, [None, b"2", b"q"])
    # Each connection begins anew.
    del method.log[:]
    assert h("16 0006'first1'") in pieces(line.hello(), 12)[0]
    same(method.log, [None])


def check_authentication_is_renewed_only_where_it_stands():
    # What renews a token by a timer knows of no connection.
    line = Line5(properties={"auth_method": "M"}, auth=Method())
    line.session.reauthenticate()  # before the first one
    same(line.session.auth.log, [])
    line, method = authenticating()
    line.session.reauthenticate()  # in the middle of the exchange
    line.writes("")
    same(method.log, [None])
    line.connack(0, M)
    line.session.lost()
    line.session.reauthenticate()
    same(method.log, [None, b""])


def check_auth_by_a_false_server():
    line, method = authenticating()
    raises(ValueError, line.connack, 0, M + "16 0003'bad'")
    same(line.session.state, 1)
    line, method = authenticating()
    line.connack(0, M)
    same(method.log, [None, b""])  # no proof is for the method to judge
    line.session.reauthenticate()
    line.written()
    raises(ValueError, line.reads, "f0 0c 00 0a" + M + "16 0003'bad'")
    # Another method, or none.
    for text in ("f0 06 18 04 15 0001'N'", "20 07 00 00 04 15 0001'N'", "20 03 00 00 00"):
        line, method = authenticating()
        line.fails(text, "82")
        same(method.log, [None])
    line, method = authenticating()
    line.connack(0, M)
    line.fails("f0 06 19 04" + M, "82")  # only a client begins
    line, method = authenticating()
    same(raises(Failed, line.reads, "20 03 00 8c 00").code, 0x8C)
    line, method = authenticating()
    line.connack(0, M)
    line.session.reauthenticate()
    same(raises(Failed, line.reads, "e0 02 87 00").code, 0x87)


# --- with a store


class Sleeper5(Line5):
    """A durable session, and the bytes it would write and read."""

    def __init__(self, store=None, burst=True, **options):
        self.kicks = 0
        self.store = store or Medium()
        self.session = DurableSession5(self.kick, "c", self.store, clean=False, **options)
        self.session.burst = burst

    def again(self, **options):
        """The chip lost its power: what the store had is all there is."""
        data = {key: bytearray(value) for key, value in self.store.data.items()}
        return Sleeper5(Medium(data), **options)

    def known(self, more=""):
        """Let the server have a session, and say its limits."""
        self.up(more=more)
        self.session.lost()
        self.written()
        return self

    def burst(self):
        """Connect; return what follows CONNECT."""
        data = self.hello()
        same(data[0], 0x10)
        return data[2 + data[1] :]


def check_publish_that_is_refused_takes_nothing_along():
    s = Sleeper5()
    o = s.session.publish("a", b"1", 1)
    for payload, options in (
        (5, {}),
        (b"", {"contenttype": "json"}),
        (b"", {"message_expiry": -1}),
    ):
        raises((TypeError, ValueError), s.session.publish, "b", payload, 1, **options)
    same(s.session.outbox, [o])
    assert 0x20040001 in s.store.data


def check_burst_heeds_remembered_limits():
    limits = "21 0002 24 01 25 00 27 00000014 13 000a 22 0005 1a 0001'r'"
    s = Sleeper5().known(limits).again()
    # Only they are kept: each byte of it is flash that is written.
    properties_at(s.store.data[7], 0, ["21 0002", "24 01", "25 00", "27 00000014", "13 000a"])
    for n in b"123":
        s.session.publish("long", bytes((n,)), 1)
    same(s.burst(), h("32 0a 0004'long' 0001 00 '1' 32 0a 0004'long' 0002 00 '2'"))  # no alias
    same((s.session.tick(0), s.session.keepalive), (500, 8750))
    # CONNACK may open what was closed; aliases begin now.
    s.connack(1, "22 0005")
    s.writes("32 0a 0004'long' 0003 00 '3'")
    same(s.session.window, 16)
    # And this is what the next connection knows, also after a power cut.
    same(s.again().session.take(0), None)
    t = s.again()
    t.session.publish("b", b"", 2)
    same(
        t.burst(),
        h("3a 0a 0004'long' 0001 00 '1' 3a 0a 0004'long' 0002 00 '2' 3a 0a 0004'long' 0003 00 '3'")
        + h("34 06 0001'b' 0004 00"),
    )


def check_no_burst_beyond_remembered_limits():
    # What the server did not take the last time waits for what it says now.
    limits = "24 01 25 00 27 00000014"
    for now, codes in (("", [0, 0, 0]), (limits, [0x9B, 0x95, 0x9A])):
        s = Sleeper5().known(limits).again()
        out = [s.session.publish("a", b"", 2), s.session.publish("a", b"x" * 20, 1)]
        out.append(s.session.publish("b", b"", 0, True))
        same(s.burst(), b"")
        s.connack(1, now)
        s.written()
        same([o.error.code if o.error else 0 for o in out], codes)


def check_repeated_subscriptions_in_a_burst():
    s = Sleeper5().known()
    s.up(present=1)
    subscribed(s, "a", 0, subscription_id=7)
    subscribed(s, "b", 0, subscription_id=8)
    one = "82 09 %04x 02 0b07 0001'a' 00"
    two = "82 09 %04x 02 0b08 0001'b' 00"
    same(s.burst(), b"")
    s.connack(0)
    s.writes(one % 3 + two % 4)
    s.reads("90 04 0003 00 00")
    # What is not answered goes in the next burst; if the server forgot again, so does the rest.
    same(s.burst(), h(two % 4))
    s.connack(0)
    s.writes(one % 5)
    s.reads("90 04 0004 00 00 90 04 0005 00 00")
    s.writes("")
    same(s.session.outbox, [])


def check_no_alias_in_a_burst():
    s = Sleeper5().known("22 0005")
    for _ in range(3):
        s.session.publish("long", b"", 1)
    same(s.burst(), h("32 09 0004'long' 0001 00 32 09 0004'long' 0002 00 32 09 0004'long' 0003 00"))


def check_no_burst_with_authentication():
    # Nothing but AUTH goes before CONNACK [MQTT-3.1.2-30].
    method = Method()
    s = Sleeper5(properties={"auth_method": "M"}, auth=method).known(M)
    s.session.fencing = True
    s.session.publish("a", b"", 1)
    same(s.burst(), b"")
    s.connack(1, M)
    s.writes("32 06 0001'a' 0001 00 c000")


def check_nothing_goes_early_without_a_session():
    s = Sleeper5()
    s.session.publish("a", b"", 1)
    same(s.burst(), b"")
    s.connack(0)
    s.writes("32 06 0001'a' 0001 00")


def check_store_keeps_properties():
    clock = Clock()
    s = Sleeper5(clock=clock).known()
    s.session.publish("a", b"1", 1, message_expiry=60, content_type="t")
    s.session.publish("a", b"2", 1, message_expiry=10)
    s.session.publish("a", b"3", 2, content_type="u")
    clock.now += 20
    s = s.again(clock=clock)
    data = s.burst()
    same(data[:7], h("32 10 0001'a' 0001"))
    end = properties_at(data, 7, ["02 00000028", "03 0001't'"])
    same(data[end : end + 1], b"1")
    same(data[end + 1 :], h("34 0b 0001'a' 0003 04 03 0001'u' '3'"))
    # Sent, perhaps: again with DUP, in time or not, until it is acknowledged.
    clock.now += 500
    s = s.again(clock=clock)
    data = s.burst()
    same(data[:7], h("3a 10 0001'a' 0001"))
    end = properties_at(data, 7, ["02 00000001", "03 0001't'"])
    same(data[end + 1 :], h("3c 0b 0001'a' 0003 04 03 0001'u' '3'"))
    s.connack(1)
    s.reads("40 02 0001 50 02 0003")
    s.writes("62 02 0003")
    s = s.again(clock=clock)
    same(s.burst(), h("62 02 0003"))
    s.connack(1)
    s.reads("70 02 0003")
    s.written()
    same([key for key in s.store.data if key > 255], [])


def check_failures_leave_the_store():
    s = Sleeper5().known()
    one, two = s.session.publish("a", b"", 1), s.session.publish("a", b"", 2)
    s.burst()
    s.connack(1)
    s.reads("40 03 0001 97 50 03 0002 97")
    s.written()
    same((one.error.code, two.error.code), (0x97, 0x97))
    same([key for key in s.store.data if key > 255], [])
    raises(ValueError, s.session.publish, "a", b"", 1, nonsense=1)
    same(s.session.outbox, [])


def check_store_keeps_subscriptions():
    s = Sleeper5().known()
    s.up(present=1)
    subscribed(s, "a b", 1, subscription_id=(1 << 28) - 1, retain_as_published=True)
    s.written()
    s = s.again()
    same(s.burst(), b"")
    s.connack(0)
    s.writes("82 0e 0001 05 0b ffffff7f 0003'a b' 09")


def check_fault_behind_connack():
    # With a fence due, too, the server is told first.
    s = Sleeper5(burst=False)
    s.session.fencing = True
    s.session.publish("a", b"", 1)
    s.hello()
    s.session.receive(memoryview(h("20 03 00 00 00 30 04 0001'+' 00")), 0)
    same(bytes(s.session.take(0)), h("e0 01 82"))
    raises(ProtocolError, s.session.take, 0)


def check_fence():
    s = Sleeper5().known()
    s.session.fencing = True
    s.session.publish("a", b"", 1)
    same(s.burst(), h("32 06 0001'a' 0001 00 c000"))
    s.connack(1)
    s.reads("40 02 0001 d0 00")
    same(s.session.fence, 3)


def check_failed_publish_drives_out_nothing():
    s = Sleeper5(outbox=1, full="oldest").known("25 00")
    first = s.session.publish("a", b"1", 1)
    s.session.server = {"retain_available": 0}
    raises(Failed, s.session.publish, "a", b"2", 1, True)
    same(s.session.outbox, [first])
    assert not first.done


def check_clock_that_goes_back():
    now = [2000]
    line = Line5(clock=lambda: now[0])
    line.up()
    line.session.publish("a", b"", 1, message_expiry=600)
    line.session.publish("a", b"", 1, message_expiry=0xFFFFFFFF)
    now[0] = 1000
    line.writes("32 0b 0001'a' 0001 05 02 00000258 32 0b 0001'a' 0002 05 02 ffffffff")


def check_store_of_another_version():
    options = {"clean": False, "clock": lambda: 1000}
    four = durable(expiring())(lambda: None, "c", Medium(), **options)
    four.publish("a", b"1", 1)
    four.publish("b/c", b"x" * 130, 2, True, message_expiry=60)
    four.changes[2] = b"2 f"  # as after a SUBACK
    four.flush()
    four.save()
    data = {key: bytearray(value) for key, value in four.store.data.items()}
    medium = Medium(data)
    five = DurableSession5(lambda: None, "c", medium, **options)
    first, second = five.outbox
    same(bytes(first.packet), h("32 07 0001'a' 0001 00 '1'"))
    same(bytes(second.packet[:12]), h("35 8a01 0003'b/c' 0002 00 'x'"))
    same(five.left(second), 60)
    same(five.filters, {"f": 2})
    same(medium.saved(), [])  # a full store must not keep the node from starting
    five.publish("d", b"2", 1, user_properties=[("k", "v")])
    five.changes[2] = b"%d f" % (2 | 4 | 7 << 8)
    five.flush()
    five.save()
    data = {key: bytearray(value) for key, value in medium.data.items()}
    four = durable(expiring())(lambda: None, "c", Medium(data), **options)
    same(bytes(four.outbox[0].packet), h("32 06 0001'a' 0001 '1'"))
    same(four.left(four.outbox[1]), 60)
    same(bytes(four.outbox[2].packet), h("32 06 0001'd' 0003 '2'"))
    same(four.filters, {"f": 2})
    same(sorted([key for key in data if key > 255]), [0x40001, 0x40002, 0x20040003])
    # In the order in which they were published, whichever version did.
    four.publish("e", b"3", 1)
    data = {key: bytearray(value) for key, value in four.store.data.items()}
    five = DurableSession5(lambda: None, "c", Medium(data), **options)
    same([o.pid for o in five.outbox], [1, 2, 3, 4])
    # A session that does not expire has no use for what is behind the packet.
    plain = durable(Session)(lambda: None, "c", Medium({0x20040001: data[0x40001]}), clean=False)
    same(len(plain.outbox), 1)


def check_long_and_no_memory_for_two():
    """Where there is no memory for another, a packet from 4 KiB on becomes its payload. What it
    takes beside that counts as it does elsewhere."""
    if sys.implementation.name != "micropython":  # CPython's cannot shrink where it is looked at
        return

    def none(x=b"", *more):
        if not isinstance(x, int) and len(x) >= 4096:
            raise MemoryError
        return bytes(x, *more)

    limits = {"max_packet": 6000, "inbox_bytes": 9000}
    for line, head, beside in (
        (Line(**limits), "0001'a' 0007", 0),
        (Line5(**limits), "0001'a' 0007 07 26 0001'k' 0001'v'", 13),
    ):
        line.up()
        body = h(head) + b"x" * 5000
        data = bytes((0x32, len(body) & 127 | 128, len(body) >> 7)) + body
        packet.bytes = none
        try:
            for i in range(0, len(data), 300):
                line.session.receive(memoryview(data[i : i + 300]), 0)
        finally:
            packet.bytes = bytes
        (m,) = line.session.inbox
        same((type(m.payload), bytes(m.payload), m.size), (bytearray, b"x" * 5000, beside))
        m.ack()
        line.writes("40 02 0007")


CHECKS = sorted(name for name in globals() if name.startswith("check_"))

if __name__ == "__main__":
    core_checks.run(globals(), CHECKS)

"""Checks of "nothing silenced" in the session, on every runtime: what one packet does is set aside,
told, and everything else gets through. See core_checks.py, whose way this is.
"""

import core_checks
import dormouse.packet as packet
from core_checks import Line, h, raises, same
from dormouse.packet import ConnectionLost, ProtocolError, Refused
from dormouse.session import OutboxFull, SessionLost
from dormouse.store import Store
from dormouse.store.durable import durable
from dormouse.trouble import Undeliverable

CLOSED = ConnectionLost("closed")
PONG = "d000"


class Told(Line):
    """A line that keeps what its session tells."""

    def __init__(self, **options):
        self.told = []
        super().__init__(on_trouble=self.told.append, **options)

    def again(self, error=CLOSED, present=1, now=0):
        """The broker ends the connection, and takes the next one."""
        self.session.lost(error)
        self.session.connect(now)
        self.written(now)
        self.reads("20 02 0%d 00" % present, now)
        return self


# --- a packet that the broker does not bear


def check_set_aside():
    line = Told(timeout=1000).up()
    s = line.session
    bad = s.publish("bad", b"", 1)
    good = s.publish("good", b"", 1)
    line.writes("32 07 0003'bad' 0001 32 08 0004'good' 0002")
    # A broker restarts now and then: once it goes again in its place.
    line.again().writes("3a 07 0003'bad' 0001 3a 08 0004'good' 0002")
    # Twice: all else goes before it, one of a kind at a time.
    more = s.publish("more", b"", 1)
    line.again().writes("3a 08 0004'good' 0002")
    line.reads("40 02 0002")
    line.writes("32 08 0004'more' 0003")
    line.reads("40 02 0003")
    assert good.done and more.done and not bad.done
    # Then it goes alone, behind a PINGRESP.
    line.writes("c000")
    line.reads(PONG)
    line.writes("3a 07 0003'bad' 0001")
    # From now on only on a connection that has lived without it.
    for _ in range(2):
        line.again()
        line.writes("", now=999)
        assert s.tick(999) == 1
        line.writes("c000", now=1000)
        line.reads(PONG, now=1000)
        line.writes("3a 07 0003'bad' 0001", now=1000)
        assert not bad.done
    line.again()
    assert bad.done and isinstance(bad.error, Undeliverable)
    same((bad.error.args, line.told, s.troubles), ((CLOSED, "bad"), [bad.error], 1))
    same((s.outbox, s.suspects), ([], 0))


def busily(line, now=0):
    """The application publishes without end: whenever one is answered, more waits. Returns how many
    were answered until the session wrote a message of topic "bad"; that stands alone then."""
    for n in range(100):
        line.session.publish("t", b"", 1)
        out = line.written(now)
        if b"bad" in out:
            same(out[4:7], b"bad")
            same(len(out), 9)
            return n
        if out == h("c000"):
            line.reads(PONG, now)
            out = line.written(now)
            same(out[4:7], b"bad")
            return n
        line.session.receive(memoryview(h("40 02") + out[-2:]), now)
    raise AssertionError("never")


def check_set_aside_has_its_turn():
    line = Told(timeout=1000, outbox=200).up()
    s = line.session
    bad = s.publish("bad", b"", 1)
    s.publish("t", b"", 1)
    line.written()
    line.again().written()
    line.again()
    assert busily(line) > 12
    # All else waits until it is answered, or until the connection has ended. And it is tried again
    # only on one that has lived without it.
    for now in (5000, 10000):
        s.publish("t", b"", 1)
        line.writes("", now=now)
        line.again(now=now)
        for _ in range(30):
            s.publish("t", b"", 1)
            out = line.written(now + 999)
            same(out[4:5], b"t")
            line.session.receive(memoryview(h("40 02") + out[-2:]), now + 999)
        assert busily(line, now + 1000) < 30
    line.again(now=15000)
    same((bad.error.args, s.suspects), ((CLOSED, "bad"), 0))


def check_turn_of_an_innocent_one():
    line = Told(timeout=1000, outbox=200).up()
    s = line.session
    bad = s.publish("bad", b"", 2)
    s.publish("t", b"", 1)
    other = s.publish("bad", b"", 1)
    line.written()
    line.again().written()
    line.again(error=None).written()
    line.reads("40 02 0002")
    line.again()
    line.reads("40 02 0003")
    same((s.suspects, bad.tries, other.done), (1, 2, True))
    busily(line)
    line.reads("50 02 0001")
    same(line.written()[:4], h("62 02 0001"))
    line.reads("70 02 0001")
    assert bad.done and not bad.error


def check_what_the_broker_holds_is_of_the_window():
    line = Told(window=2, timeout=1000).up()
    s = line.session
    s.publish("t", b"", 2)
    s.publish("t", b"", 2)
    line.written()
    line.reads("50 02 0001 50 02 0002")
    line.writes("62 02 0001 62 02 0002")
    line.again().writes("62 02 0001 62 02 0002")
    line.again().writes("62 02 0002")
    line.again().writes("62 02 0002")
    line.again()
    same(s.suspects, 2)
    o = s.publish("u", b"", 1)
    s.publish("v", b"", 2)
    s.publish("w", b"", 0)
    s.request(0x82, [("a", 0)])
    line.writes("32 05 0001'u' 0003 30 03 0001'w' 82 06 0005 0001'a' 00")
    line.reads("40 02 0003 90 03 0005 00")
    assert o.done
    line.writes("c000")
    line.reads(PONG)
    line.writes("62 02 0002")
    line.reads("70 02 0002")
    line.writes("34 05 0001'v' 0004")
    line.reads("50 02 0004")
    line.writes("62 02 0004")
    line.reads("70 02 0004")
    line.writes("62 02 0001")
    line.reads("70 02 0001")
    same((s.outbox, s.suspects, line.told), ([], 0, []))


def check_window_while_something_is_set_aside():
    # MQTT 5's Receive Maximum is a window: a server ends the connection at one too many.
    line = Told(window=1, timeout=1000).up()
    s = line.session
    s.publish("bad", b"", 1)
    one = s.publish("one", b"", 1)
    two = s.publish("two", b"", 2)
    line.writes("32 07 0003'bad' 0001")
    line.again().writes("3a 07 0003'bad' 0001")
    line.again().writes("32 07 0003'one' 0002")
    line.reads("40 02 0002")
    line.writes("34 07 0003'two' 0003")
    three = s.publish("three", b"", 1)
    s.publish("four", b"")
    line.writes("30 06 0004'four'")
    line.reads("50 02 0003")
    line.writes("62 02 0003")
    line.reads("70 02 0003")
    line.writes("32 09 0005'three' 0004")
    line.reads("40 02 0004")
    assert one.done and two.done and three.done


def check_on_trouble_that_raises():
    def raising(error):
        raise OSError("no room on the card")

    line = Line(on_trouble=raising, max_packet=40, inbox_bytes=200).up()
    s = line.session
    line.session.receive(memoryview(h("32 ae02 0003'big' 0007") + b"x" * 295), 0)
    line.writes("40 02 0007")
    same((s.troubles, type(s.trouble)), (1, OSError))


def check_silence_is_no_evidence():
    line = Told().up()
    bad = line.session.publish("t", b"", 1)
    line.written()
    for _ in range(20):
        line.again(error=None).writes("3a 05 0001't' 0001")
    line.reads("40 02 0001")
    same((bad.error, line.told), (None, []))


def check_before_connack_is_no_evidence():
    line = Told().up()
    line.session.publish("t", b"", 1)
    line.written()
    for _ in range(20):
        line.session.lost(CLOSED)
        line.session.connect(0)
        line.written()
    line.reads("20 02 01 00")
    line.writes("3a 05 0001't' 0001")


def check_an_innocent_one():
    # It was under way when the broker closed for another reason: its answer clears it.
    line = Told().up()
    s = line.session
    o = s.publish("t", b"", 2)
    line.written()
    line.again().written()
    line.again().writes("c000")
    line.reads(PONG)
    line.writes("3c 05 0001't' 0001")
    line.reads("50 02 0001")
    same((s.suspects, o.tries), (0, 0))
    line.writes("62 02 0001")
    line.reads("70 02 0001")
    assert o.done and not o.error


def check_pubrel_that_ends_connections():
    line = Told(timeout=1).up()
    o = line.session.publish("t", b"", 2)
    line.written()
    line.reads("50 02 0001")
    line.writes("62 02 0001")
    line.again().writes("62 02 0001")
    for _ in range(3):
        line.again().writes("c000", now=9)
        line.reads(PONG, now=9)
        line.writes("62 02 0001", now=9)
    line.again()
    assert isinstance(o.error, Undeliverable)


def check_subscribe_that_ends_connections():
    line = Told(timeout=1).up()
    s = line.session
    o = s.request(0x82, [("no", 1)])
    line.written()
    line.again().writes("82 07 0001 0002'no' 01")
    p = s.publish("t", b"", 1)
    line.again().writes("32 05 0001't' 0002")  # behind all else
    line.reads("40 02 0002")
    assert p.done
    line.writes("c000")
    line.reads(PONG)
    line.writes("82 07 0001 0002'no' 01")
    # Given up by who asked for it, it goes on no other connection.
    s.withdraw(o)
    line.again().writes("")
    same((s.outbox, s.suspects, line.told), ([], 0, []))


def check_cancelled_with_a_clean_session():
    line = Told(clean=True).up()
    s = line.session
    o = s.publish("t", b"", 1)
    line.written()
    s.withdraw(o)
    same(s.outbox, [o])  # it is under way
    line.again(present=0).writes("")
    # With a session its handshake goes on, unless it is taken back by hand.
    line = Told().up()
    s = line.session
    o = s.publish("t", b"", 1)
    line.written()
    s.withdraw(o)
    line.again().writes("3a 05 0001't' 0001")
    s.withdraw(o, sent=True)
    line.reads("40 02 0001")
    line.again().writes("")
    same(len(line.told), 1)  # an answer for nothing: told, and ignored


def check_no_acknowledgement():
    # An answer that never comes, from a broker that answers pings.
    line = Told(keepalive=60, timeout=1000).up()
    s = line.session
    lost = [s.publish("t", b"", 2), s.publish("u", b"", 1)]
    line.written()
    assert s.tick(10) == 990
    s.tick(1000)
    line.writes("c000", now=1000)
    line.reads(PONG, now=1001)
    o = s.publish("v", b"", 1)
    line.written(now=1500)  # this one is not overdue
    same(s.tick(1500), 500)
    e = raises(ConnectionLost, s.tick, 2000)
    assert "acknowledgement" in str(e)
    s.lost()
    same(([p.tries for p in lost], o.tries, s.suspects), ([2, 2], 0, 2))
    # A window full of such stops nothing else.
    s.connect(3000)
    line.written(now=3000)
    line.reads("20 02 01 00", now=3000)
    line.writes("3a 05 0001'v' 0003", now=3000)
    line.reads("40 02 0003", now=3000)
    s.publish("w", b"")
    line.writes("30 03 0001'w' c000", now=3001)  # and then the first of those, alone


def check_acknowledgement_that_comes_after_all():
    # Missed for good, but what lay in the socket is read yet: it says nothing at the next end.
    line = Told(keepalive=60, timeout=1000).up()
    s = line.session
    o = s.publish("t", b"", 2)
    line.written()
    s.tick(1000)
    line.writes("c000", now=1000)
    line.reads(PONG, now=1001)
    raises(ConnectionLost, s.tick, 2000)
    line.reads("50 02 0001", now=2001)
    line.writes("62 02 0001", now=2001)
    s.lost()
    same((o.tries, s.suspects), (0, 0))


def check_no_acknowledgement_of_what_nobody_waits_for():
    # It ends with the connection: nothing is set aside for it, and nothing else held up.
    for clean in (True, False):
        line = Told(clean=clean, timeout=1000).up()
        s = line.session
        o = s.publish("t", b"", 1) if clean else s.request(0x82, [("a", 1)])
        line.written()
        s.withdraw(o)
        s.tick(1000)
        line.writes("c000", now=1000)
        line.reads(PONG, now=1001)
        s.lost(raises(ConnectionLost, s.tick, 2001))
        same((s.outbox, s.suspects, o.tries), ([], 0, 0))


def check_missed_and_closed_is_one_cause():
    # The broker closes in the moment in which its answer is missed: that is one try, not two.
    line = Told(keepalive=60, timeout=1000).up()
    s = line.session
    o = s.publish("t", b"", 1)
    now = 0
    for tries in (2, 3, 4, 5):
        line.written(now)
        if not s.flying:  # it was set aside: behind a PINGRESP, when it has rested
            now += 1000
            line.written(now)
            line.reads(PONG, now)
            line.written(now)
        s.tick(now + 1000)
        line.written(now + 1000)
        line.reads(PONG, now + 1001)
        now += 2000
        raises(ConnectionLost, s.tick, now)
        line.again(now=now)
        same(o.tries, tries)
    assert o.done and isinstance(o.error, Undeliverable)


def check_broker_that_bears_nothing():
    # It closes at every PUBLISH, its disk is full: that says nothing of any of them.
    for one_goes in (False, True):
        line = Told(timeout=1000).up()
        s = line.session
        every = [s.publish("t%d" % i, b"", 1) for i in range(3)]
        now = 0
        for _ in range(40):
            line.written(now)
            if s.asked is not None:
                line.reads(PONG, now)
            now += 1000
            line.written(now)
            if s.asked is not None:
                line.reads(PONG, now)
                line.written(now)
            if one_goes and s.flying and s.outbox[0] is every[2]:
                line.session.receive(memoryview(h("40 02") + bytes((0, every[2].pid))), now)
                line.written(now)
            line.again(now=now)
        given_up = [isinstance(o.error, Undeliverable) for o in every]
        same(given_up, [one_goes, one_goes, False])


def check_room_for_what_is_borne():
    # Of a topic that ends connections more is published than can be given up.
    line = Told(outbox=4, timeout=1000).up()
    s = line.session
    for _ in range(3):
        s.publish("bad", b"", 1)
    for _ in range(6):
        line.written()
        line.again()
    same((s.suspects, len(s.outbox)), (3, 3))
    full = s.publish("u", b"", 1)
    raises(OutboxFull, s.publish, "t", b"", 1)  # nothing shows that it would be better off
    s.withdraw(full)
    good = s.publish("good", b"", 1)
    line.written()
    line.session.receive(memoryview(h("40 02") + bytes((0, good.pid))), 0)
    assert good.done
    first = s.outbox[0]
    for n in range(3):
        s.publish("bad", b"", 1)
        same(len(s.outbox), 4)
        same((type(first.error), s.troubles), (OutboxFull if n else type(None), n))
    assert first.done and isinstance(s.trouble, Undeliverable)


def check_held_is_bounded():
    # Acknowledged while the connection was down, and never repeated by the broker.
    for kind in (1, 2):
        line = Told(inbox_bytes=4200).up()
        s = line.session
        for pid in range(1, 100):
            line.reads("3%d 69 0001't' 00%02x" % (2 * kind, pid) + "00" * 100)
            s.lost()
            s.inbox.pop().ack()
            line.again(None)
        assert len(s.held) < 30
        same(s.held[-1].pid, 99)
        # What comes after all was not forgotten at QoS 2.
        line.reads("3c 69 0001't' 0010" + "00" * 100)
        same(len(s.inbox), kind == 1)


def check_dead_link_is_noticed_by_what_it_owes():
    line = Told(keepalive=0, timeout=1000).up()
    s = line.session
    same(s.tick(0) > 1 << 20, True)
    s.publish("t", b"", 1)
    line.written(now=5)
    same(s.tick(5), 1000)
    s.tick(1005)
    line.writes("c000", now=1005)
    raises(ConnectionLost, s.tick, 2005)


# --- what comes in


def check_too_long():
    for cut in (1, 3, 7, 1000):
        line = Told(max_packet=40, inbox_bytes=200).up()
        data = h("30 ac02 0003'big'") + b"x" * 295
        data += h("32 ae02 0003'big' 0007") + b"x" * 295
        data += h("34 ae02 0003'big' 0008") + b"x" * 295
        data += h("32 05 0001't' 0009")
        for i in range(0, len(data), cut):
            line.session.receive(memoryview(data[i : i + cut]), 0)
        line.writes("40 02 0007 50 02 0008")
        same([m.topic for m in line.session.inbox], ["t"])
        same(
            [e.args for e in line.told],
            [(0x30, 300, "big"), (0x32, 302, "big"), (0x34, 302, "big")],
        )
        line.reads("62 02 0008")
        line.writes("70 02 0008")
        # In the order in which they came: this one waits for the application.
        line.session.receive(memoryview(h("32 ae02 0003'big' 000a") + b"x" * 295), 0)
        line.writes("")
        line.session.inbox.pop(0).ack()
        line.writes("40 02 0009 40 02 000a")


def check_too_long_is_answered_at_once():
    """Where a connection is never as long as it takes, it would come at each, before all else."""
    for first, answer in (("32", "40 02 0007"), ("34", "50 02 0007")):
        for cut in (1, 100):
            line = Told(max_packet=40, inbox_bytes=200).up()
            data = h(first + "ae 8002 0003'big' 0007")
            for i in range(0, len(data), cut):
                line.session.receive(memoryview(data[i : i + cut]), 0)
            line.writes(answer)
            n = 0x2E | 2 << 14
            same([e.args for e in line.told], [(data[0], n, "big")])
            line.session.receive(memoryview(bytes(n - 7)), 0)
            line.reads("30 04 0001't' 'x'")
            same([m.topic for m in line.session.inbox], ["t"])
            same(len(line.told), 1)


def check_answer_behind_a_lot():
    """A slow link: what the broker has to send goes before PINGRESP."""
    line = Line(timeout=1000).up()
    s = line.session
    s.ping(0)
    line.writes("c000")
    for now in (600, 1200, 1800):
        line.reads("30 04 0001't' 'x'", now)
        same(s.tick(now + 399), 601)
    raises(ConnectionLost, s.tick, 2800)


def check_too_long_topic():
    line = Told(max_packet=40, inbox_bytes=200).up()
    line.session.receive(memoryview(h("32 cc01 00c8") + b"t" * 200 + h("0007")), 0)
    line.writes("40 02 0007")
    same(line.told[0].args, (0x32, 204, "t" * 64))


def check_too_long_and_broken():
    for text in ("32 ac02 0002'bi' 0000", "36 ac02 0003'big' 0001"):
        line = Told(max_packet=40, inbox_bytes=200).up()
        data = h(text)  # (and not a byte more, which would be a packet of its own)
        raises(ProtocolError, line.session.receive, memoryview(data + bytes(303 - len(data))), 0)
    line = Told(max_packet=40, inbox_bytes=200).up()
    raises(ProtocolError, line.session.receive, memoryview(h("32 64 00c8") + b"x" * 98), 0)
    # An answer is never that long.
    line = Told(max_packet=40, inbox_bytes=200).up()
    raises(ProtocolError, line.session.receive, memoryview(h("90 64")), 0)


def check_malformed_message():
    # The standard wants such a one to end the connection. Who let it pass sends it again.
    for bad in (
        "32 06 0001 ff 0007'x'",
        "32 06 0001 00 0007'x'",
        "32 06 0001'#' 0007'x'",
        "32 06 0001'+' 0007'x'",
        "32 05 0000 0007'x'",
        "34 06 0001 ff 0007'x'",
        "38 04 0001'a' 'x'",  # DUP at QoS 0
        "30 04 0001 ff 'x'",
    ):
        line = Told().up()
        s = line.session
        for _ in range(2):
            e = raises(ProtocolError, line.reads, bad)
            same(e.args, (int(bad[:2], 16),))
            line.again(e)
        same(line.told, [])
        line.reads(bad + "32 06 0001't' 0008'y'")
        answer = {"32": "40 02 0007", "34": "50 02 0007"}.get(bad[:2], "")
        line.writes(answer)
        same(len(line.told), 1)
        same(line.told[0].args[:2], (int(bad[:2], 16), h(bad)[1]))
        same([m.topic for m in s.inbox], ["t"])
        s.inbox.pop().ack()
        line.writes("40 02 0008")
        line.again()
        line.reads(bad)  # from now on at once
        line.writes(answer)
        same((len(line.told), s.troubles, s.inbox), (2, 2, []))


def check_malformed_beyond_repair():
    line = Told().up()
    for bad in ("36 06 0001'a' 0007'x'", "32 06 0001'a' 0000'x'", "32 03 0001'a'", "30 01 00"):
        for _ in range(4):
            line.again(raises(ProtocolError, line.reads, bad))
    same(line.told, [])


def check_answer_that_is_no_packet():
    # It ends the connection, as the standard wants: evidence, as if the broker had ended it.
    line = Told().up()
    s = line.session
    bad = s.publish("bad", b"", 1)
    good = s.publish("good", b"", 1)
    line.writes("32 07 0003'bad' 0001 32 08 0004'good' 0002")
    for _ in range(2):
        line.again(raises(ProtocolError, line.reads, "40 03 0001 00"))
        data = line.written(0)
    same(data, h("3a 08 0004'good' 0002"))
    line.reads("40 02 0002")
    assert good.done and not bad.done
    line.writes("c000")
    line.reads(PONG)
    line.writes("3a 07 0003'bad' 0001")
    # What came in says nothing of what went out.
    before = bad.tries
    line.again(ProtocolError(0x32))
    same(bad.tries, before)


def check_too_long_is_kept():
    line = Told(max_packet=40, inbox_bytes=200, oversize="keep").up()
    e = raises(ProtocolError, line.session.receive, memoryview(h("30 ac02")), 0)
    same(e.args, (0x30, 300))
    raises(ValueError, Line, oversize="no")


def check_no_memory_that_is_of_no_message():
    # Whatever came in several chunks before, a CONNACK or a PUBLISH that was cut off: messages of
    # its length are not read past, and least of all every CONNACK.
    def none(body):
        raise MemoryError

    for before in ("20", "20 02 00 00 30 03 00"):
        line = Told()
        s = line.session
        for _ in range(9):
            s.lost()
            s.connect(0)
            line.written()
            if len(before) > 2:
                line.reads(before)
                s.lost()
                s.connect(0)
                line.written()
                before_ = ""
            else:
                line.reads(before)
                before_ = before
            s._connack = none
            raises(MemoryError, line.reads, "20 02 00 00"[len(before_) :])
            del s._connack
        line.up(present=0)
        line.reads("30 03 0001't'")
        same(([m.topic for m in s.inbox], line.told), (["t"], []))


def check_no_memory():
    # Three times the message comes again; then it is read past.
    line = Told().up()
    s = line.session
    data = memoryview(h("32 8802 0001't' 0001") + b"x" * 259)

    def none(n):
        raise MemoryError

    for _ in range(3):
        packet.bytearray = none
        try:
            raises(MemoryError, s.receive, data[:50], 0)
        finally:
            del packet.bytearray
        line.up(present=1)
    s.receive(data, 0)
    line.writes("40 02 0001")
    same(line.told[0].args, (0x32, 264, "t"))
    line.up(present=1)
    s.receive(data[:50], 0)
    s.receive(data[50:], 0)
    same(len(s.inbox), 1)


# --- the truth about the session


def owed(line):
    """A CONNECT whose CONNACK never came."""
    line.session.lost()
    line.session.connect(0)
    line.written()
    line.session.lost()


def check_owed_connack():
    # It may have found the session forgotten, and made the one that is present now.
    line = Told().up()
    s = line.session
    s.request(0x82, [("a", 1)])
    line.written()
    line.reads("90 03 0001 01")
    o = s.publish("t", b"", 2)
    line.written()
    line.reads("50 02 0002")
    line.written()
    owed(line)
    line.up(present=1).writes("62 02 0002 82 06 0003 0001'a' 01")
    line.reads("90 03 0003 01 70 02 0002")
    assert isinstance(o.error, SessionLost)  # PUBCOMP comes for what it does not know, too
    line.up(present=1).writes("")  # it was told, so this is the truth


def check_connect_that_never_left():
    line = Told().up()
    s = line.session
    s.request(0x82, [("a", 1)])
    line.written()
    line.reads("90 03 0001 01")
    s.lost()
    s.connect(0)  # cut before a byte was taken to be written
    line.up(present=1).writes("")


class Medium(Store):
    survives = 2


def check_owed_connack_in_a_store():
    def session(store):
        line = Line()
        line.session = durable()(line.kick, "c", store, clean=False)
        return line

    store = Medium()
    line = session(store)
    line.up()
    line.session.request(0x82, [("a", 1)])
    line.written()
    line.reads("90 03 0001 01")
    line.written()
    line = session(store)
    line.session.connect(0)
    line.written()  # the power fails before CONNACK
    line = session(store)
    line.up(present=1).writes("82 06 0001 0001'a' 01")
    # The note is there until that is answered.
    line = session(store)
    line.up(present=1).writes("82 06 0001 0001'a' 01")
    line.reads("90 03 0001 01")
    line.writes("")
    session(store).up(present=1).writes("")


def check_repeated_without_dup():
    # aedes and others: at QoS 2 the identifier tells, where the broker cannot have forgotten.
    line = Told().up()
    line.reads("34 05 0001't' 0001 34 05 0001'u' 0002")
    line.session.inbox.pop(0).ack()
    line.writes("50 02 0001")
    line.up(present=1)
    line.reads("34 05 0001't' 0001 34 05 0001'u' 0002")
    same([m.topic for m in line.session.inbox], ["u"])
    line.writes("50 02 0001")


def check_ended_and_repeated():
    # mosquitto 2.0, after two cuts: a PUBLISH that was ended by PUBCOMP comes again, with DUP.
    line = Told().up()
    s = line.session
    line.reads("34 06 0001't' 0001 'x'")
    s.inbox.pop(0).ack()
    line.writes("50 02 0001")
    line.reads("62 02 0001")
    line.writes("70 02 0001")
    line.up(present=1)
    line.reads("3c 06 0001't' 0001 'x'")
    line.writes("50 02 0001")
    same(s.inbox, [])
    line.reads("62 02 0001")
    line.writes("70 02 0001")
    # Another message is another one; and so is the same, once a PINGRESP has shown that the broker
    # had PUBCOMP.
    line.up(present=1)
    line.reads("3c 06 0001't' 0001 'y'")
    same(len(s.inbox), 1)
    s.inbox.pop(0).ack()
    line.written()
    line.reads("62 02 0001")
    s.ping(0)
    line.writes("70 02 0001 c000")
    line.reads(PONG)
    line.reads("3c 06 0001't' 0001 'y'")
    same(len(s.inbox), 1)


def check_order_at_qos_1():
    # "on" was acknowledged and its PUBACK lost, "off" waits: both are repeated, and the application
    # has to end at "off".
    for taken in (False, True):
        line = Told().up()
        s = line.session
        line.reads("32 06 0001't' 0001 '1' 32 06 0001't' 0002 '0'")
        s.inbox.pop(0).ack()
        if taken:
            s.inbox.pop(0)
        line.up(present=1)
        line.reads("3a 06 0001't' 0001 '1' 3a 06 0001't' 0002 '0'")
        same([m.payload for m in s.inbox], [b"1", b"0"])
        for m in s.inbox:
            m.ack()
        line.writes("40 02 0001 40 02 0002")


def check_answers_in_the_order_of_this_connection():
    for first, answer in ((0x32, 0x40), (0x34, 0x50)):
        line = Told().up()
        s = line.session
        line.reads("%x 05 0001't' 0001 %x 05 0001't' 0002" % (first, first))
        one, two = s.inbox
        two.ack()
        line.up(present=1)
        line.reads("%x 05 0001't' 0001 %x 05 0001't' 0002" % (first | 8, first | 8))
        line.writes("")
        one.ack()
        line.writes("%x 02 0001 %x 02 0002" % (answer, answer))


def check_eight_filters_at_most():
    line = Line().up()
    s = line.session
    for i in range(10):
        s.filters["%d" % i] = 1
    line.up(present=0)
    sizes = []
    data = line.written()
    while data:
        sizes.append((data[0], (data[1] - 2) // 4))
        data = data[2 + data[1] :]
    same(sizes, [(0x82, 8), (0x82, 2)])


def check_one_that_was_denied_takes_no_others_along():
    """The broker forgets twice, and refuses one of two filters the first time; then its session is
    there, before the other one was even asked for."""
    line = Told(timeout=1000).up()
    s = line.session
    s.filters["a"] = s.filters["x"] = 1
    line.up(present=0)
    line.writes("82 0a 0001 0001'a' 01 0001'x' 01")
    line.reads("90 04 0001 01 80")
    same((s.filters, s.denied), ({"a": 1}, {"x": 1}))
    # Each goes by itself: only what was denied is set aside.
    line.up(present=0)
    same([(o.filters[0][0], o.tries) for o in s.again], [("a", 0), ("x", 2)])
    line.up(present=1)
    line.writes("82 06 0004 0001'a' 01")
    line.reads("90 03 0004 01")
    line.writes("c000")
    line.reads(PONG)
    line.writes("82 06 0005 0001'x' 01")
    line.reads("90 03 0005 01")
    same((s.filters, s.denied, s.again and s.outbox), ({"a": 1, "x": 1}, {}, []))


def check_one_of_a_repeat_ends_connections():
    """The broker forgot, and closes at a SUBSCRIBE with one of the filters in it: the others stand
    at the connection behind the third at the latest, and it holds up none of them later."""
    line = Told(timeout=1000).up()
    s = line.session
    for name in "axb":
        s.filters[name] = 1
    line.up(present=0).writes("82 0e 0001 0001'a' 01 0001'x' 01 0001'b' 01")
    line.again(present=1).writes("82 0e 0001 0001'a' 01 0001'x' 01 0001'b' 01")
    # Each by itself, whatever the order is: MicroPython's dicts have none.
    granted = []
    tries = []
    for _ in range(9):
        s.lost(CLOSED)
        s.connect(0)
        line.written()
        line.reads("20 02 01 00")
        same([o.filters for o in s.again if len(o.filters) > 1], [])
        for now in (0, 0, 0, 0, 1000, 1000):
            out = line.written(now)
            if out == b"\xc0\x00":
                line.reads(PONG)
            elif out[-2:-1] == b"x":
                tries.append(len(granted))
                break
            elif out:
                granted.append(out[-2:-1])
                line.reads("90 03 %04x 01" % (out[2] << 8 | out[3]))
    same((sorted(granted), s.filters), ([b"a", b"b"], {"a": 1, "b": 1}))
    same((s.denied, [type(e) for e in line.told]), ({"x": 1}, [Undeliverable, Undeliverable]))
    same(tries[1:], [2] * 8)  # from the second of these connections on they are there
    # The broker forgets once more: what is denied is not among the others.
    line.again(present=0)
    same(sorted([len(o.filters) for o in s.again if o.tries < 2]), [2])
    same([o.filters for o in s.again if o.tries >= 2], [[("x", 1)]])
    same(line.written()[:2], h("82 0a"))


def check_only_what_may_be_the_reason_goes_by_itself():
    """Of many filters those in that SUBSCRIBE: all of them, one by one, would fill the outbox."""
    line = Told(timeout=1000).up()
    s = line.session
    for i in range(30):
        s.filters["f/%d" % i] = 1
    line.again(present=0)
    for _ in range(2):
        line.written()
        line.again()
    sizes = [len(o.filters) for o in s.again]
    same((sizes.count(1), sizes.count(8) > 1, sum(sizes)), (8, True, 30))
    same([len(o.filters) for o in s.again if o.tries >= 2], [1] * 8)
    same(s.used < 12, True)


def check_denied_and_set_aside():
    """A message that was set aside has its turn, though a filter ends each connection, too."""
    line = Told(timeout=1000).up()
    s = line.session
    s.denied = {"x": 1}
    o = s.publish("m", b"", 1)
    o.tries = 3
    s.suspects = 1
    for _ in range(3):
        line.again()
        for now in (0, 0, 1000, 1000):
            out = line.written(now)
            if out == b"\xc0\x00":
                line.reads(PONG)
            elif out[:1] == b"\x32":
                line.reads("40 02 0001")
            elif out:
                break
    assert o.done and not o.error


def check_answer_that_does_not_fit_a_repeat():
    """Too few codes for filters that are subscribed again: of none it is known that it is, so each
    is asked for at the next connection, by itself, for one packet of both may be the reason."""
    for codes in ("03 %s 01", "05 %s 01 01 01", "04 %s 01 07"):
        line = Told().up()
        s = line.session
        s.filters["a"] = s.filters["b"] = 1
        line.up(present=0)
        line.writes("82 0a 0001 0001'a' 01 0001'b' 01")
        line.reads("90" + codes % "0001")
        same((len(line.told), line.told[0].args, s.filters), (1, (0x90,), {}))
        line.up(present=1)
        line.writes("c000")
        line.reads(PONG)
        for pid, name in (("0002", "a"), ("0003", "b")):
            line.writes("82 06 %s 0001'%s' 01" % (pid, name))
            line.reads("90 03 %s 01" % pid)
        same((s.filters, s.denied), ({"a": 1, "b": 1}, {}))
        line.up(present=1).writes("")


def check_first_try_in_a_store():
    """A wake may have time for one connection only: how often one ended at a packet is in the store
    from the first time on."""
    store = Medium()
    for tries in (1, 2):
        line = Told()
        line.session = s = durable()(line.kick, "c", store, clean=False)
        line.up(present=tries - 1)
        if tries == 1:
            s.publish("bad", b"", 1)
        line.written()
        s.lost(CLOSED)
        s.save()
        same((s.outbox[0].tries, s.suspects), (tries, tries - 1))
    line = Told()
    line.session = s = durable()(line.kick, "c", store, clean=False)
    good = s.publish("good", b"", 1)
    line.up(present=1)
    assert b"good" in line.written() and s.suspects == 1
    line.reads("40 02 %04x" % good.pid)
    line.writes("c000")
    line.reads(PONG)
    assert b"bad" in line.written()
    line.reads("40 02 %04x" % s.outbox[0].pid)
    line.written()
    s.lost()
    s.save()
    same((15 in store.data, len(s.outbox)), (False, 0))


def check_clean_session_that_is_behind():
    """What the application waits for lies behind a full inbox, and the broker repeats nothing, for
    the session is clean. Subscribed again it would send what is retained from its begin, for ever:
    what does not fit is answered, counted, and that is all."""
    for qos, first, answer in ((0, "30", ""), (1, "32", "40 02 0001"), (2, "34", "50 02 0001")):
        line = Told(clean=True, inbox_bytes=200, max_packet=100).up()
        s = line.session
        for _ in range(3):
            line.reads("30 06 0001'a' 'xyz'")
        assert s.behind()
        s.shed = True  # as the driver
        o = s.publish("b", b"", 1)
        line.written()
        line.reads(first + (" 08 0001'a' 0001 'abc'" if qos else " 06 0001'a' 'abc'"))
        line.writes(answer)
        if qos == 2:
            line.reads("62 02 0001")
            line.writes("70 02 0001")
        line.reads("40 02 0001")
        same((o.done, s.dropped, len(s.inbox)), (True, 1, 3))
        line.writes("")  # no new connection: from here on it is as before
        assert not s.shed
        s.inbox.clear()
        line.reads("32 08 0001'a' 0001 'abc'")
        same(([m.payload for m in s.inbox], s.dropped), ([b"abc"], 1))
        same(line.told, [])
        # What it waits for is set aside: that has not gone, and waits for a PINGRESP.
        o = s.publish("c", b"", 1)
        o.tries = 2
        s.suspects = 1
        for _ in range(3):
            line.reads("30 06 0001'a' 'xyz'")
        s.shed = True
        line.written()
        assert s.shed
        s.inbox.clear()
        line.written()
        assert not s.shed


def check_clean_session_that_is_behind_keeps_no_payloads():
    """What does not fit waits for its turn to be answered, without its bytes: a broker has twenty
    under way, and the inbox is a fraction of that."""
    for first in ("32", "34"):
        line = Told(clean=True, inbox_bytes=200, max_packet=100).up()
        s = line.session
        while not s.behind():
            line.reads(first + " 08 0001'a' 00%02x 'abc'" % (len(s.inbox) + 1))
        n = len(s.inbox)
        s.shed = True
        for pid in range(n + 1, 20):
            line.reads(first + " 08 0001'a' 00%02x 'abc'" % pid)
        same([len(m.payload) for m in s.held], [3] * n + [0] * (19 - n))


def check_refused_connack_is_no_owed_one():
    """A CONNECT that was refused has made no session: what the next CONNACK says is the truth."""
    line = Told().up()
    s = line.session
    o = s.publish("t", b"", 2)
    line.written()
    line.reads("50 02 0001")
    line.written()
    s.lost()
    s.connect(0)
    line.written()
    raises(Refused, line.reads, "20 02 00 03")
    line.up(present=1).writes("62 02 0001")
    line.reads("70 02 0001")
    same((o.done, o.error), (True, None))
    # But of an older CONNECT that has none yet one is owed still.
    owed(line)
    s.lost()
    s.connect(0)
    line.written()
    raises(Refused, line.reads, "20 02 00 03")
    line.up(present=1)
    assert s.vague
    line.up(present=1)
    assert not s.vague


def check_each_that_was_set_aside_has_its_turn():
    """The broker does not bear B, and takes A again; there is nothing else to judge by."""
    line = Told(timeout=1000).up()
    s = line.session
    a = s.publish("A", b"", 1)
    b = s.publish("B", b"", 1)
    line.written()
    now = 0
    for n in range(24):
        now += 5000
        line.again(now=now)
        out = b""
        for _ in range(4):
            now += 500
            out = line.written(now)
            if out == h("c000"):
                line.reads(PONG, now)
            elif out:
                break
        if n > 8 and b"A" in out and b"B" not in out:
            line.session.receive(memoryview(h("40 02 0001")), now)
            break
    assert a.done and not a.error and not b.done


def check_slow_link():
    """What is long takes longer than the wait for an answer: it has 4 s for each KiB."""
    line = Line(timeout=1000).up()
    s = line.session
    for n, wait in ((900, 1000), (2000, 5000), (5000, 17000)):
        o = s.publish("t", b"x" * n, 1)
        assert len(line.written()) > n
        s.tick(1000)
        line.writes("c000", now=1000)
        assert s.tick(1000 + wait - 1) == 1
        raises(ConnectionLost, s.tick, 1000 + wait)
        s.withdraw(o, True)
        line.up(present=1)


def check_new_message_under_an_old_identifier():
    """A CONNACK was lost, so the session that is there may be another: then DUP alone does not
    tell that a message is the one that has this identifier here."""
    for qos in (1, 2):
        line = Told().up()
        s = line.session
        s.filters["t"] = qos
        line.reads("3%d 08 0001't' 0001 'old'" % (qos * 2))
        old = s.inbox.pop(0)
        if qos == 2:
            old.ack()
            line.writes("50 02 0001")
        owed(line)
        line.up(present=1)
        assert s.vague
        out = line.written()
        line.session.receive(memoryview(h("90 03") + out[2:4] + bytes((qos,))), 0)
        line.up(present=1)
        line.reads("3%x 08 0001't' 0001 'new'" % (8 + qos * 2))
        same([m.payload for m in s.inbox], [b"new"])
        # The old one, too, may be repeated: that is told by what it holds.
        line.up(present=1)
        line.reads("3%x 08 0001't' 0001 'new'" % (8 + qos * 2))
        same(len(s.inbox), 1)
        s.inbox.pop(0).ack()
        line.writes("%d0 02 0001" % (qos + 3))


CHECKS = sorted(name for name in globals() if name.startswith("check_"))

if __name__ == "__main__":
    core_checks.run(globals(), CHECKS)

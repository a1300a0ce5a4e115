"""More checks of session.py, where a fault of one line was seen by no other check. On every
runtime; see core_checks.py, whose way this is, and docs/proof.md, "Mutants".
"""

import dormouse
import dormouse.packet as packet
from core_checks import Line, h, raises, same
from dormouse.expiry import expiring
from dormouse.packet import ConnectionLost, ProtocolError
from dormouse.resume import reserve
from dormouse.session import Session
from dormouse.store.durable import durable
from liveness_checks import CLOSED, PONG, Medium, Told


def kicked(line, act, *args):
    """Something is to be written, or has ended, and who waits for that is told."""
    before = line.kicks
    line.session.on_output = line.kick
    result = act(*args)
    assert line.kicks > before
    return result


# --- who writes is told


def check_on_output():
    for kind in (Session, expiring()):
        line = Line()
        line.session = s = kind(line.kick, "c", clean=False, timeout=1000)
        kicked(line, s.connect, 0)
        line.written()
        kicked(line, line.reads, "20 02 00 00")
        o = kicked(line, s.publish, "t", b"", 2)
        line.written()
        kicked(line, line.reads, "50 02 0001")
        line.writes("62 02 0001")
        kicked(line, line.reads, "70 02 0001")
        o = kicked(line, s.publish, "t", b"", 0)
        kicked(line, line.written)  # somebody waits until it is written
        assert o.done and not hasattr(o, "packet")
        o = kicked(line, s.request, 0x82, [("t", 2)])
        line.written()
        kicked(line, line.reads, "90 03 0002 02")
        line.reads("34 05 0001't' 0001")
        kicked(line, s.inbox.pop(0).ack)
        line.writes("50 02 0001")
        kicked(line, line.reads, "62 02 0001")
        line.writes("70 02 0001")
        kicked(line, s.ping, 0)
        line.writes("c000")
        kicked(line, line.reads, PONG)
        bad = s.publish("t", b"", 1)
        line.written()
        s.lost()
        bad.tries = 3
        s.suspects = 1
        s.connect(0)
        line.written()
        line.reads("20 02 01 00")
        line.writes("")
        same(s.tick(400), 600)
        assert kicked(line, s.tick, 1000) > 0  # it has rested
        line.writes("c000", now=1000)
        line.reads(PONG, now=1000)
        line.writes("3a 05 0001't' 0003", now=1000)
        line.reads("40 02 0003")
        kicked(line, s.disconnect)


def check_what_is_counted():
    # Of what was sent at QoS 0 and what was answered nothing is left in the outbox, and what it
    # took is free.
    for kind in (Session, expiring()):
        line = Line()
        line.session = s = kind(line.kick, "c", clean=False)
        line.up()
        for qos in (0, 0, 1, 2):
            for retain in (False, True):
                o = s.publish("t", b"x" * 100, qos, retain)
                line.written()
                for first in {1: (0x40,), 2: (0x50, 0x70)}.get(qos, ()):
                    line.session.receive(memoryview(bytes((first, 2, 0, o.pid))), 0)
                    line.written()
                assert o.done and not hasattr(o, "packet")
                same((s.outbox, s.bulk, s.used, s.flying, s.pids), ([], 0, 0, 0, {}))
        for first, answer in ((0x82, "90 03 0005 00"), (0xA2, "b0 02 0006")):
            s.request(first, [("a", 0)] if first == 0x82 else ["a"])
            same(s.asking, 1)
            line.written()
            line.reads(answer)
            same((s.outbox, s.bulk, s.used, s.asking), ([], 0, 0, 0))


def check_a_new_one():
    s = Line().session
    same((s.vague, s.unsure, s.paused, s.size, s.asking, s.sure), (False, False, False, 0, 0, 0))


# --- sending


def check_room_to_the_byte():
    line = Line(outbox_bytes=100)
    s = line.session
    s.publish("t", b"x" * 43, 1)
    s.publish("t", b"x" * 43, 1)
    same(s.bulk, 100)
    raises(dormouse.OutboxFull, s.publish, "t")
    s = Line(outbox_bytes=100).session
    s.publish("t", b"x" * 93, 1)
    raises(ValueError, s.publish, "t", b"x" * 94, 1)
    raises(ValueError, Line, max_packet=1000, inbox_bytes=1063)
    Line(max_packet=1000, inbox_bytes=1064)


def check_pubrels_before_what_waits():
    line = Line(window=2).up()
    s = line.session
    for topic in "abx":
        s.publish(topic, b"", 2)
    line.writes("34 05 0001'a' 0001 34 05 0001'b' 0002")
    line.reads("50 02 0001 50 02 0002")
    line.writes("62 02 0001 62 02 0002")
    line.reads("70 02 0001")
    line.writes("34 05 0001'x' 0003")


def check_withdrawn_between_two_connections():
    # The broker may have it, so its handshake goes on. But what goes on one connection only has no
    # other any more.
    line = Line().up()
    s = line.session
    for qos in (1, 2):
        s.publish("t", b"", qos)
    o = s.request(0x82, [("a", 1)])
    line.written()
    s.lost()
    for sent in s.outbox[:]:
        s.withdraw(sent)
    same([o.pid for o in s.outbox], [1, 2])
    line.up(present=1).writes("3a 05 0001't' 0001 3c 05 0001't' 0002")
    assert not o.done


def check_answers_that_fit_nothing():
    line = Told().up()
    s = line.session
    line.reads("70 02 0009")  # it may be of what this client forgot
    same(s.troubles, 0)
    line.reads("40 02 0009")
    same(s.troubles, 1)
    s.request(0x82, [("a", 1)])
    line.written()
    line.reads("70 02 0001")
    same((s.troubles, len(s.outbox)), (2, 1))
    for text in ("90 00", "90 01 00", "40 01 00", "b0 00"):
        raises(ProtocolError, line.reads, text)
        line.again()


def check_own_subscription_refused():
    # Who asked for it knows: it is not asked for again.
    line = Told().up()
    s = line.session
    o = s.request(0x82, [("a", 1)])
    line.written()
    line.reads("90 03 0001 80")
    assert o.error
    same((s.denied, s.filters, s.troubles), ((), {}, 0))
    line.up(present=0).writes("")


def check_login_is_asked_when_it_is_sent():
    asked = []

    def ask():
        asked.append(0)
        return "%d" % len(asked)

    line = Line(username=ask, password=ask)
    same(asked, [])
    for n in (1, 3):
        line.session.connect(0)
        same(line.written()[-6:], h("0001'%d' 0001'%d'" % (n, n + 1)))
        line.session.lost()


# --- receiving


def check_released_that_waits_for_its_turn():
    # A PUBREL ends it, whether it was answered or not: there is no PUBREC behind its PUBCOMP.
    line = Line().up()
    s = line.session
    line.reads("34 05 0001'a' 0001 34 05 0001'b' 0002")
    a, b = s.inbox
    b.ack()
    line.writes("")
    line.reads("62 02 0002")
    line.writes("70 02 0002")
    a.ack()
    line.writes("50 02 0001")
    same(sorted(s.released), [1])


def check_acknowledged_at_qos_1():
    line = Line().up()
    s = line.session
    line.reads("32 05 0001'a' 0001")
    s.inbox.pop(0).ack()
    line.writes("40 02 0001")
    same((s.held, s.released), ([], {}))


def check_put_back():
    line = Line().up()
    s = line.session
    line.reads("32 05 0001'a' 0001 32 05 0001'b' 0002 32 05 0001'c' 0003")
    a = s.inbox.pop(0)
    b = s.inbox.pop(0)
    b.ack()
    s.put_back(b)  # it waits for a's, but the application is done with it
    s.put_back(a)
    same([m.topic for m in s.inbox], ["a", "c"])


def ended(line, pid):
    """A message at QoS 2 comes, and goes through all of its handshake."""
    line.reads("34 06 0001't' %04x 'x'" % pid)
    line.session.inbox.pop().ack()
    line.written()
    line.reads("62 02 %04x" % pid)
    line.written()


def again(line, pid):
    """It is repeated with DUP. Returns whether it was taken for another one."""
    line.reads("3c 06 0001't' %04x 'x'" % pid)
    line.written()
    return bool(line.session.inbox)


def check_ended_is_bounded():
    line = Line(keepalive=0).up()
    s = line.session
    for pid in range(1, 100):
        ended(line, pid)
        assert len(s.ended) <= 20
    line.up(present=1)
    assert not again(line, 99) and not again(line, 80) and again(line, 79)


def check_ended_behind_a_ping():
    # Its PINGRESP says that the broker had what went before it, and nothing of what came since.
    line = Line().up()
    s = line.session
    for pid in range(1, 21):
        ended(line, pid)
    s.ping(0)
    line.written()
    ended(line, 21)
    line.reads(PONG)
    same(len(s.ended), 1)
    s.ping(0)
    line.written()
    line.reads(PONG)
    same(len(s.ended), 0)
    s.ping(0)
    line.written()
    ended(line, 22)
    line.reads(PONG)
    line.up(present=1)
    assert not again(line, 22)


# --- connecting


def check_each_connection_begins_anew():
    line = Line().up()
    s = line.session
    s.paused = True
    line.reads("30 03 0001't'")
    s.lost()
    s.connect(0)
    same((s.paused, s.resumed, s.asked, s.ponged), (False, None, 0, None))
    line.written()
    raises(ConnectionLost, s.tick, 10000)


def short(line, length):
    """There is no memory for a message of so many bytes."""

    def none(n):
        raise MemoryError

    data = memoryview(h("32 %02x02 0001't' 0001" % (length - 256 | 0x80)) + b"x" * (length - 5))
    packet.bytearray = none
    try:
        raises(MemoryError, line.session.receive, data[:50], 0)
    finally:
        del packet.bytearray
    return data


def check_no_memory_is_no_other_end():
    # It was short once; connections that end later for another reason say nothing of it. And what
    # had several lengths may find room the next time.
    line = Told().up()
    s = line.session
    data = short(line, 264)
    for _ in range(5):
        line.up(present=1)
    for length in (270, 264, 270, 264):
        line.up(present=1)
        data = short(line, length)
    line.up(present=1)
    s.receive(data, 0)
    same((len(s.inbox), line.told), (1, []))


def check_cut_by_the_broker_is_no_lack_of_memory():
    line = Told().up()
    s = line.session
    data = memoryview(h("32 8802 0001't' 0001") + b"x" * 259)
    for _ in range(5):
        s.receive(data[:50], 0)
        line.again()
    s.receive(data, 0)
    same((len(s.inbox), line.told), (1, []))


def check_burst_that_was_cut_is_no_evidence():
    # The broker closes before CONNACK: that says nothing of what came with CONNECT.
    store = Medium()
    line = Told()
    line.session = s = durable()(line.kick, "c", store, clean=False)
    s.burst = True
    line.up()
    s.lost()
    o = s.publish("t", b"", 1)
    s.connect(0)
    assert line.written().endswith(h("32 05 0001't' 0001"))
    s.lost(CLOSED)
    same((o.tries, o.sent), (0, -1))


# --- time


def check_no_tick_is_too_soon():
    # With 0 the driver would do nothing else; and what keeps alive is not late for what is under
    # way.
    line = Line(keepalive=0, timeout=1000).up()
    s = line.session
    s.ping(0)
    line.written()
    same(s.tick(400), 600)
    line.reads(PONG)
    s.publish("t", b"", 1)
    line.written(now=1000)
    assert s.tick(2000) > 0
    line.writes("c000", now=2000)
    line = Line(keepalive=1, timeout=10000).up()
    line.session.publish("t", b"", 1)
    line.written(now=0)
    same(line.session.tick(0), 875)
    line.session.outbox[0].tries = 3  # set aside, and to rest for longer than that
    line.session.suspects = 1
    same(line.session.tick(0), 875)


def check_inbox_is_full_and_an_answer_due():
    line = Line().up()
    s = line.session
    s.publish("t", b"", 1)
    line.written()
    s.shed = True
    line.writes("")
    line.reads("40 02 0001")
    assert raises(ConnectionLost, s.take, 0).again


def check_reserve_of_all_bases():
    store = Medium()
    s = durable(expiring())(lambda: None, "c", store, clean=False)
    reserve(s)
    for name in ("vague", "doubt", "aging", "wary", "malformed"):
        assert name in s.__dict__, name


CHECKS = sorted(name for name in globals() if name.startswith("check_"))

if __name__ == "__main__":
    import core_checks

    core_checks.run(globals(), CHECKS)

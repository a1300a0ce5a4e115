"""Checks of evidence: what a session makes of an end, of a silence, and of what came before; where
a fault of one line in ``trouble`` or ``resume`` was seen by no other check. On every runtime; see
core_checks.py, whose way this is, and docs/proof.md, "Mutants".
"""

from core_checks import h, raises, same
from dormouse.packet import ConnectionLost, ProtocolError
from dormouse.resume import reserve
from dormouse.session import OutboxFull
from dormouse.store.durable import durable
from liveness_checks import CLOSED, PONG, Medium, Told, busily, owed


def answered(line, o, first=0x40, now=0):
    line.session.receive(memoryview(bytes((first, 2, o.pid >> 8, o.pid & 0xFF))), now)


def ended(line, times):
    """The broker ends so many connections, each at what it wrote."""
    for _ in range(times):
        line.written()
        line.again()


def aside(line):
    """Two messages that were set aside, and a line that is up."""
    s = line.session
    every = [s.publish(topic, b"", 1) for topic in ("bad", "worse")]
    ended(line, 4)
    same([o.tries for o in every[:2]], [2, 2])
    return every


def tried(line, now):
    """Let the connection live, until one that was set aside goes; the broker ends it then."""
    s = line.session
    for _ in range(4):
        line.written(now)
        if s.asked is not None:
            line.reads(PONG, now)
    assert s.flying and s.outbox[0].tries >= 2
    line.again(now=now)


def missing(line):
    """A message whose acknowledgement is missed for good, at 2,000 ms: the connection is to end."""
    s = line.session
    o = s.publish("t", b"", 1)
    line.written()
    s.tick(1000)
    line.writes("c000", now=1000)
    line.reads(PONG, now=1001)
    e = raises(ConnectionLost, s.tick, 2000)
    same(e.args, ("no acknowledgement", 0x40))
    return o


# --- what an end says


def check_missed_is_evidence_once():
    # Its acknowledgement was missed on one connection; that later ones end says no more of it.
    line = Told(timeout=1000).up()
    s = line.session
    o = missing(line)
    s.lost()
    for now in (3000, 5000, 7000, 9000):
        s.connect(now)
        line.written(now)
        s.lost()
    same((o.tries, s.troubles), (2, 0))


def check_missed_and_then_answered():
    # It lay in the socket: there is nothing left that the end could speak of.
    line = Told(timeout=1000).up()
    s = line.session
    o = missing(line)
    line.reads("40 02 0001", now=2001)
    s.lost(CLOSED)
    same((o.done, o.error, s.suspects), (True, None, 0))


def check_missed_behind_its_own_ping_only():
    # A PINGREQ that was answered before the message went says nothing of it: the link may be dead.
    line = Told(timeout=1000).up()
    s = line.session
    s.ping(100)
    line.writes("c000", now=100)
    o = s.publish("t", b"", 1)
    line.written(now=100)
    line.reads(PONG, now=110)
    s.tick(1100)
    line.writes("c000", now=1100)
    same(raises(ConnectionLost, s.tick, 2100).args, ("no answer",))
    s.lost()
    same(o.tries, 0)


def check_missed_by_its_patience():
    line = Told(timeout=1000).up()
    s = line.session
    s.patience = 200  # a Node's
    s.publish("t", b"", 1)
    line.written()
    s.tick(200)
    line.writes("c000", now=200)
    line.reads(PONG, now=210)
    same(s.tick(399), 1)
    raises(ConnectionLost, s.tick, 400)


def check_missed_is_what_was_sent():
    # What waits for room in the window was not missed.
    line = Told(window=1, timeout=1000).up(now=10000)
    s = line.session
    o = s.publish("t", b"", 1)
    waits = s.publish("u", b"", 1)
    line.written(now=10000)
    s.tick(11000)
    line.writes("c000", now=11000)
    line.reads(PONG, now=11001)
    raises(ConnectionLost, s.tick, 12000)
    s.lost()
    same((o.tries, waits.tries), (2, 0))


def check_each_answer_that_is_no_packet_is_evidence():
    for bad in ("40 03 0001 00", "50 03 0001 00", "70 03 0001 00", "90 01 00", "b0 03 0001 00"):
        line = Told().up()
        s = line.session
        o = s.publish("t", b"", 1)
        line.written()
        line.again(raises(ProtocolError, line.reads, bad))
        same(o.tries, 1)


def check_with_others_beside_it_it_says_nothing():
    line = Told(timeout=1000).up()
    s = line.session
    bad = s.publish("bad", b"", 1)
    ended(line, 2)
    line.writes("c000")
    line.reads(PONG)
    line.writes("3a 07 0003'bad' 0001")
    s.publish("t", b"")
    s.publish("t", b"", 1)
    line.writes("30 03 0001't' 32 05 0001't' 0002")
    line.again()
    same(bad.tries, 2)
    line.writes("3a 05 0001't' 0002")


# --- when something is given up


def ends_at_all(line, every, now=1000):
    """The broker ends each connection at a message, and none goes through: none is given up."""
    for n in range(20):
        tried(line, now + 2000 * n)
    # (And each rests from its second try on.)
    same([(o.done, o.tries) for o in every], [(False, 3)] * len(every))


def check_what_is_no_message_that_went_through():
    # Written at QoS 0, subscribed, or dropped for the room: that shows nothing.
    for what in range(4):
        line = Told(timeout=1000).up()
        s = line.session
        every = aside(line)
        if what == 1:
            s.publish("t", b"")
            line.written()
        elif what == 2:
            o = s.request(0x82, [("t", 1)])
            line.written()
            line.session.receive(memoryview(h("90 03 00") + bytes((o.pid, 1))), 0)
            assert o.done
        elif what == 3:
            o = s.publish("t", b"", 1)
            line.written()
            s._drop(o, True)
            o.error = OutboxFull()
        ends_at_all(line, every)


def check_what_went_through_long_ago():
    # When something else was set aside: of what is now it says nothing.
    line = Told(timeout=1000).up()
    s = line.session
    one = s.publish("one", b"", 1)
    ended(line, 2)
    other = s.publish("t", b"", 1)
    line.written()
    answered(line, other)
    line.written()
    line.reads(PONG)
    line.written()
    answered(line, one)
    same((one.done, s.suspects), (True, 0))
    ends_at_all(line, aside(line))


def check_what_went_through():
    # That another one is under way by now changes nothing.
    line = Told(timeout=1000, outbox=3).up()
    s = line.session
    aside(line)
    o = s.publish("t", b"", 1)
    line.written()
    answered(line, o)
    bad = s.outbox[0]
    s.publish("u", b"", 1)
    same(line.written()[:5], h("32 05 0001'u'"))
    s.publish("v", b"", 1)
    same((bad.done, type(bad.error)), (True, OutboxFull))


def check_what_is_under_way_makes_no_room():
    line = Told(timeout=1000, outbox=2).up()
    s = line.session
    bad = s.publish("bad", b"", 1)
    ended(line, 2)
    o = s.publish("t", b"", 1)
    line.written()
    answered(line, o)
    line.written()
    line.reads(PONG)
    line.writes("3a 07 0003'bad' 0001")
    s.publish("u", b"", 1)
    raises(OutboxFull, s.publish, "v", b"", 1)
    answered(line, bad)
    same((bad.error, s.suspects), (None, 0))


def check_topic_of_what_is_given_up():
    for topic, n in (("ttt", 120), ("ttt", 121), ("t" * 300, 0), ("t" * 120, 20000)):
        line = Told(timeout=1000, outbox_bytes=30000).up()
        s = line.session
        o = s.publish(topic, bytes(n), 1)
        for now in range(0, 50000, 5000):
            line.written(now)
            if s.asked is not None:
                line.reads(PONG, now)
            line.written(now + 1000)
            if s.asked is not None:
                line.reads(PONG, now + 1000)
                line.written(now + 1000)
            line.again(now=now + 5000)
            if o.done:
                break
        same(o.error.args, (CLOSED, topic))


def check_repeated_subscribe_that_is_given_up():
    # The broker forgot, and ends each connection at the SUBSCRIBE that is repeated: it is given up,
    # told, and asked for at each connection.
    line = Told(timeout=1000).up()
    s = line.session
    s.filters["a"] = 1
    line.up(present=0)
    now = 0
    for _ in range(12):
        line.written(now)
        if s.asked is not None:
            line.reads(PONG, now)
        line.written(now + 1000)
        if s.asked is not None:
            line.reads(PONG, now + 1000)
            line.written(now + 1000)
        now += 5000
        s.lost(CLOSED)
        if line.told:
            break
        line.up(present=1, now=now)
    same(line.told[0].args, (CLOSED, [("a", 1)]))
    same((s.denied, s.filters), ({"a": 1}, {}))
    line.up(present=0, now=now)  # and nobody asks for it ahead of the others
    line.writes("c000", now)
    line.reads(PONG, now)
    out = line.written(now)
    same(out[:2] + out[4:], h("82 06 0001'a' 01"))


def check_what_makes_room():
    # What was set aside, and what not even waits for PUBREL's answer or is a filter's.
    line = Told(outbox=3, timeout=1000).up()
    s = line.session
    rel = s.publish("rel", b"", 2)
    line.written()
    answered(line, rel, 0x50)
    line.written()
    for _ in range(2):
        line.again()
        line.written()
    ask = s.request(0x82, [("f", 1)])
    line.written()
    line.again()
    ended(line, 2)
    same((rel.tries >= 2, ask.tries >= 2), (True, True))
    bad = s.publish("bad", b"", 1)
    ended(line, 2)
    same((bad.tries, s.suspects), (2, 3))
    good = s.publish("good", b"", 2)
    line.written()
    raises(OutboxFull, s.publish, "t", b"", 1)
    answered(line, good, 0x50)  # that is enough: it went through
    waits = s.publish("waits", b"", 1)
    s.outbox.remove(waits)
    s.outbox.insert(0, waits)
    more = s.publish("more", b"", 1)
    same((bad.done, type(bad.error)), (True, OutboxFull))
    assert rel in s.outbox and ask in s.outbox and waits in s.outbox and more in s.outbox
    raises(OutboxFull, s.publish, "t", b"", 1)


# --- what is held up


def check_others_go_while_it_may_not():
    # Its turn has come, but the connection has not lived without it yet: that holds up nothing.
    line = Told(timeout=1000, outbox=200).up()
    s = line.session
    bad = s.publish("bad", b"", 1)
    ended(line, 2)
    tried(line, 0)
    same(bad.tries, 3)
    for _ in range(40):
        o = s.publish("t", b"", 1)
        same(line.written(999)[:5], h("32 05 0001't'"))
        answered(line, o, now=999)


def check_turn_is_counted_from_when_it_was_set_aside():
    # And after its turn, anew: what another one had long before says nothing.
    line = Told(timeout=1000, outbox=200).up()
    s = line.session
    for topic in ("one", "bad"):
        bad = s.publish(topic, b"", 1)
        ended(line, 2)
        if topic == "one":
            for _ in range(4):  # its turn is not there yet
                o = s.publish("t", b"", 1)
                line.written()
                answered(line, o)
            line.written()
            line.reads(PONG)
            line.written()
            answered(line, bad)
            for _ in range(40):
                o = s.publish("t", b"", 1)
                line.written()
                answered(line, o)
    same(s.suspects, 1)
    assert busily(line) > 12
    line.again()
    assert busily(line, 1000) > 12


def check_which_one_is_tried():
    # The first one that may: not one that has not rested, and no other packet.
    line = Told(timeout=1000, window=2).up()
    s = line.session
    s.publish("one", b"", 2)
    s.publish("two", b"", 2)
    ended(line, 4)
    same([o.tries for o in s.outbox], [2, 2])
    one, two = s.outbox
    one.tries = 3
    line.writes("c000")
    line.reads(PONG)
    same(line.written(), b"\x3c" + two.packet[1:])
    line.again(None)
    two.tries = 3
    waits = s.publish("waits", b"", 2)  # the broker may hold both
    s.outbox.remove(waits)
    s.outbox.insert(0, waits)
    line.writes("c000", now=1000)
    line.reads(PONG, now=1000)
    same(line.written(now=1000), b"\x3c" + two.packet[1:])  # which went before


def check_a_broker_without_qos_2():
    # It closes at each: they are set aside together, or each would end two connections of its own,
    # with the messages at QoS 1 that are behind it. They go one by one, and at once.
    line = Told(timeout=1000, window=2).up()
    s = line.session
    one = s.publish("one", b"", 2)
    ended(line, 2)
    two = s.publish("two", b"", 2)
    good = s.publish("good", b"", 1)
    three = s.publish("three", b"", 2)  # the broker may hold as many as the window
    line.writes("32 08 0004'good' 0003")
    line.reads("40 02 0003")
    same((good.done, one.tries, two.tries, three.tries), (True, 2, 2, 0))
    line.writes("c000")
    line.reads(PONG)
    same(line.written(), b"\x3c" + one.packet[1:])
    line.again()
    good = s.publish("good", b"", 1)
    line.writes("32 08 0004'good' 0005")
    line.reads("40 02 0005")
    line.writes("c000")
    line.reads(PONG)
    line.writes("34 07 0003'two' 0002")
    line.reads("50 02 0002")  # after all: it takes others, and nobody else is set aside for that
    line.writes("62 02 0002 34 09 0005'three' 0004")
    line.reads("70 02 0002 50 02 0004")
    same((two.done, two.error, one.tries, s.suspects), (True, None, 3, 1))


def check_one_at_qos_2_that_is_not_borne():
    # The others are set aside with it until the broker takes one of them, and not for ever: they
    # would doubt each other, where one is published before the last one has gone.
    line = Told(timeout=1000, window=8).up()
    s = line.session
    bad = s.publish("bad", b"", 2)
    ended(line, 2)
    others = [s.publish("good", b"", 2) for _ in range(3)]
    line.writes("c000")
    line.reads(PONG)
    same((line.written()[:1], s.suspects), (b"\x3c", 4))
    line.again()
    line.writes("c000")
    line.reads(PONG)
    same(line.written()[:1], b"\x34")
    answered(line, others[0], 0x50)
    line.written()
    same(([o.tries for o in others], bad.tries, s.suspects), ([0, 1, 1], 3, 1))
    bad.tries = 2  # as in the next wake: a PUBREL that waits takes nothing from what was evidence
    s.other = None
    line.again(None)
    line.written()
    same((bad.tries, s.suspects), (2, 1))
    for o in others:
        more = s.publish("good", b"", 2)
        answered(line, o, 0x70 if o is others[0] else 0x50)
        line.written()
        same((more.tries, s.suspects), (0, 1))


def check_window_beside_what_is_set_aside():
    # A SUBSCRIBE is not of the window.
    line = Told(timeout=1000, window=1).up()
    s = line.session
    s.publish("bad", b"", 1)
    ended(line, 2)
    s.request(0x82, [("a", 1)])
    same(line.written()[:1], b"\x82")
    s.publish("t", b"", 1)
    same(line.written()[:5], h("32 05 0001't'"))


def check_inbox_is_full_and_something_set_aside():
    line = Told(timeout=1000).up()
    s = line.session
    s.publish("bad", b"", 1)
    ended(line, 2)
    s.shed = True
    assert raises(ConnectionLost, s.take, 0).again


def check_disconnect_does_not_try_it():
    line = Told(timeout=1000).up()
    s = line.session
    s.publish("bad", b"", 1)
    ended(line, 2)
    s.disconnect()
    line.writes("e000")


def check_evidence_takes_no_attribute_more():
    # Where its table is full a larger one takes some hundred bytes in one piece.
    line = Told(timeout=1000).up()
    s = line.session
    reserve(s)
    line.again(present=0)
    o = s.publish("a", b"", 1)
    line.written()
    names = sorted(s.__dict__)
    for _ in range(2):
        line.again(ProtocolError(0x40))
        line.written()
    same((o.tries, s.suspects, sorted(s.__dict__)), (2, 1, names))


# --- what comes in


def check_malformed_and_long():
    # What is told of it, and the identifier by which it is acknowledged.
    topic = b" ~\x7f\x1f" + b"t" * 296 + b"#"
    body = h("012d") + topic + h("0107'x'")
    data = memoryview(h("32 b202") + body)
    line = Told().up()
    for _ in range(2):
        line.again(raises(ProtocolError, line.session.receive, data, 0))
    line.session.receive(data, 0)
    line.writes("40 02 0107")
    same(line.told[0].args, (0x32, len(body), " ~??" + "t" * 60))


def check_malformed_at_qos_0():
    line = Told().up()
    bad = "30 08 0001 ff 'xyz--'"
    for _ in range(2):
        line.again(raises(ProtocolError, line.reads, bad))
    line.reads(bad + "30 03 0001't'")
    line.writes("")
    same([m.topic for m in line.session.inbox], ["t"])


def check_malformed_and_cut_short():
    line = Told().up()
    for _ in range(4):
        line.again(raises(ProtocolError, line.reads, "32 04 0001 ff 00"))
    same(line.told, [])


def check_too_long_and_its_identifier():
    line = Told(max_packet=40, inbox_bytes=200).up()
    for _ in range(2):
        line.session.receive(memoryview(h("32 ae02 0003'big' 0107") + b"x" * 295), 0)
        line.writes("40 02 0107")
    # Before CONNACK nothing is read past.
    s = line.session
    s.lost()
    s.connect(0)
    line.written()
    e = raises(ProtocolError, s.receive, memoryview(h("32 ae02 0003'big' 0107") + b"x" * 295), 0)
    same(e.args, (0x32, 302))


# --- what an earlier session has left


def check_held_by_the_application_is_bounded_by_nothing():
    # Only what was acknowledged is given up when it is too much: the rest is with the application.
    line = Told(max_packet=4096, inbox_bytes=4200).up()
    s = line.session
    data = h("34 b417 0001't' 0001") + bytes(2991)
    taken = []
    for pid in (1, 2, 3):
        line.session.receive(memoryview(data[:7] + bytes((pid,)) + data[8:]), 0)
        taken.append(s.inbox.pop(0))
    line.up(present=1)
    same(s.held, taken)
    line.session.receive(memoryview(b"\x3c" + data[1:]), 0)
    same(s.inbox, [])  # it is there
    taken[0].ack()
    line.writes("50 02 0001")


def check_session_gone_and_the_same_once_more():
    # The broker forgot: under the identifier of one that was held, or ended, comes another message
    # that reads the same.
    for ended in (False, True):
        line = Told().up()
        s = line.session
        line.reads("34 06 0001't' 0001 'x'")
        if ended:
            s.inbox.pop(0).ack()
            line.writes("50 02 0001")
            line.reads("62 02 0001")
            line.writes("70 02 0001")
        else:
            s.inbox.pop(0)
        line.up(present=0)
        line.reads("3c 06 0001't' 0001 'x'")
        same(len(s.inbox), 1)
        s.inbox.pop(0).ack()
        line.writes("50 02 0001")


def check_sent_in_a_session_that_is_gone():
    # Of the new one it was never sent: it may be withdrawn, and no answer fits it.
    line = Told(window=1).up()
    s = line.session
    a = s.publish("a", b"", 1)
    b = s.publish("b", b"", 1)
    line.writes("32 05 0001'a' 0001")
    line.up(present=0)
    answered(line, a)
    same((a.done, s.troubles), (False, 1))
    s.withdraw(a)
    line.writes("32 05 0001'b' 0002")
    answered(line, b)
    same(s.outbox, [])


def check_vague_until_nothing_is_left():
    # A CONNACK was owed: a repeat without DUP is none then, and it is again when all that was there
    # before has ended.
    for released in (False, True):
        line = Told().up()
        s = line.session
        line.reads("34 06 0001't' 0001 'x'")
        m = s.inbox.pop(0)
        if released:
            m.ack()
            line.writes("50 02 0001")
        owed(line)
        for _ in range(2):
            line.up(present=1)
            assert s.vague
        line.reads("34 06 0001't' 0001 'x'")  # another one, that reads the same
        same(len(s.inbox), 1)
        s.inbox.pop(0).ack()
        line.writes("50 02 0001")
        line.reads("62 02 0001")
        line.writes("70 02 0001")
        line.up(present=1)
        assert not s.vague
        line.reads("34 06 0001't' 0002 'x'")
        line.up(present=1)
        line.reads("34 06 0001't' 0002 'x'")  # a repeat, of a broker that sets no DUP
        same(len(s.inbox), 1)
    # Without its session there is nothing that could be vague.
    line = Told().up()
    owed(line)
    line.up(present=0)
    assert not line.session.vague


def check_another_kind_under_its_identifier():
    # The session may be another (a CONNACK was owed), and the same word may come at QoS 1 there.
    for what in ("held", "released", "ended"):
        line = Told().up()
        s = line.session
        line.reads("34 06 0001't' 0001 'x'")
        m = s.inbox.pop(0)
        if what == "held":
            s.lost()
            m.ack()
        else:
            m.ack()
            line.writes("50 02 0001")
        if what == "ended":
            line.reads("62 02 0001")
            line.writes("70 02 0001")
        owed(line)
        line.up(present=1)
        line.reads("3a 06 0001't' 0001 'x'")
        same(len(s.inbox), 1)
        s.inbox.pop(0).ack()
        line.writes("40 02 0001")


def check_as_one_that_was_ended_but_new():
    line = Told().up()
    s = line.session
    line.reads("34 06 0001't' 0001 'x'")
    s.inbox.pop(0).ack()
    line.writes("50 02 0001")
    line.reads("62 02 0001 34 06 0001't' 0001 'y'")
    s.inbox.pop(0)
    owed(line)
    line.up(present=1)
    line.reads("34 06 0001't' 0001 'x'")  # no DUP: a new one, of another session
    same([m.payload for m in s.inbox], [b"x"])


def check_released_without_a_mark():
    # By a store of an earlier version, which had none: the identifier alone tells.
    line = Told().up()
    s = line.session
    s.released[1] = 0
    line.up(present=1)
    line.reads("3c 06 0001't' 0001 'x'")
    line.writes("50 02 0001")
    same(s.inbox, [])


def check_what_comes_anew_is_released_no_more():
    line = Told().up()
    s = line.session
    line.reads("34 06 0001't' 0001 'x'")
    s.inbox.pop(0).ack()
    line.writes("50 02 0001")
    owed(line)
    line.up(present=1)
    line.reads("34 06 0001't' 0001 'y'")
    same((len(s.inbox), s.released), (1, {}))


def check_qos_1_and_2_apart():
    # That one at QoS 1 is repeated whose PUBACK was lost says nothing of those at QoS 2, and the
    # other way round.
    line = Told().up()
    s = line.session
    line.reads("34 06 0001't' 0002 'x'")
    m = s.inbox.pop(0)  # with the application
    line.up(present=1)
    line.reads("3a 06 0001't' 0001 'o' 3c 06 0001't' 0002 'x'")
    same([m.payload for m in s.inbox], [b"o"])
    m.ack()
    line.writes("50 02 0002")
    line = Told().up()
    s = line.session
    line.reads("32 06 0001't' 0002 'x'")
    line.up(present=1)
    line.reads("3c 06 0001't' 0001 'o'")
    same([m.payload for m in s.inbox], [b"x", b"o"])


def check_subscribe_at_a_broker_that_forgets():
    # It forgets each time, and ends each connection at the SUBSCRIBE that is repeated: that one
    # goes behind all else, too.
    line = Told(timeout=1000).up()
    s = line.session
    s.filters["a"] = 1
    o = s.publish("t", b"", 1)
    line.up(present=0)
    for _ in range(2):
        out = line.written()
        same(out[:1], b"\x82")
        line.again(present=0)
    line.writes("32 05 0001't' 0001")
    answered(line, o)
    line.writes("c000")
    line.reads(PONG)
    same(line.written()[:1], b"\x82")


def check_subscribe_that_is_under_way_in_a_burst():
    # It went with CONNECT, whose answer says that the broker forgot: it goes once.
    store = Medium()
    line = Told()
    line.session = s = durable()(line.kick, "c", store, clean=False)
    s.burst = True
    line.up()
    s.filters["a"] = 1
    s.denied = {"d": 0}
    line.up(present=0)
    same(len(s.again), 2)
    s.suspects = 0
    for o in s.again:
        o.tries = 0
    line.written()
    s.lost()
    s.connect(0)
    out = line.written()
    same((out[0], out.count(b"\x82\x06")), (0x10, 2))
    line.reads("20 02 00 00")
    line.writes("")
    same(len(s.again), 2)


CHECKS = sorted(name for name in globals() if name.startswith("check_"))

if __name__ == "__main__":
    import core_checks

    core_checks.run(globals(), CHECKS)

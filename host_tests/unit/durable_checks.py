"""Checks of durable.py and of what sleep.py decides without a network, on every runtime.

See core_checks.py, whose way this is. Bytes are written out by hand from the standard.
"""

from binascii import crc32

import core_checks
from core_checks import Line, h, raises, same
from dormouse.expiry import expiring
from dormouse.session import (
    ConnectionLost,
    Message,
    OutboxFull,
    Refused,
    Session,
    SessionLost,
)
from dormouse.store import Store, StoreFull
from dormouse.store.durable import CLEAN, durable

DurableSession = durable()
SECOND = 1000
HELLO = "10 0d 0004'MQTT' 04 00 003c 0001'c'"
FENCE = "c000"


class Medium(Store):
    """Says what was saved since it was last asked; ``room``: messages at most."""

    survives = 2
    room = 99

    def __init__(self, data=None):
        self.first = data or {}
        self.log = []
        super().__init__()

    def read(self):
        return self.first

    def write(self, changes):
        messages = [key for key in self.data if key >= 0x40000]
        if len(messages) > self.room:
            raise StoreFull
        self.log.append(dict(changes))

    def saved(self):
        log = self.log
        self.log = []
        return log


class Sleeper(Line):
    """A durable session and the bytes it would write and read."""

    def __init__(self, store=None, burst=True, **options):
        self.kicks = 0
        self.store = store or Medium()
        self.session = DurableSession(self.kick, "c", self.store, clean=False, **options)
        self.session.burst = burst

    def again(self, **options):
        """The chip slept deeply, or lost its power: what the store had is all there is."""
        data = {key: bytearray(value) for key, value in self.store.data.items()}
        return Sleeper(Medium(data), **options)

    def connect(self, text, now=0):
        self.session.connect(now)
        self.writes(text, now)

    def known(self):
        """Let the broker have a session."""
        self.session.connect(0)
        self.writes(HELLO)
        self.reads("20 02 00 00")
        self.session.lost()
        self.written()
        self.store.saved()
        return self


def bits(value, count=4):
    return value.to_bytes(count, "big")


# --- what is on the medium before which byte


def check_publish_is_saved():
    s = Sleeper()
    s.session.publish("a", b"1", 1)
    same(s.store.saved(), [{0x40001: h("32 06 0001'a' 0001 '1'"), 5: bits(0)}])
    s.session.publish("a", b"2", 0)  # may get lost
    same(s.store.saved(), [])
    s.session.publish("a", b"3", 2)
    same(s.store.saved(), [{0x40002: h("34 06 0001'a' 0002 '3'")}])
    # That they may have been sent, before the bytes are out.
    s.session.connect(0)
    s.writes(HELLO)
    s.reads("20 02 00 00")
    data = s.session.take(0)
    assert data[:4] == h("32 06 0001")
    same(s.store.saved(), [{2: b"", 5: bits(2)}])
    # Connected, one record is enough for both.
    s.session.publish("a", b"4", 1)
    same(s.store.saved(), [{5: bits(3), 0x40003: h("32 06 0001'a' 0003 '4'")}])
    assert s.session.take(0)
    same(s.store.saved(), [])


def check_publish_that_is_refused_takes_nothing_along():
    def wrong(session):
        raises(TypeError, session.publish, "b", b"", 1, message_expiry=60)
        raises(TypeError, session.publish, "b", 5, 1)
        raises(ValueError, session.publish, "b#", b"", 2)

    for full in ("refuse", "oldest"):
        s = Sleeper(full=full).known()
        o = s.session.publish("a", b"1", 2)
        wrong(s.session)
        assert o in s.session.outbox and 0x40001 in s.store.data
        s.connect(HELLO + "34 06 0001'a' 0001 '1'")
        s.reads("20 02 01 00")
        wrong(s.session)
        s.reads("50 02 0001")
        s.writes("62 02 0001")
        wrong(s.session)
        s.reads("70 02 0001")
        assert o.done and not o.error


def check_handshakes_out():
    s = Sleeper().known()
    s.session.publish("a", b"1", 2)
    s.session.publish("a", b"2", 1)
    s.connect(HELLO + "34 06 0001'a' 0001 '1' 32 06 0001'a' 0002 '2'")
    s.store.saved()
    s.reads("20 02 01 00 50 02 0001")
    data = bytes(s.session.take(0))
    same(data, h("62 02 0001"))
    # PUBREC before PUBREL; the message is needed no more.
    same(s.store.saved(), [{0x40001: None, 0x20000: b"\x00\x01"}])
    s.reads("40 02 0002 70 02 0001")
    same(s.store.saved(), [])
    assert s.session.take(0) is None
    same(s.store.saved(), [{0x40002: None, 0x20000: None}])
    same(sorted(s.store.data), [2, 5])


def check_window_is_freed_at_pubcomp():
    s = Sleeper(window=1).known()
    s.session.publish("a", b"1", 2)
    s.session.publish("a", b"2", 2)
    s.connect(HELLO + "34 06 0001'a' 0001 '1'")
    s.reads("20 02 01 00 50 02 0001")
    s.writes("62 02 0001")
    s.reads("70 02 0001")
    s.writes("34 06 0001'a' 0002 '2'")


def told(topic, payload, pid):
    """What the medium keeps of an incoming QoS 2 message."""
    return (crc32(payload, crc32(topic, pid)) & 0x3FFFFFFF).to_bytes(4, "big")


# mqtt311: MQTT-3.1.2-4 MQTT-4.3.3-2
def check_handshakes_in():
    s = Sleeper().known()
    s.connect(HELLO)
    s.reads("20 02 01 00 34 06 0001't' 0007 'x'")
    s.written()
    same(s.store.saved(), [])  # the broker has it yet, and nobody has processed it
    s.session.inbox.pop(0).ack(b"state")
    # One record, there when ack returns: what was processed, and that it was.
    mark = told(b"t", b"x", 7)
    same(s.store.saved(), [{1: b"state", 0x10007: mark}])
    s.writes("50 02 0007")
    again = s.again()
    same(again.session.committed, b"state")
    state = again.session.committed
    state += b"!"  # of what a medium read, the application gets a copy
    same(again.store.data[1], b"state")
    again.connect(HELLO)
    again.reads("20 02 01 00 3c 06 0001't' 0007 'x'")
    again.writes("50 02 0007")
    same(again.session.inbox, [])
    again.reads("62 02 0007")
    again.store.saved()
    data = bytes(again.session.take(0))
    same(data, h("70 02 0007"))
    # The identifier is forgotten before the broker may use it anew. What tells the message is not,
    # for the broker may not get PUBCOMP, and repeat what was ended (mosquitto 2.0).
    same(again.store.saved(), [{0x10007: None, 13: mark}])
    third = again.again()
    third.connect(HELLO)
    third.reads("20 02 01 00 3c 06 0001't' 0007 'x'")
    same(third.session.inbox, [])
    third.writes("50 02 0007")
    third.reads("62 02 0007")
    third.writes("70 02 0007")
    third.session.ping(0)
    third.writes("c0 00")
    third.reads("d0 00")  # it went behind PUBCOMP, so the broker has that
    third.session.take(0)
    same(third.store.data.get(13), None)


def check_done_out_of_turn():
    s = Sleeper().known()
    s.connect(HELLO)
    s.reads("20 02 01 00 34 06 0001't' 0001 'x' 34 06 0001't' 0002 'y'")
    first, second = s.session.inbox
    second.ack("y done")
    # Its PUBREC waits for its turn; that it was processed does not.
    same(s.store.saved(), [{1: b"y done", 0x10002: told(b"t", b"y", 2)}])
    s.writes("")
    again = s.again()
    again.connect(HELLO)
    again.reads("20 02 01 00 3c 06 0001't' 0001 'x' 3c 06 0001't' 0002 'y'")
    same([m.payload for m in again.session.inbox], [b"x"])
    first.ack()
    s.writes("50 02 0001 50 02 0002")


def check_commit_needs_a_store():
    line = Line().up()
    line.reads("30 04 0001't' 'x'")
    raises(AttributeError, line.session.inbox[0].ack, b"state")
    assert not line.session.inbox[0].done


def check_what_cannot_be_committed():
    # A number is no bytes: as many zeros would be kept, without a word.
    s = Sleeper()
    s.session.connect(0)
    s.writes(HELLO)
    s.reads("20 02 00 00")
    s.reads("32 06 0001't' 0001 'x'")
    m = s.session.inbox.pop(0)
    for state in (5, [1, 2], {}):
        raises(TypeError, m.ack, state)
    assert not m.done and s.session.committed is None
    m.ack(bytearray(b"state"))
    same(s.session.committed, b"state")


def check_subscriptions_are_kept():
    s = Sleeper()
    s.session.request(0x82, [("a/\xe9", 1), ("b", 2)])
    s.session.connect(0)
    s.writes(HELLO)
    s.reads("20 02 00 00")
    s.written()
    s.reads("90 04 0001 01 02")
    s.written()
    again = s.again()
    same(again.session.filters, {"a/\xe9": 1, "b": 2})
    again.session.request(0xA2, ["b"])
    again.connect(HELLO + "a2 05 0001 0001'b'")
    again.reads("20 02 01 00 b0 02 0001")
    again.written()
    same(again.again().session.filters, {"a/\xe9": 1})


# mqtt311: MQTT-3.1.2-4 MQTT-4.4.0-1 MQTT-4.6.0-1
def check_order_and_dup():
    s = Sleeper(window=2).known()
    for n in b"123":
        s.session.publish("a", bytes((n,)), 1)
    s.connect(HELLO + "32 06 0001'a' 0001 '1' 32 06 0001'a' 0002 '2'")
    # 1 and 2 were sent, perhaps; 3 never was, and says so after any number of resets.
    again = s.again(window=3).again(window=3)
    again.session.publish("a", b"4", 1)
    again.connect(HELLO + "3a 06 0001'a' 0001 '1' 3a 06 0001'a' 0002 '2' 32 06 0001'a' 0003 '3'")
    again.reads("20 02 01 00 40 02 0001")
    again.writes("32 06 0001'a' 0004 '4'")


# mqtt311: MQTT-4.6.0-4
def check_order_of_pubrel():
    s = Sleeper().known()
    for n in b"123":
        s.session.publish("a", bytes((n,)), 2)
    s.session.connect(0)
    s.written()
    s.reads("20 02 01 00 50 02 0002")
    s.writes("62 02 0002")
    s.reads("50 02 0001")
    s.writes("62 02 0001")
    again = s.again()
    # In the order of the PUBRECs [MQTT-4.6.0-4].
    again.connect(HELLO + "62 02 0002 62 02 0001 3c 06 0001'a' 0003 '3'")
    again.reads("20 02 01 00 70 02 0002")
    again.written()
    third = again.again()
    third.connect(HELLO + "62 02 0001 3c 06 0001'a' 0003 '3'")
    # A new one goes behind it, also where the number of the one before is free again.
    third.reads("20 02 01 00 50 02 0003 70 02 0001")
    third.writes("62 02 0003")
    third.again().connect(HELLO + "62 02 0003")


def check_identifiers_go_on():
    s = Sleeper(pid=65534).known()
    s.session.publish("a", b"", 1)
    s.session.publish("a", b"", 1)
    s.connect(HELLO + "32 05 0001'a' ffff 32 05 0001'a' 0001")
    s.reads("20 02 01 00 40 02 0001")
    s.written()
    again = s.again(pid=500)
    again.session.publish("a", b"", 1)
    again.connect(HELLO + "3a 05 0001'a' ffff 32 05 0001'a' 0002")


def check_power_lost_between_two_stores():
    # A layered store had both, PUBREC in the one and not yet removed the packet in the other.
    s = Sleeper(Medium({2: b"", 5: bits(1), 0x20000: b"\0\1", 0x40001: h("34 05 0001'a' 0001")}))
    s.connect(HELLO + "62 02 0001")
    same(s.store.saved(), [{0x40001: None, 14: b""}])
    # The small one is gone: any message may have been sent.
    s = Sleeper(Medium({0x40009: h("34 05 0001'a' 0009"), 0x40007: h("32 05 0001'a' 0007")}))
    s.session.publish("a", b"", 1)
    s.session.connect(0)
    s.writes(HELLO)  # nobody knows of a session: carefully
    s.reads("20 02 01 00")
    s.writes("3a 05 0001'a' 0007 3c 05 0001'a' 0009 32 05 0001'a' 000a")


# --- room


def check_full():
    s = Sleeper(outbox=2, full="refuse")
    s.session.publish("a", b"1", 1)
    s.session.publish("a", b"2", 1)
    raises(OutboxFull, s.session.publish, "a", b"3", 1)
    s = Sleeper(outbox=2, full="oldest").known()
    first = s.session.publish("a", b"1", 1)
    s.connect(HELLO + "32 06 0001'a' 0001 '1'")  # sent, perhaps: that one stays
    s.session.lost()
    second = s.session.publish("a", b"2", 2)
    third = s.session.publish("a", b"3", 1)
    assert second.done and isinstance(second.error, OutboxFull) and not first.done
    assert not third.done and third.error is None
    raises(OutboxFull, s.session.publish, "a", b"4", 0)  # what may get lost displaces nothing
    again = s.again()
    again.connect(HELLO + "3a 06 0001'a' 0001 '1' 32 06 0001'a' 0004 '3'")
    raises(ValueError, Sleeper, full="newest")
    raises(ValueError, DurableSession, None, "c", Medium(), clean=True)


def check_full_store():
    s = Sleeper(full="refuse").known()
    s.store.room = 1
    s.session.publish("a", b"1", 1)
    raises(OutboxFull, s.session.publish, "a", b"2", 1)
    same(len(s.session.outbox), 1)
    s.connect(HELLO + "32 06 0001'a' 0001 '1'")
    s = Sleeper(full="oldest").known()
    s.store.room = 1
    first = s.session.publish("a", b"1", 1)
    s.session.publish("a", b"2", 1)
    assert isinstance(first.error, OutboxFull)
    s.connect(HELLO + "32 06 0001'a' 0003 '2'")
    # What does not fit anyhow drives out nothing.
    s = Sleeper(full="oldest").known()
    for _ in range(3):
        s.session.publish("a", b"1", 1)
    s.store.room = 0
    before = list(s.session.outbox)
    raises(OutboxFull, s.session.publish, "a", b"2", 1)
    same(s.session.outbox, before)
    assert not [o for o in before if o.done or o.error]
    s.store.room = 9
    s.session.save()
    same(len([key for key in s.store.data if key > 255]), 3)


class Errorless(Message):
    """One for whose error there is no memory."""

    @property
    def error(self):
        return None

    @error.setter
    def error(self, error):
        raise MemoryError


def check_no_memory_for_what_makes_room():
    # The second one that has to go: the first one is where it was.
    s = Sleeper(full="oldest", outbox_bytes=100)
    for _ in range(3):
        s.session.publish("a", b"1" * 20, 1)
    box = s.session.outbox
    o, box[1] = box[1], Errorless()
    for name in ("packet", "pid", "expect", "key"):
        setattr(box[1], name, getattr(o, name))
    s.session.pids[o.pid] = box[1]
    before = list(box)
    raises(MemoryError, s.session.publish, "a", b"2" * 60, 1)
    same((s.session.outbox, [o.error for o in before], s.session.used), (before, [None] * 3, 3))
    s.session.save()
    same(len([key for key in s.store.data if key > 255]), 3)


def check_refused_and_ended_meanwhile():
    # A message at QoS 0 made room, which was not enough.
    s = Sleeper(full="refuse", outbox_bytes=300)
    s.session.publish("a", b"1" * 200, 1)
    gone = s.session.publish("a", b"2" * 20, 0)
    raises(OutboxFull, s.session.publish, "a", b"3" * 200, 1)
    assert gone.done
    s.session.connect(0)
    s.writes(HELLO)
    s.reads("20 02 00 00")
    same(len(s.written()), 2 + 1 + 3 + 2 + 200)
    # What is wrong in itself drives out nothing either.
    s = Sleeper(full="oldest", outbox=1)
    first = s.session.publish("a", b"1", 1)
    raises(ValueError, s.session.publish, "a/#", b"2", 1)
    same(s.session.outbox, [first])


class Narrow(dict):
    """There is no memory for one more."""

    def __setitem__(self, key, value):
        raise MemoryError


def check_no_memory_for_its_place():
    # What cannot be noted for the medium is not in the outbox.
    s = Sleeper().known()
    first = s.session.publish("a", b"1", 1)
    s.session.changes = Narrow()
    raises(MemoryError, s.session.publish, "a", b"2", 1)
    s.session.changes = {}
    same((s.session.outbox, s.session.used, list(s.session.pids)), ([first], 1, [1]))
    s.session.publish("a", b"3", 1)
    s.connect(HELLO + "32 06 0001'a' 0001 '1' 32 06 0001'a' 0003 '3'")


def check_put_back_expires():
    # Dropped for one that is too large, and put back: it still expires, and goes as it is.
    store = Medium()
    kind = durable(expiring())
    clock = [1000]
    s = Sleeper(store)
    s.session = kind(
        s.kick, "c", store, "oldest", clean=False, outbox_bytes=100, clock=lambda: clock[0]
    )
    s.session.publish("a", b"1", 1, message_expiry=50)
    store.room = 0
    raises(OutboxFull, s.session.publish, "a", b"2" * 20, 1)
    store.room = 9
    s.session.connect(0)
    s.writes(HELLO)
    s.reads("20 02 00 00")
    s.writes("32 06 0001'a' 0001 '1'")


def check_withdrawn_from_the_medium():
    s = Sleeper().known()
    o = s.session.publish("a", b"1", 2)
    s.session.withdraw(o)
    s.again().connect(HELLO)


def check_failed_write_sends_nothing():
    s = Sleeper().known()
    s.session.connect(0)
    s.writes(HELLO)
    s.reads("20 02 01 00")
    s.reads("34 06 0001't' 0007 'x'")
    s.session.inbox.pop(0).done = True
    s.session.flush()
    s.store.save = lambda changes: raises(StoreFull, None)
    raises(TypeError, s.session.take, 0)
    s.session.lost()
    del s.store.save
    s.connect(HELLO)
    s.reads("20 02 01 00 3c 06 0001't' 0007 'x'")
    s.writes("50 02 0007")


def full(s, error):
    def save(changes):
        raise error

    s.store.save = save


def check_without_a_record():
    """The store takes none: what does not depend on one goes. No node is mute for a full flash."""
    out = "32 06 0001'a' 0002 '1' 34 06 0001'a' 0003 '2' 30 04 0001'a' '0'"
    out = "82 06 0001 0001'f' 02" + out + FENCE
    for error in (StoreFull(16), OSError(28), OSError(5)):
        for burst in (False, True):
            s = Sleeper(burst=burst).known()
            s.session.request(0x82, [("f", 2)])
            s.session.publish("a", b"1", 1)
            s.session.publish("a", b"2", 2)
            s.session.publish("a", b"0")
            s.session.fencing = True
            full(s, error)
            s.connect(HELLO + (out if burst else ""))
            s.reads("20 02 01 00")
            s.writes("" if burst else out)
            same((s.session.stuck, s.session.trouble, s.session.troubles), (error, error, 1))
            s.reads("90 03 0001 02 40 02 0002 d0 00 32 06 0001't' 0007 'x'")
            s.session.inbox.pop().ack()
            s.writes("40 02 0007")  # at QoS 1 there is nothing to record
            s.reads("50 02 0003")
            same(raises(type(error), s.session.take, 0), error)
            # There is room again: where it stopped it goes on.
            s.session.lost()
            del s.store.save
            s.connect(HELLO + ("62 02 0003" + FENCE if burst else ""))
            s.reads("20 02 01 00")
            same(0x40002 in s.store.data, False)


def check_without_a_record_it_rests():
    """Each record that a full flash does not take wears it, and a client may send all the time."""
    s = Sleeper(burst=False).known()
    s.connect(HELLO)
    s.reads("20 02 01 00")
    s.session.publish("a", b"1", 1)
    s.written()
    tries = []

    def save(changes):
        tries.append(changes)
        raise StoreFull(16)

    s.store.save = save
    s.reads("40 02 0001")
    for t in range(0, 60000, 1000):
        s.session.publish("a", b"0")
        s.writes("30 04 0001'a' '0'", t)
    same(len(tries), 2)
    # What depends on it does not wait, nor does a new connection.
    s.reads("34 06 0001't' 0007 'x'")
    s.session.inbox.pop().ack()
    raises(StoreFull, s.session.take, 59000)
    same(len(tries), 3)
    s.session.lost()
    del s.store.save
    s.connect(HELLO, 59000)
    assert 0x40001 not in s.store.data
    # From here on it is as before.
    s.reads("20 02 01 00")
    s.session.publish("a", b"2", 1)
    s.written(59000)
    s.reads("40 02 0002")
    s.written(59000)
    assert 0x40002 not in s.store.data


def check_without_a_record_nothing_goes_twice():
    """PUBREC and PUBCOMP depend on it. (PUBACK where something was committed with it waits until
    that is on the medium.)"""
    for text, commit in (
        ("34 06 0001't' 0007 'x'", None),
        ("62 02 0007", None),
        ("32 06 0001't' 0007 'x'", b"done"),
    ):
        s = Sleeper().known()
        s.connect(HELLO)
        s.reads("20 02 01 00" + ("34 06 0001't' 0007 'x'" if text[0] == "6" else ""))
        for m in s.session.inbox:
            m.ack()
        s.written()
        full(s, StoreFull(16))
        s.reads(text)
        if commit:
            raises(StoreFull, s.session.inbox.pop().ack, commit)
            s.writes("")
            continue
        if text[0] == "3":
            s.session.inbox.pop().ack()
        raises(StoreFull, s.session.take, 0)


# --- the burst


def check_burst():
    s = Sleeper().known()
    s.session.publish("a", b"1", 1)
    s.session.fencing = True
    s.connect(HELLO + "32 06 0001'a' 0001 '1'" + FENCE)
    same(s.session.early, 0)  # what the broker did with it is not known
    s.reads("20 02 01 00")
    assert not s.session.early and s.session.asked is not None  # PINGRESP is due
    s.writes("")
    s.reads("40 02 0001 d0 00")
    assert s.session.early and s.session.asked is None
    same(s.session.fence, CLEAN)


def check_first_time_is_careful():
    s = Sleeper()
    s.session.fencing = True
    s.session.publish("a", b"1", 1)
    s.connect(HELLO)
    s.reads("20 02 00 00")
    s.writes("32 06 0001'a' 0001 '1'" + FENCE)


def check_fence_that_goes_while_a_message_waits():
    # Its PUBACK may be what the broker waits for with the next one: ejabberd has one in flight.
    s = Sleeper().known()
    s.session.fencing = True
    s.connect(HELLO + FENCE)
    s.reads("20 02 01 00 d0 00")
    s.session.fence = 1  # the Node, while nothing waits ...
    s.reads("32 06 0001't' 0001 'x'")  # ... and before it goes out, this comes
    s.writes(FENCE)
    s.reads("d0 00")
    assert s.session.fence not in (CLEAN, 1)
    s.session.inbox.pop().ack()
    s.session.fence = 1
    s.writes("40 02 0001" + FENCE)
    s.reads("d0 00")
    same(s.session.fence, CLEAN)


def check_fence():
    s = Sleeper().known()
    s.session.fencing = True
    s.connect(HELLO + FENCE)
    s.reads("20 02 01 00 32 06 0001't' 0001 'x' d0 00")
    assert s.session.fence not in (CLEAN, 1)  # there may be more
    s.session.inbox.pop().ack()
    s.session.fence = 1
    s.writes("40 02 0001" + FENCE)
    # PUBREL is no message, but its PUBCOMP makes room for one.
    s.reads("62 02 0005 d0 00")
    assert s.session.fence not in (CLEAN, 1)
    s.session.fence = 1
    s.writes("70 02 0005" + FENCE)
    s.reads("d0 00")
    same(s.session.fence, CLEAN)
    s.reads("30 04 0001't' 'x'")  # came after all
    assert s.session.fence != CLEAN
    # Retained messages may follow a SUBACK.
    s = Sleeper().known()
    s.session.fencing = True
    s.session.request(0x82, [("f", 1)])
    s.connect(HELLO + "82 06 0001 0001'f' 01" + FENCE)
    s.reads("20 02 01 00 d0 00")
    same(s.session.fence, CLEAN)
    s.reads("90 03 0001 01")
    assert s.session.fence != CLEAN


def check_fence_while_messages_are_left_to_the_broker():
    """They are still to come: the broker's queue is not empty, though none came before PINGRESP."""
    s = Sleeper().known()
    s.session.fencing = True
    s.connect(HELLO + FENCE)
    s.reads("20 02 01 00 30 04 0001't' 'x'")
    s.session.shed = True  # as the driver, for what the application waits for
    s.reads("32 06 0001't' 0001 'y' d0 00")
    s.session.fence = 1
    s.writes(FENCE)
    s.reads("d0 00")
    assert s.session.fence not in (CLEAN, 1)


def check_done_too_late_and_another_one_like_it():
    """Under the same identifier, for a broker may take the lowest that is free: it was lost with
    its connection, and comes again. Once the first one was answered it is another."""
    late = "0b 0001't' 0001 'toggle'"
    for again in (False, True):
        s = Sleeper(burst=False).known()
        s.connect(HELLO)
        s.reads("20 02 01 00 32" + late)
        s.written()
        m = s.session.inbox.pop()
        s.session.lost()
        m.ack()
        s.session.save()
        s = s.again(burst=False)
        s.connect(HELLO)
        s.session.ping(0)
        s.writes("c000")
        s.reads("20 02 01 00 3a" + late)
        same((s.session.inbox, s.session.sure), ([], 0))
        s.writes("40 02 0001")
        if again:
            s = s.again(burst=False)
        s.session.lost()
        s.connect(HELLO)
        s.reads("20 02 01 00 3a" + late)
        same(len(s.session.inbox), 1)
        s.writes("")


def check_done_too_late_and_never_repeated():
    """A broker may have given up a message that was done with when its connection was over. That
    takes one record, not two for each PINGRESP that comes as long as this program runs."""
    s = Sleeper(burst=False).known()
    s.connect(HELLO)
    s.reads("20 02 01 00 32 06 0001't' 0005 'x'")
    s.written()
    m = s.session.inbox.pop()
    s.session.lost()
    m.ack()
    s.connect(HELLO)
    s.reads("20 02 01 00")
    s.written()
    kept = s.store.data[13]
    s.store.saved()
    for _ in range(3):
        s.reads("30 04 0001't' 'y'")
        s.written()
        s.session.ping(0)
        s.writes("c000")
        s.reads("d000")
        s.written()
    same(s.store.saved(), [])
    same(s.store.data[13], kept)


def check_fence_behind_a_long_burst():
    s = Sleeper().known()
    s.session.fencing = True
    for _ in range(4):
        s.session.publish("a", b"x" * 300, 1)
    s.session.connect(0)
    out = s.written()
    same(out[-2:], h(FENCE))
    same(out.count(h(FENCE)), 1)
    same(len(out), 15 + 4 * 308 + 2)


def check_burst_and_the_session_is_gone():
    s = Sleeper(window=3).known()
    s.session.changes[2] = b"1 f"  # as after a SUBACK
    for n in b"1234":
        s.session.publish("a", bytes((n,)), 2)
    s.session.connect(0)
    s.written()
    s.reads("20 02 01 00 50 02 0001")
    s.written()
    again = s.again(window=3)
    lost, second, third, fourth = again.session.outbox
    again.connect(HELLO + "62 02 0001 3c 06 0001'a' 0002 '2' 3c 06 0001'a' 0003 '3'")
    again.reads("20 02 00 00")
    # What went in the burst is not sent again; what did not, anew; the one whose PUBREL meant
    # nothing to the broker, and which it may have passed on: nobody can know.
    assert lost.done and isinstance(lost.error, SessionLost)
    again.writes("82 06 0005 0001'f' 01 34 06 0001'a' 0004 '4'")
    again.reads("70 02 0001 50 02 0002 50 02 0003 90 03 0005 01")
    again.writes("62 02 0002 62 02 0003")
    again.reads("50 02 0004 70 02 0002 70 02 0003")
    again.writes("62 02 0004")
    assert second.done and third.done and not fourth.done
    same([bytes(v) for key, v in again.store.data.items() if key > 255], [b"\0\4"])
    again.reads("70 02 0004")
    again.written()
    same([key for key in again.store.data if key > 255], [])


def check_burst_refused():
    s = Sleeper().known()
    s.session.publish("a", b"1", 1)
    s.connect(HELLO + "32 06 0001'a' 0001 '1'")
    raises(Refused, s.reads, "20 02 00 03")
    s.session.lost()
    s.connect(HELLO)  # carefully, from now on
    s.reads("20 02 01 00")
    s.writes("3a 06 0001'a' 0001 '1'")


def check_burst_without_answer():
    s = Sleeper().known()
    s.session.publish("a", b"1", 1)
    s.connect(HELLO + "32 06 0001'a' 0001 '1'")
    s.session.lost()
    assert s.session.doubt
    s.connect(HELLO)
    s.session.lost()
    # CONNACK came, and nothing else: it dropped what was behind CONNECT.
    s = s.again()
    s.connect(HELLO + "3a 06 0001'a' 0001 '1'")
    s.reads("20 02 01 00")
    s.session.lost()
    assert s.session.doubt
    # Nothing but CONNACK was to come.
    s = Sleeper().known()
    s.session.publish("a", b"1", 0)
    s.connect(HELLO + "30 04 0001'a' '1'")
    s.reads("20 02 01 00")
    s.session.lost()
    assert not s.session.doubt


# --- sleep.py


def hour(planned, keepalive=60, publish=False):
    """Wake for an hour as planned, or when the budget says so. Returns the wakes, PINGREQs, and
    wakes that were only for a PINGREQ."""
    from dormouse.sleep import sleep_budget

    session = Session(lambda: None, "c", keepalive=keepalive)
    session.connect(0)
    session.take(0)
    session.receive(memoryview(h("20 02 00 00")), 0)
    now = due = wakes = pings = only = last = 0
    while now < 3600 * SECOND:
        work = now >= due
        wakes += 1
        if work:
            due = now + planned
            if publish:
                session.publish("a", b"1", 1)
                session.take(now)
                last = now
                session.receive(memoryview(h("40 02") + bytes(session.outbox[0].packet[5:7])), now)
        left = sleep_budget(session, now, due - now)
        ping = False
        while True:
            data = session.take(now)
            if not data:
                break
            ping = ping or data[-2:] == h(FENCE)
            # The standard's limit, of which a broker allows half as much again [MQTT-3.1.2-23].
            assert now - last <= keepalive * SECOND, (now, last)
            last = now
        if ping:
            pings += 1
            only += not work
            session.receive(memoryview(h("d0 00")), now)
        same(session.asked, None)
        assert 0 < left <= planned, left
        now += left
    return wakes, pings, only


def check_pings_join_planned_wakes():
    try:
        from os import urandom  # MicroPython in Node has none, which a Node needs
    except ImportError:
        return
    assert urandom
    # 50 s wakes that send nothing: each must ping, for the next is too late; none is only for it.
    same(hour(50 * SECOND), (72, 71, 0))  # the first has just connected
    # ... and 20 s wakes: the first after a ping can leave it to the next, that one cannot.
    same(hour(20 * SECOND), (180, 89, 0))
    # What the wakes send and hear does as well: no pings.
    same(hour(50 * SECOND, publish=True), (72, 0, 0))
    # A plan longer than the keep-alive allows: only then there are wakes for nothing else.
    same(hour(100 * SECOND), (72, 71, 36))
    # No keep-alive: no pings.
    same(hour(50 * SECOND, keepalive=0), (72, 0, 0))


def check_filters_that_are_taken_no_more():
    """CONNACK may say what no filter is repeated by: the next boot must not believe in it."""
    from dormouse.mqtt5.session import Session5

    def boot(data):
        line = Sleeper()
        line.store = Medium({key: bytearray(value) for key, value in data.items()})
        line.session = durable(Session5)(line.kick, "c", line.store, clean=False)
        return line

    line = boot({})
    s = line.session
    s.connect(0)
    line.written()
    line.reads("20 03 00 00 00")
    s.request(0x82, [("all/#", 1)])
    line.written()
    line.reads("90 04 0001 00 01")
    line.written()
    line = boot(line.store.data)
    same(line.session.filters, {"all/#": 1})
    line.session.connect(0)
    line.written()
    line.reads("20 05 00 00 02 28 00")  # it forgot, and takes no wildcards
    line.written()
    same(boot(line.store.data).session.filters, {})


def check_refused_publish_takes_nothing_off():
    """The oldest message had to make room for one that the server does not take."""
    from dormouse.mqtt5.session import Failed, Session5

    store = Medium()
    line = Sleeper()
    s = durable(Session5)(line.kick, "c", store, full="oldest", outbox=3, clean=False)
    s.connect(0)
    while s.take(0):
        pass
    s.receive(memoryview(h("20 05 00 00 02 25 00")), 0)  # it retains nothing
    while s.take(0):
        pass
    s.lost()
    for i in range(3):
        s.publish("t", b"%d" % i, 1)
    medium = {}
    for changes in store.saved():
        medium.update(changes)
    raises(Failed, s.publish, "t", b"r", 1, True)
    for changes in store.saved():
        medium.update(changes)
    same(len([key for key in medium if key >= 0x40000 and medium[key]]), 3)


class Tight(Medium):
    """Takes no more than 20 bytes of what the application commits."""

    errors = (StoreFull,)

    def write(self, changes):
        if len(changes.get(1) or b"") > 20:
            raise self.errors[0]
        super().write(changes)


def check_state_that_does_not_fit():
    """It is told. The message is not done with, and what goes out waits for nothing."""
    for first, answer in (("32", "40 02 0001"), ("34", "50 02 0001")):
        for error in (StoreFull(20), OSError(5), MemoryError()):
            store = Tight()
            store.errors = (error,)
            line = Sleeper(store, burst=False)
            s = line.session
            line.up(present=0)
            line.reads(first + " 05 0001't' 0001")
            m = s.inbox.pop(0)
            raises(type(error), m.ack, b"x" * 21)
            same((m.done, s.committed), (False, None))
            s.publish("u", b"", 0)
            line.writes("30 03 0001'u'")  # and no answer
            s.put_back(m)
            s.inbox.pop(0).ack(b"x")
            same((m.done, s.committed, bytes(store.data[1])), (True, b"x", b"x"))
            line.writes(answer)
    # By hand, for the next message: that one has no room, and then what was committed has none.
    store = Tight()
    told = []
    line = Sleeper(store, burst=False, on_trouble=told.append)
    s = line.session
    line.up(present=0)
    s.commit(b"x" * 21)
    raises(OutboxFull, s.publish, "u", b"", 1)
    s.publish("u", b"", 0)
    line.writes("30 03 0001'u'")  # for what depends on no record goes all the same
    s.lost()
    line.up(present=0)
    same((s.committed, len(told), isinstance(told[0], StoreFull)), (None, 1, True))
    s.commit(b"x")
    s.publish("u", b"", 1)
    same(bytes(store.data[1]), b"x")


def check_state_takes_no_attribute():
    """One more may need a larger table, in one piece: in a long life there may be none."""
    line = Sleeper(Medium(), burst=False)
    line.up(present=0)
    s = line.session
    line.reads("34 05 0001't' 0001")
    m = s.inbox.pop(0)
    before = set(s.__dict__)
    m.ack(b"x")
    same((set(s.__dict__) - before, bytes(s.store.data[1])), (set(), b"x"))


class Many(dict):
    """Topic filters for whose copy there is no memory."""

    def keys(self):
        raise MemoryError

    __iter__ = items = keys


def check_filters_are_not_copied():
    """Many are some hundred bytes in one piece: at each connection, in a long life."""
    line = Sleeper(Medium(), burst=False)
    line.up(present=0)
    s = line.session
    for name in ("a", "b"):
        o = s.request(0x82, [(name, 1)])
        line.written()
        line.reads("90 03 %04x 01" % o.pid)
        line.written()
    same(sorted(bytes(s.store.data[2]).split(b"\0")), [b"1 a", b"1 b"])
    s.filters = Many(s.filters)
    for _ in range(2):
        s.lost()
        line.up(present=1)
        line.written()
    same((s.state, 2 in s.changes), (2, False))


def check_given_up_is_not_subscribed():
    """A SUBSCRIBE that repeats was given up: in the next life nobody takes its filter for one that
    the broker has."""
    line = Sleeper(burst=False, timeout=1000).known()
    s = line.session
    s.filters["a"] = 1
    s.changes[2] = b"1 a"
    s.save()
    for now in range(0, 60000, 5000):
        line.up(present=int(now > 0), now=now)
        line.written(now)
        line.reads("d0 00", now)
        line.written(now + 1000)
        line.reads("d0 00", now + 1000)
        line.written(now + 1000)
        s.lost(ConnectionLost("closed"))
        if s.denied:
            break
    same((s.denied, s.filters), ({"a": 1}, {}))
    s.save()
    same(line.again().session.filters, {})


def check_done_with_too_late():
    """A command at QoS 1 that takes longer than its connection, or its wake, does not come again in
    each one, with all else behind it."""
    s = Sleeper().known()
    s.session.fencing = True
    s.connect(HELLO + FENCE)
    s.reads("20 02 01 00 32 06 0001't' 0007 'x' 32 06 0001't' 0008 'y'")
    m = s.session.inbox.pop(0)
    s.session.lost()
    m.ack()
    s.session.save()
    same(len(s.store.data[13]), 4)
    s = s.again()
    s.session.fencing = True
    s.connect(HELLO + FENCE)
    s.reads("20 02 01 00 3a 06 0001't' 0007 'x' 3a 06 0001't' 0008 'y' d0 00")
    s.writes("40 02 0007")
    same([m.payload for m in s.session.inbox], [b"y"])
    s.session.inbox.pop().ack()
    s.writes("40 02 0008")
    s.session.save()
    assert 13 not in s.store.data
    # Another one under its identifier is delivered; and no more are kept than of those at QoS 2.
    s.session.lost()
    for n in range(30):
        s.session.held.append(late(n + 1))
    s.session.look = 15
    s.session.save()
    same(len(s.store.data[13]), 80)
    s = s.again()
    s.connect(HELLO)
    s.reads("20 02 01 00 3a 06 0001't' 001e 'z' 3a 06 0001't' 001d 'x' 3c 06 0001't' 001c 'x'")
    same([(m.payload, m.qos) for m in s.session.inbox], [(b"z", 1), (b"x", 2)])


def late(pid):
    m = Message()
    m.topic = "t"
    m.payload = b"x"
    m.qos = 1
    m.pid = pid
    m.done = True
    m.fresh = False
    return m


# --- where a fault of one line was seen by no other check


def counted(s):
    return s.bulk, s.used, s.flying, s.asking, s.suspects, dict(s.pids), s.outbox[:]


def check_put_back_is_counted_as_before():
    s = Sleeper(full="oldest", outbox=6).known()
    line = s.session
    line.publish("a", b"1", 1)
    s.connect(HELLO + "32 06 0001'a' 0001 '1'")
    line.publish("a", b"22", 2)
    line.publish("a", b"333", 0)
    line.request(0x82, [("f", 1)])
    line.publish("a", b"4444", 1)
    line.outbox[-1].tries = 2
    line.suspects = 1
    before = counted(line)
    same(before[1:5], (5, 1, 1, 1))
    s.store.room = 0
    for _ in range(2):
        raises(OutboxFull, line.publish, "a", b"5", 1)
        same(counted(line), before)
        same(line.full, "oldest")
    s.store.room = 9
    line.save()
    same(len([key for key in s.store.data if key >= 0x40000]), 3)


def check_what_makes_room():
    # What was set aside has held up enough, also if it was sent before. A SUBSCRIBE stays, and
    # what is at PUBREL.
    s = Sleeper(full="oldest", outbox=4).known()
    line = s.session
    rel = line.publish("rel", b"", 2)
    bad = line.publish("bad", b"", 1)
    line.connect(0)
    s.written()
    s.reads("20 02 01 00 50 02 0001")
    s.written()
    line.lost()
    bad.tries = 2
    line.suspects = 1
    ask = line.request(0x82, [("f", 1)])
    line.outbox.remove(ask)
    line.outbox.insert(0, ask)
    for n in range(4):
        line.publish("t", b"%d" % n, 1)
    same((bad.done, type(bad.error), line.suspects), (True, OutboxFull, 0))
    same((ask in line.outbox, rel in line.outbox, ask.done, rel.done), (True, True, False, False))


def check_set_aside_in_the_store():
    s = Sleeper().known()
    line = s.session
    every = [line.publish("a", b"%d" % i, 2) for i in range(3)]
    line.connect(0)
    s.written()
    s.reads("20 02 01 00 50 02 0002")
    s.written()
    line.lost()
    for i in range(3):
        every[i].tries = 2 + i
    line.suspects = 3
    line.wary = 5
    line.look = 15
    line.save()
    other = s.again()
    same(sorted((o.pid, o.tries) for o in other.session.outbox), [(1, 2), (2, 3), (3, 4)])
    same((other.session.suspects, other.session.wary), (3, 5))
    other.connect(HELLO)  # nothing goes early
    # What is answered is set aside no more, on the medium neither.
    other.reads("20 02 01 00")
    other.writes("c000")
    other.reads("d000")
    same(other.written()[:1], b"\x3c")
    other.reads("50 02 0001")
    other.written()
    same(sorted((o.pid, o.tries) for o in other.again().session.outbox), [(1, 0), (2, 3), (3, 4)])


def check_pubrels_of_several_lives():
    s = Sleeper().known()
    for name in "abc":
        s.session.publish(name, b"", 2)
    for pid in (2, 1, 3):  # one in each life
        s.session.connect(0)
        s.written()
        s.reads("20 02 01 00")
        s.written()
        s.reads("50 02 000%d" % pid)
        s.written()
        s = s.again()
    s.connect(HELLO + "62 02 0002 62 02 0001 62 02 0003")
    s.reads("20 02 01 00 70 02 0002 70 02 0001 70 02 0003")
    s.writes("")
    same([key for key in s.store.data if key >= 0x20000], [])


def check_doubt_outlasts_a_life():
    # A CONNACK was owed, so the PUBCOMP of what was at PUBREL says nothing: also after a restart.
    s = Sleeper(burst=False).known()
    s.session.publish("a", b"", 2)
    sure = s.session.publish("b", b"", 2)
    s.session.connect(0)
    s.written()
    s.reads("20 02 01 00")
    s.written()
    s.reads("50 02 0001")
    s.written()
    s.session.lost()
    s.session.connect(0)
    s.written()
    s.session.lost()
    s.session.connect(0)
    s.written()
    s.reads("20 02 01 00")
    s.written()
    s.reads("50 02 0002")
    s.written()
    same((sure.error, sure.expect), (None, 7))
    s = s.again(burst=False)
    first, second = s.session.outbox
    same((first.pid, type(first.error), second.error), (1, SessionLost, None))


def check_counted_after_a_restart():
    s = Sleeper().known()
    for qos in (1, 2, 2):
        s.session.publish("abc", b"1234", qos)
    s.session.connect(0)
    s.written()
    s.reads("20 02 01 00 50 02 0003")
    s.written()
    again = s.again()
    same((again.session.bulk, again.session.used), (s.session.bulk, 2))
    told = []
    again.session.on_trouble = told.append
    again.session.connect(0)
    again.written()
    again.reads("20 02 01 00 40 02 0001 50 02 0002")
    again.written()
    again.reads("70 02 0002 70 02 0003")
    same((told, again.session.outbox, again.session.bulk, again.session.used), ([], [], 0, 0))


def check_identifiers_wrap_in_the_store():
    data = {}
    for count in (65535, 65536):
        data[0x40000 + count] = bytearray(h("32 05 0001'a' 0000"))
    same([o.pid for o in Sleeper(Medium(data)).session.outbox], [65535, 1])


def check_ended_in_the_store():
    s = Sleeper().known()
    s.session.connect(0)
    s.written()
    s.reads("20 02 01 00")
    for pid in (1, 2, 3):
        s.reads("34 06 0001't' 000%d 'x'" % pid)
        s.session.inbox.pop(0).ack()
        s.written()
        s.reads("62 02 000%d" % pid)
        s.written()
    same([key for key in s.store.data if 0x10000 <= key < 0x20000], [])
    same(len(s.session.ended), 3)
    same(s.again().session.ended, s.session.ended)


def check_acknowledged_at_qos_1_is_not_stored():
    s = Sleeper().known()
    s.session.connect(0)
    s.written()
    s.reads("20 02 01 00 32 05 0001'a' 0001 32 05 0001'b' 0002")
    s.session.inbox[1].ack()  # its turn is not there yet
    s.session.save()
    same([key for key in s.store.data if key >= 0x10000], [])


class Failing(Medium):
    fails = False

    def write(self, changes):
        if self.fails:
            raise OSError(28)
        super().write(changes)


def check_committed_and_taken_back():
    s = Sleeper(Failing()).known()
    s.session.connect(0)
    s.written()
    # (At QoS 0 too: it is kept with whatever message came.)
    s.reads("20 02 01 00 30 03 0001'a' 30 03 0001'b' 30 03 0001'c'")
    a, b, c = s.session.inbox
    a.ack(b"one")
    same(bytes(s.store.data[1]), b"one")
    s.store.fails = True
    raises(OSError, b.ack, b"two")
    s.store.fails = False
    c.ack(b"one")
    s.session.look = 15
    s.session.save()
    same((bytes(s.store.data[1]), s.session.committed), (b"one", b"one"))


def check_nothing_is_left_of_an_earlier_connection():
    # What was taken ahead for the fence, and never given out.
    s = Sleeper().known()
    line = s.session
    line.fencing = True
    for _ in range(3):
        line.publish("a", b"x" * 400, 1)
    line.connect(0)
    while not line.ready:
        assert line.take(0)
    line.lost()
    line.connect(0)
    same(bytes(line.take(0))[:1], b"\x10")


def check_what_is_uncertain_goes_not_early():
    for what in ("owed", "set aside"):
        s = Sleeper().known()
        o = s.session.publish("a", b"", 1)
        if what == "owed":
            s.session.owed = True
        else:
            o.tries = 2
            s.session.suspects = 1
        s.connect(HELLO)


def check_fence_waits_for_a_pingresp():
    # That of a PINGREQ before it must not be taken for its own; and nothing else is.
    s = Sleeper().known()
    line = s.session
    line.fencing = True
    s.connect(HELLO + FENCE)
    s.reads("20 02 01 00 d000")
    same(line.fence, CLEAN)
    line.fence = 0
    line.ping(0)
    s.writes(FENCE)
    line.fence = 1
    s.writes("")
    s.reads("d000")
    same(line.fence, 1)
    s.writes(FENCE)
    same(line.fence, 2)
    s.reads("b0 02 0009")
    same(line.fence, 2)
    s.reads("d000")
    same(line.fence, CLEAN)
    line.fence = 0
    line.ping(0)
    s.writes(FENCE)
    s.reads("d000")
    same(line.fence, 0)


def check_doubt_is_noted_where_something_could_be_lost():
    # That a CONNACK is owed: where anything was agreed with the broker, and only there.
    for what in ("nothing", "filters", "released", "held", "PUBREL"):
        s = Sleeper(burst=False).known()
        line = s.session
        if what == "filters":
            line.filters["a"] = 1
        elif what != "nothing":
            line.connect(0)
            s.written()
            s.reads("20 02 01 00")
            if what == "PUBREL":
                line.publish("t", b"", 2)
                s.written()
                s.reads("50 02 0001")
            else:
                s.reads("34 05 0001't' 0001")
                if what == "released":
                    line.inbox.pop().ack()
            s.written()
            line.lost()
        line.connect(0)
        s.written()
        line.save()
        same(14 in s.store.data, what != "nothing")
        # One that could not be written changes nothing of that.
        line.lost()
        line.connect(0)
        line.owed = False
        line.lost()
        line.save()
        same((14 in s.store.data, line.unsure), (what != "nothing", True))


def check_what_answers_a_burst():
    # What came with CONNECT was taken if it is answered: CONNACK alone says it of nothing.
    for fencing in (False, True):
        for answer in ("", "40 02 0001", "d000"):
            s = Sleeper().known()
            line = s.session
            line.fencing = fencing
            if not fencing or answer[:2] == "40":
                line.publish("a", b"", 1)
            line.connect(0)
            s.written()
            s.reads("20 02 01 00" + answer)
            line.lost()
            same((fencing, answer, line.doubt), (fencing, answer, not answer))


def check_overtaken_by_a_pingresp():
    # A message that was sent before, and never came, was behind the PINGRESP of the last fence.
    for text, overtaken in (
        ("32 05 0001't' 0002", False),
        ("3a 05 0001't' 0002", True),
        ("3c 05 0001't' 0001", False),  # which is with the application
    ):
        s = Sleeper().known()
        line = s.session
        line.connect(0)
        s.written()
        s.reads("20 02 01 00 34 05 0001't' 0001")
        line.inbox.pop()
        line.lost()
        line.connect(0)
        s.written()
        s.reads("20 02 01 00" + text)
        same((text, line.overtaken), (text, overtaken))


def check_number_of_the_last_one_that_was_sent():
    # It does not go back when an older one is repeated: the newer one may be at the broker.
    s = Sleeper(window=2, burst=False).known()
    line = s.session
    line.publish("a", b"", 1)
    line.publish("b", b"", 1)
    line.connect(0)
    s.written()
    s.reads("20 02 01 00")
    s.written()
    line.lost()
    line.window = 1
    line.connect(0)
    s.written()
    s.reads("20 02 01 00")
    s.writes("3a 05 0001'a' 0001")
    same([o.sent for o in s.again().session.outbox], [-1, -1])


CHECKS = sorted(name for name in globals() if name.startswith("check_"))

if __name__ == "__main__":
    core_checks.run(globals(), CHECKS)

"""Checks of large/ without a network, on every runtime: messages that are larger than RAM.

See core_checks.py, whose way this is. Files are of the size that is said, with bytes that tell
their place.
"""

import os
from io import BytesIO

import core_checks
from core_checks import Line, h, raises, same
from dormouse.expiry import Expired, expiring
from dormouse.large.sending import sending
from dormouse.large.source import Source, SourceError
from dormouse.mqtt5.session import Failed, Session5
from dormouse.packet import ConnectionLost
from dormouse.session import OutboxFull, Session
from dormouse.store.durable import durable
from dormouse.trouble import Undeliverable
from durable_checks import FENCE, Medium

CLOSED = ConnectionLost("closed")
NAME = "large_checks.bin"  # of a file, in the current folder


def content(n):
    """Return n bytes, no two pieces of which are the same."""
    out = bytearray()
    while len(out) < n:
        out += b"%07d " % len(out)
    return bytes(out[:n])


class Memory:
    """A file in RAM for who has none: it counts who opens and closes it."""

    def __init__(self, data):
        self.data = data
        self.opened = self.closed = 0
        self.at = 0

    def __call__(self):
        self.opened += 1
        self.at = 0
        return self

    def readinto(self, buf):
        n = min(len(buf), len(self.data) - self.at)
        buf[:n] = self.data[self.at : self.at + n]
        self.at += n
        return n

    def close(self):
        self.closed += 1


class Zeros:
    """A source without end."""

    def readinto(self, buf):
        return len(buf)


class Large(Line):
    """A session that sends large messages, by its kind and the arguments of that."""

    def __init__(self, kind=Session, **options):
        self.kicks = 0
        options.setdefault("client_id", "c")
        options.setdefault("clean", False)
        self.session = sending(kind)(self.kick, **options)

    def piece(self, now=0):
        return bytes(self.session.take(now) or b"")

    def again(self, error=None, present=1, now=0):
        """The connection is lost, and there is another one."""
        self.session.lost(error)
        self.session.connect(now)
        same(self.written(now)[:1], b"\x10")
        self.reads("20 02 0%d 00" % present, now)
        return self


def expect(first, body, payload):
    """Return the PUBLISH that must go out; its remaining length takes three bytes."""
    n = len(body) + len(payload)
    assert n > 16383
    return bytes((first, n & 127 | 128, n >> 7 & 127 | 128, n >> 14)) + body + payload


def whole(got, expected):
    """As ``same``, for what is too long to be shown."""
    if got != expected:
        n = min(len(got), len(expected))
        i = 0
        while i < n and got[i] == expected[i]:
            i += 1
        raise AssertionError(
            "%d bytes, not %d; at %d: %r, not %r"
            % (len(got), len(expected), i, got[i : i + 20], expected[i : i + 20])
        )


# --- sources


def check_sources():
    # From where it stands; a path, a function; what cannot seek, once.
    stream = BytesIO(content(100))
    stream.seek(10)
    source = Source(stream)
    same((source.size, source.again), (90, True))
    for _ in range(2):
        data = bytearray(4)
        opened, shut = source.open()
        opened.readinto(data)
        same((bytes(data), shut), (content(14)[10:], None))
    same(Source(stream, 5).size, 5)
    memory = Memory(b"abc")
    same((Source(lambda: memory, 3).again, Source(memory, 3).again), (True, False))
    raises(ValueError, Source, memory)
    raises(ValueError, Source, lambda: memory)
    raises(ValueError, Source, memory, -1)
    raises(ValueError, Source, memory, 1 << 28)
    raises(ValueError, Source, memory, (1 << 28) - 5)  # topic and identifier are in it, too
    raises(ValueError, Source, memory, 1.5)
    # To ask for its size does not move it: two may be made of it.
    stream.seek(10)
    same((Source(stream).size, Source(stream).start, stream.seek(0, 1)), (90, 10, 10))
    raises(TypeError, Source, 5)
    raises(OSError, Source, "there is no such file")


# --- out


def check_pieces():
    # One after the other, and nothing between them; whole at the end.
    for qos, head in ((0, h("0001't'")), (1, h("0001't' 0001")), (2, h("0001't' 0001"))):
        line = Large().up()
        s = line.session
        memory = Memory(content(20000))
        o = s.publish("t", Source(memory.__call__ if qos else memory, 20000), qos, True)
        assert s.bulk < 40, s.bulk  # what it takes in RAM
        if qos:
            same(memory.opened, 0)
        small = s.publish("u", b"x", 1)
        s.reader.send(memoryview(h("32 06 0001'i' 0009 'm'")))
        out = b""
        pieces = 0
        while len(out) < 20000 + len(head) + 4:
            assert not o.done
            if pieces == 3:
                s.inbox.pop().ack()  # its PUBACK has to wait
                s.ping(0)
            piece = line.piece()
            assert 0 < len(piece) <= 1024, len(piece)
            out += piece
            pieces += 1
        whole(out, expect(0x31 | qos << 1, head, content(20000)))
        pid = bytes((0, 2 if qos else 1))
        same(line.written(), h("40 02 0009 c000 32 06 0001'u'") + pid + b"x")
        same((o.done, o.error), (not qos, None))
        same((memory.opened, memory.closed), (int(qos > 0), int(qos > 0)))
        if qos == 1:
            line.reads("40 02 0001")
        elif qos:
            line.reads("50 02 0001")
            line.writes("62 02 0001")
            line.reads("70 02 0001")
        same((o.done, o.error, s.outbox), (True, None, [small]))


def check_answered_in_the_middle():
    # By a broker that does not wait for the end. Its PUBREL is not sent by that end.
    for answer in ("50 02 0001", "70 02 0001"):
        line = Large().up()
        s = line.session
        o = s.publish("t", BytesIO(content(20000)), 2)
        line.piece()
        line.reads("50 02 0001")
        while s.way.flow:
            line.piece()
        line.reads(answer)
        same((s.flying, o.done), (0, answer[0] == "7"))
        small = [s.publish("u", b"", 1), s.publish("v", b"", 1)]
        if not o.done:
            line.writes("62 02 0001 32 05 0001'u' 0002 32 05 0001'v' 0003")
        else:
            line.writes("32 05 0001'u' 0002 32 05 0001'v' 0003")
        same((s.flying, s.outbox[-2:]), (3 - o.done, small))


def check_what_stands_before_goes_alone():
    line = Large().up()
    s = line.session
    memory = Memory(content(20000))
    s.publish("u", b"x", 1)
    s.publish("t", Source(memory, 20000), 0)
    s.publish("v", b"y", 0)
    same(line.piece(), h("32 06 0001'u' 0001 'x'"))
    out = b""
    while len(out) < 20007:
        out += line.piece()
    whole(out, expect(0x30, h("0001't'"), content(20000)))
    line.writes("30 04 0001'v' 'y'")


def check_small_one():
    # Less than a piece: it goes with others, as any.
    line = Large().up()
    s = line.session
    o = s.publish("t", BytesIO(b"abc"), 1)
    s.publish("e", Source(Memory(b""), 0))
    s.publish("u", b"x", 0)
    same(line.piece(), h("32 08 0001't' 0001 'abc' 30 03 0001'e' 30 04 0001'u' 'x'"))
    line.reads("40 02 0001")
    assert o.done and not o.error
    memory = Memory(content(900))
    o = s.publish("t", Source(memory.__call__, 900))
    s.publish("u", b"x", 0)
    whole(line.piece(), h("30 87 07 0001't'") + content(900))
    same((o.done, o.error, memory.closed), (True, None, 1))
    line.writes("30 04 0001'u' 'x'")


def check_two_of_them():
    line = Large().up()
    a = line.session.publish("a", BytesIO(content(20000)), 1)
    b = line.session.publish("b", BytesIO(content(17000)), 1)
    out = line.written()
    whole(
        out,
        expect(0x32, h("0001'a' 0001"), content(20000))
        + expect(0x32, h("0001'b' 0002"), content(17000)),
    )
    line.reads("40 02 0001 40 02 0002")
    assert a.done and b.done


def check_long_topic():
    # Longer than a piece: its head goes as one.
    for n in (100, 1500):
        line = Large().up()
        topic = "t" * n
        o = line.session.publish(topic, BytesIO(content(20000)), 1)
        head = n.to_bytes(2, "big") + topic.encode() + h("0001")
        whole(line.written(), expect(0x32, head, content(20000)))
        line.reads("40 02 0001")
        assert o.done


def check_cut_and_again():
    # From the first byte, with DUP, as often as it takes; a QoS 0 one says that it did not arrive.
    line = Large().up()
    s = line.session
    memory = Memory(content(20000))
    o = s.publish("t", Source(memory.__call__, 20000), 2)
    for n in range(3):
        line.piece()
        line.piece()
        line.again()
        same((memory.opened, memory.closed, o.done), (n + 1, n + 1, False))
    whole(line.written(), expect(0x3C, h("0001't' 0001"), content(20000)))
    # All is out, but not acknowledged.
    line.again(present=0)
    whole(line.written(), expect(0x34, h("0001't' 0001"), content(20000)))
    line.reads("50 02 0001")
    line.again()
    line.writes("62 02 0001")
    line.reads("70 02 0001")
    same((o.done, o.error, s.outbox, s.bulk), (True, None, [], 0))
    same((memory.opened, memory.closed), (5, 5))
    o = s.publish("t", Source(memory.__call__, 20000))
    line.piece()
    s.lost()
    assert o.done and isinstance(o.error, ConnectionLost)
    same((memory.closed, s.outbox), (6, []))


def check_what_can_be_read_once():
    line = Large().up()
    memory = Memory(content(99))
    for qos in (1, 2):
        e = raises(ValueError, line.session.publish, "t", Source(memory, 99), qos)
        assert "only once" in str(e), e
    same(line.session.outbox, [])


def check_source_that_is_gone():
    # It ends its message and nothing else, at its first byte.
    line = Large().up()
    s = line.session
    good = s.publish("good", b"", 1)

    def missing():
        raise OSError(2)

    for qos in (0, 1, 2):
        bad = s.publish("bad", Source(missing, 99999), qos)
        line.written()
        assert bad.done and isinstance(bad.error, SourceError), bad.error
        same((bad.error.args[0], bad.error.args[1].args), (missing, (2,)))
    line.reads("40 02 0001")
    same((good.done, good.error, s.outbox, s.way.flow), (True, None, [], None))


class Worn(Memory):
    """A file on a medium of which some reads fail, from a byte on."""

    def __init__(self, data, faults, first):
        super().__init__(data)
        self.faults = faults
        self.first = first

    def readinto(self, buf):
        if self.faults and self.at >= self.first:
            self.faults -= 1
            raise OSError(5, "fault")
        return super().readinto(buf)


def check_source_that_fails_for_a_while():
    # A read error that passes, at the first byte and in the middle, costs no message; one that
    # stays ends it at the third time, and that is counted.
    for qos in (1, 2):
        for first in (0, 1500):
            for faults in (2, 3):
                line = Large().up()
                s = line.session
                memory = Worn(content(20000), faults, first)
                o = s.publish("t", Source(memory.__call__, 20000), qos)
                for n in range(faults):
                    if n < 2 or first:
                        same(raises(ConnectionLost, line.written).again, True)
                    else:
                        line.written()
                    line.again()
                same(memory.opened, memory.closed)
                if faults == 2:
                    same(len(line.written()) > 20000, True)
                    line.reads("40 02 0001" if qos == 1 else "50 02 0001")
                    same((s.troubles, o.tries), (0, 0))
                else:
                    assert isinstance(o.error, SourceError)
                    same((o.done, s.troubles, s.outbox), (True, 1, []))
                    assert s.trouble is o.error


def check_source_that_does_not_close():
    # Its bytes were read: what it raises then is nobody's.
    def missing():
        raise OSError(5)

    for qos in (0, 1, 2):
        for n in (9, 20000):
            for size in (n, n + 1):
                line = Large().up()
                s = line.session
                memory = Memory(content(n))
                memory.close = missing
                o = s.publish("t", Source(memory.__call__, size), qos)
                if size == n:
                    s.publish("u", b"x")
                    same(line.written()[-6:], h("30 04 0001'u' 'x'"))
                    same((o.done, s.way.flow, s.way.stream), (not qos, None, None))
                    line.again()
                else:
                    raises(ConnectionLost, line.written) if n > 999 or qos > 9 else line.written()
                    assert isinstance(o.error, SourceError)


class Short(Memory):
    """A source for which there is no memory some times, from a byte on."""

    def __init__(self, data, times, first):
        super().__init__(data)
        self.times = times
        self.first = first

    def readinto(self, buf):
        if self.times and self.at >= self.first:
            self.times -= 1
            raise MemoryError
        return super().readinto(buf)


def check_no_memory_passes():
    for qos in (0, 1, 2):
        for first in (0, 1500):
            line = Large().up()
            s = line.session
            o = s.publish("t", Source(Short(content(20000), 1, first).__call__, 20000), qos)
            raises(MemoryError, line.written)
            line.again()
            if first and not qos:  # it had begun
                assert isinstance(o.error, ConnectionLost)
                continue
            assert len(line.written()) > 20000
            if qos:
                line.reads("40 02 0001" if qos == 1 else "50 02 0001")
            same((o.error, s.troubles, s.suspects), (None, 0, 0))


def check_no_memory_stays():
    # All else goes before it then, and in the end it is given up.
    for qos in (0, 1, 2):
        for first in (0, 1500):
            line = Large(timeout=1).up()
            s = line.session
            o = s.publish("t", Source(Short(content(20000), 99, first).__call__, 20000), qos)
            small = s.publish("u", b"x", 1)
            n = 0
            while not (o.done and small.done):
                try:
                    piece = line.piece(9)
                    assert piece, "it waits"
                    if piece[-2:] == h(FENCE):
                        line.reads("d000", 9)
                    elif piece[-4:-3] == b"u":
                        line.reads("40 02 %04x" % small.pid, 9)
                except MemoryError:
                    n += 1
                    line.again()
            assert n == (7 if qos else 1 if first else 3), n
            assert isinstance(o.error, Undeliverable if qos else (SourceError, ConnectionLost))
            same((s.suspects, s.outbox, s.bulk, small.error), (0, [], 0, None))


def check_slow_network():
    # What it took at once is on its way for long, and that is no silence; but not for ever.
    for dead in (False, True):
        line = Large(timeout=10000, keepalive=0).up()
        s = line.session
        o = s.publish("t", Source(Zeros, 200000), 1)
        while line.piece():
            pass
        now = 10000
        s.tick(now)  # its acknowledgement is overdue
        line.writes("c000", now)
        if not dead:
            for _ in range(25):
                now += 10000
                s.tick(now)
            line.reads("d000 40 02 0001", now)
            assert o.done and not o.error
            same(s.bulk, 0)
            now += 10000
            s.ping(now)
        now += 10000 + dead * 256000
        raises(ConnectionLost, s.tick, now)


def check_slow_network_was_another_connection():
    """What went on an earlier one excuses no silence on this one."""
    line = Large(timeout=10000, keepalive=0).up()
    s = line.session
    o = s.publish("t", Source(Zeros, 200000), 1)
    while line.piece(1000):
        pass
    s.lost()
    s.connect(2000)
    line.written(2000)
    s.tick(11999)
    raises(ConnectionLost, s.tick, 12000)
    assert not o.done


def check_source_that_is_gone_when_it_is_set_aside():
    # Its message goes alone, in another way (``trouble.attempt``).
    line = Large(timeout=1).up()
    s = line.session
    memory = Memory(content(20000))
    there = [True]

    def source():
        if not there:
            raise OSError(2)
        return memory()

    bad = s.publish("t", Source(source, 20000), 1)
    for _ in range(3):
        line.piece()
        line.again(CLOSED)
    there.pop()
    same(line.piece(9), h(FENCE))
    line.reads("d000", 9)
    same(line.written(9), b"")
    assert isinstance(bad.error, SourceError)
    s.publish("u", b"", 1)
    line.writes("32 05 0001'u' 0002", 9)


def check_source_that_ends_early():
    # In the middle only the connection's end helps, and that is no evidence against anybody.
    for qos in (0, 1):
        line = Large().up()
        s = line.session
        bad = s.publish("bad", Source(Memory(content(3000)).__call__, 20000), qos)
        good = s.publish("good", b"", 1)
        for _ in range(2):
            line.piece()
        e = raises(ConnectionLost, line.piece)
        assert e.again
        assert bad.done and isinstance(bad.error, SourceError)
        s.lost()
        line.up(1)
        same(line.written(), h("32 08 0004'good'") + bytes((0, qos + 1)))
        line.reads("40 02 000%d" % (qos + 1))
        assert good.done


def check_cuts_are_no_evidence_while_it_gets_on():
    line = Large(timeout=1).up()
    s = line.session
    o = s.publish("t", BytesIO(content(30000)), 1)
    for n in range(20):  # further each time
        for _ in range(n + 1):
            line.piece()
        line.again(CLOSED)
    same(o.tries, 0)
    for n in range(5):  # never further than that
        assert not o.done
        if n > 1:  # set aside: only behind a PINGRESP
            same(line.piece(9), h(FENCE))
            line.reads("d000", 9)
        same(len(line.piece(9)), 1024)
        if n == 2:
            same(len(line.piece(9)), 1024)  # and no less of it than at other times
            same(len(s.outbox), 1)
        line.again(CLOSED)
    assert isinstance(o.error, Undeliverable), o.error
    same((o.error.args, s.outbox, s.suspects), ((CLOSED, "t"), [], 0))


def check_keep_alive():
    # Each piece that is taken counts as sent; one that is not, for as long as a ping has: the end.
    line = Large(keepalive=60, timeout=10000).up()
    s = line.session
    s.publish("t", Source(Zeros, 200000), 1)
    now = 0
    for _ in range(100):
        now += 9000
        line.piece(now)
        assert 0 < s.tick(now) <= 10000
    line.reads("d000", now)
    assert s.way.flow
    now += 52500 + 9999
    same(s.tick(now), 1)
    raises(ConnectionLost, s.tick, now + 1)
    # Its acknowledgement is due from its last piece on.
    line = Large(keepalive=0, timeout=10000).up()
    s = line.session
    o = s.publish("t", BytesIO(content(20000)), 1)
    line.piece()
    line.written(50000)
    same((o.sent, s.tick(50000)), (50000, 10000))


def check_cancelled():
    # Not sent: withdrawn. On its way: to the end, and then on no other connection.
    line = Large(clean=True).up()
    s = line.session
    o = s.publish("t", BytesIO(content(20000)), 1)
    s.withdraw(o)
    same((line.written(), s.outbox), (b"", []))
    for sent in (False, True):
        o = s.publish("t", BytesIO(content(20000)), 1)
        out = line.piece()
        s.withdraw(o, sent)
        same(s.outbox, [] if sent else [o])
        out += line.written()
        same(len(out), 20009)
        line.up()
        same((line.written(), s.outbox), (b"", []))


def check_room():
    # What waits at QoS 0 makes room, but for what is on its way; a small outbox holds it.
    line = Large(outbox=2, outbox_bytes=100).up()
    s = line.session
    on = s.publish("a", Source(Memory(content(20000)), 20000))
    line.piece()
    off = s.publish("b", Source(Memory(content(20000)), 20000))
    s.publish("c", b"", 1)
    s.publish("c", b"", 1)
    assert isinstance(off.error, OutboxFull)
    line.written()
    assert on.done and not on.error


def check_expiry():
    clock = [1000]
    line = Large(expiring(), clock=lambda: clock[0]).up()
    s = line.session
    late = s.publish("t", BytesIO(content(20000)), 1, message_expiry=5)
    clock[0] += 6
    same(line.written(), b"")
    assert isinstance(late.error, Expired)
    o = s.publish("t", BytesIO(content(20000)), 1, message_expiry=5)
    whole(line.written(), expect(0x32, h("0001't' 0002"), content(20000)))
    line.reads("40 02 0002")
    assert o.done


# --- where a fault of one line was seen by no other check


def any_length(first, body, payload):
    """As ``expect``, of any length."""
    n = len(body) + len(payload)
    head = bytearray((first,))
    while n > 127:
        head.append(n & 127 | 128)
        n >>= 7
    head.append(n)
    return bytes(head) + body + payload


def check_all_lengths():
    # Of its packet, and of what stands for it in the outbox.
    line = Large().up()
    s = line.session
    for sizes in (range(117, 127), range(16377, 16384)):
        for n in sizes:
            s.publish("t", BytesIO(content(n)))
            whole(line.written(), any_length(0x30, h("0001't'"), content(n)))
    for n in range(110, 130):
        o = s.publish("t" * n, BytesIO(b"abc"))
        same(line.written(), any_length(0x30, bytes((0, n)) + b"t" * n, b"abc"))
        assert o.done


def check_small_ones_at_qos_0():
    line = Large().up()
    s = line.session
    every = [s.publish("t", BytesIO(content(n)), 0) for n in (20, 30, 40)]
    same(len(line.piece()), 90 + 3 * 5)
    same([(o.done, o.error) for o in every], [(True, None)] * 3)
    same((s.outbox, s.bulk, s.used), ([], 0, 0))


def check_keeps_alive_when_it_has_nothing_to_send():
    line = Large(keepalive=60).up()
    s = line.session
    same(s.tick(2500), 50000)
    s.tick(52500)
    line.writes("c000")
    raises(ConnectionLost, s.tick, 62500)


def check_source_that_fails_behind_others():
    line = Large().up()
    s = line.session
    memory = Memory(b"abc")
    good = s.publish("u", b"x", 1)
    bad = s.publish("t", Source(memory.__call__, 99))  # it ends early, at once
    more = s.publish("v", b"y", 0)
    line.writes("32 06 0001'u' 0001 'x' 30 04 0001'v' 'y'")
    same((good.done, more.done, type(bad.error)), (False, True, SourceError))
    same((memory.opened, memory.closed), (1, 1))
    # At QoS 0 no other connection is made for it.
    worn = Worn(content(2000), 1, 0)
    bad = s.publish("t", Source(worn.__call__, 2000))
    line.writes("")
    same((bad.done, type(bad.error), worn.closed), (True, SourceError, 1))


def check_source_that_fails_when_it_was_answered():
    # A broker may answer before the end.
    line = Large().up()
    s = line.session
    o = s.publish("t", Source(Memory(content(3000)).__call__, 20000), 1)
    line.piece()
    line.reads("40 02 0001")
    assert o.done
    line.piece()
    assert raises(ConnectionLost, line.piece).again
    same((o.done, o.error, s.outbox), (True, None, []))


def check_nothing_between_while_something_is_set_aside():
    line = Large(timeout=1000).up()
    s = line.session
    s.publish("bad", b"", 1)
    for _ in range(2):
        line.written()
        line.again(CLOSED)
    s.publish("q", b"x", 2)
    s.publish("t", BytesIO(content(20000)), 1)
    s.publish("u", b"y")
    out = line.written()
    whole(
        out,
        h("34 06 0001'q' 0002 'x'")
        + expect(0x32, h("0001't' 0003"), content(20000))
        + h("30 04 0001'u' 'y'"),
    )


# --- MQTT 5


class Large5(Large):
    """The same with MQTT 5; ``properties``: those of CONNACK."""

    def __init__(self, properties="", **options):
        self.properties = properties
        super().__init__(Session5, **options)

    def reads(self, text, now=0):
        if text[:5] == "20 02":
            n = len(h(self.properties))
            text = "20 %02x %s %02x %s" % (n + 3, text[5:], n, self.properties)
        super().reads(text, now)


def check_five():
    # Properties, what is left of its time, an alias for the topic: as any other message.
    clock = [1000]
    line = Large5("22 0003", clock=lambda: clock[0]).up()
    s = line.session
    options = {"message_expiry": 60, "content_type": "image/jpeg"}
    o = s.publish("camera", BytesIO(content(20000)), 1, **options)
    clock[0] += 7
    found = line.written()
    values = [h("02 00000035"), h("03 000a 'image/jpeg'")]
    heads = [h("0006'camera' 0001 12") + b"".join(v) for v in (values, values[::-1])]
    assert found in [expect(0x32, head, content(20000)) for head in heads], found[:50]
    line.reads("40 02 0001")
    assert o.done and not o.error
    # The second use gets the alias; what stands before it in the same burst must not lose it.
    s.publish("small", b"x" * 40, 1)
    s.publish("camera", BytesIO(content(20000)), 1)
    line.piece()
    head = h("0006'camera' 0003 03 23 0001")
    whole(line.written(), expect(0x32, head, content(20000)))
    s.publish("camera", BytesIO(content(20000)), 1)
    whole(line.written(), expect(0x32, h("0000 0004 03 23 0001"), content(20000)))


def check_five_too_large():
    line = Large5("27 00004e20").up()  # 20,000 bytes
    s = line.session
    size = 20000 - 4 - 6
    o = s.publish("t", BytesIO(content(size)), 1)
    same(len(line.written()), 20000)
    e = raises(Failed, s.publish, "t", BytesIO(content(size + 1)), 1)
    same(e.code, 0x95)
    line.reads("40 02 0001")
    same((o.done, s.outbox), (True, []))
    # Said only after it was published.
    line = Large5("27 00004e20")
    o = line.session.publish("t", BytesIO(content(size + 1)), 1)
    line.up()
    same(line.written(), b"")
    same((o.done, o.error.code), (True, 0x95))
    line = Large5("24 00").up()  # maximum QoS 0
    raises(Failed, line.session.publish, "t", BytesIO(content(20000)), 1)
    line.session.publish("t", BytesIO(content(20000)), 0)
    same(len(line.written()), 20000 + 4 + 4)


def check_five_others_and_retained():
    # What the server does not take after all: of large ones and of others.
    line = Large5("27 00000064 25 00")  # 100 bytes, nothing retained
    s = line.session
    for publish in (
        lambda: s.publish("t", b"x" * 200, 1),
        lambda: s.publish("t", b"x", 1, True),
        lambda: s.publish("t", BytesIO(b"x"), 1, True),
    ):
        o = publish()
        line.up()
        line.writes("")
        same((o.done, type(o.error)), (True, Failed))
        raises(Failed, publish)
        s.lost()
        s.server = {}
    s.publish("t", BytesIO(b"x"), 1)
    line.up()
    same(line.written()[:1], b"\x32")


def check_five_fault():
    # The server is told why, but not in the middle of a message.
    line = Large5().up()
    line.session.publish("t", BytesIO(content(20000)), 1)
    line.piece()
    line.reads("3e 00")
    raises(Exception, line.piece)


# --- with a store


class Kept(Large):
    """The same with a store: what has survived is in ``again_from``."""

    def __init__(self, base=Session, store=None, burst=True, **options):
        self.store = store or Medium()
        super().__init__(durable(base), store=self.store, **options)
        self.session.burst = burst

    def reborn(self, base=Session):
        """The power was cut: what the store had is all there is."""
        data = {key: bytearray(value) for key, value in self.store.data.items()}
        return Kept(base, Medium(data))


def write(n):
    with open(NAME, "wb") as f:
        f.write(content(n))


def with_file(check):
    def run():
        write(20000)
        try:
            check()
        finally:
            os.remove(NAME)

    return run


def check_stored():
    line = Kept()
    e = raises(ValueError, line.session.publish, "t", BytesIO(content(20000)), 1)
    assert "need a file" in str(e)
    line.session.publish("t", Source(Memory(b""), 0), 0)
    for base in (Session, expiring(), Session5):
        line = Kept(base)
        raises(ValueError, line.session.publish, "t", Source(lambda: None, 5), 2)
        line.session.publish("t", Source(NAME), 2)
        (record,) = [value for key, value in line.store.data.items() if key >= 0x40000]
        assert len(record) < 50 and NAME.encode() in record, record
        for _ in range(2):
            line = line.reborn(base)
            line.session.connect(0)
            # It waits for CONNACK, whatever the burst, which the next connection may have.
            same((line.written()[:1], line.session.burst), (b"\x10", True))
            five = b"\0" if base is Session5 else b""
            line.reads("20 03 00 00 00" if five else "20 02 00 00")
            same(line.piece()[:1], b"\x34")
        line = line.reborn(base)
        line.session.connect(0)
        line.written()
        line.reads("20 03 01 00 00" if five else "20 02 01 00")
        whole(line.written(), expect(0x3C, h("0001't' 0001") + five, content(20000)))
        line.reads("50 02 0001")
        line.writes("62 02 0001")
        line.reads("70 02 0001")
        line.written()
        same([key for key in line.store.data if key >= 0x10000], [])


def check_stored_beside_others():
    # Each goes on as it was: one at PUBREL, one that is not large, and behind all one that is.
    path = "./" * 150 + NAME
    line = Kept()
    s = line.session
    s.publish("q", b"", 2)
    line.up(1)
    line.written()
    line.reads("50 02 0001")
    line.written()
    s.publish("t", Source(path), 2)
    s.publish("u", b"x", 1)
    line = line.reborn()
    s = line.session
    same([(o.expect, o.size) for o in s.outbox], [(7, 0), (5, 20000), (4, 0)])
    line.session.connect(0)
    line.written()
    line.reads("20 02 01 00")
    out = line.written()
    same(out[:4], h("62 02 0001"))
    assert h("0001'u' 0003 'x'") in out and out.endswith(content(20000))


def check_stored_version_changes():
    for old, new, first in ((Session, Session5, b"\0"), (Session5, Session, b"")):
        line = Kept(old)
        line.session.publish("t", Source(NAME), 1, True)
        line = line.reborn(new)
        line.session.connect(0)
        line.written()
        line.reads("20 03 00 00 00" if first else "20 02 00 00")
        whole(line.written(), expect(0x33, h("0001't' 0001") + first, content(20000)))
        line.reads("40 02 0001")
        line.written()
        same((line.session.outbox, line.session.troubles), ([], 0))


def check_stored_file_is_gone():
    # Or another one by now: its message ends, and nothing else.
    for size in (None, 19999):
        write(20000)
        line = Kept()
        line.session.publish("a", Source(NAME), 1)
        line.session.publish("b", b"x", 1)
        os.remove(NAME)
        if size:
            write(size)
        line = line.reborn()
        bad, good = line.session.outbox
        line.session.connect(0)
        line.written()
        line.reads("20 02 01 00")
        line.writes("32 06 0001'b' 0002 'x'")
        assert bad.done and isinstance(bad.error, SourceError), bad.error
        same(bad.error.args[0], NAME)
        line.reads("40 02 0002")
        line.written()
        same((good.done, line.session.outbox), (True, []))
        same([key for key in line.store.data if key >= 0x10000], [])
        write(20000)


def check_stored_without_large():
    # A program that does not know of such messages does not send the path as the payload.
    line = Kept()
    line.session.publish("t", Source(NAME), 1)
    data = line.reborn().store.data
    s = durable()(line.kick, "c", Medium(data), clean=False)
    s.connect(0)
    s.take(0)
    s.receive(memoryview(h("20 02 01 00")), 0)
    same(bytes(s.take(0))[0] & 6, 6)  # which each broker refuses [MQTT-3.3.1-4]


def check_what_was_cut_goes_last():
    # A connection may never be as long as it takes: what waits behind it is not to wait for ever.
    line = Large().up()
    s = line.session
    large = s.publish("t", Source(Memory(content(20000)).__call__, 20000), 1)
    s.publish("u", b"", 1)
    same(line.piece()[:1], b"2")
    same(len(line.piece()), 1024)
    for pid in (2, 3, 4):
        line.again()
        same(line.piece(), h("32 05 0001'u' 000%d" % pid))
        line.reads("40 02 000%d" % pid)
        same(line.piece()[:1], h("3a"))
        s.publish("u", b"", 1)
    # Whole, it has its place, whatever goes behind it [MQTT-4.6.0-1].
    same(line.written()[-7:], h("32 05 0001'u' 0005"))
    line.again()
    same((s.outbox[0], len(s.outbox)), (large, 2))
    same(line.written()[-7:], h("3a 05 0001'u' 0005"))
    # Large ones keep their order.
    line = Large().up()
    s = line.session
    boxes = [s.publish("t", BytesIO(content(2000)), 1), s.publish("u", b"", 1)]
    boxes += [s.publish("t", BytesIO(content(2000)), 1), s.publish("u", b"", 1)]
    line.piece()
    line.again()
    same(s.outbox, [boxes[n] for n in (1, 3, 0, 2)])


def check_stored_goes_last():
    # The same in the next life, which may be a wake that is too short for it.
    medium = Medium()
    for n in range(3):
        line = Large(durable(Session), store=medium)
        s = line.session
        if not n:
            s.publish("t", Source(NAME), 1)
        small = s.publish("u", b"", 1)
        line.up(n > 0)
        if n:
            same(line.piece()[-7:], h("32 05 0001'u'") + small.pid.to_bytes(2, "big"))
            for o in s.outbox[:-1]:
                line.reads("40 02 %04x" % o.pid)
        same(len(line.piece()), 1024)
        s.save()
        s.lost()
    same(len(s.outbox), 1)


def check_fence_goes_behind():
    line = Kept(burst=False)
    s = line.session
    s.fencing = True
    s.publish("t", Source(NAME), 1)
    s.publish("u", b"x", 1)
    line.up()
    whole(
        line.written(),
        expect(0x32, h("0001't' 0001"), content(20000)) + h("32 06 0001'u' 0002 'x'" + FENCE),
    )
    # Behind a burst, which is taken before it.
    line.again()
    s.publish("v", content(500), 1)
    s.publish("t", Source(NAME), 1)
    out = line.written()
    same(out[-2:], h(FENCE))
    same(out.count(h(FENCE)), 1)
    assert out.endswith(expect(0x32, h("0001't' 0004"), content(20000)) + h(FENCE))


for name in list(globals()):
    if name.startswith("check_stored") or name.startswith("check_fence"):
        globals()[name] = with_file(globals()[name])

CHECKS = sorted(name for name in globals() if name.startswith("check_"))

if __name__ == "__main__":
    core_checks.run(globals(), CHECKS)

"""Checks of large/taking.py without a network, on every runtime: messages taken as they come.

See core_checks.py, whose way this is.
"""

import core_checks
from core_checks import Line, h, raises, same
from dormouse.large.taking import Incomplete, taking
from dormouse.mqtt5.session import Session5
from dormouse.packet import ConnectionLost, ProtocolError
from dormouse.session import Session
from dormouse.store.durable import durable
from durable_checks import Medium
from large_checks import content, whole

N = 3000  # bytes of a payload


class Waits(Exception):
    """The application would wait."""


class Owner:
    """The client as a message waits by it."""

    _task = True

    def __init__(self):
        self._changed = self

    def clear(self):
        pass

    async def wait(self):
        raise Waits


class Taker(Line):
    """A session that takes large messages, and a driver as it should be."""

    def __init__(self, kind=Session, **options):
        self.kicks = 0
        options.setdefault("client_id", "c")
        options.setdefault("clean", False)
        options.setdefault("max_packet", 600)
        made = taking(kind)
        self.session = made(self.kick, **options)
        self.session.owner = Owner()
        self.room = None
        self.rx = memoryview(bytearray(128))

    def feed(self, data, now=0):
        """Read as the client does; return what is not read, because the application is behind."""
        while data and (self.session.shed or not self.session.behind()):
            to = self.room or self.rx
            n = min(len(to), len(data))
            to[:n] = data[:n]
            self.room = self.session.receive(to[:n], now)
            data = data[n:]
        return data

    def again(self, error=None, present=1, five=False):
        self.session.lost(error)
        self.room = None
        if not five:
            return self.up(present)
        self.session.connect(0)
        self.written()
        self.reads("20 03 0%d 00 00" % present)
        return self


def now(awaited):
    """Return what a coroutine returns without waiting. Raises Waits."""
    try:
        awaited.send(None)
    except StopIteration as e:
        return e.value
    raise AssertionError("it waits")


def publish(first, body, payload):
    n = len(body) + len(payload)
    assert 127 < n < 16384
    return bytes((first, n & 127 | 128, n >> 7)) + body + payload


def get(line, rest, m, size=999):
    """Take a message to its end, with ``readinto``; return its payload and what follows it."""
    out = b""
    buf = bytearray(size)
    while True:
        try:
            n = now(m.readinto(buf))
        except Waits:
            assert rest, "nothing more comes, at %d bytes" % len(out)
            rest = line.feed(rest)
            continue
        if not n:
            return out, line.feed(rest)
        out += bytes(buf[:n])


ONE = h("0001't' 0007")  # topic and identifier


def begun(**options):
    """A message of which the application has taken some, and one of its own on its way: the line,
    that message, what of it was not read, and the other."""
    line = Taker(timeout=1000, keepalive=0, **options).up()
    rest = line.feed(publish(0x32, ONE, content(N)) + h("40 02 0001"))
    m = line.session.inbox.pop()
    now(m.readinto(bytearray(10)))
    o = line.session.publish("u", b"", 1)
    line.written()
    return line, m, rest, o


def check_taken():
    # It is there when its head is; nothing is read that is not taken; acknowledged after its end.
    for qos, head, answer in (
        (0, h("0001't'"), ""),
        (1, ONE, "40 02 0007"),
        (2, ONE, "50 02 0007"),
    ):
        for size in (1, 7, 1024, 5000):
            line = Taker().up()
            s = line.session
            rest = line.feed(publish(0x31 | qos << 1, head, content(N)) + h("30 04 0001'u' 'x'"))
            (m,) = s.inbox
            same((m.topic, m.qos, m.retain, m.length, m.payload), ("t", qos, True, N, b""))
            assert len(rest) > N - 128 and s.behind()
            s.inbox.pop()
            got, rest = get(line, rest, m, size)
            whole(got, content(N))
            same((rest, s.inbox.pop().payload, line.written()), (b"", b"x", b""))
            m.ack()
            m.ack()
            line.writes(answer)
            same(len(s.held), 0)


def check_who_waits_is_woken():
    # The application when there is something, the driver when that is taken.
    line = Taker().up()
    s = line.session
    line.kicks = 0
    line.feed(publish(0x32, ONE, content(N)))
    assert line.kicks
    m = s.inbox.pop()
    for take in (lambda: m.readinto(bytearray(999)), m.__anext__):
        line.kicks = 0
        now(take())
        if not line.kicks:  # it is with the application
            raises(Waits, now, take())
        assert line.kicks and not s.behind()
        line.feed(content(50))
    line.kicks = 0
    m.ack()
    assert line.kicks and not s.behind()


def check_chunks():
    line = Taker().up()
    rest = line.feed(publish(0x32, ONE, content(N)))
    m = line.session.inbox.pop()
    # First some of it, then the rest.
    buf = bytearray(10)
    same(now(m.readinto(buf)), 10)
    out = bytes(buf)
    each = m.chunks()
    assert each.__aiter__() is each
    while True:
        try:
            chunk = now(each.__anext__())
        except Waits:
            rest = line.feed(rest)
            continue
        except StopAsyncIteration:
            break
        same(line.feed(rest), rest)  # what is with the application stays as it is
        out += bytes(chunk)
        if len(out) > 2000:  # and then in the other way again
            more, rest = get(line, rest, m)
            out += more
            break
    whole(out, content(N))
    m.ack()
    line.writes("40 02 0007")


def check_short_ones():
    # The same way for all: what is no longer than max_packet has it, too.
    line = Taker().up()
    line.reads("30 08 0001't' 'abcde' 30 03 0001't'")
    m, empty = line.session.inbox
    same((m.length, empty.length), (5, 0))
    each = m.chunks()
    same(bytes(now(each.__anext__())), b"abcde")
    raises(StopAsyncIteration, now, each.__anext__())
    raises(StopAsyncIteration, now, empty.chunks().__anext__())
    buf = bytearray(3)
    same((now(m.readinto(buf)), bytes(buf)), (3, b"abc"))
    same((now(m.readinto(buf)), bytes(buf[:2])), (2, b"de"))
    same(now(m.readinto(buf)), 0)


def check_short_ones_go_on():
    # One way goes on where the other was, as with a large one. Left before it was done with, it
    # comes again from its first byte.
    line = Taker().up()
    s = line.session
    line.reads("32 0a 0001't' 0007 'abcde'")
    m = s.inbox.pop()
    buf = bytearray(3)
    same((now(m.readinto(buf)), bytes(buf)), (3, b"abc"))
    each = m.chunks()
    same(bytes(now(each.__anext__())), b"de")
    same(now(m.readinto(buf)), 0)
    raises(StopAsyncIteration, now, each.__anext__())
    for n in (3, 5):
        same(now(m.readinto(bytearray(n))), n)
        s.put_back(m)
        same((s.inbox.pop() is m, now(m.readinto(buf)), bytes(buf)), (True, 3, b"abc"))
        s.put_back(m)
        same((s.inbox.pop() is m, bytes(now(m.chunks().__anext__()))), (True, b"abcde"))
        s.put_back(m)
    m.ack()
    line.writes("40 02 0007")


def check_border():
    # As long as max_packet: as it was; one byte more, in pieces.
    for more in (0, 1):
        line = Taker().up()
        data = publish(0x30, h("0001't'"), content(600 - 6 + more))
        same(len(data), 600 + more)
        rest = line.feed(data)
        m = line.session.inbox.pop()
        same(m.length, 594 + more)
        whole(get(line, rest, m)[0] if more else m.payload, content(594 + more))


def check_any_pieces():
    # However the bytes come; a driver that has a buffer of its own, too.
    data = publish(0x34, h("0003't/u' 0007"), content(N)) + h("30 04 0001'u' 'x'")
    for n in (1, 2, 3, 5, 9, 100, 1023, 1025, 2000, 4000):
        line = Taker().up()
        s = line.session
        out = b""
        m = None
        own = bytearray(n)
        for i in range(0, len(data), n):
            part = data[i : i + n]
            own[: len(part)] = part
            s.receive(memoryview(own)[: len(part)], 0)
            if s.inbox and not m:
                m = s.inbox.pop(0)
            while m and m.chunk:
                buf = bytearray(700)
                k = now(m.readinto(buf))
                out += bytes(buf[:k])
        whole(out, content(N))
        same([x.payload for x in s.inbox], [b"x"])


def check_many_at_once():
    # A driver that gives all in one piece, and has its buffer for other things afterwards.
    line = Taker().up()
    s = line.session
    own = bytearray()
    for c in b"abc":
        own += publish(0x32, h("0001't' 00") + bytes((c,)), bytes((c,)) * 700)
    s.receive(memoryview(own), 0)
    own[:] = bytes(len(own))
    for c in b"abc":
        m = s.inbox.pop(0)
        whole(get(line, b"", m)[0], bytes((c,)) * 700)
        m.ack()
    line.writes("40 02 0061 40 02 0062 40 02 0063")


def check_not_taken():
    # Acknowledged before its end: what is left is read past, and then it is acknowledged.
    line = Taker().up()
    s = line.session
    rest = line.feed(publish(0x32, ONE, content(N)) + h("32 06 0001'u' 0008 'x'"))
    m = s.inbox.pop()
    now(m.readinto(bytearray(10)))
    m.ack()
    line.writes("")
    same(line.feed(rest), b"")
    line.writes("40 02 0007")
    s.inbox.pop().ack()
    line.writes("40 02 0008")
    raises(AttributeError, m.ack, b"state")


def check_cut():
    # The application is told; the broker sends it again, and it is a new one from its first byte.
    for qos in (1, 2):
        line = Taker().up()
        s = line.session
        data = publish(0x30 | qos << 1, ONE, content(N))
        again = bytes((data[0] | 8,)) + data[1:]
        line.feed(data[:50])
        same(len(s.inbox), 1)
        line.again()  # not taken: it does not stay in the inbox
        same((s.inbox, s.held), ([], []))
        rest = line.feed(again[:2000])
        m = s.inbox.pop()
        for _ in range(9):
            now(m.readinto(bytearray(10)))
        line.again()
        e = raises(Incomplete, now, m.readinto(bytearray(10)))
        same(e.args[0], "cut")
        raises(Incomplete, now, m.chunks().__anext__())
        m.ack()
        line.writes("")
        rest = line.feed(again)
        n = s.inbox.pop()
        assert n is not m
        whole(get(line, rest, n)[0], content(N))
        n.ack()
        line.writes("%d0 02 0007" % (3 + qos))
    line = Taker().up()
    line.feed(publish(0x30, h("0001't'"), content(N))[:500])
    line.again()
    same((line.session.inbox, line.session.dropped), ([], 1))
    line.feed(publish(0x30, h("0001't'"), content(N))[:500])
    m = line.session.inbox.pop()
    line.again()
    raises(Incomplete, now, m.readinto(bytearray(10)))


def check_cut_at_each_byte():
    # Whatever is cut, and then what it was answered is lost too: whole, and at QoS 2 once.
    payload = content(300)
    for qos in (1, 2):
        data = publish(0x30 | qos << 1, ONE, payload)
        again = bytes((data[0] | 8,)) + data[1:]
        for cut in range(1, len(data) + 1):
            line = Taker(max_packet=64).up()
            s = line.session
            done = 0
            for part in (data[:cut], again[: len(data) + 1 - cut], again, again):
                m = None
                got = b""
                while part or m:
                    part = line.feed(part)
                    if s.inbox:
                        m = s.inbox.pop()
                        got = b""
                    if not m:
                        continue
                    try:
                        out = bytearray(50)
                        n = now(m.readinto(out))
                    except Waits:
                        if not part:
                            break  # there is no more of it
                        continue
                    got += bytes(out[:n])
                    if not n:
                        same(got, payload)
                        done += 1
                        m.ack()
                        m = None
                line.written()  # and that is lost
                line.again()
            assert done == 1 if qos == 2 else done > 1, (qos, cut, done)
            same(len(s.held), 0)


def check_whole_and_cut():
    # It came to its end, but its acknowledgement did not go: it is not given again, only read past.
    for qos in (1, 2):
        line = Taker().up()
        s = line.session
        data = publish(0x30 | qos << 1, ONE, content(N))
        again = bytes((data[0] | 8,)) + data[1:]
        rest = line.feed(data)
        m = s.inbox.pop()
        whole(get(line, rest, m)[0], content(N))
        line.again()
        line.feed(again[:1500])
        m.ack()  # in the middle of the repeat: its answer goes behind that
        line.writes("")
        line.feed(again[1500:])
        same(s.inbox, [])
        line.writes("%d0 02 0007" % (3 + qos))
        if qos == 2:
            # PUBREC is lost: again.
            line.again()
            same(line.feed(again[:1500]), b"")
            line.writes("")  # not before its end
            same(line.feed(again[1500:]), b"")
            same(s.inbox, [])
            line.writes("50 02 0007")
            line.reads("62 02 0007")
            line.writes("70 02 0007")


def check_another_under_its_identifier():
    # The broker forgot the session, and its new one begins with the same identifier, with DUP: it
    # is read past as a repeat, and at its end that is found out. Then it comes once more.
    for qos in (1, 2):
        line = Taker().up()
        s = line.session
        first = 0x30 | qos << 1
        rest = line.feed(publish(first, ONE, content(N)))
        m = s.inbox.pop()
        whole(get(line, rest, m)[0], content(N))
        if qos == 2:
            m.ack()
            line.writes("50 02 0007")
        line.again()
        other = content(N + 1)[1:]
        e = raises(ConnectionLost, line.feed, publish(first | 8, ONE, other))
        assert e.again
        line.writes("")
        line.again()
        rest = line.feed(publish(first | 8, ONE, other))
        m = s.inbox.pop()
        whole(get(line, rest, m)[0], other)
        m.ack()
        line.writes("%d0 02 0007" % (3 + qos))


def check_repeated_at_its_end():
    # After PUBCOMP, as mosquitto does: only its end tells that it is not a new one.
    line = Taker().up()
    s = line.session
    data = publish(0x34, ONE, content(N))
    for n, payload in enumerate((content(N), content(N + 1)[1:])):
        rest = line.feed(publish(0x34 | (n and 8), ONE, payload))
        m = s.inbox.pop()
        whole(get(line, rest, m)[0], payload)  # of the same length: another one
        m.ack()
        line.writes("50 02 0007")
        line.reads("62 02 0007")
        line.writes("70 02 0007")
    line.again()
    rest = line.feed(bytes((0x3C,)) + data[1:])
    m = s.inbox.pop()
    e = raises(Incomplete, get, line, rest, m)
    same(e.args[0], "repeated")
    m.ack()
    line.writes("50 02 0007")


def check_left_in_the_middle():
    # The loop ended in it: it comes again, which takes another connection.
    for qos in (0, 1):
        line = Taker().up()
        s = line.session
        rest = line.feed(publish(0x30 | qos << 1, ONE if qos else ONE[:3], content(N)))
        m = s.inbox.pop()
        s.put_back(m)
        if qos:  # not begun yet: the same
            same(s.inbox.pop(), m)
            now(m.readinto(bytearray(10)))
            line.kicks = 0
            s.put_back(m)
        assert line.kicks  # the driver has to read on
        same((s.inbox, s.behind()), ([], False))
        raises(Incomplete, now, m.readinto(bytearray(10)))
        if qos:
            assert raises(ConnectionLost, s.take, 0).again
            line.again()
            line.writes("")
        else:
            # What nobody takes is read with a wait each time, so that others have their turn.
            assert line.room is not None
            rest = line.feed(rest[:2000]) + rest[2000:]
            same(line.room, None)
            same((line.feed(rest), line.written()), (b"", b""))
    s.put_back(None)


def check_answers_behind_it():
    # What the application waits for lies behind what it does not take. Not begun: as ever.
    line = Taker().up()
    s = line.session
    line.feed(publish(0x32, ONE, content(N)))
    s.publish("u", b"", 1)
    line.written()
    assert s.behind()
    s.shed = True
    assert s.shed
    # And what comes then is left to the broker at once.
    for first, head in ((0x32, ONE), (0x30, ONE[:3])):
        line = Taker().up()
        s = line.session
        s.shed = True
        same(line.feed(publish(first, head, content(N))), b"")
        same((s.inbox, s.held, s.dropped), ([], [], int(first == 0x30)))
        assert raises(ConnectionLost, s.take, 0).again
    # Begun: it is given time.
    line, m, rest, o = begun()
    s = line.session
    assert s.behind()
    s.paused = True
    s.shed = True  # the driver would
    assert not s.shed
    for t in range(0, 1000, 100):
        assert 0 < s.tick(t) <= 1000
        assert not s.shed
    now(m.readinto(bytearray(1000)))
    rest = line.feed(rest, 1000)  # it takes some: from then on
    s.tick(1000)
    s.tick(1999)
    assert not s.shed
    line.kicks = 0
    s.tick(2000)
    assert s.shed and line.kicks
    same(line.feed(rest, 2000), b"")
    assert o.done
    raises(Incomplete, now, m.readinto(bytearray(10)))
    assert raises(ConnectionLost, s.take, 2000).again
    same(s.held, [])


def check_keep_alive():
    # PINGRESP lies behind it too: each of its bytes is a sign of life.
    line = Taker(timeout=10000, keepalive=60).up()
    s = line.session
    data = publish(0x30, h("0001't'"), content(N))
    t = 0
    for i in range(0, len(data), 50):
        t += 9999
        assert not line.feed(data[i : i + 50], t)
        s.tick(t)
        if s.inbox:
            m = s.inbox.pop()
        while m.chunk:
            now(m.readinto(bytearray(100)))
    assert s.asked is not None
    line.feed(h("d000"), t)
    same(s.asked, None)
    rest = line.feed(data[:400], t)
    m = s.inbox.pop()
    while rest or m.chunk:
        now(m.readinto(bytearray(100)))
        rest = line.feed(rest, t)
    s.ping(t)
    s.tick(t + 9999)
    raises(ConnectionLost, s.tick, t + 10000)


def check_what_is_wrong():
    # A topic that is too long for RAM: read past; what is malformed: the end.
    told = []
    line = Taker(on_trouble=told.append).up()
    long = publish(0x32, h("0800") + b"t" * 2048 + h("0007"), content(100))
    same(line.feed(long), b"")
    same((line.session.inbox, told[0].args[:2]), ([], (0x32, len(long) - 3)))
    line.writes("40 02 0007")
    for wrong in ("36", "38", "32"):
        line = Taker().up()
        data = publish(int(wrong, 16), h("0001't' 0000"), content(N))
        raises(ProtocolError, line.feed, data)
        line.again()
        line.feed(h("30 04 0001'u' 'x'"))
        same(line.session.inbox.pop().payload, b"x")
    line = Taker().up()
    raises(ProtocolError, line.feed, publish(0x30, h("ffff") + b"t" * 598, b""))
    line = Taker().up()
    raises(ProtocolError, line.feed, h("90 88 10 0001"))


def check_malformed():
    # As one that is not large: two of such end their connections, the third one is read past.
    for five in (False, True):
        told = []
        line = Taker(Session5 if five else Session, on_trouble=told.append)
        s = line.again(present=0, five=five).session
        good = h("30 05 0001'u' 00 'x'" if five else "30 04 0001'u' 'x'")
        for bad, shown in (("0001'#'", "#"), ("0003'a'00'b'", "a?b"), ("0001ff", "?")):
            s.malformed = 0
            for qos, answer in ((1, "40 02 0007"), (2, "50 02 0007"), (0, "")):
                head = h(bad + ("0007" if qos else "")) + b"\0" * five
                data = publish(0x30 | qos << 1, head, content(N))
                for _ in range(2 if qos == 1 else 0):
                    if five:
                        line.feed(data)
                        same(bytes(s.take(0))[:2], h("e0 01"))
                        raises(ProtocolError, s.take, 0)
                    else:
                        raises(ProtocolError, line.feed, data)
                    line.again(five=five)
                same(
                    (line.feed(data[:-1]), told.pop().args), (b"", (data[0], len(data) - 3, shown))
                )
                line.writes("")  # not before its end
                same((line.feed(data[-1:] + good), len(s.held)), (b"", 0))
                line.writes(answer)
                same(([m.topic for m in s.inbox], s.inbox.pop().payload, told), (["u"], b"x", []))
                if qos == 2:
                    line.reads("62 02 0007")
                    line.writes("70 02 0007")


def check_no_memory_for_a_short_one():
    # It is not streamed to who does not expect that: read past, as in any session.
    told = []
    line = Taker(on_trouble=told.append).up()
    line.session.lacking = 300, 3
    line.again()
    same(line.feed(publish(0x32, ONE, content(400))), b"")
    same((line.session.inbox, len(told)), ([], 1))


# --- MQTT 5


def check_five():
    line = Taker(Session5)
    line.session.connect(0)
    out = line.written()
    assert b"\x27\0\0" not in out  # no maximum packet size
    line.reads("20 03 00 00 00")
    s = line.session
    users = b"".join([h("26 0001'k' 0001") + bytes((c,)) for c in range(65, 95)])
    properties = h("03 0001'x'") + users
    n = len(properties)
    assert n > 127
    body = ONE + bytes((n & 127 | 128, n >> 7)) + properties
    data = publish(0x32, body, content(N))
    for n in (1, 50, 5000):
        rest = line.feed(data[:n])
        rest += data[n:]
        while not s.inbox:
            rest = line.feed(rest)
        m = s.inbox.pop()
        same(m.properties["content_type"], "x")
        same(len(m.properties["user_properties"]), 30)
        whole(get(line, rest, m)[0], content(N))
        m.ack()
        line.writes("40 02 0007")
    line.feed(publish(0x32, ONE + h("80808080 01"), content(N)))
    same(bytes(s.take(0)), h("e0 01 81"))
    raises(ProtocolError, s.take, 0)


# --- with a store


def check_committed():
    # Early: with its end, in one record.
    for base in (Session, Session5):
        store = Medium()
        line = Taker(durable(base), store=store)
        line.session.connect(0)
        line.written()
        line.reads("20 02 00 00" if base is Session else "20 03 00 00 00")
        s = line.session
        head = ONE if base is Session else ONE + b"\0"
        rest = line.feed(publish(0x34, head, content(N)))
        m = s.inbox.pop()
        m.ack(b"state")
        line.written()
        assert 1 not in store.data
        line.feed(rest)
        same((store.data[1], 0x10007 in store.data), (b"state", True))
        line.writes("50 02 0007")


# --- where a fault of one line was seen by no other check


def check_keeps_alive_when_nothing_comes():
    # Before a large message and behind one: a link that is dead is noticed.
    line = Taker(keepalive=60, timeout=10000).up()
    s = line.session
    for _ in range(2):
        line.up(1)
        s.tick(52500)
        line.writes("c000")
        raises(ConnectionLost, s.tick, 62500)
        line.up(1)
        rest = line.feed(publish(0x30, h("0001't'"), content(N)))
        same(get(line, rest, s.inbox.pop())[0], content(N))
        s.tick(52500)
        line.writes("c000")
        raises(ConnectionLost, s.tick, 62500)


def check_slow_and_nothing_due():
    # Only who waits for an answer, too, loses the message that lies before it.
    line = Taker(timeout=1000, keepalive=0).up()
    s = line.session
    line.feed(publish(0x32, ONE, content(N)))
    m = s.inbox.pop()
    assert now(m.readinto(bytearray(1)))
    for at in range(0, 9000, 500):
        s.tick(at)
    same((s.shed, m.error), (False, None))


def check_inbox_is_full_of_others():
    line = Taker(inbox_bytes=700).up()
    rest = line.feed(h("30 04 0001't' 'x'") * 100)
    assert rest and line.session.behind()


def check_long_heads():
    # Whatever its pieces: a topic of more than 255 characters, properties that begin in the next.
    for five in (False, True):
        for size in (1, 300, 5000):
            line = Taker(Session5 if five else Session, timeout=1000)
            line.again(five=five)
            s = line.session
            topic = "t" * 300
            body = h("012c") + topic.encode() + h("0007")
            if five:
                body += h("09 26 0001'k' 0003'abc'")
            data = publish(0x32, body, content(N))
            for i in range(0, 400, size):
                s.receive(memoryview(data[i : min(i + size, 400)]), 0)
                if s.inbox:
                    break
            (m,) = s.inbox
            same((m.topic, m.length, m.pid), (topic, N, 7))


def check_end_of_its_chunks():
    line = Taker().up()
    line.feed(h("30 04 0001't' 'x'"))
    chunks = line.session.inbox.pop().chunks().__aiter__()
    same(bytes(now(chunks.__anext__())), b"x")
    raises(StopAsyncIteration, now, chunks.__anext__())
    rest = line.feed(publish(0x30, h("0001't'"), content(N)))
    m = line.session.inbox.pop()
    chunks = m.chunks().__aiter__()
    out = b""
    while len(out) < N:
        try:
            out += bytes(now(chunks.__anext__()))
        except Waits:
            rest = line.feed(rest)
    whole(out, content(N))
    raises(StopAsyncIteration, now, chunks.__anext__())


def check_clean_session_that_is_behind():
    """It makes no new connection for what it drops, so that is answered in its turn: not answered,
    it would take a place in the broker's window for as long as the connection lasts."""
    for first, answer in ((0x32, 0x40), (0x34, 0x50)):
        line = Taker(clean=True).up()
        s = line.session
        line.feed(bytes((first,)) + h("06 0001't' 0001 'x'"))
        s.publish("u", b"", 1)
        line.written()
        s.shed = True  # as the driver
        line.feed(publish(first, ONE, content(N)) + h("40 02 0001"))
        line.writes("")
        assert not s.shed
        s.inbox.pop().ack()
        same(line.written(), bytes((answer,)) + h("02 0001") + bytes((answer,)) + h("02 0007"))
        same(s.held, [])
    # Begun, and then nobody takes it.
    line, m, rest, o = begun(clean=True)
    s = line.session
    s.tick(0)
    s.tick(1000)
    assert s.shed
    same(line.feed(rest, 1000), b"")
    assert o.done
    raises(Incomplete, now, m.readinto(bytearray(10)))
    assert h("40 02 0007") in line.written(1000)
    same((s.held, s.shed), ([], False))


def check_put_back_when_it_is_done():
    line = Taker().up()
    s = line.session
    rest = line.feed(publish(0x32, ONE, content(N)))
    m = s.inbox.pop()
    get(line, rest, m)
    m.ack()
    line.writes("40 02 0007")
    s.put_back(m)
    same((m.error, s.inbox, s.into.again), (None, [], False))
    line.writes("")


def check_new_one_under_an_old_identifier():
    # Without DUP it is a new one at QoS 1, and at QoS 2 where the session may be another: it is
    # given at once, and not read past first.
    for qos in (1, 2):
        line = Taker().up()
        s = line.session
        first = 0x30 | qos << 1
        rest = line.feed(publish(first, ONE, content(N)))
        m = s.inbox.pop()
        get(line, rest, m)
        if qos == 2:
            m.ack()
            line.writes("50 02 0007")
            s.lost()
            s.connect(0)
            line.written()
        line.room = None
        line.again()
        line.feed(publish(first, ONE, content(N)))
        same([m.skip for m in s.inbox], [False])


def check_as_one_that_was_ended():
    # Without DUP it is another one that reads the same; and so it is at QoS 1.
    for first, answer in ((0x34, "50 02 0007"), (0x3A, "40 02 0007")):
        line = Taker().up()
        s = line.session
        rest = line.feed(publish(0x34, ONE, content(N)))
        m = s.inbox.pop()
        get(line, rest, m)
        m.ack()
        line.writes("50 02 0007")
        line.reads("62 02 0007")
        line.writes("70 02 0007")
        same(len(s.ended), 1)
        line.again()
        rest = line.feed(publish(first, ONE, content(N)))
        m = s.inbox.pop()
        whole(get(line, rest, m)[0], content(N))
        same(m.error, None)
        m.ack()
        line.writes(answer)


def check_left_to_the_broker():
    # While messages are, a large one is read past, and no one is given it.
    line = Taker().up()
    s = line.session
    s.shed = True
    rest = line.feed(publish(0x32, ONE, content(N)) + publish(0x30, h("0001't'"), content(N)))
    same((rest, s.inbox, s.held, s.dropped), (b"", [], [], 1))
    # Also one that came as a whole: nobody takes it, so it must not hold up what comes.
    s.receive(memoryview(publish(0x32, ONE, content(900))), 0)
    same((s.behind(), s.held), (False, []))


def check_repeated_without_dup():
    # aedes and others: at QoS 2 its identifier tells, where the session is the same.
    line = Taker().up()
    s = line.session
    data = publish(0x34, ONE, content(N))
    rest = line.feed(data)
    m = s.inbox.pop()
    get(line, rest, m)
    m.ack()
    line.writes("50 02 0007")
    line.again()
    same((line.feed(data), s.inbox), (b"", []))
    line.writes("50 02 0007")


def check_dup_beside_others():
    # Others that wait are none of its business.
    line = Taker().up()
    s = line.session
    line.feed(h("32 05 0001'u' 0003 34 05 0001'v' 0004"))
    line.again()
    rest = line.feed(publish(0x3C, ONE, content(N)))
    m = s.inbox.pop()
    same((m.topic, m.skip), ("t", False))
    whole(get(line, rest, m)[0], content(N))


CHECKS = sorted(name for name in globals() if name.startswith("check_"))

if __name__ == "__main__":
    core_checks.run(globals(), CHECKS)

"""Checks of large_ota.py that run on every runtime (see core_checks.py), in an empty folder.

The session, the client and the update are real. In the place of a broker stands what it would send:
what it retains of the topics that the node asks for, in that order.
"""

import os

import dormouse.field.ota as module
from core_checks import h, run, same
from dormouse import Client
from dormouse.field import LargeOta, Ota
from dormouse.packet import ConnectionLost
from dormouse.session import Message
from ota_checks import CHUNK, SECRET, TOPIC, Flaky, Update, clear, get, node, put, state
from ota_checks import there as there_is
from taking_checks import Taker

COUNT = 74  # chunks: two messages of 32, and one of 10
FILES = (("main.py", b"new" * 2000), ("font", bytes(range(256)) * 50), ("gone", None))
CLOSED = ConnectionLost("closed")
U = "green/7/update/5/"
_update = []


def update():
    """The update of these checks, made once."""
    if not _update:
        _update.append(Update(files=FILES))
        same(len(_update[0].chunks), COUNT)
    return _update[0]


class Pause:
    """What a coroutine waits for, until it is asked to go on."""

    def __init__(self):
        self.done = False

    def __iter__(self):
        return self

    __await__ = __iter__

    def __next__(self):
        if self.done:
            raise StopIteration
        self.done = True


class Bench(Taker):
    """A node whose connection stands, and what its broker retains, by topic."""

    def __init__(self, ota, retained, **options):
        options.setdefault("large", "in")
        options.setdefault("max_packet", 600)
        self.client = Client("h", client_id="c", clean=False, outbox=64, **options)
        self.session = self.client.session
        self.client._changed = self
        self.client._task = True
        self.ota = ota
        self.retained = retained
        self.room = None
        self.rx = memoryview(bytearray(128))
        self.asked = []  # what it asked for, a list for each SUBSCRIBE
        self.rest = b""  # what is on its way
        self.cut = None  # after so many bytes
        self.five = int("version" in options)
        self.connect()
        self.client.connected = True

    def clear(self):
        """As the event does for which a message waits: bytes came, or its end."""

    async def wait(self):
        await Pause()

    def connect(self):
        self.session.connect(0)
        self.written()
        self.session.receive(memoryview(h("20 03 01 00 00" if self.five else "20 02 01 00")), 0)

    def lost(self):
        self.client.connected = False
        self.session.lost(CLOSED)
        self.room = None
        self.rest = b""
        self.connect()

    def put(self, topic, payload):
        n = len(topic) + 2 + self.five + len(payload)
        head = bytearray((0x31,))
        while n > 127:
            head.append(n & 127 | 128)
            n >>= 7
        head.append(n)
        head += bytes((0, len(topic))) + topic.encode() + b"\0" * self.five
        self.rest += bytes(head) + payload

    def answer(self):
        """Send what the broker retains of what it was asked for."""
        box = self.session.outbox
        for o in box[:]:
            if o.expect in (9, 11):
                box.remove(o)
                if o.expect == 9:
                    self.asked.append([name for name, _ in o.filters])
                    for name, _ in o.filters:
                        if name in self.retained:
                            self.put(name, self.retained[name])

    def move(self):
        """Let bytes come. Returns whether there were any."""
        if self.cut == 0:
            self.cut = None
            self.lost()
            return True
        n = len(self.rest)
        most = n if self.cut is None else min(self.cut, n)
        n = most - len(self.feed(self.rest[:most]))
        self.rest = self.rest[n:]
        if self.cut:
            self.cut -= n
        return n > 0

    def handle(self, m):
        """Let the node take a message, while its bytes come."""
        if not hasattr(self.ota, "receive"):
            return self.ota.handle(m, self.client)
        awaited = self.ota.receive(m, self.client)
        while True:
            try:
                awaited.send(None)
            except StopIteration as e:
                return e.value
            assert self.move(), "nothing more comes"

    def fetch(self):
        """Let the node get what there is, to the end."""
        self.ota.fetch(self.client)
        self.run()

    def run(self):
        steps = 1000
        while self.step():
            steps -= 1
            assert steps, "it goes on and on"

    def step(self):
        """A message, or some bytes, or an answer; return whether there is any."""
        inbox = self.session.inbox
        if not self.client.connected:
            self.client.connected = True
            self.ota.fetch(self.client)  # as who connects does
        if inbox:
            m = inbox.pop(0)
            self.handle(m)
            m.ack()
            return True
        if not self.rest:
            self.answer()
        return self.move()


def retained(u=None, many=True):
    """What the sender puts there."""
    u = u or update()
    found = {}
    for n in range(len(u.chunks)):
        found[U + "%d" % n] = u.chunks[n]
        if many and not n % 32:
            found[U + "%d/32" % n] = b"".join(u.chunks[n : n + 32])
    return found


def fresh(kind=LargeOta):
    clear()
    put("main.py", b"old")
    put("gone", b"old")
    ota = kind(SECRET, TOPIC)
    state(update().offer(ota), "have")
    return ota


def arrived(ota):
    """All of it is on flash, as it was sent, and boot.py's."""
    assert ota.ready and there_is("update.json")
    u = update()
    same(get("update.part") == u.text.encode() + b"\n" + b"".join(u.chunks), True)


def good(k):
    """What is on flash is the owner's, to chunk k at least."""
    u = update()
    part = get("update.part")
    whole = u.text.encode() + b"\n" + b"".join(u.chunks)
    assert whole.startswith(part), "%d bytes, not all of them the owner's" % len(part)
    assert len(part) >= len(whole) - sum([len(c) for c in u.chunks[k:]]), len(part)


class Writes:
    """In the place of ``open``: counts what is written to update.part."""

    def __init__(self):
        self.count = 0
        self.open = open

    def __call__(self, name, mode="r"):
        self.count += name == "update.part" and mode == "r+b"
        return self.open(name, mode)

    def __enter__(self):
        module.open = self
        return self

    def __exit__(self, *_):
        del module.open


def listened(ota):
    """Return a list, to which each report adds its state and where it is."""
    told = []
    tell = ota._report

    def report(state, *args):
        told.append((state, ota._next))
        return tell(state, *args)

    ota._report = report
    return told


def check_all_arrives():
    """Three questions for 74 chunks, each of which is written once; MQTT 3.1.1 and 5."""
    for options in ({}, {"version": 5}):
        ota = fresh()
        bench = Bench(ota, retained(), **options)
        told = listened(ota)
        with Writes() as writes:
            bench.fetch()
        arrived(ota)
        same(told, [("have", 32), ("have", 64), ("trial", 74)])
        same(bench.asked, [[U + "%d/32" % n, U + "%d" % n] for n in (0, 32, 64)])
        same(writes.count, COUNT)
        # What is told stands there once, and is the newest.
        same([o.expect for o in bench.session.outbox], [0])
        assert b'"trial"' in bench.session.outbox[0].packet


def check_one_buffer():
    """A chunk's, whatever the message's length."""
    sizes = []

    class Counted(bytearray):
        def __init__(self, n):
            sizes.append(n)
            super().__init__(n)

    import dormouse.field.large_ota as part

    part.bytearray = Counted
    try:
        ota = fresh()
        Bench(ota, retained()).fetch()
    finally:
        del part.bytearray
    arrived(ota)
    same(sizes, [2080])  # since it looked at what is on flash


def check_only_many():
    """Somebody took the chunks away: what there is is taken."""
    ota = fresh()
    bench = Bench(ota, {name: data for name, data in retained().items() if name.count("/") == 5})
    bench.fetch()
    arrived(ota)


def check_a_few_chunks():
    """No more than are asked for at once anyway."""
    u = Update(files=(("main.py", b"new" * 200),))
    clear()
    ota = LargeOta(SECRET, TOPIC)
    u.offer(ota)
    bench = Bench(ota, retained(u))
    bench.fetch()
    same((len(u.chunks), ota.ready, bench.asked), (3, True, [[U + "0", U + "1", U + "2"]]))


def check_only_chunks():
    """The owner has put no messages of many, or the broker took none: as ever, three at a time."""
    ota = fresh()
    bench = Bench(ota, retained(many=False))
    with Writes() as writes:
        bench.fetch()
    arrived(ota)
    same(writes.count, COUNT)
    same(sum([len(names) for names in bench.asked]), COUNT + 3)
    assert len(bench.asked) < 36, bench.asked


def check_a_client_that_takes_none():
    """Without ``large`` the messages of many are read past, and told; the chunks arrive."""
    for options in ({"large": False}, {"large": "out"}):
        ota = fresh()
        bench = Bench(ota, retained(), **options)
        bench.fetch()
        arrived(ota)
        same(bench.session.troubles, 3)


def check_begun_the_other_way():
    """With chunks, with messages of many: each goes on where the other was."""
    for kinds in ((Ota, LargeOta), (LargeOta, Ota)):
        for steps in (3, 40):
            ota = fresh(kinds[0])
            bench = Bench(ota, retained())
            ota.fetch(bench.client)
            while ota._next < steps:
                bench.step()
            ota = kinds[1](SECRET, TOPIC)
            with Writes() as writes:
                before = ota_at(ota)
                Bench(ota, retained()).fetch()
            arrived(ota)
            same(writes.count, COUNT - before)


def ota_at(ota):
    ota._load()
    return ota._next


def check_wrong_chunks():
    """One in a message ends the taking of that, and what is behind it comes chunk by chunk."""
    u = update()
    for k in range(32):
        for at in (0, 31, 32, 100, 287):
            if at and k % 8:
                continue
            there = retained()
            bad = bytearray(there[U + "0/32"])
            bad[k * (CHUNK + 32) + at] ^= 1
            there[U + "0/32"] = bytes(bad)
            ota = fresh()
            bench = Bench(ota, there)
            with Writes() as writes:
                ota.fetch(bench.client)
                bench.answer()
                while not bench.session.inbox:
                    bench.move()
                m = bench.session.inbox.pop(0)
                assert bench.handle(m)
                same((ota._next, writes.count), (k, k))
                good(k)
                told = [o.packet for o in bench.session.outbox if o.packet[0] & 0xF0 == 0x30]
                same(len(told), bool(k))
                assert not k or b'"have": %d' % k in told[0], told
                m.ack()
                bench.run()
            arrived(ota)
            same(writes.count, COUNT)
            # 11 questions, and the two messages behind it.
            assert len(bench.asked) <= 15, bench.asked
    # It never comes right: a chunk is asked for three times, and that is all.
    there = retained()
    there[U + "32/32"] = bytes(9000)
    there[U + "32"] = bytes(288)
    ota = fresh()
    bench = Bench(ota, there)
    bench.fetch()
    same((ota._next, len(bench.asked)), (32, 4))
    same(bench.asked[2:], [[U + "32"]] * 2)
    u.offer(ota)


def check_messages_of_other_lengths():
    """Shorter, longer, empty, cut at a border: what is right of it counts."""
    whole = b"".join(update().chunks[:32])
    for payload, k in (
        (b"", 0),
        (whole[:1], 0),
        (whole[:288], 1),
        (whole[:289], 1),
        (whole[:700], 2),
        (whole[:-1], 31),
        (whole + b"x", 32),
        (whole + whole, 32),
        (b"x" + whole, 0),
        (bytes(20000), 0),
    ):
        there = retained()
        there[U + "0/32"] = payload
        ota = fresh()
        bench = Bench(ota, there)
        ota.fetch(bench.client)
        bench.answer()
        while not bench.session.inbox:
            bench.move()
        m = bench.session.inbox.pop(0)
        bench.handle(m)
        same(ota._next, k)
        good(k)
        m.ack()
        bench.run()
        arrived(ota)


def check_cut():
    """The connection is cut anywhere: it goes on behind what is there, and nothing is written, nor
    comes, twice but the chunk that was cut."""
    size = 32 * (CHUNK + 32)
    for at in list(range(0, 700, 23)) + list(range(700, size + 600, 307)):
        ota = fresh()
        bench = Bench(ota, retained())
        bench.cut = at
        with Writes() as writes:
            bench.fetch()
            if not ota.ready:  # cut in what nobody was taking: asked for in the next wake, or offer
                bench.fetch()
        arrived(ota)
        same((at, writes.count), (at, COUNT))
        if 700 < at < size:  # and nothing is asked for twice
            same(len(bench.asked), len({tuple(names) for names in bench.asked}))


def check_short_wakes():
    """Each wake, and connection, ends after the same number of bytes: all of them get further."""
    for n in (400, 1000, 3333):
        fresh()
        wakes = 0
        with Writes() as writes:
            while True:
                ota = LargeOta(SECRET, TOPIC)
                bench = Bench(ota, retained())
                before = ota_at(ota)
                bench.cut = n
                ota.fetch(bench.client)
                while bench.cut is not None and bench.step():
                    pass
                if ota.ready:
                    break
                wakes += 1
                assert ota._next > before or before + 1 >= COUNT, (n, before)
        arrived(ota)
        same(writes.count, COUNT)
        assert wakes < COUNT * 288 // (n - 340) + 9, (n, wakes)


def check_it_comes_again():
    """From its first byte, while it is in the middle: what is there is not written again."""
    u = update()
    for k in (1, 7, 31):
        ota = fresh()
        for n in range(k):
            u.chunk(ota, n)
        bench = Bench(ota, retained())
        bench.put(U + "0/32", b"".join(u.chunks[:32]))
        with Writes() as writes:
            bench.step()
            bench.step()
            same((ota._next, writes.count), (32, 32 - k))
        bench.fetch()
        arrived(ota)
    # What is there may come with other bytes: nobody reads them.
    ota = fresh()
    for n in range(5):
        u.chunk(ota, n)
    bench = Bench(ota, retained())
    bench.put(U + "0/32", bytes(5 * 288) + b"".join(u.chunks[5:32]))
    bench.step()
    bench.step()
    same(ota._next, 32)
    good(32)


def check_power_cut():
    """Behind each chunk, and with a part of the next one: the next start goes on there."""
    u = update()
    for k in (0, 1, 15, 31, 32, 33, 63, 64, 73):
        for torn in (0, 1, 100):
            ota = fresh()
            put("update.part", get("update.part") + b"".join(u.chunks[:k]) + u.chunks[k][:torn])
            ota = LargeOta(SECRET, TOPIC)
            bench = Bench(ota, retained())
            with Writes() as writes:
                bench.fetch()
            arrived(ota)
            same(writes.count, COUNT - k)


def check_neighbours():
    """Others' messages, before, behind and in the place of it, change nothing and are not taken."""
    u = update()
    whole = b"".join(u.chunks[:32])
    ota = fresh()
    bench = Bench(ota, {})
    taken = []
    handle = bench.handle
    bench.handle = lambda m: taken.append((m.topic, handle(m)))
    junk = bytes(3000)
    for topic, payload, mine in (
        ("green/8/x", junk, False),
        ("green/7/updates/5/0/32", whole, False),
        ("green/7/update", junk, True),
        ("green/7/update/5", junk, True),
        (U, whole, True),
        (U + "0", whole, True),
        (U + "0/", whole, True),
        (U + "0/31", whole, True),
        (U + "0/32/", whole, True),
        (U + "0/32/0", whole, True),
        (U + "1/32", whole, True),
        (U + "32/32", whole, True),
        (U + "-32/32", whole, False),
        (U + "00/32", whole, True),
        ("green/7/update/6/0/32", whole, True),
        ("green/7/update/None/0/32", whole, False),
        (U + "0/32", junk, True),
        (U + "0/32", whole[288:], True),
        (U + "0/32", whole[:287] + b"\0" + whole[288:], True),
        ("green/8/y", junk, False),
    ):
        bench.put(topic, payload)
        bench.run()
        same(taken.pop(), (topic, mine))
        same(ota._next, 0)
        good(0)
    same(bench.asked, [])  # because of them nothing is
    # What is not of an update is left as it came.
    for topic in ("green/7/updates", "green/7/update/do/x"):
        bench.put(topic, bytes(1000))
        while not bench.session.inbox:
            bench.move()
        m = bench.session.inbox.pop(0)
        same((handle(m), m.left + len(m.chunk)), (False, 1000))
        m.ack()
    bench.retained = retained()
    u.offer(ota)
    bench.fetch()
    arrived(ota)
    bench.put(U + "0/32", whole)  # it is too late
    bench.run()
    arrived(ota)


def check_of_another_update():
    """What is left of one that was replaced by a newer one, or taken back, is not taken."""
    whole = b"".join(update().chunks[:32])
    for other, name in ((Update(9), "have"), (Update(5, files=(), head=b""), "withdrawn")):
        ota = fresh()
        bench = Bench(ota, {})
        state(other.offer(ota), name, other.id)
        before = get("update.part") if name == "have" else None
        bench.put(U + "0/32", whole)
        bench.run()
        same(get("update.part") if there_is("update.part") else None, before)
    # In the middle of one a withdrawal ends it.
    ota = fresh()
    bench = Bench(ota, retained())
    take = ota.take

    def withdrawn(name, payload):
        if name == "5/9":
            take("", other.payload)
        return take(name, payload)

    ota.take = withdrawn
    bench.fetch()
    same((there_is("update.part"), ota.ready), (False, False))


def check_refused_in_the_middle():
    """Its head is not to be followed: the rest of the message is read past, and it has ended."""
    u = Update(files=(("config.json", b"bad" * 9000),))
    ota = node()
    ota = LargeOta(SECRET, TOPIC)
    u.offer(ota)
    bench = Bench(ota, retained(u))
    with Writes() as writes:
        bench.fetch()
    same((writes.count, there_is("update.part"), len(bench.asked)), (1, False, 1))
    assert b"not to be updated: config.json" in bench.session.outbox[0].packet


def check_cancelled():
    """In the middle of a message: what is there stays, and all goes on as before."""
    ota = fresh()
    bench = Bench(ota, retained())
    ota.fetch(bench.client)
    bench.answer()
    while not bench.session.inbox:
        bench.move()
    m = bench.session.inbox.pop(0)
    awaited = ota.receive(m, bench.client)
    while ota._next < 7:
        awaited.send(None)
        bench.move()
    awaited.close()
    m.ack()
    same(ota._first, 0)
    good(7)
    bench.run()
    bench.fetch()
    arrived(ota)


def check_no_memory():
    """For a chunk in one piece: they are asked for one by one, and nothing is raised."""
    calls = []

    def none(n):
        calls.append(n)
        if len(calls) < 3:
            raise MemoryError
        return memoryview(bytearray(n))

    ota = fresh()
    bench = Bench(ota, retained())
    ota._buffer = none
    ota.fetch(bench.client)
    bench.answer()
    bench.step()
    bench.step()
    same((ota._next, ota._first, len(calls)), (0, 0, 1))
    bench.run()
    arrived(ota)


def check_no_memory_to_look():
    """What is on flash is not thrown away because there is no room for a chunk of it."""
    for kind in (Ota, LargeOta):
        ota = fresh(kind)
        for n in range(5):
            update().chunk(ota, n)
        ota = kind(SECRET, TOPIC)

        def none(n):
            raise MemoryError

        ota._buffer = none
        bench = Bench(ota, retained())
        bench.fetch()
        same((ota._id, bench.asked, ota.trouble, there_is("update.bad")), (None, [], None, False))
        del ota._buffer
        bench.fetch()
        arrived(ota)


def check_a_client_that_knows_no_pieces():
    """Nothing of ``large`` is loaded, and a message of many is not too long for it."""
    readinto = Message.readinto
    ota = fresh()
    bench = Bench(ota, retained(), large=False, max_packet=20000, inbox_bytes=40000)
    del Message.readinto
    try:
        bench.fetch()
    finally:
        Message.readinto = readinto
    arrived(ota)


def check_a_fault_at_each_operation():
    """One that passes, at any operation on files: nothing is raised, and the update arrives."""

    def life(at):
        fresh()
        ota = LargeOta(SECRET, TOPIC)
        module.os = flaky = Flaky(at)
        module.open = flaky.open
        try:
            bench = Bench(ota, retained())
            for _ in range(3):
                if not ota.ready:
                    bench.fetch()
        finally:
            module.os = os
            del module.open
        arrived(ota)
        return flaky.count

    real = module.sleep
    module.sleep = lambda s: None
    try:
        count = life(0)
        for at in list(range(1, count, 7)) + list(range(count - 30, count + 1)):
            life(at)
    finally:
        module.sleep = real


def check_full_flash():
    """Each write fails: it is told, and not tried for ever."""

    class Full(Writes):
        def __call__(self, name, mode="r"):
            if mode == "r+b":
                raise OSError(28)
            return self.open(name, mode)

    ota = fresh()
    bench = Bench(ota, {U + "0/32": retained()[U + "0/32"]})
    with Full():
        bench.fetch()
    assert b"OSError(28" in bench.session.outbox[0].packet
    bench.retained = retained()
    ota = bench.ota = LargeOta(SECRET, TOPIC)
    bench.fetch()
    arrived(ota)


def check_short_messages_too():
    """A client to which such a message is not larger than ``max_packet``."""
    ota = fresh()
    bench = Bench(ota, retained(), max_packet=20000, inbox_bytes=40000)
    bench.fetch()
    arrived(ota)
    same(len(bench.asked), 3)
    m = Message()
    m.topic = "other"
    m.payload = b""
    same(bench.handle(m), False)


def check_all_is_large():
    """Offers and chunks, too, are longer than ``max_packet``: nothing of them is held but a chunk.
    (With Ota such an update never arrived: the payloads of these messages are empty.)"""
    u = update()
    there = retained()
    there[U + "0/32"] = bytes(20000)
    for known in (there, retained(many=False)):
        clear()
        put("gone", b"old")
        ota = LargeOta(SECRET, TOPIC)
        bench = Bench(ota, known, max_packet=64)
        bench.put("green/7/update", bytes(2081))  # no offer is as long
        bench.put("green/7/update", u.payload)
        with Writes() as writes:
            bench.run()
        arrived(ota)
        same((writes.count, bench.session.dropped, len(ota._buf)), (COUNT, 0, 2080))
    # One that is cut is as if it had not come.
    clear()
    put("gone", b"old")
    ota = LargeOta(SECRET, TOPIC)
    bench = Bench(ota, retained(many=False), max_packet=64)
    bench.put("green/7/update", u.payload)
    bench.cut = len(u.payload) - 9
    bench.run()
    same((ota._id, there_is("update.part")), (None, False))
    bench.put("green/7/update", u.payload)
    bench.run()
    arrived(ota)


def check_larger_chunks():
    """The owner says how long they are: the buffer is as long as that takes."""
    import ota_checks

    ota_checks.CHUNK = 3000
    try:
        u = Update(id=7, files=(("main.py", b"new" * 6000),))
    finally:
        ota_checks.CHUNK = CHUNK
    for many in (True, False):
        clear()
        ota = LargeOta(SECRET, TOPIC)
        there = {}
        for n in range(len(u.chunks)):
            there["green/7/update/7/%d" % n] = u.chunks[n]
            if many and not n % 32:
                there["green/7/update/7/%d/32" % n] = b"".join(u.chunks[n : n + 32])
        bench = Bench(ota, there, max_packet=64)
        bench.put("green/7/update", u.payload)
        bench.run()
        assert ota.ready
        same(get("update.part") == u.text.encode() + b"\n" + b"".join(u.chunks), True)


CHECKS = sorted(name for name in globals() if name.startswith("check_"))

if __name__ == "__main__":
    run(globals(), CHECKS)

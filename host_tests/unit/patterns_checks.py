"""Checks of dormouse/patterns that need no network, on every runtime (see core_checks.py)."""

import asyncio
import json

import dormouse.patterns.age as ages
import dormouse.patterns.homeassistant as homes
import dormouse.patterns.keep as keeps
import dormouse.patterns.once as onces
import dormouse.patterns.steady as steadies
from core_checks import raises, run, same
from dormouse import ConnectionLost, OutboxFull, Refused, Will
from dormouse.patterns.age import Age
from dormouse.patterns.homeassistant import HomeAssistant, expire
from dormouse.patterns.keep import Keeper
from dormouse.patterns.once import Once
from dormouse.patterns.presence import Watch, leave, online, will
from dormouse.patterns.rpc import Requester, method, request_id, respond
from dormouse.patterns.sequence import Counter, Sequence
from dormouse.patterns.shadow import Shadow
from dormouse.patterns.state import State, ask
from dormouse.patterns.steady import fields
from dormouse.store import Store, StoreFull
from dormouse.store.durable import durable

NOW = 1795253429
UNSET = 1609459205  # 2021: what an RP2 says at each boot


class Clock:
    """Stands for time.time, and for a gmtime that counts from 1970."""

    now = NOW

    def __call__(self):
        return self.now

    def gmtime(self, s):
        return (1970, 1, 1, 0, 0, 0, 3, 1) if not s else (2026, 11, 21, 7, 30, 29, 5, 325)


clock = Clock()
ages.time = onces.time = homes.time = clock
ages.gmtime = homes.gmtime = clock.gmtime


class Medium(Store):
    """Counts its records; with ``full`` it takes none."""

    full = False

    def __init__(self, data=None):
        self.first = data or {}
        self.records = 0
        super().__init__()

    def read(self):
        return self.first

    def write(self, changes):
        if self.full:
            raise StoreFull
        self.records += 1

    def again(self):
        """The chip was reset."""
        return Medium({key: bytearray(value) for key, value in self.data.items()})


class Message:
    """One that came."""

    def __init__(self, topic, payload=b"", retain=False):
        self.topic = topic
        self.payload = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        self.retain = retain


class Out:
    """What publishes."""

    done = True
    error = None

    def __init__(self):
        self.log = []

    def __call__(self, topic, payload=b"", qos=0, retain=False):
        self.log.append((topic, payload, qos, retain))
        return self

    def sent(self):
        log = self.log
        self.log = []
        return log


def log():
    words = []
    return words, lambda *more: words.append(" ".join(str(word) for word in more))


# --- age


def check_age():
    words, say = log()
    age = Age(60, log=say)
    m = Message("door/do/open")
    for sent, why in (
        (NOW, None),
        (NOW - 60, None),
        (NOW - 61, "old"),
        (NOW + 60, None),
        (NOW + 61, "ahead"),
        (NOW - 0.5, None),
        (None, "no time"),
        ("1795253429", "no time"),
        (float("nan"), "ahead"),
        (float("inf"), "ahead"),
        (float("-inf"), "old"),
    ):
        same(age.refused(m, sent), why)
    same(age.count, 7)
    same(words[0], "refused, old: door/do/open")


def check_age_without_a_clock():
    clock.now = UNSET
    try:
        m = Message("door/do/open")
        same(Age(60, log=log()[1]).refused(m, NOW), "no clock")
        same(Age(60, unknown=True).refused(m, NOW), None)
        same(Age(60, unknown=True).refused(m, None), None)
    finally:
        clock.now = NOW


def check_retained_event_is_told():
    words, say = log()
    same(Age(60, log=say).refused(Message("door/do/open", retain=True), NOW), None)
    same(words, ["retained, though it is no state: door/do/open"])


# --- once


def check_once_by_id():
    store = Medium()
    once = Once(store, size=3)
    same(once.seen("a"), False)
    once.done("a", changes={16: b"on"})
    same(store.records, 1)  # both in one record
    same(bytes(store.data[16]), b"on")
    store = store.again()
    once = Once(store, size=3)
    same(once.seen("a"), True)
    same(once.seen(b"a"), True)
    for n in range(3):
        same(once.seen(n), False)
        once.done(n)
    same(once.seen("a"), False)  # bounded: the oldest is forgotten
    same([once.seen(n) for n in range(3)], [True, True, True])
    same(len(store.data[0x100]), 36)
    once.done(0)  # again, and it is the newest
    once.done(7)
    same([once.seen(n) for n in (0, 1, 2, 7)], [True, False, True, True])
    for strange in ("\ud800", None, 7.5, ["a"], {"a": 1}, memoryview(b"x"), memoryview(b"y")):
        same(once.seen(strange), False)
        once.done(strange, strange)
        same(once.seen(strange), True)
    same(once.seen("y"), True)
    once.forget()
    same(once.seen(7), False)
    same(0x100 in store.data, False)


def check_once_that_could_not_be_noted():
    store = Medium()
    once = Once(store)
    once.done("a")
    store.full = True
    raises(StoreFull, once.done, "b", changes={16: b"x"})
    same((once.seen("a"), once.seen("b"), 16 in store.data), (True, False, False))


def check_once_by_state():
    store = Medium()
    once = Once(store, state=True)
    same(once.seen("lamp", b"on"), False)
    once.done("lamp", b"on")
    once = Once(store.again(), state=True)
    same(once.seen("lamp", b"on"), True)
    same(once.seen("lamp", b"off"), False)
    same(once.seen("fan", b"on"), False)
    once.done("lamp", b"off")
    same(once.seen("lamp", b"on"), False)


def check_once_by_time():
    store = Medium()
    once = Once(store, within=30)
    once.done("bell")
    try:
        clock.now = NOW + 29
        same(Once(store.again(), within=30).seen("bell"), True)
        clock.now = NOW + 30
        same(once.seen("bell"), False)
        clock.now = NOW - 29  # set back meanwhile
        same(once.seen("bell"), True)
        clock.now = UNSET
        again = Once(store.again(), within=30)
        clock.now = NOW + 29  # an RP2's, that is set when it has joined
        same(again.seen("bell"), True)
        # A clock that was never set goes on since the boot; before a reset it says nothing.
        clock.now = UNSET
        once = Once(store.again(), within=30)
        same(once.seen("bell"), False)
        once.done("bell")
        clock.now = UNSET + 29
        same(once.seen("bell"), True)
        clock.now = UNSET
        same(Once(once.store.again(), within=30).seen("bell"), False)
        # ... and set meanwhile, it is long ago.
        clock.now = NOW
        same(once.seen("bell"), False)
    finally:
        clock.now = NOW


# --- sequence


def session(store):
    return durable()(lambda: None, "c", store, clean=False)


def check_counter():
    store = Medium()
    s = session(store)
    numbers = Counter(s)
    first = numbers.last
    assert 0 <= first < 1 << 30
    n = numbers.next(b"state")
    same(n, first + 1 & 0x3FFFFFFF)
    same(store.records, 0)  # not before the message
    s.publish("t", b"%d" % n, 1)
    same(store.records, 1)  # in its record
    store = store.again()
    numbers = Counter(session(store))
    same((numbers.last, bytes(numbers.state)), (n, b"state"))
    # A number for which there was no message is not used up.
    numbers.next()
    same(Counter(session(store.again())).next(), n + 1 & 0x3FFFFFFF)


def check_counter_without_memory():
    s = session(Medium())
    numbers = Counter(s)
    first = numbers.last
    commit = s.commit

    def no_memory(data):
        raise MemoryError

    s.commit = no_memory
    raises(MemoryError, numbers.next)
    s.commit = commit
    same(numbers.next(), first + 1 & 0x3FFFFFFF)  # none is left out


def check_counter_beside_what_is_committed_with_ack():
    store = Medium()
    s = session(store)
    numbers = Counter(s)
    numbers.next()
    s.commit(numbers.pack(b"on"))
    s.publish("t", b"", 1)
    again = Counter(session(store.again()))
    same((again.last, bytes(again.state)), (numbers.last, b"on"))


def check_sequence():
    store = Medium()
    order = Sequence(store)
    seen = []
    for n in (100, 101, 101, 104, 100, 102, 102, 103, 105, 104):
        missing = order.check(n)
        if missing >= 0:
            order.done(n)
        seen.append(missing)
        store = store.again()  # a reset after each
        missed = order.missed
        order = Sequence(store)
        order.missed = missed
    same(seen, [0, 0, -1, 2, -1, 0, -1, 0, 0, -1])
    same(order.missed, 0)  # those that were missing came late


def check_sequence_misses():
    order = Sequence(Medium())
    for n in (5, 7, 10):
        order.done(n)
    same(order.missed, 3)
    order.done(10)
    same((order.missed, order.anew), (3, 0))


def check_sequence_that_begins_anew():
    """A sender that lost its memory is not silenced."""
    order = Sequence(Medium())
    order.done(70000000)
    for n in (5, 6):
        same(order.check(n), 0)
        order.done(n)
    same((order.last, order.anew, order.missed), (6, 1, 0))
    same((order.check(5), order.check(6), order.check(8)), (-1, -1, 1))


def check_sequence_wraps():
    order = Sequence(Medium())
    for n in (0x3FFFFFFE, 0x3FFFFFFF, 0, 1):
        same(order.check(n), 0)
        order.done(n)
    same(order.check(0x3FFFFFFF), -1)
    same((order.missed, order.anew), (0, 0))
    order.done(40)  # more than the window
    same((order.check(39), order.check(41)), (0, 0))


def check_sequence_of_what_is_no_number():
    store = Medium()
    order = Sequence(store)
    for n in (None, "7", 7.5, [], {}):
        same(order.check(n), -1)
    order.done(7)
    for n in (None, "8", 8.5, [], {}):
        same(order.check(n), -1)
    for n in (1 << 40, -5, (1 << 1000) + 3):  # whatever it is, it is one of these numbers
        if order.check(n) >= 0:
            order.done(n)
        same(Sequence(store.again()).last, order.last)
    assert 0 <= order.last < 1 << 30
    same(order.check(order.last + 1), 0)


# --- steady

NONSENSE = (
    b"",
    b"\xff",
    b"null",
    b"[]",
    b"7",
    b"{",
    b"[" * 100000,  # more than there is memory for; deeper than CPython goes
    b'{"a":' * 50000,
    b'{"a":' * 400 + b"1" + b"}" * 400,  # to write these again takes more stack than a chip has
    b'{"a":' + b"[" * 400 + b"]" * 400 + b"}",
    b'{"a": NaN}',
    b'{"a": [1, {"b": 1e999}]}',
    b'{"a": -1e999}',
)


def check_fields():
    for payload in NONSENSE:
        same(fields(payload), {})
    deep = '{"a":' * 16 + "1" + "}" * 16
    for text in ('{"a": 1}', '{"a": [1.5, {"b": null}], "c": -2e3}', "{}", deep):
        same(fields(text.encode()), json.loads(text))
    for end in ("1", "[]", "{}", "1e999"):
        same(fields(deep.replace("1", '{"a":' + end + "}")), {})


class Quick:
    """asyncio, for whom a second is none."""

    @staticmethod
    async def sleep(s):
        same(s, 1)
        await asyncio.sleep(0)


steadies.asyncio = Quick


class Connection:
    """A client: what becomes of each call, and of each connection, is given."""

    error = None
    _first = False
    waits = 0

    def __init__(self, *ends):
        self.ends = list(ends)
        self._task = True
        self.said = []
        self.session = self
        self.told = []
        self._tell = self.told.append
        self.resumed = 1

    async def wait_connected(self, connected=True):
        self.waits += 1
        assert self.waits < 999, "says nothing more, and does not end"
        if not self.ends:
            self._task = None
            if not self._first:
                self.error = ConnectionLost("end")
            if connected:
                raise self.error or ConnectionLost("disconnected")

    async def publish(self, topic, payload, qos, retain):
        self.said.append(topic)
        e = self.ends.pop(0)
        if isinstance(e, Exception):
            raise e
        if e is not None:  # session present at the next connection
            self.resumed = e

    async def subscribe(self, *filters, qos):
        await self.publish(*filters, b"", qos, False)

    def publish_nowait(self, topic, payload, qos):
        self.said.append(topic)


def check_at_each():
    """What is said at each connection is said at the next one, whatever became of it."""
    for say in (
        lambda c: online(c, "t"),
        lambda c: ask(c, "t", get=("g",)),
    ):
        refused = Refused([128])
        client = Connection(None, refused, None)
        try:
            asyncio.run(say(client))
        except ConnectionLost as e:
            same(e.args, ("end",))
        same(client.said.count("t"), 3)
        same(client.told, [refused])
        # In the same one, be it room in the outbox or on the flash, or memory.
        client = Connection(OutboxFull(), OSError(28), MemoryError(), None)
        raises(ConnectionLost, asyncio.run, say(client))
        same((client.said.count("t"), client.told), (4, []))
        # Disconnected by its owner, that is the end of it, and no error.
        client = Connection(None)
        client._first = True
        same(asyncio.run(say(client)), None)
        client.error = refused  # at the first connection of all
        raises(Refused, asyncio.run, say(client))
        raises(ValueError, asyncio.run, say(Connection(ValueError())))


def check_keep():
    """Home Assistant knows the device in the end: what a broker that forgot refuses goes again, at
    connections to a session that is there, too."""
    for fault in (Refused([151]), OutboxFull(), ConnectionLost()):
        client = Connection(0, fault, None)  # announced; then forgotten, and not taken
        h = HomeAssistant(client, "g/7", "g-7")

        async def publish(*args, client=client, real=client.publish):
            try:
                await real(*args)
            except Exception:
                client.resumed = 1
                raise

        client.publish = publish
        raises(ConnectionLost, asyncio.run, h.keep(client))
        same(client.said, [h.where] * 3)


def check_leave_comes_to_an_end():
    """The broker is gone, and does not answer any more: whoever leaves need not wait for it."""

    class Client:
        connected = True
        timeout = 0.01
        left = 0

        async def publish(self, *args):
            while True:
                await asyncio.sleep(1)

        async def disconnect(self):
            self.left += 1

    client = Client()
    raises(asyncio.TimeoutError, asyncio.run, leave(client, "t"))
    same(client.left, 1)


def check_leave_has_the_last_word():
    """Neither at a new connection nor when there is room again "online" goes behind "offline"."""

    class Client(Connection):
        connected = True
        timeout = 9
        left = 0

        async def wait_connected(self, connected=True):
            await asyncio.sleep(0)
            await super().wait_connected(connected)

        async def publish(self, topic, payload, qos, retain):
            await super().publish(payload, b"", 0, False)
            while payload == b"offline" and self.left < 9:
                self.left += 1
                await asyncio.sleep(0)

        async def disconnect(self):
            self.ends = []

    async def stay_and_leave(client):
        task = asyncio.create_task(online(client, "t"))
        while not client.said:
            await asyncio.sleep(0)
        await leave(client, "t")
        try:  # noqa: SIM105 - MicroPython has no contextlib
            await task
        except ConnectionLost:
            pass

    for fault in (None, OutboxFull()):
        client = Client(fault, *[None] * 99)
        asyncio.run(stay_and_leave(client))
        same(client.said, [b"online", b"offline"])
        client.ends = [None]  # of whoever comes back it is said anew
        raises(ConnectionLost, asyncio.run, online(client, "t"))
        same(client.said[2:], [b"online"])


class Owned(Connection):
    """As Client to a Keeper: started, it is connected until its owner disconnects it."""

    error = None
    _task = False
    started = 0

    def start(self):
        self.started += 1
        self._task = True

    async def wait_connected(self, connected=True):
        if not connected:
            self._task = False


class Joins:
    """A Wi-Fi of which the first joins fail."""

    def __init__(self, client, *faults):
        self.client = client
        self.faults = list(faults)

    async def join(self):
        if self.faults:
            e = self.faults.pop(0)
            if e:
                raise e
            self.client._task = False  # its owner disconnects it


async def at_once(ms):
    await asyncio.sleep(0)


def check_keeper():
    """Whatever a join raises, it is tried again; but not once its owner has disconnected it."""
    words, say = log()
    client = Owned()
    real = keeps.sleep_ms
    keeps.sleep_ms = at_once
    wifi = Joins(client, MemoryError(), OverflowError(), OSError(5))
    try:
        asyncio.run(Keeper(client, wifi, say).run())
    finally:
        keeps.sleep_ms = real
    same((client.started, len(words)), (1, 4))  # and "up"
    client = Owned()
    keeper = Keeper(client, Joins(client, None))
    keeper._started = client._task = True  # and its connection was lost
    asyncio.run(keeper.run())
    same(client.started, 0)
    asyncio.run(keeper.run())  # once more: it is wanted again
    same(client.started, 1)
    # What cannot be logged ends nothing, at whichever word.
    for n in range(1, 5):
        client = Owned()
        words = Fails(n)
        keeps.sleep_ms = at_once
        try:
            asyncio.run(Keeper(client, Joins(client, OSError(5), OSError(5)), words).run())
        finally:
            keeps.sleep_ms = real
        same((client.started, words.left <= 0), (1, n < 4))


class Link:
    """A port's WLAN, and the Wi-Fi of it; the client's way to the broker, which notes its use."""

    up = True

    def __init__(self):
        self.wlan = self
        self.used = []

    def isconnected(self):
        return self.up

    async def join(self):
        pass

    def open_stream(self, *address):
        self.used.append(address)

    def read(self):
        return "read"

    def write(self):
        return "write"


def check_keeper_without_a_network():
    """No name is looked up while the Wi-Fi is gone: that blocks all tasks, on RP2 for ever."""
    link = Link()
    for wifi in (link, Behind(link)):  # as behind a Clock
        client = Owned()
        client.stream = link
        asyncio.run(Keeper(client, wifi).run())
        way = client.stream
        same((way.read(), way.write()), ("read", "write"))
        link.up = False
        same(raises(OSError, way.open_stream, "broker.local", 1883, None).args, (113,))
        same(link.used, [])
        link.up = True
        way.open_stream("broker.local", 1883, None)
        same(link.used.pop(), ("broker.local", 1883, None))
        client._task = False
        asyncio.run(Keeper(client, wifi).run())
        assert client.stream is way  # no way to it through itself
    client = Owned()
    client.stream = link
    asyncio.run(Keeper(client).run())
    assert client.stream is link  # the network is there


class Behind:
    def __init__(self, wifi):
        self.wifi = wifi
        self.join = wifi.join


class Fails:
    """A log that raises at its n-th word."""

    def __init__(self, n):
        self.left = n

    def __call__(self, *words):
        self.left -= 1
        if not self.left:
            raise OSError(28)


# --- state, rpc, presence


class Forgot:
    resumed = 0


class Kept:
    resumed = 1


def check_state():
    out = Out()
    store = Medium()
    state = State(out, store)
    assert state.set("door", b"open")
    same(state.set("door", b"open"), None)
    state = State(out, store.again())
    same(state.set("door", b"open"), None)
    same(out.sent(), [("door", b"open", 1, True)])
    same((state.again(Kept()), state.set("door", b"open")), (False, None))
    same(state.again(Forgot()), True)
    assert state.set("door", b"open")
    state.again()
    assert state.set("door", b"open")
    same(len(out.sent()), 2)
    # Dropped at once, as a Node's publish tells, and then a reset.
    state = State(out, store)
    out.error = OutboxFull()
    assert state.set("door", b"shut")
    out.error = None
    state = State(out, store.again())
    assert state.set("door", b"shut")
    same(state.set("door", b"shut"), None)
    state = State(out)
    assert state.set("door", b"open")


def check_state_that_did_not_get_through():
    """Refused or dropped, it is said again; and whatever the store says, the program goes on."""
    out = Out()
    store = Medium()
    state = State(out, store)
    assert state.set("door", b"open")
    out.error = OutboxFull()
    assert state.set("door", b"open")
    out.error = None
    same(state.set("door", b"open"), None)
    store.full = True
    assert state.set("door", b"shut")
    same(state.set("door", b"shut"), None)
    assert State(out, store.again()).set("door", b"shut")  # better twice than not
    store.full = False
    same(state.set("door", b"shut"), None)
    same(State(out, store.again()).set("door", b"shut"), None)


def check_state_without_memory_for_its_note():
    """It has gone: a ``set`` that raises has done nothing."""
    out = Out()
    state = State(out, Medium())

    def no_memory(topic, value):
        raise MemoryError

    state.last.done = no_memory
    assert state.set("door", b"open")
    same(len(out.sent()), 1)


def check_state_that_a_reset_would_lose():
    """What waits in RAM only is not said yet; nor does what was said before it hold any more."""
    out = Out()
    store = Medium()
    assert State(out, store).set("door", b"open")
    out.done = False
    state = State(out, store)
    out.key = 0  # at QoS 0, or a client's without a store
    assert state.set("door", b"shut")
    same(state.set("door", b"shut"), None)  # it waits
    same([bool(State(out, store.again()).set("door", b)) for b in (b"shut", b"open")], [True] * 2)
    out.done = True
    same(state.set("door", b"shut"), None)  # through: noted
    same(State(out, store.again()).set("door", b"shut"), None)
    records = store.records
    same((state.set("door", b"shut"), store.records), (None, records))
    out.done = False
    out.key = 7  # on the medium
    assert state.set("door", b"open")
    same(State(out, store.again()).set("door", b"open"), None)


def check_rpc():
    class Client:
        def __init__(self):
            self.publish_nowait = Out()

    client = Client()
    lamp = Requester(client, "lamp/3", "phone")
    same(lamp.filter, "lamp/3/response/phone/+")
    id = lamp.send("get", b"x")
    ((topic, payload, qos, retain),) = client.publish_nowait.sent()
    same((topic, payload, qos, retain), ("lamp/3/request/get/phone/" + id, b"x", 1, False))
    request = Message(topic)
    same((method(request), request_id(request)), ("get", "phone/" + id))
    out = Out()
    respond(out, request, b"on")
    same(out.sent(), [("lamp/3/response/phone/" + id, b"on", 1, False)])
    raises(ValueError, respond, out, Message("lamp/3"))
    raises(ValueError, Requester, client, "lamp/3", "a/b")
    raises(ValueError, lamp.send, "get/x")  # nobody would answer
    words, say = log()
    respond(out, Message(topic, retain=True), log=say)
    same(len(words), 1)
    same(lamp.take(Message("lamp/3/response/phone/" + id, b"on")), False)  # nobody waits
    lamp.waiting[id] = entry = [Event(), None]
    same(lamp.take(Message("lamp/4/response/phone/" + id, b"on")), False)
    same(lamp.take(Message("lamp/3/response/phone/" + id, b"on")), True)
    same((entry[1], entry[0].count), (b"on", 1))


class Event:
    count = 0

    def set(self):
        self.count += 1


def check_presence():
    w = will("lamp/state")
    same(w, Will("lamp/state", b"offline", 1, True))
    watch = Watch()
    same(watch.look(0), "unknown")
    watch.heard(b"online", True, 0)
    same(watch.look(9), "online")
    watch.heard(b"offline", False, 10)
    same(watch.look(9999), "offline")
    watch.heard(b'{"asleep":310,"until":0}', True, 100)
    same((watch.look(410), watch.look(411)), ("asleep", "late"))
    same((watch.look(410 + 620), watch.look(411 + 620)), ("late", "dead"))
    watch.heard(b'{"asleep":310,"until":5000}', True, 2000)
    same((watch.look(4999), watch.look(5001)), ("asleep", "late"))
    watch.heard(b'{"asleep":310,"until":5000}', False, 5000)
    same(watch.look(5310), "asleep")
    strange = (
        b"",
        b"null",
        b"[]",
        b"\xff",
        b'{"asleep":"x"}',
        b'{"asleep":1,"until":"x"}',
        b"{}",
        b'{"asleep":1,"until":1' + b"0" * 400 + b"}",
        b'{"asleep":1' + b"0" * 400 + b"}",
        b'{"asleep":[],"until":5}',
    )
    for nonsense in strange + NONSENSE:
        watch.heard(nonsense, True, 5000.5)
        if len(nonsense) < 400 or len(nonsense) > 500:
            same(watch.look(5310), "asleep")
        watch.look(5310.5)
        watch.heard(nonsense, True, 5000)  # an int, as ``age.now()`` is
        watch.look(5310.5)
        watch.heard(b'{"asleep":310,"until":5000}', False, 5000)
    watch.heard(b'{"lost":true}', False, 5001)
    same(watch.look(9999), "lost")


# --- shadow


BASE = "$aws/things/t/shadow/"


def took(shadow, part, document):
    if "clientToken" not in document and part != "update/delta":
        mark = shadow._mark if part[:6] == "update" else ""  # the answer to the last
        document["clientToken"] = "t#" + mark if mark else "t"
    return shadow.take(Message(shadow.base + part, document))


def check_shadow():
    out = Out()
    store = Medium()
    shadow = Shadow(out, "t", store=store)
    same(shadow.filters[0], (BASE + "get/accepted", 1))
    same(Shadow(out, "t", "n").base, "$aws/things/t/shadow/name/n/")
    shadow.get()
    same(out.sent(), [(BASE + "get", '{"clientToken": "t"}', 1, False)])
    state = {"desired": {"a": 2}, "reported": {"a": 1}, "delta": {"a": 2}}
    same(took(shadow, "get/accepted", {"state": state, "version": 7}), {"a": 2})
    same(store.records, 0)
    shadow.done({16: b"2"})
    same(store.records, 1)
    shadow = Shadow(out, "t", store=store.again())
    same(shadow.version, 7)
    same(took(shadow, "update/delta", {"state": {"a": 1}, "version": 7}), {})  # came before
    same(took(shadow, "update/delta", {"state": {"a": 3}, "version": 9}), {"a": 3})
    same(took(shadow, "update/delta", {"state": {"a": 1}, "version": 8}), {})  # out of order
    same([topic for topic, *_ in out.sent()], [BASE + "get"])  # unless it was deleted
    state = {"desired": {"a": 3}, "reported": {"a": 1}}
    took(shadow, "get/accepted", {"state": state, "version": 9})
    shadow.report({"a": 3}, desired=None)
    ((topic, text, _, _),) = out.sent()
    same(topic, BASE + "update")
    same(json.loads(text)["state"], {"reported": {"a": 3}, "desired": None})
    took(shadow, "update/accepted", {"state": {}, "version": 10})
    same((shadow.version, shadow.error), (10, None))
    # What a delta brought does not come again with the answer to a get from before it.
    shadow.get()
    same(took(shadow, "update/delta", {"state": {"a": 4}, "version": 11}), {"a": 4})
    answer = {"state": {"delta": {"a": 4}}, "version": 11}
    same(took(shadow, "get/accepted", dict(answer)), {})
    shadow.get()
    same(took(shadow, "get/accepted", dict(answer)), {"a": 4})
    # Cut before done: what comes again is taken again.
    same(Shadow(out, "t", store=shadow.store.again()).version, 7)


def check_shadow_conflict():
    out = Out()
    shadow = Shadow(out, "t")
    took(shadow, "get/accepted", {"state": {}, "version": 4})
    shadow.report({"a": 1}, check=True)
    same(json.loads(out.sent()[0][1])["version"], 4)
    took(shadow, "update/rejected", {"code": 409, "message": "Version conflict"})
    same(shadow.error, (409, "Version conflict"))
    same([topic for topic, *_ in out.sent()], [BASE + "get"])
    same(took(shadow, "get/accepted", {"state": {"delta": {"b": 1}}, "version": 6}), {"b": 1})
    again = json.loads(out.sent()[0][1])
    same((again["version"], again["state"]), (6, {"reported": {"a": 1}}))
    took(shadow, "update/accepted", {"version": 7})
    took(shadow, "get/accepted", {"state": {}, "version": 7})
    same(out.sent(), [])
    # Rejected for good: not again.
    shadow.report({"a": 1}, check=True)
    out.sent()
    took(shadow, "update/rejected", {"code": 413, "message": "too large"})
    took(shadow, "get/accepted", {"state": {}, "version": 8})
    same(out.sent(), [])


class Service:
    """What AWS does: an update with a version holds for that only, and each makes a new one."""

    def __init__(self):
        self.version = 5
        self.reported = {}
        self.log = []

    def __call__(self, topic, payload, qos):
        self.log.append((topic[len(BASE) :], json.loads(payload)))

    def answer(self, shadow):
        """Answer until nothing is asked any more; return how often."""
        n = 0
        while self.log:
            n += 1
            kind, request = self.log.pop(0)
            said = {"clientToken": request["clientToken"]}
            if kind == "get":
                said["state"] = {"reported": self.reported}
            elif request.get("version", self.version) != self.version:
                said["code"] = 409
            else:
                self.version += 1
                self.reported.update(request["state"]["reported"])
            said["version"] = self.version
            took(shadow, kind + ("/rejected" if "code" in said else "/accepted"), said)
        return n


def check_shadow_of_reports_in_a_row():
    """Each changes the version, for which the next one was: none is lost, whatever is answered."""
    service = Service()
    shadow = Shadow(service, "t")
    for version in (5, 4):  # known, and behind
        shadow.version = version
        service.__init__()
        shadow.report({"fan": {"on": 1}, "door": 1}, check=True)
        shadow.report({"lamp": 1}, desired=None, check=True)
        shadow.report({"fan": {"speed": 2}, "door": None}, check=True)
        same(service.answer(shadow), 5)  # these, one get, and all again
        same(service.reported, {"fan": {"on": 1, "speed": 2}, "lamp": 1, "door": None})
        same((shadow.error, shadow._again), (None, None))
    # What is repeated takes nothing back that was said without ``check`` meanwhile.
    shadow.version = 0
    shadow.report({"fan": 1}, check=True)
    shadow.report({"fan": 2})
    service.answer(shadow)
    same((service.reported["fan"], shadow._again), (2, None))
    # One that was not taken is not reported.
    shadow.publish = full
    raises(OutboxFull, shadow.report, {"fan": 3}, check=True)
    same(shadow._again, None)


def full(*args):
    raise OutboxFull


def check_shadow_of_what_a_report_leaves():
    """What accepts a report and the delta that it leaves have one version: that is news, once."""
    shadow = Shadow(Out(), "t")
    same(took(shadow, "update/delta", {"state": {"a": 1}, "version": 5}), {"a": 1})
    shadow.report({"a": 1})
    took(shadow, "update/accepted", {"version": 7})  # at 6 somebody desired another
    same(took(shadow, "update/delta", {"state": {"a": 2}, "version": 7}), {"a": 2})
    same(took(shadow, "update/delta", {"state": {"a": 2}, "version": 7}), {})
    shadow.report({"a": 2})
    same(took(shadow, "update/delta", {"state": {"a": 3}, "version": 9}), {"a": 3})
    took(shadow, "update/accepted", {"version": 9})  # AWS has no order between topics
    same(took(shadow, "update/delta", {"state": {"a": 3}, "version": 9}), {})
    # The answer to a get has it all.
    shadow.get()
    took(shadow, "update/accepted", {"version": 10})
    answer = {"state": {"delta": {"a": 4}}, "version": 10}
    same(took(shadow, "get/accepted", answer), {"a": 4})
    same(took(shadow, "update/delta", {"state": {"a": 4}, "version": 10}), {})


def check_shadow_that_was_deleted():
    """Its version begins anew, 48 hours after: it must not be taken for an old one for ever."""
    shadow = Shadow(Out(), "t", store=Medium({0x103: b"\0\0\1\0"}))
    same(shadow.version, 256)
    took(shadow, "get/rejected", {"code": 404, "message": "No shadow exists with name: 't'"})
    same(took(shadow, "update/delta", {"state": {"a": 1}, "version": 1}), {"a": 1})
    shadow.done()
    shadow = Shadow(Out(), "t", store=Medium({0x103: b"\0\0\1\0"}))
    state = {"delta": {"a": 2}}
    same(took(shadow, "get/accepted", {"state": state, "version": 3}), {"a": 2})


def check_shadow_of_a_lower_version():
    """A version that nobody can reach does not make it deaf: it asks how things are."""
    out = Out()
    shadow = Shadow(out, "t")
    same(took(shadow, "update/delta", {"state": {}, "version": 0xFFFFFFFF}), {})
    same(took(shadow, "update/delta", {"state": {"a": 1}, "version": 5}), {})
    same([topic for topic, *_ in out.sent()], [BASE + "get"])
    state = {"delta": {"a": 1}}
    same(took(shadow, "get/accepted", {"state": state, "version": 5}), {"a": 1})
    same(took(shadow, "update/delta", {"state": {"a": 2}, "version": 6}), {"a": 2})
    same(out.sent(), [])
    # One at a time: anybody's messages are not to fill the outbox, and push readings out of it.
    for out.done, count in ((False, 0), (True, 3)):
        shadow.get()
        out.sent()
        for _ in range(3):
            same(took(shadow, "update/delta", {"state": {}, "version": 1}), {})
        same(len(out.sent()), count)


def check_shadow_without_room():
    """What it has to ask for finds no room: no message ends the program for that."""
    faults = []

    def publish(*args):
        if faults:
            raise faults[0]

    for e in (OutboxFull(), OSError(28), MemoryError()):
        faults.clear()
        shadow = Shadow(publish, "t")
        shadow.report({"a": 1}, check=True)
        faults.append(e)
        same(took(shadow, "update/rejected", {"code": 409}), {})
        state = {"delta": {"b": 1}}
        same(took(shadow, "get/accepted", {"state": state, "version": 6}), {"b": 1})
        same(took(shadow, "update/delta", {"state": {}, "version": 5}), {})
        raises(type(e), shadow.get)


def check_shadow_with_conflicts_without_end():
    out = Out()
    shadow = Shadow(out, "t")
    shadow.report({"a": 1}, check=True)
    for n in range(10):
        took(shadow, "update/rejected", {"code": 409, "message": "Version conflict"})
        took(shadow, "get/accepted", {"state": {}, "version": n})
    same(len(out.sent()), 7)  # it, and three times: get, and it again
    same(shadow.error, None)


def check_shadow_nonsense():
    shadow = Shadow(Out(), "t", store=Medium())
    same(shadow.take(Message("other")), None)
    same(shadow.take(Message(BASE + "update/documents", b"{}")), None)
    same(shadow.take(Message(BASE + "name/n/get/rejected", b'{"code":404}')), None)
    strange = (
        b'{"clientToken":"t"}',
        b'{"clientToken":"t","version":-1}',
        b'{"clientToken":"t","version":1e9,"state":{}}',
        b'{"clientToken":"t","version":99999999999,"state":{}}',
        b'{"clientToken":"t","version":"7","state":{}}',
    )
    for part in ("update/delta", "get/accepted", "update/accepted", "get/rejected"):
        for payload in strange + NONSENSE:
            same(shadow.take(Message(BASE + part, payload)), {})
            shadow.done()
    same(shadow.version, 0)
    for part in ("update/delta", "get/accepted"):
        for state in (None, [], [["a", 1]], "x", 7):
            document = {"clientToken": "t", "version": 9, "state": state}
            same(took(shadow, part, document), {})
            document["state"] = {"delta": state}
            if state and part == "get/accepted":
                same(took(shadow, part, document), {})
    same(shadow.version, 0)  # of what says nothing its version says nothing
    other = {"clientToken": "app", "version": 5, "state": {"delta": {"a": 1}}}
    same(took(shadow, "get/accepted", other), {})


# --- Home Assistant


class Node:
    """What HomeAssistant asks of one."""

    away = 385.0
    backoff = 16
    status = "g/7/state"

    def __init__(self, store=None):
        self.store = store or Medium()
        self.publish = Out()
        self.session = Kept()


def check_expire():
    node = Node()
    same([expire(node, n) for n in (0, 1, 2, 3)], [386, 1156, 2696, 5776])
    node.backoff = 0  # none passes without a try
    same([expire(node, n) for n in (0, 1, 2)], [386, 771, 1156])


def home(node, **options):
    words, say = log()
    h = HomeAssistant(node, "g/7", "g-7", "Greenhouse", log=say, model="x", **options)
    h.add("sensor", "temp", device_class="temperature", unit_of_measurement="°C")
    h.add("switch", "fan")
    h.add("number", "period", min=60, max=3600, unit_of_measurement="s")
    h.add("button", "restart")
    h.add("update", "firmware")
    h.words = words
    return h


def check_discovery():
    node = Node()
    h = home(node)
    same(h.filter, ("g/7/+/set", 2))
    same(h.announce(), True)
    ((topic, text, qos, retain),) = node.publish.sent()
    same((topic, qos, retain), ("homeassistant/device/g-7/config", 0, True))
    config = json.loads(text)
    same(config["dev"], {"ids": "g-7", "name": "Greenhouse", "model": "x"})
    same(config["avty_t"], "g/7/state")
    assert "value_json.lost" in config["avty_tpl"]
    temp = config["cmps"]["temp"]
    same((temp["expire_after"], temp["~"], temp["unit_of_measurement"]), (1156, "g/7/temp", "°C"))
    same("command_topic" in temp, False)
    fan = config["cmps"]["fan"]
    same((fan["command_topic"], fan["state_topic"], fan["qos"]), ("~/set", "~", 2))
    same("expire_after" in fan, False)
    same("state_topic" in config["cmps"]["restart"], False)
    for platform in ("light", "fan", "siren"):  # which have another name for it
        h.add(platform, "a")
        same(h.parts["a"]["state_value_template"], "{{ value_json.value }}")
        same("value_template" in h.parts["a"], False)
    raises(ValueError, h.add, "sensor", "a/b")
    raises(ValueError, HomeAssistant, node, "g", "a b")


# What is announced for each entity, by its names.
OWN = (
    ("uniq_id", "unique_id"),
    ("stat_t", "state_topic"),
    ("json_attr_t", "json_attributes_topic"),
    ("val_tpl", "value_template"),
    ("cmd_t", "command_topic"),
    ("pl_inst", "payload_install"),
    ("exp_aft", "expire_after"),
)


def check_options_come_first():
    """By either of their names: to Home Assistant a short one counts where both are given."""
    for platform in ("sensor", "switch", "update", "button"):
        for pair in OWN:
            for name in pair:
                node = Node()
                h = HomeAssistant(node, "g/7", "g-7")
                h.add(platform, "a", **{name: "mine"})
                h.announce()
                part = json.loads(node.publish.sent()[0][1])["cmps"]["a"]
                for short, long in OWN:
                    if short in part:
                        part[long] = part.pop(short)
                same((platform, name, part[pair[1]]), (platform, name, "mine"))
    h.add("cover", "b", cmd_t="~/set")
    same(h.command(Message("g/7/b/set", b"OPEN")), ("b", "OPEN"))
    h.add("cover", "c", command_topic="~/set")
    same(h.command(Message("g/7/c/set", b"OPEN")), ("c", "OPEN"))


def check_announced_once():
    node = Node()
    h = home(node)
    h.announce()
    same(h.confirm(OSError()), False)  # the wake did not reach the broker
    same(h.announce(), True)
    same(h.confirm(), True)
    same(h.announce(), False)
    node = Node(node.store.again())
    h = home(node)
    same(h.announce(), False)
    h.add("sensor", "more")
    same(h.announce(), True)  # it has changed
    h.confirm()
    h.remove("sensor", "more")
    h.announce()
    same(json.loads(node.publish.sent()[-1][1])["cmps"]["more"], {"p": "sensor"})
    h.confirm()
    node.session.resumed = 0  # a broker that forgot
    same(h.confirm(), False)
    node.session.resumed = 1
    same(home(Node(node.store.again())).announce(), True)
    # A store without room: it is announced again after a reset.
    node = Node()
    h = home(node)
    h.announce()
    node.store.full = True
    same((h.confirm(), h.announce()), (True, False))
    same(home(Node(node.store.again())).announce(), True)
    # One for which there was no room has not gone.
    node = Node()
    h = home(node)
    h.announce()
    node.publish.error = OSError()
    same(h.confirm(), False)


def check_values():
    node = Node()
    h = home(node)
    h.publish("temp", 21.5)
    h.publish("fan", True)
    clock.now = UNSET
    try:
        h.publish("firmware", {"installed_version": "1"})
        for unknown in (None, float("nan"), float("inf"), -float("inf")):
            h.publish("temp", unknown)
        h.publish("temp", 0.0)
    finally:
        clock.now = NOW
    sent = node.publish.sent()
    said = [json.loads(text) for _, text, _, _ in sent]
    same((sent[0][0], sent[0][2], sent[0][3]), ("g/7/temp", 1, True))
    same(said[0], {"value": 21.5, "measured": "2026-11-21T07:30:29Z"})
    same(said[1]["value"], "ON")
    same(said[2], {"value": {"installed_version": "1"}})  # the clock was never set
    same(said[3:], [{"value": None}] * 4 + [{"value": 0.0}])  # in JSON there is no nan


def check_commands():
    h = home(Node())
    for topic, payload, meant in (
        ("g/7/fan/set", b"ON", ("fan", True)),
        ("g/7/fan/set", b"OFF", ("fan", False)),
        ("g/7/period/set", b"90", ("period", 90.0)),
        ("g/7/restart/set", b"PRESS", ("restart", "PRESS")),
        ("g/7/period/set", b"59", (None, None)),
        ("g/7/period/set", b"nan", (None, None)),
        ("g/7/period/set", b"x", (None, None)),
        ("g/7/fan/set", b"\xff", (None, None)),
        ("g/7/temp/set", b"1", (None, None)),
        ("g/7/gone/set", b"1", (None, None)),
        ("g/7/fan", b"ON", (None, None)),
        ("g/8/fan/set", b"ON", (None, None)),
        ("g", b"ON", (None, None)),
    ):
        same(h.command(Message(topic, payload)), meant)
    same(len(h.words), 6)
    # What a switch or select shall not be; by any name, and as Home Assistant reads numbers.
    h.add("switch", "a", payload_on=1, pl_off="off")
    h.add("select", "b", options=["eco", 2])
    h.add("select", "c", ops=["eco"], options=["day"])
    h.add("switch", "d", command_template="{{ value }}!")
    h.add("text", "e")
    h.add("light", "f")
    h.add("light", "g", schema="json")
    for name, payload, meant in (
        ("fan", b"on", None),
        ("fan", b"", None),
        ("a", b"1", "1"),
        ("a", b"off", "off"),
        ("a", b"ON", None),
        ("b", b"eco", "eco"),
        ("b", b"2", "2"),
        ("b", b"day", None),
        ("c", b"eco", "eco"),
        ("c", b"day", None),
        ("d", b"ON!", "ON!"),
        ("e", b"day", "day"),
        ("f", b"ON", True),
        ("f", b"bright", None),
        ("g", b'{"state": "ON"}', '{"state": "ON"}'),
    ):
        got = h.command(Message("g/7/%s/set" % name, payload))
        same(got, (None, None) if meant is None else (name, meant))
    # Home Assistant takes a limit as a str; one that is none does not end the program.
    for limit, meant in (("60", ("period", 90.0)), ("x", (None, None)), (None, (None, None))):
        h.add("number", "period", min=limit, max="3600")
        same(h.command(Message("g/7/period/set", b"90")), meant)
        same(h.command(Message("g/7/period/set", b"59")), (None, None))
    h.command(Message("g/7/fan/set", b"ON", True))
    assert "retained" in h.words[-1]


def check_client_that_stays_connected():
    class Client:
        session = Kept()

        def __init__(self):
            self.publish_nowait = Out()

    h = HomeAssistant(Client(), "g/7", "g-7", status="g/7/state")
    h.add("sensor", "temp")
    h.announce()
    config = json.loads(h._publish.sent()[0][1])
    same((config["avty_t"], "avty_tpl" in config), ("g/7/state", False))
    same("expire_after" in config["cmps"]["temp"], False)


CHECKS = sorted(name for name in globals() if name.startswith("check_"))

if __name__ == "__main__":
    run(globals(), CHECKS)

"""Checks of sleep/node.py on every runtime: the shipped Client and Node, a broker of scripted bytes
in the same process, and no wait. See core_checks.py, whose way this is.
"""

import asyncio
import sys

import core_checks
import dormouse.sleep.node as sleep
from core_checks import h, same
from dormouse import Client
from dormouse.mqtt5.session import Failed
from dormouse.packet import ConnectionLost, ProtocolError, Refused, reader
from dormouse.store import StoreFull
from dormouse.trouble import Undeliverable
from durable_checks import Medium

CONNECT = 1
PUBLISH = 3
SUBSCRIBE = 8
UNSUBSCRIBE = 10
PINGREQ = 12
DISCONNECT = 14


class Machine:
    """``machine`` of an ESP32, as far as it is needed."""

    PWRON_RESET = 1
    DEEPSLEEP_RESET = 4

    class RTC:
        memory = None

    def reset_cause(self):
        return 1

    def deepsleep(self, ms):
        pass


class Broker:
    """Answers at once, to all but what it closes at: packets of one type. It is the client's stream
    too. ``seen``: the types of the packets of each connection."""

    def __init__(self, five):
        self.five = five
        self.closes_at = 0
        self.limits = b""  # properties of its CONNACK
        self.granted = b"\x01"
        self.seen = []
        self.came = []  # payloads

    async def open_stream(self, *address):
        self.ready = asyncio.Event()
        self.out = b""
        self.open = True
        self.seen.append([])
        self.cut = reader(1000, self._packet, ProtocolError, self)
        next(self.cut)
        return self, self._close

    def _close(self):
        self.open = False
        self.ready.set()

    async def read(self, stream, buf):
        while self.open and not self.out:
            self.ready.clear()
            await self.ready.wait()
        n = min(len(buf), len(self.out))
        buf[:n] = self.out[:n]
        self.out = self.out[n:]
        return n

    async def write(self, stream, data):
        if not self.open:
            raise OSError(104)
        self.cut.send(data)
        self.ready.set()

    def _packet(self, first, body):
        kind = first >> 4
        body = bytes(body)
        if not self.open:
            return
        self.seen[-1].append(kind)
        if kind in (self.closes_at, DISCONNECT):
            self.open = False
        elif kind == CONNECT:
            present = bytes((len(self.seen) > 1,))
            limits = bytes((len(self.limits),)) + self.limits if self.five else b""
            self.out += bytes((0x20, 2 + len(limits))) + present + b"\0" + limits
        elif kind == PUBLISH:
            assert first == 0x32
            self.came.append(body[5 + self.five :])  # behind the topic "t"
            self.out += b"\x40\x02" + body[3:5]
        elif kind == SUBSCRIBE:
            codes = b"\0" * self.five + self.granted
            self.out += bytes((0x90, 2 + len(codes))) + body[:2] + codes
        elif kind == UNSUBSCRIBE:
            codes = b"\0\0" * self.five
            self.out += bytes((0xB0, 2 + len(codes))) + body[:2] + codes
        else:
            same(kind, PINGREQ)
            self.out += b"\xd0\0"


def boot(broker, store, subscribe, luck=1):
    """Return the Node of a chip that starts. ``luck``: 0 for the one wake in some that tries again
    what was given up."""
    sys.modules["machine"] = Machine()
    sleep.urandom = lambda n: bytes((luck,)) * n
    client = Client(
        "",
        client_id="c",
        clean=False,
        store=store,
        stream=broker,
        version=5 if broker.five else 4,
        backoff=(0.001, 0.01),
        timeout=2,
    )
    return sleep.Node(client, period=300, subscribe=subscribe, guard=False)


async def wake(broker, node):
    """Publish, wake and sleep; return the types of the packets of each connection."""
    before = len(broker.seen)
    reading = b"%d" % before
    node.publish("t", reading, 1)
    async for m in node.wake():
        raise AssertionError(m)
    node.sleep()
    same(broker.came, [reading])  # whatever else befell: it went through, and once
    broker.came = []
    return broker.seen[before:]


def aside(seen, kind):
    """Return how often a request went. It has to be the last of its connection, behind all else."""
    n = 0
    for packets in seen:
        if kind in packets:
            same(packets.index(kind), len(packets) - 1)
            n += 1
    assert not n or PUBLISH in seen[0]
    return n


async def ends_connections(five, kind, before, wanted):
    broker = Broker(five)
    store = Medium()
    await wake(broker, boot(broker, store, before))

    async def again(luck=1):
        nonlocal store
        store = Medium({key: bytearray(value) for key, value in store.data.items()})
        node = boot(broker, store, wanted, luck)
        return node, await wake(broker, node)

    broker.closes_at = kind
    await again()
    same(bytes(store.data[15]), b"\0\0\0\0\3")
    errors = []
    while not errors or not errors[-1]:
        node, seen = await again()
        same(aside(seen, kind), 1)
        errors.append(node.error)
        assert len(errors) < 9
    same((type(errors[-1]), errors[-1].args[1][0][0]), (Undeliverable, "f"))
    # Given up: it is tried again now and then, for the reason may have passed.
    for luck in (1, 0):
        node, seen = await again(luck)
        same(aside(seen, kind), 1 - luck)
        same(node.session.filters, dict(before))
    broker.closes_at = 0
    node, seen = await again()
    same((aside(seen, kind), node.error, 15 in store.data), (0, None, True))
    # Taken: all that is forgotten. What is asked for next has its place, and its tries.
    node, seen = await again(0)
    same((node.session.filters, node.error, 15 in store.data), (dict(wanted), None, False))
    node, seen = await again()
    same((len(seen), kind in seen[0]), (1, False))


def check_request_that_ends_connections():
    # SUBSCRIBE and UNSUBSCRIBE are made in each wake, and are in no store: how often connections
    # ended at them is. So from the second wake on all else goes before them, and one try is made.
    for five in (False, True):
        asyncio.run(ends_connections(five, SUBSCRIBE, [], [("f", 1)]))
        asyncio.run(ends_connections(five, UNSUBSCRIBE, [("f", 1)], []))


async def not_wanted(five):
    broker = Broker(five)
    store = Medium()
    broker.closes_at = SUBSCRIBE
    while not store.data.get(15) or store.data[15][4] < 5:
        await wake(broker, boot(broker, store, [("f", 1)]))
    await wake(broker, boot(broker, store, []))
    assert 15 not in store.data
    broker.closes_at = 0
    (packets,) = await wake(broker, boot(broker, store, [("g", 1)]))
    assert SUBSCRIBE in packets


def check_request_that_is_not_wanted_any_more():
    # An update asks for another filter: it is not to wait for what that before it did.
    for five in (False, True):
        asyncio.run(asyncio.wait_for(not_wanted(five), 10))


async def left_over(five, kind, before, wanted):
    broker = Broker(five)
    node = boot(broker, Medium(), before)
    await wake(broker, node)
    node.subscribe = wanted
    broker.closes_at = kind
    await wake(broker, node)
    for _ in range(9):
        assert len(node.session.outbox) < 2
        assert aside(await wake(broker, node), kind) < 2
    # It was given up: the same as after a deep sleep.
    same((node.session.outbox, node.session.suspects, node.session.wary), ([], 0, 5))
    sleep.urandom = bytes
    broker.closes_at = 0
    await wake(broker, node)
    same((node.session.filters, node.session.wary, node.error), (dict(wanted), 0, None))


def check_request_of_an_earlier_wake():
    # Of the same process: it is made anew, so what is left of it is none of the outbox.
    for five in (False, True):
        asyncio.run(left_over(five, SUBSCRIBE, [], [("f", 1)]))
        asyncio.run(left_over(five, UNSUBSCRIBE, [("f", 1)], []))


class Picky(Broker):
    """Closes at a SUBSCRIBE with a certain topic filter in it. (All have one level more.)"""

    bad = b"bad/"
    most = 8  # filters that it grants in one SUBSCRIBE

    def _packet(self, first, body):
        text = bytes(body)
        self.closes_at = SUBSCRIBE if first >> 4 == SUBSCRIBE and self.bad in text else 0
        # (An identifier may have a "/", too.)
        self.granted = b"\x01" * min(text[2:].count(b"/"), self.most)
        super()._packet(first, body)


async def some_wakes(broker, store, n, luck=1):
    wanted = [("a/1", 1), ("bad/1", 1), ("b/1", 1)]
    for i in range(n):
        store = Medium({key: bytearray(value) for key, value in store.data.items()})
        node = boot(broker, store, wanted, luck + i)
        seen = await wake(broker, node)
    return store, sorted(node.session.filters), seen


async def one_of_them(five, luck):
    broker = Picky(five)
    _, filters, _ = await some_wakes(broker, Medium(), 2, luck)
    same(filters, ["a/1", "b/1"])


def check_one_filter_that_ends_connections():
    # The others do not wait for it: from the second connection on each goes by itself.
    for five in (False, True):
        for luck in range(3):
            asyncio.run(one_of_them(five, luck))


async def one_of_them_again(five):
    broker = Picky(five)
    broker.bad = b"none"
    store, filters, _ = await some_wakes(broker, Medium(), 1)
    same(filters, ["a/1", "b/1", "bad/1"])
    del broker.bad
    broker.seen = []  # its session is gone
    store, filters, _ = await some_wakes(broker, store, 2)
    same(filters, ["a/1", "b/1"])
    # It is given up once: what it had of tries is not forgotten over the sleep.
    _, filters, seen = await some_wakes(broker, store, 4)
    same((filters, len(seen)), (["a/1", "b/1"], 1))
    assert len(broker.seen) < 13, broker.seen


def check_one_filter_of_a_broker_that_forgot():
    for five in (False, True):
        asyncio.run(one_of_them_again(five))


async def one_by_one(five):
    broker = Picky(five)
    broker.bad = b"none"
    broker.most = 1
    _, filters, _ = await some_wakes(broker, Medium(), 2)
    same(filters, ["a/1", "b/1", "bad/1"])


def check_suback_that_does_not_fit():
    # It was for too many, perhaps.
    for five in (False, True):
        asyncio.run(one_by_one(five))


async def refused(five):
    broker = Broker(five)
    node = boot(broker, Medium(), [("f", 1)])
    broker.granted = b"\x87" if five else b"\x80"
    for _ in range(3):
        (packets,) = await wake(broker, node)
        assert SUBSCRIBE in packets and DISCONNECT in packets
        assert isinstance(node.error, Refused)
        same((node.error.code, node.session.wary), ([broker.granted[0]], 0))
        assert node.reached


def check_refused():
    # That ends no connection: it is asked for, and told, in each wake.
    for five in (False, True):
        asyncio.run(refused(five))


async def not_taken(limits, before, wanted, code):
    broker = Broker(True)
    node = boot(broker, Medium(), before)
    broker.granted = b"\x01" if before else b"\xa2"
    await wake(broker, node)
    broker.limits = h(limits)
    await wake(broker, node)
    node.subscribe = wanted
    (packets,) = await wake(broker, node)
    same((type(node.error), node.error.code), (Failed, code))
    same(sorted(packets), [CONNECT, PUBLISH, PINGREQ, DISCONNECT])


def check_request_that_the_server_does_not_take():
    # MQTT 5: CONNACK has said so in an earlier wake of the same process. Readings go all the same.
    long = [("a/long/topic", 1)]
    for limits, before, wanted, code in (
        ("28 00", [], [("a/#", 1)], 0xA2),  # no wildcards
        ("27 00000010", [], long, 0x95),  # no packet of more than 16 bytes
        ("27 00000010", long, [], 0x95),
    ):
        asyncio.run(not_taken(limits, before, wanted, code))


async def not_offered():
    broker = Broker(True)
    broker.limits = h("28 00")
    store = Medium()
    for n in range(3):
        node = boot(broker, store, [("a/#", 1), ("b", 1)])
        (packets,) = await wake(broker, node)
        same((type(node.error), node.error.code, node.reached), (Failed, 0xA2, True))
        same((SUBSCRIBE in packets, node.session.filters), (n == 1, {"b": 1} if n else {}))
        store = Medium({key: bytearray(value) for key, value in store.data.items()})
    broker.limits = b""
    for _ in range(2):
        node = boot(broker, store, [("a/#", 1), ("b", 1)])
        await wake(broker, node)
        store = Medium({key: bytearray(value) for key, value in store.data.items()})
    same((node.error, node.session.filters), (None, {"a/#": 1, "b": 1}))


def check_request_that_the_server_does_not_take_after_a_sleep():
    # MQTT 5: it does not go, and from the next wake on it keeps back no other topic filter. What
    # the server offers again is asked for in the second wake.
    asyncio.run(not_offered())


async def takes_nothing(most):
    broker = Broker(True)
    broker.limits = h("27 0000000%d" % most)
    node = boot(broker, Medium(), [])
    node._bye = {"code": 4}  # as with a will
    reading = node.publish("t", b"x", 1)

    async def run():
        async for m in node.wake():
            raise AssertionError(m)

    await asyncio.wait_for(run(), 5)
    same((reading.error.code, node.error, node.client.connected), (0x95, reading.error, False))


def check_server_that_takes_nothing():
    # MQTT 5: not even DISCONNECT. The wake has its end.
    for most in (1, 2):
        asyncio.run(takes_nothing(most))


async def no_filter(five):
    broker = Broker(five)
    for name, error in (("a#", ValueError), (b"a", TypeError)):
        store = Medium()
        for _ in range(2):
            node = boot(broker, store, [(name, 1)])
            (packets,) = await wake(broker, node)
            assert SUBSCRIBE not in packets
            assert isinstance(node.error, error), node.error
        # The others, which would go in the same packet, are none the worse for it.
        node = boot(broker, store, [("f", 1), (name, 1)])
        (packets,) = await wake(broker, node)
        assert SUBSCRIBE in packets
        assert isinstance(node.error, error), node.error
        same(node.session.filters, {"f": 1})


def check_no_filter():
    # A mistake in the program: it would be made in each wake, and none of them send anything.
    for five in (False, True):
        asyncio.run(no_filter(five))


async def no_topic(five):
    broker = Broker(five)
    for status, error in (("n/+/state", ValueError), (b"n/state", TypeError)):
        node = boot(broker, Medium(), [])
        node.status = status
        await wake(broker, node)
        assert isinstance(node.error, error) and node.reached, node.error


def check_no_topic_for_the_status():
    # The same: readings go all the same.
    for five in (False, True):
        asyncio.run(no_topic(five))


async def gone_through_once(five):
    broker = Broker(five)
    store = Medium()
    for n in range(2):
        node = boot(broker, store, (pair for pair in [("f", 1)]))
        (packets,) = await wake(broker, node)
        same((SUBSCRIBE in packets, UNSUBSCRIBE in packets), (not n, False))
        same((node.session.filters, node.error), ({"f": 1}, None))


def check_filters_that_are_gone_through_once():
    # A generator: looked through when the Node is made, it would be empty in the wake.
    for five in (False, True):
        asyncio.run(gone_through_once(five))


async def not_reached(five):
    broker = Broker(five)
    store = Medium()
    broker.closes_at = CONNECT
    node = boot(broker, store, [])
    assert not node.reached
    note = node._note

    def between():  # the client has ended, and the wake has not
        assert not node.publish("t", b"1", 1).error
        return note()

    node._note = between
    for _ in range(2):
        async for m in node.wake(True):
            raise AssertionError(m)
        assert node.error and not node.reached
        # Behind it readings are taken as before it, by whichever of the two.
        assert not node.publish("t", b"1", 1).error
        node.client.publish_nowait("t", b"1", 1)
    same((node.waiting(), broker.came), (6, []))
    broker.closes_at = 0
    node = boot(broker, store, [])
    async for m in node.wake(True):
        raise AssertionError(m)
    same((node.waiting(), broker.came), (0, [b"1"] * 6))
    assert not node.error and node.reached
    node.backoff = node.skip = 9
    async for m in node.wake():
        raise AssertionError(m)
    assert node.error and not node.reached  # it let this wake pass


def check_behind_a_wake_in_vain():
    for five in (False, True):
        asyncio.run(not_reached(five))


async def chip_fails(five):
    # What the node has of the broker is whole, but its flash or memory is not: a program with which
    # that is so has not proven itself.
    for error, reached in ((OSError(28), False), (MemoryError(), False), (ValueError(), True)):
        node = boot(Broker(five), Medium(), [])
        node._refused = error
        async for m in node.wake():
            raise AssertionError(m)
        same((node.error, node.reached), (error, reached))


def check_reached_and_the_chip_fails():
    for five in (False, True):
        asyncio.run(chip_fails(five))


async def no_memory(owner, name):
    # A wake ends, and the next one sends what this one has not.
    broker = Broker(False)
    store = Medium()
    node = boot(broker, store, [("cmd", 1)])
    node.publish("t", b"1", 1)
    short = {"client": node.client, "node": node, "session": node.session}.get(owner)
    short = short or node.client._arrived
    good = getattr(short, name)

    def raises_it(*args, **options):
        setattr(short, name, good)
        raise MemoryError

    setattr(short, name, raises_it)
    try:
        async for m in node.wake():
            raise AssertionError(m)
    finally:
        setattr(short, name, good)
    assert node.over and not node._task
    assert not node.client._task  # no deep sleep has to end it
    node.sleep()
    node = boot(broker, store, [("cmd", 1)])
    async for m in node.wake():
        raise AssertionError(m)
    same(broker.came, [b"1"])
    assert not node.error


def check_no_memory():
    where = (
        ("client", "disconnect connect"),
        ("node", "_run _work _ask _finish _count _note"),
        ("session", "request"),
        ("what is waited for", "wait"),
    )
    for owner, names in where:
        for name in names.split():
            asyncio.run(asyncio.wait_for(no_memory(owner, name), 10))


class Keeps(Broker):
    """Has a command for the node, at each connection until it was answered. ``closes_behind``: what
    the node publishes has no answer, and its answer to the command is the last that is heard."""

    command = b""
    closes_behind = False

    def _packet(self, first, body):
        kind = first >> 4
        if kind in (4, 5):
            self.command = b""
            self.seen[-1].append(kind)
            self.open = not self.closes_behind
        elif first == 0x30:
            self.came.append(bytes(body)[3 + self.five :])
            self.seen[-1].append(kind)
        elif kind != PUBLISH or not self.closes_behind:
            super()._packet(first, body)
        if kind == CONNECT and self.command:
            self.out += self.command


def quiet(sleep):
    try:
        return sleep()  # on a chip it does not return
    except (OSError, StoreFull, MemoryError):
        return None


async def full_store(five, qos):
    # A flash that takes nothing: the newest goes at QoS 0, commands are obeyed, the wake has its
    # end. At QoS 2 a command is not answered, for it would not be known the next time: it comes
    # again, once in a wake.
    broker = Keeps(five)
    store = Medium()
    await wake(broker, boot(broker, store, [("f", qos)]))
    write = store.write

    def full(changes):
        raise error

    for error in (StoreFull(16), OSError(28), OSError(5)):
        for n in range(3):
            body = h("0001'f'") + bytes((0, 7 + n)) + b"\0" * five + b"on"
            broker.command = bytes((0x30 | qos << 1, len(body))) + body
            node = boot(broker, store, [("f", qos)])
            store.write = full
            node.client.backoff = 60, 60  # it does not come to another connection
            reading = node.publish("t", b"1", 1)
            assert reading.error
            before = len(broker.seen)
            commands = 0
            async for _ in node.wake():
                commands += 1
            same((commands, len(broker.seen) - before), (1, 1))
            same((node.error, node.reached, broker.came), (error, False, [b"1"]))
            same(not broker.command, qos == 1)
            quiet(node.sleep)
            broker.came = []
            broker.command = b""
            store.write = write
    node = boot(broker, store, [("f", qos)])
    await wake(broker, node)
    same((node.error, node.reached), (None, True))


def check_full_store():
    for five in (False, True):
        for qos in (1, 2):
            asyncio.run(asyncio.wait_for(full_store(five, qos), 10))


async def enough_and_lost(five):
    broker = Keeps(five)
    store = Medium()
    await wake(broker, boot(broker, store, [("f", 1)]))
    body = h("0001'f' 0007") + b"\0" * five + b"on"
    broker.command = bytes((0x32, len(body))) + body
    node = boot(broker, store, [("f", 1)])
    node.limits = 1, 1000
    node.client.backoff = 60, 60
    broker.closes_behind = True
    node.publish("t", b"1", 1)
    async for _ in node.wake():
        pass
    same((node.waiting(), node.reached), (1, False))
    assert isinstance(node.error, ConnectionLost), node.error


def check_enough_and_the_connection_is_lost():
    # With readings under way: that is no wake that came to its end.
    for five in (False, True):
        asyncio.run(asyncio.wait_for(enough_and_lost(five), 10))


class Told(Broker):
    """Knows the last status."""

    state = None

    def _packet(self, first, body):
        if first == 0x31:
            self.state = bytes(body)
        else:
            super()._packet(first, body)


async def full_outbox(five):
    broker = Told(five)
    node = boot(broker, Medium(), [])
    node.status = "s"
    for _ in range(40):  # more than the outbox takes
        node.publish("t", b"1", 1)
    async for m in node.wake():
        raise AssertionError(m)
    same((node.waiting(), len(broker.came)), (0, 32))
    assert broker.state and b'"asleep":' in broker.state


def check_status_of_a_full_outbox():
    # Behind an outage, or always: who watches took the node for dead.
    for five in (False, True):
        asyncio.run(asyncio.wait_for(full_outbox(five), 10))


class Radio:
    on = True

    def off(self):
        self.on = False


def check_radio_is_off_though_the_store_is_full():
    # RP2 would not sleep with it.
    for error in (StoreFull(16), OSError(5), MemoryError()):
        store = Medium()
        node = boot(Broker(False), store, [])
        node.wifi = Radio()

        def full(changes, error=error):
            raise error

        store.write = full
        node.session.changes[16] = b"x"
        quiet(node.sleep)
        assert not node.wifi.on


def check_no_memory_while_wakes_pass():
    # ``wake`` raises nothing: the program would end before its wake at each start.
    node = boot(Broker(False), Medium(), [])
    node.skip = 2

    def none(changes):
        raise MemoryError

    node.store.write = none
    node.wake()
    assert isinstance(node.error, MemoryError)


CHECKS = sorted(name for name in globals() if name.startswith("check_"))

if __name__ == "__main__":
    core_checks.run(globals(), CHECKS)

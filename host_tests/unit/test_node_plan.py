"""A Node's plan, budget and backoff, in a bottle: with no socket, no chip, and counted time."""

import asyncio
import json
import random
from binascii import crc32

import pytest
from dormouse import Client
from dormouse.packet import MQTTError
from dormouse.session import ConnectionLost
from dormouse.sleep import Node
from dormouse.store import Store
from harness.bottle import SET, Bottle, Stuck

from tools.testing import wire

PERIOD = 300_000  # ms
BUDGET = 10_000
ALMOST = 0.99999  # a random draw, the highest


@pytest.fixture
def bottle(monkeypatch: pytest.MonkeyPatch) -> Bottle:
    return Bottle(monkeypatch)


@pytest.fixture
def rp2(monkeypatch: pytest.MonkeyPatch) -> Bottle:
    return Bottle(monkeypatch, esp32=False)


# --- the plan


def test_wakes_are_at_one_point_of_each_period(bottle: Bottle) -> None:
    """What a wake takes does not add up; which point it is, the client id says."""
    point = crc32(b"node") % PERIOD
    for awake in (0, 3, 2500, 9999):
        node = bottle.node()
        bottle.now += awake
        ms = bottle.sleep(node)
        assert 0 < ms <= PERIOD
        since_2000 = SET * 1000 - 946_684_800_000 + bottle.now
        assert since_2000 % PERIOD == point, awake


def test_a_chip_without_a_clock_counts_from_its_start(rp2: Bottle) -> None:
    node = rp2.node()
    rp2.now += 4321
    assert node.next_wake() == PERIOD - 4321
    rp2.now += PERIOD
    assert node.next_wake() == 1, "never 0, which would be no sleep"


def test_early_timer_counts_for_the_wake_that_was_planned(bottle: Bottle) -> None:
    """Its oscillator may be fast by a quarter; what is left then is no period of its own."""
    for early, again in ((1, True), (74_000, True), (76_000, False)):
        node = bottle.node()
        bottle.now += 10
        bottle.sleep(node)
        bottle.now -= early
        ms = bottle.node().next_wake()
        assert ms == early + (PERIOD if again else 0), early
        bottle.now += early
    bottle.now -= 5
    bottle.cause = 1
    assert bottle.node().next_wake() == 5, "power-on: nothing was planned"


def test_jitter_is_added(bottle: Bottle) -> None:
    bottle.random = [0.0]
    plain = bottle.node(jitter=20).next_wake()
    bottle.random = [0.5]
    assert bottle.node(jitter=20).next_wake() - plain == 10_000
    bottle.random = [ALMOST]
    assert 19_990 < bottle.node(jitter=20).next_wake() - plain < 20_000


@pytest.mark.parametrize(
    ("plan", "why"),
    [
        ({"period": 11}, "budget is longer"),  # the budget, and 1 s of guard
        ({"period": 300, "expiry": 385}, "session expires"),  # 300 * 1.25 + 10
        ({"period": 300, "jitter": 301}, "jitter is longer"),
        ({"period": 300, "jitter": -1}, "jitter is longer"),
        ({"period": 300, "subscribe": ("cmd/#", 1)}, "pairs of topic filter and QoS"),
        ({"period": 300, "subscribe": "cmd/#"}, "pairs of topic filter and QoS"),
        ({"period": 300, "subscribe": ("ab",)}, "pairs of topic filter and QoS"),
        ({"period": 300, "subscribe": (("cmd/#",),)}, "pairs of topic filter and QoS"),
        ({"period": 1_800_000}, "longer than this chip"),
    ],
)
def test_a_plan_that_cannot_work_is_refused(bottle: Bottle, plan: dict, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        bottle.node(**plan)
    for key, less in (("period", 11.1), ("expiry", 386), ("jitter", 300)):
        if key in plan and not (key == "period" and plan[key] != 11):
            bottle.node(**(plan | {key: less}))


def test_longest_sleep_of_rp2(rp2: Bottle) -> None:
    rp2.node(period=3400)
    with pytest.raises(ValueError, match="longer than this chip"):
        rp2.node(period=3430)  # * 1.25 and the budget: 4297 s


@pytest.mark.parametrize(
    ("esp32", "cause", "reason"),
    [
        (True, 1, "power"),
        (True, 4, "timer"),
        (True, 2, "reset"),
        (True, 3, "watchdog"),
        (False, 1, "power"),
        (False, 3, "reset"),
    ],
)
def test_reason(monkeypatch: pytest.MonkeyPatch, esp32: bool, cause: int, reason: str) -> None:
    bottle = Bottle(monkeypatch, esp32)
    bottle.cause = cause
    assert bottle.node().reason == reason


# --- what a wake leaves at its status topic


@pytest.mark.parametrize("esp32", [True, False], ids=["begins in 2000", "begins in 1970"])
def test_until_when_it_sleeps(monkeypatch: pytest.MonkeyPatch, esp32: bool) -> None:
    """In s since 1970, whenever the chip's time begins; 0 by a clock that was never set."""
    bottle = Bottle(monkeypatch, esp32)
    for s in (SET, 1_700_000_001, 1_699_999_000):
        bottle.clock_ms = s * 1000 - bottle.now
        node = bottle.node(status="state")
        asleep = (node.next_wake() + BUDGET) // 1000 + 1
        before = len(bottle.broker.sent)
        bottle.wake(node)
        (state,) = [p for p in bottle.broker.sent[before:] if p.topic == "state"]
        assert state.retain and state.qos == 0
        until = s + asleep if s + asleep > 1_700_000_000 else 0
        assert json.loads(state.payload) == {"asleep": asleep, "until": until}


# --- a wake that goes well


def test_burst_and_queue(bottle: Bottle) -> None:
    """What waits goes out, what the broker kept comes, and it is over at once."""
    node = bottle.node(subscribe=[("t", 1)])
    assert bottle.wake(node) == [] and node.error is None
    assert bottle.now < 5, "no wait"
    for n in range(3):
        bottle.broker.send(1, b"%d" % n)
    node = bottle.node(subscribe=[("t", 1)])
    node.publish("t", "x", 2)
    assert bottle.wake(node) == ["0", "1", "2"] and node.error is None
    assert bottle.broker.received == [(2, b"x")]
    assert bottle.broker.count(wire.SUBSCRIBE) == 1, "not again in a session that is there"
    assert bottle.broker.count(wire.PUBACK) == 3 and node.waiting() == 0
    assert bottle.broker.sent[-1].type == wire.DISCONNECT
    assert not bottle.broker.violations


def test_no_more_than_max_messages(bottle: Bottle) -> None:
    for n in range(5):
        bottle.broker.send(1, b"%d" % n)
    plan = {"subscribe": [("t", 1)], "max_messages": 2}
    assert bottle.wake(bottle.node(**plan)) == ["0", "1"]
    assert bottle.wake(bottle.node(**plan)) == ["2", "3"], "the rest waits there"
    plan = {"subscribe": [("t", 1)], "max_bytes": 1}
    assert bottle.wake(bottle.node(**plan)) == ["4"]


def test_connection_lost_when_max_messages_are_reached(bottle: Bottle) -> None:
    """It does not connect again for what it would not take, and waits for nothing: it never turns
    without an await, which would hold up the node's own way out."""
    for n in range(5):
        bottle.broker.send(1, b"%d" % n)
    bottle.broker.closes_after = 2
    bottle.random = [0.5]  # the client would connect again after half a second
    node = bottle.node(subscribe=[("t", 1)], max_messages=2)
    assert bottle.wake(node) == ["0", "1"]
    assert bottle.broker.boots == 1 and bottle.now < 400
    assert len(bottle.broker.flight) == 5, "nothing is acknowledged, all comes again"
    bottle.broker.closes_after = None
    node = bottle.node(subscribe=[("t", 1)])
    assert len(bottle.wake(node)) == 5 and node.error is None


# --- the budget


@pytest.mark.parametrize("budget", [2000, 10_000])
def test_silent_broker_costs_the_budget_at_most(bottle: Bottle, budget: int) -> None:
    bottle.broker.silent = True
    node = bottle.node({"timeout": 60}, budget=budget)
    bottle.wake(node)
    assert node.error and bottle.now <= budget + 10


def test_a_disconnect_that_does_not_go_out_has_a_grace(bottle: Bottle) -> None:
    """Once the budget is spent. 300 ms, and the node sleeps without."""
    node = bottle.node({"timeout": 60, "keepalive": 0}, subscribe=[("t", 1)])
    bottle.broker.send(1, b"0")

    def stop(_message: object) -> None:
        bottle.swallows = True  # from here on what is written stays in the socket

    bottle.wake(node, stop)
    assert BUDGET + 290 <= bottle.now <= BUDGET + 310
    assert bottle.broker.count(wire.DISCONNECT) == 0


def test_budget_counts_from_the_creation(bottle: Bottle) -> None:
    """What the program did before its wake is of the same charge."""
    bottle.broker.silent = True
    node = bottle.node({"timeout": 60})
    bottle.now += 9000
    bottle.wake(node)
    assert bottle.now <= BUDGET + 10


# --- backoff


def in_vain(bottle: Bottle, draw: float, **plan: int) -> int:
    """Let a wake be in vain with this draw; return how many it lets pass after it."""
    bottle.random = [draw]
    bottle.broker.refuses = 3
    node = bottle.node(**plan)
    bottle.wake(node, urgent=True)
    assert node.error
    return int(bottle.content[3][2])


def test_backoff_doubles_up_to_its_bound(bottle: Bottle) -> None:
    """Full jitter: any number below 2, 4, 8 ... passes, up to `backoff`."""
    assert [in_vain(bottle, ALMOST) for _ in range(9)] == [1, 3, 7, 15, 16, 16, 16, 16, 16]
    assert bottle.content[3][1] == 7, "what is counted has an end"
    assert in_vain(bottle, 0.0) == 0
    assert in_vain(bottle, 0.5) == 8


@pytest.mark.parametrize(("backoff", "most"), [(0, 0), (1, 1), (5, 5)])
def test_backoff_is_bounded(bottle: Bottle, backoff: int, most: int) -> None:
    for _ in range(6):
        assert in_vain(bottle, ALMOST, backoff=backoff) <= most
    assert in_vain(bottle, ALMOST, backoff=backoff) == most


def test_wakes_that_pass_do_not_try(bottle: Bottle) -> None:
    for _ in range(2):
        in_vain(bottle, ALMOST)
    boots = bottle.broker.boots
    bottle.broker.refuses = 0
    for left in (2, 1, 0):
        node = bottle.node()
        assert bottle.wake(node) == []
        assert isinstance(node.error, ConnectionLost) and str(left) in str(node.error)
    assert bottle.broker.boots == boots
    node = bottle.node()
    bottle.wake(node)
    assert node.error is None and bottle.broker.boots == boots + 1
    assert bottle.content.get(3, bytes(3))[:3] == bytes(3), "all is forgotten when one went well"


def test_urgent_wake_tries_all_the_same(bottle: Bottle) -> None:
    in_vain(bottle, ALMOST)
    bottle.broker.refuses = 0
    node = bottle.node()
    bottle.wake(node, urgent=True)
    assert node.error is None


def test_a_wake_that_cannot_be_noted_is_none_that_passes(bottle: Bottle) -> None:
    """Or it would pass for ever, by a store that takes no more."""
    in_vain(bottle, ALMOST)
    bottle.broker.refuses = 0
    node = bottle.node()

    def full(changes: dict) -> None:
        raise MQTTError

    bottle.store.write = full  # type: ignore[method-assign]
    boots = bottle.broker.boots
    bottle.wake(node)
    assert bottle.broker.boots == boots + 1


def test_a_fleet_does_not_come_back_together(bottle: Bottle) -> None:
    draws = random.Random(1)
    passed = {in_vain(bottle, draws.random()) for _ in range(60)}
    assert len(passed) > 8


# --- bursts in vain, and the careful order


def boots_of(bottle: Bottle, wakes: int, published: bool = True) -> list[int]:
    """Wake so often; return how many connections each wake made."""
    counts = []
    for _ in range(wakes):
        node = bottle.node()
        if published:
            node.publish("t", "x", 1)
        before = bottle.broker.boots
        bottle.wake(node)
        assert node.error is None, node.error
        counts.append(bottle.broker.boots - before)
    return counts


def test_careful_order_after_bursts_in_vain(bottle: Bottle) -> None:
    """A broker that closes at a burst is asked in the careful order from the third wake on.

    After 50 more a burst is tried again, for it may be another broker by then."""
    assert boots_of(bottle, 1) == [1]
    bottle.broker.burst = False
    assert boots_of(bottle, 2) == [2, 2]
    assert boots_of(bottle, 50) == [1] * 50
    assert boots_of(bottle, 2) == [2, 2], "a burst is tried again"
    bottle.broker.burst = True
    assert boots_of(bottle, 60) == [1] * 60
    assert bottle.content.get(3, bytes(3))[0] == 0, "and all is well"


def test_one_burst_in_vain_is_none(bottle: Bottle) -> None:
    boots_of(bottle, 1)
    bottle.broker.burst = False
    boots_of(bottle, 1)
    assert bottle.content[3][0] == 1
    bottle.broker.burst = True
    boots_of(bottle, 1)
    assert bottle.content.get(3, bytes(3))[0] == 0


# --- the broker's address, and a second try


class Wifi:
    """Notes how it was joined."""

    def __init__(self) -> None:
        self.fresh = False
        self.joined: list[tuple[bool, int]] = []

    async def join(self, ms: int) -> None:
        self.joined.append((self.fresh, ms))

    def off(self) -> None:
        self.joined.append((False, 0))


def test_address_is_remembered_and_found_anew(bottle: Bottle) -> None:
    """A wake does not look it up; one that is dead costs a quarter of what is left."""
    bottle.random = [0.5001]  # 32774 of 65536: none is looked up anew by chance
    bottle.names = {"broker": "10.0.0.2"}
    assert bottle.wake(bottle.node()) == []
    assert bottle.content[6] == b"broker\x0010.0.0.2"
    writes = bottle.store.writes
    bottle.names = {"broker": "10.0.0.3"}
    bottle.wake(bottle.node())
    assert [a[0] for a in bottle.addresses] == ["10.0.0.2"] * 2, "not looked up"
    assert bottle.store.writes <= writes, "and nothing is written"
    bottle.dead.add("10.0.0.2")
    before = bottle.now
    node = bottle.node()
    bottle.wake(node)
    assert node.error is None and [a[0] for a in bottle.addresses][2:] == ["10.0.0.2", "10.0.0.3"]
    assert 2400 <= bottle.now - before <= 2600
    assert bottle.content[6] == b"broker\x0010.0.0.3"
    bottle.dead.add("10.0.0.3")
    node = bottle.node()
    bottle.wake(node)
    assert node.error and 6 not in bottle.content, "nothing is known then"


def test_silence_at_a_burst_leaves_time_for_another_try(bottle: Bottle) -> None:
    """Half of what is left; then the careful order."""
    bottle.wake(bottle.node())
    bottle.broker.hears_from = bottle.broker.boots + 1
    before = bottle.now
    node = bottle.node({"timeout": 60})
    bottle.wake(node)
    assert node.error is None and bottle.broker.boots == bottle.broker.hears_from + 1
    assert 4900 <= bottle.now - before <= 5100
    assert bottle.content[3][0] == 1, "a burst in vain"


def test_a_network_that_takes_the_node_and_nothing_comes_back(bottle: Bottle) -> None:
    """It is joined anew, with DHCP: another has the node's address, perhaps."""
    wifi = Wifi()
    bottle.random = [0.5001]
    bottle.names = {"broker": "10.0.0.9"}
    bottle.wake(bottle.node(wifi=wifi))
    assert wifi.joined == [(False, 7500)], "three quarters of the budget"
    wifi.joined.clear()
    bottle.names = {"broker": "10.0.0.2"}
    bottle.dead.add("10.0.0.9")
    node = bottle.node({"timeout": 2}, wifi=wifi)
    bottle.wake(node)
    assert bottle.addresses[-1][0] == "10.0.0.2" and node.error is None
    assert [fresh for fresh, _ in wifi.joined] == [False, True]


def test_a_refusal_is_no_reason_to_try_again(bottle: Bottle) -> None:
    bottle.wake(bottle.node())
    bottle.broker.refuses = 5
    boots = bottle.broker.boots
    node = bottle.node()
    bottle.wake(node)
    assert getattr(node.error, "code", None) == 5 and bottle.broker.boots == boots + 1


# --- what a wake waits for


def test_the_end_of_qos_2_can_wait(bottle: Bottle) -> None:
    """PUBCOMP does not come: the wake is over all the same, and PUBREL goes out in the next one."""
    bottle.wake(bottle.node())  # from now on the broker has a session: where it has none, PUBREL
    bottle.broker.keeps_pubcomp = True  # would mean nothing to it in the next wake
    node = bottle.node()
    node.publish("t", "x", 2)
    bottle.wake(node)
    assert node.error is None and bottle.now < 100 and node.waiting() == 1
    bottle.broker.keeps_pubcomp = False
    node = bottle.node()
    bottle.wake(node)
    assert node.waiting() == 0 and bottle.broker.received == [(2, b"x")]


def test_a_body_that_takes_its_time(bottle: Bottle) -> None:
    """What it has is acknowledged on this connection, which stays until then."""
    for n in range(2):
        bottle.broker.send(1, b"%d" % n)
    node = bottle.node(subscribe=[("t", 1)])

    async def work() -> None:
        async for _ in node.wake():
            await asyncio.sleep(2)

    bottle.run(work())
    assert node.error is None and bottle.broker.boots == 1
    assert bottle.broker.count(wire.PUBACK) == 2 and not bottle.broker.flight
    assert 4000 <= bottle.now < 4100


def test_a_loop_that_was_left_begins_with_what_it_had(bottle: Bottle) -> None:
    for n in range(3):
        bottle.broker.send(1, b"%d" % n)
    node = bottle.node(subscribe=[("t", 1)])
    came = []

    async def work() -> None:
        async for message in node.wake():
            came.append(bytes(message.payload))
            break
        async for message in node.wake():
            came.append(bytes(message.payload))

    bottle.run(work())
    assert came == [b"0", b"0", b"1", b"2"] and not bottle.broker.flight


def test_no_room_for_the_status(bottle: Bottle) -> None:
    """What waits is more important; the wake goes on without."""
    node = bottle.node({"outbox": 1}, status="state")
    node.publish("t", "x", 1)
    bottle.wake(node)
    assert node.error is None and bottle.broker.received[0] == (1, b"x")


def test_a_store_that_forgets_is_refused(bottle: Bottle) -> None:
    with pytest.raises(ValueError, match="store that survives"):
        Node(Client("broker", client_id="node", clean=False, store=Store()), 300)
    with pytest.raises(ValueError, match="store that survives"):
        Node(Client("broker", client_id="node"), 300)


# --- leaving early


def test_closed_before_its_end(bottle: Bottle) -> None:
    """What was not taken comes again, and the broker hears a DISCONNECT."""
    for n in range(3):
        bottle.broker.send(1, b"%d" % n)
    node = bottle.node(subscribe=[("t", 1)])
    came = []

    async def work() -> None:
        async for message in node.wake():
            came.append(bytes(message.payload))
            break
        await node.close()

    bottle.run(work())
    assert came == [b"0"] and bottle.broker.sent[-1].type == wire.DISCONNECT
    assert bottle.wake(bottle.node(subscribe=[("t", 1)])) == ["0", "1", "2"]


def test_the_bottle_sees_who_waits_for_nothing(bottle: Bottle) -> None:
    async def work() -> None:
        await asyncio.Event().wait()

    with pytest.raises(Stuck):
        bottle.run(work())

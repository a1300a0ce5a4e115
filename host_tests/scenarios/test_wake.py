"""What a wake costs on the wire: counted in turnarounds and bytes, never in time."""

from collections.abc import Iterator

import pytest

from tools.command.planning import wear
from tools.command.planning import wire as computed
from tools.desk import wake
from tools.testing import runtimes
from tools.testing.needs import needed

pytestmark = pytest.mark.desk("counts turnarounds and wear of the simulated board (make wake)")


# Bytes on the wire are the same on each: `make test` counts them on one, `make prove` on all.
ONE = "micropython64" if runtimes.MICROPYTHON32.reason else "micropython32"
EACH = [pytest.param(name, marks=[pytest.mark.prove] * (name != ONE)) for name in runtimes.RUNTIMES]


@pytest.fixture(params=EACH)
def bench(request: pytest.FixtureRequest) -> Iterator[wake.Bench]:
    """A broker, and a node's runtime."""
    needed(lambda: runtimes.RUNTIMES[request.param].argv)
    needed(runtimes.get.mosquitto)
    with wake.ready(request.param) as chosen:
        yield chosen


def is_as_planned(cost: wake.Wake) -> None:
    """Check a measured wake against what `dormouse plan` computes: to the byte, and each packet."""
    plan = computed.wake(
        computed.Traffic(
            qos=cost.qos,
            topic=len(wake.TOPIC),
            payload=wake.PAYLOAD,
            client_id=len(wake.CLIENT_ID),
            version=5 if cost.order == "burst 5" else 4,
            order={"burst 5": "burst", "subscribing": "clean"}.get(cost.order, cost.order),
            listens=cost.commands > 0,
            commands=cost.got,
            command_qos=cost.command_qos,
            heard=False,
        )
    )
    found = (cost.turnarounds, cost.up, cost.down)
    assert found == (plan.turnarounds, plan.up, plan.down), (cost, plan.packets)
    # The order within a flight is the broker's timing at times: PUBREL among acknowledgements.
    assert sorted(cost.packets.split()) == sorted(plan.names("up").split())


def test_one_turnaround_and_88_bytes(bench: wake.Bench) -> None:
    cost = {qos: bench.measure(qos, 0, 0, "burst") for qos in (0, 1, 2)}
    assert {qos: w.turnarounds for qos, w in cost.items()} == {0: 1, 1: 1, 2: 1}
    assert cost[1].packets == "CONNECT PUBLISH DISCONNECT"
    assert (cost[1].up, cost[1].down, cost[1].total) == (80, 8, 88)
    assert cost[0].total == 88 - 2 - 4  # no identifier, no PUBACK
    # QoS 2 finishes in the next wake: PUBREL goes twice, PUBCOMP is heard once.
    assert cost[2].packets == "CONNECT PUBREL PUBLISH PUBREL DISCONNECT"
    assert cost[2].total == 88 + 2 * 4 + 4
    careful = bench.measure(1, 0, 0, "careful")
    for one in (*cost.values(), careful):
        is_as_planned(one)
    assert (careful.turnarounds, careful.total) == (2, 88)


def test_one_turnaround_on_version_5(bench: wake.Bench) -> None:
    cost = bench.measure(1, 0, 0, "burst 5")
    is_as_planned(cost)
    assert cost.packets == "CONNECT PUBLISH DISCONNECT"
    # Properties of CONNECT: their length, session expiry, receive maximum, maximum packet size; of
    # PUBLISH: their length. What CONNACK has is the broker's.
    assert (cost.turnarounds, cost.up) == (1, 80 + 1 + 5 + 3 + 5 + 1)


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_queued_commands(bench: wake.Bench, qos: int) -> None:
    # One more turnaround for the second fence; PUBREL and PUBCOMP of QoS 2 are another.
    cost = bench.measure(1, 5, qos, "burst")
    assert cost.got == 5
    assert "SUBSCRIBE" not in cost.packets
    assert cost.turnarounds <= 2 + (qos == 2)
    is_as_planned(cost)


@pytest.mark.parametrize("bench", [ONE], indirect=True)
@pytest.mark.parametrize("order", ["burst", "burst 5"])
@pytest.mark.parametrize(("commands", "qos"), [(25, 0), (25, 1), (20, 2), (25, 2)])
def test_more_commands_than_a_broker_sends_at_once(
    bench: wake.Bench, commands: int, qos: int, order: str
) -> None:
    """20 that are not acknowledged, on MQTT 5 the 16 of Receive Maximum: then they are fenced."""
    for left in (2, 1, 0):
        cost = bench.measure(1, commands, qos, order)
        assert cost.got == commands
        try:
            is_as_planned(cost)
            break
        except AssertionError:  # how many come between two fences is a matter of who is quicker
            if not left:
                raise


def test_others(bench: wake.Bench) -> None:
    cost = bench.subscribing(1, 5, 1)
    assert (cost.turnarounds, cost.got) == (3, 0)
    for qos in (0, 1, 2):
        is_as_planned(bench.subscribing(qos, 0, 0))


@pytest.mark.parametrize("bench", [ONE], indirect=True)
@pytest.mark.parametrize("qos", [0, 2])
def test_plans_of_version_5(bench: wake.Bench, qos: int) -> None:
    is_as_planned(bench.measure(qos, 0, 0, "burst 5"))
    is_as_planned(bench.measure(qos, 3, 2, "burst 5"))


@pytest.mark.parametrize("bench", EACH[1:], indirect=True)
def test_wear_is_counted(bench: wake.Bench) -> None:
    assert bench.wear("esp32", "QoS 0 message", wakes=10).years is None
    once, exactly = (bench.wear("esp32", f"QoS {qos} message", wakes=20) for qos in (1, 2))
    # In, sent, out.
    assert once.saves == 3
    assert 3 <= exactly.saves <= 5
    assert 0 < once.journal < once.flash < 2000
    assert wake.years(0.5, 512) == pytest.approx(100_000 * 256 / 0.5 * 300 / 31_557_600)


@pytest.mark.parametrize("bench", [ONE], indirect=True)
def test_wear_is_no_more_than_planned(bench: wake.Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """What `dormouse plan` has no measurement of, it tells at the most."""
    small = wear.erases("esp32", 1)
    monkeypatch.setattr(wake, "PAYLOAD", 400)
    worn = bench.wear("esp32", "QoS 1 message", wakes=20).erases
    most = wear.erases("esp32", 1, 1, len(wake.TOPIC) + 400)
    assert small and most and 5 * small < worn <= most


def test_the_table(bench: wake.Bench) -> None:
    row = wake.wake_cells(bench.measure(1, 0, 0, "burst"))
    assert row == ("QoS 1", "-", "burst", "1", "80", "8", "88", "-")

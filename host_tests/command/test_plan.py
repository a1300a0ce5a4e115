"""dormouse plan: its figures, its sources, its advice, and what it refuses."""

import argparse
import json
import re
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from calling import Run, start

from tools.board import boards
from tools.command import plan
from tools.command.planning import advice, brokers, fleet, phases, wear, wire
from tools.command.shared.failure import Failure
from tools.desk import wake
from tools.paths import ROOT
from tools.testing.brokers import BrokerFailure, MosquittoBroker

MINE = ("--battery", "2000", "--period", "300", "--awake-ms", "2000", "--awake-ma", "80")


def test_the_published_wake() -> None:
    """Boot, static address, one message: 774 ms and 108.6 mC, as its author measured."""
    options = plan.arguments(["--frozen", "--battery", "2500", "--period", "300"])
    chosen = plan.column(boards.named("ESP32_GENERIC"), options, 1)
    assert chosen.power.awake_ms == pytest.approx(774)
    assert chosen.power.wake_mc == pytest.approx(108.6)
    assert chosen.round_trips == 2  # TCP's and MQTT's
    # 108.6 mC and 299.2 s at 5 µA are 110.1 mC in 300 s: 367 µA.
    assert chosen.power.average_ua() == pytest.approx(367, abs=0.5)
    assert chosen.power.days() == pytest.approx(2500 / 0.367 / 24, rel=0.002)
    low, high = chosen.power.days(-1), chosen.power.days(1)
    assert low and high and low < 284 < high
    assert sum(share for _, share in chosen.power.shares()) == pytest.approx(1)
    # A program in the filesystem, DHCP, TLS with an arithmetic of one's own.
    options = plan.arguments(["--wifi", "dhcp", "--tls", "--phase", "tls=500:80"])
    slow = plan.column(boards.named("ESP32_GENERIC"), options, 1)
    assert slow.power.awake_ms == pytest.approx(1626 + 350 + 4 * 20 + 500)
    assert slow.power.wake_mc == pytest.approx(204.3 + 23.6 + 4 * 4.2 + 40)


def test_own_measurement() -> None:
    """2 s at 80 mA and 298 s at 5 µA are 161,490 µAs in 300 s: 538.3 µA."""
    board = boards.named("ESP32_GENERIC")
    power = plan.column(board, plan.arguments(MINE), 1).power
    assert power.average_ua() == pytest.approx(538.3, abs=0.05)
    assert power.days() == power.days(-1) == pytest.approx(2_000_000 / 538.3 / 24, rel=1e-4)
    assert power.asleep_source == board.currents["deep_sleep"].source
    mine = plan.column(board, plan.arguments([*MINE, "--asleep-ua", "2000"]), 1).power
    assert mine.average_ua() == pytest.approx(2520)


def test_the_worked_fleet(run: Run) -> None:
    many = fleet.Fleet(nodes=5000, period=10, size=120, outage=1800, overhead=40)
    assert (many.depth, many.memory, many.rate) == (900_000, 144_000_000, 500)
    assert many.kept_by_nodes == 5000 * 32 and many.lost_by_nodes == 740_000
    args = ("--nodes", "5000", "--period", "10", "--message-bytes", "120", "--outage", "1800")
    done = run("plan", *args)
    assert done.status == 0, done.err
    assert "900,000 messages" in done.out and "144.0 MB" in done.out
    # The same message in the table of a wake: 20 of the 120 bytes are its topic.
    assert "1 x 100 bytes" in done.out and re.search(r"bytes up +148 +150 +158", done.out)
    for line in (
        "max_queued_messages 1125000",
        "max_mqueue_len = 1125000",
        "<max-queue-size>1125000</max-queue-size>",
    ):
        assert line in done.out


def test_a_small_fleet_holds_everything() -> None:
    many = fleet.Fleet(nodes=100, period=300, size=50, outage=1800)
    assert (many.depth, many.kept_by_nodes, many.lost_by_nodes) == (600, 600, 0)
    assert many.return_rate == pytest.approx(700 / 300)


def test_mosquitto_takes_the_settings(mosquitto: Callable[..., MosquittoBroker]) -> None:
    wanted = brokers.Wanted(1_125_000, 180_000_000, 604_800, 3600, 1200, 4096, True)
    lines = [x for x in brokers.settings("mosquitto", wanted) if x != "persistence true"]
    assert mosquitto(persistence=True, extra_config="\n".join(lines)).running
    with pytest.raises(BrokerFailure):  # it does look at them
        mosquitto(persistence=True, extra_config="max_queued_letters 5")


@pytest.mark.parametrize("size", [0, 127, 128, 16_383, 16_384, 2_097_151, 2_097_152])
def test_lengths_of_lengths(size: int) -> None:
    from tools.testing import wire as codec

    assert wire.framed(size) == 1 + len(codec.encode_remaining_length(size)) + size


def test_packets_are_as_another_codec_makes_them() -> None:
    from tools.testing import wire as codec
    from tools.testing import wire5 as codec5

    topic, client = "t" * 200, "node-007"
    t = wire.Traffic(
        qos=1, topic=200, payload=300, username=5, password=6, listens=True, order="clean"
    )
    sizes = {p.name: p.size for p in wire.wake(t).packets}
    assert sizes["CONNECT"] == len(codec.connect(client, username="mouse", password="cheese"))
    assert sizes["PUBLISH"] == len(codec.publish(topic, b"x" * 300, qos=1, packet_id=1))
    assert sizes["SUBSCRIBE"] == len(codec.subscribe(1, ("greenhouse/7/set", 2)))
    assert sizes["SUBACK"] == len(codec.suback(1, 2))
    five = {p.name: p.size for p in wire.wake(replace(t, version=5, expires=True)).packets}
    properties = {"message_expiry": 60}
    published = codec5.publish(topic, b"x" * 300, qos=1, packet_id=1, properties=properties)
    assert five["PUBLISH"] == len(published)
    assert five["SUBSCRIBE"] == len(codec5.subscribe(1, ("greenhouse/7/set", 2)))


def test_what_is_not_computed() -> None:
    with pytest.raises(ValueError, match="16"):
        wire.wake(wire.Traffic(messages=17))
    with pytest.raises(ValueError, match="order"):
        wire.wake(wire.Traffic(order="hasty"))
    with pytest.raises(ValueError, match="commands"):
        wire.wake(wire.Traffic(order="careful", listens=True, commands=1))


def test_wear_is_that_of_make_wake() -> None:
    assert (wear.CYCLES, wear.YEAR) == (wake.CYCLES, wake.YEAR)
    assert {port: blocks for port, (_, blocks) in wake.FLASHES.items()} == wear.BLOCKS
    once = wear.years("esp32", 1, 300)
    assert once == pytest.approx(wake.years(1 / 6, 512))
    tenth = wear.years("esp32", 1, 3000)
    assert once and tenth == pytest.approx(10 * once)
    assert wear.years("esp32", 0, 300) is None and wear.years("esp32", 1, 300, 0) is None
    # What is more than was measured is worn faster, and said so.
    more: tuple[dict[str, int], ...] = ({"size": 51}, {"messages": 2}, {"commands": 1})
    for each in more:
        years = wear.years("esp32", 1, 300, **each)
        assert years and years < once / 10, each
    assert wear.years("esp32", 0, 300, 1, 50, 3)  # by its commands
    assert wear.years("unix", 1, 300) is None


def test_the_flash_of_a_plan(run: Run) -> None:
    def lasts(*args: str) -> list[str]:
        (line,) = [x for x in run("plan", *args).out.splitlines() if "the flash lasts" in x]
        return line.split(None, 3)[3].split("  ")

    def said(*args: str) -> list[str]:
        return [cell.strip() for cell in lasts(*args) if cell.strip()]

    assert said() == ["not worn", "1,460 years", "1,217 years"]
    assert [each.endswith("years or more") for each in said("--payload", "400")] == [0, 1, 1]
    assert all(each.endswith("years or more") for each in said("--commands", "5"))
    assert said("--commands", "5", "--command-qos", "0") == said()
    assert said("--session", "clean", "--commands", "5") == said()
    found = json.loads(run("plan", "--messages", "16", "--json").out)["qos"]
    assert [each["flash_measured"] for each in found] == [True, False, False]
    assert found[1]["flash_years"] < 10


@pytest.mark.parametrize(
    ("args", "status", "why"),
    [
        (("--awake-ms", "800"), 2, "only you know"),
        (("--board", "ESP32_GENERIC_C6", *MINE), 1, "no source for the current in deep sleep"),
        (("--board", "RPI_PICO_W"), 1, "AWAKE_MS"),
        (("--board", "RPI_PICO_W", *MINE, "--period", "5000"), 1, "sleeps 4295 s at most"),
        ((*MINE, "--period", "2"), 1, "it never sleeps"),
        (("--board", "ESP33"), 1, "there is no board 'ESP33'"),
        (("--messages", "17"), 2, "up to 16"),
        (("--phase", "sensor"), 2, "'sensor' is not NAME=MS:MA"),
        (("--phase", "wifi=nan:2"), 2, "'nan' is no number"),
        (("--phase", "x=1:inf"), 2, "'inf' is no number up to"),
        (("--phase", "x=1:2:nan"), 2, "'nan' is no number"),
        (("--phase", "x=1:2:500"), 2, "'500' is no number up to 100"),
        (("--message-bytes", "5", "--topic", "greenhouse/7/temp"), 2, "alone has 17"),
        (("--message-bytes", "50", "--payload", "10"), 2, "a --payload of 30"),
        (("--topic", "a/#"), 2, "are of filters"),
        (("--payload", "-5"), 2, "no whole number from 0"),
        (("--commands", "-3"), 2, "no whole number from 0"),
        (("--keepalive", "0"), 2, "from 1 to 65,535"),
        (("--broker-keepalive", "70000"), 2, "from 1 to 65,535"),
        (("--session-expiry", "0.5"), 2, "no whole number"),
        (("--nodes", "0"), 2, "no whole number from 1"),
        (("--battery", "nan"), 2, "no number above 0"),
        (("--period", "1e12"), 2, "no number up to"),
        (("--topic", ""), 2, "--topic: it is empty"),
        (("--topic", "\udcff"), 2, "--topic: '\\udcff' is no UTF-8"),
        (("--picture", "plan.doc"), 2, "'plan.doc' does not end with .svg"),
        (("--picture", "plan"), 2, "'plan' does not end with .svg"),
        (("--picture", "/nowhere/plan.svg"), 2, "there is no folder '/nowhere'"),
    ],
)
def test_refused(run: Run, args: tuple[str, ...], status: int, why: str) -> None:
    done = run("plan", *args)
    assert (done.status, done.out) == (status, "")
    assert why in done.err and (status == 2 or "What to do:" in done.err)


def test_own_current_where_there_is_no_source(run: Run) -> None:
    done = run("plan", "--board", "ESP32_GENERIC_C6", *MINE, "--asleep-ua", "15")
    assert done.status == 0 and "0.015" in done.out


HABITS = advice.Habits(session_expiry=3600, message_expiry=600)


@pytest.mark.parametrize(
    ("habits", "word"),
    [
        (replace(HABITS, qos=2), "QoS 2 for a reading"),
        (replace(HABITS, client_id="random"), "random client ids"),
        (replace(HABITS, qos=2, kind="count", subscriber_qos=0), "subscribed at QoS 0"),
        (replace(HABITS, session_expiry=None), "no expiry on kept sessions"),
        (replace(HABITS, session_expiry=300), "gone before the next wake"),
        (replace(HABITS, nodes=10, jitter=False), "no jitter"),
        (replace(HABITS, kind="event", retain=True), "a retained event"),
        (replace(HABITS, keepalive=3600, broker_keepalive=1200), "the broker takes 1200 s"),
        (replace(HABITS, keepalive=3600, nat=300), "forgets after 300 s"),
        (replace(HABITS, listens=True, message_expiry=None), "without a message expiry"),
        (replace(HABITS, listens=True), "on 3.1.1 a time in the command"),
        (replace(HABITS, listens=True, version=5, message_expiry=60), "expires after 60 s is gone"),
        (replace(HABITS, listens=True, version=5, command_qos=0), "QoS 0 wait for nobody"),
    ],
)
def test_mistakes_are_told(habits: advice.Habits, word: str) -> None:
    (told,) = advice.warnings(habits)  # this one, and no other
    assert word in told
    assert not advice.warnings(HABITS)


def test_recommendations() -> None:
    assert [advice.qos(replace(HABITS, kind=kind))[0] for kind in advice.KINDS] == [1, 1, 2, 2]
    assert advice.session(replace(HABITS, listens=True)).what.startswith("kept")
    assert advice.session(replace(HABITS, asleep=False)).what == "clean"
    connected = replace(HABITS, asleep=False)
    assert advice.keepalive(connected).what == "60 s"
    assert advice.keepalive(replace(connected, nat=300)).what == "240 s"
    assert advice.keepalive(replace(connected, nat=3000, broker_keepalive=1200)).what == "1200 s"
    # 0 would turn it off, and there is no longer one.
    assert advice.keepalive(replace(connected, nat=1)).what == "1 s"
    assert advice.keepalive(replace(connected, nat=200_000)).what == "65535 s"


def test_reasons_fit_the_figures(run: Run) -> None:
    """What is said of waits is what the table says, and of what the table is."""
    for session, why in (("kept", "as often as QoS 0"), ("clean", "once more than QoS 0")):
        done = run("plan", "--session", session)
        (waits,) = re.findall(r"waits for the broker +(\d) +(\d)", done.out)
        assert why in done.out and (waits[0] == waits[1]) == (session == "kept")
    assert "are of a node that sleeps" not in done.out
    done = run("plan", "--connected", "--battery", "2500")
    assert "careful: wakes, charge and battery above are of a node that sleeps" in done.out


def test_for_programs_and_as_a_picture(run: Run, tmp_path: Path) -> None:
    picture = tmp_path / "plan.svg"
    done = run("plan", "--battery", "2500", "--json", "--picture", str(picture))
    said = json.loads(done.out)
    assert [q["up"] for q in said["qos"]] == [78, 80, 88]
    assert said["recommended"]["qos"] == 1
    assert "mount files" in picture.read_text() and "<svg" in picture.read_text()


def test_plain_in_a_pipe(run: Run) -> None:
    done = run("plan", "--battery", "2500", "--packets")
    assert done.status == 0
    assert not set(done.out) & set("│┃╭\x1b█")
    assert ">CONNECT 22  >PUBLISH 56  <CONNACK 4  <PUBACK 4  >DISCONNECT 2" in done.out


def test_a_pipe_that_has_enough() -> None:
    process = start("plan")
    assert process.stdout
    process.stdout.close()
    process.stdout = None
    _, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (0, b"")


def test_make_plan() -> None:
    done = subprocess.run(
        ["make", "PYTHON=true", "plan", "BOARD=ESP32_GENERIC", "BATTERY=2500", "PERIOD=60"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=30,
    )
    assert done.returncode == 0 and "the battery lasts" in done.stdout, done.stdout + done.stderr


def test_phases_of_ones_own() -> None:
    phase = phases.parse("sensor=200:20:10")
    assert (phase.name, phase.ms, phase.mc, phase.spread) == ("sensor", 200, 4, 0.1)
    for text in ("sensor", "=1:2", "a=1", "a=1:2:3:4", "a=-1:2", "a=x:1", "a=1:nan"):
        with pytest.raises(argparse.ArgumentTypeError):
            phases.parse(text)
    with pytest.raises(Failure, match="never sleeps"):
        options = plan.arguments(["--period", "300", "--phase", "wait=400000:1"])
        plan.column(boards.named("ESP32_GENERIC"), options, 1)

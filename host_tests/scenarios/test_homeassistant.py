"""Discovery as Home Assistant takes it, and its example on the simulated board."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from dormouse.patterns.homeassistant import HomeAssistant
from harness.homeassistant import Invalid, Schema, source
from play import outage

from tools.testing.board import Board
from tools.testing.brokers import MosquittoBroker
from tools.testing.needs import needed
from tools.testing.observer import Observer
from tools.testing.runtimes import MICROPYTHON32, MICROPYTHON64, ROOT, Runtime

pytestmark = pytest.mark.desk("reads config.json, which on a board is yours")
FOUND = "homeassistant/device/greenhouse-7/config"


@pytest.fixture(scope="module")
def schema() -> Schema:
    return Schema(needed(source))


class Node:
    """What HomeAssistant asks of one."""

    away, backoff, status, store = 385.0, 16, "g/state", None
    session = None

    def __init__(self) -> None:
        self.sent: list[tuple[Any, ...]] = []

    def publish(self, *args: Any) -> None:
        self.sent.append(args)


def test_every_platform_is_as_home_assistant_has_it(schema: Schema) -> None:
    node = Node()
    home = HomeAssistant(
        node,  # type: ignore[arg-type]
        "g",
        "x",
        "Greenhouse",
        model="a",
        manufacturer="b",
        sw_version="1",
        suggested_area="Garden",
    )
    home.add("sensor", "temp", device_class="temperature", unit_of_measurement="°C")
    home.add("sensor", "rssi", dev_cla="signal_strength", ent_cat="diagnostic")
    home.add("binary_sensor", "door", device_class="door")
    home.add("switch", "fan", icon="mdi:fan")
    home.add("number", "period", min=60, max=3600, step=10, unit_of_measurement="s")
    home.add("button", "restart", device_class="restart")
    home.add("update", "firmware", device_class="firmware")
    home.add("select", "mode", options=["eco", "day"])
    home.add("text", "note", max=20)
    for platform in (
        *("lock", "fan", "siren", "cover", "valve", "alarm_control_panel"),
        *("date", "time", "datetime", "notify", "scene"),
    ):
        home.add(platform, platform)
    home.remove("sensor", "gone")
    home.announce()
    topic, payload, _, retain = node.sent[0]
    config = schema.check(topic, payload.encode())
    assert retain and config["availability_topic"] == "g/state"
    parts = config["components"]
    assert parts["fan"]["command_topic"] == "g/fan/set" and parts["fan"]["state_topic"] == "g/fan"
    assert parts["temp"]["expire_after"] == 1156
    assert parts["siren"]["command_topic"] == "g/siren/set"


@pytest.mark.parametrize(
    ("platform", "options", "why"),
    [
        ("sensor", {"unit": "x"}, "unknown"),
        ("sensr", {}, "no such platform"),
        ("climate_", {}, "no such platform"),
        ("button", {"stat_t": "x"}, "unknown"),
    ],
)
def test_what_it_would_not_take_is_found(
    schema: Schema, platform: str, options: dict[str, str], why: str
) -> None:
    node = Node()
    home = HomeAssistant(node, "g", "x")  # type: ignore[arg-type]
    home.add(platform, "a", **options)
    home.announce()
    with pytest.raises(Invalid, match=why):
        schema.check(node.sent[0][0], node.sent[0][1].encode())


@pytest.mark.parametrize("chip", [MICROPYTHON64, MICROPYTHON32], ids=lambda r: r.name)
def test_example(
    chip: Runtime, mosquitto: Callable[..., MosquittoBroker], tmp_path: Path, schema: Schema
) -> None:
    """It is found; a period is set while it sleeps; values of an outage carry their time; cut
    anywhere it is announced all the same."""
    needed(lambda: chip.argv)
    broker = mosquitto(persistence=True)
    config = {"host": "127.0.0.1", "port": broker.port, "client_id": "g", "topic": "g"}
    config |= {"wifi": {"ssid": "home", "password": "right"}}
    main = ROOT / "examples" / "home_assistant.py"
    assert len(main.read_text().splitlines()) < 50
    with (
        Observer(broker, ("g/#", 2), ("homeassistant/#", 1)) as observer,
        Board(chip, tmp_path, main, {"config.json": config}, clock="kept") as board,
    ):
        board.set_network()
        board.run()
        observer.wait_count(FOUND, 1)
        found = schema.check(FOUND, observer.payloads(FOUND)[0].encode())["components"]
        assert found["temperature"]["expire_after"] == 3 * (300 * 1.25 + 10) + 1
        board.run()
        assert len(observer.payloads(FOUND)) == 1, "only when it has changed"

        # As Home Assistant does: at the QoS that its config says.
        observer.publish("g/period/set", "30", 2)  # out of its range
        observer.publish("g/period/set", "600", 2)
        assert any("not obeyed: g/period/set" in line for line in board.run()[0].lines)
        board.run(2)  # the first of these ends at the new period's point, whenever that is
        assert 590_000 < (board.records[-1].sleep_ms or 0) <= 600_000
        observer.wait_count(FOUND, 2)
        found = schema.check(FOUND, observer.payloads(FOUND)[1].encode())["components"]
        assert found["temperature"]["expire_after"] == 3 * (600 * 1.25 + 10) + 1
        assert json.loads(observer.payloads("g/period")[-1])["value"] == 600

        count = len(observer.payloads("g/temperature"))
        with outage(board, broker):
            times = [board.time]
            for _ in range(3):
                board.run(timeout=20)
                times.append(board.time)
        observer.wait_subscribed(2)
        while len(observer.payloads("g/temperature")) < count + 4:
            board.run(timeout=20)
        said = [json.loads(text) for text in observer.payloads("g/temperature")[count:]]
        measured = list(dict.fromkeys(value["measured"] for value in said))
        assert measured == sorted(measured) and len(measured) >= 4, "each its own, in order"


def test_the_period_is_that_of_its_settings(
    mosquitto: Callable[..., MosquittoBroker], tmp_path: Path
) -> None:
    """Until Home Assistant says another: `make provision` asked for it. What is wrong is told."""
    needed(lambda: MICROPYTHON64.argv)
    broker = mosquitto()
    config = {"host": "127.0.0.1", "port": broker.port, "topic": "g"}
    config |= {"client_id": "g", "period": 900}
    main = ROOT / "examples" / "home_assistant.py"
    with Board(MICROPYTHON64, tmp_path, main, {"config.json": config}, clock="kept") as board:
        end = board.run(2)[-1]
        assert 890_000 < (end.sleep_ms or 0) <= 900_000 and end.lines == ["error None"]
        broker.stop()
        assert board.run()[0].lines[-1].startswith("error OSError(")


@pytest.mark.parametrize("chip", [MICROPYTHON64, MICROPYTHON32], ids=lambda r: r.name)
def test_found_whatever_is_cut_or_forgotten(
    chip: Runtime, mosquitto: Callable[..., MosquittoBroker], tmp_path: Path
) -> None:
    """The power goes at many bytes of the first wakes; later the broker forgets what it retained:
    one wake to see it, one to say it."""
    needed(lambda: chip.argv)
    broker = mosquitto(persistence=False)
    config = {"host": "127.0.0.1", "port": broker.port, "client_id": "g", "topic": "g"}
    main = ROOT / "examples" / "home_assistant.py"
    with Board(chip, tmp_path, main, {"config.json": config}, clock="kept") as board:
        for point in (0, 30, 200, 300, 400, 600):
            board.flash_dies_after(point)
            board.go_on()
            if board.wait_end(20).reason == "flash_died":
                board.cut_power()
        board.run(1, 20)
        with Observer(broker, ("homeassistant/#", 1)) as late:
            late.wait_count(FOUND, 1)
        broker.kill()
        broker.start()
        board.run(2, 20)
        with Observer(broker, ("homeassistant/#", 1)) as late:
            late.wait_count(FOUND, 1)

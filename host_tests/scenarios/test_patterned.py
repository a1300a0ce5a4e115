"""The patterns on a node that sleeps, with its power cut; and over connections that are cut."""

import json
from collections.abc import Callable
from itertools import groupby
from pathlib import Path

import pytest
from dormouse.patterns.sequence import Sequence
from dormouse.store import Store
from harness.shadow import ShadowService
from play import PROGRAMS, cut_each, outage

from tools.testing.board import Board
from tools.testing.brokers import MosquittoBroker
from tools.testing.chaos import ChaosProxy
from tools.testing.needs import needed
from tools.testing.observer import Observer
from tools.testing.runtimes import MICROPYTHON32, MICROPYTHON64, Runtime

CHIPS = pytest.mark.parametrize("chip", [MICROPYTHON64, MICROPYTHON32], ids=lambda r: r.name)
pytestmark = pytest.mark.desk("a simulated board, whose power is cut")


def settled(observer: Observer) -> None:
    """Wait until the observer has all that was published before."""
    observer.publish("p/end", "", 1)
    observer.wait("p/end", "")


@CHIPS
def test_patterns_and_power_cuts(
    chip: Runtime, mosquitto: Callable[..., MosquittoBroker], tmp_path: Path
) -> None:
    """Each command is done once, though its sender repeats it and the power goes in the middle; no
    number is left out or used twice; what the shadow desires is so in the end."""
    needed(lambda: chip.argv)
    broker = mosquitto()
    config = {
        "client": {"client_id": "p", "clean": False, "port": broker.port},
        "node": {"period": 300, "budget": 8000, "backoff": 0},
        "shadow": "" if chip is MICROPYTHON64 else "settings",
    }
    name = str(config["shadow"])
    program = PROGRAMS / "patterned.py"
    with (
        ShadowService(broker) as service,
        Observer(broker, ("p/#", 1)) as observer,
        Board(chip, tmp_path, program, {"config.json": config}, clock="kept") as board,
    ):

        def command(id: str, age: float = 0) -> None:
            text = json.dumps({"id": id, "t": int(board.time - age)})
            observer.publish("p/cmd", text, 1)

        def until(line: str) -> None:
            """Run until a line is there: the service's answers may come a wake later."""
            for _ in range(5):
                board.run(timeout=15)
                if any(line in other for other in board.lines):
                    return
            raise AssertionError(f"no {line}: {board.lines}")

        # There is no shadow yet: the service says so, and the first report makes it.
        until("(404, \"No shadow exists with name: 'thing'\")")
        command("old", age=601)
        command("a")
        command("a")
        service.desire("thing", {"a": 0, "b": {"c": 1}}, name)
        end = board.run()[0]
        assert end.lines[1:4] == ["refused old", "done a", "repeat a"]
        (delta,) = (line[6:] for line in end.lines if line.startswith("delta"))
        assert json.loads(delta) == {"a": 0, "b": {"c": 1}}
        service.wait("thing", lambda s: s.reported == s.desired, name)
        done = 1
        for point in range(60, end.written, max(end.written // 6, 1)):
            for id in (f"x{point}", f"y{point}"):
                command(id)
                command(id)
            service.desire("thing", {"a": point}, name)
            done += 2
            board.flash_dies_after(point)
            board.go_on()
            if board.wait_end(15).reason == "flash_died":
                board.cut_power()
            until(f'"a": {point}')
            until(f"boot relay {done} ")
            service.wait("thing", lambda s: s.reported == s.desired, name)
            assert f'"a": {point}' in board.lines[0]
        board.run()
        settled(observer)
        assert not [code for code in service.shadow("thing", name).rejected if code != 404]
        # At QoS 1 one may come twice, but only at once.
        states = [int(text) for text, _ in groupby(observer.payloads("p/relay"))]
        assert states == list(range(done + 1))
        order = Sequence(Store())
        for text in observer.payloads("p/meter"):
            missing = order.check(int(text))
            assert missing <= 0, "a number was left out"
            order.done(int(text))
        assert (order.missed, order.anew) == (0, 0)
        assert len(set(observer.payloads("p/meter"))) >= len(board.records) - 8


@CHIPS
def test_kept_while_connections_are_cut(
    chip: Runtime, mosquitto: Callable[..., MosquittoBroker], tmp_path: Path
) -> None:
    """Connections are cut at many bytes of the requests: each is answered, and done once. What is
    retained is asked for at each connection; the will is taken back."""
    needed(lambda: chip.argv)
    broker = mosquitto()
    with (
        ChaosProxy(broker.port) as proxy,
        Observer(broker, ("k/#", 1), ("homeassistant/#", 1)) as o,
    ):
        options = {"client_id": "k", "clean": False, "port": proxy.port, "backoff": [0.01, 0.05]}
        config = {"client": options, "requests": 12, "dead": 60}
        o.publish("k/lamp", "on", 1, True)
        with Board(chip, tmp_path, PROGRAMS / "kept.py", {"config.json": config}) as board:
            board.set_network()
            board.power_on()
            board.wait_line("ready", 10)
            cut_each(proxy, 8)
            end = board.wait_end(20)
        assert end.reason == "exit", end.lines
        lines = [line for line in end.lines if line.startswith("answer")]
        assert lines == [f"answer {2 * n}" for n in range(1, 13)]
        assert "ready ['heap', 'rssi', 'uptime'] -50" in end.lines
        outages = int(end.lines[-1].split()[1])
        assert end.lines[-1] == f"end {outages} 24 None" and outages >= 4
        assert end.lines.count("UP") >= 1 and end.lines.count("DOWN") >= 1
        assert end.lines.count("lamp on") > 2, "asked for at each connection"
        o.publish("k/end", "", 1)
        o.wait("k/end", "")
        totals = [json.loads(text)["value"] for text in o.payloads("k/total")]
        # All, at QoS 1. One at which two connections were cut goes behind others, perhaps again.
        assert sorted(set(totals)) == list(range(2, 25, 2)) and totals[-1] == 24
        states = o.payloads("k/state")
        assert states[-1] == "offline" and states[-2] == "online" and states.count("offline") > 1
        config = json.loads(o.payloads("homeassistant/device/k/config")[0])
        assert set(config["cmps"]) == {"total"} and config["avty_t"] == "k/state"


@CHIPS
def test_kept_while_the_network_goes(
    chip: Runtime, mosquitto: Callable[..., MosquittoBroker], tmp_path: Path
) -> None:
    """No Wi-Fi at first; later it is lost with the broker; later it is there and leads nowhere."""
    needed(lambda: chip.argv)
    broker = mosquitto()
    with ChaosProxy(broker.port) as proxy:
        options = {"client_id": "k", "clean": False, "port": proxy.port, "backoff": [0.01, 0.05]}
        options |= {"timeout": 1, "keepalive": 1}
        config = {"client": options, "requests": 0, "dead": 1.5, "wait": 3}
        with Board(
            chip, tmp_path, PROGRAMS / "kept.py", {"config.json": config}, type="rp2"
        ) as board:
            board.set_network(down=True)
            board.power_on()
            board.wait_line("no connection: WifiError", 10)
            board.set_network()
            board.wait_line("ready", 20)  # and UP, before or behind it
            with outage(board, broker):
                board.wait_line("DOWN", 10)
                board.wait_line("no connection: WifiError", 30)
            board.wait_line("UP", 30)
            # The link says that it is up, and nothing comes through.
            joins = (tmp_path / "network.log").read_text().count('"dhcp"')
            proxy.half_open()
            proxy.refuse()
            board.wait_line("DOWN", 10)
            board.wait_line("no broker:", 20)
            proxy.refuse(False)
            board.wait_line("UP", 20)
            with Observer(broker, ("k/#", 1)) as o:
                o.publish("k/counter/request/add/me/1", "3", 1)
                o.publish("k/counter/request/add/me/1", "3", 1)
                o.wait("k/counter/response/me/1", "3")
            end = board.wait_end(10)
        assert end.lines[-1] == "end 2 3 None"
        now = (tmp_path / "network.log").read_text().count('"dhcp"')
        assert now > joins, "joined anew, its address too"

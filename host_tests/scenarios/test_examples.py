"""The examples do what they say, on the simulated board where they are for one."""

import importlib.util
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from harness.board import Board
from harness.brokers import MosquittoBroker
from harness.observer import Observer
from harness.runtimes import CPYTHON, MICROPYTHON64, ROOT, Runtime

pytestmark = pytest.mark.desk("examples read config.json, which on a board is yours")

EXAMPLES = ROOT / "examples"


def test_relay(runtime: Runtime, mosquitto: Callable[..., MosquittoBroker], tmp_path: Path) -> None:
    """The power is cut at many places of the wakes that toggle: once for each command."""
    config = {"host": "127.0.0.1", "client_id": "relay", "topic": "g", "period": 60}
    broker = mosquitto()
    config["port"] = broker.port
    with (
        Observer(broker) as observer,
        Board(runtime, tmp_path, EXAMPLES / "relay.py", {"config.json": config}) as board,
    ):
        assert "the relay is off" in board.run()[0].lines
        observer.publish("g/toggle", "", 2)
        end = board.run()[0]
        assert end.lines == ["the relay is off", "toggled on"]
        # Two more in one wake, cut anywhere in it; what a calm wake writes is the bound.
        toggles = 1
        for point in range(0, end.written, max(end.written // 12, 1)):
            for _ in range(2):
                observer.publish("g/toggle", "", 2)
            toggles += 2
            board.flash_dies_after(point)
            board.go_on()
            if board.wait_end(10).reason == "flash_died":
                board.cut_power()
            board.run()
            board.go_on()
            board.wait_end(10)
            assert board.lines == [f"the relay is {'on' if toggles % 2 else 'off'}"], point


def load_observer():
    spec = importlib.util.spec_from_file_location("observer_example", EXAMPLES / "observer.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_late_and_dead() -> None:
    watch = load_observer().Watch(missed=3)
    assert watch.look(0) == "unknown"
    watch.heard(b'{"asleep":310,"until":0}', True, 100)
    assert watch.look(400) == "asleep" and watch.look(411) == "late"
    watch.heard(b'{"asleep":310,"until":0}', False, 420)
    assert watch.look(729) == "asleep" and watch.look(731) == "late"
    assert watch.look(1349) == "late" and watch.look(1352).startswith("dead")
    watch.heard(b'{"asleep":310,"until":5000}', True, 2000)
    assert watch.look(4999) == "asleep" and watch.look(5001) == "late"
    watch.heard(b'{"lost":true}', False, 5002)
    assert watch.look(9999).startswith("lost")


def test_observer(mosquitto: Callable[..., MosquittoBroker], tmp_path: Path) -> None:
    """firmware/main.py wakes once, and then never again."""
    broker = mosquitto()
    config = {"host": "127.0.0.1", "port": broker.port, "client_id": "g", "topic": "g"}
    config |= {"period": 1.6, "budget": 400}
    main = ROOT / "firmware" / "main.py"
    args = ["127.0.0.1", str(broker.port), "g/state", "--missed", "2"]
    with (
        CPYTHON.start(EXAMPLES / "observer.py", *args) as observer,
        Board(MICROPYTHON64, tmp_path, main, {"config.json": json.dumps(config)}) as board,
    ):
        observer.wait_line("", 10)
        board.run()
        for state in ("asleep", "late", "dead"):
            while observer.wait_line("", 10).split()[1].rstrip(":") != state:
                pass
        observer.process.send_signal(2)
        assert observer.wait_exit(5) == 0

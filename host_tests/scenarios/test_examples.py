"""The examples do what they say, on the simulated board where they are for one."""

import importlib.util
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from harness.line import Line
from harness.shadow import ShadowService
from play import outage

from tools.testing.board import Board
from tools.testing.brokers import MosquittoBroker
from tools.testing.certs import certificates
from tools.testing.needs import needed
from tools.testing.observer import Observer
from tools.testing.runtimes import CPYTHON, MICROPYTHON32, MICROPYTHON64, ROOT, Runtime
from tools.testing.sntp import TimeServer

pytestmark = pytest.mark.desk("examples read config.json, which on a board is yours")

EXAMPLES = ROOT / "examples"


@pytest.mark.once
def test_relay(runtime: Runtime, mosquitto: Callable[..., MosquittoBroker], tmp_path: Path) -> None:
    """The power is cut at many places of the wakes that toggle: once for each command."""
    user = {"username": "relay", "password": "secret"}
    broker = mosquitto(allow_anonymous=False, **user)
    config = {"host": "127.0.0.1", "port": broker.port, "client_id": "relay", "topic": "g"}
    config |= {"period": 60, **user}
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


@pytest.mark.parametrize("kind", ["esp32", "rp2"])
@pytest.mark.parametrize("chip", [MICROPYTHON64, MICROPYTHON32], ids=lambda r: r.name)
def test_light(
    chip: Runtime, kind: str, mosquitto: Callable[..., MosquittoBroker], tmp_path: Path
) -> None:
    """One handshake for all readings; a ping only where the plan is longer than the keep-alive;
    commands come while it dozes."""
    needed(lambda: chip.argv)
    certs = certificates()
    broker = mosquitto(tls=certs)
    with TimeServer(lambda: board.time) as clock, Observer(broker, ("g/#", 1)) as observer:
        for name, period, keepalive, readings in (("short", 0.2, 2, 6), ("long", 2.5, 2, 2)):
            config = {
                "host": "localhost",
                "port": broker.tls_port,
                "tls": {"ca": "ca.der"},
                "client_id": f"{name}-{kind}",
                "topic": f"g/{name}",
                "period": period,
                "keepalive": keepalive,
                "timeout": 1,  # shorter than what it sleeps after a ping
                "readings": readings,
                "wifi": {"ssid": "home", "password": "right"},
                "ntp": "127.0.0.1",
                "ntp_port": clock.port,
            }
            files = {"config.json": config, "ca.der": certs.ca_der}
            folder = tmp_path / name
            with Board(chip, folder, EXAMPLES / "light.py", files, type=kind) as board:
                board.set_network()
                board.power_on()
                observer.wait(f"g/{name}/temperature", '{"n": 1}')
                observer.publish(f"g/{name}/do/x", b"\xff", 1)  # what it is ends nothing
                observer.publish(f"g/{name}/do/x", "now", 1)
                board.wait_line(f"command g/{name}/do/x b'now'", 10)
                end = board.wait_end(20)
            assert end.reason == "exit", end.lines
            assert len(observer.payloads(f"g/{name}/temperature")) == readings
            me = re.escape(f"{name}-{kind}")
            log = broker.log()
            assert len(re.findall(f"New client connected from .* as {me} ", log)) == 1
            pings = len(re.findall(f"Received PINGREQ from {me}$", log, re.M))
            # One or two are due before the next reading: the keep-alive has a margin.
            assert pings == 0 if name == "short" else 2 <= pings <= 4, pings
            slept = end.light_ms / (period * 1000 * readings)
            assert slept > 0.6 if kind == "rp2" else slept == 0


@pytest.mark.parametrize("chip", [MICROPYTHON64, MICROPYTHON32], ids=lambda r: r.name)
def test_light_without_tls_and_when_the_network_is_lost(
    chip: Runtime, mosquitto: Callable[..., MosquittoBroker], tmp_path: Path
) -> None:
    """Over a WebSocket, where there is no time server; an RP2 does not join again by itself."""
    needed(lambda: chip.argv)
    broker = mosquitto(websocket=True)
    config = {
        **{"host": "127.0.0.1", "port": broker.ws_port, "transport": "ws", "client_id": "l"},
        **{"topic": "g", "period": 0.2, "wifi": {"ssid": "home", "password": "right"}},
        **{"ntp": "127.0.0.1", "ntp_port": 9},
    }
    with Board(chip, tmp_path, EXAMPLES / "light.py", {"config.json": config}, type="rp2") as board:
        board.set_network()
        board.power_on()
        with Observer(broker, ("g/#", 1)) as observer:
            observer.publish("g/do/x", "before", 1, True)
            board.wait_line("command g/do/x b'before'", 10)
        with outage(board, broker):
            board.wait_line("error WifiError", 20)
        with Observer(broker, ("g/#", 1)) as observer:
            observer.publish("g/do/x", "after", 1, True)
            board.wait_line("command g/do/x b'after'", 20)


@pytest.mark.once
@pytest.mark.parametrize(("wired", "version"), [("lan", "1.22"), ("ppp", "1.25")])
def test_wired(
    runtime: Runtime,
    mosquitto: Callable[..., MosquittoBroker],
    tmp_path: Path,
    wired: str,
    version: str,
) -> None:
    """A cable that takes its time, a cable that is not there, and no part of Wi-Fi; a broker that
    wants a password."""
    user = {"username": "w", "password": "secret"}
    broker = mosquitto(allow_anonymous=False, **user)
    config = {"host": "broker.local", "port": broker.port, "client_id": "w", "topic": "w", **user}
    config |= {"wired": wired, "period": 60, "budget": 6000}
    main = EXAMPLES / "wired.py"
    files = {"config.json": config}
    with (
        Line() as line,
        Observer(broker, ("w/boot", 2)) as observer,
        Board(runtime, tmp_path, main, files, uart=line.device, version=version) as board,
    ):
        board.set_network(cable_ms=300)
        assert board.run()[0].lines == ["error None"]
        observer.publish("w/cmd", b"\xff", 2)  # what it is ends nothing
        observer.publish("w/cmd", "hello", 2)
        assert board.run()[0].lines == [r"command b'\xff'", "command b'hello'", "error None"]
        board.set_network(unplugged=True)
        (end,) = board.run(timeout=15)
        assert "no address: cable?" in end.lines[-1]
        board.set_network()
        board.run(3)  # after one in vain, one may pass without a try
        assert board.lines == ["error None"]
        observer.publish("w/boot", "end", 2)
        observer.wait("w/boot", "end")
        first, *others, _ = observer.payloads("w/boot")
        assert first == "power" and set(others) == {"timer"}
        assert len(others) == len(board.records) - 1, "once for each wake, the one in vain too"
    events = [json.loads(line) for line in (tmp_path / "network.log").read_text().splitlines()]
    assert not [e for e in events if e["event"] in ("scan", "join")]
    assert {e["interface"] for e in events if "interface" in e} == {wired.upper()}
    assert {"on", "off", "dns"} <= {e["event"] for e in events}


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
    odd = (b'{"asleep":1e999,"until":1}', b'{"asleep":NaN,"until":1}', b"[" * 200_000)
    odd += (b'{"asleep":1' + b"0" * 400 + b',"until":1}',)
    for strange in (b"no json", b"[1]", b"{}", b'{"asleep":"x","until":1}', b"\xff", *odd):
        watch.heard(strange, False, 5001)  # anybody may write there
    assert watch.look(5001) == "late"
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


def test_observer_says_why_it_cannot(mosquitto: Callable[..., MosquittoBroker]) -> None:
    broker = mosquitto(allow_anonymous=False, username="u", password="p")
    for port, why in ((broker.port, "Not authorized"), (1, "refused")):
        with CPYTHON.start(EXAMPLES / "observer.py", "127.0.0.1", str(port), "t") as observer:
            assert observer.wait_exit(10) == 1
            assert why in observer.lines[-1] and "Traceback" not in observer.lines[0]


def test_shadow(
    runtime: Runtime, mosquitto: Callable[..., MosquittoBroker], tmp_path: Path
) -> None:
    """What is desired while it sleeps is so after a wake, and after a loss of power; what is not
    its own it leaves alone."""
    broker = mosquitto()
    config = {"host": "127.0.0.1", "port": broker.port, "client_id": "t", "topic": "t"}
    with (
        ShadowService(broker) as service,
        Board(runtime, tmp_path, EXAMPLES / "shadow.py", {"config.json": config}) as board,
    ):
        board.run()
        service.desire("t", {"fan": 2, "other": 1})
        for _ in range(5):
            board.run()
            if 'settings {"fan": 2}' in board.lines:
                break
        service.wait("t", lambda shadow: shadow.reported == {"fan": 2})
        board.cut_power()
        assert board.run()[0].lines[0] == 'settings {"fan": 2}'

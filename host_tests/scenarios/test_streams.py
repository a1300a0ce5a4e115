"""What only a WebSocket or a serial line does; all else of them is in test_brokers.py and
test_handshakes.py, which run over them too."""

import json
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from harness.gateway import Gateway
from harness.line import BridgedLine
from play import acknowledge, connected

from tools.testing import wire
from tools.testing.board import Board
from tools.testing.brokers import Broker, MosquittoBroker
from tools.testing.observer import Observer
from tools.testing.peer import ScriptedPeer
from tools.testing.runtimes import Runtime

WS = {"transport": "ws"}
PROGRAMS = Path(__file__).parent / "programs"
MESSAGE = [["t", "x", 1, False]]


@pytest.mark.parametrize("status", [401, 404, 503])
def test_ws_refused(start, peer: ScriptedPeer, status: int) -> None:
    """Who asks for a connection is told why there is none."""
    with Gateway(peer.port, statuses=[status] * 9) as gateway:
        device = start("publish", gateway.port, WS, messages=MESSAGE)
        assert f"HTTP/1.1 {status} " in device.wait_line("raised UpgradeError", 5)
        assert device.wait_exit(5) == 0
        assert len(gateway.requests) == 1
        assert gateway.requests[0].path == "/mqtt"


@pytest.mark.mqtt311("MQTT-6.0.0-3", "MQTT-6.0.0-4")
@pytest.mark.mqtt5("MQTT-6.0.0-3", "MQTT-6.0.0-4")
@pytest.mark.parametrize("subprotocol", [None, "mqttv3.1"])
def test_ws_without_mqtt(start, peer: ScriptedPeer, subprotocol: str | None) -> None:
    with Gateway(peer.port, subprotocol=subprotocol) as gateway:
        device = start("publish", gateway.port, WS, messages=MESSAGE)
        device.wait_line("raised UpgradeError no MQTT", 5)
        assert device.wait_exit(5) == 0
        assert gateway.requests[0].headers["Sec-WebSocket-Protocol"] == "mqtt"
    assert not any(c.transcript.data("up") for c in peer.connections), "CONNECT was sent"


def test_ws_refusals_pass(start, peer: ScriptedPeer) -> None:
    """In the background it is tried again: a proxy says 404 or 503 while its server restarts."""
    with Gateway(peer.port, statuses=[503, 404, 401]) as gateway:
        device = start("flow", gateway.port, WS, topic="n", count=0, qos=[])
        connected(peer).expect_packet(type=wire.SUBSCRIBE)
        assert len(gateway.requests) == 4
        assert device.process.poll() is None


@pytest.mark.mqtt311("MQTT-6.0.0-1")
@pytest.mark.mqtt5("MQTT-6.0.0-1")
def test_ws_text_closes(start, peer: ScriptedPeer) -> None:
    with Gateway(peer.port, text=True) as gateway:
        device = start("publish", gateway.port, WS, messages=MESSAGE)
        device.wait_line("raised FrameError 129", 5)
        assert device.wait_exit(5) == 0
        assert gateway.codes.get(timeout=5) == 1003


def test_ws_closes_in_order(start, peer: ScriptedPeer) -> None:
    with Gateway(peer.port) as gateway:
        device = start("publish", gateway.port, WS, messages=MESSAGE)
        conn = connected(peer)
        acknowledge(conn)
        conn.expect(wire.disconnect())
        assert device.wait_exit(5) == 0
        assert gateway.codes.get(timeout=5) == 1000


def test_ws_with_paho_on_the_other_side(start, mosquitto: Callable[..., MosquittoBroker]) -> None:
    """Long messages, in several frames each way."""
    broker = mosquitto(websocket=True)
    with Observer(broker, ("t", 2)) as observer:
        text = "0123456789" * 350
        device = start("receive", broker.ws_port, WS, filters=[["u", 2]])
        device.wait_line("granted 2", 10)
        observer.publish("u", text, 2)
        device.wait_line(f"got u {text} 2 0", 10)
        device = start("publish", broker.ws_port, WS, messages=[["t", text, 2, False]])
        device.wait_line("end", 10)
        observer.wait("t", text)


@pytest.mark.desk("a serial line that is a pseudo-terminal of this machine")
def test_uart_drops_what_is_left_of_an_old_connection(
    runtime: Runtime, mosquitto: Callable[..., MosquittoBroker], tmp_path: Path
) -> None:
    """More than one read of it; the first attempt is the one that counts here."""
    with BridgedLine(mosquitto().port) as line:
        line.put(wire.connack(return_code=2) + wire.publish("t", bytes(300))[:200])
        config = {"client": {"host": "", "client_id": "node"}, "messages": MESSAGE}
        config |= {"uart": line.device}
        config["client"] |= {"transport": "uart"}
        file = tmp_path / "device.json"
        file.write_text(json.dumps(config))
        with runtime.start(PROGRAMS / "publish.py", str(file)) as device:
            device.wait_line("published t 1", 10)
            assert device.wait_exit(5) == 0
            line.wait_said("closed by the broker", 5)
            assert sum("connected to" in text for text in line.bridge.lines) == 1


def test_uart_ends_what_never_is_quiet(start, broker: Broker) -> None:
    """A device that was reset, while the broker sends and sends to who it was before."""
    uart = {"transport": "uart", "username": broker.username, "password": broker.password}
    stop = threading.Event()

    def talk() -> None:
        while not stop.wait(0.03):
            observer.publish("u", "x", 0)

    with Observer(broker) as observer:
        device = start("receive", broker.port, uart, filters=[["u", 0]])
        device.wait_line("granted 0", 10)
        thread = threading.Thread(target=talk)
        thread.start()
        try:
            device.wait_line("got u x", 5)
            device.kill()
            device = start("receive", broker.port, uart, filters=[["u", 0]])
            device.wait_line("got u x", 5)
        finally:
            stop.set()
            thread.join()


SLEEPER = PROGRAMS / "sleeper.py"


@pytest.mark.desk("runs on the simulated board: its deep sleep")
@pytest.mark.parametrize("transport", ["ws", "uart"])
def test_asleep(
    runtime: Runtime, mosquitto: Callable[..., MosquittoBroker], tmp_path: Path, transport: str
) -> None:
    """A node that sleeps, whose broker is behind a WebSocket or a line."""
    broker = mosquitto(websocket=True)
    line = BridgedLine(broker.port)
    config = {
        "client": {"client_id": "node", "clean": False, "timeout": 5, "port": broker.ws_port},
        "node": {"period": 60, "budget": 5000, "subscribe": [["cmd", 2]]},
        "publish": [["t", "N", 2]],
        "transport": transport,
    }
    if transport == "uart":
        config["host"] = ""
    board = {"uart": line.device}
    with (
        line,
        Observer(broker, ("t", 2)) as observer,
        Board(runtime, tmp_path, SLEEPER, {"config.json": config}, **board) as node,
    ):
        node.run()
        observer.publish("cmd", "one", 2)
        for _ in range(2):
            node.run()
            assert node.lines[-1].startswith("left"), node.lines
            assert node.lines[-1].endswith("error None"), node.lines
        assert any("command 2 one" in line for line in node.records[1].lines)
        observer.wait("t", "3")
        assert observer.payloads("t") == ["1", "2", "3"]
        if transport == "uart":
            assert "network.log" not in {p.name for p in tmp_path.iterdir()}
            for _ in range(3):
                line.wait_said("connection closed by the broker", 5)

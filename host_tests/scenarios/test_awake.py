"""examples/awake.py, a node that stays connected, on every runtime."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from play import outage

from tools.testing.board import Board
from tools.testing.brokers import MosquittoBroker
from tools.testing.certs import certificates
from tools.testing.observer import Observer
from tools.testing.runtimes import MICROPYTHON32, MICROPYTHON64, ROOT, Device, Runtime

pytestmark = pytest.mark.desk("examples/awake.py reads config.json, which on a board is yours")

NETWORK = """
class WLAN:
    def isconnected(self):
        print("in the network")
        return True

    def config(self, name):
        return "my network"
"""


def start(runtime: Runtime, folder: Path, **more: object) -> Device:
    """Start the node in a folder with its config.json, as a device starts in its root."""
    example = json.loads((ROOT / "examples" / "awake.example.json").read_text())
    config = {**example, "period": 0.02, "backoff": [0.02, 0.1]}
    config |= {"host": "127.0.0.1", **more}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "network.py").write_text(NETWORK)
    environment = runtime.environment(folder)
    return runtime.start(ROOT / "examples" / "awake.py", cwd=folder, env=environment)


def test_node(runtime: Runtime, mosquitto: Callable[..., MosquittoBroker], tmp_path: Path) -> None:
    broker = mosquitto()
    with Observer(broker, ("greenhouse/7/+", 2)) as observer:
        with start(runtime, tmp_path, port=broker.port, readings=30) as device:
            device.wait_line("in the network", 10)
            device.wait_line("subscribed", 10)
            observer.wait("greenhouse/7/state", "online")
            observer.publish("greenhouse/7/do/water", "5", 2)
            device.wait_line("command 2 do/water 5", 10)
            for payload in ("soon", "nan", "-1", "inf"):
                observer.publish("greenhouse/7/set/period", payload, 1)
            observer._client.publish("greenhouse/7/set/period", b"\xff", 1).wait_for_publish(10)
            observer.publish("greenhouse/7/set/period", "0.01", 1)
            device.wait_line("command 1 set/period 0.01", 10)
            device.wait_line("end 30 dropped 0", 20)
            assert device.wait_exit(10) == 0
        observer.wait("greenhouse/7/state", "offline")
        # paho hands on what is at QoS 2 when its handshake has ended: later than what came behind.
        observer.wait_count("greenhouse/7/meter", 30)
        for name in ("light", "temperature", "meter"):
            payloads = observer.payloads(f"greenhouse/7/{name}")
            assert [json.loads(p)["n"] for p in payloads] == list(range(1, 31))


def test_node_says_why_it_is_not_connected(
    runtime: Runtime, mosquitto: Callable[..., MosquittoBroker], tmp_path: Path
) -> None:
    broker = mosquitto(username="u", password="right", allow_anonymous=False)
    with start(runtime, tmp_path, port=broker.port, username="u", password="wrong") as device:
        assert "authorized" in device.wait_line("no broker: Refused", 15)
        assert device.process.poll() is None  # the account may be there tomorrow


def test_node_over_tls(
    runtime: Runtime, mosquitto: Callable[..., MosquittoBroker], tmp_path: Path
) -> None:
    """No password goes out in plain text where the settings say TLS."""
    certs = certificates()
    broker = mosquitto(tls=certs, username="u", password="right", allow_anonymous=False)
    (tmp_path / "ca.der").write_bytes(certs.ca_der)
    tls = {"host": "localhost", "port": broker.tls_port, "tls": {"ca": "ca.der"}, "readings": 3}
    with start(runtime, tmp_path, username="u", password="right", **tls) as device:
        device.wait_line("end 3 dropped 0", 20)


def test_node_without_config(runtime: Runtime, tmp_path: Path) -> None:
    with runtime.start(ROOT / "examples" / "awake.py", cwd=tmp_path) as device:
        assert device.wait_exit(10) != 0


@pytest.mark.parametrize(
    ("runtime", "chip"),
    [(MICROPYTHON64, "esp32"), (MICROPYTHON32, "rp2")],
    indirect=["runtime"],
    ids=["esp32", "rp2"],
)
def test_node_on_a_board(
    runtime: Runtime, mosquitto: Callable[..., MosquittoBroker], tmp_path: Path, chip: str
) -> None:
    """Under guard: an error is a crash that is counted, and the node is there again."""
    broker = mosquitto(username="u", password="right", allow_anonymous=False)
    config = {"host": "127.0.0.1", "port": broker.port, "client_id": "g", "topic": "g"}
    config |= {"username": "u", "password": "right", "period": 0.02, "keepalive": "long"}
    main = ROOT / "examples" / "awake.py"
    with Board(runtime, tmp_path, main, {"config.json": config}, type=chip) as board:
        (end,) = board.run(1, 30)
        assert any(line.startswith("crash 1 ") for line in end.lines)
        board.put("config.json", {**config, "keepalive": 60, "readings": 9})
        board.go_on()
        end = board.wait_end(30)
        assert end.reason == "exit" and "end 9 dropped 0" in end.lines
        assert "well again" in end.lines


@pytest.mark.parametrize("runtime", [MICROPYTHON32], indirect=True, ids=["rp2"])
def test_node_joins_a_lost_network_again(
    runtime: Runtime, mosquitto: Callable[..., MosquittoBroker], tmp_path: Path
) -> None:
    """An RP2 does not do it by itself."""
    broker = mosquitto()
    config = {"host": "127.0.0.1", "port": broker.port, "client_id": "g", "topic": "g"}
    config |= {"wifi": {"ssid": "home", "password": "right"}, "backoff": [0.05, 0.2]}
    main = ROOT / "examples" / "awake.py"
    with Board(runtime, tmp_path, main, {"config.json": config}, type="rp2") as board:
        board.set_network()
        board.power_on()
        board.wait_line("subscribed", 10)
        with outage(board, broker):
            board.wait_line("no network: WifiError", 30)
        board.wait_line("connected", 30)

"""examples/awake.py, a node that stays connected, on every runtime."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from harness.brokers import MosquittoBroker
from harness.certs import certificates
from harness.observer import Observer
from harness.runtimes import ROOT, Device, Runtime

pytestmark = pytest.mark.desk("examples/awake.py reads config.json, which on a board is yours")

NETWORK = """
STA_IF = 0
polls = 0

class WLAN:
    def __init__(self, mode):
        pass
    def active(self, on):
        pass
    def connect(self, ssid, password):
        print("joining", ssid)
    def isconnected(self):
        global polls
        polls += 1
        return polls > 3
    def status(self):
        return 201
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
    with Observer(broker, ("greenhouse/7/#", 2)) as observer:
        with start(runtime, tmp_path, port=broker.port, readings=30) as device:
            device.wait_line("joining my network", 10)
            device.wait_line("subscribed", 10)
            observer.wait("greenhouse/7/state", "online")
            observer.publish("greenhouse/7/do/water", "5", 2)
            device.wait_line("command 2 do/water 5", 10)
            observer.publish("greenhouse/7/set/period", "0.01", 1)
            device.wait_line("command 1 set/period 0.01", 10)
            device.wait_line("end 30 dropped 0", 20)
            assert device.wait_exit(10) == 0
        observer.wait("greenhouse/7/state", "offline")
        for name in ("light", "temperature", "meter"):
            payloads = observer.payloads(f"greenhouse/7/{name}")
            assert [json.loads(p)["n"] for p in payloads] == list(range(1, 31))


def test_node_says_why_it_ends(
    runtime: Runtime, mosquitto: Callable[..., MosquittoBroker], tmp_path: Path
) -> None:
    broker = mosquitto(username="u", password="right", allow_anonymous=False)
    with start(runtime, tmp_path, port=broker.port, username="u", password="wrong") as device:
        assert device.wait_exit(10) != 0
        assert any("Refused" in line and "authorized" in line for line in device.lines)


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

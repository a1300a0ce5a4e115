"""Messages larger than RAM, in a heap of 64 KiB: an image of 1 MiB out, a file of 1 MiB in."""

import json
import os
import subprocess
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest
from paho.mqtt import publish
from play import PROGRAMS

from tools import parts
from tools.testing.board import Board
from tools.testing.brokers import MosquittoBroker
from tools.testing.certs import certificates
from tools.testing.chaos import ChaosProxy, How
from tools.testing.needs import needed
from tools.testing.observer import Observer
from tools.testing.runtimes import CPYTHON, MICROPYTHON32, ROOT, Device, Runtime
from tools.testing.wire import Direction

CROSS = (parts.mpy_cross(), "-O3")
SETTINGS = ("field/__init__", "field/config")
HEAP = "64k"
SIZE = 1 << 20
CONTENT = b"".join(b"%07d " % n for n in range(SIZE // 8))
EACH = pytest.mark.parametrize(
    ("way", "version"),
    [("tcp", 4), ("tcp", 5), ("tls", 4), ("ws", 4)],
    ids=lambda value: str(value),
)
# An example that waits less before it connects again.
QUICK = """
import sys
import dormouse.field.config as config
make = config.make_client
config.make_client = lambda *args, **options: make(*args, backoff=(0.05, 0.1), **options)
__import__(sys.argv[1])
"""


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library as a device has it, as .mpy files: to compile it takes more than 64 KiB."""
    folder = tmp_path_factory.mktemp("large")
    for name in parts.every():
        if name.rpartition("/")[0] in ("", "mqtt5", "large", "net") or name in SETTINGS:
            parts.compile_module(name, folder / "dormouse" / f"{name}.mpy")
    for name in ("camera", "download"):
        done = subprocess.run(
            [*CROSS, "-o", str(folder / f"{name}.mpy"), str(ROOT / "examples" / f"{name}.py")],
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
    (folder / "quick.py").write_text(QUICK)
    return folder


def begin(program: str, compiled: Path, folder: Path) -> Device:
    """Start an example in its folder on the 32-bit runtime, with as little heap as a chip has."""
    argv = [*needed(lambda: MICROPYTHON32.argv), "-X", f"heapsize={HEAP}"]
    process = subprocess.Popen(
        [*argv, str(compiled / "quick.py"), program],
        cwd=folder,
        env={**os.environ, "MICROPYPATH": f".frozen:{compiled}"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    return Device(program, process)


def broker_of(way: str, mosquitto: Callable[..., MosquittoBroker]) -> tuple[MosquittoBroker, int]:
    """Return a broker, and the port at which it is met that way."""
    broker = mosquitto(
        tls=certificates() if way == "tls" else None,
        websocket=way == "ws",
        extra_config="max_queued_bytes 0\n",
    )
    ports = {"tcp": broker.port, "tls": broker.tls_port, "ws": broker.ws_port}
    return broker, ports[way]


def configure(folder: Path, way: str, port: int, **config: object) -> None:
    """Write config.json, and what it names."""
    config |= {"host": "127.0.0.1", "port": port, "topic": "g", "client_id": "large"}
    if way == "tls":
        (folder / "ca.der").write_bytes(certificates().ca_der)
        config |= {"host": "localhost", "tls": {"ca": "ca.der"}}
    elif way == "ws":
        config["transport"] = "ws"
    (folder / "config.json").write_text(json.dumps(config))


CUTS: list[tuple[int, Direction, How]] = [
    (300_000, "up", "reset"),
    (150_000, "up", "close"),
    (700_000, "up", "reset"),
]


@EACH
def test_camera(
    way: str,
    version: int,
    compiled: Path,
    mosquitto: Callable[..., MosquittoBroker],
    tmp_path: Path,
) -> None:
    """Cut three times in the middle of its image."""
    broker, port = broker_of(way, mosquitto)
    with ChaosProxy(port) as proxy, Observer(broker, ("g/#", 2)) as observer:
        configure(tmp_path, way, proxy.port, version=version, once=True)
        (tmp_path / "images").mkdir()
        (tmp_path / "images" / "1.jpg").write_bytes(CONTENT)
        (tmp_path / "images" / "2.jpg").write_bytes(CONTENT[:5])
        (tmp_path / "images" / "3.part").write_bytes(CONTENT[:5])
        proxy.cut_each(*CUTS)
        with begin("camera", compiled, tmp_path) as device:
            device.wait_line("sent 1.jpg", 60)
            device.wait_line("sent 2.jpg", 10)
            assert device.wait_exit(10) == 0, device.transcript()
        assert len(proxy.connections) == len(CUTS) + 1
        observer.publish("g/end", "", 2)
        observer.wait("g/end", "")
        got = {m.topic: sha256(m.payload).digest() for m in observer.messages}
        assert got["g/image/1.jpg"] == sha256(CONTENT).digest()
        assert got["g/image/2.jpg"] == sha256(CONTENT[:5]).digest()
        assert len(observer.messages) == 3, "no image came twice: none was cut after its end"
        assert os.listdir(tmp_path / "images") == ["3.part"]


def test_camera_goes_on(
    compiled: Path, mosquitto: Callable[..., MosquittoBroker], tmp_path: Path
) -> None:
    """An image that the broker does not take holds up none of the others; its folder is made."""
    broker = mosquitto(extra_config="max_packet_size 5000")
    configure(tmp_path, "tcp", broker.port, version=5)
    with begin("camera", compiled, tmp_path) as device:
        while not (tmp_path / "images").exists():
            time.sleep(0.01)
        (tmp_path / "images" / "1.jpg").write_bytes(CONTENT[:9000])
        (tmp_path / "images" / "2.jpg").write_bytes(CONTENT[:9])
        device.wait_line("lost 1.jpg", 20)
        device.wait_line("sent 2.jpg", 10)
        device.kill()
    assert os.listdir(tmp_path / "images") == ["1.jpg.bad"]


@EACH
def test_download(
    way: str,
    version: int,
    compiled: Path,
    mosquitto: Callable[..., MosquittoBroker],
    tmp_path: Path,
) -> None:
    """A file, cut three times on its way; one that is not what its sender had; a short one."""
    broker, port = broker_of(way, mosquitto)
    name = f"g/file/song.mp3/{sha256(CONTENT).hexdigest()}"
    with ChaosProxy(port) as proxy, Observer(broker, ("g/saved/#", 2)) as observer:
        configure(tmp_path, way, proxy.port, version=version)
        proxy.cut_each(*((n, "down", how) for n, _, how in CUTS))
        with begin("download", compiled, tmp_path) as device:
            device.wait_line("waiting", 20)
            observer.publish(name, CONTENT.decode(), 1)
            for _ in CUTS:
                device.wait_line("again song.mp3 ('cut', ", 30)
            device.wait_line(f"saved song.mp3 {SIZE}", 30)
            assert (tmp_path / "files" / "song.mp3").read_bytes() == CONTENT
            observer.wait("g/saved/song.mp3", "saved")
            observer.publish(name.replace("song", "other"), CONTENT[:-1].decode(), 1)
            device.wait_line("wrong SHA-256 other.mp3", 30)
            observer.publish(f"g/file/short/{sha256(b'x').hexdigest()}", "x", 1)
            device.wait_line("saved short 1", 10)
            assert sorted(os.listdir(tmp_path / "files")) == ["short", "song.mp3"]
            observer.wait("g/saved/short", "saved")
        assert len(proxy.connections) == len(CUTS) + 1
        assert observer.payloads("g/saved/song.mp3") == ["saved"]


def small(compiled: Path) -> Runtime:
    """Return the 32-bit runtime with a heap of 128 KiB."""
    argv = [*needed(lambda: MICROPYTHON32.argv), "-X", "heapsize=128k"]
    return Runtime("small", lambda: argv, MICROPYTHON32.path_env, (".frozen", str(compiled)))


@pytest.mark.parametrize(
    ("version", "kib", "times", "name"),
    [(4, 90, 1, "once"), (4, 62, 3, "once"), (5, 50, 3, "once"), (4, 58, 3, "by_router")],
)
def test_held_once(
    version: int,
    kib: int,
    times: int,
    name: str,
    compiled: Path,
    mosquitto: Callable[..., MosquittoBroker],
) -> None:
    """Without ``large`` too, a message may be as long as what is free: it is not held twice. Nor
    is anything of it held when the application has done with it; the next ones are as any others.
    """
    broker = mosquitto(extra_config="max_queued_bytes 0\n")
    size = kib << 10
    program = PROGRAMS / f"held_{name}.py"
    with small(compiled).start(program, str(broker.port), str(version), str(size)) as device:
        device.wait_line("ready", 20)
        sent = [("bytearray", CONTENT[n : size + n]) for n in range(times)] + [("bytes", b"x")]
        for _, payload in sent:
            publish.single("down", payload, 1, False, broker.host, broker.port)
        for kind, payload in sent:
            device.wait_line(f"got {kind} {len(payload)} {sha256(payload).digest()}", 10)
        device.wait_line("trouble 0", 5)


def test_sent_once(compiled: Path, mosquitto: Callable[..., MosquittoBroker]) -> None:
    """What is in RAM goes out from where it is."""
    broker = mosquitto()
    size = 80 << 10
    program = PROGRAMS / "sent_once.py"
    with Observer(broker, ("up", 1)) as observer:
        with small(compiled).start(program, str(broker.port), str(size)) as device:
            device.wait_line("sent", 20)
        observer.wait("up", "\0" * size)


@pytest.mark.parametrize("version", [4, 5])
def test_node(version: int, mosquitto: Callable[..., MosquittoBroker], tmp_path: Path) -> None:
    """The store has the path: through a cut, a power cut and deep sleep; without the file its
    message ends, and nothing else."""
    needed(lambda: MICROPYTHON32.argv)
    broker = mosquitto(extra_config="max_queued_bytes 0\n")
    image, file = CONTENT[:300_000], CONTENT[100_000:300_000]
    with ChaosProxy(broker.port) as proxy, Observer(broker, ("g/#", 2)) as observer:
        client = {"host": "127.0.0.1", "port": proxy.port, "client_id": "n", "version": version}
        files = {"config.json": {"client": client}, "image": image}
        program = PROGRAMS / "large_node.py"
        with Board(MICROPYTHON32, tmp_path, program, files, flash=SIZE) as board:
            board.set_network()
            proxy.stall()
            board.power_on()
            board.wait_line("committed None", 10)
            board.cut_power()
            proxy.resume()
            proxy.cut_after(200_000, "up", "reset")
            assert "again" not in "".join(board.run()[0].lines)
            (end,) = board.run()
            assert end.lines[-1] == "waiting 0 None", end.lines
            observer.wait("g/small", "x")
            observer.wait("g/image", image.decode())
            # In, cut in its middle: again in the same wake or in the next one.
            observer.publish("g/file", file.decode(), 2)
            proxy.cut_after(100_000, "down", "close")
            found = board.run(2)
            assert "got 200000" in [line for end in found for line in end.lines]
            (end,) = board.run()
            assert f"committed {sha256(file).digest()}" in end.lines
            assert "got 200000" not in end.lines
            # The file is gone when its message is to be sent.
            board.cut_power()
            proxy.stall()
            board.power_on()
            board.wait_line("published None", 10)
            board.cut_power()
            proxy.resume()
            board.put("image", "another")
            (end,) = board.run()
            assert end.lines[-1] == "waiting 0 SourceError('image', 7)", end.lines
            observer.publish("g/end", "", 2)
            observer.wait("g/end", "")
            assert len(observer.payloads("g/image")) == 1
            assert len(observer.payloads("g/small")) == 2


def test_cancelled_and_waiting(
    runtime: Runtime, start: Callable[..., Device], mosquitto: Callable[..., MosquittoBroker]
) -> None:
    """At each suspension point; and with a wait that only ends when the message is given up."""
    version = 5 if runtime is CPYTHON else 4
    device = start("large_cancel", mosquitto().port, {"version": version})
    device.wait_line("sound", 60)
    assert not [line for line in device.lines if line.startswith("wrong")], device.transcript()
    points = {line.split()[1] + line.split()[2]: int(line.split()[3]) for line in device.lines[:5]}
    assert set(points) == {"out0", "out1", "out2", "in1", "in2"}
    assert min(points.values()) > 0 and points["in1"] > 5, points
    assert [line.split(",")[0] for line in device.lines[5:8]] == [
        "answered",
        "incomplete ('not taken'",
        "whole True",
    ]

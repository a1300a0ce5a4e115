"""firmware/ as it is flashed: boot.py, main.py and its settings, with all that can befall it."""

import importlib.util
import itertools
import json
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from command.calling import COMMAND
from dormouse.field.log import Log
from dormouse.store import Store
from harness.bottle import Bottle
from play import start_ota

from tools.testing.board import Board, End
from tools.testing.brokers import MosquittoBroker
from tools.testing.certs import certificates
from tools.testing.observer import Observer
from tools.testing.runtimes import FIRMWARE, MICROPYTHON32, MICROPYTHON64, ROOT, Device, Runtime
from tools.testing.sntp import TimeServer

pytestmark = pytest.mark.desk("runs on the simulated board, for it sleeps deeply")

MAIN = (FIRMWARE / "main.py").read_text()
KEY = "an update key of this test, long enough"
TOPICS = (f"node/{os.getpid()}/{n}" for n in itertools.count())  # make ota remembers them
SENSOR = "        n = self.state"
BROKEN = MAIN.replace(SENSOR, "        raise OSError(19)\n" + SENSOR)
BOTH = pytest.mark.parametrize(
    ("runtime", "chip"),
    [(MICROPYTHON64, "esp32"), (MICROPYTHON32, "rp2")],
    indirect=["runtime"],
    ids=["esp32", "rp2"],
)


class Field:
    """A broker, a node that is flashed, and who watches."""

    def __init__(self, stack: ExitStack, broker: MosquittoBroker, folder: Path):
        self.stack, self.broker, self.folder = stack, broker, folder
        self.topic = next(TOPICS)
        self.observer = stack.enter_context(Observer(broker, (self.topic + "/#", 2)))

    def node(
        self, runtime: Runtime, chip: str, main: str = MAIN, flash: int = 262144, **config: Any
    ) -> Board:
        """Return a board with a main.py, its config.json changed."""
        settings = {"host": "127.0.0.1", "port": self.broker.port, "topic": self.topic}
        settings |= {"client_id": "node", "update_key": KEY, "crashes": 2, "retry": 0, **config}
        boot = (FIRMWARE / "boot.py").read_text()
        files = {"config.json": settings, "main.py": main, "boot.py": boot}
        board = Board(runtime, self.folder / "board", None, files, flash=flash, type=chip)
        return self.stack.enter_context(board)

    def ota(self, main: str, *args: str) -> Device:
        """Start the tool behind `make ota` with a main.py."""
        started = start_ota(self.broker, self.topic, self.folder, main, *args, key=KEY)
        tool = self.stack.enter_context(started)
        tool.wait_line("waiting for the next wake", 20)
        return tool

    def meter(self) -> list[int]:
        """Return the readings that must arrive once."""
        return [json.loads(text)["n"] for text in self.observer.payloads(self.topic + "/meter")]


@pytest.fixture
def field(mosquitto: Callable[..., MosquittoBroker], tmp_path: Path) -> Iterator[Field]:
    with ExitStack() as stack:
        yield Field(stack, mosquitto(), tmp_path)


def boot(board: Board) -> End:
    """Let the board boot once, to its end."""
    board.go_on()
    end = board.wait_end(30)
    assert end.reason in ("deepsleep", "reset"), end.lines
    return end


def until(board: Board, tool: Device, wakes: int = 12) -> list[End]:
    """Let the node boot until the tool has ended."""
    ends: list[End] = []
    while tool.process.poll() is None:
        assert len(ends) < wakes, tool.transcript()
        ends.append(boot(board))
        if any(f'"{word}"' in line for line in ends[-1].lines for word in ("done", "back")):
            tool.wait_exit(20)
    return ends


def has(end: End, text: str) -> bool:
    return any(text in line for line in end.lines)


@BOTH
def test_update(field: Field, runtime: Runtime, chip: str) -> None:
    """A new version comes in the node's own wakes, and no reading is lost or doubled by it."""
    node = field.node(runtime, chip)
    assert boot(node).lines[0] == "wake power relay 0"
    tool = field.ota(MAIN.replace('self.log("wake"', 'self.log("new wake"'))
    ends = until(node, tool)
    assert tool.wait_exit(20) == 0, tool.transcript()
    assert has(ends[-1], "new wake")
    ends += [boot(node), boot(node)]
    assert has(ends[-1], "new wake") and not has(ends[-1], "error")
    observed = field.meter()
    assert sorted(observed) == list(range(1, len(observed) + 1))
    sent = 1 + sum(has(end, "sent meter") for end in ends)
    assert sent - 1 <= len(observed) <= sent, "the last one may be on its way"


# As docs/ota.md says: three places, and the name.
LARGE = {
    "make_client(\n            config,": 'make_client(config, large="in",',
    "make_ota(config)": "make_ota(config, LargeOta)",
    "self.ota.handle(message": "await self.ota.receive(message",
}


def large(main: str) -> str:
    """Return main.py as a program that takes updates in messages larger than RAM."""
    page = (ROOT / "docs" / "ota.md").read_text()
    for old, new in LARGE.items():
        assert main.count(old) == 1 and f"`{new}`" in page, old
        main = main.replace(old, new)
    return "from dormouse.field import LargeOta\n" + main


@BOTH
def test_large_update(field: Field, runtime: Runtime, chip: str) -> None:
    """In messages larger than RAM, with a short budget: in its own wakes, no reading lost or
    doubled; a node in safe mode gets the chunks of the same update."""
    node = field.node(runtime, chip, large(MAIN), flash=1 << 20)
    boot(node)
    data = os.urandom(150_000)
    (field.folder / "image").write_bytes(data)
    options = ("--large", "--file", f"image={field.folder / 'image'}")
    tool = field.ota(large(MAIN).replace('self.log("wake"', 'self.log("new wake"'), *options)
    ends = until(node, tool)
    assert tool.wait_exit(20) == 0, tool.transcript()
    assert has(ends[-1], "new wake") and node.read("image") == data
    boot(node)
    observed = field.meter()
    assert sorted(observed) == list(range(1, len(observed) + 1))
    field.observer.wait(field.topic + "/update", "")
    assert not any("32" in topic.split("/") for topic in retained(field))
    node.put("main.py", BROKEN)
    assert has(boot(node), "crash 1 ") and has(boot(node), "crash 2 ")
    assert has(boot(node), "safe mode")
    tool = field.ota(large(MAIN), "--large")
    ends = until(node, tool)
    assert tool.wait_exit(20) == 0, tool.transcript()


def retained(field: Field) -> set[str]:
    """Return the topics of the update at which the broker has something."""
    last = {m.topic: m.payload for m in field.observer.messages if "/update" in m.topic}
    return {topic for topic, payload in last.items() if payload}


@BOTH
def test_update_without_a_watchdog(field: Field, runtime: Runtime, chip: str) -> None:
    """The settings say none, but boot.py's is there: a new version that takes its time is good."""
    node = field.node(runtime, chip, watchdog=0)
    boot(node)
    slow = MAIN.replace(SENSOR, "        __import__('time').sleep(3)\n" + SENSOR)
    tool = field.ota(slow, "--watchdog", "2000")
    ends = until(node, tool)
    assert tool.wait_exit(20) == 0, tool.transcript()
    assert not any(has(end, "crash ") for end in ends)


@BOTH
def test_broken_update(field: Field, runtime: Runtime, chip: str) -> None:
    """The old version is back, says so, and counts on from where it was."""
    node = field.node(runtime, chip, crashes=5)
    boot(node)
    tool = field.ota(BROKEN)
    ends = until(node, tool)
    assert tool.wait_exit(20) == 1, tool.transcript()
    assert sum(has(end, "crash ") for end in ends) == 3
    assert sum(has(end, "well again") for end in ends) == 1, "the crashes were its own"
    boot(node)
    assert sorted(field.meter()) == list(range(1, len(field.meter()) + 1))


@BOTH
def test_mended_from_safe_mode(field: Field, runtime: Runtime, chip: str) -> None:
    """A node whose application crashes gets another one, though it is in safe mode, and though a
    first one does not help; what had waited at the broker is obeyed then."""
    node = field.node(runtime, chip)
    boot(node)
    node.put("main.py", BROKEN)
    assert has(boot(node), "crash 1 ") and has(boot(node), "crash 2 ")
    field.observer.publish(field.topic + "/do/toggle", "", 2)
    assert has(boot(node), "safe mode")

    tool = field.ota(BROKEN.replace("OSError(19)", "OSError(110)"))
    ends = until(node, tool)
    assert tool.wait_exit(20) == 1, tool.transcript()
    assert has(ends[-1], "safe mode"), "back where it was"

    # One of its topic filters is none. Its error in each wake is no reason to go back, nor to count
    # the crashes of the old one on and on.
    tool = field.ota(MAIN.replace('(topic + "/do/+", 2)]', '(topic + "/do/+", 2), ("#/x", 1)]'))
    ends = until(node, tool)
    assert tool.wait_exit(20) == 0, tool.transcript()
    assert has(ends[-1], "error ValueError")
    assert sum(has(end, "command 2 do/toggle") for end in ends) == 1
    assert sum(has(end, "well again") for end in ends) == 1
    assert boot(node).lines[0].endswith("relay 1")


@BOTH
def test_log_is_read_over_mqtt(field: Field, runtime: Runtime, chip: str) -> None:
    node = field.node(runtime, chip)
    boot(node)
    node.put("main.py", BROKEN)
    boot(node)
    node.put("main.py", MAIN)
    field.observer.publish(field.topic + "/do/log", "", 2)
    boot(node)
    log = field.observer.wait_count(field.topic + "/log", 1)[0]
    assert "crash 1" in log and "OSError" in log and KEY not in log


@pytest.mark.once
@pytest.mark.parametrize(
    ("runtime", "chip"), [(MICROPYTHON32, "esp32")], indirect=["runtime"], ids=["esp32"]
)
def test_a_broker_that_went_back(field: Field, runtime: Runtime, chip: str) -> None:
    """Its session is an older one, without a filter: the node cannot know. docs/brokers.md has the
    command that helps."""
    page = (ROOT / "docs" / "brokers.md").read_text()
    (line,) = [line for line in page.splitlines() if line.startswith("dormouse sub -h ")]
    line = line.replace("broker.local", f"127.0.0.1 -p {field.broker.port}")
    helps = line.replace("greenhouse-7", "node").split()[1:]
    node = field.node(runtime, chip)
    boot(node)

    def obeys() -> bool:
        field.observer.publish(field.topic + "/do/toggle", "", 2)
        return has(boot(node), "command 2 do/toggle")

    assert obeys()
    subprocess.run([*COMMAND, *helps, "-c", "-U", field.topic + "/do/+"], check=False, cwd=ROOT)
    assert not obeys() and not has(boot(node), "error")
    subprocess.run([*COMMAND, *helps], check=False, cwd=ROOT)
    boot(node)
    assert obeys()


def test_log_pushes_no_reading_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever may publish can ask for the log as often as he likes: at QoS 0 an answer goes before
    any reading does, where there is no more room."""
    found = importlib.util.spec_from_file_location("flashed", FIRMWARE / "main.py")
    assert found and found.loader
    flashed = importlib.util.module_from_spec(found)
    found.loader.exec_module(flashed)
    Bottle(monkeypatch)
    store = Store()
    store.survives = 2
    node = flashed.SensorNode({"host": "h", "topic": "n", "client_id": "n"}, store, Log())
    node.measure()
    waiting = node.node.waiting()
    for _ in range(20):
        node.obey("do/log", b"")
    node.measure()
    assert waiting == 2 and node.node.waiting() == 4
    assert [o for o in node.node.session.outbox if b"n/log" in o.packet]


@BOTH
def test_tls(
    mosquitto: Callable[..., MosquittoBroker], runtime: Runtime, chip: str, tmp_path: Path
) -> None:
    """The broker is verified by a file on flash, once the clock is set; the file is not the
    update's to replace."""
    certs = certificates()
    broker = mosquitto(tls=certs)
    with ExitStack() as stack:
        field = Field(stack, broker, tmp_path)
        clock = stack.enter_context(TimeServer(lambda: node.time))
        tls = {"host": "localhost", "port": broker.tls_port, "tls": {"ca": "ca.der"}}
        node = field.node(runtime, chip, **tls, ntp="127.0.0.1", ntp_port=clock.port)
        node.put("ca.der", certs.foreign_ca_der)
        assert has(boot(node), "error ValueError") and not field.meter()
        node.put("ca.der", certs.ca_der)
        while not field.meter():  # wakes in vain may let some pass
            boot(node)
        assert not has(boot(node), "error")


@BOTH
def test_wifi_tls_and_clock_from_power_on(
    mosquitto: Callable[..., MosquittoBroker], runtime: Runtime, chip: str, tmp_path: Path
) -> None:
    """As it is set up by default: Wi-Fi, a certificate to verify, the clock, a journal. It connects
    in the first wake after power-on, in each one after that, and again after a loss of power."""
    certs = certificates()
    broker = mosquitto(tls=certs)
    with ExitStack() as stack:
        field = Field(stack, broker, tmp_path)
        clock = stack.enter_context(TimeServer(lambda: node.time))
        tls = {"host": "localhost", "port": broker.tls_port, "tls": {"ca": "ca.der"}}
        wifi = {"wifi": {"ssid": "home", "password": "right"}}
        node = field.node(runtime, chip, **tls, **wifi, ntp="127.0.0.1", ntp_port=clock.port)
        node.put("ca.der", certs.ca_der)
        node.set_network(password="right")
        for wake in range(1, 4):
            assert not has(boot(node), "error"), node.lines
            field.observer.wait_count(field.topic + "/temperature", wake)
        asked = clock.asked
        assert asked, "the clock is lost with the power on both chips"
        node.cut_power()
        assert not has(boot(node), "error"), node.lines
        assert clock.asked > asked


@BOTH
def test_websocket(
    mosquitto: Callable[..., MosquittoBroker], runtime: Runtime, chip: str, tmp_path: Path
) -> None:
    broker = mosquitto(websocket=True)
    with ExitStack() as stack:
        field = Field(stack, broker, tmp_path)
        node = field.node(runtime, chip, port=broker.ws_port, transport="ws", path="/mqtt")
        field.observer.publish(field.topic + "/do/toggle", "", 2)
        boot(node)
        boot(node)
        assert boot(node).lines[0].endswith("relay 0"), "nobody was subscribed at that time"
        field.observer.publish(field.topic + "/do/toggle", "", 2)
        assert has(boot(node), "command 2 do/toggle")
        assert len(field.meter()) >= 3  # the last one may be on its way

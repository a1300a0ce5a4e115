"""Over-the-air updates: the real tool, a real broker, nodes on the simulated board."""

import itertools
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from play import PROGRAMS, start_ota

from tools.board import ota
from tools.testing import runtimes
from tools.testing.board import Board, End
from tools.testing.brokers import MosquittoBroker
from tools.testing.needs import missing
from tools.testing.observer import Observer
from tools.testing.runtimes import FIRMWARE, Device, Runtime

pytestmark = pytest.mark.desk("runs on the simulated board: its boot.py, flash and power cuts")

KEY = "a key of this test"
SLEEPER = (PROGRAMS / "updated.py").read_text()
AWAKE = (PROGRAMS / "updated_awake.py").read_text()
TOPICS = (f"test/{os.getpid()}/{n}" for n in itertools.count())  # the tool remembers them
WAKES = 30


def version(number: int, program: str = SLEEPER) -> str:
    return f"VERSION = {number}\n{program}"


class Scene:
    """A broker, a node on its board, and the tool."""

    def __init__(self, stack: ExitStack, broker: MosquittoBroker, folder: Path):
        self.stack, self.broker, self.folder = stack, broker, folder
        self.topic = next(TOPICS)

    def board(
        self, runtime: Runtime, program: str = SLEEPER, node: Any = None, **board: Any
    ) -> Board:
        """Make a board with version 1 of a program."""
        if runtime.reason:
            missing(runtime.reason)
        config = {
            "topic": self.topic,
            "update_key": KEY,
            "client": {"port": self.broker.port, "client_id": "node", "clean": False},
            "node": {"period": 300, "budget": 5000, "backoff": 0, **(node or {})},
        }
        files = {
            "config.json": config,
            "main.py": version(1, program),
            "boot.py": (FIRMWARE / "boot.py").read_text(),
        }
        made = Board(runtime, self.folder / "board", None, files, **{"flash": 262144, **board})
        return self.stack.enter_context(made)

    def tool(self, main: str, *args: str, key: str = KEY) -> Device:
        """Start the tool with a new main.py; it has sent what it sends at first."""
        args = ("--limit", "30", "--watchdog", "3000", *args)
        started = start_ota(self.broker, self.topic, self.folder, main, *args, key=key)
        device = self.stack.enter_context(started)
        device.wait_line("waiting for the node", 20)
        return device

    def observer(self) -> Observer:
        return self.stack.enter_context(Observer(self.broker, (self.topic + "/+", 1)))


@pytest.fixture
def scene(mosquitto: Callable[..., MosquittoBroker], tmp_path: Path) -> Iterator[Scene]:
    with ExitStack() as stack:
        yield Scene(stack, mosquitto(), tmp_path)


def boot(board: Board) -> End:
    """Let the board boot once, to its end."""
    board.go_on()
    end = board.wait_end(30)
    assert end.reason in ("deepsleep", "reset", "wdt"), end
    return end


def ran(end: End) -> int:
    """Return the version that a boot ran; 0 if it had not the time to say."""
    return next((int(line.split()[1]) for line in end.lines if line.startswith("version")), 0)


def boots(board: Board, tool: Device) -> list[End]:
    """Let the node boot until the tool has ended."""
    ends: list[End] = []
    began = time.monotonic()
    while tool.process.poll() is None:
        # A wake is over in no time, and the tool may have to connect anew meanwhile.
        assert len(ends) < WAKES or time.monotonic() < began + 20, tool.transcript()
        ends.append(boot(board))
        # What it said is on its way to the tool, and may be its last word.
        if any('"done"' in line or '"back"' in line or '"ref' in line for line in ends[-1].lines):
            tool.wait_exit(20)
    return ends


@pytest.mark.parametrize("chip", ["esp32", "rp2"])
def test_update(scene: Scene, runtime: Runtime, chip: str) -> None:
    """From version 1 to 2, with a whole library; a wake without an update writes nothing."""
    board = scene.board(runtime, type=chip, flash=524288)
    assert ran(boot(board)) == 1
    boot(board)
    assert boot(board).written == 0
    observer = scene.observer()
    tool = scene.tool(version(2), "--library")
    ends = boots(board, tool)
    assert tool.wait_exit(10) == 0, tool.transcript()
    assert tool.lines[-1].startswith(f"done: {scene.topic} runs update ")
    assert [ran(end) for end in ends] == [1] * (len(ends) - 1) + [2]
    observer.wait(scene.topic + "/update", "")  # the offer is taken back, behind all reports
    reports = [json.loads(p) for p in observer.payloads(scene.topic + "/updated")]
    assert [r["state"] for r in reports if r["state"] != "have"] == ["trial", "done"]
    assert ran(boot(board)) == 2
    assert boot(board).written == 0
    board.cut_power()
    files = board.files()
    names = {name for name in files if not name.startswith("lib/")}
    assert names == {"boot.py", "config.json", "main.py", "dormouse.journal", "update.id"}
    assert files["main.py"].decode() == version(2)
    assert "lib/dormouse/field/ota.mpy" in files and not any(
        n.endswith((".new", ".old")) for n in files
    )


BROKEN = {
    "syntax": "VERSION = \n",
    "import": "import nothing_of_that_name\n",
    "exception": "raise ValueError('broken')\n",
    "loop": "while True:\n    pass\n",
    "ends": "VERSION = 2\n",
    "wrong broker": version(2, SLEEPER.replace('"127.0.0.1"', '"127.0.0.9"')),
    "never connects": version(2, "import machine\nmachine.deepsleep(1000)\n"),
}


def came_back(scene: Scene, board: Board, main: str, *args: str) -> list[End]:
    """Send a broken version; the old one must be back, and the tool must tell."""
    boot(board)
    tool = scene.tool(main, "--unchecked", *args)
    ends = boots(board, tool)
    assert tool.wait_exit(10) == 1, tool.transcript()
    assert "the old version is back: no connection in" in tool.lines[-1], tool.transcript()
    assert ran(ends[-1]) == 1 and ran(boot(board)) == 1
    board.cut_power()
    files = board.files()
    assert files["main.py"].decode() == version(1)
    assert not any(n.endswith((".new", ".old")) or n == "update.json" for n in files)
    return ends


@pytest.mark.parametrize("what", BROKEN)
def test_broken_version(scene: Scene, what: str) -> None:
    board = scene.board(runtimes.MICROPYTHON64)
    ends = came_back(scene, board, BROKEN[what], "--watchdog", "700", "--tries", "2")
    trial = ends[-3:-1]
    if what in ("never connects", "wrong broker"):
        assert [end.reason for end in trial] == ["deepsleep"] * 2
    else:
        assert [end.reason for end in trial] == ["wdt"] * 2
        assert all(700 <= end.awake_ms < 3000 for end in trial)


def test_broken_version_elsewhere(scene: Scene, runtime: Runtime) -> None:
    ends = came_back(scene, scene.board(runtime, type="rp2"), BROKEN["syntax"], "--tries", "1")
    assert ends[-2].reason == "wdt"


@pytest.mark.parametrize("fs", ["littlefs", "fat"])
def test_broken_version_that_fills_the_flash(scene: Scene, fs: str) -> None:
    """The old version comes back though there is no room for another copy of it."""
    config = {"fs": "fat"} if fs == "fat" else {}
    board = scene.board(runtimes.MICROPYTHON64, **config)
    board.put("main.py", version(1) + "#" * 60000 + "\n")
    fill = """
try:
    with open("log.txt", "ab") as f:
        while True:
            f.write(bytes(512))
            f.flush()
except OSError:
    import machine
    machine.deepsleep(1000)
"""
    boot(board)
    tool = scene.tool(version(2, fill), "--tries", "2")
    while boot(board).reason != "reset":
        pass
    for _ in range(2):
        boot(board)
    calm = board.copy(scene.folder / "calm")
    with calm:
        written = boot(calm).written
    for at in range(0, written, written // 20):
        with board.copy(scene.folder / f"cut{at}") as cut:
            cut.flash_dies_after(at)
            cut.go_on()
            assert cut.wait_end(20).reason == "flash_died"
            cut.cut_power()
            assert ran(boot(cut)) == 1, at
            cut.cut_power()
            assert cut.read("main.py").startswith(version(1).encode())
    assert ran(boot(board)) == 1
    assert tool.wait_exit(10) == 1 and "the old version is back" in tool.lines[-1]
    assert board.read("main.py").startswith(version(1).encode())


def test_sent_again(scene: Scene) -> None:
    """A version that came back is another update when it is sent again: the broker was at fault."""
    board = scene.board(runtimes.MICROPYTHON64)
    came_back(scene, board, BROKEN["never connects"], "--tries", "1")
    tool = scene.tool(version(2))
    assert ran(boots(board, tool)[-1]) == 2
    assert tool.wait_exit(10) == 0


def test_several_wakes(scene: Scene) -> None:
    """Wakes that take little; windows that are small; a power cut while it arrives."""
    (scene.folder / "big").write_bytes(os.urandom(40_000))
    board = scene.board(runtimes.MICROPYTHON64, node={"max_bytes": 8000})
    boot(board)
    big = f"data/big={scene.folder / 'big'}"
    tool = scene.tool(version(2), "--window", "16384", "--file", big)
    ends = [boot(board)]
    board.flash_dies_after(3000)
    board.go_on()
    assert board.wait_end(20).reason == "flash_died"
    board.cut_power()
    ends += boots(board, tool)
    assert tool.wait_exit(10) == 0, tool.transcript()
    assert len(ends) > 5 and ran(ends[-1]) == 2
    # What the broker has beyond a wake's share does not hold the node awake for its budget.
    assert all(end.main_ms < 4000 for end in ends)
    assert board.read("data/big") == (scene.folder / "big").read_bytes()


def test_interrupted(scene: Scene) -> None:
    """Ctrl-C takes the offer back; the same command goes on from where it was."""
    (scene.folder / "big").write_bytes(os.urandom(20_000))
    board = scene.board(runtimes.MICROPYTHON64)
    boot(board)
    options = ("--window", "8192", "--file", f"big={scene.folder / 'big'}")
    tool = scene.tool(version(2), *options)
    first = boot(board)
    tool.wait_line("the node fetches it", 10)
    tool.process.send_signal(signal.SIGINT)
    assert tool.wait_exit(20) == 130
    assert tool.lines[-1].startswith("interrupted") and "Traceback" not in tool.transcript()
    with Observer(scene.broker, (scene.topic + "/update", 1)) as newcomer:
        newcomer.publish(scene.topic + "/update", "", 1)
        newcomer.wait(scene.topic + "/update", "")
        assert newcomer.payloads(scene.topic + "/update") == [""]  # nothing is retained
    tool = scene.tool(version(2), *options)
    assert "offered again" in tool.transcript()
    ends = boots(board, tool)
    assert tool.wait_exit(10) == 0, tool.transcript()
    taken = [line for end in [first, *ends] for line in end.lines if line.startswith("took")]
    assert sum(line.endswith("/0 2048") for line in taken) == 1
    assert ran(boot(board)) == 2


@pytest.mark.parametrize(
    ("key", "why"), [("another key", "wrong key"), (None, "no update_key on the node")]
)
def test_wrong_key(scene: Scene, key: str | None, why: str) -> None:
    board = scene.board(runtimes.MICROPYTHON64)
    config = json.loads((board.folder / "put" / "config.json").read_text())
    board.put("config.json", config | {"update_key": key})
    boot(board)
    tool = scene.tool(version(2))
    end = boots(board, tool)[-1]
    assert tool.wait_exit(10) == 1 and f"refused it: {why}" in tool.lines[-1]
    assert end.reason == "deepsleep" and ran(boot(board)) == 1
    assert KEY not in tool.transcript()


@pytest.mark.parametrize(("count", "size"), [(1, 300_000), (3, 40_000)])
def test_too_large(scene: Scene, count: int, size: int) -> None:
    """A new file is there twice while it is put in place."""
    (scene.folder / "big").write_bytes(bytes(size))
    board = scene.board(runtimes.MICROPYTHON64)
    boot(board)
    files = [option for n in range(count) for option in ("--file", f"{n}={scene.folder / 'big'}")]
    tool = scene.tool(version(2), *files)
    ends = boots(board, tool)
    assert tool.wait_exit(10) == 1 and "bytes, and" in tool.lines[-1] and len(ends) == 1
    assert ran(boot(board)) == 1


def test_corrupted_chunk(scene: Scene) -> None:
    """Played by hand: one byte of a chunk is another."""
    board = scene.board(runtimes.MICROPYTHON64)
    boot(board)
    bundle = ota.Bundle({"main.py": version(2).encode()}, 3, 30, 3000)
    observer = scene.observer()
    observer.publish(scene.topic + "/update", bundle.offer(9, scene.topic, KEY, 1), 1)
    content = bundle.content.replace(b"VERSION = 2", b"VERSION = 3").decode()
    observer.publish(scene.topic + "/update/9/0/ask", content, 1)
    end = boot(board)
    assert end.reason == "deepsleep"
    observer.publish(scene.topic + "/updated", "end", 1)
    observer.wait(scene.topic + "/updated", "end")
    report = json.loads(observer.payloads(scene.topic + "/updated")[-2])
    assert report == {"id": 9, "state": "refused", "why": "wrong SHA-256: main.py"}
    assert ran(boot(board)) == 1


def test_node_that_was_not_subscribed(scene: Scene) -> None:
    """As one in safe mode, whose session is new: it has the offer, and nothing behind it."""
    board = scene.board(runtimes.MICROPYTHON64)
    tool = scene.tool(version(2), "--patience", "0.5")
    boot(board)
    tool.wait_line("the node fetches it", 10)
    ends = boots(board, tool)
    assert tool.wait_exit(10) == 0 and ran(ends[-1]) == 2


def test_node_that_wakes_often(scene: Scene) -> None:
    """As one in safe mode, played by hand: in each wake it is offered the update anew, and says
    that it has nothing, again and again before the tool's patience is over."""
    node = scene.stack.enter_context(Observer(scene.broker, (scene.topic + "/update/#", 1)))
    scene.tool(version(2), "--patience", "1")
    update = json.loads(node.wait_count(scene.topic + "/update", 1)[0])["offer"].split()[0]
    window = f"{scene.topic}/update/{update}/0/ask"
    node.wait_count(window, 1)
    report = json.dumps({"id": int(update), "state": "have", "have": 0, "ask": 1})
    deadline = time.monotonic() + 10
    while len(node.payloads(window)) < 2 and time.monotonic() < deadline:
        node.publish(scene.topic + "/updated", report, 1)
    assert len(node.payloads(window)) == 2


def test_nobody_there(scene: Scene) -> None:
    """A wrong topic, or a node without a key: that would be waited for without a word. What the
    broker retained of it is no word."""
    observer = scene.observer()
    observer.publish(scene.topic + "/state", '{"asleep":300,"until":0}', 1, True)
    observer.wait(scene.topic + "/state", '{"asleep":300,"until":0}')
    tool = scene.tool(version(2), "--repeat", "0.2")
    tool.wait_line("no word from the node yet", 10)


def test_broker_that_lost_its_queue(scene: Scene) -> None:
    """The tool offers again, and the node says where it is."""
    board = scene.board(runtimes.MICROPYTHON64)
    boot(board)
    tool = scene.tool(version(2), "--repeat", "0.5", "--patience", "0.5")
    scene.broker.kill()  # it keeps nothing on disk
    scene.broker.start()
    ends = boots(board, tool)
    assert tool.wait_exit(10) == 0 and ran(ends[-1]) == 2


def test_node_that_stays_awake(scene: Scene, runtime: Runtime) -> None:
    board = scene.board(runtime, AWAKE)
    board.power_on()
    board.wait_line("subscribed", 10)
    tool = scene.tool(version(2, AWAKE))
    assert board.wait_end(20).reason == "reset"
    board.restart()
    assert board.wait_line("version", 10) == "version 2 True"
    assert tool.wait_exit(20) == 0, tool.transcript()


@pytest.mark.parametrize("by", ["thread", "timer"])
def test_awake_and_never_connected(scene: Scene, by: str) -> None:
    """It lives and feeds the watchdog, and does not connect: boot.py ends that."""
    board = scene.board(runtimes.MICROPYTHON64, AWAKE)
    if by == "timer":
        boot = (FIRMWARE / "boot.py").read_text()
        board.put("boot.py", boot.replace('sys.platform == "rp2"', "True"))
    board.power_on()
    board.wait_line("subscribed", 10)
    count = 'print("timers", [type(v).__name__ for v in globals().values()].count("Timer"))\n'
    broken = count + AWAKE.replace('"127.0.0.1"', '"127.0.0.9"')
    tool = scene.tool(version(2, broken), "--limit", "1", "--tries", "2")
    assert board.wait_end(20).reason == "reset"
    for _ in range(2):
        board.restart()
        end = board.wait_end(20)
        assert end.reason == "reset" and ran(end) == 2 and end.main_ms >= 900
        # RP2's is stopped by the next garbage collection if no name holds it: Timer has a __del__
        # (ports/rp2/machine_timer.c), and the pool of alarms is not looked through.
        assert f"timers {by == 'timer':d}" in end.lines
    board.restart()
    assert board.wait_line("version", 10) == "version 1 True"
    assert tool.wait_exit(20) == 1, tool.transcript()
    assert "the old version is back" in tool.lines[-1]

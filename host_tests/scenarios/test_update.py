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
from harness import owner
from play import PROGRAMS, start_ota

from tools.testing import runtimes
from tools.testing.board import Board, End
from tools.testing.brokers import MosquittoBroker
from tools.testing.needs import missing
from tools.testing.observer import Observer
from tools.testing.runtimes import FIRMWARE, Device, Runtime

pytestmark = pytest.mark.desk("runs on the simulated board: its boot.py, flash and power cuts")

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
        owner.put_key(folder)

    def board(
        self, runtime: Runtime, program: str = SLEEPER, node: Any = None, **board: Any
    ) -> Board:
        """Make a board with version 1 of a program."""
        if runtime.reason:
            missing(runtime.reason)
        config = {
            "topic": self.topic,
            "update_key": owner.signer().key,
            "node_key": owner.signer().node_key(self.topic),
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

    def tool(self, main: str, *args: str) -> Device:
        """Start the tool with a new main.py; it has sent what it sends at first."""
        args = ("--limit", "30", "--watchdog", "3000", *args)
        started = start_ota(self.broker, self.topic, self.folder, main, *args)
        device = self.stack.enter_context(started)
        device.wait_line("waiting for the next wake", 90)
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


def writes_nothing(board: Board) -> None:
    """A wake without an update leaves all files as they are, but for the session's journal."""
    found = []
    for _ in range(2):
        boot(board)
        files = board.files()
        files.pop("dormouse.journal")
        found.append(files)
    assert found[0] == found[1]


def boots(board: Board, tool: Device) -> list[End]:
    """Let the node boot until the tool has ended."""
    ends: list[End] = []
    began = time.monotonic()
    while tool.process.poll() is None:
        # A wake is over in no time, and the tool may have to connect anew meanwhile.
        assert len(ends) < WAKES or time.monotonic() < began + 20, tool.transcript()
        ends.append(boot(board))
        if "confirmed" in ends[-1].lines:  # what it said is on its way to the tool
            tool.wait_exit(20)
    return ends


@pytest.mark.once
@pytest.mark.parametrize("chip", ["esp32", "rp2"])
def test_update(scene: Scene, runtime: Runtime, chip: str) -> None:
    """From version 1 to 2, with a whole library; a wake without an update writes nothing."""
    board = scene.board(runtime, type=chip, flash=655360)
    assert ran(boot(board)) == 1
    writes_nothing(board)
    observer = scene.observer()
    tool = scene.tool(version(2), "--library")
    ends = boots(board, tool)
    assert tool.wait_exit(10) == 0, tool.transcript()
    assert tool.lines[-1].startswith(f"done: {scene.topic} runs update ")
    assert [ran(end) for end in ends] == [1] * (len(ends) - 1) + [2]
    observer.wait(scene.topic + "/update", "")  # the offer is taken back, behind all reports
    reports = [json.loads(p) for p in observer.payloads(scene.topic + "/updated")]
    assert [r["state"] for r in reports if r["state"] != "have"] == ["trial", "done"]
    assert all("mac" in report for report in reports)
    assert ran(boot(board)) == 2
    writes_nothing(board)
    board.cut_power()
    files = board.files()
    names = {name for name in files if not name.startswith("lib/")}
    kept = {"boot.py", "config.json", "main.py", "dormouse.journal", "update.id", "update.id2"}
    assert names == kept
    assert files["main.py"].decode() == version(2)
    assert "lib/dormouse/field/ota.mpy" in files and not any(
        n.endswith((".new", ".old")) for n in files
    )


@pytest.mark.once
def test_update_at_the_edge_of_the_flash(scene: Scene, runtime: Runtime) -> None:
    """It is refused in words, or put in place: never brought all the way, and found too large when
    it is put in place. (That takes room for folders with twice the names, too.)"""
    board = scene.board(runtime, flash=524288)
    assert ran(boot(board)) == 1
    tool = scene.tool(version(2), "--library")
    boots(board, tool)
    done = tool.wait_exit(10) == 0
    assert done or "are free" in tool.transcript(), tool.transcript()
    assert ran(boot(board)) == 1 + done


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
    assert "the old version is back: no connection in" in tool.transcript()
    assert "stopped, and taken back" in tool.lines[-1]
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
    died = 0
    for at in range(0, written, written // 20):
        with board.copy(scene.folder / f"cut{at}") as cut:
            cut.flash_dies_after(at)
            cut.go_on()
            # What the wake notes behind it depends on how long the broker takes: the last bytes may
            # not come.
            died += cut.wait_end(20).reason == "flash_died"
            cut.cut_power()
            assert ran(boot(cut)) == 1, at
            cut.cut_power()
            assert cut.read("main.py").startswith(version(1).encode())
    assert died > 15
    assert ran(boot(board)) == 1
    assert tool.wait_exit(10) == 1 and "the old version is back" in tool.transcript()
    assert board.read("main.py").startswith(version(1).encode())


def test_sent_again(scene: Scene) -> None:
    """A version that came back is another update when it is sent again: the broker was at fault."""
    board = scene.board(runtimes.MICROPYTHON64)
    came_back(scene, board, BROKEN["never connects"], "--tries", "1")
    tool = scene.tool(version(2))
    assert ran(boots(board, tool)[-1]) == 2
    assert tool.wait_exit(10) == 0


def test_offered_during_a_trial(scene: Scene) -> None:
    """Nobody is there: a newer version that is offered meanwhile comes when the trial has ended."""
    board = scene.board(runtimes.MICROPYTHON64)
    boot(board)
    for number in (2, 3):
        tool = scene.tool(version(number))
        while number == 2 and boot(board).reason != "reset":
            pass
        tool.process.send_signal(signal.SIGINT)
        assert tool.wait_exit(20) == 130
    ends = [boot(board) for _ in range(4)]
    assert [ran(end) for end in ends] == [2, 3, 3, 3]
    assert "confirmed" in ends[0].lines and "confirmed" in ends[1].lines


def test_several_wakes(scene: Scene) -> None:
    """Wakes that take little; a power cut while it arrives."""
    (scene.folder / "big").write_bytes(os.urandom(40_000))
    board = scene.board(runtimes.MICROPYTHON64, node={"max_bytes": 8000})
    boot(board)
    tool = scene.tool(version(2), "--file", f"data/big={scene.folder / 'big'}")
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
    """Ctrl-C leaves it at the broker; the same command goes on watching; another takes it back."""
    (scene.folder / "big").write_bytes(os.urandom(20_000))
    board = scene.board(runtimes.MICROPYTHON64, node={"max_bytes": 8000})
    boot(board)
    options = ("--file", f"big={scene.folder / 'big'}")
    tool = scene.tool(version(2), *options)
    first = boot(board)
    tool.wait_line(f"{scene.topic}: fetching", 10)
    tool.process.send_signal(signal.SIGINT)
    assert tool.wait_exit(20) == 130
    assert "interrupted" in tool.transcript() and "Traceback" not in tool.transcript()
    second = boot(board)  # nobody needs to be there
    tool = scene.tool(version(2), *options)
    assert "offered again" in tool.transcript()
    ends = boots(board, tool)
    assert tool.wait_exit(10) == 0, tool.transcript()
    lines = [line for end in [first, second, *ends] for line in end.lines]
    assert sum("took" in line and line.endswith("/1/0 2080") for line in lines) == 1
    assert ran(boot(board)) == 2


def test_withdrawn(scene: Scene) -> None:
    """It is taken from a node that has a part of it; a replay of all of it is not taken."""
    (scene.folder / "big").write_bytes(os.urandom(20_000))
    board = scene.board(runtimes.MICROPYTHON64, node={"max_bytes": 8000})
    boot(board)
    observer = scene.stack.enter_context(Observer(scene.broker, (scene.topic + "/update/#", 1)))
    tool = scene.tool(version(2), "--file", f"big={scene.folder / 'big'}")
    boot(board)
    tool.process.send_signal(signal.SIGINT)
    tool.wait_exit(20)
    done = start_ota(scene.broker, scene.topic, scene.folder, version(2), "--withdraw")
    with done:
        assert done.wait_exit(20) == 0 and "no node takes it" in done.transcript()
    names = {m.topic for m in observer.messages} - {scene.topic + "/update"}
    assert len(names) > 10
    for name in names:  # nor is its content left at the broker
        observer.wait(name, "")
    recorded = [(m.topic, m.payload) for m in observer.messages]
    for _ in range(2):
        for topic, payload in recorded:
            if payload:
                observer.publish(topic, payload, 1, True)
        end = boot(board)
        assert end.reason == "deepsleep" and ran(end) == 1
    assert "update.part" not in board.files()


@pytest.mark.parametrize(("count", "size"), [(1, 300_000), (3, 40_000)])
def test_too_large(scene: Scene, count: int, size: int) -> None:
    """A new file is there twice while it is put in place."""
    (scene.folder / "big").write_bytes(bytes(size))
    board = scene.board(runtimes.MICROPYTHON64)
    boot(board)
    files = [option for n in range(count) for option in ("--file", f"{n}={scene.folder / 'big'}")]
    tool = scene.tool(version(2), *files)
    boots(board, tool)
    assert tool.wait_exit(10) == 1 and "bytes, and" in tool.transcript()
    assert ran(boot(board)) == 1


def test_node_that_was_not_subscribed(scene: Scene) -> None:
    """As one in safe mode, whose session is new: the broker retains all of it."""
    board = scene.board(runtimes.MICROPYTHON64)
    tool = scene.tool(version(2))
    ends = boots(board, tool)
    assert tool.wait_exit(10) == 0 and ran(ends[-1]) == 2


def test_nobody_there(scene: Scene) -> None:
    """A wrong topic, or a node without a key: that would be waited for without a word. What the
    broker retained of it is no word, and what nobody has proven counts for nothing."""
    observer = scene.observer()
    observer.publish(scene.topic + "/state", '{"asleep":300,"until":0}', 1, True)
    for junk in ("[" * 9000, "\x1b[2J", '{"until": "x"}', '{"until": 1e999}', "null", "[1]"):
        observer.publish(scene.topic + "/state", junk, 1, True)
        observer.publish(scene.topic + "/updated", junk, 1, True)
    tool = scene.tool(version(2), "--repeat", "0.2")
    tool.wait_line("no word from any node yet", 10)
    offer = observer.wait_count(scene.topic + "/update", 1)[0].split(" ")
    for state in ("done", "back", "refused", "\x1b]0;title\x07"):
        forged = {"id": int(offer[1]), "of": offer[11][:16], "state": state, "why": "\x1b[31m"}
        observer.publish(scene.topic + "/updated", json.dumps(forged | {"mac": "0" * 64}), 1, True)
        observer.publish(scene.topic + "/updated", json.dumps(forged), 1, True)
    tool.wait_line(f"{scene.topic}: says refused: not proven", 10)
    assert tool.process.poll() is None and "\x1b" not in tool.transcript()


def test_somebody_writes_over_it(scene: Scene) -> None:
    """What the broker retains of the update is what the tool put there, soon again."""
    board = scene.board(runtimes.MICROPYTHON64)
    boot(board)
    observer = scene.observer()
    tool = scene.tool(version(2))
    number = observer.wait_count(scene.topic + "/update", 1)[0].split(" ")[1]
    for name in ("", f"/{number}/0", f"/{number}/1"):
        observer.publish(f"{scene.topic}/update{name}", "junk", 1, True)
    deadline = time.monotonic() + 10
    while "somebody else writes" not in tool.transcript():  # and never is there a second of silence
        assert time.monotonic() < deadline
        observer.publish(scene.topic + "/state", "x")
        time.sleep(0.2)
    ends = boots(board, tool)
    assert tool.wait_exit(10) == 0, tool.transcript()
    assert ran(ends[-1]) == 2


def test_broker_that_lost_its_queue(scene: Scene) -> None:
    """The tool offers again, and the node says where it is."""
    board = scene.board(runtimes.MICROPYTHON64)
    boot(board)
    tool = scene.tool(version(2), "--repeat", "0.5")
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
    assert "the old version is back" in tool.transcript()

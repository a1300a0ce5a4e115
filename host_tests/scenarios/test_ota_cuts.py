"""The power is cut while an update arrives, is put in place, is confirmed or put back.

The node always runs the old version or the new one, whole, and it comes to an end. `make test`
tries some bytes, `make prove` more; all of them:
``pytest host_tests/scenarios/test_ota_cuts.py --every-byte``.
"""

import concurrent.futures
import json
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from harness import life, owner
from play import PROGRAMS

from tools.board.owner import SecretOwner
from tools.board.update import Bundle
from tools.testing.board import RESTARTS, Board, End
from tools.testing.needs import missing
from tools.testing.runtimes import FIRMWARE

pytestmark = pytest.mark.desk("runs on the simulated board: its boot.py, flash and power cuts")

SOURCE = (PROGRAMS / "fed.py").read_text()
STEADY = 3  # boots that write nothing more, nor tell anything new
MOST = 20  # boots
KEY = "k" * 32  # fed.py's
OTHERS = {"boot.py", "update.id", "update.id2", "messages"}


def version(number: int, connects: bool = True) -> str:
    return f"VERSION = {number}\nCONNECTS = {connects}\n{SOURCE}"


def files(number: int, connects: bool = True) -> dict[str, bytes]:
    """Return the application's files. The new version's have other sizes, one is new, one gone."""
    found = {
        "main.py": version(number, connects).encode(),
        "part.py": f"PART = {number}\n".encode() + b"#" * 200 * number,
        "data": b"d" * 1500 * number,
    }
    return found | ({"gone": b"old"} if number == 1 else {"extra/new": b"new"})


def messages(connects: bool, large: bool) -> str:
    """Return the messages of an update, as fed.py reads them; one is repeated. ``large``: with many
    chunks in one."""
    bundle = Bundle({**files(2, connects), "gone": None}, 3, 100, 8000)
    found = owner.messages(bundle, 7, "n", SecretOwner(KEY), 1000, large=large)
    found.insert(2, found[1])
    return "\n".join(f"{name} {payload.hex()}" for name, payload in found)


def live(board: Board, boot: int = 0, at: int = 0) -> list[End]:
    """Let a board run until nothing changes any more, with a cut in one boot (from 1)."""
    ends: list[End] = []
    steady = 0
    while steady < STEADY:
        assert len(ends) < MOST, ends
        if len(ends) + 1 == boot:
            board.flash_dies_after(at)
        board.go_on()
        end = board.wait_end(20)
        if end.reason == "flash_died":
            board.cut_power()
        else:
            assert end.reason in ("deepsleep", *RESTARTS), end
        ends.append(end)
        steady = steady + 1 if end.reason == "deepsleep" and not end.written else 0
    return ends


def check(board: Board, ends: list[End], good: bool) -> None:
    """Each boot ran one whole version; the end is as it should be."""
    for end in ends:
        for line in end.lines:
            first = line.split()[0]
            assert first in ("runs", "report"), end
            if first == "runs":
                n = line.split()[1]
                assert line == f"runs {n} {n} {int(n) * 1500} {n} {n}", line
        if end.reason != "flash_died":
            assert any(line.startswith("runs") for line in end.lines), end
    wanted = files(2) if good else files(1)
    found = board.files()
    # FAT may leave a name in its short form behind, of a file that was being removed.
    left = {n: d for n, d in found.items() if n not in OTHERS and not set(n) & set("~ ")}
    assert left == wanted
    for name in ("update.id", "update.id2"):
        floor, number, state, *_ = json.loads(found[name].splitlines()[0])
        assert (floor, number, state) == (7, 7, "done" if good else "back")


@pytest.fixture
def board(tmp_path: Path) -> Iterator[Callable[..., Board]]:
    """Return a function that makes a board with version 1 on it; for a runtime by its name."""
    with life.library() as folder:

        def make(name: str, good: bool, large: bool = False, **config) -> Board:
            runtime = life.runtime(name, folder)
            if runtime.reason:
                missing(runtime.reason)
            # Names that make a folder on FAT more than a sector long.
            others = {f"a rather long name {n}": "" for n in range(9)} if "fs" in config else {}
            on_it = {**others, **files(1), "messages": messages(good, large), "boot.py": BOOT}
            made = Board(runtime, tmp_path / "board", None, on_it, flash=262144, **config)
            made.power_on()
            return made

        yield make


BOOT = (FIRMWARE / "boot.py").read_text()
# Runtime, board.json, and how many cuts are tried, by `make test` and by `make prove`.
BOARDS = {
    "esp32": ("micropython64", {}, (10, 60)),
    "rp2, 32 bit": ("micropython32", {"type": "rp2"}, (6, 24)),
    "FAT": ("micropython64", {"fs": "fat"}, (10, 60)),
    "cpython": ("cpython", {}, (0, 12)),
    "many chunks in one": ("micropython64", {"large": True}, (4, 60)),
}
# Whether it is the long one.
CASES = [
    pytest.param(kind, long, id=f"{kind}{', more' * long}", marks=[pytest.mark.prove] * long)
    for kind, (_, _, counts) in BOARDS.items()
    for long in (False, True)
    if counts[long]
]


@pytest.mark.timeout(0)
@pytest.mark.parametrize("good", [True, False], ids=["put in place", "put back"])
@pytest.mark.parametrize(("kind", "long"), CASES)
def test_power_cuts(
    board: Callable[..., Board],
    kind: str,
    long: bool,
    good: bool,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    name, config, counts = BOARDS[kind]
    count = counts[long]
    first = board(name, good, **config)
    ready = first.wait_end(20)
    assert ready.reason == "reset" and '"state": "trial"' in ready.lines[-1], ready
    before = board_before(first, tmp_path)
    calm = first.copy(tmp_path / "calm")
    ends = live(calm)
    check(calm, ends, good)
    # The boot that takes the messages writes most: a third of the cuts. Then the boots behind it.
    step = 512 if kind == "FAT" else 1
    taking = [(before, 1, at) for at in range(0, ready.written, step)]
    behind = [(first, n, at) for n, e in enumerate(ends, 1) for at in range(0, e.written, step)]
    assert behind
    points = taking + behind
    if not request.config.getoption("every_byte"):
        chance = random.Random(f"{kind} {good} {long}")
        points = chance.sample(taking, count // 3) + chance.sample(behind, count - count // 3)

    def one(number: int) -> None:
        start, boot, at = points[number]
        folder = tmp_path / f"cut{number}"
        victim = start.copy(folder)
        ends = live(victim, boot, at)
        where = f"{kind}: cut in boot {boot} before byte {at}"
        assert ends[boot - 1].reason == "flash_died", where
        try:
            check(victim, ends, good)
        except AssertionError as error:
            raise AssertionError(f"{where}: {error}") from error
        shutil.rmtree(folder)

    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        list(pool.map(one, range(len(points))))


def test_plan_that_is_torn(board: Callable[..., Board], tmp_path: Path) -> None:
    """FAT lost power in the middle of writing update.json: it is written again."""
    first = board("micropython64", True)
    first.wait_end(20)
    before = board_before(first, tmp_path)
    before.put("update.json", '{"id": 7, "fi')
    check(before, live(before), True)


def board_before(first: Board, tmp_path: Path) -> Board:
    """Return a board as the first was before it ran, its flash formatted and with its files."""
    fresh = Board(first.runtime, tmp_path / "fresh", None, {**files(1), "boot.py": BOOT})
    shutil.copy(first.folder / "board.json", fresh.folder)
    fresh.put("messages", "")
    fresh.power_on()
    fresh.wait_end(20)
    fresh.cut_power()
    fresh.put("messages", first.read("messages"))
    return fresh

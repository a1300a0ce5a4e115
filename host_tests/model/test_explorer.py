"""Every order of events up to the bounds of explorer/cases.py, for the session that ships.

What an exploration found once is kept in found/ as the way to it, and is played again here.
"""

import json
import re
import shutil
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from explorer.cases import QUICK, Case
from explorer.library import Library
from explorer.record import record
from explorer.search import Found, Search, explore
from explorer.story import FOUND, Play, load, whole
from explorer.twins import TWINS, Twin

from tools.paths import LIBRARY
from tools.testing.needs import missing
from tools.testing.runtimes import CHIPS, MICROPYTHON32, Runtime


@cache
def library() -> Library:
    """Return the library as it is."""
    return Library()


def story(case: Case, found: Found) -> str:
    """Return what was found, to be read."""
    out = []
    for wrong, way in found.wrong:
        play = Play(case, library())
        play.follow(way)
        out.append(f"{wrong}\n{play.text()}\nway = {way}")
    return "\n\n".join(out)


@pytest.mark.parametrize("name", QUICK)
def test_every_order_of_events(name: str) -> None:
    found = explore(QUICK[name], library())
    assert found.whole
    assert not found.wrong, story(QUICK[name], found)


@pytest.mark.parametrize("name", sorted(p.stem for p in FOUND.glob("*.json")))
def test_what_was_found_once(name: str) -> None:
    case, way, _ = load(FOUND / f"{name}.json")
    play = Play(case, library())
    assert not play.follow(way), play.text()


DEVICE = Path(__file__).parent / "explorer" / "device.py"
REPEATED = ("up, 2 1, passed on at PUBREL", "down, 1 2", "store, up 2 1", "store, down 2 1, burst")
REPEATED5 = ("two stores, one lost", "store, expiring", "MQTT 5, down 2 1", "MQTT 5, store, both")
TORN_TWINS = [twin for twin in TWINS if twin.case.torn]
# With records that are torn, on the library's own journal and memory.
TORN = (
    replace(QUICK["torn, up 2, and torn again"], crashes=3),
    QUICK["torn, down 2, and torn again"],
    QUICK["torn, two stores, MQTT 5"],
    next(twin.case for twin in TORN_TWINS if twin.name == "looks at no CRC"),
)


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ways from all over some explorations, as calls and what they gave."""
    path = tmp_path_factory.mktemp("records") / "records.jsonl"
    with path.open("w") as file:
        for name in REPEATED + REPEATED5:
            search = Search(QUICK[name], library(), 600)
            search.run()
            for way in search.sample(8):
                file.write(record(QUICK[name], library(), way) + "\n")
        for case in TORN:
            search = Search(case, library(), 600)
            search.run()
            for way in search.torn(24):
                file.write(record(case, library(), whole(case, library(), way)) + "\n")
    return path


def test_other_pythons_give_the_same_bytes(runtime: Runtime, records: Path) -> None:
    with runtime.start(DEVICE, runtime.file(records)) as device:
        assert device.wait_exit(60) == 0
    assert device.lines == [f"same {len(records.read_text().splitlines())}"]


def test_an_emulated_chip_gives_the_same_bytes(records: Path, tmp_path: Path) -> None:
    chip = CHIPS["cortex-m3"]
    if chip.reason:
        missing(chip.reason)
    some = tmp_path / "some.jsonl"
    lines = records.read_text().splitlines(keepends=True)[::4]
    some.write_text("".join(lines))
    with chip.start(DEVICE, chip.file(some)) as device:
        assert device.wait_exit(60) == 0, device.transcript()
    assert device.lines[-1] == f"same {len(lines)}"


def test_torn_at_every_kind_of_place(records: Path) -> None:
    cuts = {c[1] for c in calls(records) if c[0] == "cut"}
    text = "\n".join(cuts)
    for what in ("make j.new", "rename j.new", "rename: remove j", "remove j.new"):
        assert re.search(rf"(^|; ){what}$", text, re.MULTILINE), what
    for name in ("j", "j.new"):
        for size in ("0", "1", r"[1-9]\d"):  # of a record nothing, a byte, half of it or most
            assert re.search(rf"^{name}: behind {size} bytes", text, re.MULTILINE), (name, size)
    sizes = [re.match(r"memory: (\d+) of (\d+) bytes", cut) for cut in cuts]
    torn = [(int(m[1]), int(m[2])) for m in sizes if m]
    for part in (lambda n: 0, lambda n: 1, lambda n: n // 2, lambda n: n - 1):
        assert any(done == part(n) for done, n in torn)
    found = [c for c in calls(records) if c[0] == "found"]
    assert any(c[1] and c[2] is None for c in found)
    assert any(c[2] and "reset" in c[2] for c in found)  # a memory that is torn is empty


def calls(records: Path) -> list[list[Any]]:
    """Return the calls of all records."""
    return [call for line in records.read_text().splitlines() for call in json.loads(line)["calls"]]


ANOTHER = {"packet": ('"62', '"63'), "disk": ('["file", "j", "646d6f', '["file", "j", "646d6e')}


@pytest.mark.parametrize("what", ANOTHER)
def test_another_byte_is_noticed(
    what: str, runtime: Runtime, records: Path, tmp_path: Path
) -> None:
    old, new = ANOTHER[what]
    line = next(line for line in records.read_text().splitlines() if old in line)
    other = tmp_path / "other.jsonl"
    other.write_text(line + "\n" + line.replace(old, new) + "\n")
    with runtime.start(DEVICE, runtime.file(other)) as device:
        device.wait_line("record 2 differs", timeout=60)


@pytest.mark.parametrize("twin", TORN_TWINS, ids=lambda twin: twin.name)
def test_a_fault_on_the_device_is_noticed(twin: Twin, records: Path, tmp_path: Path) -> None:
    if MICROPYTHON32.reason:
        missing(MICROPYTHON32.reason)
    shutil.copytree(LIBRARY, tmp_path / LIBRARY.name)
    faulty = tmp_path / LIBRARY.name / twin.file
    source = faulty.read_text()
    assert twin.old in source
    faulty.write_text(source.replace(twin.old, twin.new))
    env = MICROPYTHON32.environment(tmp_path)
    with MICROPYTHON32.start(DEVICE, str(records), env=env) as device:
        _, number, said, *_ = device.wait_line("record ", timeout=60).split()
    assert said == "differs:"
    assert json.loads(records.read_text().splitlines()[int(number) - 1])["real"]


def test_a_copy_is_one_of_its_own() -> None:
    play = Play(QUICK["both, 2"], library())
    before = play.world.key()
    for action in ("publish", "write", "up", "down", "send", "down", "take", "ack 0"):
        kept = play.world
        key = kept.key()
        play.act(action)
        assert kept.key() == key
        assert play.world.key() != key
    assert before != play.world.key()
    assert not play.wrong

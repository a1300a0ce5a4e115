"""Every order of events up to the bounds of explorer/cases.py, for the session that ships.

What an exploration found once is kept in found/ as the way to it, and is played again here.
"""

from functools import cache
from pathlib import Path

import pytest
from explorer.cases import QUICK, Case
from explorer.library import Library
from explorer.record import record
from explorer.search import Found, Search, explore
from explorer.story import FOUND, Play, load

from tools.testing.needs import missing
from tools.testing.runtimes import CHIPS, Runtime


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


def test_another_byte_is_noticed(runtime: Runtime, records: Path, tmp_path: Path) -> None:
    line = next(line for line in records.read_text().splitlines() if '"62' in line)
    other = tmp_path / "other.jsonl"
    other.write_text(line + "\n" + line.replace('"62', '"63') + "\n")
    with runtime.start(DEVICE, runtime.file(other)) as device:
        device.wait_line("record 2 differs", timeout=60)


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

"""The bounded proof, and that it can fail: broken twins of the node's code are caught.

`make prove` is the same at every byte.
"""

import functools
import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from harness import life
from harness.life import Fault, Life, Lives

from tools.desk import prove
from tools.setup import get
from tools.testing import runtimes
from tools.testing.needs import missing, mosquitto_argv, needed

pytestmark = pytest.mark.desk("runs on the simulated board: its power, clock, RTC memory and flash")

# How many faults of a kind are tried on a runtime: most where boots are fastest. `make test` has
# those of the chips' size of objects (or, where that runtime is not, the other MicroPython).
BOUND = {"micropython64": 60, "micropython32": 20, "cpython": 6}
QUICK = "micropython64" if runtimes.MICROPYTHON32.reason else "micropython32"
NAMES = [
    pytest.param(name, marks=[pytest.mark.prove] * (name != QUICK)) for name in runtimes.RUNTIMES
]
# Of these `make test` has few: each is much as another, or takes long.
FEW = {"changing5": 6, "large": 4, "update": 4}
SELDOM = ("changing", "websocket", "tls", "large5")
OTHERS = ("newer", "newer5", "aedes", "ejabberd", "ejabberd5")
BROKERS = [
    pytest.param(name, marks=[pytest.mark.prove] * (name in SELDOM + OTHERS))
    for name in prove.BROKERS
]
WORKERS = 3


@pytest.fixture
def lives() -> Iterator[Callable[..., Lives]]:
    """Return a function that makes what lives need, for a runtime, a broker and a broken twin."""
    with ExitStack() as stack:

        def make(name: str, broker: str, replace: tuple[str, str, str] | None = None) -> Lives:
            runtime = life.runtime(name, stack.enter_context(life.library(replace)))
            if runtime.reason:
                missing(runtime.reason)
            if broker == "aedes":
                needed(lambda: get.aedes("1"))
            elif broker[:8] == "ejabberd":
                needed(get.ejabberd)
            elif broker[:5] == "newer":
                needed(get.newer_mosquitto)
            elif broker != "model":
                mosquitto_argv()
            return prove.lives_at(runtime, stack.enter_context(prove.BROKERS[broker]()))

        yield make


def strided(lives: Lives, each: int) -> list[tuple[Fault, ...]]:
    """Return so many faults on flash and as many on the wire."""
    points = list(life.every_fault(life.extent(lives, 2)))
    chance = random.Random(1)
    flash = chance.sample([p for p in points if p.kind == "flash"], each)
    wire = chance.sample([p for p in points if p.kind != "flash"], each)
    return [(point,) for point in flash + wire]


def failed(lives: Lives, faults: list[tuple[Fault, ...]]) -> list[Life]:
    return [one for one in life.live_all(lives, faults, WORKERS) if one.problems]


@pytest.mark.parametrize("broker", BROKERS)
@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_lost_or_doubled(lives, name: str, broker: str) -> None:
    some = lives(name, broker)
    for one in failed(some, strided(some, FEW.get(broker, BOUND[name]))):
        pytest.fail(one.describe())


# --- That it can fail -----------------------------------------------------------------------------

# What is broken, and on which fault it shows (not on all runs).
FLASH = [(Fault("flash", boot, at),) for boot in (2, 3) for at in range(24, 1500, 32)]
WIRE = [(Fault(way, 2, at, "power"),) for way in life.WAYS for at in range(4, 120, 2)]
# Where PUBREL and PUBCOMP go out.
LATE = [(Fault("up", boot, at, "power"),) for at in range(84, 124) for boot in (2, 3)]

TWINS = {
    "sends before it saves": (
        (
            "store/durable.py",
            "            if self.changes or self.look:\n",
            "            if False:\n",
        ),
        WIRE,
    ),
    "forgets that PUBREC came": (
        (
            "store/durable.py",
            "self.changes[key] = number(o.pid)",
            "self.changes[key] = None  #",
        ),
        LATE,
    ),
    "forgets what it has seen": (
        ("store/durable.py", 'found[_SEEN + pid] = seen[pid].to_bytes(4, "big")', "pass"),
        WIRE + FLASH,
    ),
    "commits in a record of its own": (
        (
            "store/durable.py",
            "self.committed = bytes(data)  #",
            "self.committed = bytes(data)\n            self.store.save({1: self.committed})  #",
        ),
        FLASH,
    ),
    "answers no PUBREL twice": (
        (
            "session.py",
            "    told = s.released.pop(pid, None)\n",
            "    told = s.released.pop(pid, None)\n    if told is None:\n        return\n",
        ),
        LATE,
    ),
    "does not flush what it saves": (("store/journal.py", "        f.flush()\n", ""), WIRE),
    "removes the old file before the new one is whole": (
        (
            "store/journal.py",
            '            with open(path + ".new", "wb") as f:\n',
            "            if self._end:\n"
            "                os.remove(path)\n"
            '            with open(path + ".new", "wb") as f:\n',
        ),
        FLASH,
    ),
}


@pytest.mark.parametrize("what", TWINS)
def test_broken_twin_is_noticed(lives, what: str) -> None:
    replace, faults = TWINS[what]
    some = lives("micropython64", "model", replace)
    assert any(one.problems for one in life.live_all(some, faults, WORKERS))


OTHERS = {
    "takes for whole what was cut": (
        "large",
        ("large/taking.py", "            if self.error:\n                raise self.error\n", ""),
        [(Fault("down", 2, at, "close"),) for at in range(300, 5800, 500)],
    ),
    "takes a file that is not written yet for a bad one": (
        "update",
        (
            "field/ota.py",
            "            if n < 0 and len(text) < _TEXT:\n                raise EOFError",
            "            if None:\n                raise EOFError",
        ),
        [(Fault("flash", 2, at),) for at in range(800, 1400, 50)],
    ),
}


@pytest.mark.parametrize("what", OTHERS)
def test_broken_twin_of_a_part_is_noticed(lives, what: str) -> None:
    broker, replace, faults = OTHERS[what]
    some = lives(QUICK, broker, replace)
    assert any(one.problems for one in life.live_all(some, faults, WORKERS))


def test_a_subscription_that_stays_is_noticed(lives) -> None:
    asks = "                    if part:\n                        o = s.request("
    replace = ("sleep/node.py", asks, asks.replace("part", "part and part is not names"))
    one = lives(QUICK, "changing5", replace).run()
    assert "it listens to what it has given up" in one.problems


# --- The program ----------------------------------------------------------------------------------


def test_a_point_is_read_as_it_is_written() -> None:
    for text in ("flash:2:417", "up:1:0:close", "down:3:12:power"):
        assert str(Fault.parse(text)) == text
    for text in ("flash:2", "up:1:2", "up:1:2:slow", "left:1:2:close", "flash:2:3:close"):
        with pytest.raises(ValueError, match="flash:BOOT:BYTE"):
            Fault.parse(text)


def test_a_point_that_no_life_reaches(capsys: pytest.CaptureFixture[str]) -> None:
    """A boot that is none, a byte too far: nothing was cut, so nothing was shown."""
    for text in ("flash:99:1", "up:1:99999999:close"):
        words = ["--runtime", QUICK, "--broker", "model", "--point", text]
        assert prove.main(words) == 2
        assert "before that byte" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        prove.main(["--point", "flash"])
    assert "not flash:BOOT:BYTE" in capsys.readouterr().err


def test_every_point_is_lived_once() -> None:
    sizes: list[dict[life.Kind, int]] = [
        {"flash": 3, "up": 2, "down": 1},
        {"flash": 1, "up": 0, "down": 0},
    ]
    points = list(life.every_fault(sizes))
    assert len(points) == len(set(points)) == 3 + 4 * (3 + 2) + 1 + 4 * (1 + 1)
    todo = prove.plan(points, seed=1, stride=1, pairs=5)
    assert {some[0] for some in todo if len(some) == 1} == set(points)
    assert [len({fault.boot for fault in some}) for some in todo if len(some) == 2] == [2] * 5
    assert len(prove.plan(points, seed=1, stride=4, pairs=0)) == -(-len(points) // 4)


def test_one_point_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert prove.main(["--broker", "model", "--point", "flash:2:117"]) == 0
    out = capsys.readouterr().out
    assert "boot 2: deepsleep -> flash_died, flash: 117 B" in out
    assert "PUBREL" in out
    assert "all as promised" in out


def test_what_fails_is_told(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    replace, _ = TWINS["commits in a record of its own"]
    monkeypatch.setattr(life, "library", functools.partial(life.library, replace))
    assert prove.main(["--broker", "model", "--stride", "100"]) == 1
    out = capsys.readouterr().out
    assert "failed: " in out
    assert (
        "again: .venv/bin/python -m tools.desk.prove --runtime micropython64 --broker model" in out
    )

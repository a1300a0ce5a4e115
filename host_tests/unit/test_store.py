"""The checks of the stores (store_checks.py) on every runtime; the journal against a model."""

import importlib.util
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import store_checks
from dormouse.store import Layered, Store, StoreFull
from dormouse.store.journal import Journal
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from store_checks import Disk, PowerCut, after, plain
from test_core import ON_MICROPYTHON

from tools.testing import runtimes
from tools.testing.needs import needed

PROGRAM = Path(store_checks.__file__)
MICROPYTHON_ONLY = {"power_cuts_on_littlefs", "power_cuts_on_fat", "full_littlefs"} | {
    "wear_on_littlefs"
}


@pytest.fixture(autouse=True)
def real_modules(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Checks put fakes in the place of modules."""
    monkeypatch.chdir(tmp_path)
    yield
    store_checks.real_files()
    for name in ("machine", "esp32"):
        store_checks.sys.modules.pop(name, None)


@pytest.mark.parametrize("name", [n for n in store_checks.CHECKS if n not in MICROPYTHON_ONLY])
def test_check(name: str) -> None:
    getattr(store_checks, name)()


def all_passed(output: str, names: set[str]) -> None:
    """Every check must have said so, and their number: a program that ran none has not passed."""
    for name in names:
        assert f"ok {name}\n" in output, f"{name} did not pass:\n{output}"
    assert f"done {len(names)} checks, 0 failed" in output, output


@pytest.mark.once
@ON_MICROPYTHON
def test_on_micropython(runtime: runtimes.Runtime, tmp_path: Path) -> None:
    names = set(store_checks.CHECKS) | MICROPYTHON_ONLY
    with runtime.start(PROGRAM, cwd=tmp_path) as device:
        assert device.wait_exit(100) == 0
        all_passed("\n".join(device.lines) + "\n", names)


@pytest.mark.prove  # a third of a minute; the core's checks run there in make test
def test_on_newest_micropython() -> None:
    """MicroPython's newest release, in Node."""
    path = ["--path", str(runtimes.FIRMWARE)]
    command = [*needed(runtimes.get.node_micropython), *path, str(PROGRAM)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr
    all_passed(done.stdout, set(store_checks.CHECKS))


KEYS = st.sampled_from([1, 2, 5, 127, 128, 0x10001, 0x20001, 0x40001, 0x40002, (1 << 30) - 1])
VALUES = st.one_of(st.none(), st.binary(max_size=40), st.binary(min_size=100, max_size=150))
CHANGES = st.dictionaries(KEYS, VALUES, min_size=1, max_size=4)


class JournalMachine(RuleBasedStateMachine):
    """A journal on a filesystem with no guarantees, against a dict."""

    def __init__(self) -> None:
        super().__init__()
        self.disk = Disk()
        self.expected: dict[int, bytes] = {}
        self.journal = Journal("j")
        self.remains = False  # on a full disk some of a failed record may stay behind the end

    def boot(self) -> None:
        self.disk = Disk(self.disk.files, replaces=self.disk.replaces)
        self.journal = Journal("j")
        assert self.journal.warning is None or self.remains

    @rule(changes=CHANGES)
    def save(self, changes: dict) -> None:
        self.journal.save(changes)
        self.expected = after(self.expected, changes)
        assert self.journal._sound
        self.remains = False

    @rule(changes=CHANGES, budget=st.integers(0, 400))
    def save_and_lose_power(self, changes: dict, budget: int) -> None:
        self.disk.budget = budget
        done = after(self.expected, changes)
        try:
            self.journal.save(changes)
            self.expected = done
            self.remains = False
        except PowerCut:
            self.boot()
            assert plain(self.journal.data) in (self.expected, done)
            self.expected = plain(self.journal.data)
        self.disk.budget = 1 << 30

    @rule(changes=CHANGES, room=st.integers(0, 300))
    def save_on_a_full_disk(self, changes: dict, room: int) -> None:
        self.disk.room = sum(map(len, self.disk.files.values())) + room
        try:
            self.journal.save(changes)
            self.expected = after(self.expected, changes)
        except StoreFull:
            pass
        self.disk.room = 1 << 30
        self.remains = not self.journal._sound

    @rule()
    def start_again(self) -> None:
        self.boot()

    @rule()
    def move_to_another_filesystem(self) -> None:
        self.disk.replaces = not self.disk.replaces

    @invariant()
    def content(self) -> None:
        assert plain(self.journal.data) == self.expected


TestJournalMachine = JournalMachine.TestCase
TestJournalMachine.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)


def test_each_save_is_synced(monkeypatch: pytest.MonkeyPatch) -> None:
    """On CPython flush() is not enough: what was flushed is in the system's memory only."""
    synced = []
    monkeypatch.setattr(store_checks.os, "fsync", synced.append)
    journal = Journal("j")
    for n in range(3):
        journal.save({1: bytes([n])})
        assert len(synced) == n + 1


def sqlite_store() -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        "sqlite_store", runtimes.ROOT / "examples" / "sqlite_store.py"
    )
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_sqlite_example() -> None:
    """The same checks as for our own media; a failing change is rolled back whole."""
    example = sqlite_store().SQLiteStore
    store_checks.through(lambda: example("session.db"))
    store = example("session.db")
    before = plain(store.data)
    store.db.execute("pragma max_page_count = 2")
    with pytest.raises(StoreFull):
        store.save({1: b"small", 3: None, 7: bytes(100000)})
    assert plain(store.data) == before == plain(example("session.db").data)
    with pytest.raises(OSError):
        example("session.db").save({9: object()})
    store.db.close()
    with pytest.raises(OSError):
        store.save({1: b"x"})
    large = Store()
    both = Layered(example("session.db"), large)
    both.save({1: b"a", 0x40001: b"m"})
    assert list(large.data) == [0x40001]
    assert plain(example("session.db").data) == after(before, {1: b"a"})

"""What bytes of others may do (see targets.py), as far as `make test` goes; `make fuzz` goes on.

Repeated on every Python, with a small heap: the seeds, the corpus, and what was found once.
"""

import contextlib
import gc
import os
import sys
from functools import cache
from pathlib import Path

import dormouse.field.ota as ota
import dormouse.field.safe as safe
import dormouse.net.ws as ws
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tools.desk import fuzz
from tools.testing.needs import missing
from tools.testing.runtimes import CHIPS, Runtime

sys.path.insert(0, str(Path(__file__).parent))
import targets
import update_targets

# Of a chip that has little left; the library is compiled there, from its source. (A third more than
# they need: names in sources go into pools that double, the last of 5 KiB in one piece.)
HEAP = {"micropython32": "256k", "micropython64": "384k"}


@cache
def seeds(name: str) -> list[bytes]:
    """Return what to begin with at one target."""
    return [data for target, data in targets.seeds() if target == name]


@pytest.fixture(autouse=True)
def as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """Undo what targets put into the module, which other tests of this process use too."""
    for name in ("below", "_put", "urandom"):
        monkeypatch.setattr(ws, name, getattr(ws, name))
    monkeypatch.setattr(safe, "gc", gc)
    for module in (ota, safe):
        monkeypatch.setattr(module, "os", os)
        monkeypatch.setattr(module, "open", open, raising=False)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Each target's seeds, its corpus, and what was found, in a folder of its name."""
    root = tmp_path_factory.mktemp("fuzz")
    for name in targets.TARGETS:
        (root / name).mkdir()
        for n, data in enumerate(seeds(name)):
            (root / name / f"seed{n}").write_bytes(data)
        for source in (fuzz.FUZZ / "corpus" / name, fuzz.FOUND / name):
            for path in source.glob("*"):
                (root / name / path.name).write_bytes(path.read_bytes())
    return root


@pytest.mark.parametrize("name", targets.TARGETS)
def test_on_runtime(name: str, runtime: Runtime, folders: Path, tmp_path: Path) -> None:
    heap = HEAP.get(runtime.name)
    small = Runtime(
        runtime.name,
        lambda: [*runtime.argv, *(["-X", f"heapsize={heap}"] if heap else [])],
        runtime.path_env,
        (".frozen",) if heap else (),
    )
    with small.start(Path(targets.__file__), str(folders / name), cwd=tmp_path) as device:
        device.wait_line(f"fine {name} {len(list((folders / name).iterdir()))}", timeout=60)


# What needs no files and no hashes, which the emulated port has not.
ON_CHIP = ("session4", "session5", "durable4", "durable5", "decode4", "decode5", "blob")


@pytest.mark.prove
def test_on_an_emulated_chip(folders: Path, tmp_path: Path) -> None:
    chip = CHIPS["cortex-m3"]
    if chip.reason:
        missing(chip.reason)
    some = [
        f"{name} {path.read_bytes().hex()}\n"
        for name in ON_CHIP
        for path in sorted((folders / name).iterdir())
    ]
    (tmp_path / "some.txt").write_text("".join(some))
    with chip.start(Path(targets.__file__), chip.file(tmp_path / "some.txt")) as device:
        assert device.wait_exit(300) == 0, device.transcript()
    assert device.lines[-1] == f"fine {len(some)}", device.transcript()


@pytest.mark.parametrize("name", targets.TARGETS)
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_by_chance(name: str, tmp_path_factory: pytest.TempPathFactory, data) -> None:
    parts = st.lists(st.sampled_from(seeds(name)) | st.binary(max_size=30), max_size=5)
    with contextlib.chdir(tmp_path_factory.getbasetemp()):  # some write files
        targets.TARGETS[name](data.draw(parts.map(b"".join)))


@pytest.mark.parametrize(
    "name", [name for name, _ in targets.readers() if name[-1] not in "3579bdf"]
)
def test_every_short_body(name: str) -> None:
    n, _ = targets.every(dict(targets.readers())[name], 2)
    assert n == 1 + 256 + 65536


def test_a_fault_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader that looks behind the end, and a session that is spoiled by an error."""
    import dormouse.packet as packet
    from dormouse.session import Session

    monkeypatch.setattr(packet, "read_publish", lambda first, body: body[0] << 8 | body[1])
    with pytest.raises(IndexError):
        targets.decode4(b"\x30\x01")
    monkeypatch.undo()
    monkeypatch.setattr(Session, "flush", lambda self: None)
    with pytest.raises(targets.Wrong, match="no PUBACK"):
        targets.session4(b"\1\5\x40\2\0\0")


def test_a_fault_of_boot_or_orders_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A plan that cannot be followed and is not given up; a number that its file does not hold."""
    text = (fuzz.FIRMWARE / "boot.py").read_text()
    old = "except Exception:  # full"
    assert old in text
    twin = compile(text.replace(old, "except OSError:  #"), "boot.py", "exec")
    monkeypatch.setattr(update_targets, "BOOT", [twin])
    plan = next(data for data in seeds("boot") if b'"chunk":0' in data)
    with pytest.raises(targets.Wrong, match="no main"):
        update_targets.boot(plan)
    monkeypatch.setattr(safe, "_DIGITS", 5)
    twice = next(data for data in seeds("order") if b" 99999999999 " in data)
    update_targets.order(twice)
    monkeypatch.setattr(safe, "len", lambda _: 0, raising=False)
    with pytest.raises(targets.Wrong, match="twice"):
        update_targets.order(twice)


def test_the_tool_tells_what_it_did(capsys: pytest.CaptureFixture[str]) -> None:
    assert fuzz.main(["--by-chance", "--seconds", "2", "blob"]) == 0
    assert "blob" in capsys.readouterr().out
    assert fuzz.main(["nothing"]) == 2

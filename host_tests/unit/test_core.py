"""The checks of the core (core_checks.py, durable_checks.py), on every runtime."""

import subprocess
from pathlib import Path
from types import ModuleType

import core_checks
import durable_checks
import evidence_checks
import large_checks
import liveness_checks
import pytest
import session5_checks
import session5_more_checks
import session_checks
import taking_checks

from tools.testing import runtimes
from tools.testing.needs import needed

MODULES = (
    core_checks,
    durable_checks,
    evidence_checks,
    large_checks,
    liveness_checks,
    session5_checks,
    session5_more_checks,
    session_checks,
    taking_checks,
)
EACH = pytest.mark.parametrize("checks", MODULES, ids=lambda module: module.__name__)

# For checks that CPython runs in this process.
ON_MICROPYTHON = pytest.mark.parametrize(
    "runtime",
    [runtimes.MICROPYTHON64, runtimes.MICROPYTHON32],
    ids=lambda runtime: runtime.name,
    indirect=True,
)


@pytest.mark.parametrize(
    ("checks", "name"), [(module, name) for module in MODULES for name in module.CHECKS]
)
def test_check(
    checks: ModuleType, name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)  # some write files, and so do others at the same time
    getattr(checks, name)()


def all_passed(checks: ModuleType, output: str) -> None:
    """Every check must have said so, and their number: a program that ran none has not passed."""
    for name in checks.CHECKS:
        assert f"ok {name}\n" in output, f"{name} did not pass:\n{output}"
    assert f"done {len(checks.CHECKS)} checks, 0 failed" in output, output


@EACH
def test_on_runtime(runtime: runtimes.Runtime, checks: ModuleType, tmp_path: Path) -> None:
    assert checks.__file__
    with runtime.start(Path(checks.__file__), cwd=tmp_path) as device:
        assert device.wait_exit(60) == 0
        all_passed(checks, "\n".join(device.lines) + "\n")


@EACH
def test_on_newest_micropython(checks: ModuleType) -> None:
    """MicroPython's newest release, compiled to WebAssembly, in Node: no sockets, but the core."""
    command = [
        *needed(runtimes.get.node_micropython),
        "--path",
        str(runtimes.FIRMWARE),
        str(checks.__file__),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr
    all_passed(checks, done.stdout)

"""The checks of packet.py, session.py and router.py (core_checks.py), on every runtime."""

import subprocess
from pathlib import Path

import core_checks
import pytest
from harness import runtimes
from harness.needs import needed

PROGRAM = Path(core_checks.__file__)


@pytest.mark.parametrize("name", core_checks.CHECKS)
def test_check(name: str) -> None:
    getattr(core_checks, name)()


def all_passed(output: str) -> None:
    """Every check must have said so, and their number: a program that ran none has not passed."""
    for name in core_checks.CHECKS:
        assert f"ok {name}\n" in output, f"{name} did not pass:\n{output}"
    assert f"done {len(core_checks.CHECKS)} checks, 0 failed" in output, output


def test_on_runtime(runtime: runtimes.Runtime) -> None:
    with runtime.start(PROGRAM) as device:
        assert device.wait_exit(60) == 0
        all_passed("\n".join(device.lines) + "\n")


def test_on_newest_micropython() -> None:
    """MicroPython's newest release, compiled to WebAssembly, in Node: no sockets, but the core."""
    command = [
        *needed(runtimes.get.node_micropython),
        "--path",
        str(runtimes.FIRMWARE),
        str(PROGRAM),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr
    all_passed(done.stdout)

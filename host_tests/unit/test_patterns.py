"""The checks of dormouse/patterns (patterns_checks.py), on every runtime."""

from pathlib import Path

import patterns_checks
import pytest

from tools.testing import runtimes


@pytest.mark.parametrize("name", patterns_checks.CHECKS)
def test_check(name: str) -> None:
    getattr(patterns_checks, name)()


def test_on_runtime(runtime: runtimes.Runtime) -> None:
    with runtime.start(Path(patterns_checks.__file__)) as device:
        assert device.wait_exit(60) == 0, device.transcript()
        for name in patterns_checks.CHECKS:
            assert f"ok {name}" in device.lines, device.transcript()
        assert f"done {len(patterns_checks.CHECKS)} checks, 0 failed" in device.lines

"""The checks of log.py (log_checks.py), on every runtime."""

import re
from pathlib import Path

from tools.testing import runtimes

PROGRAM = Path(__file__).with_name("log_checks.py")


def test_on_runtime(runtime: runtimes.Runtime) -> None:
    names = re.findall(r"^def (check_\w+)", PROGRAM.read_text(), re.MULTILINE)
    assert len(names) == 6
    with runtime.start(PROGRAM) as device:
        assert device.wait_exit(60) == 0, device.transcript()
        for name in names:
            assert f"ok {name}" in device.lines, device.transcript()
        assert f"done {len(names)} checks, 0 failed" in device.lines

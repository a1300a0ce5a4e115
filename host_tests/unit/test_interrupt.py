"""Ctrl-C for MicroPython's unix port: what allocates half of the time is sound after hundreds."""

import subprocess
import time
from pathlib import Path

import pytest
from harness.interrupt import interrupt, interrupt_if_waiting

from tools.testing.runtimes import MICROPYTHON32, MICROPYTHON64, Runtime

TIMES = 300
ALLOCATES = f"""
import time
def work():
    while True:
        for _ in range(4000):
            bytearray(90)
        time.sleep_ms(1)
for n in range({TIMES}):
    try:
        print("at", n)
        work()
    except KeyboardInterrupt:
        pass
"""


@pytest.mark.parametrize("runtime", [MICROPYTHON64, MICROPYTHON32], ids=repr)
def test_the_heap_is_sound_after_it(runtime: Runtime, tmp_path: Path) -> None:
    program = tmp_path / "allocates.py"
    program.write_text(ALLOCATES)
    with runtime.start(program) as device:
        for n in range(TIMES):
            device.wait_line(f"at {n}", 10)
            time.sleep(n % 10 / 5000)  # not always at the same place
            interrupt(device.pid)
        assert device.wait_exit(10) == 0, device.transcript()


def test_what_computes_is_interrupted_in_the_end(tmp_path: Path) -> None:
    program = tmp_path / "computes.py"
    on = tmp_path / "on"  # not a line: what has just been written is still being written
    program.write_text(f"open({str(on)!r}, 'w')\nwhile True: pass\n")
    with MICROPYTHON64.start(program) as device:
        deadline = time.monotonic() + 10
        while not on.exists():
            assert time.monotonic() < deadline
        assert not interrupt_if_waiting(device.pid)
        interrupt(device.pid)
        assert device.wait_exit(10) in (1, 130)  # 130, as of a program that a signal ended: 1.27
        assert device.lines[-1].startswith("KeyboardInterrupt")


def test_what_is_gone_is_left_alone() -> None:
    process = subprocess.Popen(["true"])
    deadline = time.monotonic() + 10
    while Path(f"/proc/{process.pid}/stat").read_text().split()[2] != "Z":
        assert time.monotonic() < deadline
    interrupt(process.pid)
    assert process.wait() == 0

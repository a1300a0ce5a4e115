"""A board on a serial port, and the tools as a person starts them."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from harness.programs import argv_of
from harness.serial_board import SerialBoard

from tools.testing import runtimes
from tools.testing.needs import missing
from tools.testing.runtimes import ROOT

Tool = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def board(tmp_path: Path) -> Iterator[SerialBoard]:
    """The simulated board, mpremote's way."""
    if runtimes.MICROPYTHON64.reason:
        missing(runtimes.MICROPYTHON64.reason)
    with SerialBoard(tmp_path / "board") as chosen:
        yield chosen


@pytest.fixture
def tool() -> Tool:
    """Return a function that runs a program of tools/ to its end."""

    def run(name: str, *args: str, **options: object) -> subprocess.CompletedProcess[str]:
        argv = [*argv_of(name.removesuffix(".py")), *args]
        settings = {"cwd": ROOT, "capture_output": True, "text": True, "timeout": 60, **options}
        return subprocess.run(argv, **settings)  # type: ignore[call-overload, no-any-return]

    return run

"""Talking to the MicroPython on a board, by the mpremote of .venv."""

from __future__ import annotations

import json
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

from . import boards, ports
from .safety import CannotDo, printable

TIMEOUT = 300  # seconds for one mpremote: a file system full of files over 115,200 baud
ANSWER = 30  # seconds for one that only asks; mpremote itself waits for ever if the board resets
MARK = "dormouse-answer:"  # before what the board prints for us, among what else it prints
# Before a program for the board: what `answered` reads.
ANSWERS = f"def answer(x):\n import json\n print('{MARK}'+json.dumps(x))\n"

SILENT = (
    "What to do: press the board's reset button (EN, RUN) and try again at once, it may be\n"
    "    asleep. If it never answers it has no MicroPython, or a program that Ctrl-C does not\n"
    "    stop: make flash"
)
FULL = (
    "the board's file system is full\n"
    "What to do: make console, and remove what is not needed: import os; os.remove('NAME')"
)
# What mpremote or the board says -> what it means, and what to do.
HINTS = {
    "failed to access": ports.BUSY,
    "no device found": ports.PLUG,
    "could not enter raw repl": f"no answer from MicroPython\n{SILENT}",
    "ENOSPC": FULL,
    "OSError: 28": FULL,
    "No space left on device": FULL,
    "device disconnected": f"the board went away\n{SILENT}",
}


# The beginning of a question: `who` tells which board it is, for `check`.
WHO = """\
import sys
i = sys.implementation
who = {'platform': sys.platform, 'version': i.version[:3], 'machine': getattr(i, '_machine', '')}
"""
PLATFORMS = {"unix": "linux"}  # sys.platform, where it is not the port's name


class DeviceError(CannotDo):
    """The board did not do what was asked. The text says why, and what to do."""


def check(board: boards.Board, who: dict[str, Any]) -> None:
    """Check that the board at the port is what was named. Raises DeviceError."""
    platform = PLATFORMS.get(board.port, board.port)
    if who["platform"] != platform:
        raise DeviceError(
            f"this is no {board.name}: its MicroPython says {who['platform']!r} "
            f"({printable(who['machine']) or 'no name'})\n"
            "What to do: name the board that is plugged in, or its port"
        )
    if tuple(who["version"][:2]) < (1, 22):
        version = ".".join(map(str, who["version"]))
        raise DeviceError(f"MicroPython {version}: 1.22 or later is needed\nDo: make flash")


def answered(said: str) -> Any:
    """Return the x of the `answer(x)` that a program on the board (behind ANSWERS) came to, by what
    mpremote said. Raises DeviceError."""
    for line in said.splitlines():
        if line.startswith(MARK):
            return json.loads(line[len(MARK) :])
    raise DeviceError(f"the board did not answer\n{SILENT}")


def explain(said: str) -> str:
    """Return what mpremote's last words mean, and what to do about it.

    What a board answered to `ask` is not repeated: there may be a password in it.
    """
    for sign, meaning in HINTS.items():
        if sign in said:
            return meaning
    lines = [line for line in said.strip().splitlines() if not line.startswith(MARK)]
    return printable(lines[-1]) if lines else "mpremote failed, and does not say why"


class Device:
    """The board at a port. With `dry_run` commands are printed, and not run."""

    def __init__(self, port: str, dry_run: bool = False):
        self.port = port
        self.dry_run = dry_run
        self.touched = False  # whether its program was ended
        self.changed = False  # whether its files are about to change: who changes them says so

    def argv(self, *commands: str) -> list[str]:
        """Return the command line of mpremote for this board."""
        return [sys.executable, "-m", "mpremote", "connect", self.port, *commands]

    def run(
        self, *commands: str, each: Callable[[str], None] | None = None, timeout: float = TIMEOUT
    ) -> str:
        """Run mpremote; return its output. `each` gets every line as it comes.

        Raises DeviceError. Prints the command, and returns "", on a dry run.
        """
        argv = self.argv(*commands)
        if self.dry_run:
            print(shlex.join(argv))
            return ""
        touched, self.touched = self.touched, True
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        assert process.stdout
        lines = []
        alarm = threading.Timer(timeout, process.kill)
        alarm.daemon = True
        alarm.start()
        try:
            for line in process.stdout:
                lines.append(line)
                if each:
                    each(line.rstrip())
            process.wait()
        finally:
            alarm.cancel()
            process.kill()
            process.wait()
            process.stdout.close()
        said = "".join(lines)
        if process.returncode == -signal.SIGKILL:
            raise DeviceError(f"no answer from MicroPython for {timeout} s\n{SILENT}")
        if process.returncode:
            why = explain(said)
            if why in (ports.BUSY, ports.PLUG):  # it was not even spoken to
                self.touched = touched
            raise DeviceError(why)
        return said

    def restart(self) -> None:
        """Let the board start anew, which is what a program that was ended needs. Raises
        DeviceError."""
        self.run("reset", timeout=ANSWER)

    def ask(self, program: str) -> Any:
        """Run a program on the board which ends with `answer(x)`; return that x, by JSON.

        Raises DeviceError. None on a dry run.
        """
        said = self.run("exec", ANSWERS + program, timeout=ANSWER)
        return None if self.dry_run else answered(said)

"""What the tools for a board have in common: their options, the port, how they end.

A tool is a function that does its work and returns what was done; `finish` turns that, or what went
wrong, into the last line that a person reads, and into the exit status.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Callable, Iterator

from .. import parts
from ..paths import CHECKOUT
from . import boards, face, ports
from .device import Device, DeviceError
from .safety import CannotDo

FAILURES = (CannotDo, boards.BadBoard, ports.NoPort, parts.CannotCompile)


def parser(description: str, example: str, *, wait: bool = True) -> argparse.ArgumentParser:
    """Return a parser that knows --board, --port, --dry-run and, if a board may be asleep, --wait.

    example: the same by make.
    """
    made = face.Parser(description=description)
    if CHECKOUT:
        made.epilog = f"{example} DRY_RUN=1 says the same."
    made.add_argument("--board", default="", help="a folder of boards/")
    made.add_argument("--port", help="serial port; found if there is one board")
    if wait:
        made.add_argument("--wait", action="store_true", help="until the port is there")
    made.add_argument("--dry-run", action="store_true", help="only print the commands")
    return made


def found(options: argparse.Namespace) -> tuple[boards.Board, str]:
    """Return the board and the port that the options name. Raises BadBoard, NoPort."""
    board = boards.named(options.board)
    return board, ports.ready(options.port, board.port, options.dry_run, options.wait)


@contextlib.contextmanager
def held(device: Device) -> Iterator[None]:
    """Hold a board's program up, and let it run again if the work fails or is interrupted.

    Whatever was asked of a board ended its program, and left it at its prompt: a node would stay
    awake there until its battery is empty. (Work that succeeds ends in a reset of its own.)
    """
    try:
        yield
    except BaseException as error:
        if not device.touched:
            raise
        # A second Ctrl-C, which a person may well press now, still ends this.
        note = "the board could not be started again: press its reset button"
        with contextlib.suppress(DeviceError):
            device.restart()
            note = "the board runs again"
            if not device.changed:
                note += ", as it was"
        if device.changed:
            note += "; what was copied before this is on it: say it once more, to end it"
        error.add_note(note)
        raise


def finish(name: str, work: Callable[[], str], interrupted: str = "") -> int:
    """Do a tool's work; print what was done, or why not, last of all. Return the exit status.

    interrupted: what holds after a Ctrl-C.
    """
    try:
        done = work()
    except FAILURES as error:
        lines = [f"{name}: {error}", *getattr(error, "__notes__", ())]
        print(face.words("\n".join(lines)), file=sys.stderr)
        return 1
    except (KeyboardInterrupt, EOFError) as error:
        notes = [interrupted, *getattr(error, "__notes__", ())]
        print("\ninterrupted: " + "; ".join(filter(None, notes)), file=sys.stderr)
        return 130
    if done:
        print(face.words(done))
    return 0

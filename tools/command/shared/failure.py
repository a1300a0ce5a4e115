"""The one error that ends a command with a text for a person."""

from __future__ import annotations

import os
import sys

DONE = 0
FAILED = 1
WRONG = 2
LATE = 3
ALERT = 4


class Failure(Exception):
    """It cannot be done. The text says why, and what to do; ``status``: the exit status."""

    def __init__(self, why: str, advice: str = "", status: int = FAILED) -> None:
        super().__init__(f"{why}\nWhat to do: {advice}" if advice else why)
        self.status = status


class ReaderGone(Exception):
    """Who read stdout has enough (`dormouse sub ... | head`)."""


def write_no_more() -> None:
    """Let stdout lead nowhere: at its exit Python would try, and complain, once more."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def need_pictures() -> None:
    """Raise Failure where matplotlib is not installed, before there is anything to draw."""
    try:
        import matplotlib  # noqa: F401 - it is there
    except ImportError as error:
        advice = 'pip install "dormouse-mqtt[pictures]"'
        raise Failure("a picture needs matplotlib", advice) from error

"""The one error that ends a command with a text for a person."""

from __future__ import annotations

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


def no_pictures() -> Failure:
    """Return what is told where matplotlib is not installed."""
    return Failure("a picture needs matplotlib", 'pip install "dormouse-mqtt[pictures]"')

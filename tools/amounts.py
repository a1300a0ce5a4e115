"""What is taken on a command line: types of argparse, each of which says what that is."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Callable
from pathlib import Path

LARGEST = 1e9  # s, mAh, messages ...: beyond it a clock or a table has no room


def real(least: float = 0, most: float = LARGEST, above: bool = False) -> Callable[[str], float]:
    """Return a type: a number from ``least`` (or ``above`` it) to ``most``."""
    what = f"above {least:g}" if above else f"{least:g} or more"

    def read(text: str) -> float:
        try:
            number = float(text)
        except ValueError:
            number = float("nan")
        if not (number > least if above else number >= least) or number > most:
            said = f"up to {most:,.10g}" if number > most else what
            raise argparse.ArgumentTypeError(f"{text!r} is no number {said}")
        return number

    return read


def whole(least: int = 0, most: int = int(LARGEST)) -> Callable[[str], int]:
    """Return a type: a whole number from ``least`` to ``most``."""

    def read(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = least - 1
        if not least <= number <= most:
            raise argparse.ArgumentTypeError(
                f"{text!r} is no whole number from {least:,} to {most:,}"
            )
        return number

    return read


def regex(text: str) -> re.Pattern[str]:
    """Return a regular expression."""
    try:
        return re.compile(text)
    except re.error as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no regular expression: {error}") from error


def given(text: str) -> str:
    """Return a text that is not empty: a variable that is not set must not turn TLS off."""
    if not text:
        raise argparse.ArgumentTypeError("it is empty: is a variable not set?")
    return text


def utf8(text: str) -> str:
    """Return a text that MQTT has letters for: of bytes that are none Python makes surrogates."""
    try:
        text.encode()
    except UnicodeError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no UTF-8") from error
    return text


def said(text: str) -> str:
    """Return a text that is not empty, of letters."""
    return utf8(given(text))


def target(*suffixes: str) -> Callable[[str], Path]:
    """Return a type: a file that is to be written, with one of these suffixes if there are any.

    It is looked at now: once there is something to write, it would be lost.
    """

    def read(text: str) -> Path:
        path = Path(given(text))
        why = ""
        if os.path.isdir(path):
            why = "is a folder"
        elif suffixes and path.suffix.lower() not in suffixes:
            why = f"does not end with {' or '.join(suffixes)}"
        elif not os.path.isdir(path.parent):
            why = f"cannot be written: there is no folder {str(path.parent)!r}"
        elif not os.access(path if os.path.exists(path) else path.parent, os.W_OK):
            why = "cannot be written: you may not"
        if why:
            raise argparse.ArgumentTypeError(f"{text!r} {why}")
        return path

    return read


positive = real(above=True)
at_least_one = whole(1)
picture = target(".svg", ".png", ".pdf")
port = whole(1, 65535)

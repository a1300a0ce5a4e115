"""Where output goes: colours and tables at a terminal, plain lines in a pipe."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import rich.box
from rich.console import Console
from rich.table import Table

from .failure import DONE, FAILED, Failure, ReaderGone, write_no_more
from .foreign import visible

# What would move the cursor or change the terminal: all but newline and tab; C1 in UTF-8.
_CONTROL = re.compile(rb"[\x00-\x08\x0b-\x1f\x7f]|\xc2[\x80-\x9f]")


def at_terminal() -> bool:
    """Tell whether a person reads stdout."""
    return sys.stdout.isatty()


class _Console(Console):
    def on_broken_pipe(self) -> None:
        raise ReaderGone  # rich would exit with 1


def console() -> Console:
    """Return where a person reads; in a pipe it does not break lines."""
    made = _Console()
    if not made.is_terminal:
        made.width = 160
    return made


def errors() -> Console:
    """Return where progress is shown."""
    return Console(stderr=True)


def table(*columns: str, title: str) -> Table:
    """Return a table; without lines in a pipe."""
    box = rich.box.ROUNDED if at_terminal() else None
    made = Table(*columns, title=title, title_justify="left", box=box, pad_edge=at_terminal())
    return made


def write(data: bytes) -> None:
    """Write bytes to stdout as they are, at once; what could harm a terminal is shown in hex."""
    if at_terminal():
        data = _CONTROL.sub(lambda match: b"\\x%02x" % match[0][-1], data)
    with printing():
        sys.stdout.buffer.write(data)


@contextmanager
def printing() -> Iterator[None]:
    """What is printed meanwhile is out at the end. Raises what it is if it cannot be, ReaderGone or
    Failure, or it would look like a lost connection."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError as error:
        raise ReaderGone from error
    except OSError as error:
        write_no_more()
        raise Failure(f"cannot write: {error.strerror}") from error


def print_json(value: Any) -> None:
    """Print one JSON document on one line."""
    with printing():
        print(json.dumps(value, ensure_ascii=False))


def save(name: str, path: Path | None, write: Callable[[Path], object]) -> int:
    """Write a file, if it was asked for, and tell so; return the exit status.

    name: of the subcommand, which tells why it cannot be written; what else it has to write and to
    show is not lost with it.
    """
    if path is None:
        return DONE
    try:
        write(path)
    except (OSError, ValueError) as error:
        note(f"dormouse {name}: cannot write {path}: {getattr(error, 'strerror', None) or error}")
        return FAILED
    note(f"written: {path}")
    return DONE


def note(text: str) -> None:
    """Tell a person something that is no output."""
    print("\n".join(map(visible, text.split("\n"))), file=sys.stderr, flush=True)

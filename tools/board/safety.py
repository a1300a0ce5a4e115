"""What comes from a board is a stranger's: names of files, text for a terminal."""

from __future__ import annotations

import hashlib
import re
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

LONGEST = 100  # characters of a file's name that come from elsewhere


class CannotDo(Exception):
    """It cannot be done. The text says why, and what to do."""


def printable(text: str) -> str:
    """Return text without what a terminal would obey: escapes, and other control characters."""
    return "".join(c if c.isprintable() or c in "\n\t" else "?" for c in text)


def is_plain(name: Any) -> bool:
    """Tell whether this is the name of a file and nothing more: no folder, no hidden file."""
    return isinstance(name, str) and re.fullmatch(r"\w[\w.-]{0,63}", name, re.ASCII) is not None


def is_printable(value: Any) -> bool:
    """Tell whether all text in a value from JSON may be shown."""
    if isinstance(value, dict):
        return all(is_printable(part) for pair in value.items() for part in pair)
    if isinstance(value, list):
        return all(map(is_printable, value))
    return not isinstance(value, str) or value.isprintable()


def file_name(text: str) -> str:
    """Return a name for a file about something that has any name; no two have the same.

    "a/b" and "a_b" differ, and so do "A" and "a", where the file system knows no capitals.
    """
    name = quote(text, safe=" ")
    if len(name) <= LONGEST and name == name.lower() and "%" not in name:
        return name
    return f"{name[:LONGEST]}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def keep_aside(path: Path) -> Path | None:
    """Move a file that is about to be written away, under a name of its own; return that."""
    if not path.exists():
        return None
    aside = path.with_name(f"{path.name}.{time.strftime('%Y%m%d-%H%M%S')}")
    while aside.exists():
        aside = aside.with_name(aside.name + "+")
    path.rename(aside)
    return aside

"""What somebody else wrote: anybody may write to a topic."""

from __future__ import annotations

import json
from typing import Any


def read_json(data: str | bytes) -> Any:
    """Return what it says. Raises ValueError for what is none: that cannot be written as JSON again
    (NaN, 1e999, half a letter) or is nested deeper than Python goes."""
    try:
        found = json.loads(data)
        # In a list: whoever shows it has it in a document of its own.
        json.dumps([found], ensure_ascii=False, allow_nan=False).encode()
    except RecursionError as error:
        raise ValueError("nested too deep") from error
    return found


def visible(text: str) -> str:
    """Return a text for one line of a terminal: what is no letter, and could change the terminal or
    end the line, in hex."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)

"""Two traces side by side: what a change made of a wake."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

from .decode import Decoded
from .text import table


@dataclass(frozen=True)
class Row:
    """A figure before and after; change: after - before."""

    what: str
    before: str
    after: str

    @property
    def change(self) -> str:
        """Return the difference, with its sign; nothing where there is none."""
        difference = _number(self.after) - _number(self.before)
        if abs(difference) < 0.05:
            return ""
        percent = f" ({difference / _number(self.before):+.0%})" if _number(self.before) else ""
        return f"{difference:+,.1f}{percent}"


def _number(text: str) -> float:
    return float(text.replace(",", ""))


def figures(before: Sequence[Decoded], after: Sequence[Decoded], milliamperes: float) -> list[Row]:
    """Return the figures of two traces, on average over their connections."""
    old, new = table(before, milliamperes), table(after, milliamperes)
    rows = [Row(what, a, b) for (what, a), (_, b) in zip(old, new, strict=True)]
    return [row for row in rows if _number(row.before) or _number(row.after)]


def _names(decoded: Sequence[Decoded]) -> list[str]:
    # The last connection: the first ones of a session subscribe.
    arrows = {"up": ">", "down": "<"}
    return [f"{arrows[p.way]}{p.name}" for p in decoded[-1].packets] if decoded else []


def packets(before: Sequence[Decoded], after: Sequence[Decoded]) -> list[str]:
    """Return the packets of the last connections, those that went marked -, those new +."""
    return list(difflib.ndiff(_names(before), _names(after)))

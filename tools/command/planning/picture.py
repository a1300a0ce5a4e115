"""Pictures of a plan: bars in a terminal, a file for a page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

WIDTH = 40  # characters of the longest bar
COLOURS = ("#4c72b0", "#dd8452", "#55a868", "#c44e52", "#8172b3", "#937860", "#da8bc3", "#8c8c8c")


def bars(shares: Sequence[tuple[str, float]], plain: bool = False) -> list[str]:
    """Return a line for each share (0 to 1)."""
    longest = max(share for _, share in shares) or 1
    names = max(len(name) for name, _ in shares)
    block = "#" if plain else "█"
    return [
        f"{name:<{names}}  {share:6.1%}  {block * round(share / longest * WIDTH)}"
        for name, share in shares
    ]


def save(
    path: Path, title: str, columns: Sequence[tuple[str, Sequence[tuple[str, float]]]]
) -> None:
    """Save a stacked bar for each column: name, and shares in mC. SVG, PNG or PDF by its suffix.

    Raises ImportError without matplotlib, ValueError for another suffix.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 1.2 + 0.8 * len(columns)))
    axes = figure.subplots()
    seen: dict[str, str] = {}
    for row, (name, parts) in enumerate(columns):
        left = 0.0
        for what, amount in parts:
            colour = seen.setdefault(what, COLOURS[len(seen) % len(COLOURS)])
            label = what if name == columns[0][0] else None
            axes.barh(name, amount, left=left, color=colour, label=label)
            left += amount
        axes.text(left, row, f" {left:.0f} mC", va="center")
    axes.set_xlabel("charge of a period, mC")
    axes.set_title(title)
    axes.margins(x=0.12)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.25), ncols=3, frameon=False)
    axes.invert_yaxis()
    figure.savefig(path, bbox_inches="tight")

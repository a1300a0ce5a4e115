"""A connection as a picture, SVG or PNG: time downwards, an arrow for each packet."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .decode import Decoded
from .text import KINDS, head, summary

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = {
    "tcp": "#8c8c8c",
    "tls": "#937860",
    "sends": "#4c72b0",
    "waits": "#dd8452",
    "takes": "#55a868",
    "thinks": "#8172b3",
    "ends": "#ccb974",
}
ROW = 1.0  # the least distance of two arrows
MOST = 60  # packets in a picture
GAP = 2.5  # what the longest gap adds


def _rows(decoded: Decoded) -> list[float]:
    """Return where each packet stands: below the one before as far as time passed, in bounds."""
    times = [p.at for p in decoded.packets[:MOST]]
    gaps = [b - a for a, b in zip([decoded.connection.ready, *times], times, strict=False)]
    longest = max([*gaps, 1e-9])
    place, places = 0.0, []
    for gap in gaps:
        place += ROW + GAP * (gap / longest) ** 0.5
        places.append(place)
    return places


def _draw(ax: Axes, decoded: Decoded, milliamperes: float) -> None:
    places, opened = _rows(decoded), decoded.connection.opened
    bottom = (places[-1] if places else 0) + ROW
    packets = decoded.packets[:MOST]
    # Phases between the arrows, on the node's side.
    edges = [(decoded.connection.ready, 0.0), *zip((p.at for p in packets), places, strict=True)]
    for (t0, y0), (t1, y1) in itertools.pairwise(edges):
        middle = (t0 + t1) / 2
        kind = next((s.kind for s in decoded.spans if s.begin <= middle < s.end), None)
        if kind and t1 > t0:
            ax.barh((y0 + y1) / 2, 0.06, y1 - y0, left=-0.06, color=COLOURS[kind])
            if t1 - t0 >= 0.0005:
                ax.text(
                    -0.08,
                    (y0 + y1) / 2,
                    f"{(t1 - t0) * 1000:,.1f} ms",
                    ha="right",
                    va="center",
                    fontsize=8,
                    color="#555555",
                )
    ax.vlines([0, 1], 0, bottom, color="black")
    for packet, y in zip(packets, places, strict=True):
        ends = ((0, 1), (1, 0))[packet.way == "down"]
        colour = "#c44e52" if packet.wrong else "#4c72b0" if packet.way == "up" else "#55a868"
        ax.annotate(
            "",
            (ends[1], y),
            (ends[0], y),
            arrowprops={"arrowstyle": "-|>", "color": colour, "shrinkA": 0, "shrinkB": 0},
        )
        text = packet.text if len(packet.text) <= 72 else packet.text[:71] + "…"
        ax.text(0.5, y - 0.08, text, ha="center", va="bottom", fontsize=8)
        ax.text(
            1.02,
            y,
            f"{(packet.at - opened) * 1000:,.1f} ms   {packet.size} B",
            va="center",
            fontsize=8,
        )
    ax.text(0, -0.3, "node", ha="center", va="bottom", weight="bold")
    ax.text(1, -0.3, "broker", ha="center", va="bottom", weight="bold")
    ax.set_title(head(decoded), fontsize=10, pad=18)
    under = "\n".join(summary(decoded, milliamperes))
    ax.text(-0.06, bottom + 0.3, under, va="top", fontsize=8)
    ax.set_xlim(-0.3, 1.35)
    ax.set_ylim(bottom + 1.4, -1)
    ax.axis("off")


def save(path: Path, decoded: Sequence[Decoded], milliamperes: float) -> None:
    """Save connections side by side (two at most). Raises ImportError, OSError, ValueError."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    shown = list(decoded)[:2]
    height = max((_rows(d) or [1.0])[-1] for d in shown)
    figure = Figure(figsize=(9 * len(shown), 2 + 0.32 * height))
    axes = figure.subplots(1, len(shown), squeeze=False)
    for ax, each in zip(axes[0], shown, strict=True):
        _draw(ax, each, milliamperes)
    used = {span.kind for d in shown for span in d.spans}
    patches = [Patch(color=COLOURS[k], label=text) for k, text in KINDS.items() if k in used]
    if patches:
        figure.legend(handles=patches, loc="lower center", ncols=3, frameon=False, fontsize=8)
    figure.savefig(path, bbox_inches="tight", dpi=120)

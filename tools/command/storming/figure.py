"""What a storm came to, as a picture and as bars in a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .model import Result, Storm

COLOURS = {"fixed": "#c44e52", "exponential": "#dd8452", "jitter": "#4c72b0", "phase": "#55a868"}
BARS = " ▁▂▃▄▅▆▇█"
PLAIN = " .:-=+*#@"


def last(results: Sequence[Result]) -> int:
    """Return the last second that is worth showing."""
    ends = [result.back[-1] for result in results if len(result.back) == result.nodes]
    stuck = [max(result.attempts, default=0) for result in results if result.until(1) is None]
    return max(10, int(max([*ends, *(min(s, 900) for s in stuck)], default=10)) + 2)


def bars(result: Result, seconds: int, width: int, plain: bool) -> str:
    """Return attempts over time, ``width`` characters for ``seconds``."""
    steps = PLAIN if plain else BARS
    sums = [0] * width
    for second, count in result.attempts.items():
        if 0 <= second < seconds:
            sums[second * width // seconds] += count
    per_second = [n * width / seconds for n in sums]
    most = max(*per_second, 1e-9)
    # A step for each factor: a storm and a drizzle have to be seen in one line.
    return "".join(steps[min(8, round((n / most) ** 0.5 * 8 + 0.49))] for n in per_second)


def save(path: Path, storm: Storm, results: Sequence[Result], what: str) -> None:
    """Save a picture. Raises ImportError, OSError, ValueError."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 7))
    above, below = figure.subplots(2, 1, sharex=True)
    end = last(results)
    begin = -min(20, int(storm.outage))
    for result in results:
        seconds = range(begin, end)
        colour = COLOURS[result.name]
        counts = [result.attempts.get(second, 0) for second in seconds]
        above.step(list(seconds), counts, where="post", color=colour, label=result.title, lw=1)
        parts = [100 * sum(t <= second for t in result.back) / result.nodes for second in seconds]
        below.plot(list(seconds), parts, color=colour, label=result.title)
    above.set_yscale("symlog", linthresh=1)
    above.set_ylabel("attempts to connect per second")
    if storm.rate:
        above.axhline(storm.rate, color="black", lw=0.8, ls=":")
        above.text(end, storm.rate, " what the broker takes", va="center", fontsize=8)
    for axes in (above, below):
        axes.axvspan(begin, 0, color="#eeeeee")
        axes.grid(alpha=0.3)
    below.set_ylabel("nodes connected again, %")
    below.set_xlabel("seconds since the broker is back")
    below.legend(loc="lower right")
    above.set_title(f"{storm.nodes:,} nodes lose their broker for {storm.outage:g} s: {what}")
    figure.savefig(path, bbox_inches="tight", dpi=120)

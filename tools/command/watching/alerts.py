"""What is not well."""

from __future__ import annotations

import argparse
from collections.abc import Mapping

from ...amounts import real
from .figures import NAMES, Figures
from .nodes import DEAD, LOST

MOST = 1e15  # bytes, or messages since the broker started


def capacity(text: str) -> tuple[str, float]:
    """Return name and number of NAME=NUMBER. Raises ArgumentTypeError."""
    name, _, value = text.partition("=")
    if name not in NAMES:
        raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(NAMES)}")
    return name, real(most=MOST)(value)


def alerts(
    figures: Figures, states: Mapping[str, str], capacities: Mapping[str, float], at: float
) -> list[str]:
    """Return what to tell: figures at so many percent of what the broker is made for, nodes that
    are dead or lost, what the broker itself complains of. A capacity of 0 is one of nothing at all:
    any is too many."""
    found = []
    values = figures.values()
    for name, limit in capacities.items():
        value = values.get(name)
        if value is None:
            found.append(f"{NAMES[name]}: the broker does not tell")
        elif not limit and value > 0:
            found.append(f"{NAMES[name]}: {value:,.6g}")
        elif limit and value >= limit * at / 100:
            found.append(f"{NAMES[name]}: {value:,.6g}, {value / limit:.0%} of {limit:,.6g}")
    found += [f"{topic}: {state}" for topic, state in states.items() if state in (DEAD, LOST)]
    found += [f"{name}: {text}".rstrip(": ") for name, text in figures.alarms.items()]
    return found

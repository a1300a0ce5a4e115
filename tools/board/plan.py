#!/usr/bin/env python3
"""How long a battery lasts with a node that sleeps: each figure with who says so.

    make plan BOARD=ESP32_GENERIC BATTERY=2000 PERIOD=300 AWAKE_MS=2500 AWAKE_MA=90

The current asleep is that of boards/NAME/board.toml, with its source. Current and time awake depend
on your Wi-Fi, your sensors and your board's regulator: nobody can say them for you, so they are
asked for. (What board.toml calls connected is an idle radio, less than a wake draws.) Measure them,
with a meter that follows a wake. What a wake costs on the wire and on the flash is measured now, on
the simulated board, as `make wake` does.

Not counted: the battery's own discharge, cold, wakes that find no network and last longer.

Exit status: 0; 1 a figure has no source, or the plan cannot work, with what to do; 130 interrupted.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ..desk import wake
from . import boards

DAY = 24  # hours


class NoPlan(Exception):
    """A figure has no source, or the plan cannot work. The text says what to do."""


@dataclass(frozen=True)
class Figure:
    """A line of the table."""

    what: str
    value: str
    source: str


@dataclass(frozen=True)
class Use:
    """What the person plans: mAh, s, ms, mA, µA. asleep_ua is None where board.toml has it."""

    battery: float
    period: float
    awake_ms: float
    awake_ma: float
    asleep_ua: float | None = None
    qos: int = 1


def asleep(board: boards.Board, given: float | None) -> tuple[float, str]:
    """Return the current in deep sleep in µA, and its source. Raises NoPlan without one."""
    if given is not None:
        return given, "you (ASLEEP_UA)"
    current = board.currents.get("deep_sleep")
    if current is None:
        raise NoPlan(
            f"boards/{board.name}/board.toml has no source for the current in deep sleep\n"
            "What to do: measure it, and say ASLEEP_UA=microamperes"
        )
    return current.microamperes, current.source


def check(board: boards.Board, use: Use) -> None:
    """Check that the board can do what is planned. Raises NoPlan."""
    if use.awake_ms >= use.period * 1000:
        raise NoPlan("it never sleeps: AWAKE_MS is not below PERIOD\nWhat to do: a longer PERIOD")
    longest = board.sleep.get("longest_ms")
    if longest and use.period * 1000 > longest:
        raise NoPlan(
            f"{board.name} sleeps {longest / 1000:.0f} s at most (board.toml)\n"
            "What to do: a shorter PERIOD"
        )


def average_ua(use: Use, asleep_ua: float) -> float:
    """Return the current in µA, on average over a period."""
    awake = use.awake_ms / 1000
    return (use.awake_ma * 1000 * awake + asleep_ua * (use.period - awake)) / use.period


def battery(board: boards.Board, use: Use) -> list[Figure]:
    """Return what the battery has to give, and how long it does. Raises NoPlan."""
    check(board, use)
    current, source = asleep(board, use.asleep_ua)
    average = average_ua(use, current)
    days = use.battery * 1000 / average / DAY
    share = use.awake_ma * use.awake_ms / use.period / average  # mA * ms / s is µA
    return [
        Figure("battery", f"{use.battery:g} mAh", "you (BATTERY)"),
        Figure("period", f"{use.period:g} s", "you (PERIOD)"),
        Figure("asleep", f"{current:g} µA", source),
        Figure("awake", f"{use.awake_ms:g} ms, {use.awake_ma:g} mA", "you (AWAKE_MS, AWAKE_MA)"),
        Figure("on average", f"{average:.1f} µA", f"computed; {share:.0%} of it awake"),
        Figure("the battery lasts", f"{days:,.0f} days", "computed, to its last drop"),
    ]


def measured(board: boards.Board, use: Use) -> list[Figure]:
    """Return what a wake costs on the wire and the flash. Raises NotAvailable, BrokerFailure."""
    source = "measured on the simulated board (make wake)"
    with wake.ready("micropython64") as bench:
        cost = bench.measure(use.qos, 0, 0, "burst")
        wear = bench.wear(board.port, f"QoS {use.qos} message")
    lines = [
        Figure(
            "a wake on the wire",
            f"{cost.turnarounds} wait, {cost.total} bytes of MQTT",
            f"{source}: one message at QoS {use.qos}",
        )
    ]
    if wear.years is None:
        return [*lines, Figure("the flash", "is not worn", source)]
    years = wear.years * use.period / wake.PERIOD
    said = f"{source}; {wake.CYCLES:,} erasures a block (docs/sleep.md)"
    return [*lines, Figure("the flash lasts", f"{years:,.0f} years with a Journal", said)]


def positive(text: str) -> float:
    """Return a number above 0. Raises ValueError."""
    number = float(text)
    if not 0 < number < float("inf"):
        raise ValueError
    return number


def arguments(argv: list[str] | None) -> argparse.Namespace:
    """Return the parsed command line."""
    parser = argparse.ArgumentParser(
        description="How long a battery lasts with a node that sleeps.",
        epilog="make plan BOARD=... BATTERY=... PERIOD=... AWAKE_MS=... AWAKE_MA=... ASLEEP_UA=... "
        "says the same.",
    )
    parser.add_argument("--board", default="", help="a folder of boards/")
    parser.add_argument("--battery", type=positive, metavar="MAH", help="its capacity")
    parser.add_argument("--period", type=positive, metavar="S", help="from wake to wake")
    parser.add_argument("--awake-ms", type=positive, metavar="MS", help="how long a wake is")
    parser.add_argument("--awake-ma", type=positive, metavar="MA", help="what it draws then")
    parser.add_argument("--asleep-ua", type=positive, metavar="UA", help="not board.toml's")
    parser.add_argument("--qos", type=int, choices=(0, 1, 2), default=1, help="%(default)s")
    parser.add_argument("--no-wear", action="store_true", help="measure nothing")
    return parser.parse_args(argv)


def wanted(options: argparse.Namespace) -> Use:
    """Return what was said. Raises NoPlan, which names what has no source."""
    needed = ("battery", "period", "awake_ms", "awake_ma")
    if missing := [name.upper() for name in needed if getattr(options, name) is None]:
        raise NoPlan(
            f"{', '.join(missing)}: only you know\nWhat to do: say "
            + " ".join(f"{name}=" for name in missing)
            + " (measured: nothing is assumed here)"
        )
    return Use(**{name: getattr(options, name) for name in (*needed, "asleep_ua", "qos")})


def main(argv: list[str] | None = None) -> int:
    """Parse the command line, print the table, and return the exit status."""
    options = arguments(argv)
    try:
        board = boards.named(options.board)
        use = wanted(options)
        lines = battery(board, use)
        if not options.no_wear:
            lines += measured(board, use)
    except (boards.BadBoard, NoPlan, wake.BrokerFailure, wake.runtimes.NotAvailable) as error:
        print(f"plan: {error}", file=sys.stderr)
        return 1
    table = Table("figure", "value", "source", title=f"{board.name}: {board.product}")
    for line in lines:
        table.add_row(escape(line.what), escape(line.value), escape(line.source))
    console = Console()
    if not console.is_terminal:
        console.width = 160
    console.print(table)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)

"""dormouse storm: a fleet loses its broker, and comes back."""

from __future__ import annotations

import argparse
import dataclasses
import time
from collections.abc import Callable, Sequence

from rich.progress import Progress, TaskID, TextColumn

from ..amounts import at_least_one, picture, positive, real
from ..setup import get
from .shared import output
from .shared.failure import WRONG, Failure, need_pictures
from .storming import figure, model
from .storming.model import Result, Storm
from .storming.policy import POLICIES, Policy, Waits

EXAMPLES = """
examples:
  dormouse storm                                       # 2,000 nodes, each way of waiting
  dormouse storm --nodes 5000 --backlog 4096           # a fixed delay never comes back
  dormouse storm --nodes 5000 --rate 50 --picture storm.svg
  dormouse storm --policy jitter --longest 300
  dormouse storm --real --nodes 200 --outage 3 --delay 1 --longest 8 --period 10

Each node is the session that runs on the chip, with a message that waits; time is virtual. The
broker is a model: it takes so many connections a second (--rate: measure yours; with TLS it is
less), so many wait for it (--backlog), what is beyond is not answered. A node that gives up (10 s)
leaves its place in the backlog behind, and the broker's work for it is in vain: that is how a storm
feeds itself. --real plays the same nodes against a mosquitto of its own on this machine, up to
1,000 nodes and an outage of 60 s, in real time.

exit status: 0 all nodes are back, with every way of waiting; 1 some are not; 2 wrong arguments;
130 interrupted
"""


REAL_NODES, REAL_OUTAGE = 200, 3.0  # within what --real takes; s
REAL_PERIOD = 20.0  # s: each way of waiting is played to its end, in real time
moment = real(0.001)  # s: a session counts in whole ms


def arguments(argv: Sequence[str]) -> argparse.Namespace:
    """Return the parsed command line."""
    default = Storm(rate=100, backlog=1024)
    parser = argparse.ArgumentParser(
        prog="dormouse storm",
        description="A fleet loses its broker, and comes back: connects per second, until all are.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    names = [kind.name for kind in POLICIES]
    add("--policy", choices=names, action="append", help="only this way of waiting")
    add("--nodes", type=at_least_one, metavar="N", help=f"{default.nodes}; --real {REAL_NODES}")
    add(
        "--outage",
        type=positive,
        metavar="S",
        help=f"{default.outage:g} s; --real {REAL_OUTAGE:g} s",
    )
    add(
        "--rate",
        type=positive,
        default=default.rate,
        metavar="N",
        help="connections a second that the broker takes (%(default)g)",
    )
    add(
        "--backlog",
        type=at_least_one,
        default=default.backlog,
        metavar="N",
        help="that wait (%(default)s)",
    )
    add("--rtt", type=positive, default=default.rtt * 1000, metavar="MS", help="%(default)g ms")
    add("--timeout", type=moment, default=default.timeout, metavar="S", help="%(default)g s")
    _add_waits(parser)
    add(
        "--limit",
        type=positive,
        default=default.limit,
        metavar="S",
        help="end after so long whoever is back (%(default)g s)",
    )
    add("--seed", type=int, default=default.seed)
    add("--real", action="store_true", help="on a mosquitto of its own, in real time")
    add("--picture", type=picture, metavar="FILE", help=".svg, .png or .pdf")
    add("--json", action="store_true", help="for programs")
    options = parser.parse_args(argv)
    if options.picture:
        need_pictures()
    if options.nodes is None:
        options.nodes = REAL_NODES if options.real else default.nodes
    if options.outage is None:
        options.outage = REAL_OUTAGE if options.real else default.outage
    if options.period is None:
        options.period = REAL_PERIOD if options.real else Waits().period
    return options


def _add_waits(parser: argparse.ArgumentParser) -> None:
    waits, add = Waits(), parser.add_argument
    add("--delay", type=moment, default=waits.delay, metavar="S", help="fixed: %(default)g s")
    add(
        "--shortest",
        type=moment,
        default=waits.shortest,
        metavar="S",
        help="exponential, jitter: the first bound (%(default)g s)",
    )
    add("--longest", type=moment, default=waits.longest, metavar="S", help="(%(default)g s)")
    add(
        "--period",
        type=moment,
        metavar="S",
        help=f"phase: from wake to wake ({waits.period:g} s; --real {REAL_PERIOD:g} s)",
    )


def storm_of(options: argparse.Namespace) -> Storm:
    """Return what happens."""
    waits = Waits(options.delay, options.shortest, options.longest, options.period)
    return Storm(
        nodes=options.nodes,
        rate=options.rate,
        backlog=options.backlog,
        outage=options.outage,
        rtt=options.rtt / 1000,
        timeout=options.timeout,
        limit=options.limit,
        stalled=max(600, 3 * options.period),
        seed=options.seed,
        waits=waits,
    )


def play(storm: Storm, kinds: Sequence[type[Policy]], options: argparse.Namespace) -> list[Result]:
    """Run each way of waiting, and show how far it is. Raises Failure."""
    run = _real() if options.real else model.simulate
    results = []
    columns = (
        TextColumn("{task.description}"),
        TextColumn("{task.completed} of {task.total} back"),
    )
    console = output.errors()
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        for kind in kinds:
            task = bar.add_task(kind.title, total=storm.nodes)
            told = _teller(bar, task, kind.title)
            results.append(run(storm, kind, told))
            bar.update(task, completed=len(results[-1].back))
    return results


def _real() -> Callable[..., Result]:
    """Return how to run it on a real mosquitto. Raises Failure where that cannot be had."""
    try:
        from ..testing.brokers import BrokerFailure
        from .storming import real
    except ImportError as error:
        raise Failure(f"--real needs {error.name}", 'pip install "dormouse-mqtt[test]"') from error
    try:
        argv = get.mosquitto()
    except get.NotAvailable as error:
        raise Failure(str(error)) from error

    def run(storm: Storm, kind: type[Policy], told: Callable[[float, int], None]) -> Result:
        try:
            return real.run(storm, kind, argv, told)
        except BrokerFailure as error:
            raise Failure(str(error)) from error

    return run


def _teller(bar: Progress, task: TaskID, title: str) -> Callable[[float, int], None]:
    def told(seconds: float, back: int) -> None:
        bar.update(task, completed=back, description=f"{title}, {seconds:,.0f} s")

    return told


def seconds(value: float | None) -> str:
    """Return a time for a table."""
    return "never" if value is None else f"{value:,.1f} s"


def show(storm: Storm, results: Sequence[Result], options: argparse.Namespace) -> None:
    """Print what came of it."""
    where = (
        "a mosquitto on this machine"
        if options.real
        else (f"a broker that takes {storm.rate:g} connections/s, backlog {storm.backlog:,}")
    )
    print(f"{storm.nodes:,} nodes lose their broker for {storm.outage:g} s; {where}")
    table = output.table(
        "",
        "peak/s",
        "attempts",
        "timed out",
        "in vain",
        "50 %",
        "99 %",
        "all back",
        "messages",
        title="",
    )
    for r in results:
        times = [seconds(r.until(part)) for part in (0.5, 0.99, 1)]
        table.add_row(
            r.title,
            f"{r.peak:,}",
            f"{r.total:,}",
            f"{r.timed_out:,}",
            f"{r.in_vain:,}",
            *times,
            f"{r.delivered:,}",
        )
    output.console().print(table)
    end = figure.last(results)
    width = 60
    plain = not output.at_terminal()
    titles = max(len(r.title) for r in results)
    print(f"attempts per second, {end} s from left to right (each line to its own scale):")
    for r in results:
        print(f"  {r.title:<{titles}} |{figure.bars(r, end, width, plain)}|")


def as_dict(storm: Storm, results: Sequence[Result]) -> dict[str, object]:
    """Return it for --json."""
    found = []
    for r in results:
        found.append(
            {
                "policy": r.name,
                "peak_per_s": r.peak,
                "attempts": r.total,
                "refused": r.refused,
                "timed_out": r.timed_out,
                "in_vain": r.in_vain,
                "delivered": r.delivered,
                "back": len(r.back),
                "half_s": r.until(0.5),
                "most_s": r.until(0.99),
                "all_s": r.until(1),
                "attempts_by_second": dict(sorted(r.attempts.items())),
            }
        )
    return {"storm": dataclasses.asdict(storm), "results": found}


def main(argv: Sequence[str]) -> int:
    """Run the subcommand; return the exit status. Raises Failure."""
    options = arguments(argv)
    storm = storm_of(options)
    kinds = [k for k in POLICIES if not options.policy or k.name in options.policy]
    began = time.monotonic()
    try:
        results = play(storm, kinds, options)
    except ValueError as error:
        raise Failure(str(error), status=WRONG) from error
    if options.json:
        output.print_json(as_dict(storm, results))
    else:
        show(storm, results, options)
        if not options.real:
            print(f"({time.monotonic() - began:.1f} s of this machine's time)")
    drawn = dataclasses.replace(storm, rate=0) if options.real else storm
    what = "mosquitto" if options.real else "a model"
    status = output.save(
        "storm", options.picture, lambda path: figure.save(path, drawn, results, what)
    )
    return status if all(len(r.back) == r.nodes for r in results) else 1

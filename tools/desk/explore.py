"""Explores every order of events that a session can meet, up to bounds; some 700 explorations.

The library's own sessions (3.1.1 and MQTT 5, in RAM, in a store, in two, expiring, with a burst)
against a strict model broker, with each two of: cuts of the network and of the power at any moment
(also in the middle of a record, on the library's own journal), a broker that forgets at any moment,
messages withdrawn, time that passes. Each exploration goes on
until it has seen all that its bounds allow, or --limit states.

Whatever must not be is printed with the shortest way to it, as packets to read. Of each exploration
some ways are repeated on MicroPython, and on an emulated chip: the same calls must give the same
bytes there.

Exit status: 0 all is well; 1 something is not; 2 it cannot be done; 130 interrupted.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import re
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from ..amounts import at_least_one, regex
from ..paths import FIRMWARE, ROOT
from ..testing import runtimes

sys.path.insert(0, str(ROOT / "host_tests" / "model"))  # a program for a checkout
sys.path.insert(0, str(FIRMWARE))

from explorer.cases import LONG, QUICK, wide
from explorer.library import Library
from explorer.record import record
from explorer.search import Search
from explorer.story import Play, save, whole
from explorer.twins import TWINS, row

PAGE = ROOT / "docs" / "proof.md"
DEVICE = ROOT / "host_tests" / "model" / "explorer" / "device.py"
TELL = 60  # s between two lines of a log
ROM = 300_000  # bytes of records in an emulated chip
INTERRUPTED = 130  # exit status: 128 + SIGINT
CASES = {**QUICK, **LONG, **wide()}
BEGIN, END = "<!-- table of bounds: make explore EXPLORE=--write -->\n", "<!-- end of table -->\n"
TWINS_BEGIN, TWINS_END = "<!-- twins -->\n", "<!-- end of twins -->\n"

_states: Any = None  # shared by the workers: how many states there are


@dataclass
class Result:
    """What came out of one exploration. ``wrong``: what must not be, the way, and its story."""

    name: str
    states: int
    depth: int
    whole: bool
    wrong: list[tuple[str, tuple[str, ...], str]] = field(default_factory=list)
    records: list[str] = field(default_factory=list)


def _ready(states: Any) -> None:
    global _states
    _states = states
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the one who started it ends it
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def explore(name: str, limit: int, records: int) -> Result:
    """Explore one case, in a process of its own."""
    case = CASES[name]
    library = Library()
    before = 0

    def progress(states: int) -> None:
        nonlocal before
        if _states is not None:
            with _states.get_lock():
                _states.value += states - before
            before = states

    try:
        search = Search(case, library, limit)
        found = search.run(progress)
        progress(found.states)
        result = Result(name, found.states, found.depth, found.whole)
        for wrong, way in found.wrong:
            play = Play(case, library)
            play.follow(way)
            result.wrong.append((wrong, way, play.text()))
        ways: list[Sequence[str]] = []
        if records and case.real:
            ways += [whole(case, library, way) for way in search.torn(records)]
        elif records:
            ways += search.sample(records)
        result.records += [record(case, library, way) for way in ways]
        return result
    finally:
        library.close()


def explore_all(
    console: Console,
    names: Sequence[str],
    limit: int,
    records: int,
    workers: int,
    results: list[Result],
) -> None:
    """Explore cases, several at once, and show how far it is. ``results`` has what is done, also
    when it is interrupted."""
    names = random.Random(1).sample(names, len(names))  # an early end has seen something of all
    told = time.monotonic()
    states = multiprocessing.Value("q", 0)
    columns = (
        TextColumn("explorations"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[states]:,} states"),
        TextColumn("{task.fields[wrong]} wrong"),
        TimeRemainingColumn(),
    )
    pool = ProcessPoolExecutor(workers, initializer=_ready, initargs=(states,))
    try:
        with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
            task = progress.add_task("", total=len(names), states=0, wrong=0)
            todo: set[Future[Result]] = {pool.submit(explore, n, limit, records) for n in names}
            while todo:
                done, todo = wait(todo, timeout=0.5, return_when=FIRST_COMPLETED)
                results += [one.result() for one in done]
                if not console.is_terminal and time.monotonic() - told > TELL:
                    told = time.monotonic()
                    n = len(results)
                    console.print(f"{states.value:,} states, {n} of {len(names)} explorations")
                wrong = sum(bool(r.wrong) for r in results)
                progress.update(
                    task, completed=len(results), states=states.value, wrong=wrong, refresh=True
                )
    except BaseException:
        pool.shutdown(cancel_futures=True, wait=False)
        for process in multiprocessing.active_children():
            process.terminate()
        raise
    pool.shutdown()


def repeat(console: Console, results: Sequence[Result]) -> bool:
    """Repeat the records on every runtime that can be had; return whether all gave the same."""
    lines = [line for result in results for line in result.records]
    if not lines:
        return True
    well = True
    with tempfile.TemporaryDirectory() as folder:
        for runtime in (*runtimes.RUNTIMES.values(), runtimes.CHIPS["cortex-m3"]):
            if runtime.reason:
                console.print(f"{runtime.name}: {runtime.reason}", markup=False)
                continue
            some = lines if runtime.name in runtimes.RUNTIMES else that_fit(lines)
            path = Path(folder) / f"{runtime.name}.jsonl"
            path.write_text("".join(line + "\n" for line in some))
            device = runtime.start(DEVICE, runtime.file(path))
            device.wait_exit(900)
            said = device.lines[-1] if device.lines else "nothing"
            same = said == f"same {len(some)}"
            well &= same
            console.print(
                f"{runtime.name}: {len(some)} ways, the same bytes" if same else said, markup=False
            )
    return well


def that_fit(lines: Sequence[str]) -> list[str]:
    """Return records from all over, as many as a chip's memory takes."""
    size = sum(map(len, lines))
    return [*lines[:: -(-size // ROM)]]


def bounds(results: Sequence[Result]) -> list[tuple[str, ...]]:
    """Return the rows of the table: explorations of one kind of session at one kind of broker."""
    groups: dict[str, list[Result]] = {}
    for result in sorted(results, key=lambda r: [*CASES].index(r.name)):
        head = "; ".join(result.name.split("; ")[:2])
        groups.setdefault(head if result.name not in QUICK else "those of make test", []).append(
            result
        )
    rows: list[tuple[str, ...]] = []
    for head, group in groups.items():
        whole = [r for r in group if r.whole]
        cut = [r.depth for r in group if not r.whole]
        rows.append(
            (
                head,
                str(len(group)),
                f"{sum(r.states for r in group):,}",
                str(max((r.depth for r in whole), default=0)),
                f"{len(cut)}, to {min(cut)} steps at least" if cut else "none",
                str(sum(len(r.wrong) for r in group) or "nothing"),
            )
        )
    return rows


def twins(console: Console, write_them: bool) -> int:
    """Explore the broken twins; return the exit status."""
    rows: list[str] = []
    for twin in TWINS:
        library = Library({twin.file: ((twin.old, twin.new),)})
        found = Search(twin.case, library, 30_000, first=True).run()
        rows.append(row(twin, found))
        console.print(rows[-1] if found.wrong else f"NOT FOUND: {twin.name}", markup=False)
        if found.wrong and not write_them:
            play = Play(twin.case, library)
            play.follow(found.wrong[0][1])
            console.print(play.text() + "\n", markup=False, highlight=False)
        library.close()
        if not found.wrong:
            return 1
    if write_them:
        heads = "| fault | in | found as | steps |\n|---|---|---|---|\n"
        put(TWINS_BEGIN, TWINS_END, heads + "".join(r + "\n" for r in rows))
    return 0


def put(begin: str, end: str, text: str) -> None:
    """Put text into docs/proof.md between two marks. Raises SystemExit if they are gone."""
    head, begun, rest = PAGE.read_text().partition(begin)
    _, ended, tail = rest.partition(end)
    if not begun or not ended:
        raise SystemExit(f"{PAGE}: the place of the table is gone")
    PAGE.write_text(head + begin + text + end + tail)


HEADS = ("", "explorations", "states", "longest way", "cut off", "wrong")


def write(results: Sequence[Result]) -> None:
    """Put the table of bounds into docs/proof.md."""
    rows = [HEADS, ("---",) * len(HEADS), *bounds(results)]
    total = f"{sum(r.states for r in results):,} states in {len(results)} explorations.\n\n"
    table = "".join("| " + " | ".join(row) + " |\n" for row in rows)
    put(BEGIN, END, total + table)


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Return the parsed command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "-k", metavar="REGEX", type=regex, default="", help="only cases whose name matches"
    )
    parser.add_argument("--list", action="store_true", help="print the names of the cases, and end")
    parser.add_argument(
        "--limit", type=at_least_one, default=100_000, help="states of one exploration: %(default)s"
    )
    parser.add_argument(
        "--records", type=int, default=4, help="ways of each to repeat elsewhere: %(default)s"
    )
    workers = os.cpu_count() or 1
    parser.add_argument(
        "--workers", type=at_least_one, default=workers, help="at once: %(default)s"
    )
    parser.add_argument("--twins", action="store_true", help="the broken twins, and how each shows")
    parser.add_argument(
        "--save", metavar="NAME", help="keep what is wrong in host_tests/model/found"
    )
    parser.add_argument("--write", action="store_true", help="put the table into docs/proof.md")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; return its exit status."""
    options = arguments(argv)
    console = Console()
    if options.twins:
        return twins(console, options.write)
    names = [name for name in CASES if options.k.search(name)]
    if options.list or not names:
        console.print("\n".join(names) or "no such case", highlight=False, markup=False)
        return 0 if names else 2
    began = time.monotonic()
    results: list[Result] = []
    same = interrupted = False
    workers = min(options.workers, len(names))
    try:
        explore_all(console, names, options.limit, options.records, workers, results)
        same = repeat(console, results)
    except KeyboardInterrupt:
        console.print("\ninterrupted; so far:")
        interrupted = True
    table = Table(*HEADS)
    for line in bounds(results):
        table.add_row(*line)
    console.print(table)
    states = sum(r.states for r in results)
    seconds = time.monotonic() - began
    console.print(f"{states:,} states in {len(results)} explorations, {seconds:.0f} s")
    seen: dict[str, int] = {}
    for result in results:
        for wrong, way, story in result.wrong:
            kind = re.sub(r"<?\d+>?", "N", wrong)
            seen[kind] = seen.get(kind, 0) + 1
            if seen[kind] == 1:
                console.print(f"\n[red]{result.name}[/red]", highlight=False)
                console.print(story, highlight=False, markup=False)
                if options.save:
                    name = f"{options.save}-{len(seen)}"
                    console.print(f"kept: {save(name, CASES[result.name], way, wrong)}")
    for kind, count in seen.items():
        console.print(f"{count} explorations: {kind}", highlight=False, markup=False)
    if options.write:
        write(results)
    return INTERRUPTED if interrupted else int(bool(seen) or not same)


if __name__ == "__main__":
    # Also when it was started behind an "&", which a shell lets ignore it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(main())

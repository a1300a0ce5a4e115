"""Proves that a sleeping node loses and doubles nothing, whatever fails at whatever byte.

A reference life: three wakes that publish at QoS 0, 1 and 2, with commands at QoS 1 and 2 queued
at the broker between them, then calm wakes until nothing is left. It is lived once for every point
at which it can be disturbed:

    flash:BOOT:BYTE         the power is cut before that byte is programmed to the flash
    up:BOOT:BYTE:HOW        the connection ends after so many bytes to the broker (down: from it);
                            HOW: close, reset, stall (silence for ever), power (the node's is cut)

Each life is on the simulated board, the firmware's own code, compiled, on MicroPython's unix port.
Counted at its end: what an observer at the broker received and what the application processed:
QoS 2 exactly once both ways, QoS 1 at least once, order kept, nothing left in the store. With the
model broker each packet of the node is looked at too.
"""

from __future__ import annotations

import signal
import sys

if __name__ == "__main__":
    # The imports below take half a second; Ctrl-C meanwhile is clean, too.
    signal.signal(signal.SIGINT, lambda *_: sys.exit(130))

import argparse
import os
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ..amounts import at_least_one, whole
from ..paths import ROOT
from ..testing import runtimes
from ..testing.brokers import BrokerFailure

sys.path.insert(0, str(ROOT / "host_tests"))  # a program for a checkout

from harness import life
from harness.life import Fault, Lives, ModelSide, MosquittoSide, Side
from harness.update_life import Updates, UpdateSide
from interop import others

CALM = 8  # lives that are measured
SHOWN = 20  # failing points with their reasons
TELL = 60  # s between two lines of a log
INTERRUPTED = 130  # exit status: 128 + SIGINT
# It repeats without DUP, and out of order, at times at each connection (docs/brokers.md).
AEDES = (
    *(f"commands at QoS {what}" for what in ("1: out of", "2: out of", "2: doubled")),
    "commands come again",
)
BROKERS: dict[str, Callable[[], Side]] = {
    "mosquitto": lambda: MosquittoSide(runtimes.get.mosquitto()),
    "mosquitto5": lambda: MosquittoSide(runtimes.get.mosquitto(), version=5),
    "newer": lambda: MosquittoSide(runtimes.get.newer_mosquitto()),
    "newer5": lambda: MosquittoSide(runtimes.get.newer_mosquitto(), version=5),
    "changing": lambda: MosquittoSide(runtimes.get.mosquitto(), changing=True),
    "changing5": lambda: MosquittoSide(runtimes.get.mosquitto(), version=5, changing=True),
    "large": lambda: MosquittoSide(runtimes.get.mosquitto(), large=True),
    "large5": lambda: MosquittoSide(runtimes.get.mosquitto(), version=5, large=True),
    "update": lambda: UpdateSide(runtimes.get.mosquitto()),
    "websocket": lambda: MosquittoSide(runtimes.get.mosquitto(), over="ws"),
    "tls": lambda: MosquittoSide(runtimes.get.mosquitto(), version=5, over="tls"),
    "aedes": lambda: MosquittoSide([], broker=others.make("aedes 1"), known=AEDES),
    "ejabberd": lambda: MosquittoSide([], broker=others.make("ejabberd")),
    "ejabberd5": lambda: MosquittoSide([], version=5, broker=others.make("ejabberd")),
    "model": ModelSide,
}
# Of what takes long and is much the same: bytes of certificates, of headers, of payloads.
STRIDES = {"tls": 16, "websocket": 4, "large": 16, "large5": 16, "update": 16}


@dataclass
class Proof:
    """What came out of many lives. Keys: flash, up close, ..., or pair."""

    tried: Counter[str] = field(default_factory=Counter)
    reached: Counter[str] = field(default_factory=Counter)
    boots: int = 0
    known: int = 0  # lives with what is the broker's
    failed: list[life.Life] = field(default_factory=list)

    def add(self, one: life.Life) -> None:
        """Take in a life that was lived."""
        kind = kind_of(one.faults)
        self.tried[kind] += 1
        self.reached[kind] += one.reached
        self.boots += len(one.boots)
        self.known += bool(one.known)
        if one.problems:
            self.failed.append(one)

    def lines(self) -> list[str]:
        """Return how many points were tried, by kind."""
        out = []
        for kind, n in sorted(self.tried.items()):
            # No two lives are the same to the byte: some were over before theirs.
            beyond = n - self.reached[kind]
            rest = f", {beyond} of them behind the end of their life" if beyond else ""
            out.append(f"{NAMES.get(kind, kind)}: {n} points{rest}")
        if self.known:
            out.append(f"{self.known} lives with repeats that are the broker's (docs/brokers.md)")
        return out


NAMES = {
    "flash": "power cut at a byte written to flash",
    "pair": "two faults in one life",
    **{f"{way} {how}": f"network cut, {way}, {how}" for way in life.WAYS for how in life.HOWS},
    **{f"{way} power": f"power cut at a byte on the wire, {way}" for way in life.WAYS},
}


def kind_of(faults: Sequence[Fault]) -> str:
    """Return under which key a life is counted."""
    if len(faults) != 1:
        return "pair"
    return f"{faults[0].kind} {faults[0].how}".strip()


def plan(points: Sequence[Fault], seed: int, stride: int, pairs: int) -> list[tuple[Fault, ...]]:
    """Return the lives to live: every ``stride``-th point, in an order by chance so that an early
    end has seen something of all; and ``pairs`` of any two points in different boots."""
    chance = random.Random(seed)
    shuffled = [*points]
    chance.shuffle(shuffled)
    out: list[tuple[Fault, ...]] = [(fault,) for fault in shuffled[::stride]]
    while pairs:
        one, other = chance.sample(points, 2)
        if one.boot != other.boot:
            out.append((one, other))
            pairs -= 1
    return out


def lives_at(runtime: runtimes.Runtime, side: Side) -> Lives:
    """Return the lives that are lived at one broker."""
    return Updates(runtime, side) if isinstance(side, UpdateSide) else Lives(runtime, side)


@contextmanager
def ready(runtime: str, broker: str) -> Iterator[Lives]:
    """Give what lives need: the library, compiled, and a broker. Raises runtimes.NotAvailable."""
    with ExitStack() as stack:
        folder = stack.enter_context(life.library())
        chosen = life.runtime(runtime, folder)
        if chosen.reason:
            raise runtimes.NotAvailable(chosen.reason)
        yield lives_at(chosen, stack.enter_context(BROKERS[broker]()))


def prove(
    console: Console, runtime: str, broker: str, seed: int, stride: int, pairs: int, workers: int
) -> Proof:
    """Live every life on one broker, and show how far it is. AssertionError if a calm one fails."""
    proof = Proof()
    columns = (
        TextColumn(f"{broker:<10}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[failed]} failed"),
        TimeRemainingColumn(),
    )
    with ready(runtime, broker) as lives:
        sizes = life.extent(lives, CALM)
        points = list(life.every_fault(sizes))
        todo = plan(points, seed, stride * STRIDES.get(broker, 1), pairs)
        console.print(f"\n[bold]{broker}[/bold]: {len(points)} points. A calm life, by boot:")
        console.print(f"  {show(sizes)}", highlight=False, soft_wrap=True)
        began = told = time.monotonic()
        with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
            task = progress.add_task("", total=len(todo), failed=0)
            try:
                for one in life.live_all(lives, todo, workers):
                    proof.add(one)
                    progress.update(task, advance=1, failed=len(proof.failed))
                    if not console.is_terminal and time.monotonic() - told > TELL:
                        told = time.monotonic()
                        done = f"{sum(proof.tried.values())} of {len(todo)} lives"
                        console.print(f"  {done}, {len(proof.failed)} failed", highlight=False)
            finally:  # what an interrupted run has seen is told too
                seconds = time.monotonic() - began
                for line in proof.lines():
                    console.print("  " + line, highlight=False, soft_wrap=True)
                lived = f"{sum(proof.tried.values())} lives, {proof.boots} boots"
                console.print(f"  {lived}, {seconds:.0f} s", highlight=False)
                report(console, broker, proof, runtime)
    return proof


def show(sizes: Sequence[dict[life.Kind, int]]) -> str:
    """Return a line on how long the parts of a calm life are."""
    return ", ".join(f"{s['flash']} B flash {s['up']} up {s['down']} down" for s in sizes)


def report(console: Console, broker: str, proof: Proof, runtime: str) -> None:
    """Tell which points failed, why, and how to see one again."""
    if proof.tried and not proof.failed:
        console.print("  QoS 2 exactly once both ways, QoS 1 at least once, in order, nothing left")
    for one in proof.failed[:SHOWN]:
        points = " ".join(f"--point {fault}" for fault in one.faults)
        console.print(f"  [red]failed[/red]: {'; '.join(one.problems)}", soft_wrap=True)
        command = f"-m tools.desk.prove --runtime {runtime} --broker {broker} {points}"
        console.print(f"    again: .venv/bin/python {command}", soft_wrap=True, highlight=False)
    if len(proof.failed) > SHOWN:
        console.print(f"  and {len(proof.failed) - SHOWN} more")


def point(text: str) -> Fault:
    """Return what --point names."""
    try:
        return Fault.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Return the parsed command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="mosquitto5, ejabberd5: the node speaks MQTT 5. newer: mosquitto 2.1. changing: it "
        "subscribes, gets what is retained, unsubscribes, and what it publishes would expire. "
        "large: its messages are longer than its RAM holds. update: it takes another version of "
        "its application. websocket, tls: over these. Of websocket it is every 4th byte, of tls, "
        "large and update every 16th. On two cores a full run takes some hours; --stride 20 some "
        "minutes.",
    )
    parser.add_argument("--broker", choices=BROKERS, help="only this one (default: each in turn)")
    names = [*runtimes.RUNTIMES]
    parser.add_argument("--runtime", choices=names, default="micropython64", help="%(default)s")
    parser.add_argument("--stride", type=at_least_one, default=1, help="only every N-th point")
    parser.add_argument(
        "--pairs", type=whole(), default=0, help="so many lives with two faults more"
    )
    parser.add_argument("--seed", type=int, default=1, help="for the order, --stride and --pairs")
    workers = 2 * (os.cpu_count() or 1)
    parser.add_argument(
        "--workers", type=at_least_one, default=workers, help="lives at once: %(default)s"
    )
    parser.add_argument(
        "--point",
        type=point,
        action="append",
        help="only this point (twice: both in one life), with all that happens; as flash:2:417",
    )
    parser.add_argument("--times", type=at_least_one, default=1, help="live that --point so often")
    return parser.parse_args(argv)


def one_point(console: Console, options: argparse.Namespace, broker: str) -> int:
    """Live one life, several times if asked for, and print all that happened. Return 1 if it
    failed, 2 if nothing happened at that point: then nothing is shown."""
    reached = False
    with ready(options.runtime, broker) as lives:
        for _ in range(options.times):
            one = lives.run(*options.point)
            reached |= one.reached
            if one.problems:
                break
    console.print(f"{broker}\n{one.describe()}", markup=False, highlight=False, soft_wrap=True)
    if not one.reached:
        console.print("(this run was over before that byte)")
    return 1 if one.problems else 0 if reached else 2


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; return its exit status: 1 if anything failed, 2 if it cannot be done."""
    options = arguments(argv)
    console = Console()
    failed = missed = False
    try:
        for broker in [options.broker] if options.broker else BROKERS:
            if options.point:
                status = one_point(console, options, broker)
                failed |= status == 1
                missed |= status == 2
                continue
            how = (options.seed, options.stride, options.pairs, options.workers)
            failed |= bool(prove(console, options.runtime, broker, *how).failed)
    except AssertionError as error:
        console.print(f"a life without a fault failed:\n{error}", markup=False, highlight=False)
        return 1
    except (runtimes.NotAvailable, BrokerFailure) as error:
        console.print(str(error), markup=False)
        return 2
    except KeyboardInterrupt:
        console.print("\ninterrupted")
        return INTERRUPTED
    return 1 if failed else 2 if missed else 0


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.exit(main())

"""Attacks a node that is updated again and again: forged, replayed, changed, retained, always.

    make attack                         # 500 rounds
    make attack ARGS="--rounds 50 --seed 7"

A round is one honest update of firmware/main.py on the simulated board, at a real broker, with
power cuts at random, while another client, without the key, reads all and publishes all (see
host_tests/harness/attack.py). The node must only ever run versions that its owner signed, none
older than one that ran or was taken back, end with the honest one, and lose no reading.

Exit status: 0 all held; 1 something did not, with the seed that shows it again; 2 it cannot be
done; 130 interrupted.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ..amounts import at_least_one
from ..paths import ROOT
from ..testing import runtimes
from ..testing.brokers import MosquittoBroker

sys.path.insert(0, str(ROOT / "host_tests"))  # a program for a checkout

from harness.attack import Siege

INTERRUPTED = 130  # exit status: 128 + SIGINT
ROUNDS = 25  # with one node, before the next begins anew


def siege(runtime: str, seed: int, rounds: int) -> tuple[Counter[str], str]:
    """Attack a node of its own; return what was done, and what went wrong."""
    done: Counter[str] = Counter()
    wrong = ""
    config = "max_queued_messages 100000\nset_tcp_nodelay true\n"
    with (
        tempfile.TemporaryDirectory(prefix="dormouse-attack-") as folder,
        MosquittoBroker(runtimes.get.mosquitto(), persistence=False, extra_config=config) as broker,
        Siege(broker, runtimes.RUNTIMES[runtime], Path(folder), random.Random(seed)) as one,
    ):
        try:
            for _ in range(rounds):
                one.round()
            one.check_readings()
        except AssertionError as error:
            wrong = f"seed {seed}, round {one.rounds}, boot {one.boots}: {error}"
        done.update(one.attacker.done)
        done["boots"] += one.boots
        done["power cuts"] += one.cuts
        done["rounds"] += one.rounds
        done["taken back"] += len(one.gone)
    return done, wrong


def main(argv: list[str] | None = None) -> int:
    """Run the program; return its exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=at_least_one, default=500, help="%(default)s")
    parser.add_argument("--seed", type=int, default=1, help="the first one (%(default)s)")
    parser.add_argument(
        "--workers", type=at_least_one, default=4, help="nodes at once (%(default)s)"
    )
    names = [*runtimes.RUNTIMES]
    parser.add_argument("--runtime", choices=names, default="micropython64", help="%(default)s")
    options = parser.parse_args(argv)
    console = Console()
    why = runtimes.RUNTIMES[options.runtime].reason or ""
    if why:
        console.print(why, markup=False)
        return 2
    total: Counter[str] = Counter()
    failed = []
    began = time.monotonic()
    columns = TextColumn("attack"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with (
        Progress(*columns, console=console) as progress,
        ThreadPoolExecutor(options.workers) as pool,
    ):
        task = progress.add_task("", total=options.rounds)
        jobs = []
        for n, at in enumerate(range(0, options.rounds, ROUNDS)):
            rounds = min(ROUNDS, options.rounds - at)
            jobs.append(pool.submit(siege, options.runtime, options.seed + n, rounds))
        try:
            for job in as_completed(jobs):
                done, wrong = job.result()
                total += done
                if wrong:
                    failed.append(wrong)
                    console.print(wrong, markup=False, soft_wrap=True)
                progress.update(task, completed=total["rounds"])
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            console.print("interrupted")
            return INTERRUPTED
    seconds = time.monotonic() - began
    console.print(", ".join(f"{count} {name}" for name, count in total.most_common()), markup=False)
    held = "all held" if not failed else f"{len(failed)} did not hold"
    console.print(f"{held}, in {seconds:.0f} s")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

"""What dormouse takes of a chip: instructions, bytes allocated and bytes held for each operation.

Counted by real MicroPython on emulated chips, without noise: the same figures on every machine.

    make chip                    both chips, MQTT 3.1.1 and 5
    make chip ARGS=rv32          one chip
    make chip ARGS=--write       set the budget, which `make test` checks to the instruction
    make chip ARGS=--growth      what grows with what waits: a table, and plots in build/chip/
    make chip ARGS=--heap        the heap of a client and of a node, frozen and as .mpy in flash
    make chip ARGS=--umqtt=PATH  beside umqtt.simple: its simple.py, where mip cannot get it
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from ..paths import BUILD, ROOT
from ..setup import emulated, get

PROGRAMS = ROOT / "host_tests" / "bench"
BUDGET = PROGRAMS / "budget.json"
FIVE = "MQTT 5: "
CLOCKS = (125, 160, 240)  # MHz: RP2040; ESP32-C3, ESP32-C6; ESP32, ESP32-S3
WIDTH = 130  # columns, of a file
MIP_TIMEOUT = 30  # seconds

OUT = BUILD / "chip"

Counts = dict[str, list[int]]


def parsed(output: str) -> Counts:
    """Return the lines of a program: name -> instructions, bytes allocated, bytes held."""
    rows = [line.split("|") for line in output.splitlines()]
    found = {name: [int(count) for count in counts] for name, *counts in rows}
    return {name: counts for name, counts in found.items() if name != "(nothing)"}


def measure(chip: str) -> Counts:
    """Return what the library's operations take on a chip. Raises NotAvailable, RuntimeError."""
    found: Counts = {}
    for program in ("chip_update.py", "chip_program.py"):
        found |= parsed(emulated.counted(chip, PROGRAMS / program))
    return found


def umqtt(folder: Path, given: str | None) -> Path:
    """Return umqtt.simple's simple.py: the one that is given, or by mip. Raises NotAvailable."""
    if given:
        path = Path(given)
        if path.name != "simple.py" or not path.is_file():
            raise get.NotAvailable(f"{given} is no simple.py")
        return path
    code = f"import mip; mip.install('umqtt.simple', target={str(folder)!r}, mpy=False)"
    try:
        done = subprocess.run(
            [*get.micropython(64), "-c", code],
            capture_output=True,
            text=True,
            timeout=MIP_TIMEOUT,
        )
    except subprocess.TimeoutExpired:
        raise get.NotAvailable("MicroPython's packages cannot be reached") from None
    path = folder / "umqtt" / "simple.py"
    if not path.exists():
        words = (done.stdout + done.stderr).strip().splitlines()[-1:]
        why = " ".join(words).rstrip(": ")
        raise get.NotAvailable(
            f"mip cannot get umqtt.simple ({why}): let $UMQTT_SIMPLE name its simple.py"
        )
    return path


def measure_umqtt(chip: str, given: str | None) -> Counts:
    """Return what umqtt.simple takes. Raises NotAvailable, RuntimeError."""
    with tempfile.TemporaryDirectory() as folder:
        source = umqtt(Path(folder), given)
        return parsed(emulated.counted(chip, PROGRAMS / "chip_umqtt.py", beside=[source]))


def differences(chip: str, found: Counts) -> list[str]:
    """Return in which lines a chip's counts are not those of the budget."""
    budget = json.loads(BUDGET.read_text())[chip]
    return [
        f"{chip}: {name}: {found.get(name)} instead of {budget.get(name)}"
        for name in {**budget, **found}
        if found.get(name) != budget.get(name)
    ]


def text(budget: dict[str, Counts]) -> str:
    """Return the budget as it is kept: a line for each operation, for people who compare."""
    chips = []
    for chip, counts in budget.items():
        rows = [f"  {json.dumps(name)}: {counts[name]}" for name in counts]
        chips.append(f" {json.dumps(chip)}: {{\n" + ",\n".join(rows) + "\n }")
    return "{\n" + ",\n".join(chips) + "\n}\n"


def table(chip: str, found: Counts, other: Counts) -> Table:
    """Return what to show for a chip."""
    made = Table(title=f"dormouse on an emulated {emulated.CHIPS[chip].title}")
    made.add_column("operation", no_wrap=True)
    clocks = [f"ms, {clock} MHz" for clock in CLOCKS]
    for column in ("instructions", "allocated", "held", "umqtt.simple", *clocks):
        made.add_column(column, justify="right", no_wrap=True)
    five = False
    for name, (count, allocated, held) in found.items():
        if name.startswith(FIVE) != five:
            made.add_section()
            five = not five
        times = [f"{count / clock / 1000:.2f}" for clock in CLOCKS]
        beside = f"{other[name][0]:,}" if name in other else ""
        made.add_row(name, f"{count:,}", f"{allocated:,}", f"{held:,}", beside, *times)
    made.caption = (
        "Bytes of heap; 30 bytes of payload, a topic of 20. The times are estimates, for an "
        "instruction a cycle: a chip that waits for its flash takes longer."
    )
    return made


def growth(chip: str) -> dict[str, list[tuple[int, int]]]:
    """Return for each way to grow: how much of it, and the instructions of a message beside that.

    Raises NotAvailable, RuntimeError.
    """
    found: dict[str, list[tuple[int, int]]] = {}
    for line in emulated.counted(chip, PROGRAMS / "chip_growth.py").splitlines():
        name, n, count = line.split("|")
        found.setdefault(name, []).append((int(n), int(count)))
    return found


def plot_growth(chip: str, found: dict[str, list[tuple[int, int]]]) -> list[Path]:
    """Write a picture of what grows, as PNG and SVG; return the files."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    for name, points in found.items():
        axes.plot([n for n, _ in points], [count for _, count in points], "o-", label=name)
    axes.set(xscale="log", xlabel="n", ylabel="instructions")
    axes.set_ylim(bottom=0)
    axes.set_title(f"A message beside n others, {emulated.CHIPS[chip].title}")
    axes.legend(fontsize=8)
    OUT.mkdir(parents=True, exist_ok=True)
    files = [OUT / f"growth-{chip}.{kind}" for kind in ("png", "svg")]
    for path in files:
        figure.savefig(path)
    return files


def show_growth(chip: str, console: Console) -> None:
    """Measure, print and plot what grows on a chip."""
    found = growth(chip)
    made = Table(title=f"instructions of a message beside n others, {emulated.CHIPS[chip].title}")
    for column in ("what", "n: instructions"):
        made.add_column(column)
    for name, points in found.items():
        made.add_row(name, ", ".join(f"{n}: {count:,}" for n, count in points))
    console.print(made)
    console.print("plots:", *plot_growth(chip, found), highlight=False)


CASES = {"client": "a 3.1.1 client", "client5": "an MQTT 5 client", "node": "a node that sleeps"}


def heap(chip: str) -> dict[str, list[int]]:
    """Return bytes of heap of a client and of a node: with the library frozen into the firmware,
    and as .mpy files in a ROM file system. Raises NotAvailable, RuntimeError."""
    found: dict[str, list[int]] = {}
    for frozen in (True, False):
        for case, title in CASES.items():
            output = emulated.counted(chip, PROGRAMS / "chip_heap.py", case, frozen=frozen)
            for line in output.splitlines():
                what, n = line.split("|")
                found.setdefault(f"{title}, {what}", []).append(int(n))
    return found


def show_heap(chip: str, console: Console) -> None:
    """Measure and print the heap on a chip."""
    made = Table(title=f"bytes of heap, {emulated.CHIPS[chip].title}")
    made.add_column("what")
    for column in ("frozen", ".mpy in flash"):
        made.add_column(column, justify="right")
    for name, counts in heap(chip).items():
        made.add_row(name, *(f"{n:,}" for n in counts))
    console.print(made)


def main() -> None:
    parser = argparse.ArgumentParser(prog="make chip", description=__doc__.split("\n\n")[0])
    parser.add_argument("chips", nargs="*", metavar="CHIP", help=", ".join(emulated.CHIPS))
    parser.add_argument("--write", action="store_true", help="set the budget to what is counted")
    parser.add_argument("--growth", action="store_true", help="what grows with what waits")
    parser.add_argument("--heap", action="store_true", help="what a client and a node hold")
    parser.add_argument(
        "--umqtt",
        metavar="PATH",
        default=os.environ.get("UMQTT_SIMPLE"),
        help="umqtt's simple.py, where mip cannot get it; else $UMQTT_SIMPLE",
    )
    args = parser.parse_args()
    if unknown := set(args.chips) - set(emulated.CHIPS):
        parser.error(f"no such chip: {', '.join(sorted(unknown))}")
    console = Console()
    if not console.is_terminal:
        console.width = WIDTH
    if args.growth or args.heap:
        try:
            for chip in args.chips or emulated.CHIPS:
                (show_growth if args.growth else show_heap)(chip, console)
        except get.NotAvailable as error:
            raise SystemExit(f"cannot be measured here: {error}") from None
        return
    budget = json.loads(BUDGET.read_text()) if BUDGET.exists() else {}
    why = ""
    for chip in args.chips or emulated.CHIPS:
        try:
            budget[chip] = found = measure(chip)
        except get.NotAvailable as error:
            raise SystemExit(f"cannot be measured here: {error}") from None
        other: Counts = {}
        try:
            other = measure_umqtt(chip, args.umqtt)
        except get.NotAvailable as error:
            why = f"without umqtt.simple: {error}"
        console.print(table(chip, found, other))
        if BUDGET.exists() and not args.write:
            for line in differences(chip, found):
                console.print(f"not as in the budget: {line}", highlight=False)
    if why:
        console.print(why, highlight=False)
    if args.write:
        BUDGET.write_text(text(budget))
        print("wrote", BUDGET.relative_to(ROOT))


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)

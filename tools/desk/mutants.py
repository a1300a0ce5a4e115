"""How much the tests see: small faults in a device module, one at a time, and who notices.

    make mutants MODULE=sleep/node N=40
    make mutants MODULE=store/journal ARGS="--seed 7 --tests unit"
    make mutants MODULE=sleep/node ARGS="--list"        only show them

The faults are those of cosmic-ray (a well-known tool for Python): another operator, another
comparison, another number, a condition turned round, a break for a continue, another exception.
Places are drawn at random, one fault at each. Each mutant lives in a copy of this repository, so
that nothing here is touched; the tests that concern the module (TESTS below) run until one fails.
What no test notices is printed as a diff: a hole in the tests, or a fault that nobody would feel.
docs/proof.md has what was found, and each survivor judged.

Exit status: 0, however many survive; 1 if the module, its tests or cosmic-ray are not there, or the
tests fail without any fault; 130 interrupted.
"""

from __future__ import annotations

import argparse
import ast
import difflib
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..amounts import at_least_one
from ..paths import LIBRARY as DEVICE
from ..paths import ROOT
from ..setup.bootstrap import requirements

# The tests of a module: those that are over soonest first. Folders are host_tests/'s.
CORE = ("unit/test_core.py", "unit/test_properties.py", "model/test_model.py")
NODE = ("unit/test_node_plan.py", "scenarios/test_sleep.py")
TESTS: dict[str, tuple[str, ...]] = {
    "packet": CORE,
    "session": (*CORE, "model/test_durable.py", "scenarios/test_handshakes.py"),
    "resume": (*CORE, "model/test_durable.py", "scenarios/test_handshakes.py"),
    "trouble": (*CORE, "field/test_networks.py"),
    "expiry": ("unit/test_core.py", "model/test_durable.py"),
    "client": ("unit/test_reconnect.py", "scenarios/test_client.py", "scenarios/test_closing.py"),
    "router": ("unit/test_core.py", "scenarios/test_client.py"),
    "stream": ("scenarios/test_ports.py", "scenarios/test_client.py", "scenarios/test_tls.py"),
    "mqtt5/packet": ("unit/test_packet5.py", "scenarios/test_v5.py"),
    "mqtt5/server": ("unit/test_core.py", "scenarios/test_v5.py"),
    "mqtt5/session": ("unit/test_core.py", "model/test_model5.py", "scenarios/test_v5.py"),
    "store/__init__": ("unit/test_store.py", "model/test_durable.py"),
    "store/journal": ("unit/test_store.py", "scenarios/test_power.py"),
    "store/room": ("unit/test_core.py", "model/test_durable.py"),
    "store/durable": ("unit/test_core.py", "model/test_durable.py", "scenarios/test_power.py"),
    "store/layered": ("unit/test_store.py",),
    "store/rtc": ("unit/test_store.py", "scenarios/test_power.py"),
    "store/nvs": ("unit/test_store.py", "scenarios/test_power.py"),
    "large/sending": ("unit/test_core.py", "scenarios/test_large.py"),
    "large/taking": ("unit/test_core.py", "scenarios/test_large.py"),
    "sleep/node": (*NODE, "scenarios/test_wake.py"),
    "sleep/chip": ("unit/test_chip.py", "unit/test_board.py", "scenarios/test_guard.py"),
    "net/wifi": ("unit/test_wifi.py", "scenarios/test_soft_reset.py"),
    "net/clock": ("scenarios/test_clock.py",),
    "net/tls": ("scenarios/test_tls.py",),
    "field/guard": ("scenarios/test_guard.py", "scenarios/test_node.py"),
    "field/log": ("unit/test_log.py", "scenarios/test_guard.py"),
    "field/config": ("unit/test_config.py", "scenarios/test_node.py"),
    "field/ota": ("unit/test_ota.py", "scenarios/test_update.py"),
    "field/large_ota": ("unit/test_ota.py", "scenarios/test_large_update.py"),
}

# Faults that say nothing: `is` for `==` on small numbers and names, a power or a shift in the place
# of a sum; and those that need to be told names.
DULL = ("_Is", "_IsNot", "_Pow", "_LShift", "_RShift", "_Div", "Variable", "Decorator")


class NoMutants(Exception):
    """It cannot be done. The text says why, and what to do."""


@dataclass(frozen=True)
class Mutant:
    """A fault: in which line, by which of cosmic-ray's operators, and the module with it."""

    line: int
    operator: str
    source: str


def faults(source: str) -> dict[tuple[int, int], list[tuple[str, int]]]:
    """Return all faults that can be made: the place (line, column), and operators there, each with
    its number among those of its kind. Raises NoMutants without cosmic-ray."""
    try:
        from cosmic_ray import plugins
        from cosmic_ray.ast import Visitor, get_ast
    except ImportError as error:
        needed = " ".join(f"'{line}'" for line in requirements("mutants"))
        raise NoMutants(
            f"no cosmic-ray\nWhat to do: {sys.executable} -m pip install {needed}"
        ) from (error)
    tree = get_ast(source)
    found: dict[tuple[int, int], list[tuple[str, int]]] = {}
    for name in sorted(plugins.operator_names()):
        if any(name.endswith(dull) or (dull in name and dull[0] != "_") for dull in DULL):
            continue
        operator = plugins.get_operator(name)()
        starts: list[tuple[int, int]] = []

        class Look(Visitor):
            def visit(self, node, operator=operator, starts=starts):
                starts += [start for start, _ in operator.mutation_positions(node)]
                return node

        Look().walk(tree)
        for count, start in enumerate(starts):
            found.setdefault(start, []).append((name, count))
    return found


def told(source: str) -> set[int]:
    """Return the lines in which no test can see a fault: docstrings, what is CPython's only."""
    lines: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            lines.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
        if isinstance(node, ast.If) and "implementation" in ast.unparse(node.test):
            lines.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return lines


def mutants(source: str, count: int, seed: int) -> Iterator[Mutant]:
    """Yield so many faults, at places drawn at random; the same ones for the same seed."""
    places = faults(source)  # which knows whether cosmic-ray is there
    from cosmic_ray import plugins
    from cosmic_ray.mutating import (
        mutate_code,
    )

    draw = random.Random(seed)
    skipped = told(source)
    order = [place for place in sorted(places) if place[0] not in skipped]
    draw.shuffle(order)
    made = 0
    for place in order:
        if made == count:
            return
        name, number = draw.choice(places[place])
        try:
            mutated = mutate_code(source, plugins.get_operator(name)(), number)
        except AttributeError:  # cosmic-ray 8 does not know an exception that is a.b
            continue
        if mutated is None or mutated == source:
            continue
        try:
            ast.parse(mutated)
        except SyntaxError:
            continue
        made += 1
        yield Mutant(place[0], name.partition("/")[2], mutated)


def diff(old: str, new: str, name: str) -> str:
    """Return what a fault changed, two lines of context."""
    lines = difflib.unified_diff(old.splitlines(), new.splitlines(), name, name, "", "", 1, "")
    return "\n".join(list(lines)[2:])


class Copy:
    """A copy of this repository, whose tests run on its own device code."""

    def __init__(self, folder: Path, module: str, tests: list[str]) -> None:
        self.folder = folder
        self.file = folder / "firmware" / "dormouse" / f"{module}.py"
        self.tests = [f"host_tests/{name}" for name in tests]
        out = ("build", ".git", ".venv", ".cache", "*_cache", "__pycache__", ".hypothesis")
        shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(*out), dirs_exist_ok=True)
        for name in (".venv", ".cache"):  # what is fetched is fetched once
            if (ROOT / name).exists():
                (folder / name).symlink_to((ROOT / name).resolve())

    def run(self, timeout: float) -> str | None:
        """Run the tests until one fails; return its name, or None. Over time counts as failed."""
        command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider"]
        command += ["--no-header", "-n", "2", "--timeout", "60", *self.tests]
        environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
        try:
            done = subprocess.run(
                command,
                cwd=self.folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=timeout,
            )
        except subprocess.TimeoutExpired:
            return "time"
        if done.returncode == 0:
            return None
        for line in done.stdout.splitlines():
            if line.startswith(("FAILED ", "ERROR ")):
                return line.split(" ")[1]
        return "the tests did not start" if done.returncode > 1 else "a test"


def named(text: str) -> str:
    """Return the module that is meant: "sleep/node", or a word of it, "node" or "sleep": the first
    one of these that has tests."""
    text = text.removesuffix(".py")
    if (DEVICE / f"{text}.py").exists():
        return text
    return next((module for module in TESTS if text in module.split("/")), text)


def choose(module: str, folders: list[str]) -> list[str]:
    """Return the tests of a module. Raises NoMutants if there are none."""
    if not (DEVICE / f"{module}.py").exists():
        raise NoMutants(f"no module {module}\nWhat to do: one of {', '.join(TESTS)}")
    tests = [
        name
        for name in TESTS.get(module, ())
        if (not folders or name.partition("/")[0] in folders)
        and (ROOT / "host_tests" / name).exists()
    ]
    if not tests:
        raise NoMutants(f"no tests of {module} are known\nWhat to do: name them in {__file__}")
    return tests


def hunt(module: str, tests: list[str], count: int, seed: int) -> tuple[int, list[str]]:
    """Try each mutant; return how many were noticed, and the diffs of the others. NoMutants."""
    source = (DEVICE / f"{module}.py").read_text()
    survived: list[str] = []
    killed = 0
    with tempfile.TemporaryDirectory(prefix="dormouse-mutants-") as folder:
        copy = Copy(Path(folder), module, tests)
        began = time.monotonic()
        if failed := copy.run(900):
            raise NoMutants(f"without any fault {failed} fails\nWhat to do: make test")
        limit = 3 * (time.monotonic() - began) + 30
        took = time.monotonic() - began
        print(f"{module}: {len(tests)} files of tests, {took:.0f} s without a fault", flush=True)
        for number, mutant in enumerate(mutants(source, count, seed), 1):
            copy.file.write_text(mutant.source)
            by = copy.run(limit)
            where = f"{number:3}/{count} line {mutant.line} {mutant.operator}"
            if by:
                killed += 1
                print(f"{where}: {by}", flush=True)
            else:
                survived.append(f"line {mutant.line} {mutant.operator}\n")
                survived[-1] += diff(source, mutant.source, f"{module}.py")
                print(f"{where}: SURVIVED\n{survived[-1].partition(chr(10))[2]}", flush=True)
        copy.file.write_text(source)
    return killed, survived


def main(argv: list[str] | None = None) -> int:
    """Parse the command line, hunt, and return the exit status."""
    parser = argparse.ArgumentParser(
        description="Small faults in a device module, and which tests notice.",
        epilog="make mutants MODULE=sleep/node N=40 says the same.",
    )
    parser.add_argument(
        "module",
        nargs="?",
        default="sleep/node",
        help=f"of firmware/dormouse, or a word of its name: {', '.join(TESTS)}",
    )
    parser.add_argument("-n", "--n", type=at_least_one, default=40, help="how many faults (40)")
    parser.add_argument(
        "--seed", type=int, default=1, help="which (1): the same seed, the same ones"
    )
    parser.add_argument(
        "--tests", nargs="*", default=[], help="only of these folders: unit model ..."
    )
    parser.add_argument("--list", action="store_true", help="only show the faults")
    options = parser.parse_args(argv)
    module = named(options.module)
    try:
        tests = choose(module, options.tests)
        source = (DEVICE / f"{module}.py").read_text()
        if options.list:
            for mutant in mutants(source, options.n, options.seed):
                print(f"line {mutant.line} {mutant.operator}")
                print(diff(source, mutant.source, f"{module}.py"))
            return 0
        killed, survived = hunt(module, tests, options.n, options.seed)
    except NoMutants as error:
        print(f"mutants: {error}", file=sys.stderr)
        return 1
    print(f"\n{module}: {killed} of {killed + len(survived)} faults noticed, seed {options.seed}")
    for text in survived:
        print(f"\n{text}")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)

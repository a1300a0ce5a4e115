"""Where the bytes of the library go: each function taken out in turn, and what is saved by it.

    make size ARGS=--why                    of a 3.1.1 client
    make size ARGS="--why store/durable"    of these modules

A function is taken out by compiling its module with nothing in the function's place. Flash is what
the .mpy file loses, RAM what the heap of MicroPython's 32-bit runtime loses after the import.
"""

import ast
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.progress import track
from rich.table import Table

from .. import parts
from ..paths import ROOT
from ..testing import runtimes

CLIENT = ("client", "session", "packet", "stream")

# How a program on the device measures.
HEAP = (ROOT / "host_tests" / "bench" / "heap.py").read_text()

# Runs on the device, and loads modules.
PROGRAM = f"""
import gc, sys, asyncio
asyncio.Event, asyncio.wait_for
{HEAP}
start = heap()
for name in sys.argv[1:]:
    __import__(name)
print(heap() - start)
"""


def functions(tree: ast.Module) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """Yield the functions of a module and of its classes, with their names."""

    def walk(node: ast.AST, path: str) -> Iterator:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.ClassDef):
                yield from walk(child, f"{path}{child.name}.")
            elif isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)):
                yield path + child.name, child
                if not path:  # a function that makes a class
                    yield from walk(child, f"{child.name}.")

    return walk(tree, "")


class House:
    """The library compiled into a folder, of which one module can be compiled anew."""

    def __init__(self, folder: Path, loads: list[str]) -> None:
        self.folder = folder
        self.loads = loads
        for name in parts.every():
            parts.compile_module(name, self.target(name))
        (folder / "heap.py").write_text(PROGRAM)

    def target(self, name: str) -> Path:
        """Return where a module's .mpy is."""
        return self.folder / "dormouse" / f"{name}.mpy"

    def cost(self, name: str, tree: ast.Module) -> tuple[int, int]:
        """Return bytes of flash of a module in this form, and of RAM of all that is loaded."""
        source = self.folder / "source.py"
        source.write_text(ast.unparse(tree))
        parts.compile_module(name, self.target(name), source)
        done = subprocess.run(
            [*runtimes.MICROPYTHON32.argv, "heap.py", *self.loads],
            cwd=self.folder,
            env={"MICROPYPATH": ".frozen:."},
            capture_output=True,
            text=True,
            timeout=60,
        )
        if done.returncode:
            raise SystemExit(f"the program on the device failed:\n{done.stdout}{done.stderr}")
        return self.target(name).stat().st_size, int(done.stdout)


def why(names: list[str]) -> list[tuple[str, str, int, int]]:
    """Return module, function, and the bytes of flash and RAM that it takes, of these modules;
    the largest first. Raises SystemExit for a module that is not there, runtimes.NotAvailable."""
    unknown = set(names) - set(parts.every())
    if unknown:
        raise SystemExit(f"no such module: {' '.join(sorted(unknown))}")
    found = []
    with tempfile.TemporaryDirectory() as folder:
        loads = ["dormouse." + name.replace("/", ".") for name in names]
        house = House(Path(folder), loads)
        for name in names:
            tree = ast.parse(parts.source(name).read_text())
            flash, ram = house.cost(name, tree)
            for path, function in track(list(functions(tree)), name, transient=True):
                body, function.body = function.body, [ast.Pass()]
                less = house.cost(name, tree)
                function.body = body
                found.append((name, path, flash - less[0], ram - less[1]))
            house.cost(name, tree)
    return sorted(found, key=lambda row: -row[2])


def show(names: list[str]) -> None:
    """Print the table."""
    table = Table(title="what each function takes, in bytes")
    for name in ("module", "function", "flash", "RAM"):
        table.add_column(name, justify="right" if name in ("flash", "RAM") else "left")
    for module, function, flash, ram in why(names):
        table.add_row(module, function, f"{flash:,}", f"{ram:,}")
    Console().print(table)

"""The checks of every module that has some, on the instructions of real chips, emulated."""

import ast
import re
from pathlib import Path

import pytest

from tools.desk import chip as ruler
from tools.testing import runtimes
from tools.testing.needs import missing

FOLDER = Path(__file__).parent
WITHOUT = {
    "large_checks": "packets of 20 KB in one piece, and files",
    "large_ota_checks": "the port has no os.urandom",
    "node_checks": "the port has no os.urandom",
    "ota_checks": "a minute of hashing, and 40 KB in one piece of a heap in pieces",
    "patterns_checks": "the port has no os.urandom",
    "store_checks": "every byte of a journal, and of a block device: half an hour",
    "wifi_checks": "there is no network",
    "ws_checks": "no SHA-1: the port comes without TLS",
}
# What counts to thousands takes longer here than all other checks together.
LONG = {
    "core_checks": ["check_flood", "check_reader_limit"],
    "log_checks": ["check_ring"],
    "taking_checks": ["check_cut_at_each_byte"],
    "packet5_checks": ["check_identifiers_that_are_none"],
}
MODULES = sorted(path.stem for path in FOLDER.glob("*_checks.py") if path.stem not in WITHOUT)


def names_of(path: Path) -> list[str]:
    """Return the checks that a module has, without importing it."""
    tree = ast.parse(path.read_text())
    functions = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
    return [name for name in functions if name.startswith("check_")]


# The second chip: its own compiler and integers are in the core's checks; all others in make prove.
CASES = [
    pytest.param(chip, module, id=f"{module}-{chip}", marks=[pytest.mark.prove] * long)
    for module in MODULES
    for n, chip in enumerate(runtimes.CHIPS)
    for long in (n > 0 and module != "core_checks",)
]


@pytest.mark.parametrize(("chip", "module"), CASES)
def test_on_chip(chip: str, module: str) -> None:
    runtime = runtimes.CHIPS[chip]
    if runtime.reason:
        missing(runtime.reason)
    program = FOLDER / f"{module}.py"
    left_out = LONG.get(module, [])
    names = [name for name in names_of(program) if name not in left_out]
    assert names
    with runtime.start(program, *left_out) as device:
        assert device.wait_exit(100) == 0, device.transcript()
    assert {f"ok {name}" for name in names} <= set(device.lines), device.transcript()
    assert device.lines[-1] == f"done {len(names)} checks, 0 failed", device.transcript()


@pytest.mark.prove  # builds a firmware with the library frozen in: a minute
def test_heap_on_the_page() -> None:
    """docs/boards.md has what `make chip ARGS=--heap` measures, within 2 %."""
    if runtimes.CHIPS["cortex-m3"].reason:
        missing(runtimes.CHIPS["cortex-m3"].reason)
    page = (runtimes.ROOT / "docs" / "boards.md").read_text()
    measured = ruler.heap("cortex-m3")
    for row, name in {
        "a 3.1.1 client, imported": "a 3.1.1 client, imported",
        "the same connected, one subscription": "a 3.1.1 client, connected",
        "connected with MQTT 5, one subscription": "an MQTT 5 client, connected",
        "a node that sleeps, after a wake": "a node that sleeps, after a wake",
    }.items():
        told = re.search(rf"^\| {re.escape(row)} \| ([\d,]+) \| ([\d,]+) \|$", page, re.M)
        assert told, row
        for text, n in zip(told.groups(), measured[name], strict=True):
            assert abs(int(text.replace(",", "")) - n) <= n // 50, f"{row}: {n}"


def test_a_failure_is_seen(tmp_path: Path) -> None:
    """A program that raises, and one that ends with a status of its own, tell so."""
    runtime = runtimes.CHIPS["cortex-m3"]
    if runtime.reason:
        missing(runtime.reason)
    (tmp_path / "other.py").write_text("import sys\nassert sys.argv[1:] == ['a', 'b']\n")
    program = tmp_path / "fails.py"
    program.write_text("import other\nassert __name__ != '__main__', 'it is'\n")
    with runtime.start(program, "a", "b") as device:
        assert device.wait_exit(30) == 1, device.transcript()
    assert device.lines[-1] == "AssertionError: it is"
    program.write_text("import sys\nsys.exit(3)\n")
    with runtime.start(program) as device:
        assert device.wait_exit(30) == 1, device.transcript()

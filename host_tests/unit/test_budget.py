"""What each operation takes of a chip is as in host_tests/bench/budget.json, to the instruction.

So growth is seen, and is somebody's decision: `make chip ARGS=--write` sets the budget.
"""

import json

import pytest

from tools.desk import chip
from tools.testing import runtimes
from tools.testing.needs import missing


@pytest.mark.parametrize("name", list(runtimes.CHIPS))
def test_budget(name: str) -> None:
    if runtimes.CHIPS[name].reason:
        missing(runtimes.CHIPS[name].reason)
    found = chip.measure(name)
    lines = chip.differences(name, found)
    assert not lines, "\n".join(
        ["not in the budget; if it is meant: make chip ARGS=--write", *lines]
    )


def test_a_difference_is_seen() -> None:
    budget = json.loads(chip.BUDGET.read_text())
    assert chip.text(budget) == chip.BUDGET.read_text()
    found = budget["rv32"]
    name = next(iter(found))
    changed = {**found, name: [found[name][0] + 1, *found[name][1:]], "another": [1, 0, 0]}
    lines = chip.differences("rv32", changed)
    assert len(lines) == 2 and name in lines[0] and "another" in lines[1]
    assert not chip.differences("rv32", found)

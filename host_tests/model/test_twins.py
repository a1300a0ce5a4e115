"""A fault of one line in the library is found; without it the same bounds find nothing.

An explorer that finds nothing says something only if it would have.
"""

from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from explorer.cases import Case
from explorer.library import Library
from explorer.search import Found, explore
from explorer.twins import TWINS, Twin, row

PAGE = Path(__file__).resolve().parents[2] / "docs" / "proof.md"
LIMIT = 30000  # states


@cache
def without(case: Case) -> Found:
    """Explore the library as it is."""
    library = Library()
    try:
        return explore(case, library, LIMIT)
    finally:
        library.close()


def test_the_list_in_docs_is_this_one() -> None:
    table = PAGE.read_text().partition("<!-- twins -->")[2].partition("<!-- end of twins -->")[0]
    listed = [line.split(" | ")[:2] for line in table.splitlines() if line.startswith("| ")]
    made = [row(twin, None).split(" | ")[:2] for twin in TWINS]
    assert listed[1:] == made, "make explore EXPLORE='--twins --write'"
    assert len({twin.name for twin in TWINS}) == len(TWINS) >= 20


@pytest.mark.parametrize("twin", TWINS, ids=lambda twin: twin.name)
def test_a_fault_is_found(twin: Twin) -> None:
    library = Library({twin.file: ((twin.old, twin.new),)})
    try:
        found = explore(twin.case, library, LIMIT, first=True)
        if twin.case.torn:  # and by nothing less
            whole = explore(replace(twin.case, torn=False), library, LIMIT)
            assert whole.whole and not whole.wrong
    finally:
        library.close()
    assert found.wrong
    right = without(twin.case)
    assert right.whole and not right.wrong

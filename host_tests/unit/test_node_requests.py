"""The checks of a Node's requests (node_checks.py), on every runtime."""

import sys
from collections.abc import Iterator
from pathlib import Path

import dormouse.sleep.node as sleep
import node_checks
import pytest
from test_core import ON_MICROPYTHON, all_passed

from tools.testing import runtimes


@pytest.fixture(autouse=True)
def as_it_was(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Undo what checks put into modules."""
    monkeypatch.setattr(sleep, "urandom", sleep.urandom)
    yield
    sys.modules.pop("machine", None)


@pytest.mark.parametrize("name", node_checks.CHECKS)
def test_check(name: str) -> None:
    getattr(node_checks, name)()


@ON_MICROPYTHON
def test_on_micropython(runtime: runtimes.Runtime) -> None:
    with runtime.start(Path(node_checks.__file__)) as device:
        assert device.wait_exit(60) == 0, device.transcript()
        all_passed(node_checks, "\n".join(device.lines) + "\n")

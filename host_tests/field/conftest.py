"""What causes and cures share: a program that stays connected, a board that sleeps."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from tools.testing.address import HOST
from tools.testing.board import Board
from tools.testing.runtimes import Device, Runtime

PROGRAMS = Path(__file__).parent / "programs"

VERSIONS = pytest.mark.parametrize("version", [4, 5], ids=["3.1.1", "5"])


@pytest.fixture
def stay(runtime: Runtime, tmp_path: Path) -> Iterator[Callable[..., Device]]:
    """Return a function that starts programs/staying.py with ``client`` options and more."""
    numbers = count()
    with ExitStack() as stack:

        def start(port: int, client: dict[str, Any] | None = None, **config: Any) -> Device:
            options = {"host": HOST, "port": port, "client_id": "node", "clean": False}
            config["client"] = {**options, "timeout": 5, "backoff": [0.02, 0.1], **(client or {})}
            file = tmp_path / f"{next(numbers)}.json"
            file.write_text(json.dumps(config))
            return stack.enter_context(runtime.start(PROGRAMS / "staying.py", str(file)))

        yield start


@pytest.fixture
def board(runtime: Runtime, tmp_path: Path) -> Iterator[Callable[..., Board]]:
    """Return a function that makes a board with programs/asleep.py."""
    with ExitStack() as stack:

        def make(
            port: int,
            publish: tuple = (("n", "N", 1, {}),),
            client: dict[str, Any] | None = None,
            node: dict[str, Any] | None = None,
            kind: str = "esp32",
            **config: Any,
        ) -> Board:
            config["client"] = {"port": port, "client_id": "node", "clean": False, "timeout": 2}
            config["client"] |= client or {}
            config["node"] = {"period": 60, "budget": 5000, "backoff": 0, **(node or {})}
            config["publish"] = publish
            files = {"config.json": config}
            made = Board(runtime, tmp_path, PROGRAMS / "asleep.py", files, type=kind)
            return stack.enter_context(made)

        yield make

"""Starting a device program, on a runtime, towards a broker, a proxy or a scripted peer."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from harness.address import HOST
from harness.runtimes import Device, Runtime

PROGRAMS = Path(__file__).parent / "programs"

# A device with a fixed name that keeps its session, and is quick to notice and to try again.
CLIENT = {
    "host": HOST,
    "client_id": "node",
    "clean": False,
    "timeout": 5,
    "backoff": [0.02, 0.1],
}


@pytest.fixture
def start(runtime: Runtime, tmp_path: Path) -> Iterator[Callable[..., Device]]:
    """Return a function that starts a program of ``programs/`` with ``client`` options and more.

    All are killed at the end of the test.
    """
    numbers = count()
    with ExitStack() as stack:

        def begin(program: str, port: int, client: dict[str, Any] | None = None, **config: Any):
            config["client"] = {**CLIENT, "port": port, **(client or {})}
            file = tmp_path / f"device{next(numbers)}.json"
            file.write_text(json.dumps(config))
            return stack.enter_context(runtime.start(PROGRAMS / f"{program}.py", str(file)))

        yield begin

"""Starting a device program, on a runtime, towards a broker, a proxy or a scripted peer."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from harness.gateway import Gateway
from harness.line import BridgedLine
from play import PROGRAMS

from tools.testing.address import HOST
from tools.testing.certs import certificates
from tools.testing.runtimes import Device, Runtime

# A device with a fixed name that keeps its session, and is quick to notice and to try again.
CLIENT = {
    "host": HOST,
    "client_id": "node",
    "clean": False,
    "timeout": 5,
    "backoff": [0.02, 0.1],
}


@pytest.fixture
def transport() -> str:
    """A test that is parametrised with "gateway" meets its peer over WebSocket."""
    return "tcp"


@pytest.fixture
def start(runtime: Runtime, tmp_path: Path, transport: str) -> Iterator[Callable[..., Device]]:
    """Return a function that starts a program of ``programs/`` with ``client`` options and more.

    All are killed at the end of the test.
    """
    numbers = count()
    lines: dict[int, BridgedLine] = {}
    with ExitStack() as stack:

        def begin(program: str, port: int, client: dict[str, Any] | None = None, **config: Any):
            if transport == "gateway":
                port = stack.enter_context(Gateway(port)).port
                client = {**(client or {}), "transport": "ws"}
            config["client"] = {**CLIENT, "port": port, **(client or {})}
            kind = config["client"].get("transport")
            if kind == "wss":
                (tmp_path / "ca.der").write_bytes(certificates().ca_der)
                config["client"]["host"] = "localhost"  # a name of the certificate
                config["ca"] = str(tmp_path / "ca.der")
            elif kind == "uart":
                if port not in lines:
                    lines[port] = stack.enter_context(BridgedLine(port))
                config["uart"] = lines[port].device
            file = tmp_path / f"device{next(numbers)}.json"
            file.write_text(json.dumps(config))
            return stack.enter_context(runtime.start(PROGRAMS / f"{program}.py", str(file)))

        yield begin

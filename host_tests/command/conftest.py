"""One mosquitto for all tests of the command, and the command as it is called."""

import sys
from collections.abc import Iterator

import pytest
from calling import Done, Run

from tools.command.main import main
from tools.testing.brokers import MosquittoBroker
from tools.testing.certs import certificates
from tools.testing.needs import mosquitto_argv


@pytest.fixture(scope="module")
def server() -> Iterator[MosquittoBroker]:
    """A mosquitto with TLS and WebSocket. Topics are the tests' own, so one will do."""
    with MosquittoBroker(
        mosquitto_argv(), persistence=False, tls=certificates(), websocket=True
    ) as broker:
        yield broker


@pytest.fixture
def run(capfdbinary: pytest.CaptureFixture[bytes]) -> Run:
    """Return a function that runs the command in this process."""

    def call(*args: str) -> Done:
        capfdbinary.readouterr()
        try:
            status = main([*args])
        except SystemExit as end:  # argparse
            status = int(end.code or 0)
        sys.stdout.flush()
        out, err = capfdbinary.readouterr()
        return Done(status, out, err.decode())

    return call

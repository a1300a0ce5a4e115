"""The command as it is called, in a process of its own."""

import subprocess
import sys
import time
from collections.abc import Callable

from tools.testing.brokers import MosquittoBroker
from tools.testing.runtimes import ROOT

Run = Callable[..., "Done"]
COMMAND = [sys.executable, "-m", "tools.command"]


class Done:
    """How a command ended."""

    def __init__(self, status: int, out: bytes, err: str) -> None:
        self.status = status
        self.bytes = out
        self.out = out.decode(errors="replace")
        self.err = err


def start(*args: str, **options: object) -> subprocess.Popen[bytes]:
    """Start the command as a process of its own."""
    settings = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "cwd": ROOT, **options}
    return subprocess.Popen([*COMMAND, *args], **settings)  # type: ignore[call-overload, no-any-return]


def lose_and_find(process: subprocess.Popen[bytes], name: str, broker: MosquittoBroker) -> None:
    """Let the broker of a running command go and come back: the command tells of both."""
    assert process.stderr
    broker.restart()
    assert f"dormouse {name}: connection lost".encode() in process.stderr.readline()
    assert f"dormouse {name}: connected again".encode() in process.stderr.readline()


def wait_logged(broker: MosquittoBroker, words: str) -> None:
    """Wait until the broker's log has these words."""
    while words not in broker.log():
        time.sleep(0.01)

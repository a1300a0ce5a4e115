"""The command as it is called, in a process of its own."""

import subprocess
import sys
from collections.abc import Callable

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

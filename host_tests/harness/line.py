"""A serial line of two pseudo-terminals, and tools/board/bridge.py at one of its ends."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import threading
import tty

from harness.programs import argv_of
from tools.testing.runtimes import ROOT, Device

HOST = "127.0.0.1"


class Line:
    """Two ends, ``device`` and ``host``: paths of terminals; what goes into one comes out of the
    other. A context manager."""

    def __init__(self) -> None:
        self._masters: list[int] = []
        self._slaves: list[int] = []
        for _ in range(2):
            master, slave = pty.openpty()
            tty.setraw(slave)  # held open: without it an end nobody has open would hang up
            self._masters.append(master)
            self._slaves.append(slave)
        self.device, self.host = (os.ttyname(slave) for slave in self._slaves)
        self._stop, self._stopped = os.pipe()
        self._thread = threading.Thread(target=self._pump, daemon=True)
        self._thread.start()

    def _pump(self) -> None:
        one, other = self._masters
        while True:
            ready, _, _ = select.select([one, other, self._stop], [], [])
            if self._stop in ready:
                return
            for source in ready:
                data = os.read(source, 1024)
                while data and not select.select([self._stop], [], [], 0)[0]:
                    sink = other if source == one else one
                    if select.select([], [sink], [], 0.1)[1]:
                        data = data[os.write(sink, data) :]

    def send(self, data: bytes) -> None:
        """Write as the device."""
        os.write(self._slaves[0], data)

    def receive(self, timeout: float) -> bytes:
        """Read what came for the device, waiting for it; b"" if nothing does in ``timeout`` s."""
        if not select.select([self._slaves[0]], [], [], timeout)[0]:
            return b""
        return os.read(self._slaves[0], 4096)

    def put(self, data: bytes) -> None:
        """Let this wait for the device, as what is left of an old connection."""
        os.write(self._masters[0], data)

    def close(self) -> None:
        """Take the line away. Closing twice is allowed."""
        if self._masters:
            os.write(self._stopped, b"x")
            self._thread.join(10)
            for fd in (*self._masters, *self._slaves, self._stop, self._stopped):
                os.close(fd)
            self._masters.clear()

    def __enter__(self) -> Line:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class BridgedLine(Line):
    """A line with the real bridge at its far end, which connects to a port of this machine.

    at: what the bridge is told to open, if not that end."""

    def __init__(self, port: int, at: str | None = None) -> None:
        super().__init__()
        argv = [*argv_of("bridge"), "--port", at or self.host, "--host", f"{HOST}:{port}"]
        process = subprocess.Popen(
            argv,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        self.bridge = Device("bridge", process)
        self.wait_said("<->", 10)

    def wait_said(self, text: str, timeout: float) -> str:
        """Wait for the bridge to say something. Raises AssertionError."""
        while True:
            line = self.bridge.wait_line("", timeout)
            if text in line:
                return line

    def close(self) -> None:
        self.bridge.__exit__()
        super().close()

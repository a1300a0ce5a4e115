"""A board on a serial port: the simulated board behind a pseudo-terminal, for mpremote to talk to.

    with SerialBoard(tmp_path) as board:
        board.mpremote("cp", "main.py", ":main.py", "+", "reset")
        board.wait_output("hello", 5)

The terminal's other end is held by a thread, which hands bytes to a MicroPython process
(`boards/unix/repl.py`) and back, turns Ctrl-C into an interrupt while a program runs, and starts
the process again when the board resets or has slept.
Ctrl-C waits until the process can take it (`harness/interrupt.py`).
"""

from __future__ import annotations

import contextlib
import json
import os
import pty
import select
import subprocess
import sys
import threading
import time
import tty
from pathlib import Path
from typing import Any

from harness.interrupt import Pending
from tools.testing.runtimes import MICROPYTHON64, ROOT, Runtime

UNREAD = 65536  # bytes that wait for a host that does not read; older ones are lost
ASLEEP = 0.2  # seconds, whatever the deep sleep was
PROGRAM = ROOT / "boards" / "unix" / "repl.py"


class SerialBoard:
    """A simulated board whose REPL is at `port`; `folder` is the simulated board's."""

    def __init__(
        self, folder: Path, runtime: Runtime = MICROPYTHON64, config: dict[str, Any] | None = None
    ):
        """config: as in boards/unix/_board.py; a Pico W's 848 KB of flash unless it says more."""
        self.folder = folder
        self.runtime = runtime
        self.output = bytearray()  # all that came from the board
        self._pending = bytearray()  # what the host has not read
        self.bootloader = threading.Event()  # the board is in its bootloader, and silent
        self.starts = 0
        self._closed = False
        folder.mkdir(exist_ok=True, parents=True)
        (folder / "board.json").write_text(json.dumps({"flash": 868352, **(config or {})}))
        self._changed = threading.Condition()
        self._stop, self._stopped = os.pipe()
        self._master, self._slave = pty.openpty()
        tty.setraw(self._slave)  # held open: without it the board would see a hang-up
        os.set_blocking(self._master, False)
        self.port = os.ttyname(self._slave)
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        mode = "friendly"
        while mode:
            status, status_end = os.pipe()
            argv = [*self.runtime.argv, str(PROGRAM), str(self.folder)]
            process = subprocess.Popen(
                [*argv, str(status_end), mode],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=[status_end],
                env={**os.environ, "MICROPYPATH": ".frozen"},
            )
            os.close(status_end)
            self.starts += 1
            try:
                mode = self._run(process, status)
            finally:
                os.close(status)
                process.kill()
                process.wait()
                for pipe in (process.stdin, process.stdout):
                    with contextlib.suppress(OSError):
                        pipe.close()  # type: ignore[union-attr]
            reason = self._reason()
            if reason == "bootloader":
                self.bootloader.set()
                return
            if reason == "deepsleep" and select.select([self._stop], [], [], ASLEEP)[0]:
                return
            if process.returncode > 0:  # repl.py itself failed: its last words are in output
                return

    def _run(self, process: subprocess.Popen[bytes], status: int) -> str:
        """Hand bytes to and fro until the process ends; return the mode of the next one."""
        assert process.stdin and process.stdout
        state, mode = "h", "friendly"  # h: it starts, or is between two programs: nothing is typed
        pending: Pending | None = None
        output = process.stdout.fileno()
        sources = [status, output, self._master, self._stop]
        while True:
            if pending and state == "i":
                self._type(process, b"\x03")
                pending = None
            if pending and state == "b" and pending.sent():
                pending = None
            room = [self._master] if self._pending else []
            held = pending or state == "h"
            reading = [s for s in sources if not held or s != self._master]
            ready, room, _ = select.select(reading, room, [], 0.001 if pending else None)
            if room:
                del self._pending[: os.write(self._master, self._pending)]
                continue
            if self._stop in ready:
                return ""
            if status in ready:
                marks = os.read(status, 64)
                if not marks:  # it is about to end: what it still has to say comes first
                    sources.remove(status)
                    sources.remove(self._master)
                for mark in marks:
                    state = chr(mark) if mark in b"bih" else state
                    mode = "raw" if mark == ord("R") else mode
            elif output in ready:
                data = os.read(output, 4096)
                if not data:
                    return mode
                with self._changed:
                    self.output += data
                    self._changed.notify_all()
                self._pending += data
                del self._pending[:-UNREAD]
            elif self._master in ready:
                data = os.read(self._master, 1 if state == "b" else 256)
                if state == "b" and data == b"\x03":
                    pending = Pending(process.pid)
                else:
                    self._type(process, data)

    def _type(self, process: subprocess.Popen[bytes], data: bytes) -> None:
        assert process.stdin
        with contextlib.suppress(OSError):  # the process is about to be gone
            process.stdin.write(data)
            process.stdin.flush()

    def _reason(self) -> str | None:
        boots = self.folder / "boots.jsonl"
        lines = boots.read_text().splitlines() if boots.exists() else []
        return json.loads(lines[-1])["reason"] if lines else None

    def wait_output(self, text: str, timeout: float) -> None:
        """Wait until the board has printed `text`. Raises AssertionError with all of it."""
        deadline = time.monotonic() + timeout
        with self._changed:
            while text.encode() not in self.output:
                left = deadline - time.monotonic()
                if left <= 0:
                    raise AssertionError(f"no {text!r} in {bytes(self.output)!r}")
                self._changed.wait(left)

    def mpremote(self, *args: str) -> str:
        """Run the real mpremote on this board; return what it prints.

        Raises AssertionError with its output when it fails.
        """
        argv = [sys.executable, "-m", "mpremote", "connect", self.port, *args]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def close(self) -> None:
        """Cut the power, and take the port away. Nothing happens if it is away."""
        if self._closed:
            return
        self._closed = True
        os.write(self._stopped, b"x")
        self._thread.join(10)
        for fd in (self._master, self._slave, self._stop, self._stopped):
            os.close(fd)

    def __enter__(self) -> SerialBoard:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

"""The runtimes that device programs are tested on, and a device program that runs on one of them.

    with MICROPYTHON32.start(Path("device.py"), "1883") as device:
        device.wait_line("CONNECTED", timeout=5)
        device.kill()                                   # a power cut

`import dormouse` finds `firmware/` on every runtime. A script's own folder is on its path too.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from functools import cached_property
from pathlib import Path

from ..paths import FIRMWARE, ROOT  # noqa: F401
from ..setup import emulated, get

KILL_TIMEOUT = 10  # seconds for a killed process to be gone
START_TIMEOUT = 30  # seconds for an emulated chip to say who it is


NotAvailable = get.NotAvailable


class Device:
    """A running device program. As a context manager it kills what still runs at the end.

    `lines` holds all output so far (stdout and stderr, without line ends); `pid` is the program's
    own.
    """

    # Whether the broker is told when it is killed: the kernel closes a process's sockets. Of a
    # board without power nothing comes.
    says_goodbye = True

    def __init__(self, name: str, process: subprocess.Popen[bytes]):
        self.name = name
        self.process = process
        self.lines: list[str] = []
        self._consumed = 0  # lines before this index were returned, or passed over, by wait_line
        self._ended = False
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read, name=f"output of {name}", daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """The process id of the program itself: there is no shell or loader process around it."""
        return self.process.pid

    def _read(self) -> None:
        assert self.process.stdout
        with self.process.stdout as stream:
            for raw in stream:
                with self._changed:
                    self.lines.append(raw.decode("utf-8", "replace").rstrip("\r\n"))
                    self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def wait_line(self, prefix: str, timeout: float) -> str:
        """Return the first line not yet consumed that starts with `prefix`.

        That line and those before it are consumed then. timeout: seconds. Raises AssertionError
        with all the output if the time is over or the program ends before.
        """
        deadline = time.monotonic() + timeout
        with self._changed:
            seen = self._consumed
            while True:
                while seen < len(self.lines):
                    seen += 1
                    if self.lines[seen - 1].startswith(prefix):
                        self._consumed = seen
                        return self.lines[seen - 1]
                left = deadline - time.monotonic()
                if self._ended or left <= 0:
                    break
                self._changed.wait(left)
        why = "the program ended" if self._ended else f"nothing within {timeout:g} s"
        raise AssertionError(f"waiting for a line {prefix!r}: {why}\n{self.transcript()}")

    def wait_exit(self, timeout: float) -> int:
        """Wait until the program has ended; return its exit status. All output is in `lines` then.

        timeout: seconds. A program that a signal ended has a negative status. Raises
        AssertionError with the output.
        """
        try:
            status = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(
                f"still running after {timeout:g} s\n{self.transcript()}"
            ) from None
        self._reader.join(KILL_TIMEOUT)
        return status

    def transcript(self) -> str:
        """Return the output so far as text for a failure message."""
        if self._ended:
            # Its output is at an end, so it is about to be gone: let a failure message tell the
            # exit status.
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(1)
        status = self.process.poll()
        state = "running" if status is None else f"exit status {status}"
        with self._changed:
            output = "\n".join(f"  | {line}" for line in self.lines) or "  (none)"
        return f"output of {self.name} ({state}):\n{output}"

    def kill(self) -> None:
        """Cut the power: SIGKILL, and wait until the process is gone.

        Nothing happens if it has ended already.
        """
        self.process.kill()
        self.wait_exit(KILL_TIMEOUT)

    def terminate(self) -> None:
        """Ask the program to end: SIGTERM. Does not wait."""
        self.process.terminate()

    def __enter__(self) -> Device:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.kill()


class Runtime:
    """A Python that runs device programs: its name, how to start it, where it finds modules."""

    def __init__(
        self,
        name: str,
        argv: Callable[[], list[str]],
        path_env: str,
        path_before: tuple[str, ...] = (),
    ):
        """argv: returns the beginning of the command line, or raises NotAvailable; asked when
        first needed, as it may fetch. path_env: the environment variable with the module search
        path. path_before: what precedes `firmware/`.
        """
        self.name = name
        self.path_env = path_env
        self._get_argv = argv
        self._path_before = path_before

    def __repr__(self) -> str:
        return f"<Runtime {self.name}>"

    @cached_property
    def argv(self) -> list[str]:
        """The beginning of the command line. Raises NotAvailable."""
        return self._get_argv()

    @cached_property
    def reason(self) -> str | None:
        """Why this runtime cannot be had here and what to do about it; None if it is available."""
        try:
            _ = self.argv
        except NotAvailable as error:
            return str(error)
        return None

    def environment(self, *folders: Path) -> dict[str, str]:
        """Return the variables that make `import` find `folders` and then `firmware/`."""
        path = [*self._path_before, *map(str, folders), str(FIRMWARE)]
        return {
            self.path_env: os.pathsep.join(path),
            "PYTHONUNBUFFERED": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
        }

    def file(self, path: Path) -> str:
        """Return the name by which a device program can make this file; ask once for each."""
        return str(path)

    def start(
        self, script: Path, *args: str, cwd: Path | None = None, env: dict[str, str] | None = None
    ) -> Device:
        """Start a script and return it running.

        env: variables to add or to replace. stdin is empty; stderr is in the output. Raises
        NotAvailable, OSError.
        """
        process = subprocess.Popen(
            [*self.argv, str(Path(script).resolve()), *args],
            cwd=cwd,
            env={**os.environ, **self.environment(), **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        return Device(self.name, process)


class EmulatedRuntime(Runtime):
    """MicroPython on a chip that QEMU emulates, without network, file system of this machine, and
    sockets. The library and the program are in the chip's memory as .mpy files, as in flash."""

    def __init__(self, name: str):
        super().__init__(name, lambda: emulated.command(name), "")
        self._files: list[Path] = []

    def file(self, path: Path) -> str:
        """Put a file into the memory of the next chip that is started; return its name there."""
        self._files.append(path)
        return f"/rom/{path.name}"

    def start(
        self, script: Path, *args: str, cwd: Path | None = None, env: dict[str, str] | None = None
    ) -> Device:
        """Start a script and return it running; modules that it imports from its folder come along.

        cwd and env mean nothing on a chip. Raises NotAvailable, OSError; SyntaxError.
        """
        beside = emulated.neighbours(script)
        files, self._files = self._files, []
        with tempfile.NamedTemporaryFile(prefix="dormouse-", suffix=".romfs") as image:
            image.write(emulated.rom(script, *args, beside=beside, files=files))
            image.flush()
            process = subprocess.Popen(
                emulated.with_program(self.name, Path(image.name)),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
            assert process.stdin
            process.stdin.write(emulated.START)
            process.stdin.close()
            device = Device(self.name, process)
            # QEMU has read the image before the chip runs.
            device.wait_line("MicroPython", START_TIMEOUT)
        return device


CPYTHON = Runtime("cpython", lambda: [sys.executable], "PYTHONPATH")
# MICROPYPATH replaces the default, which is .frozen, ~/.micropython/lib and /usr/lib/micropython.
# asyncio is in .frozen; what happens to be installed on the machine must not decide a test.
MICROPYTHON64 = Runtime("micropython64", lambda: get.micropython(64), "MICROPYPATH", (".frozen",))
MICROPYTHON32 = Runtime("micropython32", lambda: get.micropython(32), "MICROPYPATH", (".frozen",))

RUNTIMES = {runtime.name: runtime for runtime in (CPYTHON, MICROPYTHON64, MICROPYTHON32)}

CHIPS = {name: EmulatedRuntime(name) for name in emulated.CHIPS}  # for programs of one process


def reason(name: str) -> str | None:
    """Return why a runtime is not available, for a skip, or None if it is.

    Raises KeyError for an unknown name.
    """
    return RUNTIMES[name].reason

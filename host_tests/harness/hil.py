"""A real board as a runtime for device programs: what `make hil` runs the scenarios on.

    with Link("/dev/ttyACM0") as link:
        runtime = BoardRuntime("RPI_PICO_W", link)
        with runtime.start(Path("publish.py"), "device.json") as device:
            device.wait_line("end", timeout=5)
            device.kill()                               # as a power cut: the broker is told nothing

mpremote's own serial transport talks to the board, in this process: the port is opened once (on
many boards each opening is a reset), what a program prints comes while it runs, and it can be
interrupted. All that is put on the board is in one folder, which `remove` removes; the programs run
in it.
"""

from __future__ import annotations

import ast
import contextlib
import io
import os
import subprocess
import threading
import time
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from mpremote.transport import TransportError
from mpremote.transport_serial import SerialTransport

from tools.testing.runtimes import Device, Runtime

FOLDER = "dormouse-hil"  # on the board, in the folder it starts in
MARK, CUT = b"\x02", b"\x18"  # as in programs/on_board.py
READ = 2  # s: how long one read may block
KNOCK = 0.1  # s between two
BACK = 15  # s for the board to be back after a reset: USB, boot.py
START = 60  # s for a program to start, or a question to be answered: 30 are the Wi-Fi's
AGAIN = 0.5  # s between two Ctrl-C
INTERRUPT = 10  # s for a program to end after Ctrl-C
DEAF = 2  # s in which a program that waits in asyncio has seen CUT
SLOWER = 4  # the times that a scenario waits are made for a desk

# Removes the folder and what is in it.
REMOVE = """\
import os
def remove(name):
 try:
  entries = list(os.ilistdir(name))
 except OSError:
  return
 for entry in entries:
  path = name + '/' + entry[0]
  if entry[1] & 0x4000:
   remove(path)
  else:
   os.remove(path)
 os.rmdir(name)
remove('%s')
"""


# What reading and compiling leave behind must not lie between what stays: a small heap would be in
# pieces, and have no room for a large message.
PACKED = "import gc\ngc.threshold(2048)\n"


class BoardLost(Exception):
    """The board does not answer any more. The text says what happened."""


class BoardError(Exception):
    """What was run on the board raised an error: the last line of its traceback."""


class _Reset(Exception):
    """The board has said that it is about to reset."""


class Link:
    """The serial line to a board, in the raw REPL; `lost` says why there is no board any more."""

    def __init__(self, port: str):
        self.port = port
        self.lost = ""
        self.serial: Any = None
        self._resets = False  # it was just reset: its USB port may be away for a while
        self._files: dict[str, bytes] = {}  # what is in FOLDER
        self._folder = False

    def fail(self, error: BaseException) -> BoardLost:
        self.lost = f"the board at {self.port} went away, or does not answer any more: {error}"
        return BoardLost(self.lost)

    def fresh(self) -> None:
        """Stop what runs, and enter the raw REPL of a new, empty MicroPython. Raises BoardLost.

        A soft reset into the raw REPL runs boot.py, and not main.py. Waits for a board that comes
        back from a reset.
        """
        if self.lost:
            raise BoardLost(self.lost)
        end = time.monotonic() + BACK
        while True:
            try:
                if self.serial is None:
                    self.serial = SerialTransport(self.port, timeout=READ)
                    self.serial.serial.write_timeout = BACK
                    self._knock(end)
                with contextlib.redirect_stdout(io.StringIO()):  # it prints what it did not expect
                    self.serial.enter_raw_repl()
                self._resets = False
                return
            except (TransportError, OSError) as error:
                self.close()
                gone = isinstance(error, OSError) and not self._resets
                if gone or time.monotonic() > end:
                    raise self.fail(error) from error
                time.sleep(0.1)

    def _knock(self, end: float) -> None:
        """Press Ctrl-C and Ctrl-A until the board answers; what it is deaf to while it starts is
        lost, and its main.py may be about to sleep."""
        line, said = self.serial.serial, b""
        while b"raw REPL" not in said and time.monotonic() < end:
            line.write(b"\r\x03\x01")
            time.sleep(KNOCK)
            said = said[-999:] + line.read(line.in_waiting)

    def close(self) -> None:
        """Close the port. Nothing happens if it is closed."""
        serial, self.serial = self.serial, None
        if serial is not None:
            try:
                serial.close()
            except OSError:
                serial.serial.close()

    def call(self, program: str) -> str:
        """Run a few lines to their end; return what they print.

        Raises BoardLost; BoardError with what they raised.
        """
        try:
            said, trace = self.serial.exec_raw(program, START)
        except (TransportError, OSError) as error:
            raise self.fail(error) from error
        if trace:
            raise BoardError(trace.decode().strip().splitlines()[-1])
        return str(said.decode())

    def put(self, name: str, data: bytes) -> None:
        """Put a file into FOLDER, if it is not there with this content already. Raises as call."""
        if self._files.get(name) == data:
            return
        self._files.pop(name, None)
        if not self._folder:
            self.call(REMOVE % FOLDER + f"os.mkdir('{FOLDER}')\n")
            self._folder = True
        for parent in [*PurePosixPath(name).parents][-2::-1]:  # the outermost first
            if not any(n.startswith(f"{parent}/") for n in self._files):
                self.call(f"import os\nos.mkdir('{FOLDER}/{parent}')\n")
        try:
            self.serial.fs_writefile(f"{FOLDER}/{name}", data)
        except (TransportError, OSError) as error:
            raise self.fail(error) from error
        self._files[name] = data

    def remove(self) -> None:
        """Remove FOLDER, and let the board start as it does by itself."""
        self.fresh()
        if self._folder:
            self.call(REMOVE % FOLDER)
        self._files.clear()
        self._folder = False
        self.reset()

    def reset(self) -> None:
        """Reset the board, hard. It is in nobody's hands then. Raises BoardLost."""
        try:
            self.serial.exec_raw_no_follow("import machine\nmachine.reset()")
        except (TransportError, OSError) as error:
            raise self.fail(error) from error
        finally:
            self.left()

    def left(self) -> None:
        """The board resets: close the port, and wait for it when it is used again."""
        self._resets = True
        self.close()

    def __enter__(self) -> Link:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Program:
    """A program that runs on the board, as a Device sees a process (subprocess.Popen)."""

    pid = 0

    def __init__(self, link: Link, source: str):
        self.link = link
        self.returncode: int | None = None
        self.started = threading.Event()
        self._cut = False  # the power is being cut
        self._ended = threading.Event()
        reading, self._output = os.pipe()
        self.stdout = os.fdopen(reading, "rb")
        self._line = b""
        try:
            link.serial.exec_raw_no_follow(source)
        except (TransportError, OSError) as error:
            raise link.fail(error) from error
        threading.Thread(target=self._follow, name="output of the board", daemon=True).start()

    def _follow(self) -> None:
        try:
            _, trace = self.link.serial.follow(None, self._take)
            self._write(trace)
        except _Reset:
            self.returncode = -9
        except (TransportError, OSError, TypeError) as error:  # TypeError: closed while it reads
            if self._cut:  # its USB is gone before the line came
                self.returncode = -9
            else:
                self._write(str(self.link.fail(error)).encode() + b"\n")
        finally:
            if self.returncode is None:
                self.returncode = 1
            os.close(self._output)
            self.started.set()
            self._ended.set()

    def _take(self, byte: bytes) -> None:
        self._line += byte
        if byte not in (b"\n", b"\x04"):
            return
        line, self._line = self._line.rstrip(b"\x04"), b""
        if not line.startswith(MARK):
            self._write(line)
        elif line.startswith(MARK + b"start"):
            self.started.set()
        elif line.startswith(MARK + b"cut"):
            raise _Reset
        else:
            self.returncode = int(line.split()[1])

    def _write(self, data: bytes) -> None:
        if data:
            os.write(self._output, data)

    def poll(self) -> int | None:
        """Return the exit status, or None while it runs."""
        return self.returncode if self._ended.is_set() else None

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; return the exit status. Raises subprocess.TimeoutExpired."""
        if not self._ended.wait(timeout):
            raise subprocess.TimeoutExpired("the program on the board", timeout or 0)
        assert self.returncode is not None
        return self.returncode

    def terminate(self) -> None:
        """Press Ctrl-C."""
        if not self._ended.is_set():
            self._type(b"\x03")

    def _type(self, keys: bytes) -> None:
        try:
            self.link.serial.serial.write(keys)
        except OSError as error:
            self.link.fail(error)

    def stop(self) -> None:
        """Press Ctrl-C until it has ended. Raises BoardLost if it does not.

        For what still runs must not be taken for a second device of the next scenario.
        """
        end = time.monotonic() + INTERRUPT
        while not self._ended.is_set():
            if time.monotonic() > end:
                raise self.link.fail(TimeoutError("the program does not end at Ctrl-C"))
            self.terminate()
            self._ended.wait(AGAIN)

    def kill(self) -> None:
        """Cut the power, as far as a program can: a hard reset where it stands. RAM is lost, and
        the network ends without a word.

        A program that does not wait in asyncio is stopped by Ctrl-C first: then clean-up may run.
        """
        if self._ended.is_set():
            return
        self._cut = True
        self._type(CUT)
        if not self._ended.wait(DEAF):
            self._cut = False
            self.stop()
            self.returncode = -9
            self.link.reset()
        elif self.returncode == -9:
            self.link.left()


class BoardDevice(Device):
    """A program on the board."""

    says_goodbye = False

    def wait_line(self, prefix: str, timeout: float) -> str:
        """As Device's, with more time."""
        return super().wait_line(prefix, timeout * SLOWER)

    def wait_exit(self, timeout: float) -> int:
        """As Device's, with more time."""
        return super().wait_exit(timeout * SLOWER)

    def __exit__(self, *_: object) -> None:
        self.process.stop()  # type: ignore[attr-defined]


def imported(script: Path) -> dict[str, Path]:
    """Return a program and what it imports from its own folder, by file name."""
    found: dict[str, Path] = {}
    todo = [script]
    while todo:
        path = todo.pop()
        found[path.name] = path
        for node in ast.walk(ast.parse(path.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module:
                names.append(node.module)
            for name in names:
                other = script.parent / f"{name}.py"
                if other.name not in found and other.is_file():
                    todo.append(other)
    return found


class BoardRuntime(Runtime):
    """The MicroPython of a real board. One program runs at a time."""

    def __init__(self, board: str, link: Link, library: dict[str, bytes], starter: Path):
        """library: dormouse's files by name; starter: programs/on_board.py."""
        # Scenarios ask for "micro" in the name, where Pythons differ.
        super().__init__(f"micropython on {board}", list, "")
        self.link = link
        self._library = library
        self._starter = starter
        self._running: Program | None = None

    def prepare(self) -> None:
        """Put on the board what each program needs. Raises BoardLost."""
        self.link.fresh()
        self.link.put(self._starter.name, self._starter.read_bytes())
        for name, data in self._library.items():
            self.link.put(name, data)

    def close(self) -> None:
        """Leave the board as it was found, running what it runs. Raises BoardLost."""
        if self._running:
            self._running.stop()
        self.link.close()  # Ctrl-C may have come in the middle of anything: knock, as at first
        self.link.remove()

    def ask(self, expression: str) -> str:
        """Return what an expression with on_board's functions is, by str().

        Raises BoardLost, BoardError.
        """
        self.link.fresh()
        self.link.put(self._starter.name, self._starter.read_bytes())
        head = f"import os\nos.chdir('{FOLDER}')\nfrom {self._starter.stem} import *\n"
        return self.link.call(f"{head}print({expression})\n").strip()

    def file(self, path: Path) -> str:
        """As Runtime's: a file in FOLDER, which is new; what an earlier scenario left goes."""
        self.link.fresh()
        name = f"{FOLDER}/{path.name}"
        self.link.call(f"import os\ntry:\n os.remove({name!r})\nexcept OSError:\n pass\n")
        return path.name

    def start(
        self, script: Path, *args: str, cwd: Path | None = None, env: dict[str, str] | None = None
    ) -> Device:
        """Start a script, with what it imports; arguments that are files are put there, too.

        Returns when it runs, its Wi-Fi joined. Skips the test if it wants what one board cannot.
        """
        if cwd or env:
            pytest.skip("a board has neither folders nor an environment of its own")
        if self.link.lost:
            raise BoardLost(self.link.lost)
        if self._running and self._running.poll() is None:
            pytest.skip("several devices at once, and a board is one")
        self.link.fresh()
        for name, path in imported(script).items():
            self.link.put(name, path.read_bytes())
        names = []
        for argument in args:
            path = Path(argument)
            names.append(path.name if path.is_file() else argument)
            if path.is_file():
                self.link.put(path.name, path.read_bytes())
        call = ", ".join(map(repr, [script.name, *names]))
        source = f"{PACKED}import os\nos.chdir('{FOLDER}')\n"
        source += f"import {self._starter.stem} as b\nb.run({call})\n"
        program = self._running = Program(self.link, source)
        device = BoardDevice(self.name, program)  # type: ignore[arg-type]
        if not program.started.wait(START):
            program.stop()
            raise AssertionError(f"the program did not start within {START} s")
        return device

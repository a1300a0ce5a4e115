"""Finding the serial port of a board, and saying what to do when there is none."""

from __future__ import annotations

import os
import stat
import sys
import time
from collections.abc import Iterable
from typing import Any

from . import face

# USB vendors of what sits between a board and the cable; the port of MicroPython -> who.
VENDORS = {
    "esp32": {0x303A: "Espressif", 0x10C4: "CP210x", 0x1A86: "CH340", 0x0403: "FTDI"},
    "rp2": {0x2E8A: "Raspberry Pi"},
    "unix": {},
}

PLUG = (
    "What to do: plug the board in, with a USB cable that carries data (many only charge);\n"
    "    on Linux `sudo dmesg | tail` tells what came. A board that sleeps deeply may have no\n"
    "    port: press its reset button and try again at once; all but flash wait for it\n"
    "    with WAIT=1. Or name the port: PORT=/dev/ttyUSB0"
)
BUSY = (
    "the port is in use, or went away\n"
    "What to do: close other programs that use it (make logs, a console, an editor), unplug and\n"
    "    plug again"
)
AGAIN = 0.1  # seconds between looks for a port that is waited for


class NoPort(Exception):
    """There is no port to use. The text says why, and what to do."""


def attached() -> list[Any]:
    """Return what pyserial finds on USB: objects with device, vid, pid, product."""
    from serial.tools import list_ports

    return [port for port in sorted(list_ports.comports()) if port.vid is not None]


def choose(port: str | None, kind: str, found: Iterable[Any] | None = None) -> str:
    """Return the port to use: the one that is named, or that of the only board of its kind.

    kind: MicroPython's port (esp32, rp2). found: what is attached. Raises NoPort.
    """
    if port:
        return port
    vendors = VENDORS[kind]
    candidates = [p for p in (attached() if found is None else found) if p.vid in vendors]
    if not candidates:
        raise NoPort(f"no {kind} board found on USB\n{PLUG}")
    if len(candidates) > 1:
        lines = [f"    PORT={p.device}  {p.product or vendors[p.vid]}" for p in candidates]
        raise NoPort("\n".join(["several boards found\nWhat to do: say which, one of", *lines]))
    return str(candidates[0].device)


def ready(port: str | None, kind: str, dry_run: bool = False, wait: bool = False) -> str:
    """Return the port to use, which is there and may be used; in a dry run any will do.

    wait: until it is; what is missing is told. Else raises NoPort.
    """
    if dry_run:
        return port or "PORT"
    said = ""
    while True:
        try:
            chosen = choose(port, kind)
            check(chosen)
            return chosen
        except NoPort as error:
            if not wait:
                raise
            if str(error) != said:
                said = str(error)
                told = face.words(f"{said}\n-- waiting for it; Ctrl-C ends this")
                print(told, file=sys.stderr, flush=True)
            time.sleep(AGAIN)


def opened(port: str, baud: int, timeout: float, rtscts: bool = False) -> Any:
    """Open a port, for nobody else meanwhile, without resetting a board at it. Raises OSError.

    timeout: s for a read.
    """
    import serial

    line = serial.Serial(exclusive=True)  # of two that read, each would get a part
    line.port, line.baudrate, line.timeout, line.rtscts = port, baud, timeout, rtscts
    # On boards with a USB chip these two lines press EN and BOOT when they differ: a reset.
    line.dtr = False
    if not rtscts:
        line.rts = False
    line.open()
    return line


def check(port: str) -> None:
    """Check that a port is there and may be used. Raises NoPort."""
    if port.upper().startswith("COM"):  # Windows: only opening it tells
        return
    try:
        mode = os.stat(port).st_mode
    except OSError as error:
        raise NoPort(f"{port}: {error.strerror}\n{PLUG}") from error
    if not stat.S_ISCHR(mode):
        raise NoPort(f"{port} is no serial port\n{PLUG}")
    if not os.access(port, os.R_OK | os.W_OK):
        raise NoPort(
            f"{port}: you may not use it\nWhat to do: sudo usermod -a -G dialout $USER, then log "
            "in again (Arch, openSUSE: the group is uucp)"
        )

"""The console of a board, or what it prints.

    make console BOARD=ESP32_GENERIC        # the REPL, by mpremote; Ctrl-] ends it
    make logs BOARD=ESP32_GENERIC           # only listen, and leave the program alone; Ctrl-C ends
    make logs PORT=/dev/ttyUSB0             # BOARD only serves to find the port

`logs` puts the time before each line, and waits for a port that is named and not there while the
chip sleeps. No other tool can use the port meanwhile.

Exit status: 0; 1 there is no such port, with what to do; 130 logs ended by Ctrl-C.
"""

from __future__ import annotations

import os
import sys
import time
from datetime import datetime
from typing import Any

from . import boards, ports, tool
from .device import Device
from .safety import CannotDo

AGAIN = 0.2  # seconds between looks for a port that went away


def connect(port: str) -> Any:
    """Open a port for listening. Raises OSError."""
    return ports.opened(port, 115200, 0.2)


def follow(port: str) -> None:
    """Print what the board prints, for ever. Raises OSError if the port is not there at first."""
    line, rest = connect(port), b""
    head = f"-- listening at {port}; Ctrl-C ends it. Silence? It sleeps: or press its reset button"
    print(head, file=sys.stderr, flush=True)
    while True:
        try:
            data = line.read(max(1, line.in_waiting))
        except OSError:
            line.close()
            print("-- the port is gone: the board sleeps, or was unplugged", flush=True)
            line = reopen(port)
            print("-- the port is back", flush=True)
            continue
        *lines, rest = (rest + data).split(b"\n")
        for text in lines:
            now = datetime.now().strftime("%H:%M:%S.%f")[:-3]
            print(now, text.decode("utf-8", "replace").rstrip("\r"), flush=True)


def reopen(port: str) -> Any:
    """Wait until a port can be opened again, and open it."""
    while True:
        try:
            return connect(port)
        except OSError:
            time.sleep(AGAIN)


def main(argv: list[str] | None = None) -> int:
    """Parse the command line, show, and return the exit status."""
    parser = tool.parser(
        "The console of a board, or what it prints. No --board is needed with --port.",
        "make console BOARD=... PORT=... (make logs ...)",
    )
    parser.add_argument("--logs", action="store_true", help="only listen, with the time")
    options = parser.parse_args(argv)

    def work() -> str:
        named = options.board or not options.port
        kind = boards.named(options.board).port if named else ""
        wait = options.wait or bool(options.logs and options.port)
        port = ports.ready(options.port, kind, options.dry_run, wait)
        command = Device(port).argv("repl")
        if options.dry_run:
            return f"read {port} at 115200 baud" if options.logs else " ".join(command)
        if not options.logs:
            os.execv(command[0], command)
        try:
            follow(port)
        except OSError as error:
            raise CannotDo(f"{port}: {ports.BUSY}\n({error})") from error
        return ""

    return tool.finish("logs" if options.logs else "console", work, "the board was left alone")


if __name__ == "__main__":
    sys.exit(main())

"""Join a serial line to a broker: what a board without a network speaks MQTT over.

    make bridge PORT=/dev/ttyUSB0 HOST=broker.local          # or HOST=broker.local:1884
    make bridge PORT=/dev/ttyUSB0 HOST=broker.local ARGS="--baud 460800 --rtscts"

A line has no beginning and no end. So each CONNECT from the device opens a TCP connection, in place
of the one before. What comes while there is none is dropped, up to the next CONNECT. When the
broker closes at the end of a packet, the device gets two bytes of 0, which MQTT forbids: it
connects again at once. In the middle of a packet they would become a part of it: there the device's
keep-alive finds out. A port that goes away is waited for.

Exit status: 0 with DRY_RUN=1; 1 the port cannot be used, with what to do; 130 ended by Ctrl-C.
"""

from __future__ import annotations

import contextlib
import re
import socket
import sys
import threading
import time
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from . import boards, ports, tool
from .safety import CannotDo

GAP = 0.05  # seconds: after such a silence, a CONNECT ends the packet that was begun before
HEAD = re.compile(rb"\x10[\x80-\xff]{0,3}[\x00-\x7f]\x00(?:\x04MQTT|\x06MQIsdp)")
HEAD_LONGEST = 13  # bytes of it
HANG_UP = b"\0\0"  # packet type 0 is reserved
CONNECT, DISCONNECT = 0x10, 0xE0
PATIENCE = 5  # seconds for the broker to take a connection
PIECE = 256  # bytes that go to the line in one piece: so long a new CONNECT may have to wait
AGAIN = 0.2  # seconds between looks for a port that went away


def say(text: str) -> None:
    """Print a line with the time."""
    print(datetime.now().strftime("%H:%M:%S.%f")[:-3], text, flush=True)


class Packets:
    """Where in a stream of MQTT packets they begin and end."""

    def __init__(self) -> None:
        self.last = 0  # type of the packet that was begun last
        self._left = 0  # bytes of the packet yet to come
        self._length = 0
        self._digits = -1  # of its remaining length so far; -1: at the end of a packet

    @property
    def inside(self) -> bool:
        """Whether a packet was begun and is not over."""
        return self._left > 0 or self._digits >= 0

    def feed(self, data: bytes) -> Iterator[tuple[int, int]]:
        """Yield offset and type of each packet that begins."""
        at = 0
        while at < len(data):
            if self._left:
                step = min(self._left, len(data) - at)
                self._left -= step
                at += step
                continue
            value = data[at]
            if self._digits < 0:
                self.last = value & 0xF0
                yield at, self.last
                self._digits = self._length = 0
            else:
                self._length |= (value & 0x7F) << 7 * self._digits
                self._digits += 1
                if value < 0x80 or self._digits == 4:
                    self._left, self._digits = self._length, -1
            at += 1


class Sorter:
    """Finds in what a device sends where connections begin.

    At the end of a packet any CONNECT begins one. In the middle of a packet it could be payload;
    but a device that was reset there is silent for a while first.
    """

    def __init__(self) -> None:
        self.closed()

    def closed(self) -> None:
        """There is no connection (any more): drop everything up to a CONNECT."""
        self.packets: Packets | None = None  # of the connection
        self._rest = b""  # perhaps the beginning of a CONNECT, while there is none

    @property
    def inside(self) -> bool:
        """Whether a packet was begun and is not over."""
        return self.packets is not None and self.packets.inside

    @property
    def over(self) -> bool:
        """Whether the device has said DISCONNECT."""
        return self.packets is not None and self.packets.last == DISCONNECT

    def feed(self, data: bytes, quiet: bool = False) -> Iterator[tuple[bool, bytes]]:
        """Yield pieces: whether a connection begins with it, and what to pass on.

        quiet: there was silence before. If ``inside``, the first 13 bytes come together then.
        """
        if quiet and self.inside and HEAD.match(data):
            self.closed()
        if self.packets is None:
            data = self._rest + data
            found = HEAD.search(data)
            if not found:
                self._rest = data[1 - HEAD_LONGEST :]
                return
            data = data[found.start() :]
            self._rest, self.packets = b"", Packets()
        start, begins = 0, False
        for at, kind in self.packets.feed(data):
            if kind == CONNECT:
                if at > start:
                    yield begins, data[start:at]
                start, begins = at, True
        yield begins, data[start:]


class Bridge:
    """One line and one broker, for ever."""

    def __init__(self, line: Any, host: str, port: int) -> None:
        self.line, self.host, self.port = line, host, port
        self._sorter = Sorter()
        self._connection: socket.socket | None = None
        self._lock = threading.Lock()  # over the connection, and over writing to the line

    def run(self) -> None:
        """Pass on both ways. Raises OSError when the line is gone; the connection is closed."""
        quiet = True
        try:
            while True:
                data = self.line.read(1)
                if not data:
                    quiet = True
                    continue
                data += self.line.read(self.line.in_waiting)
                if quiet and self._sorter.inside and len(data) < HEAD_LONGEST:
                    data += self.line.read(HEAD_LONGEST - len(data))
                with self._lock:
                    pieces = list(self._sorter.feed(data, quiet))
                for begins, piece in pieces:
                    if begins:
                        self._begin()
                    self._up(piece)
                quiet = False
        finally:
            self._end("the line is gone")

    def _begin(self) -> None:
        """Open a connection in place of the one before."""
        self._end("the device begins anew")
        try:
            connection = socket.create_connection((self.host, self.port), PATIENCE)
        except OSError as error:
            say(f"no connection to {self.host}:{self.port}: {error}")
            with self._lock:
                self._hang_up(Packets())
            return
        connection.settimeout(None)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        say(f"connected to {self.host}:{self.port}")
        with self._lock:
            try:
                self.line.reset_output_buffer()  # what is left there was for the connection before
            except Exception as error:  # termios.error, which is no OSError: the line is gone
                connection.close()
                raise OSError(str(error)) from error
            self._connection = connection
        threading.Thread(target=self._down, args=(connection,), daemon=True).start()

    def _end(self, why: str) -> None:
        """Close the connection, if there is one; the device needs no telling."""
        with self._lock:
            connection, self._connection = self._connection, None
        if connection:
            _close(connection)
            say(f"connection closed: {why}")

    def _up(self, data: bytes) -> None:
        connection = self._connection
        if connection:
            try:
                connection.sendall(data)
            except OSError:
                return  # _down says why

    def _down(self, connection: socket.socket) -> None:
        """Pass on what the broker sends, to the end of a connection."""
        why = "closed by the broker"
        packets = Packets()
        while True:
            try:
                data = connection.recv(PIECE)
            except OSError as error:
                data, why = b"", f"lost: {error}"
            with self._lock:
                if self._connection is not connection:
                    return
                if data:
                    try:
                        self.line.write(data)
                        for _ in packets.feed(data):
                            pass
                        continue
                    except OSError as error:
                        why = f"closed, the line takes nothing: {error}"
                say(f"connection {why}")
                self._connection = None
                self._hang_up(packets)
            _close(connection)
            return

    def _hang_up(self, packets: Packets) -> None:
        """Tell the device that there is no connection, unless it ended it, or has got half a
        packet: what is said then would be taken for the other half, and passed on as payload."""
        over = self._sorter.over
        self._sorter.closed()
        if not over and not packets.inside:
            with contextlib.suppress(OSError):  # the line is gone: who reads from it says so
                self.line.write(HANG_UP)


def _close(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):  # the other side was first
        connection.shutdown(socket.SHUT_RDWR)  # _down, which waits for it, wakes
    connection.close()


def connect(port: str, baud: int, rtscts: bool) -> Any:
    """Open a port, for nobody else, without resetting a board at it. Raises OSError."""
    line = ports.opened(port, baud, GAP, rtscts)
    line.write_timeout = PATIENCE
    line.reset_input_buffer()
    return line


def follow(port: str, baud: int, rtscts: bool, host: tuple[str, int]) -> None:
    """Bridge for ever. Raises OSError if the port cannot be opened at first."""
    line = connect(port, baud, rtscts)
    say(told(port, baud, host))
    while True:
        try:
            with line:
                Bridge(line, *host).run()
        except OSError:
            say(f"{port} is gone; waiting for it")
        while True:
            try:
                line = connect(port, baud, rtscts)
                break
            except OSError:
                time.sleep(AGAIN)
        say(f"{port} is back")


def told(port: str, baud: int, host: tuple[str, int]) -> str:
    """Return a line on what is joined."""
    return f"{port} at {baud} baud <-> {host[0]}:{host[1]}"


def address(text: str) -> tuple[str, int]:
    """Return host and port of "host", "host:port" or "[address]:port". Raises ValueError."""
    match = re.fullmatch(r"\[(.+)\](?::(\d+))?|([^:]+)(?::(\d+))?", text)
    if not match:
        raise ValueError(text)
    port = int(match[2] or match[4] or 1883)
    if not 0 < port < 65536:
        raise ValueError(text)
    return match[1] or match[3], port


def main(argv: list[str] | None = None) -> int:
    """Parse the command line, bridge, and return the exit status."""
    parser = tool.parser(
        "Join a serial line to a broker. BOARD only serves to find the port.",
        "make bridge PORT=... HOST=...",
    )
    parser.add_argument(
        "--host", type=address, help="the broker: HOST, HOST:PORT or [ADDRESS]:PORT"
    )
    parser.add_argument("--baud", type=int, default=115200, help="as at the device (115200)")
    parser.add_argument("--rtscts", action="store_true", help="flow control by RTS and CTS")
    options = parser.parse_args(argv)
    if not (options.port or options.board) or not options.host:
        parser.error("say PORT=/dev/ttyUSB0 HOST=the broker (--port, --host)")

    def work() -> str:
        kind = boards.named(options.board).port if options.board else ""
        port = ports.ready(options.port, kind, options.dry_run, options.wait)
        if options.dry_run:
            return f"nothing was done: this would join {told(port, options.baud, options.host)}"
        try:
            follow(port, options.baud, options.rtscts, options.host)
        except OSError as error:
            raise CannotDo(f"{port}: {ports.BUSY}\n({error})") from error
        except ValueError as error:  # a baud rate that the port has not
            raise CannotDo(f"{port}: {error}") from error
        return ""

    return tool.finish("bridge", work, "the device's keep-alive finds out that nobody listens")


if __name__ == "__main__":
    sys.exit(main())

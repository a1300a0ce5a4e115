"""A TCP proxy that breaks connections on command.

    proxy = ChaosProxy(broker.port)
    proxy.cut_after(17, "up", "reset")      # the next connection ends after 17 bytes to the broker
    ... the client connects to proxy.port ...
    proxy.wait_connection(1).wait_cut()

"up" is from client to server (target), "down" back. Tests are synchronous; the sockets live on the
background loop.
"""

import asyncio
import fcntl
import socket
import struct
import termios
import threading
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Literal

from . import wire
from .address import HOST
from .loop import call, loop, run
from .peer import set_reset_on_close
from .wire import Direction

How = Literal["close", "reset", "stall"]
_CHUNK = 65536


class ChaosError(Exception):
    """The proxy cannot do what it is asked to."""


class ChaosTimeout(ChaosError):
    """What the test waits for did not happen in time. The text has the transcript."""


@dataclass
class _Cut:
    """A planned cut: after `left` more bytes in `direction`."""

    left: int
    direction: Direction
    how: How


def _unsent(sock: socket.socket) -> int:
    """Return how many bytes the kernel has not yet handed to the other side (0: all arrived)."""
    answer = fcntl.ioctl(sock, termios.TIOCOUTQ, struct.pack("i", 0))
    return int(struct.unpack("i", answer)[0])


async def _flush(sock: socket.socket, seconds: float = 1) -> None:
    """Wait until all sent bytes have arrived; closing with RST would throw the others away."""
    # The kernel has no event for this.
    end = time.monotonic() + seconds
    while _unsent(sock) and time.monotonic() < end:
        await asyncio.sleep(0.001)


def _take_what_is_there(sock: socket.socket) -> None:
    """Read and forget: closing a socket with unread bytes would send RST instead of FIN."""
    try:
        while sock.recv(_CHUNK):
            pass
    except (BlockingIOError, ConnectionError):
        return


class ProxiedConnection:
    """One client's connection through the proxy. Counters count what was passed on."""

    def __init__(self, proxy: "ChaosProxy", client: socket.socket, number: int) -> None:
        self.number = number  # from 1
        self.transcript = wire.Transcript()
        self.up = 0  # bytes passed on to the server
        self.down = 0  # bytes passed on to the client
        self.cut: str = ""  # how the proxy cut it, or ""
        self.closed = False  # both sides are closed
        self._proxy = proxy
        self._client = client
        self._server: socket.socket | None = None
        self._plan: _Cut | None = None
        self._silent = False
        self._stalled = False
        self._tasks: list[asyncio.Task[None]] = []
        self._finishing = asyncio.Lock()
        self._changed = proxy._changed

    @property
    def turnarounds(self) -> int:
        """How often the flow of data changed its direction."""
        return self.transcript.turnarounds

    def describe(self) -> str:
        """Return the transcript, one line for each packet, and how the connection ended."""
        end = f"cut by the proxy: {self.cut}" if self.cut else "closed" if self.closed else "open"
        return f"{self.transcript.describe()}\nconnection {self.number}: {end}"

    # --- Waiting, on the test's thread ---

    def _wait(self, condition: Callable[[], object], what: str, timeout: float) -> None:
        with self._changed:
            if not self._changed.wait_for(condition, timeout):
                raise ChaosTimeout(f"no {what} in {timeout} s\n{self.describe()}")

    def wait_cut(self, timeout: float = 5) -> None:
        """Wait until the proxy has cut this connection. Raises ChaosTimeout."""
        self._wait(lambda: self.cut, "cut", timeout)

    def wait_closed(self, timeout: float = 5) -> None:
        """Wait until both sides are closed. Raises ChaosTimeout."""
        self._wait(lambda: self.closed, "close", timeout)

    def wait_packets(
        self, count: int, type: int, direction: Direction = "up", timeout: float = 5
    ) -> None:
        """Wait until `count` whole packets of a type have been passed on. Raises ChaosTimeout."""

        def seen() -> bool:
            packets = wire.Splitter().feed(self.transcript.data(direction))
            return sum(packet[0] >> 4 == type for packet in packets) >= count

        self._wait(seen, f"{count} {wire.NAMES[type]} {direction}", timeout)

    # --- On the loop's thread ---

    def _passed(self, direction: Direction) -> int:
        return self.up if direction == "up" else self.down

    def _arm(self, count: int, direction: Direction, how: How) -> None:
        passed = self._passed(direction)
        if count < passed:
            raise ChaosError(f"{passed} bytes have passed {direction} already, more than {count}")
        self._plan = _Cut(count - passed, direction, how)

    async def run(self) -> None:
        """Connect to the target and pass on until the end. Cancelled by a cut."""
        try:
            self._server = await self._connect()
        except OSError:
            await self._finish("reset")
            return
        if self._plan is not None and not self._plan.left:
            await self._cut_now(self._plan.how)
            return
        client, server = self._client, self._server
        pipes = [self._pipe(client, server, "up"), self._pipe(server, client, "down")]
        self._tasks = [asyncio.create_task(pipe) for pipe in pipes]
        try:
            await asyncio.wait(self._tasks)
        finally:  # the proxy may be closed while this connects: nobody else knows of them then
            for task in self._tasks:
                task.cancel()
            if self.closed:
                server.close()
        if not self._silent and not self.cut:
            await self._finish("close")

    async def _connect(self) -> socket.socket:
        sock = socket.socket()
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            await loop().sock_connect(sock, (HOST, self._proxy.target_port))
        except BaseException:
            sock.close()
            raise
        return sock

    async def _pipe(self, source: socket.socket, sink: socket.socket, way: Direction) -> None:
        """Pass on one direction: one task reads, so that a delay does not lower the throughput."""
        queue: asyncio.Queue[tuple[float, bytes | None]] = asyncio.Queue(64)
        reader = asyncio.create_task(self._read(source, queue))
        try:
            await self._forward(queue, sink, way)
        finally:
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)

    async def _read(
        self, source: socket.socket, queue: "asyncio.Queue[tuple[float, bytes | None]]"
    ) -> None:
        """Queue chunks with the time they are due; b"" for end of stream, None for a reset."""
        data: bytes | None = b"-"
        while data:
            try:
                data = await loop().sock_recv(source, _CHUNK)
            except OSError:
                data = None
            await queue.put((loop().time() + self._proxy._delay, data))

    async def _forward(
        self,
        queue: "asyncio.Queue[tuple[float, bytes | None]]",
        sink: socket.socket,
        way: Direction,
    ) -> None:
        while True:
            due, data = await queue.get()
            if due > loop().time():
                await asyncio.sleep(due - loop().time())
            await self._gate()
            if self._silent:
                if not data:
                    return
                continue
            if data is None:
                self._later(self._finish("reset"))
                return
            if not data:
                _shut_writing(sink)
                return
            await self._pass_on(data, sink, way)

    async def _gate(self) -> None:
        """Wait while this connection or the whole proxy is stalled."""
        while self._stalled or self._proxy._stalled:
            self._proxy._gate.clear()
            await self._proxy._gate.wait()

    async def _pass_on(self, data: bytes, sink: socket.socket, way: Direction) -> None:
        """Write `data` in the chunks asked for, up to a planned cut."""
        while data:
            await self._gate()
            if self._silent:
                return
            plan = self._plan if self._plan and self._plan.direction == way else None
            limit = min(self._proxy._drip or len(data), plan.left if plan else len(data))
            chunk, data = data[:limit], data[limit:]
            try:
                # Noted first: the answer to this chunk may be noted before sock_sendall returns.
                self._note(chunk, way)
                await loop().sock_sendall(sink, chunk)
            except OSError:
                self._later(self._finish("reset"))
                return
            if plan is not None:
                plan.left -= len(chunk)
                if not plan.left:
                    self._plan = None
                    await self._cut_from_pipe(plan.how)
            elif self._proxy._drip:
                await asyncio.sleep(self._proxy._drip_gap)

    def _note(self, chunk: bytes, way: Direction) -> None:
        with self._changed:
            self.transcript.add(way, chunk)
            if way == "up":
                self.up += len(chunk)
            else:
                self.down += len(chunk)
            self._changed.notify_all()

    async def _cut_from_pipe(self, how: How) -> None:
        """Cut from within a pipe, which the cut cancels: stop both ways at once, then hand over."""
        self._stalled = True
        self._later(self._cut_now(how))
        await self._gate()

    def _later(self, coro: Coroutine[Any, Any, None]) -> None:
        self._proxy._spawn(coro)

    async def _cut_now(self, how: How) -> None:
        """Cut: what was passed on before arrives; nothing else does."""
        if self.cut or self.closed:
            return
        self._stalled = True
        if how != "stall":
            await self._finish(how, cut=how)
            return
        self._mark(cut=how)

    def _mark(self, cut: str = "", closed: bool = False) -> None:
        with self._changed:
            self.cut = self.cut or cut
            self.closed = self.closed or closed
            self._changed.notify_all()

    async def _finish(self, how: How, cut: str = "") -> None:
        """Close both sides, by FIN or by RST, once what was passed on has arrived."""
        # The pipes' end, which this brings about, calls this again: the first call decides.
        async with self._finishing:
            if self.closed:
                return
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            for sock in (self._client, self._server):
                if sock is not None and sock.fileno() >= 0:
                    await _close(sock, how)
            self._mark(cut=cut, closed=True)


async def _close(sock: socket.socket, how: How) -> None:
    """Close one socket by FIN or by RST once what was written to it has arrived."""
    await _flush(sock)
    if how == "reset":
        set_reset_on_close(sock)
    else:
        _shut_writing(sock)
        _take_what_is_there(sock)
    sock.close()


def _shut_writing(sock: socket.socket) -> None:
    """Send FIN; the other side may have gone already."""
    try:
        sock.shutdown(socket.SHUT_WR)
    except OSError:
        return


class ChaosProxy:
    """The proxy. A context manager. Times are in seconds unless the name says ms.

    `target_port` may be changed at any time; it holds for connections made afterwards.
    """

    host = HOST

    def __init__(self, target_port: int) -> None:
        self.target_port = target_port
        self.connections: list[ProxiedConnection] = []  # all, in the order they were accepted
        self.refused = 0  # connections reset by refuse(); those to a closed port cannot be seen
        self._changed = threading.Condition()
        self._next_plan: tuple[int, Direction, How] | None = None
        self._plans: list[tuple[int, Direction, How]] = []
        self._stalled = False
        self._delay = 0.0
        self._drip = 0
        self._drip_gap = 0.0
        self._refusing = False
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0
        self._socket = call(self._open())

    # --- Figures ---

    @property
    def bytes_up(self) -> int:
        """Bytes passed on to the server, over all connections."""
        return sum(connection.up for connection in self.connections)

    @property
    def bytes_down(self) -> int:
        """Bytes passed on to the client, over all connections."""
        return sum(connection.down for connection in self.connections)

    @property
    def turnarounds(self) -> int:
        """Changes of direction of the data flow, over all connections."""
        return sum(connection.turnarounds for connection in self.connections)

    def describe(self) -> str:
        """Return all transcripts."""
        texts = [connection.describe() for connection in self.connections]
        return "\n\n".join(texts) or "(nobody connected)"

    def wait_connection(self, number: int = 1, timeout: float = 5) -> ProxiedConnection:
        """Return the connection of that number (from 1), waiting for it. Raises ChaosTimeout."""
        with self._changed:
            if not self._changed.wait_for(lambda: len(self.connections) >= number, timeout):
                raise ChaosTimeout(f"no connection {number} in {timeout} s\n{self.describe()}")
            return self.connections[number - 1]

    def wait_refused(self, count: int, timeout: float = 5) -> None:
        """Wait until ``refuse`` has reset so many connections. Raises ChaosTimeout."""
        with self._changed:
            if not self._changed.wait_for(lambda: self.refused >= count, timeout):
                raise ChaosTimeout(f"{self.refused} of {count} refused in {timeout} s")

    # --- Breaking things ---

    def cut_after(
        self,
        n_bytes: int,
        direction: Direction = "up",
        how: How = "close",
        which: Literal["auto", "current", "next"] = "auto",
    ) -> None:
        """Cut after exactly `n_bytes` in `direction`, counted from the connection's start. Once.

        `which`: the open connection ("current"), the next one, or the open one if there is one
        ("auto"). At 0 the connection is cut as soon as it stands. Raises ChaosError if more bytes
        have passed already or there is no open connection.
        """
        run(self._cut_after, n_bytes, direction, how, which)

    def cut_each(self, *plans: tuple[int, Direction, How]) -> None:
        """Cut each of the next connections as ``cut_after`` does; and the open ones now."""

        async def body() -> None:
            self._plans = list(plans)
            for connection in self.connections:
                await connection._cut_now("reset")

        call(body())

    def _cut_after(self, n_bytes: int, direction: Direction, how: How, which: str) -> None:
        current = self._current()
        if which == "next" or (which == "auto" and current is None):
            self._next_plan = (n_bytes, direction, how)
            return
        if current is None:
            raise ChaosError("there is no open connection")
        current._arm(n_bytes, direction, how)
        if current._plan is not None and not current._plan.left:
            self._spawn(current._cut_now(how))

    def _current(self) -> ProxiedConnection | None:
        """Return the newest connection if it is open and not cut."""
        if not self.connections:
            return None
        newest = self.connections[-1]
        return None if newest.cut or newest.closed else newest

    def cut_now(self, how: How = "close") -> None:
        """Cut every open connection at once."""

        async def body() -> None:
            for connection in self.connections:
                await connection._cut_now(how)

        call(body())

    def delay(self, ms: float) -> None:
        """Let every byte take `ms` more, each way. Throughput stays as it is. 0 ends it."""
        self._delay = ms / 1000

    def stall(self) -> None:
        """Let nothing pass from now on; connections stay open and keep what they have."""
        run(self._set_stalled, True)

    def resume(self) -> None:
        """End `stall`: what was kept is passed on. Connections cut by a stall stay so."""
        run(self._set_stalled, False)

    def _set_stalled(self, on: bool) -> None:
        self._stalled = on
        if not on:
            self._gate.set()

    def half_open(self) -> None:
        """Drop everything silently on the connections open now; neither side learns of it.

        New connections work: that is what a router does that forgot its table.
        """

        def body() -> None:
            for connection in self.connections:
                connection._silent = True

        run(body)

    def drip(self, bytes_per_write: int, gap_ms: float = 0) -> None:
        """Pass on in writes of at most so many bytes, `gap_ms` apart. 0 ends it."""
        self._drip, self._drip_gap = bytes_per_write, gap_ms / 1000

    def refuse(self, on: bool = True, how: Literal["reset", "closed"] = "reset") -> None:
        """Refuse new connections: accept and reset them, or do not listen (ECONNREFUSED).

        Open connections stay. `refuse(False)` ends both.
        """
        call(self._refuse(on, how))

    async def _refuse(self, on: bool, how: str) -> None:
        self._refusing = on and how == "reset"
        listening = self._accepting is not None
        if on and how == "closed" and listening:
            await self._stop_accepting()
            # Bound but not listening: connecting is refused, and nobody else gets the port.
            self._socket.close()
            self._socket = self._bind(self.port)
        elif not (on and how == "closed") and not listening:
            self._start_accepting()

    # --- Listening ---

    async def _open(self) -> socket.socket:
        self._gate = asyncio.Event()
        self._accepting: asyncio.Task[None] | None = None
        self._socket = self._bind(0)
        self.port = self._socket.getsockname()[1]
        self._start_accepting()
        return self._socket

    @staticmethod
    def _bind(port: int) -> socket.socket:
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((HOST, port))
        sock.setblocking(False)
        return sock

    def _start_accepting(self) -> None:
        self._socket.listen(128)
        self._accepting = asyncio.create_task(self._accept())

    async def _stop_accepting(self) -> None:
        if self._accepting is not None:
            self._accepting.cancel()
            await asyncio.gather(self._accepting, return_exceptions=True)
            self._accepting = None

    async def _accept(self) -> None:
        while True:
            client, _ = await loop().sock_accept(self._socket)
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._refusing:
                with self._changed:
                    self.refused += 1
                    self._changed.notify_all()
                set_reset_on_close(client)
                client.close()
                continue
            self._begin(client)

    def _begin(self, client: socket.socket) -> None:
        connection = ProxiedConnection(self, client, len(self.connections) + 1)
        if self._next_plan is None and self._plans:
            self._next_plan = self._plans.pop(0)
        if self._next_plan is not None:
            connection._arm(*self._next_plan)
            self._next_plan = None
        self._spawn(connection.run())
        with self._changed:
            self.connections.append(connection)
            self._changed.notify_all()

    def _spawn(self, coro: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine as a task that is kept until it is done."""
        task = asyncio.create_task(coro)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def close(self) -> None:
        """Stop listening and close every connection. Closing twice is allowed."""
        call(self._close())

    async def _close(self) -> None:
        await self._stop_accepting()
        self._socket.close()
        for connection in self.connections:
            await connection._finish("close")
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def __enter__(self) -> "ChaosProxy":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

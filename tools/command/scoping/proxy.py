"""A proxy that notes what passes, and changes nothing."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass

from ...testing.wire import Direction
from .trace import Chunk, Connection, Trace

CHUNK = 65536


@dataclass(frozen=True)
class Ends:
    """Where it listens, and where it goes on to. Contexts: TLS there, or None."""

    bind: str
    port: int
    host: str
    host_port: int
    listen_tls: ssl.SSLContext | None = None
    host_tls: ssl.SSLContext | None = None


class Proxy:
    """An async context manager; ``port`` is where it listens. told(connection) is called when
    something passed, and when a connection ended."""

    def __init__(self, ends: Ends, told: Callable[[Connection], None]) -> None:
        self.trace = Trace(f"{ends.host}:{ends.host_port}")
        self.ended = 0  # connections
        self.port = 0
        self._ends = ends
        self._told = told
        self._start = time.monotonic()
        self._fault: Exception | None = None
        self._changed = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    def _now(self) -> float:
        return time.monotonic() - self._start

    async def __aenter__(self) -> Proxy:
        ends = self._ends
        self._server = await asyncio.start_server(self._accepted, ends.bind, ends.port)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def wait_ended(self, count: int) -> None:
        """Wait until so many connections have ended. Raises what ``told`` raised."""
        while self.ended < count and not self._fault:
            self._changed.clear()
            await self._changed.wait()
        if self._fault:
            raise self._fault

    def _tell(self, connection: Connection) -> None:
        # What is wrong with who is told is no fault of a connection: it ends the proxy.
        try:
            if not self._fault:
                self._told(connection)
        except Exception as error:
            self._fault = error
            self._changed.set()

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._tasks.add(task)
        host, port = writer.get_extra_info("peername")[:2]
        now = self._now()
        connection = Connection(len(self.trace.connections) + 1, now, now, f"{host}:{port}")
        self.trace.connections.append(connection)
        try:
            with contextlib.suppress(asyncio.CancelledError):
                await self._serve(connection, reader, writer)
        finally:
            self._tasks.discard(task)
            connection.closed = self._now()
            writer.close()
            self._tell(connection)
            self.ended += 1
            self._changed.set()

    async def _serve(
        self,
        connection: Connection,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        ends = self._ends
        if ends.listen_tls:
            try:
                await writer.start_tls(ends.listen_tls)
            except OSError as error:  # ssl.SSLError is one; asyncio itself says nothing
                connection.end = f"no TLS with the node: {error or 'it closed'}"
                return
        try:
            up_reader, up_writer = await asyncio.open_connection(
                ends.host, ends.host_port, ssl=ends.host_tls
            )
        except OSError as error:
            connection.end = f"no broker: {error}"
            return
        for each in (writer, up_writer):
            sock = each.get_extra_info("socket")
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        pipes = [
            asyncio.create_task(self._pipe(connection, "up", reader, up_writer)),
            asyncio.create_task(self._pipe(connection, "down", up_reader, writer)),
        ]
        try:
            await asyncio.wait(pipes)
        finally:
            for pipe in pipes:
                pipe.cancel()
            up_writer.close()

    async def _pipe(
        self,
        connection: Connection,
        way: Direction,
        source: asyncio.StreamReader,
        sink: asyncio.StreamWriter,
    ) -> None:
        by = "node" if way == "up" else "broker"
        try:
            while data := await source.read(CHUNK):
                connection.chunks.append(Chunk(self._now(), way, data))
                self._tell(connection)
                sink.write(data)
                await sink.drain()
            end = f"closed by the {by}"
        except ssl.SSLError as error:  # its alert, where TLS 1.3 was done with for this side
            end = f"TLS ended by the {by}: {error.reason}"
        except OSError:
            end = f"reset by the {by}"
        if connection.end == "open":
            connection.end = end
        with contextlib.suppress(OSError, RuntimeError):
            if sink.can_write_eof():
                sink.write_eof()
            else:
                sink.close()

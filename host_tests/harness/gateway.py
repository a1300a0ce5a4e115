"""A WebSocket server (the library websockets) in front of a TCP port: what a test plays as MQTT
over TCP, a device that speaks MQTT over WebSocket meets too.

Each time something is to be sent to the device it goes in another shape, for no boundary of frames
and messages means anything to MQTT [MQTT-6.0.0-2].
"""

import asyncio
import itertools
import queue
from collections.abc import AsyncIterator, Iterable

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from tools.testing.address import HOST
from tools.testing.loop import call

_SMALL = 200  # bytes that may go one by one


async def _in_pieces(connection: ServerConnection, data: bytes) -> AsyncIterator[bytes]:
    """One message in several frames, with a ping between two of them."""
    half = len(data) // 2
    yield data[:half]
    await connection.ping()
    yield b""
    yield data[half:]


class Gateway:
    """The server. A context manager.

    statuses: of HTTP, with which it answers first. subprotocol: what it agrees to. text: it begins
    with a message of text, which MQTT forbids.
    """

    def __init__(
        self,
        target_port: int,
        statuses: Iterable[int] = (),
        subprotocol: str | None = "mqtt",
        text: bool = False,
    ) -> None:
        self.target_port = target_port
        self.requests: list[Request] = []
        self.codes: queue.Queue[int | None] = queue.Queue()  # with which the device closed
        self._statuses = list(statuses)
        self._subprotocol = subprotocol
        self._text = text
        self._server: Server = call(self._open())
        self.port: int = next(iter(self._server.sockets)).getsockname()[1]

    async def _open(self) -> Server:
        return await serve(
            self._connected,
            HOST,
            0,
            select_subprotocol=lambda *_: Subprotocol(self._subprotocol or "") or None,
            process_request=self._answer,
            compression=None,
        )

    def _answer(self, connection: ServerConnection, request: Request) -> Response | None:
        self.requests.append(request)
        return connection.respond(self._statuses.pop(0), "no") if self._statuses else None

    async def _connected(self, connection: ServerConnection) -> None:
        if self._text:
            await connection.send("text")
        reader, writer = await asyncio.open_connection(HOST, self.target_port)
        up = asyncio.create_task(self._up(connection, writer))
        try:
            for shape in itertools.cycle(range(3)):
                data = await reader.read(65536)
                if not data:
                    break
                if shape == 1 and len(data) <= _SMALL:
                    for value in data:
                        await connection.send(bytes([value]))
                elif shape == 2:
                    await connection.send(_in_pieces(connection, data))
                else:
                    await connection.send(data)
            # Not waited for: a device that is cut off here has nothing to say.
            await connection.close()
        except ConnectionClosed:
            pass
        except ConnectionError:
            connection.transport.abort()
        finally:
            await asyncio.gather(up, return_exceptions=True)
            received = connection.protocol.close_rcvd
            self.codes.put(received.code if received else None)

    async def _up(self, connection: ServerConnection, writer: asyncio.StreamWriter) -> None:
        try:
            async for message in connection:
                assert isinstance(message, bytes), message
                writer.write(message)
        finally:
            writer.close()

    def close(self) -> None:
        """Stop listening, and close every connection."""

        async def body() -> None:
            self._server.close()
            await self._server.wait_closed()

        call(body())

    def __enter__(self) -> "Gateway":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

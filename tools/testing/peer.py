"""A scripted MQTT peer: a fake server (`ScriptedPeer`) or client (`dial`) that a test plays itself.

    with ScriptedPeer() as peer:
        start_the_client(peer.port)
        conn = peer.accept()
        conn.expect_packet(type=wire.CONNECT, client_id="node")
        conn.send(wire.connack())

Tests stay synchronous: the sockets live on the background loop, and the test waits on conditions.
"""

import asyncio
import socket
import ssl
import struct
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

from . import wire
from .address import HOST
from .loop import call, loop, run


class PeerFailure(AssertionError):
    """The other side did not do what the script expects. The text has the whole transcript."""


class PeerTimeout(PeerFailure):
    """The other side did nothing in time."""


def set_reset_on_close(sock: Any) -> None:
    """Make closing `sock` send RST instead of FIN: SO_LINGER with a time of 0."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


class Connection(asyncio.Protocol):
    """One connection, seen from the scripted side. All public methods are for the test's thread.

    Times are in seconds unless the name says ms. What is expected is consumed in order.
    """

    def __init__(self, received: wire.Direction, made: Callable[["Connection"], None]) -> None:
        self.transcript = wire.Transcript()
        self.closed_by: str = ""  # "", "other side", "other side, by reset", "this side"
        self._received_way: wire.Direction = received
        self._sent_way: wire.Direction = "down" if received == "up" else "up"
        self._made = made
        self._changed = threading.Condition()
        self._packets: deque[bytes] = deque()
        self._splitter = wire.Splitter()
        self._garbage: wire.WireError | None = None
        self._transport: asyncio.Transport | None = None
        self._mute = False

    # --- On the loop's thread ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio calls this when the connection (and its TLS handshake) is complete."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._made(self)

    def data_received(self, data: bytes) -> None:
        """asyncio calls this with whatever arrived."""
        with self._changed:
            self.transcript.add(self._received_way, data)
            try:
                self._packets.extend(self._splitter.feed(data))
            except wire.WireError as error:
                self._garbage = self._garbage or error
            self._changed.notify_all()

    def eof_received(self) -> bool:
        """asyncio calls this at end of stream; False: close our side too."""
        self._note_close("other side")
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """asyncio calls this once the connection is gone."""
        self._note_close("other side, by reset" if exc else "other side")

    def _note_close(self, by: str) -> None:
        with self._changed:
            self.closed_by = self.closed_by or by
            self._changed.notify_all()

    # --- Waiting ---

    def _fail(self, what: str, kind: type[PeerFailure] = PeerFailure) -> PeerFailure:
        """Make the exception for a failed expectation, with all there is to know."""
        state = f"closed by {self.closed_by}" if self.closed_by else "open"
        lines = [what, f"connection: {state}"]
        if self._packets:
            waiting = wire.describe(b"".join(self._packets))
            lines.append("received, not yet expected:\n" + _indent(waiting))
        lines.append("transcript:\n" + _indent(self.transcript.describe()))
        return kind("\n".join(lines))

    def put_back(self, packet: bytes) -> None:
        """Let ``next_packet`` return it again."""
        with self._changed:
            self._packets.appendleft(packet)

    def next_packet(self, timeout: float = 5, wanted: str = "a packet") -> bytes:
        """Return the next whole packet. Raises PeerTimeout, or PeerFailure if none can come."""
        with self._changed:
            over = self._changed.wait_for(
                lambda: self._packets or self._garbage or self.closed_by, timeout
            )
            if self._packets:
                return self._packets.popleft()
            if self._garbage:
                raise self._fail(f"expected {wanted}\nreceived {self._garbage}")
            if self.closed_by:
                raise self._fail(f"expected {wanted}\nbut the connection is closed")
            assert not over
            raise self._fail(f"expected {wanted}\nnothing came in {timeout} s", PeerTimeout)

    # --- Expecting ---

    def expect(self, packet: bytes, timeout: float = 5) -> None:
        """The next packet must be exactly these bytes; several packets are expected in turn.

        Raises PeerFailure (PeerTimeout if nothing came).
        """
        for wanted in list(wire.Splitter().feed(packet)) or [packet]:
            got = self.next_packet(timeout, wire.describe(wanted))
            if got != wanted:
                raise self._fail(_difference(wanted, got))

    def expect_packet(self, type: int, timeout: float = 5, **fields: Any) -> wire.Packet:
        """The next packet must be of this type with these fields (names of wire.Packet).

        Returns it decoded. Raises PeerFailure, TypeError for a field that Packet does not have.
        """
        unknown = set(fields) - set(wire.Packet.__dataclass_fields__)
        if unknown:
            raise TypeError(f"wire.Packet has no {', '.join(sorted(unknown))}")
        wanted = " ".join([wire.NAMES[type], *(f"{k}={v!r}" for k, v in fields.items())])
        got = self.next_packet(timeout, wanted)
        try:
            packet = wire.decode(got)[0]
        except wire.WireError as error:
            raise self._fail(f"expected {wanted}\nreceived {wire.describe(got)}") from error
        wrong = [k for k, v in fields.items() if getattr(packet, k) != v]
        if packet.type != type or wrong:
            also = f"\nwrong: {', '.join(wrong)}" if packet.type == type else ""
            raise self._fail(f"expected {wanted}\nreceived {wire.describe(got)}{also}")
        return packet

    def drain(self, quiet_ms: float = 200) -> list[wire.Packet]:
        """Return all packets up to a silence of `quiet_ms`, or the connection's end, decoded.

        Raises PeerFailure if one of them is malformed.
        """
        raw = bytearray()
        with self._changed:
            while self._changed.wait_for(lambda: self._packets, quiet_ms / 1000):
                raw += self._packets.popleft()
        try:
            return wire.decode(bytes(raw))
        except wire.WireError as error:
            raise self._fail(f"malformed: {error}") from error

    def expect_silence(self, ms: float) -> None:
        """Nothing may arrive for `ms`: no byte, no end of stream. Raises PeerFailure."""
        with self._changed:
            before = len(self.transcript.data(self._received_way))
            disturbed = self._changed.wait_for(
                lambda: (
                    self._packets
                    or self.closed_by
                    or len(self.transcript.data(self._received_way)) != before
                ),
                ms / 1000,
            )
            if disturbed:
                raise self._fail(f"expected silence for {ms} ms")

    def expect_closed(self, timeout: float = 5) -> str:
        """The other side must close, with no unexpected packet before; returns `closed_by`.

        Raises PeerFailure.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._packets or self.closed_by, timeout)
            if self._packets:
                raise self._fail("expected the connection to be closed, received a packet")
            if not self.closed_by:
                raise self._fail(f"expected the connection to be closed in {timeout} s")
            if self.closed_by == "this side":
                raise self._fail("expected the other side to close, but this side did")
            return self.closed_by

    # --- Acting ---

    def _open_transport(self) -> asyncio.Transport:
        if self._transport is None or self.closed_by:
            raise self._fail("cannot send: the connection is closed")
        if self._mute:
            raise self._fail("cannot send: the connection was made half open")
        return self._transport

    def send(self, data: bytes) -> None:
        """Send exactly these bytes in one write. Raises PeerFailure if the connection is gone."""
        transport = self._open_transport()
        self.transcript.add(self._sent_way, data)
        run(transport.write, data)

    def send_slowly(self, data: bytes, gap_ms: float = 0) -> None:
        """Send one byte a write, `gap_ms` apart. Raises PeerFailure if the connection is gone."""
        transport = self._open_transport()
        self.transcript.add(self._sent_way, data)

        async def body() -> None:
            for value in data:
                transport.write(bytes([value]))
                await asyncio.sleep(gap_ms / 1000)

        call(body(), 30 + len(data) * gap_ms / 1000)

    def close(self) -> None:
        """Close in order (FIN), after what was sent. Closing twice is allowed."""
        self._note_close("this side")
        if self._transport is not None:
            run(self._transport.close)

    def reset(self) -> None:
        """Close by RST: the other side gets ECONNRESET."""
        self._note_close("this side")
        transport = self._transport
        if transport is not None and not transport.is_closing():
            set_reset_on_close(transport.get_extra_info("socket"))
            run(transport.abort)

    def half_open(self) -> None:
        """Stop reading and answering but keep the socket, as a peer that lost its power."""
        self._mute = True
        transport = self._transport
        if transport is not None and not transport.is_closing():
            run(transport.pause_reading)


def _indent(text: str) -> str:
    return "\n".join("    " + line for line in text.splitlines())


def _difference(wanted: bytes, got: bytes) -> str:
    """Tell two packets apart: decoded, in hex, and where the first different byte is."""
    first = next(
        (at for at, (a, b) in enumerate(zip(wanted, got, strict=False)) if a != b),
        min(len(wanted), len(got)),
    )
    return (
        f"expected {wire.describe(wanted)}\n         {wanted.hex(' ')}\n"
        f"received {wire.describe(got)}\n         {got.hex(' ')}\n"
        f"first difference at byte {first}"
    )


class ScriptedPeer:
    """A fake server on a free loopback port. A context manager; TLS with `ssl_context`."""

    host = HOST

    def __init__(self, ssl_context: ssl.SSLContext | None = None) -> None:
        self.connections: list[Connection] = []
        self._accepted: deque[Connection] = deque()
        self._changed = threading.Condition()
        self._server = call(self._listen(ssl_context))
        self.port: int = self._server.sockets[0].getsockname()[1]

    async def _listen(self, ssl_context: ssl.SSLContext | None) -> asyncio.Server:
        return await loop().create_server(
            lambda: Connection("up", self._connected), HOST, 0, ssl=ssl_context
        )

    def _connected(self, connection: Connection) -> None:
        with self._changed:
            self.connections.append(connection)
            self._accepted.append(connection)
            self._changed.notify_all()

    def accept(self, timeout: float = 5) -> Connection:
        """Return the next connection, in the order they came. Raises PeerTimeout."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._accepted, timeout):
                raise PeerTimeout(f"nobody connected to port {self.port} in {timeout} s")
            return self._accepted.popleft()

    def expect_no_connection(self, ms: float) -> None:
        """Nobody may connect for `ms`. Raises PeerFailure."""
        with self._changed:
            if self._changed.wait_for(lambda: self._accepted, ms / 1000):
                raise PeerFailure(f"expected no connection for {ms} ms, but one came")

    def close(self) -> None:
        """Stop listening and close every connection."""
        run(self._server.close)
        for connection in self.connections:
            connection.close()

    def __enter__(self) -> "ScriptedPeer":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def dial(
    port: int,
    host: str = HOST,
    ssl_context: ssl.SSLContext | None = None,
    server_hostname: str | None = None,
    timeout: float = 5,
) -> Connection:
    """Connect as a scripted client. Raises OSError (ssl.SSLError) as the connection does."""

    async def body() -> Connection:
        _, connection = await loop().create_connection(
            lambda: Connection("down", lambda _: None),
            host,
            port,
            ssl=ssl_context,
            server_hostname=server_hostname,
        )
        return connection

    return call(body(), timeout)

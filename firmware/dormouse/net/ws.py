"""MQTT over WebSocket (section 6 of both standards, RFC 6455), and with ``tls`` secure WebSocket.

client = Client("broker.local", 9001, stream=WebSocket("/mqtt"))
"""

import sys
from asyncio import Lock
from binascii import b2a_base64
from hashlib import sha1
from os import urandom

from micropython import const

from ..packet import ConnectionLost, MQTTError

if sys.implementation.name == "micropython":
    import dormouse.stream as below

    def _put(stream, data):  # what the socket takes at once
        stream.write(data)

else:
    import dormouse._host as below

    def _put(stream, data):
        stream[1].write(data)


_GUID = const(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11")  # RFC 6455, section 1.3
_SHORTEST = const(136)  # bytes, the shortest answer that agrees: so much can be read at once
_LONGEST = const(2048)  # bytes of an answer, status line and headers
_PIECE = const(1024)  # bytes of a frame at most: it is in RAM masked, beside what it was made of
_MASKED = const(64)  # bytes that are masked together, as an integer

_BINARY = const(0x82)  # the first byte of a whole message
_CLOSE = const(0x88)
_PONG = const(0x8A)


class UpgradeError(OSError):
    """The server did not agree to MQTT over WebSocket; the text is its first line, or says why.

    ``code``: its HTTP status, or 0. 404: another path; 401, 403: see ``headers``; 101: it is a
    WebSocket, but not one for MQTT.
    """

    code = 0


class FrameError(MQTTError):
    """The server sent what RFC 6455 or MQTT over it forbids. Its argument is the frame's first
    byte: 0x81 is text [MQTT-6.0.0-1]."""


class WebSocket:
    """A way to the broker for ``Client(..., stream=)``; one for each client.

    ``path`` begins with a slash, and may have a query. ``headers`` go with the request, each with
    its line end, but for the last: "Authorization: Basic ...". The client has to name the port.
    """

    def __init__(self, path: str = "/mqtt", headers: str = "") -> None:
        self.path = path
        if headers and headers[-2:] != "\r\n":  # or the server would wait for more, for ever
            headers += "\r\n"
        self.headers = headers

    async def open_stream(self, host: str, port: int, tls=None, name: str | None = None):
        """Connect and shake hands. Raises UpgradeError, and what ``stream.open_stream`` does."""
        stream, close = await below.open_stream(host, port, tls, name)
        try:
            await self._agree(stream, name or host, port)
        except BaseException:
            close()
            raise
        # Each connection has its own: who still waits on an old one waits for nobody here.
        lock = self._lock = Lock()
        self._left = 0  # of the data frame that is being read
        self._open = False  # whether its message goes on in another frame

        self._why = 1000  # it closes, as planned; section 7.4.1

        def end():
            # Asks for the end or answers to that (section 5.5.1), and waits for nothing.
            try:
                if not lock.locked():  # else in the middle of a frame
                    _put(stream, _frame(_CLOSE, self._why.to_bytes(2, "big")))
            except Exception:
                pass  # it was gone already; or no memory, which may be why it ends
            close()

        return stream, end

    async def read(self, stream, buf):
        """Read what there is of a message's payload into a memoryview, straight from below.

        Raises FrameError, and ConnectionLost with the code of the server that closes.
        """
        while not self._left:
            first, n = await _exactly(stream, 2)
            kind = first & 15
            # Reserved bits; a mask, which only clients have; a control frame in pieces or too
            # long, or an unknown one; a message within a message, or not of binary.
            if (
                first & 0x70
                or n & 0x80
                or (kind & 8 and (first < 0x80 or n > 125 or kind > 10))
                or (kind < 8 and kind != (0 if self._open else 2))
            ):
                self._why = 1003 if kind == 1 else 1002
                raise FrameError(first)
            if kind & 8:  # control: it may come between the frames of a message
                data = await _exactly(stream, n)
                if kind == 8:
                    raise ConnectionLost("closed", int.from_bytes(data[:2], "big"))
                if kind == 9:
                    await self._send(stream, _frame(_PONG, data))
                continue
            self._open = first < 0x80
            if n > 125:
                n = int.from_bytes(await _exactly(stream, 2 if n == 126 else 8), "big")
                if n >> 30:  # section 5.2 forbids the first bit; no chip could slice by so much
                    self._why = 1009
                    raise FrameError(first)
            self._left = n
        n = await below.read(stream, buf[: self._left])
        self._left -= n
        return n

    async def write(self, stream, buf):
        """Write all of a buffer, as messages of one frame each."""
        buf = memoryview(buf)
        n = _PIECE
        while buf:
            try:
                frame = _frame(_BINARY, buf[:n])
            except MemoryError:  # there may be some in smaller pieces
                n >>= 1
                if n < _MASKED:
                    raise
                continue
            buf = buf[n:]
            await self._send(stream, frame)
            frame = None  # its memory may be what the next one needs

    async def _send(self, stream, frame):
        async with self._lock:  # a pong must not come into the middle of a frame
            await below.write(stream, frame)

    async def _agree(self, stream, host, port):
        key = b2a_base64(urandom(16))[:-1]
        request = "GET %s HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        request += "Sec-WebSocket-Key: %s\r\nSec-WebSocket-Version: 13\r\n"
        request += "Sec-WebSocket-Protocol: mqtt\r\n%s\r\n"
        if ":" in host:
            host = "[%s]" % host
        if port not in (80, 443):  # else it is not named (RFC 6455, 4.1): some sign the name alone
            host += ":%d" % port
        request %= self.path, host, str(key, "utf-8"), self.headers
        await below.write(stream, memoryview(request.encode()))
        lines = (await _answer(stream)).split(b"\r\n")
        found = {}
        for line in lines:
            name, _, value = line.partition(b":")
            found[name.lower()] = value.strip()
        line = lines[0]  # HTTP/1.1 404 Not Found
        code = line[9:12]
        wrong = None
        if line[:7] != b"HTTP/1." or not code.isdigit():
            wrong = "no HTTP"
            code = 0
        elif code != b"101":
            wrong = repr(line[:80])
        elif (
            found.get(b"upgrade", b"").lower() != b"websocket"
            or b"upgrade" not in found.get(b"connection", b"").lower()
            or found.get(b"sec-websocket-accept") != b2a_base64(sha1(key + _GUID).digest())[:-1]
            or b"sec-websocket-extensions" in found  # none was offered
        ):
            wrong = "no WebSocket"
        elif found.get(b"sec-websocket-protocol") != b"mqtt":
            wrong = "no MQTT"
        if wrong:
            e = UpgradeError(wrong)
            e.code = int(code)
            raise e


async def _exactly(stream, n):
    data = bytearray(n)
    view = memoryview(data)
    while n:
        got = await below.read(stream, view[-n:])
        if not got:
            raise ConnectionLost("closed")  # by TCP alone
        n -= got
    return data


async def _answer(stream):
    # Up to and with the empty line, and no byte more: a frame may follow at once.
    head = b""
    while head[-4:] != b"\r\n\r\n":
        # In the middle of a line, four more bytes at least are missing; near its end, one.
        n = 1 if head[-1:] in (b"\r", b"\n") else 4
        part = bytearray(max(n, _SHORTEST - len(head)))
        n = await below.read(stream, memoryview(part))
        head += part[:n]
        if not n:
            break
        if len(head) > _LONGEST:
            raise UpgradeError("too long an answer")
    return head


def _frame(first, data):
    # A masked frame (section 5.3), as a memoryview.
    n = len(data)
    mask = urandom(4)
    key = int.from_bytes(mask * (_MASKED // 4), "big")
    at = 6 if n < 126 else 8
    frame = bytearray(at + (n + _MASKED - 1 & -_MASKED))
    frame[0] = first
    frame[1] = 0x80 | min(n, 126)
    if n > 125:
        frame[2:4] = n.to_bytes(2, "big")
    frame[at - 4 : at] = mask
    # As long integers: byte by byte it would take four times as long (1,024 bytes on the 32-bit
    # unix port). Beyond the last byte is room for the rest of the mask.
    for i in range(0, n, _MASKED):
        part = bytes(data[i : i + _MASKED])
        part += bytes(_MASKED - len(part))
        masked = int.from_bytes(part, "big") ^ key
        frame[at + i : at + i + _MASKED] = masked.to_bytes(_MASKED, "big")
    return memoryview(frame)[: at + n]

"""Checks of MQTT over WebSocket, on every runtime; no network and no loop, but scripted bytes.

Bytes are written out by hand from RFC 6455. See core_checks.py, whose way this is.
"""

import core_checks
import dormouse.net.ws as ws
from core_checks import same
from dormouse.session import ConnectionLost

KEY = "dGhlIHNhbXBsZSBub25jZQ=="  # the example of RFC 6455, sections 1.2 and 1.3
AGREED = (
    b"HTTP/1.1 101 Switching Protocols\r\n"
    b"Upgrade: websocket\r\n"
    b"Connection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"
    b"Sec-WebSocket-Protocol: mqtt\r\n"
    b"\r\n"
)
SHORTEST = (
    b"HTTP/1.1 101 \r\nUpgrade:websocket\r\nConnection:Upgrade\r\nSec-WebSocket-Protocol:mqtt\r\n"
    b"Sec-WebSocket-Accept:s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
)


def drive(coro):
    """Run what never waits. Returns its result."""
    try:
        coro.send(None)
    except StopIteration as e:
        return e.value
    raise AssertionError("it waits")


class Below:
    """Stands for the module stream: gives scripted bytes in pieces, and keeps what is written."""

    def __init__(self, data=b"", piece=9999):
        self.data = data
        self.piece = piece
        self.written = b""
        self.closed = False

    async def open_stream(self, *address):
        self.address = address
        return self, self.close

    async def read(self, stream, buf):
        n = min(len(buf), self.piece, len(self.data))
        buf[:n] = self.data[:n]
        self.data = self.data[n:]
        return n

    async def write(self, stream, buf):
        self.written += bytes(buf)

    def put(self, stream, data):
        self.written += bytes(data)

    def close(self):
        self.closed = True


def nonce(n):
    return b"the sample nonce"[:n]


def opened(data, piece=9999, agreed=AGREED):
    """Return a WebSocket that has shaken hands, what is below it, and the function that closes."""
    b = ws.below = Below(agreed + data, piece)
    ws._put = b.put
    w = ws.WebSocket("/mqtt")
    random, ws.urandom = ws.urandom, nonce
    try:
        stream, close = drive(w.open_stream("h", 80))
    finally:
        ws.urandom = random
    same(stream is b, True)
    b.asked, b.written = b.written, b""
    return w, b, close


def read_all(w, b, size=100):
    buf = memoryview(bytearray(size))
    out = b""
    while b.data:
        out += bytes(buf[: drive(w.read(b, buf))])
    return out


def unmasked(data):
    """Return frames that a client wrote, as pairs of the first byte and payload."""
    out = []
    while data:
        n = data[1] & 0x7F
        same(data[1] >> 7, 1)
        at = 2
        if n == 126:
            n = data[2] << 8 | data[3]
            at = 4
            same(n > 125, True)
        mask = data[at : at + 4]
        payload = data[at + 4 : at + 4 + n]
        same(len(payload), n)
        out.append((data[0], bytes([payload[i] ^ mask[i & 3] for i in range(n)])))
        data = data[at + 4 + n :]
    return out


def fails(kind, call, *args):
    try:
        drive(call(*args))
    except kind as e:
        return e
    raise AssertionError("nothing raised")


# mqtt311: MQTT-6.0.0-3
# mqtt5: MQTT-6.0.0-3
def check_request():
    w, b, _ = opened(b"")
    same(b.address, ("h", 80, None, None))
    lines = b.asked.split(b"\r\n")
    same(lines[0], b"GET /mqtt HTTP/1.1")
    same(lines[-2:], [b"", b""])
    wanted = [
        b"Connection: Upgrade",
        b"Host: h",
        b"Sec-WebSocket-Key: " + KEY.encode(),
        b"Sec-WebSocket-Protocol: mqtt",
        b"Sec-WebSocket-Version: 13",
        b"Upgrade: websocket",
    ]
    same(sorted(lines[1:-2]), wanted)
    ws.below = b = Below()
    w = ws.WebSocket("/a?b", "Authorization: Basic eA==\r\n")
    # An IPv6 address; and the name that stands for the address, as Node has it.
    fails(ws.UpgradeError, w.open_stream, "::1", 443)
    same(b"Host: [::1]\r\n" in b.written, True)
    fails(ws.UpgradeError, w.open_stream, "::1", 9001)
    same(b"Host: [::1]:9001\r\n" in b.written, True)
    fails(ws.UpgradeError, w.open_stream, "10.0.0.1", 443, "tls", "broker.local")
    same(b.address, ("10.0.0.1", 443, "tls", "broker.local"))
    same(b"Host: broker.local\r\n" in b.written, True)
    same(b.written.count(b"GET /a?b HTTP/1.1\r\n"), 3)
    same(b.written.count(b"\r\nAuthorization: Basic eA==\r\n\r\n"), 3)
    keys = [line for line in b.written.split(b"\r\n") if line[:18] == b"Sec-WebSocket-Key:"]
    same(len(keys), 3)
    same(keys[0] != keys[1], True)


def check_the_last_line_end():
    # Without it the server would wait for more, and nothing would say so.
    for headers in ("", "A: b\r\n", "A: b\r\nC: d"):
        w = ws.WebSocket("/a", headers)
        same(w.headers, headers if headers[-1:] != "d" else headers + "\r\n")


def check_answers_that_agree():
    odd = AGREED.replace(b"websocket", b"WebSocket").replace(b": Upgrade", b":keep-alive, upgrade ")
    odd = odd.replace(b"Sec-WebSocket-A", b"SEC-websocket-a").replace(b" mqtt", b"  mqtt\t")
    odd = odd.replace(b"Upgrade:", b"Server: x\r\nDate: Mon, 1 Jan\r\nX:\r\nUpgrade:", 1)
    for answer in (AGREED, SHORTEST, odd):
        for piece in (1, 2, 3, 5, 135, 136, 137, 9999):
            # A frame may follow at once: none of its bytes are taken for the answer's.
            w, b, _ = opened(b"\x82\x01x", piece, answer)
            same(b.data, b"\x82\x01x")
            same(read_all(w, b), b"x")


# mqtt311: MQTT-6.0.0-4
# mqtt5: MQTT-6.0.0-4
def check_answers_that_do_not():
    for old, new, code in (
        (b"101 Switching Protocols", b"404 Not Found", 404),
        (b"101 Switching Protocols", b"401", 401),
        (b"101 Switching Protocols", b"200 OK", 200),
        (b"101", b"1O1", 0),
        (b"101", b"", 0),
        (b"HTTP", b"MQTT", 0),
        (AGREED, b"", 0),
        (AGREED, b"\x20\x02\x00\x00", 0),
        (AGREED, b"\xff" * 100, 0),
        (AGREED, b"HTTP/1.1 503 \xff\xfe\r\n\r\n", 503),
        (b"s3pP", b"S3pP", 101),
        (b"Sec-WebSocket-Accept", b"X", 101),
        (b": websocket", b": h2c", 101),
        (b"Upgrade: websocket\r\n", b"", 101),
        (b": Upgrade", b": close", 101),
        (b"Connection: Upgrade\r\n", b"", 101),
        (b" mqtt", b" mqttv3.1", 101),
        (b" mqtt", b" MQTT", 101),
        (b"Sec-WebSocket-Protocol: mqtt\r\n", b"", 101),
        (b"\r\n\r\n", b"\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n", 101),
        (b"\r\n\r\n", b"\r\n" + b"X: y\r\n" * 1000 + b"\r\n", 0),
        (AGREED, b"HTTP/1.1 101 " + b"x" * 9999, 0),
    ):
        ws.below = b = Below(AGREED.replace(old, new))
        w = ws.WebSocket()
        random, ws.urandom = ws.urandom, nonce
        try:
            e = fails(ws.UpgradeError, w.open_stream, "h", 80)
        finally:
            ws.urandom = random
        same((new, e.code), (new, code))
        same(b.closed, True)
        same(len(str(e)) < 400, True)
    same(isinstance(e, OSError), True)  # so that the client tries again
    ws.below = Below(b"HTTP/1.1 404 Not Found\r\n\r\n")
    e = fails(ws.UpgradeError, ws.WebSocket().open_stream, "h", 80)
    same("404 Not Found" in str(e), True)


# mqtt311: MQTT-6.0.0-1
# mqtt5: MQTT-6.0.0-1
def check_frames_are_masked_and_binary():
    w, b, _ = opened(b"")
    for n in (1, 2, 63, 64, 65, 125, 126, 127, 128, 1023, 1024, 1025, 2048, 3000):
        data = bytes([i * 7 & 0xFF for i in range(n)])
        for form in (data, memoryview(data), memoryview(bytearray(data))):
            drive(w.write(b, form))
            frames = unmasked(b.written)
            same(b"".join([payload for _, payload in frames]), data)
            same([first for first, _ in frames], [0x82] * (1 + (n - 1) // 1024))
            b.written = b""
    masks = []
    for _ in range(20):
        drive(w.write(b, b"x"))
        masks.append(b.written[2:6])
        b.written = b""
    same(len(set(masks)) > 15, True)


# mqtt311: MQTT-6.0.0-2
# mqtt5: MQTT-6.0.0-2
def check_frames_mean_nothing_to_packets():
    long = bytes(range(256)) + b"end"
    data = b"".join(
        (
            b"\x82\x02ab",
            b"\x82\x00",
            b"\x02\x01c\x00\x00\x89\x02hi\x00\x01d\x8a\x00\x80\x02ef",  # with a ping and a pong
            b"\x02\x00\x80\x01g",
            b"\x82\x7e\x01\x00" + long[:256],
            b"\x82\x7f\x00\x00\x00\x00\x00\x00\x01\x03" + long,
            b"\x82\x7e\x00\x02hi",  # a length longer than need be
            b"\x89\x7d" + long[:125],
            b"\x82\x01z",
        )
    )
    for piece in (1, 2, 3, 7, 100, 9999):
        for size in (1, 5, 128):
            w, b, _ = opened(data, piece)
            same(read_all(w, b, size), b"abcdefg" + long[:256] + long + b"hiz")
            same(unmasked(b.written), [(0x8A, b"hi"), (0x8A, long[:125])])
    data = b"\x82\x7f\x00\x00\x00\x00\x00\x01\x00\x05" + bytes(65541) + b"\x82\x01z"
    w, b, _ = opened(data, 1000)
    same(read_all(w, b, 1000), bytes(65541) + b"z")


def check_no_byte_is_copied_in_between():
    w, b, _ = opened(b"\x82\x05abcde\x82\x01f")
    buf = memoryview(bytearray(9))
    same(drive(w.read(b, buf)), 5)  # as much as a frame has, and not of the next
    same(bytes(buf), b"abcde\0\0\0\0")


# mqtt311: MQTT-6.0.0-1
# mqtt5: MQTT-6.0.0-1
def check_frames_that_are_forbidden():
    for data, code in (
        (b"\x81\x01x", 1003),  # text
        (b"\x01\x01x", 1003),
        (b"\x82\x81\0\0\0\0x", 1002),  # masked
        (b"\xc2\x01x", 1002),  # reserved bits
        (b"\xa2\x01x", 1002),
        (b"\x92\x01x", 1002),
        (b"\x83\x00", 1002),  # unknown
        (b"\x87\x00", 1002),
        (b"\x8b\x00", 1002),
        (b"\x8f\x00", 1002),
        (b"\x80\x01x", 1002),  # goes on with nothing
        (b"\x02\x01x\x82\x01y", 1002),  # a message in a message
        (b"\x02\x01x\x81\x01y", 1003),
        (b"\x09\x00", 1002),  # control in pieces
        (b"\x08\x00", 1002),
        (b"\x89\x7e\x00\x7e" + bytes(126), 1002),  # too long
        (b"\x88\x7e\x00\x7e" + bytes(126), 1002),
        (b"\x82\x7f\xff" + bytes(7) + b"x", 1009),  # a negative length
        (b"\x82\x7f\0\0\0\0\x80\0\0\0x", 1009),  # more than a chip's integer can say
    ):
        w, b, close = opened(data)
        e = fails_to_read(ws.FrameError, w, b)
        same(e.args, (data[3] if data[:2] == b"\x02\x01" else data[0],))
        same(b.closed, False)
        close()
        same(unmasked(b.written), [(0x88, bytes((code >> 8, code & 0xFF)))])
        same(b.closed, True)


def fails_to_read(kind, w, b):
    buf = memoryview(bytearray(9))
    for _ in range(3):
        try:
            drive(w.read(b, buf))
        except kind as e:
            return e
    raise AssertionError("nothing raised")


def check_the_end():
    # The server's wish: its code is told, and the answer is a close frame, once.
    for data, code in (
        (b"\x88\x02\x03\xe9", 1001),
        (b"\x88\x00", 0),
        (b"\x88\x06\x03\xf0word", 1008),
    ):
        w, b, close = opened(data)
        same(fails_to_read(ConnectionLost, w, b).args, ("closed", code))
        close()
        same(unmasked(b.written), [(0x88, b"\x03\xe8")])
    # Cut off: between frames, in a header, in a control frame, in a payload.
    # That, too, is an end by the broker, as evidence goes.
    w, b, _ = opened(b"")
    fails_to_read(ConnectionLost, w, b)
    for data in (b"\x82", b"\x82\x7e\x01", b"\x89\x02h", b"\x82\x7f\0\0\0"):
        w, b, _ = opened(data)
        fails_to_read(ConnectionLost, w, b)
    w, b, _ = opened(b"\x82\x05ab")
    same([drive(w.read(b, memoryview(bytearray(9)))) for _ in range(2)], [2, 0])
    # In the middle of a frame nothing is put; and what the socket says of it is nobody's business.
    w, b, close = opened(b"")
    drive(w._lock.acquire())
    close()
    same((b.written, b.closed), (b"", True))
    w, b, close = opened(b"")
    ws._put = broken
    close()
    same(b.closed, True)


def broken(stream, data):
    raise OSError(32)


def check_the_end_without_memory():
    """Which may be why it ends: what is below is closed all the same."""
    _, b, close = opened(b"")
    frame = ws._frame

    def none(first, data):
        raise MemoryError

    ws._frame = none
    try:
        close()
    finally:
        ws._frame = frame
    same(b.closed, True)


def check_a_heap_in_pieces():
    """A packet goes all the same, in smaller frames: it would be the first on each connection."""
    w, b, _ = opened(b"")
    frame = ws._frame
    data = bytes([i * 7 & 0xFF for i in range(1500)])
    for most in (1024, 300, 64, 63):

        def piece(first, part, most=most):
            if len(part) > most:
                raise MemoryError
            return frame(first, part)

        ws._frame = piece
        try:
            if most < 64:
                fails(MemoryError, w.write, b, data)
                break
            drive(w.write(b, data))
        finally:
            ws._frame = frame
        parts = [payload for _, payload in unmasked(b.written)]
        same((b"".join(parts), len(parts)), (data, {1024: 2, 300: 6, 64: 24}[most]))
        b.written = b""


def check_a_new_connection_begins_anew():
    w, b, _ = opened(b"\x02\x7e\x01\x00abc")
    drive(w.read(b, memoryview(bytearray(9))))
    random, ws.urandom = ws.urandom, nonce
    b.data = AGREED + b"\x82\x01x"
    try:
        drive(w.open_stream("h", 80))
    finally:
        ws.urandom = random
    same(read_all(w, b), b"x")


CHECKS = sorted(name for name in globals() if name.startswith("check_"))

if __name__ == "__main__":
    core_checks.run(globals(), CHECKS)

"""MQTT over WebSocket: the checks on every runtime; and bytes of all kinds, on CPython.

What is right is said by the frames of the library websockets.
"""

import asyncio
from pathlib import Path

import dormouse.net.ws as ws
import pytest
import ws_checks
from dormouse.session import ConnectionLost
from hypothesis import given
from hypothesis import strategies as st
from test_core import all_passed
from websockets.frames import Frame, Opcode
from ws_checks import AGREED, Below, drive, nonce, opened, unmasked

from tools.testing import runtimes


@pytest.fixture(autouse=True)
def as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """Undo what checks put into the module."""
    for name in ("below", "_put", "urandom"):
        monkeypatch.setattr(ws, name, getattr(ws, name))


@pytest.mark.parametrize("name", ws_checks.CHECKS)
def test_check(name: str) -> None:
    getattr(ws_checks, name)()


def test_on_runtime(runtime: runtimes.Runtime) -> None:
    with runtime.start(Path(ws_checks.__file__)) as device:
        assert device.wait_exit(60) == 0, device.transcript()
        all_passed(ws_checks, "\n".join(device.lines) + "\n")


PAYLOAD = st.binary(max_size=300)
CONTROL = st.builds(
    Frame, st.sampled_from([Opcode.PING, Opcode.PONG]), st.binary(max_size=125), st.just(True)
)


@st.composite
def messages(draw: st.DrawFn) -> tuple[bytes, bytes, list[bytes]]:
    """Frames that a server may send: their bytes, the payload in them, and that of the pings."""
    frames: list[Frame] = []
    payload = b""
    for parts in draw(st.lists(st.lists(PAYLOAD, min_size=1, max_size=4), max_size=5)):
        for n, part in enumerate(parts):
            frames += draw(st.lists(CONTROL, max_size=2))
            kind = Opcode.CONT if n else Opcode.BINARY
            frames.append(Frame(kind, part, n == len(parts) - 1))
            payload += part
    pings = [bytes(frame.data) for frame in frames if frame.opcode == Opcode.PING]
    return b"".join(frame.serialize(mask=False) for frame in frames), payload, pings


def read_to_the_end(w: ws.WebSocket, b: Below, size: int) -> bytes:
    out = b""
    buf = memoryview(bytearray(size))
    while b.data:
        n = drive(w.read(b, buf))
        out += buf[:n]
        if not n:
            break
    return out


@given(messages(), st.integers(1, 50), st.integers(1, 200))
def test_what_a_server_may_send(sent: tuple, piece: int, size: int) -> None:
    data, payload, pings = sent
    w, b, _ = opened(data + b"\x82\x01!", piece)
    assert read_to_the_end(w, b, size) == payload + b"!"
    assert unmasked(b.written) == [(0x8A, ping) for ping in pings]


@given(st.binary(max_size=3000))
def test_what_the_client_sends(data: bytes) -> None:
    """As the library reads it."""
    w, b, _ = opened(b"")
    drive(w.write(b, memoryview(data)))
    written, out = b.written, b""

    def exactly(n: int):
        nonlocal written
        part, written = written[:n], written[n:]
        return part
        yield

    while written:
        try:
            next(Frame.parse(exactly, mask=True))
        except StopIteration as end:
            assert end.value.opcode == Opcode.BINARY and end.value.fin
            out += bytes(end.value.data)
    assert out == data


@given(messages(), st.binary(max_size=40), st.integers(0, 400), st.integers(1, 50))
def test_what_a_server_must_not_send(sent: tuple, noise: bytes, at: int, piece: int) -> None:
    """Anything, anywhere: a typed error or bytes, and no more bytes than came."""
    data = sent[0][:at] + noise + sent[0][at:]
    w, b, close = opened(data, piece)
    try:
        assert len(read_to_the_end(w, b, 100)) <= len(data)
    except (ws.FrameError, ConnectionLost):
        pass
    except OSError as error:
        assert str(error) == "closed in the middle of a frame" and not b.data
    close()
    assert unmasked(b.written)[-1][0] == 0x88


@given(st.integers(0, len(AGREED)), st.integers(0, len(AGREED)), st.binary(max_size=40))
def test_answers_of_all_kinds(start: int, end: int, noise: bytes) -> None:
    """It agrees, or it is an UpgradeError."""
    b = ws.below = Below(AGREED[:start] + noise + AGREED[end:])
    ws.urandom = nonce
    try:
        drive(ws.WebSocket().open_stream("h", 80))
    except ws.UpgradeError as error:
        assert b.closed and error.code in range(1000)
    else:
        assert not b.closed


class Slow(Below):
    """Takes a piece, and lets others run before the next."""

    async def write(self, stream: object, buf: memoryview) -> None:
        for value in bytes(buf):
            self.written += bytes([value])
            await asyncio.sleep(0)


def test_a_pong_waits_for_the_end_of_a_frame() -> None:
    w, b, _ = opened(b"\x89\x02hi\x82\x01x")
    slow = ws.below = Slow(b.data)

    async def both() -> None:
        await asyncio.gather(
            w.write(slow, memoryview(bytes(50))), w.read(slow, memoryview(bytearray(9)))
        )

    asyncio.run(both())
    assert unmasked(slow.written) == [(0x82, bytes(50)), (0x8A, b"hi")]

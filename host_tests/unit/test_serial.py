"""serial.py: what it waits for before a connection begins. Over a line: scenarios/."""

import asyncio
import time

from dormouse.net.serial import Serial


class Line:
    """Gives what comes at its time: s after the beginning, and bytes."""

    def __init__(self, *script: tuple[float, bytes]) -> None:
        self.script = list(script)
        self.began = time.monotonic()

    async def read(self, stream: object, buf: memoryview) -> int:
        at, data = self.script[0] if self.script else (9.0, b"")
        await asyncio.sleep(self.began + at - time.monotonic())
        self.script.pop(0)
        buf[: len(data)] = data
        return len(data)


def opened(line: Line, quiet: int) -> float:
    """Return after how many s the line was open."""
    serial = Serial(line, quiet)
    serial.read = line.read

    async def main() -> None:
        line.began = time.monotonic()
        stream, close = await serial.open_stream("", 0)
        assert stream is line
        close()

    asyncio.run(main())
    return time.monotonic() - line.began


def test_as_long_as_the_line_is_not_quiet() -> None:
    line = Line((0.0, b"a" * 64), (0.0, b"b"), (0.08, b"c"), (0.16, b"d"))
    assert 0.26 <= opened(line, 100) < 2
    assert not line.script


def test_quiet_from_the_beginning() -> None:
    """Silence of our own: it ends a packet that was begun before."""
    assert 0.1 <= opened(Line(), 100) < 2


def test_a_line_that_is_closed_is_not_waited_for() -> None:
    assert opened(Line((0.0, b"")), 5000) < 2

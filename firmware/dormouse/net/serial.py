"""MQTT over a serial line, or any other byte stream that stands by itself.

    client = Client("", stream=Serial(UART(1, 115200, tx=17, rx=18, rxbuf=4096)))

At the other end is ``tools/board/bridge.py``, or whatever takes a CONNECT for a new connection.
"""

import asyncio
import sys

if sys.implementation.name == "micropython":
    import dormouse.stream as below
else:
    import dormouse._host as below


class Serial:
    """A way to the broker for ``Client(..., stream=)``.

    ``stream``: a ``machine.UART``, made with its default timeout of 0, or whatever asyncio can
    poll; it is never closed. On CPython a pair of StreamReader and StreamWriter.
    ``quiet``: ms, twice what the other end takes for the end of a packet that was begun.

    Nothing is said of host, port and tls: the host of the client should be "". A line has no
    beginning and no end, so the keep-alive finds out that nobody is there.
    """

    def __init__(self, stream, quiet: int = 100) -> None:
        self.stream = stream
        self.quiet = quiet
        self.read = below.read
        self.write = below.write

    async def open_stream(self, host: str, port: int, tls=None, name: str | None = None):
        """Drop what is left of an old connection until the line is quiet. Raises OSError.

        What had not gone out whole is cut off for the other end by the same silence.
        """
        stale = memoryview(bytearray(64))
        n = 0
        try:
            while await asyncio.wait_for(self.read(self.stream, stale), self.quiet / 1000):
                n += 1
                if n == 16:
                    # The old connection goes on. After silence of our own, a CONNECT without
                    # anything takes its place, which the broker closes [MQTT-3.1.4-1].
                    await asyncio.sleep(self.quiet / 1000)
                    await self.write(self.stream, memoryview(b"\x10\x06\0\4MQTT"))
        except asyncio.TimeoutError:
            pass
        return self.stream, _nothing


def _nothing():
    pass

"""What CPython lacks of MicroPython, so that the same files run on a desktop.

Not for the device: left out of ``manifest.py`` and ``package.json``.
"""

import asyncio
import sys
import time
import types

if "micropython" not in sys.modules:
    _shim = types.ModuleType("micropython")
    _shim.const = lambda value: value  # type: ignore[attr-defined]
    sys.modules["micropython"] = _shim


def ticks_ms() -> int:
    """Return a monotonic time in ms."""
    return time.monotonic_ns() // 1000000


def sleep_ms(ms: int):
    """Return an awaitable that ends after ``ms``."""
    return asyncio.sleep(ms / 1000)


class Stream:
    """An asyncio connection with the methods of ``stream.Stream``."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def readinto(self, buf: memoryview) -> int:
        data = await self._reader.read(len(buf))
        buf[: len(data)] = data
        return len(data)

    async def write(self, buf: memoryview) -> None:
        self._writer.write(bytes(buf))
        await self._writer.drain()

    def close(self) -> None:
        self._writer.close()


async def open_stream(host: str, port: int, tls=None) -> Stream:
    """Connect as ``stream.open_stream`` does."""
    name = host if tls else None
    return Stream(*await asyncio.open_connection(host, port, ssl=tls, server_hostname=name))

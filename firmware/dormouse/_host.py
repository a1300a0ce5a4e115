"""What CPython lacks of MicroPython, so that the same files run on a desktop.

Not for the device: left out of ``manifest.py`` and ``package.json``.
"""

import asyncio
import sys
import time
import traceback
import types
from collections.abc import Callable

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


def print_exception(e: BaseException, file) -> None:
    """Print a traceback as ``sys.print_exception`` does."""
    traceback.print_exception(e, file=file)


Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def read(stream: Stream, buf: memoryview) -> int:
    """Read as ``stream.read`` does."""
    await asyncio.sleep(0)  # StreamReader does not, while it has bytes: others have to run too
    data = await stream[0].read(len(buf))
    buf[: len(data)] = data
    return len(data)


async def write(stream: Stream, buf: memoryview) -> None:
    """Write as ``stream.write`` does."""
    stream[1].write(bytes(buf))
    await stream[1].drain()


async def open_stream(
    host: str, port: int, tls=None, name: str | None = None
) -> tuple[Stream, Callable[[], None]]:
    """Connect as ``stream.open_stream`` does."""
    name = (name or host) if tls else None
    stream = await asyncio.open_connection(host, port, ssl=tls, server_hostname=name)
    return stream, lambda: close(stream[1].transport)


def close(transport: asyncio.WriteTransport) -> None:
    """Close; with bytes left, at once: asyncio would wait for ever for a peer that takes none."""
    if transport.get_write_buffer_size():
        transport.abort()
    else:
        transport.close()

"""Lines of stdin in asyncio, whatever stdin is: a terminal, a pipe, a file."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import threading
from collections.abc import AsyncIterator

AHEAD = 64  # lines read before they are asked for
CHUNK = 65536


async def lines() -> AsyncIterator[bytes]:
    """Give the lines of stdin without their ends, as they come."""
    # A thread of its own that may be left behind at the end: asyncio's executor is waited for,
    # and nobody can wake a thread that reads a terminal.
    queue: asyncio.Queue[bytes | None] = asyncio.Queue(AHEAD)
    loop = asyncio.get_running_loop()
    descriptor = sys.stdin.fileno()

    def put(item: bytes | None) -> None:
        asyncio.run_coroutine_threadsafe(queue.put(item), loop).result()

    def read() -> None:
        rest = b""
        with contextlib.suppress(RuntimeError, asyncio.CancelledError):  # the loop has ended
            while data := os.read(descriptor, CHUNK):
                *whole, rest = (rest + data).split(b"\n")
                for line in whole:
                    put(line.removesuffix(b"\r"))
            if rest:
                put(rest)
            put(None)

    threading.Thread(target=read, daemon=True).start()
    while (item := await queue.get()) is not None:
        yield item

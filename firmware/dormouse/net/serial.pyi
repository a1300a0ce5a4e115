"""Types of serial.py."""

import ssl
from collections.abc import Awaitable, Callable
from typing import Any

class Serial:
    stream: Any  # a machine.UART, or what else asyncio can poll
    quiet: int
    def __init__(self, stream: Any, quiet: int = 100) -> None: ...
    async def open_stream(
        self, host: str, port: int, tls: ssl.SSLContext | None = None, name: str | None = None
    ) -> tuple[Any, Callable[[], None]]: ...
    def read(self, stream: Any, buf: memoryview) -> Awaitable[int]: ...
    def write(self, stream: Any, buf: bytes | bytearray | memoryview) -> Awaitable[None]: ...

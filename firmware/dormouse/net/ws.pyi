"""Types of ws.py."""

import ssl
from collections.abc import Callable
from typing import Any

from ..packet import MQTTError

class UpgradeError(OSError):
    code: int

class FrameError(MQTTError): ...

class WebSocket:
    def __init__(self, path: str = "/mqtt", headers: str = "") -> None: ...
    async def open_stream(
        self, host: str, port: int, tls: ssl.SSLContext | None = None, name: str | None = None
    ) -> tuple[Any, Callable[[], None]]: ...
    async def read(self, stream: Any, buf: memoryview) -> int: ...
    async def write(self, stream: Any, buf: bytes | bytearray | memoryview) -> None: ...

"""Types of stream.py. What is awaited is a generator on MicroPython."""

import ssl
from collections.abc import Awaitable, Callable
from typing import Any

_Stream = Any  # a socket, TLS socket or UART: no two have a type in common

def read(stream: _Stream, buf: memoryview) -> Awaitable[int]: ...
def write(stream: _Stream, buf: bytes | bytearray | memoryview) -> Awaitable[None]: ...
def open_stream(
    host: str, port: int, tls: ssl.SSLContext | None = None, name: str | None = None
) -> Awaitable[tuple[_Stream, Callable[[], None]]]: ...

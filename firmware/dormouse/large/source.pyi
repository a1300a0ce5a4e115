"""Types of source.py."""

from collections.abc import Callable
from typing import Any, Protocol

from ..packet import MQTTError

class _Readable(Protocol):
    """A stream: of a file, a bus, a camera."""

    def readinto(self, buffer: Any, /) -> int | None: ...

class SourceError(MQTTError): ...

class Source:
    path: str
    start: int | None
    what: str | _Readable | Callable[[], _Readable]
    size: int
    again: bool
    def __init__(
        self, what: str | _Readable | Callable[[], _Readable], size: int | None = None
    ) -> None: ...
    def open(self) -> tuple[_Readable, Callable[[], object] | None]: ...

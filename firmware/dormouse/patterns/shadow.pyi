"""Types of shadow.py."""

from collections.abc import Callable, Mapping
from typing import Any

from ..packet import _Bytes
from ..session import Message
from ..store import Store

class Shadow:
    publish: Callable[..., Message]
    base: str
    token: str
    store: Store | None
    key: int
    version: int
    error: tuple[int, str] | None
    filters: tuple[tuple[str, int], ...]
    def __init__(
        self,
        publish: Callable[..., Message],
        thing: str,
        name: str = "",
        store: Store | None = None,
        key: int = 0x103,
    ) -> None: ...
    def get(self) -> Message: ...
    def report(
        self,
        state: Mapping[str, Any] | None,
        desired: Mapping[str, Any] | bool | None = False,
        check: bool = False,
    ) -> Message: ...
    def take(self, message: Message) -> dict[str, Any] | None: ...
    def done(self, changes: Mapping[int, _Bytes | None] | None = None) -> None: ...

"""Types of ota.py."""

from collections.abc import Callable, Iterable

from ..packet import _Bytes
from ..session import Message

def hmac(key: bytes, text: bytes) -> bytes: ...

class Ota:
    key: str | None
    topic: str
    keep: tuple[str, ...]
    trial: bool
    ready: bool
    def __init__(self, key: str | None, topic: str, keep: Iterable[str] = ()) -> None: ...
    def take(self, name: str, payload: _Bytes) -> str | None: ...
    def confirm(self) -> str | None: ...
    def handle(self, message: Message, publish: Callable[..., object]) -> bool: ...
    def tell(self, report: str | None, publish: Callable[..., object]) -> bool: ...

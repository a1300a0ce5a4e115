"""Types of ota.py."""

from collections.abc import Iterable
from typing import Any

from ..client import Client
from ..packet import _Bytes
from ..session import Message

def hmac(key: bytes, text: bytes) -> bytes: ...
def refuse_weak(key: str) -> None: ...
def verify(key: str, text: str, signature: str) -> bool: ...
def plan() -> tuple[dict[str, Any], str] | None: ...
def on_trial() -> bool: ...

class Ota:
    key: str
    topic: str
    update: str
    filters: list[tuple[str, int]]
    keep: list[str]
    app: str
    secret: str | None
    trial: bool
    ready: bool
    trouble: str | None
    def __init__(
        self,
        key: str,
        topic: str,
        update: str | None = None,
        keep: Iterable[str] = (),
        app: str = "main",
        secret: str | None = None,
    ) -> None: ...
    def fetch(self, client: Client) -> None: ...
    def handle(self, message: Message, client: Client) -> bool: ...
    def take(self, name: str, payload: _Bytes) -> str | None: ...
    def confirm(self, client: Client) -> bool: ...
    def tell(self, report: str | None, client: Client) -> bool: ...
    def runs(self) -> int: ...

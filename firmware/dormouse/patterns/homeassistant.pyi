"""Types of homeassistant.py."""

from collections.abc import Callable
from typing import Any

from ..client import Client
from ..session import Message, Session
from ..sleep import Node
from ..store import Store

def expire(node: Node, failures: int = 1) -> int: ...

class HomeAssistant:
    session: Session
    topic: str
    filter: tuple[str, int]
    where: str
    store: Store | None
    key: int
    log: Callable[..., object]
    id: str
    parts: dict[str, dict[str, Any]]
    config: dict[str, Any]
    expire: int | None
    def __init__(
        self,
        who: Node | Client,
        topic: str,
        id: str,
        name: str | None = None,
        expire: int | None = None,
        status: str | None = None,
        prefix: str = "homeassistant",
        key: int = 0x104,
        log: Callable[..., object] = ...,
        **device: Any,
    ) -> None: ...
    def add(self, platform: str, name: str, **options: Any) -> None: ...
    def remove(self, platform: str, name: str) -> None: ...
    def announce(self) -> bool: ...
    def confirm(self, error: object = None) -> bool: ...
    async def keep(self, client: Client) -> None: ...
    def publish(self, name: str, value: Any, qos: int = 1, retain: bool = True) -> Message: ...
    def command(self, message: Message) -> tuple[str | None, Any]: ...

"""Types of durable.py."""

from typing import Any

from ..packet import _Payload
from ..session import Message, Session
from . import Store

CLEAN: int

def subscribed(s: Session) -> None: ...

class _DurableSession(Session):
    store: Store
    full: str | None
    burst: bool
    doubt: bool
    fencing: bool
    fence: int
    wary: int
    overtaken: int
    committed: bytes | None
    stuck: Exception | None
    failed: int | None
    def save(self) -> None: ...
    def commit(self, data: _Payload, m: Message | None = None) -> None: ...
    def publish(
        self,
        topic: str,
        payload: _Payload = b"",
        qos: int = 0,
        retain: bool = False,
        **options: Any,
    ) -> Message: ...

def durable(base: type[Session] = ...) -> type[_DurableSession]: ...

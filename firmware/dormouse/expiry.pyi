"""Types of expiry.py."""

from collections.abc import Callable
from typing import Any

from .packet import MQTTError, _Bytes, _Payload
from .session import Message, Session

class Expired(MQTTError): ...

class _ExpiringSession(Session):
    clock: Callable[[], float]
    def __init__(self, *args: Any, clock: Callable[[], float] = ..., **options: Any) -> None: ...
    def publish(
        self,
        topic: str,
        payload: _Payload = b"",
        qos: int = 0,
        retain: bool = False,
        message_expiry: float | None = None,
    ) -> Message: ...
    def left(self, o: Message) -> int | None: ...

def varint(packet: _Bytes, at: int) -> tuple[int, int]: ...
def length(packet: _Bytes) -> int: ...
def expiring(base: type[Session] = ...) -> type[_ExpiringSession]: ...

"""Types of sending.py."""

from typing import Any

from ..packet import _Payload
from ..session import Message, Session
from .source import Source, _Readable

class _SendingSession(Session):
    way: Any  # what is on its way
    def publish(
        self,
        topic: str,
        payload: _Payload | Source | _Readable = b"",
        qos: int = 0,
        retain: bool = False,
        **options: Any,
    ) -> Message: ...

def sending(base: type[Session] = ...) -> type[_SendingSession]: ...

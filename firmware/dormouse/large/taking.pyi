"""Types of taking.py. What a message that came has by it stands in session.pyi, at Message."""

from typing import Any

from ..packet import MQTTError
from ..session import Session

class Incomplete(MQTTError): ...

class _TakingSession(Session):
    owner: Any
    into: Any  # what is on its way

def taking(base: type[Session] = ...) -> type[_TakingSession]: ...

"""Types of room.py."""

from typing import Any

from ..session import Message, Session

def publish(s: Session, *args: Any, **options: Any) -> Message: ...
def without(s: Session, data: bytes | memoryview | None, error: Exception) -> None: ...

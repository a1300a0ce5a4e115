"""Types of age.py."""

from collections.abc import Callable

from ..session import Message

def now() -> int: ...
def warn(message: Message, log: Callable[..., object]) -> bool: ...

class Age:
    count: int
    limit: float
    ahead: float
    unknown: bool
    log: Callable[..., object]
    def __init__(
        self,
        limit: float,
        ahead: float = 60,
        unknown: bool = False,
        log: Callable[..., object] = ...,
    ) -> None: ...
    def refused(self, message: Message, sent: object) -> str | None: ...

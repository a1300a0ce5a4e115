"""Types of state.py."""

from collections.abc import Callable, Iterable

from ..client import Client
from ..packet import _Payload
from ..session import Message, Session
from ..store import Store
from .once import Once

class State:
    publish: Callable[..., Message]
    last: Once
    sent: dict[str, tuple[Message, bytes]]
    def __init__(
        self,
        publish: Callable[..., Message],
        store: Store | None = None,
        key: int = 0x102,
        size: int = 24,
    ) -> None: ...
    def set(self, topic: str, payload: _Payload, qos: int = 1) -> Message | None: ...
    def again(self, session: Session | None = None) -> bool: ...

async def ask(
    client: Client, *filters: str | tuple[str, int], get: Iterable[str] = (), qos: int = 0
) -> None: ...

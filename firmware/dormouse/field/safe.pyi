"""Types of safe.py."""

from collections.abc import Callable

from ..client import Client
from ..session import Message
from .guard import Guard
from .ota import Ota

class Orders:
    guard: Guard
    ota: Ota | None
    locked: bool
    topic: str
    publish: Callable[..., object]
    restart: bool
    stay: int
    count: int
    why: str | None
    said: bool
    def __init__(self, guard: Guard, ota: Ota | None, publish: Callable[..., object]) -> None: ...
    def take(self, message: Message) -> None: ...

def files(folder: str = "") -> str: ...
def state(guard: Guard, orders: Orders) -> str: ...
async def stay(client: Client, ota: Ota | None, orders: Orders) -> None: ...
async def visit(guard: Guard) -> None: ...

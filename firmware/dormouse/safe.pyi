"""Types of safe.py."""

from collections.abc import Callable
from typing import Any

from .client import Client
from .guard import Guard
from .session import Message
from .sleep import Node
from .store import Store

def make_client(
    config: dict[str, Any], store: Store | None, tail: str = "", **options: Any
) -> Client: ...
async def visit(guard: Guard, update: Callable[[Node, Message], object] | None = None) -> None: ...

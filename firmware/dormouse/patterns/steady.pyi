"""Types of steady.py."""

from collections.abc import Awaitable, Callable
from typing import Any

from ..client import Client

def fields(payload: bytes | str) -> dict[str, Any]: ...
async def at_each(client: Client, say: Callable[[], Awaitable[object]]) -> None: ...

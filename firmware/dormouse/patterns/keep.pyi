"""Types of keep.py."""

import asyncio
from collections.abc import Callable
from typing import Any

from ..client import Client

class Keeper:
    outages: int
    client: Client
    wifi: Any  # what has `async join(ms=15000)`, such as net.Wifi
    dead: float
    log: Callable[..., object]
    up: asyncio.Event
    down: asyncio.Event
    def __init__(
        self,
        client: Client,
        wifi: Any = None,
        log: Callable[..., object] | None = None,
        dead: float = 120,
    ) -> None: ...
    async def run(self) -> None: ...

def metrics(wifi: Any = None) -> dict[str, int]: ...

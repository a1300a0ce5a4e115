"""Types of mqtt_as.py."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from ..client import Client
from ..packet import _Payload
from ..patterns.keep import Keeper

_Text = str | bytes

RP2: bool
config: dict[str, Any]

class MQTTClient:
    DEBUG: bool
    REPUB_COUNT: int
    client: Client
    keeper: Keeper
    up: asyncio.Event
    down: asyncio.Event
    queue: AsyncIterator[tuple[bytes, bytes, bool]] | None
    def __init__(self, config: dict[str, Any]) -> None: ...
    def dprint(self, msg: str, *args: object) -> None: ...
    async def connect(self, *, quick: bool = False) -> None: ...
    async def disconnect(self) -> None: ...
    def close(self) -> None: ...
    def isconnected(self) -> bool: ...
    async def broker_up(self) -> bool: ...
    async def publish(
        self, topic: _Text, msg: _Payload, retain: bool = False, qos: int = 0
    ) -> None: ...
    async def subscribe(self, topic: _Text, qos: int = 0) -> None: ...
    async def unsubscribe(self, topic: _Text) -> None: ...

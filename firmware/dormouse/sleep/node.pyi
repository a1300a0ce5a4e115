"""Types of sleep.py."""

from collections.abc import AsyncIterator, Iterable
from typing import Any, Protocol

from ..client import Client, _Session
from ..large.source import Source, _Readable
from ..mqtt5.session import _Pairs
from ..packet import _Payload
from ..session import Message
from ..store import Store

class _Network(Protocol):
    """Wifi, or what stands in its place: LAN, PPP."""

    async def join(self, timeout_ms: int, /) -> None: ...
    def off(self) -> None: ...

def wake_reason() -> str: ...

class Node:
    client: Client
    session: _Session
    store: Store
    period: int  # ms
    budget: int
    subscribe: Iterable[tuple[str, int]]
    wifi: _Network | None
    status: str | None
    error: Exception | None
    reason: str
    over: bool
    reached: bool
    count: int
    bytes: int
    began: int
    late: int
    limits: tuple[int, int]
    backoff: int
    phase: int | None
    away: float
    early: bool
    address: tuple[Any, ...]
    strikes: int
    failures: int
    skip: int
    guard: bool | str
    timer: Any
    ip: str | None
    def __init__(
        self,
        client: Client,
        period: float,
        budget: int = 10000,
        subscribe: Iterable[tuple[str, int]] = (),
        wifi: _Network | None = None,
        status: str | None = None,
        jitter: float = 0,
        max_messages: int = 100,
        max_bytes: int = 32768,
        expiry: float | None = None,
        backoff: int = 16,
        guard: bool | str = True,  # or "network"
        renew: int = 8,
    ) -> None: ...
    def publish(
        self,
        topic: str,
        payload: _Payload | Source | _Readable = b"",  # with large=True: Source, and streams
        qos: int = 0,
        retain: bool = False,
        *,
        message_expiry: float | None = None,  # with expiring=True or version=5
        # with version=5
        payload_format: int | None = None,
        content_type: str | None = None,
        response_topic: str | None = None,
        correlation_data: _Payload | None = None,
        user_properties: _Pairs | None = None,
    ) -> Message: ...
    def next_wake(self) -> int: ...
    def waiting(self) -> int: ...
    def unguard(self) -> None: ...
    def sleep(self, ms: int | None = None) -> None: ...
    def wake(self, urgent: bool = False) -> AsyncIterator[Message]: ...
    def __aiter__(self) -> AsyncIterator[Message]: ...
    async def __anext__(self) -> Message: ...
    async def close(self) -> None: ...

"""Types of client.py."""

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Container, Mapping
from types import TracebackType
from typing import Any, Protocol

from .large.source import Source, _Readable
from .mqtt5.session import Session5, _Pairs
from .packet import MQTTError, _Payload, _Will
from .session import Message, _Login
from .store import Store
from .store.durable import _DurableSession

class _Way(Protocol):
    """Another way to the broker than TCP: ws.WebSocket, serial.Serial."""

    def open_stream(
        self, host: str, port: int, tls: ssl.SSLContext | None = None, name: str | None = None
    ) -> Awaitable[tuple[Any, Callable[[], None]]]: ...
    def read(self, stream: Any, buf: memoryview) -> Awaitable[int]: ...
    def write(self, stream: Any, buf: memoryview) -> Awaitable[None]: ...

class _Session(Session5, _DurableSession):  # type: ignore[misc]
    """Session5's part is there with version=5, the durable one's with a store."""

class Client:
    session: _Session
    connected: bool
    error: Exception | None
    timeout: float
    backoff: tuple[float, float]
    auto_ack: bool
    stream: _Way
    strict: bool
    username: _Login[str]
    password: _Login[_Payload]
    address: tuple[Any, ...]
    messages: AsyncIterator[Message]
    def __init__(
        self,
        host: str,
        port: int = 0,
        tls: ssl.SSLContext | None = None,
        client_id: str | None = None,
        timeout: float = 10,
        backoff: tuple[float, float] = (1, 60),
        auto_ack: bool = True,
        stream: _Way = ...,
        strict: bool = False,
        *,
        version: int = 4,  # 5: MQTT 5.0
        store: Store | None = None,
        expiring: bool = False,  # publish takes message_expiry, in 3.1.1 too
        large: bool | str = False,  # messages larger than RAM: True, or only "out", "in"
        clean: bool = True,
        keepalive: int = 60,
        will: _Will | None = None,
        username: _Login[str] = None,
        password: _Login[_Payload] = None,
        window: int = 16,
        outbox: int = 32,
        outbox_bytes: int = 8192,
        max_packet: int = 4096,
        inbox_bytes: int = 8192,
        oversize: str = "skip",
        on_trouble: Callable[[MQTTError], object] | None = None,
        full: str | None = None,  # with a store: "refuse" or "oldest"
        # with version=5
        session_expiry: int | None = None,
        properties: Mapping[str, Any] | None = None,
        will_properties: Mapping[str, Any] | None = None,
        auth: Callable[[bytes | None], bytes | None] | None = None,
        redirect: bool | Container[str] = False,
    ) -> None: ...
    async def connect(self) -> Client: ...
    def start(self) -> None: ...
    async def wait_connected(self, connected: bool = True) -> None: ...
    async def disconnect(
        self,
        *_: object,
        # with version=5
        code: int = 0,
        session_expiry: int | None = None,
        reason_string: str | None = None,
        user_properties: _Pairs | None = None,
    ) -> None: ...
    async def __aenter__(self) -> Client: ...
    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
        /,
    ) -> None: ...
    async def publish(
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
    ) -> int | None: ...
    def publish_nowait(
        self,
        topic: str,
        payload: _Payload | Source | _Readable = b"",  # with large=True: Source, and streams
        qos: int = 0,
        retain: bool = False,
        *,
        message_expiry: float | None = None,
        payload_format: int | None = None,
        content_type: str | None = None,
        response_topic: str | None = None,
        correlation_data: _Payload | None = None,
        user_properties: _Pairs | None = None,
    ) -> Message: ...
    async def subscribe(
        self,
        *filters: str | tuple[str, int],
        qos: int = 0,
        # with version=5
        subscription_id: int = 0,
        no_local: bool = False,
        retain_as_published: bool = False,
        retain_handling: int = 0,
        user_properties: _Pairs | None = None,
    ) -> list[int]: ...
    async def unsubscribe(
        self, *filters: str, user_properties: _Pairs | None = None
    ) -> list[int] | None: ...
    def __aiter__(self) -> AsyncIterator[Message]: ...
    async def __anext__(self) -> Message: ...

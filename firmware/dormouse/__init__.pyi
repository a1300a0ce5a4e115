"""Types of the public names, for editors and type checkers. Not for the device."""

import ssl
from collections.abc import AsyncIterator, Callable
from types import TracebackType
from typing import Any

from .packet import MQTTError as MQTTError
from .packet import ProtocolError as ProtocolError
from .packet import Will as Will
from .session import ConnectionLost as ConnectionLost
from .session import Message as Message
from .session import OutboxFull as OutboxFull
from .session import Refused as Refused
from .session import Session as Session
from .session import SessionLost as SessionLost
from .store import Store

_Payload = bytes | bytearray | memoryview | str

class Client:
    session: Session
    connected: bool
    error: Exception | None
    auto_ack: bool
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
        stream: Any = ...,  # open_stream, read, write: ws.WebSocket, serial.Serial
        *,
        version: int = 4,  # 5: MQTT 5.0
        store: Store | None = None,
        expiring: bool = False,  # with a version or a store: publish takes message_expiry
        clean: bool = True,
        keepalive: int = 60,
        will: tuple[int, bytes] | None = None,  # what Will() returns
        username: str | None = None,
        password: _Payload | None = None,
        window: int = 16,
        outbox: int = 32,
        outbox_bytes: int = 8192,
        max_packet: int = 4096,
        inbox_bytes: int = 8192,
        full: str = "refuse",  # with a store: or "oldest"
        # with version=5
        session_expiry: int | None = None,
        properties: dict[str, Any] | None = None,
        will_properties: dict[str, Any] | None = None,
        auth: Callable[[bytes | None], bytes | None] | None = None,
    ) -> None: ...
    async def connect(self) -> Client: ...
    def start(self) -> None: ...
    async def wait_connected(self, connected: bool = True) -> None: ...
    async def disconnect(self, *_: object, code: int = 0, **properties: Any) -> None: ...
    async def __aenter__(self) -> Client: ...
    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...
    async def publish(
        self,
        topic: str,
        payload: _Payload = b"",
        qos: int = 0,
        retain: bool = False,
        **properties: Any,  # with version=5; message_expiry with expiring=True too
    ) -> int | None: ...
    def publish_nowait(
        self,
        topic: str,
        payload: _Payload = b"",
        qos: int = 0,
        retain: bool = False,
        **properties: Any,
    ) -> Message: ...
    async def subscribe(
        self, *filters: str | tuple[str, int], qos: int = 0, **options: Any
    ) -> list[int]: ...
    async def unsubscribe(self, *filters: str, **options: Any) -> list[int] | None: ...
    def __aiter__(self) -> AsyncIterator[Message]: ...
    async def __anext__(self) -> Message: ...

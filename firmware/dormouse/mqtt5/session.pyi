"""Types of session5.py."""

from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from typing import Any

from ..expiry import _ExpiringSession
from ..packet import ConnectionLost, _Payload, _Will
from ..session import Message, Refused, _Login

_Pairs = Sequence[tuple[str, str]]  # user properties

class Failed(Refused):
    properties: dict[str, Any]
    def __init__(self, code: int | list[int], properties: dict[str, Any]) -> None: ...

class Codes(list[int]):
    properties: dict[str, Any]

class Disconnected(ConnectionLost):
    code: int
    properties: dict[str, Any]
    again: bool
    def __init__(self, code: int, properties: dict[str, Any]) -> None: ...

class Message5(Message):
    kept: dict[str, Any] | None

class Session5(_ExpiringSession):
    expiry: int
    known: int
    server: dict[str, Any]
    properties: dict[str, Any]
    will_delay: int
    redirect: bool | Container[str]
    owner: Any
    def __init__(
        self,
        on_output: Callable[[], object],
        client_id: str = "",
        clean: bool = True,
        keepalive: int = 60,
        will: _Will | None = None,
        username: _Login[str] = None,
        password: _Login[_Payload] = None,
        session_expiry: int | None = None,
        properties: Mapping[str, Any] | None = None,
        will_properties: Mapping[str, Any] | None = None,
        auth: Callable[[bytes | None], bytes | None] | None = None,
        redirect: bool | Container[str] = False,
        owner: Any = None,
        **options: Any,
    ) -> None: ...
    def publish(
        self,
        topic: str,
        payload: _Payload = b"",
        qos: int = 0,
        retain: bool = False,
        message_expiry: float | None = None,
        *,
        payload_format: int | None = None,
        content_type: str | None = None,
        response_topic: str | None = None,
        correlation_data: _Payload | None = None,
        user_properties: _Pairs | None = None,
    ) -> Message: ...
    def request(
        self,
        first: int,
        filters: Iterable[tuple[str, int]] | Iterable[str],
        subscription_id: int = 0,
        no_local: bool = False,
        retain_as_published: bool = False,
        retain_handling: int = 0,
        user_properties: _Pairs | None = None,
    ) -> Message: ...
    def disconnect(
        self,
        code: int = 0,
        *,
        session_expiry: int | None = None,
        reason_string: str | None = None,
        user_properties: _Pairs | None = None,
    ) -> None: ...
    def recall(self) -> None: ...
    def reauthenticate(self) -> None: ...

"""Types of umqtt.py."""

import ssl as _ssl
from collections.abc import Callable
from typing import Any, Literal

from ..packet import _Payload

_Text = str | bytes

class MQTTException(Exception): ...

class MQTTClient:
    sock: Any
    cb: Callable[[bytes, bytes], object] | None
    client_id: str
    server: str
    port: int
    ssl: _ssl.SSLContext | Literal[False] | None
    timeout: float
    user: _Text | None
    pswd: _Payload | None
    keepalive: int
    options: dict[str, Any]
    clean: bool
    def __init__(
        self,
        client_id: _Text,
        server: str,
        port: int = 0,
        user: _Text | None = None,
        password: _Payload | None = None,
        keepalive: int = 0,
        ssl: _ssl.SSLContext | Literal[False] | None = None,
        ssl_params: dict[str, Any] | None = None,
        timeout: float = 10,
        **options: Any,
    ) -> None: ...
    def set_callback(self, f: Callable[[bytes, bytes], object] | None) -> None: ...
    def set_last_will(
        self, topic: _Text, msg: _Payload, retain: bool = False, qos: int = 0
    ) -> None: ...
    def connect(self, clean_session: bool = True, timeout: float | None = None) -> int: ...
    def disconnect(self) -> None: ...
    def ping(self) -> None: ...
    def publish(
        self, topic: _Text, msg: _Payload | float, retain: bool = False, qos: int = 0
    ) -> None: ...
    def subscribe(self, topic: _Text, qos: int = 0) -> None: ...
    def unsubscribe(self, topic: _Text) -> None: ...
    def wait_msg(self) -> None: ...
    def check_msg(self) -> None: ...

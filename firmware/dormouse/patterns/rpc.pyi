"""Types of rpc.py."""

from collections.abc import Callable
from typing import Any

from ..client import Client
from ..packet import _Payload
from ..session import Message

def method(message: Message) -> str: ...
def request_id(message: Message) -> str: ...
def respond(
    publish: Callable[..., Message],
    message: Message,
    payload: _Payload = b"",
    qos: int = 1,
    log: Callable[..., object] = ...,
) -> Message: ...

class Requester:
    client: Client
    service: str
    name: str
    filter: str
    waiting: dict[str, list[Any]]
    def __init__(self, client: Client, service: str, name: str) -> None: ...
    def send(self, method: str, payload: _Payload = b"", qos: int = 1) -> str: ...
    async def request(
        self, method: str, payload: _Payload = b"", qos: int = 1, timeout: float = 10
    ) -> bytes: ...
    def take(self, message: Message) -> bool: ...

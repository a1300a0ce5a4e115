"""Types of request.py."""

from ..client import Client
from ..packet import _Payload
from ..session import Message
from .session import _Pairs

def respond(client: Client, message: Message, payload: _Payload = b"", qos: int = 0) -> Message: ...

class Requester:
    client: Client
    topic: str
    def __init__(self, client: Client, topic: str | None = None) -> None: ...
    async def request(
        self,
        topic: str,
        payload: _Payload = b"",
        qos: int = 1,
        timeout: float = 10,
        *,
        retain: bool = False,
        message_expiry: float | None = None,
        payload_format: int | None = None,
        content_type: str | None = None,
        user_properties: _Pairs | None = None,
    ) -> Message: ...
    def take(self, message: Message) -> bool: ...

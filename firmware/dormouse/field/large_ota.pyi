"""Types of large_ota.py."""

from ..client import Client
from ..session import Message
from .ota import Ota

class LargeOta(Ota):
    async def receive(self, message: Message, client: Client) -> bool: ...

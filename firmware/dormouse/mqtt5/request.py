"""Request and response over MQTT 5.0 (section 4.10), several at once.

    requester = Requester(client)
    router.on(requester.topic, requester.take)          # or take(message) for each that comes
    await client.subscribe(requester.topic, qos=1)
    answer = await requester.request("lamp/3/get", b"", timeout=5)      # a Message

Who is asked answers with ``respond(client, message, b"on")``.
"""

import asyncio
from os import urandom


def respond(client, message, payload=b"", qos: int = 0):
    """Publish the answer to a request; return its Message, as ``publish_nowait`` does.

    Raises ValueError if the sender waits for none.
    """
    properties = message.properties
    topic = properties.get("response_topic")
    if not topic:
        raise ValueError("no response_topic")
    data = properties.get("correlation_data")
    return client.publish_nowait(topic, payload, qos, correlation_data=data)


class Requester:
    """Sends requests, and brings each answer to who waits for it.

    ``topic`` (str): where answers go; None: made from what the server gave as response information
    (ask for it by ``properties={"request_response_information": 1}``), or the client's id.
    """

    def __init__(self, client, topic: str | None = None) -> None:
        self.client = client
        if topic is None:
            session = client.session
            topic = session.server.get("response_information", "response/") + session.greeting[0]
        self.topic = topic
        self.waiting = {}  # correlation data: [event, answer]

    async def request(self, topic: str, payload=b"", qos: int = 1, timeout: float = 10, **options):
        """Publish a request; return the Message that answers it.

        Raises asyncio.TimeoutError after ``timeout`` s; what ``Client.publish`` raises.
        """
        key = urandom(8)
        entry = self.waiting[key] = [asyncio.Event(), None]
        options["response_topic"] = self.topic
        options["correlation_data"] = key
        try:
            await asyncio.wait_for(self._exchange(entry, topic, payload, qos, options), timeout)
            return entry[1]
        finally:
            del self.waiting[key]

    def take(self, message) -> bool:
        """Take a message that came; return whether it was an answer that somebody waits for."""
        entry = self.waiting.get(message.properties.get("correlation_data"))
        if not entry or message.topic != self.topic:
            return False
        entry[1] = message
        entry[0].set()
        return True

    async def _exchange(self, entry, topic, payload, qos, options):
        await self.client.publish(topic, payload, qos, **options)
        await entry[0].wait()

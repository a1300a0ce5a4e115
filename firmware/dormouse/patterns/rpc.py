"""Request and response over MQTT 3.1.1, which has no field for where the answer goes: it is in the
topics. (For MQTT 5 there is ``dormouse.mqtt5.request``.)

    SERVICE/request/METHOD/WHO/ID          the request, its payload the argument
    SERVICE/response/WHO/ID                the answer

Who asks:
    lamp = Requester(client, "lamp/3", "phone")
    await client.subscribe(lamp.filter, qos=1)
    router.on(lamp.filter, lamp.take)
    answer = await lamp.request("get", b"", timeout=5)          # bytes

Who answers subscribes to lamp/3/request/+/+/+:
    respond(client.publish_nowait, message, b"on")

ID is the same if the request comes twice: ``once.Once`` by ``request_id(message)`` does it once.
"""

import asyncio
from os import urandom

from .age import warn


def method(message) -> str:
    """Return what a request asks for."""
    return message.topic.split("/")[-3:][0]


def request_id(message) -> str:
    """Return what is the same if a request comes again: WHO/ID."""
    return "/".join(message.topic.split("/")[-2:])


def respond(publish, message, payload=b"", qos: int = 1, log=print):
    """Publish the answer to a request; return its Message. ``publish``: ``client.publish_nowait``
    or ``node.publish``, and its errors. Raises ValueError if the message is no request."""
    levels = message.topic.split("/")
    if len(levels) < 5 or levels[-4] != "request":
        raise ValueError("no request", message.topic)
    warn(message, log)
    levels[-4:-2] = ("response",)
    return publish("/".join(levels), payload, qos)


class Requester:
    """Asks a service, and brings each answer to who waits for it.

    ``service``: the beginning of its topics. ``name``: who asks, one topic level that no other
    client uses. ``filter`` (str): what to subscribe to. Raises ValueError for a bad name.
    """

    def __init__(self, client, service: str, name: str) -> None:
        if "/" in name or not name:
            raise ValueError("one topic level", name)
        self.client = client
        self.service = service
        self.name = name
        self.filter = "%s/response/%s/+" % (service, name)
        self.waiting = {}  # id: [event, answer]

    def send(self, method: str, payload=b"", qos: int = 1) -> str:
        """Send a request without waiting; return its id, the last level of the answer's topic. For
        a node that is asleep when the answer comes. Raises what ``publish_nowait`` raises, and
        ValueError for a method of several levels."""
        id = urandom(4).hex()
        self._send(id, method, payload, qos)
        return id

    async def request(self, method: str, payload=b"", qos: int = 1, timeout: float = 10) -> bytes:
        """Send a request; return the answer's payload.

        Raises asyncio.TimeoutError after ``timeout`` s: it may have been done all the same. Raises
        what ``send`` raises.
        """
        id = urandom(4).hex()
        entry = self.waiting[id] = [asyncio.Event(), None]
        try:
            o = self._send(id, method, payload, qos)
            try:
                await asyncio.wait_for(entry[0].wait(), timeout)
            finally:
                self.client.session.withdraw(o)  # nobody waits for it any more
            return entry[1]
        finally:
            del self.waiting[id]

    def take(self, message) -> bool:
        """Take a message that came; return whether it was an answer that somebody waits for."""
        entry = self.waiting.get(message.topic.split("/")[-1])
        if not entry or not message.topic.startswith(self.filter[:-1]):
            return False
        entry[1] = message.payload
        entry[0].set()
        return True

    def _send(self, id, method, payload, qos):
        if "/" in method:  # nobody would answer
            raise ValueError("one topic level", method)
        topic = "%s/request/%s/%s/%s" % (self.service, method, self.name, id)
        return self.client.publish_nowait(topic, payload, qos)

"""The last known state of things: retained, published when it has changed; and asking for it.

    state = State(node.publish, store)
    state.set("greenhouse/7/door", b"open")         # nothing goes if that is what was said last

Who watches it while always connected:
    asyncio.create_task(ask(client, ("greenhouse/+/door", 1)))

States are for ``retain``; events and commands are not: a retained one comes again at each
subscription.
"""

from ..packet import MQTTError
from .once import Once, _digest
from .steady import at_each


class State:
    """Publishes states, each retained at a topic of its own, and only those that have changed.

    ``publish``: ``client.publish_nowait`` or ``node.publish``. ``store``: keeps over a reset what
    was said last; None: each start says all again. ``key``, ``size``: its place in the store, and
    how many topics; see ``once.Once``.

    What waits in RAM only (at QoS 0, or of a client without a store) a reset would lose: it counts
    as said once it is through, which the next ``set`` of that topic notes.
    """

    def __init__(self, publish, store=None, key: int = 0x102, size: int = 24) -> None:
        if store is None:
            from ..store import Store

            store = Store()
        self.publish = publish
        self.last = Once(store, key, size, state=True)
        self.sent = {}  # by topic: what went last since the start, and its payload's digest

    def set(self, topic: str, payload, qos: int = 1):
        """Publish a state if it has changed, or was refused or dropped the last time; return its
        Message, or None. Raises what ``publish`` raises."""
        seen = self.last.seen(topic, payload)
        said = _digest(payload)
        o, went = self.sent.get(topic, (None, 0))
        new = o.error or went != said if o else not seen
        if new:
            o = self.publish(topic, payload, qos, True)
            self.sent[topic] = o, said
        elif seen or not o.done:
            return None
        # What may be lost with a reset is not noted as said; but neither may what was said before
        # it be, for it may get through: the Message stands for it, which is like no payload.
        safe = not o.error and (o.done or o.key)
        try:
            self.last.done(topic, payload if safe else o)
        except (OSError, MQTTError, MemoryError):
            pass  # no room, say: it is noted later, or said again after a reset
        return o if new else None

    def again(self, session=None) -> bool:
        """Let the next ``set`` publish each state, changed or not: somebody asks for them.

        With ``client.session``: only if the broker had forgotten the session at the last
        connection, and with it perhaps what it retained. Returns whether it will. Raises OSError.
        """
        if session and getattr(session, "resumed", 1):
            return False
        self.last.forget()
        self.sent.clear()
        return True


async def ask(client, *filters, get=(), qos: int = 0) -> None:
    """Subscribe at every connection anew, as ``steady.at_each`` does: the broker then sends what it
    retained.

    Where the session goes on, no SUBSCRIBE is needed for new messages; but what went by at QoS 0
    meanwhile is lost, and only a SUBSCRIBE brings the retained ones [MQTT-3.8.4-3]. ``get``: topics
    to publish an empty message at, for what answers instead of retaining. ``filters``, ``qos``: as
    ``Client.subscribe``'s; what is refused is told as trouble, and asked for at the next one.
    """

    async def say():
        if filters:
            await client.subscribe(*filters, qos=qos)
        for topic in get:
            client.publish_nowait(topic, b"", 1)

    await at_each(client, say)

"""Handlers by topic filter, for those who want them: nothing of this is loaded otherwise.

router = Router()
router.on("greenhouse/+/cmd", obey)
await router.run(client)
"""

from .packet import encode_topic


def matches(pattern: str, name: str) -> bool:
    """Tell whether a topic filter matches a topic name (section 4.7).

    Level by level and byte for byte [MQTT-4.7.3-4]; a filter that begins with a wildcard does
    not match a topic name that begins with $ [MQTT-4.7.2-1]; ``a/#`` matches ``a`` too.
    """
    if name[0] == "$" and pattern[0] in "+#":
        return False
    levels = name.split("/")
    for level in pattern.split("/"):
        if level == "#":
            return True
        if not levels or level not in ("+", levels.pop(0)):
            return False
    return not levels


class Router:
    """Gives each message to every handler whose topic filter matches it."""

    def __init__(self) -> None:
        self._routes = []

    def on(self, pattern: str, handler) -> None:
        """Let ``handler(message)``, a function or coroutine function, have what matches.

        Raises ValueError or TypeError for a bad topic filter.
        """
        encode_topic(pattern, 0, True)
        self._routes.append((pattern, handler))

    async def handle(self, message) -> bool:
        """Call the handlers in the order in which they were added; tell if there was any."""
        found = False
        for pattern, handler in self._routes:
            if matches(pattern, message.topic):
                found = True
                result = handler(message)
                if hasattr(result, "send"):
                    await result
        return found

    async def run(self, client) -> None:
        """Handle all that arrives, one message at a time and in order, until ``disconnect``.

        A message is acknowledged when its handlers are done with it. One that raises ends this,
        and its message is not acknowledged: the broker sends it again.
        """
        async for message in client.messages:
            await self.handle(message)

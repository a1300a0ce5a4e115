"""Handlers by topic filter, for those who want them: nothing of this is loaded otherwise.

router = Router()
router.on("greenhouse/+/cmd", obey)
await router.run(client)
"""

import sys

from .packet import encode_topic

if sys.implementation.name == "micropython":
    from sys import print_exception
else:
    from ._host import print_exception


def matches(pattern: str, name: str) -> bool:
    """Tell whether a topic filter matches a topic name (section 4.7).

    Level by level and byte for byte [MQTT-4.7.3-4]; a filter that begins with a wildcard does
    not match a topic name that begins with $ [MQTT-4.7.2-1]; ``a/#`` matches ``a`` too. A shared
    one, ``$share/group/filter``, matches what its filter matches (MQTT 5.0, section 4.8.2).
    """
    if pattern.startswith("$share/"):
        pattern = pattern.split("/", 2)[-1]
    if name[:1] == "$" and pattern[:1] in "+#":  # ([0] would be a name that MicroPython keeps)
        return False
    levels = name.split("/")
    for level in pattern.split("/"):
        if level == "#":
            return True
        if not levels or level not in ("+", levels.pop(0)):
            return False
    return not levels


def show(message, error) -> None:
    """Print what became of a message: the error that its handler raised, or that none wanted it."""
    if error:
        try:
            print_exception(error, sys.stdout)
        except Exception:  # it cannot even be told, and is to end nothing
            print(type(error).__name__)
    print("handler failed:" if error else "no handler:", message.topic)


class Router:
    """Gives each message to every handler whose topic filter matches it.

    ``report(message, error)`` is told what a handler raised, and with None what no handler wanted;
    then the rest goes on. One that raises the error itself ends ``run`` with it, and the message is
    not acknowledged.
    """

    def __init__(self, report=show) -> None:
        # By what stands before a filter's first wildcard: order, filter, handler. So a message is
        # compared with few of them; ``_lengths``: of what stands there.
        self._routes = {}
        self._lengths = []
        self._count = 0
        self.report = report

    def on(self, pattern: str, handler) -> None:
        """Let ``handler(message)``, a function or coroutine function, have what matches.

        Raises ValueError or TypeError for a bad topic filter.
        """
        encode_topic(pattern, 0, True)
        begin = pattern
        if pattern.startswith("$share/"):
            begin = pattern.split("/", 2)[-1]
        begin = begin.split("+")[0].split("#")[0]
        if begin not in self._routes:
            self._routes[begin] = []
            if len(begin) not in self._lengths:
                self._lengths.append(len(begin))
        self._count += 1
        self._routes[begin].append((self._count, pattern, handler))

    async def handle(self, message) -> bool:
        """Call the handlers in the order in which they were added; tell if there was any. Raises
        what ``report`` raises."""
        name = message.topic + "/"  # a/# matches a
        found = []
        for n in self._lengths:
            if n <= len(name):
                for route in self._routes.get(name[:n], ()):
                    if matches(route[1], message.topic):
                        found.append(route)
        found.sort()
        for _, _, handler in found:
            try:
                result = handler(message)
                if hasattr(result, "send"):
                    await result
            except Exception as e:
                self.report(message, e)
        if not found:
            self.report(message, None)
        return bool(found)

    async def run(self, client) -> None:
        """Handle all that arrives, one message at a time and in order, until ``disconnect``.

        A message is acknowledged when its handlers are done with it, also when one raised: the
        broker would send it again, for ever.
        """
        messages = client.messages.__aiter__()
        try:
            # (In no variable, not even between two messages: a large one must be gone by then.)
            while True:
                await self.handle(await messages.__anext__())
        except StopAsyncIteration:
            pass

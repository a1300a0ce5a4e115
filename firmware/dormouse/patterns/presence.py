"""Who is there: a will, "online" after each connect, and watching both these and nodes that sleep.

    client = Client("broker.local", client_id="lamp-3", will=will("lamp/3/state"))
    client.start()
    asyncio.create_task(online(client, "lamp/3/state"))

A node that sleeps says when it wakes again: ``Node(status="greenhouse/7/state")``. Who watches:
    watch = Watch()
    watch.heard(message.payload, message.retain, now)       # each that comes at that topic
    watch.look(now)                                         # at any time: "online", "late" ...
"""

import asyncio

from ..packet import Will
from .steady import at_each, fields

# Clients that have said offline, or are about to: whether the connection changes meanwhile or not,
# "online" must not go behind it.
_leaving = []


def will(topic: str, payload=b"offline", qos: int = 1) -> Will:
    """Return the will of a client that stays connected: the broker says offline when it is lost."""
    return Will(topic, payload, qos, True)


async def online(client, topic: str, payload=b"online") -> None:
    """Say online, retained, after each connect, as ``steady.at_each`` does: the broker may have
    published the will meanwhile."""

    async def say():
        if client not in _leaving:
            await client.publish(topic, payload, 1, True)

    await at_each(client, say)


async def leave(client, topic: str, payload=b"offline") -> None:
    """Say offline, and disconnect; a DISCONNECT drops the will. Raises what ``publish`` raises, and
    asyncio.TimeoutError when that takes longer than the client's ``timeout``."""
    _leaving.append(client)
    try:
        if client.connected:
            await asyncio.wait_for(client.publish(topic, payload, 1, True), client.timeout)
    finally:
        try:
            await client.disconnect()
        finally:
            _leaving.remove(client)


class Watch:
    """What is known of one client, by the messages at its state's topic.

    Either "online" and "offline" (or the payloads given), or what a Node leaves there:
    {"asleep": s, "until": s since 1970}, and {"lost": true} as its will. ``missed``: wakes in a row
    that a node misses until it is dead.
    """

    def __init__(self, missed: int = 3, on=b"online", off=b"offline") -> None:
        self.missed = missed
        self.on = on
        self.off = off
        self.state = "unknown"
        self.period = 0
        self.due = None

    def heard(self, payload, retained: bool, now: float) -> None:
        """Take in a message; ``now``: s since 1970. What is neither is passed over."""
        if payload in (self.on, self.off):
            self.due = None
            self.state = "online" if payload == self.on else "offline"
            return
        said = fields(payload)
        if said.get("lost"):
            self.due = None
            self.state = "lost"
            return
        try:
            period = said["asleep"] + 0
            until = said.get("until") or 0
            # Retained, it may be from long ago; from a node that does not know the time, it counts
            # from now.
            due = until if retained and until + 0 else now + period
            _ = float(due) + period  # what no float holds: an int ``now`` would let it in
        except (KeyError, TypeError, OverflowError):
            return
        self.period = period
        self.due = due
        self.look(now)

    def look(self, now: float) -> str:
        """Return "online", "offline", "lost" (by its will), "unknown"; of a node that sleeps
        "asleep", "late", "dead"."""
        if self.due is not None:
            over = now - self.due
            late = over <= self.period * (self.missed - 1)
            self.state = "asleep" if over <= 0 else "late" if late else "dead"
        return self.state

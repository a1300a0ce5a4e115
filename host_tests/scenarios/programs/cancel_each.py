"""Cancels each wait at each of its suspension points; it must be as if nothing had been."""

import asyncio

from device import client, run, say
from points import each_point


async def settled(c):
    """Wait until nothing is under way; a message of each QoS must still pass."""
    for qos in (0, 1, 2):
        await asyncio.wait_for(c.publish("after", b"", qos), 5)
    while c.session.outbox:
        await asyncio.sleep(0.005)


async def main():
    c = client()
    await c.connect()

    async def sound():
        await settled(c)

    for name, make in (
        ("publish 0", lambda: c.publish("t", b"x", 0)),
        ("publish 1", lambda: c.publish("t", b"x", 1)),
        ("publish 2", lambda: c.publish("t", b"x", 2)),
        ("subscribe", lambda: c.subscribe("t", qos=2)),
        ("unsubscribe", lambda: c.unsubscribe("t")),
        ("messages", lambda: c.messages.__anext__()),
        ("wait_connected", lambda: c.wait_connected(False)),
    ):
        await each_point(name, make, sound)

    async def ended():
        await c.disconnect()
        if c.connected or c._task or c.session.state:
            say("zombie")
        await asyncio.wait_for(c.connect(), 5)
        await settled(c)

    await each_point("disconnect", c.disconnect, ended)
    await c.disconnect()

    async def connects():
        # Cancelled while it connects, it is ended; else it is connected. Both can be begun anew.
        await asyncio.wait_for(c.connect(), 5)
        await settled(c)
        await c.disconnect()
        if c.connected or c._task or c.session.state:
            say("zombie")

    await each_point("connect", c.connect, connects)
    say("sound")


run(main)

"""Says that it is online, and leaves."""

import asyncio

from device import client, run, say
from dormouse.patterns.presence import leave, online, will


async def main():
    c = client(will=will("s"))
    c.start()
    task = asyncio.create_task(online(c, "s"))
    await c.wait_connected()
    await asyncio.sleep(0)
    while not task.done() and c.session.outbox:
        await asyncio.sleep(0.01)
    await leave(c, "s")
    await task
    say("left", c.error)


run(main)

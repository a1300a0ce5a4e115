"""Publishes with no broker in reach, until the outbox is full; then waits for all to go out."""

import asyncio

from device import client, run, say
from dormouse import OutboxFull


async def main():
    c = client(outbox=4)
    c.start()
    for n, qos in enumerate((0, 1, 0, 2, 1, 1, 1)):
        try:
            c.publish_nowait("t", "%d" % n, qos)
            say("queued", n)
        except OutboxFull:
            say("full", n)
    try:
        await asyncio.wait_for(c.wait_connected(), 0.2)
    except asyncio.TimeoutError:
        say("offline", type(c.error).__name__, c.connected)
    await c.wait_connected()
    while c.session.outbox:
        await asyncio.sleep(0.01)
    await c.disconnect()
    say("end")


run(main)

"""Publishes at QoS 2 with a time limit, one message after it was sent and one before."""

import asyncio

from device import client, run, say


async def limited(c, topic):
    try:
        await asyncio.wait_for(c.publish(topic, b"", 2), 0.1)
        say("no timeout")
    except asyncio.TimeoutError:
        say("timeout", topic, len(c.session.outbox))


async def main():
    async with client(window=1) as c:
        await limited(c, "sent")  # goes on to the end of its handshake
        await limited(c, "waiting")  # the window is full: withdrawn
        while c.session.outbox:
            await asyncio.sleep(0.01)
        say("outbox empty")
        await c.publish("after", b"", 1)
    say("end")


run(main)

"""Tells what each way of using a client says when the broker refuses it for good."""

import asyncio

from device import client, run, say


async def told(name, awaitable):
    try:
        await asyncio.wait_for(awaitable, 5)
        say(name, "nothing")
    except Exception as e:
        say(name, type(e).__name__, e)


async def listen(c):
    async for _ in c.messages:
        pass


async def main():
    c = client()
    await told("early", c.publish("t", b"", 1))
    c.start()
    await asyncio.gather(
        told("publish", c.publish("t", b"", 1)),
        told("subscribe", c.subscribe("t")),
        told("messages", listen(c)),
        told("wait", c.wait_connected()),
    )
    await told("later", c.publish("t", b"", 1))
    say("left", len(c.session.outbox))
    await c.disconnect()
    await told("connect", c.connect())


run(main)

"""Disconnects while others wait, connects again, and leaves the loop of messages in order."""

import asyncio

from device import client, run, say


async def told(name, awaitable):
    try:
        await awaitable
        say(name, "nothing")
    except Exception as e:
        say(name, type(e).__name__, e)


async def listen(c):
    async for message in c.messages:
        say("got", message.topic)


async def main():
    c = client()
    await c.connect()
    tasks = [
        asyncio.create_task(told("publish", c.publish("t", b"x", 1))),
        asyncio.create_task(told("messages", listen(c))),
    ]
    while not (c.session.outbox and c.session.outbox[0].sent):
        await asyncio.sleep(0.01)
    await c.disconnect()
    await c.disconnect()
    for task in tasks:
        await task
    say("connected", c.connected)
    await c.connect()
    while c.session.outbox:
        await asyncio.sleep(0.01)
    await c.disconnect()
    say("end")


run(main)

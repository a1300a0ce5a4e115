"""Takes its time over each message, and publishes from within."""

import asyncio

from device import client, config, run, say


async def main():
    async with client(keepalive=1) as c:
        await c.subscribe("t", qos=1)
        async for message in c.messages:
            await asyncio.sleep(config["seconds"])
            await c.publish("done", message.payload, 1)
            say("done")
            break
    say("end")


run(main)

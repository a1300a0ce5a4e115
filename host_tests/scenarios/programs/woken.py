"""Takes messages at ``t`` and tells for each how often the writer looked for something to write
since it was ready, until one at QoS 1 was acknowledged."""

import asyncio

from device import client, run, say

looks = 0


async def main():
    global looks
    async with client() as c:
        await c.subscribe(("t", 1))
        s = c.session
        take = s.take

        def counted(now):
            global looks
            looks += 1
            return take(now)

        s.take = counted
        await asyncio.sleep(0.1)  # the writer waits by now
        looks = 0
        say("ready")
        async for message in c.messages:
            say("looked", message.qos, looks)
            if message.qos:
                break
        message.ack()
        await asyncio.sleep(0.1)
        say("acknowledged", looks > 0)


run(main)

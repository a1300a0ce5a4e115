"""Waits for an answer that lies behind more messages than the inbox takes, then takes those."""

import asyncio

from device import client, run, say, text


async def main():
    async with client(max_packet=256, inbox_bytes=512) as c:
        await c.subscribe(("t", 1))
        say("ready")
        first = True
        async for message in c.messages:
            say("got", text(message.payload))
            if message.payload == b"end":
                break
            if first:
                first = False
                await c.publish("u", b"", 1)
                say("published", c.session.shed, c.session.dropped > 0)
            await asyncio.sleep(0.01)  # the writer has its turn before the inbox is empty
    say("end")


run(main)

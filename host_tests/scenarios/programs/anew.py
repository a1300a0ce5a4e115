"""Uses a client in one ``asyncio.run`` and another in the next, with a new loop between them as at
the end of MicroPython's own examples."""

import asyncio

from device import client, run, say


async def main():
    async with client() as c:
        await c.publish("t", b"", 1)
        say("published")


run(main)
asyncio.new_event_loop()
run(main)

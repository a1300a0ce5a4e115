"""Publishes ``count`` messages at QoS 1 at once."""

import asyncio

from device import client, config, run, say


async def main():
    async with client() as c:
        await asyncio.gather(*[c.publish("burst", "%d" % n, 1) for n in range(config["count"])])
    say("end")


run(main)

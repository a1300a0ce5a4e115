"""Connects with a will; leaves in order, or stays until it is killed."""

import asyncio

from device import client, config, run, say
from dormouse import Will


async def main():
    async with client(will=Will(*config["will"])):
        say("connected")
        while not config["leave"]:
            await asyncio.sleep(1)


run(main)

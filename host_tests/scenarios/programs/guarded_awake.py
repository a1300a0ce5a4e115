"""A node under guard that stays connected; it hangs when it is told to."""

import asyncio
import json

import dormouse.field.guard as guard
from dormouse.field.config import make_client

with open("config.json") as f:
    config = json.load(f)


class Device:
    def __init__(self, config, store, log):
        self.client = make_client(config, clean=False, backoff=tuple(config["backoff"]))

    async def run(self):
        client = self.client
        client.start()
        task = asyncio.create_task(guard.watch(client))
        await client.wait_connected()
        print("connected")
        await client.subscribe("g/hang", qos=1)
        print("subscribed")
        async for _message in client.messages:
            print("hanging")
            while True:
                pass
        await task


guard.run(Device, config)

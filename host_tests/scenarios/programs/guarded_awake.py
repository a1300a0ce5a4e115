"""A node under guard that stays connected; it hangs when it is told to. With "away" a Keeper
keeps its network, which is not there for so many s."""

import asyncio
import json
import time

import dormouse.field.guard as guard
import dormouse.patterns.keep as keep
from dormouse.field.config import make_client
from dormouse.patterns.keep import Keeper

keep.urandom = lambda n: b"\x08\0"  # its waits are 2 s at most

with open("config.json") as f:
    config = json.load(f)


class Network:
    fresh = False
    began = time.time()

    async def join(self):
        await asyncio.sleep(0.2)
        if time.time() - self.began < config["away"]:
            raise OSError("away")


class Device:
    def __init__(self, config, store, log):
        self.client = make_client(config, clean=False, backoff=tuple(config["backoff"]))

    async def run(self):
        client = self.client
        if "away" in config:
            keeping = asyncio.create_task(Keeper(client, Network(), print).run())
        else:
            client.start()
        task = asyncio.create_task(guard.watch(client))
        while not client.connected:  # (nor started before there is Wi-Fi)
            await asyncio.sleep(0.1)
        print("connected")
        await client.subscribe("g/hang", qos=1)
        print("subscribed")
        async for _message in client.messages:
            print("hanging")
            while True:
                pass
        await task
        await keeping


guard.run(Device, config)

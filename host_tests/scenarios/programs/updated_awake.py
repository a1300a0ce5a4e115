"""A node that stays connected and takes updates at once. Its version is its first line."""

import asyncio
import json

import machine
from dormouse import Client
from dormouse.field import Ota
from dormouse.store import Journal

with open("config.json") as f:
    config = json.load(f)
TOPIC = config["topic"]


async def confirm(client, ota):
    while True:
        await client.wait_connected()
        if ota.confirm(client):
            print("confirmed")
        ota.fetch(client)
        await client.wait_connected(False)


async def feed(wdt):
    while True:
        wdt.feed()
        await asyncio.sleep(0.1)


async def main():
    ota = Ota(config["update_key"], TOPIC, secret=config.get("node_key"))
    client = Client("127.0.0.1", store=Journal("dormouse.journal"), **config["client"])
    print("version", VERSION, ota.trial)  # noqa: F821
    if ota.trial:
        feeding = asyncio.create_task(feed(machine.WDT(timeout=8000)))
    client.start()
    confirming = asyncio.create_task(confirm(client, ota))
    await client.subscribe(*ota.filters)
    print("subscribed")
    async for message in client.messages:
        ota.handle(message, client)
        message.ack()
        if ota.ready:
            await client.disconnect()  # what was to be told is
            machine.reset()
    await feeding
    await confirming


asyncio.run(main())

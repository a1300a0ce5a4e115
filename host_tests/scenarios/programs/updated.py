"""A sleeping node that takes updates: the smallest that is real. Its version is its first line."""

import asyncio
import json

import machine
from dormouse import Client
from dormouse.field import Ota
from dormouse.sleep import Node
from dormouse.store import Journal

with open("config.json") as f:
    config = json.load(f)
TOPIC = config["topic"]


async def main():
    ota = Ota(config["update_key"], TOPIC, secret=config.get("node_key"))
    client = Client("127.0.0.1", store=Journal("dormouse.journal"), **config["client"])
    node = Node(client, subscribe=ota.filters, **config["node"])
    print("version", VERSION, ota.trial)  # noqa: F821

    ota.fetch(client)
    async for message in node.wake(ota.trial):
        print("took", message.topic, len(message.payload))
        ota.handle(message, client)
    if node.reached and ota.confirm(client):
        print("confirmed")
        async for message in node.wake(True):  # what is told goes out in this wake
            ota.handle(message, client)
    print("error", repr(node.error))
    if ota.ready:
        node.session.save()
        machine.reset()
    node.sleep()


asyncio.run(main())

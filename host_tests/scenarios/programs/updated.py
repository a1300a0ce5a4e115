"""A sleeping node that takes updates: the smallest that is real. Its version is its first line."""

import asyncio
import json

import machine
from dormouse import Client, OutboxFull
from dormouse.field import Ota
from dormouse.sleep import Node
from dormouse.store import Journal

with open("config.json") as f:
    config = json.load(f)
TOPIC = config["topic"]


async def main():
    ota = Ota(config.get("update_key"), TOPIC)
    client = Client("127.0.0.1", store=Journal("dormouse.journal"), **config["client"])
    node = Node(client, subscribe=((TOPIC + "/update/#", 1),), **config["node"])
    print("version", VERSION, ota.trial)  # noqa: F821

    def tell(report):
        if report:
            print("report", report)
            try:
                node.publish(TOPIC + "/updated", report, 1)
            except OutboxFull:
                pass  # the offer comes again

    tell(None)
    async for message in node.wake(ota.trial):
        print("took", message.topic, len(message.payload))
        tell(ota.take(message.topic[len(TOPIC) + 1 :], message.payload))
    if not node.error and ota.trial:
        tell(ota.confirm())
        async for message in node.wake(True):  # what is told goes out in this wake
            tell(ota.take(message.topic[len(TOPIC) + 1 :], message.payload))
    print("error", repr(node.error))
    if ota.ready:
        node.session.save()
        machine.reset()
    node.sleep()


asyncio.run(main())

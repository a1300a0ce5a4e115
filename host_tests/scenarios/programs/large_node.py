"""One wake of a node that sends a file, and takes one; it publishes only when the power came."""

import asyncio
import json
from hashlib import sha256

from dormouse import Client
from dormouse.large import Incomplete, Source
from dormouse.sleep import Node
from dormouse.store import Journal

with open("config.json") as f:
    config = json.load(f)


async def main():
    client = Client(large=True, clean=False, store=Journal("store"), **config["client"])
    node = Node(client, 60, subscribe=(("g/file", 2),))
    if node.reason == "power" and not node.waiting():
        o = node.publish("g/image", Source("image"), 2)
        node.publish("g/small", "x", 1)
        print("published", o.error)
    print("committed", client.session.committed)
    async for message in node.wake():
        digest = sha256()
        try:
            async for chunk in message.chunks():
                digest.update(chunk)
        except Incomplete as e:
            print("again", e)
            continue
        print("got", message.length)
        message.ack(digest.digest())
    print("waiting", node.waiting(), repr(node.error))
    node.sleep()


asyncio.run(main())

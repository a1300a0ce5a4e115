"""One boot of a node whose life is proved: publishes, obeys what comes, sleeps.

    life.py NUMBER [QOS ...]        publishes a message with that number at each QoS

A command is processed by adding it to the bytes that are committed with its acknowledgement.
"""

import asyncio
import json
import sys

from dormouse import Client
from dormouse.sleep import Node
from dormouse.store import Journal

with open("config.json") as f:
    config = json.load(f)


def pending(store):
    n = 0
    for key in store.data:
        n += key >= 0x10000  # what is left of messages, either way
    return n


async def main():
    store = Journal("store")
    client = Client("127.0.0.1", store=store, **config["client"])
    node = Node(client, **config["node"])
    if config.get("careful"):
        node.strikes = 2  # as after two bursts in vain: CONNACK is waited for
    session = client.session
    done = bytes(session.committed or b"")
    print("boot", node.reason, "pending", pending(store), "done", str(done, "utf-8"))
    if store.warning:
        print("warning", store.warning)
    number = sys.argv[1]
    for qos in sys.argv[2:]:
        node.publish(config["topic"], number + "x" * (config["size"] - len(number)), int(qos))
        print("sent", qos, number)
    async for message in node.wake():
        done = (done + message.payload)[-config.get("keep", 99) :]
        print("command", message.qos, str(message.payload, "utf-8"))
        message.ack(done)
    for name, _ in node.subscribe:
        print("subscribed", session.filters.get(name))
    print(
        "end pending", pending(store), "error", repr(node.error), "wear", store.saves, store.written
    )
    node.sleep()


asyncio.run(main())

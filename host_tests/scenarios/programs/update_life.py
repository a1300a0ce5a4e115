"""A node that counts, and takes updates. Its version is the first line of its main.py, which stands
before this file; see harness/update_life.py."""

import asyncio
import json

from dormouse import Client
from dormouse.field import Ota
from dormouse.sleep import Node
from dormouse.store import Journal
from part import PART

with open("config.json") as f:
    config = json.load(f)


def pending(store):
    n = 0
    for key in store.data:
        n += key >= 0x10000
    return n


async def main():
    store = Journal("store")
    client = Client("127.0.0.1", store=store, **config["client"])
    ota = Ota(config["key"], config["topic"], config["update"])
    node = Node(client, subscribe=ota.filters, guard="network", **config["node"])
    session = client.session
    done = int(session.committed or b"0")
    print("boot", node.reason, "pending", pending(store), "done", done)
    print("runs", VERSION, PART)  # noqa: F821
    if store.warning:
        print("warning", store.warning)
    if done < config["count"]:
        session.commit(b"%d" % (done + 1))  # in the record of the message
        node.publish(config["topic"], b"%d" % (done + 1), 2)
        print("sent", 2, done + 1)

    async def connect(urgent=False):
        ota.fetch(client)
        async for message in node.wake(urgent):
            if not ota.handle(message, client):
                print("command", message.topic)

    await connect(ota.trial)
    if node.reached and ota.confirm(client):
        await connect(True)
    if ota.trouble:
        print("trouble", ota.trouble)
    print("end pending", pending(store), "error", repr(node.error))
    node.sleep(1 if ota.ready else None)


asyncio.run(main())

"""One wake of a Node: publishes as its configuration says, obeys, sleeps. Raises nothing."""

import asyncio
import json
import os

from dormouse import Client
from dormouse.sleep import Node
from dormouse.store import Journal

with open("config.json") as f:
    config = json.load(f)


async def main():
    options = config["client"]
    store = Journal("store")
    wifi = None
    if "tls" in config:
        from dormouse.net import context

        options["tls"] = context(**config["tls"])
    if config.get("host"):
        from dormouse.net import Wifi

        wifi = Wifi("home", "right", store)
    if "clock" in config:
        from dormouse.net import Clock

        wifi = Clock(wifi, "127.0.0.1", store, config["node"]["period"], 0, config["clock"])
    client = Client(config.get("host", "127.0.0.1"), store=store, **options)
    node = Node(client, wifi=wifi, **config["node"])
    try:
        with open("address") as f:  # to be remembered
            store.save({6: f.read().replace(" ", "\0").encode()})
        os.remove("address")
    except OSError:
        pass
    n = int.from_bytes(store.data.get(16) or b"", "big") + 1
    store.save({16: bytes((n,))})
    for topic, payload, qos, more in config["publish"]:
        o = node.publish(topic, payload.replace("N", str(n)), qos, **more)
        print("published" if not o.error else repr(o.error).split("(")[0])
    async for message in node.wake():
        print("command", str(message.payload, "utf-8"))
    print("left", node.waiting(), "error", repr(node.error).split("(")[0])
    node.sleep()


asyncio.run(main())

"""One boot of a node whose life is proved: publishes, obeys what comes, sleeps.

    life.py NUMBER [QOS ...]        publishes a message with that number at each QoS

A command is processed by adding it to the bytes that are committed with its acknowledgement. With
"other" in config.json boot 2 listens to that topic too, and no boot after it. With "large" what it
publishes comes from the files 1, 2 and 3, and what it takes comes in pieces. "pending": keys of a
store from there on are what is not at its end.
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
        n += key >= config.get("pending", 0x10000)  # what is left of messages, either way
    return n


def large(name):
    # What a message holds whose first byte that is; harness/life.py has the same.
    return b"".join([b"%s%07d" % (name, n) for n in range(180)])


async def whole(message):
    """Return the first byte of a message that comes in pieces; None of one that has no end."""
    from dormouse.large import Incomplete

    got = b""
    try:
        async for chunk in message.chunks():
            got += bytes(chunk)
    except Incomplete:
        return None
    if got != large(got[:1]):
        print("damaged", len(got))
    return got[:1]


async def main():
    store = Journal("store")
    options = config["client"]
    if "tls" in config:
        from dormouse.net import context

        options["tls"] = context(config["tls"])
    if "path" in config:
        from dormouse.net import WebSocket

        options["stream"] = WebSocket(config["path"])
    other = config.get("other")
    number = sys.argv[1]
    wanted = config["node"].pop("subscribe")
    if other and number == "2":
        wanted.append([other, 1])
    client = Client(config.get("host", "127.0.0.1"), store=store, **options)
    node = Node(client, subscribe=wanted, **config["node"])
    if config.get("careful"):
        node.strikes = 2  # as after two bursts in vain: CONNACK is waited for
    session = client.session
    done = bytes(session.committed or b"")
    print("boot", node.reason, "pending", pending(store), "done", str(done, "utf-8"))
    if store.warning:
        print("warning", store.warning)
    more = config.get("publish", {})
    for qos in sys.argv[2:]:
        text = number + "x" * (config["size"] - len(number))
        if "large" in options:
            from dormouse.large import Source

            text = Source(number)
        node.publish(config["topic"], text, int(qos), **more)
        print("sent", qos, number)
    async for message in node.wake():
        if message.topic == other:
            print("retained", str(message.payload, "utf-8"))
            message.ack()
            continue
        payload = message.payload
        if "large" in options:
            payload = await whole(message)
            if payload is None:
                continue
        done = (done + payload)[-config.get("keep", 99) :]
        print("command", message.qos, str(payload, "utf-8"))
        message.ack(done)
    for name, _ in node.subscribe:
        print("other" if name == other else "subscribed", session.filters.get(name))
    print("filters", len(session.filters))
    print(
        "end pending", pending(store), "error", repr(node.error), "wear", store.saves, store.written
    )
    node.sleep()


asyncio.run(main())

"""One boot of a node that uses the patterns: numbers what it sends, does once what comes twice,
keeps to its shadow, says its state when that has changed.

    patterned.py            its config.json says the rest
"""

import asyncio
import json

from dormouse import Client
from dormouse.patterns.age import Age, now
from dormouse.patterns.once import Once
from dormouse.patterns.sequence import Counter
from dormouse.patterns.shadow import Shadow
from dormouse.patterns.state import State
from dormouse.sleep import Node
from dormouse.store import Journal

with open("config.json") as f:
    config = json.load(f)


async def main():
    store = Journal("store")
    client = Client("127.0.0.1", store=store, **config["client"])
    node = Node(client, **config["node"])
    shadow = Shadow(node.publish, "thing", config["shadow"], store)
    node.subscribe = (("p/cmd", 1),) + shadow.filters
    once = Once(store)
    age = Age(600, log=lambda *words: None)
    numbers = Counter(client.session)
    state = State(node.publish, store)
    relay = int.from_bytes(store.data.get(16) or b"\0", "big")
    settings = json.loads(bytes(store.data.get(17) or b"{}"))
    print("boot relay", relay, "settings", json.dumps(settings), "clock", bool(now()))
    state.set("p/relay", b"%d" % relay)
    n = numbers.next()
    node.publish("p/meter", b"%d" % n, 1)
    shadow.get()
    async for message in node.wake():
        delta = shadow.take(message)
        if delta is None:
            command = json.loads(message.payload)
            why = age.refused(message, command["t"])
            if why:
                print("refused", why)
            elif once.seen(command["id"]):
                print("repeat", command["id"])
            else:
                relay += 1
                once.done(command["id"], changes={16: bytes((relay,))})
                print("done", command["id"])
                state.set("p/relay", b"%d" % relay)
        elif delta:
            settings.update(delta)
            shadow.report(delta)
            shadow.done({17: json.dumps(settings).encode()})
            print("delta", json.dumps(delta))
        else:
            shadow.done()
    print("end error", repr(node.error), "shadow", shadow.version, repr(shadow.error))
    node.sleep()


asyncio.run(main())

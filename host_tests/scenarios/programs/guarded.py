"""A node under guard that does what its configuration says, badly.

    "do": in which boot ("1", "2", ... or "*") what: "raise", "make", "loop" (an endless loop),
          "memory", "exit", "secret" (an error with a text that is no ASCII)
"""

import asyncio
import json

import dormouse.guard as guard
from dormouse.safe import make_client
from dormouse.sleep import Node

with open("config.json") as f:
    config = json.load(f)


class Device:
    def __init__(self, config, store, log):
        self.log = log
        self.topic = config["topic"]
        # The number of this boot; what the application writes in a normal wake.
        if config.get("number", True):
            boot = int.from_bytes((store and store.data.get(16)) or b"\0", "big") + 1
            store.save({16: bytes((boot,))})
        else:
            boot = 0
        self.boot = boot
        todo = config.get("do", {})
        self.todo = todo.get(str(boot)) or todo.get("*")
        if self.todo == "make":
            raise ValueError("no sensor")
        self.node = Node(
            make_client(config, store),
            config.get("period", 300),
            config.get("budget", 5000),
            ((self.topic + "/do/+", 2),),
            guard="network",
        )

    async def run(self):
        node = self.node
        self.log("boot", self.boot, node.reason)
        guard.feed()
        if self.todo == "raise":
            raise OSError(5)
        if self.todo == "text":
            raise RuntimeError("\u00e4" * 200)
        if self.todo == "memory":
            x = []
            while True:
                x.append(bytearray(100000))
        if self.todo == "loop":
            print("looping")
            while True:
                pass
        if self.todo == "wait":
            print("waiting")
            while True:
                await asyncio.sleep(1)
        node.publish(self.topic + "/n", str(self.boot), 1)
        async for message in node.wake():
            guard.feed()
            self.log("command", str(message.payload, "utf-8"))
            if message.payload == b"raise":
                raise ValueError("command")
        self.log("error", repr(node.error))
        guard.end(node.error, node.publish)
        node.sleep()


def store(config):
    kind = config.get("store")
    if kind == "unopened":
        raise OSError(19)
    s = guard.open_store(config)
    if kind == "unwritable":

        def broken(changes):
            if 8 in changes or 9 in changes:
                raise OSError(28)

        s.write = broken
    return s


guard.run(Device, config, store)
print("returned")

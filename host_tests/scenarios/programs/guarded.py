"""A node under guard that does what its configuration says, well or badly.

``do``: what, by the number of the boot ("1", "2" ...) or "*" for each: make, raise, text, untold,
memory, hoard, loop, wait, lookup, stray, cancel, reset, full, "no memory".
``network``: with the board's, which can be slow.
``writes``: print guard's.
``kind``: of store, "unopened", "unwritable", "worn" or "full". ``guard``: the Node's.
``cable``: of safe mode's network. ``chance``: the byte by which safe mode decides.
``repl``: s in which somebody is at the REPL after a Ctrl-C.
"""

import asyncio
import sys
import time

import dormouse.field.guard as guard
import machine
from dormouse import OutboxFull
from dormouse.field.config import load, make_client, make_store
from dormouse.sleep import Node

config = load()


class Untold(Exception):
    def __repr__(self):
        return "Untold" + 1  # a mistake in it

    __str__ = __repr__


async def keep(what):
    while True:
        await asyncio.sleep(60)
        print(len(what))


def hoard(held):
    size = 65536
    while size > 8:
        try:
            while True:
                held.append(bytearray(size))
        except MemoryError:
            size >>= 1
    raise MemoryError


async def stray():
    await asyncio.sleep(0)
    print("stray")
    while True:
        pass


def fill():
    for size in (4096, 1):
        n = 0
        try:
            while True:
                n += 1
                with open("filler%d" % (size + n), "xb") as f:
                    f.write(bytes(size))
        except OSError as e:  # full, or done before
            print("full", n, e)


class Device:
    def __init__(self, config, store, log):
        self.log = log
        self.topic = config["topic"]
        self.boot = 0
        if config.get("count", True):
            self.boot = int.from_bytes(store.data.get(16) or b"\0", "big") + 1
            store.save({16: bytes((self.boot,))})
        if config.get("show"):
            print("log", repr(log.text()))
        do = config.get("do", {})
        self.do = do.get(str(self.boot)) or do.get("*")
        if self.do == "make":
            raise ValueError("no sensor")
        self.node = Node(
            make_client(config, clean=False, store=store),
            config.get("period", 300),
            config.get("budget", 5000),
            ((self.topic + "/do/+", 2),),
            guard=config.get("guard", "network"),
        )

    async def misbehave(self):
        if self.do == "raise":
            raise OSError(5)
        if self.do == "full":
            fill()
        if self.do == "reset":
            machine.reset()
        if self.do == "text":
            raise RuntimeError("\u00e4" * 200)
        if self.do == "untold":
            raise Untold
        if self.do == "memory":
            if sys.implementation.name != "micropython":
                raise MemoryError
            pieces = []
            while True:
                pieces.append(bytearray(1000))
        if self.do == "hoard":
            mine = []
            self.task = asyncio.create_task(keep(mine))
            await asyncio.sleep(0)
            hoard(mine)
        if self.do == "cancel":
            task = asyncio.create_task(stray())
            task.cancel()
            await task
        if self.do == "stray":
            self.task = asyncio.create_task(stray())
            raise OSError(5)
        if self.do == "loop":
            print("looping")
            while True:
                time.sleep(0.001)  # asyncio does not run
        if self.do == "wait":
            print("waiting")
            while True:
                await asyncio.sleep(1)
        if self.do == "lookup":
            import socket

            print("looking up")
            socket.getaddrinfo("broker.home", 1883)
            print("looked up")

    async def run(self):
        node = self.node
        self.log("boot", self.boot, node.reason)
        if config.get("network"):
            import network

            network.WLAN().active(True)
            network.WLAN().connect("home", None)
            while not network.WLAN().isconnected():
                await asyncio.sleep(0.01)
        guard.feed()
        await self.misbehave()
        try:
            node.publish(self.topic + "/n", str(self.boot), 1)
        except OutboxFull:
            if self.do != "full":
                raise
        async for message in node.wake():
            guard.feed()
            self.log("command", str(message.payload, "utf-8"))
        self.log("error", repr(node.error))
        if self.do == "no memory":
            node.error = MemoryError()
        guard.end(node.error, node.publish, node.reached)
        node.sleep()


def open_store(config):
    kind = config.get("kind")
    if kind == "unopened":
        raise OSError(19)
    store = make_store(config)
    if kind == "full":
        for n in range(32):  # twice the blocks, for a failed write may leave one
            try:
                with open("filler%d" % n, "wb") as f:
                    f.write(bytes(1024))
            except OSError as e:
                print("full", n, e)
    write = store.write

    def noted(changes):
        for key in (8, 9):
            if key in changes:
                if config.get("writes"):
                    print("guard writes", key)
                if kind == "unwritable":
                    raise OSError(28)
        if kind == "worn" and not {8, 9, 16} & set(changes):
            raise OSError(-24577, "ESP_ERR_FLASH_OP_FAIL")
        write(changes)

    store.write = noted
    return store


if "chance" in config:
    import dormouse.field.safe as safe

    safe.urandom = lambda n: bytes((config["chance"],))


class Cable:
    async def join(self, ms):
        print("joined by cable")

    def off(self):
        print("cable off")


try:
    guard.run(Device, config, open_store, Cable if config.get("cable") else None)
except KeyboardInterrupt:
    print("interrupted")
    if "repl" not in config:
        raise
    time.sleep(config["repl"])
    print("still here")

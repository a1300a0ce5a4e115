"""Bytes of heap that a client or a node holds; runs on an emulated chip, started by
tools/desk/chip.py: chip_heap.py client | client5 | node

There is no network: what would be written is answered here as a broker does, byte by byte. What the
port has not (random bytes, sockets, the module machine) stands in for what a board has of its own,
and is there before it is counted.
"""

import asyncio
import binascii  # noqa: F401 - a board has it
import errno  # noqa: F401
import sys
import time  # noqa: F401

from heap import heap

asyncio.Event, asyncio.wait_for, asyncio.sleep_ms  # noqa: B018 - they are loaded when asked for
TOPIC = "greenhouse/7/cmd"


class Os:
    def urandom(n):
        return bytes(range(n))


class Socket:
    SOCK_STREAM = 1


class Machine:
    PWRON_RESET, DEEPSLEEP_RESET, WDT_RESET, TIMER_WAKE = 1, 4, 3, 4

    def wake_reason():
        return 4

    def reset_cause():
        return 4

    def deepsleep(ms):
        pass

    class RTC:
        def memory(self, data=None):
            return b""


sys.modules["os"] = Os
sys.modules["socket"] = Socket
sys.modules["machine"] = Machine


class Broker:
    """A stream to a broker of 3.1.1 or 5 that answers at once."""

    def __init__(self, five):
        self.five = five
        self.out = bytearray()
        self.some = asyncio.Event()

    async def open_stream(self, *address):
        return self, self.close

    def close(self):
        self.out[:] = b""

    async def read(self, stream, buf):
        while not self.out:
            self.some.clear()
            await self.some.wait()
        n = min(len(buf), len(self.out))
        buf[:n] = self.out[:n]
        self.out = self.out[n:]
        return n

    async def write(self, stream, buf):
        buf = bytes(buf)
        while buf:
            n = buf[1]  # (all are short)
            self._answer(buf[0], buf[2 : 2 + n])
            buf = buf[2 + n :]
        self.some.set()

    def _answer(self, first, body):
        kind = first >> 4
        five = b"\0" if self.five else b""
        if kind == 1:
            self.out += bytes((0x20, 2 + len(five))) + b"\0\0" + five
        elif kind == 3 and first & 6:
            at = 2 + (body[0] << 8 | body[1])
            self.out += b"\x40\x02" + body[at : at + 2]
        elif kind == 8:
            self.out += bytes((0x90, 3 + len(five))) + body[:2] + five + b"\1"
        elif kind == 12:
            self.out += b"\xd0\0"


async def client(broker):
    options = {"version": 5} if broker.five else {}
    start = heap()
    from dormouse import Client

    Client  # noqa: B018 - it is loaded now
    imported = heap()
    c = Client("broker", client_id="size", clean=False, stream=broker, **options)
    await c.connect()
    await c.subscribe(TOPIC, qos=1)
    print("imported", imported - start, sep="|")
    print("connected", heap() - start, sep="|")
    await c.disconnect()


async def node(broker):
    start = heap()
    from dormouse import Client
    from dormouse.sleep import Node
    from dormouse.store import Store

    store = Store()
    store.survives = 2  # as if it were on a medium, which is not counted
    c = Client("", client_id="size", clean=False, stream=broker, store=store)
    node = Node(c, 300, subscribe=((TOPIC, 1),), guard=False)
    node.publish("greenhouse/7/temp", b"21.5", 1)
    async for _ in node.wake():
        pass
    print("after a wake", heap() - start, sep="|")
    if node.error:
        raise node.error


case = sys.argv[1]
asyncio.run((node if case == "node" else client)(Broker(case == "client5")))

"""A client that has to connect again while its heap is in pieces: much is free, all of it in small
ones. Its arguments: the broker's port, MQTT's version, and the bytes of a piece; with one more,
what is loaded when there is trouble is loaded at its start.

Names that MicroPython has not seen yet go into pools that double: where one is full, the next name
takes some KB in one piece. Here the next name does.
"""

import asyncio
import gc
import sys

from dormouse import Client

PORT, VERSION, PIECE = (int(each) for each in sys.argv[1:4])
if sys.argv[4:]:
    import dormouse.trouble  # noqa: F401


class Names:
    pass


def intern(n):
    """Return how many bytes of heap a name takes that was never there."""
    gc.collect()
    before = gc.mem_alloc()
    setattr(Names, "name%d" % n, None)
    delattr(Names, "name%d" % n)
    gc.collect()
    return gc.mem_alloc() - before


def fill_pool():
    n = 0
    while True:
        taken = intern(n)
        n += 1
        if taken > 1000:
            break
    for _ in range(taken // 70 * 10 - 1):  # 7 bytes for each of its places, 10 times a power of two
        intern(n)
        n += 1


def fill(pieces, size):
    """Take all that is free in pieces of this size."""
    try:
        while True:
            pieces.append(None)
            pieces[-1] = bytearray(size)
    except MemoryError:
        pass


def break_up():
    pieces = []
    fill(pieces, PIECE)
    for i in range(0, len(pieces), 2):
        pieces[i] = None
    gc.collect()
    return pieces


def largest():
    n = 64
    try:
        while True:
            bytearray(n)
            n += 16
    except MemoryError:
        return n - 16


async def main():
    c = Client(
        "127.0.0.1",
        PORT,
        client_id="node",
        clean=False,
        backoff=(0.02, 0.1),
        timeout=2,
        version=VERSION,
    )
    await c.connect()
    await c.subscribe("large", "down", qos=2)
    fill_pool()
    pieces = break_up()
    print("free", gc.mem_free())
    print("in pieces", largest(), len(pieces))
    await c.wait_connected(False)
    rest = []
    fill(rest, 2 * PIECE)  # what the end of the connection has left in one piece
    while not c.connected:
        await asyncio.sleep(0.01)
    print("again", type(c.error).__name__)
    async for message in c.messages:
        print("got", message.payload)
        if message.qos == 2:
            break
    await c.publish("a", b"x", 1)
    await c.disconnect()
    print("end", c.session.troubles)


asyncio.run(main())

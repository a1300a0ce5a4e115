"""A client that has to connect again while its heap is in pieces: much is free, all of it in small
ones. Its argument is the broker's port.

Names that MicroPython has not seen yet go into pools that double: where one is full, the next name
takes some KB in one piece. Here the next name does.
"""

import asyncio
import gc
import sys

from dormouse import Client

PIECE = 1024  # bytes


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


def break_up():
    pieces = []
    try:
        while True:
            pieces.append(None)
            pieces[-1] = bytearray(PIECE)
    except MemoryError:
        pass
    for i in range(0, len(pieces), 2):
        pieces[i] = None
    return pieces


async def main(port):
    c = Client("127.0.0.1", port, client_id="node", clean=False, backoff=(0.02, 0.1), timeout=2)
    await c.connect()
    fill_pool()
    pieces = break_up()
    gc.collect()
    print("free", gc.mem_free())
    try:
        bytearray(2 * PIECE)
        print("in one piece")
    except MemoryError:
        print("in pieces", len(pieces))
    await c.wait_connected(False)
    while not c.connected:
        await asyncio.sleep(0.01)
    print("again", type(c.error).__name__)
    await c.publish("a", b"x", 1)
    await c.disconnect()
    print("end")


asyncio.run(main(int(sys.argv[1])))

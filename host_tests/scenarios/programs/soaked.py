"""A device under load, for as long as it is let: publishes at every QoS, and checks what comes.

    soaked.py FACE PORT VERSION STORE BOOT TICKS PREFIX

FACE: client, or node. STORE: ram, or a journal's file. BOOT: which start of the chip it is. TICKS:
where ticks_ms begins.

A client stays connected. A node has one wake after the other: all that a wake made is dropped, as
in deep sleep, but for what the store holds, and the next one begins with that; now and then the
loop over a wake is left early.

Published at PREFIX/up: "BOOT QOS NUMBER LAST1 LAST2 FILL", numbers of each QoS in sequence; LAST is
what it has of the commands. These come at PREFIX/down: "QOS NUMBER", or "stop".
"""

import asyncio
import gc
import os
import sys

import dormouse.client as module
from dormouse import Client
from dormouse.resume import reserve
from dormouse.session import OutboxFull

FACE, PORT, VERSION, STORE, BOOT, TICKS, PREFIX = sys.argv[1:8]
REPORT = 2000  # messages between two looks at the heap
UPS = 8 if STORE == "ram" else 20  # messages of a wake: RTC memory holds no more
DOWNS = 30
EARLY = 16  # one wake in so many is left early
FILL = "x" * 90

ticks = module.ticks_ms
begun = ticks()


def ticks_now():
    return ticks() - begun + int(TICKS) & 0x3FFFFFFF


module.ticks_ms = ticks_now


class Count:
    def __init__(self):
        self.last = [0, 0, 0]  # of each QoS, the greatest number that came
        self.newest = 0  # at QoS 1 the number that came last
        self.sent = [0, 0, 0]
        self.n = 0
        self.reported = 0
        self.stop = False


c = Count()
options = {"version": 5} if VERSION == "5" else {}
options["on_trouble"] = lambda error: print("wrong:", repr(error))


def descriptors():
    try:
        return len(os.listdir("/proc/self/fd"))
    except OSError:
        return 0


def tasks():
    # How many asyncio has beside this one.
    if hasattr(asyncio, "all_tasks"):
        return len(asyncio.all_tasks()) - 1
    from asyncio import core

    return (core._task_queue.peek() is not None) + len(core._io_queue.map)


def heap():
    gc.collect()
    print("open", descriptors())
    if hasattr(gc, "mem_free"):
        import micropython

        print("heap", gc.mem_free())
        micropython.mem_info()


def report():
    if c.n - c.reported >= REPORT:
        c.reported = c.n
        heap()


def obey(m, durable):
    text = str(m.payload, "utf-8")
    if text == "stop":
        c.stop = True
    else:
        qos, n = map(int, text.split())
        if n > c.last[qos] + 1:
            print("wrong: at QoS", qos, "came", n, "behind", c.last[qos])
        elif n <= c.last[qos] and qos == 2:
            print("wrong: at QoS 2 came", n, "again, behind", c.last[2])
        c.last[qos] = max(c.last[qos], n)
        if qos == 1:
            c.newest = n
    if durable:
        m.ack("%d %d %d" % (c.last[1], c.last[2], c.newest))
    else:
        m.ack()


def committed(session):
    if session.committed:
        c.last[1], c.last[2], c.newest = map(int, str(session.committed, "utf-8").split())


def following():
    # QoS, number and payload of the next message to be published.
    qos = c.n % 3
    number = c.sent[qos] + 1
    text = "%s %d %d %d %d %s" % (BOOT, qos, number, c.last[1], c.last[2], FILL[: c.n % 90])
    return qos, number, text


def went(qos, number):
    c.sent[qos] = number
    c.n += 1


# --- a client -------------------------------------------------------------------------------------


async def publish(client):
    while not c.stop:
        if len(client.session.outbox) >= 12:
            await asyncio.sleep(0.002)
            continue
        qos, number, text = following()
        try:
            client.publish_nowait(PREFIX + "/up", text, qos)
        except OutboxFull:
            await asyncio.sleep(0.005)
            continue
        went(qos, number)
        report()
        await asyncio.sleep(0)


async def awake():
    durable = STORE != "ram"
    if durable:
        from dormouse.store.journal import Journal

        options["store"] = Journal(STORE)
    client = Client(
        "127.0.0.1",
        int(PORT),
        client_id=PREFIX,
        clean=False,
        keepalive=1,
        timeout=1,
        backoff=(0.02, 0.1),
        auto_ack=False,
        **options,
    )
    if durable:
        committed(client.session)
    client.start()
    await client.subscribe(PREFIX + "/down", qos=2)
    print("subscribed")
    heap()
    task = asyncio.create_task(publish(client))
    async for m in client.messages:
        obey(m, durable)
        if c.stop:
            break
    await task
    while client.session.outbox:
        await asyncio.sleep(0.02)
    await client.disconnect()
    if durable:
        options["store"]._close()


# --- a node ---------------------------------------------------------------------------------------


class Chip:
    """As much of the module ``machine`` as a Node asks for."""

    RTC = object
    PWRON_RESET = 1
    DEEPSLEEP_RESET = 4

    def reset_cause(self):
        return 1

    def deepsleep(self, ms):
        pass  # the next wake begins


def store():
    if STORE != "ram":
        from dormouse.store.journal import Journal

        return Journal(STORE)
    from dormouse.store.rtc import Blob, Store

    class Memory(Blob):
        survives = 1

        def __init__(self):
            # A chip's heap is whole when a wake begins, and has room for this; not so here.
            self.size = len(memory)
            self.piece = piece
            Store.__init__(self)

        def load(self):
            return bytes(memory[: length[0]])

        def dump(self, piece):
            length[0] = len(piece)
            memory[: len(piece)] = piece

    return Memory()


memory = memoryview(bytearray(2048 if STORE == "ram" else 0))  # RTC memory, which is no heap
piece = bytearray(len(memory))
length = [0]


async def wake(Node, early):
    # Returns whether anything was left, or came; and whether it is subscribed.
    await asyncio.sleep(0)  # what was cancelled ends, and holds the last wake's session no more
    gc.collect()  # a chip's heap is whole when a wake begins; this one as far as it can be
    medium = store()
    client = Client(
        "127.0.0.1",
        int(PORT),
        client_id=PREFIX,
        clean=False,
        timeout=1,
        backoff=(0.02, 0.1),
        full="refuse",
        store=medium,
        **options,
    )
    node = Node(
        client,
        period=300,
        budget=4000,
        max_messages=DOWNS,
        subscribe=((PREFIX + "/down", 2),),
        backoff=0,
        guard=False,
        renew=0,
    )
    if medium.warning:
        print("wrong:", medium.warning)
    reserve(client.session)  # nor is it in pieces, where a table that grows has no room
    committed(client.session)
    busy = len(client.session.outbox)
    while not c.stop and len(client.session.outbox) < UPS:
        qos, number, text = following()
        o = node.publish(PREFIX + "/up", text, qos)
        if o.error:
            print("wrong: not taken", repr(o.error))
            break
        went(qos, number)
    async for m in node.wake():
        busy += 1
        if early and not c.stop:
            await node.close()  # this one comes again
            break
        obey(m, True)
    busy += node.waiting()
    node.sleep()
    if STORE != "ram":
        medium._close()
    return busy or node.error, client.session.filters


async def asleep():
    from dormouse.sleep import node as module

    module.ticks_ms = ticks_now
    sys.modules["machine"] = Chip()
    # What a chip loads in the middle of a wake is gone with that. Here it would lie for good in the
    # middle of what is free.
    for name in ("trouble", "reason", "store.room"):
        __import__("dormouse." + name)
    n = 0
    told = False
    while True:
        n += 1
        busy, subscribed = await wake(module.Node, not n % EARLY)
        if subscribed and not told:
            told = True
            print("subscribed")
            heap()
        report()
        if c.stop and not busy:
            break


async def main():
    before = descriptors()
    await (asleep if FACE == "node" else awake)()
    await asyncio.sleep(0)
    heap()
    print("left", tasks(), descriptors() - before)
    print("ends", c.sent[0], c.sent[1], c.sent[2], c.last[1], c.last[2], c.newest, ticks_now())


asyncio.run(main())

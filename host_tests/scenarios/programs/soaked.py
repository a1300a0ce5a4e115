"""A client under load, for as long as it is let: publishes at every QoS, and checks what comes.

    soaked.py PORT VERSION STORE BOOT TICKS PREFIX

STORE: ram, or a journal's file. BOOT: which start of the chip it is. TICKS: where ticks_ms begins.

Published at PREFIX/up: "BOOT QOS NUMBER LAST1 LAST2 FILL", numbers of each QoS in sequence; LAST is
what it has of the commands. These come at PREFIX/down: "QOS NUMBER", or "stop".
"""

import asyncio
import gc
import sys

import dormouse.client as module
from dormouse import Client
from dormouse.session import OutboxFull

PORT, VERSION, STORE, BOOT, TICKS, PREFIX = sys.argv[1:7]
REPORT = 2000  # messages between two looks at the heap

ticks = module.ticks_ms
begun = ticks()
module.ticks_ms = lambda: ticks() - begun + int(TICKS) & 0x3FFFFFFF


class Count:
    def __init__(self):
        self.last = [0, 0, 0]  # of each QoS, the greatest number that came
        self.newest = 0  # at QoS 1 the number that came last
        self.came = 0
        self.sent = [0, 0, 0]
        self.stop = False


c = Count()


def heap():
    gc.collect()
    if hasattr(gc, "mem_free"):
        import micropython

        print("heap", gc.mem_free())
        micropython.mem_info()


def obey(m, durable):
    text = str(m.payload, "utf-8")
    if text == "stop":
        c.stop = True
    else:
        qos, n = map(int, text.split())
        c.came += 1
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


async def publish(client):
    fill = "x" * 90
    n = 0
    while not c.stop:
        if len(client.session.outbox) >= 12:
            await asyncio.sleep(0.002)
            continue
        qos = n % 3
        number = c.sent[qos] + 1
        text = "%s %d %d %d %d %s" % (BOOT, qos, number, c.last[1], c.last[2], fill[: n % 90])
        try:
            client.publish_nowait(PREFIX + "/up", text, qos)
        except OutboxFull:
            await asyncio.sleep(0.005)
            continue
        c.sent[qos] = number
        n += 1
        if n % REPORT == 0:
            heap()
        await asyncio.sleep(0)


async def main():
    options = {}
    if VERSION == "5":
        options["version"] = 5
    durable = STORE != "ram"
    if durable:
        from dormouse.store import Journal

        options["store"] = Journal(STORE)
    client = Client(
        "127.0.0.1",
        int(PORT),
        client_id=PREFIX,
        clean=False,
        keepalive=2,
        timeout=2,
        backoff=(0.02, 0.1),
        auto_ack=False,
        **options,
    )
    if durable and client.session.committed:
        c.last[1], c.last[2], c.newest = map(int, str(client.session.committed, "utf-8").split())
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
    heap()
    print("ends", c.sent[0], c.sent[1], c.sent[2], c.last[1], c.last[2], c.newest, ticks_now())
    await client.disconnect()


def ticks_now():
    return module.ticks_ms()


asyncio.run(main())

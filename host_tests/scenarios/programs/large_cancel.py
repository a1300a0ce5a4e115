"""Sends and takes large messages, cancelled at each suspension point; then waits for an answer that
lies behind one.
"""

import asyncio
from io import BytesIO

from device import client, run, say
from dormouse.large import Incomplete, Source
from points import each_point

DATA = b"".join(b"%07d " % n for n in range(800))


async def out(c):
    async def sound():
        for qos in (0, 1, 2):
            await asyncio.wait_for(c.publish("after", b"", qos), 5)
        while c.session.outbox:
            await asyncio.sleep(0.005)

    for qos in (0, 1, 2):

        def publish(qos=qos):
            return c.publish("t", Source(BytesIO(DATA)), qos)

        await each_point("out %d" % qos, publish, sound)


async def into(c):
    taken = []

    async def take():
        async for m in c.messages:
            got = b""
            try:
                async for chunk in m.chunks():
                    got += bytes(chunk)
            except Incomplete:
                continue
            taken.append(got)
            m.ack()
            return

    for qos in (1, 2):

        def begin(qos=qos):
            c.publish_nowait("big", Source(BytesIO(DATA)), qos)
            return take()

        async def whole(qos=qos):
            # What was cancelled comes again, whole; at QoS 2 once.
            if not taken:
                await asyncio.wait_for(take(), 10)
            while c.session.outbox:
                await asyncio.sleep(0.005)
            if taken != [DATA]:
                say("wrong", qos, [len(t) for t in taken])
            del taken[:]

        await each_point("in %d" % qos, begin, whole)


async def behind(c):
    o = c.publish_nowait("big", Source(BytesIO(DATA)), 1)
    waits = True
    async for m in c.messages:
        n = 0
        try:
            async for chunk in m.chunks():
                n += len(chunk)
                if waits:
                    waits = False
                    await c.publish("u", b"", 1)  # its PUBACK is behind the next chunk
                    say("answered")
        except Incomplete as e:
            say("incomplete", e)
            continue
        say("whole", n == len(DATA))
        break
    while not o.done:
        await asyncio.sleep(0.005)


async def main():
    c = client(large=True)
    await c.connect()
    await c.subscribe("big", qos=2)
    await out(c)
    await into(c)
    await c.disconnect()
    c = client(large=True, keepalive=1, timeout=0.5)
    await c.connect()
    await c.subscribe("big", qos=1)
    await behind(c)
    await c.disconnect()
    say("sound")


run(main)

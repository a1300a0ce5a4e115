"""Uses a client again after each way in which a use of it may have ended."""

import asyncio
import os

from device import client, config, run, say, text
from dormouse import OutboxFull


async def broken_off():
    """Leaves the loop of messages early: the message comes again in the next."""
    async with client() as c:
        await c.subscribe("t", qos=1)
        for want in ("1", "1", "stop"):
            async for message in c.messages:
                say("got", text(message.payload))
                if text(message.payload) == want:
                    break


async def failed_then_started():
    """A connect that failed leaves nothing behind that start would suffer from."""
    c = client()
    try:
        await c.connect()
    except Exception as e:
        say("failed", type(e).__name__)
    c.start()
    await c.wait_connected()
    await c.connect()  # connected already
    say("connected")
    await c.wait_connected(False)
    await c.wait_connected()
    await c.disconnect()


async def overtaken():
    """One connects again while another is still disconnecting."""
    c = client()
    await c.connect()

    async def worker():
        try:
            await c.publish("t", b"", 1)
        except Exception as e:
            say("worker", type(e).__name__)
        await c.connect()
        say("again", c.connected)

    task = asyncio.create_task(worker())
    while not (c.session.outbox and c.session.outbox[0].sent):
        await asyncio.sleep(0)
    await c.disconnect()
    await task
    await c.disconnect()
    say("left", c.connected)


async def dropped():
    """A message that waits offline at QoS 0 is told when it has to make room."""
    c = client(outbox=1)
    c.start()

    async def waiter():
        try:
            await c.publish("a")
        except OutboxFull:
            say("dropped")

    task = asyncio.create_task(waiter())
    await asyncio.sleep(0)
    c.publish_nowait("b", b"", 1)
    await asyncio.wait_for(task, 5)
    await c.disconnect()


async def given_up():
    """A connect cancelled after any number of steps leaves nothing that goes on."""
    for steps in range(12):
        c = client()
        task = asyncio.create_task(c.connect())
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        try:
            await task
        except asyncio.CancelledError:
            pass
        await c.disconnect()
        await asyncio.sleep(0.02)
        if c.connected or c._task or c.session.state:
            say("zombie", steps)
    say("none left")


async def fill(c):
    """Publish until the network takes no more; say how many messages it took, each of its own."""
    n = 0
    try:
        while True:
            await asyncio.wait_for(c.publish("t", bytes((n % 251,)) * 50000), 0.5)
            n += 1
    except asyncio.TimeoutError:
        say("stuck", n)


async def unable_to_write():
    """A peer that reads nothing: disconnect ends at its time limit, and is over then."""
    c = client(outbox_bytes=200000)
    await c.connect()
    await fill(c)
    await c.disconnect()
    say("over", c.connected, c.session.state, c.error)


async def never_read():
    """A peer that reads nothing: no ping gets through, so the keep-alive ends it, and all else goes
    on at the next connection."""
    c = client(outbox_bytes=200000)
    await c.connect()
    await fill(c)
    await c.wait_connected(False)
    say("gone", type(c.error).__name__)
    await c.publish("end", b"", 1)
    await c.disconnect()


async def all_at_once():
    """Several disconnect, at the time limit; none is told of a cancel that was not its own."""
    c = client(outbox_bytes=200000)
    await c.connect()
    await fill(c)
    await asyncio.gather(c.disconnect(), c.disconnect(), c.disconnect())
    say("over", c.connected, c.session.state)


async def in_pieces():
    """Fills what the network takes, waits while it stalls, and goes on where it was."""
    c = client(outbox_bytes=200000)
    await c.connect()
    say("connected")
    while config["wait"] not in os.listdir(config["folder"]):
        await asyncio.sleep(0.002)
    await fill(c)
    await c.publish("end", b"", 1)
    await c.disconnect()


async def main():
    await globals()[config["case"]]()
    say("end")


run(main)

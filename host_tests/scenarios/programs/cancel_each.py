"""Cancels each wait after any number of steps; the session must go on as if nothing had been."""

import asyncio

from device import client, run, say


async def cancelled_at(steps, coroutine):
    """Run a coroutine for so many turns of the loop, then cancel it; tell whether it was done."""
    task = asyncio.create_task(coroutine)
    for _ in range(steps):
        await asyncio.sleep(0)
    task.cancel()
    try:
        await task
        return True
    except asyncio.CancelledError:
        return False


async def settled(c):
    """Wait until nothing is under way; a message of each QoS must still pass."""
    for qos in (0, 1, 2):
        await asyncio.wait_for(c.publish("after", b"", qos), 5)
    while c.session.outbox:
        await asyncio.sleep(0.005)


async def cancel_all(c, steps):
    """Cancel each kind of wait after so many turns; return how many had ended by themselves."""
    done = 0
    for wait in (
        lambda: c.publish("t", b"x", 0),
        lambda: c.publish("t", b"x", 1),
        lambda: c.publish("t", b"x", 2),
        lambda: c.subscribe("t", qos=2),
        lambda: c.unsubscribe("t"),
        lambda: c.messages.__anext__(),
        lambda: c.wait_connected(False),
    ):
        done += await cancelled_at(steps, wait())
        await settled(c)
    return done


async def main():
    done = 0
    for steps in range(10):
        c = client()
        await c.connect()
        done += await cancel_all(c, steps)
        await cancelled_at(steps, c.disconnect())
        await c.disconnect()
        if c.connected or c._task or c.session.state:
            say("zombie", steps)
        await asyncio.wait_for(c.connect(), 5)
        await settled(c)
        await c.disconnect()
    say("sound", done)


run(main)

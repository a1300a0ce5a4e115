"""Cancels each wait at each of its suspension points; the client must go on as if nothing had been.

The points are counted: the first time a wait is cancelled where it is suspended first, then where
it is suspended next, until it has come to its end, or is suspended there for good.
"""

import asyncio
import sys

from device import client, run, say

if sys.implementation.name == "micropython":

    def coroutine(function):
        return function

else:
    from types import coroutine

STUCK = 0.3  # s at one point: it waits for what does not happen


class Point:
    """Where a wait is to be cancelled; ``reached``: it is suspended there."""

    def __init__(self, number):
        self.number = number
        self.reached = False

    @coroutine
    def drive(self, inner):
        """Run a coroutine to its end, and count its suspensions."""
        n = 0
        error = None
        while True:
            try:
                value = inner.throw(error) if error else inner.send(None)
            except StopIteration:
                return
            n += 1
            self.reached = n == self.number
            error = None
            try:
                yield value
            except BaseException as e:
                error = e


async def cancelled_at(number, inner):
    """Cancel a coroutine at a suspension point; tell whether it got there."""
    point = Point(number)

    async def whole():
        await point.drive(inner)

    task = asyncio.create_task(whole())
    turns = 0
    while not point.reached and not task.done():
        await asyncio.sleep(0 if turns < 200 else STUCK / 100)
        turns += 1
        if turns > 300:
            break  # it is suspended for good at a point before
    got_there = point.reached
    task.cancel()
    try:
        await task
    except asyncio.CancelledError:
        pass
    return got_there


async def settled(c):
    """Wait until nothing is under way; a message of each QoS must still pass."""
    for qos in (0, 1, 2):
        await asyncio.wait_for(c.publish("after", b"", qos), 5)
    while c.session.outbox:
        await asyncio.sleep(0.005)


async def each_point(name, make, after):
    """Cancel what ``make`` returns at each of its points, and see what ``after`` says."""
    n = 0
    while True:
        n += 1
        there = await cancelled_at(n, make())
        await after()
        if not there:
            say("points", name, n - 1)
            return


async def main():
    c = client()
    await c.connect()

    async def sound():
        await settled(c)

    for name, make in (
        ("publish 0", lambda: c.publish("t", b"x", 0)),
        ("publish 1", lambda: c.publish("t", b"x", 1)),
        ("publish 2", lambda: c.publish("t", b"x", 2)),
        ("subscribe", lambda: c.subscribe("t", qos=2)),
        ("unsubscribe", lambda: c.unsubscribe("t")),
        ("messages", lambda: c.messages.__anext__()),
        ("wait_connected", lambda: c.wait_connected(False)),
    ):
        await each_point(name, make, sound)

    async def ended():
        await c.disconnect()
        if c.connected or c._task or c.session.state:
            say("zombie")
        await asyncio.wait_for(c.connect(), 5)
        await settled(c)

    await each_point("disconnect", c.disconnect, ended)
    await c.disconnect()

    async def connects():
        # Cancelled while it connects, it is ended; else it is connected. Both can be begun anew.
        await asyncio.wait_for(c.connect(), 5)
        await settled(c)
        await c.disconnect()
        if c.connected or c._task or c.session.state:
            say("zombie")

    await each_point("connect", c.connect, connects)
    say("sound")


run(main)

"""Cancels a wait at each of its suspension points.

The points are counted: the first time a wait is cancelled where it is suspended first, then where
it is suspended next, until it has come to its end, or is suspended there for good.
"""

import asyncio
import sys
from time import time_ns

from device import say

if sys.implementation.name == "micropython":

    def coroutine(function):
        return function

else:
    from types import coroutine

STUCK = 300  # ms at one point: it waits for what does not happen


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
    end = time_ns() + STUCK * 1000000
    while not point.reached and not task.done():
        await asyncio.sleep(0)  # it may be there for one turn
        if time_ns() > end:
            break  # it is suspended for good at a point before
    got_there = point.reached
    task.cancel()
    try:
        await task
    except asyncio.CancelledError:
        pass
    return got_there


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

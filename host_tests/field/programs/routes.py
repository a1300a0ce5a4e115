"""Handlers that fail, and topics that nobody wants, between others that are well."""

import asyncio

from dormouse.router import Router, matches

told = []
got = []


class Fake:
    def __init__(self, *topics):
        self.messages = self
        self.topics = list(topics)

    def __aiter__(self):
        return self

    async def __anext__(self):
        if not self.topics:
            raise StopAsyncIteration
        self.topic = self.topics.pop(0)
        return self


def fail(message):
    raise KeyError("no such")


async def later(message):
    await asyncio.sleep(0)
    raise ValueError("not a number")


def ends(message, error):
    raise error


async def main():
    router = Router(lambda message, error: told.append((message.topic, type(error).__name__)))
    router.on("a/+", fail)
    router.on("a/#", later)
    router.on("$share/workers/a/#", lambda m: got.append(m.topic))
    router.on("b", lambda m: got.append(m.topic))
    await router.run(Fake("a/1", "c", "b", "a/2"))
    assert got == ["a/1", "b", "a/2"], got
    assert told == [
        ("a/1", "KeyError"),
        ("a/1", "ValueError"),
        ("c", "NoneType"),
        ("a/2", "KeyError"),
        ("a/2", "ValueError"),
    ], told
    assert matches("$share/g/x/+", "x/1") and not matches("$share/g/x/+", "y/1")
    strict = Router(ends)
    strict.on("b", fail)
    try:
        await strict.run(Fake("b"))
        raise AssertionError
    except KeyError:
        pass
    router = Router()  # prints
    router.on("b", fail)
    await router.run(Fake("b", "c"))
    print("end")


asyncio.run(main())

"""Goes wrong in as many ways as ``cases`` of the configuration names, and prints what is said.

Each case is a client of its own: ``client``, its options; ``do``, what the application does.
"""

import asyncio
import sys

from device import config
from dormouse import Client

CPYTHON = sys.implementation.name != "micropython"


def tell(name, e):
    """Print an error as MicroPython does: CPython words and sorts those of the system otherwise."""
    text = repr(e)
    if CPYTHON:
        if type(e).__name__ in ("TimeoutError", "CancelledError"):
            text = type(e).__name__ + "()"
        elif isinstance(e, OSError) and e.errno is not None:
            text = "OSError(%d,)" % e.errno
        elif len(e.args) == 1:
            text = text[:-1] + ",)"
    print("said", name, text)


async def use(c, what):
    """Do what the case says, and return the error that comes of it."""
    if what == "publish":
        o = c.publish_nowait("t", b"x", 2)
    if what == "idle":
        c.start()  # connect() goes on once it was accepted, whatever comes behind CONNACK
    else:
        await c.connect()
    if what == "subscribe":
        await c.subscribe("a/#")
    while what == "idle" and not c.error:
        await asyncio.sleep(0.001)
    if what == "publish":
        while not o.done:
            await asyncio.sleep(0.001)
        return o.error
    return c.error


async def go(name, options, what):
    # But for one case, nothing is to be tried again while the peer waits for the next.
    options["backoff"] = (0.01, 0.02) if what == "publish" else (90, 90)
    c = Client(**options)
    try:
        error = await use(c, what)
    except Exception as e:
        error = e
    await c.disconnect()
    tell(name, error)


async def main():
    for name, options, what in config["cases"]:
        for key in ("host", "port"):
            options.setdefault(key, config["client"][key])
        await go(name, options, what)
    print("end")


asyncio.run(main())

"""What every device program begins with: its arguments, and a way to tell the test something.

A program is started with the path of a JSON file; ``client`` in it holds the Client's arguments.
(A file, for MicroPython's unix port ends on an argument longer than 255 bytes.) It runs unchanged
on CPython and MicroPython, and says what happens as lines on its output.
"""

import asyncio
import json
import sys

from dormouse import Client

with open(sys.argv[1]) as _file:
    config = json.load(_file)


def client(**more):
    """Return the client that the test described."""
    options = dict(config["client"])
    options.update(more)
    if "backoff" in options:
        options["backoff"] = tuple(options["backoff"])
    return Client(**options)


def say(*words):
    """Print a line for the test."""
    print(*words)


def text(payload):
    return str(payload, "utf-8")


def run(main):
    """Run a program; what it raises becomes a line."""
    try:
        asyncio.run(main())
    except Exception as e:
        if "trace" in config:
            raise
        say("raised", type(e).__name__, e)

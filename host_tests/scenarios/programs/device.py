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


def context():
    """Return a TLS context that trusts the authority in ``ca``, a file in DER."""
    try:
        import tls
    except ImportError:  # CPython, MicroPython 1.22
        import ssl as tls

    c = tls.SSLContext(tls.PROTOCOL_TLS_CLIENT)
    with open(config["ca"], "rb") as f:
        try:
            c.load_verify_locations(cadata=f.read())
        except TypeError:  # MicroPython, from 1.23 on
            f.seek(0)
            c.load_verify_locations(f.read())
    return c


def line():
    """Return the serial line ``uart``, a pseudo-terminal."""
    from dormouse.net import Serial

    if sys.implementation.name == "micropython":
        import ffi

        # Not blocking, as a UART: O_RDWR | O_NOCTTY | O_NONBLOCK
        fd = ffi.open(None).func("i", "open", "si")(config["uart"], 0o4402)
        return Serial(open(fd, "r+b", 0))
    from host_line import Line

    return Line(config["uart"])


def client(**more):
    """Return the client that the test described."""
    options = dict(config["client"])
    options.update(more)
    transport = options.pop("transport", "tcp")
    if transport == "wss":
        options["tls"] = context()
    if transport == "uart":
        options["host"] = ""
        options["stream"] = line()
    elif transport != "tcp":
        from dormouse.net import WebSocket

        options["stream"] = WebSocket("/mqtt")
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

"""Publishes one message over TLS, verifying the broker by the authority in ``ca`` (DER)."""

import sys

from device import client, config, context, run, say


def with_certificate(c):
    """Give a context the device's own certificate, if it has one."""
    if "cert" in config:
        if sys.implementation.name == "micropython":
            with open(config["cert"] + ".der", "rb") as f, open(config["key"] + ".der", "rb") as g:
                c.load_cert_chain(f.read(), g.read())
        else:
            c.load_cert_chain(config["cert"], config["key"])
    return c


async def main():
    async with client(tls=with_certificate(context())) as c:
        await c.publish("t", b"x" * 3000, 2)
        say("published")
    say("end")


run(main)

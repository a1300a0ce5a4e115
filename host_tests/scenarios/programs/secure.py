"""Publishes one message over TLS, verifying the broker by the authority in ``ca`` (DER)."""

import sys

from device import client, config, run, say

if sys.implementation.name == "micropython":
    import tls
else:
    import ssl as tls


def context():
    c = tls.SSLContext(tls.PROTOCOL_TLS_CLIENT)
    with open(config["ca"], "rb") as f:
        authority = f.read()
    if sys.implementation.name == "micropython":
        c.load_verify_locations(authority)
        if "cert" in config:
            with open(config["cert"] + ".der", "rb") as f, open(config["key"] + ".der", "rb") as g:
                c.load_cert_chain(f.read(), g.read())
    else:
        c.load_verify_locations(cadata=authority)
        if "cert" in config:
            c.load_cert_chain(config["cert"], config["key"])
    return c


async def main():
    async with client(tls=context()) as c:
        await c.publish("t", b"x" * 3000, 2)
        say("published")
    say("end")


run(main)

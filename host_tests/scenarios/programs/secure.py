"""Publishes one message over TLS, with what ``tls`` of its configuration says."""

from device import client, config, run, say
from dormouse.net.tls import context


async def main():
    async with client(tls=context(**config["tls"])) as c:
        await c.publish("t", b"x" * 3000, 2)
        say("published")
    say("end")


run(main)

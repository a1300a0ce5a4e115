"""Handlers by topic filter, plain and coroutine."""

from device import client, run, say, text
from dormouse.router import Router


def plain(message):
    say("plain", message.topic, text(message.payload))


async def main():
    c = client()
    router = Router()

    async def coroutine(message):
        await c.publish("echo", message.payload, 1)
        say("coroutine", message.topic)

    async def stop(message):
        message.ack()
        await c.disconnect()

    router.on("a/+", plain)
    router.on("a/#", coroutine)
    router.on("stop", stop)
    await c.connect()
    await c.subscribe("#", qos=1)
    say("subscribed")
    await router.run(c)
    say("end")


run(main)

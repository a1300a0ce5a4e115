"""Uses what only a version=5 client has; ``case`` says which part."""

import asyncio

from device import client, config, run, say, text
from dormouse.mqtt5 import Requester, respond
from dormouse.mqtt5.session import Failed


async def told(name, awaitable):
    try:
        say(name, await awaitable)
    except Failed as e:
        say(name, "Failed", e.code, e.properties.get("reason_string"))
    except Exception as e:
        say(name, type(e).__name__, e)


async def publishing():
    """Publishes a message each time, whatever became of the last."""
    async with client() as c:
        for n, qos in enumerate(config["qos"]):
            await told(n, c.publish("t", "%d" % n, qos))
    say("end")


async def staying():
    """Stays connected, and says to whom, until it is ended for good; then tries once more."""
    c = client()
    c.start()
    try:
        while True:
            await c.wait_connected()
            say("connected", c.address[1])
            if config.get("publish"):
                c.publish_nowait("t", b"", 1)
            await c.wait_connected(False)
            say("lost", getattr(c.error, "code", c.error))
    except Failed as e:
        say("over", e.code, e.properties.get("reason_string"))
    await told("publish", c.publish("t", b"", 1))
    await told("connect", c.connect())
    await c.disconnect()
    say("end")


async def listen(c, requester):
    async for message in c.messages:
        if not requester.take(message):
            say("other", message.topic, text(message.payload))


async def requesting():
    """Asks several at once; each answer comes to its question, or to none."""
    async with client() as c:
        requester = Requester(c)
        say("topic", requester.topic)
        await c.subscribe(requester.topic, qos=1)
        task = asyncio.create_task(listen(c, requester))

        async def ask(name, timeout):
            try:
                answer = await requester.request("ask", name, timeout=timeout)
                say(name, text(answer.payload))
            except asyncio.TimeoutError:
                say(name, "timeout")
            except Failed as e:
                say(name, "Failed", e.code)

        await asyncio.gather(ask("a", 5), ask("b", 5), ask("c", 0.2), ask("d", 5))
        say("waiting", len(requester.waiting))
        await ask("e", 5)
        await ask("f", 2)
        task.cancel()
    say("end")


async def responding():
    """Answers each question; what wants no answer gets none."""
    async with client() as c:
        await c.subscribe("ask", qos=1)
        async for message in c.messages:
            try:
                respond(c, message, b"re: " + message.payload, 1)
            except ValueError:
                say("no answer wanted")
                break
        while c.session.outbox:
            await asyncio.sleep(0.01)
    say("end")


run(globals()[config["case"]])

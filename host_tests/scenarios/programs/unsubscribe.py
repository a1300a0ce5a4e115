"""Subscribes to two topics, gives one up, and tells what comes first."""

from device import client, run, say, text


async def main():
    async with client() as c:
        await c.subscribe("a", "b", qos=1)
        await c.unsubscribe("a")
        say("unsubscribed")
        async for message in c.messages:
            say("got", message.topic, text(message.payload))
            message.ack()
            break


run(main)

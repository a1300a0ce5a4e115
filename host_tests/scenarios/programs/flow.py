"""Messages both ways for a while: numbered ones out at each QoS, and back what was asked for.

Publishes ``count`` messages at each QoS to ``topic``/QoS, ``gap`` s apart, and takes messages on
``topic``/cmd/+ until it has had a stop (unless ``receive`` is false) and all of its own are
acknowledged. Says each number.
"""

import asyncio

from device import client, config, run, say, text
from dormouse import SessionLost

topic = config["topic"]


async def send(c, qos):
    for n in range(config["count"]):
        try:
            await c.publish("%s/%d" % (topic, qos), "%d" % n, qos)
        except SessionLost:  # a CONNACK was cut: the client cannot know, and says so
            say("doubt", qos, n)
        say("sent", qos, n)
        await asyncio.sleep(config.get("gap", 0))


async def receive(c):
    async for message in c.messages:
        if text(message.payload) == "stop":
            message.ack()
            return
        say("got", message.topic[-1], text(message.payload))


async def lost(c):
    while True:
        await c.wait_connected()
        say("connected", c.session.resumed)
        await c.wait_connected(False)
        say("lost", repr(c.error))


async def main():
    c = client()
    c.start()
    watch = asyncio.create_task(lost(c))
    await c.subscribe((topic + "/cmd/1", 1), (topic + "/cmd/2", 2))
    say("subscribed")
    tasks = [send(c, qos) for qos in config["qos"]]
    if config.get("receive", True):
        tasks.append(receive(c))
    await asyncio.gather(*tasks)
    watch.cancel()
    await c.disconnect()
    say("end", c.session.dropped)


run(main)

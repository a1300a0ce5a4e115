"""Publishes ``publish`` at QoS 2 if it is new, and takes messages; its session is in a file."""

from device import client, config, run, say, text
from dormouse.store import Journal


async def main():
    store = Journal(config["journal"])
    async with client(store=store) as c:
        say("connected", c.session.resumed, len(c.session.outbox), store.warning)
        if "publish" in config:
            c.publish_nowait("t", config["publish"], 2)
        async for message in c.messages:
            say("got", text(message.payload))
            if message.payload == b"stop":
                message.ack()
                break
    say("end")


run(main)

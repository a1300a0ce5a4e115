"""Subscribes to ``filters`` and tells what comes, until a message says stop.

With ``hold`` no message is acknowledged.
"""

from device import client, config, run, say, text


async def main():
    async with client(auto_ack="hold" not in config) as c:
        say("connected", c.session.resumed)
        if config["filters"]:
            granted = await c.subscribe(*[tuple(f) for f in config["filters"]])
            say("granted", *granted)
        async for message in c.messages:
            payload = text(message.payload)
            say("got", message.topic, payload, message.qos, int(message.retain))
            if payload == "stop":
                message.ack()
                break
    say("end")


run(main)

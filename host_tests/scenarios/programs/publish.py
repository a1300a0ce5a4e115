"""Publishes one message for each of ``messages``: topic, payload, QoS, retain; one by one."""

from device import client, config, run, say


async def main():
    async with client() as c:
        say("connected", c.session.resumed)
        for topic, payload, qos, retain in config["messages"]:
            await c.publish(topic, payload, qos, retain)
            say("published", topic, qos)
    say("end")


run(main)

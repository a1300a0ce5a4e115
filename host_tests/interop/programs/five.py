"""An MQTT 5 device: says what it receives with which properties, and answers as it is told.

Publishes ``publish`` (topic, payload, QoS, properties) when it is subscribed to ``subscribe``
(topic filter, QoS, options), and answers requests.
"""

import asyncio
import json
import sys

from dormouse import Client, Will

with open(sys.argv[1]) as f:
    config = json.load(f)


def plain(properties):
    """Properties as JSON: bytes as hex, in a fixed order."""
    pairs = []
    for name in sorted(properties):
        value = properties[name]
        pairs.append([name, value.hex() if isinstance(value, bytes) else value])
    return json.dumps(pairs)


def arguments(properties):
    """The other way: what ends in _hex is bytes."""
    out = {}
    for name, value in properties.items():
        if name[-4:] == "_hex":
            name = name[:-4]
            value = bytes.fromhex(value)
        out[name] = value
    return out


async def main():
    options = config["client"]
    if "will" in config:
        topic, payload, qos, retain, properties = config["will"]
        options["will"] = Will(topic, payload, qos, retain)
        options["will_properties"] = arguments(properties)
    c = Client("127.0.0.1", version=5, **options)
    await c.connect()
    for name, qos, more in config.get("subscribe", ()):
        print("granted", await c.subscribe(name, qos=qos, **more))
    print("ready", plain(c.session.server))
    for topic, payload, qos, retain, properties in config.get("publish", ()):
        print("code", await c.publish(topic, payload, qos, retain, **arguments(properties)))
    if config.get("stop") is not None:
        await c.disconnect(**arguments(config["stop"]))
        print("end")
        return
    async for m in c.messages:
        print("got", m.topic, m.qos, int(m.retain), str(m.payload, "utf-8"), plain(m.properties))
        if m.payload == b"stop":
            break
        if "response_topic" in m.properties:
            from dormouse.mqtt5.request import respond

            respond(c, m, b"answer to " + m.payload, 1)
    await c.disconnect()
    print("end")


asyncio.run(main())

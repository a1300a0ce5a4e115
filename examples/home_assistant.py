"""A battery sensor that Home Assistant finds by itself, and whose period is set there.

It sleeps between readings; what cannot be sent waits in the store, with the time it was measured.
Reads config.json as firmware/main.py does. docs/home-assistant.md tells what appears, and when it
becomes unavailable.
"""

import asyncio

from dormouse import Will
from dormouse.field.config import load, make_client, make_store, make_wifi
from dormouse.patterns.homeassistant import HomeAssistant
from dormouse.sleep import Node

ID, NAME = "greenhouse-7", "Greenhouse"  # of its own for each node: one ID is one device there
PERIOD = 16  # its key in the store: 16 to 255 are the application's


def read_temperature():
    return 21.5  # put your own sensor here


async def main():
    config = load()
    store = make_store(config)
    topic = config["topic"]
    will = Will(topic + "/state", b'{"lost":true}', 1, True)
    client = make_client(config, clean=False, store=store, will=will, full="oldest")
    period = int.from_bytes(store.data.get(PERIOD) or b"", "big") or config.get("period", 300)  # s
    node = Node(client, period, wifi=make_wifi(config, store), status=topic + "/state")
    home = HomeAssistant(node, topic, ID, NAME, model="dormouse")
    node.subscribe = (home.filter,)
    home.add("sensor", "temperature", device_class="temperature", unit_of_measurement="°C")
    home.add("number", "period", min=60, max=3600, unit_of_measurement="s", mode="box")
    if home.announce():  # only when it has changed: the period is in it, too
        home.publish("period", period)
    home.publish("temperature", read_temperature())
    async for message in node.wake():
        name, value = home.command(message)
        if name == "period":
            store.save({PERIOD: int(value).to_bytes(2, "big")})  # from the next wake on
            home.publish("period", int(value))
    home.confirm(node.error)
    print("error", repr(node.error))
    node.sleep()


asyncio.run(main())

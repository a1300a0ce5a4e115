"""A soil sensor with a pump, in one file: it wakes, measures, takes orders, sleeps.

soil/1/state   QoS 1: {"moisture": the reading of the ADC, "doses": how often the pump has run}
soil/1/pump    QoS 2: run the pump once: never forgotten, never counted twice, whatever is cut
"""

import asyncio
import json

from dormouse import Client
from dormouse.net import Wifi
from dormouse.sleep import Node
from dormouse.store import Journal
from machine import ADC, Pin

with open("config.json") as f:
    config = json.load(f)


async def main():
    store = Journal("store", reserve=8192)
    client = Client(
        config["host"],
        config.get("port", 0),
        client_id="soil-1",
        clean=False,
        store=store,
        username=config.get("username"),
        password=config.get("password"),
    )
    wifi = Wifi(config["ssid"], config["wifi_password"], store)
    node = Node(client, period=600, subscribe=(("soil/1/pump", 2),), wifi=wifi)
    doses = json.loads(client.session.committed or b"0")
    pump = Pin(5, Pin.OUT, value=0)

    state = {"moisture": ADC(Pin(34)).read_u16(), "doses": doses}
    node.publish("soil/1/state", json.dumps(state), qos=1)
    async for order in node.wake():
        pump.on()
        await asyncio.sleep(0.02)
        pump.off()
        doses += 1
        order.ack(json.dumps(doses))  # the count and the acknowledgement: both, or none
    print("doses", doses, "error", node.error)
    node.sleep()


asyncio.run(main())

"""A program for mqtt_as with a callback: only the import is another.

as_callback.py PORT             on the simulated board, for its Wi-Fi
"""

import asyncio
import json

from dormouse.compat.mqtt_as import MQTTClient, config

with open("config.json") as f:
    port, count = json.load(f)


def callback(topic, msg, retained):
    print("got", topic, msg, retained)
    if msg == b"bad":
        raise ValueError(msg)


async def wifi_han(state):
    print("wifi", "up" if state else "down")
    await asyncio.sleep(0)


async def conn_han(client):
    await client.subscribe("m/do", 1)
    print("subscribed")
    raise OSError("a handler's own")


async def main(client):
    await client.connect()
    for n in range(count):
        await client.publish("m/n", "%d" % n, qos=1)
        await asyncio.sleep(0)
    print("published")
    while True:
        await asyncio.sleep(1)


config["subs_cb"] = callback
config["wifi_coro"] = wifi_han
config["connect_coro"] = conn_han
config["clean"] = False
config["client_id"] = "as_callback"
config["will"] = ("m/gone", b"yes", False, 0)
config["keepalive"] = 120
config["server"] = "127.0.0.1"
config["port"] = port
config["ssid"] = "home"
config["wifi_pw"] = "right"

MQTTClient.DEBUG = True
client = MQTTClient(config)
try:
    asyncio.run(main(client))
finally:
    client.close()

"""A program for mqtt_as that ends the connection from inside a handler, and connects again later.

as_bye.py PORT message|connection
"""

import asyncio
import sys

from dormouse.compat.mqtt_as import MQTTClient, config

where = sys.argv[2]


async def callback(topic, msg, retained):
    print("got", msg)
    if msg == b"stop":
        await leave()


async def conn_han(client):
    await client.subscribe("m/do", 1)
    if where == "connection":
        await leave()
    else:
        await client.publish("m/do", "stop" if where else "go on")


async def leave():
    global where
    await client.disconnect()
    print("left")
    where = None


async def main():
    await client.connect()
    while where:
        await asyncio.sleep(0.01)
    print("connected", client.isconnected())
    await client.connect()
    print("again", client.isconnected())
    await asyncio.sleep(1.2)  # a handler of before would run within a second
    await client.disconnect()
    print("end")


config["subs_cb"] = callback
config["connect_coro"] = conn_han
config["server"] = "127.0.0.1"
config["port"] = int(sys.argv[1])
client = MQTTClient(config)
asyncio.run(main())

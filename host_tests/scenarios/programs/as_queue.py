"""A program for mqtt_as with events: only the import is another.

as_queue.py PORT
"""

import asyncio
import json

from dormouse.compat.mqtt_as import MQTTClient, config

with open("config.json") as f:
    port, count = json.load(f)


async def messages(client):
    async for topic, msg, retained in client.queue:
        print("got", topic, msg, retained)
        if msg == b"end":
            await client.disconnect()
            print("end", client.isconnected())


async def up(client):
    while True:
        await client.up.wait()
        client.up.clear()
        await client.subscribe(b"m/do", 2)
        print("subscribed")


async def down(client):
    while True:
        await client.down.wait()
        client.down.clear()
        print("down")


async def main(client):
    await client.connect()
    tasks = [asyncio.create_task(f(client)) for f in (up, down)]
    for n in range(count):
        await client.publish(b"m/n", b"%d" % n, False, 2)
    print("published")
    await messages(client)
    for task in tasks:
        task.cancel()


config["queue_len"] = 1
config["clean"] = False
config["client_id"] = "as_queue"
config["server"] = "127.0.0.1"
config["port"] = port
asyncio.run(main(MQTTClient(config)))

"""A program for mqtt_as whose tasks begin before it connects, and that ends as mqtt_as's own demos
do; PORT."""

import asyncio
import sys

from dormouse.compat.mqtt_as import RP2, MQTTClient, config


async def messages(client):
    async for topic, msg, retained in client.queue:
        print("got", topic, msg, retained)


async def publish(client):
    await client.subscribe("m/do", 1)
    await client.publish("m/do", "repubs {}".format(client.REPUB_COUNT), qos=1)


async def main(client):
    tasks = [asyncio.create_task(task(client)) for task in (messages, publish)]
    await asyncio.sleep(0.3)
    await client.connect(quick=True)
    await asyncio.sleep(0.7)
    state = await client.broker_up(), client.queue.discards, len(tasks)
    client.dprint("up %s, %d discards, %d tasks", *state)
    raise ValueError("the program's own")


MQTTClient.DEBUG = not RP2
config["queue_len"] = 1
config["server"] = "127.0.0.1"
config["port"] = int(sys.argv[1])
config["options"] = {"max_packet": 100}
client = MQTTClient(config)
try:
    asyncio.run(main(client))
except ValueError as e:
    print("ended by", e)
finally:
    client.close()
    asyncio.new_event_loop()
print("closed")

"""A program for mqtt_as whose first attempt fails, begun as its own demos are; PORT."""

import asyncio
import sys

from dormouse.compat.mqtt_as import MQTTClient, config


async def main():
    try:
        await client.connect()
    except OSError as e:
        print("connection failed", e.args[0])
        return
    print("connected")


config["server"] = "127.0.0.1"
config["port"] = int(sys.argv[1])
config["response_time"] = 1
client = MQTTClient(config)
asyncio.run(main())

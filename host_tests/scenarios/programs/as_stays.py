"""A program for mqtt_as whose handlers stay, and whose log raises; PORT."""

import asyncio
import sys

from dormouse.compat.mqtt_as import MQTTClient, config


class Logs(MQTTClient):
    def dprint(self, msg, *args):
        print("log", msg % args)
        raise OSError(28)  # its disk is full, say


async def wifi_han(state):
    print("wifi", state)
    await asyncio.sleep(1000)


async def conn_han(client):
    print("connection")
    await asyncio.sleep(1000)


async def main():
    await client.connect()
    while True:
        await client.down.wait()
        client.down.clear()
        print("down")


config["wifi_coro"] = wifi_han
config["connect_coro"] = conn_han
config["server"] = "127.0.0.1"
config["port"] = int(sys.argv[1])
client = Logs(config)
asyncio.run(main())

"""A client that stays connected and publishes numbers at QoS 1, one when the last is through.

Its argument is a JSON file: ``client``, the Client's arguments; ``count``, how many numbers;
``tls``, a file of the authority; ``password``: "function" or "replaced"; ``block``: s that it does
not let asyncio run after each number; ``subscribe``: a topic filter, to which it listens instead;
``pause``: s before the first number; ``wifi``: join one first, and try to connect until it works.
"""

import asyncio
import json
import sys
import time

from dormouse import Client

with open(sys.argv[1]) as f:
    config = json.load(f)


async def tell(c):
    while True:
        await c.wait_connected()
        print("connected")
        await c.wait_connected(False)
        print("lost", type(c.error).__name__)
        if config.get("password") == "replaced":
            c.password = "new"


async def main():
    options = config["client"]
    options["backoff"] = tuple(options["backoff"])
    if "tls" in config:
        from dormouse.net import context

        options["tls"] = context(config["tls"])
    asked = 0

    def password():
        nonlocal asked
        asked += 1
        return "token%d" % asked

    if config.get("password") == "function":
        options["password"] = password
    c = Client(**options)
    if config.get("wifi"):
        from dormouse.net import Wifi

        await Wifi("home", "right").join()
        c.start()
        while not c.connected:
            if c.error:
                print("failed", type(c.error).__name__)
            await asyncio.sleep(0.05)
    await c.connect()
    if "subscribe" in config:
        await c.subscribe(config["subscribe"], qos=1)
        print("subscribed")
    task = asyncio.create_task(tell(c))
    await asyncio.sleep(config.get("pause", 0))
    for n in range(config.get("count", 0)):
        if "block" in config:
            c.publish_nowait("n", str(n), 1)
            await asyncio.sleep(0.03)
            time.sleep(config["block"])
        else:
            await c.publish("n", str(n), 1)
            print("sent", n)
            await asyncio.sleep(0.02)
    if not config.get("count"):
        async for message in c.messages:
            print("got", str(message.payload, "utf-8"))
            if message.payload == b"stop":
                message.ack()
                break
    task.cancel()
    await c.disconnect()
    print("end")


asyncio.run(main())

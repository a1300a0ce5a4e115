"""A device that stays connected, with its Wi-Fi: presence, asking for states, request and response
(both ends of it), Home Assistant, metrics.

    kept.py         its config.json says the rest
"""

import asyncio
import json

from dormouse import Client
from dormouse.net import Wifi
from dormouse.patterns.homeassistant import HomeAssistant
from dormouse.patterns.keep import Keeper, metrics
from dormouse.patterns.once import Once
from dormouse.patterns.presence import leave, online, will
from dormouse.patterns.rpc import Requester, method, request_id, respond
from dormouse.patterns.state import ask
from dormouse.router import Router
from dormouse.store import Store

with open("config.json") as f:
    config = json.load(f)


async def watch(event, word):
    while True:
        await event.wait()
        event.clear()
        print(word)


async def main():
    options = config["client"]
    options["backoff"] = tuple(options["backoff"])
    client = Client("127.0.0.1", will=will("k/state"), **options)
    wifi = Wifi("home", "right")
    keeper = Keeper(client, wifi, log=print, dead=config["dead"])
    home = HomeAssistant(client, "k", "k", status="k/state")
    home.add("sensor", "total")
    once = Once(Store())
    total = 0

    def answer(message):
        nonlocal total
        if method(message) == "add" and not once.seen(request_id(message)):
            total += int(message.payload)
            once.done(request_id(message))
            home.publish("total", total)
        respond(client.publish_nowait, message, b"%d" % total)

    counter = Requester(client, "k/counter", "k")
    router = Router()
    router.on("k/counter/request/+/+/+", answer)
    router.on(counter.filter, counter.take)
    router.on("k/lamp", lambda m: print("lamp", str(m.payload, "utf-8")))
    tasks = []
    for coroutine in (
        keeper.run(),
        watch(keeper.up, "UP"),
        watch(keeper.down, "DOWN"),
        online(client, "k/state"),
        ask(client, "k/lamp", get=("k/hello",)),
        home.keep(client),
        router.run(client),
    ):
        tasks.append(asyncio.create_task(coroutine))
        await asyncio.sleep(0)
        if len(tasks) == 1:
            while not client._task:  # the Wi-Fi is joined, and the client started
                await asyncio.sleep(0.01)
    await client.wait_connected()
    await client.subscribe("k/counter/request/+/+/+", counter.filter, qos=1)
    print("ready", sorted(metrics(wifi)), metrics(wifi).get("rssi"))
    for _ in range(config["requests"]):
        answer = await counter.request("add", b"2", timeout=20)
        print("answer", int(answer))
    if "wait" in config:
        await keeper.up.wait()
        while total < config["wait"]:
            await asyncio.sleep(0.02)
    for task in tasks[1:]:
        task.cancel()
    await leave(client, "k/state")
    await tasks[0]
    print("end", keeper.outages, total, client.error)


asyncio.run(main())

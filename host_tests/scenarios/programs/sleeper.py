"""One wake of a node that sleeps: publishes what its configuration says, obeys, sleeps.

What it has processed is committed with each acknowledgement, and printed at each start.
"""

import asyncio
import json
import time

from dormouse import Client, Will
from dormouse.sleep import Node

with open("config.json") as f:
    config = json.load(f)


def make_store(name):
    if name == "none":
        return None
    if name == "ram":
        from dormouse.store import Store

        return Store()
    if name == "journal":
        from dormouse.store import Journal

        return Journal("store")
    from dormouse.store import RTCStore

    if name == "rtc":
        return RTCStore()
    from dormouse.store import Journal, Layered

    return Layered(RTCStore(), Journal("store"))


def make_node(store):
    options = config["client"]
    if "tls" in config:
        from dormouse.net.tls import context

        options["tls"] = context(**config["tls"])
    if "will" in config:
        options["will"] = Will(*config["will"])
    transport = config.get("transport")
    if transport == "ws":
        from dormouse.net import WebSocket

        options["stream"] = WebSocket("/mqtt")
    elif transport == "uart":
        from dormouse.net import Serial
        from machine import UART

        options["stream"] = Serial(UART(1, 115200))
    client = Client(config.get("host", "127.0.0.1"), store=store, **options)
    wifi = None
    if config.get("wifi"):
        from dormouse.net import Wifi

        wifi = Wifi("home", "right", store)
    elif config.get("host"):
        import network

        network.WLAN().active(True)
        network.WLAN().connect("home", None)
    if "clock" in config:
        from dormouse.net import Clock

        wifi = Clock(wifi, "127.0.0.1", store, config["node"]["period"], 0, config["clock"])
    return Node(client, wifi=wifi, **config["node"])


def broken(changes):
    if 3 in changes:
        raise OSError(5)


async def loop(node):
    done = b""
    async for message in node.wake():
        print("got", str(message.payload, "utf-8"))
        done += message.payload
        message.ack(done)
        if config["what"] == "break":
            break


async def special(node):
    """What an application may do as well."""
    if config["what"] == "close":
        task = asyncio.create_task(loop(node))
        await asyncio.sleep(config["ms"] / 1000)
        await node.close()
        await task
        print("closed", node.over)
    elif config["what"] == "break":
        await loop(node)
        await node.close()
        await loop(node)
    elif config["what"] == "publish":
        async for _message in node.wake():
            out = []
            for n in range(9):
                o = node.publish("t", "%d" % n + "x" * 400, 1)
                out.append(o)
                print("full" if o.error else "published", n)
                o.refused = bool(o.error)
            for n in range(9):
                if out[n].error and not out[n].refused:
                    print("dropped", n)
        print("wake", repr(node.error))


async def main():
    store = make_store(config.get("store", "journal"))
    if "address" in config:
        store.save({6: ("%s\0%s" % (config["host"], config["address"])).encode()})
    if "failures" in config:
        store.save({3: bytes((0, 1, config["failures"]))})
        store.write = broken
    if config.get("pin"):
        import esp32
        from machine import Pin

        esp32.wake_on_ext0(Pin(4, Pin.IN), 1)
    node = make_node(store)
    session = node.session
    done = session.committed or b""
    print("boot", node.reason, str(done, "utf-8"))
    # The number of this boot: one more than the last, also when the power was cut in between.
    boot = int.from_bytes(store.data.get(16) or b"\0", "big") + 1
    store.save({16: bytes((boot,))})
    for topic, payload, qos in config.get("publish", ()):
        payload = payload.replace("N", str(boot))
        o = node.publish(topic, payload, qos)
        print("full" if o.error else "published", qos, payload)
    if "what" in config:
        await special(node)
    async for message in node.wake():
        print("command", message.qos, str(message.payload, "utf-8"))
        done += b" " + message.payload
        message.ack(done)
        if config.get("stop"):
            print("stopped")
            time.sleep(60)  # nothing of what asyncio has yet to do is done
        if config.get("hang"):
            break
    if config.get("hang"):
        await node.client.connect()
        print("hanging")
        await asyncio.sleep(60)
    print("left", node.waiting(), "error", repr(node.error))
    node.sleep()


asyncio.run(main())

"""Safe mode: a node whose application crashes again and again can still be reached.

It needs nothing but config.json. It has a client id of its own, "<id>-safe", and so a session of
its own: the application's commands wait at the broker, and its messages in the store.

    <topic>/safe        out, retained: {"crashes": 5, "reason": "OSError(5,)"}; empty when over
    <topic>/log         out: the log, when asked for
    <topic>/safe/do     in, QoS 1: "log", or "restart": try the application again, at once
    <topic>/update/#    in: what ``update`` takes
"""

import json

from micropython import const

from .client import Client
from .sleep import Node
from .store import Store

_CRASHES = const(8)  # key in the store
_BUDGET = const(20000)  # ms awake
_LONGEST = const(3400)  # s that RP2 can sleep, with what Node adds


def make_client(config: dict, store, tail: str = "", **options) -> Client:
    """Return a client as the settings have it; ``tail`` is added to its client id.

    Raises KeyError, ValueError or TypeError for settings that are wrong.
    """
    name = config.get("client_id")
    if not name:
        from machine import unique_id

        name = unique_id().hex()
    return Client(
        config["host"],
        config.get("port", 0),
        client_id=name + tail,
        clean=False,
        keepalive=config.get("keepalive", 60),
        username=config.get("username"),
        password=config.get("password"),
        timeout=config.get("timeout", 5),
        store=store,
        **options,
    )


async def visit(guard, update=None) -> None:
    """Be there once, and sleep. ``guard``: the Guard of this boot.

    ``update(node, message)`` is given what comes at <topic>/update/#; an awaitable that it returns
    is awaited. Raises what the settings lack.
    """
    log = guard.log
    config = guard.config
    topic = config["topic"]
    # In RAM: this session has nothing to lose, and the main store may be full or broken.
    store = Store()
    store.survives = 1
    wifi = None
    if "wifi" in config:
        from .wifi import Wifi

        wifi = Wifi(config["wifi"]["ssid"], config["wifi"]["password"])
    filters = [(topic + "/safe/do", 1)]
    if update:
        filters.append((topic + "/update/#", 1))
    node = Node(
        make_client(config, store, "-safe"),
        min(max(guard.safe_period, _BUDGET // 500), _LONGEST),
        _BUDGET,
        filters,
        wifi,
        guard="network" if guard.watchdog else True,
    )
    log("safe mode:", guard.crashes, "crashes,", guard.reason)
    restart = False
    state = {"crashes": guard.crashes, "reason": guard.reason}
    node.publish(topic + "/safe", json.dumps(state), 1, True)
    async for message in node.wake():
        if guard.watchdog:
            guard.watchdog.feed()
        name = message.topic[len(topic) + 1 :]
        if name == "safe/do":
            if message.payload == b"log":
                node.publish(topic + "/log", log.text(), 1)
            elif message.payload == b"restart":
                node.publish(topic + "/safe", b"", 1, True)
                restart = True
        elif update:
            job = update(node, message)
            if job:
                await job
    if node.error:
        log("error", repr(node.error))
    if restart:
        log("restart", keep=True)
        log.save({_CRASHES: None})
        if wifi:
            wifi.off()
        node.period = 1000
    guard.leave()
    node.sleep()

"""Safe mode: a node whose application crashes again and again can still be reached.

It needs nothing but config.json. It has a client id of its own, "<id>-safe", and so a session of
its own: the application's commands wait at the broker, and its messages in the store.

    <topic>/safe        out, retained: {"crashes": 5, "reason": "OSError(5,)"}; empty when over
    <topic>/log         out: the log, when asked for
    <topic>/safe/do     in, QoS 1: "log", or "restart": try the application again, at once
    <topic>/update/#    in: another version of the application (see ``ota``)
"""

import json

from micropython import const

from ..sleep.node import Node
from ..store import Store
from .config import make_client, make_ota, make_wifi
from .guard import Watchdog, feed, on_trial

_CRASHES = const(8)  # key in the store
_BUDGET = const(20000)  # ms awake
_WATCHDOG = const(40)  # s, at least
_SOON = const(100)  # ms
_BYTES = const(131072)  # of an update in one wake
_LONGEST = const(3400)  # s that RP2 can sleep, with what Node adds


async def visit(guard) -> None:
    """Be there once, and sleep. ``guard``: the Guard of this boot. Raises what the settings lack,
    and what their parts raise."""
    import machine

    if guard.watchdog and guard.watchdog.limit < _WATCHDOG * 1000:
        guard.watchdog = Watchdog(_WATCHDOG)  # of a node that it resets in each wake, say
    log = guard.log
    config = guard.config
    topic = config["topic"]
    # In RAM: this session has nothing to lose, and the main store may be full or broken.
    store = Store()
    store.survives = 1
    ota = make_ota(config)
    filters = [(topic + "/safe/do", 1)]
    if ota:
        filters.append((topic + "/update/#", 1))
    name = config.get("client_id") or machine.unique_id().hex()
    wifi = make_wifi(config)
    node = Node(
        make_client(config, client_id=name + "-safe", clean=False, store=store),
        min(max(guard.safe_period, _BUDGET // 500), _LONGEST),
        _BUDGET,
        filters,
        wifi,
        max_bytes=_BYTES,
        guard="network" if guard.watchdog else True,
    )
    log("safe mode:", guard.crashes, "crashes,", guard.reason)
    state = {"crashes": guard.crashes, "reason": guard.reason}
    node.publish(topic + "/safe", json.dumps(state), 1, True)
    if ota and not on_trial():
        ota.tell(ota.confirm(), node.publish)  # how the last update ended, before another one
    restart = False
    async for message in node.wake():
        feed()
        if ota and ota.handle(message, node.publish):
            continue
        if message.payload == b"log":
            node.publish(topic + "/log", log.text(), 1)
        elif message.payload == b"restart":
            node.publish(topic + "/safe", b"", 1, True)
            restart = True
    if node.error:
        log("error", repr(node.error))
    if restart:
        log("restart", keep=True)
        log.save({_CRASHES: None})
    if restart or (ota and ota.ready):  # boot.py puts it in place
        node.sleep(_SOON)
    guard.leave()
    node.sleep()

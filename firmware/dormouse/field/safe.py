"""Safe mode: a node whose application crashes again and again can still be reached.

It needs nothing but config.json. It has a client id of its own, "<id>-safe", and so a session of
its own: the application's commands wait at the broker, and its messages in the store.

    <topic>/safe        out, retained: {"crashes": 5, "reason": "OSError(5,)", "trouble": what is
                        wrong besides, "order": n, the last one that was signed, "why": it could
                        not be done, "free": bytes of flash, "heap": bytes,
                        "versions": [MicroPython's, the update that runs]}; empty when over
    <topic>/log         out: the log
    <topic>/safe/files  out: a line for each file, its size and its name
    <topic>/safe/do     in, QoS 1, not retained: an order (see ``Orders``)
    <update topic>      in: another version of the application (see ``ota``)
"""

import asyncio
import gc
import json
import os
import sys
from os import urandom

from micropython import const

from ..sleep.node import Node
from ..store import Store
from .config import make_client, make_ota, make_wifi
from .mend import check
from .watchdog import at_least, feed

if sys.implementation.name == "micropython":
    from time import ticks_ms
else:
    from .._host import ticks_ms

_CRASHES = const(8)  # key in the store
_BUDGET = const(20000)  # ms awake
_WATCHDOG = const(40)  # s, at least
_SOON = const(100)  # ms
_BYTES = const(131072)  # of an update in one wake
_LONGEST = const(3400)  # s that RP2 can sleep, with what Node adds
_STAY = const(600)  # s, at most
_STEP = const(2)  # s between two looks at what is left of them, at most
_SELDOM = const(3)  # and one wake in four
_TICKS = const(0x3FFFFFFF)
_FILES = const(2048)  # bytes of a list of files
_COUNTS = ("update.order", "update.order2")  # the number of the last order
_DIGITS = const(20)  # of it, at most


class Orders:
    """What is done for whoever may say so. ``ota``: an Ota, or None; with one, orders are its
    owner's only: "dormouse-order TOPIC N ORDER", a line end, and the signature in hex. N has to be
    above that of each order before, and of 20 digits at most. Without one an order is what it says:

    log: publish the log. files: list the files. restart: forget the crashes, try the application
    again, at once. stay S: be there for S seconds more, 600 at most, for further orders. erase
    NAME: remove a file, to make room, say; without an owner no program, certificate, key, session
    or other file of the library's.

    Any other is refused: "why" tells, in the answer to the owner, and in the log: without an owner
    of the first one in a wake. ``locked``: there is an owner, but no key of his that can be used:
    orders are nobody's then.
    """

    def __init__(self, guard, ota, publish) -> None:
        self.guard = guard
        self.ota = ota
        self.locked = not ota and bool(guard.config.get("update_key"))
        self.topic = guard.config["topic"]
        self.publish = publish
        self.restart = False
        self.stay = 0
        self.why = None  # the last order could not be carried out
        self.said = False  # the log has a line of one
        self.count = 0
        a, b = self.copies = _COUNTS  # the one that is known to be right is the last
        for name in _COUNTS:
            try:
                with open(name) as f:
                    n = int(f.read(_DIGITS))
                if n > self.count:
                    self.count = n
                    self.copies = (b, a) if name == a else _COUNTS
            except (OSError, ValueError):
                pass

    def take(self, message) -> None:
        """Do what a message orders; nothing if it may not. Raises nothing."""
        # A signed one counts once, retained or not; any other would come at each wake.
        if message.topic != self.topic + "/safe/do" or (message.retain and not self.ota):
            return
        if self.locked:
            return
        try:
            order = self._allowed(str(message.payload, "utf-8"))
        except Exception:  # nonsense: no line in the log, which anybody could fill with it
            return
        if not order:
            return
        last, self.why = self.why, None
        # What must not come again on a flash that is full: all else goes first, for that.
        careful = order[:4] in ("rest", "stay")
        steps = [self._do]
        if self.ota:
            steps = [self._count, self._do] if careful else [self._do, self._count]
        for step in steps:
            try:
                step(order)
            except Exception as e:  # no such order or file, or a flash that is full
                self.why = repr(e)
                # (Without an owner one line in all, or anybody could fill the log with them.)
                if self.why != last and (self.ota or not self.said):
                    self.said = True
                    self.guard.log("order:", self.why)
                if careful:
                    break
        if not self.restart:
            self._answer()

    def _answer(self):
        if self.ota:
            self.publish(self.topic + "/safe", state(self.guard, self), 1, True)

    def _count(self, order):
        for name in self.copies:  # a cut while one is written leaves the other
            with open(name, "w") as f:
                f.write(str(self.count))

    def _allowed(self, text):
        # The order in it, "" if it is not its owner's.
        if not self.ota:
            return text
        from .ota import verify

        text, signature = text.split("\n")
        kind, topic, n, order = text.split(" ", 3)
        if (
            kind != "dormouse-order"
            or topic != self.topic
            or len(n) > _DIGITS  # its file would hold another
            or int(n) <= self.count
            or not verify(self.ota.key, text, signature)
        ):
            return ""
        self.count = int(n)
        return order

    def _do(self, order):
        name, _, value = order.partition(" ")
        if name == "log":
            self.publish(self.topic + "/log", self.guard.log.text(), 1)
        elif name == "files":
            self.publish(self.topic + "/safe/files", files(), 1)
        elif name == "restart":
            self._answer()
            self.publish(self.topic + "/safe", b"", 1, True)
            self.restart = True
        elif name == "stay" and value.isdigit():
            self.stay = min(int(value), _STAY)
        elif name == "erase":
            if not self._may_go(value):
                raise ValueError("not to be erased")
            os.remove(value)
            self.publish(self.topic + "/safe/files", files(), 1)
        else:
            raise ValueError("no such order: log, files, restart, stay S, erase NAME")

    def _may_go(self, name):
        # By its plain name only, for it has others: littlefs takes "main.py/", "main.py/x/.." and
        # "main.py\0x" for main.py, FAT "main.py.", "CONFIG~1.JSO", and what has a control character
        # behind it, or a letter that it takes for one of ASCII's.
        name = name.lower()
        for c in name:
            if c < " " or c == "\\" or (c > "}" and not self.ota):
                return False
        parts = name.split("/")
        for part in parts:
            if not part or part[-1] in ". ":
                return False
        name = parts[-1]
        if self.ota:
            return name not in ("boot.py", "config.json")
        # Anybody may have ordered it.
        for end in (".py", ".mpy", ".der", ".pem", ".key", ".crt", ".json"):
            if name.endswith(end):
                return False
        for begin in ["dormouse.", "update."] + _kept(self.guard):
            if name.startswith(begin):
                return False
        return True


def _kept(guard):
    # How names of files begin: those of the settings for TLS; the store's, or of the two that it is
    # made of. (A journal has others beside it: NAME.new and so on.)
    names = list((guard.config.get("tls") or {}).values())
    store = getattr(guard, "store", None)
    for one in (store, getattr(store, "small", None), getattr(store, "large", None)):
        names.append(getattr(one, "path", None))
    return [name.lower().split("/")[-1] for name in names if name and isinstance(name, str)]


def files(folder: str = "") -> str:
    """Return a line for each file, its size and its name; what fits into one message."""
    lines = ""
    for name in os.listdir(folder or "."):
        name = folder + name
        mode, _, _, _, _, _, n, _, _, _ = os.stat(name)
        lines += files(name + "/") if mode & 0x4000 else "%d %s\n" % (n, name)
        if len(lines) > _FILES:
            break
    return lines[:_FILES]


def state(guard, orders) -> str:
    """Return what is wrong, and what there is, as JSON."""
    found = {"crashes": guard.crashes, "reason": guard.reason}
    ota = orders.ota
    trouble = guard.config.get("trouble") or guard.trouble or (ota and ota.trouble)
    if trouble:
        found["trouble"] = str(trouble)[:200]
    if ota:
        found["order"] = orders.count
        if orders.why:
            found["why"] = orders.why
    try:
        s = os.statvfs(".")
        found["free"] = s[3] * s[0]
    except (OSError, AttributeError):
        pass
    gc.collect()
    if hasattr(gc, "mem_free"):
        found["heap"] = gc.mem_free()
    version = ".".join([str(n) for n in sys.implementation.version[:3]])
    found["versions"] = [version, ota.runs() if ota else 0]
    return ota.prove(found) if ota else json.dumps(found)


async def stay(client, ota, orders) -> None:
    """Be connected for as long as was ordered, and again if it is ordered again."""
    client.start()
    ms = 0
    while orders.stay > 0 and not (orders.restart or (ota and ota.ready)):
        feed()
        began = ticks_ms()
        try:
            message = await asyncio.wait_for(client.__aiter__().__anext__(), _STEP)
        except (asyncio.TimeoutError, StopAsyncIteration):
            message = None
        ms += ticks_ms() - began & _TICKS
        orders.stay -= ms // 1000
        ms %= 1000
        if not message:
            continue
        if not (ota and ota.handle(message, client)):
            orders.take(message)
        message.ack()
    await client.disconnect()


async def visit(guard) -> None:
    """Be there once, and sleep. ``guard``: the Guard of this boot. Raises what the settings lack,
    and what their parts raise."""
    import machine

    dog = at_least(_WATCHDOG)  # of a node that it resets in each wake, say
    log = guard.log
    config = guard.config
    wrong = []
    check(config, wrong)
    if wrong:
        config["trouble"] = ", ".join(wrong)
    topic = config["topic"]
    # In RAM: this session has nothing to lose, and the main store may be full or broken.
    store = Store()
    store.survives = 1
    ota = make_ota(config)
    filters = [(topic + "/safe/do", 1)]
    if ota:
        filters += ota.filters
    name = config.get("client_id") or machine.unique_id().hex()
    wifi = make_wifi(config, None, guard.network and guard.network())
    if wifi:
        # What is wrong may be the network that is joined, or the clock's time. (Not in each wake: a
        # time server's name may take all of it, where there is no name server.)
        wifi.fresh = not urandom(1)[0] & _SELDOM
    # (Of an application that no wait is short enough for, or none long enough, say.)
    client = make_client(
        config,
        client_id=name + "-safe",
        clean=False,
        store=store,
        keepalive=60,
        timeout=min(max(guard.number("timeout", 5), 5), _BUDGET // 1000),
    )
    node = Node(
        client,
        min(max(guard.safe_period, _BUDGET // 500), _LONGEST),
        _BUDGET,
        filters,
        wifi,
        max_bytes=_BYTES,
        guard="network" if dog else True,
    )
    orders = Orders(guard, ota, node.publish)
    log("safe mode:", guard.crashes, "crashes,", guard.reason)
    node.publish(topic + "/safe", state(guard, orders), 1, True)
    if ota:
        if not guard.trial:
            ota.confirm(client)  # how the last update ended, before another one
        ota.fetch(client)
    async for message in node.wake():
        feed()
        if not (ota and ota.handle(message, client)):
            orders.take(message)
    if node.error:
        log("error", repr(node.error))
    if ota and node.reached and not ota.trial:
        ota.confirm(client)  # what had to wait until the clock was set
    if orders.stay and node.reached:
        node.unguard()
        await stay(client, ota, orders)
    if orders.restart:
        log("restart", keep=True)
        log.save({_CRASHES: None})
    if orders.restart or (ota and ota.ready):  # boot.py puts it in place
        node.sleep(_SOON)
    guard.leave()
    node.sleep()

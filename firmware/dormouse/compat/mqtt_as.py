"""MQTTClient and config as mqtt_as has them, on dormouse's client.

    from dormouse.compat.mqtt_as import MQTTClient, config          # instead of mqtt_as

The client keeps the Wi-Fi, connects again by itself, and gives messages to a callback
(``subs_cb``) or, with ``queue_len``, to ``client.queue``. docs/from-mqtt_as.md tells line by line
what differs.
"""

import asyncio
import sys

from ..client import Client
from ..packet import MQTTError, Refused, Will
from ..patterns.keep import Keeper
from ..router import print_exception

try:
    from machine import unique_id

    _id = unique_id().hex().encode()  # as ``Client`` has it; bytes, for they stand in topics
except Exception:  # CPython, or a board that has none
    _id = None

RP2 = sys.platform == "rp2"  # (its own programs ask here)

config = {
    "client_id": _id,
    "server": None,
    "port": 0,
    "user": None,
    "password": None,
    "keepalive": 60,  # s
    "response_time": 10,  # s, for an answer of the broker
    "clean": True,
    "will": None,  # (topic, payload, retain=False, qos=0)
    "ssl": None,  # an SSLContext
    "subs_cb": None,  # (topic, payload, retained); function or coroutine function
    "wifi_coro": None,  # (up)
    "connect_coro": None,  # (client), at each connection
    "queue_len": 0,  # not 0: client.queue instead of subs_cb
    "ssid": None,
    "wifi_pw": None,
    "wifi": None,  # instead of these two: what has ``async join(ms=15000)``, such as net.Wifi
    "store": None,  # a store.Store: messages outlast a reset
    "options": {},  # more of Client's by name, such as max_packet
}
_UNUSED = "ping_interval ssl_params max_repubs clean_init gateway mqttv5 mqttv5_con_props".split()


class MQTTClient:
    """A client of ``config``, a dict.

    ``up``, ``down``: asyncio.Event, set at each connection and each loss of one; yours to clear.
    ``queue``: with ``queue_len``, messages for ``async for topic, payload, retained in``; each is
    acknowledged when the next is asked for. ``client``: the ``dormouse.Client`` behind it.

    Raises ValueError for a key that is not known, for ``ssl`` that is no SSLContext, and for
    ``mqttv5``.
    """

    DEBUG = False
    REPUB_COUNT = 0  # nothing is published again on a living connection
    _left = False

    def __init__(self, config: dict) -> None:
        c = dict(globals()["config"])
        for key in config:
            if key not in c and key not in _UNUSED:
                raise ValueError("no such key in config", key)
        c.update(config)
        if not c["server"]:
            raise ValueError("no server specified")
        if c["ssl"] and not hasattr(c["ssl"], "wrap_socket"):
            raise ValueError("ssl: an SSLContext, such as dormouse.net.tls.context() makes")
        if c.get("mqttv5"):
            raise ValueError("mqttv5: dormouse.Client(version=5) has it")
        options = dict(c["options"])
        if c["store"]:
            options["store"] = c["store"]
        if c["will"]:
            topic, payload, *more = c["will"]
            retain, qos = more + [False, 0][len(more) :]
            options["will"] = Will(_text(topic), payload, qos, retain)
        if c["client_id"]:
            options["client_id"] = _text(c["client_id"])
        self.client = Client(
            c["server"],
            c["port"],
            tls=c["ssl"] or None,
            timeout=c["response_time"],
            backoff=(1, 10),
            clean=c["clean"],
            keepalive=c["keepalive"],
            username=_text(c["user"]) or None,
            password=(c["user"] and c["password"]) or None,
            **options,
        )
        wifi = c["wifi"]
        if not wifi and c["ssid"]:
            from ..net.wifi import Wifi

            wifi = Wifi(c["ssid"], c["wifi_pw"])
        self.keeper = Keeper(
            self.client, wifi, lambda *words: self.dprint("%s", " ".join(map(str, words)))
        )
        self.up = self.keeper.up
        self.down = self.keeper.down
        self.queue = _Queue(self) if c["queue_len"] else None
        self._handlers = c["subs_cb"], c["wifi_coro"], c["connect_coro"]
        self._tasks = []

    def dprint(self, msg, *args) -> None:
        """Print ``msg % args``, with DEBUG: what the client logs. Replace it by what you like."""
        if self.DEBUG:
            print(msg % args)

    async def connect(self, *, quick: bool = False) -> None:
        """Join the Wi-Fi and connect; keep both from then on. Raises what ended the first attempt:
        Refused with the broker's code; for all else OSError, as mqtt_as does."""
        if self._tasks:
            return
        self._left = False
        try:
            if self.keeper.wifi:
                await self.keeper.wifi.join()
            await self.client.connect()
        except Refused:
            raise
        except (MQTTError, asyncio.TimeoutError, RuntimeError) as e:  # (a port's Wi-Fi: the last)
            raise OSError(104, repr(e))  # ECONNRESET
        todo = [self.keeper.run(), self._events()]
        if not self.queue:
            todo.append(self._dispatch())
        self._tasks = [asyncio.create_task(c) for c in todo]

    async def disconnect(self) -> None:
        """Disconnect: the broker drops the will."""
        await self.client.disconnect()
        self.close()

    def close(self) -> None:
        """End what runs in the background."""
        tasks = self._tasks
        self._tasks = []
        self._left = True
        try:
            me = asyncio.current_task()  # one of them, if a handler says so: it ends by itself
        except RuntimeError:  # in a ``finally`` behind ``asyncio.run``
            me = None
        for task in tasks:
            if task is not me:
                task.cancel()

    def isconnected(self) -> bool:
        """Return whether it is connected."""
        return self.client.connected

    async def broker_up(self) -> bool:
        """Return whether it is connected: pings tell it in time."""
        return self.client.connected

    async def publish(self, topic, msg, retain: bool = False, qos: int = 0) -> None:
        """Publish, and return when it is acknowledged for its QoS, over outages too, and from
        before ``connect`` on. Mind the order: retain comes before qos. Raises what
        ``Client.publish`` raises."""
        await self._begun()
        await self.client.publish(_text(topic), msg, qos, retain)

    async def subscribe(self, topic, qos: int = 0) -> None:
        """Subscribe. Raises what ``Client.subscribe`` raises."""
        await self._begun()
        await self.client.subscribe(_text(topic), qos=qos)

    async def unsubscribe(self, topic) -> None:
        """Unsubscribe."""
        await self._begun()
        await self.client.unsubscribe(_text(topic))

    # --- inside

    async def _begun(self):
        # A task that was begun before ``connect`` waits for it, as with mqtt_as.
        while not (self._tasks or self._left):
            await asyncio.sleep(0.1)

    async def _events(self):
        _, wifi, connected = self._handlers
        me = asyncio.current_task()
        while me in self._tasks:
            try:
                await self.client.wait_connected()
            except MQTTError:
                await asyncio.sleep(1)  # refused: the keeper starts it anew
                continue
            # As tasks: one that waits, for the next connection perhaps, holds up none.
            todo = _call(wifi, True), _call(connected, self)
            running = [asyncio.create_task(c) for c in todo]
            await self.client.wait_connected(False)
            running.append(asyncio.create_task(_call(wifi, False)))

    async def _dispatch(self):
        f = self._handlers[0]
        queue = _Queue(self).__aiter__()
        me = asyncio.current_task()
        try:
            while me in self._tasks:  # (as Router.run)
                await _call(f, *await queue.__anext__())
        except StopAsyncIteration:
            pass


async def _call(f, *args):
    # What a handler raises is printed: it must not end what calls it, for ever.
    try:
        result = f and f(*args)
        if hasattr(result, "send"):
            await result
    except Exception as e:
        try:
            print_exception(e, sys.stdout)
        except Exception:  # it cannot even be told
            print(type(e).__name__)


class _Queue:
    discards = 0  # what has no room, the broker keeps

    def __init__(self, owner) -> None:
        self._owner = owner
        self._client = owner.client

    def __aiter__(self):
        self._client.__aiter__()
        return self

    async def __anext__(self):
        await self._owner._begun()
        while True:
            try:
                m = await self._client.__anext__()
                return m.topic.encode(), m.payload, m.retain
            except MQTTError:
                if not self._owner._tasks:
                    raise StopAsyncIteration
                await asyncio.sleep(1)  # refused: the keeper starts it anew


def _text(s):
    return str(s, "utf-8") if isinstance(s, (bytes, bytearray)) else s

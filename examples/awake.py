"""A sensor node, ready to flash: readings out, commands in, over one MQTT session that lasts.

Reads ``config.json`` from the folder it starts in (see ``awake.example.json``); on a desk its
path can be given as an argument. Edit ``read_sensors`` and ``obey`` for your own device. On a chip
it runs under guard (docs/field.md): crashes are counted, and a watchdog is fed by what the broker
says.

What it publishes under the configured topic:
    state        QoS 1, retained: online; offline when the broker misses it (its will)
    light        QoS 0: a reading that may get lost
    temperature  QoS 1: a reading that arrives, perhaps twice after a lost connection
    meter        QoS 2: a pulse that must be counted once
What it takes:
    set/+        QoS 1: a setting; taking the same one twice does no harm
    do/+         QoS 2: an action, done once
"""

import asyncio
import json
import sys

import dormouse.field.guard as guard
from dormouse import OutboxFull, Will
from dormouse.field.config import load, make_client, make_wifi
from dormouse.router import Router


class Node:
    """The node: its client, its settings, and how far it has counted."""

    def __init__(self, config: dict, store=None, log=print) -> None:
        self.log = log
        self.wifi = make_wifi(config, store)
        self.topic = config["topic"]
        self.period = config.get("period", 10)  # s
        self.limit = config.get("readings", 0)  # 0: for ever
        self.count = 0
        self.dropped = 0  # readings for which the outbox had no room
        self.waiting: list = []  # (name, number, Message) of what is not acknowledged yet
        state = self.topic + "/state"
        # Its session is in RAM: who is always connected would wear the flash with each reading.
        self.client = make_client(
            config,
            clean=False,
            will=Will(state, b"offline", 1, True),
            outbox=config.get("outbox", 32),
            backoff=tuple(config.get("backoff", (1, 60))),
        )

    def read_sensors(self) -> tuple:
        """Return light, temperature and meter reading. Put your own sensors here."""
        self.count += 1
        return self.count * 7 % 100, 20 + self.count % 10 / 2, self.count

    def obey(self, message) -> None:
        """Do what a command asks for. Put your own actions here."""
        name = message.topic[len(self.topic) + 1 :]
        try:
            text = str(message.payload, "utf-8")
            print("command", message.qos, name, text)
            if name == "set/period" and 0.01 <= float(text) <= 86400:
                self.period = float(text)
        except ValueError:  # whatever a command says, it must not stop the node
            self.log("not understood:", name)

    def publish(self, name: str, value, qos: int) -> None:
        """Queue one reading; with no room left in the outbox it is counted as dropped."""
        payload = json.dumps({"n": self.count, "value": value})
        try:
            o = self.client.publish_nowait(self.topic + "/" + name, payload, qos)
            self.waiting.append((name, self.count, o))
            print("sent", name, self.count)
        except OutboxFull:
            self.dropped += 1
            print("dropped", name, self.count)

    def report(self) -> None:
        """Print what was acknowledged, or lost with the broker's session, since the last time."""
        for item in list(self.waiting):
            name, count, o = item
            if o.done:
                self.waiting.remove(item)
                print(repr(o.error).split("(")[0] if o.error else "done", name, count)

    async def measure(self) -> None:
        """Publish readings for ever, or as many as asked for and until all are acknowledged."""
        while not self.limit or self.count < self.limit:
            light, temperature, meter = self.read_sensors()
            self.publish("light", light, 0)
            self.publish("temperature", temperature, 1)
            self.publish("meter", meter, 2)
            await self.rest(self.period)
        while self.waiting:
            await self.rest(0.05)

    async def rest(self, seconds: float) -> None:
        """Wait, and report; raise what ended the client or a command meanwhile."""
        await asyncio.sleep(seconds)
        self.report()
        for task in self.tasks:
            if task.done():
                await task

    async def join(self) -> None:
        """Join the network, and set the clock if certificates need it. (RP2 does not join one that
        was lost by itself, ESP32 does.)"""
        while self.wifi:
            try:
                return await self.wifi.join()
            except (OSError, RuntimeError, MemoryError) as e:  # (the last in a scan)
                self.log("no network:", repr(e))
            guard.feed()  # an attempt that ended is progress
            await asyncio.sleep(5)

    async def reach(self) -> None:
        """Return when the broker is reached; say why not. Raises what ended the client."""
        patience = 5  # s
        while True:
            await self.join()
            try:
                return await asyncio.wait_for(self.client.wait_connected(), patience)
            except asyncio.TimeoutError:
                self.log("no broker:", repr(self.client.error))
                # The radio may say "connected" though nothing goes through: join anew, with another
                # address; each time later, for it may be the broker.
                patience = min(patience * 2, 600)
                if self.wifi:
                    self.wifi.fresh = True

    async def watch(self) -> None:
        """Say online after each connect, for the broker may have published the will; subscribe
        once, for the library repeats that where a broker forgot."""
        client = self.client
        subscribed = False
        while True:
            await self.reach()
            print("connected")
            await client.publish(self.topic + "/state", b"online", 1, True)
            if not subscribed:
                await client.subscribe((self.topic + "/set/+", 1), (self.topic + "/do/+", 2))
                subscribed = True
                print("subscribed")
            await client.wait_connected(False)
            print("lost", repr(client.error))

    async def run(self) -> None:
        """Connect, and work until the readings asked for are out. Raises what ended the client."""
        router = Router()
        router.on(self.topic + "/set/+", self.obey)
        router.on(self.topic + "/do/+", self.obey)
        await self.join()
        self.client.start()
        todo = router.run(self.client), self.watch(), guard.watch(self.client)
        self.tasks = [asyncio.create_task(c) for c in todo]
        await self.measure()
        for task in self.tasks:
            task.cancel()
        await self.client.publish(self.topic + "/state", b"offline", 1, True)
        await self.client.disconnect()
        print("end", self.count, "dropped", self.dropped)


if __name__ == "__main__":
    config = load(sys.argv[1] if len(sys.argv) > 1 else "config.json")
    try:
        from machine import WDT  # noqa: F401
    except ImportError:  # a desk
        asyncio.run(Node(config).run())
    else:
        guard.run(Node, config)

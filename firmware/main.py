"""A sensor node that sleeps, ready to flash: readings out, commands in, once in each period.

Reads ``config.json`` from the folder it starts in (see ``config.example.json``). Edit
``read_sensors`` and ``obey`` for your own device. Each time the chip wakes, this file runs from its
beginning; what lasts is in the store: messages on their way, and ``SensorNode.state``.

What it publishes under the configured topic:
    state        retained: until when it sleeps; "lost" when the broker misses it (its will)
    light        QoS 0: a reading that may get lost
    temperature  QoS 1: a reading that arrives, perhaps twice after a lost connection
    meter        QoS 2: a pulse that must be counted once
    log          QoS 0, as anybody may ask for it: the last lines it printed
    updated      QoS 0, retained: how an update goes
What it takes:
    set/+        QoS 1: a setting; taking the same one twice does no harm
    do/+         QoS 2: an action, done once, whatever is cut; do/log: publish the log
    update       QoS 1: another version of this file, from ``make ota`` (with "update_key")
"""

import json

import dormouse.field.guard as guard
from dormouse import Will
from dormouse.field.config import load, make_client, make_ota, make_wifi
from dormouse.sleep import Node


class SensorNode:
    """The application: its node, its settings, and what it must not forget."""

    def __init__(self, config: dict, store, log) -> None:
        self.topic = topic = config["topic"]
        self.log = log
        status = topic + "/state"
        client = make_client(
            config,
            clean=False,
            store=store,
            will=Will(status, b'{"lost":true}', 1, True),
            outbox=config.get("outbox", 64),
        )
        filters = [(topic + "/set/+", 1), (topic + "/do/+", 2)]
        self.ota = make_ota(config)
        if self.ota:
            filters += self.ota.filters
        self.node = Node(
            client,
            config.get("period", 300),
            config.get("budget", 10000),
            filters,
            make_wifi(config, store),
            status,
            max_bytes=131072 if self.ota else 32768,
            guard="network",  # the watchdog sees to what else may hang
        )
        # What the application must not forget: how far it has counted, and its settings.
        self.state: dict = {"count": 0, "relay": 0, "light": "on"}
        committed = client.session.committed
        if committed:
            self.state.update(json.loads(committed))

    def read_sensors(self) -> tuple:
        """Return light, temperature and meter reading. Put your own sensors here."""
        n = self.state["count"] = self.state["count"] + 1
        return n * 7 % 100, 20 + n % 10 / 2, n

    def obey(self, name: str, payload: bytes) -> None:
        """Do what a command asks for. Put your own actions here.

        At the start of ``run`` the outputs are set to what was committed last, so an action that a
        power cut interrupted before it was committed is done again from the same beginning.
        """
        if name == "do/toggle":
            self.state["relay"] ^= 1
        elif name == "do/log":
            self.publish("log", self.log.text(), 0)  # pushes no reading out of the store
        elif name == "set/light" and payload in (b"on", b"off"):
            self.state["light"] = str(payload, "utf-8")
        else:
            # Whatever a command says, it must not stop the node: this one is done with.
            print("unknown command", name, payload)

    def set_outputs(self) -> None:
        """Set relays and such to ``state``."""

    def publish(self, name: str, payload, qos: int) -> None:
        """Queue a message; at QoS 1 and 2 it is in the store when this returns."""
        if self.node.publish(self.topic + "/" + name, payload, qos).error:
            self.log("dropped", name, self.state["count"])
        else:
            print("sent", name, self.state["count"])

    def measure(self) -> None:
        """Queue the readings."""
        light, temperature, meter = self.read_sensors()
        self.node.session.commit(json.dumps(self.state))  # in the record of the next message
        for name, value, qos in (
            ("meter", meter, 2),
            ("temperature", temperature, 1),
            ("light", light, 0),
        ):
            if qos or self.state["light"] == "on":
                self.publish(name, json.dumps({"n": self.state["count"], "value": value}), qos)

    async def connect(self, urgent: bool = False) -> None:
        """Send what waits, and take what the broker has kept."""
        if self.ota:
            self.ota.fetch(self.node.client)  # what comes next of an update
        async for message in self.node.wake(urgent):
            guard.feed()
            if self.ota and self.ota.handle(message, self.node.client):
                continue
            name = message.topic[len(self.topic) + 1 :]
            print("command", message.qos, name, message.payload)
            self.obey(name, message.payload)
            message.ack(json.dumps(self.state))  # both in one record, or none of them
            self.set_outputs()

    async def run(self) -> None:
        """Be awake once: measure, send, obey, sleep."""
        node = self.node
        ota = self.ota
        guard.feed()
        self.log("wake", node.reason, "relay", self.state["relay"])
        self.set_outputs()
        self.measure()
        guard.feed()
        await self.connect(urgent=bool(ota and ota.trial))
        if ota and node.reached and ota.confirm(node.client):
            await self.connect(urgent=True)  # this version stays, and says so now
        if node.error:
            self.log("error", repr(node.error))
        self.log("asleep", node.next_wake(), "ms,", node.waiting(), "waiting")
        guard.end(node.error, node.publish, node.reached)
        node.sleep(1 if ota and ota.ready else None)  # boot.py puts an update in place


if __name__ == "__main__":
    guard.run(SensorNode, load())

"""A sensor node that sleeps, ready to flash: readings out, commands in, once in each period.

Reads ``config.json`` from the folder it starts in (see ``config.example.json``). Edit
``read_sensors`` and ``obey`` for your own device. Each time the chip wakes, this file runs from its
beginning; what lasts is in the store: messages on their way, and ``Node.state``.

What it publishes under the configured topic:
    state        retained: until when it sleeps; "lost" when the broker misses it (its will)
    light        QoS 0: a reading that may get lost
    temperature  QoS 1: a reading that arrives, perhaps twice after a lost connection
    meter        QoS 2: a pulse that must be counted once
What it takes:
    set/+        QoS 1: a setting; taking the same one twice does no harm
    do/+         QoS 2: an action, done once, whatever is cut
"""

import asyncio
import json

from dormouse import Client, OutboxFull, Will
from dormouse.sleep import Node


def load_config() -> dict:
    """Return the settings. Raises OSError without the file, ValueError if it is not JSON."""
    with open("config.json") as f:
        return json.load(f)


def make_store(name: str):
    """Return the store that the settings name (docs/sleep.md tells which to choose)."""
    if name == "rtc":  # ESP32: RTC memory, no wear; lost with the power
        from dormouse.rtc import RTCStore

        return RTCStore()
    if name == "nvs":  # ESP32: a partition of its own
        from dormouse.nvs import NVSStore

        return NVSStore()
    from dormouse.journal import Journal  # any chip: a file; survives power loss

    return Journal("dormouse.journal")


class SensorNode:
    """The application: its node, its settings, and what it must not forget."""

    def __init__(self, config: dict) -> None:
        self.topic = config["topic"]
        topic = self.topic + "/state"
        store = make_store(config.get("store", "journal"))
        client = Client(
            config["host"],
            config.get("port", 0),
            client_id=config.get("client_id"),
            clean=False,
            keepalive=config.get("keepalive", 60),
            will=Will(topic, b'{"lost":true}', 1, True),
            username=config.get("username"),
            password=config.get("password"),
            timeout=config.get("timeout", 5),
            outbox=config.get("outbox", 64),
            store=store,
            full="oldest",
        )
        wifi = None
        if "wifi" in config:
            from dormouse.wifi import Wifi

            wifi = Wifi(config["wifi"]["ssid"], config["wifi"]["password"], store)
        self.node = Node(
            client,
            config.get("period", 300),
            config.get("budget", 10000),
            ((self.topic + "/set/+", 1), (self.topic + "/do/+", 2)),
            wifi,
            topic,
        )
        if store.warning:
            print("store:", store.warning)
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
        elif name == "set/light" and payload in (b"on", b"off"):
            self.state["light"] = str(payload, "utf-8")
        else:
            # Whatever a command says, it must not stop the node: this one is done with.
            print("unknown command", name, payload)

    def set_outputs(self) -> None:
        """Set relays and such to ``state``."""

    def publish(self, name: str, value, qos: int) -> None:
        """Queue a reading; at QoS 1 and 2 it is in the store when this returns."""
        count = self.state["count"]
        payload = json.dumps({"n": count, "value": value})
        try:
            self.node.publish(self.topic + "/" + name, payload, qos)
            print("sent", name, count)
        except OutboxFull:
            print("dropped", name, count)

    async def run(self) -> None:
        """Be awake once: measure, send, obey, sleep."""
        node = self.node
        session = node.session
        print("wake", node.reason, "relay", self.state["relay"])
        self.set_outputs()
        light, temperature, meter = self.read_sensors()
        session.commit(json.dumps(self.state))  # goes into the record of the next message
        self.publish("meter", meter, 2)
        self.publish("temperature", temperature, 1)
        if self.state["light"] == "on":
            self.publish("light", light, 0)
        async for message in node.wake():
            name = message.topic[len(self.topic) + 1 :]
            print("command", message.qos, name, message.payload)
            self.obey(name, message.payload)
            message.ack(json.dumps(self.state))  # both in one record, or none of them
            self.set_outputs()
        if node.error:
            print("error", repr(node.error))
        print("asleep", node.next_wake(), "ms,", node.waiting(), "waiting")
        node.sleep()


if __name__ == "__main__":
    asyncio.run(SensorNode(load_config()).run())

"""The other side of a scenario: paho-mqtt, an independent client, so never only our own code."""

import threading

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from .brokers import Broker


class Observer:
    """A paho client on the broker itself, past the proxy. Collects what it sees.

    It connects again by itself when the broker was restarted, and subscribes again then.
    """

    def __init__(self, broker: Broker, *filters: tuple[str, int]) -> None:
        self._filters = list(filters)
        self._changed = threading.Condition()
        self._subscribed = 0
        self.messages: list[paho.MQTTMessage] = []
        self._client = paho.Client(CallbackAPIVersion.VERSION2, "observer")
        if broker.username:
            self._client.username_pw_set(broker.username, broker.password)
        self._client.on_connect = self._on_connect
        self._client.on_subscribe = self._on_subscribe
        self._client.on_message = self._on_message
        self._client.reconnect_delay_set(1, 1)
        self._client.connect(broker.host, broker.port)
        self._client.loop_start()
        self.wait_subscribed()

    def _on_connect(self, client, userdata, flags, reason, properties) -> None:
        client.subscribe(self._filters or [("nothing", 0)])

    def _on_subscribe(self, client, userdata, mid, reasons, properties) -> None:
        with self._changed:
            self._subscribed += 1
            self._changed.notify_all()

    def _on_message(self, client, userdata, message: paho.MQTTMessage) -> None:
        with self._changed:
            self.messages.append(message)
            self._changed.notify_all()

    def wait_subscribed(self, times: int = 1, timeout: float = 10) -> None:
        """Wait until it has connected and subscribed so many times."""
        with self._changed:
            assert self._changed.wait_for(lambda: self._subscribed >= times, timeout)

    def payloads(self, topic: str) -> list[str]:
        """Return the payloads seen on a topic, in order (bytes that are no UTF-8 as \\xff)."""
        return [
            m.payload.decode(errors="backslashreplace") for m in self.messages if m.topic == topic
        ]

    def wait(self, topic: str, payload: str, timeout: float = 10) -> paho.MQTTMessage:
        """Wait for a message and return it."""

        def found() -> paho.MQTTMessage | None:
            for m in self.messages:
                if (m.topic, m.payload.decode(errors="backslashreplace")) == (topic, payload):
                    return m
            return None

        with self._changed:
            ok = self._changed.wait_for(found, timeout)
            assert ok, (
                f"no {topic} {payload!r}; saw {[(m.topic, m.payload) for m in self.messages]}"
            )
            message = found()
            assert message
            return message

    def wait_count(self, topic: str, count: int, timeout: float = 10) -> list[str]:
        """Wait until so many messages came at a topic; return their payloads."""
        with self._changed:
            found = self._changed.wait_for(lambda: len(self.payloads(topic)) >= count, timeout)
            assert found, f"{len(self.payloads(topic))} of {count} at {topic}"
        return self.payloads(topic)

    def publish(self, topic: str, payload: str | bytes, qos: int = 0, retain: bool = False) -> None:
        """Publish, and wait until the broker acknowledged it."""
        info = self._client.publish(topic, payload, qos, retain)
        info.wait_for_publish(10)
        assert info.is_published()

    def queue(self, topic: str, payload: str, qos: int) -> None:
        """Publish, and do not wait."""
        self._client.publish(topic, payload, qos)

    def __enter__(self) -> "Observer":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Disconnect."""
        self._client.disconnect()
        self._client.loop_stop()

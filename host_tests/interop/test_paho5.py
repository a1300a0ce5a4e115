"""MQTT 5 with paho-mqtt as the other side: each property that both can see, through mosquitto."""

import json
import queue
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from tools.testing.brokers import MosquittoBroker
from tools.testing.runtimes import Device, Runtime

PROGRAM = Path(__file__).parent / "programs" / "five.py"


class Paho:
    """A paho client that speaks MQTT 5, and queues what comes."""

    def __init__(self, broker: MosquittoBroker, name: str = "paho") -> None:
        self.queue: queue.Queue[paho.MQTTMessage] = queue.Queue()
        self.done: queue.Queue[Any] = queue.Queue()
        self.client = paho.Client(paho.CallbackAPIVersion.VERSION2, name, protocol=paho.MQTTv5)
        self.client.on_message = lambda client, data, message: self.queue.put(message)
        self.client.on_connect = self.client.on_subscribe = lambda *args: self.done.put(args)
        self.client.connect(broker.host, broker.port)
        self.client.loop_start()
        self.done.get(timeout=10)

    def subscribe(self, name: str, qos: int = 2, **options: Any) -> None:
        self.client.subscribe(name, options=SubscribeOptions(qos=qos, **options))
        self.done.get(timeout=10)

    def publish(
        self, topic: str, payload: str, qos: int = 0, retain: bool = False, **properties: Any
    ):
        given = Properties(PacketTypes.PUBLISH)
        for name, value in properties.items():
            setattr(given, name, value)
        self.client.publish(topic, payload, qos, retain, given).wait_for_publish(10)

    def next(self) -> paho.MQTTMessage:
        return self.queue.get(timeout=10)

    def __enter__(self) -> "Paho":
        return self

    def __exit__(self, *_: object) -> None:
        self.client.disconnect()
        self.client.loop_stop()


@pytest.fixture
def broker(mosquitto: Callable[..., MosquittoBroker]) -> MosquittoBroker:
    return mosquitto()


@pytest.fixture
def start(
    runtime: Runtime, broker: MosquittoBroker, tmp_path: Path
) -> Iterator[Callable[..., Device]]:
    """Return a function that starts the device; ``client``: Client's arguments."""
    numbers = count()
    with ExitStack() as stack:

        def begin(client: dict[str, Any] | None = None, **config: Any) -> Device:
            config["client"] = {"port": broker.port, "client_id": "five", **(client or {})}
            file = tmp_path / f"five{next(numbers)}.json"
            file.write_text(json.dumps(config))
            return stack.enter_context(runtime.start(PROGRAM, str(file)))

        yield begin


def got(device: Device) -> tuple[list[str], dict[str, Any]]:
    """Return the words and the properties of the next message that the device had."""
    line = device.wait_line("got ", 10)
    words, _, properties = line.partition(" [")
    return words.split()[1:], dict(json.loads("[" + properties))


def test_what_the_device_publishes(start, broker: MosquittoBroker) -> None:
    pairs = [["k", "v"], ["k", "again"], ["", "\u20ac"]]
    properties = {
        "payload_format": 1,
        "message_expiry": 60,
        "content_type": "text/plain",
        "response_topic": "back/here",
        "correlation_data_hex": "00ff10",
        "user_properties": pairs,
    }
    with Paho(broker) as other:
        other.subscribe("t/#")
        device = start(publish=[["t/x", str(q), q, False, properties] for q in (0, 1, 2)], stop={})
        device.wait_line("end", 10)
        for _ in range(3):
            message = other.next()
            p = message.properties
            assert p.PayloadFormatIndicator == 1 and p.MessageExpiryInterval in (59, 60)
            assert p.ContentType == "text/plain" and p.ResponseTopic == "back/here"
            assert p.CorrelationData == b"\x00\xff\x10"
            assert p.UserProperty == [tuple(pair) for pair in pairs]
    # Nobody subscribes there: the reason code of success says so.
    device = start(publish=[["nobody", "", 1, False, {}]], stop={})
    assert device.wait_line("code", 10) == "code 16"


def test_what_the_device_receives(start, broker: MosquittoBroker) -> None:
    device = start(subscribe=[["t/#", 2, {"subscription_id": 268435455}], ["t/+", 1, {}]])
    device.wait_line("ready", 10)
    with Paho(broker) as other:
        other.publish(
            "t/x",
            "hello",
            2,
            PayloadFormatIndicator=1,
            MessageExpiryInterval=100,
            ContentType="a/b",
            ResponseTopic="r/t",
            CorrelationData=b"\x01\x02",
            UserProperty=[("a", "1"), ("a", "2")],
        )
        other.publish("t/y", "plain", 1)
        seen: dict[str, list[dict[str, Any]]] = {}
        for _ in range(3):
            words, properties = got(device)
            seen.setdefault(words[3], []).append(properties)
    hello = seen["hello"][0]
    assert hello["payload_format"] == 1 and hello["message_expiry"] in (99, 100)
    assert hello["content_type"] == "a/b" and hello["response_topic"] == "r/t"
    assert hello["correlation_data"] == "0102"
    assert hello["user_properties"] == [["a", "1"], ["a", "2"]]
    ids = [p.get("subscription_id") for items in seen.values() for p in items]
    assert [268435455] in ids


def test_topic_aliases_from_the_broker(start, broker: MosquittoBroker) -> None:
    client = {"properties": {"topic_alias_maximum": 3}}
    device = start(client, subscribe=[["t/#", 1, {}]])
    device.wait_line("ready", 10)
    with Paho(broker) as other:
        for n in range(12):
            other.publish(f"t/a/long/topic/name/{n % 4}", str(n), 1)
    for n in range(12):
        words, properties = got(device)
        assert words[0] == f"t/a/long/topic/name/{n % 4}" and words[3] == str(n)
        assert "topic_alias" not in properties


def test_subscription_options(start, broker: MosquittoBroker) -> None:
    with Paho(broker) as other:
        other.publish("kept", "old", 1, True)
        options = {"no_local": True, "retain_handling": 2}
        more = [["as/published", 1, {"retain_as_published": True}], ["plain", 1, {}]]
        device = start(
            subscribe=[["kept", 1, options], *more], publish=[["kept", "mine", 1, False, {}]]
        )
        device.wait_line("code", 10)
        other.publish("as/published", "a", 1, True)
        other.publish("plain", "b", 1, True)
        other.publish("kept", "new", 1, False)
        first, second, third = (got(device)[0] for _ in range(3))
        assert first == ["as/published", "1", "1", "a"]
        assert second == ["plain", "1", "0", "b"]
        assert third == ["kept", "1", "0", "new"]  # neither the retained one nor its own


def test_shared_subscription(start, broker: MosquittoBroker) -> None:
    devices = [
        start({"client_id": f"worker{n}"}, subscribe=[["$share/team/work", 1, {}]])
        for n in range(2)
    ]
    for device in devices:
        device.wait_line("ready", 10)
    with Paho(broker) as other:
        for n in range(10):
            other.publish("work", str(n), 1)
        for _ in devices:
            other.publish("work", "stop", 1)
    for device in devices:
        device.wait_line("end", 10)
    lines = [line.split()[4] for d in devices for line in d.lines if line.startswith("got")]
    assert sorted(lines) == sorted([str(n) for n in range(10)] + ["stop", "stop"])


def test_request_and_response(start, broker: MosquittoBroker) -> None:
    device = start(subscribe=[["ask", 1, {}]])
    device.wait_line("ready", 10)
    with Paho(broker) as other:
        other.subscribe("answers")
        for n in range(3):
            data = bytes((n, 255))
            other.publish("ask", str(n), 1, ResponseTopic="answers", CorrelationData=data)
        for n in range(3):
            message = other.next()
            assert message.payload == b"answer to %d" % n
            assert message.properties.CorrelationData == bytes((n, 255))


@pytest.mark.parametrize("stop", [{"code": 4}, {}, None], ids=["with will", "orderly", "killed"])
def test_will(start, broker: MosquittoBroker, stop: dict[str, Any] | None) -> None:
    properties = {
        "will_delay": 1,
        "payload_format": 1,
        "content_type": "x/y",
        "message_expiry": 30,
        "response_topic": "r",
        "correlation_data_hex": "aa",
        "user_properties": [["u", "v"]],
    }
    with Paho(broker) as other:
        other.subscribe("will")
        will = ["will", "gone", 1, False, properties]
        device = start({"clean": False}, will=will, stop=stop)
        device.wait_line("ready", 10)
        if stop is None:
            device.kill()
        else:
            device.wait_line("end", 10)
        if stop == {}:
            other.publish("will", "no will", 1)
            assert other.next().payload == b"no will"
            assert device.wait_exit(10) == 0
            with pytest.raises(queue.Empty):
                other.queue.get(timeout=1.5)  # longer than its delay
            return
        message = other.next()
        assert message.payload == b"gone"
        p = message.properties
        assert p.PayloadFormatIndicator == 1 and p.ContentType == "x/y" and p.ResponseTopic == "r"
        assert p.CorrelationData == b"\xaa" and p.UserProperty == [("u", "v")]
        assert p.MessageExpiryInterval <= 30


def test_limits_of_the_server(start, mosquitto: Callable[..., MosquittoBroker]) -> None:
    extra = "max_packet_size 1000\nmax_keepalive 30\nretain_available false\n"
    strict = mosquitto(extra_config=extra, listener_config="max_qos 1")
    client = {"port": strict.port, "client_id": "strict"}
    device = start(client, stop={})
    server = dict(json.loads(device.wait_line("ready", 10).partition(" ")[2]))
    assert server["server_keepalive"] == 30 and server["maximum_packet_size"] == 1000
    assert server["maximum_qos"] == 1 and server["retain_available"] == 0
    for publish in (
        ["t", "", 2, False, {}],
        ["t", "", 0, True, {}],
        ["t", "x" * 999, 1, False, {}],
    ):
        device = start(client, publish=[publish])
        assert device.wait_exit(10) != 0
        assert any("Failed" in line for line in device.lines), device.transcript()

"""What users get wrong: `make lint` fails if mypy --strict takes one of these uses for right.

Each line is an error that its comment expects; one that is none would be an unused comment.
"""

import dormouse.reason
from dormouse import Client, Message, Will
from dormouse.compat import mqtt_as, robust, umqtt
from dormouse.field.config import make_client
from dormouse.field.guard import feed, run
from dormouse.field.large_ota import LargeOta
from dormouse.field.led import LED
from dormouse.field.log import Log
from dormouse.field.ota import Ota
from dormouse.large import Source
from dormouse.mqtt5.request import Requester, respond
from dormouse.net.clock import Clock
from dormouse.net.serial import Serial
from dormouse.net.tls import context
from dormouse.net.wifi import Wifi
from dormouse.net.ws import WebSocket
from dormouse.patterns.age import Age
from dormouse.patterns.homeassistant import HomeAssistant
from dormouse.patterns.keep import Keeper
from dormouse.patterns.once import Once
from dormouse.patterns.presence import Watch
from dormouse.patterns.rpc import Requester as Asker
from dormouse.patterns.sequence import Sequence
from dormouse.patterns.shadow import Shadow
from dormouse.patterns.state import State
from dormouse.patterns.steady import fields
from dormouse.router import Router
from dormouse.sleep import Node, sleep_budget
from dormouse.sleep.chip import deepsleep
from dormouse.store import Layered
from dormouse.store.journal import Journal
from dormouse.store.rtc import RTCStore


def number(n: int) -> None:
    print(n)


class NoNetwork:
    def join(self, timeout_ms: int) -> None: ...


async def client_mistakes(client: Client, message: Message) -> None:
    Client()  # type: ignore[call-arg]
    Client("h", keep_alive=60)  # type: ignore[call-arg]
    Client("h", tls=True)  # type: ignore[arg-type]
    Client("h", store="journal")  # type: ignore[arg-type]
    Client("h", will=b"offline")  # type: ignore[arg-type]
    Client("h", backoff=5)  # type: ignore[arg-type]
    Client("h", large=1)  # type: ignore[arg-type]
    Source(5)  # type: ignore[arg-type]
    await message.readinto(b"")  # type: ignore[arg-type]
    Will(b"topic")  # type: ignore[arg-type]
    await client.publish(b"topic")  # type: ignore[arg-type]
    await client.publish("t", 21.5)  # type: ignore[arg-type]
    await client.publish("t", {"value": 21})  # type: ignore[arg-type]
    await client.publish("t", b"", qos="1")  # type: ignore[arg-type]
    await client.publish("t", content_typ="x")  # type: ignore[call-arg]
    await client.publish_nowait("t")  # type: ignore[misc]
    await client.subscribe(["a", "b"])  # type: ignore[arg-type]
    await client.subscribe("a", qo=1)  # type: ignore[call-arg]
    await client.disconnect(cod=4)  # type: ignore[call-arg]
    client.publish("t")  # type: ignore[unused-coroutine]
    for one in client.messages:  # type: ignore[attr-defined]
        print(one)
    message.payload.encode()  # type: ignore[attr-defined]
    message.acknowledge()  # type: ignore[attr-defined]
    message.ack(5)  # type: ignore[arg-type]


async def other_mistakes(client: Client, message: Message) -> None:
    Journal()  # type: ignore[call-arg]
    RTCStore("2048")  # type: ignore[arg-type]
    Layered(RTCStore(), "journal")  # type: ignore[arg-type]
    RTCStore().save({"key": b""})  # type: ignore[dict-item]
    Wifi("ssid")  # type: ignore[call-arg]
    Wifi("ssid", "password", pm="none")  # type: ignore[arg-type]
    Node(client)  # type: ignore[call-arg]
    Node(client, 300, subscribe=("a/#",))  # type: ignore[arg-type]
    Node(client, 300, wifi=NoNetwork())  # type: ignore[arg-type]
    Node(client, 300).publish("t", None)  # type: ignore[arg-type]
    for command in Node(client, 300).wake():  # type: ignore[attr-defined]
        print(command)
    sleep_budget(client, 0, 0)  # type: ignore[arg-type]
    client.session.committed.decode()  # type: ignore[union-attr]
    Router().on("a", number)  # type: ignore[arg-type]
    Router().run(client)  # type: ignore[unused-coroutine]
    respond(client, b"on")  # type: ignore[arg-type]
    await Requester(client).request("t", response_topic="mine")  # type: ignore[call-arg]
    dormouse.reason.text("0x87")  # type: ignore[arg-type]
    print(dormouse.reason.NO_SUCH_CODE)  # type: ignore[attr-defined]
    print(dormouse.Wifi)  # type: ignore[attr-defined]


def mistakes_of_parts(log: Log) -> None:
    deepsleep("300")  # type: ignore[arg-type]
    Clock("pool.ntp.org")  # type: ignore[arg-type]
    feed(5)  # type: ignore[call-arg]
    run(print, {"topic": "t"})  # type: ignore[arg-type]
    LED()  # type: ignore[call-arg]
    log("words", kep=True)  # type: ignore[call-arg]
    Ota(b"key", "topic")  # type: ignore[arg-type]
    LargeOta("key", "topic").receive(b"", 1)  # type: ignore[arg-type, unused-coroutine]
    make_client("config.json")  # type: ignore[arg-type]
    Serial(None, quiet="50")  # type: ignore[arg-type]
    context(b"certificate")  # type: ignore[arg-type]
    WebSocket(headers={"Authorization": "Basic"})  # type: ignore[arg-type]
    Client("h", stream=WebSocket)  # type: ignore[arg-type]


async def pattern_mistakes(node: Node, client: Client, message: Message) -> None:
    Age("60")  # type: ignore[arg-type]
    Once(node)  # type: ignore[arg-type]
    Once(node.store).done("id", changes={"relay": b"on"})  # type: ignore[dict-item]
    Sequence(node.store).check("7")  # type: ignore[arg-type]
    State(node)  # type: ignore[arg-type]
    Shadow(node.publish, "thing", node.store)  # type: ignore[arg-type]
    HomeAssistant(node.publish, "t", "id")  # type: ignore[arg-type]
    HomeAssistant(node, "t")  # type: ignore[call-arg]
    Keeper(client).up()  # type: ignore[operator]
    fields(message)  # type: ignore[arg-type]
    Asker(client, "lamp")  # type: ignore[call-arg]
    Asker(client, "lamp", "me").request("get")  # type: ignore[unused-coroutine]
    Watch().heard(message, True, 0)  # type: ignore[arg-type]
    umqtt.MQTTClient("id", "h", ssl=True)  # type: ignore[arg-type]
    robust.MQTTClient("id")  # type: ignore[call-arg]
    mqtt_as.MQTTClient("h")  # type: ignore[arg-type]

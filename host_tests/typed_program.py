"""A program as users write it, with every public module: `make lint` holds it to mypy --strict."""

import asyncio
import io

from dormouse import (
    Client,
    ConnectionLost,
    Message,
    MQTTError,
    OutboxFull,
    ProtocolError,
    Refused,
    Session,
    SessionLost,
    Will,
    packet,
    reason,
    stream,
)
from dormouse.compat import mqtt_as, robust, umqtt
from dormouse.expiry import Expired, expiring
from dormouse.field.config import load, make_client, make_ota, make_store, make_wifi
from dormouse.field.guard import Guard, Watchdog, end, feed, good, run, watch
from dormouse.field.large_ota import LargeOta
from dormouse.field.led import LED
from dormouse.field.log import Log
from dormouse.field.ota import Ota, verify
from dormouse.large import Incomplete
from dormouse.large.sending import sending
from dormouse.large.source import Source, SourceError
from dormouse.mqtt5 import packet as packet5
from dormouse.mqtt5.request import Requester, respond
from dormouse.mqtt5.session import Codes, Disconnected, Failed
from dormouse.net.clock import Clock, ClockError, now
from dormouse.net.serial import Serial
from dormouse.net.tls import CertificateError, context
from dormouse.net.wifi import Wifi, WifiError
from dormouse.net.ws import FrameError, UpgradeError, WebSocket
from dormouse.patterns import rpc
from dormouse.patterns.age import Age
from dormouse.patterns.homeassistant import HomeAssistant, expire
from dormouse.patterns.keep import Keeper, metrics
from dormouse.patterns.once import Once
from dormouse.patterns.presence import Watch, leave, online, will
from dormouse.patterns.sequence import Counter, Sequence
from dormouse.patterns.shadow import Shadow
from dormouse.patterns.state import State, ask
from dormouse.patterns.steady import at_each, fields
from dormouse.router import Router, matches
from dormouse.sleep import Node, chip, sleep_budget
from dormouse.store import Layered, Store, StoreFull
from dormouse.store.durable import durable
from dormouse.store.journal import Journal
from dormouse.store.nvs import NVSStore
from dormouse.store.rtc import RTCStore


async def main() -> None:
    will = Will("state", b"offline", qos=1, retain=True)
    async with Client("broker.local", client_id="node", clean=False, will=will) as client:
        granted: list[int] = await client.subscribe("a", ("b/#", 2), qos=1)
        await client.publish(topic="t", payload=b"x", qos=granted[0])
        waiting: Message = client.publish_nowait("t", "text", 2)
        print(waiting.done, waiting.error, client.connected, client.error)
        async for message in client.messages:
            print(message.topic.upper(), message.payload.hex(), message.qos, message.retain)
            message.ack()
        await client.unsubscribe("a", "b/#")
        await client.wait_connected(False)


async def handlers(client: Client) -> None:
    async def obey(message: Message) -> None:
        print(message.payload)

    def note(message: Message) -> None:
        print(message.topic)

    router = Router()
    router.on("a/+", obey)
    router.on("b/#", note)
    handled: bool = await router.handle(Message())
    print(handled, matches("a/+", "a/b"))
    await router.run(client)


async def five() -> None:
    client = Client(
        "broker.local",
        version=5,
        session_expiry=3600,
        properties={"receive_maximum": 4},
        auth=lambda data: data,
    )
    await client.connect()
    await client.publish("t", b"x", 1, message_expiry=60, user_properties=[("a", "b")])
    await client.subscribe("t", no_local=True, subscription_id=3)
    requester = Requester(client)
    answer: Message = await requester.request("lamp/get", b"", timeout=5)
    respond(client, answer, "on").properties.get("reason_string")
    print(client.session.server.get("maximum_qos"), requester.take(answer))
    client.session.reauthenticate()
    await client.disconnect(code=reason.DISCONNECT_WITH_WILL_MESSAGE, session_expiry=60)


def errors(error: Exception) -> str:
    if isinstance(error, (Failed, Disconnected)):
        return reason.text(error.code) if isinstance(error.code, int) else str(error.properties)
    if isinstance(error, Refused):
        return str(error.code)
    if isinstance(error, WifiError):
        return "%d" % error.code
    quiet = (ConnectionLost, OutboxFull, ProtocolError, SessionLost, StoreFull, Expired)
    return "later" if isinstance(error, quiet) else str(isinstance(error, MQTTError))


class FRAM(Store):
    """A store of the user's own."""

    survives = 2

    def read(self) -> dict[int, bytes | bytearray | memoryview]:
        return {}

    def write(self, changes: dict) -> None:  # type: ignore[type-arg]  # as MicroPython's users do
        print(changes)


async def asleep() -> None:
    store = Layered(RTCStore(), Journal("journal", limit=4096))
    client = Client("broker.local", client_id="n", clean=False, store=store, full="oldest")
    wifi = Wifi("ssid", "password", store)
    node = Node(client, period=300, budget=5000, subscribe=(("c/#", 2),), wifi=wifi, status="s")
    node.session.commit(b"state")
    node.publish("t", b"x", qos=2)
    async for command in node.wake(urgent=chip.wake_reason() == "pin"):
        command.ack(b"state")
    left: int = sleep_budget(client.session, 0, node.next_wake())
    state: bytes | None = client.session.committed
    print(node.error, node.waiting(), left, state, store.warning, store.survives)
    node.store.save({16: b"mine", 17: None})
    await node.close()
    node.sleep()


class Wire:
    """A network of the user's own."""

    async def join(self, timeout_ms: int) -> None:
        print(timeout_ms)

    def off(self) -> None: ...


def parts(client: Client) -> None:
    Node(client, 60, wifi=Wire(), jitter=5.5)
    Node(client, 60, wifi=make_wifi({}, client.session.store, Wire()))
    for store in (NVSStore("name", size=2000), RTCStore(1024), FRAM()):
        store.save({16: b""})
    session: Session = sending(durable(expiring()))(print, "id", True)
    session.publish("t")
    codes = Codes([0, 1])
    print(codes.properties, stream.open_stream("host", 1883))
    topic, payload, qos, pid = packet.read_publish(0x30, b"\0\1tx")
    data, end = packet5.read_properties(0x30, b"\0", 0)
    print(topic.upper(), payload.hex(), qos + pid + end, data.keys())


class Application:
    def __init__(self, config: dict[str, str], store: Store, log: Log) -> None:
        self.client = make_client(load() or config, clean=False, store=store or make_store(config))
        self.node = Node(self.client, 300, wifi=make_wifi(config, store))
        ota = make_ota(config)
        if ota and ota.confirm(self.client):
            self.node.sleep(1)
        log("made", config, keep=True)

    async def run(self) -> None:
        feed()
        good(self.client.publish_nowait)
        await watch(self.client)
        end(self.client.error)


def more(guard: Guard, watchdog: Watchdog) -> None:
    try:
        tls = context("ca.der", "cert.der", "key.der", psk=("name", b"key"))
        Client("h", 9001, tls=tls, stream=WebSocket("/mqtt"))
    except CertificateError as e:
        print(e, FrameError, UpgradeError.code, ClockError)
    client = Client("", stream=Serial(None, quiet=50))
    Node(client, 60, wifi=Clock(Wifi("s", "p"), period=60), guard="network")
    ota = Ota("k" * 32, "topic", keep=["ca.der"], secret=None)
    ota.fetch(client)
    large: LargeOta | None = make_ota(load(), LargeOta)

    async def take(message: Message) -> bool:
        return large is not None and await large.receive(message, client)

    report: str | None = ota.take("", b"")
    print(ota.tell(report, client), ota.runs(), verify(ota.key, "text", "00"))
    watchdog.feed()
    LED({"pin": 2, "invert": True}).blink(2)
    print(report, guard.crashes, guard.log.text(), now(), chip.wake_reason())
    run(Application, {"topic": "t"})


async def patterns(node: Node, client: Client, message: Message) -> None:
    once = Once(node.store, within=30)
    why: str | None = Age(60, log=print).refused(message, 1795253429)
    if not why and not once.seen("id"):
        once.done("id", changes={16: b"on", 17: None})
    numbers = Counter(client.session)
    n: int = numbers.next(b"state")
    order = Sequence(node.store)
    if order.check(n) >= 0:
        order.done(n)
    said: Message | None = State(node.publish, node.store).set("t", b"open")
    shadow = Shadow(node.publish, "thing", "name", node.store)
    node.subscribe = shadow.filters
    for name, value in (shadow.take(message) or {}).items():
        shadow.report({name: value}, desired=None, check=True)
    shadow.done({16: b"x"})
    home = HomeAssistant(node, "g/7", "g-7", "Greenhouse", expire(node, 2), model="x")
    home.add("sensor", "temp", device_class="temperature")
    home.announce()
    home.publish("temp", 21.5)
    entity, wanted = home.command(message)
    print(entity, wanted, home.confirm(node.error), said)


async def always_on(message: Message) -> None:
    client = Client("broker.local", client_id="n", will=will("n/state"))
    keeper = Keeper(client, Wifi("ssid", "password"), log=print)
    tasks = [asyncio.create_task(keeper.run())]
    await keeper.up.wait()
    tasks.append(asyncio.create_task(online(client, "n/state")))
    tasks.append(asyncio.create_task(ask(client, ("t/+", 1), get=("t/get",))))
    hello = fields(message.payload).get("hello", "hi")
    tasks.append(asyncio.create_task(at_each(client, lambda: client.publish("t", hello))))
    lamp = rpc.Requester(client, "lamp", "n")
    answer: bytes = await lamp.request("get", timeout=5)
    rpc.respond(client.publish_nowait, message, rpc.method(message))
    watch = Watch(missed=2)
    watch.heard(answer, True, 0.0)
    print(watch.look(1.0), metrics(keeper.wifi)["uptime"], rpc.request_id(message))
    await leave(client, "n/state")


def from_umqtt() -> None:
    c = umqtt.MQTTClient("id", "broker.local", keepalive=30)
    c.set_callback(lambda topic, payload: print(topic.decode(), payload))
    c.set_last_will(b"gone", b"yes", qos=1)
    present: int = c.connect(clean_session=False)
    c.subscribe(b"do", 1)
    c.publish("t", b"x", True, 2)
    c.check_msg()
    r = robust.MQTTClient("id", "broker.local")
    r.DEBUG = True
    r.reconnect()
    print(present)


async def from_mqtt_as() -> None:
    config = dict(mqtt_as.config, server="broker.local", queue_len=1)
    client = mqtt_as.MQTTClient(config)
    await client.connect()
    await client.subscribe("t", 1)
    if client.queue:
        async for topic, payload, retained in client.queue:
            print(topic.decode(), payload, retained)
    await client.publish(b"t", "x", retain=True, qos=1)
    await client.disconnect()


async def large() -> None:
    client = Client("broker.local", client_id="camera", large=True)
    try:
        await client.publish("image", Source("image.jpg"), qos=1)
        with open("image.jpg", "rb") as file:
            await client.publish("image", file)
        await client.publish("image", Source(io.BytesIO, 5))
        async for message in client.messages:
            async for chunk in message.chunks():
                n: int = await message.readinto(bytearray(10))
                print(message.length, len(chunk), n)
    except Incomplete as e:
        print(e)
    except SourceError as e:
        print(e.args[0])

"""A program as users write it: `make lint` checks that the library's types let it pass."""

from dormouse import Client, Message, Will
from dormouse.journal import Journal
from dormouse.rtc import RTCStore
from dormouse.sleep import Node, sleep_budget
from dormouse.store import Layered
from dormouse.wifi import Wifi


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


async def asleep() -> None:
    store = Layered(RTCStore(), Journal("journal", limit=4096))
    client = Client("broker.local", client_id="n", clean=False, store=store, full="oldest")
    wifi = Wifi("ssid", "password", store)
    node = Node(client, period=300, budget=5000, subscribe=(("c/#", 2),), wifi=wifi, status="s")
    node.publish("t", b"x", qos=2)
    async for command in node.wake():
        command.ack(b"state")
    left: int = sleep_budget(client.session, 0, node.next_wake())
    print(node.error, node.waiting(), left, store.warning)
    node.sleep()

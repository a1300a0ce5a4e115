"""A program as users write it: `make lint` checks that the library's types let it pass."""

from dormouse import Client, Message, Will


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

"""aiomqttc."""

import asyncio
import sys

import aiomqttc

TOPIC = "greenhouse/7/temp/in"
PAYLOAD = b"x" * 30
aiomqttc.log = lambda *_: None  # it tells the time, which a unix port has no clock for


async def main(case, port, n):
    client = aiomqttc.MQTTClient("bench", "127.0.0.1", port)
    came = asyncio.Event()
    left = n

    async def message(*_):
        nonlocal left
        left -= 1
        if left <= 0:
            came.set()

    client.on_message = message
    await client.connect()
    if case in ("pub0", "pub1"):
        for _ in range(n):
            assert await client.publish(TOPIC, PAYLOAD, qos=int(case[3])) is not False
    elif case == "pub1x20":
        for _ in range(n // 20):
            await asyncio.gather(*[client.publish(TOPIC, PAYLOAD, qos=1) for _ in range(20)])
    else:
        await client.subscribe("abc")
        if n:
            await came.wait()
    await client.disconnect()


asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))

"""aiomqtt, on CPython."""

import asyncio
import sys

import aiomqtt

TOPIC = "greenhouse/7/temp/in"
PAYLOAD = b"x" * 30


async def main(case, port, n):
    async with aiomqtt.Client("127.0.0.1", port, identifier="bench") as client:
        if case in ("pub0", "pub1"):
            for _ in range(n):
                await client.publish(TOPIC, PAYLOAD, int(case[3]))
        elif case == "pub1x20":
            for _ in range(n // 20):
                await asyncio.gather(*[client.publish(TOPIC, PAYLOAD, 1) for _ in range(20)])
        else:
            await client.subscribe("abc")
            if n:
                async for _ in client.messages:
                    n -= 1
                    if not n:
                        break


asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))

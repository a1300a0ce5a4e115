"""dormouse's Client."""

import asyncio
import sys

from dormouse import Client

TOPIC = "greenhouse/7/temp/in"


async def main(case, port, n):
    client = Client("127.0.0.1", port, client_id="bench")
    await client.connect()
    if case == "pub0":
        for _ in range(n):
            await client.publish(TOPIC, b"x" * 30)
    elif case == "pub1":
        for _ in range(n):
            await client.publish(TOPIC, b"x" * 30, 1)
    elif case == "pub1x20":
        for _ in range(n // 20):
            waiting = [client.publish_nowait(TOPIC, b"x" * 30, 1) for _ in range(19)]
            await client.publish(TOPIC, b"x" * 30, 1)
            assert all(o.done for o in waiting)
    else:
        await client.subscribe("abc")
        if n:
            async for _ in client.messages:
                n -= 1
                if not n:
                    break
    await client.disconnect()


asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))

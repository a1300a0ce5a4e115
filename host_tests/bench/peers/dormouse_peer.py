"""dormouse's Client."""

import asyncio
import sys

from dormouse import Client

TOPIC = "greenhouse/7/temp/in"
PAYLOAD = b"x" * 30


async def main(case, port, n):
    client = Client("127.0.0.1", port, client_id="bench")
    await client.connect()
    if case == "pub0":
        for _ in range(n):
            await client.publish(TOPIC, PAYLOAD)
    elif case == "pub1":
        for _ in range(n):
            await client.publish(TOPIC, PAYLOAD, 1)
    elif case == "pub1x20":
        for _ in range(n // 20):
            waiting = [client.publish_nowait(TOPIC, PAYLOAD, 1) for _ in range(19)]
            await client.publish(TOPIC, PAYLOAD, 1)
            assert all(o.done for o in waiting)
    elif case == "call0":
        for _ in range(n):
            client.publish_nowait(TOPIC, PAYLOAD)
        sys.exit()  # nothing was sent
    elif case == "nowait0":
        for _ in range(n // 20):
            for _ in range(20):
                o = client.publish_nowait(TOPIC, PAYLOAD)
            while not o.done:
                await asyncio.sleep(0)
    else:
        await client.subscribe("abc")
        if n:
            async for _ in client.messages:
                n -= 1
                if not n:
                    break
    await client.disconnect()


asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))

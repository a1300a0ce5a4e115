"""Sends one message that is longer than half of the heap, out of RAM; port, bytes."""

import asyncio
import io
import sys

from dormouse import Client

PORT, SIZE = (int(each) for each in sys.argv[1:3])


async def main():
    client = Client("127.0.0.1", PORT, client_id="sent", large="out")
    data = bytes(SIZE)
    await client.connect()
    await client.publish("up", io.BytesIO(data), qos=1)
    print("sent")
    await client.disconnect()


asyncio.run(main())

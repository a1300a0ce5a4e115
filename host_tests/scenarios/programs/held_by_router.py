"""As held_once.py, by a Router; port, version, bytes.

(Of its own: what a program itself takes of the heap decides whether the longest message of that one
has room, so nothing is shared.)
"""

import asyncio
import sys
from hashlib import sha256

from dormouse import Client
from dormouse.router import Router

PORT, VERSION, SIZE = (int(each) for each in sys.argv[1:4])


async def main():
    limits = {"max_packet": SIZE + 100, "inbox_bytes": SIZE + 400}
    client = Client("127.0.0.1", PORT, client_id="held", version=VERSION, **limits)
    await client.connect()
    await client.subscribe("down", qos=1)
    last = asyncio.Event()

    def got(message):
        kind = type(message.payload).__name__
        print("got", kind, len(message.payload), sha256(message.payload).digest())
        if len(message.payload) < SIZE:
            last.set()

    router = Router()
    router.on("down", got)
    running = asyncio.create_task(router.run(client))
    print("ready")
    await last.wait()
    print("trouble", client.session.troubles)
    await client.disconnect()
    await running


asyncio.run(main())

"""A node with a device shadow on AWS IoT: settings are changed there, and are so after a wake.

It asks for its shadow in each wake, does what is desired, and reports it. AWS IoT wants TLS with a
certificate of the thing (docs/tls.md), and knows no QoS 2. Reads config.json as firmware/main.py
does; client_id is the thing's name.
"""

import asyncio
import json

from dormouse.field.config import load, make_client, make_store, make_wifi
from dormouse.patterns.shadow import Shadow
from dormouse.sleep import Node

SETTINGS = 16  # its key in the store: 16 to 255 are the application's


async def main():
    config = load()
    store = make_store(config)
    client = make_client(config, clean=False, store=store, max_packet=8192, inbox_bytes=16384)
    node = Node(client, config.get("period", 300), wifi=make_wifi(config, store))
    shadow = Shadow(node.publish, config["client_id"], store=store)
    node.subscribe = shadow.filters
    settings = {"fan": 0}
    settings.update(json.loads(bytes(store.data.get(SETTINGS) or b"{}")))
    print("settings", json.dumps(settings))
    shadow.get()  # what was missed; it may be answered in the next wake
    async for message in node.wake():
        for name, value in (shadow.take(message) or {}).items():
            if name in settings:  # whatever else is asked for, it is not this node's
                settings[name] = value
                shadow.report({name: value})
        shadow.done({SETTINGS: json.dumps(settings).encode()})
    if node.error or shadow.error:
        print("error", repr(node.error), shadow.error)
    node.sleep()


asyncio.run(main())

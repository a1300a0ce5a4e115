"""A camera: sends images that are larger than RAM, piece by piece, and none is lost.

The driver of the camera, or another program, puts them into the folder ``images`` (on flash, or on
an SD card): write NAME.part, then rename it to NAME.jpg. Each goes out at QoS 1 to
``topic``/image/NAME.jpg, and is removed when the broker has it. Where the connection is cut in the
middle, it goes again from its first byte; after a reset what is still there goes.

Reads ``config.json`` as firmware/main.py does; "version": 5 in it for MQTT 5.
"""

import asyncio
import gc
import os

from dormouse import MQTTError
from dormouse.field.config import load, make_client, make_wifi
from dormouse.large import Source

FOLDER = "images"

gc.threshold(4096)  # collect often: a small heap stays in one piece (MicroPython: gc.threshold)


async def send(client, topic: str, name: str) -> None:
    """Send one image, and remove it."""
    path = FOLDER + "/" + name
    try:
        await client.publish(topic + "/image/" + name, Source(path), qos=1)
    except MQTTError as e:
        # The file changed under way, or the flash does not read (SourceError); the broker does not
        # take it, at any connection. The next ones are not to wait for it.
        os.rename(path, path + ".bad")
        print("lost", name, repr(e))
    else:
        os.remove(path)
        print("sent", name)


async def main():
    config = load()
    if FOLDER not in os.listdir():
        os.mkdir(FOLDER)
    wifi = make_wifi(config)
    if wifi:
        await wifi.join()
    client = make_client(config, large="out", version=config.get("version", 4))
    client.start()  # and for ever: an outage lasts as long as it lasts
    while True:
        for name in sorted(os.listdir(FOLDER)):
            if name.endswith(".jpg"):
                await send(client, config["topic"], name)
        if config.get("once"):
            break
        await asyncio.sleep(1)
    await client.disconnect()


asyncio.run(main())

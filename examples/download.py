"""Files that are larger than RAM onto the flash, piece by piece, each proved by its SHA-256.

    mosquitto_pub -q 1 -t greenhouse/7/file/song.mp3/$(sha256sum song.mp3 | cut -c-64) -f song.mp3

A file is there when all of it is: it is written beside its place, and takes it when its SHA-256 is
the one in the topic. Where the connection is cut in the middle, the broker sends it again, for the
client keeps its session. ``topic``/saved/NAME tells what came of it.

Reads ``config.json`` as firmware/main.py does; "version": 5 in it for MQTT 5.
"""

import asyncio
import gc
import os
from hashlib import sha256

from dormouse import OutboxFull
from dormouse.field.config import load, make_client, make_wifi
from dormouse.large import Incomplete

FOLDER = "files"

gc.threshold(4096)  # collect often: a small heap stays in one piece (MicroPython: gc.threshold)


async def save(message, name: str, wanted: str) -> bool:
    """Write a file; return whether it is what its sender had. Raises Incomplete, OSError."""
    digest = sha256()
    path = FOLDER + "/" + name
    with open(path + ".part", "wb") as f:
        async for chunk in message.chunks():
            f.write(chunk)
            digest.update(chunk)
    if digest.digest().hex() != wanted:
        os.remove(path + ".part")
        return False
    os.rename(path + ".part", path)
    return True


async def main():
    config = load()
    if FOLDER not in os.listdir():
        os.mkdir(FOLDER)
    wifi = make_wifi(config)
    if wifi:
        await wifi.join()
    client = make_client(config, clean=False, large="in", version=config.get("version", 4))
    client.start()  # and for ever: an outage lasts as long as it lasts
    await client.subscribe(config["topic"] + "/file/#", qos=1)
    print("waiting for files")
    async for message in client.messages:
        name, wanted = message.topic.split("/")[-2:]
        try:
            word = "saved" if await save(message, name, wanted) else "wrong SHA-256"
        except Incomplete as e:
            print("again", name, e)  # it comes again, from its first byte
            continue
        except OSError as e:  # the flash is full, or there is no such name
            word = "failed: %s" % e
        print(word, name, message.length)
        try:
            client.publish_nowait(config["topic"] + "/saved/" + name, word, qos=1)
        except OutboxFull as e:  # nobody is told, and the next file comes all the same
            print("not told", name, repr(e))


asyncio.run(main())

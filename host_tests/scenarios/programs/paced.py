"""Publishes numbers from 10 on, each when the test made a file go<number>; says last: the last."""

import asyncio

from device import client, config, run, say


async def main():
    async with client() as c:
        n = 10
        last = ""
        while not last:
            await c.wait_connected()
            say("ready", n)
            while True:
                try:
                    with open("%s/go%d" % (config["folder"], n)) as f:
                        last = f.read()
                    break
                except OSError:
                    await asyncio.sleep(0.002)
            await c.publish(config["topic"], "%d" % n, config["qos"])
            n += 1
    say("end")


run(main)

"""One wake of a node that only needs the time: sets its clock, says what it shows, sleeps."""

import asyncio
import json
from time import gmtime, time

from dormouse.net.clock import Clock, now
from dormouse.sleep.chip import deepsleep
from dormouse.store import Journal
from machine import RTC

with open("config.json") as f:
    config = json.load(f)


class Network:
    """Joined in no time."""

    fresh = False

    async def join(self, ms):
        print("join", self.fresh)

    def off(self):
        print("off")


async def main():
    store = None
    if "period" in config:
        store = Journal("store")
        store.save({3: bytes((0, config.get("failures", 0), 0))})
    clock = Clock(
        Network(),
        config["ntp"],
        store,
        config.get("period", 0),
        config.get("renew", 0),
        config["port"],
    )
    clock.fresh = config.get("fresh", False)
    if config.get("lie"):  # as a time server did once
        t = gmtime(config["lie"] - now() + int(time()))
        RTC().datetime((t[0], t[1], t[2], t[6], t[3], t[4], t[5], 0))
    print("before", now())
    try:
        await clock.join(config.get("ms", 3000))
    except OSError as e:
        print("raised", type(e).__name__, e)
    print("now", now())
    clock.off()
    deepsleep(300000)


asyncio.run(main())

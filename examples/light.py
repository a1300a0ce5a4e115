"""A node that stays connected and dozes: one TLS handshake for many readings, commands at any time.

Between readings it does as little as the chip can without losing the connection:
    ESP32  modem sleep: the radio listens now and then, the processor waits. (Its light sleep would
           end the Wi-Fi connection: ESP-IDF, Sleep Modes.)
    RP2    light sleep; with Wi-Fi on it returns within 64 ms (MicroPython pull request 17272), so
           it is entered again and again.
Pings join readings that are planned anyway, as long as the keep-alive allows it. docs/tls.md tells
when this draws less than a deep sleep with a handshake in each wake.

Reads ``config.json`` as firmware/main.py does; period (s) is the one of readings.
"""

import asyncio
import json
from time import ticks_add, ticks_diff, ticks_ms

import machine
from dormouse import ConnectionLost
from dormouse.field.config import load, make_client, make_wifi
from dormouse.sleep import sleep_budget

# RTC memory is what an ESP32 has, and an RP2 has not.
LIGHT = not hasattr(machine.RTC, "memory")


def make_network(config: dict):
    """Return what joins the Wi-Fi, its radio listening as seldom as may be, and if certificates are
    to be verified sets the clock; None if there is nothing to do."""
    wifi = make_wifi(config)
    if "wifi" in config:
        import network

        radio = getattr(wifi, "wifi", wifi)  # it may stand behind a Clock
        radio.pm = network.WLAN.PM_POWERSAVE  # type: ignore[union-attr]
    return wifi


async def stay(client, wifi) -> None:
    """Join anew when the network is lost: RP2 does not by itself."""
    while True:
        await client.wait_connected(False)
        try:
            await wifi.join()  # at once if it was only the broker
        except (OSError, RuntimeError) as e:
            print("error", repr(e))
        await asyncio.sleep(1)


async def doze(client, until: int) -> None:
    """Return when ``ticks_ms()`` is at ``until``, having slept as long as the keep-alive allows."""
    session = client.session
    while True:
        left = ticks_diff(until, ticks_ms())
        if left <= 0:
            return
        if client.connected:
            try:
                left = sleep_budget(session, ticks_ms(), left)
            except ConnectionLost:
                pass  # the client finds the same, and connects anew
        # The answer to a ping must not come into the sleep, or the line would seem dead.
        while client.connected and session.asked is not None:
            await asyncio.sleep_ms(10)
        if LIGHT and client.connected:
            machine.lightsleep(left)
            await asyncio.sleep_ms(10)  # what came is read, and answered
        else:
            await asyncio.sleep_ms(min(left, 1000))


async def obey(client) -> None:
    """Take commands, also while the node dozes."""
    async for message in client.messages:
        print("command", message.topic, message.payload)


async def main() -> None:
    config = load()
    wifi = make_network(config)
    if wifi:
        await wifi.join()
    topic = config["topic"]
    client = make_client(config, clean=False, keepalive=config.get("keepalive", 600))
    async with client:
        await client.subscribe((topic + "/do/+", 1))
        tasks = [asyncio.create_task(obey(client))]
        if wifi:
            tasks.append(asyncio.create_task(stay(client, wifi)))
        for n in range(config.get("readings", 1000000000)):
            # Put your own sensors here.
            await client.publish(topic + "/temperature", json.dumps({"n": n}), 1)
            await doze(client, ticks_add(ticks_ms(), int(config.get("period", 60) * 1000)))
        for task in tasks:
            task.cancel()


if __name__ == "__main__":
    asyncio.run(main())

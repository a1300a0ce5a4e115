"""A node on a cable: Ethernet (network.LAN, ESP32), or PPP over a serial line (a modem, a PC).

Nothing of Wi-Fi is loaded. What ``Node`` takes as ``wifi`` is anything with ``async join(ms)`` and
``off()``; here it is a ``Wired``. Without a network at all, MQTT goes over a serial line as it is:
see docs/streams.md. Reads ``config.json`` (docs/install.md), and in it "wired": "lan" or "ppp".
"""

import asyncio
import time

import network
from dormouse.field.config import load, make_client, make_store, make_wifi
from dormouse.sleep import Node


class Wired:
    """An interface that finds its address by itself once it is on.

    ``start`` and ``stop`` are called in turn: turned on again while it connects, PPP raises, and up
    to MicroPython 1.23 LAN does."""

    def __init__(self, nic, start, stop) -> None:
        self.nic = nic
        self.start = start
        self.stop = stop
        self.started = False

    async def join(self, timeout_ms: int = 15000) -> None:
        """Return as soon as the network can be used.

        Raises OSError if that takes too long; then, as after a cancellation, it is off."""
        began = time.time()
        try:
            if not self.started:
                self.start()
                self.started = True
            while not self.nic.isconnected() or self.nic.ifconfig()[0] == "0.0.0.0":
                if (time.time() - began) * 1000 > timeout_ms:
                    raise OSError("no address: cable? DHCP?")
                await asyncio.sleep(0.02)
        except BaseException:
            self.off()
            raise

    def off(self) -> None:
        """Turn it off."""
        if self.started:
            self.started = False
            self.stop()


def lan() -> Wired:
    """Return the Ethernet interface. Put the pins of your board here."""
    from machine import Pin

    pins = {"mdc": Pin(23), "mdio": Pin(18)}
    nic = network.LAN(phy_type=network.PHY_LAN8720, phy_addr=0, **pins)
    # A soft reset leaves it on.
    return Wired(nic, lambda: nic.active() or nic.active(True), lambda: nic.active(False))


def ppp() -> Wired:
    """Return a PPP interface (in the firmware for ESP32).

    A modem has to be told to dial before: see its manual."""
    from machine import UART

    nic = network.PPP(UART(1, 115200, tx=17, rx=16, rxbuf=2048))

    def start():
        nic.active(True)  # type: ignore[attr-defined]  # MicroPython 1.25 and older want it
        nic.connect()

    return Wired(nic, start, lambda: nic.active(False))  # type: ignore[attr-defined]


async def main() -> None:
    config = load()
    store = make_store(config)
    client = make_client(config, clean=False, store=store)
    wired = {"lan": lan, "ppp": ppp}[config["wired"]]()
    topic = config["topic"]
    node = Node(
        client,
        config.get("period", 60),
        config.get("budget", 10000),
        subscribe=((topic + "/cmd", 2),),
        wifi=make_wifi(config, store, wired),
    )
    node.publish(topic + "/boot", node.reason, 2)
    async for command in node.wake():
        print("command", command.payload)
    print("error", repr(node.error))
    node.sleep()


asyncio.run(main())

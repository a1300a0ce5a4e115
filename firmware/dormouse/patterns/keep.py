"""A client that stays connected, and its Wi-Fi: kept, with events for up and down; and metrics.

keeper = Keeper(client, Wifi("my network", "its password"), log=print)
asyncio.create_task(keeper.run())
await keeper.up.wait()
client.publish_nowait("lamp/3/health", json.dumps(metrics(keeper.wifi)))
"""

import asyncio
import gc
import sys
from os import urandom

from micropython import const

if sys.implementation.name == "micropython":
    from asyncio import sleep_ms
    from time import ticks_ms
else:
    from .._host import sleep_ms, ticks_ms

_TICKS = const(0x3FFFFFFF)

_ticks = ticks_ms()
_up = 0


class _Way:
    # A client's way to the broker, which is none while the Wi-Fi is not joined. To look a name up
    # then blocks all tasks: 7 s and more, for ever on RP2 with 1.25 to 1.27 (docs/sleep.md).

    def __init__(self, stream, wlan) -> None:
        self.read = stream.read
        self.write = stream.write
        self._open = stream.open_stream
        self._wlan = wlan

    def open_stream(self, *address):
        if not self._wlan.isconnected():
            raise OSError(113)  # no route
        return self._open(*address)


class Keeper:
    """Joins the Wi-Fi, starts the client, and sees that both stay.

    ``wifi``: what has ``async join(ms=15000)``, as ``net.Wifi``; None: the network is there.
    ``dead``: s without a broker, though the Wi-Fi says that it is joined, until it is joined anew,
    its address too. ``log``: called with words about what happens, such as ``print``, or None.

    ``up``, ``down``: asyncio.Event, set at each connection and each loss of one; yours to clear.
    ``outages``: how many connections were lost.
    """

    outages = 0
    _started = False

    def __init__(self, client, wifi=None, log=None, dead: float = 120) -> None:
        self.client = client
        self.wifi = wifi
        self.dead = dead
        self.log = log or (lambda *words: None)
        self.up = asyncio.Event()
        self.down = asyncio.Event()

    async def run(self) -> None:
        """Keep both, until ``client.disconnect``. A refusal, a wrong password and the like are
        logged and tried again, after up to a minute: somebody may mend it. Run it as a task."""
        client = self.client
        limit = 1000  # ms
        while True:
            try:
                if self.wifi:
                    await self.wifi.join()
                if self._left():  # meanwhile
                    return
                wlan = _wlan(self.wifi)
                if wlan and not isinstance(client.stream, _Way):
                    client.stream = _Way(client.stream, wlan)
                client.start()
                self._started = True
                await asyncio.wait_for(client.wait_connected(), self.dead)
            except asyncio.TimeoutError:
                self._say("no broker:", repr(client.error))
                if self.wifi:
                    self.wifi.fresh = True
                continue
            except Exception as e:  # MemoryError in a scan: whatever it is, it may pass
                if self._left():
                    return
                self._say("no connection:", repr(e))
                arrived = getattr(client, "_arrived", None)
                if arrived and not client._task:  # an attempt that ended: see ``guard.watch``
                    client.error = e
                    arrived.set()
                await sleep_ms(int.from_bytes(urandom(2), "big") * limit >> 16)
                limit = min(limit * 2, 60000)
                continue
            limit = 1000
            self._say("up")
            self.up.set()
            await client.wait_connected(False)
            self.down.set()
            if self._left():
                return
            self.outages += 1
            self._say("down:", repr(client.error))

    def _say(self, *words):
        try:
            self.log(*words)
        except Exception:
            pass  # what cannot be logged is to end nothing

    def _left(self):
        # Whether its owner disconnected it, which leaves no error.
        if self._started and not self.client._task and not self.client.error:
            self._started = False  # to be run again
            return True


def _wlan(wifi):
    # The port's, of a net.Wifi: it may stand behind a Clock. None: something else.
    return getattr(getattr(wifi, "wifi", wifi), "wlan", None)


def metrics(wifi=None) -> dict:
    """Return how the device is: "uptime" (s since the program began; call it once a week at least),
    "heap" (bytes free), "rssi" (dBm) of a ``net.Wifi``; without what cannot be had."""
    global _ticks, _up
    now = ticks_ms()
    _up += now - _ticks & _TICKS
    _ticks = now
    found = {"uptime": _up // 1000}
    if hasattr(gc, "mem_free"):
        gc.collect()
        found["heap"] = gc.mem_free()
    wlan = _wlan(wifi)
    try:
        if wlan:
            found["rssi"] = wlan.status("rssi")
    except (OSError, ValueError, TypeError):
        pass  # not joined, or a port that does not tell
    return found

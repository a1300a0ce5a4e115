"""The watchdog of this boot: where there is progress it is fed, else it resets the chip."""

import sys

from micropython import const

from ..sleep.chip import before, register

if sys.implementation.name == "micropython":
    from time import ticks_ms
else:
    from .._host import ticks_ms

_TICKS = const(0x3FFFFFFF)
_RP2 = const(8000)  # ms; its hardware takes 8,388 at most
_OFTEN = const(2000)  # ms between its feeds
_NEVER = const(0x1FFFFFFF)  # ms, six days, four times which fit into the 32 bits of ESP-IDF's ticks
_CLEAR = const(0x3000)  # RP2: what is written to a register + this clears these bits in it
_ENABLE = const(0x40000000)  # in CTRL, the watchdog's first register

_this = None  # the Watchdog of this boot, if any


class Watchdog:
    """Resets the chip if ``feed`` was not called for ``limit`` s: feed it where there is progress,
    not by a timer.

    ESP32: ``machine.WDT``. A second one sets the time anew (ports/esp32/machine_wdt.c). RP2's
    takes 8.4 s at most, less than a name lookup may block, so a Timer feeds it while the last
    ``feed`` is less than ``limit`` ago; a second one starts the time anew (watchdog_enable).
    The newest is the one that ``feed()`` of this module feeds.
    """

    def __init__(self, limit: float) -> None:
        global _this
        import machine

        _this = self
        self.limit = int(limit * 1000)
        self.timer = None
        self.fed = ticks_ms()
        before.append(self.release)
        if hasattr(machine, "DEEPSLEEP_RESET"):
            self.wdt = machine.WDT(timeout=self.limit)
            return
        self.wdt = machine.WDT(timeout=_RP2)
        try:
            # In the interrupt, for a TLS handshake computes for seconds.
            self.timer = machine.Timer(-1, period=_OFTEN, callback=self._tick, hard=True)
        except TypeError:  # before MicroPython 1.26
            self.timer = machine.Timer(-1, period=_OFTEN, callback=self._tick)

    def feed(self) -> None:
        """There was progress."""
        self.fed = ticks_ms()
        if not self.timer:
            self.wdt.feed()

    def release(self) -> None:
        """Stop it, for a person or a sleep: RP2 for good (its Timer ends with the program, and its
        sleep with a Timer), ESP32's for six days."""
        import machine

        if self.timer:
            self.timer.deinit()
            machine.mem32[register(_CLEAR)] = _ENABLE
        else:
            machine.WDT(timeout=_NEVER)

    def _tick(self, timer):
        if ticks_ms() - self.fed & _TICKS < self.limit:
            self.wdt.feed()


def feed() -> None:
    """There was progress: not before ``limit`` s from now will the watchdog reset the chip."""
    if _this:
        _this.feed()


def at_least(limit: float) -> bool:
    """Give the watchdog, if there is one, ``limit`` s or more. Returns whether there is one."""
    if _this and _this.limit < limit * 1000:
        Watchdog(limit)
    return bool(_this)

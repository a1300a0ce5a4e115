"""Why the chip started, and how it is put to sleep: what ESP32 and RP2 do differently.

RP2's watchdog register REASON tells a hang (TIMER, its time was over) from an order (FORCE):
``machine.reset`` and the end of ``machine.deepsleep`` are ``watchdog_reboot(0, SRAM_END, 0)``
(ports/rp2/modmachine.c), which for a delay of 0 sets CTRL's TRIGGER (pico-sdk 2.2,
hardware_watchdog/watchdog.c); after power-on and the RUN pin it is 0 (regs/watchdog.h).
"""

import sys

from micropython import const

if sys.implementation.name == "micropython":
    from time import ticks_ms
else:
    from .._host import ticks_ms

_REASON = const(0x08)  # RP2's watchdog: offset of a register
_LONGEST = const(0x7FFFFFFF)  # ms that ESP32's machine.deepsleep takes: a C int
_RP2 = const(4294966)  # ms that RP2's takes
_ARMED = const(0x20)  # RP2's timer: each 1 that is written disarms one of its four alarms
_USB = const(0x50110000)  # RP2's ADDR_ENDP (usb.h): bits 0 to 6 are the address that a host gave
_TICKS = const(0x3FFFFFFF)

# What is called, without arguments, before the chip sleeps or a person takes over: it stops what
# would go on without the program, or wake the chip again. A Timer's interrupt ends RP2's sleep.
before = []


def register(offset: int, rp2040: int = 0x40058000, rp2350: int = 0x400D8000) -> int:
    """Return the address of a register of RP2's watchdog, or of what has these bases (addressmap.h
    of pico-sdk)."""
    return (rp2350 if "RP2350" in getattr(sys.implementation, "_machine", "") else rp2040) + offset


def wake_reason() -> str:
    """Return why the chip started: "timer" or "pin" after deep sleep, else "power", "watchdog" (it
    hung) or "reset". RP2 cannot tell the end of a deep sleep from a reset: "reset". (After a soft
    reset ESP32 says "reset", RP2 once more what the reset before was.)"""
    import machine

    cause = machine.reset_cause()
    if cause == machine.PWRON_RESET:
        return "power"
    if not hasattr(machine, "DEEPSLEEP_RESET"):
        return "watchdog" if machine.mem32[register(_REASON)] == 1 else "reset"
    if cause == machine.DEEPSLEEP_RESET:
        woken_by = machine.wake_reason()  # type: ignore[attr-defined]  # not on RP2
        return "timer" if woken_by == machine.TIMER_WAKE else "pin"  # type: ignore[attr-defined]
    return "watchdog" if cause == machine.WDT_RESET else "reset"


def release() -> None:
    """Stop the watchdog, and what else would put the chip to sleep or reset it."""
    while before:
        try:
            before.pop()()
        except Exception as e:  # no memory, say: the chip has to get to sleep
            print(repr(e))


def deepsleep(ms: int) -> None:
    """Sleep deeply, as long as the chip can and for ``ms`` at most. On a chip it does not return.

    Turn RP2's radio off before: with something to be read from it, it does not sleep."""
    import machine

    release()
    if hasattr(machine, "DEEPSLEEP_RESET"):
        ms = min(ms, _LONGEST)
    else:
        # A sleep of 1 ms is a wait, which MicroPython's own alarms end: disarmed, none does.
        ms = max(2, min(int(ms), _RP2))
        # RP2 sleeps until any interrupt, and resets. On a USB host each of USB's ends it (from 1.24
        # on, modmachine.c): then it sleeps lightly until it is time. Ctrl-C ends that.
        if machine.mem32[_USB] & 0x7F:
            left = ms
            began = ticks_ms()
            while left > 1:
                _disarm(machine.mem32)
                machine.lightsleep(left)
                left = ms - (ticks_ms() - began & _TICKS)
            machine.reset()
        _disarm(machine.mem32)
    machine.deepsleep(ms)


def _disarm(mem32):
    # MicroPython 1.24 and 1.25 have an alarm for lwIP every 64 ms (issue 16181). From 1.26 on those
    # of Timers that were stopped, and of waits cut short, are still set (pico-sdk,
    # pico_time/time.c: a cancel disarms none).
    mem32[register(_ARMED, 0x40054000, 0x400B0000)] = 15

"""Why the chip started, and how it is put to sleep: what ESP32 and RP2 do differently.

RP2's watchdog register REASON tells a hang (TIMER, its time was over) from an order (FORCE):
``machine.reset`` and the end of ``machine.deepsleep`` are ``watchdog_reboot(0, SRAM_END, 0)``
(ports/rp2/modmachine.c), which for a delay of 0 sets CTRL's TRIGGER (pico-sdk 2.2,
hardware_watchdog/watchdog.c); after power-on and the RUN pin it is 0 (regs/watchdog.h).
"""

import sys

from micropython import const

_REASON = const(0x08)  # RP2's watchdog: offset of a register
_LONGEST = const(0x7FFFFFFF)  # ms that ESP32's machine.deepsleep takes: a C int
_RP2 = const(4294966)  # ms that RP2's takes
_ICER = const(0xE000E180)  # ARM's interrupt controller: a 1 turns an interrupt off
_TIMER2 = const(4)  # TIMER_IRQ_2 in it, on RP2040 and RP2350 (pico-sdk, intctrl.h)

# What is called, without arguments, before the chip sleeps or a person takes over: it stops what
# would go on without the program, or wake the chip again. A Timer's interrupt ends RP2's sleep.
before = []


def register(offset: int) -> int:
    """Return the address of a register of RP2's watchdog (addressmap.h of pico-sdk)."""
    # RP2350's base, or RP2040's.
    two = "RP2350" in getattr(sys.implementation, "_machine", "")
    return (0x400D8000 if two else 0x40058000) + offset


def wake_reason() -> str:
    """Return why the chip started: "timer" or "pin" after deep sleep, else "power", "watchdog" (it
    hung) or "reset". RP2 cannot tell the end of a deep sleep from a reset: "reset". (After
    a soft reset it says once more what the reset before was.)"""
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
        before.pop()()


def deepsleep(ms: int) -> None:
    """Sleep deeply, as long as the chip can and for ``ms`` at most. On a chip it does not return.

    Turn RP2's radio off before: with something to be read from it, it does not sleep."""
    import machine

    release()
    if hasattr(machine, "DEEPSLEEP_RESET"):
        ms = min(ms, _LONGEST)
    else:
        # MicroPython 1.24 and 1.25 keep a timer for lwIP that would end the sleep after 64 ms at
        # most (issue 16181). With it off a sleep of 1 ms, which is a wait, would have no end.
        ms = max(2, min(ms, _RP2))
        if "RISCV" not in getattr(sys.implementation, "_machine", ""):
            machine.mem32[_ICER] = _TIMER2
    machine.deepsleep(ms)

"""machine of the simulated board: the chip's names, on top of MicroPython unix's own module.

Signatures and values: https://docs.micropython.org/en/latest/library/machine.html and, in the
MicroPython repository, ports/esp32/modmachine.c, machine_rtc.c, machine_timer.c, machine_wdt.c and
the files of the same names in ports/rp2.
"""

import sys

try:
    from umachine import *  # noqa: F403 - what unix has: idle, mem8, Signal ...
except ImportError:  # CPython

    def idle():
        _board.sleep(0)


import _thread
import json

import _board
from _board import MICROPYTHON, state, ticks_diff, ticks_ms

_ESP32 = state.esp32

PWRON_RESET = 1
WDT_RESET = 3
if _ESP32:
    HARD_RESET = 2
    DEEPSLEEP_RESET = 4
    SOFT_RESET = 5
    SLEEP = 1
    DEEPSLEEP = 2
    # ESP-IDF's esp_sleep_source_t
    PIN_WAKE = EXT0_WAKE = 2
    EXT1_WAKE = 3
    TIMER_WAKE = 4
    TOUCHPAD_WAKE = 5
    ULP_WAKE = 6

# --- sleep and reset


def deepsleep(*ms):
    """Sleep, for ms or until a pin wakes; then the board starts anew. Does not return. On RP2 it is
    lightsleep(), and then reset()."""
    _board.end("deepsleep", _early(_sleep_ms(ms)))


def lightsleep(*ms):
    """Sleep for ms; everything is as before then."""
    ms = _early(_sleep_ms(ms))
    network = sys.modules.get("network")
    if not _ESP32 and network and network._radio.powered:
        ms = min(64, ms or 64)  # its chip has something to say, or lwIP (pull request 17272)
    if ms is None:
        raise NotImplementedError("the simulated board has no pin that ends a light sleep")
    before = ticks_ms()
    _board.sleep(ms / 1000)
    state.light_ms += ticks_diff(ticks_ms(), before)
    state.wake = "timer"


def _early(ms):
    """RP2: when the sleep ends: __wfi() returns with any interrupt (ports/rp2/modmachine.c).

    So with any alarm of the timer that is armed: of Timers, also of stopped ones (pico-sdk,
    pico_time/time.c, in MicroPython 1.26 and later), and lwIP's, every 64 ms (issue 16181, in 1.24
    and 1.25). And from 1.24 on with one of USB, whose clock goes on while a host has set it up.
    """
    if _ESP32:
        return ms
    ends = [left for left in (ticks_diff(due, ticks_ms()) for due in _armed) if left > 0]
    if not _disarmed and (1, 24) <= state.version < (1, 26):
        ends.append(64)
    if state.config["usb"] and state.version >= (1, 24):
        ends.append(state.config["usb"])
    if ms is not None:
        ends.append(ms)
    return min(ends) if ends else None


def _sleep_ms(args):
    if len(args) > 1:
        raise TypeError("one argument at most")
    if not args:
        return None
    ms = args[0]
    if not isinstance(ms, int):  # as mp_obj_get_int: 1.5 * 1000 is a mistake on a chip
        raise TypeError("can't convert %s to int" % type(ms).__name__)
    if not _ESP32 and ms >= (1 << 32) // 1000:
        raise ValueError("sleep too long")
    return max(ms, 0)


def reset():
    _board.end("reset")


def soft_reset():
    """End the program, its ``finally`` clauses run, and start it again."""
    raise SystemExit


def reset_cause():
    if _ESP32:
        return {"power": 1, "reset": 2, "wdt": 3, "deepsleep": 4, "soft_reset": 5}[state.cause]
    # watchdog_caused_reboot: reset() and deepsleep() end in a watchdog reset, a soft reset does not
    return PWRON_RESET if state.hard_cause == "power" else WDT_RESET


if _ESP32:

    def wake_reason():
        return {None: 0, "timer": TIMER_WAKE, "ext0": EXT0_WAKE, "ext1": EXT1_WAKE}[state.wake]


# --- the chip


def unique_id():
    import binascii

    size = 6 if _ESP32 else 8
    text = state.config["unique_id"]
    if text is None:
        text = "%08x" % (binascii.crc32(state.folder.encode()) & 0xFFFFFFFF)
    return binascii.unhexlify(("0" * 2 * size + text)[-2 * size :])


_freq = 160000000 if _ESP32 else 125000000


def freq(hz=None):
    global _freq
    if hz is None:
        return _freq
    if _ESP32 and hz // 1000000 not in (20, 40, 80, 160, 240):
        raise ValueError("frequency must be 20MHz, 40MHz, 80Mhz, 160MHz or 240MHz")
    _freq = hz


class RTC:
    """The clock, and on ESP32 the 2,048 bytes that survive all but a loss of power."""

    def datetime(self, date=None):
        """(year, month, day, weekday, hour, minute, second, us on ESP32 else 0)"""
        if date is None:
            ns = _board.clock_ns()
            t = _gmtime(ns // 1000000000)
            return t[:3] + (t[6],) + t[3:6] + (ns // 1000 % 1000000 if _ESP32 else 0,)
        year, month, day, _, hour, minute, second, us = date
        self._set(year, month, day, hour, minute, second, us if _ESP32 else 0)

    def _set(self, year, month, day, hour, minute, second, us):
        s = _board.seconds(year, month, day, hour, minute, second)
        _board.set_clock((s * 1000000 + us) * 1000)

    if _ESP32:

        def init(self, date):
            year, month, day, hour, minute, second, _, us = date
            self._set(year, month, day, hour, minute, second, us)

        def memory(self, data=None):
            if data is None:
                try:
                    with open(_board.path("rtc.bin"), "rb") as f:
                        content = f.read()
                except OSError:
                    return b""
                return content[2 : 2 + content[0] + content[1] * 256]
            data = bytes(data) if not isinstance(data, str) else data.encode()
            if len(data) > 2048:
                raise ValueError("buffer too long")
            try:
                f = open(_board.path("rtc.bin"), "r+b")
            except OSError:
                f = open(_board.path("rtc.bin"), "wb")
            with f:
                f.write(bytes((len(data) & 255, len(data) >> 8)) + data)


if MICROPYTHON:
    from utime import gmtime as _gmtime
else:
    from datetime import datetime as _datetime
    from datetime import timezone as _timezone

    def _gmtime(s):
        return tuple(_datetime.fromtimestamp(s, _timezone.utc).timetuple())


class Pin:
    """A pin that reads what pins.json in the board's folder holds ({"4": 1}), or what was set.

    Each change of an output is a line in pins.jsonl: {"boot": 1, "ms": 120, "pin": 2, "value": 1},
    ms since the boot began.
    """

    if _ESP32:
        IN, OUT, OPEN_DRAIN = 1, 3, 7
        PULL_DOWN, PULL_UP = 1, 2
        IRQ_RISING, IRQ_FALLING = 1, 2
    else:
        IN, OUT, OPEN_DRAIN = 0, 1, 2
        PULL_UP, PULL_DOWN = 1, 2
        IRQ_FALLING, IRQ_RISING = 4, 8

    def __init__(self, id, mode=-1, pull=-1, *, value=None, **options):
        self.id = id
        self.mode = mode
        self._value = None
        if value is not None:
            self.value(value)

    def value(self, x=None):
        if x is not None:
            x = int(bool(x))
            if self.mode == self.OUT and x != self._value:
                ms = ticks_diff(ticks_ms(), state.started)
                line = {"boot": state.boot, "ms": ms, "pin": self.id, "value": x}
                with open(_board.path("pins.jsonl"), "a") as f:
                    f.write(json.dumps(line) + "\n")
            self._value = x
        elif self._value is not None:
            return self._value
        else:
            return _board.load("pins.json", {}).get(str(self.id), 0)

    __call__ = value

    def on(self):
        self.value(1)

    def off(self):
        self.value(0)


# What is in _parts.py costs nothing until it is used.
PARTS = ("ADC", "PWM", "I2C", "SoftI2C", "SPI", "SoftSPI")


def __getattr__(name):
    if name in PARTS:
        import _parts

        return getattr(_parts, name)
    raise AttributeError(name)


class UART:
    """The serial line: the terminal that board.json names. Not blocking, as with a timeout of 0.

    On CPython it is a pair of StreamReader and StreamWriter, as ``net.serial`` takes it there;
    it is made where asyncio runs.
    """

    def __new__(cls, id, baudrate=9600, **options):
        path = state.config["uart"]
        if path is None:
            raise ValueError("UART(%s) doesn't exist: board.json has no uart" % id)
        return _terminal(path)


if MICROPYTHON:

    def _terminal(path):
        # O_RDWR | O_NOCTTY | O_NONBLOCK
        return open(_board._libc.func("i", "open", "si")(path, 0o4402), "r+b", 0)

else:

    def _terminal(path):
        import asyncio
        import os

        fd = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader()

        def readable():
            try:
                data = os.read(fd, 4096)
            except BlockingIOError:
                return
            reader.feed_data(data)

        loop.add_reader(fd, readable)
        return reader, _Writer(fd)

    class _Writer:
        """As much of a StreamWriter as is needed."""

        def __init__(self, fd):
            self.fd = fd
            self.rest = b""

        def write(self, data):
            self.rest += data

        async def drain(self):
            import asyncio
            import os

            while self.rest:
                try:
                    self.rest = self.rest[os.write(self.fd, self.rest) :]
                except BlockingIOError:
                    await asyncio.sleep(0.001)


# --- what comes while the program runs


class _Call:
    """A callback that runs once: in the main thread, as on a chip; or, while that is blocked in C,
    in the timer's thread, and then the main thread stands still until it is through. (On
    MicroPython from its next jump on, which is where the interpreter looks for such calls.)"""

    def __init__(self, callback, arg):
        self.callback = callback
        self.arg = arg
        self.lock = _thread.allocate_lock()
        self.taken = False
        self.over = False

    def take(self):
        with self.lock:
            mine = not self.taken
            self.taken = True
        if mine:
            try:
                self.callback(self.arg)
            except Exception as error:
                _print_exception(error)
            self.over = True
        return mine

    def in_main(self, _=None):
        if not self.take():
            while not self.over:
                _board.sleep(0.001)

    def in_thread(self):
        try:
            _schedule(self.in_main)
        except RuntimeError:
            return  # the queue is full: a chip drops it, too
        asleep = 0
        while not self.taken:
            _board.sleep(0.002)
            if state.config["timer"] == "always":
                asleep = asleep + 1 if _main_sleeps() else 0
                if asleep == 5:
                    self.take()


def _main_sleeps():
    # proc(5): the state comes after the name, which is in brackets
    with open("/proc/self/stat", "rb") as f:
        return f.read().rsplit(b") ", 1)[1][:1] == b"S"


if MICROPYTHON:
    import micropython

    _print_exception = sys.print_exception

    def _schedule(function):
        micropython.schedule(function, None)

else:
    import signal
    import threading
    import traceback

    _print_exception = traceback.print_exception
    _due = []

    def _run_due(*_):
        while _due:
            _due.pop(0)()

    def _schedule(function):
        _due.append(function)
        signal.pthread_kill(threading.main_thread().ident, signal.SIGUSR1)

    signal.signal(signal.SIGUSR1, _run_due)


_armed = []  # ticks at which RP2's alarms are due
_disarmed = []  # not empty: lwIP's too


class Timer:
    """A virtual timer (id -1), or on ESP32 one of four: each object its own, here."""

    ONE_SHOT = 0
    PERIODIC = 1

    def __init__(self, id=-1, **options):
        if id != -1 and not _ESP32:  # ESP32 takes two bits of it, whatever it is
            raise ValueError("Timer doesn't exist")
        self._run = self.due = None
        if options:
            self.init(**options)

    def init(self, *, mode=1, callback=None, period=0xFFFFFFFF, tick_hz=1000, freq=None, hard=None):
        if hard is not None and state.version < ((1, 27) if _ESP32 else (1, 26)):
            raise TypeError("extra keyword arguments given")
        if hard and _ESP32:
            raise ValueError("hard Timers are not implemented")
        us = 1000000 / freq if freq is not None else period * 1000000 // tick_hz
        self.due = ticks_ms() + int(us / 1000)
        self._arm()
        self._run = run = [callback]  # a new object: the thread of an earlier init sees it and ends
        _thread.start_new_thread(self._wait, (run, us / 1000, mode))

    def deinit(self):
        self._run = None
        if self.due in _armed and state.version < (1, 26):
            _armed.remove(self.due)

    def _arm(self):
        if not _ESP32:
            _armed[:] = [due for due in _armed if ticks_diff(due, ticks_ms()) > 0] + [self.due]

    def _wait(self, run, period, mode):
        began = ticks_ms()
        due = period
        while True:
            left = due - ticks_diff(ticks_ms(), began)
            if left > 0:
                _board.sleep(left / 1000)
            if self._run is not run:
                return
            if mode == self.ONE_SHOT:
                self.deinit()
            else:
                self.due += int(period)
                self._arm()
            if run[0]:
                _Call(run[0], self).in_thread()
            if mode == self.ONE_SHOT:
                return
            due += period


class WDT:
    """The watchdog: one, and once started it cannot be stopped, but on RP2 by its register.

    A second one sets the time anew, and begins with it: esp_task_wdt_reconfigure in
    ports/esp32/machine_wdt.c, watchdog_enable in ports/rp2/machine_wdt.c.
    """

    _fed = 0
    _run = None  # of the thread that watches; that of another WDT sees it and ends

    def __init__(self, id=0, timeout=5000):
        if id != 0:
            raise ValueError("WDT(%s) doesn't exist" % id)
        if _ESP32 and timeout <= 0:
            raise ValueError("WDT timeout too short")
        if not _ESP32 and timeout > 8388:
            raise ValueError("timeout exceeds 8388")
        self.feed()
        WDT._run = run = [timeout]
        _thread.start_new_thread(_watch, (run,))

    def feed(self):
        WDT._fed = ticks_ms()


def _watch(run):
    while WDT._run is run:
        left = run[0] - ticks_diff(ticks_ms(), WDT._fed)
        if left <= 0:
            _board.end("wdt")
        _board.sleep(left / 1000)


class _Mem32:
    """Of RP2040's registers the watchdog's, base 0x40058000: src/rp2040/hardware_regs/include/
    hardware/regs/addressmap.h and watchdog.h in the pico-sdk. ARMED of the timer, base 0x40054000:
    timer.h. And ADDR_ENDP of USB, base 0x50110000, usb.h: the address that a host has given."""

    def __getitem__(self, address):
        if not _ESP32 and address == 0x40058008:  # REASON: bit 0 TIMER, bit 1 FORCE
            # deepsleep() ends in reset(): watchdog_reboot(0, SRAM_END, 0), ports/rp2/modmachine.c,
            # which sets CTRL's TRIGGER (hardware_watchdog/watchdog.c), the forced reset.
            return {"power": 0, "wdt": 1}.get(state.hard_cause, 2)
        if not _ESP32 and address == 0x50110000:
            return 5 if state.config["usb"] else 0
        raise NotImplementedError("the simulated board has no register at 0x%x" % address)

    def __setitem__(self, address, value):
        if not _ESP32 and address == 0x40054020 and value == 15:
            _armed.clear()
            _disarmed.append(True)
            return
        # CTRL + 0x3000 clears bits (hw_clear_bits); bit 30 is ENABLE, as in watchdog_disable().
        if _ESP32 or address != 0x4005B000 or value != 1 << 30:
            raise NotImplementedError("the simulated board has no register at 0x%x" % address)
        WDT._run = None


mem32 = _Mem32()

"""What the simulated board's modules share: its folder, its clock, how a boot ends.

In the board's folder:
    board.json   the configuration (all keys are in DEFAULTS); may be missing
    flash.img    the flash, a littlefs (MicroPython); flash/ (CPython: a plain folder)
    put/         files that go onto the flash at the next boot
    rtc.bin      RTC memory: two bytes of length, content; gone with the power
    radio.json   the network's state from a soft reset on (network.py)
    nvs/         a file for each committed NVS entry
    boot.json    how the last boot ended; without it the next boot is a power-on
    world        ns by which the board's world is ahead of the real clock: the sleep skipped
    boots.jsonl  a line for each boot that ended by itself
    boots        the number of the last boot
"""

import json
import os
import sys

MICROPYTHON = sys.implementation.name == "micropython"
_START = os.getcwd()
if MICROPYTHON:
    import ffi
    import utime

    _libc = ffi.open(None)
    _real_ns = utime.time_ns
    ticks_ms = utime.ticks_ms
    ticks_diff = utime.ticks_diff
    sleep = utime.sleep
else:
    import time

    _real_ns = time.time_ns  # board.py puts the board's own clock in their place
    sleep = time.sleep

    def ticks_ms():
        return time.monotonic_ns() // 1000000

    def ticks_diff(a, b):
        return a - b


DEFAULTS = {
    "type": "esp32",  # or rp2
    "version": "1.25",  # of MicroPython: where versions differ, this one is simulated
    "flash": 65536,  # bytes
    "block": 4096,  # bytes that are erased together
    "fs": "littlefs",  # fat: a card with FAT, whose sectors are written whole or not at all
    "nvs": 24576,  # bytes
    "clock": "lost",  # without power; kept: as with a battery
    "drift_ppm": 0,  # a sleep of 1,000,000 ms takes this much longer than the chip believes
    "unique_id": None,  # hex; None: made from the folder's name
    "uart": None,  # path of the terminal that stands for the serial line
    "usb": 0,  # RP2: ms until an interrupt of the USB host that it hangs on; 0: there is none
    "timer": "always",  # vm: a callback waits while the interpreter is blocked (getaddrinfo)
}
# Where the clock starts. ESP32: system time 0, which MicroPython there calls 2000-01-01; RP2:
# ports/rp2/main.c sets 2021-01-01 at each start but a soft reset.
STARTS = {"esp32": 946684800, "rp2": 1609459200}
# time.time() is 0 at: MICROPY_EPOCH_IS_1970 in ports/rp2/mpconfigport.h, not so on ESP32.
EPOCHS = {"esp32": 946684800, "rp2": 0}

at_soft_reset = []  # called then: what keeps something that outlives it

SURVIVES = ("deepsleep", "reset", "soft_reset", "wdt")  # ends of a boot that are no power loss


class state:
    """The one board of this process."""

    folder = None
    config = None
    esp32 = True
    version = ()
    cause = "power"  # how the boot before ended
    hard_cause = "power"  # the same, soft resets not counted: RP2's reset_cause
    wake = None  # timer, ext0, ext1: what ended the deep sleep, or the last light sleep
    pins = None  # ext0 or ext1, when a pin may wake
    skipped = 0  # ns: world clock - real clock
    lag = 0  # ns: world clock - board's clock
    started = 0  # ticks
    main = 0  # ticks
    light_ms = 0
    live = False  # board.py goes on by itself after sleep and reset
    fast = False
    dies_after = None  # bytes programmed
    written = 0
    writes = 0
    erases = 0
    boot = 0
    ended = False


def path(name):
    return state.folder + "/" + name


def load(name, default=None):
    """Return a JSON file of the board's folder, or the default if there is none."""
    try:
        with open(path(name)) as f:
            return json.load(f)
    except OSError:
        return default


def replace(name, data):
    """Write a file of the board's folder so that it is there whole or not at all."""
    with open(path(name + ".new"), "wb") as f:
        f.write(data)
    os.rename(path(name + ".new"), path(name))


def remove(name):
    try:
        os.remove(path(name))
    except OSError:
        pass


# --- the clock


def world_ns():
    return _real_ns() + state.skipped


def clock_ns():
    """Return what the board's clock shows, in ns since 1970."""
    return _real_ns() + state.skipped - state.lag


def set_clock(ns):
    state.lag = world_ns() - ns


def seconds(year, month, day, hour, minute, second):
    """Return the s since 1970 of a date without a time zone."""
    year -= month < 3
    month = (month + 9) % 12  # from March on, so that the odd day is the last
    leap = year // 4 - year // 100 + year // 400
    days = 365 * year + leap + (153 * month + 2) // 5 + day - 719469
    return days * 86400 + hour * 3600 + minute * 60 + second


# --- begin and end of a boot


def configure(folder, version=None):
    """Take the folder, and the configuration in it; version: in place of the one there."""
    state.started = ticks_ms()
    state.folder = folder
    state.config = dict(DEFAULTS)
    config = load("board.json", {})
    for key in config:
        if key not in DEFAULTS:
            raise ValueError("board.json: unknown key " + key)
    state.config.update(config)
    if version:
        state.config["version"] = version
    if state.config["type"] not in STARTS:
        raise ValueError("board.json: unknown type")
    state.esp32 = state.config["type"] == "esp32"
    state.version = tuple(int(part) for part in state.config["version"].split("."))


def begin(wake, after_ms):
    """Power comes, or goes on. wake: what ends a deep sleep; after_ms: when, if not as planned."""
    state.skipped = load("world", 0)
    last = load("boot.json")
    remove("boot.json")  # from here on only an orderly end is no power loss
    last = last or {"cause": "power", "hard_cause": "power", "lag": 0, "boot": load("boots", 0)}
    state.cause = cause = last["cause"]
    state.hard_cause = last["hard_cause"]
    state.boot = last["boot"] + 1
    replace("boots", str(state.boot).encode())
    state.lag = last["lag"]
    if cause == "deepsleep":
        _woken(last, wake, after_ms)
    elif cause == "soft_reset":
        state.wake = last["wake"]
    if cause == "power":
        remove("rtc.bin")
    if cause != "soft_reset":
        remove("radio.json")
    if cause == "power" or (not state.esp32 and cause != "soft_reset"):
        if state.config["clock"] == "lost":
            set_clock(STARTS[state.config["type"]] * 1000000000)
        else:
            state.lag = 0


def _woken(last, wake, after_ms):
    # The world's clock goes on as if the chip had slept.
    ppm = 0
    if after_ms is None and last["sleep_ms"] is not None:
        after_ms = last["sleep_ms"]
        ppm = state.config["drift_ppm"]
    if after_ms is not None:
        slept = after_ms * 1000000
        drift = slept // 1000000 * ppm
        state.skipped = last["at"] + slept + drift - _real_ns()
        state.lag += drift
        replace("world", str(state.skipped).encode())
    state.wake = last["pins"] if wake == "pin" else "timer"


def _record(reason, sleep_ms=None):
    now = ticks_ms()
    line = {
        "boot": state.boot,
        "cause": state.cause,
        "wake": state.wake,
        "reason": reason,
        "sleep_ms": sleep_ms,
        "pins": state.pins,
        "awake_ms": ticks_diff(now, state.started) - state.light_ms,
        "main_ms": ticks_diff(now, state.main) - state.light_ms if state.main else 0,
        "light_ms": state.light_ms,
        "flash": {"written": state.written, "writes": state.writes, "erases": state.erases},
        "clock": clock_ns() // 1000000,
    }
    with open(path("boots.jsonl"), "a") as f:
        f.write(json.dumps(line) + "\n")


def end(reason, sleep_ms=None, status=0):
    """End this boot, for any of its threads. Does not return."""
    if state.ended:  # another thread was first, and will end the process
        while True:
            sleep(1)
    state.ended = True
    if reason == "soft_reset":
        for keep in at_soft_reset:
            keep()
    at = world_ns()
    _record(reason, sleep_ms)
    if reason in SURVIVES:
        last = {
            "cause": reason,
            "hard_cause": state.hard_cause if reason == "soft_reset" else reason,
            "boot": state.boot,
            "lag": state.lag,
            "at": at,
            "sleep_ms": sleep_ms,
            "pins": state.pins,
            "wake": state.wake,
        }
        replace("boot.json", json.dumps(last).encode())
        if state.live:
            _again(sleep_ms)
    _exit(status)


def _exit(status):
    # At once, as a chip: no finally, no atexit.
    if MICROPYTHON:
        _libc.func("v", "_exit", "i")(status)
    sys.stdout.flush()
    os._exit(status)


def _again(sleep_ms):
    # The next boot, in the same process: as for a user who started the board by hand.
    try:
        if sleep_ms and not state.fast:
            sleep(sleep_ms / 1000)
    except KeyboardInterrupt:
        _exit(130)
    with open("/proc/self/cmdline", "rb") as f:
        line = f.read().split(b"\0")[:-1]
    if not MICROPYTHON:
        sys.stdout.flush()
        os.chdir(_START)  # paths on the command line may be relative
        os.execv("/proc/self/exe", line)
    import array

    import uctypes

    line = [bytearray(word + b"\0") for word in line]
    argv = array.array("L", [uctypes.addressof(word) for word in line] + [0])
    close = _libc.func("i", "close", "i")
    for fd in range(3, 256):  # a connection must not outlive the boot
        close(fd)
    _libc.func("i", "execv", "sp")("/proc/self/exe", uctypes.addressof(argv))


# --- wear, and a power cut in the middle of a write


def spend(n):
    """Return how many of the next n bytes programmed still reach the flash; then ``dead``."""
    limit = state.dies_after
    state.writes += 1
    if limit is not None and state.written + n > limit:
        n = limit - state.written
    state.written += n
    return n


def dead():
    """The power is gone, in the middle of a write."""
    _record("flash_died")
    if MICROPYTHON:
        _libc.func("i", "kill", "ii")(_libc.func("i", "getpid", "")(), 9)
    else:
        os.kill(os.getpid(), 9)


def program(f, data):
    """Program ``data`` at the position of an unbuffered file, as far as the power lasts."""
    data = memoryview(data)
    n = spend(len(data))
    f.write(data[:n])
    if n < len(data):
        dead()

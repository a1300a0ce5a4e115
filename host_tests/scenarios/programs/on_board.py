"""What runs on a real board before a device program, for `make hil` (harness/hil.py)."""

import asyncio
import gc
import json
import sys
import time
from asyncio.core import _io_queue

MARK = "\x02"  # a line that begins with it is for the harness, and not the program's
CUT = "\x18"  # in the input: a power cut
FAULT = 6000  # ms after which a fault of joining is no more by chance


def join():
    """Join the Wi-Fi of the board's own config.json; return the board's address there.

    "" where config.json names no network: a cable. Raises OSError, whose text says why.
    """
    with open("../config.json") as f:
        wifi = json.load(f).get("wifi")
    if not wifi:
        return ""
    import network

    wlan = network.WLAN(network.STA_IF)
    wlan.active(True)
    if not wlan.isconnected():
        wlan.connect(wifi["ssid"], wifi.get("password") or None)
        began = time.ticks_ms()
        while not wlan.isconnected():
            status = wlan.status()
            waited = time.ticks_diff(time.ticks_ms(), began)
            # ESP32: 2xx is a fault, of the last try; it goes on trying. RP2: below 0, and it ends.
            if waited > (FAULT if 200 <= status < 300 or status < 0 else 30000):
                raise OSError("no Wi-Fi: status %s" % status)
            time.sleep_ms(20)
    return wlan.ifconfig()[0]


def probe(host, port, word):
    """Send a word to a port of the host."""
    join()
    import socket

    s = socket.socket()
    try:
        s.settimeout(5)
        s.connect(socket.getaddrinfo(host, port)[0][-1])
        s.send(word)
    finally:
        s.close()


async def beside(main):
    """Run a program's main task, and see to it that the power can be cut meanwhile."""
    gc.collect()
    gc.threshold(8192)  # 2,048 while it is loaded: harness/hil.py
    task = asyncio.create_task(cut())
    try:
        return await main
    finally:
        task.cancel()


def cut():
    """Reset the chip when the harness says so: nothing unwinds, and no peer is told."""
    import machine

    key = ""
    while key != CUT:
        yield _io_queue.queue_read(sys.stdin)  # StreamReader's module takes 1 KB of RAM
        key = sys.stdin.read(1)
    try:
        print(MARK + "cut")
        time.sleep_ms(20)  # USB: for the line to leave
    finally:  # the harness may press Ctrl-C already, for the REPL that it waits for
        machine.reset()


def run(program, *args):
    """Run a program as if it was started by itself; tell when it starts, and how it ended."""
    sys.argv[:] = [program]
    sys.argv.extend(args)
    join()
    loop = asyncio.run
    asyncio.run = lambda main: loop(beside(main))
    status = 1
    print(MARK + "start")
    try:
        execfile(program, {"__name__": "__main__"})  # noqa: F821 - MicroPython has it
        status = 0
    except SystemExit as e:
        status = e.args[0] if e.args else 0
    finally:
        print(MARK + "exit", status)

"""MicroPython's time on the simulated board: the board's clock (CPython: see board.py).

As on a chip time() is an int, there is no time zone, and tuples have eight items:
https://docs.micropython.org/en/latest/library/time.html
"""

import utime
from _board import EPOCHS, clock_ns, seconds, state
from utime import *  # noqa: F403

_EPOCH = EPOCHS[state.config["type"]]


def time_ns():
    return clock_ns() - _EPOCH * 1000000000


def time():
    return clock_ns() // 1000000000 - _EPOCH


def gmtime(secs=None):
    return utime.gmtime((time() if secs is None else int(secs)) + _EPOCH)[:8]


localtime = gmtime


def mktime(t):
    return seconds(*t[:6]) - _EPOCH

"""The clock, set before a certificate is looked at: by a time server, or by what the store knows.

An ESP32 keeps its clock over deep sleep and loses it with the power; an RP2 starts in 2021 at each
boot. With such a clock every certificate is "not yet valid".
"""

import socket
import sys
from os import urandom
from time import gmtime, time

from micropython import const

if sys.implementation.name == "micropython":
    from asyncio import sleep_ms
    from time import ticks_ms
else:
    from .._host import sleep_ms, ticks_ms

_NODE = const(3)  # in the store: sleep.Node's; its second byte counts wakes in vain
_KEY = const(12)  # RP2: the time of the next wake; then the last one proven: s since 1970, 4 bytes
_EPOCH = const(946684800)  # s from 1970 to 2000, where the time of most ports begins
_SET = const(1700000000)  # a clock that says less was never set
_MONTH = const(2629746)  # s
_DAY = const(86400)  # s
_LATEST = const(0x40000000)  # s, 34 years: ports count in 31 bits, to 2068 (extmod/modtime.c)
_SLACK = const(3600)  # s by which an RP2's sleep may be too long without a time server
_NTP = const(2208988800)  # s from 1900 to 1970
_AGAIN = const(1000)  # ms after which a question is lost
_LIMIT = const(3000)  # ms for a time server
_POLL = const(10)  # ms
_TICKS = const(0x3FFFFFFF)


class ClockError(OSError):
    """The clock is not set, and no time server answered."""


class Clock:
    """Sees that the clock is set once the network is there: stands in the place of ``wifi``.

    ``wifi``: what has ``async join(ms)`` and ``off()``, or None: the network is there. ``host``: a
    time server; an address spares the lookup, which blocks. ``store`` and ``period`` (s between
    wakes): there a time is remembered for starts without a time server; on RP2 the next wake's, at
    the cost of a record in each wake. Without them each wake of an RP2 asks. ``renew``: one wake in
    so many asks all the same, at random (0: none). A wake after one in vain asks, too: the time may
    have been the reason.

    A time server is not believed what is before the date of MicroPython's build, nor what is before
    the last time that was ``proven``: with an older one an expired certificate would do. Nor what
    is 34 years later. From day to day what was proven rises by two days at most: a server that was
    wrong once does not keep out the right time for longer.
    """

    def __init__(
        self,
        wifi=None,
        host: str = "pool.ntp.org",
        store=None,
        period: float = 0,
        renew: int = 64,
        port: int = 123,
    ) -> None:
        self.wifi = wifi
        self.host = host
        self.port = port
        self.store = store
        self.period = int(period)
        self.renew = renew
        self.fresh = False  # as Wifi's, to which it is handed on

    async def join(self, timeout_ms: int = 15000) -> None:
        """Join the network and set the clock. Raises what ``wifi.join`` raises; ClockError."""
        began = ticks_ms()
        fresh = self.fresh
        self.fresh = False
        if self.wifi:
            if fresh:
                self.wifi.fresh = True
            await self.wifi.join(timeout_ms)
        data = self.store.data if self.store else {}
        known = data.get(_KEY) or b""
        good = now() > _SET
        ask = (data.get(_NODE) or (0, fresh))[1] or (
            self.renew and not int.from_bytes(urandom(2), "big") % self.renew
        )
        if good and not ask:
            return
        try:
            from machine import PWRON_RESET, RTC, reset_cause
        except ImportError:  # not on a chip: it is for the system to set the clock
            return

        # After a loss of power nobody knows how long it was.
        if known and not ask and reset_cause() != PWRON_RESET:
            s = int.from_bytes(known[:4], "big")
        else:
            try:
                left = timeout_ms - (ticks_ms() - began & _TICKS)
                s = await sntp(self.host, min(max(left, 1), _LIMIT), self.port)
                least = max(_built(), int.from_bytes(known[4:], "big") - _SLACK)
                if not 0 <= s - least < _LATEST:
                    raise OSError("the time server is wrong: %d" % s)
            except OSError as e:
                if good:
                    return
                if not known:
                    raise ClockError("the clock is not set: %s: %s" % (self.host, e))
                # Too early by how long the power was off.
                s = max(int.from_bytes(known[:4], "big"), int.from_bytes(known[4:], "big"))
        t = gmtime(s - _EPOCH if gmtime(0)[0] == 2000 else s)
        RTC().datetime((t[0], t[1], t[2], t[6], t[3], t[4], t[5], 0))
        # RTC memory and a clock that goes on in deep sleep come together: ESP32 has both.
        if self.period and self.store and not hasattr(RTC, "memory"):
            self._save(s + self.period, known[4:])

    def proven(self) -> None:
        """The broker's certificate was verified at the clock's time: remember that, once a day."""
        known = (self.store and self.store.data.get(_KEY)) or b""
        s = now()
        last = int.from_bytes(known[4:], "big")
        if self.store and s > last + _DAY:
            most = min(s, last + 2 * _DAY) if last else s
            self._save(max(int.from_bytes(known[:4], "big"), s), most.to_bytes(4, "big"))

    def _save(self, s, proven):
        try:
            self.store.save({_KEY: s.to_bytes(4, "big") + proven})
        except Exception:
            pass  # no room, say: then what waits in the store must still be sent

    def off(self) -> None:
        """Turn the radio off."""
        if self.wifi:
            self.wifi.off()


def now() -> int:
    """Return the clock's time, s since 1970 on every port."""
    s = int(time())
    return s + _EPOCH if gmtime(0)[0] == 2000 else s


def _built():
    # The time in "3.4.0; MicroPython v1.25.0 on 2025-04-15", not after it.
    try:
        year, month, _ = sys.version.split(" ")[-1].split("-")
        return (int(year) * 12 + int(month) - 23641) * _MONTH
    except ValueError:
        return _SET


async def sntp(host: str, timeout_ms: int = 3000, port: int = 123) -> int:
    """Ask a time server (RFC 4330). Returns s since 1970. Raises OSError, without an answer too.

    Not authenticated: who can answer in its place decides what time it is.
    """
    # Not the type that getaddrinfo returns: RP2's says SOCK_STREAM, whatever it is asked
    # (extmod/modlwip.c, lwip_getaddrinfo).
    a = socket.getaddrinfo(host, port)[0]
    s = socket.socket(a[0], socket.SOCK_DGRAM)
    try:
        s.setblocking(False)
        # Version 4, mode 3: client. The server returns its last 8 bytes: nobody else knows them.
        query = b"\x23" + bytes(39) + urandom(8)
        began = ticks_ms()
        sent = 0
        while True:
            passed = ticks_ms() - began & _TICKS
            if passed >= timeout_ms:
                raise OSError("no answer from the time server")
            if passed >= sent:
                s.sendto(query, a[-1])
                sent += _AGAIN
            try:
                d = s.recv(48)
                # Mode 4: server; its clock is set; an answer to this very question.
                if len(d) == 48 and d[0] & 7 == 4 and d[0] < 192 and 0 < d[1] < 16:
                    if d[24:32] == query[40:] and any(d[40:44]):
                        return int.from_bytes(d[40:44], "big") - _NTP & 0xFFFFFFFF
            except OSError:  # EAGAIN; ECONNREFUSED, where the system tells
                pass
            await sleep_ms(_POLL)
    finally:
        s.close()

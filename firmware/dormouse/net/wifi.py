"""Join a Wi-Fi network fast: by the access point, channel and address of the last time.

``Wifi`` needs nothing else of the library. Whatever has ``async join(timeout_ms)`` and ``off()``
can stand in its place: LAN, PPP, or an object that does nothing where the network is always there.
"""

import sys
from os import urandom

import network
from micropython import const

if sys.implementation.name == "micropython":
    from asyncio import sleep_ms
    from time import ticks_ms
else:
    from .._host import sleep_ms, ticks_ms

_KEY = const(4)  # in the store: BSSID (6 bytes), channel (1), then the four addresses as text
_NOWHERE = const(b"\0\0\0\0\0\0\0")  # BSSID and channel of a network that a scan does not show
_SCAN = const(3000)  # ms, more than a scan takes; it blocks
_POLL = const(10)  # ms
_TICKS = const(0x3FFFFFFF)
_TEXTS = const("no answer in time,not found: SSID? range?,refused: password?,no address: DHCP?")


class WifiError(OSError):
    """Not joined. ``code``: 1 no such network found, 2 refused (wrong password?), 3 joined but no
    address came, 0 no answer in time. Which of them can be told is up to the port.
    """

    code = 0


class Wifi:
    """A Wi-Fi network to join. ``wlan``: the port's ``network.WLAN``, for what is not covered here.

    ``store``: remembers access point and address (a ``store.Store``, key 4) and is written only
    when they changed; None: every join scans and asks DHCP. ``pm``: WLAN.PM_NONE, PM_PERFORMANCE
    or PM_POWERSAVE; None leaves the port's own. ``hostname``: str, at most 32 characters.

    A remembered address is used without asking, also after its lease ended: another device may have
    it by then. So reserve the node's address at the router, or let one join in ``renew``, at
    random, ask DHCP again (1: each, 0: none): lease time / (4 * time between joins) is safe. Set
    ``fresh`` when the network could not be used though the join went well: the next join asks DHCP,
    and one in 4, at random, scans for another access point of the name, the strongest.
    """

    def __init__(
        self, ssid: str, password: str, store=None, pm=None, hostname=None, renew: int = 16
    ) -> None:
        if hostname:
            network.hostname(hostname)
        self.wlan = network.WLAN()
        self.login = ssid, password
        self.store = store
        self.pm = pm
        self.renew = renew
        self.fresh = False

    async def join(self, timeout_ms: int = 15000) -> None:
        """Return as soon as the network can be used; at once if it can already, being this one.

        Tries what it knows, for a third of ``timeout_ms`` at most, then a scan and DHCP. With less
        than 3 s left it does not scan: the port picks the access point, which is not remembered.
        A scan blocks all tasks: about 2 s, on RP2 10 s at most. Raises WifiError, or OSError or
        RuntimeError from the port; then, as after a cancellation, the radio is off. One join at a
        time.
        """
        wlan = self.wlan
        # Which network: a soft reset leaves the radio as it is, and may bring other settings.
        # (Behind a name of 32 bytes ESP32 goes on into the password: network_wlan.c.)
        if wlan.isconnected() and not self.fresh and wlan.config("ssid")[:32] == self.login[0]:
            return
        began = ticks_ms()
        known = self.store and self.store.data.get(_KEY)
        doubt = None
        if known and self.fresh:
            # It may be the access point that leads nowhere. Not in each join: where something else
            # is wrong, a budget that has no room for a scan would be too short in all of them.
            doubt = bytes(known[:6])
            if timeout_ms > _SCAN and not urandom(1)[0] & 3:
                known = None
        limit = timeout_ms // 3
        again = not known
        code = None
        try:
            while True:
                if not known:
                    limit = timeout_ms
                place = self._start(known, doubt, limit - (ticks_ms() - began & _TICKS))
                # The status from before: ESP32 shows an old fault until something new happens.
                old = wlan.status()
                if code != 1 or place != _NOWHERE:  # else neither connect nor scan found it
                    bssid = place[:6] if place and any(place[:6]) else None
                    try:
                        wlan.connect(*self.login, bssid=bssid, channel=place[6] if bssid else 0)
                    except TypeError:
                        # ESP32's has no channel: it searches from channel 1 on until it finds the
                        # BSSID (MicroPython pull request 11819 would change that).
                        wlan.connect(*self.login, bssid=bssid)
                    code = None
                while code is None and not wlan.isconnected():
                    await sleep_ms(_POLL)
                    status = wlan.status()
                    if status != old:
                        old = None
                        code = _fault(status)
                    if ticks_ms() - began & _TICKS >= limit:
                        code = _fault(status) or 0
                if code is None:
                    break
                if not known:
                    if status == -3 and again:  # RP2: the signal may have been weak
                        again = False
                        continue
                    if status == 2:  # RP2: the link stands
                        code = 3
                    elif status > 999:
                        try:
                            wlan.status("rssi")  # ESP32: an OSError without a link
                            code = 3
                        except OSError:
                            pass
                    e = WifiError("%s (status %d)" % (_TEXTS.split(",")[code], status))
                    e.code = code
                    raise e
                known = None
        except BaseException:
            self._down()
            raise
        self.fresh = False
        if place and self.store:
            place += " ".join(_address(wlan)).encode()
            if self.store.data.get(_KEY) != place:
                try:
                    self.store.save({_KEY: place})
                except Exception:
                    pass  # no room, say: then what waits in the store must still be sent

    def off(self) -> None:
        """Leave the network and turn the radio off; on RP2 cut the power of its chip."""
        self._down()
        if hasattr(self.wlan, "deinit"):
            self.wlan.deinit()

    def _down(self):
        wlan = self.wlan
        on = wlan.active()
        if on:
            wlan.disconnect()
            wlan.active(False)
        # RP2: only without power it forgets its address (up to 1.27), and up to 1.24.0 active()
        # told of the link, which may be lost with the radio on. With nothing to forget it is left
        # alone: it has the board's LED, too.
        if hasattr(wlan, "deinit") and (on or _address(wlan)[0] != "0.0.0.0"):
            wlan.deinit()

    def _start(self, known, doubt, ms):
        # Turn the radio on and set the address. Returns BSSID and channel, BSSID 0 if the network
        # is hidden; None if there was no time to look. doubt: a BSSID for want of another only.
        wlan = self.wlan
        self._down()
        wlan.active(True)
        if self.pm is not None:
            wlan.config(pm=self.pm)
        # By chance and not by count: a count would have to be stored.
        static = known and not self.fresh
        if static and self.renew:
            static = int.from_bytes(urandom(2), "big") % self.renew
        if static:
            _set_address(wlan, bytes(known[7:]).decode().split())
        elif not hasattr(wlan, "deinit"):
            # ESP32 keeps an address that was set, over a soft reset, too; RP2 would block here.
            _set_address(wlan, None)
        if known:
            return bytes(known[:7])
        if ms < _SCAN:
            return None
        best = None
        for ap in wlan.scan():
            if ap[0] == self.login[0].encode() and (
                not best or best[1] == doubt or (ap[3] > best[3] and ap[1] != doubt)
            ):
                best = ap
        return best[1] + bytes((best[2],)) if best else _NOWHERE


def _address(wlan):
    # Address, mask, gateway, name server.
    if hasattr(wlan, "ifconfig"):  # "deprecated and will be removed" (extmod/network_lwip.c, 1.28)
        return wlan.ifconfig()
    return wlan.ipconfig("addr4") + (wlan.ipconfig("gw4"), network.ipconfig("dns"))


def _set_address(wlan, four):
    # Set these; None: DHCP.
    if hasattr(wlan, "ifconfig"):
        wlan.ifconfig(tuple(four) if four else "dhcp")
        return
    wlan.ipconfig(dhcp4=not four)
    if four:
        wlan.ipconfig(addr4=(four[0], four[1]))
        wlan.ipconfig(gw4=four[2])
        network.ipconfig(dns=four[3])


def _fault(status):
    # What a status means for good: a code of WifiError, or None while there is hope. (What ESP32
    # gives up for no longer than until its next try, 15 or 204 after a wrong password, does not
    # show: it tries without end, network_wlan.c. 202 comes some tries later.)
    if status in (-2, 201, 210, 211, 212):
        return 1
    if status in (-3, 202):
        return 2
    return 0 if status < 0 else None

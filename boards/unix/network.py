"""MicroPython's network module on the simulated board: Wi-Fi, a cable, and a script of what goes
wrong.

Names, numbers and behaviour are those of ports/esp32/network_wlan.c, or for a board of type rp2 of
extmod/network_cyw43.c and the cyw43-driver, in the version of MicroPython that the board is told:
README.md beside this file has a table. A soft reset leaves all this as it is, on both ports. In the
board's folder (that of board.py, or $DORMOUSE_BOARD):

    network.json  what the surroundings are like; read again at each use. All keys are in SCRIPT.
    network.log   what happened, a JSON line each: on, scan, join, fault, dhcp, static, up, lost,
                  leave, off, poweroff, dns
    radio.json    what outlives a soft reset; only from one to the next boot

Importing it puts this network under ``socket``: names lead to 127.0.0.1, slowly if the script says
so, and without Wi-Fi nothing can be looked up or connected. On MicroPython sockets are the port's
(_sockets.py). What is connected stays so when the network is lost: to cut is the chaos proxy's
business.
"""

import json
import os
import sys
import time

SCRIPT = {
    "ssid": "home",
    "password": None,  # None: any is right
    "bssid": "021122334455",
    "channel": 6,
    "dead": None,  # BSSID of an access point that takes the node and leads nowhere
    "hidden": False,  # scans list it without its name
    "address": ["10.0.0.7", "255.255.255.0", "10.0.0.1", "10.0.0.1"],  # what DHCP gives
    "scan_ms": 0,  # all 13 channels; connect searches by itself, too
    "join_ms": 0,  # link and keys
    "dhcp_ms": 0,
    "down": False,  # no access point there
    "silent": False,  # it is there and does not answer
    "wrong_password": False,
    "weak": 0,  # so many tries to join are refused though the password is right: a weak signal
    "refused": False,  # no link, for no reason that is told
    "kicked": False,  # the access point ends the connection
    "no_dhcp": False,
    "cable_ms": 0,  # LAN and PPP, until there is an address
    "unplugged": False,  # no cable
    "dns_ms": 0,  # a lookup of a name blocks that long
    "dns_fail": False,
    "type": None,  # esp32, rp2; None: that of board.json
    "version": None,  # of MicroPython; None: that of board.json
}
UNREACHABLE = 113  # EHOSTUNREACH; MicroPython: _sockets.py

if sys.implementation.name == "micropython":
    _ticks_ms = time.ticks_ms
    _ticks_diff = time.ticks_diff
else:

    def _ticks_ms():
        return time.monotonic_ns() // 1000000

    def _ticks_diff(a, b):
        return a - b


def _folder():
    board = sys.modules.get("_board")
    folder = (board and board.state.folder) or os.getenv("DORMOUSE_BOARD")
    if not folder:
        raise RuntimeError("no board: start by boards/unix/board.py, or set DORMOUSE_BOARD")
    return folder


def _load(name):
    try:
        with open(_folder() + "/" + name) as f:
            return json.load(f)
    except OSError:
        return {}


def _log(event, **more):
    more["event"] = event
    with open(_folder() + "/network.log", "a") as f:
        f.write(json.dumps(more) + "\n")


def _script():
    script = dict(SCRIPT)
    given = _load("network.json")
    for key in given:
        if key not in SCRIPT:
            raise ValueError("network.json: unknown key " + key)
    script.update(given)
    return script


_ESP32 = (_script()["type"] or _load("board.json").get("type") or "esp32") == "esp32"


def _version():
    board = sys.modules.get("_board")
    if board and board.state.config:
        return board.state.version
    text = _script()["version"] or _load("board.json").get("version") or "1.25"
    return tuple(int(part) for part in text.split("."))


_VERSION = _version()

# What the radio is doing.
_IDLE = 0
_SEARCH = 1  # for the access point
_JOIN = 2  # link and keys
_ASK = 3  # DHCP
_UP = 4
_FAULT = 5  # RP2 ends there; ESP32 tries again

if _ESP32:
    STAT_IDLE = 1000
    STAT_CONNECTING = 1001
    STAT_GOT_IP = 1010
    STAT_NO_AP_FOUND = 201
    STAT_WRONG_PASSWORD = 202
    STAT_BEACON_TIMEOUT = 200
    STAT_CONNECT_FAIL = STAT_ASSOC_FAIL = 203
    STAT_HANDSHAKE_TIMEOUT = 204
else:
    STAT_IDLE = 0
    STAT_CONNECTING = 1
    STAT_GOT_IP = 3
    STAT_NO_AP_FOUND = -2
    STAT_WRONG_PASSWORD = -3
    STAT_CONNECT_FAIL = -1
STA_IF = 0
AP_IF = 1

_hostname = "mpy-esp32" if _ESP32 else "PicoW"


def hostname(name=None):
    """Return or set the name that DHCP servers are told. Raises ValueError above 32 characters."""
    global _hostname
    if name is None:
        return _hostname
    if len(name) > 32:
        raise ValueError
    _hostname = name


def country(code=None):
    """Return or set the country; it means nothing here."""
    return "XX" if code is None else None


class _Radio:
    """The one station interface of the board."""

    on = False  # ESP32: it was started; RP2: as the last active(x) said, from 1.24.1 on
    powered = False  # RP2: its radio chip has power, and its firmware
    station = False  # RP2: the driver's interface is up (itf_state in cyw43_ctrl.c)
    phase = _IDLE
    since = 0  # ticks of the phase
    reason = 0  # ESP32: of the last fault, or 0; only an address clears it
    login = ("", "", None, None)
    static = None  # address set by hand
    address = ("0.0.0.0", "255.255.255.0", "0.0.0.0", "0.0.0.0")
    pm = None
    tries = 0  # to join that were refused, since the power came
    known = 0  # the same, since the last connect()

    def enter(self, phase):
        self.phase = phase
        self.since = _ticks_ms()

    def fault(self, reason):
        self.reason = reason
        self.enter(_FAULT)
        _log("fault", status=reason)

    def search_ms(self, script):
        # ESP32 goes up from channel 1 until it finds what it looks for; RP2 looks at one channel
        # if it is told (extmod/network_cyw43.c: needs BSSID, too).
        _, _, bssid, told = self.login
        channel = _channels(script).get(bssid, 13)
        if not _ESP32 and bssid and told:
            channel = 1
        elif not _ESP32 or not self.found(script):
            channel = 13
        return script["scan_ms"] * channel // 13

    def found(self, script):
        ssid, _, bssid, told = self.login
        if script["down"] or script["ssid"] != ssid:
            return False
        channel = _channels(script).get(bssid)
        return bool(channel) and (not bssid or told in (None, 0, channel))

    def advance(self):
        """Go on as far as the time that has passed allows."""
        script = _script()
        if self.phase in (_JOIN, _ASK, _UP) and script["down"]:
            was = self.phase
            self.enter(_SEARCH if _ESP32 else _FAULT)
            self.reason = 200 if _ESP32 else STAT_CONNECTING  # cyw43: link down, still "joining"
            if was == _UP:
                _log("lost")
        elif self.phase in (_JOIN, _ASK, _UP) and script["kicked"]:
            # ESP32 connects again; cyw43: EV_DISASSOC leaves no state, the address stays
            self.enter(_SEARCH if _ESP32 else _IDLE)
            self.reason = 2 if _ESP32 else 0
            _log("lost")
        passed = _ticks_diff(_ticks_ms(), self.since)
        if self.phase == _SEARCH and passed >= self.search_ms(script):
            if self.found(script):
                ssid, _, bssid, channel = self.login
                _log("join", ssid=ssid, bssid=bssid and _hex(bssid), channel=channel)
                self.enter(_JOIN)
            else:
                self.fault(STAT_NO_AP_FOUND)
        elif self.phase == _JOIN and passed >= script["join_ms"] and not script["silent"]:
            wrong = script["wrong_password"] or script["password"] not in (None, self.login[1])
            if script["refused"]:
                self.fault(STAT_CONNECT_FAIL)
            elif wrong or self.tries < script["weak"]:
                self.tries += 1
                self.known += 1
                # ESP32: first the handshake has no answer (4WAY_HANDSHAKE_TIMEOUT), which does not
                # show while it tries again by itself; then AUTH_FAIL.
                self.fault(15 if _ESP32 and self.known == 1 else STAT_WRONG_PASSWORD)
            elif self.static:
                _log("static", address=self.static)
                self.up(self.static)
            else:
                self.enter(_ASK)
        elif self.phase == _ASK and passed >= script["dhcp_ms"] and not script["no_dhcp"]:
            _log("dhcp")
            self.up(tuple(script["address"]))
        elif self.phase == _FAULT and _ESP32:
            self.enter(_SEARCH)  # the port connects again by itself
        else:
            return
        if self.phase != _FAULT:
            self.advance()

    def up(self, address):
        self.address = address
        self.reason = 0
        self.enter(_UP)
        _log("up", address=address[0])

    def reachable(self):
        """Whether packets get anywhere: with a stale address they do not."""
        self.advance()
        script = _script()
        ours, theirs = self.address[0], script["address"][0]
        if script["dead"] == _hex(self.login[2] or _bytes(script["bssid"])):
            return False
        return self.phase == _UP and ours.rsplit(".", 1)[0] == theirs.rsplit(".", 1)[0]


_radio = _Radio()


def _hex(data):
    return "".join("%02x" % byte for byte in data)


def _bytes(text):
    return bytes(int(text[i : i + 2], 16) for i in range(0, 12, 2))


def _other(bssid):
    # The network has a second access point, which is weaker.
    return bssid[:5] + bytes((bssid[5] ^ 1,))


def _channels(script):
    # Of both, by BSSID; None: whichever the port picks, which is the stronger one.
    bssid = _bytes(script["bssid"])
    return {None: script["channel"], bssid: script["channel"], _other(bssid): 11}


class WLAN:
    """The station interface (the access point interface is not simulated)."""

    IF_STA = 0
    IF_AP = 1
    PM_NONE = 0 if _ESP32 else 0x10
    PM_PERFORMANCE = 1 if _ESP32 else 0xA11142
    PM_POWERSAVE = 2 if _ESP32 else 0x11

    def __init__(self, interface=0):
        if interface != 0:
            raise ValueError("only the station interface is simulated")

    if _ESP32:

        def active(self, on=None):
            r = _radio
            if on is not None and bool(on) != r.on:
                r.on = bool(on)
                _log("on" if on else "off")
                r.enter(_IDLE)
                if on:
                    r.pm = self.PM_PERFORMANCE
                elif not r.static:
                    r.address = _Radio.address
            return r.on

        def connect(self, ssid=None, key=None, *, bssid=None):
            self._connect(ssid, key, bssid, None)

    else:

        def active(self, on=None):
            r = _radio
            if on is None:
                # Up to 1.24.0 it is the state of the link, which may be down with the radio on.
                return r.on if _VERSION >= (1, 24, 1) else self.status() != 0
            r.on = bool(on)
            if on:
                if not r.station:  # else nothing happens: what is set stays
                    _log("on")
                    r.pm = self.PM_PERFORMANCE
                    r.static = None  # netif_add, dhcp_start
                    r.address = _Radio.address
                    r.enter(_IDLE)
                r.powered = r.station = True
                return
            if _VERSION >= (1, 26):
                self.disconnect()
            if _VERSION >= (1, 28) and r.station:  # cyw43-driver 1.2: before that nothing happens
                r.station = False
                r.static = None
                r.address = _Radio.address
                r.enter(_IDLE)
            _log("off")

        def connect(self, ssid, key=None, *, auth=-1, security=-1, bssid=None, channel=0xFFFFFFFF):
            self._connect(ssid, key, bssid, None if channel == 0xFFFFFFFF else channel)

        def deinit(self):
            r = _radio
            if r.powered:  # cyw43_deinit: what it was told last by active() stays
                r.powered = r.station = False
                r.static = None
                r.address = _Radio.address
                r.reason = 0
                r.enter(_IDLE)
                _log("poweroff")

    def _connect(self, ssid, key, bssid, channel):
        r = _radio
        if not (r.on if _ESP32 else r.station):
            raise OSError("Wifi Not Started" if _ESP32 else 1)
        if bssid is not None and len(bssid) != 6:
            raise ValueError
        if _ESP32 and r.phase in (_SEARCH, _JOIN, _ASK):
            raise OSError("Wifi Internal Error")
        if not _ESP32:
            r.reason = 0
        r.known = 0
        r.login = (ssid, key, bssid, channel)
        r.enter(_SEARCH)

    def disconnect(self):
        if not _radio.on and _ESP32:
            raise OSError("Wifi Not Started")
        _radio.powered = True  # RP2: cyw43_ioctl ensures that it is, and turns it on if it is not
        if _radio.phase in (_SEARCH, _JOIN, _ASK, _UP):
            _radio.reason = 8 if _ESP32 else 0  # WIFI_REASON_ASSOC_LEAVE
            _log("leave")
        _radio.enter(_IDLE)

    def isconnected(self):
        _radio.advance()
        return _radio.phase == _UP

    def status(self, what=None):
        r = _radio
        r.advance()
        if what == "rssi":
            if r.phase not in (_ASK, _UP):
                if _ESP32:
                    raise OSError("Wifi Not Connected")
                return 0
            return -50
        if what is not None:
            raise ValueError("unknown status param")
        if r.phase == _UP:
            return STAT_GOT_IP
        if _ESP32:
            if r.reason in (201, 202):
                return r.reason
            if r.reason == 8 or r.phase == _IDLE:
                return STAT_IDLE
            return STAT_CONNECTING  # and for other reasons: reconnects are unlimited
        if r.phase == _ASK:
            return 2
        if r.phase == _IDLE:
            return STAT_IDLE
        return r.reason if r.phase == _FAULT else STAT_CONNECTING

    def scan(self):
        if not (_radio.on if _ESP32 else _radio.station):
            raise OSError("STA must be active" if _ESP32 else 1)
        script = _script()
        _log("scan")
        time.sleep(script["scan_ms"] / 1000)
        if script["down"]:
            return []
        name = b"" if script["hidden"] else script["ssid"].encode()
        bssid = _bytes(script["bssid"])
        return [
            (b"neighbour", b"\x02neigh", 1, -40, 3, False),
            (name, _other(bssid), 11, -80, 3, False),
            (name, bssid, script["channel"], -50, 3, False),
        ]

    def ifconfig(self, new=None):
        r = _radio
        r.advance()
        if new is None:
            return r.address
        if new == "dhcp":
            _dhcp(True)
            began = _ticks_ms()
            while not _ESP32 and not self.isconnected():  # network_lwip.c: it blocks
                if _ticks_diff(_ticks_ms(), began) > 10000:
                    raise OSError("timeout waiting for DHCP to get IP address")
                time.sleep(0.1)
            return
        if len(new) != 4:
            raise ValueError("requested length 4 but object has length %d" % len(new))
        _set(new)

    def ipconfig(self, what=None, **values):
        r = _radio
        r.advance()
        if not values:
            if what is None:
                raise TypeError("must query one param")
            if what == "dhcp4":
                return not r.static if not _ESP32 else not r.static and r.phase in (_ASK, _UP)
            if what == "addr4":
                return r.address[:2]
            if what == "gw4":
                return r.address[2]
            raise ValueError("unexpected key")
        if what is not None:
            raise TypeError("can't specify pos and kw args")
        for name in values:
            value = values[name]
            if name == "dhcp4":
                if not value:
                    r.static = r.static or r.address
                elif r.static or not _ESP32:
                    _dhcp(True)
            elif name == "addr4":
                _set(tuple(value) + r.address[2:])
            elif name == "gw4":
                _set(r.address[:2] + (value,) + r.address[3:])
            else:
                raise ValueError("unexpected key")

    def config(self, what=None, **values):
        r = _radio
        if what is None:
            for name in values:
                if name == "pm":
                    r.pm = values[name]
                elif name == "hostname":
                    hostname(values[name])
                elif name not in ("txpower", "reconnects" if _ESP32 else "txpower"):
                    raise ValueError("unknown config param")
            return
        if what == "pm":
            return r.pm
        if what == "channel":
            return _script()["channel"]
        if what == "mac":
            return b"\x02mouse"
        if what == "ssid":
            return r.login[0]
        if what == "hostname":
            return hostname()
        raise ValueError("unknown config param")


if _VERSION < (1, 24):
    del WLAN.ipconfig
if _VERSION >= (2,):  # "deprecated and will be removed", extmod/network_lwip.c
    del WLAN.ifconfig


def _dhcp(on):
    r = _radio
    if _ESP32 and not r.static and r.phase in (_ASK, _UP):
        raise RuntimeError("Wifi Unknown Error 0x5004")  # DHCP_ALREADY_STARTED: while it runs
    r.static = None
    if r.phase == _UP:
        r.enter(_ASK)


def _set(new):
    for part in new:
        if len([int(n) for n in part.split(".")]) != 4:
            raise ValueError("invalid arguments")
    _radio.static = _radio.address = tuple(new)


def ipconfig(what=None, **values):
    """Return or set what belongs to no interface: the name server (from 1.24 on)."""
    if not values:
        if what != "dns":
            raise ValueError("unexpected key")
        return _radio.address[3]
    for name in values:
        if name != "dns":
            raise ValueError("unexpected key")
        _radio.address = _radio.address[:3] + (values[name],)
        _radio.static = _radio.static and _radio.address


# --- soft reset: all of the above are variables of C (ports/esp32/main.c; in ports/rp2/main.c
# mod_network_deinit, which does nothing where lwIP is)

_KEPT = ("on", "powered", "station", "phase", "reason", "static", "address", "pm", "tries", "known")


def _keep():
    r = _radio
    r.advance()
    kept = {name: getattr(r, name) for name in _KEPT}
    ssid, key, bssid, channel = r.login
    kept["login"] = (ssid, key, bssid and _hex(bssid), channel)
    kept["passed"] = _ticks_diff(_ticks_ms(), r.since)
    kept["hostname"] = _hostname
    kept["lan"] = _LAN_on()
    with open(_folder() + "/radio.json", "w") as f:
        json.dump(kept, f)


def _restore():
    global _hostname
    board = sys.modules.get("_board")
    if not board:
        return
    board.at_soft_reset.append(_keep)
    kept = _load("radio.json")  # board.py removed it, if this boot is no soft reset
    if not kept:
        return
    for name in _KEPT:
        value = kept[name]
        setattr(_radio, name, tuple(value) if isinstance(value, list) else value)
    ssid, key, bssid, channel = kept["login"]
    _radio.login = (ssid, key, bssid and _bytes(bssid), channel)
    _radio.since = _ticks_ms() - kept["passed"]
    _hostname = kept["hostname"]
    if kept["lan"]:
        _Cable.started = _ticks_ms()


# --- a cable

if _ESP32:
    PHY_LAN8720 = 1


class _Cable:
    """An interface that needs no more than to be turned on. Its address is DHCP's, or the peer's.

    ports/esp32/network_lan.c, network_ppp.c; both are in the firmware for ESP32 only.
    """

    started = None  # ticks; of whichever is on: a board of these tests has one
    kind = None

    def _turn(self, on):
        if on == (_Cable.started is not None):
            return
        _Cable.started = _ticks_ms() if on else None
        _Cable.kind = type(self).__name__
        _log("on" if on else "off", interface=type(self).__name__)

    def isconnected(self):
        script = _script()
        if _Cable.started is None or script["unplugged"]:
            return False
        return _ticks_diff(_ticks_ms(), _Cable.started) >= script["cable_ms"]

    def ifconfig(self):
        return tuple(_script()["address"]) if self.isconnected() else _Radio.address

    def ipconfig(self, what):
        return {"addr4": self.ifconfig()[:2], "gw4": self.ifconfig()[2]}[what]


if _VERSION < (1, 24):
    del _Cable.ipconfig


def _LAN_on():
    # PPP's object has a finaliser, which ends it.
    return _Cable.started is not None and _Cable.kind == "LAN"


if _ESP32:

    class LAN(_Cable):
        def __init__(
            self, id=None, *, mdc, mdio, power=None, phy_addr, phy_type, ref_clk=None, **more
        ):
            if not 0 <= phy_addr < 32:
                raise ValueError("invalid phy address")

        def active(self, on=None):
            if on is not None:
                if _VERSION < (1, 24) and bool(on) == (_Cable.started is not None):
                    raise OSError("ethernet %sable failed" % ("en" if on else "dis"))
                self._turn(bool(on))
            return _Cable.started is not None

    class PPP(_Cable):
        """Up to 1.25 the port's own (network_ppp.c), which is turned on by active()."""

        on = False

        def __init__(self, stream):
            self.stream = stream

        def active(self, on=None):
            if on is not None:
                self.on = bool(on)
                if not on:
                    self._turn(False)
            return self.on

        def connect(self, **options):
            if not self.on and _VERSION < (1, 26):
                raise OSError("must be active")
            if _Cable.started is not None:
                raise OSError(120)  # EALREADY
            names = ("authmode", "username", "password")
            if _VERSION >= (1, 26):
                names += ("security", "user", "key")
            for name in options:
                if name not in names:
                    raise TypeError("extra keyword arguments given")
            self.on = True
            self._turn(True)

        def disconnect(self):
            self._turn(False)

    if _VERSION < (1, 26):
        del PPP.disconnect


# --- socket, as far as it needs a network

import socket as _socket  # noqa: E402  (what follows takes its place)

_getaddrinfo = _socket.getaddrinfo


def _reachable():
    return _Cable().isconnected() or _radio.reachable()


def _numeric(host):
    return ":" in host or not host.replace(".", "").strip("0123456789")


def getaddrinfo(host, *args, **options):
    """Look up a name: blocks for dns_ms, then it is this machine.

    Or OSError(-2) on RP2, extmod/modlwip.c's own number, and on ESP32 -202, lwIP's EAI_FAIL.
    RP2 answers SOCK_STREAM and no protocol, whatever it was asked (extmod/modlwip.c, all versions
    up to 1.28); ESP32 what it was asked (ports/esp32/modsocket.c).
    """
    if isinstance(host, str) and not _numeric(host):
        script = _script()
        _log("dns", host=host)
        time.sleep(script["dns_ms"] / 1000)
        if script["dns_fail"] or not _reachable():
            raise OSError(-202 if _ESP32 else -2)
        host = "127.0.0.1"
    found = _getaddrinfo(host, *args, **options)
    if not _ESP32:
        found = [(a[0], _socket.SOCK_STREAM, 0, "", a[4]) for a in found[:1]]
    return found


def _install():
    if sys.implementation.name == "micropython":
        import _sockets

        port = _sockets.Port
        port.esp32 = _ESP32
        port.version = _VERSION
        port.reachable = _reachable
        board = sys.modules.get("_board")
        if board:
            port.fault = lambda: board.end("fault")
        _sockets.install(getaddrinfo)
        return
    connect = _socket.socket.connect

    def checked(self, address):
        if isinstance(address, tuple) and not _reachable():
            raise OSError(UNREACHABLE, "EHOSTUNREACH")
        return connect(self, address)

    _socket.getaddrinfo = getaddrinfo
    _socket.socket.connect = checked


_restore()
_install()

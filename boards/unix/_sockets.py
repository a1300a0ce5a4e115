"""MicroPython's socket on the simulated board: what lwIP does in place of Linux.

ports/esp32/modsocket.c over ESP-IDF's BSD sockets, whose errors have newlib's numbers; for a board
of type rp2 extmod/modlwip.c over lwIP itself. README.md beside this file has a table.
"""

import io
import select
import socket
import sys

NEW = 0
CONNECTING = 1
CONNECTED = 2

_POLL = 3  # MP_STREAM_POLL, MP_STREAM_CLOSE: py/stream.h
_CLOSE = 4
_OUT = 4  # MP_STREAM_POLL_WR, _ERR, _HUP
_ERR = 8
_HUP = 16

# Linux's error: that of the port. A connection that is refused was reset, on both.
_ESP32 = {111: 104, 32: 128, 107: 128, 103: 113, 113: 118, 101: 118, 110: 116, 114: 120, 115: 119}
_RP2 = {111: 104, 32: 104, 101: 113}


class Port:
    """Which port it is. Set by network.py."""

    esp32 = True
    version = ()

    def reachable():  # whether there is a way to anywhere
        return True

    def fault():  # the chip's processor meets what it cannot do
        raise SystemExit(1)


def _error(e):
    code = e.args[0]
    return OSError((_ESP32 if Port.esp32 else _RP2).get(code, code))


class Socket(io.IOBase):
    """A socket of the board: a stream, which asyncio and TLS take as they take a chip's."""

    def __init__(self, family=socket.AF_INET, type=socket.SOCK_STREAM, proto=0):
        self.socket = socket.socket(family, type, proto)
        self.type = type
        self.state = NEW if type == socket.SOCK_STREAM else CONNECTED
        self.poll = select.poll()
        self.poll.register(self.socket, 0)

    def setblocking(self, flag):
        self.socket.setblocking(flag)

    def settimeout(self, s):
        self.socket.settimeout(s)

    def setsockopt(self, level, option, value):
        if option not in (1 if Port.esp32 else 0x40, 20) or Port.version < (1, 23):
            print("Warning: lwip.setsockopt() not implemented")
            return
        # RP2: it is set in the connection's control block, of which the pointer is NULL once it was
        # refused. That may be at any time from connect on, so here it always is.
        if not Port.esp32 and self.state == CONNECTING:
            print("hard fault: TCP_NODELAY of a connection that was refused")
            Port.fault()
        self.socket.setsockopt(6, 1, value)

    def connect(self, address):
        if not Port.reachable():
            raise OSError(118 if Port.esp32 else 113)  # EHOSTUNREACH
        self.state = CONNECTING
        self._do(self.socket.connect, address)
        self.state = CONNECTED

    def _do(self, method, *args):
        try:
            return method(*args)
        except OSError as e:
            error = _error(e)
        raise error

    def read(self, *n):
        return self._do(self.socket.read, *n)

    def readinto(self, buf):
        return self._do(self.socket.readinto, buf)

    def write(self, data):
        return self._do(self.socket.write, data)

    def recv(self, n):
        return self._do(self.socket.recv, n)

    def send(self, data):
        return self._do(self.socket.send, data)

    def sendto(self, data, address):
        if self.type == socket.SOCK_STREAM and not Port.esp32:
            # It writes to the connection, and there is none.
            raise OSError(107)  # ENOTCONN
        return self._do(self.socket.sendto, data, address)

    def close(self):
        self.socket.close()

    def ioctl(self, request, flags):
        if request == _CLOSE:
            self.socket.close()
            return 0
        if request != _POLL:
            return -22  # EINVAL
        self.poll.modify(self.socket, flags)
        found = self.poll.poll(0)
        found = found[0][1] if found else 0
        if self.state == CONNECTING and found & _OUT:
            self.state = CONNECTED
        return found & (flags | _ERR | _HUP)


class Module:
    """Stands for the built-in module, to which nothing can be assigned."""

    def __init__(self, getaddrinfo):
        self.getaddrinfo = getaddrinfo
        self.socket = Socket
        self.TCP_NODELAY = 1 if Port.esp32 else 0x40
        if Port.version < (1, 23):
            # Ports have not even the name; but by sys.platform this is "linux", which has the
            # option without it.
            self.TCP_NODELAY = 0

    def __getattr__(self, name):
        return getattr(socket, name)


def install(getaddrinfo):
    """Put the stand-in into the place of the module, for who has imported it already, too."""
    module = Module(getaddrinfo)
    for other in list(sys.modules.values()):
        if other is not sys.modules[__name__] and getattr(other, "socket", None) is socket:
            other.socket = module
    sys.modules["socket"] = module

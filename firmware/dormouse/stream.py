"""Byte streams on MicroPython: TCP, and TLS over it. What ports do differently is kept here.

A stream is what MicroPython calls one: a non-blocking socket, TLS socket or UART, which asyncio can
poll. All functions raise OSError.
"""

import socket
import sys
from asyncio import core  # whose queue is another after asyncio.new_event_loop

from micropython import const

_LONG = const(384)  # bytes that are read of no packet in particular


def read(stream, buf):
    """Read what there is into ``buf``, waiting for it; return the number of bytes, 0 at the end."""
    # A long buffer is for the rest of a packet, which mostly is there already: without waiting.
    n = stream.readinto(buf) if len(buf) > _LONG else None
    while n is None:  # None: nothing is there; or TLS had bytes, but no whole record
        yield core._io_queue.queue_read(stream)
        n = stream.readinto(buf)
    return n


def write(stream, buf):
    """Write all of a buffer."""
    while True:
        n = stream.write(buf)
        if n:
            if n == len(buf):
                return
            buf = memoryview(buf)[n:]
        yield core._io_queue.queue_write(stream)


def open_stream(host: str, port: int, tls=None, name: str | None = None):
    """Connect, and wait until the connection stands or failed. Returns a stream, and the function
    that closes it.

    ``tls`` is an SSLContext; the broker's certificate must bear ``name``, or else ``host``.
    The name is looked up by the port's resolver, which blocks.
    """
    a = socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM)[0]
    s = socket.socket(*a[:3])
    try:
        s.setblocking(False)
        # Without it the second piece of a burst waits for the ACK of the first, which the peer
        # delays by 40 ms. Not after connect: RP2 would write through NULL if it was refused. The
        # ports have the name from 1.23 on, before that only a warning; on unix it is 1.
        n = getattr(socket, "TCP_NODELAY", sys.platform == "linux")
        if n:
            s.setsockopt(6, n, 1)
        try:
            s.connect(a[-1])
        except OSError as e:
            if e.errno not in (115, 119, 36):  # EINPROGRESS: Linux and lwIP, ESP32, macOS
                raise
        yield core._io_queue.queue_write(s)
        # A connection that failed says so when CONNECT is written.
        if not tls:
            return s, s.close
        # The handshake is done by the first reads and writes, without blocking.
        sock = tls.wrap_socket(s, server_hostname=name or host, do_handshake_on_connect=False)
        sock.setblocking(False)
        # To close s alone would not do: when the collector finds sock it would close s once more,
        # on unix a file descriptor that somebody else has by then. Both, for a TLS socket that
        # failed has forgotten s.
        return sock, lambda: (sock.close(), s.close())
    except BaseException:
        s.close()
        raise

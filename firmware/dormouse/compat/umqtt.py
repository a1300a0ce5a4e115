"""MQTTClient with the methods of umqtt.simple, without asyncio. (``robust`` has umqtt.robust's.)

    from dormouse.compat.umqtt import MQTTClient        # instead of umqtt.simple

The session behind it is dormouse's: QoS 2 in both directions, subscriptions and unacknowledged
messages that outlast a lost connection, pings by itself, and with ``store`` a reset of the chip.
docs/from-umqtt.md tells line by line what differs.
"""

import socket
import sys
from os import urandom
from select import POLLIN, POLLOUT, poll

from micropython import const

from ..packet import MQTTError, Will
from ..session import ConnectionLost, Refused, Session

if sys.implementation.name == "micropython":
    from time import ticks_ms

    def _wrap(tls, s, host):
        s = tls.wrap_socket(s, server_hostname=host)
        s.setblocking(False)
        return s

    def _read(s, buf):
        return s.readinto(buf)

    def _write(s, data):
        return s.write(data)
else:
    from .._host import poll_read as _read
    from .._host import poll_wrap as _wrap
    from .._host import poll_write as _write
    from .._host import ticks_ms

_UP = const(2)  # Session.state
_CLOSED = const(4)
_TICKS = const(0x3FFFFFFF)
_CAME = const(2)
_WAIT = const(1000)  # ms, at most, between two looks at the clock


class MQTTException(Exception):
    """The broker refused: its code."""


class MQTTClient:
    """A synchronous client.

    Arguments as umqtt's: ``keepalive`` in s, 0: no pings; ``ssl``: an SSLContext (``ssl_params`` is
    not looked at). More of them: ``timeout``: s, for a connection and for an answer of the broker;
    ``store`` and other options of ``Session`` by name. ``sock`` is the open socket, for
    ``select.poll``; without one it is false.

    Raises ValueError or TypeError for what the standard forbids.
    """

    sock = cb = _session = None
    # Whether the callback had a message while something else was waited for: ``subscribe``, and a
    # retained one came right behind its answer. Then there is nothing more to wait for.
    _had = False

    def __init__(
        self,
        client_id,
        server: str,
        port: int = 0,
        user=None,
        password=None,
        keepalive: int = 0,
        ssl=None,
        ssl_params=None,
        timeout: float = 10,
        **options,
    ) -> None:
        if ssl and not hasattr(ssl, "wrap_socket"):
            raise ValueError("ssl: an SSLContext, such as dormouse.net.tls.context() makes")
        self.client_id = _text(client_id)
        self.server = server
        self.port = port or (8883 if ssl else 1883)
        self.ssl = ssl
        self.timeout = timeout
        self.user = user
        self.pswd = password
        self.keepalive = keepalive
        self.options = options
        self.clean = True
        self._given = []  # messages that the callback has now

    def set_callback(self, f) -> None:
        """Let ``f(topic, payload)``, both bytes, have each message. It is acknowledged when ``f``
        returns; if it raises, a message at QoS 1 or 2 comes again after the next ``connect``."""
        self.cb = f

    def set_last_will(self, topic, msg, retain: bool = False, qos: int = 0) -> None:
        """Set the will, for the next ``connect``. Mind the order: retain comes before qos."""
        will = self.options["will"] = Will(_text(topic), msg, qos, retain)
        s = self._session
        if s:  # what it has under way is not to be lost
            s.greeting = s.greeting[:2] + (will,)

    def connect(self, clean_session: bool = True, timeout: float | None = None) -> int:
        """Connect; return whether the broker had a session. Raises OSError, MQTTException."""
        self._close()
        if timeout is not None:
            self.timeout = timeout
        if not self._session or self.clean != clean_session:
            self.clean = clean_session
            kind = Session
            options = dict(self.options, clean=clean_session, keepalive=self.keepalive)
            if self.user:  # (umqtt looks at no password without one)
                options["username"] = _text(self.user)
                options["password"] = self.pswd
            try:
                if "store" in options:
                    from ..kinds import choose

                    kind, options = choose(self, **options)
                self._session = kind(
                    _nothing,
                    self.client_id,
                    timeout=int(self.timeout * 1000),
                    pid=int.from_bytes(urandom(2), "big"),
                    **options,
                )
            except (AttributeError, TypeError, ValueError) as e:
                from ..mistakes import explain

                raise explain(e, _text(self.server), options)
        try:
            self._open()
            self._session.connect(ticks_ms())
            while self._session.state != _UP:
                self._turn(self.timeout * 1000)
        except Exception:
            self._close()
            raise
        s = self._session
        for m in s.held[::-1]:
            if not m.done and m not in s.inbox and m not in self._given:
                s.inbox.insert(0, m)  # the callback raised, so it has not had it
        return s.resumed

    def disconnect(self) -> None:
        """Send what may be sent and DISCONNECT, and close: the broker drops the will."""
        s = self._session
        if self.sock:
            try:
                s.disconnect()
                while self.sock and s.state != _CLOSED:
                    self._turn(0)
            finally:
                self._close()

    def ping(self) -> None:
        """Send PINGREQ. (It goes by itself, while ``wait_msg`` or ``check_msg`` is called.)"""
        s = self._up()
        if s.asked is None:
            s.asked = ticks_ms()
            s.control += b"\xc0\x00"
        self._turn(0)

    def publish(self, topic, msg, retain: bool = False, qos: int = 0) -> None:
        """Publish, and return when it is acknowledged for its QoS. Mind the order: retain comes
        before qos. Messages that come meanwhile go to the callback; inside of it, when it returns.

        Raises OSError if the connection is lost: at QoS 1 and 2 the message goes again by itself
        after ``connect(False)``, so do not publish it again; OutboxFull if too many of them wait.
        """
        self._until(self._up().publish(_text(topic), _payload(msg), qos, retain))

    def subscribe(self, topic, qos: int = 0) -> None:
        """Subscribe. Raises OSError; MQTTException if the broker refuses. Subscriptions are made
        again by themselves where a broker forgot them."""
        o = self._up().request(0x82, ((_text(topic), qos),))
        try:
            self._until(o)
        except Refused as e:
            raise MQTTException(e.code[0])

    def unsubscribe(self, topic) -> None:
        """Give up a subscription. Raises OSError."""
        self._until(self._up().request(0xA2, (_text(topic),)))

    def wait_msg(self) -> None:
        """Wait until something comes from the broker, and give what messages there are to the
        callback. Pings when it is due. Returns at once where the callback had some meanwhile, in
        another call. Raises OSError when the connection is lost."""
        self._up()
        while not self._turn(0 if self._had else _WAIT, True) and not self._had:
            pass
        self._had = False

    def check_msg(self) -> None:
        """As ``wait_msg``, but return at once if there is nothing."""
        self._up()
        self._turn(0, True)
        self._had = False

    # --- inside

    def _up(self):
        if not self.sock:
            raise OSError(107, "not connected")  # ENOTCONN
        return self._session

    def _open(self):
        a = socket.getaddrinfo(self.server, self.port, 0, socket.SOCK_STREAM)[0]
        s = socket.socket(a[0], a[1], a[2])
        self.sock = s
        self._raw = s
        if hasattr(s, "settimeout"):
            s.settimeout(self.timeout)  # for connect, and for TLS's handshake
        s.connect(a[-1])
        s.setsockopt(6, getattr(socket, "TCP_NODELAY", 1), 1)
        if self.ssl:
            self.sock = _wrap(self.ssl, s, self.server)
        else:
            s.setblocking(False)
        self._poll = poll()
        self._poll.register(self.sock, POLLIN)
        self._buf = memoryview(bytearray(128))

    def _close(self):
        sock = self.sock
        self.sock = _gone
        if sock:
            try:
                # Of TLS both: the collector would close _raw again (see ``stream.open_stream``).
                sock.close()
                if sock is not self._raw:
                    self._raw.close()
            except OSError:
                pass
            self._session.lost()

    def _until(self, o):
        try:
            self._step(o)
        finally:
            self._session.withdraw(o)
        if o.error:
            raise o.error

    def _step(self, o):
        began = ticks_ms()
        self._turn(0)  # at QoS 0 there is no answer to wait for
        while not o.done:
            came = self._turn(_WAIT)
            # A session's own limit is the keep-alive's, and umqtt's default is to have none. What
            # came in this turn may have cost the time, in the callback: then look once more.
            late = ticks_ms() - began & _TICKS > self.timeout * 1000
            if late and came < _CAME and not o.done:
                self._close()
                raise OSError(110, "no answer")  # ETIMEDOUT

    def _turn(self, wait, give=False):
        # Write what there is, wait for at most so many ms, read, and call the callback. Returns
        # _CAME if anything came, else whether messages are there. Inside of the callback it is
        # called only with ``give``: each message on top of another would take more of the stack, of
        # which a chip has some KB. So without, read only what is waited for. Nor in ``connect``,
        # nor as long as there is no callback: a program may set it later.
        if not self.sock:  # the callback disconnected
            raise OSError(107, "not connected")  # ENOTCONN
        s = self._session
        up = s.state >= _UP
        look = give or not self._given
        give = self.cb and up and look
        try:
            self.sock.setblocking(False)  # whatever the program has set
            try:
                left = s.tick(ticks_ms())
            except ConnectionLost:
                # The program did something else meanwhile, and the answer lies in the socket.
                n = _read(self.sock, self._buf)
                if not n:
                    raise
                s.receive(self._buf[:n], ticks_ms())
                left = s.tick(ticks_ms())
            while True:
                data = s.take(ticks_ms())
                if not data:
                    break
                self._send(data)
            if s.state == _CLOSED:
                return False
            # TLS may have bytes of its own, of which poll does not know.
            n = _read(self.sock, self._buf) if look or wait else None
            if n is None and wait and not (give and s.inbox):
                self._poll.poll(int(min(wait, left)))
                n = _read(self.sock, self._buf)
            came = bool(s.inbox) if n is None else _CAME
            while n is not None:
                if not n:
                    raise ConnectionLost("closed")
                s.receive(self._buf[:n], ticks_ms())
                if not give and s.behind():
                    s.shed = True
                n = None if s.inbox and (give or not up) else _read(self.sock, self._buf)
        except Refused as e:
            self._close()
            if isinstance(e.code, int):
                raise MQTTException(e.code)
            raise
        except MQTTError as e:
            self._close()
            raise OSError(104, repr(e))  # ECONNRESET: programs for umqtt look for an OSError
        except Exception:
            self._close()
            raise
        while give and s.inbox:
            m = s.inbox.pop(0)
            self._given.append(m)
            try:
                self.cb(m.topic.encode(), m.payload)
            finally:
                self._given.pop()
            self._had = True
            m.ack()
        # Acknowledgements go at once, as umqtt's do. (With ``shed`` the next ``take`` may end it.)
        while s.state == _UP and not s.shed:
            data = s.take(ticks_ms())
            if not data:
                break
            self._send(data)
        return came

    def _send(self, data):
        began = ticks_ms()
        while data:
            n = _write(self.sock, data)
            if n:
                data = data[n:]
            elif ticks_ms() - began & _TICKS > self.timeout * 1000:
                raise ConnectionLost("stuck")
            else:
                p = poll()
                p.register(self.sock, POLLOUT)
                p.poll(_WAIT)


class _Gone:
    # What ``sock`` is without a connection: programs close it once more.
    def __bool__(self):
        return False

    def close(self):
        pass


_gone = _Gone()


def _nothing():
    pass


def _text(s):
    return str(s, "utf-8") if isinstance(s, (bytes, bytearray)) else s


def _payload(s):
    return s if isinstance(s, (bytes, bytearray, memoryview)) else str(s)

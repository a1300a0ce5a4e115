"""The asyncio client around the session: connect, keep alive, reconnect, publish, subscribe."""

import asyncio
import sys
from gc import collect
from os import urandom

from micropython import const

from .packet import ConnectionLost, MQTTError, ProtocolError, Refused
from .resume import reserve
from .session import Session

if sys.implementation.name == "micropython":
    from asyncio import sleep_ms
    from time import ticks_ms

    import dormouse.stream as stream
else:
    from ._host import sleep_ms, stream, ticks_ms

_CLOSED = const(4)  # Session.state
_TICKS = const(0x3FFFFFFF)
_GRACE = const(50)  # ms
_BEHIND = const(200)  # ms for an application that is behind to take a message
_POLL = const(10)  # ms
_LEFT = const(2)  # Client._first: its owner disconnects it


class Client:
    """An MQTT 3.1.1 client that stays connected.

    ``port``: 1883, with ``tls`` (an SSLContext) 8883. ``timeout``: s, for a connection to stand,
    for CONNACK, for PINGRESP and for ``disconnect``. ``backoff``: s, the shortest and the longest
    bound of the random wait before a reconnect. ``username`` (str), ``password`` (str or bytes):
    each may be a function that returns it, asked at each connection (for tokens that expire), and
    both can be set anew at any time. ``strict``: whether a refusal, a certificate that does not
    verify or a mistake in the program ends the client for good; else it tries again, after the
    longest wait.

    ``auto_ack``: False, and only ``Message.ack`` acknowledges, not the loop over ``messages``.

    All other arguments are ``Session``'s: client_id, clean, keepalive (s), will, window, outbox,
    outbox_bytes, max_packet, inbox_bytes, oversize, on_trouble. ``version=5``: MQTT 5, with those
    of ``mqtt5.Session5``. ``expiring``: ``publish`` takes ``message_expiry`` in 3.1.1, too.
    ``client_id`` defaults to the chip's unique id where there is one. With a ``store`` (see
    ``store.Store``; needs clean=False) the session survives a reset, and ``full`` says what a
    publish without room does (see ``durable.DurableSession``).
    ``large``: messages larger than RAM (see ``large``): True, or only "out" or "in".
    ``stream``: the way to the broker, if not TCP or TLS: an object with ``open_stream``, ``read``
    and ``write`` as the module ``dormouse.stream`` has them, ``ws.WebSocket`` or ``serial.Serial``.

    ``connected`` (bool); ``error``: why the last connection ended.

    Raises ValueError or TypeError for what the standard forbids.
    """

    def __init__(
        self,
        host: str,
        port: int = 0,
        tls=None,
        client_id: str | None = None,
        timeout: float = 10,
        backoff: tuple = (1, 60),
        auto_ack: bool = True,
        stream=stream,
        strict: bool = False,
        *,
        username=None,
        password=None,
        **options,
    ) -> None:
        if client_id is None:
            try:
                from machine import unique_id

                client_id = unique_id().hex()
            except ImportError:
                client_id = ""
        # Something to write, an answer, a connection, an end: each who waits looks whether it is
        # what it waits for. Who waits for messages has an event of its own, set by each read: to
        # have all others look, too, takes as long as a message.
        self._changed = asyncio.Event()
        self._arrived = asyncio.Event()
        kind = Session
        try:
            port = int(port)
            if "/" in host or host.count(":") == 1 or (tls and not tls.wrap_socket):
                raise ValueError(host)
            for name in ("store", "version", "expiring", "large"):
                if name in options:
                    from .kinds import choose

                    kind, options = choose(self, **options)
                    break
            self.session = kind(
                self._changed.set,
                client_id,
                timeout=int(timeout * 1e3),  # (a str would go through with 1000)
                pid=int.from_bytes(urandom(2), "big"),
                username=username,
                password=password,
                **options,
            )
        except (AttributeError, TypeError, ValueError) as e:
            from .mistakes import explain  # loaded now: it is much, and seldom needed

            raise explain(e, host, options)
        self.publish_nowait = self.session.publish
        self.address = host, port or (8883 if tls else 1883), tls
        self.timeout = timeout
        _, _ = self.backoff = backoff  # anything but two raises here, and not in the background
        self.auto_ack = auto_ack
        self.stream = stream
        self.strict = strict
        self.username = username
        self.password = password
        self.messages = self
        self.connected = False
        self.error = self._task = self._last = self._first = None
        # Made once: later the heap may be in pieces. Long enough for some small packets, for to
        # wait for bytes takes as long as some messages (of 32 bytes, instructions for each, x86:
        # with 256 51,000, with 384 45,000, with 512 42,000).
        self._buffer = memoryview(bytearray(384))

    # --- the connection

    async def connect(self):
        """Connect, and stay connected until ``disconnect``. Returns the client.

        Raises what ended the first attempt: OSError, Refused, ConnectionLost, ProtocolError, or
        asyncio.TimeoutError.
        """
        mine = not self._task
        if mine:
            self.start()
            self._first = True
        try:
            await self.wait_connected()
        except asyncio.CancelledError:
            if mine:
                await self.disconnect()
            raise
        return self

    def start(self) -> None:
        """Connect in the background, and try again until it works: nothing but ``disconnect`` ends
        it (or ``strict``). ``error`` tells why it has not yet worked."""
        s = self.session
        if not self._task:
            if not s.patience:  # a Node's lives for a wake
                # What lives long is not to lie behind the garbage of imports, in the middle of what
                # is free.
                collect()
                reserve(s)
            self.error = None
            self.publish_nowait = s.publish
            self._first = False
            self._task = asyncio.create_task(self._run())

    async def wait_connected(self, connected: bool = True) -> None:
        """Wait until connected, or with False until not. Raises what ended the client for good."""
        while self.connected != connected:
            if not self._task:
                self._fault()
            self._changed.clear()
            await self._changed.wait()

    async def disconnect(self, *_, **options) -> None:
        """Send what may be sent, then DISCONNECT, and close: the broker drops the will.

        What is not acknowledged by then stays in the session; who waits for it gets
        ConnectionLost. After ``timeout`` the connection is closed in any case.
        """
        task = self._task
        if not task:
            return
        up = self.connected
        if up:
            self.session.disconnect(**options)
        self._first = _LEFT  # what ends the connection ends the client
        try:
            if up:
                await asyncio.wait_for(self.wait_connected(False), self.timeout)
        except asyncio.TimeoutError:
            pass
        finally:
            # Again, for CPython 3.11's wait_for may swallow one. Nobody connects anew meanwhile:
            # two connections would be at the session at once.
            while not task.done():
                task.cancel()
                await sleep_ms(0)
            if self._task is task:  # cancelled before it began
                self._ended(None)

    __aenter__ = connect
    __aexit__ = disconnect

    # --- messages

    def publish(self, *args, **options):
        """Publish, and return when it is acknowledged for its QoS (at QoS 0: given to be written).

        Cancelled or timed out before it was sent, it is withdrawn; once sent, it goes on to the end
        of its handshake. Raises OutboxFull, SessionLost, Undeliverable, Failed, Expired, or what
        ended the client; ValueError or TypeError for a bad topic, QoS or payload. What ended the
        client for good ``publish_nowait`` raises, too; else, connected or not, it takes the same
        arguments, puts it into the outbox and returns its ``Message``.
        """
        return self._answer(None, *args, **options)

    def subscribe(self, *filters, qos: int = 0, **options) -> list:
        """Subscribe to topic filters, each a str or a (str, QoS); repeated when the broker forgot.

        Returns the granted QoS of each. Raises Refused if the broker refused any.
        """
        pairs = []
        for f in filters:
            pairs.append((f, qos) if isinstance(f, str) else f)
        return self._answer(self.session.request, 0x82, pairs, **options)

    def unsubscribe(self, *filters: str, **options):
        """Give up topic filters. Messages already on their way still come."""
        return self._answer(self.session.request, 0xA2, filters, **options)

    def __aiter__(self):
        # Messages, for one ``async for`` at a time. One is acknowledged when the next is asked for,
        # which is when the body of the loop is done with it. If the body was left before, by break
        # or an exception, a message at QoS 1 or 2 comes again in the next loop.
        last = self._last
        if last is False:
            raise RuntimeError("one loop over messages at a time")
        self._last = None
        self.session.put_back(last)
        return self

    async def __anext__(self):
        s = self.session
        last = self._last
        if last is False:  # another one waits already
            return self.__aiter__()  # which raises
        self._last = False  # a loop waits
        try:
            if last:
                last.ack()
                last = None  # its memory may be what the next one needs
            while not s.inbox:
                if not self._task:
                    if self.error or self._first is None:
                        self._fault()
                    raise StopAsyncIteration
                self._arrived.clear()
                await self._arrived.wait()
        finally:
            self._last = None
        last = s.inbox.pop(0)
        if s.shed or s.paused:  # an empty inbox ends the one, room in it the other
            self._changed.set()
        if last.session is not None and self.auto_ack:  # at QoS 0 there is nothing to acknowledge
            self._last = last
        return last

    # --- inside

    # (``_answer`` and ``_fault`` are names that the session has, too: others would take more RAM.)

    async def _answer(self, ask, *args, **options):
        # (The coroutine of ``publish`` itself, and with the loop of ``wait_connected`` in it: for
        # each message two coroutines less, which are 112 bytes.)
        o = (ask or self.publish_nowait)(*args, **options)
        try:
            while not o.done:
                if not self._task:
                    self._fault()
                self._changed.clear()
                try:
                    await self._changed.wait()
                except MemoryError:  # who published it once more would double it
                    await sleep_ms(_POLL)
        finally:
            if not o.done:
                self.session.withdraw(o)
        if o.error:
            raise o.error
        return o.codes

    def _ended(self, error):
        # For good: whoever waits is told why; None is the application's own wish.
        self._task = None
        self.error = error
        if error:
            self.publish_nowait = self._fault
        self._changed.set()
        self._arrived.set()

    def _fault(self, *args, **options):
        raise self.error or ConnectionLost("connect() first")

    async def _run(self):
        shortest, longest = self.backoff
        limit = shortest
        error = None
        try:
            while True:
                pause = 1000
                try:
                    began = ticks_ms()
                    try:
                        e = await self._connection()
                    except MemoryError:  # even for a coroutine
                        e = MemoryError()
                    self.error = e
                    if getattr(e, "again", False):  # MQTT 5: the broker is elsewhere now
                        continue
                    # A refusal, a certificate that does not verify (ValueError on both Pythons), a
                    # mistake in the program: they may pass, but not soon.
                    hopeless = (
                        e.code != 3
                        if isinstance(e, Refused)
                        else isinstance(e, ValueError)
                        or not isinstance(
                            e, (OSError, MQTTError, MemoryError, asyncio.TimeoutError)
                        )
                    )
                    if self._first or (hopeless and self.strict):
                        if self._first != _LEFT:  # (broken on the way out, it is left all the same)
                            error = e
                        return
                    # A broker that accepts and then closes is not to be hammered: only a connection
                    # that stood for a while, beyond what connecting can take, makes the next wait
                    # short again.
                    if hopeless:
                        limit = longest
                    elif ticks_ms() - began & _TICKS > self.timeout * 2000:
                        limit = shortest
                    # Full jitter: a fleet that lost its broker together does not come back so.
                    pause = int(int.from_bytes(urandom(2), "big") * limit / 65.536)
                    limit = min(limit * 2, longest)
                except MemoryError:  # not even for a number: it may pass
                    pass
                await sleep_ms(pause)
        finally:
            self._ended(error)

    async def _connection(self):
        # Connect and read until the connection ends; return why: an error, or None if the
        # application wanted it.
        s = self.session
        if not s.patience:
            collect()  # as in ``start``, for what a connection holds
        fault = []  # why one of the other two ended; anything: it is too late to say
        tasks = []
        close = e = None
        ended = ProtocolError  # errors that are the broker's doing
        try:
            stream, close = await asyncio.wait_for(
                self.stream.open_stream(*self.address), self.timeout
            )
            read = self.stream.read
            rx = self._buffer
            room = None  # where the rest of a long packet goes, or another one as long, at once
            turn = 0
            s.login = self.username, self.password
            s.connect(ticks_ms())
            for part in (None, stream):
                tasks.append(asyncio.create_task(self._pump(fault, part)))
            while True:
                if self.connected and s.behind():
                    await self._room()
                # Into a long buffer it is read without waiting: not for ever, or nothing else would
                # have its turn.
                turn += 1
                to = room if room and turn & 7 and len(room) > len(rx) else rx
                n = await read(stream, to)
                if not n:
                    raise ConnectionLost("closed")
                try:
                    room = s.receive(to if n == len(to) else to[:n], ticks_ms())
                finally:
                    # CONNACK came, whatever came behind it. (Once: ``disconnect`` sets _first.)
                    if not self.connected and s.resumed is not None:
                        self.connected = True
                        self._first = False
                self._arrived.set()
        except asyncio.CancelledError:
            if not fault:
                raise
            e = fault[0]
        except Exception as error:  # for _run to sort
            e = error
            ended = ConnectionLost, Refused, ProtocolError
        finally:
            self.connected = False
            fault.append(None)
            for task in tasks:
                task.cancel()
            # 104: ECONNRESET; -104: RP2's; 32: EPIPE
            closed = e.errno in (104, -104, 32) if isinstance(e, OSError) else isinstance(e, ended)
            try:
                try:
                    s.lost(e if closed else None)
                finally:
                    if close:
                        close()
            except Exception as error:  # (MemoryError) its state is sound, evidence comes again
                e = error
            self._changed.set()
            self._arrived.set()
        return e

    async def _room(self):
        # The application is behind: TCP holds back the broker. Acknowledgements are held back with
        # it, so if there is one to come, and the application takes nothing meanwhile, it may be
        # that which it waits for: read on, and leave the messages to the broker.
        s = self.session
        s.paused = True
        await sleep_ms(0)  # it may only wait for its turn
        n = left = 0
        while s.behind() and not s.shed:
            if n != len(s.inbox):
                n = len(s.inbox)
                left = _BEHIND
            if s.outbox:
                left -= _POLL
                s.shed = left < 0
                await sleep_ms(_POLL if s.flying else 100)
            else:
                self._changed.clear()
                await self._changed.wait()
        s.paused = False

    async def _pump(self, fault, stream):
        # Keep alive, or with a stream, write.
        s = self.session
        error = None
        first = stream  # CONNECT has not left: a connection that failed says so only at a write
        try:
            while not stream:
                try:
                    # (No longer than that: what is published meanwhile has its time, too.)
                    await sleep_ms(min(s.tick(ticks_ms()), s.patience or s.timeout))
                except ConnectionLost:
                    # The program may have blocked meanwhile, and the answer lie in the socket.
                    await sleep_ms(_GRACE)
                    s.tick(ticks_ms())
            while s.state != _CLOSED:
                data = s.take(ticks_ms())
                if data:
                    await self.stream.write(stream, data)
                    first = None
                else:
                    self._changed.clear()
                    await self._changed.wait()
        except Exception as e:  # for _run to sort
            error = e
            if first:
                s.owed = False
            if isinstance(e, MemoryError):
                # Maybe for some packets in one piece: from now on they go one by one.
                s.limits = s.limits[:5] + (0,)
        if not fault:
            fault.append(error)
            self._task.cancel()

"""A session that sends messages larger than RAM, each read piece by piece from its source. Sans-IO.

In the outbox, and in a store, stands a packet whose payload is a *reference*, and which is marked
by a QoS that no packet has, 3:

    path, UTF-8; then 7 bytes: the payload's size (4), the QoS (1), the path's length (2)

So it takes only its own bytes there, and a session that does not know of it never sends a path as
somebody's payload: the broker would refuse the packet, and it is given up.

Only one such message is on its way at a time, and nothing goes between its pieces: no
acknowledgement, no PINGREQ. They go behind it.
"""

from micropython import const

from ..packet import ConnectionLost, MQTTError
from ..session import Session
from .source import Source, SourceError

_PUBLISH = const(3)
_DUE = const(1)  # DurableSession.fence
_BEFORE = const(-1)  # Message.sent
_TICKS = const(0x3FFFFFFF)
_TAIL = const(7)
# Bytes that are read and written at once. Longer than a burst (session.py): nothing is put behind
# the first piece in the same ``take``.
_PIECE = const(1024)


_GONE = (None, 2, 44)  # no error of a medium; ENOENT; WebAssembly's
_FAULTS = const(3)  # reads of a source that fail, and then it is given up
_BUFFERED = const(0x10000)  # bytes that may lie in the network's buffers, of what it has taken


def _again():
    # The connection that is to come at once, behind a packet that has no end, or in its place.
    e = ConnectionLost("source")
    e.again = True
    return e


def _large(packet):
    return packet and packet[0] & 0xF6 == 0x36


def _parts(packet):
    # Where its body begins, and where in it the reference; path, size and QoS.
    n = shift = 0
    at = 1
    while True:
        c = packet[at]
        at += 1
        n |= (c & 0x7F) << shift
        shift += 7
        if c < 128:
            break
    end = at + n - _TAIL
    i = end - (packet[end + 5] << 8 | packet[end + 6])
    size = int.from_bytes(packet[end : end + 4], "big")
    return at, i, bytes(packet[i:end]), size, packet[end + 4]


class _Way:
    # What is on its way out. An object of its own: a session has so many attributes that one more
    # would need 600 bytes in one piece, in the middle of a connection.
    def __init__(self):
        self.source = None  # of what ``publish`` puts into the outbox
        self.flow = None  # the large message that is on its way: begun, and not yet at its end
        self.stream = self.shut = None  # where its bytes come from, and what closes that
        self.missing = 0  # bytes that have not been read yet
        self.fenced = False  # the fence has to go behind it
        self.out = None  # the last one that the network took to its end
        self.short = None  # the one for which there was no memory
        self.pieces = memoryview(bytearray(_PIECE))

    def close(self):
        shut = self.shut
        self.stream = self.shut = None
        if shut:
            try:
                shut()
            except Exception:
                pass  # the application's: its bytes are on their way all the same

    def begin(self, first, body, size):
        # Return the first piece of a packet.
        n = len(body) + size
        head = bytearray((first,))
        while n > 127:
            head.append(n & 0x7F | 0x80)
            n >>= 7
        head.append(n)
        head += body
        i = len(head)
        if i > _PIECE:
            self.pieces = memoryview(bytearray(i))
        self.pieces[:i] = head
        self.missing = size
        data = self.fill(i)
        return data if self.missing else bytes(data)

    def fill(self, i):
        # The buffer from i on, or as much as is missing.
        pieces = self.pieces
        end = min(len(pieces), i + self.missing)
        while i < end:
            n = self.stream.readinto(pieces[i:end])
            if not n:
                raise EOFError
            i += n
            self.missing -= n
        return pieces[:end]


def sending(base=Session):
    """Return a kind of session, made from ``base``, whose ``publish`` takes a ``Source``.

    (Or a stream: ``Source(stream)``.) It stands on all other kinds: ``sending(durable(Session))``.
    """

    class SendingSession(base):
        """As its base."""

        def __init__(self, *args, **options) -> None:
            self.way = _Way()
            super().__init__(*args, **options)
            self.bare = False

        # --- what the application asks for

        def publish(self, topic, payload=b"", qos=0, retain=False, **options):
            """As the base's; the payload may be a ``Source`` or a stream, and is not copied then.

            At QoS 1 and 2 it must be one that can be read again, for it may have to be repeated,
            and with a store a file, for the program may begin anew: else ValueError.
            """
            if hasattr(payload, "readinto"):
                payload = Source(payload)
            if not isinstance(payload, Source):
                return super().publish(topic, payload, qos, retain, **options)
            path = payload.path.encode()
            if qos and not (path if hasattr(self, "store") else payload.again):
                raise ValueError(
                    "QoS 1 and 2 need a file"
                    if payload.again
                    else "it can be read only once: QoS 0"
                )
            tail = payload.size.to_bytes(4, "big") + bytes((qos, len(path) >> 8, len(path) & 0xFF))
            self.way.source = payload
            try:
                o = super().publish(topic, path + tail, qos, retain, **options)
            finally:
                self.way.source = None
            o.source = payload
            o.size = payload.size
            why = hasattr(self, "server") and self._unfit(o)
            if why:
                self.withdraw(o)
                raise why
            return o

        # --- what the driver tells

        def connect(self, now):
            """As the base's; a large message waits for CONNACK, which may refuse it."""
            burst = getattr(self, "burst", False)
            late = False
            for o in self.outbox[:]:
                if _large(o.packet):
                    self.burst = False
                    # It was cut in its middle, or so it may have been in an earlier life: a
                    # connection, or a wake, may never be as long as it takes. What is not large
                    # goes first.
                    if o.sent == _BEFORE and getattr(o, "least", -hasattr(o, "source")) >= 0:
                        late = True
                    if late:
                        self.outbox.remove(o)
                        self.outbox.append(o)
            super().connect(now)
            if burst:
                self.burst = burst

        def lost(self, error=None):
            """As the base's. A large message that got further than ever before is no suspect."""
            way = self.way
            o = way.flow
            if o and o.expect and way.missing < getattr(o, "least", way.missing + 1):
                o.least = way.missing
                error = None
            self._shut()
            if o and not o.expect:
                self._end(o, ConnectionLost("in the middle of a message"))
            super().lost(error)
            o = way.short
            way.short = None
            if o and o in self.outbox:
                # It may pass. But where it does not, all else would wait for ever.
                o.faults = getattr(o, "faults", 0) + 1
                if o.faults < _FAULTS:
                    return
                if o.expect:
                    from ..trouble import blame

                    blame(self, o, MemoryError())
                else:
                    self._fail(o, MemoryError())

        def tick(self, now):
            """As the base's, but while a large message is on its way: then each piece that the
            network takes is a sign of life."""
            way = self.way
            if not way.flow:
                o = way.out
                # What a network takes at once it may not pass on as fast: 4 s for each KiB of it,
                # as Session has for what it holds.
                if o and o.sent >= 0 and not o.done and self.asked is not None:
                    if now - o.sent & _TICKS < min(o.size, _BUFFERED) << 2:
                        self.asked = now
                return super().tick(now)
            left = max(self.keepalive, self.timeout) + self.timeout - (now - self.sent & _TICKS)
            if left <= 0:
                raise ConnectionLost("no answer")
            return min(left, self.timeout)

        def take(self, now):
            """As the base's, a large message piece by piece. Raises ConnectionLost when its source
            fails in the middle: the message ends with SourceError then."""
            way = self.way
            if not way.flow:
                data = super().take(now)
            else:
                data = self._next()
                self.sent = now
            o = way.flow
            if o and not way.missing and not getattr(self, "ready", None):
                if o.sent >= 0:  # its answer may have come before its end
                    o.sent = now
                    o.least = -1  # never further than that
                    way.out = o
                self._shut()
                if not o.expect:
                    self._end(o)
            return data

        # --- inside

        def _next(self):
            data = getattr(self, "ready", None)  # of a durable one: what it has taken before
            if data:
                self.ready = None
                return data
            if getattr(self, "fault", None):  # of MQTT 5: no way to tell the server
                raise self.fault
            try:
                return self.way.fill(0)
            except MemoryError:
                self.way.short = self.way.flow
                raise
            except Exception as e:  # the application's source: whatever it raises
                self._fail(self.way.flow, e)
                raise _again()

        def _load(self):
            super()._load()
            for o in self.outbox:
                if _large(o.packet):
                    o.size, qos = _parts(o.packet)[3:]
                    o.expect = _PUBLISH + qos

        def _queue(self, packet, pid, expect):
            if self.way.source:
                packet[0] |= 6
            return super()._queue(packet, pid, expect)

        def _unfit(self, o):
            if not _large(o.packet):
                return super()._unfit(o)
            if o.sent < 0:
                at, i, _, size, qos = _parts(o.packet)
                n = i - at + size
                try:
                    n += 2 + (n > 0x7F) + (n > 0x3FFF) + (n > 0x1FFFFF)
                    self._allowed(qos, o.packet[0] & 1, n)
                except MQTTError as e:
                    return e

        def _wire(self, o):
            if not _large(o.packet):
                return super()._wire(o)
            way = self.way
            try:
                path, size, qos = _parts(o.packet)[2:]
                if not hasattr(o, "source"):  # from a store
                    o.source = Source(str(path, "utf-8"), size)
                way.stream, way.shut = o.source.open()
                # The base may know more of a PUBLISH than is in the outbox: an alias, what is left
                # of its time.
                packet = super()._wire(o)
                at, i = _parts(packet)[:2]
                return way.begin(packet[0] & 0xF9 | qos << 1, packet[at:i], size)
            except MemoryError:
                way.short = o  # it may pass; the message is not to be given up for one
                raise
            except Exception as e:  # the application's source, as above
                if not self._fail(o, e):
                    raise _again()
                return b""

        def _sent(self, o, now):
            way = self.way
            if o.done:  # its source failed
                return
            if not _large(o.packet):
                super()._sent(o, now)
            elif not way.missing:
                way.close()
                super()._sent(o, now)
            else:
                way.flow = o
                way.fenced = self.fence == _DUE
                if way.fenced:
                    self.fence = 0
                if o.expect:
                    super()._sent(o, now)
                else:
                    self._drop(o)  # nothing else does from now on

        def _fail(self, o, error):
            # What is wrong with a medium may pass: then the message is tried on other connections.
            # Returns whether it was given up.
            if o.expect and isinstance(error, OSError) and error.errno not in _GONE:
                o.faults = getattr(o, "faults", 0) + 1
                if o.faults < _FAULTS:
                    self._shut()
                    return False
            if hasattr(self, "aliases"):
                self.aliases = {}  # it may have taken one that never went: new ones from here on
            source = getattr(o, "source", None)
            if source and not isinstance(error, MQTTError):
                error = SourceError(source.path or source.what, error)
            self._shut()
            self._end(o, error)
            # Not by a call: who is told may publish, and this is in the middle of that.
            self.troubles += 1
            self.trouble = error
            return True

        def _end(self, o, error=None):
            # (Else its handshake has gone on without waiting for the end.)
            if not o.done and o.packet:
                if o in self.outbox:
                    self._drop(o, True)
                o.packet = None
                o.error = error
                o.done = True
                self.on_output()

        def _shut(self):
            way = self.way
            if way.fenced:
                self.fence = _DUE
            way.flow = None
            way.fenced = False
            way.close()

    return SendingSession

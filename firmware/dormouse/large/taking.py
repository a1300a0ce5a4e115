"""A session that takes messages larger than RAM, each piece by piece as it comes. Sans-IO, but for
what an application awaits: it waits by the client, the session's ``owner``.

One that is longer than ``max_packet`` is given to the application at its beginning. What has come
of it and is not taken yet holds up all that comes behind it: no more is read then (``behind``), so
TCP holds back the broker. It is acknowledged by its ``ack`` as any other, but never before its end.
"""

from binascii import crc32

from micropython import const

from ..packet import ConnectionLost, MQTTError
from ..session import Message, Session

_PUBLISH = const(3)
_CONNECTING = const(1)  # Session.state
_UP = const(2)
_TICKS = const(0x3FFFFFFF)
_PIECE = const(1024)  # bytes that are read at once


class Incomplete(MQTTError):
    """A large message has no end: throw away what came of it, and take the next message.

    At QoS 1 and 2 the broker sends it again, from its first byte: on the next connection, if that
    finds the session (clean=False). Its arguments: why, and how many bytes had come.
    """


# Messages that are no longer than ``max_packet`` can be taken in the same way.


class _Whole:
    def __init__(self, m):
        self.m = m

    def __aiter__(self):
        return self

    async def __anext__(self):
        m = self.m
        at = m.taken
        m.taken = len(m.payload)
        if at == m.taken:
            m.taken = 0  # it has come to its end, and may be taken once more
            raise StopAsyncIteration
        return memoryview(m.payload)[at:]


def _chunks(m):
    return _Whole(m)


async def _readinto(m, buf):
    at = m.taken
    n = min(len(buf), len(m.payload) - at)
    m.taken = at + n
    buf[:n] = memoryview(m.payload)[at : at + n]
    return n


Message.taken = 0  # bytes of its payload
Message.chunks = _chunks
Message.readinto = _readinto


class _Into:
    # What is on its way in; see ``sending._Way``.
    def __init__(self):
        self.body = None  # the large message whose bytes come, or came last
        self.seen = self.since = 0  # what was left of it when ``tick`` looked, and since when
        self.pieces = memoryview(bytearray(_PIECE))


def _head(first, head, five):
    # How long all is that stands before the payload, 0 if that is not there yet.
    n = len(head)
    if n < 2:
        return 0
    at = 2 + (head[0] << 8 | head[1])
    if first & 6:
        at += 2
    if five:
        k = shift = 0
        c = 128
        while c > 127:
            if at >= n:
                return 0
            if shift > 21:
                return n  # malformed: who reads it says so
            c = head[at]
            k |= (c & 0x7F) << shift
            shift += 7
            at += 1
        at += k
    return at if at <= n else 0


def taking(base=Session):
    """Return a kind of session, made from ``base``, that gives messages longer than ``max_packet``
    to the application piece by piece. It stands on all other kinds, and its ``owner`` (of the
    class) is the client.
    """
    five = hasattr(base, "reauthenticate")
    if five:
        from ..mqtt5.session import Message5 as kind
    else:
        kind = Message

    class LargeMessage(kind):
        """A Message whose payload is taken by ``chunks`` or ``readinto``; ``payload`` is empty.
        ``length``: of the payload, in bytes."""

        payload = b""
        chunk = b""  # what came and is not taken yet
        lent = False  # it is with the application
        begun = False  # the application takes it
        skip = False  # what is left of it is read past
        crc = 0

        def chunks(self):
            """Return what is left of the payload, for ``async for``: memoryviews, each valid until
            the next is asked for. Raises Incomplete."""
            return self

        def __aiter__(self):
            return self

        async def __anext__(self):
            if self.lent:
                self._took(len(self.chunk))
            await self._wait()
            if not self.chunk:
                raise StopAsyncIteration
            self.lent = True
            return self.chunk

        async def readinto(self, buf) -> int:
            """Take what there is of the payload, waiting for it; return the number of bytes, 0 at
            its end. Raises Incomplete."""
            if self.lent:
                self._took(len(self.chunk))
            await self._wait()
            n = min(len(buf), len(self.chunk))
            buf[:n] = self.chunk[:n]
            self._took(n)
            return n

        async def _wait(self):
            self.begun = True
            while not self.ready:  # as the client waits, see its ``wait_connected``
                client = self.session.owner
                if not client._task:
                    raise client.error or ConnectionLost("connect() first")
                client._changed.clear()
                await client._changed.wait()
            if self.error:
                raise self.error

        @property
        def ready(self):
            return bool(self.chunk or not self.left or self.error)

        def ack(self, commit=None) -> None:
            """As Message's. What is left of the payload is read past first."""
            if commit is not None and not hasattr(self.session, "commit"):
                raise AttributeError("commit")  # now, and not at its end
            if self.error or self.skip or self.done:
                return
            self._took(len(self.chunk))
            if self.left:
                self.skip = True
                self.commit = commit
            else:
                super().ack(commit)

        def _took(self, n):
            self.lent = False
            self.chunk = self.chunk[n:]
            if not self.chunk:
                self.session.on_output()  # the driver reads on

        def _put(self, chunk):
            self.left -= len(chunk)
            if self.qos:
                self.crc = crc32(chunk, self.crc)
            if not self.skip:
                self.chunk = memoryview(chunk)
                self.session.on_output()

    class TakingSession(base):
        """As its base."""

        owner = None

        def __init__(self, *args, **options) -> None:
            self.into = _Into()
            super().__init__(*args, **options)
            if five:
                self.properties.pop("maximum_packet_size")

        # --- what the driver tells

        def connect(self, now):
            """As the base's."""
            self.into.length = None  # of the payload of the one that begins
            self.into.again = False  # whether only a new connection brings what was left
            super().connect(now)

        def lost(self, error=None):
            """As the base's. A large message that has not come to its end has none."""
            m = self.into.body
            if m and m.left and not m.error:
                self._leave(m, "cut")
            super().lost(error)

        def behind(self):
            """As the base's; also while what came of a large message is not taken."""
            m = self.into.body
            return bool(m and m.chunk) or super().behind()

        @property
        def shed(self):
            """As the base's. Who takes a large message is given more time, see ``tick``."""
            return self.into.shed

        @shed.setter
        def shed(self, value):
            m = self.into.body
            if not (value and m and m.chunk and m.begun):
                self.into.shed = value

        def tick(self, now):
            """As the base's. Answers lie behind a large message: while it comes, each of its bytes
            is a sign of life. It is left to the broker when the application takes nothing of it for
            ``timeout``, and waits for an answer meanwhile."""
            into = self.into
            m = into.body
            if not m or not m.left:
                return super().tick(now)
            if not m.chunk or into.seen != m.left:
                into.seen = m.left
                into.since = now
            elif now - into.since & _TICKS >= self.timeout and self.flying:
                into.shed = True
                self.on_output()
            return min(super().tick(now), self.timeout)

        def take(self, now):
            """As the base's. Raises ConnectionLost when only a new connection brings a large
            message again."""
            data = super().take(now)
            if not data and self.into.again and self.state == _UP:
                e = ConnectionLost("left in the middle")
                e.again = True
                raise e
            return data

        # --- what the application does

        def put_back(self, m):
            """As the base's; one that was begun has to come again from its first byte."""
            if not isinstance(m, LargeMessage) or (m.qos and not m.begun):
                if m:
                    m.taken = 0
                super().put_back(m)
            elif not (m.error or m.skip or m.done):
                self.into.again = m.qos > 0
                self._leave(m, "left")

        # --- inside

        def too_long(self, first, n, data, i):
            into = self.into
            limit = self.limits[3]
            head = b""
            # (A shorter one is one for which there is no memory.)
            need = first >> 4 == _PUBLISH and self.state != _CONNECTING and n + 4 >= limit
            while need:
                end = min(len(data), i + n - len(head))
                # (What is seen at once is not copied: for that there may be no memory.)
                head = head + data[i:end] if head else data[i:end]
                i = end
                need = _head(first, head, five)
                if need or len(head) == n:
                    break
                need = len(head) <= limit
                if need:
                    head = bytes(head)
                    data = yield
                    i = 0
            if not need:  # or what stands before its payload is as long
                data = memoryview(bytes(head) + data[i:])
                return (yield from super().too_long(first, n, data, 0))
            into.length = n - need
            self.size = n  # which is told of one that is malformed
            try:
                self._packet(first, memoryview(head)[:need])
            finally:
                self.size = 0  # it is not this length for which there was no memory
            m = into.body
            pieces = into.pieces
            i -= len(head) - need
            while True:
                chunk = data[i : i + m.left]
                i += len(chunk)
                if len(chunk) > len(pieces):
                    chunk = bytes(chunk)
                else:
                    pieces[: len(chunk)] = chunk  # if it is not there already
                    chunk = pieces[: len(chunk)]
                m._put(chunk)
                if not m.left:
                    break
                # (What nobody takes is read as all else is: there others have their turn.)
                data = yield None if m.skip else pieces[: m.left]
                i = 0
                if m.chunk:  # the driver reads on, though it is not taken
                    self._leave(m, "not taken")
            self._ends(m, first)
            return data, i, len(data)

        def _mark(self, m):
            n = super()._mark(m)
            return n if m.payload else crc32(b"%d" % m.length, n ^ getattr(m, "crc", 0)) & _TICKS

        def _arrived(self, m, first, pid):
            into = self.into
            if into.length is None:
                m.length = len(m.payload)
                super()._arrived(m, first, pid)
                return
            old = into.body
            if old and old.chunk:
                old.chunk = bytes(old.chunk)
            new = into.body = LargeMessage()
            new.topic = m.topic
            new.qos = qos = first >> 1 & 3
            new.pid = pid
            new.session = self
            new.length = new.left = into.length
            into.length = None
            if five:
                new.kept = m.kept
                new.size = m.size
            # What is 1 or 2 in ``resume.repeated`` is read past, and comes to that at its end.
            if first & 8 or (qos == 2 and not self.vague):
                new.skip = qos == 2 and pid in self.released
                for old in self.held:
                    new.skip |= old.pid == pid and old.qos == qos
            if m.done:  # it is malformed
                new.skip = new.done = True
            new.known = new.skip
            if not new.known:
                # Whether it is 5 is known at its end; now it has no CRC.
                super()._arrived(new, first, pid)
                if new not in self.inbox:  # left to the broker
                    self._leave(new, "left")

        def _ends(self, m, first):
            if m.error:
                return
            if m.known:
                self._look(m)
                super()._arrived(m, first, m.pid)
            elif m.skip:
                kind.ack(m, m.commit)
            elif m.qos == 2 and first & 8 and self._mark(m) in self.ended:  # 5
                self._leave(m, "repeated")
                m.done = True
                self.held.append(m)
                self.flush()

        def _look(self, m):
            # A repeat was read past. If it was none, for the broker forgot what this identifier
            # was, it has to come again: now it will be taken for a new one.
            if m.done:
                return
            mark = self._mark(m)
            known = self.released.get(m.pid, -1) in (0, mark)
            for old in self.held[:]:
                if old.pid == m.pid:
                    known |= self._mark(old) == mark
                    if not known:
                        self.held.remove(old)
            if not known:
                self.released.pop(m.pid, None)
                e = ConnectionLost("not as it was")
                e.again = True  # at once
                raise e

        def _leave(self, m, why):
            m.error = Incomplete(why, m.length - m.left)
            m.skip = True
            m.lent = False
            m.chunk = b""
            if m in self.held:
                if self.clean and self.into.shed:  # it does not come again: answered in its turn
                    m.done = True
                    self.flush()
                else:
                    self.held.remove(m)
            if m in self.inbox:
                self.inbox.remove(m)
                self.dropped += not m.qos
            self.on_output()

    return TakingSession

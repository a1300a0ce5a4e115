"""Takes an update in messages larger than RAM, of 32 chunks each: asked for once, not 11 times.

    UPDATE/VERSION/N/32    retained, from the owner: chunks N to N + 31 (or the last), as they are

They are the chunks of ``ota``, which stand at the broker beside these messages: what was begun here
goes on there, in safe mode say, and the other way round. Each comes into one buffer, is verified,
and is on flash before the next one is read.
"""

from micropython import const

from ..packet import MQTTError
from .ota import Ota

_MANY = const(32)  # chunks
_WINDOW = const(3)  # as in ota.py
_PATIENCE = const(3)
_LEAST = const(2080)  # bytes: a chunk as it is sent; offers are shorter


class LargeOta(Ota):
    """As ``Ota``, for a client with ``large=True`` or "in": its messages go to ``receive``.

    Where ``max_packet`` of the client is below a chunk's 2,080 bytes, one of these is all that is
    in RAM of an update.
    """

    _buf = b""

    async def receive(self, message, client) -> bool:
        """As ``handle``, for messages of any length. Raises nothing.

        One of many chunks that is cut, or in which a chunk is not the owner's, ends there, and
        costs nothing else: what was right is on flash, and the rest is asked for chunk by chunk.
        """
        part = self._part(message.topic)
        if part is None:
            return False
        n = self._next - self._next % _MANY
        try:
            if self._id and part == "%d/%d/%d" % (self._id, n, _MANY):
                if hasattr(message, "readinto"):
                    await self._many(message, n, client)
                    return True
            elif not message.payload and getattr(message, "length", 0):
                message.payload = await self._short(message)
        except (MQTTError, OSError, MemoryError):
            self._missed = self._missed or not part
            return True  # as if it had not come
        return self.handle(message, client)

    async def _many(self, message, n, client):
        # Take chunks from n on, while they are right.
        id = self._id
        first = self._next
        buf = self._buffer(self._length(0))
        report = None
        since = self._first
        self._first = self._count  # nothing is told in the middle
        try:
            while n < self._count:
                data = buf[: self._length(n)]
                if not await _fill(data, message):
                    break
                report = self.take("%d/%d" % (id, n), data)  # one that is there is no news
                if self._next <= n or self._id != id:
                    break
                n += 1
        finally:
            self._first = since
        if self._next == first:
            self._again = max(self._again - 1, 1)  # the next time chunk by chunk
        else:
            report = report or self._report("have", None, id, self._of)
        self.tell(report, client)
        if self._next > first:  # else one chunk comes behind it
            self.fetch(client)

    async def _short(self, message):
        # The payload of an offer or a chunk.
        n = message.length
        if n <= _LEAST or (self._id and n <= self._length(0)):
            data = self._buffer(n)[:n]
            if await _fill(data, message):
                return data
        return b""

    def _buffer(self, n):
        if len(self._buf) < n:
            self._buf = memoryview(bytearray(max(n, _LEAST)))
        return self._buf

    def _due(self):
        n = self._next
        left = _MANY - n % _MANY
        if left == _MANY and self._again == _PATIENCE and self._count - n > _WINDOW:
            # The chunk comes behind it, and alone where the owner or the broker has only chunks.
            return "%d/%d" % (n, _MANY), n
        # The rest of a message that was cut. (The message again from its beginning could be cut
        # where it was before, in each wake.)
        return [k for k in super()._due() if k < n + left]


async def _fill(data, message):
    i = 0
    while i < len(data):
        n = await message.readinto(data[i:])
        if not n:
            return False
        i += n
    return True

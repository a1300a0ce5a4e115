"""Numbers in messages, so that who reads them can tell a gap from a repeat. The last one is in a
store on both sides.

Who sends, a client with a store:
    numbers = Counter(client.session)
    node.publish("meter", json.dumps({"n": numbers.next(), "value": 7}), 1)

Who reads:
    order = Sequence(store)
    missing = order.check(n)        # 0: the next one; 3: three are missing; -1: a repeat
    if missing >= 0:
        order.done(n)
"""

from os import urandom

from micropython import const

_MASK = const(0x3FFFFFFF)  # numbers go up to here: more would not be a small int on a chip
_AHEAD = const(0x100000)  # more missing than this: the sender has begun anew
_WINDOW = const(30)  # so many numbers back it is known which of them came


class Counter:
    """Numbers the messages of a client with a store, ``client.session``.

    The number is committed in the record of the next message that is published at QoS 1 or 2: a
    power cut takes both or none of them, so that a number is neither used twice nor left out. It
    stands before what the application commits: take ``state`` for ``session.committed``, and give
    ``pack(state)`` to ``message.ack``. The first number is random: who reads can tell a sender that
    lost its memory from a repeat.
    """

    def __init__(self, session) -> None:
        self.session = session
        kept = session.committed
        self.last = int.from_bytes(kept[:4] if kept else urandom(4), "big") & _MASK
        self.state = kept[4:] if kept else b""

    def next(self, state=None) -> int:
        """Return the number for the message that is published next. ``state`` (bytes): what the
        application commits with it."""
        last = self.last
        self.last = last + 1 & _MASK
        try:
            self.session.commit(self.pack(self.state if state is None else state))
        except BaseException:  # no memory, say: none is to be left out
            self.last = last
            raise
        return self.last

    def pack(self, state) -> bytes:
        """Return ``state`` with the last number before it, for ``message.ack``."""
        self.state = bytes(state)
        return self.last.to_bytes(4, "big") + self.state


class Sequence:
    """Checks the numbers of one sender. ``store``, ``key``: where the last one is kept.

    ``missed``: how many never came; ``anew``: how often the sender began anew. Both since the start
    of this program.
    """

    missed = anew = 0

    def __init__(self, store, key: int = 0x101) -> None:
        self.store = store
        self.key = key
        kept = store.data.get(key)
        self.last = int.from_bytes(kept[:4], "big") if kept else None
        # Which of the numbers before the last one came: bit 0 is the one before.
        self._came = int.from_bytes(kept[4:8], "big") if kept else 0

    def check(self, n: int) -> int:
        """Return how many are missing before ``n``: 0 if it is the next one, comes late, or is the
        first of a sender that began anew; -1 if it is a repeat, or no whole number."""
        if not isinstance(n, int):
            return -1
        if self.last is None:
            return 0
        ahead = n - self.last & _MASK
        if ahead == 0:
            return -1
        if ahead < _AHEAD:
            return ahead - 1
        back = self.last - n & _MASK
        return -1 if back <= _WINDOW and self._came >> back - 1 & 1 else 0

    def done(self, n: int, changes=None) -> None:
        """Note that ``n`` is done with, in one record with ``changes`` of the application's own
        keys (16 to 255). Raises OSError or StoreFull; then nothing has changed."""
        came = self._came
        n &= _MASK
        last = n
        missed = anew = 0
        if self.last is not None:
            ahead = n - self.last & _MASK
            back = self.last - n & _MASK
            if ahead == 0:
                return
            if ahead < _AHEAD:
                missed = ahead - 1
                came = (came << ahead | 1 << ahead - 1) & _MASK if ahead <= _WINDOW else 0
            elif back <= _WINDOW:  # late: it is missing no more
                last = self.last
                missed = -1
                came |= 1 << back - 1
            else:
                anew = 1
                came = 0
        new = dict(changes or {})
        new[self.key] = last.to_bytes(4, "big") + came.to_bytes(4, "big")
        self.store.save(new)
        self.last = last
        self._came = came
        self.missed += missed
        self.anew += anew

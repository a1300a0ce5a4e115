"""A consumer that does once what comes twice: by an id, by the state it asks for, or by time.

QoS 2 does not deliver a message twice; but whoever sends it may publish it twice, and at QoS 1 the
broker may deliver it twice. What was done is kept in a store, in one record with what the
application keeps of it, so it outlasts a reset at any moment:

    once = Once(store)
    async for command in node.wake():
        id = fields(command.payload).get("id")          # of module steady
        if id is not None and not once.seen(id):
            relay ^= 1
            once.done(id, changes={16: bytes((relay,))})     # one record: both, or none of them
"""

from hashlib import sha256
from time import time

from micropython import const

from .age import now

_NAME = const(6)  # bytes of a digest: of 10**13 new ones one is taken for a repeat
_ENTRY = const(12)


def _digest(text):
    if not isinstance(text, (bytes, bytearray, memoryview)):
        text = str(text).encode("utf-8", "surrogatepass")  # JSON may hold one; CPython would raise
    return sha256(text).digest()[:_NAME]


class Once:
    """Knows what was done.

    ``store``: a ``store.Store``. ``key``: where in it, of your own for each Once. ``size``: how
    many it remembers, 12 bytes each; the oldest is forgotten. It must be more than can come again:
    what the broker has in flight to this client (20 for mosquitto), and what senders repeat.

    What a repeat is:
        by id (the default)   the same ``what`` is remembered
        ``state=True``        the last ``value`` for that ``what`` was the same: "on" when it is on
        ``within=30``         the same ``what`` was done less than 30 s ago. With a clock that was
                              never set, only since the last reset.
    """

    def __init__(
        self, store, key: int = 0x100, size: int = 24, state: bool = False, within: float = 0
    ) -> None:
        self.store = store
        self.key = key
        self.size = size
        self.state = state
        self.within = within
        self._ring = None  # looked at when it is needed: then the clock may be set

    def seen(self, what, value="") -> bool:
        """Tell whether this (str, bytes or int) is a repeat."""
        at = self._find(_digest(what))
        if at < 0:
            return False
        kept = self._ring[at + _NAME : at + _ENTRY]
        if self.within:
            # (It may have been set back meanwhile, by some seconds.)
            return abs(int(time()) - int.from_bytes(kept, "big")) < self.within
        return not self.state or kept == _digest(value)

    def done(self, what, value="", changes=None) -> None:
        """Note that this is done, in one record with ``changes`` of the application's own keys (16
        to 255). Raises OSError or StoreFull; then nothing has changed."""
        name = _digest(what)
        at = self._find(name)
        ring = self._ring
        if at >= 0:
            ring = ring[:at] + ring[at + _ENTRY :]
        kept = int(time()).to_bytes(6, "big") if self.within else _digest(value)
        ring = (ring + name + kept)[-self.size * _ENTRY :]
        new = dict(changes or {})
        new[self.key] = ring
        self.store.save(new)
        self._ring = ring

    def forget(self) -> None:
        """Forget all. Raises OSError."""
        self.store.save({self.key: None})
        self._ring = b""

    def _find(self, name):
        if self._ring is None:
            # The clock of an RP2 is the same at each boot: then times from before mean nothing.
            lost = self.within and not now()
            self._ring = b"" if lost else bytes(self.store.data.get(self.key) or b"")
        for at in range(0, len(self._ring), _ENTRY):
            if self._ring[at : at + _NAME] == name:
                return at
        return -1

"""The last lines that a node printed, kept in a small ring and over a reset."""

from time import gmtime

from micropython import const

_LOG = const(9)  # key in the store
_YEAR = const(2024)  # a clock that says less was never set: RP2's begins in 2021, ESP32's in 2000


class Log:
    """Prints, and keeps the last ``size`` bytes of what it printed, in whole lines.

    ``store`` (a ``store.Store``, or None): where ``save`` puts them, and from where those before
    the last reset come; with RTC memory leave room for them. Lines begin with month, day and time
    (UTC, as the clock has it) if the clock is set. Whoever may subscribe to the log reads it: never
    give it a password, or a text from somebody else that may hold one.
    """

    def __init__(self, store=None, size: int = 512) -> None:
        self.store = store
        self.ring = bytearray(size)
        self.used = 0
        self.due = False
        old = store and store.data.get(_LOG)
        if old:
            self._add(old)

    def __call__(self, *words, keep: bool = False) -> None:
        """Print words. ``keep``: it is noteworthy, so the next ``save`` writes."""
        line = " ".join([str(word) for word in words])
        print(line)
        if keep:
            self.due = True
        t = gmtime()
        if t[0] >= _YEAR:
            line = "%02d-%02d %02d:%02d:%02d " % t[1:6] + line
        self._add((line + "\n").encode())

    def text(self) -> bytes:
        """Return the lines, the oldest first, as UTF-8."""
        return bytes(self.ring[: self.used])

    def save(self, changes=None) -> bool:
        """Put the lines into the store if there was a noteworthy one since the last time, and with
        them, in one record, other ``changes`` (see ``Store.save``), if any.

        Returns whether all is on the medium; raises nothing, whatever the store raises.
        """
        changes = dict(changes or {})
        if self.due:
            changes[_LOG] = self.text()
        try:
            if changes:
                self.store.save(changes)
        except Exception:  # no store, no room, a broken medium: the node goes on
            return False
        self.due = False
        return True

    def _add(self, data):
        # Whole lines go, the oldest first; of one that is too long its end.
        ring = memoryview(self.ring)
        size = len(ring)
        data = data[-size:]
        drop = self.used + len(data) - size
        if drop > 0:
            # What is kept begins behind the first line end that leaves room.
            drop = self.ring.find(b"\n", drop - 1, self.used) + 1 or self.used
            self.used -= drop
            ring[: self.used] = ring[drop : drop + self.used]
        ring[self.used : self.used + len(data)] = data
        self.used += len(data)

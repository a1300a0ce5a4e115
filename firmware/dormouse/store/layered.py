"""Two media as one: flash for messages and RTC memory for small state, say."""

from micropython import const

from . import Store

_MESSAGES = const(0x40000)  # keys from here on are messages


class Layered(Store):
    """Messages in ``large``, small state in ``small``, two Stores: flash and RTC memory, say.

    It survives what both survive. A change of both takes two records, and the power may be cut
    between them: what is added is there before what it replaces is gone.
    """

    def __init__(self, small: Store, large: Store) -> None:
        self.small = small
        self.large = large
        self.survives = min(small.survives, large.survives)
        self.warning = small.warning or large.warning
        super().__init__()

    def read(self) -> dict:
        data = dict(self.large.data)
        data.update(self.small.data)  # what one of them has from before is the older
        return data

    def write(self, changes: dict) -> None:
        small = {}
        new = {}
        gone = {}
        for key, value in changes.items():
            (small if key < _MESSAGES else gone if value is None else new)[key] = value
            # One of the two was all there was, before the program was changed: from there it goes.
            if key < _MESSAGES:
                if key in self.large.data:
                    gone[key] = None
            elif key in self.small.data:
                small[key] = None
        if not small:
            new.update(gone)  # one record
            gone = {}
        large = self.large
        undo = []
        try:
            for store, part in ((large, new), (self.small, small), (large, gone)):
                old = {}
                for key in part:
                    old[key] = store.data.get(key)
                store.save(part)
                undo.append((store, old))
            undo = []
        finally:
            for store, old in undo[::-1]:
                store.save(old)

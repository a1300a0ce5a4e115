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
        data = dict(self.small.data)
        data.update(self.large.data)
        return data

    def write(self, changes: dict) -> None:
        small = {}
        new = {}
        gone = {}
        for key, value in changes.items():
            (small if key < _MESSAGES else gone if value is None else new)[key] = value
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

"""A store in the ESP32's NVS, a partition of its flash: it survives power loss.

All is in one blob, so a change of several keys is there whole or not at all: a power cut loses
nothing but the value being written (ESP-IDF, "Non-Volatile Storage Library", robustness). Each
save writes all of it, in entries of 32 bytes, 126 of them per erased page: right for small state
and a few small messages; else ``journal``.
"""

from micropython import const

from . import StoreFull
from .rtc import Blob

_KEY = "store"
_NOT_FOUND = const(-0x1102)  # ESP_ERR_NVS_NOT_FOUND; MicroPython raises OSError(-code, name)
_LONG = const(-0x110C)  # INVALID_LENGTH: longer than the piece
_NO_SPACE = (-0x1105, -0x110D, -0x110E)  # NOT_ENOUGH_SPACE, NO_FREE_PAGES, VALUE_TOO_LONG


class NVSStore(Blob):
    """A store in NVS namespace ``namespace`` (str, up to 15 characters) of ``size`` bytes at most.

    Old and new blob must fit beside each other into what else uses NVS (Wi-Fi does): of the usual
    24 KB partition 20 KB are usable, so 4,000 bytes are safe.

    Raises ImportError on a board without ``esp32``, OSError if NVS cannot be opened.
    """

    survives = 2

    def __init__(self, namespace: str = "dormouse", size: int = 4000) -> None:
        from esp32 import NVS  # type: ignore[import-not-found]  # no other port has it

        self.nvs = NVS(namespace)
        super().__init__(size)

    def load(self):
        try:
            self.nvs.get_blob(_KEY, self.piece)
        except OSError as e:
            if e.errno == _NOT_FOUND:
                return b""
            if e.errno != _LONG:
                raise
            return b"-"  # another program's
        return self.piece

    def dump(self, blob):
        try:
            self.nvs.set_blob(_KEY, blob)
            self.nvs.commit()
        except OSError as e:
            if e.errno in _NO_SPACE:
                raise StoreFull(self.size)
            raise

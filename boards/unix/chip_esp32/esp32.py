"""The esp32 module of the simulated board: NVS, and which pins wake.

NVS as ports/esp32/esp32_nvs.c and ESP-IDF's nvs_flash document it: a key has at most 15
characters; what was set is on the flash after ``commit``, entry by entry, each whole or not at
all; an entry takes pieces of 32 bytes, and one page of 4,096 is kept free.
https://docs.espressif.com/projects/esp-idf/en/stable/esp32/api-reference/storage/nvs_flash.html
"""

import os

import _board
from _board import state

WAKEUP_ALL_LOW = False
WAKEUP_ANY_HIGH = True

_ERRORS = {
    "ESP_ERR_NVS_NOT_FOUND": 0x1102,
    "ESP_ERR_NVS_NOT_ENOUGH_SPACE": 0x1105,
    "ESP_ERR_NVS_INVALID_NAME": 0x1106,
    "ESP_ERR_NVS_KEY_TOO_LONG": 0x1109,
    "ESP_ERR_NVS_INVALID_LENGTH": 0x110C,
}


def _error(name):
    # check_esp_err in ports/esp32/mphalport.c
    return OSError(-_ERRORS[name], name)


def _pieces(n):
    # A blob: its index, a header, the content; ESP-IDF's "Structure of entry".
    return 2 + (n + 31) // 32


class NVS:
    """One namespace. Raises OSError(negative code, name) as the chip does."""

    def __init__(self, namespace):
        if not 0 < len(namespace) <= 15:
            raise _error("ESP_ERR_NVS_INVALID_NAME")
        self._prefix = namespace + "."
        self._set = {}  # not committed yet; None: erased
        try:
            os.mkdir(_board.path("nvs"))
        except OSError:
            pass

    def set_i32(self, key, value):
        self._put(key, b"i" + (value & 0xFFFFFFFF).to_bytes(4, "little"))

    def get_i32(self, key):
        data = self._get(key, b"i")
        value = int.from_bytes(data, "little")
        return value - (1 << 32) if value >> 31 else value

    def set_blob(self, key, value):
        self._put(key, b"b" + bytes(value))

    def get_blob(self, key, buffer):
        data = self._get(key, b"b")
        if len(data) > len(buffer):
            raise _error("ESP_ERR_NVS_INVALID_LENGTH")
        memoryview(buffer)[: len(data)] = data
        return len(data)

    def erase_key(self, key):
        self._read(key)
        self._set[key] = None

    def commit(self):
        while self._set:
            key = next(iter(self._set))
            self._store(key, self._set[key])
            del self._set[key]

    def _put(self, key, data):
        if not 0 < len(key) <= 15:
            raise _error("ESP_ERR_NVS_KEY_TOO_LONG" if key else "ESP_ERR_NVS_INVALID_NAME")
        room = (state.config["nvs"] // 4096 - 1) * 126
        for name in os.listdir(_board.path("nvs")):
            if name[-4:] != ".new":
                room -= _pieces(os.stat(_board.path("nvs/" + name))[6] - 1)
        # The old value stays until the new one is whole.
        if _pieces(len(data) - 1) > room:
            raise _error("ESP_ERR_NVS_NOT_ENOUGH_SPACE")
        self._set[key] = data

    def _get(self, key, kind):
        data = self._read(key)
        if data[:1] != kind:
            raise _error("ESP_ERR_NVS_NOT_FOUND")
        return data[1:]

    def _read(self, key):
        data = self._set.get(key, b"")
        if data == b"":
            try:
                with open(_board.path("nvs/" + self._prefix + key), "rb") as f:
                    data = f.read()
            except OSError:
                data = None
        if data is None:
            raise _error("ESP_ERR_NVS_NOT_FOUND")
        return data

    def _store(self, key, data):
        name = "nvs/" + self._prefix + key
        if data is None:
            _board.remove(name)
            return
        n = 32 * _pieces(len(data) - 1)  # what the flash programs
        if _board.spend(n) < n:
            _board.dead()
        _board.replace(name, data)


def wake_on_ext0(pin=None, level=None):
    """A pin that wakes; ``None`` for none. Which one does not matter to the simulation."""
    state.pins = None if pin is None else "ext0"


def wake_on_ext1(pins=None, level=None):
    """Pins that wake, any of them."""
    if pins is not None:
        state.pins = "ext1" if len(pins) else None

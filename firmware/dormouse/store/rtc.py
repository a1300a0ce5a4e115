"""A store in the ESP32's RTC memory: it survives deep sleep and soft reset, not power loss.

MicroPython 1.22 and later (ports/esp32/machine_rtc.c) have it as RTC_NOINIT_ATTR, so it
also survives ``machine.reset()``, a panic and the watchdog, but for builds that set
MICROPY_HW_RTC_MEM_INIT_ALWAYS. A power cut, a brown-out and the EN pin end it. No flash is worn.
"""

from io import BytesIO

from micropython import const

from . import MAGIC, Store, StoreFull, message, pack, size, unpack

_LOG = const(9)  # keys in the store
_ENDED = const(13)
_SEEN = const(0x10000)  # identifiers of incoming QoS 2 messages, up to
_OUTGOING = const(0x20000)
_HONEST = const(20)  # identifiers
_HEAD = const(12)  # bytes beside the entries


class Blob(Store):
    """The base of media that hold all in one piece of ``size`` bytes at most, messages in seven
    eighths of it.

    A subclass gives ``load``, which returns that piece, whatever follows it, or b"" for none
    (OSError is for what it cannot read), and ``dump(piece)``, after which the old or the new one
    is there.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        super().__init__()

    def read(self) -> dict:
        try:
            blob = self.load()
            if not blob:
                return {}
            f = BytesIO(blob)
            if f.read(len(MAGIC)) == MAGIC:
                return unpack(f, 0, len(blob) - len(MAGIC))[0]
        except (EOFError, ValueError, OSError):
            pass
        self.warning = "%s: corrupt or foreign, reset" % type(self).__name__
        return {}

    def write(self, changes: dict) -> None:
        new = message(changes)
        limit = self.size * 7 >> 3 if new else self.size
        data = self.data
        blob = _blob(data)
        if len(blob) > limit:
            # Were nothing written, nothing could leave any more. So what is not the node's goes
            # first: the log; what tells messages that came, which only matters if they come
            # again. For a new message only those beyond what an honest broker has in flight.
            data = dict(data)
            seen = []
            for key in sorted(data):
                if key in (_LOG, _ENDED) or _SEEN <= key < _OUTGOING:
                    seen.append(key)
            for key in seen[: -_HONEST if new else len(seen)]:
                del data[key]
                if size(data) + _HEAD <= limit:
                    break
            blob = _blob(data)
            if len(blob) > limit:
                raise StoreFull(self.size)
        self.dump(blob)


def _blob(data):
    # In one piece of its size: one that grows needs twice the room in the end, side by side.
    blob = memoryview(bytearray(size(data) + _HEAD))
    end = len(MAGIC)
    blob[:end] = MAGIC

    def put(part):
        nonlocal end
        blob[end : end + len(part)] = part
        end += len(part)

    pack(put, data, 0)
    return blob[:end]


class RTCStore(Blob):
    """A store in ``machine.RTC().memory()`` of ``size`` bytes at most: 2,048 unless the firmware
    was built with another MICROPY_HW_RTC_USER_MEM_MAX.

    Nothing else may use that memory. A reset in the few us while it is copied (a watchdog, a panic)
    leaves it corrupt, which is found by its CRC: then it is empty, with ``warning``.

    Raises ValueError on a board without RTC memory (RP2040): use ``journal.Journal`` there.
    """

    survives = 1

    def __init__(self, size: int = 2048) -> None:
        from machine import RTC

        if not hasattr(RTC, "memory"):
            raise ValueError("no RTC memory on this board: use journal.Journal")
        self.load = self.dump = RTC().memory
        super().__init__(size)

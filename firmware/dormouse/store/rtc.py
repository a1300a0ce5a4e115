"""A store in the ESP32's RTC memory: it survives deep sleep and soft reset, not power loss.

MicroPython 1.22 and later (ports/esp32/machine_rtc.c) have it as RTC_NOINIT_ATTR, so it
also survives ``machine.reset()``, a panic and the watchdog, but for builds that set
MICROPY_HW_RTC_MEM_INIT_ALWAYS. A power cut, a brown-out and the EN pin end it. No flash is worn.
"""

from io import BytesIO
from time import sleep

from micropython import const

from . import MAGIC, Store, StoreFull, message, pack, size, unpack, update

_LOG = const(9)  # keys in the store
_ENDED = const(13)
_SEEN = const(0x10000)  # identifiers of incoming QoS 2 messages, up to
_OUTGOING = const(0x20000)
_HONEST = const(20)  # identifiers
_BESIDE = const(9)  # bytes beside the entries and their length: MAGIC, the check byte, CRC-32


class Blob(Store):
    """The base of media that hold all in one piece of ``size`` bytes at most, messages in seven
    eighths of it, the application's keys in fifteen sixteenths. The room for that piece is taken
    once, when there still is one that large: the heap of a node that is awake for long is in
    pieces.

    A subclass gives ``load``, which returns that piece, whatever follows it, or b"" for none, and
    ``dump(piece)``, after which the old or the new one is there. Where ``load`` raises OSError
    again and again, ``save`` does so until the next start: what was not read is not written over.
    """

    _unread = None  # why not

    def __init__(self, size: int) -> None:
        self.size = size
        self.piece = bytearray(size)
        super().__init__()

    def read(self) -> dict:
        for ms in (20, 100, 400, 0):  # it may pass: a voltage, say
            try:
                blob = self.load()
                self._unread = None
                break
            except OSError as e:
                self._unread = e
                sleep(ms / 1000)
        else:
            self.warning = "%s: not read: %r" % (type(self).__name__, self._unread)
            return {}
        if not blob:
            return {}
        try:
            f = BytesIO(blob)
            if f.read(len(MAGIC)) == MAGIC:
                data = {}
                update(data, unpack(f, 0, len(blob) - len(MAGIC))[0])
                return data
        except (EOFError, ValueError):
            pass
        self.warning = "%s: corrupt or foreign, reset" % type(self).__name__
        return {}

    def write(self, changes: dict) -> None:
        if self._unread:
            raise self._unread
        new = message(changes)
        limit = self.size * 7 >> 3 if new else self.size
        for key in changes:  # the application's: what it keeps is not to keep messages from leaving
            if not new and 15 < key < 512:
                limit = self.size * 15 >> 4
        data = self.data
        if _length(data) > limit:
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
                if _length(data) <= limit:
                    break
            else:
                raise StoreFull(self.size)
        self.dump(self._packed(data))

    def _packed(self, data):
        piece = memoryview(self.piece)
        end = 0

        def put(part):
            nonlocal end
            piece[end : end + len(part)] = part
            end += len(part)

        put(MAGIC)
        pack(put, data, 0)
        return piece[:end]


def _length(data):
    n = size(data)
    return n + (1 if n < 128 else 2 if n < 16384 else 3) + _BESIDE


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

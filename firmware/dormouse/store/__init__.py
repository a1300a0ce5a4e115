"""Where a session survives. Here: in RAM, the base of all media; the record.

Media have modules of their own: ``journal`` (a file), ``rtc`` (ESP32 RTC memory), ``nvs`` (ESP32),
``layered`` (two of them as one).
One of your own (FRAM, SD card, SQLite) is a subclass of ``Store`` with ``read`` and ``write``.
"""

from binascii import crc32

from micropython import const

from .. import __getattr__ as _find
from ..packet import MQTTError

_MESSAGES = const(0x40000)  # keys from here on are messages
MAGIC = b"dmo\x01"  # the last byte is the version; records follow


def __getattr__(name):
    # Journal, RTCStore, NVSStore, Layered
    home = {"J": "journal", "R": "rtc", "N": "nvs", "L": "layered"}.get(name[0], "")
    return _find(name, "dormouse.store", home)


class StoreFull(MQTTError):
    """The medium or its limit has no room: nothing was changed."""


class Store:
    """What must survive, by key (int, 1 to 2**30 - 1): in RAM, so it ends with the process.

    ``data``: what is stored, a dict of int to bytes, bytearray or memoryview; not to be changed but
    by ``save``. ``survives``: 0 nothing, 1 deep sleep and soft reset, 2 power loss too.
    ``warning``: a str if what was found on the medium was corrupt or foreign, or None.
    ``failed``: what ``save`` raised last, or None.
    """

    survives = 0
    warning = failed = None

    def __init__(self) -> None:
        self.data = self.read()

    def read(self) -> dict:
        """Return what the medium holds. Of what cannot be read, keep what can, set ``warning`` and
        do not raise: a node that does not start is worse than one that forgot."""
        return {}

    def write(self, changes: dict) -> None:
        """Put ``changes`` on the medium, all or none, a power cut at any moment included; ``data``
        has them already, for media that hold all of it in one piece. A value None removes the key.
        ``changes`` are the session's: they are not to be changed.
        Raises StoreFull, OSError."""

    def save(self, changes: dict) -> None:
        """Put ``changes`` on the medium, all or none; None removes a key. They are there when this
        returns. If it raises (StoreFull, OSError; ValueError for a key below 1, TypeError for a
        str), nothing has changed."""
        if not changes:
            return
        data = self.data
        old = {}
        try:
            for key in changes:  # as ``update`` does
                value = changes[key]
                old[key] = data.get(key)
                if key < 512:  # the application's: MicroPython would write both as something else
                    if key < 1:
                        raise ValueError("a store's keys begin at 1", key)
                    if key > 15 and isinstance(value, str):
                        raise TypeError("a store keeps bytes, and no str", key)
                if value is not None:
                    data[key] = value
                elif key in data:
                    del data[key]
            self.write(changes)
        except BaseException as e:
            update(data, old)
            self.failed = e  # last: there may be no memory for an attribute
            raise


def message(changes: dict) -> bool:
    """Return whether a message is added. Where there is a limit it is for these: what their
    handshakes need beside them must find room, or no message could ever leave."""
    for key in changes:
        if key >= _MESSAGES and changes[key] is not None:
            return True
    return False


def update(data: dict, changes: dict) -> None:
    """Apply changes to a dict."""
    for key in changes:
        value = changes[key]
        if value is not None:
            data[key] = value
        elif key in data:
            del data[key]


# A record, in which a medium of bytes holds changes. Numbers: seven bits a byte, the lowest first,
# all but the last byte with 0x80 added.
#     the length of the entries; a check byte, which tells a length that is wrong from a torn record
#     entries: the key; 0 to remove it, or 1 + the value's length, and the value
#     CRC-32 of all before it in this medium, low byte first, so no stale record fits by chance


_SMALL = const(64)  # bytes that are copied rather than written by themselves


def _add(out, n):
    while n > 127:
        out.append(n & 127 | 128)
        n >>= 7
    out.append(n)


def entry(key: int, value) -> int:
    """Return how many bytes an entry takes; with a value None, that which removes the key."""
    n = 2
    length = 0
    if value is not None:
        length = len(value) + 1
        n += length - 1
    while key > 127:
        key >>= 7
        n += 1
    while length > 127:
        length >>= 7
        n += 1
    return n


def size(changes: dict) -> int:
    """Return how many bytes the entries of changes take."""
    n = 0
    for key, value in changes.items():
        n += entry(key, value)
    return n


def pack(write, changes: dict, crc: int) -> tuple:
    """Give a record to ``write(bytes)``, long values from where they are; ``crc``: the one before
    it.

    Returns its CRC and its length in bytes. Raises what ``write`` raises.
    """
    out = bytearray()
    _add(out, size(changes))
    crc = crc32(out, crc)
    out.append(crc >> 24)
    crc = crc32(out[-1:], crc)
    write(out)
    n = len(out)
    out = bytearray()
    for key, value in changes.items():
        _add(out, key)
        if value is None:
            out.append(0)
            continue
        _add(out, len(value) + 1)
        if len(value) < _SMALL:
            out += value  # a call of write takes longer than to copy so few
            value = b""
        if value or len(out) > _SMALL:
            for part in (out, value):
                if part:
                    write(part)
                    crc = crc32(part, crc)
                    n += len(part)
            out = bytearray()
    crc = crc32(out, crc)
    out += crc.to_bytes(4, "little")
    write(out)
    return crc, n + len(out)


def unpack(f, crc: int, left: int) -> tuple:
    """Read a record from stream ``f``, in which ``left`` bytes remain; ``crc``: the one before it.

    Returns changes, whose values are bytearrays, and its CRC. Raises EOFError if the record is torn
    off, ValueError if it is corrupt.
    """
    error = EOFError

    def take(n):
        nonlocal crc, left
        left -= n
        if left < 0:
            raise error
        data = bytearray(n)
        if f.readinto(data) != n:
            raise error
        crc = crc32(data, crc)
        return data

    def number():  # as take(1), without a call and an array for each byte
        nonlocal crc, left
        n = shift = 0
        while shift < 35:
            byte = f.read(1)
            if not left or not byte:
                raise error
            left -= 1
            crc = crc32(byte, crc)
            n |= (byte[0] & 127) << shift
            if byte[0] < 128:
                return n
            shift += 7
        raise ValueError

    n = number()
    check = crc >> 24
    if take(1)[0] != check:
        raise ValueError
    if left < n + 4:
        raise EOFError
    left = n
    error = ValueError
    changes = {}
    while left:
        key = number()
        n = number()
        changes[key] = take(n - 1) if n else None
    if f.read(4) != crc.to_bytes(4, "little"):
        raise ValueError
    return changes, crc

"""A store in a file, on any filesystem that MicroPython mounts: it survives power loss.

Records are appended (``store``: the record). When most of the file is stale, what is live goes to
NAME.new, which then takes the file's place: at any moment one of the two is whole.

littlefs is made for power cuts. FAT needs a medium that writes a sector whole or not at all (an SD
card does; FAT on bare flash does not).
"""

import os
from time import sleep

from micropython import const

from . import MAGIC, Store, StoreFull, entry, message, pack, size, unpack, update

_SMALL = const(128)  # bytes: while a file is no longer, littlefs has it in its directory (ESP32)
_LIVE = const(116)  # and what is live makes one that is not
_OVERHEAD = const(6)  # bytes of a record beside its entries
_ENOENT = (2, 44)  # 44: WebAssembly's
_EEXIST = const(17)
_ENOMEM = const(12)
_ENOSPC = const(28)
_STARTS = const(3)  # starts in vain until a journal that cannot be read is moved aside


class Journal(Store):
    """A store in the file ``path`` (str); beside it ``path``.new, .bad, .room and .unread.

    ``limit``: bytes of live content, keys included, beyond which ``save`` takes no new message and
    raises StoreFull. ``reserve``: bytes of a file that keeps room on the medium. It is given up
    when the medium is full, so that what waits can still leave; then no new message is taken until
    there is room for it again. ``saves`` and ``written`` (bytes given to the filesystem) count the
    wear, since this object was made.

    If the file is corrupt or foreign, it is moved to ``path``.bad, what precedes the damage is
    kept, and ``warning`` tells. (A false alarm, with nothing lost, can follow a full filesystem.)
    If it cannot be read, ``save`` raises OSError until the next start, for that may go better; the
    third start in vain moves it aside. Raises OSError in ``save`` only, with ``path`` in it.

    On CPython a save is synced, but not the folder: there a power cut may undo the last rename.
    """

    survives = 2

    def __init__(self, path: str, limit: int = 16384, reserve: int = 0) -> None:
        self.path = path
        self.limit = limit
        self.reserve = reserve
        self._room = None  # bytes of its file; -1: none was ever made; None: not looked yet
        self._unread = None  # why the journal could not be read
        self.saves = self.written = 0
        # _crc, _end: of the last good record. _sound: the file ends there. _bad: move it aside.
        self._crc = self._end = 0
        self._file = self._sound = self._bad = None
        super().__init__()
        self._live = size(self.data)  # bytes of what is live

    def read(self) -> dict:
        # What is wrong with a medium may pass: a bad contact, a voltage. What was not read is not
        # lost, and must not be written over.
        for ms in (20, 100, 400, 0):
            self.data = {}
            self.warning = self._bad = None
            self._crc = self._end = self._sound = 0
            try:
                self._read()
                break
            except (OSError, MemoryError) as e:
                sleep(ms / 1000)
                self._unread = OSError(e.errno if isinstance(e, OSError) else _ENOMEM, self.path)
        else:
            self.data = {}
            self.warning = "not read: %r" % self._unread
            if self._starts() < _STARTS:
                return self.data
            self._bad = True
        self._unread = None
        if self._bad:
            try:
                self._rewrite()
            except OSError:
                pass  # full: the next save tries again
        try:
            os.remove(self.path + ".unread")
        except OSError:
            pass
        return self.data

    def _starts(self):
        # Count a start that could not read.
        try:
            with open(self.path + ".unread", "ab") as f:
                f.write(b".")
            return os.stat(self.path + ".unread")[6]
        except OSError:
            return 0

    def _read(self):
        path = self.path
        data = self.data
        try:
            left = os.stat(path)[6]
        except OSError as e:
            if e.errno not in _ENOENT:
                raise
            try:
                # The power was cut when it was about to take its place: it is whole.
                os.rename(path + ".new", path)
                left = os.stat(path)[6]
            except OSError as e:
                if e.errno not in _ENOENT:
                    raise
                return  # nothing was ever saved
        self._remove_new()
        try:
            with open(path, "rb") as f:
                head = f.read(len(MAGIC))
                if not MAGIC.startswith(head):
                    raise ValueError
                end = len(head)
                while end < left:
                    changes, self._crc = unpack(f, self._crc, left - end)
                    update(data, changes)
                    end = self._end = f.tell()
            self._sound = self._end
        except EOFError:
            pass  # torn: the next save writes the file anew
        except ValueError:
            self.warning = "%s: corrupt from byte %d on" % (path, self._end)
            self._bad = True

    def save(self, changes: dict) -> None:
        # Not counted anew each time: there may be a thousand messages.
        data = self.data
        before = live = self._live
        for key, value in changes.items():
            if key in data:
                live -= entry(key, data[key])
            if value is not None:
                live += entry(key, value)
        self._live = live
        try:
            super().save(changes)
        except BaseException:
            self._live = before
            raise

    def write(self, changes: dict) -> None:
        if self._unread:
            raise self._unread
        live = self._live
        new = message(changes)
        if new and (live > self.limit or not self._keeps_room()):
            raise StoreFull(self.limit)
        try:
            self._write(changes, live)
        except StoreFull:
            # If it passes, no message that waits is to go for it.
            if not new:
                if not self.reserve or not self._keeps_room() or self._room < 0:
                    raise
                with open(self.path + ".room", "wb"):  # empty: it was given up
                    self._room = 0
            self._write(changes, live)

    def _keeps_room(self):
        # Whether a message may be taken: the reserve is there, or there was never room for one.
        if not self.reserve:
            return True
        if self._room is None:
            path = self.path
            file = path + ".room"
            try:
                self._room = os.stat(file)[6]
            except OSError:
                self._room = -1
            try:
                if self._room < self.reserve:
                    vfs = os.statvfs(path[: path.rfind("/") + 1] or ".")
                    # Not the last that there is: of a small medium there may never be enough.
                    if vfs[1] * vfs[3] >= self.reserve * (4 if self._room < 0 else 2):
                        with open(file, "wb") as f:
                            for _ in range(0, self.reserve, 256):
                                f.write(bytes(256))
                        self._room = self.reserve
            except OSError:
                pass
        return self._room

    def _write(self, changes, live):
        n = self._end + size(changes) + _OVERHEAD
        try:
            if not self._sound or (n > _SMALL and (live < _LIVE or n > 2 * live)):
                try:
                    self._rewrite()
                    changes = None
                    self._opened()  # while its place in the heap is there
                except (OSError, MemoryError):
                    if not self._end:
                        raise
                    # No room for a second file: where this one's good part ends there may be.
            if changes:
                self._append(changes)
        except OSError as e:
            self._close()
            if e.errno == _ENOSPC:
                raise StoreFull(self.path)
            raise OSError(e.errno, self.path)
        self.saves += 1

    def _opened(self):
        # It stays open: each save is flushed, so deep sleep may come at any moment.
        if not self._file:
            self._file = open(self.path, "r+b")
        return self._file

    def _append(self, changes):
        f = self._opened()
        f.seek(self._end)
        sound = self._sound
        self._sound = False  # what an error leaves behind the end goes with the next _rewrite
        self._crc, n = self._put(f, changes, self._crc)
        self._end += n
        self._sound = sound

    def _rewrite(self):
        path = self.path
        # A file takes some of the heap in one piece (RP2: 1,148 bytes), which is nowhere else in a
        # heap that is in pieces: the new one's is the old one's.
        self._close()
        try:
            with open(path + ".new", "wb") as f:
                f.write(MAGIC)
                crc, n = self._put(f, self.data, 0)
        except (OSError, MemoryError):
            self._remove_new()
            raise
        # From here on an error or interrupt leaves it open which file is there: start with a new.
        old = self._end, self._sound
        self._sound = self._end = 0
        if self._bad:
            _replace(path, path + ".bad")
            self._bad = False
        try:
            _replace(path + ".new", path)
        except OSError:
            os.stat(path + ".new")  # it is there, so the old one is, too
            self._end, self._sound = old
            raise
        self._crc = crc
        self._end = n + len(MAGIC)
        self.written += len(MAGIC)
        self._sound = True

    def _put(self, f, changes, crc):
        crc, n = pack(f.write, changes, crc)
        f.flush()
        if hasattr(os, "fsync"):  # CPython; MicroPython's flush does it
            os.fsync(f.fileno())
        self.written += n
        return crc, n

    def _remove_new(self):
        try:
            os.remove(self.path + ".new")
        except OSError:
            pass

    def _close(self):
        f = self._file
        self._file = None
        try:
            if f:
                f.close()
        except OSError:
            pass


def _replace(old, new):
    try:
        os.rename(old, new)
    except OSError as e:
        if e.errno != _EEXIST:
            raise
        # Some filesystems do not replace. If the power is cut here, ``read`` takes NAME.new.
        os.remove(new)
        os.rename(old, new)

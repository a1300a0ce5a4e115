"""Checks of store.py, journal.py, rtc.py and nvs.py that run on every runtime (see core_checks.py).

On MicroPython's unix port they also run on real littlefs and FAT, whose medium is here in RAM and
loses its power when told to.
"""

import io
import os
import sys
from binascii import crc32, unhexlify
from time import sleep

import dormouse.store as stores
import dormouse.store.journal as journal
import dormouse.store.nvs as nvs
import dormouse.store.rtc as rtc
from core_checks import raises, run, same

# Bytes from one power cut on littlefs to the next: the argument "every" cuts at every byte.
STRIDE = 1 if "every" in sys.argv else 3
MESSAGE = 0x40001
HISTORY = (  # of a node: every kind of record, values of every kind and of many lengths
    {1: b"relay on"},
    {MESSAGE: bytearray(b"m" * 54), 5: b"\x00\x00\x01"},
    {0x20001: b"\x00\x07", MESSAGE: None},
    {0x20001: None, 5: b""},
    {0x10007: b"", 1: memoryview(b"relay off")},
    {MESSAGE + 1: b"n" * 130, 2: b"\x00"},
    {MESSAGE + 2: b"q" * 30, 1: bytes(range(256)), 255: None},
    {MESSAGE + 1: None},
    {1: b"relay on"},
    {MESSAGE + 2: None, 0x10007: None, 0x40000 + (1 << 29) - 1: b"last"},
    {1: None, 2: None, 5: None, 0x40000 + (1 << 29) - 1: None},
    {3: b"schedule"},
)


def quiet(error, function):
    try:
        return function()
    except error:
        return None


def plain(data):
    return {key: bytes(value) for key, value in data.items()}


def after(data, changes):
    """Return what a dict holds after changes."""
    data = dict(data)
    for key, value in changes.items():
        data.pop(key, None)
        if value is not None:
            data[key] = bytes(value)
    return data


# --- media that can fail


class PowerCut(Exception):
    """The power is gone: no OSError, for nobody is there to handle it."""


class Disk:
    """A filesystem with no guarantees: a file is written byte by byte, and each operation may be
    the last. Takes the place of ``os`` and ``open`` in journal.py.

    ``budget``: how many bytes and operations until the power is cut. ``room``: bytes for all files.
    ``replaces``: rename replaces an existing file (littlefs, POSIX) or fails (FAT).
    """

    def __init__(self, files=(), budget=1 << 30, room=1 << 30, replaces=True):
        self.files = {name: bytearray(data) for name, data in dict(files).items()}
        self.budget = budget
        self.room = room
        self.replaces = replaces
        self.operations = 0
        journal.os = self
        journal.open = self.open

    def spend(self):
        if not self.budget:
            raise PowerCut
        self.budget -= 1
        self.operations += 1

    def open(self, name, mode):
        if mode == "wb":
            self.spend()
            self.files[name] = bytearray()
        elif name not in self.files:
            raise OSError(2, "ENOENT")
        return DiskFile(self, self.files[name])

    def stat(self, name):
        if name not in self.files:
            raise OSError(2, "ENOENT")
        return (0, 0, 0, 0, 0, 0, len(self.files[name]), 0, 0, 0)

    def remove(self, name):
        if name not in self.files:
            raise OSError(2, "ENOENT")
        self.spend()
        del self.files[name]

    def rename(self, name, new):
        if name not in self.files:
            raise OSError(2, "ENOENT")
        if new in self.files and not self.replaces:
            raise OSError(17, "EEXIST")
        self.spend()
        self.files[new] = self.files.pop(name)


class DiskFile:
    def __init__(self, disk, data):
        self.disk = disk
        self.data = data
        self.position = 0

    def write(self, data):
        disk = self.disk
        self.data.extend(bytes(max(self.position - len(self.data), 0)))  # a hole
        free = disk.room + len(self.data) - self.position
        for content in disk.files.values():
            free -= len(content)
        n = min(len(data), disk.budget, max(free, 0))
        self.data[self.position : self.position + n] = bytes(data)[:n]
        self.position += n
        disk.budget -= n
        disk.operations += n
        if n < len(data):
            disk.spend()  # raises if it was the power
            raise OSError(28, "ENOSPC")

    def read(self, n):
        data = bytes(self.data[self.position : self.position + n])
        self.position += len(data)
        return data

    def readinto(self, buf):
        data = self.read(len(buf))
        buf[: len(data)] = data
        return len(data)

    def seek(self, position):
        self.position = position

    def tell(self):
        return self.position

    def flush(self):
        pass

    def close(self):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def real_files():
    """Give journal.py the real ``os`` and ``open`` back."""
    journal.os = os
    if hasattr(journal, "open"):
        del journal.open


class Machine:
    """``machine`` of an ESP32, as far as it is needed: RTC memory (ports/esp32/machine_rtc.c)."""

    def __init__(self, maximum=2048):
        held = [b""]
        self.held = held

        class RTC:
            def memory(self, data=None):
                if data is None:
                    return held[0]
                if len(data) > maximum:
                    raise ValueError("buffer too long")
                held[0] = bytes(data)

        self.RTC = RTC
        sys.modules["machine"] = self


class Flash32:
    """``esp32`` with NVS (docs/library/esp32.rst, ports/esp32/esp32_nvs.c): the errors are those of
    ESP-IDF's nvs.h, given as MicroPython gives them."""

    def __init__(self, room=20000):
        blobs = {}
        self.blobs = blobs
        self.error = None
        self.pending = pending = {}
        outer = self

        class NVS:
            def __init__(self, namespace):
                assert len(namespace) < 16
                self.namespace = namespace

            def get_blob(self, key, buf):
                if outer.error:
                    raise outer.error
                blob = blobs.get((self.namespace, key))
                if blob is None:
                    raise OSError(-0x1102, "ESP_ERR_NVS_NOT_FOUND")
                if len(blob) > len(buf):
                    raise OSError(-0x110C, "ESP_ERR_NVS_INVALID_LENGTH")
                buf[: len(blob)] = blob
                return len(blob)

            def set_blob(self, key, value):
                if outer.error:
                    raise outer.error
                if len(value) + len(blobs.get((self.namespace, key), b"")) > room:
                    raise OSError(-0x1105, "ESP_ERR_NVS_NOT_ENOUGH_SPACE")
                pending[self.namespace, key] = bytes(value)

            def commit(self):
                blobs.update(pending)
                pending.clear()

        self.NVS = NVS
        sys.modules["esp32"] = self


class OneByOne(stores.Store):
    """A medium of a user's own, a value for each key; ``fail``: the error of the next write."""

    survives = 2

    def __init__(self, held):
        self.held = held
        self.writes = []
        self.fail = None
        super().__init__()

    def read(self):
        return {key: bytearray(value) for key, value in self.held.items()}

    def write(self, changes):
        if self.fail:
            raise self.fail
        self.writes.append(changes)
        held = after(self.held, changes)
        self.held.clear()
        self.held.update(held)


# --- all media


def through(make):
    """Play the history on a medium; ``make()`` starts anew with what is on it."""
    expected = {}
    store = make()
    same(store.data, {})
    for changes in HISTORY:
        kept = {key: value and bytes(value) for key, value in changes.items()}
        store.save(changes)
        same({key: value and bytes(value) for key, value in changes.items()}, kept)
        expected = after(expected, changes)
        same(plain(store.data), expected)
        again = make()
        same(plain(again.data), expected)
        same(again.warning, None)
        if len(expected) % 2:
            store = again  # one that was just read must go on as well as one that wrote
    for value in store.data.values():
        assert isinstance(value, bytearray) or store.data[3] == b"schedule"
    store.save({})
    same(plain(make().data), expected)


def check_media():
    Machine()
    through(rtc.RTCStore)
    Flash32()
    through(nvs.NVSStore)
    for replaces in (True, False):
        Disk(replaces=replaces)
        through(lambda: journal.Journal("j"))
    Machine()
    Disk()
    through(lambda: stores.Layered(rtc.RTCStore(), journal.Journal("j")))
    held = {}
    through(lambda: OneByOne(held))
    same(
        [s.survives for s in (stores.Store, rtc.RTCStore, nvs.NVSStore, journal.Journal)],
        [0, 1, 2, 2],
    )


def check_real_file():
    real_files()
    name = "store_checks_%d" % id(os.getcwd())
    try:
        through(lambda: journal.Journal(name))
        assert os.stat(name)[6] < 512
    finally:
        for end in ("", ".new", ".bad"):
            quiet(OSError, lambda end=end: os.remove(name + end))


def check_ram():
    store = stores.Store()
    value = bytearray(b"x")
    store.save({1: value})
    assert store.data[1] is value  # the session's own: not paid twice
    store.save({1: None, 2: None})
    same(store.data, {})


def check_a_str_changes_nothing():
    """Written as bytes its length would be another, and all behind it be lost. So with a key below
    1: it would be another one."""
    name = "store_checks_str_%d" % id(os.getcwd())
    try:
        store = journal.Journal(name)
        store.save({17: b"before"})
        for text in ("x", "gr\u00fcn"):
            raises(TypeError, store.save, {16: b"new", 18: text})
            same(plain(store.data), {17: b"before"})
        for key in (0, -1, -65536):
            raises(ValueError, store.save, {16: b"new", key: b"other"})
            same(plain(store.data), {17: b"before"})
        store.save({18: b"after"})
        again = journal.Journal(name)
        same(plain(again.data), {17: b"before", 18: b"after"})
        same(again.warning, None)
    finally:
        for end in ("", ".new", ".bad"):
            quiet(OSError, lambda end=end: os.remove(name + end))


def check_failed_write_changes_nothing():
    for error in (OSError(5), stores.StoreFull(), MemoryError()):
        store = OneByOne({1: b"a", 2: b"b"})
        store.fail = error
        raises(type(error), store.save, {1: b"new", 2: None, 3: b"c", 4: None})
        same(plain(store.data), {1: b"a", 2: b"b"})
        store.fail = None
        store.save({1: b"new"})
        same(store.held, {1: b"new", 2: b"b"})


class NoAttribute(stores.Store):
    """Takes no record, and there is no memory to note why."""

    def write(self, changes):
        raise OSError(28)

    def _failed(self, error):
        if error:
            raise MemoryError

    failed = property(lambda self: None, _failed)


def check_failed_write_without_memory():
    store = NoAttribute()
    raises(MemoryError, store.save, {1: b"x"})
    same(store.data, {})


def check_record():
    """Bytes made by hand; the CRCs by zlib."""
    out = bytearray()
    crc, n = stores.pack(out.extend, {5: b"ab"}, 0)
    first = unhexlify("04d50503616265078481")
    same(bytes(out), first)
    same(n, len(first))
    crc, n = stores.pack(out.extend, {0x40001: None, 1: b""}, crc)
    assert sorted([out[12:16], out[16:18]]) == [b"\x01\x01", b"\x81\x80\x10\x00"] or (
        sorted([out[14:18], out[12:14]]) == [b"\x01\x01", b"\x81\x80\x10\x00"]
    ), out
    same(out[10], 6)
    same(crc, crc32(out[:6] + out[10:-4]))
    same(stores.size({5: b"x" * 126, 0x40001: None}), 128 + 4)
    same(stores.size({5: b"x" * 127, 1: b""}), 130 + 2)


def check_record_of_short_and_long_values():
    # Short ones are written together with what is beside them, long ones from where they are.
    for n in (0, 1, 62, 63, 64, 65, 126, 127, 128, 300):
        long = bytearray(b"l" * 500)
        changes = {1: b"s" * n, 0x40001: long, 2: None, 0x20040003: memoryview(b"m" * n), 3: b""}
        parts = []
        crc, length = stores.pack(parts.append, changes, 7)
        assert [part for part in parts if part is long]
        data = b"".join([bytes(part) for part in parts])
        same(len(data), length)
        found, read = stores.unpack(io.BytesIO(data), 7, length)
        same((read, sorted(found)), (crc, sorted(changes)))
        assert found[2] is None
        for key in (1, 3, 0x40001, 0x20040003):
            same(bytes(found[key]), bytes(changes[key]))


# --- the journal


def names(disk):
    return sorted(disk.files)


def check_journal_layout():
    disk = Disk()
    j = journal.Journal("j")
    same(names(disk), [])  # nothing is written where nothing is to be kept
    j.save({5: b"ab"})
    same(names(disk), ["j"])
    same(bytes(disk.files["j"]), b"dmo\x01" + unhexlify("04d50503616265078481"))
    j.save({5: None})
    same(len(disk.files["j"]), 14 + 8)
    same((j.saves, j.written), (2, 14 + 8))


def check_journal_stays_small():
    disk = Disk()
    j = journal.Journal("j")
    for n in range(100):
        j.save({MESSAGE + n: b"m" * 54})
        j.save({5: bytes(3)})
        j.save({MESSAGE + n: None, 5: None})
        assert len(disk.files["j"]) <= 150, len(disk.files["j"])
    assert j.written < 100 * 100, j.written
    j.save({MESSAGE: b"b" * 2000})
    same(names(disk), ["j"])
    written = j.written
    for _ in range(20):
        j.save({5: bytes(1)})
    assert j.written - written < 20 * 12, "what is live is not copied again and again"


def cut_points(replaces, first=0):
    """For each byte and operation of each save: yield what a cut there leaves, the contents before
    and after, and what is still to be saved."""
    disk = Disk(replaces=replaces)
    j = journal.Journal("j")
    before = {}
    for i, changes in enumerate(HISTORY):
        files = {name: bytes(data) for name, data in disk.files.items()}
        end = disk.operations
        j.save(changes)
        end = disk.operations - end
        j._close()
        done = after(before, changes)
        for budget in range(end):
            cut = Disk(files, budget, replaces=replaces)
            dying = journal.Journal("j")
            same(plain(dying.data), before)
            raises(PowerCut, dying.save, changes)
            yield cut.files, before, done, HISTORY[i + 1 :]
        before = done
        disk = Disk(disk.files, replaces=replaces)
        j = journal.Journal("j")


def check_journal_cut_at_every_byte():
    points = 0
    for replaces in (True, False):
        for files, before, done, rest in cut_points(replaces):
            points += 1
            disk = Disk(files, replaces=replaces)
            j = journal.Journal("j")
            got = plain(j.data)
            assert got in (before, done), (got, before, done)
            same(j.warning, None)
            for changes in rest[:3]:
                j.save(changes)
                got = after(got, changes)
                same(plain(journal.Journal("j").data), got)
            same(names(disk), ["j"] if disk.files else [])
    assert points > 1400, points


def check_journal_cut_twice():
    """The power is cut in a save, then in the next start and save, at every byte of both."""
    points = 0
    for replaces in (True, False):
        for n, (files, before, done, _) in enumerate(cut_points(replaces)):
            if n % 60:
                continue
            budget = 0
            while True:
                disk = Disk(files, budget, replaces=replaces)
                try:
                    j = journal.Journal("j")
                    got = plain(j.data)
                    assert got in (before, done)
                    j.save({4: b"net"})
                    break
                except PowerCut:
                    pass
                Disk(disk.files, replaces=replaces)
                got = plain(journal.Journal("j").data)
                states = (before, done, after(before, {4: b"net"}), after(done, {4: b"net"}))
                assert got in states, (got, states)
                budget += 1
                points += 1
    assert points > 400, points


def check_journal_torn_longer_than_the_next():
    """What a torn record leaves behind the next one must not come back."""
    disk = Disk()
    journal.Journal("j").save({1: b"a"})
    # A value that holds what looks like a record, as an application might.
    record = bytearray()
    stores.pack(record.extend, {1: b"evil"}, crc32(disk.files["j"][4:-4], 0))
    for budget in range(4, 60):
        torn = Disk(disk.files, budget)
        raises(PowerCut, journal.Journal("j").save, {2: bytes(record) * 9})
        Disk(torn.files)
        journal.Journal("j").save({3: b"c"})
        j = journal.Journal("j")
        same(plain(j.data), {1: b"a", 3: b"c"})
        same(j.warning, None)


def check_journal_corrupt_byte():
    """A wrong byte anywhere is found: what precedes it is kept, the file is moved aside."""
    disk = Disk()
    j = journal.Journal("j")
    states = [{}]
    ends = [4]
    for changes in HISTORY[:4]:
        j.save(changes)
        states.append(after(states[-1], changes))
        ends.append(len(disk.files["j"]))
    assert ends == sorted(ends)
    good = bytes(disk.files["j"])
    for position in range(len(good)):
        for flip in (0x01, 0x10, 0x80, 0xFF):
            bad = bytearray(good)
            bad[position] ^= flip
            disk = Disk({"j": bad})
            j = journal.Journal("j")
            n = 0
            while position >= ends[n]:
                n += 1
            same(plain(j.data), states[max(n - 1, 0)])
            assert "corrupt" in j.warning and "j" in j.warning, position
            same(names(disk), ["j", "j.bad"])
            same(disk.files["j.bad"], bad)
            again = journal.Journal("j")
            same((plain(again.data), again.warning), (plain(j.data), None))
            j.save({3: b"on"})
            same(plain(journal.Journal("j").data), after(j.data, {}))


def check_journal_foreign_file():
    for content in (b"{}\n", b"dmo\x02" + bytes(20), b"dmx", b"\xff" * 300, bytes(300), b"x"):
        for replaces in (True, False):
            disk = Disk({"j": content, "j.bad": b"older"}, replaces=replaces)
            j = journal.Journal("j")
            same(j.data, {})
            assert j.warning
            same(bytes(disk.files["j.bad"]), content)
            for n in range(40):  # long enough to be written anew
                j.save({1: b"a" * n})
            same(plain(journal.Journal("j").data), {1: b"a" * 39})
            same(bytes(disk.files["j.bad"]), content)
        # and on a full disk: no crash, nothing lost; moved aside as soon as there is room
        disk = Disk({"j": content}, room=len(content))
        j = journal.Journal("j")
        assert j.warning and not j.data
        same(bytes(disk.files["j"]), content)
        raises(stores.StoreFull, j.save, {1: b"a"})
        same(names(disk), ["j"])
        disk.room = 9999
        j.save({1: b"a"})
        same(bytes(disk.files["j.bad"]), content)
        same(plain(journal.Journal("j").data), {1: b"a"})
    for content in (b"", b"d", b"dmo", b"dmo\x01"):  # torn at its very beginning
        disk = Disk({"j": content})
        j = journal.Journal("j")
        same((j.data, j.warning), ({}, None))
        j.save({1: b"a"})
        same(plain(journal.Journal("j").data), {1: b"a"})
        same(names(disk), ["j"])


def check_journal_interrupted():
    """By Ctrl-C or lack of memory at each operation: nothing changed, and it can go on."""
    for replaces in (True, False):
        for at in range(18):
            for name in ("rename", "remove", "open"):
                for before in (True, False):
                    disk = Disk(replaces=replaces)
                    j = journal.Journal("j")
                    j.save({1: b"a" * 90})
                    real = getattr(disk, name)
                    calls = [at % 3, at // 3]

                    def fail(*args, before=before, real=real, calls=calls):
                        calls[0] -= 1
                        if calls[0] != -1:
                            return real(*args)
                        if not before:
                            real(*args)
                        raise MemoryError

                    setattr(disk, name, fail)
                    if name == "open":
                        journal.open = fail
                    expected = {1: b"a" * 90}
                    for n in range(5 + calls[1]):
                        changes = {2: bytes((n,)) * 20, n + 9: None if n % 2 else b"x"}
                        try:
                            j.save(changes)
                            expected = after(expected, changes)
                        except MemoryError:
                            same(plain(j.data), expected)
                    calls[0] = -9
                    j.save({3: b"end"})
                    expected[3] = b"end"
                    Disk(disk.files)
                    j = journal.Journal("j")
                    same((plain(j.data), j.warning), (expected, None))


def check_journal_interrupted_then_full():
    disk = Disk()
    j = journal.Journal("j")
    for n in range(3):
        j.save({MESSAGE + n: b"m" * 54})
    rename = disk.rename

    def interrupted(*names):
        rename(*names)
        raise MemoryError

    disk.rename = interrupted
    done = {MESSAGE: None, MESSAGE + 1: None}
    raises(MemoryError, j.save, done)
    done = after(j.data, done)
    disk.room = len(disk.files["j"]) + 170
    quiet(stores.StoreFull, lambda: j.save({1: b"a"}))
    Disk(disk.files)
    again = journal.Journal("j")
    assert plain(again.data) in (done, plain(j.data)), again.data
    same(again.warning, None)


def check_journal_new_file_left_behind():
    whole = Disk()
    journal.Journal("j").save({1: b"a"})
    content = bytes(whole.files["j"])
    disk = Disk({"j.new": content})
    same(plain(journal.Journal("j").data), {1: b"a"})
    same(names(disk), ["j"])
    for new in (content, content[:7], b""):
        disk = Disk({"j": content, "j.new": new})
        same(plain(journal.Journal("j").data), {1: b"a"})
        same(names(disk), ["j"])


def check_journal_full_for_a_moment():
    # ENOSPC once: the message is there, and none that waits had to go for it.
    disk = Disk()
    j = journal.Journal("j")
    j.save({MESSAGE: b"1"})
    left = [0]
    write = DiskFile.write

    def short(self, data):
        if left[0]:
            left[0] -= 1
            raise OSError(28, "ENOSPC")
        return write(self, data)

    for times, kept in ((1, True), (9, False)):
        left[0] = times
        DiskFile.write = short
        try:
            j.save({MESSAGE + times: b"x"})
            assert kept
        except stores.StoreFull:
            assert not kept
        finally:
            DiskFile.write = write
        same(MESSAGE + times in journal.Journal("j").data, kept)
    assert disk.files["j"]


def check_journal_full():
    """A disk of every size: StoreFull changes nothing, and removing works again."""
    full = 0
    for room in range(0, 420, 3):
        for replaces in (True, False):
            disk = Disk(room=room, replaces=replaces)
            j = journal.Journal("j")
            expected = {}
            for changes in HISTORY:
                try:
                    j.save(changes)
                    expected = after(expected, changes)
                except stores.StoreFull:
                    full += 1
                same(plain(j.data), expected)
                same(plain(journal.Journal("j").data), expected)
                assert "j.new" not in disk.files
            disk.room = 1 << 30
            j.save({1: b"room"})
            j = journal.Journal("j")
            same((plain(j.data), j.warning), (after(expected, {1: b"room"}), None))
    assert full > 100, full
    # A save fails at its last byte; a removal fits into what it left there.
    disk = Disk()
    j = journal.Journal("j")
    j.save({1: b"a" * 100})
    disk.room = len(disk.files["j"]) + 50
    raises(stores.StoreFull, j.save, {2: b"b" * 50})
    j.save({1: None})
    same(journal.Journal("j").data, {})


def check_journal_limit():
    disk = Disk()
    j = journal.Journal("j", limit=100)
    first = 0x40000
    j.save({first: b"a" * 96})
    operations = disk.operations
    raises(stores.StoreFull, j.save, {first: b"a" * 97})
    raises(stores.StoreFull, j.save, {first + 1: b""})
    same(disk.operations, operations)
    same(plain(j.data), {first: b"a" * 96})
    j.save({1: b"state", 0x10001: b""})  # what its handshake needs always finds room
    j.save({first: None, first + 1: b"b" * 50})
    small = journal.Journal("j", limit=10)  # was larger: what makes it less is taken
    raises(stores.StoreFull, small.save, {first + 2: b"c"})
    small.save({1: None})
    small.save({first + 1: None, 0x10001: None})
    small.save({first + 2: b"c"})
    same(plain(journal.Journal("j").data), {first + 2: b"c"})


def check_journal_does_not_count_all():
    # What a save takes is the same whatever else there is; and what is live is known all the same,
    # also when a save failed.
    disk = Disk()
    j = journal.Journal("j", limit=1 << 20)
    for changes in HISTORY:
        j.save(changes)
        same(j._live, stores.size(j.data))
    for n in range(200):
        j.save({MESSAGE + n: b"a" * n})
    counted = [0]

    def size(changes):
        counted[0] += len(changes)
        return stores.size(changes)

    journal.size = size
    try:
        for n in range(200, 210):
            j.save({MESSAGE + n: b"a", MESSAGE + n - 100: None, 1: b"%d" % n})
    finally:
        journal.size = stores.size
    assert counted[0] < 100, counted
    disk.room = 0
    raises(stores.StoreFull, j.save, {MESSAGE: b"b" * 50, MESSAGE + 9: None})
    raises(ValueError, j.save, {MESSAGE: None, 0: b"x"})
    same(j._live, stores.size(j.data))
    same(journal.Journal("j")._live, j._live)


def check_journal_other_errors():
    j = journal.Journal("no_such_folder_here/j")
    same(j.data, {})
    real_files()
    e = raises(OSError, journal.Journal("no_such_folder_here/j").save, {1: b"a"})
    same((e.errno in journal._ENOENT, e.args[1]), (True, "no_such_folder_here/j"))
    if sys.platform != "webassembly":
        os.mkdir("folder")
        j = journal.Journal("folder")  # no file, and so it cannot be read
        same((raises(OSError, j.save, {1: b"a"}).args[1], "folder" in j.warning), ("folder", True))
        os.remove("folder.unread")
        os.rmdir("folder")


# --- RTC memory and NVS


def check_rtc_memory():
    machine = Machine()
    store = rtc.RTCStore(64)
    store.save({1: b"a" * 50})
    raises(stores.StoreFull, store.save, {1: b"a" * 53})
    same(plain(rtc.RTCStore().data), {1: b"a" * 50})
    store.save({1: b"a" * 52})
    same(len(machine.held[0]), 64)
    full = rtc.RTCStore()
    full.save({1: b"a" * 2034})
    same(len(machine.held[0]), 2048)
    same(len(rtc.RTCStore().data[1]), 2034)
    raises(stores.StoreFull, full.save, {1: b"a" * 2035})
    full = rtc.RTCStore()
    full.save({1: None, 0x40001: b"a" * 1776})  # an eighth is left for its handshake
    raises(stores.StoreFull, full.save, {0x40002: b""})
    full.save({0x10001: b"", 1: b"a" * 200})
    machine.held[0] = b""  # the power was off
    store = rtc.RTCStore()
    same((store.data, store.warning), ({}, None))


def check_rtc_memory_needs_no_large_piece():
    import gc

    if not hasattr(gc, "mem_free") or sys.platform == "webassembly":
        return  # a heap that grows

    class Memory(rtc.Blob):
        def load(self):
            return memory[: end[0]]

        def dump(self, piece):
            end[0] = len(piece)
            memory[: end[0]] = piece

    memory = memoryview(bytearray(2048))  # RTC memory, which is no heap
    end = [0]
    store = Memory(2048)
    store.save({1: b"a" * 60, 2: b"b" * 1700})
    # A heap in pieces: no two blocks of these that are free lie side by side.
    pieces = [None] * 50000
    n = 0
    try:
        while True:
            pieces[n] = bytearray(200)
            n += 1
    except MemoryError:
        pass
    for i in range(0, n, 2):
        pieces[i] = None
    gc.collect()
    try:
        raises(MemoryError, bytearray, 1700)
        store.save({1: b"c" * 60})
    finally:
        pieces = None
    gc.collect()
    same(plain(Memory(2048).data), {1: b"c" * 60, 2: b"b" * 1700})


def check_rtc_memory_corrupt():
    machine = Machine()
    store = rtc.RTCStore()
    store.save({1: b"before", 2: b"x" * 10})
    old = machine.held[0]
    store.save({1: b"afterwards", 2: b"y" * 10})
    new = machine.held[0]
    bad = [b"foreign", b"d", new[:-1], bytes(2048), b"\xff" * 2048]
    for i in range(len(new)):
        bad.append(new[:i] + bytes((new[i] ^ 0x55,)) + new[i + 1 :])
        if i > 5 and new[i:] != old[i:]:
            bad.append(new[:i] + old[i:])  # a reset in the middle of the copy
    for blob in bad:
        if blob in (old, new):
            continue
        machine.held[0] = blob
        store = rtc.RTCStore()
        same(store.data, {})
        assert "RTCStore" in store.warning
        store.save({1: b"a"})
        same((plain(rtc.RTCStore().data), rtc.RTCStore().warning), ({1: b"a"}, None))


def check_rtc_memory_that_removes():
    # A record that is sound and removes what is not there: who wrote it does not matter.
    machine = Machine()
    out = bytearray(stores.MAGIC)
    stores.pack(out.extend, {1: None, 2: b"b", 0x40001: None}, 0)
    machine.held[0] = bytes(out)
    store = rtc.RTCStore()
    same((plain(store.data), store.warning), ({2: b"b"}, None))


def check_board_without():
    machine = Machine()

    class RTC:  # as on RP2: there is one, for the time
        pass

    machine.RTC = RTC
    assert "Journal" in str(raises(ValueError, rtc.RTCStore))
    sys.modules.pop("esp32", None)
    raises(ImportError, nvs.NVSStore)


def check_nvs():
    chip = Flash32(room=900)
    store = nvs.NVSStore("node", 500)
    same((store.data, store.warning), ({}, None))
    store.save({1: b"a" * 400})
    same(list(chip.blobs), [("node", "store")])
    raises(stores.StoreFull, store.save, {2: b"b" * 100})
    larger = nvs.NVSStore("node", 4000)
    raises(stores.StoreFull, larger.save, {2: b"b" * 300})  # the partition itself is full
    same(plain(nvs.NVSStore("node").data), {1: b"a" * 400})
    chip.error = OSError(-0x1101, "ESP_ERR_NVS_NOT_INITIALIZED")
    raises(OSError, store.save, {1: b"b"})
    same(plain(store.data), {1: b"a" * 400})
    unread = nvs.NVSStore("node")
    assert "not read" in unread.warning
    chip.error = None
    raises(OSError, unread.save, {1: b"b"})  # what is there is not written over
    same(plain(nvs.NVSStore("node").data), {1: b"a" * 400})
    for size in (500, 100):  # 100: the blob is longer than this store takes
        key = "node", "store"
        chip.blobs[key] = chip.blobs[key][:-1] + b"?"
        store = nvs.NVSStore("node", size)
        same(store.data, {})
        assert "NVSStore" in store.warning
    store.save({1: b"c"})
    same(plain(nvs.NVSStore("node").data), {1: b"c"})


def check_nvs_that_is_not_read_at_once():
    chip = Flash32()
    nvs.NVSStore("node").save({1: b"a"})
    chip.error = OSError(-1, "ESP_FAIL")
    waits = []

    def wait(s):
        waits.append(s)
        chip.error = None

    rtc.sleep = wait
    try:
        store = nvs.NVSStore("node")
    finally:
        rtc.sleep = sleep
    same((plain(store.data), store.warning, waits), ({1: b"a"}, None, [0.02]))
    store.save({1: b"b"})
    same(plain(nvs.NVSStore("node").data), {1: b"b"})


# --- two media as one


def layered():
    small = OneByOne({})
    large = OneByOne({})
    return small, large, stores.Layered(small, large)


def check_layered():
    small, large, both = layered()
    both.save({1: b"a"})
    same((len(small.writes), len(large.writes)), (1, 0))
    both.save({MESSAGE: b"m"})
    same((len(small.writes), len(large.writes)), (1, 1))
    both.save({MESSAGE: None, MESSAGE + 1: b"n"})
    same((len(small.writes), len(large.writes)), (1, 2))
    same(plain(both.data), {1: b"a", MESSAGE + 1: b"n"})
    same((small.held, large.held), ({1: b"a"}, {MESSAGE + 1: b"n"}))
    Machine()
    Disk()
    j = journal.Journal("j")
    r = rtc.RTCStore()
    same(stores.Layered(r, j).survives, 1)
    same(stores.Layered(j, small).survives, 2)
    Machine().held[0] = b"foreign"
    assert stores.Layered(rtc.RTCStore(), j).warning


def check_layered_over_what_was_one():
    """The program is changed: one of the two held all. What is newer counts, and messages that are
    through go from where they are."""
    before = {1: b"1", 14: b"", 2: b"1 f", MESSAGE: b"m"}
    for n in (0, 1):
        parts = [OneByOne({}), OneByOne({})]
        parts[n].save(before)
        both = stores.Layered(parts[0], parts[1])
        same(plain(both.data), before)
        changes = {1: b"2", 14: None, MESSAGE: None, MESSAGE + 1: b"n"}
        both.save(changes)
        wanted = after(before, changes)
        parts = [OneByOne(part.held) for part in parts]
        same(plain(stores.Layered(parts[0], parts[1]).data), wanted)
        # A power cut between the two, which leaves both.
        parts = [OneByOne({1: b"new"}), OneByOne({1: b"old"})]
        same(plain(stores.Layered(parts[0], parts[1]).data), {1: b"new"})


def check_layered_order():
    """At every cut between two media the addition is there, or the removal has not happened."""
    for changes in (
        {0x20001: b"\x00\x07", MESSAGE: None},
        {0x20001: None, MESSAGE: b"m"},
        {0x20001: b"x", 0x20002: None, MESSAGE: None, MESSAGE + 1: b"n"},
        {5: b"1", MESSAGE: b"m"},
        {5: None, MESSAGE: None},
    ):
        start = {0x20001: b"old", 0x20002: b"old", 5: b"0", MESSAGE: b"old"}
        done = after(start, changes)
        for cut in range(4):
            small, large, both = layered()
            both.save(start)

            class Log:
                left = cut

                def append(self, _):
                    self.left -= 1
                    if self.left < 0:
                        raise PowerCut

            small.writes = large.writes = Log()
            quiet(PowerCut, lambda both=both, changes=changes: both.write(changes))
            now = dict(small.held)
            now.update(large.held)
            additions = [k for k, v in changes.items() if v is not None]
            missing = [k for k in additions if now.get(k) != done[k]]
            removed = [k for k, v in changes.items() if v is None and k not in now]
            # Removals that share a record with additions go with them.
            if missing and removed:
                raise AssertionError((changes, cut, missing, removed))
            if cut == 3:
                same(now, done)


def check_layered_all_or_none():
    """If one medium takes its part and the other does not, the first gets its old part back."""
    changes = {5: b"1", 1: None, MESSAGE: None, MESSAGE + 1: b"n"}
    start = {5: b"0", 1: b"a", MESSAGE: b"m"}
    for failing in ("small", "large"):
        small, large, both = layered()
        both.save(start)
        store = small if failing == "small" else large
        write = store.write
        left = [0 if failing == "small" else 1]

        def fail(changes, left=left, write=write):
            if not left[0]:
                left[0] = 9
                raise stores.StoreFull
            left[0] -= 1
            write(changes)

        store.write = fail
        raises(stores.StoreFull, both.save, changes)
        same(plain(both.data), start)
        now = dict(small.held)
        now.update(large.held)
        same(now, start)
        same(plain(small.data), small.held)
        same(plain(large.data), large.held)
        both.save(changes)
        same(plain(both.data), after(start, changes))


def check_layered_power_cut_while_taking_back():
    """What was removed is back before what was added goes."""
    small, large, both = layered()
    both.save({0x20001: b"x", MESSAGE: b"m"})
    order = []
    for name, store in (("small", small), ("large", large)):

        def write(changes, name=name):
            order.append(name)
            if len(order) == 3:
                raise stores.StoreFull

        store.write = write
    raises(stores.StoreFull, both.save, {0x20001: None, MESSAGE + 1: b"n", MESSAGE: None})
    same(order, ["large", "small", "large", "small", "large"])


class OneFile(Disk):
    """A disk below a heap in pieces: there is room for one open file, where one was before, and
    with ``none`` not for one that is new."""

    none = False
    opened = 0

    def open(self, name, mode):
        if self.opened or (self.none and mode == "wb"):
            raise MemoryError
        self.opened = 1
        file = super().open(name, mode)
        file.close = self.closed
        return file

    def closed(self):
        self.opened = 0


def check_room_for_one_file():
    disk = OneFile()
    j = journal.Journal("j")
    for n in range(60):
        j.save({MESSAGE + n % 5: b"m" * 100, MESSAGE + (n + 3) % 5: None})
        assert len(disk.files["j"]) < 1000
        same(disk.opened, 1)  # nobody else takes its place meanwhile
    disk.none = True  # not even for one: what is added still is
    for n in range(60):
        j.save({MESSAGE + n % 5: b"n" * 100, MESSAGE + (n + 3) % 5: None})
    j._close()
    same(sorted(disk.files), ["j"])
    same(plain(journal.Journal("j").data), plain(j.data))


# --- real filesystems, on MicroPython


class Chip:
    """Flash or SD card in RAM, a block device as MicroPython wants it (os.AbstractBlockDev).

    ``budget``: bytes to program (with ``sectors``: sectors to write) until the power is cut. A
    program is torn at that byte, an erase in the middle of its block; a sector is whole or not.
    """

    def __init__(self, image, block, budget=1 << 29, sectors=False):
        self.image = image
        self.block = block
        self.budget = budget
        self.sectors = sectors
        self.programmed = self.erased = 0

    def readblocks(self, n, buf, offset=0):
        if self.budget < 0:
            return  # what a finaliser closes later
        start = n * self.block + offset
        buf[:] = self.image[start : start + len(buf)]

    def spend(self, n):
        self.programmed += n
        if self.budget < 0:
            return 0
        self.budget -= n
        return n if self.budget >= 0 else n + self.budget

    def writeblocks(self, n, buf, offset=0):
        start = n * self.block + offset
        dead = self.budget < 0
        if self.sectors:
            size = len(buf) * self.spend(len(buf) // self.block) // (len(buf) // self.block)
        else:
            size = self.spend(len(buf))
        if size:
            self.image[start : start + size] = memoryview(buf)[:size]
        if self.budget < 0 and not dead:
            raise PowerCut

    def ioctl(self, op, n):
        if op == 4:
            return len(self.image) // self.block
        if op == 5:
            return self.block
        if op == 6:
            dead = self.budget < 0
            self.erased += 1
            if not self.sectors and not dead:
                size = self.block if self.budget else self.block // 2
                self.spend(1)
                start = n * self.block
                self.image[start : start + size] = b"\xff" * size
                if self.budget < 0:
                    raise PowerCut
        return 0


def littlefs(image, budget=1 << 29):
    chip = Chip(image, 4096, budget)
    return chip, os.VfsLfs2(chip, mtime=False)


def fat(image, budget=1 << 29):
    chip = Chip(image, 512, budget, True)
    return chip, os.VfsFat(chip)


def power_cuts(mount, image, stride):
    """Play the history; cut the power within each save, at every ``stride``-th point."""
    points = 0
    before = {}
    for i, changes in enumerate(HISTORY):
        done = after(before, changes)
        budget = 0
        while True:
            chip, fs = mount(bytearray(image))
            os.mount(fs, "/chip")
            try:
                j = journal.Journal("/chip/j")
                same(plain(j.data), before)
                chip.budget = budget
                j.save(changes)
            except Exception:
                # PowerCut, or what closing a file on a dead chip raised after it.
                if chip.budget >= 0:
                    raise
            cut = chip.budget < 0
            chip.budget = -1
            j._close()  # else the collector does, and says what it thinks of this chip
            quiet(OSError, lambda: os.umount("/chip"))
            chip, fs = mount(chip.image)
            os.mount(fs, "/chip")
            try:
                j = journal.Journal("/chip/j")
                got = plain(j.data)
                assert got in ((before, done) if cut else (done,)), (i, budget, got, before, done)
                same(j.warning, None)
                if cut:
                    j.save({4: b"net"})
                    same(plain(journal.Journal("/chip/j").data), after(got, {4: b"net"}))
                    j._close()
            finally:
                os.umount("/chip")
            if not cut:
                break
            points += 1
            budget += stride
        before = done
        image = chip.image
    return points


def power_cuts_on_littlefs():
    image = bytearray(4096 * 6)
    os.VfsLfs2.mkfs(Chip(image, 4096))
    points = power_cuts(littlefs, image, STRIDE)
    assert points > 2000 // STRIDE, points
    print("littlefs:", points, "power cuts")


def power_cuts_on_fat():
    image = bytearray(512 * 64)
    os.VfsFat.mkfs(Chip(image, 512, sectors=True))
    points = power_cuts(fat, image, 1)
    assert points > 30, points
    print("FAT:", points, "power cuts")


def full_littlefs():
    image = bytearray(4096 * 5)
    os.VfsLfs2.mkfs(Chip(image, 4096))
    _, fs = littlefs(image)
    os.mount(fs, "/chip")
    try:
        j = journal.Journal("/chip/j", 1 << 20)
        saved = 0
        while saved < 100:
            try:
                j.save({MESSAGE + saved: b"m" * 1000})
            except stores.StoreFull:
                break
            saved += 1
        assert 2 < saved < 20, saved
        same(len(j.data), saved)
        same(sorted(journal.Journal("/chip/j").data), sorted(j.data))
        for n in range(saved):
            j.save({MESSAGE + n: None})
            same(len(journal.Journal("/chip/j").data), saved - n - 1)
        j.save({MESSAGE: b"m" * 1000})
        same(plain(journal.Journal("/chip/j").data), {MESSAGE: b"m" * 1000})
    finally:
        os.umount("/chip")


def wear(program, state):
    """Return bytes given to littlefs, bytes programmed and blocks erased for a QoS 1 message.

    ``program``: littlefs' program size. ``state``: bytes of other state that stay in the store.
    """
    image = bytearray(4096 * 16)
    os.VfsLfs2.mkfs(Chip(image, 4096), progsize=program)
    chip = Chip(image, 4096)
    os.mount(os.VfsLfs2(chip, progsize=program), "/chip")
    try:
        j = journal.Journal("/chip/j")
        j.save({2: bytes(state)})
        start = j.written, chip.programmed, chip.erased
        for n in range(200):
            j.save({MESSAGE + n: b"m" * 54})
            j.save({5: n.to_bytes(3, "big")})
            j.save({MESSAGE + n: None, 5: None})
        end = j.written, chip.programmed, chip.erased
        return [(end[i] - start[i]) / 200 for i in range(3)]
    finally:
        os.umount("/chip")


def wear_on_littlefs():
    print("littlefs, a QoS 1 message in three saves:")
    for program, state, most in ((32, 20, 0.2), (32, 45, 0.3), (256, 20, 0.4)):  # ESP32, RP2040
        given, programmed, erased = wear(program, state)
        print("  program size %d, %d bytes of other state:" % (program, state), end=" ")
        print("%.0f bytes given, %.0f programmed, %.2f erases" % (given, programmed, erased))
        assert erased < most and given < 250


CHECKS = sorted(name for name in globals() if name.startswith("check_"))
if hasattr(os, "VfsLfs2") and hasattr(os, "VfsFat"):
    CHECKS += ["full_littlefs", "power_cuts_on_fat", "power_cuts_on_littlefs", "wear_on_littlefs"]


def on_real_files(check):
    """Return a check that has the real files, where others put a disk of their own."""

    def checked():
        real_files()
        check()

    return checked


if __name__ == "__main__":
    checks = dict(globals())
    for name in CHECKS:
        if not name.startswith("check_"):
            checks[name] = on_real_files(checks[name])
    run(checks, CHECKS)

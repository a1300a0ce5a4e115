"""Stores on media that fail, on every runtime: only what asks a filesystem is replaced."""

import os

import dormouse.store.journal as journal
from dormouse.store import Journal, StoreFull
from dormouse.store.rtc import Blob

EIO, ENOSPC = 5, 28
NEW, ROOM = 0x40000, 8192
real_open = open


class Faults:
    """Takes the place of ``os`` and ``open`` in journal.py: operations of some kinds fail from the
    ``at``-th on, ``times`` times."""

    def __init__(self):
        self.kinds = ""
        self.free = 1 << 30
        journal.os = self
        journal.open = self.open
        journal.sleep = lambda s: None

    def fail(self, kinds, at=0, times=1 << 30, errno=EIO):
        self.kinds, self.at, self.times, self.errno = kinds, at, times, errno

    def step(self, kind):
        if kind in self.kinds.split():
            self.at -= 1
            if self.at < 0 and self.times:
                self.times -= 1
                raise OSError(self.errno, "fault")

    def open(self, name, mode):
        self.step("open" if mode == "rb" else "room" if name.endswith(".room") else "write")
        return File(self, real_open(name, mode))

    def stat(self, name):
        self.step("stat")
        return os.stat(name)

    def rename(self, old, new):
        self.step("rename")
        if hasattr(os, "replace"):
            return os.replace(old, new)
        return os.rename(old, new)

    def remove(self, name):
        return os.remove(name)

    def statvfs(self, name):
        return (1, 1, 1 << 30, self.free)


class File:
    def __init__(self, faults, f):
        self.faults, self.f = faults, f
        self.seek, self.tell, self.close, self.flush = f.seek, f.tell, f.close, f.flush
        self.fileno = getattr(f, "fileno", None)

    def write(self, data):
        self.faults.step("write")
        return self.f.write(data)

    def read(self, n):
        self.faults.step("read")
        return self.f.read(n)

    def readinto(self, buf):
        self.faults.step("read")
        return self.f.readinto(buf)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.f.close()


def exists(name):
    try:
        return os.stat(name)[6]
    except OSError:
        return None


def clean():
    for end in ("", ".new", ".bad", ".room", ".unread"):
        if exists("j" + end) is not None:
            os.remove("j" + end)


def filled(**options):
    """A journal whose file has been made anew once, so that it is neither short nor stale."""
    clean()
    j = Journal("j", **options)
    j.save({NEW: b"m" * 300, 2: b"filters"})
    return j


def raises(error, function, *args):
    try:
        function(*args)
    except error as e:
        return e
    raise AssertionError("no %s" % error.__name__)


def passing_read_error(faults):
    """One read, open or stat that fails: nothing is lost, and nothing is said."""
    for kind in ("stat", "open", "read"):
        for at in range(4):
            data = dict(filled().data)
            faults.fail(kind, at, 1)
            j = Journal("j")
            assert (j.data, j.warning) == (data, None), (kind, at)
            faults.fail("")


def unreadable_for_a_start(faults):
    """Nothing is written over what was not read, and the next start has it all."""
    data = dict(filled().data)
    for _ in range(2):
        faults.fail("read open")
        j = Journal("j")
        assert j.data == {} and "not read" in j.warning
        raises(OSError, j.save, {1: b"x"})
        faults.fail("")
        raises(OSError, j.save, {1: b"x"})  # also when it would go now: what is there is not known
    j = Journal("j")
    assert (j.data, j.warning) == (data, None)
    assert exists("j.unread") is None
    j.save({1: b"x"})


def unreadable_for_ever(faults):
    """The third start in vain moves it aside: a node is not silent for ever."""
    filled()
    for _ in range(3):
        faults.fail("read")
        j = Journal("j")
        faults.fail("")
    assert exists("j.bad")
    j.save({1: b"x"})
    assert Journal("j").data == {1: b"x"}


def unreadable_for_want_of_memory(faults):
    """A file that this chip cannot hold keeps no node from starting."""
    data = dict(filled().data)

    def none(f, crc, left):
        raise MemoryError

    unpack, journal.unpack = journal.unpack, none
    for n in range(3):
        j = Journal("j")
        assert j.data == {} and "not read" in j.warning
        if n < 2:
            raises(OSError, j.save, {1: b"x"})
    journal.unpack = unpack
    os.rename("j.bad", "j")
    assert Journal("j").data == data


def failing_rename(faults):
    """It does not cost the file that is there; what was to be saved is not, or is."""
    for times in (1, 1 << 30):
        j = filled()
        data = dict(j.data)
        saved = 0
        faults.fail("rename", 0, times)
        for n in range(30):
            try:
                j.save({1: bytes((n,)) * 100})
                saved = n
                data = dict(j.data)
            except OSError:
                pass
            assert Journal("j").data == data, n
        faults.fail("")
        assert saved == 29 and Journal("j").data == data


def full_medium(faults):
    """What waits can still leave; no new message is taken; all is as before when there is room."""
    j = filled(reserve=ROOM)
    assert exists("j.room") == ROOM
    # Full, until the reserve has gone.
    real = faults.step

    def step(kind):
        if kind == "write" and exists("j.room"):
            raise OSError(ENOSPC, "full")
        real(kind)

    faults.step = step
    faults.free = 100
    raises(StoreFull, j.save, {NEW + 1: b"n" * 100})
    assert exists("j.room") == ROOM
    j.save({0x20000: b"\0\1", NEW: None})  # PUBREC came
    j.save({8: b"\1crash"})
    assert exists("j.room") == 0
    raises(StoreFull, j.save, {NEW + 1: b"n" * 100})
    j = Journal("j", reserve=ROOM)
    raises(StoreFull, j.save, {NEW + 1: b"n" * 100})
    j.save({0x20000: None})
    faults.step = real
    faults.free = 1 << 20
    j = Journal("j", reserve=ROOM)
    j.save({NEW + 1: b"n" * 100})
    assert exists("j.room") == ROOM and Journal("j").data == {
        2: b"filters",
        8: b"\1crash",
        NEW + 1: b"n" * 100,
    }
    # Where there never was much room, none is reserved, and messages are taken.
    faults.free = ROOM * 2
    j = filled(reserve=ROOM)
    assert exists("j.room") is None and NEW in j.data


class Memory(Blob):
    kept = b""

    def load(self):
        return self.kept

    def dump(self, piece):
        Memory.kept = bytes(piece)


def full_rtc_memory(faults):
    """A handshake goes on whatever fills it, and makes room."""
    Memory.kept = b""
    s = Memory(2048)
    s.save({2: b"1 filter", 9: b"log" * 60})
    n = 0
    while True:
        try:
            s.save({NEW + n: b"m" * 100})
        except StoreFull:
            break
        n += 1
    for pid in range(1, 200):  # what a broker sends and never releases
        s.save({0x10000 + pid: b""})
    s.save({5: b"last", 1: b"c" * 40})
    again = Memory(2048).data
    assert len(Memory.kept) <= 2048 and 9 not in again
    for i in range(n):
        assert again[NEW + i] == b"m" * 100, i
    assert (again[1], again[2], again[5]) == (b"c" * 40, b"1 filter", b"last")
    s.save({NEW: None, 0x20000: b"\0\1"})
    s.save({0x20000: None})
    s.save({NEW + n: b"m" * 60})  # there is room again, though not for what others made grow
    s = Memory(2048)
    assert NEW + n in s.data
    raises(StoreFull, s.save, {1: b"x" * 2000})  # the application's own is still its own affair
    for key in (16, 511):  # and however it grows, what has to be noted for messages finds room
        Memory.kept = b""
        s = Memory(2048)
        n = 0
        while True:
            try:
                s.save({key: bytes(n)})
            except StoreFull:
                break
            n += 1
        assert n > 1800
        s.save({14: b"", 5: b"last", 0x20000: b"\0\1", 15: b"tries"})


for check in (
    passing_read_error,
    unreadable_for_a_start,
    unreadable_for_ever,
    unreadable_for_want_of_memory,
    failing_rename,
    full_medium,
    full_rtc_memory,
):
    check(Faults())
    print(check.__name__)
clean()
print("end")

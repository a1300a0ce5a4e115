"""Files and a memory whose power can be cut at any byte, for the library's own journal and memory.

On any Python: the explorer's stores stand on it (medium.py), and those of ``device.py``.
"""

from collections import OrderedDict

NAME = "j"
ROOM = 2048  # bytes of memory
NOT_THERE = 2  # ENOENT


class PowerCut(BaseException):
    """The power is gone: nobody is there to catch it."""


class Disk:
    """Files and a memory. ``power``: how much was done so far, and at what it is cut, or -1; then
    at what it could have been cut, as far as that is to be tried (``torn``: in a write's middle
    too). ``in_order``: records are written by the order of their keys. ``cut``: what was being done
    when the power was cut, also in the start behind that."""

    current: "Disk"  # the one that the module os is of

    def __init__(self, power: list[int], torn: bool, in_order: bool = False) -> None:
        self.files: dict[str, bytes] = {}
        self.memory = b""
        self.power = power
        self.torn = torn
        self.in_order = in_order
        self.cut = ""

    def content(self) -> dict[str, bytes]:
        """Return the files, and the memory under no name."""
        out = dict(self.files)
        out[""] = self.memory
        return out

    def spend(self, n: int) -> int:
        """Do ``n`` more; return how much of it is done before the power is cut."""
        power = self.power
        if power[1] >= 0:
            n = min(n, power[1] - power[0])
        power[0] += n
        return n

    def step(self, what: str) -> None:
        """Do what is done or not. Raises PowerCut."""
        if self.power[1] < 0:
            self.power.append(self.power[0])
        if not self.spend(1):
            self.gone(what)

    def gone(self, what: str) -> None:
        """The power is, in the middle of that. Raises PowerCut."""
        self.cut += ("; " if self.cut else "") + what
        raise PowerCut

    def marked(self, begun: int, n: int) -> None:
        """Note where a write that began there may be torn."""
        at = {begun}
        if self.torn:
            at |= {begun + 1, begun + n // 2, begun + n - 1}
        self.power += sorted(at)

    # --- the memory, as a Blob needs it

    def load(self) -> bytes:
        """Return what is in the memory."""
        return self.memory

    def dump(self, piece: memoryview) -> None:
        """Put ``piece`` into the memory. Raises PowerCut."""
        begun = self.power[0]
        size = len(piece)
        n = self.spend(size)
        self.memory = bytes(piece[:n]) + (self.memory[n:] if n < size else b"")
        if n < size:
            self.gone("memory: %d of %d bytes" % (n, size))
        if self.power[1] < 0:
            self.marked(begun, n)

    # --- the module os, as far as a journal needs it

    def stat(self, name: str) -> tuple[int, ...]:
        """Return what ends with the size of a file. Raises OSError."""
        if name not in self.files:
            raise OSError(NOT_THERE, name)
        return (0,) * 6 + (len(self.files[name]),)

    def remove(self, name: str) -> None:
        """Remove a file. Raises OSError."""
        self.stat(name)
        self.step("remove " + name)
        del self.files[name]

    def rename(self, old: str, new: str) -> None:
        """Rename a file, and replace what is there. Raises OSError."""
        self.stat(old)
        if new in self.files:
            self.step("rename: remove " + new)
            del self.files[new]
        self.step("rename " + old)
        self.files[new] = self.files.pop(old)

    def open(self, name: str, mode: str) -> "Handle":
        """Open a file. Raises OSError."""
        if mode == "wb" and self.files.get(name) != b"":
            self.step("make " + name)
            self.files[name] = b""
        self.stat(name)
        return Handle(self, name)


class Handle:
    """An open file."""

    def __init__(self, disk: Disk, name: str) -> None:
        self.disk = disk
        self.name = name
        self.at = 0
        self.begun = -1  # where in ``power`` a write began that is not flushed yet

    def __enter__(self) -> "Handle":
        return self

    def __exit__(self, *_: object) -> None:
        self.flush()

    def close(self) -> None:
        """What was written is there."""
        self.flush()

    def seek(self, at: int) -> None:
        """Go to a place."""
        self.at = at

    def tell(self) -> int:
        """Return the place."""
        return self.at

    def read(self, n: int) -> bytes:
        """Return what comes next."""
        data = self.disk.files[self.name][self.at : self.at + n]
        self.at += len(data)
        return data

    def readinto(self, buf: bytearray) -> int:
        """Put into ``buf`` what comes next; return how many bytes."""
        data = self.read(len(buf))
        buf[: len(data)] = data
        return len(data)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Write over what is there. Raises PowerCut."""
        disk = self.disk
        if self.begun < 0:
            self.begun = disk.power[0]
        n = disk.spend(len(data))
        old = disk.files[self.name]
        disk.files[self.name] = old[: self.at] + bytes(data[:n]) + old[self.at + n :]
        self.at += n
        if n < len(data):
            disk.gone("%s: behind %d bytes" % (self.name, disk.power[0] - self.begun))

    def flush(self) -> None:
        """What was written is there."""
        if self.begun >= 0 and self.disk.power[1] < 0:
            self.disk.marked(self.begun, self.disk.power[0] - self.begun)
        self.begun = -1


class System:
    """Stands for the module os, of the disk that is being driven."""

    @staticmethod
    def stat(name: str) -> tuple[int, ...]:
        """See Disk."""
        return Disk.current.stat(name)

    @staticmethod
    def remove(name: str) -> None:
        """See Disk."""
        Disk.current.remove(name)

    @staticmethod
    def rename(old: str, new: str) -> None:
        """See Disk."""
        Disk.current.rename(old, new)

    @staticmethod
    def open(name: str, mode: str) -> Handle:
        """See Disk."""
        return Disk.current.open(name, mode)


def stand_on_disk(journal, rtc):
    """Let a library's modules of these names use the disk that is being driven.

    Dicts of MicroPython have an order of their own: where bytes are compared, that of the keys.
    """
    journal.os = System
    journal.open = System.open
    pack = journal.pack

    def packed(write, changes, crc):
        if Disk.current.in_order:
            changes = OrderedDict(sorted(changes.items()))
        return pack(write, changes, crc)

    journal.pack = rtc.pack = packed

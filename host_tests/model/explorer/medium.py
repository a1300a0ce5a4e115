"""What a store is on: a medium that keeps records; or a disk and a memory, byte by byte.

On the disk stands the library's own ``Journal``, in the memory its ``Blob``, of which ``RTCStore``
is made. Their power can be cut before each step that changes something, and in its middle: of a
write so many bytes are there and the others are not, of a rename that replaces a file the old one
is gone and the new one not yet in its place (FAT; littlefs does it in one).
"""

from typing import Any

from explorer.library import Library

NAME = "j"
ROOM = 2048  # bytes of memory
NOT_THERE = 2  # ENOENT
PACKETS = 0x40000  # from this key on a store holds packets


class PowerCut(BaseException):
    """The power is gone: nobody is there to catch it."""


class Disk:
    """Files and a memory. ``power``: how much was done so far, and at what it is cut, or -1; then
    at what it could have been cut, as far as that is to be tried (``torn``: in a write's middle
    too)."""

    current: "Disk"  # the one that the module os is of

    def __init__(self, power: list[int], torn: bool) -> None:
        self.files: dict[str, bytes] = {}
        self.memory = b""
        self.power = power
        self.torn = torn

    def spend(self, n: int) -> int:
        """Do ``n`` more; return how much of it is done before the power is cut."""
        power = self.power
        if power[1] >= 0:
            n = min(n, power[1] - power[0])
        power[0] += n
        return n

    def step(self) -> None:
        """Do what is done or not. Raises PowerCut."""
        if self.power[1] < 0:
            self.power.append(self.power[0])
        if not self.spend(1):
            raise PowerCut

    def marked(self, begun: int, n: int) -> None:
        """Note where a write that began there may be torn."""
        at = {begun}
        if self.torn:
            at |= {begun + 1, begun + n // 2, begun + n - 1}
        self.power += sorted(at)

    # --- the module os, as far as a journal needs it

    def stat(self, name: str) -> tuple[int, ...]:
        """Return what ends with the size of a file. Raises OSError."""
        if name not in self.files:
            raise OSError(NOT_THERE, name)
        return (0,) * 6 + (len(self.files[name]),)

    def remove(self, name: str) -> None:
        """Remove a file. Raises OSError."""
        self.stat(name)
        self.step()
        del self.files[name]

    def rename(self, old: str, new: str) -> None:
        """Rename a file, and replace what is there. Raises OSError."""
        self.stat(old)
        if new in self.files:
            self.step()
            del self.files[new]
        self.step()
        self.files[new] = self.files.pop(old)

    def open(self, name: str, mode: str) -> "Handle":
        """Open a file. Raises OSError."""
        if mode == "wb" and self.files.get(name) != b"":
            self.step()
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

    def readinto(self, buf: Any) -> int:
        """Put into ``buf`` what comes next; return how many bytes."""
        data = self.read(len(buf))
        buf[: len(data)] = data
        return len(data)

    def write(self, data: Any) -> None:
        """Write over what is there. Raises PowerCut."""
        disk = self.disk
        if self.begun < 0:
            self.begun = disk.power[0]
        n = disk.spend(len(data))
        old = disk.files[self.name]
        disk.files[self.name] = old[: self.at] + bytes(data[:n]) + old[self.at + n :]
        self.at += n
        if n < len(data):
            raise PowerCut

    def flush(self) -> None:
        """What was written is there."""
        if self.begun >= 0 and self.disk.power[1] < 0:
            self.disk.marked(self.begun, self.disk.power[0] - self.begun)
        self.begun = -1


def plain(data: dict[int, Any]) -> dict[int, bytes]:
    """Return what a store holds; but for DUP, which a session sets in a packet that is there."""
    out = {key: bytes(value) for key, value in data.items()}
    for key in out:
        if key >= PACKETS:
            out[key] = bytes((out[key][0] & 0xF7,)) + out[key][1:]
    return out


class Media:
    """The kinds of store for one library."""

    def __init__(self, library: Library) -> None:
        store, journal, rtc = (library.module(f"store{n}") for n in ("", ".journal", ".rtc"))
        vars(journal)["os"] = System
        vars(journal)["open"] = System.open

        class Medium(store.Store):  # type: ignore[misc, name-defined]
            """Keeps what was written."""

            survives = 2

            def __init__(self, content: dict[int, bytes], power: list[int]) -> None:
                self.content = content
                self.power = power  # shared by two media
                super().__init__()

            def read(self) -> dict[int, bytes]:
                return dict(self.content)

            def write(self, changes: dict[int, Any]) -> None:
                power = self.power
                if power[0] == power[1]:
                    raise PowerCut
                if power[1] < 0:
                    power.append(power[0])
                power[0] += 1
                for key, value in changes.items():
                    self.content.pop(key, None)
                    if value is not None:
                        self.content[key] = bytes(value)

        class File(journal.Journal):  # type: ignore[misc, name-defined]
            """A journal. ``meant``: what a record that is being written makes of it."""

            saves = written = property(lambda _: 0, lambda *_: None)  # they tell no states apart
            meant: dict[int, bytes] | None = None

            def write(self, changes: dict[int, Any]) -> None:
                self.meant = self.meant or plain(self.data)
                super().write(changes)
                self.meant = None

        class Memory(rtc.Blob):  # type: ignore[misc, name-defined]
            """A piece of memory that may be torn when it is written."""

            survives = 1

            meant: dict[int, bytes] | None = None

            def __init__(self, disk: Disk) -> None:
                self.disk = disk
                super().__init__(ROOM)

            def load(self) -> bytes:
                return self.disk.memory

            def write(self, changes: dict[int, Any]) -> None:
                self.meant = self.meant or plain(self.data)
                super().write(changes)
                self.meant = None

            def dump(self, piece: Any) -> None:
                disk = self.disk
                begun = disk.power[0]
                n = disk.spend(len(piece))
                disk.memory = bytes(piece[:n]) + (disk.memory[n:] if n < len(piece) else b"")
                if n < len(piece):
                    raise PowerCut
                if disk.power[1] < 0:
                    disk.marked(begun, n)

        def there(disk: Disk) -> dict[int, bytes]:
            """Return what a disk and its memory would give after a power cut."""
            kept = Disk.current
            Disk.current = copy = Disk([0, -1], False)
            copy.files, copy.memory = dict(disk.files), disk.memory
            try:
                return {**Memory(copy).data, **File(NAME).data}
            finally:
                Disk.current = kept

        self.there = there
        self.medium = Medium
        self.file = File
        self.memory = Memory
        self.layered = store.Layered


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


_MEDIA: dict[str, Media] = {}


def media_of(library: Library) -> Media:
    """Return the media of a library."""
    if library.name not in _MEDIA:
        _MEDIA[library.name] = Media(library)
    return _MEDIA[library.name]

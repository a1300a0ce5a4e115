"""What a store is on: a medium that keeps records; or a disk and a memory, byte by byte.

On the disk (disk.py) stands the library's own ``Journal``, in the memory its ``Blob``, of which
``RTCStore`` is made. Their power can be cut before each step that changes something, and in its
middle: of a write so many bytes are there and the others are not, of a rename that replaces a file
the old one is gone and the new one not yet in its place (FAT; littlefs does it in one).
"""

from typing import Any

from explorer.disk import NAME, ROOM, Disk, PowerCut, stand_on_disk
from explorer.library import Library

PACKETS = 0x40000  # from this key on a store holds packets


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
        stand_on_disk(journal, rtc)

        class Medium(store.Store):  # type: ignore[name-defined]
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

        class File(journal.Journal):  # type: ignore[name-defined]
            """A journal. ``meant``: what a record that is being written makes of it."""

            saves = written = property(lambda _: 0, lambda *_: None)  # they tell no states apart
            meant: dict[int, bytes] | None = None

            def write(self, changes: dict[int, Any]) -> None:
                self.meant = self.meant or plain(self.data)
                super().write(changes)
                self.meant = None

        class Memory(rtc.Blob):  # type: ignore[name-defined]
            """A piece of memory that may be torn when it is written."""

            survives = 1

            meant: dict[int, bytes] | None = None

            def __init__(self, disk: Disk) -> None:
                self.disk = disk
                super().__init__(ROOM)

            def load(self) -> bytes:
                return self.disk.load()

            def write(self, changes: dict[int, Any]) -> None:
                self.meant = self.meant or plain(self.data)
                super().write(changes)
                self.meant = None

            def dump(self, piece: Any) -> None:
                self.disk.dump(piece)

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
        self.layered = library.module("store.layered").Layered


_MEDIA: dict[str, Media] = {}


def media_of(library: Library) -> Media:
    """Return the media of a library."""
    if library.name not in _MEDIA:
        _MEDIA[library.name] = Media(library)
    return _MEDIA[library.name]

"""The board's flash: counted, and mortal. On MicroPython a littlefs in an image file."""

import os

import _board
from _board import MICROPYTHON, state

MOUNTED = "/flash"


class Flash:
    """A block device as https://docs.micropython.org/en/latest/library/vfs.html#vfs.AbstractBlockDev
    with the extended interface; NOR flash: programming can only clear bits, erasing sets a block.

    Every write is in the image file when the call returns.
    """

    def __init__(self, file, size, block):
        self.file = file
        self.count = size // block
        self.block = block

    def readblocks(self, n, buf, offset=0):
        self.file.seek(n * self.block + offset)
        self.file.readinto(buf)

    def writeblocks(self, n, buf, offset=None):
        if offset is None:
            self.ioctl(6, n)
            offset = 0
        at = n * self.block + offset
        old = bytearray(len(buf))
        self.file.seek(at)
        self.file.readinto(old)
        if old != b"\xff" * len(old):
            buf = bytearray(a & b for a, b in zip(old, buf))
        self.file.seek(at)
        _board.program(self.file, buf)

    def ioctl(self, op, arg):
        if op == 4:
            return self.count
        if op == 5:
            return self.block
        if op == 6:
            self.file.seek(arg * self.block)
            self.file.write(b"\xff" * self.block)
            state.erases += 1
            return 0


class Card:
    """A block device of sectors that are written whole or not at all, as an SD card's are."""

    sector = 512

    def __init__(self, file, size):
        self.file = file
        self.count = size // self.sector

    def readblocks(self, n, buf):
        self.file.seek(n * self.sector)
        self.file.readinto(buf)

    def writeblocks(self, n, buf):
        for k in range(0, len(buf), self.sector):
            if _board.spend(self.sector) < self.sector:
                _board.dead()
            self.file.seek(n * self.sector + k)
            self.file.write(buf[k : k + self.sector])

    def ioctl(self, op, arg):
        return {4: self.count, 5: self.sector}.get(op, 0)


def mount():
    """Mount the flash and make it the current folder; a new one is formatted."""
    if MICROPYTHON:
        (_mount_fat if state.config["fs"] == "fat" else _mount_littlefs)()
        os.chdir(MOUNTED)
    else:
        folder = _board.path("flash")
        os.makedirs(folder, exist_ok=True)
        os.chdir(folder)
    try:
        _copy(_board.path("put"), ".")
    except OSError:
        pass
    if not MICROPYTHON:
        _count_files()
    state.written = state.writes = state.erases = 0


def _mount_littlefs():
    size = state.config["flash"]
    block = state.config["block"]
    # As the ports do it: ports/esp32/modules/inisetup.py, ports/rp2/modules/_boot.py.
    options = {} if state.esp32 else {"progsize": 256}
    name = _board.path("flash.img")
    try:
        file = open(name, "r+b")
    except OSError:
        with open(name, "wb") as f:
            for _ in range(size // block):
                f.write(b"\xff" * block)
        file = open(name, "r+b")
        flash = Flash(file, size, block)
        os.VfsLfs2.mkfs(flash, **options)
    else:
        flash = Flash(file, size, block)
    os.mount(os.VfsLfs2(flash, **options), MOUNTED)


def _mount_fat():
    size = state.config["flash"]
    name = _board.path("flash.img")
    try:
        file = open(name, "r+b")
    except OSError:
        with open(name, "wb") as f:
            f.write(bytes(size))
        file = open(name, "r+b")
        os.VfsFat.mkfs(Card(file, size))
    os.mount(os.VfsFat(Card(file, size)), MOUNTED)


def _copy(source, target):
    # Move what the host put for the board.
    for name in os.listdir(source):
        a = source + "/" + name
        b = target + "/" + name
        if os.stat(a)[0] & 0x4000:
            try:
                os.mkdir(b)
            except OSError:
                pass
            _copy(a, b)
            continue
        with open(a, "rb") as f, open(b, "wb") as g:
            g.write(f.read())
        os.remove(a)


def _count_files():
    # CPython: the flash is a folder, and open() counts what is written below it. There are no
    # blocks to erase.
    import builtins
    import io

    real_open = io.open
    below = os.path.realpath(".") + "/"

    class Raw(io.FileIO):
        def write(self, data):
            data = memoryview(data).cast("B")
            n = _board.spend(len(data))
            written = 0
            while written < n:
                written += super().write(data[written:n])
            if n < len(data):
                _board.dead()
            return n

    def counted_open(file, mode="r", buffering=-1, *args, **options):
        writes = any(c in mode for c in "wax+")
        if not (writes and isinstance(file, (str, bytes, os.PathLike))):
            return real_open(file, mode, buffering, *args, **options)
        if not os.path.realpath(os.fsdecode(file)).startswith(below):
            return real_open(file, mode, buffering, *args, **options)
        raw = Raw(file, mode.replace("b", "").replace("t", ""))
        if buffering == 0:
            return raw
        stream = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
        if "b" in mode:
            return stream
        stream = io.TextIOWrapper(stream, *args, **options)
        stream.mode = mode
        return stream

    builtins.open = io.open = counted_open

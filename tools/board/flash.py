"""Put MicroPython's firmware on a board. On the ESP32 family all that was there is erased.

    make flash BOARD=ESP32_GENERIC FIRMWARE=ESP32_GENERIC-20250415-v1.25.0.bin
    make flash BOARD=RPI_PICO_W FIRMWARE=RPI_PICO_W-20250415-v1.25.0.uf2
    make flash BOARD=ESP32_GENERIC_C3 FIRMWARE=... PORT=/dev/ttyACM0 DRY_RUN=1

Firmware is on micropython.org/download, or what you have built (docs/boards.md). The file is
looked at first: whether it is whole, and made for this chip. The ESP32 family is flashed by
esptool, which erases, writes and verifies; an RP2 gets the file on the USB drive that its
bootloader shows; its file system stays.

Exit status: 0; 1 it cannot be done, with what to plug, press or install; 130 interrupted.
"""

from __future__ import annotations

import os
import re
import shlex
import struct
import subprocess
import sys
import time
from pathlib import Path

from rich import progress
from rich.console import Console

from . import boards, ports, tool
from .device import Device, DeviceError
from .safety import CannotDo

BAUD = 460800
DRIVE_TIMEOUT = 20  # seconds for the bootloader's drive to appear

# The chip of an image: ESP-IDF, esp_app_format.h, esp_chip_id_t, at byte 12 of its header.
CHIP_IDS = {0: "esp32", 2: "esp32s2", 5: "esp32c3", 9: "esp32s3", 13: "esp32c6"}
IMAGE_MAGIC = 0xE9
TABLE_AT = 0x8000  # of the partition table in flash: in all of MicroPython's ESP32 builds
TABLE_MAGIC = b"\xaa\x50"

MEGABYTE = 1 << 20
DETECTED = re.compile(r"Detected flash size: (\d+)MB")  # of esptool flash-id

# https://github.com/microsoft/uf2: the first two words of a block, the last, the flag that says
# that a family is named. Blocks are 512 bytes.
UF2_START = (0x0A324655, 0x9E5D5157)
UF2_END = 0x0AB16F30
UF2_FAMILY = 0x2000

BUTTON = (
    "What to do: check that BOARD is the chip that is plugged in. If esptool could not connect:\n"
    "    hold BOOT, press and let go EN (RST), let go BOOT, and try again. If the port is busy:\n"
    "    close what uses it"
)


class CannotFlash(CannotDo):
    """It cannot be done. The text says why, and what to do."""


def source(board: boards.Board) -> str:
    """Return where the firmware of a board is to be had, as an advice."""
    return f"What to do: take {board.firmware} from https://micropython.org/download/{board.name}/"


def read(board: boards.Board, firmware: Path | None) -> bytes:
    """Return the firmware's bytes. Raises CannotFlash."""
    where = f"{source(board)}\n    and say FIRMWARE=that file"
    if firmware is None:
        raise CannotFlash(f"no firmware is named\n{where}")
    try:
        return firmware.read_bytes()
    except OSError as error:
        raise CannotFlash(f"{firmware}: {error.strerror}\n{where}") from error


def check_image(board: boards.Board, data: bytes) -> None:
    """Check that this is a whole image, bootloader and all, for the board's chip.

    Raises CannotFlash.
    """
    take = source(board)
    if len(data) < 24 or data[0] != IMAGE_MAGIC:
        raise CannotFlash(f"this is no firmware of an ESP32\n{take}")
    (number,) = struct.unpack_from("<H", data, 12)
    chip = CHIP_IDS.get(number, f"chip number {number}")
    if chip != board.chip:
        raise CannotFlash(f"this firmware is for {chip}; {board.name} has an {board.chip}\n{take}")
    table = TABLE_AT - board.flash_offset
    if data[table : table + 2] != TABLE_MAGIC:
        raise CannotFlash(
            "there is no partition table in it: an application alone (.app-bin), or for another "
            f"offset than {board.flash_offset:#x}\n{take}"
        )
    if board.flash_offset + len(data) > board.flash_bytes:
        raise CannotFlash(f"{len(data)} bytes do not fit into {board.flash_bytes}\n{take}")


def made_for(data: bytes) -> int:
    """Return the flash in bytes that an image is made for: ESP-IDF, esp_app_format.h, spi_size."""
    return MEGABYTE << (data[3] >> 4)


def check_size(board: boards.Board, data: bytes, said: str) -> None:
    """Check that the module's flash, of which esptool said how large it is, is large enough: with
    less the bootloader finds no place for a partition, and stops. Raises CannotFlash."""
    found = DETECTED.search(said)
    size = int(found[1]) * MEGABYTE if found else 0
    if found and size < made_for(data):
        raise CannotFlash(
            f"this firmware is made for {made_for(data) // MEGABYTE} MB of flash, and the module "
            f"has {found[1]} MB: it would not start\nWhat to do: take {board.name}-FLASH_"
            f"{found[1]}M-*.bin, or a newer one, from https://micropython.org/download/{board.name}/"
        )


def check_uf2(board: boards.Board, data: bytes) -> None:
    """Check that this is a whole UF2 file which has the board's chip in it. Raises CannotFlash."""
    take = source(board)
    if not data or len(data) % 512:
        raise CannotFlash(f"this is no UF2 file, or not all of it\n{take}")
    families = set()
    for start in range(0, len(data), 512):
        first, second, flags = struct.unpack_from("<3I", data, start)
        (family,) = struct.unpack_from("<I", data, start + 28)
        (last,) = struct.unpack_from("<I", data, start + 508)
        if (first, second) != UF2_START or last != UF2_END:
            raise CannotFlash(f"this is no UF2 file: block {start // 512} is none\n{take}")
        if flags & UF2_FAMILY:
            families.add(family)
    if board.uf2_family not in families:
        found = ", ".join(f"{family:#x}" for family in sorted(families)) or "no chip"
        raise CannotFlash(f"this UF2 file is for {found}, not for {board.uf2_family:#x}\n{take}")


# --- ESP32: esptool -------------------------------------------------------------------------------


def esptool(board: boards.Board, port: str) -> list[str]:
    """Return how each command line of esptool begins."""
    return [sys.executable, "-m", "esptool", "--chip", board.chip, "--port", port]


def esptool_commands(board: boards.Board, port: str, firmware: Path) -> list[list[str]]:
    """Return the command lines: erase and write in one go, then verify."""
    start = [*esptool(board, port), "--baud", str(BAUD)]
    at = [f"{board.flash_offset:#x}", str(firmware)]
    return [[*start, "write-flash", "--erase-all", *at], [*start, "verify-flash", *at]]


def flash_esp(board: boards.Board, port: str | None, firmware: Path, dry_run: bool) -> None:
    """Erase, write and verify. Raises CannotFlash, NoPort."""
    port = ports.ready(port, board.port, dry_run)
    data = firmware.read_bytes()
    if made_for(data) > board.flash_bytes:  # the module may have more than the least
        command = [*esptool(board, port), "flash-id"]
        if dry_run:
            print(shlex.join(command))
        else:
            asked = subprocess.run(
                command, stdin=subprocess.DEVNULL, capture_output=True, text=True
            )
            check_size(board, data, asked.stdout)
    for command in esptool_commands(board, port, firmware):
        if dry_run:
            print(shlex.join(command))
        elif subprocess.run(command, stdin=subprocess.DEVNULL).returncode:
            raise CannotFlash(f"esptool failed; why is above\n{BUTTON}")


# --- RP2: a drive ---------------------------------------------------------------------------------


def mounted() -> list[Path]:
    """Return where drives are mounted on this machine."""
    found = []
    try:
        for line in Path("/proc/mounts").read_text().splitlines():
            found.append(Path(line.split()[1].replace("\\040", " ")))
    except OSError:  # macOS
        found += list(Path("/Volumes").glob("*"))
    return found


def is_drive(board: boards.Board, folder: Path) -> bool:
    """Tell whether a folder is the drive of this board's bootloader, by the file that is on it."""
    try:
        text = (folder / "INFO_UF2.TXT").read_text(errors="replace")
    except OSError:
        return False
    return f"Board-ID: {board.drive}" in text.splitlines()


def find_drive(board: boards.Board, given: Path | None) -> Path | None:
    """Return the bootloader's drive, if it is there."""
    folders = [given] if given else mounted()
    return next((folder for folder in folders if is_drive(board, folder)), None)


def start_bootloader(board: boards.Board, port: str | None, given: Path | None) -> Path:
    """Send the board into its bootloader, and wait for the drive. Raises CannotFlash, NoPort."""
    press = (
        "What to do: unplug it, hold BOOTSEL, plug it in, and try again; on Linux with no desktop\n"
        f"    mount the drive: udisksctl mount -b /dev/disk/by-label/{board.drive}"
    )
    try:
        port = ports.ready(port, board.port)
        # mpremote loses the port while it still has it: that is no failure.
        Device(port).run("bootloader")
    except ports.NoPort as error:
        raise CannotFlash(f"no drive {board.drive}, and {error}\n{press}") from error
    except DeviceError as error:
        print(f"mpremote: {error}", file=sys.stderr)
    deadline = time.monotonic() + DRIVE_TIMEOUT
    while time.monotonic() < deadline:
        if drive := find_drive(board, given):
            return drive
        time.sleep(0.2)
    raise CannotFlash(f"its drive {board.drive} does not come\n{press}")


def copy(firmware: Path, drive: Path) -> None:
    """Copy, with a bar; the board takes it, and is gone before the copy is closed. CannotFlash."""
    console, left = Console(stderr=True), firmware.stat().st_size
    try:
        with (
            progress.open(
                firmware, "rb", description="", console=console, disable=not console.is_terminal
            ) as file,
            open(drive / firmware.name, "wb", 0) as target,
        ):
            while data := file.read(65536):
                target.write(data)
                left -= len(data)
            os.fsync(target.fileno())
    except OSError as error:
        if left:
            raise CannotFlash(f"{drive}: {error.strerror}\nWhat to do: try again") from error


def flash_rp2(
    board: boards.Board, port: str | None, firmware: Path, given: Path | None, dry_run: bool
) -> None:
    """Copy the firmware onto the drive of the bootloader. Raises CannotFlash."""
    drive = find_drive(board, given)
    if dry_run:
        if drive is None:
            print(shlex.join(Device(port or "PORT").argv("bootloader")))
        print(shlex.join(["cp", str(firmware), str(drive or f"DRIVE {board.drive}")]))
        return
    copy(firmware, drive or start_bootloader(board, port, given))


def flash(
    board: boards.Board, port: str | None, firmware: Path | None, drive: Path | None, dry_run: bool
) -> None:
    """Look at the file, and flash it. Raises CannotFlash, NoPort."""
    if board.port == "unix":
        raise CannotFlash("the simulated board has no firmware\nWhat to do: name another BOARD")
    data = read(board, firmware)
    assert firmware
    if board.port == "esp32":
        check_image(board, data)
        flash_esp(board, port, firmware, dry_run)
    else:
        check_uf2(board, data)
        flash_rp2(board, port, firmware, drive, dry_run)


def main(argv: list[str] | None = None) -> int:
    """Parse the command line, flash, and return the exit status."""
    parser = tool.parser(
        "Put MicroPython's firmware on a board; an ESP32 is erased.",
        "make flash BOARD=... PORT=... FIRMWARE=...",
        wait=False,
    )
    parser.add_argument("--firmware", type=Path, metavar="FILE", help=".bin (ESP32) or .uf2 (RP2)")
    parser.add_argument("--drive", type=Path, help="RP2: where its drive is mounted, if not found")
    options = parser.parse_args(argv)

    def work() -> str:
        board = boards.named(options.board)
        flash(board, options.port, options.firmware, options.drive, options.dry_run)
        if options.dry_run:
            return "nothing was done: these are the commands"
        return f"MicroPython is on it. Next: make deploy BOARD={board.name}"

    return tool.finish("flash", work, "the board may have no whole firmware; flash it again")


if __name__ == "__main__":
    sys.exit(main())

"""make flash: images that the real esptool has made, and a simulated RP2 with its drive."""

import struct
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from harness.serial_board import SerialBoard

from tools.board import boards, flash
from tools.testing import runtimes
from tools.testing.needs import missing

ESP = [board for board in boards.all_boards() if board.port == "esp32"]
RP2 = [board for board in boards.all_boards() if board.port == "rp2"]

# chip: where code may be loaded, and the machine of its ELF files (Xtensa, RISC-V).
CHIPS = {
    "esp32": (0x40080000, 94),
    "esp32s3": (0x40378000, 94),
    "esp32c3": (0x4037C000, 243),
    "esp32c6": (0x40800000, 243),
}


def esptool(*args: object) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "esptool", *map(str, args)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def write_elf(chip: str, path: Path) -> None:
    """The smallest ELF file that esptool makes an image of: one segment of code."""
    address, machine = CHIPS[chip]
    code, names, at = bytes(256), b"\0.text\0.shstrtab\0", 0x100
    sections = at + len(code) + 32
    header = b"\x7fELF\1\1\1" + bytes(9)
    header += struct.pack(
        "<HHIIIIIHHHHHH", 2, machine, 1, address, 52, sections, 0, 52, 32, 1, 40, 3, 2
    )
    header += struct.pack("<8I", 1, at, address, address, len(code), len(code), 5, 4)
    text = struct.pack("<10I", 1, 1, 6, address, at, len(code), 0, 0, 4, 0)
    strings = struct.pack("<10I", 7, 3, 0, 0, at + len(code), len(names), 0, 0, 1, 0)
    path.write_bytes(
        header.ljust(at, b"\0") + code + names.ljust(32, b"\0") + bytes(40) + text + strings
    )


def make_firmware(board: boards.Board, folder: Path) -> Path:
    """Bootloader, partition table and application, merged as MicroPython's build merges them."""
    write_elf(board.chip, folder / "app.elf")
    esptool("--chip", board.chip, "elf2image", "-o", folder / "app.bin", folder / "app.elf")
    # One entry: an application at 0x10000 (ESP-IDF, partition tables).
    entry = struct.pack("<2sBBII16sI", b"\xaa\x50", 0, 0, 0x10000, 0x1F0000, b"factory", 0)
    (folder / "table.bin").write_bytes(entry.ljust(0xC00, b"\xff"))
    firmware = folder / "firmware.bin"
    esptool(
        *("--chip", board.chip, "merge-bin", "-o", firmware, "-t", hex(board.flash_offset)),
        *(hex(board.flash_offset), folder / "app.bin", "0x8000", folder / "table.bin"),
        *("0x10000", folder / "app.bin"),
    )
    return firmware


@pytest.mark.parametrize("board", ESP, ids=lambda board: board.name)
def test_merged_image(board: boards.Board, tool, tmp_path: Path) -> None:
    """Accepted for its chip only; and esptool takes the command lines, up to the missing port."""
    firmware = make_firmware(board, tmp_path)
    (number,) = [k for k, v in flash.CHIP_IDS.items() if v == board.chip]
    said = esptool("--chip", board.chip, "image-info", firmware)
    assert f"Chip ID: {number} " in said
    for other in ESP:
        if other == board:
            flash.check_image(board, firmware.read_bytes())
            continue
        with pytest.raises(flash.CannotFlash, match=f"is for {board.chip}; {other.name} has an"):
            flash.check_image(other, firmware.read_bytes())
    with pytest.raises(flash.CannotFlash, match="application alone"):
        flash.check_image(board, (tmp_path / "app.bin").read_bytes())
    with pytest.raises(flash.CannotFlash, match="do not fit"):
        flash.check_image(board, firmware.read_bytes() + bytes(board.flash_bytes))
    args = ("--board", board.name, "--firmware", str(firmware), "--port", "/dev/nothing")
    done = tool("flash.py", *args, "--dry-run")
    assert done.returncode == 0, done.stderr
    *commands, last = done.stdout.splitlines()
    assert last.startswith("nothing was done")
    assert len(commands) == 2 and f"write-flash --erase-all {board.flash_offset:#x}" in commands[0]
    for command in commands:
        ran = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60)
        assert "Could not open /dev/nothing" in ran.stdout + ran.stderr


def test_firmware_for_a_larger_flash(tmp_path: Path, monkeypatch, capsys) -> None:
    """ESP32-S3's up to MicroPython 1.25 is for 8 MB, and a module may have 4: it is asked."""
    board = boards.named("ESP32_GENERIC_S3")
    firmware = make_firmware(board, tmp_path)
    data = bytearray(firmware.read_bytes())
    data[3] = data[3] & 15 | 3 << 4
    firmware.write_bytes(data)
    said = esptool("--chip", board.chip, "image-info", firmware)
    assert "Flash size: 8MB" in said
    ran: list[list[str]] = []
    answers = iter(["4MB", "8MB", "none"])

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        ran.append(command)
        size = next(answers) if command[-1] == "flash-id" else ""
        return subprocess.CompletedProcess(command, 0, f"Detected flash size: {size}\n", "")

    monkeypatch.setattr(flash.subprocess, "run", run)
    monkeypatch.setattr(flash.ports, "ready", lambda port, *_: port)
    with pytest.raises(flash.CannotFlash, match=r"for 8 MB .* has 4 MB(.|\n)*S3-FLASH_4M-"):
        flash.flash(board, "/dev/x", firmware, None, False)
    assert len(ran) == 1, "nothing is erased"
    for _ in range(2):  # large enough; not told
        flash.flash(board, "/dev/x", firmware, None, False)
    assert len(ran) == 1 + 3 + 3
    flash.flash(board, "/dev/x", firmware, None, True)
    assert len(capsys.readouterr().out.splitlines()) == 3


def test_esptool_that_fails_is_followed_by_what_to_do(tool, tmp_path: Path) -> None:
    firmware = make_firmware(ESP[0], tmp_path)
    args = ("--board", ESP[0].name, "--firmware", str(firmware), "--port", "/dev/full")
    done = tool("flash.py", *args)  # there, may be written, and no serial port
    assert done.returncode == 1 and "hold BOOT" in done.stderr and "Traceback" not in done.stderr


def uf2(family: int, blocks: int = 3) -> bytes:
    data = b""
    for n in range(blocks):
        block = struct.pack("<8I", *flash.UF2_START, 0x2000, 0x10000000, 256, n, blocks, family)
        data += block.ljust(508, b"\0") + struct.pack("<I", flash.UF2_END)
    return data


@pytest.mark.parametrize("board", RP2, ids=lambda board: board.name)
def test_uf2(board: boards.Board) -> None:
    good = uf2(board.uf2_family)
    flash.check_uf2(board, good)
    flash.check_uf2(board, uf2(0xE48BFF57, 1) + good)  # a first block for any chip, as RP2350's has
    for bad in (b"", good[:-1], good[:512] + bytes(512), good[:-4] + bytes(4)):
        with pytest.raises(flash.CannotFlash, match="this is no UF2 file"):
            flash.check_uf2(board, bad)
    with pytest.raises(flash.CannotFlash, match="is for 0x12345678"):
        flash.check_uf2(board, uf2(0x12345678))


def test_rp2_is_sent_into_its_bootloader(tool, tmp_path: Path) -> None:
    """mpremote asks for the bootloader, the drive comes, the file is on it."""
    if runtimes.MICROPYTHON64.reason:
        missing(runtimes.MICROPYTHON64.reason)
    board = boards.named("RPI_PICO_W")
    firmware, drive = tmp_path / "firmware.uf2", tmp_path / "drive"
    firmware.write_bytes(uf2(board.uf2_family))
    drive.mkdir()
    with SerialBoard(tmp_path / "board", config={"type": "rp2"}) as simulated:

        def show_drive() -> None:
            if simulated.bootloader.wait(30):
                (drive / "INFO_UF2.TXT").write_text("UF2 Bootloader v3.0\nBoard-ID: RPI-RP2\n")

        shown = threading.Thread(target=show_drive)
        shown.start()
        args = ("--board", board.name, "--firmware", str(firmware), "--drive", str(drive))
        dry = tool("flash.py", *args, "--port", simulated.port, "--dry-run")
        assert dry.stdout.splitlines()[0].endswith(f"mpremote connect {simulated.port} bootloader")
        assert not simulated.bootloader.is_set()
        done = tool("flash.py", *args, "--port", simulated.port)
        shown.join()
    assert done.returncode == 0, done.stderr
    assert (drive / "firmware.uf2").read_bytes() == firmware.read_bytes()
    assert "make deploy BOARD=RPI_PICO_W" in done.stdout
    # The bootloader of another chip is not taken.
    assert flash.find_drive(boards.named("RPI_PICO2_W"), drive) is None
    assert flash.find_drive(board, drive) == drive


@pytest.mark.parametrize(
    ("args", "why"),
    [
        (["--board", "ESP32_GENERIC"], "no firmware is named"),
        (["--board", "ESP32_GENERIC", "--firmware", "no.bin"], "no.bin: No such file"),
        (["--board", "ESP32_GENERIC", "--firmware", __file__], "this is no firmware of an ESP32"),
        (["--board", "RPI_PICO_W", "--firmware", __file__], "this is no UF2 file"),
        (["--board", "unix"], "has no firmware"),
        ([], "no board is named"),
    ],
)
def test_errors_say_what_to_do(tool, args: list[str], why: str) -> None:
    done = tool("flash.py", *args)
    assert done.returncode == 1 and not done.stdout
    assert why in done.stderr and "What to do:" in done.stderr

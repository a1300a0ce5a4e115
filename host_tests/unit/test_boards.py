"""boards/: every folder is complete, and a copy of one is a board."""

import contextlib
import re
import shutil
from pathlib import Path

import pytest

from tools import parts
from tools.board import boards
from tools.testing.runtimes import ROOT

# (emulated/ is no board: the runtimes cortex-m3 and rv32 of the tests.)
FOLDERS = sorted(path.parent for path in boards.BOARDS.glob("*/board.toml"))
CHIPS = [path for path in FOLDERS if path.name != "unix"]
LIBRARY = {f"{name}.py" for name in parts.every()}
# Of this project. Who copies one of them has one more, which these tests check as well.
OURS = "ESP32_GENERIC ESP32_GENERIC_C3 ESP32_GENERIC_C6 ESP32_GENERIC_S3 RPI_PICO2_W RPI_PICO_W"


class Manifest:
    """Runs a manifest as MicroPython's tools/manifestfile.py does: include() goes from its own
    folder; what the port has cannot be looked into here, and is only noted."""

    def __init__(self, path: Path):
        self.port: list[str] = []
        self.frozen: set[str] = set()
        self._folder = path.parent
        self.include(path.name)

    def include(self, name: str) -> None:
        if name.startswith("$("):
            self.port.append(name)
            return
        path, before = self._folder / name, self._folder
        self._folder = path.parent
        names = {"include": self.include, "package": self.package}
        with contextlib.chdir(self._folder):
            exec(path.read_text(), names)
        self._folder = before

    def package(self, name: str, files: list[str], opt: int) -> None:
        assert all((self._folder / name / file).is_file() for file in files)
        self.frozen |= {f"{name}/{file}" for file in files}


def test_every_folder_is_a_board() -> None:
    assert [board.folder for board in boards.all_boards()] == FOLDERS
    assert {path.name for path in FOLDERS} >= {*OURS.split(), "unix"}


def check_build_files(folder: Path) -> None:
    """What a build of MicroPython with BOARD_DIR=folder needs."""
    manifest = Manifest(folder / "manifest.py")
    assert manifest.port and manifest.frozen == {f"dormouse/{name}" for name in LIBRARY}
    cmake = (folder / "mpconfigboard.cmake").read_text()
    assert "set(MICROPY_FROZEN_MANIFEST ${MICROPY_BOARD_DIR}/manifest.py)" in cmake
    # All of them take what is not theirs from one and the same board of the port.
    origin = re.findall(r"^include\(boards/(\w+)/mpconfigboard.cmake\)$", cmake, re.M)
    assert len(origin) == 1
    assert cmake.index("include") < cmake.index("MICROPY_FROZEN_MANIFEST")  # ours is the last word
    header = (folder / "mpconfigboard.h").read_text()
    assert header == f'#include "boards/{origin[0]}/mpconfigboard.h"\n'
    if boards.load(folder).port == "rp2":
        assert f"/boards/{origin[0]}/pins.csv" in cmake
        assert manifest.port == [f"$(PORT_DIR)/boards/{origin[0]}/manifest.py"]


@pytest.mark.parametrize("folder", CHIPS, ids=lambda path: path.name)
def test_folder_is_complete(folder: Path) -> None:
    check_build_files(folder)
    board = boards.load(folder)
    assert folder.name not in OURS.split() or board.firmware.startswith(f"{folder.name}-")
    assert board.micropython in ("1.22", "1.24", "1.25")
    assert ("RTCStore" in board.sleep["stores"]) == (board.sleep["rtc_memory"] > 0)
    assert ("NVSStore" in board.sleep["stores"]) == (board.sleep["nvs"] > 0)
    assert "timer" in board.sleep["wake"]


@pytest.mark.parametrize("name", ["ESP32_GENERIC", "RPI_PICO_W"])
def test_the_build_that_is_told(name: str) -> None:
    """A whole build found what must be said. Without BUILD the Makefile takes what was built
    before for MicroPython's own board; with it make hands it on to mpy-cross, which then lands
    where it is not looked for; and nothing can be built before the submodules are there."""
    port = boards.named(name).port
    commands = (ROOT / "docs" / "boards.md").read_text().splitlines()
    build = (
        f"make -C micropython/ports/{port} BOARD_DIR=/path/to/dormouse/boards/{name} "
        "BUILD=build-dormouse"
    )
    at = commands.index(build)
    assert commands[at - 2 : at] == ["make -C micropython/mpy-cross", f"{build} submodules"]
    suffix = {"esp32": "bin", "rp2": "uf2"}[port]
    firmware = f"micropython/ports/{port}/build-dormouse/firmware.{suffix}"
    assert commands[at + 1] == f"make flash BOARD={name} FIRMWARE={firmware}"


def test_offsets_and_chips() -> None:
    """deploy_options.flash_offset in board.json of MicroPython's boards."""
    ours = [board for board in boards.all_boards() if board.name in OURS.split()]
    found = {b.name: (b.chip, b.flash_offset) for b in ours if b.port == "esp32"}
    assert found == {
        "ESP32_GENERIC": ("esp32", 0x1000),
        "ESP32_GENERIC_S3": ("esp32s3", 0),
        "ESP32_GENERIC_C3": ("esp32c3", 0),
        "ESP32_GENERIC_C6": ("esp32c6", 0),
    }


@pytest.mark.parametrize("name", [path.name for path in CHIPS])
def test_copy_of_a_folder_is_a_board(name: str, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "firmware", tmp_path / "firmware")
    shutil.copytree(boards.BOARDS / name, tmp_path / "boards" / "MY_NODE")
    board = boards.named("MY_NODE", tmp_path / "boards")
    assert board == boards.Board(**{**vars(boards.named(name)), **vars(board)})
    assert board.product == boards.named(name).product
    assert "| `MY_NODE` |" in boards.table(tmp_path / "boards")
    check_build_files(board.folder)


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ('port = "esp32"', 'port = "stm32"', "port must be one of"),
        ("flash_offset", "flash_ofset", "flash_offset is missing"),
        ("product =", 'colour = "red"\nproduct =', "unknown colour"),
        ("rtc_memory", "memory", "sleep.rtc_memory is missing"),
        ("source =", "# source =", "currents.deep_sleep needs microamperes and source"),
        ("[currents.deep_sleep]", "[currents.dreaming]", "currents.dreaming: not one of"),
        ("[sleep]", "[sleep", "Expected"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, old: str, new: str, why: str) -> None:
    text = (boards.BOARDS / "ESP32_GENERIC" / "board.toml").read_text()
    assert old in text
    (tmp_path / "board.toml").write_text(text.replace(old, new))
    with pytest.raises(boards.BadBoard, match=re.escape(why)):
        boards.load(tmp_path)


def test_unknown_board_lists_the_known(capsys: pytest.CaptureFixture[str]) -> None:
    assert boards.main(["ESP33"]) == 1
    said = capsys.readouterr().err
    assert "ESP33" in said and all(f"{name}, " in said for name in OURS.split())


def test_table_in_readme() -> None:
    """`python -m tools.board.boards` prints what docs/boards.md shows."""
    rows = boards.table().splitlines(keepends=True)
    named = [f"| `{name}` |" for name in ("BOARD=", *OURS.split())]
    ours = [row for row in rows if row.startswith(("|---", *named))]
    assert len(ours) == len(named) + 1
    assert "".join(ours).rstrip() in (ROOT / "docs" / "boards.md").read_text()

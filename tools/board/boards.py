"""The boards: what boards/NAME/board.toml says about each.

    python -m tools.board.boards              # the table of docs/boards.md
    python -m tools.board.boards NAME         # all that is known about one

To add a board, copy a folder of boards/ and edit its board.toml: everything else goes by what is
there. Exit status: 0; 1 no such board, or a board.toml that is wrong, with the reason.
"""

from __future__ import annotations

import argparse
import sys
import tomllib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from ..paths import BOARDS

# What a board.toml must have, by MicroPython port.
NEEDED = {
    "esp32": ("chip", "flash_offset", "flash_bytes", "firmware"),
    "rp2": ("drive", "uf2_family", "flash_bytes", "firmware"),
    "unix": (),
}
SLEEP_NEEDED = ("deep_sleep", "light_sleep", "rtc_memory", "nvs", "stores", "wake")
CURRENTS = ("deep_sleep", "light_sleep", "connected")


class BadBoard(Exception):
    """There is no such board, or its board.toml is wrong. The text says what to do."""


@dataclass(frozen=True)
class Current:
    """A current in microamperes, and who says so."""

    microamperes: float
    source: str


@dataclass(frozen=True)
class Board:
    """One board. The fields are the keys of board.toml; sizes are bytes.

    chip is esptool's name; flash_offset where the firmware goes; drive the label of the USB drive
    that an RP2's bootloader shows, uf2_family the number in the firmware for it; micropython the
    first release for which the folder holds. sleep: what the modes keep, rtc_memory, nvs, the
    stores that work, what wakes. currents: by mode; a mode without a source is not there.
    """

    name: str
    folder: Path
    product: str
    port: str
    micropython: str
    sleep: dict[str, Any]
    currents: dict[str, Current]
    chip: str = ""
    flash_offset: int = 0
    flash_bytes: int = 0
    drive: str = ""
    uf2_family: int = 0
    firmware: str = ""


def load(folder: Path) -> Board:
    """Read a board's folder. Raises BadBoard."""
    path = folder / "board.toml"
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadBoard(f"{path}: {error.strerror}") from error
    except tomllib.TOMLDecodeError as error:
        raise BadBoard(f"{path}: {error}") from error
    port = data.get("port")
    if port not in NEEDED:
        raise BadBoard(f"{path}: port must be one of {', '.join(NEEDED)}, not {port!r}")
    for key in ("product", "micropython", "sleep", "currents", *NEEDED[port]):
        if key not in data:
            raise BadBoard(f"{path}: {key} is missing")
    for key in SLEEP_NEEDED:
        if key not in data["sleep"]:
            raise BadBoard(f"{path}: sleep.{key} is missing")
    known = {f.name for f in fields(Board)} - {"name", "folder"}
    if unknown := sorted(data.keys() - known):
        raise BadBoard(f"{path}: unknown {', '.join(unknown)}")
    return Board(
        **{**data, "currents": _currents(path, data["currents"])}, name=folder.name, folder=folder
    )


def _currents(path: Path, table: dict[str, Any]) -> dict[str, Current]:
    """Check the currents: each must have a source. Raises BadBoard."""
    for mode, entry in table.items():
        if mode not in CURRENTS:
            raise BadBoard(f"{path}: currents.{mode}: not one of {', '.join(CURRENTS)}")
        if set(entry) != {"microamperes", "source"} or not entry["source"]:
            raise BadBoard(f"{path}: currents.{mode} needs microamperes and source, no more")
    return {mode: Current(**entry) for mode, entry in table.items()}


def all_boards(root: Path = BOARDS) -> list[Board]:
    """Return every board that has a board.toml, by name. Raises BadBoard."""
    return [load(path.parent) for path in sorted(root.glob("*/board.toml"))]


def named(name: str, root: Path = BOARDS) -> Board:
    """Return a board by its name. Raises BadBoard, which lists the names."""
    if not name or not (root / name / "board.toml").is_file():
        names = ", ".join(board.name for board in all_boards(root))
        what = f"there is no board {name!r}" if name else "no board is named"
        raise BadBoard(f"{what}\nWhat to do: say BOARD=NAME, one of: {names}")
    return load(root / name)


def _shown(board: Board, mode: str) -> str:
    current = board.currents.get(mode)
    if current is None:
        return "no source"
    amount = current.microamperes
    return f"{amount:g} µA" if amount < 1000 else f"{amount / 1000:g} mA"


def table(root: Path = BOARDS) -> str:
    """Return the table of docs/boards.md, in Markdown."""
    lines = [
        "| `BOARD=` | board | flashed by | over deep sleep remains | asleep draws |",
        "|---|---|---|---|---|",
    ]
    how = {"esp32": "esptool, at {:#x}", "rp2": "a copy to its USB drive"}
    for board in all_boards(root):
        if board.port == "unix":
            continue
        kept = "RTC memory, NVS, flash" if board.sleep["rtc_memory"] else "flash"
        by = how[board.port].format(board.flash_offset)
        draws = _shown(board, "deep_sleep")
        lines.append(f"| `{board.name}` | {board.product} | {by} | {kept} | {draws} |")
    return "\n".join(lines) + "\n"


def describe(board: Board) -> str:
    """Return all that is known about a board, for a person."""
    lines = [f"{board.name}: {board.product}"]
    lines.append(f"  a firmware of this folder: MicroPython {board.micropython} or later")
    for key, value in board.sleep.items():
        text = ", ".join(value) if isinstance(value, list) else value
        lines.append(f"  {key.replace('_', ' ')}: {text}")
    for mode, current in board.currents.items():
        lines.append(f"  {mode.replace('_', ' ')}: {_shown(board, mode)} ({current.source})")
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    """Parse the command line, print, and return the exit status."""
    parser = argparse.ArgumentParser(description="The boards, as boards/NAME/board.toml has them.")
    parser.add_argument("name", nargs="?", metavar="NAME", help="one board; none: the table")
    options = parser.parse_args(argv)
    try:
        print(describe(named(options.name)) if options.name else table(), end="")
    except BadBoard as error:
        print(f"boards: {error}", file=sys.stderr)
        return 1
    if options.name:
        print()
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Put dormouse, boot.py and a main program on a board: only what has changed, compiled for it.

    make deploy BOARD=ESP32_GENERIC                     # the port is found if one board is there
    make deploy BOARD=RPI_PICO_W PORT=/dev/ttyACM0 MAIN=examples/relay.py
    make deploy BOARD=ESP32_GENERIC DRY_RUN=1           # only print the commands

What the board keeps: config.json, a boot.py of your own, and all files that are not dormouse's. It
is reset at the end, and runs. Where dormouse is frozen into the firmware only boot.py and the main
program are copied.

Exit status: 0; 1 it cannot be done, with what to plug, press or install; 130 interrupted.
"""

from __future__ import annotations

import hashlib
import shlex
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from .. import parts
from ..paths import BUILD, FIRMWARE
from . import boards, tool
from .device import FULL, WHO, Device, check
from .safety import CannotDo

OUT = BUILD / "deploy"
BOOT = FIRMWARE / "boot.py"  # puts updates in place (docs/ota.md)
PACKAGE = "lib/dormouse"  # on the board
MPY_VERSION = 6  # of what mpy-cross 1.25 writes; bytecode does not depend on the sub-version

# What the board is asked before anything is copied. A frozen module has a __file__ that is no file;
# a folder without __init__ has none, and what was half copied may raise anything. A boot.py is the
# user's own if it is not dormouse's (nor only comments, as ESP32's is at first).
QUESTION = """\
import os
from hashlib import sha256
from binascii import hexlify
def digest(path):
 s = sha256()
 b = bytearray(512)
 m = memoryview(b)
 with open(path, 'rb') as f:
  while True:
   n = f.readinto(b)
   if not n:
    break
   s.update(m[:n])
 return hexlify(s.digest()).decode()
found = {}
sizes = {}
folders = ['', '%s/']
for folder in folders:
 try:
  for entry in os.ilistdir(folder[:-1]):
   name = folder + entry[0]
   if entry[1] & 0x4000 and folder:
    folders.append(name + '/')
   if entry[1] & 0x8000:
    found[name] = digest(name) if folder or name in ('main.py', 'boot.py') else ''
    sizes[name] = os.stat(name)[6]
 except OSError:
  pass
own = False
try:
 with open('boot.py') as f:
  text = f.read(512)
 if 'Puts an update in place' not in text:
  own = any(line.strip()[:1] not in ('', '#') for line in text.split(chr(10)))
except OSError:
 pass
frozen = False
try:
 import dormouse
 file = getattr(dormouse, '__file__', None)
except Exception:
 file = None
try:
 if file:
  os.stat(file)
except OSError:
 frozen = True
s = os.statvfs(os.getcwd())
who.update({'mpy': getattr(sys.implementation, '_mpy', 0) & 0xff, 'free': s[0] * s[3],
 'block': s[0], 'sizes': sizes, 'found': found, 'frozen': frozen, 'own': own})
answer(who)
"""


class CannotDeploy(CannotDo):
    """It cannot be done. The text says why, and what to do."""


@dataclass(frozen=True)
class Plan:
    """What goes to the board: local files by their names there; names to remove."""

    folders: list[str]
    copy: dict[str, Path]
    remove: list[str]
    same: int


def compiled(folder: Path, dry_run: bool) -> dict[str, Path]:
    """Compile the library into `folder`; return name on the board -> file.

    Raises parts.CannotCompile with mpy-cross's words.
    """
    files = {}
    for name in parts.every():
        target = folder / f"{name}.mpy"
        files[f"{PACKAGE}/{name}.mpy"] = target
        if dry_run:
            target.parent.mkdir(parents=True, exist_ok=True)
            print(shlex.join(parts.compiler(name, target)))
        else:
            parts.compile_module(name, target)
    return files


def plan(wanted: dict[str, Path], answer: dict[str, Any]) -> Plan:
    """Compare what is wanted with what the board has.

    What is in dormouse's folder and not wanted goes: a .py there would be taken before the .mpy
    (py/import in MicroPython's py/builtinimport.c).
    """
    found: dict[str, str] = answer["found"]
    copy = {
        name: path
        for name, path in wanted.items()
        if found.get(name) != hashlib.sha256(path.read_bytes()).hexdigest()
    }
    stale = [name for name in found if name.startswith(PACKAGE + "/") and name not in wanted]
    # mpremote's mkdir fails where the folder is: a file in it tells that it is.
    there = folders_of(found)
    folders = [name for name in folders_of(copy) if name not in there]
    return Plan(folders, copy, sorted(stale), len(wanted) - len(copy))


def folders_of(names: Iterable[str]) -> list[str]:
    """Return the folders in which these names are, each behind the one that it is in."""
    every = {str(folder) for name in names for folder in PurePosixPath(name).parents}
    return sorted(every - {"."})


def check_room(todo: Plan, answer: dict[str, Any]) -> None:
    """Raise CannotDeploy if the files will not fit for certain: half of it would be a mixture."""
    block, sizes = answer["block"], answer["sizes"]
    if not block:
        raise CannotDeploy("the board has no file system\nWhat to do: make flash")
    needed = sum(path.stat().st_size for path in todo.copy.values())
    gone = [sizes.get(name, 0) for name in (*todo.copy, *todo.remove)]
    room = answer["free"] + sum(-(-size // block) * block for size in gone)
    if needed > room:
        raise CannotDeploy(f"{needed:,} bytes, and there is room for {room:,} at most: {FULL}")


def mkdir_program(folders: list[str]) -> str:
    """Return a program that makes folders on the board, where they are not there."""
    return (
        f"import os\nfor d in {folders!r}:\n try:\n  os.mkdir(d)\n"
        " except OSError as e:\n  if e.errno != 17:\n   raise\n"
    )


def carry_out(device: Device, todo: Plan, main: str) -> None:
    """Copy and remove, the main program last, and reset. Raises DeviceError."""
    commands: list[str] = []
    if todo.folders:
        commands += ["exec", mkdir_program(todo.folders), "+"]
    for name in todo.remove:
        commands += ["rm", f":{name}", "+"]
    for name in sorted(todo.copy, key=lambda name: name == main):
        commands += ["cp", str(todo.copy[name]), f":{name}", "+"]
    total, console = len(todo.copy) + len(todo.remove), Console(stderr=True)
    device.changed = bool(total) and not device.dry_run
    columns = BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}")
    hidden = not (device.changed and console.is_terminal)
    with Progress(*columns, console=console, disable=hidden) as progress:
        task = progress.add_task("", total=total)

        def line(text: str) -> None:
            if text.startswith(("cp ", "rm ")):
                progress.update(task, advance=1, description=escape(text.split()[-1]))

        device.run(*commands, "reset", each=line)


def deploy(board: boards.Board, port: str, main: Path, dry_run: bool) -> str:
    """Do all of it; return a line that tells what was done. Raises CannotDeploy, DeviceError."""
    if not main.is_file():
        raise CannotDeploy(f"{main}: no such file\nWhat to do: MAIN=the program to run there")
    device = Device(port, dry_run)
    with tool.held(device):
        answer = device.ask(WHO + QUESTION % PACKAGE)
        if answer is None:  # dry run: as for an empty board
            answer = {"found": {}, "mpy": MPY_VERSION, "frozen": False}
        else:
            check(board, answer)
        wanted = files(board, main, answer, dry_run)
        if dry_run:
            carry_out(device, Plan(folders_of(wanted), wanted, [], 0), "main.py")
            return "nothing was done: these are the commands for an empty board"
        todo = plan(wanted, answer)
        check_room(todo, answer)
        carry_out(device, todo, "main.py")
    done = f"{len(todo.copy)} copied, {todo.same} the same, {len(todo.remove)} removed; it runs. "
    if "config.json" not in answer["found"]:
        return done + "Next, as it has no config.json: make provision BOARD=" + board.name
    return done + "Next: make logs BOARD=" + board.name


def files(
    board: boards.Board, main: Path, answer: dict[str, Any], dry_run: bool
) -> dict[str, Path]:
    """Return what a board with this answer is to have. Raises CannotCompile."""
    wanted = {"boot.py": BOOT, "main.py": main}
    if answer.get("own"):
        del wanted["boot.py"]
        print("its boot.py is not dormouse's, and stays: no updates over the air (docs/ota.md)")
    if answer["frozen"]:
        print("dormouse is frozen into this firmware: only boot.py and the main program are copied")
    elif answer["mpy"] == MPY_VERSION:
        wanted |= compiled(OUT / board.name, dry_run)
    else:
        print(f"this MicroPython loads .mpy of version {answer['mpy']}: sources are copied")
        wanted |= {f"{PACKAGE}/{name}.py": parts.source(name) for name in parts.every()}
    return wanted


def main(argv: list[str] | None = None) -> int:
    """Parse the command line, deploy, and return the exit status."""
    parser = tool.parser(
        "Put dormouse and a main program on a board: only what has changed.",
        "make deploy BOARD=... PORT=... MAIN=...",
    )
    parser.add_argument(
        "--main",
        type=Path,
        default=FIRMWARE / "main.py",
        metavar="FILE",
        help="the program (the project's main.py)",
    )
    options = parser.parse_args(argv)

    def work() -> str:
        board, port = tool.found(options)
        return deploy(board, port, options.main, options.dry_run)

    return tool.finish("deploy", work, "files are copied one by one; start it anew to end it")


if __name__ == "__main__":
    sys.exit(main())

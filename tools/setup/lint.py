"""Style, types, and names that MicroPython has not: all that can be known without running it.

    make lint                                    # all
    .venv/bin/python -m tools.setup.lint types stubs   # some of it

Prints a line for each check, and what is wrong at the end. Needs what `make lint` installs.

Exit status: 0 nothing wrong; 1 something is; 2 a check could not be made; 130 interrupted.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from ..paths import FIRMWARE, LIBRARY, ROOT
from .bootstrap import CACHE

STUBS = CACHE / "stubs"
BUILD = ROOT / "build" / "lint"  # caches, and copies to look at

# What the stubs lack though MicroPython has it, or the code asks for before it uses it.
LACKING = ('"SSLContext" has no attribute "verify_mode"',)
BY_DESIGN = {
    "esp32": LACKING,
    "rp2": (*LACKING, '"RTC" has no attribute "memory"'),
    # A Pico without radio: what needs no network is for it, too.
    "pico": (
        '"RTC" has no attribute "memory"',
        'named "network"',
        'named "socket"',
        'named "tls"',
    ),
    "unix": LACKING,
}
# The unix port has no radio and no chip: there it is the simulated board that has these modules.
SIMULATED = {"unix": ("machine.py", "network.py", "_board.py")}
# What no stub package has: asyncio's loop, in MicroPython's extmod/asyncio/core.py.
NOT_IN_STUBS = "asyncio.core"

# Attributes that are there in objects only, so stubtest does not see them in the classes.
IN_OBJECTS = (
    "dormouse.client.Client.publish_nowait",
    "dormouse.session.Message.chunks",  # dormouse.large gives it these
    "dormouse.session.Message.readinto",
    "dormouse.store.rtc.Blob.load",
    "dormouse.store.rtc.Blob.dump",
    "dormouse.net.serial.Serial.read",
    "dormouse.net.serial.Serial.write",
)
# What _host.py gives packages, for editors on a desk; it is made from the .pyi.
LISTED = r"dormouse(\.\w+)?\.__all__"
# stubtest imports the library on CPython; nothing is called, so the loop may be missing.
STUBTEST = f"""
import sys, types
sys.modules["{NOT_IN_STUBS}"] = types.ModuleType("{NOT_IN_STUBS}")
sys.modules["{NOT_IN_STUBS}"]._io_queue = None
from mypy.stubtest import main
sys.exit(main())
"""


# Examples that are for some ports only.
ONLY = {"wired.py": ("esp32", "unix")}  # network.LAN, network.PPP


class CannotCheck(Exception):
    """A tool did not do its work; the text is what it said."""


def run(*argv: str, env: dict[str, str] | None = None) -> tuple[int, str]:
    """Run a Python module of .venv in the project's folder. Returns exit status and output."""
    done = subprocess.run(
        [sys.executable, *argv],
        cwd=ROOT,
        env={**os.environ, **(env or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    return done.returncode, done.stdout


def plain(*argv: str) -> str:
    """Run a tool whose exit status says whether all is well; return what is wrong, or ""."""
    status, output = run("-m", *argv)
    return output if status else ""


def mypy(name: str, path: tuple[Path, ...], *argv: str) -> str:
    """Run mypy with a cache of its own and these folders to find modules in; return its output.

    Raises CannotCheck if it was no look at types that failed.
    """
    env = {"MYPYPATH": os.pathsep.join(map(str, path))}
    cache = str(BUILD / f"mypy-{name}")
    status, output = run("-m", "mypy", "--cache-dir", cache, *argv, env=env)
    if status > 1:
        raise CannotCheck(output)
    return output if status else ""


def host() -> str:
    """Types of the host side, with the examples for it."""
    names = [str(file.relative_to(ROOT)) for file in examples(desktop=True)]
    model = ROOT / "host_tests" / "model"
    where = (FIRMWARE, model, ROOT / "host_tests" / "fuzz")
    warn = ("--warn-unused-ignores", "--warn-redundant-casts")
    here = ("tools", "host_tests/harness", str(model / "explorer"))
    return mypy("host", where, *warn, *here, *names)


def user() -> str:
    """A user's program, which --strict lets pass, and one whose every use is wrong."""
    return mypy(
        "user",
        (FIRMWARE,),
        "--strict",
        "--config-file=",
        "host_tests/typed_program.py",
        "host_tests/typed_mistakes.py",
    )


def stubs() -> str:
    """Each .pyi against its module: names, arguments, defaults."""
    BUILD.mkdir(parents=True, exist_ok=True)
    allowed = BUILD / "stubtest.allowed"
    allowed.write_text("\n".join((*IN_OBJECTS, LISTED)))
    board = BUILD / "board"
    board.mkdir(exist_ok=True)
    env = {
        "MYPYPATH": str(FIRMWARE),
        "PYTHONPATH": os.pathsep.join(map(str, (FIRMWARE, ROOT / "boards" / "unix"))),
        "PYTHONDONTWRITEBYTECODE": "1",
        "DORMOUSE_BOARD": str(board),
    }
    argv = ("dormouse", "--concise", "--allowlist", str(allowed))
    status, output = run("-c", STUBTEST, *argv, env=env)
    return output if status else ""


def examples(desktop: bool) -> list[Path]:
    """Return the examples for a desktop, or those for a device: they say it at their top."""
    found = []
    for file in sorted([*(ROOT / "examples").glob("*.py"), *(ROOT / "examples").glob("*/*.py")]):
        top = file.read_text().split('"""')[1]
        if ("For a desktop" in top or "on CPython" in top) == desktop:
            found.append(file)
    return found


def programs(port: str) -> str:
    """What runs on a device, with the modules of a port and the library's types."""
    files = [FIRMWARE / "main.py", FIRMWARE / "boot.py", *examples(desktop=False)]
    names = [str(file.relative_to(ROOT)) for file in files if port in ONLY.get(file.name, port)]
    found = mypy(
        f"programs-{port}",
        (*modules(port), FIRMWARE),
        "--custom-typeshed-dir",
        str(STUBS / port),
        *names,
    )
    return "".join(
        line + "\n"
        for line in found.splitlines()
        if line.startswith(tuple(names))
        and ": note: See" not in line
        and not any(text in line for text in BY_DESIGN[port])
    )


def modules(port: str) -> tuple[Path, ...]:
    """Return where a port's modules are found."""
    return (BUILD / f"board-{port}", STUBS / port) if port in SIMULATED else (STUBS / port,)


def own_classes() -> set[str]:
    """Return the names of the library's classes: their attributes are made as they are needed."""
    text = "\n".join(path.read_text() for path in LIBRARY.rglob("*.py"))
    return set(re.findall(r"^\s*class (\w+)", text, re.M)) | {"None"}


def names(port: str) -> str:
    """Modules that a port has not, and names that its modules and their classes have not.

    Of mypy's findings in the library's code no others: with MicroPython's ``self.x = None`` and
    ``except ImportError`` most are none. Looked at in a copy, for where a .pyi is, mypy looks at
    nothing else.
    """
    copy = BUILD / "names" / "dormouse"
    found = mypy(
        f"names-{port}",
        (*modules(port), copy.parent),
        "--custom-typeshed-dir",
        str(STUBS / port),
        "-p",
        "dormouse",
    )
    wrong = ""
    own = own_classes()
    for line in found.splitlines():
        at = line.find("build/lint/names/")
        of = re.search(r'error: (Module|"(?:type\[)?(\w+)\]?" has no attribute)', line)
        if (
            at < 0
            or not (of or ("import-not-found" in line and "error:" in line))
            or (of and of[2] in own)
            or any(text in line for text in BY_DESIGN[port])
        ):
            continue
        wrong += line[at:].replace("build/lint/names", "firmware") + "\n"
    return wrong


def copy_changed(files: list[Path], folder: Path) -> None:
    """Make ``folder`` hold copies of these files; what has not changed stays: mypy's cache goes by
    the time."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in set(folder.glob("*.py")) - {folder / file.name for file in files}:
        path.unlink()
    for file in files:
        beside = folder / file.name
        if not beside.exists() or beside.stat().st_mtime != file.stat().st_mtime:
            shutil.copy2(file, beside)


@dataclass
class Check:
    """One check: what it is about, and what does it; that returns what is wrong, or ""."""

    name: str
    about: str
    body: Callable[[], str]


def checks() -> list[Check]:
    """Return all checks, the longest first."""
    found = [
        Check("types", "types of tools, test harness, examples for a desktop", host),
        Check("stubs", "each .pyi says what its module does", stubs),
        Check("user", "a user's program under mypy --strict, and one that is all wrong", user),
        Check("style", "ruff check", lambda: plain("ruff", "check", "--output-format=concise")),
        Check("format", "ruff format", lambda: plain("ruff", "format", "--check", ".")),
    ]
    for port in BY_DESIGN:
        found.append(
            Check(
                f"names-{port}",
                f"dormouse: names that MicroPython on {port} has not",
                lambda port=port: names(port),  # type: ignore[misc]
            )
        )
        found.append(
            Check(
                f"programs-{port}",
                f"main.py, examples: names and types, on {port}",
                lambda port=port: programs(port),  # type: ignore[misc]
            )
        )
    return found


def timed(check: Check) -> tuple[str, float, bool]:
    """Make a check. Returns what is wrong, after how many s, and whether it could be made."""
    began = time.monotonic()
    made = True
    try:
        wrong = check.body()
    except CannotCheck as error:
        wrong, made = str(error), False
    return wrong.rstrip(), time.monotonic() - began, made


def main() -> int:
    """Parse the command line, check, and return the exit status."""
    everything = checks()
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").split("\n\n")[0],
        epilog="checks: " + "; ".join(f"{c.name}: {c.about}" for c in everything),
    )
    parser.add_argument("check", nargs="*", help="only these (all)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="at once")
    options = parser.parse_args()
    unknown = set(options.check) - {check.name for check in everything}
    if unknown:
        parser.error(f"no such check: {', '.join(sorted(unknown))}")
    chosen = [check for check in everything if not options.check or check.name in options.check]
    for folder in [LIBRARY, *(path for path in LIBRARY.iterdir() if path.is_dir())]:
        beside = BUILD / "names" / "dormouse" / folder.relative_to(LIBRARY)
        copy_changed(list(folder.glob("*.py")), beside)
    for port, names in SIMULATED.items():
        board = ROOT / "boards" / port
        copy_changed([board / name for name in names], BUILD / f"board-{port}")
    status = 0
    reports = []
    with ThreadPoolExecutor(options.jobs) as pool:
        for check, (wrong, seconds, made) in zip(chosen, pool.map(timed, chosen), strict=True):
            word = "ok   " if not wrong and made else "WRONG" if made else "ERROR"
            print(f"{word} {check.name:14} {seconds:4.1f} s  {check.about}", flush=True)
            if wrong or not made:
                reports.append(f"--- {check.name}\n{wrong}")
                status = max(status, 1 if made else 2)
    if reports:
        print("\n" + "\n\n".join(reports))
    return status


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)

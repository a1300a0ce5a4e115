#!/usr/bin/env python3
"""Make `.venv` with what the host side needs; do nothing when all is there.

    python3 tools/setup/bootstrap.py              # for the tests
    python3 tools/setup/bootstrap.py --lint       # and for `make lint`: stubs go to .cache/stubs/
    python3 tools/setup/bootstrap.py --board      # and for flashing and deploying
    python3 tools/setup/bootstrap.py --docs       # and for `make docs`

The requirements are the dependency groups of pyproject.toml. pip is used as this machine has it
configured, and takes what is locked: the versions in requirements/ (`make lock`), each file by its
SHA-256. Where those cannot be had (an index with other versions, a system that needs a build), what
pyproject.toml allows is taken, unchecked, and that is said; with DORMOUSE_LOCKED=1 in the
environment it is an error instead. A file with another SHA-256 always is one.

Where Python comes without ensurepip (Debian's python3 without python3-venv), pip is got from the
distribution's package.

Exit status: 0 all there; 1 something cannot be had, with the reason; 130 interrupted.
"""

# This file must start on an old Python, to be able to say that it is too old.

import sys

if sys.version_info < (3, 11):  # noqa: UP036
    sys.exit(
        f"Python 3.11 or later is needed; this is {sys.version.split()[0]} ({sys.executable}).\n"
        "What to do: install a newer one and name it, for example: make PYTHON=python3.12 test"
    )

import argparse
import fcntl
import hashlib
import importlib.util
import os
import shutil
import subprocess
import tempfile
import time
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / ".cache"
VENV = ROOT / ".venv"
VENV_PYTHON = VENV / "bin" / "python"
LOCKED = ROOT / "requirements"
WRONG_HASH = "DO NOT MATCH THE HASHES"  # so pip says it
STUB_PORTS = ("esp32", "rp2", "pico", "unix")


class CannotSetUp(Exception):
    """The environment cannot be made. The text says why, and what to do."""


def say(text: str) -> None:
    """Show progress on stderr."""
    print(text, file=sys.stderr, flush=True)


def base_python() -> str:
    """Return the Python behind this one, which may be that of .venv: it cannot make itself anew."""
    return getattr(sys, "_base_executable", None) or sys.executable


def requirements(group: str) -> list[str]:
    """Return the requirements of a dependency group.

    Raises CannotSetUp if pyproject.toml has no such group.
    """
    with open(ROOT / "pyproject.toml", "rb") as file:
        groups = tomllib.load(file).get("dependency-groups", {})
    if group not in groups:
        raise CannotSetUp(f"pyproject.toml has no dependency group {group!r}")
    return groups[group]


def locked(group: str) -> Path:
    """Return the file with what is locked of a group; it may not be there."""
    return LOCKED / f"{group}.txt"


def run(argv: list[str], what: str, quiet: bool = False) -> None:
    """Run a program, its output going to the terminal; if `quiet`, only when it fails.

    Raises CannotSetUp, naming `what`, if it fails.
    """
    output = subprocess.PIPE if quiet else sys.stderr
    try:
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, text=True
        )
    except OSError as error:
        raise CannotSetUp(f"{what}: cannot run {argv[0]}: {error.strerror or error}") from error
    if done.returncode and done.stdout:
        say(done.stdout.rstrip())
    if done.returncode < 0:
        raise CannotSetUp(f"{what}: ended by signal {-done.returncode}")
    if done.returncode:
        raise CannotSetUp(f"{what}: exit status {done.returncode}; the reason is above")


# --- Stamps: what was finished, and from what -----------------------------------------------------


def wanted_of(group: str) -> list[str]:
    """Return all that says what is to be installed of a group. Raises CannotSetUp."""
    lock = locked(group)
    return [*requirements(group), lock.read_text() if lock.exists() else ""]


def fingerprint(wanted: list[str]) -> str:
    """Return a hash of requirements, and of what else spoils .venv: other Python, moved folder."""
    text = "\n".join([str(sys.version_info[:2]), str(ROOT), *wanted])
    return hashlib.sha256(text.encode()).hexdigest()


def is_fresh(stamp: Path, wanted: list[str]) -> bool:
    """Tell whether `stamp` was written after installing exactly `wanted`."""
    return stamp.is_file() and stamp.read_text() == fingerprint(wanted)


def write_stamp(stamp: Path, wanted: list[str]) -> None:
    """Note that `wanted` is installed, at one stroke: an interrupted write is no stamp."""
    beside = stamp.with_suffix(".new")
    beside.write_text(fingerprint(wanted))
    beside.replace(stamp)


# --- The environment ------------------------------------------------------------------------------


def has_ensurepip() -> bool:
    """Tell whether this Python can put pip into an environment by itself."""
    spec = importlib.util.find_spec("ensurepip")
    return spec is not None and spec.origin is not None


def pip_from_distribution() -> Path:
    """Return pip as a wheel from the distribution's package python3-pip-whl. Raises CannotSetUp."""
    sys.path.insert(0, str(ROOT))
    from tools.setup import get

    try:
        return get.pip_wheel()
    except get.NotAvailable as error:
        raise CannotSetUp(
            f"this Python ({base_python()}) has no ensurepip, and pip cannot be fetched: {error}\n"
            f"What to do: {get.install_command('python3-venv')}"
        ) from error


def make_venv() -> None:
    """Make .venv with pip in it, if it is not there or was not finished. Raises CannotSetUp."""
    stamp = VENV / ".made"
    if is_fresh(stamp, []) and VENV_PYTHON.exists():
        return
    if VENV.is_symlink():
        raise CannotSetUp(
            f"{VENV} is a symbolic link to {os.readlink(VENV)}, which was made for another folder "
            f"or another Python, and is not ours to remove\nWhat to do: rm {VENV}"
        )
    if VENV.exists():
        shutil.rmtree(VENV)
    say("making .venv ...")
    if has_ensurepip():
        run([base_python(), "-m", "venv", str(VENV)], "python -m venv", quiet=True)
    else:
        say("this Python has no ensurepip: taking pip from the distribution's package")
        wheel = pip_from_distribution()
        run([base_python(), "-m", "venv", "--without-pip", str(VENV)], "python -m venv", quiet=True)
        offline = [
            "--no-index",
            "--find-links",
            str(wheel.parent),
            "--disable-pip-version-check",
            "--quiet",
        ]
        run([str(VENV_PYTHON), str(wheel / "pip"), "install", *offline, "pip"], "installing pip")
    write_stamp(stamp, [])


def pip_install(*options: str) -> str:
    """Let the environment's pip install something; return "", or what it complained of."""
    quiet = [
        "--disable-pip-version-check",
        "--no-warn-script-location",
        "--root-user-action=ignore",
    ]
    argv = [str(VENV_PYTHON), "-m", "pip", "install", *quiet, *options]
    try:
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, stdout=sys.stderr, stderr=subprocess.PIPE, text=True
        )
    except OSError as error:
        raise CannotSetUp(f"cannot run {argv[0]}: {error.strerror or error}") from error
    if done.stderr:
        say(done.stderr.rstrip())
    return done.stderr + f"pip: exit status {done.returncode}" if done.returncode else ""


def install(group: str, *options: str) -> None:
    """Install a group as it is locked, or else as pyproject.toml has it. Raises CannotSetUp."""
    lock = locked(group)
    name = lock.relative_to(ROOT)
    if lock.exists():
        # What comes as source only (esptool) is built with what the group "build" has brought, not
        # with whatever is the newest of that on the day.
        wrong = pip_install("--require-hashes", "--no-build-isolation", "-r", str(lock), *options)
        if not wrong:
            return
        if WRONG_HASH in wrong:
            raise CannotSetUp(
                f"what pip was given is not what is locked in {name}: see above\n"
                "What to do: find out who serves it; if it is meant: make lock"
            )
        if os.environ.get("DORMOUSE_LOCKED"):
            raise CannotSetUp(f"what is locked in {name} cannot be had: see above")
        say(
            f"what is locked in {name} cannot be had here (see above):\n"
            "taking what pyproject.toml allows; no hash is compared"
        )
    if pip_install(*requirements(group), *options):
        raise CannotSetUp("pip install failed; the reason is above")


def install_group(group: str) -> None:
    """Install a dependency group into .venv, if that was not done already. Raises CannotSetUp."""
    wanted = wanted_of(group)
    stamp = VENV / f".installed-{group}"
    if is_fresh(stamp, wanted):
        return
    say(f"installing what '{group}' needs into .venv ...")
    install(group)
    write_stamp(stamp, wanted)


def install_stubs(port: str) -> None:
    """Install the stubs of a MicroPython port into .cache/stubs/PORT, if not done already.

    Not into .venv: there they would hide CPython's own modules from tools. Raises CannotSetUp.
    """
    wanted = wanted_of(f"stubs-{port}")
    final = CACHE / "stubs" / port
    if is_fresh(final / ".installed", wanted):
        return
    say(f"installing the stubs of MicroPython's modules on {port} ...")
    final.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(prefix=f"{port}.", dir=final.parent))
    try:
        install(f"stubs-{port}", "--target", str(beside), "--no-deps", "--quiet")
        write_stamp(beside / ".installed", wanted)
        shutil.rmtree(final, ignore_errors=True)
        beside.rename(final)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def set_up(
    lint: bool,
    board: bool,
    fuzz: bool = False,
    docs: bool = False,
    mutants: bool = False,
    lock: bool = False,
) -> None:
    """Make everything that is asked for, one process at a time. Raises CannotSetUp."""
    CACHE.mkdir(exist_ok=True)
    with open(CACHE / "bootstrap.lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        make_venv()
        install_group("build")
        install_group("test")
        if board:
            install_group("board")
        if docs:
            install_group("docs")
        if fuzz:
            try:
                install_group("fuzz")
            except CannotSetUp as error:  # it is not for every system: `make fuzz` can do without
                say(f"bootstrap: {error}")
        if mutants:
            install_group("mutants")
        if lock:
            install_group("lock")
        if lint:
            install_group("lint")
            for port in STUB_PORTS:
                install_stubs(port)


def main() -> int:
    """Parse the command line, set up, and return the exit status."""
    parser = argparse.ArgumentParser(
        description="Make .venv with what the host side needs; instant if it is there."
    )
    parser.add_argument("--lint", action="store_true", help="also what `make lint` needs")
    parser.add_argument(
        "--board", action="store_true", help="also what flashing and deploying need"
    )
    parser.add_argument("--fuzz", action="store_true", help="also what guides `make fuzz`")
    parser.add_argument("--docs", action="store_true", help="also what `make docs` needs")
    parser.add_argument("--mutants", action="store_true", help="also what `make mutants` needs")
    parser.add_argument("--lock", action="store_true", help="also what `make lock` needs")
    options = parser.parse_args()
    start = time.monotonic()
    try:
        set_up(**vars(options))
    except CannotSetUp as error:
        say(f"bootstrap: {error}")
        return 1
    if time.monotonic() - start > 1:
        say(f"ready after {time.monotonic() - start:.0f} s: {os.path.relpath(VENV)}")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        say("interrupted; what was unfinished is redone next time")
        sys.exit(130)

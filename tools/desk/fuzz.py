"""Bytes of all kinds against whatever reads bytes of others, for some seconds; see what they did.

    make fuzz SECONDS=600                   # all targets in turn
    make fuzz SECONDS=60 ARGS="session5"    # some

Guided by coverage (atheris), where that can be had: what leads into new code is kept and changed
further. Else by chance (hypothesis). The targets are those of host_tests/fuzz/targets.py: a session
of each kind in any state, the decoders, WebSocket, what a store finds at the start, config.json,
updates and their files, boot.py, orders. A target raises for whatever must not be: an error without
a type, memory without a bound, a session that does not serve a sane broker afterwards.

What is found is kept in host_tests/fuzz/found/TARGET/, and `make test` repeats it on every Python.
What is worth to begin with next time is in build/fuzz/.

Exit status: 0 nothing found; 1 something was; 2 it cannot be done; 130 interrupted.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from types import FrameType
from typing import Any

from rich.console import Console

from ..amounts import at_least_one
from ..paths import BUILD, FIRMWARE, ROOT

FUZZ = ROOT / "host_tests" / "fuzz"
FOUND = FUZZ / "found"
INTERRUPTED = 130  # exit status: 128 + SIGINT
LONGEST = 400  # bytes of a file in the corpus
HANGS = 10  # s: longer is a finding

# In a process of its own: atheris never returns, and what it looks at is to be loaded by it.
CHILD = """
import sys
sys.path[:0] = {path!r}
import atheris
with atheris.instrument_imports(include=["dormouse"], enable_loader_override=False):
    import targets, update_targets
    import dormouse.mqtt5.session, dormouse.store.durable, dormouse.net.ws
    import dormouse.field.config, dormouse.field.ota, dormouse.field.safe
update_targets.BOOT.append(atheris.patch_code(update_targets.boot_code(), True))
atheris.Setup(sys.argv, targets.TARGETS[{name!r}])
atheris.Fuzz()
"""
BY_CHANCE = """
import os, sys, time
sys.path[:0] = {path!r}
import targets
from hypothesis import HealthCheck, given, settings, strategies as st
begun = [data for name, data in targets.seeds() if name == {name!r}]
part = st.binary(max_size=40) | st.sampled_from(begun)
last = b""
@settings(max_examples=200, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(st.lists(part, max_size=6).map(b"".join))
def look(data):
    global last
    last = data
    targets.TARGETS[{name!r}](data)
end = time.monotonic() + {seconds}
n = 0
while time.monotonic() < end:
    try:
        look()
    except Exception:
        with open(os.path.join({artifacts!r}, "crash-by-chance"), "wb") as file:
            file.write(last)
        raise
    n += 200
print("Done", n, "runs")
"""


def names() -> list[str]:
    """Return the targets' names."""
    sys.path[:0] = [str(FIRMWARE), str(FUZZ)]
    import targets

    return [*targets.TARGETS]


def begin(name: str) -> Path:
    """Return the folder of what to begin with: the seeds, and what earlier runs kept."""
    import targets

    folder = BUILD / "fuzz" / name
    folder.mkdir(parents=True, exist_ok=True)
    for n, data in enumerate(data for target, data in targets.seeds() if target == name):
        (folder / f"seed{n}").write_bytes(data)
    return folder


def fuzz(name: str, seconds: int, guided: bool) -> tuple[bool, str]:
    """Fuzz one target; return whether something was found, and what was said."""
    corpus = begin(name)
    found = FOUND / name
    work = BUILD / "fuzz" / "work" / name
    for folder in (work, found):
        folder.mkdir(parents=True, exist_ok=True)
    before = set(found.iterdir())
    path = [str(FIRMWARE), str(FUZZ)]
    options = {"path": path, "name": name, "seconds": seconds, "artifacts": str(found)}
    argv = [sys.executable, "-c", (CHILD if guided else BY_CHANCE).format(**options)]
    kept = [str(p) for p in (corpus, FUZZ / "corpus" / name) if p.is_dir()]
    if guided:
        argv += [f"-max_total_time={seconds}", f"-timeout={HANGS}", "-max_len=1500"]
        argv += ["-rss_limit_mb=1024", f"-artifact_prefix={found}{os.sep}", *kept]
    env = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        argv, cwd=work, env=env, text=True, errors="replace", stdout=-1, stderr=subprocess.STDOUT
    )
    new = set(found.iterdir()) - before
    if not any(found.iterdir()):
        found.rmdir()
    return bool(new or done.returncode), done.stdout


def summary(said: str) -> str:
    """Return the line that tells how much was tried."""
    lines = [line for line in said.splitlines() if "Done" in line or "cov:" in line]
    return "; ".join(line.strip() for line in lines[-2:])[:150]


def reached(name: str, data: bytes) -> set[tuple[str, int, int]]:
    """Return the steps from line to line of the library that a target takes with these bytes."""
    import targets

    steps: set[tuple[str, int, int]] = set()

    def enter(frame: FrameType, event: str, arg: object) -> Any:
        file = frame.f_code.co_filename
        if "dormouse" not in file and file != "boot.py":
            return None
        last = 0

        def step(frame: FrameType, event: str, arg: object) -> Any:
            nonlocal last
            steps.add((file, last, frame.f_lineno))
            last = frame.f_lineno
            return step

        return step

    sys.settrace(enter)
    try:
        targets.TARGETS[name](data)
    finally:
        sys.settrace(None)
    return steps


def smaller(console: Console, chosen: Sequence[str]) -> None:
    """Put into the repository's corpus what earlier runs kept and leads where no seed does."""
    import targets

    work = BUILD / "fuzz" / "work"
    work.mkdir(parents=True, exist_ok=True)
    os.chdir(work)
    for name in chosen:
        folder = FUZZ / "corpus" / name
        kept = [*folder.glob("*"), *(BUILD / "fuzz" / name).glob("*")]
        contents = {path.read_bytes() for path in kept}
        for path in folder.glob("*"):
            path.unlink()
        seen: set[tuple[str, int, int]] = set()
        for target, data in targets.seeds():
            if target == name:
                seen |= reached(name, data)
        for data in sorted(contents, key=lambda d: (len(d), d)):
            steps = reached(name, data)
            if not steps <= seen and len(data) <= LONGEST:
                seen |= steps
                folder.mkdir(parents=True, exist_ok=True)
                (folder / hashlib.sha1(data).hexdigest()[:12]).write_bytes(data)
        console.print(f"{name}: {len([*folder.glob('*')])} files")


def _every(name: str, length: int) -> tuple[str, int, int]:
    import targets

    return name, *targets.every(dict(targets.readers())[name], length)


def exhaustive(console: Console, length: int) -> int:
    """Give each function that reads a packet every body of up to so many bytes."""
    import targets

    todo = [name for name, _ in targets.readers()]
    with ProcessPoolExecutor() as pool:
        for done in as_completed([pool.submit(_every, name, length) for name in todo]):
            name, n, good = done.result()  # raises what is not a ProtocolError
            console.print(f"{name:<18} {n:>12,} bodies, {good:,} of them right")
    return 0


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Return the parsed command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("target", nargs="*", help="only these (all)")
    parser.add_argument(
        "--seconds", type=at_least_one, default=110, help="for all together: %(default)s"
    )
    parser.add_argument("--by-chance", action="store_true", help="though atheris is there")
    parser.add_argument("--corpus", action="store_true", help="put what was kept into the corpus")
    parser.add_argument(
        "--exhaustive",
        type=at_least_one,
        metavar="N",
        help="every body of up to N bytes at each function that reads one (3: some minutes)",
    )
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; return its exit status."""
    options = arguments(argv)
    console = Console(highlight=False, markup=False, soft_wrap=True)
    known = names()
    chosen = options.target or known
    if not set(chosen) <= set(known):
        console.print(f"no such target: {', '.join(sorted(set(chosen) - set(known)))}")
        console.print(f"there are: {', '.join(known)}")
        return 2
    if options.exhaustive:
        try:
            return exhaustive(console, options.exhaustive)
        except KeyboardInterrupt:
            console.print("\ninterrupted")
            return INTERRUPTED
    guided = importlib.util.find_spec("atheris") is not None and not options.by_chance
    if options.corpus:
        smaller(console, chosen)
        return 0
    if not guided and not options.by_chance:
        console.print("atheris is not here (pip install atheris: Linux, macOS): by chance instead")
    each = max(1, options.seconds // len(chosen))
    failed = []
    try:
        for name in chosen:
            began = time.monotonic()
            wrong, said = fuzz(name, each, guided)
            took = time.monotonic() - began
            console.print(f"{name:<10} {took:5.0f} s  {'FOUND  ' if wrong else ''}{summary(said)}")
            if wrong:
                failed.append(name)
                console.print("\n".join(said.splitlines()[-40:]))
    except KeyboardInterrupt:
        console.print("\ninterrupted")
        return INTERRUPTED
    if failed:
        console.print(f"found: see {FOUND.relative_to(ROOT)}; once mended, `make test` repeats it")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())

"""The quick look before a commit: style and types of what changed, the core on three runtimes.

    make check                        # what git says has changed, since the last commit
    make check ARGS="--since main"    # since the branch began
    make check ARGS=--all             # as if everything had

Under a minute on two cores. `make lint` and `make test` are the whole truth.

Exit status: 0 nothing wrong; 1 something is; 130 interrupted.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Sequence

from ..paths import ROOT

CORE = ("test_core.py", "test_packet5.py", "test_store.py")  # each on every runtime that is here


def changed(since: str) -> list[str]:
    """Return the files that differ from a commit, or are new."""
    found = []
    for argv in (
        ("diff", "--name-only", "--diff-filter=d", since),
        ("ls-files", "--others", "--exclude-standard"),
    ):
        done = subprocess.run(["git", *argv], cwd=ROOT, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"check: git {argv[0]}: {done.stderr.strip()}")
        found += done.stdout.splitlines()
    return sorted(set(found))


def lints(files: Sequence[str]) -> list[str]:
    """Return which checks of `make lint` these files are about."""
    chosen = set()
    for file in files:
        if file.startswith("firmware/") and file.endswith((".py", ".pyi")):
            chosen |= {"stubs", "user", "names-unix"}
        if file.startswith(("firmware/main", "firmware/boot", "examples/")):
            chosen.add("programs-esp32")
        if file.startswith(("tools/", "host_tests/harness/")) and file.endswith(".py"):
            chosen.add("types")
        if file.startswith("host_tests/typed_"):
            chosen.add("user")
    return sorted(chosen)


def steps(files: Sequence[str]) -> list[tuple[str, list[str]]]:
    """Return what to run, and what to call it."""
    python = [file for file in files if file.endswith((".py", ".pyi"))]
    found = []
    if python:
        found.append(("style", ["ruff", "check", "-q", *python]))
        found.append(("format", ["ruff", "format", "-q", "--check", *python]))
    if chosen := lints(files):
        found.append((", ".join(chosen), [f"{__package__}.lint", *chosen]))
    mine = {file for file in python if file.startswith("host_tests/unit/test_")}
    tests = sorted(mine | {f"host_tests/unit/{name}" for name in CORE})
    options = ("-q", "-n", "2", "--no-header", "-p", "no:cacheprovider", "-k", "not newest")
    found.append(("core", ["pytest", *options, *tests]))
    return found


def main(argv: list[str] | None = None) -> int:
    """Parse the command line, check, and return the exit status."""
    parser = argparse.ArgumentParser(
        description="The quick look: what changed, and the core on three runtimes."
    )
    parser.add_argument("--since", default="HEAD", metavar="COMMIT", help="(HEAD)")
    parser.add_argument("--all", action="store_true", help="all files, not what changed")
    options = parser.parse_args(argv)
    files = changed(options.since)
    if options.all:
        done = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
        files = done.stdout.splitlines()
    wrong = []
    for name, words in steps(files):
        began = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-m", *words],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        seconds = time.monotonic() - began
        print(f"{'WRONG' if done.returncode else 'ok   '} {seconds:4.1f} s  {name}", flush=True)
        if done.returncode:
            wrong.append(name)
            print(done.stdout.rstrip())
    if wrong:
        print(f"\nwrong: {'; '.join(wrong)}")
        return 1
    count = f"{len(files)} changed file{'s' * (len(files) != 1)}"
    print(f"{count} and the core are well. Next: commit; before you hand it on, make lint test")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)

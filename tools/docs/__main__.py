"""Build the documents as a site, with a reference from the library's types and docstrings.

    make docs                   # into build/site; a link that leads nowhere is an error
    make docs ARGS=--serve      # and look at it in a browser, made anew with each change; --port

What it is made of: docs/*.md in the order of tools/docs/mkdocs.yml, README.md as its first page,
and a page for each part of firmware/dormouse/.

Exit status: 0; 1 something is wrong, with the reason; 130 interrupted.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import socket
import subprocess
import sys
from pathlib import Path

from ..amounts import port
from ..paths import ROOT

HERE = "127.0.0.1"
CONFIG = Path(__file__).with_name("mkdocs.yml")
SITE = ROOT / "build" / "site"


def main() -> int:
    """Parse the command line, build, and return the exit status."""
    parser = argparse.ArgumentParser(
        description="Build the documents as a site.", epilog=f"It goes to {SITE.relative_to(ROOT)}."
    )
    parser.add_argument("--serve", action="store_true", help=f"look at it at http://{HERE}:8000")
    parser.add_argument("--port", type=port, default=8000, help="another one (8000)")
    options = parser.parse_args()
    if options.serve and taken(options.port):
        advice = f'What to do: make docs ARGS="--serve --port {options.port + 1}"'
        print(f"docs: port {options.port} is taken\n{advice}", file=sys.stderr)
        return 1
    if importlib.util.find_spec("material") is None:
        print("docs: mkdocs-material is not there; do: make docs", file=sys.stderr)
        return 1
    if options.serve:
        at = ("--dev-addr", f"{HERE}:{options.port}")
        return subprocess.call(command("serve", *at), cwd=ROOT, env=environment())
    wrong = build()
    if wrong:
        print(wrong, file=sys.stderr)
        return 1
    pages = len(list(SITE.rglob("index.html")))
    print(f"{pages} pages: open {SITE.relative_to(ROOT)}/index.html")
    return 0


def taken(number: int) -> bool:
    """Return whether somebody listens at a port of this machine, or it may not be listened at."""
    try:
        socket.create_server((HERE, number)).close()
    except OSError:
        return True
    return False


def command(*words: str, config: Path = CONFIG) -> list[str]:
    """Return how to start mkdocs."""
    return [sys.executable, "-m", "mkdocs", *words, "--config-file", str(config)]


def environment() -> dict[str, str]:
    """Return the variables for it."""
    # The first is their makers' advertisement for what comes after mkdocs 1.
    return {**os.environ, "NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": str(ROOT)}


def build(config: Path = CONFIG) -> str:
    """Build the site; return what is wrong, or ""."""
    done = subprocess.run(
        command(
            "build", "--strict", config=config
        ),  # not --quiet: what it does not say it does not count
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode == 0:
        return ""
    lines = [line for line in done.stdout.splitlines() if not line.startswith("INFO ")]
    return "\n".join(lines)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)

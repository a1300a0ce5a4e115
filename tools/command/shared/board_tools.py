"""The tools for boards, which have command lines of their own: they are called as they are."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

from ...paths import CHECKOUT
from .failure import Failure

TOOLS = {
    "flash": "MicroPython's firmware onto a board",
    "deploy": "dormouse and a program onto a board",
    "provision": "Wi-Fi, broker ... into a board's config.json",
    "console": "the REPL of a board",
    "logs": "what a board prints, its program left alone",
    "ota-key": "the key that updates are signed with",
    "ota": "an update through MQTT",
    "hil": "the scenarios of the tests on a real board",
    "bridge": "a serial line to a broker",
}
MODULES = {"ota-key": "owner"}  # where a tool is not called as its module is


def run(name: str, rest: Sequence[str]) -> int:
    """Run a tool; return its exit status. Raises Failure."""
    words = list(rest)
    if name == "logs":
        name, words = "console", ["--logs", *words]
    if name == "hil" and not CHECKOUT:
        raise Failure(
            "it runs the tests of dormouse, which are not in the package",
            "take a copy of the repository: make hil BOARD=...",
        )
    try:
        module = importlib.import_module("...board." + MODULES.get(name, name), __package__)
    except ImportError as error:
        raise Failure(
            f"it needs what is not installed here: {error}",
            'pip install "dormouse-mqtt[board]"; in the repository, `make bootstrap-board`',
        ) from error
    sys.argv[0] = f"dormouse {name}"  # what its usage calls it
    return int(module.main(words) or 0)

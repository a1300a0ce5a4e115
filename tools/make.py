"""What `make` calls: a target's tool, with the variables of the command line as its options.

The Makefile exports each variable as GIVEN_NAME, as it stands there and not expanded, and where it
came from as GIVEN_NAME_FROM. So no value passes through a shell or make's own functions: an
apostrophe, a space or a $(shell ...) in it is only text.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass

COMMAND_LINE = "command line"
# More than cores: most tests wait for a broker or a board. Who has none left takes some of
# another's, for the longest are in few files (on 2 cores 401 s; four with equal parts: 712 s).
WORKERS = ("-n", "6", "--dist", "worksteal")


@dataclass(frozen=True)
class Target:
    """A target: its module (".x" is one in tools/), words that always go first, and what its
    variables say.

    options: VARIABLE -> --option VALUE. said: the same, but only from make's command line, for
    names that a shell has for something else. flags: VARIABLE=1 -> --option. lists: VARIABLE with
    several values -> --option for each. words: VARIABLE with words as in a shell. last: a VARIABLE
    that is an argument.
    """

    module: str
    first: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    said: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    lists: Mapping[str, str] | None = None
    words: str = "ARGS"
    last: str = ""
    serial: bool = False  # PORT is a serial port


TARGETS = {
    "run": Target(".desk.run", options=("BOARD",), last="PROGRAM"),
    "flash": Target(
        ".board.flash", options=("BOARD", "FIRMWARE", "DRIVE"), flags=("DRY_RUN",), serial=True
    ),
    "deploy": Target(
        ".board.deploy", options=("BOARD", "MAIN"), flags=("WAIT", "DRY_RUN"), serial=True
    ),
    "provision": Target(
        ".board.provision", options=("BOARD",), flags=("WAIT", "NO_TEST", "DRY_RUN"), serial=True
    ),
    "ota-key": Target(".board.owner", said=("KEY",)),
    "ota": Target(
        ".board.ota",
        options=("MAIN",),
        said=("HOST", "PORT", "TOPIC"),
        lists={"FILES": "--file"},
        flags=("DRY_RUN",),
    ),
    "console": Target(".board.console", options=("BOARD",), flags=("WAIT", "DRY_RUN"), serial=True),
    "logs": Target(
        ".board.console", ("--logs",), ("BOARD",), flags=("WAIT", "DRY_RUN"), serial=True
    ),
    "bridge": Target(
        ".board.bridge", options=("BOARD",), said=("HOST",), flags=("WAIT", "DRY_RUN"), serial=True
    ),
    "hil": Target(
        ".board.hil", options=("BOARD",), said=("HOST",), flags=("WAIT", "DRY_RUN"), serial=True
    ),
    "plan": Target(
        ".command",
        ("plan",),
        ("BOARD", "BATTERY", "PERIOD", "AWAKE_MS", "AWAKE_MA", "ASLEEP_UA"),
    ),
    "mip-index": Target(".setup.mip_index", flags=("DRY_RUN",)),
    "demo": Target(".desk.demo"),
    "prove": Target(".desk.prove"),
    "attack": Target(".desk.attack"),
    "explore": Target(".desk.explore", words="EXPLORE"),
    "fuzz": Target(".desk.fuzz", said=("SECONDS",)),
    "mutants": Target(".desk.mutants", options=("N",), last="MODULE"),
    "test": Target("pytest", ("host_tests", *WORKERS)),
    "test-long": Target("pytest", ("host_tests", "-m", "prove", *WORKERS), words="TESTS"),
    "soak": Target(".desk.soak"),
    "interop": Target("pytest", ("host_tests/interop/matrix.py", "-rs", "-s")),
    "chip": Target(".desk.chip"),
    "bench": Target(".desk.bench"),
    "docs": Target(".docs"),
    "wake": Target(".desk.wake"),
    "size": Target(".desk.size"),
    "conformance": Target(".setup.conformance"),
    "lint": Target(".setup.lint"),
    "lock": Target(".setup.lock"),
    "check": Target(".setup.check"),
}


def option(variable: str) -> str:
    """Return the option that a variable stands for."""
    return "--" + variable.lower().replace("_", "-")


def is_serial(value: str, origin: str) -> bool:
    """Tell whether PORT is meant: in an environment it may stand for something else (PORT=8080),
    and is only taken if it looks like a serial port."""
    return origin == COMMAND_LINE or "/" in value or value.startswith("COM")


def arguments(name: str, environ: Mapping[str, str]) -> list[str]:
    """Return the command line of a target's tool. Raises ValueError for a quote in ARGS
    that does not end."""
    target = TARGETS[name]

    def value(variable: str) -> str:
        return environ.get(f"GIVEN_{variable}", "")

    def origin(variable: str) -> str:
        return environ.get(f"GIVEN_{variable}_FROM", "")

    argv = list(target.first)
    names = [v for v in target.options if value(v)]
    names += [v for v in target.said if value(v) and origin(v) == COMMAND_LINE]
    if target.serial and value("PORT") and is_serial(value("PORT"), origin("PORT")):
        names.append("PORT")
    for variable in names:
        argv += [option(variable), value(variable)]
    for variable, word in (target.lists or {}).items():
        for each in value(variable).split():
            argv += [word, each]
    argv += [option(v) for v in target.flags if value(v) not in ("", "0")]
    argv += shlex.split(value(target.words))
    if target.last:
        argv.append(value(target.last))
    return argv


def main() -> int:
    """Start the tool as `python -m` would, in this process, which is then it."""
    name = sys.argv[1]
    target = TARGETS[name]
    try:
        argv = arguments(name, os.environ)
    except ValueError as error:
        print(f"make {name}: {target.words}: {error}", file=sys.stderr)
        return 2
    for variable in [each for each in os.environ if each.startswith("GIVEN_")]:
        del os.environ[variable]
    module = (__package__ or "") + target.module if target.module[0] == "." else target.module
    os.execv(sys.executable, [sys.executable, "-m", module, *argv])


if __name__ == "__main__":
    sys.exit(main())

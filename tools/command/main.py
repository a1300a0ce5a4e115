"""dormouse: MQTT from the desk, on the client that runs on the chip.

Exit status: 0 done; 1 it could not be done, with the reason; 2 wrong arguments; 3 the time was over
before what was asked had come; 4 an alert (watch); 130 interrupted.
"""

from __future__ import annotations

import importlib
import io
import os
import sys
from collections.abc import Sequence

from .shared import board_tools
from .shared.failure import Failure, ReaderGone, write_no_more

# Loaded when named, for each needs libraries of its own; and little is loaded before, for Ctrl-C is
# clean only once ``main`` runs.
COMMANDS = {
    "pub": "publish a message, a file, lines of stdin",
    "sub": "subscribe, and print what comes",
    "request": "ask by MQTT, and print the answer",
    "plan": "bytes, waits, charge, battery, queues: before it is built",
    "scope": "what goes between a node and its broker, packet by packet",
    "watch": "is the broker well, and are the nodes?",
    "storm": "a fleet loses its broker, and comes back",
}

EXAMPLES = """
examples:
  dormouse sub -h broker.local -t 'greenhouse/#' -v
  dormouse pub -h broker.local -t greenhouse/7/cmd -m on -q 2
  dormouse COMMAND --help
"""


def usage() -> str:
    """Return what --help prints."""
    lines = ["usage: dormouse COMMAND [option ...]", "", "MQTT from the desk:"]
    lines += [f"  {name:<10} {what}" for name, what in COMMANDS.items()]
    lines += ["", "boards:"]
    lines += [f"  {name:<10} {what}" for name, what in board_tools.TOOLS.items()]
    return "\n".join(lines) + "\n" + EXAMPLES


def version() -> str:
    """Return the version of the installed package, or that this is a copy of the sources."""
    from importlib.metadata import PackageNotFoundError, packages_distributions
    from importlib.metadata import version as of

    try:
        name = packages_distributions().get("dormouse", ["dormouse"])[0]
        return of(name)
    except PackageNotFoundError:
        return "not installed: run from its sources"


def run(name: str, rest: Sequence[str]) -> int:
    """Run a subcommand; return its exit status. Raises Failure."""
    if name in board_tools.TOOLS:
        return board_tools.run(name, rest)
    if name in COMMANDS:
        module = importlib.import_module("." + name, __package__)
        return int(module.main(rest))
    import difflib

    near = difflib.get_close_matches(name, [*COMMANDS, *board_tools.TOOLS], 1)
    advice = f"did you mean {near[0]}?" if near else "dormouse --help lists all"
    print(f"dormouse: there is no command {name!r}: {advice}", file=sys.stderr)
    return 2


def _streams() -> None:
    # What is closed (>&-) leads nowhere; a letter that a terminal does not have ends nothing.
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115 - to the end
        elif mode == "w" and isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    _streams()
    words = list(sys.argv[1:] if argv is None else argv)
    name = " ".join(["dormouse", *words[:1]])
    try:
        if not words or words[0] in ("--help", "-h", "help"):
            print(usage(), end="")
            status = 0 if words else 2
        elif words[0] == "--version":
            print("dormouse", version())
            status = 0
        else:
            status = run(words[0], words[1:])
        sys.stdout.flush()
        return status
    except Failure as error:
        from .shared.foreign import visible  # it may have the words of a broker

        print(f"{name}: " + "\n".join(map(visible, str(error).split("\n"))), file=sys.stderr)
        return error.status
    except KeyboardInterrupt:
        return 130
    except (BrokenPipeError, ReaderGone):
        write_no_more()
        return 0
    except OSError as error:  # what fails on the way to a broker is a Failure: it is stdout
        print(f"{name}: cannot write: {error.strerror or error}", file=sys.stderr)
        write_no_more()
        return 1

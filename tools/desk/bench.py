#!/usr/bin/env python3
"""What a message costs: dormouse beside other clients, in one run, on the same Python.

    make bench                          all that can be had; the table, and plots in build/bench/
    make bench ARGS="--rounds 9"        more rounds: less noise
    make bench ARGS=--write             docs/performance.md, too

CPU time of the client's process for each message (user and system), the start of the program taken
off: the difference of two runs, of few and of many messages. Rounds go through all clients in turn,
so that a busy machine is as busy for each; compare ratios, not times.

Peers: umqtt.simple ($UMQTT_SIMPLE: its simple.py, or by mip), mqtt_as ($MQTT_AS: the folder that
holds mqtt_as/), aiomqttc (from the index, by pip); on CPython paho-mqtt and aiomqtt.
"""

import argparse
import contextlib
import os
import platform
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from ..paths import BUILD, FIRMWARE, ROOT
from ..setup import bootstrap, get
from ..testing.brokers import MosquittoBroker

PEERS = ROOT / "host_tests" / "bench" / "peers"
OUT = BUILD / "bench"
REPORT = ROOT / "docs" / "performance.md"
HEAP = "-X heapsize=160k"  # as on a chip: the collector comes as often as there
RUN_TIMEOUT = 40  # seconds, for one program
PIP_TIMEOUT = 60  # seconds
WIDTH = 120  # columns, of a file

# Case -> what it is, and how many messages.
CASES = {
    "pub0": ("publish, QoS 0", 2000),
    "pub1": ("publish, QoS 1, one by one", 600),
    "pub1x20": ("publish, QoS 1, 20 in flight", 2000),
    "recv32": ("receive 32 B, QoS 0", 2000),
    "recv1024": ("receive 1 KiB, QoS 0", 2000),
}
FASTER = 4  # times as many on CPython, whose start takes long
FEW = 20  # messages of the run that is taken off


@dataclass
class Client:
    """A client that is measured: its program, on which Python, and what its path needs besides."""

    name: str
    program: str
    python: str  # "micropython32" or "cpython"
    path: list[Path] = field(default_factory=list)
    why_not: str = ""

    @property
    def argv(self) -> list[str]:
        """Return how to start it."""
        if self.python == "cpython":
            return [sys.executable]
        return [*get.micropython(32), *HEAP.split()]

    def environment(self) -> dict[str, str]:
        """Return the variables with which it finds its modules."""
        folders = os.pathsep.join(map(str, [*self.path, FIRMWARE]))
        if self.python == "cpython":
            return {**os.environ, "PYTHONPATH": folders}
        return {**os.environ, "MICROPYPATH": f".frozen{os.pathsep}{folders}"}


# --- the peers ------------------------------------------------------------------------------------


def clients(folder: Path) -> list[Client]:
    """Return all clients; those that cannot be had say why."""
    found = [
        Client("dormouse", "dormouse_peer.py", "micropython32"),
        umqtt(folder),
        mqtt_as(),
        aiomqttc(folder),
        Client("socket", "raw_peer.py", "micropython32"),
        Client("dormouse", "dormouse_peer.py", "cpython"),
    ]
    for name in ("paho", "aiomqtt"):
        found.append(Client(name, f"{name}_peer.py", "cpython"))
    return found


def umqtt(folder: Path) -> Client:
    """Return umqtt.simple."""
    from .chip import umqtt as source

    client = Client("umqtt.simple", "umqtt_peer.py", "micropython32", [folder])
    try:
        path = source(folder, os.environ.get("UMQTT_SIMPLE"))
        target = folder / "umqtt" / "simple.py"
        target.parent.mkdir(exist_ok=True)
        if path != target:
            shutil.copy(path, target)
    except get.NotAvailable as error:
        client.why_not = str(error)
    return client


def mqtt_as() -> Client:
    """Return mqtt_as."""
    client = Client("mqtt_as", "mqtt_as_peer.py", "micropython32")
    given = os.environ.get("MQTT_AS")
    if given and (Path(given) / "mqtt_as" / "__init__.py").exists():
        client.path = [Path(given)]
    else:
        client.why_not = "$MQTT_AS names no folder with mqtt_as/ in it"
    return client


def aiomqttc(folder: Path) -> Client:
    """Return aiomqttc, from the index."""
    client = Client("aiomqttc", "aiomqttc_peer.py", "micropython32", [folder])
    try:
        get.run(
            [
                *(sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-compile"),
                *("--target", str(folder)),
                *("--require-hashes", "-r", str(bootstrap.locked("aiomqttc"))),
            ],
            timeout=PIP_TIMEOUT,
        )
    except get.NotAvailable as error:
        client.why_not = str(error).splitlines()[-1]
    return client


# --- what they talk to ----------------------------------------------------------------------------


class Sender:
    """A peer that takes a CONNECT, and for SUBSCRIBE sends a number of messages as fast as they are
    taken. (A broker would drop messages at QoS 0 that a slow client does not take.)"""

    def __init__(self, size: int, count: int):
        body = b"\x00\x14greenhouse/7/temp/in" + b"x" * size
        n = len(body)
        head = bytes((n,)) if n < 128 else bytes((n & 127 | 128, n >> 7))
        self.data = (b"\x30" + head + body) * count
        self.server = socket.create_server(("127.0.0.1", 0))
        self.port = self.server.getsockname()[1]
        self.thread = threading.Thread(target=self._serve, daemon=True)

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            sock, _ = self.server.accept()
            with sock:
                came = b""
                while data := sock.recv(4096):
                    if not came:
                        sock.sendall(b"\x20\x02\x00\x00")
                    came += data
                    at = came.find(b"\x82", 10)
                    if at >= 0 and came.endswith(b"abc\x00"):
                        sock.sendall(b"\x90\x03" + came[at + 2 : at + 4] + b"\x00" + self.data)

    def __enter__(self) -> "Sender":
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.close()


@contextlib.contextmanager
def other_side(case: str, count: int) -> Iterator[int]:
    """Run what a case needs; the port."""
    if case.startswith("recv"):
        with Sender(int(case[4:]), count) as sender:
            yield sender.port
    else:
        with MosquittoBroker(get.mosquitto()) as broker:
            yield broker.port


def cpu(client: Client, case: str, count: int) -> float | None:
    """Return the CPU seconds of a client's process; None for a case that it has not.

    Raises RuntimeError if it failed.
    """
    with other_side(case, count) as port, tempfile.TemporaryFile() as output:
        argv = [*client.argv, str(PEERS / client.program), case, str(port), str(count)]
        process = subprocess.Popen(
            argv, env=client.environment(), stdout=output, stderr=subprocess.STDOUT
        )
        timer = threading.Timer(RUN_TIMEOUT, process.kill)
        timer.start()
        _, status, usage = os.wait4(process.pid, 0)
        timer.cancel()
        process.returncode = code = os.waitstatus_to_exitcode(status)
        if code == 3:
            return None
        if code == -9:
            raise RuntimeError(f"{client.name}, {CASES[case][0]}: not done within {RUN_TIMEOUT} s")
        if code:
            output.seek(0)
            words = output.read().decode(errors="replace").strip().splitlines()[-3:]
            raise RuntimeError(f"{client.name}, {case}: status {code}: {' '.join(words)}")
    return usage.ru_utime + usage.ru_stime


# --- measuring ------------------------------------------------------------------------------------

Times = dict[tuple[str, str, str], list[float]]  # Python, client, case -> µs a message


def measure(found: list[Client], cases: list[str], rounds: int) -> tuple[Times, list[str]]:
    """Return what each message takes, and what went wrong."""
    times: Times = {}
    faults: dict[str, None] = {}
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("measuring", total=rounds * len(found) * len(cases))
        for _ in range(rounds):
            for case in cases:
                for client in found:
                    progress.update(task, description=f"{client.name}: {CASES[case][0]}")
                    many = CASES[case][1]
                    if client.python == "cpython":
                        many *= FASTER
                    try:
                        few, all_of_it = cpu(client, case, FEW), cpu(client, case, many)
                    except RuntimeError as error:
                        faults[str(error)] = None
                        few = all_of_it = None
                    if few is not None and all_of_it is not None:
                        each = (all_of_it - few) / (many - FEW) * 1e6
                        times.setdefault((client.python, client.name, case), []).append(each)
                    progress.advance(task)
    return times, list(faults)


def rows(times: Times, python: str) -> list[list[str]]:
    """Return a table: a row for each case; µs, median (least to most), and how many times
    dormouse's it is."""
    names = list(dict.fromkeys(name for p, name, _ in times if p == python))
    out = [["CPU time a message, µs", *names]]
    for case, (text, _) in CASES.items():
        base = times.get((python, "dormouse", case))
        row = [text]
        for name in names:
            found = times.get((python, name, case))
            if not found:
                row.append("-")
                continue
            middle = statistics.median(found)
            cell = f"{middle:.0f} ({min(found):.0f} to {max(found):.0f})"
            if base and name != "dormouse":
                cell += f", x {middle / statistics.median(base):.2f}"
            row.append(cell)
        out.append(row)
    return out


def plot(times: Times, python: str) -> list[Path]:
    """Write a picture of a table, as PNG and SVG; return the files."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    names = list(dict.fromkeys(name for p, name, _ in times if p == python))
    cases = [case for case in CASES if any((python, name, case) in times for name in names)]
    figure, axes = plt.subplots(figsize=(9, 4.5), layout="constrained")
    width = 0.8 / len(names)
    for i, name in enumerate(names):
        at, heights, least, most = [], [], [], []
        for j, case in enumerate(cases):
            if found := times.get((python, name, case)):
                middle = statistics.median(found)
                at.append(j + i * width)
                heights.append(middle)
                least.append(middle - min(found))
                most.append(max(found) - middle)
        axes.bar(at, heights, width, yerr=[least, most], capsize=2, label=name)
    axes.set_xticks([j + 0.4 - width / 2 for j in range(len(cases))])
    axes.set_xticklabels([CASES[case][0].replace(", ", ",\n") for case in cases], fontsize=8)
    axes.set_ylabel("CPU time a message, µs")
    axes.set_yscale("log")
    axes.set_title(f"{PYTHONS[python]}: less is better")
    axes.legend(fontsize=8)
    OUT.mkdir(parents=True, exist_ok=True)
    files = [OUT / f"{python}.{kind}" for kind in ("png", "svg")]
    for path in files:
        figure.savefig(path)
    plt.close(figure)
    return files


PYTHONS = {"micropython32": "MicroPython, 32-bit unix port", "cpython": "CPython"}


def machine() -> str:
    """Return what this was measured on."""
    model = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
    python = platform.python_version()
    return f"{model}, {os.cpu_count()} cores, {platform.system()}, Python {python}"


def report(times: Times, found: list[Client], faults: list[str], rounds: int) -> str:
    """Return the tables as Markdown."""
    lines = [
        f'Measured on {time.strftime("%Y-%m-%d")} by `make bench ARGS="--rounds {rounds}"` on '
        f"{machine()}: median of {rounds} rounds, in brackets the least and the most; x is how "
        "many times what dormouse takes.",
        "",
    ]
    for python, title in PYTHONS.items():
        head, *body = rows(times, python)
        lines += [f"## {title}", "", "| " + " | ".join(head) + " |"]
        lines.append("|---|" + "---:|" * (len(head) - 1))
        lines += ["| " + " | ".join(row) + " |" for row in body] + [""]
    missing = [f"{client.name}: {client.why_not}" for client in found if client.why_not]
    if missing or faults:
        lines += ["Not measured:", "", *[f"- {line}" for line in [*missing, *faults]], ""]
    return "\n".join(lines)


MARK = "<!-- make bench ARGS=--write replaces what follows -->\n"


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="make bench",
        description=__doc__.split("\n\n")[0],
        epilog="$UMQTT_SIMPLE names umqtt's simple.py, $MQTT_AS the folder that holds mqtt_as/.",
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--case", action="append", choices=CASES, help="only this; more than once")
    parser.add_argument("--write", action="store_true", help=f"write {REPORT.relative_to(ROOT)}")
    args = parser.parse_args()
    if args.rounds < 1:
        parser.error("--rounds is 1 or more")
    console = Console()
    if not console.is_terminal:
        console.width = WIDTH
    try:
        get.micropython(32), get.mosquitto()
    except get.NotAvailable as error:
        raise SystemExit(f"cannot be measured here: {error}") from None
    with tempfile.TemporaryDirectory() as name:
        found = clients(Path(name))
        there = [client for client in found if not client.why_not]
        times, faults = measure(there, args.case or list(CASES), args.rounds)
    for python, title in PYTHONS.items():
        head, *body = rows(times, python)
        table = Table(title=title)
        for i, column in enumerate(head):
            table.add_column(column, justify="right" if i else "left")
        for row in body:
            table.add_row(*row)
        console.print(table)
        console.print("plots:", *plot(times, python), highlight=False)
    for client in found:
        if client.why_not:
            console.print(f"without {client.name}: {client.why_not}", highlight=False)
    for fault in faults:
        console.print(f"failed: {fault}", highlight=False)
    if args.write:
        before = REPORT.read_text().partition(MARK)[0]
        REPORT.write_text(before + MARK + "\n" + report(times, found, faults, args.rounds))
        print("wrote", REPORT.relative_to(ROOT))


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)

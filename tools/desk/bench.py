"""What a message costs: dormouse beside other clients, in one run, on the same Python.

    make bench                          all that can be had; the table, and plots in build/bench/
    make bench ARGS="--rounds 9"        more rounds: less noise
    make bench ARGS=--write             docs/performance.md, too

CPU time of the client's process for each message (user and system), and on MicroPython the bytes of
heap that it takes until the collector comes. The start of the program is taken off: each is the
difference of two runs, of few and of many messages. Rounds go through all clients in turn, so that
a busy machine is as busy for each; compare ratios, not times. Bytes are those of a 32-bit chip.

Peers: umqtt.simple ($UMQTT_SIMPLE: its simple.py, or by mip), mqtt_as ($MQTT_AS: the folder that
holds mqtt_as/), aiomqttc and chumicro-mqtt (from the index, by pip); on CPython chumicro-mqtt,
paho-mqtt and aiomqtt.
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
from collections.abc import Callable, Iterator
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
HEAP = "160k"  # as on a chip: the collector comes as often as there
ROOM = "64m"  # of a run in which nothing is collected
RUN_TIMEOUT = 40  # seconds, for one program
PIP_TIMEOUT = 60  # seconds
WIDTH = 130  # columns, of a file
CANNOT = 3  # status of a program whose client has not what is measured


@dataclass(frozen=True)
class Case:
    """What is measured, with how many messages; and those of the run that is taken off."""

    text: str
    many: int
    few: int = 20
    ours: bool = False  # only dormouse has it


class Cannot(RuntimeError):
    """A client has not what is measured, or takes too long for it: not worth another round."""


CASES = {
    "pub0": Case("publish, QoS 0", 2000),
    "pub1": Case("publish, QoS 1, one by one", 600),
    "pub1x20": Case("publish, QoS 1, 20 in flight", 2000),
    "recv32": Case("receive 32 B, QoS 0", 2000),
    "recv1024": Case("receive 1 KiB, QoS 0", 2000),
}
FASTER = 4  # times as many on CPython, whose start takes long
BYTES = {
    "pub0": Case("publish, QoS 0", 120),
    "call0": Case("publish_nowait, QoS 0, the call", 24, 4, True),
    "nowait0": Case("publish_nowait, QoS 0, 20 at once, written", 120, 20, True),
    "pub1": Case("publish, QoS 1, one by one", 60),
    "pub1x20": Case("publish, QoS 1, 20 in flight", 120),
    "recv32": Case("receive 32 B, QoS 0", 120),
    "recv1024": Case("receive 1 KiB, QoS 0", 120),
}


@dataclass
class Client:
    """A client that is measured: its program, on which Python, and what its path needs besides."""

    name: str
    program: str
    python: str  # "micropython32" or "cpython"
    path: list[Path] = field(default_factory=list)
    why_not: str = ""

    def argv(self, keep: bool) -> list[str]:
        """Return how to start it; with ``keep`` nothing is collected, and it says what it took."""
        if self.python == "cpython":
            return [sys.executable, str(PEERS / f"{self.program}.py")]
        start = [*get.micropython(32), "-X", f"heapsize={ROOM if keep else HEAP}"]
        if keep:
            return [*start, str(PEERS / "allocated.py"), self.program]
        return [*start, str(PEERS / f"{self.program}.py")]

    def environment(self) -> dict[str, str]:
        """Return the variables with which it finds its modules."""
        folders = os.pathsep.join(map(str, [*self.path, FIRMWARE]))
        if self.python == "cpython":
            return {**os.environ, "PYTHONPATH": folders}
        return {**os.environ, "MICROPYPATH": f".frozen{os.pathsep}{folders}"}


# --- the peers ------------------------------------------------------------------------------------


def clients(folder: Path) -> list[Client]:
    """Return all clients; those that cannot be had say why."""
    return [
        Client("dormouse", "dormouse_peer", "micropython32"),
        umqtt(folder),
        mqtt_as(),
        by_pip("aiomqttc", "aiomqttc_peer", "micropython32", folder),
        by_pip("chumicro-mqtt", "chumicro_peer", "micropython32", folder),
        Client("socket", "raw_peer", "micropython32"),
        Client("dormouse", "dormouse_peer", "cpython"),
        by_pip("chumicro-mqtt", "chumicro_peer", "cpython", folder),
        Client("paho", "paho_peer", "cpython"),
        Client("aiomqtt", "aiomqtt_peer", "cpython"),
    ]


def umqtt(folder: Path) -> Client:
    """Return umqtt.simple."""
    from .chip import umqtt as source

    client = Client("umqtt.simple", "umqtt_peer", "micropython32", [folder])
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
    client = Client("mqtt_as", "mqtt_as_peer", "micropython32")
    given = os.environ.get("MQTT_AS")
    if given and (Path(given) / "mqtt_as" / "__init__.py").exists():
        client.path = [Path(given)]
    else:
        client.why_not = "$MQTT_AS names no folder with mqtt_as/ in it"
    return client


def by_pip(name: str, program: str, python: str, folder: Path) -> Client:
    """Return a client that the index has, as it is locked in requirements/; it gets a folder of its
    own in ``folder``."""
    target = folder / name
    client = Client(name, program, python, [target])
    try:
        if not target.exists():
            get.run(
                [
                    *(sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"),
                    *("--no-compile", "--target", str(target)),
                    *("--require-hashes", "-r", str(bootstrap.locked(name))),
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


def run(client: Client, case: str, count: int, keep: bool = False) -> tuple[float, str]:
    """Return the CPU seconds of a client's process, and what it printed.

    Raises RuntimeError if it failed, Cannot if it would again: the text says why.
    """
    with other_side(case, count) as port, tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            [*client.argv(keep), case, str(port), str(count)],
            env=client.environment(),
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        timer = threading.Timer(RUN_TIMEOUT, process.kill)
        timer.start()
        _, status, usage = os.wait4(process.pid, 0)
        timer.cancel()
        process.returncode = code = os.waitstatus_to_exitcode(status)
        output.seek(0)
        words = output.read().decode(errors="replace").strip()
        if code == -9:
            raise Cannot(f"not done within {RUN_TIMEOUT} s")
        if code == CANNOT:
            raise Cannot(words.splitlines()[0])
        if code:
            raise RuntimeError(f"status {code}: {' '.join(words.splitlines()[-3:])}")
    return usage.ru_utime + usage.ru_stime, words


# --- measuring ------------------------------------------------------------------------------------


def cpu(client: Client, case: str) -> float:
    """Return the CPU time that a message takes, in µs. Raises RuntimeError."""
    few, many = CASES[case].few, CASES[case].many
    if client.python == "cpython":
        many *= FASTER
    less, _ = run(client, case, few)
    more, _ = run(client, case, many)
    return (more - less) / (many - few) * 1e6


def allocated(client: Client, case: str) -> float:
    """Return the bytes of heap that a message takes. Raises RuntimeError."""
    few, many = BYTES[case].few, BYTES[case].many
    at_end = []
    for count in (few, many):
        _, words = run(client, case, count, keep=True)
        at_end.append(int(words.rpartition("allocated ")[2]))
    return (at_end[1] - at_end[0]) / (many - few)


@dataclass
class Sheet:
    """A table: what is measured on which Python, and what was found."""

    name: str  # of its plots
    python: str
    title: str
    what: str
    cases: dict[str, Case]
    take: Callable[[Client, str], float]
    found: dict[tuple[str, str], list[float]] = field(default_factory=dict)  # client, case
    faults: dict[str, None] = field(default_factory=dict)  # in their order, each once

    def rows(self) -> list[list[str]]:
        """Return a row for each case: median (least to most), and how many times dormouse's it
        is."""
        names = list(dict.fromkeys(name for name, _ in self.found))
        out = [[self.what, *names]]
        for case, about in self.cases.items():
            if not any((name, case) in self.found for name in names):
                continue
            base = statistics.median(self.found.get(("dormouse", case)) or [0])
            row = [about.text]
            for name in names:
                found = self.found.get((name, case))
                if not found:
                    row.append("-")
                    continue
                middle = statistics.median(found)
                cell = f"{middle:,.0f}"
                least, most = f"{min(found):,.0f}", f"{max(found):,.0f}"
                if least != most:
                    cell += f" ({least} to {most})"
                if base > 0 and name != "dormouse":  # it may be lost in the noise
                    cell += f", x {middle / base:.2f}"
                row.append(cell)
            out.append(row)
        return out


def sheets() -> list[Sheet]:
    """Return the tables, nothing in them."""
    port, chip = "micropython32", "MicroPython, 32-bit unix port"
    spent, taken = "CPU time a message, µs", "heap allocated a message, bytes"
    return [
        Sheet(port, port, chip, spent, CASES, cpu),
        Sheet(f"{port}-heap", port, f"{chip}: heap", taken, BYTES, allocated),
        Sheet("cpython", "cpython", "CPython", spent, CASES, cpu),
    ]


def measure(tables: list[Sheet], found: list[Client], only: list[str], rounds: int) -> None:
    """Fill the tables; with ``only`` these cases."""
    todo = [
        (sheet, case, client)
        for sheet in tables
        for case, about in sheet.cases.items()
        for client in found
        if client.python == sheet.python
        if (not only or case in only) and (not about.ours or client.name == "dormouse")
    ]
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("measuring", total=rounds * len(todo))
        for _ in range(rounds):
            for sheet, case, client in todo[:]:
                text = f"{client.name}, {sheet.cases[case].text}"
                progress.update(task, description=text)
                try:
                    each = sheet.take(client, case)
                    sheet.found.setdefault((client.name, case), []).append(each)
                except RuntimeError as error:
                    sheet.faults[f"{text}: {error}"] = None
                    if isinstance(error, Cannot):
                        todo.remove((sheet, case, client))
                progress.advance(task)


def plot(sheet: Sheet) -> list[Path]:
    """Write a picture of a table, as PNG and SVG; return the files."""
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(name for name, _ in sheet.found))
    cases = [case for case in sheet.cases if any((name, case) in sheet.found for name in names)]
    if not cases:
        return []
    figure = Figure(figsize=(9, 4.5), layout="constrained")
    axes = figure.subplots()
    width = 0.8 / len(names)
    for i, name in enumerate(names):
        at, heights, least, most = [], [], [], []
        for j, case in enumerate(cases):
            if found := sheet.found.get((name, case)):
                middle = statistics.median(found)
                at.append(j + i * width)
                heights.append(middle)
                least.append(middle - min(found))
                most.append(max(found) - middle)
        axes.bar(at, heights, width, yerr=[least, most], capsize=2, label=name)
    axes.set_xticks([j + 0.4 - width / 2 for j in range(len(cases))])
    axes.set_xticklabels(
        [sheet.cases[case].text.replace(", ", ",\n") for case in cases], fontsize=8
    )
    axes.set_ylabel(sheet.what)
    axes.set_yscale("log")
    axes.set_title(f"{sheet.title}: less is better")
    axes.legend(fontsize=8)
    OUT.mkdir(parents=True, exist_ok=True)
    files = [OUT / f"{sheet.name}.{kind}" for kind in ("png", "svg")]
    for path in files:
        figure.savefig(path)
    return files


def machine() -> str:
    """Return what this was measured on."""
    model = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
    python = platform.python_version()
    return f"{model}, {os.cpu_count()} cores, {platform.system()}, Python {python}"


def missing(sheet: Sheet, found: list[Client]) -> list[str]:
    """Return what a table lacks, and why."""
    lines = [
        f"{client.name}: {client.why_not}"
        for client in found
        if client.why_not and client.python == sheet.python
    ]
    return lines + list(sheet.faults)


def report(tables: list[Sheet], found: list[Client], rounds: int) -> str:
    """Return the tables as Markdown."""
    lines = [
        f'Measured on {time.strftime("%Y-%m-%d")} by `make bench ARGS="--rounds {rounds}"` on '
        f"{machine()}: median of {rounds} rounds, in brackets the least and the most where they "
        "differ; x is how many times what dormouse takes.",
        "",
    ]
    for sheet in tables:
        head, *body = sheet.rows()
        lines += [f"## {sheet.title}", "", "| " + " | ".join(head) + " |"]
        lines.append("|---|" + "---:|" * (len(head) - 1))
        lines += ["| " + " | ".join(row) + " |" for row in body] + [""]
        if without := missing(sheet, found):
            lines += ["Not measured:", "", *[f"- {line}" for line in without], ""]
    return "\n".join(lines)


MARK = "<!-- make bench ARGS=--write replaces what follows -->\n"


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="make bench",
        description=__doc__.split("\n\n")[0],
        epilog="$UMQTT_SIMPLE names umqtt's simple.py, $MQTT_AS the folder that holds mqtt_as/.",
    )
    parser.add_argument("--rounds", type=int, default=5, help="of which there are medians; 5")
    parser.add_argument(
        "--case",
        action="append",
        choices=sorted({**CASES, **BYTES}),
        help="only this; more than once",
    )
    parser.add_argument("--write", action="store_true", help=f"write {REPORT.relative_to(ROOT)}")
    args = parser.parse_args(argv)
    if args.rounds < 1:
        parser.error("--rounds is 1 or more")
    if args.case and args.write:
        parser.error("--write is of all cases: without --case")
    console = Console()
    if not console.is_terminal:
        console.width = WIDTH
    try:
        get.micropython(32), get.mosquitto()
    except get.NotAvailable as error:
        raise SystemExit(f"cannot be measured here: {error}") from None
    tables = sheets()
    with tempfile.TemporaryDirectory() as name:
        found = clients(Path(name))
        there = [client for client in found if not client.why_not]
        measure(tables, there, args.case or [], args.rounds)
    for sheet in tables:
        head, *body = sheet.rows()
        if body:
            table = Table(title=sheet.title)
            for i, column in enumerate(head):
                table.add_column(column, justify="right" if i else "left")
            for row in body:
                table.add_row(*row)
            console.print(table)
            console.print("plots:", *plot(sheet), highlight=False)
        for line in missing(sheet, found):
            console.print(f"not measured: {line}", highlight=False)
    if args.write:
        before = REPORT.read_text().partition(MARK)[0]
        REPORT.write_text(before + MARK + "\n" + report(tables, found, args.rounds))
        print("wrote", REPORT.relative_to(ROOT))


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)

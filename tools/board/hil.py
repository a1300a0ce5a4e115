"""Run the scenarios on a real board: the same files and programs as `make test`, over its Wi-Fi.

    make hil BOARD=RPI_PICO_W                           # the port is found if one board is there
    make hil BOARD=ESP32_GENERIC ARGS="-k qos2"         # only some; the rest of ARGS is pytest's
    make hil BOARD=ESP32_GENERIC HOST=192.168.1.20      # the address of this machine for the board
    make hil BOARD=RPI_PICO_W DRY_RUN=1                 # only list what would run

The board joins the Wi-Fi of its own config.json (make provision). dormouse and the programs are put
into a folder of their own on its flash, dormouse-hil, which is removed at the end, and the board is
reset; no other file is touched. Brokers, proxies and scripted peers are on this machine. A table of
what came out, and of what cannot run on a board and why, is printed, and kept in build/hil/.

Exit status: 0 all passed; 1 a scenario failed, or it cannot be done, with the reason; 130
interrupted.
"""

from __future__ import annotations

import os
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from .. import parts
from ..paths import BUILD, ROOT
from ..testing import runtimes
from . import boards, deploy, tool
from .device import WHO, Device, check
from .safety import CannotDo

sys.path.insert(0, str(ROOT / "host_tests"))  # a program for a checkout

# Not what listens: that looks for the address first, and it is not known yet.
from harness.hil import FOLDER, BoardError, BoardLost, BoardRuntime, Link

SCENARIOS = ROOT / "host_tests" / "scenarios"
STARTER = SCENARIOS / "programs" / "on_board.py"
OUT = BUILD / "hil"
TIMEOUT = 300  # s for one scenario
ROOM = 240 * 1024  # bytes of flash: the library, all programs, a journal, in blocks of 4,096
WORD = b"dormouse"
AGAIN = (
    "What to do: plug it in again, or press its reset button, and start anew;\n"
    f"    that removes the {FOLDER} of this time too"
)


# --- What came out --------------------------------------------------------------------------------


@dataclass
class Row:
    """One scenario. result: passed, failed, left out, not run; why: only of what was left out."""

    scenario: str
    broker: str
    result: str = "not run"
    seconds: float = 0
    why: str = ""
    count: int = 1


def named(item: Any) -> tuple[str, str]:
    """Return the name of a test's file and its own, as the table has them."""
    return item.path.stem.removeprefix("test_"), item.originalname.removeprefix("test_")


def described(item: Any) -> Row:
    """Return a row for a test: its name with its case, and the other side."""
    file, name = named(item)
    spec = getattr(item, "callspec", None)
    params = spec.params if spec else {}
    broker = params.get("broker", "")
    case = spec.id if spec else ""
    for word in (getattr(params.get("runtime"), "name", ""), broker):
        case = case.replace(word, "").strip("-") if word else case
    if not broker:
        broker = next((n for n in ("mosquitto", "peer") if n in item.fixturenames), "")
    return Row(f"{file}: {name}" + (f" ({case})" if case else ""), broker)


class Report:
    """A plugin of pytest: leaves out what cannot run on a board, and notes what comes out."""

    def __init__(self, link: Link):
        self.link = link
        self.rows: dict[str, Row] = {}
        self.session: Any = None

    def pytest_sessionstart(self, session: Any) -> None:
        """pytest calls this at the beginning."""
        self.session = session

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, config: Any, items: list[Any]) -> None:
        """pytest calls this with all tests that were chosen."""
        kept, left = [], []
        # Names of tests and their brokers, by file and reason.
        out: dict[tuple[str, str], tuple[list[str], list[str]]] = {}
        for item in items:
            desk = item.get_closest_marker("desk")
            if desk or not {"start", "runtime"} & set(item.fixturenames):
                file, name = named(item)
                why = desk.args[0] if desk else "runs nothing on a device"
                names, others = out.setdefault((file, why), ([], []))
                names.append(name)
                broker = item.callspec.params.get("broker") if hasattr(item, "callspec") else ""
                others.append(broker if isinstance(broker, str) else "")
                left.append(item)
            else:
                kept.append(item)
                self.rows[item.nodeid] = described(item)
        for (file, why), (names, others) in out.items():
            different = list(dict.fromkeys(names))
            some = ", ".join(different) if len(different) < 6 else f"{len(different)} scenarios"
            self.rows[f"{file} {why}"] = Row(
                f"{file}: {some}",
                ", ".join(dict.fromkeys(filter(None, others))) if len(set(others)) < 4 else "",
                "left out",
                why=why,
                count=len(different),
            )
        items[:] = kept
        config.hook.pytest_deselected(items=left)

    def pytest_runtest_logreport(self, report: Any) -> None:
        """pytest calls this after each of the three phases of a test."""
        row = self.rows[report.nodeid]
        row.seconds += report.duration
        if report.failed:
            row.result = "failed"
        elif report.skipped:
            row.result, row.why = "left out", report.longrepr[2].removeprefix("Skipped: ")
        elif report.when == "call":
            row.result = "passed"

    def pytest_runtest_logfinish(self) -> None:
        """pytest calls this when a test is over."""
        if self.link.lost:
            self.session.shouldstop = self.link.lost

    def count(self, result: str) -> int:
        """Return how many rows have this result."""
        return sum(row.count for row in self.rows.values() if row.result == result)


def cells(row: Row) -> Iterator[str]:
    """Return a row's cells."""
    yield row.scenario
    yield row.broker
    yield f"{row.result}: {row.why}" if row.why else row.result
    yield f"{row.seconds:.1f}" if row.seconds and not row.why else ""


HEADS = ("scenario", "broker", "result", "s")
COLOURS = {"passed": "green", "failed": "bold red", "not run": "yellow", "left out": "dim"}


def show(rows: list[Row]) -> None:
    """Print the table."""
    table = Table(*HEADS)
    for row in rows:
        table.add_row(*map(escape, cells(row)), style=COLOURS[row.result])
    console = Console()
    if not console.is_terminal:  # a log is as wide as it needs
        console.width = 160
    console.print(table)


def markdown(rows: list[Row], head: str) -> str:
    """Return the table as a Markdown page."""
    lines = [f"# {head}", "", f"| {' | '.join(HEADS)} |", "|---|---|---|---:|"]
    lines += ["| " + " | ".join(c.replace("|", "\\|") for c in cells(row)) + " |" for row in rows]
    return "\n".join(lines) + "\n"


# --- Before the first scenario --------------------------------------------------------------------


def library(mpy: int) -> dict[str, bytes]:
    """Return dormouse's files as this board loads them, by their names in FOLDER."""
    if mpy != deploy.MPY_VERSION:
        return {f"dormouse/{name}.py": parts.source(name).read_bytes() for name in parts.every()}
    with tempfile.TemporaryDirectory() as folder:
        files = deploy.compiled(Path(folder), False)
        return {name.removeprefix("lib/"): path.read_bytes() for name, path in files.items()}


def address_for(board_address: str) -> str:
    """Return this machine's address on the way to the board's."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect((board_address, 9))  # UDP: nothing is sent
        return str(sock.getsockname()[0])


def join(runtime: BoardRuntime) -> str:
    """Let the board join its network; return its address there, or "". Raises CannotDo."""
    try:
        return runtime.ask("join()")
    except BoardError as error:
        raise CannotDo(
            f"the board did not join its Wi-Fi ({error})\nWhat to do: look at the network's name "
            "and password (make provision), and whether\n    the access point is in reach; what "
            "the numbers mean is in MicroPython's network.WLAN.status"
        ) from error


def probe(runtime: BoardRuntime, host: str, own: str) -> None:
    """Let the board send a word to this machine. Raises CannotDo if it does not come."""
    try:
        server = socket.create_server((host, 0))
    except OSError as error:
        raise CannotDo(
            f"HOST={host} is no address of this machine ({error.strerror})\n"
            "What to do: name one that the board can reach (`ip address` lists them)"
        ) from error
    with server:
        server.settimeout(2)
        try:
            runtime.ask(f"probe({host!r}, {server.getsockname()[1]}, {WORD!r})")
            with server.accept()[0] as conn:
                conn.settimeout(2)
                why = "another word came"
                if conn.recv(99) == WORD:
                    return
        except (BoardError, OSError) as error:
            why = str(error)
    raise CannotDo(
        f"the board ({own or 'by cable'}) cannot reach this machine at {host} ({why})\n"
        f"What to do: let {own or 'it'} through this machine's firewall to any port (ufw: sudo ufw "
        f"allow from {own or 'ADDRESS'});\n    HOST= names another address of this machine; an "
        "access point may keep its guests apart"
    )


def prepare(runtime: BoardRuntime, host: str | None) -> str:
    """Join, probe, put on the board what all programs need; return this machine's address.

    Raises CannotDo.
    """
    own = join(runtime)
    if not host and not own:
        raise CannotDo(
            "the board's config.json names no Wi-Fi, so its way to this machine is not known\n"
            "What to do: HOST=the address of this machine for the board; or make provision"
        )
    host = host or address_for(own)
    probe(runtime, host, own)
    runtime.prepare()
    return host


def ask(board: boards.Board, device: Device) -> dict[str, Any]:
    """Ask the board what it is, and check it. Raises CannotDo, DeviceError."""
    answer = device.ask(WHO + deploy.QUESTION % deploy.PACKAGE)
    assert isinstance(answer, dict)
    check(board, answer)
    if answer["free"] < ROOM:
        raise CannotDo(
            f"the board has {answer['free'] // 1024} KB of flash left, and {ROOM // 1024} KB are "
            "needed\nWhat to do: make console, and remove what is not needed: os.remove('NAME')"
        )
    if "config.json" not in answer["found"]:
        raise CannotDo(
            "the board has no config.json, so it cannot join a network\nWhat to do: make provision"
        )
    return answer


# --- All of it ------------------------------------------------------------------------------------


def scenarios(report: Report, rest: list[str], *options: str) -> int:
    """Run pytest in this process."""
    os.chdir(ROOT)
    return int(pytest.main([str(SCENARIOS), *options, *rest], plugins=[report]))


def listed(board: boards.Board, port: str, host: str | None, rest: list[str]) -> str:
    """Show what would run; return how much it is. Raises CannotDo."""
    link = Link(port)
    runtimes.RUNTIMES.clear()
    runtimes.RUNTIMES["board"] = BoardRuntime(board.name, link, {}, STARTER)
    report = Report(link)
    silent = ("--collect-only", "-p", "no:terminal", "-o", "addopts=--strict-markers")
    if scenarios(report, rest, *silent):
        raise CannotDo("no such scenario (pytest --collect-only says more)")
    show(list(report.rows.values()))
    return (
        f"nothing was done: {report.count('not run')} scenarios would run on {board.name} at "
        f"{port}, against {host or 'the address of this machine on its network'}"
    )


def tried(
    board: boards.Board, port: str, host: str | None, rest: list[str], path: Path | None
) -> int:
    """Do all of it. Raises CannotDo and what else says what to do."""
    device = Device(port)
    with tool.held(device):
        answer = ask(board, device)
    link = Link(port)
    runtime = BoardRuntime(board.name, link, library(answer["mpy"]), STARTER)
    report, began = Report(link), time.monotonic()
    try:
        host = prepare(runtime, host)
        version = ".".join(map(str, answer["version"]))
        head = f"{board.name}: {answer['machine'] or board.product}, MicroPython {version}"
        print(f"{head}\nbrokers at {host}", flush=True)
        os.environ["DORMOUSE_TEST_HOST"] = host  # for testing/address.py
        runtimes.RUNTIMES.clear()
        runtimes.RUNTIMES["board"] = runtime
        more = ("-v", "--timeout", str(TIMEOUT), "-p", "no:cacheprovider")
        status = scenarios(report, rest, *more)
    finally:
        leave(runtime)
    path = path or OUT / f"{board.name}.md"
    return told(report, status, head, time.monotonic() - began, path)


def leave(runtime: BoardRuntime) -> None:
    """Leave the board as it was found, if it is still there."""
    link = runtime.link
    try:
        if not link.lost:
            print(f"removing {FOLDER} from the board, and starting it anew", flush=True)
            runtime.close()
    except BoardError as error:
        print(f"hil: {FOLDER} is still on the board: {error}", file=sys.stderr)
    except BoardLost:  # told, with the table before it
        pass
    finally:
        link.close()


def told(report: Report, status: int, head: str, seconds: float, path: Path) -> int:
    """Print the table, and keep it; return the exit status."""
    rows = list(report.rows.values())
    show(rows)
    results = ("passed", "failed", "not run", "left out")
    figures = ", ".join(f"{report.count(r)} {r}" for r in results if report.count(r))
    figures += f"; {seconds:.0f} s"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(markdown(rows, head) + f"\n{figures}\n", encoding="utf-8")
    print(f"{figures}\nkept in {path}", flush=True)
    if report.link.lost:
        raise BoardLost(report.link.lost)
    return 130 if status == pytest.ExitCode.INTERRUPTED else min(status, 1)


def main(argv: list[str] | None = None) -> int:
    """Parse the command line, try, and return the exit status."""
    parser = tool.parser(
        "Run the scenarios on a real board, against brokers on this machine. "
        "Other arguments are pytest's: -k NAME, -x.",
        "make hil BOARD=... PORT=... HOST=... ARGS=...",
    )
    parser.add_argument("--host", help="this machine's address for the board; found by the route")
    parser.add_argument("--report", type=Path, metavar="FILE", help="not build/hil/BOARD.md")
    options, rest = parser.parse_known_args(argv)
    status = 0  # of the scenarios

    def work() -> str:
        nonlocal status
        board, port = tool.found(options)
        if options.dry_run:
            return listed(board, port, options.host, rest)
        try:
            status = tried(board, port, options.host, rest, options.report)
        except BoardLost as error:
            raise CannotDo(f"{error}\n{AGAIN}") from error
        except BoardError as error:
            raise CannotDo(str(error)) from error
        return ""

    return tool.finish("hil", work, "the board was started anew, if it was there") or status


if __name__ == "__main__":
    sys.exit(main())

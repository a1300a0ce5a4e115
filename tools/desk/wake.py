"""What a wake of a sleeping node costs: turnarounds and bytes on the wire, wear of its flash.

A node (the firmware's own code on the simulated board) wakes, publishes one message, takes what
mosquitto has kept for it, and sleeps. The proxy between them counts, with a delay in each direction
as a real network has, so that what is sent together arrives together. No time is measured.

    waits         turnarounds: how often the node waits for an answer, beside TCP's handshake
    up, down      bytes of MQTT from and to the node (TCP and IP add 40 or more to each segment)
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from ..amounts import whole
from ..command.planning.wear import BLOCKS, CYCLES, YEAR
from ..paths import ROOT
from ..testing import runtimes, wire
from ..testing.board import Board
from ..testing.brokers import BrokerFailure, MosquittoBroker
from ..testing.chaos import ChaosProxy, ProxiedConnection
from ..testing.observer import Observer
from ..testing.peer import dial
from ..testing.runtimes import Runtime

sys.path.insert(0, str(ROOT / "host_tests"))  # a program for a checkout

from harness import life

CLIENT_ID = "node-007"  # 8 bytes
TOPIC = "greenhouse/7/temp/01"  # 20 bytes
PAYLOAD = 30  # bytes
COMMAND_TOPIC = "greenhouse/7/set"
COMMAND = "on%02d"
PERIOD = 300  # s
BUDGET = 5000  # ms
DELAY = 10  # ms each way
SETTLED = 2  # wakes after which each is as the one before
ROUNDS = 3
WEARING = 60  # wakes over which wear is averaged
FLASHES = {"esp32": ("ESP32", BLOCKS["esp32"]), "rp2": ("Pico W", BLOCKS["rp2"])}


@dataclass(frozen=True)
class Wake:
    """What one wake cost. order: burst, "burst 5" (the same on MQTT 5), careful (CONNACK awaited),
    or subscribing (clean session).
    commands: how many were queued, command_qos: how; got: how many of them came."""

    qos: int
    order: str
    commands: int
    command_qos: int
    got: int
    turnarounds: int
    up: int
    down: int
    packets: str

    @property
    def total(self) -> int:
        """Bytes both ways."""
        return self.up + self.down


@dataclass(frozen=True)
class Wear:
    """What a message costs the flash, on average. what: "QoS 1 message", and so on; saves: records;
    journal, flash: bytes given to the filesystem, programmed by it; years: see ``years``."""

    board: str
    what: str
    saves: float
    journal: float
    flash: float
    erases: float
    years: float | None


def years(erases: float, blocks: int) -> float | None:
    """Return how long a flash lives with one such message each PERIOD; None: it is not worn.

    littlefs takes each time another of the blocks that are free: here, half of them.
    """
    return CYCLES * blocks / 2 / erases * PERIOD / YEAR if erases else None


# --- Measuring ------------------------------------------------------------------------------------


@contextmanager
def broker() -> Iterator[MosquittoBroker]:
    """Give a mosquitto that keeps QoS 0 messages too. Raises runtimes.NotAvailable."""
    options = "queue_qos0_messages true\nset_tcp_nodelay true"
    with MosquittoBroker(runtimes.get.mosquitto(), persistence=False, extra_config=options) as it:
        yield it


class Bench:
    """A broker with an observer, and what nodes need. ``runtime``: see ``life.runtime``."""

    def __init__(self, broker: MosquittoBroker, observer: Observer, runtime: Runtime) -> None:
        self.broker = broker
        self.observer = observer
        self.runtime = runtime

    @contextmanager
    def board(
        self, port: int, client_id: str, listens: bool, order: str = "burst", type: str = "esp32"
    ) -> Iterator[Board]:
        """Give a board with the node on it."""
        client = {"port": port, "client_id": client_id, "clean": False}
        if order == "burst 5":
            client |= {"version": 5, "session_expiry": 7 * 24 * 3600}
        config = {
            "client": client,
            "node": {
                "period": PERIOD,
                "budget": BUDGET,
                "subscribe": [[COMMAND_TOPIC, 2]] if listens else [],
            },
            "topic": TOPIC,
            "size": PAYLOAD,
            "careful": order == "careful",
            "keep": 8,
        }
        with (
            tempfile.TemporaryDirectory(prefix="dormouse-wake-") as folder,
            Board(
                self.runtime, Path(folder), life.PROGRAM, {"config.json": config}, type=type
            ) as b,
        ):
            yield b

    def wake(self, board: Board, number: int, *qos: int) -> life.Boot:
        """Let it wake once, and publish a message at each QoS."""
        board.args = (str(number), *map(str, qos))
        end = board.run(1)[-1]
        boot = life.Boot(end, end.lines, [])
        said = boot.words("end")
        if not said or said[0][2:4] != ["error", "None"]:
            raise RuntimeError("a wake failed\n" + "\n".join(end.lines))
        return boot

    def measure(self, qos: int, commands: int, command_qos: int, order: str) -> Wake:
        """Measure a wake with one message and so many queued commands.

        A node without commands is one that does not listen: it needs no fence. Of ROUNDS wakes the
        one with the fewest turnarounds counts: the broker writes each packet by itself, and a node
        that is faster than the next one answers in between.
        """
        rows = []
        with ChaosProxy(self.broker.port) as proxy:
            with self.board(proxy.port, CLIENT_ID, commands > 0, order) as board:
                proxy.delay(DELAY)
                for number in range(SETTLED + ROUNDS):
                    # A turn of the broker's loop, in which it sees that the node has gone.
                    self.observer.publish("turn", "", 2)
                    self.queue(commands, command_qos)
                    boot = self.wake(board, number, qos)
                    connection = proxy.connections[-1]
                    connection.wait_packets(1, wire.DISCONNECT)
                    got = len(boot.words("command"))
                    rows.append(_row(connection, qos, order, commands, command_qos, got))
            self.forget(CLIENT_ID)
        return min(rows[SETTLED:], key=lambda row: (-row.got, row.turnarounds, row.total))

    def queue(self, commands: int, qos: int) -> None:
        """Give the broker commands for the node; it has them when this returns."""
        for i in range(commands):
            self.observer.publish(COMMAND_TOPIC, COMMAND % i, qos)
        # At QoS 0 they were only written: this comes behind them.
        self.observer.publish("behind the commands", "", 2)

    def forget(self, client_id: str) -> None:
        """Let the broker forget the session."""
        connection = dial(self.broker.port)
        connection.send(wire.connect(client_id=client_id, clean=True))
        connection.expect_packet(wire.CONNACK)
        connection.send(wire.disconnect())
        connection.expect_closed()

    def subscribing(self, qos: int, commands: int, command_qos: int) -> Wake:
        """Measure what programs on other clients do: a clean session that subscribes at each wake,
        and waits for each answer before the next step. The broker keeps nothing for it."""
        self.queue(commands, command_qos)
        with ChaosProxy(self.broker.port) as proxy:
            proxy.delay(DELAY)
            node = dial(proxy.port)
            node.send(wire.connect(client_id=CLIENT_ID, clean=True, keep_alive=60))
            node.expect_packet(wire.CONNACK)
            if commands:
                node.send(wire.subscribe(1, (COMMAND_TOPIC, 2)))
                node.expect_packet(wire.SUBACK)
            packet_id = 2 if qos else None
            node.send(wire.publish(TOPIC, b"x" * PAYLOAD, qos=qos, packet_id=packet_id))
            if qos == 1:
                node.expect_packet(wire.PUBACK)
            elif qos == 2:
                node.expect_packet(wire.PUBREC)
                node.send(wire.pubrel(2))
                node.expect_packet(wire.PUBCOMP)
            node.send(wire.disconnect())
            node.expect_closed()
            connection = proxy.connections[0]
            connection.wait_closed()
        return _row(connection, qos, "subscribing", commands, command_qos, 0)

    def wear(self, board_type: str, what: str, wakes: int = WEARING) -> Wear:
        """Measure what one message, or command, costs the flash, over many wakes."""
        _, qos_text, kind = what.split(" ")
        qos = int(qos_text)
        client_id = f"wear-{board_type}-{kind}-{qos}"
        with self.board(self.broker.port, client_id, kind == "command", type=board_type) as board:
            self.wake(board, 0)
            boots = []
            for number in range(wakes + 10):
                if kind == "command":
                    self.observer.publish(COMMAND_TOPIC, COMMAND % (number % 100), qos)
                    boots.append(self.wake(board, number))
                else:
                    boots.append(self.wake(board, number, qos))
        self.forget(client_id)
        boots = boots[10:]
        name, blocks = FLASHES[board_type]
        ends = [boot.end for boot in boots if boot.end]
        said = [boot.words("end")[0] for boot in boots]
        erases = statistics.mean(end.erases for end in ends)
        return Wear(
            board=name,
            what=what,
            saves=statistics.mean(int(words[-2]) for words in said),
            journal=statistics.mean(int(words[-1]) for words in said),
            flash=statistics.mean(end.written for end in ends),
            erases=erases,
            years=years(erases, blocks),
        )


def _row(
    connection: ProxiedConnection, qos: int, order: str, commands: int, command_qos: int, got: int
) -> Wake:
    # What comes behind DISCONNECT finds nobody, and may come to be counted or not.
    chunks = [*connection.transcript.chunks]
    while chunks[-1][0] == "down":
        chunks.pop()
    up = b"".join(data for way, data in chunks if way == "up")
    down = b"".join(data for way, data in chunks if way == "down")
    ways = [way for way, _ in chunks]
    names = [wire.NAMES[packet[0] >> 4] for packet in wire.Splitter().feed(up)]
    return Wake(
        qos=qos,
        order=order,
        commands=commands,
        command_qos=command_qos,
        got=got,
        turnarounds=sum(pair == ("down", "up") for pair in itertools.pairwise(ways)),
        up=len(up),
        down=len(down),
        packets=" ".join(names),
    )


def measure_wakes(bench: Bench, commands: int) -> Iterator[Wake]:
    """Measure the table: each QoS without and with commands, each order."""
    for qos in (0, 1, 2):
        for count, command_qos in ((0, 0), (commands, 0), (commands, 1), (commands, 2)):
            for order in ("burst", "burst 5", "careful"):
                yield bench.measure(qos, count, command_qos, order)
            if command_qos == 0:
                yield bench.subscribing(qos, count, command_qos)


def measure_wear(bench: Bench) -> Iterator[Wear]:
    """Measure what messages cost the flash, on each kind of board."""
    for board in FLASHES:
        for what in ("QoS 0 message", "QoS 1 message", "QoS 2 message"):
            yield bench.wear(board, what)
        for what in ("QoS 1 command", "QoS 2 command"):
            yield bench.wear(board, what)


# --- Showing --------------------------------------------------------------------------------------

WAKE_HEAD = ("publish", "commands", "order", "waits", "up", "down", "bytes", "got")
WEAR_HEAD = ("board", "each", "saves", "journal B", "flash B", "erases", "years")


def wake_cells(w: Wake) -> tuple[str, ...]:
    """Return a line of the first table."""
    queued = f"{w.commands} at QoS {w.command_qos}" if w.commands else "-"
    order = "clean" if w.order == "subscribing" else w.order
    got = f"{w.got} of {w.commands}" if w.commands else "-"
    numbers = (str(n) for n in (w.turnarounds, w.up, w.down, w.total))
    return (f"QoS {w.qos}", queued, order, *numbers, got)


def wear_cells(w: Wear) -> tuple[str, ...]:
    """Return a line of the second table."""
    lives = "-" if w.years is None else f"{w.years:,.0f}"
    return (
        w.board,
        w.what,
        f"{w.saves:.1f}",
        f"{w.journal:.0f}",
        f"{w.flash:.0f}",
        f"{w.erases:.3f}",
        lives,
    )


NOTES = (
    "waits: how often the node waits for an answer (turnarounds), beside TCP's own.",
    f"Topic {len(TOPIC)} B, payload {PAYLOAD} B, client id {len(CLIENT_ID)} B, MQTT 3.1.1; "
    "DISCONNECT is counted in.",
    "commands -: the node does not listen to any, so it needs no PINGREQ for a fence.",
    "burst: dormouse's wake; burst 5: on MQTT 5, with a session expiry.",
    "careful: what it falls back to: CONNACK is awaited first.",
    "clean: as programs on other clients do: a new session each time, SUBSCRIBE where there",
    "are commands, each answer awaited; what was queued is lost.",
    "QoS 2: PUBREL goes out before DISCONNECT, and its PUBCOMP finds nobody: so PUBREL goes",
    "again in the next burst, and is counted in both.",
)
WEAR_NOTES = (
    "On average; journal B: bytes given to the filesystem, flash B: programmed by it (littlefs).",
    f"years: how long the flash lives with one each {PERIOD} s, if a block of 4,096 bytes takes",
    f"{CYCLES:,} erase cycles, and half of the blocks ("
    + ", ".join(f"{name}: {blocks}" for name, blocks in FLASHES.values())
    + ") are free, over which",
    "littlefs spreads what it writes. Your own files come on top. -: no wear.",
)


def show(console: Console, head: Sequence[str], rows: list[tuple[str, ...]], plain: bool) -> None:
    """Print a table; plain: without lines and colours."""
    if plain:
        widths = [max(len(row[i]) for row in [tuple(head), *rows]) for i in range(len(head))]
        for row in [tuple(head), *rows]:
            cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            print("  ".join(cells).rstrip())
        return
    table = Table()
    for i, name in enumerate(head):
        right = all(row[i][:1].isdigit() or row[i] == "-" for row in rows)
        table.add_column(name, justify="right" if right else "left", no_wrap=True)
    for row in rows:
        table.add_row(*row, style="bold" if "burst" in row else None)
    console.print(table)


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Return the parsed command line."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    parser.add_argument("--plain", action="store_true", help="no lines, no colours")
    parser.add_argument("--json", action="store_true", help="all figures, for programs")
    parser.add_argument(
        "--commands", type=whole(0, 100), default=5, help="queued for a wake: %(default)s"
    )
    names = [name for name in runtimes.RUNTIMES if name != "cpython"]  # which has no littlefs
    parser.add_argument("--runtime", choices=names, default="micropython64", help="%(default)s")
    return parser.parse_args(argv)


@contextmanager
def ready(runtime: str) -> Iterator[Bench]:
    """Give a bench. Raises runtimes.NotAvailable, BrokerFailure."""
    with ExitStack() as stack:
        chosen = life.runtime(runtime, stack.enter_context(life.library()))
        if chosen.reason:
            raise runtimes.NotAvailable(chosen.reason)
        server = stack.enter_context(broker())
        yield Bench(server, stack.enter_context(Observer(server)), chosen)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; return its exit status."""
    options = arguments(argv)
    console = Console()
    try:
        with ready(options.runtime) as bench:
            wakes = list(measure_wakes(bench, options.commands))
            wears = list(measure_wear(bench))
    except (runtimes.NotAvailable, BrokerFailure) as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    if options.json:
        lines = [asdict(w) | {"total": w.total} for w in wakes]
        print(json.dumps({"wakes": lines, "wear": [asdict(w) for w in wears]}, indent=1))
        return 0
    show(console, WAKE_HEAD, [wake_cells(w) for w in wakes], options.plain)
    print(*NOTES, "", sep="\n")
    show(console, WEAR_HEAD, [wear_cells(w) for w in wears], options.plain)
    print(*WEAR_NOTES, sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

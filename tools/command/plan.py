"""dormouse plan: what a node that sleeps costs, on the wire, in time, in charge, at the broker."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from .. import amounts
from ..amounts import at_least_one, positive, said, whole
from ..board import boards, face
from .planning import advice, brokers, fleet, phases, picture, wear, wire
from .shared import output
from .shared.connection import FOR_EVER
from .shared.failure import WRONG, Failure, need_pictures

EXAMPLES = """
examples:
  dormouse plan --battery 2500 --period 300                      # an ESP32, its phases as published
  dormouse plan --battery 2500 --period 300 --phase sensor=200:20 --wifi dhcp --tls
  dormouse plan --board RPI_PICO_W --battery 2500 --period 300 --awake-ms 4000 --awake-ma 60
  dormouse plan --listen --commands 2 --command-qos 2 --picture plan.svg
  dormouse plan --nodes 5000 --period 10 --message-bytes 120 --outage 1800      # a fleet
  dormouse plan --kind event --qos 2 --subscriber-qos 0 --client-id random      # mistakes are told
  make plan BOARD=ESP32_GENERIC BATTERY=2500 PERIOD=300

Where figures come from: bytes and turnarounds are computed, and the tests hold them against wakes
of the simulated board; the phases are published measurements of one ESP32 (each is shown with its
source), give or take 25 %, which is assumed; --phase and --awake-ms/--awake-ma are yours. The
client id has 8 bytes, a command a topic of 16 and a payload of 4. Not counted: the battery's own
discharge, cold, wakes that find no network and last longer, the time of a long message on the link.

exit status: 0; 1 a figure has no source, or the plan cannot work, with what to do; 2 wrong
arguments
"""
CLIENT_ID = 8  # bytes
LONGEST = 268_435_455  # bytes, what follows the fixed header of a packet (section 2.2.3)
seconds = whole(1, advice.LONGEST)  # of a keep-alive
expiry = whole(1, FOR_EVER)
TLS_TURNAROUNDS = 2  # TLS 1.2, a whole handshake (docs/tls.md)
# Measured: MicroPython 1.25 (unix) with mosquitto, one ECDSA P-256 certificate of 566 bytes.
TLS_UP, TLS_DOWN = 541, 1969


def _node_options(parser: argparse.ArgumentParser) -> None:
    node = parser.add_argument_group("node")
    node.add_argument("--board", default="ESP32_GENERIC", help="a folder of boards/ (%(default)s)")
    node.add_argument("--battery", type=positive, metavar="MAH", help="its capacity")
    node.add_argument("--period", type=positive, metavar="S", default=300, help="from wake to wake")
    node.add_argument("--wifi", choices=phases.WIFI, default="static", help="%(default)s")
    node.add_argument("--frozen", action="store_true", help="the program is in the firmware")
    node.add_argument(
        "--phase",
        action="append",
        default=[],
        metavar="NAME=MS:MA[:PERCENT]",
        type=phases.parse,
        help="one of your own; replaces that of the same name",
    )
    node.add_argument("--rtt", type=positive, metavar="MS", help="a round trip to the broker")
    node.add_argument("--awake-ms", type=positive, metavar="MS", help="measured: instead of phases")
    node.add_argument("--awake-ma", type=positive, metavar="MA", help="measured: with --awake-ms")
    node.add_argument("--asleep-ua", type=positive, metavar="UA", help="not board.toml's")


def _message_options(parser: argparse.ArgumentParser) -> None:
    message = parser.add_argument_group("messages")
    message.add_argument("--qos", type=int, choices=(0, 1, 2), help="what you have in mind")
    message.add_argument("--kind", choices=advice.KINDS, default="reading", help="%(default)s")
    message.add_argument("--messages", type=whole(), default=1, metavar="N", help="in a wake (1)")
    message.add_argument("--topic", type=said, metavar="TOPIC", default="greenhouse/7/temp/01")
    message.add_argument(
        "--payload",
        type=whole(0, LONGEST),
        metavar="BYTES",
        help="30, or what --message-bytes leaves",
    )
    message.add_argument(
        "--message-bytes",
        type=at_least_one,
        metavar="BYTES",
        help="topic and payload, as the broker keeps them",
    )
    message.add_argument("--version", choices=("3.1.1", "5"), default="3.1.1")
    message.add_argument("--tls", action="store_true")
    message.add_argument("--listen", action="store_true", help="it subscribes to commands")
    message.add_argument(
        "--commands", type=whole(), default=0, metavar="N", help="queued for a wake"
    )
    message.add_argument("--command-qos", type=int, choices=(0, 1, 2), default=1)
    message.add_argument("--session", choices=("kept", "clean"), default="kept")
    message.add_argument("--session-expiry", type=expiry, metavar="S")
    message.add_argument("--message-expiry", type=expiry, metavar="S")
    message.add_argument("--retain", action="store_true")
    message.add_argument("--client-id", choices=("fixed", "random"), default="fixed")
    message.add_argument("--subscriber-qos", type=int, choices=(0, 1, 2))


def _broker_options(parser: argparse.ArgumentParser) -> None:
    broker = parser.add_argument_group("fleet, network, broker")
    broker.add_argument("--nodes", type=at_least_one, metavar="N", default=1)
    broker.add_argument(
        "--outage",
        type=positive,
        metavar="S",
        default=1800,
        help="how long who takes the messages in is away (1,800)",
    )
    broker.add_argument(
        "--overhead",
        type=whole(),
        metavar="BYTES",
        default=fleet.OVERHEAD,
        help="of a message at the broker (%(default)s)",
    )
    broker.add_argument("--no-jitter", action="store_true")
    broker.add_argument("--connected", action="store_true", help="it stays connected")
    broker.add_argument("--keepalive", type=seconds, metavar="S")
    broker.add_argument(
        "--broker-keepalive", type=seconds, metavar="S", help="the longest it takes"
    )
    broker.add_argument(
        "--nat", type=positive, metavar="S", help="when the network forgets a silent connection"
    )
    broker.add_argument(
        "--broker", choices=(*brokers.KNOWN, "all"), help="its settings (with --nodes: all)"
    )


def arguments(argv: Sequence[str]) -> argparse.Namespace:
    """Return the parsed command line."""
    parser = argparse.ArgumentParser(
        prog="dormouse plan",
        description="What a node that sleeps costs: bytes, waits, charge, and at the broker.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _node_options(parser)
    _message_options(parser)
    _broker_options(parser)
    shape = parser.add_argument_group("output")
    shape.add_argument("--packets", action="store_true", help="each packet of a wake")
    shape.add_argument("--picture", type=amounts.picture, metavar="FILE", help=".svg, .png or .pdf")
    shape.add_argument("--json", action="store_true", help="all figures, for programs")
    options = parser.parse_args(argv)
    if (options.awake_ms is None) != (options.awake_ma is None):
        parser.error("--awake-ms and --awake-ma go together: only you know them")
    if options.picture:
        need_pictures()
    if options.commands:
        options.listen = True
    if set(options.topic) & set("+#"):
        parser.error("--topic is where it publishes: + and # are of filters")
    if options.message_bytes:
        topic = len(options.topic.encode())
        left = options.message_bytes - topic
        if left < 0:
            parser.error(f"--message-bytes: --topic alone has {topic}")
        if options.payload not in (None, left):
            parser.error(f"--message-bytes: with this --topic that is a --payload of {left}")
        options.payload = left
    elif options.payload is None:
        options.payload = 30
    return options


@dataclass(frozen=True)
class Column:
    """What a plan is at one QoS."""

    qos: int
    wake: wire.Wake
    round_trips: int  # all that a wake waits for: TCP, TLS, MQTT
    power: phases.Power
    flash_years: float | None
    flash_measured: bool  # or it is at the least


def traffic(options: argparse.Namespace, qos: int) -> wire.Traffic:
    """Return what a wake carries at a QoS."""
    return wire.Traffic(
        qos=qos,
        topic=len(options.topic.encode()),
        payload=options.payload,
        messages=options.messages,
        client_id=CLIENT_ID,
        version=5 if options.version == "5" else 4,
        order="burst" if options.session == "kept" else "clean",
        listens=options.listen,
        commands=options.commands if options.session == "kept" else 0,
        command_qos=options.command_qos,
        expires=options.version == "5" and options.message_expiry is not None,
    )


def asleep(board: boards.Board, given: float | None) -> tuple[float, str]:
    """Return the current in deep sleep in µA, and its source. Raises Failure without one."""
    if given is not None:
        return given, "you (--asleep-ua)"
    current = board.currents.get("deep_sleep")
    if current is None:
        raise Failure(
            f"boards/{board.name}/board.toml has no source for the current in deep sleep",
            "measure it, and say --asleep-ua (make plan ASLEEP_UA=)",
        )
    return current.microamperes, current.source


def wake_phases(
    board: boards.Board, options: argparse.Namespace, round_trips: int
) -> tuple[phases.Phase, ...]:
    """Return the phases of a wake. Raises Failure where nobody has measured them."""
    if options.awake_ms:
        charge = options.awake_ms * options.awake_ma / 1000
        own = {"awake": phases.Phase("awake", options.awake_ms, charge, phases.YOU, 0)}
    elif board.name in phases.MEASURED:
        rtt, source = options.rtt or phases.ROUND_TRIP, phases.YOU if options.rtt else phases.GLENN
        spread = 0 if options.rtt else phases.SPREAD
        found = [phases.BOOT, *([] if options.frozen else [phases.FILES])]
        found.append(phases.WIFI[options.wifi])
        found.append(phases.network("network", round_trips, rtt, source, spread))
        own = {phase.name: phase for phase in found}
    else:
        raise Failure(
            f"nobody has published the phases of a wake of {board.name}",
            "measure a wake, and say --awake-ms and --awake-ma (make plan AWAKE_MS= AWAKE_MA=)",
        )
    own |= {phase.name: phase for phase in options.phase}
    return tuple(own.values())


def column(board: boards.Board, options: argparse.Namespace, qos: int) -> Column:
    """Return the plan at a QoS. Raises Failure."""
    try:
        wake = wire.wake(traffic(options, qos))
    except ValueError as error:
        raise Failure(str(error), status=WRONG) from error
    round_trips = 1 + wake.turnarounds + (TLS_TURNAROUNDS if options.tls else 0)
    current, source = asleep(board, options.asleep_ua)
    power = phases.Power(
        wake_phases(board, options, round_trips), options.period, current, source, options.battery
    )
    if power.awake_ms >= options.period * 1000:
        raise Failure("it never sleeps: a wake is not shorter than the period", "a longer --period")
    longest = board.sleep.get("longest_ms")
    if longest and options.period * 1000 > longest:
        raise Failure(
            f"{board.name} sleeps {longest / 1000:.0f} s at most (board.toml)", "a shorter --period"
        )
    carried = traffic(options, qos)
    size = carried.topic + carried.payload
    taken = carried.commands if carried.command_qos else 0
    years = wear.years(board.port, qos, options.period, options.messages, size, taken)
    measured = wear.is_measured(options.messages if qos else 0, size, taken)
    return Column(qos, wake, round_trips, power, years, measured)


def habits(options: argparse.Namespace) -> advice.Habits:
    """Return what the advice is given for."""
    return advice.Habits(
        kind=options.kind,
        qos=options.qos,
        subscriber_qos=options.subscriber_qos,
        persistent=options.session == "kept",
        client_id=options.client_id,
        listens=options.listen,
        command_qos=options.command_qos,
        session_expiry=options.session_expiry,
        message_expiry=options.message_expiry,
        version=5 if options.version == "5" else 4,
        jitter=not options.no_jitter,
        retain=options.retain,
        keepalive=options.keepalive,
        broker_keepalive=options.broker_keepalive,
        nat=options.nat,
        nodes=options.nodes,
        period=options.period,
        asleep=not options.connected,
    )


def fleet_of(options: argparse.Namespace) -> fleet.Fleet:
    """Return the fleet."""
    size = options.message_bytes or len(options.topic.encode()) + options.payload
    return fleet.Fleet(
        options.nodes, options.period, size, options.outage, options.overhead, options.messages
    )


def broker_wants(options: argparse.Namespace, many: fleet.Fleet) -> brokers.Wanted:
    """Return what the broker has to be set to."""
    # A quarter more than computed: outages are not planned.
    queue = max(brokers.DEFAULT_QUEUE, round(many.depth * 1.25))
    session = options.session_expiry or max(7 * 86400, 4 * options.outage)
    return brokers.Wanted(
        queue=queue,
        queue_bytes=max(round(many.memory * 1.25), 1_000_000),
        session=int(session),
        message=None if options.message_expiry is None else int(options.message_expiry),
        keepalive=int(options.broker_keepalive or options.keepalive or 0),
        packet=min(max(4096, 2 * many.size), LONGEST),
        qos0=(options.qos or 0) == 0 and options.kind == "reading",
    )


# --- Showing --------------------------------------------------------------------------------------


def span(power: phases.Power) -> str:
    """Return how long a battery lasts, with what is uncertain."""
    days = power.days()
    low, high = power.days(-1), power.days(1)
    if days is None or low is None or high is None:
        return "-"
    return f"{days:,.0f} days" + (f" ({low:,.0f} to {high:,.0f})" if high - low >= 1 else "")


def stepwise(options: argparse.Namespace, qos: int) -> int:
    """Return how often a client waits that makes a new session and awaits each answer."""
    plain = dataclasses.replace(traffic(options, qos), order="clean", commands=0)
    return wire.wake(plain).turnarounds


def flash(c: Column, board: boards.Board) -> str:
    """Return how long the flash lasts."""
    if board.port not in wear.MESSAGE:
        return "not measured"
    if c.flash_years is None:
        return "not worn"
    years = f"{c.flash_years:,.0f}" if c.flash_years >= 10 else f"{c.flash_years:.2g}"
    return f"{years} years" + ("" if c.flash_measured else " or more")


def side_by_side(
    columns: Sequence[Column], options: argparse.Namespace, board: boards.Board
) -> Table:
    """Return the table of all QoS."""
    table = output.table(title="one wake")
    table.add_column("")
    for c in columns:
        style = "bold" if c.qos == options.qos else None
        table.add_column(f"QoS {c.qos}", justify="right", style=style)
    rows: list[tuple[str, list[str]]] = [
        ("packets up", [str(len(c.wake.names("up").split())) for c in columns]),
        ("packets down", [str(len(c.wake.names("down").split())) for c in columns]),
        ("bytes up", [str(c.wake.up) for c in columns]),
        ("bytes down", [str(c.wake.down) for c in columns]),
        ("waits for the broker", [str(c.wake.turnarounds) for c in columns]),
        ("waits, step by step", [str(stepwise(options, c.qos)) for c in columns]),
        ("awake", [f"{c.power.awake_ms:,.0f} ms" for c in columns]),
        ("charge of a wake", [f"{c.power.wake_mc:.1f} mC" for c in columns]),
        ("on average", [f"{c.power.average_ua():.1f} µA" for c in columns]),
        ("the battery lasts", [span(c.power) for c in columns]),
        (
            "the flash lasts",
            [flash(c, board) for c in columns],
        ),
        ("if it is cut", ["lost", "sent again, maybe twice", "sent again, once"]),
    ]
    for name, cells in rows:
        table.add_row(name, *cells)
    return table


def phase_table(chosen: Column) -> Table:
    """Return the phases with their sources."""
    table = output.table(
        "phase", "ms", "mA", "mC", "±", "source", title=f"awake, at QoS {chosen.qos}"
    )
    for phase in chosen.power.phases:
        table.add_row(
            escape(phase.name),
            f"{phase.ms:,.0f}",
            f"{phase.ma:.0f}",
            f"{phase.mc:.1f}",
            f"{phase.spread:.0%}" if phase.spread else "-",
            escape(phase.source),
        )
    asleep_ma = chosen.power.asleep_ua / 1000
    sleeping = chosen.power.period * 1000 - chosen.power.awake_ms
    table.add_row(
        "asleep",
        f"{sleeping:,.0f}",
        f"{asleep_ma:g}",
        f"{chosen.power.asleep_mc:.1f}",
        "-",
        escape(chosen.power.asleep_source),
    )
    return table


def fleet_table(many: fleet.Fleet) -> Table:
    """Return what a fleet asks of a broker."""
    table = output.table(
        "fleet", "", "how", title=f"{many.nodes:,} nodes, {many.outage:,.0f} s of outage"
    )
    rows = (
        ("messages", f"{many.rate:,.1f} /s", "N r"),
        ("waiting for one subscriber", f"{many.depth:,} messages", "N r T"),
        (
            "they take",
            f"{many.memory / 1e6:,.1f} MB",
            f"N r T (S + O), {many.size} + {many.overhead} bytes",
        ),
        ("connects", f"{many.connect_rate:,.1f} /s", "N / period, spread by the Node's phase"),
        (
            "peak when the broker is back",
            f"{many.return_rate:,.1f} messages/s",
            f"what nodes kept ({many.outbox} each at most) and what is new, in a period",
        ),
        ("beyond the nodes' outbox", f"{many.lost_by_nodes:,} messages", "if the broker was away"),
    )
    for row in rows:
        table.add_row(*row)
    return table


def show(columns: Sequence[Column], options: argparse.Namespace, board: boards.Board) -> None:
    """Print the plan for a person."""
    console = output.console()
    h = habits(options)
    best, why = advice.qos(h)
    chosen = columns[options.qos if options.qos is not None else best]
    many = fleet_of(options)
    console.print(
        f"[bold]{escape(board.product)}[/], a wake each {options.period:g} s, "
        f"{options.messages} x {options.payload} bytes, MQTT {options.version}"
        f"{', TLS' if options.tls else ''}"
    )
    console.print(side_by_side(columns, options, board))
    if options.packets:
        for c in columns:
            console.print(
                f"QoS {c.qos}: "
                + "  ".join(
                    f"{'>' if p.way == 'up' else '<'}{p.name} {p.size}" for p in c.wake.packets
                )
            )
    console.print(phase_table(chosen))
    console.print("what takes the charge:")
    for line in picture.bars(chosen.power.shares(), plain=not console.is_terminal):
        console.print("  " + escape(line))
    if options.tls:
        console.print(
            f"TLS: {TLS_TURNAROUNDS} round trips and about {TLS_UP} bytes up, {TLS_DOWN} down more "
            "(measured on a desk, one small certificate). The chip's arithmetic is not in: nobody "
            "has published it; measure it and say --phase tls=MS:MA."
        )
    console.print()
    console.print(f"[bold]QoS {best}[/]: {why}.")
    for name, choice in (("session", advice.session(h)), ("keep-alive", advice.keepalive(h))):
        console.print(f"[bold]{name} {escape(choice.what)}[/]: {choice.why}.")
    for warning in advice.warnings(h):
        console.print(f"[yellow]careful:[/] {warning}.")
    if options.nodes > 1:
        console.print()
        console.print(fleet_table(many))
    which = options.broker or ("all" if options.nodes > 1 else "")
    wanted = broker_wants(options, many)
    for name in brokers.KNOWN if which == "all" else filter(None, (which,)):
        console.print(f"[bold]{name}[/]")
        for line in brokers.settings(name, wanted):
            console.print("  " + escape(line), highlight=False)


def as_dict(columns: Sequence[Column], options: argparse.Namespace) -> dict[str, Any]:
    """Return all figures."""
    many, h = fleet_of(options), habits(options)
    best, why = advice.qos(h)
    wanted = broker_wants(options, many)
    return {
        "board": options.board,
        "qos": [
            {
                "qos": c.qos,
                "up": c.wake.up,
                "down": c.wake.down,
                "turnarounds": c.wake.turnarounds,
                "round_trips": c.round_trips,
                "packets": [list(packet) for packet in c.wake.packets],
                "awake_ms": c.power.awake_ms,
                "wake_mc": c.power.wake_mc,
                "asleep_mc": c.power.asleep_mc,
                "average_ua": c.power.average_ua(),
                "days": c.power.days(),
                "days_low": c.power.days(-1),
                "days_high": c.power.days(1),
                "flash_years": c.flash_years,
                "flash_measured": c.flash_measured,
                "phases": [dataclasses.asdict(phase) for phase in c.power.phases],
            }
            for c in columns
        ],
        "recommended": {
            "qos": best,
            "why": why,
            "session": dataclasses.asdict(advice.session(h)),
            "keepalive": dataclasses.asdict(advice.keepalive(h)),
        },
        "warnings": advice.warnings(h),
        "fleet": {
            "messages_per_s": many.rate,
            "queue_depth": many.depth,
            "queue_bytes": many.memory,
            "connects_per_s": many.connect_rate,
            "peak_messages_per_s": many.return_rate,
            "lost_by_nodes": many.lost_by_nodes,
        },
        "settings": {name: brokers.settings(name, wanted) for name in brokers.KNOWN},
    }


def draw(
    path: Path, columns: Sequence[Column], options: argparse.Namespace, board: boards.Board
) -> None:
    """Save the picture. Raises OSError."""
    rows = []
    for c in columns:
        parts = [(phase.name, phase.mc) for phase in c.power.phases]
        rows.append((f"QoS {c.qos}", [*parts, ("asleep", c.power.asleep_mc)]))
    title = f"{board.product}: where the charge of {options.period:g} s goes"
    picture.save(path, title, rows)


def main(argv: Sequence[str]) -> int:
    """Run the subcommand; return the exit status. Raises Failure."""
    options = arguments(argv)
    try:
        board = boards.named(options.board)
    except boards.BadBoard as error:
        raise Failure(face.words(str(error))) from error
    columns = [column(board, options, qos) for qos in (0, 1, 2)]
    if options.json:
        output.print_json(as_dict(columns, options))
    else:
        show(columns, options, board)
    return output.save("plan", options.picture, lambda p: draw(p, columns, options, board))

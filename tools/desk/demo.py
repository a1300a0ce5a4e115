"""The sleeping sensor node of firmware/main.py on a simulated board, and all that can go wrong.

    node, asleep most of the time -> proxy that cuts -> broker <- observer (paho)

Deep sleep is the process's end, and the clock jumps; the flash is a real littlefs in a file. The
node wakes, publishes readings at QoS 0, 1 and 2, takes the commands that the broker kept for it,
and sleeps again. Meanwhile the Wi-Fi is away, connections are cut inside a burst, the broker is
restarted, the power is cut: asleep, awake, and in the middle of a write to the flash.
There is a line for each wake. At the end sent and received are compared: nothing may be lost at
QoS 1 and 2, nothing doubled at QoS 2, and the relay must be as its toggles left it.
"""

from __future__ import annotations

import signal
import sys

if __name__ == "__main__":
    # The imports below take half a second; Ctrl-C meanwhile is clean, too.
    signal.signal(signal.SIGINT, lambda *_: sys.exit(130))

import argparse
import contextlib
import logging
import tempfile
import time
import webbrowser
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table

from ..amounts import at_least_one, real
from ..paths import FIRMWARE
from ..testing import runtimes
from ..testing.brokers import AmqttBroker, Broker, BrokerFailure, MosquittoBroker
from ..testing.chaos import ChaosError
from ..testing.runtimes import RUNTIMES, NotAvailable, Runtime
from .demo_count import Tally, final_lines
from .demo_life import PERIOD, PLAN, DemoFailure, Life, Wake

NODE = FIRMWARE / "main.py"
INTERRUPTED = 130  # exit status: 128 + SIGINT
BEST_FIRST = ("micropython32", "micropython64", "cpython")


# --- Ctrl-C ---------------------------------------------------------------------------------------


class Interrupt:
    """SIGINT and SIGTERM as one KeyboardInterrupt; further ones do not disturb the clearing up."""

    def __init__(self) -> None:
        self._held = self._came = False

    def install(self) -> None:
        """Handle the signals from now on."""
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, self._handle)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, signal.SIG_IGN)
        self._came = True
        if not self._held:
            raise KeyboardInterrupt

    @contextlib.contextmanager
    def held_back(self) -> Iterator[None]:
        """Let a signal that comes meanwhile wait until the end."""
        self._held = True
        try:
            yield
        finally:
            self._held = False
        if self._came:
            raise KeyboardInterrupt


INTERRUPT = Interrupt()


# --- Showing --------------------------------------------------------------------------------------

COLUMNS = "wake|at|reason|Wi-Fi|awake ms|waits|up|down|sent|waiting|drained|what was done to it"
WIDTHS = (4, 8, 6, 10, 8, 5, 5, 5, 4, 7, 7, 0)
LEGEND = (
    "at: simulated time; awake: this machine's ms, not a chip's; waits: for an answer of the "
    "broker;\nup, down: bytes of MQTT; sent: readings; waiting: in the store; drained: commands"
)


# What a stranger sees, in 80 columns; the other table is --wide.
STORY = "wake|time|what was done to it|what the node did"
STORY_WIDTHS = (4, 7, 30, 33)
TROUBLE = (  # the beginning of what was done -> in fewer words
    ("cut (", "connection cut in its burst"),
    ("power off asleep", "power cut, asleep"),
    ("power cut at flash", "power cut, writing its flash"),
    ("broker restarted", "broker restarted"),
    ("let pass", "(waits longer between tries)"),
)


def trouble(done: str) -> str:
    """Return what was done to the node in few words."""
    return next((words for start, words in TROUBLE if done.startswith(start)), done)


def told(wake: Wake) -> list[str]:
    """Return a wake's row of the story."""
    f = wake.facts
    at = int(wake.began)
    n = len(f.sent)
    if f.died:
        did = "dies; what it had is on its flash"
    elif f.waiting and wake.wifi in ("-", "none"):
        did = f"{n} readings kept, {f.waiting} wait now"
    else:
        did = f"{n} readings sent" + (f", {f.waiting} wait" if f.waiting else "")
    if f.commands and not f.died:
        count = len(f.commands)
        did = f"{n} sent, {count} command{'s' * (count != 1)} obeyed"
    clock = f"{at // 3600}:{at // 60 % 60:02}:{at % 60:02}"
    return [str(wake.number), clock, trouble(wake.done), did]


def style(wake: Wake) -> str:
    """Return a row's colour: what died, what was disturbed, what went well after a disturbance."""
    return "red" if wake.facts.died else "yellow" if wake.done else ""


def cells(wake: Wake) -> list[str]:
    """Return a wake's row, with all figures."""
    f = wake.facts
    at = int(wake.began)
    numbers = (wake.awake_ms, wake.waits, wake.up, wake.down, len(f.sent))
    return [
        str(wake.number),
        f"{at // 3600}:{at // 60 % 60:02}:{at % 60:02}",
        f.reason,
        wake.wifi,
        *map(str, numbers),
        "-" if f.waiting is None else str(f.waiting),
        str(len(f.commands) or ""),
        wake.done,
    ]


def plain_row(texts: Sequence[str]) -> str:
    """Return a row as one line of text."""
    wide = len(texts) > len(STORY_WIDTHS)
    pairs = zip(texts, WIDTHS if wide else STORY_WIDTHS, strict=True)
    left = (2, 3, 11) if wide else (2, 3)
    columns = [t.ljust(w) if i in left else t.rjust(w) for i, (t, w) in enumerate(pairs)]
    return "  ".join(columns).rstrip()


def live_table(life: Life, rows: int, wide: bool) -> Group:
    """Return what the terminal shows while the demo runs."""
    table = Table(
        title="dormouse: a sensor node that sleeps, and all that can go wrong",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    names, widths = (COLUMNS, WIDTHS) if wide else (STORY, STORY_WIDTHS)
    for name, width in zip(names.split("|"), widths, strict=True):
        left = name in ("reason", "Wi-Fi") or name.startswith("what")
        table.add_column(name, justify="left" if left else "right", no_wrap=bool(width))
    for wake in life.wakes[-rows:]:
        table.add_row(*(cells if wide else told)(wake), style=style(wake))
    return Group(table, LEGEND) if wide else Group(table)


@contextlib.contextmanager
def shown(life: Life, plain: bool, wide: bool) -> Iterator[Callable[[Wake], None]]:
    """Show what happens: a live table on a terminal, else one line for each wake."""
    console = Console(highlight=False)
    if plain or not console.is_terminal:
        head = [LEGEND, plain_row(COLUMNS.split("|"))] if wide else [plain_row(STORY.split("|"))]
        print(*head, sep="\n", flush=True)
        yield lambda wake: print(plain_row((cells if wide else told)(wake)), flush=True)
        return
    rows = max(console.height - 10, 5)
    with Live(live_table(life, rows, wide), console=console, auto_refresh=False) as live:
        yield lambda wake: live.update(live_table(life, rows, wide), refresh=True)


def summary(life: Life) -> list[str]:
    """Return what the wakes came to."""
    wakes = life.wakes
    awake = sum(wake.awake_ms for wake in wakes)
    ended = [wake.end for wake in wakes if wake.end]
    asleep = 100 * life.slept / max(life.slept + awake, 1)
    happened = life.counts
    return [
        f"{len(wakes)} wakes in {life.slept / 3.6e6:.2f} simulated hours, {asleep:.2f} % asleep; "
        f"without power {life.off / 60000:g} min",
        f"flash: {sum(e.written for e in ended) // len(ended)} bytes programmed and "
        f"{sum(e.erases for e in ended) / len(ended):.1f} blocks erased a wake",
        f"{happened['wifi']} wakes without Wi-Fi, {happened['cut']} cuts, {happened['restart']} "
        f"broker restarts, {happened['unplug'] + happened['kill'] + happened['flash']} power cuts "
        f"({happened['unplug']} asleep, {happened['kill']} awake, {happened['flash']} in a write); "
        f"the broker announced the node lost {life.announced()} times",
    ]


def ending(life: Life, tallies: tuple[list[Tally], list[Tally]]) -> list[str]:
    """Return what happened, and what became of it, for who sees this for the first time."""
    n = life.counts
    readings, commands = (sum(t.sent for t in all_ if t.qos) for all_ in tallies)
    awake = sum(wake.awake_ms for wake in life.wakes)
    minutes = round(life.slept / 60000)
    power = n["unplug"] + n["kill"] + n["flash"]
    counted = ((power, "power cut"), (n["cut"], "cut connection"), (n["restart"], "broker restart"))
    happened = ", ".join(f"{k} {what}{'s' * (k != 1)}" for k, what in counted)
    asleep = 100 * life.slept / max(life.slept + awake, 1)
    return [
        f"{happened}, {n['wifi']} wake{'s' * (n['wifi'] != 1)} without Wi-Fi.",
        f"{minutes} minutes, {asleep:.1f} % asleep; all {readings} readings arrived, "
        f"all {commands} commands were obeyed.",
    ]


# --- Running --------------------------------------------------------------------------------------

AMQTT_WHY = (
    "amqtt (embedded: nothing to install; it forgets all at a restart, does not repeat what a cut"
    "\n  swallowed, and never answers a repeated PUBREL: so faults come before PUBREL, none while"
    "\n  commands are on their way; `--broker mosquitto` has no need of that)"
)
SHORT = {
    "amqtt": ", inside this program (--broker mosquitto: a real one)",
    "mosquitto": ", with its sessions on disk",
}
MOSQUITTO_WHY = "mosquitto (a process of its own, with its sessions on disk)"


def choose_runtime(name: str) -> Runtime:
    """Return the runtime of that name, "auto" for the best. Raises DemoFailure."""
    names = BEST_FIRST if name == "auto" else (name,)
    for each in names:
        if not RUNTIMES[each].reason:
            return RUNTIMES[each]
    raise DemoFailure(str(RUNTIMES[names[0]].reason))


def choose_broker(name: str) -> tuple[Broker, str]:
    """Return the broker of that name, and what to say about it. Raises DemoFailure."""
    if name == "amqtt":
        return AmqttBroker(log_level=logging.WARNING), AMQTT_WHY
    try:
        return MosquittoBroker(runtimes.get.mosquitto()), MOSQUITTO_WHY
    except NotAvailable as error:
        raise DemoFailure(f"{error}\n`--broker amqtt` needs no installation") from error


def run(options: argparse.Namespace) -> list[str]:
    """Run, and return the last lines. Raises DemoFailure and what the harness raises."""
    runtime = choose_runtime(options.runtime)
    broker, about = choose_broker(options.broker)
    life = Life(NODE, runtime, broker, options.seed, INTERRUPT.held_back)
    faults = []
    with tempfile.TemporaryDirectory(prefix="dormouse-") as folder, broker:
        about = about if options.wide else about.partition(" (")[0] + SHORT[options.broker]
        print(f"broker: {about}\nnode: {runtime.name}, a wake in {PERIOD} s; seed {options.seed}")
        with life.begun(Path(folder) / "board"):
            with shown(life, options.plain, options.wide) as show:

                def show_and_rest(wake: Wake) -> None:
                    show(wake)
                    time.sleep(options.pause)

                try:
                    life.play(options.wakes, show_and_rest)
                except (DemoFailure, AssertionError, ChaosError) as error:
                    if not life.wakes:
                        raise
                    # What the node does not do shows in the counts; so count all the same.
                    faults = [f"stuck: {str(error).splitlines()[0]}"]
            life.arrived()
            counts = life.tallies()
            if options.scope:
                show_scope(life, options.scope)
            lines = summary(life) if options.wide else [""]
            faults += life.faults()
            lines += final_lines(*counts, faults)
            if lines[-1].startswith("promise kept"):
                lines[-1:] = ["", *ending(life, counts), lines[-1]]
            else:
                lines[:0] = ["the node's last lines:", *(f"  | {x}" for x in life.board.lines)]
    return lines


def show_scope(life: Life, path: Path) -> None:
    """Write the demo's connections, packet by packet, as a page, and open it."""
    from ..command.scoping import page, trace
    from ..command.scoping.decode import decode

    seen = trace.of_proxy("demo", life.proxy.connections)
    decoded = [decode(c) for c in seen.connections if c.chunks]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page.render([("demo", decoded)], 0, "dormouse demo"), encoding="utf-8")
    print(f"packet by packet: {path}")
    if sys.stdout.isatty():
        webbrowser.open(path.resolve().as_uri())


# --- The command line -----------------------------------------------------------------------------


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Return the options. Ends the program if they make no sense."""
    about, _, rest = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        description=about,
        epilog=f"{rest}\nbrokers: {AMQTT_WHY};\n  {MOSQUITTO_WHY}.\n\nExit status: 0 promise kept; "
        "1 broken, or the demo failed; 2 wrong options;\n130 interrupted.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add(
        "--wakes",
        type=at_least_one,
        default=len(PLAN),
        help="wakes; calm ones follow. With fewer not all is shown, beyond it is by chance "
        "(default %(default)s)",
    )
    add("--seed", type=int, default=1, help="which bytes, and what beyond the first wakes, is hit")
    add(
        "--pause", type=real(), default=0.2, help="s of yours after each wake (default %(default)s)"
    )
    add("--broker", choices=["amqtt", "mosquitto"], default="amqtt", help="(default %(default)s)")
    add(
        "--runtime",
        choices=["auto", *BEST_FIRST],
        default="auto",
        help="what the node runs on; auto: the first of these that can be had",
    )
    add(
        "--scope",
        type=Path,
        nargs="?",
        const=Path("build/demo.html"),
        metavar="FILE",
        help="write a page with each packet, and open it (%(const)s)",
    )
    add("--wide", action="store_true", help="all figures, for a terminal of 120 columns")
    add("--plain", action="store_true", help="one line for each wake instead of a live table")
    options = parser.parse_args(argv)
    return options


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo and return the exit status."""
    options = arguments(argv)
    # What amqtt logs is kept by the harness; asyncio would print its complaints about amqtt.
    logging.getLogger().addHandler(logging.NullHandler())
    INTERRUPT.install()
    try:
        lines = run(options)
    except KeyboardInterrupt:
        print("interrupted: node and broker are stopped", flush=True)
        return INTERRUPTED
    except (DemoFailure, BrokerFailure, ChaosError, AssertionError, OSError) as error:
        print(f"demo failed: {error}", file=sys.stderr)
        return 1
    print("\n".join(lines))
    return 0 if lines[-1].startswith("promise kept") else 1


if __name__ == "__main__":
    sys.exit(main())

"""dormouse watch: is the broker well, and are the nodes?"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import sys
import time
from collections.abc import Sequence
from typing import Any

from dormouse import Client, MQTTError
from rich.console import Group, RenderableType
from rich.live import Live
from rich.markup import escape

from ..amounts import at_least_one, given, positive, utf8
from .shared import connection, output
from .shared.failure import ALERT, DONE, LATE, Failure
from .shared.foreign import visible
from .watching import figures as brokers
from .watching.alerts import alerts, capacity
from .watching.figures import NAMES, Figures
from .watching.nodes import ASLEEP, Nodes

EXAMPLES = """
examples:
  dormouse watch -h broker.local                                  # a live table
  dormouse watch -h broker.local --nodes 'greenhouse/+/state'     # and nodes: late, dead
  dormouse watch -h broker.local --once --capacity connected=5000 --capacity stored=100000 \\
      || mail -s "the broker is not well" me                      # for cron: status 4 is an alert
  dormouse watch --rabbitmq http://guest:guest@localhost:15672 --once --json
  dormouse watch -h broker.local -t '$SYS/#' --nodes '+/state' > watch.log

Figures come from $SYS (mosquitto: sys_interval, 10 s; EMQX: each minute, and only to clients on its
own machine or that its ACL lets), RabbitMQ's from its management plugin. Nodes are known by what
Node(status=...) leaves at their topics: late is a missed wake, dead are --missed of them, lost is
one that died while it was awake (its will).

alert, exit status 4: no connection, a figure at 80 % (--at) of its --capacity, a node that is
dead or lost, an alarm of the broker's own. --capacity dropped_per_s=0: none at all.
Names for --capacity:
{names}

exit status: 0 well; 1 it cannot be asked, with the reason; 2 wrong arguments; 3 no figures, or of
--nodes no node, within -W; 4 an alert; 130 interrupted
"""
QUIET = 0.5  # s without news after which --once has seen what there is


def arguments(argv: Sequence[str]) -> argparse.Namespace:
    """Return the parsed command line."""
    names = "\n".join(f"  {name:<16} {what}" for name, what in NAMES.items())
    parser = argparse.ArgumentParser(
        prog="dormouse watch",
        description="Is the broker well, and are the nodes?",
        epilog=EXAMPLES.replace("{names}", names),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        add_help=False,
    )
    what = parser.add_argument_group("what")
    what.add_argument(
        "-t", "--topic", type=utf8, metavar="FILTER", default="$SYS/#", help="%(default)s"
    )
    what.add_argument(
        "--nodes",
        type=utf8,
        metavar="FILTER",
        action="append",
        default=[],
        help="status topics of nodes that sleep",
    )
    what.add_argument(
        "--missed", type=at_least_one, default=3, metavar="N", help="wakes until dead (3)"
    )
    what.add_argument("--rabbitmq", type=given, metavar="URL", help="its management plugin")
    alert = parser.add_argument_group("alerts")
    alert.add_argument(
        "--capacity",
        metavar="NAME=N",
        action="append",
        default=[],
        type=capacity,
        help="what the broker is made for",
    )
    alert.add_argument("--at", type=positive, default=80, metavar="PERCENT", help="of it: 80")
    until = parser.add_argument_group("until")
    until.add_argument("--once", action="store_true", help="look once, and end")
    until.add_argument(
        "-W",
        "--timeout",
        type=positive,
        metavar="S",
        help="end after so long; --once: wait at most (15)",
    )
    shape = parser.add_argument_group("output")
    shape.add_argument("--interval", type=positive, default=10, metavar="S", help="of lines: 10")
    shape.add_argument("--json", action="store_true", help="for programs")
    connection.add_options(parser)
    parser.add_argument_group("other").add_argument("--help", action="help", help="this text")
    options = parser.parse_args(argv)
    connection.resolve(options)
    options.capacity = dict(options.capacity)
    return options


class Watch:
    """All that is known, and how it is told."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.figures = Figures()
        self.nodes = Nodes(options.missed)
        self.news = asyncio.Event()
        self.client: Client | None = None
        self._told: dict[str, str] = {}
        self._alerts: list[str] = []

    def lost(self) -> list[str]:
        """Return why there is no connection; nothing if there is one, or none is needed."""
        if self.client is None or self.client.connected:
            return []
        return [f"no connection: {connection.words(self.client.error)}"]

    def values(self) -> dict[str, float]:
        """Return the figures. Of a broker that is not there none is true."""
        return {} if self.lost() else self.figures.values()

    def alerts(self) -> list[str]:
        """Return what is not well now."""
        lost = self.lost()
        limits = {} if lost else self.options.capacity
        states = self.nodes.states(time.time())
        return lost + alerts(self.figures, states, limits, self.options.at)

    def status(self) -> int:
        """Return the exit status."""
        told = self.figures.updated is not None or self.nodes.known or self.lost()
        if told and self.alerts():
            return ALERT
        return LATE if self.missing() else DONE

    def missing(self) -> str:
        """Return what was asked for and has not come, or nothing."""
        if self.options.nodes and not self.nodes.known:
            # A filter that has a slip in it would be well for ever.
            return f"no node has left a status at {' or '.join(self.options.nodes)}"
        if self.figures.updated is None and not self.nodes.known:
            return "the broker told nothing (is $SYS allowed to you?)"
        return ""

    def as_dict(self) -> dict[str, Any]:
        """Return it for --json."""
        now = time.time()
        return {
            "version": self.figures.version,
            "figures": self.values(),
            "nodes": {
                topic: {**dataclasses.asdict(self.nodes.known[topic]), "state": state}
                for topic, state in self.nodes.states(now).items()
            },
            "alerts": self.alerts(),
        }

    def table(self) -> RenderableType:
        """Return it for a person."""
        where = self.options.rabbitmq or f"{self.options.host}:{self.options.port}"
        title = f"{self.figures.version or 'no version told'} at {where.rpartition('@')[2]}"
        broker = output.table("", "", "", title=escape(visible(title)))
        for name, value in self.values().items():
            limit = self.options.capacity.get(name)
            share = f"{value / limit:.0%} of {limit:,.6g}" if limit else ""
            hot = limit and value >= limit * self.options.at / 100
            shown = f"{value:,.2f}" if name.endswith("_per_s") else f"{value:,.0f}"
            broker.add_row(NAMES[name], shown, share, style="red" if hot else None)
        parts: list[RenderableType] = [broker]
        if self.nodes.known or self.options.nodes:
            parts.append(self._node_table())
        parts += [f"[red]alert:[/] {escape(visible(text))}" for text in self.alerts()]
        return Group(*parts)

    def _node_table(self) -> RenderableType:
        now = time.time()
        states = self.nodes.states(now)
        counts = ", ".join(
            f"{list(states.values()).count(state)} {state}"
            for state in dict.fromkeys([ASLEEP, *states.values()])
        )
        table = output.table("node", "state", "due in", "each", title=f"nodes: {counts}")
        # Those that are not well first, and no more than a screen has.
        order = sorted(states, key=lambda topic: (states[topic] == ASLEEP, topic))
        for topic in order[:30] if output.at_terminal() else order:
            node = self.nodes.known[topic]
            due = f"{node.due - now:,.0f} s" if node.due is not None else "-"
            style = None if states[topic] == ASLEEP else "yellow"
            period = f"{node.period:,.0f} s" if node.period else "-"
            table.add_row(escape(visible(topic)), states[topic], due, period, style=style)
        return table

    def tell_changes(self) -> None:
        """Print what has changed of nodes and alerts, a line each."""
        stamp = time.strftime("%Y-%m-%d %H:%M:%S")
        states = self.nodes.states(time.time())
        for topic, state in states.items():
            if self._told.get(topic) != state:
                print(f"{stamp} {visible(topic)}: {state}")
        self._told = states
        found = self.alerts()
        for text in found:
            if text.partition(",")[0] not in [a.partition(",")[0] for a in self._alerts]:
                print(f"{stamp} alert: {visible(text)}")
        self._alerts = found

    def tell_figures(self) -> None:
        """Print the figures in a line."""
        if self.options.json:
            output.print_json({"time": time.time(), **self.as_dict()})
            return
        stamp = time.strftime("%Y-%m-%d %H:%M:%S")
        pairs = " ".join(f"{name}={value:.6g}" for name, value in self.values().items())
        print(f"{stamp} {'no connection' if self.lost() else pairs}")


# --- Where news come from -------------------------------------------------------------------------


async def listen(client: Client, watch: Watch) -> None:
    """Take in what the broker and the nodes tell, for ever."""
    async for message in client.messages:
        if message.topic.startswith("$SYS/"):
            fresh = watch.figures.take(message.topic, message.payload, time.monotonic())
        else:
            watch.nodes.take(message.topic, message.payload, message.retain, time.time())
            fresh = True
        if fresh:
            watch.news.set()


async def ask_rabbitmq(watch: Watch, options: argparse.Namespace) -> None:
    """Ask RabbitMQ again and again. Raises Failure when it does not answer."""
    url = options.rabbitmq
    while True:
        try:
            await asyncio.to_thread(brokers.rabbitmq, watch.figures, url)
        except (OSError, ValueError) as error:
            where = url.rpartition("@")[2]
            raise Failure(
                f"{where}: {error}", "is the management plugin on, and the password right?"
            ) from error
        watch.news.set()
        await asyncio.sleep(options.interval)


# --- How they are shown ---------------------------------------------------------------------------


async def once(watch: Watch, seconds: float) -> None:
    """Wait until the news have come, at most so long."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while True:
                known = watch.figures.updated is not None or watch.nodes.known
                try:
                    async with asyncio.timeout(QUIET if known else None):
                        await watch.news.wait()
                except TimeoutError:
                    return
                watch.news.clear()


async def follow(watch: Watch, seconds: float | None) -> None:
    """Show what comes, so long or for ever: a live table, or lines in a pipe."""
    console = output.console()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            if console.is_terminal and not watch.options.json:
                with Live(watch.table(), console=console, auto_refresh=False) as live:
                    while True:
                        live.update(watch.table(), refresh=True)
                        await asyncio.sleep(1)
            due = time.monotonic() + min(watch.options.interval, 2)
            while True:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(1):
                        await watch.news.wait()
                watch.news.clear()
                with output.printing():
                    if not watch.options.json:
                        watch.tell_changes()
                    if time.monotonic() >= due:
                        due = time.monotonic() + watch.options.interval
                        watch.tell_figures()


async def show(watch: Watch, sources: Sequence[asyncio.Task[None]]) -> None:
    """Show until it is time, or until a source ends. Raises what it ends with."""
    options = watch.options
    work = once(watch, options.timeout or 15) if options.once else follow(watch, options.timeout)
    shown = asyncio.create_task(work)
    try:
        await asyncio.wait([shown, *sources], return_when=asyncio.FIRST_COMPLETED)
        for task in (shown, *sources):
            if task.done():
                task.result()
    finally:
        for task in (shown, *sources):
            task.cancel()
        await asyncio.gather(shown, *sources, return_exceptions=True)


async def run(options: argparse.Namespace) -> int:
    """Watch; return the exit status. Raises Failure."""
    watch = Watch(options)
    async with contextlib.AsyncExitStack() as stack:
        sources = []
        if options.rabbitmq:
            sources.append(asyncio.create_task(ask_rabbitmq(watch, options)))
        if not options.rabbitmq or options.nodes:
            client = await stack.enter_async_context(connection.connected(options, "watch"))
            filters = [*options.nodes, *([] if options.rabbitmq else [options.topic])]
            try:
                await client.subscribe(*filters, qos=1)
            except (MQTTError, ValueError) as error:
                raise connection.explain(error, options) from error
            watch.client = client
            sources.append(asyncio.create_task(listen(client, watch)))
        try:
            await show(watch, sources)
        except (MQTTError, OSError) as error:
            raise connection.explain(error, options) from error
        status = watch.status()  # now: at the end there is no connection
        if options.once:
            if options.json:
                output.print_json(watch.as_dict())
            elif watch.figures.updated is not None or status != LATE:
                output.console().print(watch.table())
    if status == LATE:
        print(f"dormouse watch: {visible(watch.missing())}", file=sys.stderr)
    return status


def main(argv: Sequence[str]) -> int:
    """Run the subcommand; return the exit status. Raises Failure."""
    return asyncio.run(run(arguments(argv)))

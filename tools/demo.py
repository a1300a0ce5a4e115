#!/usr/bin/env python3
"""The sensor node of firmware/main.py under MicroPython, over a network that breaks.

    sensor node (firmware/main.py) -> proxy that cuts -> embedded broker (amqtt) <- observer (paho)

The node publishes readings at QoS 0, 1 and 2 and takes commands at QoS 1 and 2. Its connection is
cut in the middle of handshakes, and the broker is restarted, which makes it forget all sessions.
A live table shows what happens (plain lines where there is no terminal). At the end sent and
received are compared: nothing may be lost at QoS 1 and 2, nothing doubled at QoS 0 and 2, and
each QoS must keep its order. What only the broker had, and forgot when it was restarted, is
counted apart.
"""

from __future__ import annotations

import signal
import sys

if __name__ == "__main__":
    # The imports below take half a second; Ctrl-C meanwhile is clean, too.
    signal.signal(signal.SIGINT, lambda *_: sys.exit(130))

import argparse
import contextlib
import json
import logging
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "host_tests"))

from harness import wire  # noqa: E402
from harness.brokers import AmqttBroker, BrokerFailure  # noqa: E402
from harness.chaos import (  # noqa: E402
    ChaosError,
    ChaosProxy,
    How,
    ProxiedConnection,
)
from harness.observer import Observer  # noqa: E402
from harness.runtimes import RUNTIMES, Device, Runtime  # noqa: E402

NODE = ROOT / "firmware" / "main.py"
TOPIC = "dormouse"
STATE = f"{TOPIC}/state"
READINGS = {"light": 0, "temperature": 1, "meter": 2}  # name: QoS
COMMANDS = {"set/level": 1, "do/pulse": 2}
INTERRUPTED = 130  # exit status: 128 + SIGINT

# What a cut and a restart cost, with room for a slow machine, in seconds of the node's time.
CUT_TIME, RESTART_TIME, START_TIME = 0.8, 2.5, 1.0


class DemoFailure(Exception):
    """The demo itself did not work, so it says nothing about the promise."""


# --- Counting: pure functions ---------------------------------------------------------------------


@dataclass(frozen=True)
class Tally:
    """What became of the messages of one QoS. The lists hold message numbers."""

    qos: int
    sent: int
    received: int  # different ones
    lost: list[int]
    doubled: list[int]
    apart: list[int]  # forgotten by the broker, or doubled because it forgot
    unordered: list[int]  # came behind one that was sent later
    unknown: list[int]  # never sent

    def faults(self) -> list[str]:
        """Return how the promise of this QoS was broken; an empty list if it was kept."""
        lists = {"out of order": self.unordered, "never sent": self.unknown}
        if self.qos:
            lists["lost"] = self.lost
        if self.qos != 1:
            lists["doubled"] = self.doubled
        return [f"{what}: {_some(numbers)}" for what, numbers in lists.items() if numbers]


def tally(
    qos: int,
    sent: Sequence[int],
    received: Sequence[int],
    forgotten: Collection[int] = (),
    again: Collection[int] = (),
) -> Tally:
    """Compare the numbers sent with those received, both in their order.

    forgotten: numbers that only the broker had when it was stopped: not lost if they are missing.
    again: numbers that had arrived without an acknowledgement when it was stopped, and so had to
    be sent anew: not doubled at QoS 1 if they come twice.
    """
    different = list(dict.fromkeys(received))
    twice = sorted(n for n in different if received.count(n) > 1)
    missing = [n for n in sent if n not in different]
    excused = [n for n in twice if qos == 1 and n in again]
    return Tally(
        qos=qos,
        sent=len(sent),
        received=len(different),
        lost=[n for n in missing if n not in forgotten],
        doubled=[n for n in twice if n not in excused],
        apart=[n for n in missing if n in forgotten] + excused,
        unordered=[n for i, n in enumerate(different) if i and n < max(different[:i])],
        unknown=[n for n in different if n not in sent],
    )


def _some(numbers: Sequence[int], limit: int = 5) -> str:
    text = ", ".join(str(n) for n in numbers[:limit])
    return text + (f" and {len(numbers) - limit} more" if len(numbers) > limit else "")


def row(name: str, t: Tally, hint: str = "") -> str:
    """Return a line of the final table."""
    line = f"{name:<15} {t.sent:6} {t.received:9} {len(t.lost):5} {len(t.doubled):8}"
    return f"{line} {len(t.apart):6}  {hint}".rstrip()


def final_lines(
    readings: Sequence[Tally], commands: Sequence[Tally], other_faults: Sequence[str]
) -> list[str]:
    """Return the last lines: one for each QoS, and whether the promise was kept."""
    lines = [f"{'QoS':<15} {'sent':>6} {'received':>9} {'lost':>5} {'doubled':>8} {'apart':>6}"]
    hints = ("(loss allowed)", "(doubles allowed)", "")
    lines += [row(f"{t.qos}", t, hints[t.qos]) for t in readings]
    lines += [row(f"{t.qos}, commands", t, hints[t.qos]) for t in commands]
    if any(t.apart for t in (*readings, *commands)):
        lines.append("apart: the broker had it alone and forgot it, or had passed it on and forgot")
    faults = [*other_faults]
    for what, tallies in (("readings", readings), ("commands", commands)):
        faults += [f"{what} at QoS {t.qos} {fault}" for t in tallies for fault in t.faults()]
    if faults:
        return [*lines, f"PROMISE BROKEN: {'; '.join(faults)}"]
    return [*lines, "promise kept: nothing lost at QoS 1 and 2, nothing doubled at QoS 2"]


# --- The node's side: the lines it prints ---------------------------------------------------------


@dataclass
class NodeFacts:
    """What the node said. Readings by name, commands by name."""

    sent: dict[str, list[int]] = field(default_factory=lambda: {name: [] for name in READINGS})
    done: dict[str, set[int]] = field(default_factory=lambda: {name: set() for name in READINGS})
    session_lost: dict[str, set[int]] = field(
        default_factory=lambda: {name: set() for name in READINGS}
    )
    commands: dict[str, list[int]] = field(default_factory=lambda: {name: [] for name in COMMANDS})
    dropped: int = 0
    connected: bool = False
    ended: bool = False
    subscribed: bool = False

    def add(self, line: str) -> None:
        """Take in one line of output. Others than the expected ones are passed over."""
        words = line.split()
        if words[:1] == ["connected"] or words[:1] == ["lost"]:
            self.connected = words[0] == "connected"
        elif words[:1] == ["end"]:
            self.ended = True
        elif words == ["subscribed"]:
            self.subscribed = True
        elif len(words) == 4 and words[0] == "command" and words[2] in COMMANDS:
            self.commands[words[2]].append(int(words[3]))
        elif len(words) == 3 and words[1] in READINGS:
            self._add_reading(words[0], words[1], int(words[2]))

    def _add_reading(self, what: str, name: str, number: int) -> None:
        if what == "sent":
            self.sent[name].append(number)
        elif what == "done":
            self.done[name].add(number)
        elif what == "SessionLost":
            self.session_lost[name].add(number)
        else:  # "dropped", or OutboxFull for what had to make room
            self.dropped += 1


def node_facts(lines: Sequence[str]) -> NodeFacts:
    """Return what the node's output says."""
    facts = NodeFacts()
    for line in lines:
        facts.add(line)
    return facts


# --- The wire: what the proxy passed on -----------------------------------------------------------


class Wire:
    """The node's handshakes, read from what passed the proxy, over all connections."""

    def __init__(self, proxy: ChaosProxy) -> None:
        self._proxy = proxy
        self._taken: dict[int, int] = {}  # connection number: chunks that were read
        self._splitters: dict[tuple[int, str], wire.Splitter] = {}
        self._up: dict[int, bool] = {}  # the node's unfinished requests: whether PUBREC came
        self._down: set[int] = set()  # the broker's unfinished messages
        self._names: dict[int, tuple[str, int]] = {}  # packet identifier: reading
        self._states: dict[int, int] = {}  # packet identifier of a state message: connection
        self.greeted = 0  # the last connection on which the node's "online" was acknowledged
        self.acknowledged: dict[str, set[int]] = {name: set() for name in READINGS}
        self.taken: dict[str, set[int]] = {name: set() for name in READINGS}  # PUBREC passed
        self.subscribes = 0

    def quiet(self) -> bool:
        """Tell whether the node is connected, has said so, and no handshake is under way."""
        self.update()
        newest = self._proxy.connections[-1]
        open_ = not newest.cut and not newest.closed
        return open_ and self.greeted == newest.number and not self._up and not self._down

    def update(self) -> None:
        """Read what has passed since the last time."""
        for connection in list(self._proxy.connections):
            chunks = connection.transcript.chunks
            for way, data in chunks[self._taken.get(connection.number, 0) :]:
                self._taken[connection.number] = self._taken.get(connection.number, 0) + 1
                splitter = self._splitters.setdefault((connection.number, way), wire.Splitter())
                for raw in splitter.feed(data):
                    packet = wire.decode(raw)[0]
                    take = self._take_up if way == "up" else self._take_down
                    take(packet, packet.packet_id or 0, connection.number)

    def _take_up(self, packet: wire.Packet, pid: int, number: int) -> None:
        """Note a packet from the node."""
        if packet.type == wire.SUBSCRIBE:
            self.subscribes += 1
            self._up[pid] = False
        elif packet.type == wire.PUBLISH and packet.qos:
            self._up[pid] = False
            if packet.topic == STATE:
                self._states[pid] = number
            else:
                self._names[pid] = reading(packet.topic, packet.payload)
        elif packet.type in (wire.PUBACK, wire.PUBCOMP):
            self._down.discard(pid)

    def _take_down(self, packet: wire.Packet, pid: int, number: int) -> None:
        """Note a packet from the broker."""
        if packet.type == wire.CONNACK:
            self._down.clear()  # amqtt repeats nothing
            if not packet.session_present:
                # The node gives up what was between PUBREC and PUBCOMP, and says so.
                self._up = {pid: False for pid, taken in self._up.items() if not taken}
        elif packet.type == wire.PUBLISH and packet.qos:
            self._down.add(pid)
        elif packet.type == wire.PUBREC and pid in self._up:
            self._up[pid] = True
            if pid in self._names:
                name, n = self._names[pid]
                self.taken[name].add(n)
        elif packet.type in (wire.PUBACK, wire.PUBCOMP, wire.SUBACK):
            self._up.pop(pid, None)
            if pid in self._names:
                name, n = self._names[pid]
                self.acknowledged[name].add(n)
            elif pid in self._states:
                self.greeted = self._states[pid]


def reading(topic: str, payload: bytes | bytearray) -> tuple[str, int]:
    """Return a reading's name and number."""
    return topic.rsplit("/", 1)[1], int(json.loads(payload)["n"])


# --- What to break, and when ----------------------------------------------------------------------


@dataclass(frozen=True)
class Cut:
    """A cut inside the next burst of readings or the answers to it.

    The bytes count from the beginning of the burst (up) or of the answers (down). None is behind
    a PUBREL: amqtt does not answer it on the next connection if its PUBCOMP got lost.
    """

    way: wire.Direction
    offset: int
    how: How
    restart: bool = False  # restart the broker before the node may come back


# The burst: light (~40 bytes), temperature (~50), meter (~42); answers: PUBACK (4), PUBREC (4).
POINTS: tuple[tuple[wire.Direction, int], ...] = (
    ("up", 20),
    ("down", 2),
    ("up", 70),
    ("down", 6),
    ("up", 110),
    ("down", 4),
)
# Nothing acknowledged: all is sent anew. And by FIN, so that the node reads it: PUBACK and PUBREC
# there, but no PUBREL sent: the broker forgets a message that it took.
RESTARTS = (Cut("down", 1, "close", True), Cut("down", 8, "close", True))


def plan(cuts: int) -> list[Cut]:
    """Return the cuts: one with a restart in the middle; from 4 on another one at the end."""
    steps = [Cut(*POINTS[i % len(POINTS)], "reset" if i % 2 else "close") for i in range(cuts)]
    steps[cuts // 2] = RESTARTS[0]
    if cuts >= 4:
        steps[-1] = RESTARTS[1]
    return steps


def readings_needed(steps: Sequence[Cut], period: float) -> int:
    """Return how many readings, `period` seconds apart, the node needs to live through a plan."""
    times = [RESTART_TIME if step.restart else CUT_TIME for step in steps]
    return round((START_TIME + sum(times)) / period)


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


# --- The demo -------------------------------------------------------------------------------------


class Demo:
    """One run: the broker, the proxy, the node and the observer, and what was recorded."""

    def __init__(self, runtime: Runtime, readings: int, period: float, cuts: int) -> None:
        self.runtime = runtime
        self.readings = readings
        self.period = period
        self.steps = plan(cuts)
        self.cuts = self.restarts = 0  # that happened
        self.stuck: list[str] = []  # why not all could be played
        self.events: list[str] = []
        self.listener: Callable[[str], None] = lambda text: None
        self.forgotten: dict[str, set[int]] = {name: set() for name in READINGS}
        self.again: dict[str, set[int]] = {name: set() for name in READINGS}
        self.taken: dict[str, set[int]] = {}  # the wire's
        self.commands: dict[str, list[int]] = {name: [] for name in COMMANDS}
        self.device: Device | None = None
        self.observer: Observer | None = None
        self.proxy: ChaosProxy | None = None
        self._began = time.monotonic()

    # --- Looking ---

    def say(self, text: str) -> None:
        """Note an event."""
        line = f"{time.monotonic() - self._began:6.1f} s  {text}"
        self.events.append(line)
        self.listener(line)

    def node(self) -> NodeFacts:
        """Return what the node said so far."""
        return node_facts(list(self.device.lines) if self.device else [])

    def connections(self) -> int:
        """Return how often the node has connected."""
        return len(self.proxy.connections) if self.proxy else 0

    def states(self) -> list[str]:
        """Return the states that the observer saw, in order."""
        return self.observer.payloads(STATE) if self.observer else []

    def received(self) -> dict[str, list[int]]:
        """Return the numbers of the readings that the observer saw, in order."""
        numbers: dict[str, list[int]] = {name: [] for name in READINGS}
        for message in list(self.observer.messages) if self.observer else []:
            if message.topic != STATE and message.topic.rsplit("/", 1)[1] in numbers:
                name, n = reading(message.topic, message.payload)
                numbers[name].append(n)
        return numbers

    def tallies(self) -> tuple[list[Tally], list[Tally]]:
        """Return the counts of the readings and of the commands."""
        node, received = self.node(), self.received()
        readings = []
        for name, qos in READINGS.items():
            # The node's word is not enough, nor is the wire's: both have to say that it was taken.
            forgotten = self.forgotten[name] & node.done[name]
            forgotten |= self.taken.get(name, set()) & node.session_lost[name]
            facts = node.sent[name], received[name], forgotten, self.again[name]
            readings.append(tally(qos, *facts))
        commands = [
            tally(qos, self.commands[name], node.commands[name]) for name, qos in COMMANDS.items()
        ]
        return readings, commands

    def wait(self, condition: Callable[[], object], what: str, seconds: float = 15) -> None:
        """Wait for a condition. Raises DemoFailure when the time is over or the node has ended."""
        assert self.device
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                raise DemoFailure(f"no {what} within {seconds:g} s\n{self.device.transcript()}")
            if self.device.process.poll() is not None:
                raise DemoFailure(f"no {what}: the node ended\n{self.device.transcript()}")
            time.sleep(0.005)

    # --- Running ---

    def run(self) -> list[str]:
        """Run, and return the last lines. Raises DemoFailure, BrokerFailure, ChaosError or
        AssertionError (of the harness) where the node cannot even start."""
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dormouse-")))
            self.broker = stack.enter_context(AmqttBroker(log_level=logging.WARNING))
            self.proxy = stack.enter_context(ChaosProxy(self.broker.port))
            self.wire = Wire(self.proxy)
            self.taken = self.wire.taken
            self.say(f"broker (amqtt) on port {self.broker.port}, proxy on {self.proxy.port}")
            self.observer = self.observe(stack, (f"{TOPIC}/#", 2))
            with INTERRUPT.held_back():  # or the node would stay, if nobody knows of it yet
                self.device = stack.enter_context(self.start_node(folder))
            self.wait(lambda: self.node().subscribed, "first connection")
            self.say(f"node connected ({self.runtime.name})")
            try:
                self.play()
            except (DemoFailure, ChaosError, AssertionError) as error:
                # What the node does not do shows in the counts; so count all the same.
                self.stuck.append(f"{error}".splitlines()[0])
                self.say(f"stuck: {self.stuck[0]}")
                self.proxy.refuse(False)
            return self.finish(stack)

    def observe(self, stack: ExitStack, *filters: tuple[str, int]) -> Observer:
        """Return a new observer, which is closed at the end."""
        observer = Observer(self.broker, *filters)
        stack.callback(observer.close)
        return observer

    def start_node(self, folder: Path) -> Device:
        """Start firmware/main.py with its settings in `folder`."""
        assert self.proxy
        config = {
            "host": self.proxy.host,
            "port": self.proxy.port,
            "client_id": "node",
            "username": self.broker.username,
            "password": self.broker.password,
            "topic": TOPIC,
            "period": self.period,
            "readings": self.readings,
            "backoff": [0.05, 0.2],
            "outbox": 150,  # a restart takes seconds, and the demo measures every 0.15 s
            "outbox_bytes": 16384,
        }
        file = folder / "config.json"
        file.write_text(json.dumps(config))
        # A path is short enough: MicroPython's unix port dies of an argument over 255 bytes.
        return self.runtime.start(NODE, str(file))

    def play(self) -> None:
        """Break things, spread over the node's readings, with commands in between."""
        self.command()
        for i, step in enumerate(self.steps):
            due = (self.readings - 1) * i // (len(self.steps) + 1)
            self.wait_measured(due)
            self.break_network(step, i)
            self.command()

    def wait_measured(self, count: int) -> None:
        """Wait until the node has taken more than `count` readings."""
        self.wait(lambda: len(self.node().sent["meter"]) > count, "readings", 60)

    def command(self) -> None:
        """Send both kinds of command, and wait until the node has obeyed and all is quiet.

        amqtt does not repeat what was under way to a subscriber at a cut, so none may be.
        """
        self.wait(self.wire.quiet, "quiet moment")
        self.send_commands()
        self.wait(self.obeyed, "commands obeyed")

    def send_commands(self) -> None:
        """Publish the next command of each kind; the broker has them when this returns."""
        assert self.observer
        for name, qos in COMMANDS.items():
            number = len(self.commands[name]) + 1
            self.observer.publish(f"{TOPIC}/{name}", str(number), qos)
            self.commands[name].append(number)

    def obeyed(self) -> bool:
        """Tell whether the node has obeyed every command and no handshake is under way."""
        taken = self.node().commands
        return all(set(self.commands[n]) <= set(taken[n]) for n in COMMANDS) and self.wire.quiet()

    def break_network(self, step: Cut, number: int) -> None:
        """Cut the connection as planned; the node may come back when the broker is ready."""
        assert self.proxy
        offline = self.states().count("offline")
        self.cut(step)
        self.cuts += 1
        self.say(f"cut {self.cuts}: {step.how} after {step.offset} bytes {step.way}")
        # amqtt publishes the will when it has noticed. A node that came back before that would
        # get nothing on its new connection.
        self.wait(lambda: self.states().count("offline") > offline, "will")
        if step.restart:
            self.restart_broker()
        else:
            time.sleep(0.2)  # the network is away; amqtt is done with the old connection
            if not number % 2:
                self.send_commands()  # the broker keeps them for the node's session
        self.proxy.refuse(False)
        self.wait(self.wire.quiet, "end to what was under way at the cut")
        self.wait(self.obeyed, "commands that were kept for the node")
        self.say(f"node is back, connection {self.connections()}")

    def cut(self, step: Cut) -> None:
        """Plan a cut in a quiet moment, so that it falls into the next burst; wait for it."""
        assert self.proxy
        while True:
            self.wait(self.wire.quiet, "quiet moment")
            connection = self.proxy.connections[-1]
            passed = connection.up if step.way == "up" else connection.down
            if not self.wire.quiet():
                continue  # a burst has begun in between
            self.proxy.refuse(True)
            try:
                self.proxy.cut_after(passed + step.offset, step.way, step.how, "current")
            except ChaosError:
                continue  # that burst was over before the plan was made
            self.wait_cut(connection)
            return

    def wait_cut(self, connection: ProxiedConnection) -> None:
        """Wait until a connection is cut as planned."""
        self.wait(lambda: connection.cut, "cut")

    def restart_broker(self) -> None:
        """Stop the broker, note what only it had, and start it again without its sessions."""
        assert self.observer
        self.broker.stop()
        self.wire.update()
        received = self.received()
        node = self.node()
        for name in READINGS:
            acknowledged, seen = self.wire.acknowledged[name], set(received[name])
            self.forgotten[name] |= acknowledged - seen
            self.again[name] |= seen & set(node.sent[name]) - acknowledged
        self.restarts += 1
        self.broker.start()
        self.say("broker restarted: it has forgotten all sessions")
        self.observer.wait_subscribed(self.restarts + 1)

    def finish(self, stack: ExitStack) -> list[str]:
        """Let the node end, compare, and return the last lines."""
        assert self.device and self.observer
        try:
            status = self.device.wait_exit(15 + self.readings * self.period)
            faults = [f"the node ended with status {status}"] if status else []
        except AssertionError:
            self.device.kill()
            faults = ["the node did not end"]
        self.wire.update()
        self.say("node ended")
        with contextlib.suppress(DemoFailure):
            self.settle()
        faults = [*self.stuck, *faults, *self.other_faults()]
        states = self.states()
        self.observer.close()
        retained = self.observe(stack, (STATE, 1))
        with contextlib.suppress(AssertionError):
            retained.wait(STATE, "offline", 3)
        if [(m.payload, m.retain) for m in retained.messages] != [(b"offline", True)]:
            faults.append(f"retained state: {[m.payload for m in retained.messages]}")
        summary = (
            f"{self.connections()} connections, {self.cuts} cuts, "
            f"{self.restarts} broker restarts, {self.wire.subscribes} times subscribed, "
            f"state online {states.count('online')} and offline {states.count('offline')} times"
        )
        lines = [summary, *final_lines(*self.tallies(), faults)]
        if not lines[-1].startswith("promise kept"):
            lines[:0] = ["the node's last lines:", *(f"  | {x}" for x in self.device.lines[-12:])]
        return lines

    def settle(self) -> None:
        """Wait a few seconds until the observer has seen all that is not lost."""
        end = time.monotonic() + 5
        while time.monotonic() < end:
            missing = any(t.lost for t in self.tallies()[0] if t.qos)
            if not missing and self.states()[-1:] == ["offline"]:
                return
            time.sleep(0.02)

    def other_faults(self) -> list[str]:
        """Return what else did not go as promised or planned."""
        states = self.states()
        faults = []
        if self.cuts < len(self.steps) or self.restarts < 1:
            faults.append(f"only {self.cuts} of {len(self.steps)} cuts, {self.restarts} restarts")
        if "online" not in states or states.count("offline") <= self.cuts:
            faults.append(f"states seen: {', '.join(states)}")
        if self.node().dropped:
            faults.append(f"the node had no room for {self.node().dropped} readings")
        if self.wire.subscribes != self.restarts + 1:
            faults.append(f"subscribed {self.wire.subscribes} times")
        return faults


# --- Showing --------------------------------------------------------------------------------------


def live_table(demo: Demo) -> Group:
    """Return what the terminal shows while the demo runs."""
    readings, commands = demo.tallies()
    node, states = demo.node(), demo.states()
    table = Table(title="dormouse: a sensor node over a network that breaks")
    table.add_column("")
    for name in ("QoS", "sent", "acked", "received", "missing", "doubled", "apart"):
        table.add_column(name, justify="right")
    acked = [len(node.done[name]) for name in READINGS] + [t.sent for t in commands]
    for name, t, done in zip((*READINGS, *COMMANDS), (*readings, *commands), acked, strict=True):
        counts = t.qos, t.sent, done, t.received, len(t.lost), len(t.doubled), len(t.apart)
        table.add_row(name, *map(str, counts))
    link = "ended" if node.ended else "connected" if node.connected else "no connection"
    state = (
        f"node: {link}, state as others see it: {states[-1] if states else 'none yet'}\n"
        f"connections {demo.connections()}, cuts {demo.cuts} of {len(demo.steps)}, "
        f"broker restarts {demo.restarts}"
    )
    return Group(table, state, *demo.events[-6:])


@contextlib.contextmanager
def shown(demo: Demo, plain: bool) -> Iterator[None]:
    """Show what happens: a live table on a terminal, else one line for each event."""
    console = Console(highlight=False)
    if plain or not console.is_terminal:
        demo.listener = lambda text: print(text, flush=True)
        yield
        return
    with Live(get_renderable=lambda: live_table(demo), console=console, refresh_per_second=8):
        yield


# --- The command line -----------------------------------------------------------------------------


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Return the options. Ends the program if they make no sense."""
    about, _, rest = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        description=about,
        epilog=rest + "\nExit status: 0 promise kept; 1 broken, or the demo failed; 2 wrong "
        "options;\n130 interrupted.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--readings", type=int, default=80, help="readings of each QoS (default %(default)s)")
    add("--period", type=float, default=0.15, help="seconds between them (default %(default)s)")
    add("--cuts", type=int, default=6, help="cuts of the connection (default %(default)s)")
    add(
        "--runtime",
        choices=["micropython64", "micropython32", "cpython"],
        default="micropython64",
        help="what the node runs on (default %(default)s); fetched if it is missing",
    )
    add("--plain", action="store_true", help="one line for each event instead of a live table")
    options = parser.parse_args(argv)
    if options.cuts < 1 or options.period <= 0:
        parser.error("--cuts and --period have to be positive")
    least = readings_needed(plan(options.cuts), options.period)
    if options.readings < least:
        parser.error(f"{options.cuts} cuts take --readings {least} at least with this --period")
    return options


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo and return the exit status."""
    options = arguments(argv)
    # What amqtt logs is kept by the harness; asyncio would print its complaints about amqtt.
    logging.getLogger().addHandler(logging.NullHandler())
    INTERRUPT.install()
    runtime = RUNTIMES[options.runtime]
    try:
        if runtime.reason:
            print(f"demo failed: {runtime.reason}", file=sys.stderr)
            return 1
        demo = Demo(runtime, options.readings, options.period, options.cuts)
        with shown(demo, options.plain):
            lines = demo.run()
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

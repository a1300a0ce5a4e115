"""The demo's life of a node: its wakes, and what is done to it at each."""

from __future__ import annotations

import contextlib
import json
import random
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from ..testing.board import Board, End
from ..testing.brokers import Broker
from ..testing.chaos import ChaosProxy, ChaosTimeout, How, ProxiedConnection
from ..testing.observer import Observer
from ..testing.runtimes import Runtime
from ..testing.wire import PUBLISH, PUBREC, Direction
from .demo_count import COMMANDS, READINGS, Facts, Tally, facts, relay_faults, tallies

TOPIC = "dormouse"
STATE = f"{TOPIC}/state"
PERIOD = 300  # s
OUTAGE = 60_000  # ms without power

Fault = Literal["", "wifi", "cut", "restart", "unplug", "kill", "flash"]


class DemoFailure(Exception):
    """The demo itself did not work, so it says nothing about the promise."""


@dataclass(frozen=True)
class Step:
    """A wake: what is done to it, and how many commands of each kind wait for it."""

    fault: Fault = ""
    commands: int = 0


PLAN = (
    Step(),
    Step("", 1),
    Step("cut", 1),
    Step("", 2),
    Step("wifi"),
    Step("wifi", 12),  # 24 commands, more than mosquitto sends at once
    Step(),
    Step("unplug", 1),
    Step("restart", 1),
    Step("flash", 1),
    Step("", 1),
    Step("kill", 1),
    Step("", 1),
    Step("cut", 1),
    Step("flash", 1),
    Step("", 1),
)
FAULTS: tuple[Fault, ...] = ("wifi", "cut", "restart", "unplug", "kill", "flash")
PLACES = ("in the burst", "a command just obeyed", "behind PUBREC")  # of a power cut awake
DELICATE = ("cut", "restart", "kill", "flash")  # at which amqtt would lose commands


def plan(wakes: int, rng: random.Random) -> list[Step]:
    """Return the steps of a life; beyond PLAN, each second wake has a fault, by chance."""
    steps = list(PLAN[:wakes])
    while len(steps) < wakes:
        fault = rng.choice(FAULTS) if len(steps) % 2 else ""
        steps.append(Step(fault, rng.choice((0, 0, 1, 3))))
    return steps


@dataclass
class Wake:
    """A row of the table."""

    number: int
    began: float  # s of simulated time since the first
    done: str = ""  # what was done to it
    facts: Facts = field(default_factory=Facts)
    wifi: str = ""
    awake_ms: int = 0
    waits: int = 0  # how often the client had to wait for the broker
    up: int = 0
    down: int = 0
    end: End | None = None


class Life:
    """A node on a simulated board, its broker, the proxy between them, and who watches."""

    def __init__(
        self,
        node: Path,
        runtime: Runtime,
        broker: Broker,
        seed: int,
        held_back: Callable[[], AbstractContextManager[None]],
    ) -> None:
        """held_back: in which a board is started, so that no interruption comes in between."""
        self.node, self.runtime, self.broker = node, runtime, broker
        self.seed, self.rng = seed, random.Random(seed)
        self.held_back = held_back
        self.wakes: list[Wake] = []
        self.queued: dict[str, list[int]] = {name: [] for name in COMMANDS}
        self.counts: dict[str, int] = dict.fromkeys(FAULTS, 0)  # that happened
        self.planned: dict[str, int] = dict.fromkeys(FAULTS, 0)
        self.slept = self.off = 0  # ms
        self._doing = ""

    # --- Looking ---

    def received(self) -> dict[str, list[int]]:
        """Return the numbers of the readings that the observer saw, in order."""
        numbers: dict[str, list[int]] = {name: [] for name in READINGS}
        for message in list(self.observer.messages):
            name = message.topic[len(TOPIC) + 1 :]
            if name in numbers:
                numbers[name].append(int(json.loads(message.payload)["n"]))
        return numbers

    def boots(self) -> list[Facts]:
        """Return what the node said, boot by boot."""
        return [wake.facts for wake in self.wakes]

    def tallies(self) -> tuple[list[Tally], list[Tally]]:
        """Return the counts of the readings and of the commands, so far."""
        return tallies(self.boots(), self.received(), self.queued)

    def announced(self) -> int:
        """Return how often the broker announced the node's death, its will."""
        return sum("lost" in text for text in self.observer.payloads(STATE))

    def arrived(self, seconds: float = 1) -> bool:
        """Wait until the observer has all that the node sent at QoS 1 and 2; tell whether so."""
        end = time.monotonic() + seconds
        while any(t.lost for t in self.tallies()[0] if t.qos):
            if time.monotonic() > end:
                return False
            time.sleep(0.01)
        return True

    # --- Living ---

    @contextlib.contextmanager
    def begun(self, folder: Path) -> Iterator[None]:
        """Have everything but the node running."""
        with ExitStack() as stack:
            self.proxy = stack.enter_context(ChaosProxy(self.broker.port))
            self.observer = stack.enter_context(Observer(self.broker, (f"{TOPIC}/#", 2)))
            config = {
                "wifi": {"ssid": "home", "password": "secret"},
                "host": "localhost",  # so that its name has to be looked up
                "port": self.proxy.port,
                "username": self.broker.username,
                "password": self.broker.password,
                "client_id": "sleeper",
                "topic": TOPIC,
                "period": PERIOD,
                "budget": 5000,  # less would leave no time to scan for an access point
                "timeout": 2,
            }
            board = Board(self.runtime, folder, self.node, {"config.json": config})
            self.board = stack.enter_context(board)
            self._network()
            self._began = board.time
            yield

    def play(self, wakes: int, show: Callable[[Wake], None]) -> None:
        """Live through a plan, then calmly on until all has arrived. Raises DemoFailure where the
        node does not even start."""
        for step in plan(wakes, self.rng):
            if step.fault == "restart" or (self.gentle and step.fault in DELICATE):
                # The observer's session ends with the broker: what it waits for would be lost.
                self._calm(5, show)
                step = replace(step, commands=0 if self.gentle else step.commands)
            elif step.fault in ("cut", "kill"):
                step = replace(step, commands=max(step.commands, 1))  # one to be hit
            if step.fault:
                self.planned[step.fault] += 1
            self._step(step, show)
        self._calm(4, show, last=True)

    def _step(self, step: Step, show: Callable[[Wake], None]) -> None:
        """Play one wake; once more where the node let it pass, for the fault needs it awake."""
        for _ in range(20):
            show(self._wake(step))
            if not self.wakes[-1].facts.skipped or step.fault in ("", "wifi"):
                return
            before = step.fault in ("unplug", "restart")  # was done before the wake
            step = replace(step, fault="" if before else step.fault, commands=0)

    def _calm(self, most: int, show: Callable[[Wake], None], last: bool = False) -> None:
        """Wake calmly until all has arrived, both ways; at the last once undisturbed, so that the
        relay and the retained state show it."""
        for _ in range(most):
            newest = self.wakes[-1]
            done = not any(t.lost for t in self.tallies()[1])
            if last and (newest.facts.commands or newest.done or self._unfinished()):
                done = False
            if done and self.arrived(0.2):
                return
            show(self._wake(Step()))

    def _wake(self, step: Step) -> Wake:
        """Play one boot."""
        for _ in range(step.commands):
            self._command()
        self._doing = ""
        self._before(step.fault)
        log = self.board.folder / "network.log"
        seen = log.stat().st_size if log.exists() else 0
        connections = len(self.proxy.connections)
        wake = Wake(len(self.wakes) + 1, 0)
        self._start(wake)
        began = time.monotonic()
        wake.end = self._during(step.fault)
        died = wake.end is None or wake.end.reason == "flash_died"
        if wake.end and not died and wake.end.reason != "deepsleep":
            raise DemoFailure(f"the node ended: {wake.end.reason}\n" + "\n".join(wake.end.lines))
        wake.awake_ms = wake.end.awake_ms if wake.end else round(1e3 * (time.monotonic() - began))
        wake.facts = facts(self.board.lines, died)
        self._after(step.fault, wake, self.proxy.connections[connections:])
        with open(log) as f:
            f.seek(seen)
            wake.wifi = _joined([json.loads(line)["event"] for line in f])
        wake.done = self._doing or ("let pass: backoff" if wake.facts.skipped else "")
        self.wakes.append(wake)
        return wake

    def _start(self, wake: Wake) -> None:
        """Start the board in whatever way comes next."""
        board = self.board
        with self.held_back():
            if board.sleeping:
                last = board.records[-1].sleep_ms or 0
                self.slept += last
                wake.began = board.time - self._began + last / 1000
                board.wake()
            elif self.wakes:
                self.off += OUTAGE
                wake.began = board.time - self._began + OUTAGE / 1000
                board.power_on(OUTAGE)
            else:
                board.power_on()

    def _command(self) -> None:
        """Publish the next command of each kind; the broker has them when this returns."""
        for name, qos in reversed(COMMANDS.items()):
            number = len(self.queued[name]) + 1
            self.observer.publish(f"{TOPIC}/{name}", str(number), qos)
            self.queued[name].append(number)

    def _network(self, down: bool = False) -> None:
        # A tenth of what a real network takes.
        script = {"scan_ms": 100, "join_ms": 20, "dhcp_ms": 50, "dns_ms": 10, "down": down}
        (self.board.folder / "network.json").write_text(json.dumps(script))

    # --- Breaking ---

    def _note(self, fault: str, text: str) -> None:
        self.counts[fault] += 1
        self._doing = text

    def _before(self, fault: Fault) -> None:
        """Do what is done while the node sleeps."""
        behaviour = self.broker.behaviour
        if fault == "wifi":
            self._network(down=True)
            self._note("wifi", "no Wi-Fi")
        elif fault == "unplug":
            self.board.cut_power()
            self._note("unplug", "power off asleep")
        elif fault == "restart":
            self.broker.restart()
            self.observer.wait_subscribed(self.counts["restart"] + 2)
            forgets = " (forgets its sessions)" * behaviour.forgets_sessions_on_restart
            self._note("restart", f"broker restarted{forgets}")
        elif fault == "cut":
            self._plan_cut()
        elif fault == "flash":
            self._dies = self._flash_byte()
            self.board.flash_dies_after(self._dies)
        elif fault == "kill":
            self.proxy.delay(20)  # a time in which to hit it between question and answer

    @property
    def gentle(self) -> bool:
        """Whether no fault may come behind a PUBREL: some brokers never answer it then."""
        return not self.broker.behaviour.answers_unknown_pubrel

    def _plan_cut(self) -> None:
        way: Direction = self.rng.choice(("up", "down"))
        spans = {"up": [(1, 190)], "down": [(1, 7)]}  # of the burst, up to PUBREC
        if not self.gentle:  # also the answers to a command; a command
            spans["up"].append((205, 235))
            spans["down"].append((8, 60))
        offset = self.rng.randint(*self.rng.choice(spans[way]))
        how: How = self.rng.choice(("close", "reset"))
        self.proxy.cut_after(offset, way, how, "next")
        self._cut = f"cut ({how}) after byte {offset} {way}"

    def _flash_byte(self) -> int:
        # By turns in the writes before the first byte is on the wire, and in those behind. All
        # wakes so far wrote as many.
        written = min(wake.end.written for wake in self.wakes if wake.end and wake.end.sleep_ms)
        behind = not self.gentle and self.counts["flash"] % 2
        begin, end = (0.2, 0.9) if behind else (0, 0.2)
        return self.rng.randrange(round(written * begin), round(written * end))

    def _during(self, fault: Fault) -> End | None:
        """Wait until the boot is over, and cut its power if that is planned."""
        if fault != "kill":
            return self.board.wait_end(20)
        most = 1 if self.gentle else len(PLACES)
        place = PLACES[(self.counts["kill"] + self.seed) % most]
        connection = self._connection(len(self.proxy.connections) + 1)
        if connection:
            if place == "a command just obeyed":
                # The one at QoS 1 comes behind that at QoS 2, which has been committed then.
                self.board.wait_line("command 1", 5)
                self.proxy.stall()  # so that PUBREC does not get through
            elif place == "behind PUBREC":
                connection.wait_packets(1, PUBREC, "down")
            else:
                connection.wait_packets(1, PUBLISH, "up")
            self.board.cut_power()
            self.proxy.cut_now("reset")
            self.proxy.resume()
            self._note("kill", f"power cut, {place}")
            return None
        return self.board.wait_end(20)

    def _connection(self, number: int) -> ProxiedConnection | None:
        """Return the connection of that number; None if the node sleeps before it makes one."""
        while self.board.running:
            with contextlib.suppress(ChaosTimeout):
                return self.proxy.wait_connection(number, 0.1)
        return None

    def _after(self, fault: Fault, wake: Wake, connections: list[ProxiedConnection]) -> None:
        """Clear up, and note what passed."""
        if fault == "flash" and wake.end and wake.facts.died:
            self.board.cut_power()
            self._note("flash", f"power cut at flash byte {self._dies}")
        for connection in connections:
            with contextlib.suppress(ChaosTimeout):  # the broker is done with it
                connection.wait_closed(2)
            wake.up += connection.up
            wake.down += connection.down
            wake.waits += (connection.turnarounds + 1) // 2
        if fault == "cut" and any(connection.cut for connection in connections):
            self._note("cut", self._cut)
        elif fault == "kill":
            self.proxy.delay(0)
        elif fault == "wifi":
            self._network()

    # --- The end ---

    def _unfinished(self) -> bool:
        # The handshake of the last reading at QoS 2 may end in the next wake, after a calm one no
        # others. With some brokers it never ends.
        return (self.boots()[-1].waiting or 0) > 1 and not self.gentle

    def faults(self) -> list[str]:
        """Return what did not go as promised or planned, the messages themselves apart."""
        found = relay_faults(self.boots())
        relay = self.boots()[-1].relay
        if relay != len(self.queued["do/toggle"]) % 2:
            found.append(f"the relay is {relay} after {len(self.queued['do/toggle'])} toggles")
        if self.counts != self.planned:
            found.append(f"planned {self.planned}, happened {self.counts}")
        dropped = sum(boot.dropped for boot in self.boots())
        if dropped:
            found.append(f"the node had no room for {dropped} readings")
        if self._unfinished():
            found.append(f"{self.boots()[-1].waiting} messages wait in the store at the end")
        self.observer.close()
        with Observer(self.broker, (STATE, 1)) as newcomer:
            end = time.monotonic() + 3
            while not newcomer.messages and time.monotonic() < end:
                time.sleep(0.01)
            states = [m.payload.decode() for m in newcomer.messages]
        if not states or "asleep" not in states[-1]:
            found.append(f"retained state: {states}")
        return found


def _joined(events: list[str]) -> str:
    """Return in a few words how the Wi-Fi was joined."""
    words = [word for word in ("scan", "dhcp", "static") if word in events]
    if "up" not in events:
        return "none" if events else "-"
    return "+".join(words).replace("static", "known") or "known"

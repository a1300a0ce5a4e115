"""Thousands of nodes on the real session, and a model of a broker, in virtual time.

The broker takes so many connections a second, one after the other; what waits beyond its backlog is
not answered, and the node's TCP asks again after 1, 3 and 7 s, as systems do. A node that gave up
meanwhile is served all the same, in vain. While the broker is away, connections are refused.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field

from dormouse import MQTTError, Session

from ...testing import wire
from .policy import Phase, Policy, Waits

UP = 2  # Session.state
SYN_AGAIN = (1.0, 3.0, 7.0)  # s after the first one (RFC 6298: twice as long each time)


@dataclass(frozen=True)
class Storm:
    """What happens. Times in s.

    rate: connections a second that the broker takes; backlog: how many may wait for it; outage: how
    long it is away; rtt: of the network; timeout: a node's, for TCP and for CONNACK; limit: after
    which the run ends, whoever is back; it also ends when nobody came back for ``stalled`` s.
    """

    nodes: int = 2000
    rate: float = 200
    backlog: int = 100
    outage: float = 120
    rtt: float = 0.05
    timeout: float = 10
    limit: float = 3600
    stalled: float = 900
    seed: int = 1
    waits: Waits = field(default_factory=Waits)


@dataclass
class Result:
    """What came of it. attempts: by second since the broker was back (before that: negative);
    back: when each node was connected again, s since the broker was back, in order."""

    title: str
    name: str
    nodes: int
    attempts: Counter[int] = field(default_factory=Counter)
    served: Counter[int] = field(default_factory=Counter)
    refused: int = 0
    timed_out: int = 0
    in_vain: int = 0
    delivered: int = 0
    back: list[float] = field(default_factory=list)

    def until(self, part: float) -> float | None:
        """Return when so large a part of the nodes was back; None: never."""
        count = max(1, round(self.nodes * part))
        return self.back[count - 1] if len(self.back) >= count else None

    @property
    def peak(self) -> int:
        """The most attempts in a second once the broker was back."""
        return max((n for second, n in self.attempts.items() if second >= 0), default=0)

    @property
    def total(self) -> int:
        """All attempts once the broker was back."""
        return sum(n for second, n in self.attempts.items() if second >= 0)


class _Node:
    """A node: the session that runs on the chip, and its way of waiting."""

    def __init__(self, number: int, kind: type[Policy], storm: Storm, rng: random.Random) -> None:
        self.session = Session(
            lambda: None,
            client_id=f"node-{number:05}",
            clean=False,
            timeout=int(storm.timeout * 1000),
            pid=number,
        )
        # What it had to say when the broker went.
        self.message = self.session.publish(f"fleet/{number}/temp", b"21.5", qos=1)
        self.policy = kind(storm.waits, rng, f"node-{number:05}")
        self.attempt = 0  # so that what belongs to an earlier one is known
        self.splitter = wire.Splitter()
        self.is_back = False


class World:
    """The nodes, the broker, and the clock between them."""

    def __init__(self, storm: Storm, kind: type[Policy]) -> None:
        self.storm = storm
        self.now = 0.0
        self.back_at = storm.outage
        self.result = Result(kind.title, kind.name, storm.nodes)
        rng = random.Random(storm.seed)
        self.nodes = [_Node(i, kind, storm, rng) for i in range(storm.nodes)]
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._queue: deque[tuple[_Node, int]] = deque()
        self._busy = False
        self._rng = rng

    def after(self, seconds: float, do: Callable[[], None]) -> None:
        """Do something so many s later."""
        heapq.heappush(self._events, (self.now + seconds, next(self._order), do))

    def run(self, progress: Callable[[float, int], None] | None = None) -> Result:
        """Run until all are back, or the limit is over. progress(s, back) is called at times."""
        for node in self.nodes:
            self._lose(node)
        steps = 0
        while self._events and len(self.result.back) < len(self.nodes):
            self.now, _, do = heapq.heappop(self._events)
            if self._hopeless():
                break
            do()
            steps += 1
            if progress and steps % 5000 == 0:
                progress(self.now - self.back_at, len(self.result.back))
        self._settle()
        return self.result

    def _hopeless(self) -> bool:
        since = self.now - self.back_at
        last = self.result.back[-1] if self.result.back else 0
        return since > self.storm.limit or since - last > self.storm.stalled

    def _settle(self) -> None:
        # The last answers are on their way.
        end = self.now + 10 * self.storm.rtt
        while self._events and self._events[0][0] <= end:
            self.now, _, do = heapq.heappop(self._events)
            do()
        self.result.delivered = sum(node.message.done for node in self.nodes)

    @property
    def _ms(self) -> int:
        return int(self.now * 1000)

    # --- nodes

    def _lose(self, node: _Node) -> None:
        # Those that sleep were not connected; the others see it within a second of one another.
        if isinstance(node.policy, Phase):
            self.after(node.policy.first(self.now), lambda: self._try(node))
        else:
            seen = self._rng.random() * self.storm.rtt
            self.after(seen + node.policy.wait(self.now), lambda: self._try(node))

    def _fail(self, node: _Node, attempt: int) -> None:
        if attempt != node.attempt or node.is_back:
            return
        node.attempt += 1
        if node.session.state:
            node.session.lost()
        self.after(node.policy.wait(self.now), lambda: self._try(node))

    def _try(self, node: _Node) -> None:
        attempt = node.attempt
        self.result.attempts[int((self.now - self.back_at) // 1)] += 1
        self._syn(node, attempt, 0)
        self.after(self.storm.timeout, lambda: self._give_up(node, attempt))

    def _give_up(self, node: _Node, attempt: int) -> None:
        # No TCP connection within the timeout. (With one, it is the session that knows when.)
        if attempt == node.attempt and not node.session.state:
            self.result.timed_out += 1
            self._fail(node, attempt)

    def _syn(self, node: _Node, attempt: int, times: int) -> None:
        half = self.storm.rtt / 2
        if attempt != node.attempt:
            return
        if self.now + half < self.back_at:
            self.result.refused += 1
            self.after(2 * half, lambda: self._fail(node, attempt))
        elif len(self._queue) < self.storm.backlog:
            self.after(half, lambda: self._accepted(node, attempt))
        elif times < len(SYN_AGAIN):
            gap = SYN_AGAIN[times] - (SYN_AGAIN[times - 1] if times else 0)
            self.after(gap, lambda: self._syn(node, attempt, times + 1))

    def _accepted(self, node: _Node, attempt: int) -> None:
        # The system has taken the connection; CONNECT waits until the broker looks at it.
        if attempt != node.attempt:
            return
        if len(self._queue) >= self.storm.backlog:  # others came meanwhile
            self._syn(node, attempt, 0)
            return
        self._queue.append((node, attempt))
        node.splitter = wire.Splitter()
        node.session.connect(self._ms)
        self._tick(node, attempt)
        self._serve()

    def _tick(self, node: _Node, attempt: int) -> None:
        if attempt != node.attempt or node.session.state >= UP:
            return
        try:
            left = node.session.tick(self._ms)
        except MQTTError:
            self.result.timed_out += 1
            self._fail(node, attempt)
            return
        self.after(left / 1000 + 0.001, lambda: self._tick(node, attempt))

    def _written(self, node: _Node) -> list[wire.Packet]:
        """Return what a node's session writes now, as packets."""
        packets = []
        while data := node.session.take(self._ms):
            for raw in node.splitter.feed(bytes(data)):
                packets += wire.decode(raw)
        return packets

    # --- the broker

    def _serve(self) -> None:
        if self._busy or not self._queue:
            return
        self._busy = True
        self.after(1 / self.storm.rate, self._served)

    def _served(self) -> None:
        node, attempt = self._queue.popleft()
        self._busy = False
        self._serve()
        self.result.served[int((self.now - self.back_at) // 1)] += 1
        if attempt != node.attempt:
            self.result.in_vain += 1
            return
        (hello,) = self._written(node)
        assert hello.type == wire.CONNECT
        self.after(self.storm.rtt, lambda: self._answered(node, attempt))

    def _answered(self, node: _Node, attempt: int) -> None:
        if attempt != node.attempt:  # it gave up while the answer was on its way
            self.result.in_vain += 1
            return
        node.session.receive(memoryview(wire.connack(session_present=True)), self._ms)
        node.is_back = True
        node.policy.reset()
        self.result.back.append(self.now - self.back_at)
        self.after(self.storm.rtt, lambda: self._published(node))

    def _published(self, node: _Node) -> None:
        for packet in self._written(node):
            if packet.type == wire.PUBLISH and packet.packet_id:
                node.session.receive(memoryview(wire.puback(packet.packet_id)), self._ms)


def simulate(
    storm: Storm, kind: type[Policy], progress: Callable[[float, int], None] | None = None
) -> Result:
    """Return what a storm comes to with one way of waiting."""
    return World(storm, kind).run(progress)

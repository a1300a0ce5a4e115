"""A node in a bottle: the shipped Client and Node with no socket, no chip, and time that is only
counted. A wake of ten seconds takes a millisecond, and comes out the same each time.

    bottle = Bottle(monkeypatch)
    node = bottle.node(period=300, subscribe=[("cmd", 1)])
    bottle.wake(node)                 # runs `async for` over node.wake(); what came, as texts
    bottle.now                        # ms since the bottle was made
    bottle.sleep(node)                # node.sleep(): the time passes, the next boot is a wake

asyncio asks its selector to wait; this one adds what it would have waited to the clock.
"""

from __future__ import annotations

import asyncio
import contextlib
import selectors
import sys
import time
from collections.abc import Callable, Coroutine
from types import SimpleNamespace
from typing import Any

import dormouse.client
import dormouse.sleep.chip
import dormouse.sleep.node
import pytest
from dormouse import Client
from dormouse.sleep import Node
from dormouse.store import Store
from model.model_broker import ModelBroker

from tools.testing import wire

SET = 1_750_000_000  # s since 1970, what a set clock shows when the bottle is made


class Stuck(AssertionError):
    """All wait, and none of them for time."""


class _Selector(selectors.DefaultSelector):
    def __init__(self, bottle: Bottle) -> None:
        super().__init__()
        self.bottle = bottle

    def select(self, timeout: float | None = None) -> Any:
        if timeout is None:
            raise Stuck
        self.bottle.now += max(timeout, 0) * 1000
        return super().select(0)


class Broker(ModelBroker):
    """Answers at once. `sent`: all packets that came; `boots`: CONNECTs.

    `silent`: says nothing; `refuses`: return code of CONNACK; `burst`: whether it takes what comes
    with CONNECT, or closes at it; `closes_after`: messages it delivers on a connection, then it
    closes; `keeps_pubcomp`: QoS 2 does not come to its end; `hears_from`: it is silent on so many
    connections first.
    """

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[wire.Packet] = []
        self.silent = False
        self.refuses = 0
        self.burst = True
        self.closes_after: int | None = None
        self.keeps_pubcomp = False
        self.hears_from = 0

    @property
    def boots(self) -> int:
        return sum(p.type == wire.CONNECT for p in self.sent)

    def count(self, kind: int) -> int:
        return sum(p.type == kind for p in self.sent)

    def _packet(self, p: wire.Packet) -> None:
        self.sent.append(p)
        if self.silent or self.boots <= self.hears_from:
            return
        if p.type == wire.CONNECT and self.refuses:
            self.out += wire.connack(return_code=self.refuses)
        elif p.type == wire.SUBSCRIBE:
            self.out += wire.suback(p.packet_id or 0, 1)
        elif p.type == wire.UNSUBSCRIBE:
            self.out += wire.unsuback(p.packet_id or 0)
        elif p.type == wire.PINGREQ:
            self.out += wire.pingresp()
        elif not (p.type == wire.PUBREL and self.keeps_pubcomp):
            super()._packet(p)


class Line:
    """A way to the broker, as `Client(stream=)` takes one."""

    def __init__(self, bottle: Bottle) -> None:
        self.bottle = bottle

    async def open_stream(self, *address: Any) -> Any:
        self.bottle.addresses.append(address)
        if address[0] in self.bottle.dead:
            await asyncio.sleep(1e6)  # no answer, not even that nobody is there
        broker = self.bottle.broker
        broker.cut()
        end = SimpleNamespace(broker=broker, first=True, closed=False, ready=asyncio.Event())
        end.pending = b""
        self.bottle.ends.append(end)
        return end, lambda: self._close(end)

    def _close(self, end: Any) -> None:
        end.closed = True
        end.ready.set()
        if end.broker.connected:
            end.broker.cut()

    async def write(self, end: Any, data: memoryview) -> None:
        data = memoryview(bytes(data))
        broker = end.broker
        if self.bottle.swallows:
            await asyncio.sleep(1e6)  # the window is full, and nobody takes
        if end.closed:
            raise OSError(104)
        if end.first and not broker.burst:
            size = 2 + data[1]  # of the CONNECT; shorter than 128 here
            broker.feed(bytes(data[:size]))
            end.closed = len(data) > size
        else:
            broker.feed(bytes(data))
        end.first = False
        self.deliver(end)

    def deliver(self, end: Any) -> None:
        """Let what the broker has to say arrive."""
        end.pending += end.broker.out
        end.broker.out = b""
        if end.broker.closes_after is not None:
            kept, end.pending = end.pending, b""
            count = 0
            for raw in wire.Splitter().feed(kept):
                end.pending += raw
                count += raw[0] >> 4 == wire.PUBLISH
                if count == end.broker.closes_after:
                    end.closed = True
                    break
        end.ready.set()

    async def read(self, end: Any, buf: memoryview) -> int:
        await asyncio.sleep(0)
        while not end.pending and not end.closed:
            end.ready.clear()
            await end.ready.wait()
        n = min(len(buf), len(end.pending))
        buf[:n] = end.pending[:n]
        end.pending = end.pending[n:]
        return n


class Medium(Store):
    """A store that survives."""

    survives = 2

    def __init__(self, content: dict[int, bytes]) -> None:
        self.content = content
        self.writes = 0
        super().__init__()

    def read(self) -> dict[int, Any]:
        return dict(self.content)

    def write(self, changes: dict[int, Any]) -> None:
        self.writes += 1
        for key, value in changes.items():
            self.content.pop(key, None)
            if value is not None:
                self.content[key] = bytes(value)


class Bottle:
    """A chip, a broker, and the time. `esp32`: whether its clock goes on while it sleeps, and
    begins in 2000; `random`: what the next draws are, of 0 to 1 (the last one stays)."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, esp32: bool = True) -> None:
        self.now = 0.0
        self.esp32 = esp32
        self.epoch = 946_684_800 if esp32 else 0
        self.clock_ms = SET * 1000.0 if esp32 else 1_609_459_200_000.0  # when now was 0
        self.random: list[float] = [0.0]
        self.cause = 1
        self.content: dict[int, bytes] = {}
        self.broker: Broker = Broker()
        self.ends: list[Any] = []
        self.addresses: list[Any] = []
        self.swallows = False
        self.dead: set[str] = set()  # addresses from which nothing comes
        self.names: dict[str, str] = {}  # what a lookup finds; else the name itself
        self.slept: list[int] = []
        machine = SimpleNamespace(
            PWRON_RESET=1,
            WDT_RESET=3,
            RTC=type("RTC", (), {"memory": None} if esp32 else {}),
            reset_cause=lambda: self.cause,
            mem32={0x40058008: 2},
        )
        if esp32:
            machine.DEEPSLEEP_RESET = 4
            machine.TIMER_WAKE = 4
            machine.wake_reason = lambda: 4
        monkeypatch.setitem(sys.modules, "machine", machine)
        for module in (dormouse.client, dormouse.sleep.node):
            monkeypatch.setattr(module, "ticks_ms", lambda: int(self.now))
            monkeypatch.setattr(module, "urandom", self._urandom)
        node = dormouse.sleep.node
        monkeypatch.setattr(node, "time_ns", lambda: int(self._clock()) * 1_000_000)
        monkeypatch.setattr(node, "time", lambda: int(self._clock() / 1000))
        monkeypatch.setattr(
            node, "gmtime", lambda s=0: time.gmtime((s or 0) + self.epoch), raising=False
        )
        monkeypatch.setattr(node, "deepsleep", self.slept.append)
        monkeypatch.setattr(node, "_lookup", lambda host, port: self.names.get(host, host))

    def _clock(self) -> float:
        """What the chip's clock shows: ms since its own beginning."""
        return self.clock_ms + self.now - self.epoch * 1000

    def _urandom(self, n: int) -> bytes:
        x = self.random.pop(0) if len(self.random) > 1 else self.random[0]
        return min(int(x * 256**n), 256**n - 1).to_bytes(n, "big")

    def node(self, options: dict[str, Any] | None = None, **plan: Any) -> Node:
        """Boot: a Client and a Node; `options` are the client's."""
        self.store = Medium(self.content)
        plan.setdefault("period", 300)
        client = Client(
            "broker",
            client_id="node",
            clean=False,
            store=self.store,
            stream=Line(self),
            **(options or {}),
        )
        return Node(client, guard=False, **plan)

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine in the bottle's time. Stuck, if it waits for what cannot come."""
        loop = asyncio.SelectorEventLoop(_Selector(self))
        loop.time = lambda: self.now / 1000  # type: ignore[method-assign]
        try:
            return loop.run_until_complete(work)
        finally:
            with contextlib.suppress(Stuck):
                for task in asyncio.all_tasks(loop):
                    task.cancel()
                loop.run_until_complete(asyncio.sleep(0))
            loop.close()

    def wake(
        self, node: Node, each: Callable[[Any], Any] | None = None, **options: Any
    ) -> list[str]:
        """Wake once; what came, as texts. `each` is called with each message."""
        came: list[str] = []

        async def work() -> None:
            async for message in node.wake(**options):
                came.append(bytes(message.payload).decode())
                if each:
                    each(message)

        self.run(work())
        return came

    def sleep(self, node: Node) -> int:
        """Sleep as the node does, and be woken by the timer. Returns for how long, ms."""
        node.sleep()
        ms = self.slept[-1]
        self.now += ms
        if not self.esp32:
            self.clock_ms = 1_609_459_200_000.0 - self.now
        self.cause = 4 if self.esp32 else 3
        return ms

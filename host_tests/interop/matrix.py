"""Each broker, version and what is cut: what arrives, once. Run by `make interop`, not `make test`.

A device program on MicroPython publishes numbers at each QoS through a proxy that cuts, and takes
commands at QoS 1 and 2, from paho on the other side. And a node sleeps while commands are queued.
"""

import contextlib
import json
import socket
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from interop import others

from tools.setup import get
from tools.testing import wire
from tools.testing.board import Board
from tools.testing.brokers import Broker
from tools.testing.chaos import ChaosProxy
from tools.testing.needs import missing
from tools.testing.observer import Observer
from tools.testing.runtimes import RUNTIMES

TESTS = Path(__file__).parent.parent
COUNT = 12
FLOW = TESTS / "scenarios" / "programs" / "flow.py"
ASLEEP = TESTS / "field" / "programs" / "asleep.py"
STAYING = TESTS / "field" / "programs" / "staying.py"
WAKES = 6
QUEUED = 5  # commands before each wake but the first and the last

BROKERS = {
    "mosquitto": (4, 5),
    "mosquitto 2.1": (4, 5),
    "aedes 1": (4,),
    "aedes 0.51": (4,),
    "rabbitmq": (4,),
    "ejabberd": (4, 5),
}
# After how many bytes of a connection it is cut, in which direction; each connection by the next.
CUTS = {
    "none": (),
    "up": tuple((n, "up") for n in (60, 95, 140, 200, 260)),
    "down": tuple((n, "down") for n in (4, 14, 30, 50, 75)),
}
ALL = {"end"} | {
    f"{way} {qos} {what}"
    for way in ("out", "back")
    for qos in (1, 2)
    for what in ("lost", "order", "doubled")
}
# What a broker is known to do against the standard, in docs/brokers.md: it may be, or not.
KNOWN = {
    "aedes 1": {"back 1 order", "back 2 order", "back 2 doubled"},  # repeats without DUP
    "aedes 0.51": {*ALL},  # wedges at a repeated PUBREL
    "rabbitmq": {"back 2 doubled", "late"},  # delivers at QoS 1 at most; PINGRESP overtakes
}
# What is published: RabbitMQ has no QoS 2.
OUT = {"rabbitmq": [1]}


@pytest.fixture(params=BROKERS, scope="module")
def broker(request: pytest.FixtureRequest) -> Iterator[Broker]:
    try:
        made = others.make(request.param)
    except get.NotAvailable as error:
        missing(f"{request.param}: {error}")
    made.name = request.param
    with made:
        yield made


@dataclass
class Outcome:
    """What was sent and what came, each way."""

    out: dict[int, list[int]]  # by QoS: numbers that the observer saw
    back: dict[int, list[int]]  # by QoS: commands that the device took
    end: bool
    wanted: dict[str, dict[int, range]] = field(
        default_factory=lambda: {
            way: dict.fromkeys((1, 2), range(COUNT)) for way in ("out", "back")
        }
    )
    late: tuple[int, ...] = ()  # commands that came later than in the wake behind them


def login(broker: Broker) -> dict[str, str | None]:
    """Return what a client of this broker is given besides."""
    if broker.username is None:
        return {}
    return {"username": broker.username, "password": broker.password}


def play(broker: Broker, version: int, cuts: str, folder: Path) -> Outcome:
    """Let a device and an observer talk."""
    topic = f"d{version}{cuts}"
    config = {
        "client": {
            "host": "127.0.0.1",
            "client_id": topic,
            "clean": False,
            "timeout": 2,
            "backoff": [0.05, 0.2],
            "version": version,
            **login(broker),
        },
        "topic": topic,
        "count": COUNT,
        "qos": OUT.get(broker.name, [1, 2]),
        "gap": 0.02,
    }
    with ChaosProxy(broker.port) as proxy, Observer(broker, (topic + "/+", 2)) as observer:
        config["client"]["port"] = proxy.port  # type: ignore[index]
        if CUTS[cuts]:
            proxy.cut_each(*((n, way, "close") for n, way in CUTS[cuts]))
        file = folder / "config.json"
        file.write_text(json.dumps(config))
        with RUNTIMES["micropython32"].start(FLOW, str(file)) as device:
            device.wait_line("subscribed", 20)
            for n in range(COUNT):
                for qos in (1, 2):
                    observer.publish(f"{topic}/cmd/{qos}", str(n), qos)
            observer.publish(f"{topic}/cmd/2", "stop", 2)
            try:
                device.wait_line("end", 30)
                end = True
            except AssertionError:
                end = False
            lines = [line.split() for line in device.lines]
        out = OUT.get(broker.name, [1, 2])
        for qos in out:
            if end:
                observer.wait_count(f"{topic}/{qos}", COUNT)
        return Outcome(
            {qos: [int(p) for p in observer.payloads(f"{topic}/{qos}")] for qos in out},
            {
                qos: [int(line[2]) for line in lines if line[:2] == ["got", str(qos)]]
                for qos in (1, 2)
            },
            end,
        )


def faults(outcome: Outcome) -> set[str]:
    """Return what does not hold, by short names."""
    wrong = set()
    if not outcome.end:
        wrong.add("end")
    for way, got in (("out", outcome.out), ("back", outcome.back)):
        for qos, numbers in got.items():
            count = Counter(numbers)
            if any(not count[n] for n in outcome.wanted[way][qos]):
                wrong.add(f"{way} {qos} lost")
            if qos == 2 and any(k > 1 for k in count.values()):
                wrong.add(f"{way} 2 doubled")
            first = list(dict.fromkeys(numbers))
            if first != sorted(first):
                wrong.add(f"{way} {qos} order")
    if outcome.late:
        wrong.add("late")
    return wrong


def sleep(broker: Broker, version: int, folder: Path) -> Outcome:
    """Let a node sleep while commands are queued, and wake."""
    topic = f"n{version}"
    qos = OUT.get(broker.name, [1, 2])
    client = {"port": broker.port, "client_id": topic, "clean": False, "timeout": 5}
    config = {
        "client": client | {"version": version} | login(broker),
        "node": {"period": 60, "budget": 8000, "subscribe": [[topic + "/cmd/+", 2]]},
        "publish": [[f"{topic}/{q}", "N", q, {}] for q in qos],
    }
    late: list[int] = []
    back: dict[int, list[int]] = {1: [], 2: []}
    end = True
    with (
        Observer(broker, (topic + "/+", 2)) as observer,
        Board(RUNTIMES["micropython32"], folder, ASLEEP, {"config.json": config}) as board,
    ):
        sent = due = 0
        for wake in range(WAKES):
            lines = board.run(timeout=20)[0].lines
            commands = [int(line.split()[1]) for line in lines if line.startswith("command")]
            for n in commands:
                if n < due and n not in back[1 + n % 2]:
                    late.append(n)
                back[1 + n % 2].append(n)
            end &= lines[-1].endswith("error None")
            due = sent
            if wake < WAKES - 2:
                for n in range(sent, sent + QUEUED):
                    observer.publish(f"{topic}/cmd/{1 + n % 2}", str(n), 1 + n % 2)
                sent += QUEUED
        for q in qos:
            observer.wait_count(f"{topic}/{q}", WAKES)
        out = {q: [int(p) - 1 for p in observer.payloads(f"{topic}/{q}")] for q in qos}
    wanted = {
        "out": dict.fromkeys(qos, range(WAKES)),
        "back": {q: range(q - 1, sent, 2) for q in (1, 2)},
    }
    return Outcome(out, back, end, wanted, tuple(late))


def look(broker: Broker, version: int, what: str, outcome: Outcome) -> None:
    """Tell what holds; fail for what does not, and is not known of the broker."""
    wrong = faults(outcome)
    told = ", ".join(sorted(wrong)) or "holds"
    print(f"{broker.name:13} {version} {what:6} {told}", file=sys.stderr)
    assert wrong <= KNOWN.get(broker.name, set()), outcome


@pytest.fixture(params=[4, 5], ids=["3.1.1", "5"])
def version(request: pytest.FixtureRequest, broker: Broker) -> int:
    if request.param not in BROKERS[broker.name]:
        pytest.skip(f"{broker.name} speaks 3.1.1 only")
    number: int = request.param
    return number


@pytest.mark.parametrize("cuts", CUTS)
def test_both_ways(broker: Broker, version: int, cuts: str, tmp_path: Path) -> None:
    look(broker, version, cuts, play(broker, version, cuts, tmp_path))


def test_asleep(broker: Broker, version: int, tmp_path: Path) -> None:
    look(broker, version, "asleep", sleep(broker, version, tmp_path))


@pytest.mark.parametrize("topic", [b"m/\0", b"m/+", b"m/\xff"], ids=["nul", "wildcard", "utf8"])
def test_malformed(broker: Broker, version: int, topic: bytes, tmp_path: Path) -> None:
    """A neighbour publishes to a topic that is none. RabbitMQ and aedes pass some of these on."""
    config = {
        "client": {
            "host": "127.0.0.1",
            "port": broker.port,
            "client_id": f"m{version}",
            "clean": False,
            "timeout": 2,
            "backoff": [0.05, 0.2],
            "version": version,
            **login(broker),
        },
        "subscribe": "m/#",
    }
    file = tmp_path / "config.json"
    file.write_text(json.dumps(config))
    with RUNTIMES["micropython32"].start(STAYING, str(file)) as device:
        device.wait_line("subscribed", 20)
        neighbour = socket.create_connection(("127.0.0.1", broker.port))
        with neighbour, contextlib.suppress(OSError):  # most brokers close
            neighbour.settimeout(5)
            neighbour.sendall(wire.connect(client_id="neighbour", **login(broker)))
            assert neighbour.recv(4) == wire.connack()
            body = len(topic).to_bytes(2, "big") + topic + b"\0\7x"
            neighbour.sendall(bytes((0x32, len(body))) + body)
            neighbour.recv(4)  # PUBACK, or the end
        with Observer(broker) as observer:
            observer.publish("m/behind", "stop", 1)
        device.wait_line("got stop", 20)

"""Each broker, version and what is cut: what arrives, once. Run by `make interop`, not `make test`.

A device program on MicroPython publishes numbers at each QoS through a proxy that cuts, and takes
commands at QoS 1 and 2, from paho on the other side.
"""

import json
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from interop import others

from tools.setup import get
from tools.testing.brokers import Broker
from tools.testing.chaos import ChaosProxy
from tools.testing.needs import missing
from tools.testing.observer import Observer
from tools.testing.runtimes import RUNTIMES

PROGRAMS = Path(__file__).parent.parent / "scenarios" / "programs"
COUNT = 12

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
    "rabbitmq": {"back 2 doubled"},  # delivers at QoS 1 at most
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
        },
        "topic": topic,
        "count": COUNT,
        "qos": OUT.get(broker.name, [1, 2]),
        "gap": 0.02,
    }
    with ChaosProxy(broker.port) as proxy, Observer(broker, (topic + "/+", 2)) as observer:
        config["client"]["port"] = proxy.port  # type: ignore[index]
        if broker.username:
            config["client"]["username"] = broker.username  # type: ignore[index]
            config["client"]["password"] = broker.password  # type: ignore[index]
        if CUTS[cuts]:
            proxy.cut_each(*((n, way, "close") for n, way in CUTS[cuts]))
        file = folder / "config.json"
        file.write_text(json.dumps(config))
        with RUNTIMES["micropython32"].start(PROGRAMS / "flow.py", str(file)) as device:
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
            if any(not count[n] for n in range(COUNT)):
                wrong.add(f"{way} {qos} lost")
            if qos == 2 and any(k > 1 for k in count.values()):
                wrong.add(f"{way} 2 doubled")
            first = list(dict.fromkeys(numbers))
            if first != sorted(first):
                wrong.add(f"{way} {qos} order")
    return wrong


@pytest.mark.parametrize("cuts", CUTS)
@pytest.mark.parametrize("version", [4, 5], ids=["3.1.1", "5"])
def test_both_ways(broker: Broker, version: int, cuts: str, tmp_path: Path) -> None:
    if version not in BROKERS[broker.name]:
        pytest.skip(f"{broker.name} speaks 3.1.1 only")
    outcome = play(broker, version, cuts, tmp_path)
    wrong = faults(outcome)
    told = ", ".join(sorted(wrong)) or "holds"
    print(f"{broker.name:12} {version} {cuts:5} {told}", file=sys.stderr)
    assert wrong <= KNOWN.get(broker.name, set()), outcome

"""What passes between the wakes of a node: names that move, clocks that are set, full stores."""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from field.conftest import VERSIONS

from tools.testing.address import HOST
from tools.testing.board import Board
from tools.testing.brokers import MosquittoBroker
from tools.testing.certs import certificates
from tools.testing.observer import Observer
from tools.testing.runtimes import CPYTHON, MICROPYTHON32, ROOT, Runtime
from tools.testing.sntp import TimeServer

SOON = [["up", "N", 1, {"message_expiry": 600}]]
WELL = "left 0 error None"


def last(node: Board) -> str:
    return node.run()[0].lines[-1]


@contextmanager
def time_server(node: Board) -> Iterator[TimeServer]:
    """A time server, right at first, and a node that asks it."""
    with TimeServer(lambda: node.time) as server:
        config = json.loads((node.folder / "put" / "config.json").read_text())
        node.put("config.json", config | {"clock": server.port})
        yield server


def test_name_is_looked_up_again(
    board: Callable[..., Board], mosquitto: Callable[..., MosquittoBroker]
) -> None:
    """Something still answers at the old address: the name is asked for all the same, now and then,
    after all is sent; a name server that is away costs nothing."""
    node = board(mosquitto().port, host="localhost", node={"renew": 1})
    node.set_network()

    def asked() -> int:
        return (node.folder / "network.log").read_text().count('"dns"')

    assert last(node) == WELL
    before = asked()
    assert last(node) == WELL and asked() == before + 1
    node.set_network(dns_fail=True)
    assert last(node) == WELL


@VERSIONS
@pytest.mark.parametrize("kind", ["esp32", "rp2"])
def test_expiry_when_the_clock_is_set(
    board: Callable[..., Board],
    mosquitto: Callable[..., MosquittoBroker],
    version: int,
    kind: str,
) -> None:
    """A message published before does not expire by the jump; and `until` of the status is the
    clock's time after it."""
    broker = mosquitto()
    client = {"version": 5} if version == 5 else {"expiring": True}
    with Observer(broker, ("up", 1), ("state", 0)) as observer:
        node = board(broker.port, SOON, client, {"status": "state"}, kind, clock=0)
        with time_server(node):
            for n in (1, 2):
                assert last(node) == WELL
                observer.wait("up", str(n))
                state = json.loads(observer.wait_count("state", n)[-1])
                # (ESP32 wakes at one point of each period, so it may be less.)
                assert (60 if kind == "rp2" else 0) <= state["until"] - node.time <= 70
    assert observer.payloads("up") == ["1", "2"]


@pytest.mark.parametrize("kind", ["esp32", "rp2"])
def test_power_returns_without_a_time_server(
    board: Callable[..., Board], mosquitto: Callable[..., MosquittoBroker], kind: str
) -> None:
    """The time of the last day is in the store: certificates verify. And no time server sets the
    clock before that, nor before the date of MicroPython's build."""
    broker = mosquitto(tls=certificates())
    node = board(broker.tls_port, tls={"ca": "ca.der"}, kind=kind, clock=0)
    node.put("ca.der", certificates().ca_der)
    with time_server(node) as server:
        now = server.time
        server.time = lambda: 1650000000  # 2022
        assert last(node).endswith("error ClockError")
        server.time = now
        assert last(node) == WELL
        proven = node.records[-1].clock_ms
        node.cut_power()
        server.how = "silent"
        assert last(node) == WELL
        assert abs(node.records[-1].clock_ms - proven) < 120_000
        node.cut_power()
        server.how = "right"
        server.time = lambda: now() - 86_400  # certificates of yesterday
        assert last(node) == WELL
        assert node.records[-1].clock_ms > proven - 1000  # it is whole seconds


@pytest.mark.once
@pytest.mark.parametrize("kind", ["esp32", "rp2"])
def test_a_time_server_that_was_wrong_once(
    board: Callable[..., Board], mosquitto: Callable[..., MosquittoBroker], kind: str
) -> None:
    """By eight years, and the certificates are still good then: some days later the right time is
    not too early for it."""
    broker = mosquitto(tls=certificates())
    node = board(broker.tls_port, tls={"ca": "ca.der"}, kind=kind, clock=0)
    node.put("ca.der", certificates().ca_der)
    with time_server(node) as server:
        assert last(node) == WELL
        now = server.time
        server.time = lambda: now() + 8 * 365 * 86_400
        node.cut_power()
        assert last(node) == WELL
        assert node.records[-1].clock_ms / 1000 > now() + 86_400
        server.time = now
        node.cut_power()
        node.power_on(3 * 86_400_000)
        node.wait_sleep(10)
        assert abs(node.records[-1].clock_ms / 1000 - node.time) < 120


def test_radio_that_says_connected(
    board: Callable[..., Board], mosquitto: Callable[..., MosquittoBroker]
) -> None:
    """Another network under the same name: the remembered address leads nowhere. The wake after the
    one in vain asks for one anew."""
    broker = mosquitto()
    net = {"address": ["10.0.0.7", "255.255.255.0", "10.0.0.1", "10.0.0.1"]}
    node = board(broker.port, host="localhost")
    node.set_network(**net)
    for _ in range(2):
        assert last(node) == WELL
    node.set_network(address=["10.1.0.7", "255.255.255.0", "10.1.0.1", "10.1.0.1"])
    assert "error OSError" in last(node) or last(node) == WELL
    assert last(node) == WELL


@pytest.mark.once
@pytest.mark.parametrize("kind", ["esp32", "rp2"])
def test_access_point_that_leads_nowhere(
    board: Callable[..., Board], mosquitto: Callable[..., MosquittoBroker], kind: str
) -> None:
    """It is the strongest, and remembered, and takes the node: by chance the other one is tried,
    and then it is that which is remembered."""
    node = board(mosquitto().port, host="localhost", kind=kind)
    node.set_network()
    assert last(node) == WELL
    node.set_network(dead="021122334455")
    said = last(node)
    assert "error OSError" in said or said == WELL  # a second join of this wake
    for _ in range(60):  # all of them at the one: once in 3e7
        if said == WELL:
            break
        said = last(node)
    assert said == WELL
    assert last(node) == WELL


# --- A broker that is away for longer than the outbox is long

AWAY = 35  # wakes; 32 messages are the default


def outlasts(board: Board, broker: MosquittoBroker, observer: Observer, topic: str) -> None:
    """Run a program of one message a wake through an outage; the newest are there afterwards."""
    board.run()
    observer.wait_count(topic, 1)
    broker.kill()
    board.run(AWAY)
    assert not any("Traceback" in line for end in board.records for line in end.lines)
    broker.start()
    observer.wait_subscribed(2)
    before = len(observer.payloads(topic))
    for _ in range(20):  # wakes that pass without a try, 16 at most, included
        board.run()
        if len(observer.payloads(topic)) > before + 20:
            break
    observer.wait_count(topic, before + 20)


# As many boots as this takes are for one runtime.
ONE = pytest.mark.parametrize("runtime", [MICROPYTHON32], ids=["micropython32"])


def document(name: str, broker: MosquittoBroker) -> str:
    """Return a document's program that sleeps, with a broker that is there."""
    code = re.findall(r"```python\n(.*?)```", (ROOT / name).read_text(), re.S)
    one: str = [c for c in code if '"broker.local"' in c][-1]
    one = one.replace('"broker.local"', f'"{HOST}", {broker.port}')
    return one.replace("period=300", "period=300, backoff=0")  # quicker


@ONE
@pytest.mark.parametrize("name", ["README.md", "docs/sleep.md"])
def test_documents_through_an_outage(
    runtime: Runtime, mosquitto: Callable[..., MosquittoBroker], tmp_path: Path, name: str
) -> None:
    broker = mosquitto()
    code = document(name, broker)
    with (
        Observer(broker, ("greenhouse/7/temp", 2)) as observer,
        Board(runtime, tmp_path, files={"main.py": code}) as board,
    ):
        board.set_network(ssid="my network")
        outlasts(board, broker, observer, "greenhouse/7/temp")


@ONE
@pytest.mark.parametrize(
    ("program", "topic"),
    [("firmware/main.py", "g/temperature"), ("examples/wired.py", "g/boot")],
)
def test_programs_through_an_outage(
    runtime: Runtime,
    mosquitto: Callable[..., MosquittoBroker],
    tmp_path: Path,
    program: str,
    topic: str,
) -> None:
    broker = mosquitto()
    config = {"host": HOST, "port": broker.port, "client_id": "g", "topic": "g", "period": 60}
    config |= {"outbox": 32, "wired": "lan"}
    with (
        Observer(broker, ("g/#", 2)) as observer,
        Board(runtime, tmp_path, ROOT / program, {"config.json": config}) as board,
    ):
        board.set_network()
        outlasts(board, broker, observer, topic)


FILL_IF = """
for size in (4096, 1024, 100, 1) if {fill} else ():
    try:
        while True:
            n += 1
            with open("junk%d" % n, "wb") as f:
                f.write(b"x" * size)
    except OSError:
        pass
for name in os.listdir() if {empty} else ():
    if name[:4] == "junk":
        os.remove(name)
"""

# In RTC memory: what to do next.
FILL = """
import os
from machine import RTC
n = len(RTC().memory())
RTC().memory(bytes(n + 1))
""" + FILL_IF.format(fill="n == 2", empty="n == 5")


# By a pin, for RP2 has no memory that lasts.
FILL_BY_PIN = """
import os
from machine import Pin
n = 0
full = Pin(4, Pin.IN).value()
""" + FILL_IF.format(fill='full and "junk1" not in os.listdir()', empty="not full")


@ONE
def test_full_flash_without_a_reserve(
    runtime: Runtime, mosquitto: Callable[..., MosquittoBroker], tmp_path: Path
) -> None:
    """Not even a record has room: a node is not mute for that, nor obeys a command again and
    again."""
    broker = mosquitto()
    code = document("docs/sleep.md", broker)
    assert ", reserve=8192" in code
    main = FILL_BY_PIN + code.replace(", reserve=8192", "")
    temp = "greenhouse/7/temp"
    with (
        Observer(broker, (temp, 2)) as observer,
        Board(runtime, tmp_path, files={"main.py": main}, flash=65536, type="rp2") as board,
    ):
        board.set_network(ssid="my network")
        board.set_inputs(pins={4: 0})
        board.run()
        board.set_inputs(pins={4: 1})
        board.run(2, 20)  # filled
        before = len(observer.payloads(temp))
        observer.publish("greenhouse/7/cmd/fan", "on", 1)
        said = [line for end in board.run(3, 20) for line in end.lines]
        observer.wait_count(temp, before + 3)
        assert said == ["greenhouse/7/cmd/fan b'on'"]
        board.set_inputs(pins={4: 0})
        board.run(2)
        observer.wait_count(temp, before + 5)
        assert len(observer.payloads(temp)) == before + 5


def test_full_flash(
    runtime: Runtime, mosquitto: Callable[..., MosquittoBroker], tmp_path: Path
) -> None:
    """main.py, its flash filled by something else: readings go at QoS 0, commands are obeyed; and
    all is as before when there is room again."""
    if runtime is CPYTHON:
        pytest.skip("on CPython the board's flash is this machine's disk: it would be filled")
    broker = mosquitto()
    config = {"host": HOST, "port": broker.port, "topic": "g", "client_id": "g", "period": 60}
    main = FILL + (ROOT / "firmware" / "main.py").read_text()
    files = {"config.json": config, "main.py": main}
    with (
        Observer(broker, ("g/#", 2)) as observer,
        Board(runtime, tmp_path, files=files, flash=131072) as board,
    ):
        board.run(2)
        assert any(line.startswith("dropped") for line in board.run()[0].lines)  # filled
        seen = len(observer.payloads("g/meter"))
        observer.publish("g/do/log", "", 2)
        board.run(2)
        observer.wait_count("g/meter", seen + 1)
        observer.wait_count("g/log", 1)
        end = board.run(2)[-1]  # there is room
        # (PUBREL of the meter, at QoS 2, may be left to the next wake.)
        assert "error" not in "".join(end.lines) and int(end.lines[-1].split()[-2]) < 2, end.lines


@ONE
@pytest.mark.parametrize("name", ["README.md", "docs/sleep.md"])
def test_documents_with_a_full_flash(
    runtime: Runtime, mosquitto: Callable[..., MosquittoBroker], tmp_path: Path, name: str
) -> None:
    """Their journal has a reserve: readings go, in each wake, while something else fills it."""
    broker = mosquitto()
    with (
        Observer(broker, ("greenhouse/7/temp", 2)) as observer,
        Board(
            runtime, tmp_path, files={"main.py": FILL + document(name, broker)}, flash=131072
        ) as board,
    ):
        board.set_network(ssid="my network")
        board.run(2)
        for _ in range(3):  # the first of these fills it
            seen = len(observer.payloads("greenhouse/7/temp"))
            board.run(1, 40)
            observer.wait_count("greenhouse/7/temp", seen + 1)

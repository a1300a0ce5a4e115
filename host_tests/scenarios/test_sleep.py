"""Nodes that sleep deeply, on the simulated board, on every runtime."""

import itertools
import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from play import PROGRAMS

from tools.testing import wire
from tools.testing.board import Board, End
from tools.testing.brokers import MosquittoBroker
from tools.testing.certs import certificates
from tools.testing.chaos import ChaosProxy, ProxiedConnection
from tools.testing.observer import Observer
from tools.testing.peer import Connection, ScriptedPeer
from tools.testing.runtimes import ROOT, Runtime

pytestmark = pytest.mark.desk("runs on the simulated board: its power, clock, RTC memory and flash")

PERIOD = 300
ONE = (("t", "N", 1),)
COMMANDS = (("c/#", 2),)


@pytest.fixture
def board(
    request: pytest.FixtureRequest, runtime: Runtime, tmp_path: Path
) -> Iterator[Callable[..., Board]]:
    """Return a function that makes a board with programs/sleeper.py; ``node``, ``client``: their
    arguments; ``board``: board.json; ``network``: network.json."""
    version = {}
    if "broker" in request.fixturenames and request.getfixturevalue("broker").version == 5:
        version = {"version": 5}
    with ExitStack() as stack:

        def make(
            port: int,
            publish=ONE,
            node: dict[str, Any] | None = None,
            client: dict[str, Any] | None = None,
            board: dict[str, Any] | None = None,
            **config: Any,
        ) -> Board:
            config["client"] = {"port": port, "client_id": "node", "clean": False, **version}
            config["client"] |= client or {}
            config["node"] = {"period": PERIOD, "budget": 5000, **(node or {})}
            config["publish"] = publish
            files = {"config.json": config}
            made = Board(runtime, tmp_path, PROGRAMS / "sleeper.py", files, **(board or {}))
            return stack.enter_context(made)

        yield make


@pytest.fixture(params=[4, 5], ids=["3.1.1", "5"])
def broker(
    request: pytest.FixtureRequest, mosquitto: Callable[..., MosquittoBroker]
) -> MosquittoBroker:
    """mosquitto, and the version of MQTT that the node is to speak."""
    chosen = mosquitto()
    chosen.version = request.param
    return chosen


def error(end: End) -> str:
    """Return what the boot said of its wake's error."""
    return next(line for line in end.lines if line.startswith("left")).partition("error ")[2]


def left(end: End) -> int:
    return int(next(line for line in end.lines if line.startswith("left")).split()[1])


def commands(end: End) -> list[str]:
    return [line.split()[2] for line in end.lines if line.startswith("command")]


def sent(connection: ProxiedConnection) -> list[str]:
    """Return the names of the packets from the device, when it has closed the connection."""
    connection.wait_closed()
    packets = wire.Splitter().feed(connection.transcript.data("up"))
    return [wire.NAMES[packet[0] >> 4] for packet in packets]


# --- a wake


def test_wakes(board: Callable[..., Board], broker: MosquittoBroker) -> None:
    """The first wake goes carefully and subscribes; the others are one burst, without SUBSCRIBE."""
    with Observer(broker, ("t", 1)) as observer, ChaosProxy(broker.port) as proxy:
        node = board(proxy.port, node={"subscribe": COMMANDS})
        assert error(node.run()[0]) == "None"
        for k in range(3):
            observer.publish("c/x", str(k), k)
        end = node.run()[0]
        # QoS 0 is not kept for those who are away.
        assert commands(end) == ["1", "2"] and error(end) == "None"
        end = node.run()[0]
        assert "boot timer  1 2" in end.lines and left(end) == 0
        observer.wait("t", "3")
        assert observer.payloads("t") == ["1", "2", "3"]
    first, second, third = map(sent, proxy.connections)
    assert first == ["CONNECT", "PUBLISH", "SUBSCRIBE", "PINGREQ", "DISCONNECT"]
    assert second[:3] == third[:3] == ["CONNECT", "PUBLISH", "PINGREQ"]
    assert third == ["CONNECT", "PUBLISH", "PINGREQ", "DISCONNECT"]
    assert proxy.connections[2].turnarounds == 2  # the burst, the answer, DISCONNECT


@pytest.mark.once
def test_a_long_queue(board: Callable[..., Board], broker: MosquittoBroker) -> None:
    """mosquitto has 20 in flight at most, so several rounds; then a wake with a limit."""
    with Observer(broker) as observer:
        node = board(broker.port, node={"subscribe": COMMANDS})
        node.run()
        for qos in (1, 2):
            wanted = [str(k) for k in range(50)]
            for payload in wanted:
                observer.publish("c/x", payload, qos)
            end = node.run()[0]
            assert commands(end) == wanted and error(end) == "None"
    with Observer(broker) as observer:
        node.put("config.json", json.loads(node.read("config.json")) | {"publish": []})
        config = json.loads(node.read("config.json"))
        for limit in ({"max_messages": 7}, {"max_bytes": 14}):
            config["node"] |= limit
            node.put("config.json", config)
            config["node"].pop(*limit)
            for k in range(10, 20):
                observer.publish("c/x", str(k), 2)
            end = node.run()[0]
            assert commands(end) == [str(k) for k in range(10, 17)] and error(end) == "None"
            node.put("config.json", config)
            assert commands(node.run()[0]) == ["17", "18", "19"]


@pytest.mark.once
def test_subscriptions_that_change(board: Callable[..., Board], broker: MosquittoBroker) -> None:
    with ChaosProxy(broker.port) as proxy:
        node = board(proxy.port, (), node={"subscribe": [["a", 1], ["b", 1]]})
        node.run()
        config = json.loads(node.read("config.json"))
        config["node"]["subscribe"] = [["a", 1], ["b", 2]]
        node.put("config.json", config)
        node.run()
        config["node"]["subscribe"] = []
        node.put("config.json", config)
        node.run(2)
    names = [sent(c)[1:-1] for c in proxy.connections]
    assert names[0] == ["SUBSCRIBE", "PINGREQ"]
    assert names[1] == ["SUBSCRIBE", "PINGREQ"]
    subscribe = list(wire.Splitter().feed(proxy.connections[1].transcript.data("up")))[1]
    assert subscribe.endswith(b"\0\1b\2") and b"\0\1a" not in subscribe
    assert names[2] == ["UNSUBSCRIBE", "PINGREQ"]
    assert names[3] == []


def test_broker_forgot(board: Callable[..., Board], mosquitto: Callable[..., Any]) -> None:
    """The burst meets a broker with no session: nothing is lost, and the node is subscribed."""
    broker = mosquitto(persistence=False)
    node = board(broker.port, (("t", "N", 1), ("t", "qN", 2)), node={"subscribe": COMMANDS})
    node.run()
    broker.restart()
    with Observer(broker, ("t", 2)) as observer:
        end = node.run()[0]
        assert left(end) <= 1  # the end of a QoS 2 handshake may wait
        observer.publish("c/x", "command", 2)
        end = node.run()[0]
        assert commands(end) == ["command"]
        for payload in ("2", "q2", "3", "q3"):
            observer.wait("t", payload)
        assert sorted(observer.payloads("t")) == ["2", "3", "q2", "q3"]


# --- what goes wrong


@pytest.mark.once
def test_broker_gone(board: Callable[..., Board], broker: MosquittoBroker) -> None:
    """Readings wait in the store; after wakes in vain some pass without a try, over the sleep."""
    with Observer(broker, ("t", 1)) as observer, ChaosProxy(broker.port) as proxy:
        node = board(proxy.port, node={"backoff": 3})
        node.run()
        proxy.refuse(how="closed")
        ends = node.run(12)
        errors = [error(end) for end in ends]
        assert any("backoff" in e for e in errors) and not errors[0].count("backoff")
        tries = [i for i, e in enumerate(errors) if "backoff" not in e]
        assert 3 <= len(tries) < 12
        assert all(b - a <= 4 for a, b in itertools.pairwise(tries))
        assert all(end.main_ms < 4000 for end in ends)
        assert left(ends[-1]) == 12
        proxy.refuse(False)
        for _ in range(5):
            if not left(node.run()[0]):
                break
        observer.wait("t", "13")
        # In order, each of them; DUP or not, none twice, for none had reached the broker.
        count = len(observer.payloads("t"))
        assert observer.payloads("t") == [str(k) for k in range(1, count + 1)]


@pytest.mark.parametrize("full", ["refuse", "oldest"])
def test_full_outbox(board: Callable[..., Board], broker: MosquittoBroker, full: str) -> None:
    with Observer(broker, ("t", 1)) as observer, ChaosProxy(broker.port) as proxy:
        node = board(proxy.port, client={"outbox": 3, "full": full}, node={"backoff": 0})
        proxy.refuse(how="closed")
        node.run(4)
        assert ("full 1 4" in node.lines) == (full == "refuse")
        proxy.refuse(False)
        end = node.run()[0]
        assert left(end) == 0
        wanted = ["1", "2", "3"] if full == "refuse" else ["3", "4", "5"]
        observer.wait("t", wanted[-1])
        assert observer.payloads("t") == wanted


def accept(peer: ScriptedPeer) -> Connection:
    connection = peer.accept(10)
    connection.expect_packet(wire.CONNECT)
    return connection


def test_budget(board: Callable[..., Board]) -> None:
    """A broker that accepts and says no more: at the budget's end the node sleeps."""
    with ScriptedPeer() as peer:
        node = board(peer.port, node={"budget": 500})
        node.power_on()
        accept(peer)
        end = node.wait_sleep(10)
        assert "Timeout" in error(end) and left(end) == 1
        assert 500 <= end.main_ms < 1400  # and not by the guard
        assert end.sleep_ms and end.sleep_ms <= PERIOD * 1000


def test_guard(board: Callable[..., Board], broker: MosquittoBroker) -> None:
    """What blocks, a name server that does not answer, cannot hold the chip awake."""
    node = board(broker.port, host="broker.home", node={"budget": 300, "renew": 0})
    node.set_network(dns_ms=8000)
    end = node.run()[0]
    assert 1300 <= end.main_ms < 3000 and not any(line.startswith("left") for line in end.lines)
    node.set_network(dns_ms=0)
    assert error(node.run()[0]) == "None"
    # The address is remembered: from now on the name server is not asked.
    node.set_network(dns_ms=8000)
    end = node.run()[0]
    assert error(end) == "None" and end.main_ms < 1000


def test_address_moved(board: Callable[..., Board], broker: MosquittoBroker) -> None:
    """The remembered address is wrong: it is looked up again, in the same wake."""
    node = board(broker.port, host="broker.home")
    node.set_network()
    node.run()
    assert b"127.0.0.1" in node.read("store")
    config = json.loads(node.read("config.json"))
    node.put("config.json", config | {"address": "127.0.0.9"})
    end = node.run()[0]
    assert error(end) == "None" and left(end) == 0


def test_tls(board: Callable[..., Board], mosquitto: Callable[..., Any]) -> None:
    """Also by the remembered address the broker's certificate must bear its name."""
    certs = certificates()
    broker = mosquitto(tls=certs)
    never = {"renew": 0}
    node = board(broker.tls_port, host="localhost", tls={"ca": "ca.der"}, node=never)
    node.set_network()
    node.put("ca.der", certs.ca_der)
    for _ in range(2):
        assert error(node.run()[0]) == "None"
    events = (node.folder / "network.log").read_text()
    assert events.count('"dns"') == 1
    with ScriptedPeer(certs.server_context(certs.wrong_host)) as peer:
        config = json.loads(node.read("config.json"))
        config["client"]["port"] = peer.port
        node.put("config.json", config)
        end = node.run()[0]
        assert error(end) != "None" and left(end) == 1


def careful(peer: ScriptedPeer, present: bool = True) -> None:
    """Answer like a broker that wants to be asked first."""
    connection = accept(peer)
    connection.send(wire.connack(present))
    publish = connection.expect_packet(wire.PUBLISH)
    connection.send(wire.puback(publish.packet_id or 0))
    connection.expect_packet(wire.DISCONNECT)
    connection.expect_closed()


def test_broker_that_takes_no_burst(board: Callable[..., Board]) -> None:
    """It closes on what comes before its CONNACK: the careful order, in the same wake; after two
    such wakes it is remembered."""
    with ScriptedPeer() as peer:
        node = board(peer.port)
        node.power_on()
        careful(peer, False)
        node.wait_sleep(10)
        for k in range(2, 6):
            node.wake()
            if k < 4:
                burst = accept(peer)
                burst.expect_packet(wire.PUBLISH)
                burst.reset()
            connection = accept(peer)
            connection.expect_silence(50)  # nothing before CONNACK
            connection.send(wire.connack(True))
            publish = connection.expect_packet(wire.PUBLISH)
            assert publish.payload == str(k).encode() and publish.dup == (k < 4)
            connection.send(wire.puback(publish.packet_id or 0))
            connection.expect_packet(wire.DISCONNECT)
            end = node.wait_sleep(10)
            assert left(end) == 0


def test_broker_that_drops_the_burst(board: Callable[..., Board]) -> None:
    """It answers CONNECT, and forgets what came with it."""
    with ScriptedPeer() as peer:
        node = board(peer.port, node={"budget": 500})
        node.power_on()
        careful(peer, False)
        node.wait_sleep(10)
        for _ in range(2):
            node.wake()
            accept(peer).send(wire.connack(True))
            end = node.wait_sleep(10)
            assert left(end) > 0
        node.wake()
        connection = accept(peer)
        connection.expect_silence(50)
        connection.send(wire.connack(True))
        for payload in (b"2", b"3", b"4"):
            publish = connection.expect_packet(wire.PUBLISH, payload=payload)
            connection.send(wire.puback(publish.packet_id or 0))
        connection.expect_packet(wire.DISCONNECT)
        assert left(node.wait_sleep(10)) == 0


def test_no_wifi(board: Callable[..., Board], broker: MosquittoBroker) -> None:
    node = board(broker.port, wifi=True, node={"budget": 2000, "backoff": 0})
    node.set_network(ssid="home", password="right", join_ms=20, dhcp_ms=30, scan_ms=20)
    assert error(node.run()[0]) == "None"
    node.set_network(ssid="home", down=True)
    end = node.run()[0]
    assert "WifiError" in error(end) and "not found" in error(end) and left(end) == 1
    node.set_network(ssid="home", password="changed")
    assert "password" in error(node.run()[0])
    node.set_network(ssid="home", password="right")
    end = node.run()[0]
    assert error(end) == "None" and left(end) == 0
    events = [json.loads(line) for line in (node.folder / "network.log").read_text().splitlines()]
    assert events[-1]["event"] == "off"  # the radio sleeps too


# --- power


def test_power_cut_and_commands(board: Callable[..., Board], broker: MosquittoBroker) -> None:
    """Killed when it has processed a command and not yet told the broker: once all the same."""
    with Observer(broker) as observer:
        node = board(broker.port, (), node={"subscribe": COMMANDS}, stop=True)
        config = json.loads((node.folder / "put" / "config.json").read_text())
        node.put("config.json", config | {"stop": False})
        node.run()
        node.put("config.json", config)
        for k in range(3):
            observer.publish("c/x", str(k), 2)
        for k in range(3):
            node.go_on()
            assert node.wait_line("command", 10) == f"command 2 {k}"
            node.wait_line("stopped", 10)
            node.cut_power()
        node.put("config.json", config | {"stop": False})
        assert commands(node.run()[0]) == []
        node.run()
        assert "boot timer  0 1 2" in node.lines


@pytest.mark.parametrize("store", ["rtc", "layered"])
def test_rtc_memory(board: Callable[..., Board], broker: MosquittoBroker, store: str) -> None:
    """Deep sleep keeps it; a power cut takes it, and the messages in flash are still there."""
    with Observer(broker, ("t", 2)) as observer, ChaosProxy(broker.port) as proxy:
        node = board(proxy.port, node={"backoff": 0}, store=store)
        node.run(2)
        assert sent(proxy.connections[1])[:2] == ["CONNECT", "PUBLISH"]  # one burst
        proxy.refuse(how="closed")
        assert left(node.run()[0]) == 1
        node.cut_power()
        proxy.refuse(False)
        assert left(node.run()[0]) == 0
        observer.publish("t", "end", 1)
        observer.wait("t", "end")
    # The third was in flash, or lost; the number of the boot was in RTC memory.
    wanted = ["1", "2", "1", "end"] if store == "rtc" else ["1", "2", "3", "1", "end"]
    assert observer.payloads("t") == wanted


def test_rtc_memory_full(board: Callable[..., Board], broker: MosquittoBroker) -> None:
    """As many messages as there is room for, and they leave."""
    with Observer(broker, ("t", 2)) as observer, ChaosProxy(broker.port) as proxy:
        publish = [("t", f"N {n} " + "x" * 300, 2) for n in range(4)]
        node = board(proxy.port, publish, {"backoff": 0}, {"full": "refuse"}, store="rtc")
        proxy.refuse(how="closed")
        ends = node.run(2)
        assert left(ends[0]) == 4 and left(ends[1]) == 5
        assert sum(line.startswith("full") for line in ends[1].lines) == 3
        proxy.refuse(False)
        for _ in range(3):
            end = node.run()[0]
            assert error(end) in ("None", "OutboxFull()")  # what was refused before it is told, too
        assert "published" in end.lines[1]
        observer.publish("t", "end", 2)
        observer.wait("t", "end")
        # (What the store refused went at QoS 0.)
        got = [p[:3] for p in observer.payloads("t") if p[0] != "3"]
        assert got[:5] == ["1 0", "1 1", "1 2", "1 3", "2 0"] and len(got) == len(set(got))


# --- the plan


def test_grid(board: Callable[..., Board], broker: MosquittoBroker) -> None:
    """Wakes are at one point of each period, whatever a wake took, and the timer's faults."""
    node = board(broker.port, ())
    ends = node.run(3)
    at = [(end.clock_ms + (end.sleep_ms or 0)) / 1000 % PERIOD for end in ends]
    assert max(at) - min(at) < 0.1, at
    assert all(299 < (end.sleep_ms or 0) / 1000 <= 300 for end in ends[1:])
    # 5 s early: not again in 5 s.
    node.wake(after_ms=(ends[-1].sleep_ms or 0) - 5000)
    early = node.wait_sleep(10)
    assert 304 < (early.sleep_ms or 0) / 1000 <= 305
    # 5 s late: the next one is at its time.
    node.wake(after_ms=(early.sleep_ms or 0) + 5000)
    late = node.wait_sleep(10)
    assert 294 < (late.sleep_ms or 0) / 1000 <= 295


def test_jitter(board: Callable[..., Board], broker: MosquittoBroker) -> None:
    node = board(broker.port, (), node={"jitter": 100})
    ends = node.run(7)[1:]
    lengths = [(end.sleep_ms or 0) / 1000 for end in ends]
    assert len({round(length) for length in lengths}) > 2 and max(lengths) < 401


def test_rp2(board: Callable[..., Board], broker: MosquittoBroker) -> None:
    """No RTC memory, no clock over deep sleep, no wake reason."""
    node = board(broker.port, board={"type": "rp2"})
    ends = node.run(3)
    assert all(299 < (end.sleep_ms or 0) / 1000 <= 300 for end in ends)
    assert [error(end) for end in ends] == ["None"] * 3
    assert "boot reset " in node.lines
    config = json.loads(node.read("config.json"))
    node.put("config.json", config | {"store": "rtc"})
    node.wake()
    end = node.wait_end(10)
    assert end.reason == "exception"
    assert any("RTC" in line and "journal" in line.lower() for line in end.lines), end.lines


FIVE = {"version": 5, "will_properties": {"will_delay": 4}, "session_expiry": 60}


def test_will_of_a_sleeper(board: Callable[..., Board], broker: MosquittoBroker) -> None:
    """MQTT 5: a planned sleep is not announced, a missed wake is, once."""
    with Observer(broker, ("state", 1), ("t", 1)) as observer, ChaosProxy(broker.port) as proxy:
        node = board(
            proxy.port, client=FIVE, will=["state", "lost", 1], node={"period": 1.7, "budget": 500}
        )
        for _ in range(4):
            end = node.run()[0]
            assert error(end) == "None" and left(end) == 0
            # Real time, as far as the broker goes: its clock does not jump.
            time.sleep((end.sleep_ms or 0) / 1000)
        assert observer.payloads("state") == []
        assert [wire5_disconnect(c) for c in proxy.connections] == [b"\xe0\x01\x04"] * 4
        observer.wait("state", "lost")  # its battery was pulled while it slept
        observer.publish("state", "mark", 1)
        observer.wait("state", "mark")
    assert observer.payloads("state") == ["lost", "mark"]
    assert observer.payloads("t") == ["1", "2", "3", "4"]


def wire5_disconnect(connection: ProxiedConnection) -> bytes:
    """Return the last packet, as bytes."""
    return connection.transcript.data("up")[-3:]


def test_one_burst_on_version_5(board: Callable[..., Board], broker: MosquittoBroker) -> None:
    """What the server told at the last wake is remembered; nothing waits for CONNACK."""
    with Observer(broker, ("t", 2)) as observer, ChaosProxy(broker.port) as proxy:
        client = {"version": 5, "session_expiry": 600}
        publish = [("t", "N one", 1), ("t", "N two", 1)]
        node = board(proxy.port, publish, client=client, node={"subscribe": COMMANDS})
        node.run()
        for k in range(3):
            observer.publish("c/x", str(k), 2)
        end = node.run()[0]
        assert commands(end) == ["0", "1", "2"] and error(end) == "None"
        node.run()
        assert sent(proxy.connections[2])[-1] == "DISCONNECT"
        assert proxy.connections[2].turnarounds == 2
        observer.publish("t", "end", 2)
        observer.wait("t", "end")
    got = observer.payloads("t")
    for kind in ("one", "two"):
        assert [p for p in got if p.endswith(kind)] == [f"{n} {kind}" for n in (1, 2, 3)]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"node": {"period": 5}}, "budget"),
        ({"node": {"expiry": 200}}, "expires"),
        ({"node": {"jitter": 301}}, "jitter"),
        ({"store": "ram"}, "survives"),
        ({"store": "none"}, "store"),
        ({"client": {"clean": True}}, "clean"),
        ({"board": {"type": "rp2"}, "node": {"period": 5000}}, "4294"),
        ({"client": {"version": 5, "session_expiry": 300}}, "session expires"),
        ({"client": FIVE, "will": ["w", "x"]}, "session expires"),
        ({"client": FIVE | {"session_expiry": 600}, "will": ["w", "x"]}, "will_delay longer"),
        (
            {
                "client": FIVE | {"session_expiry": 600, "will_properties": {"will_delay": 900}},
                "will": ["w", "x"],
            },
            "session_expiry longer",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_plan_that_cannot_work(
    board: Callable[..., Board], change: dict[str, Any], why: str
) -> None:
    node = board(1, **change)
    node.power_on()
    end = node.wait_end(10)
    assert end.reason == "exception"
    assert any("ValueError" in line and why in line for line in end.lines), end.lines


def test_pin(board: Callable[..., Board], broker: MosquittoBroker) -> None:
    """A pin's wake is told apart, and does not move the plan."""
    node = board(broker.port, (), pin=True)
    first = node.run()[0]
    node.wake(after_ms=(first.sleep_ms or 0) - 20000, pin=True)
    end = node.wait_sleep(10)
    assert "boot pin " in end.lines
    assert 19 < (end.sleep_ms or 0) / 1000 <= 20


def test_status(board: Callable[..., Board], broker: MosquittoBroker) -> None:
    """Who looks later sees until when it sleeps; and a death is a will."""
    with Observer(broker, ("state", 1)) as observer, ChaosProxy(broker.port) as proxy:
        will = ["state", "lost", 1, True]
        node = board(proxy.port, will=will, node={"status": "state", "budget": 3000})
        node.run(2)
        observer.publish("state", "mark", 1)
        observer.wait("state", "mark")
        asleep = json.loads(observer.payloads("state")[1])
        assert 303 <= asleep["asleep"] <= 304 and asleep["until"] == 0  # its clock was never set
        node.put("config.json", json.loads(node.read("config.json")) | {"hang": True})
        node.wake()
        node.wait_line("hanging", 10)
        node.cut_power()
        observer.wait("state", "lost")


# --- what an application does besides


@pytest.mark.parametrize("ms", [0, 3, 30])
def test_close(board: Callable[..., Board], broker: MosquittoBroker, ms: int) -> None:
    """A wake can be ended at any moment; the node sleeps, and the next wake is whole."""
    node = board(broker.port, what="close", ms=ms, node={"guard": False, "backoff": 0})
    node.power_on()
    assert node.wait_line("closed", 4) == "closed True"
    assert node.wait_sleep(4).main_ms < 1500
    config = json.loads(node.read("config.json"))
    del config["what"]
    node.put("config.json", config)
    assert error(node.run()[0]) == "None"


def test_close_while_connecting(board: Callable[..., Board]) -> None:
    with ScriptedPeer() as peer:
        node = board(peer.port, what="close", ms=100, node={"guard": False})
        node.power_on()
        accept(peer).expect_closed()
        node.wait_line("closed True", 4)


def test_acknowledged_and_left(board: Callable[..., Board], broker: MosquittoBroker) -> None:
    """What was acknowledged does not come again in another wake of the same boot."""
    with Observer(broker) as observer:
        node = board(broker.port, (), node={"subscribe": COMMANDS}, what="break")
        node.run()
        for k in range(3):
            observer.publish("c/x", str(k), 2)
        node.run(3)
        node.go_on()
        node.wait_end(10)
    lines = [line.split() for end in node.records for line in end.lines]
    got = [words[-1] for words in lines if words[0] in ("got", "command")]
    assert got == ["0", "1", "2"]


@pytest.mark.once
@pytest.mark.parametrize("full", ["oldest", "refuse"])
def test_more_than_the_store_holds(
    board: Callable[..., Board], broker: MosquittoBroker, full: str
) -> None:
    """Published while connected: the newest stay, and go out in order; or, as its owner said, the
    first stay, and what has no room goes at QoS 0."""
    client = {"full": full} if full == "refuse" else {}
    with Observer(broker, ("t", 1)) as observer:
        options = {"node": {"subscribe": COMMANDS}, "client": client}
        node = board(broker.port, (), store="rtc", what="publish", **options)
        node.run()
        observer.publish("c/x", "go", 1)
        end = node.run()[0]
        refused = [line.split()[1] for line in end.lines if line.startswith("full")]
        dropped = [line.split()[1] for line in end.lines if line.startswith("dropped")]
        node.run()
        observer.publish("t", "end", 1)
        observer.wait("t", "end")
    got = [(m.payload.decode()[0], m.qos) for m in observer.messages][:-1]
    names = list("012345678")
    if full == "refuse":
        assert not dropped and 3 <= len(refused) < 7 and refused == names[-len(refused) :]
        assert sorted(got) == [(n, int(n not in refused)) for n in names]
        assert "wake OutboxFull()" in end.lines
    else:
        assert "wake None" in end.lines
        assert not refused and 3 <= len(dropped) < 7 and dropped == names[: len(dropped)]
        assert got == [(n, 1) for n in names[len(dropped) :]]


def test_readings_leave_while_commands_wait(
    board: Callable[..., Board], broker: MosquittoBroker
) -> None:
    """A limit on what comes in does not hold up what goes out."""
    with Observer(broker, ("t", 2)) as observer:
        publish = [("t", "N one", 1), ("t", "N two", 2)]
        node = board(broker.port, publish, node={"subscribe": COMMANDS, "max_messages": 5})
        node.run()
        for k in range(40):
            observer.publish("c/x", str(k), 1 + k % 2)
        for _ in range(5):
            end = node.run()[0]
            assert len(commands(end)) == 5 and left(end) <= 1, end.lines
        observer.publish("t", "end", 2)
        observer.wait("t", "end")
    got = observer.payloads("t")
    assert [p for p in got if "one" in p] == [f"{n} one" for n in range(1, 7)]
    assert [p for p in got if "two" in p][:5] == [f"{n} two" for n in range(1, 6)]


def test_silent_at_a_burst(board: Callable[..., Board]) -> None:
    """A broker that says nothing to a burst: there is time for the careful order."""
    with ScriptedPeer() as peer:
        node = board(peer.port, node={"budget": 2000})
        node.power_on()
        careful(peer, False)
        node.wait_sleep(10)
        node.wake()
        accept(peer).expect_packet(wire.PUBLISH)
        careful(peer)
        assert left(node.wait_sleep(10)) == 0


@pytest.mark.parametrize("how", ["silent", "refuses"])
def test_another_at_the_old_address(
    board: Callable[..., Board], broker: MosquittoBroker, how: str
) -> None:
    """The broker has moved, and somebody else is where it was."""
    with socket.socket() as old:
        old.bind(("127.0.0.9", broker.port))
        old.listen()
        node = board(broker.port, host="broker.home", node={"budget": 3000})
        node.set_network()
        node.run()
        config = json.loads(node.read("config.json"))
        node.put("config.json", config | {"address": "127.0.0.9"})
        node.wake()
        connection, _ = old.accept()
        if how == "refuses":
            connection.sendall(wire.connack(False, 5))
        end = node.wait_sleep(10)
        assert error(end) == "None" and left(end) == 0
        connection.close()


def test_settings_changed(board: Callable[..., Board], broker: MosquittoBroker) -> None:
    """The remembered address is that of one name only."""
    with ChaosProxy(broker.port) as proxy:
        node = board(proxy.port, host="broker.home")
        node.set_network()
        node.run()
        config = json.loads(node.read("config.json"))
        node.put("config.json", config | {"host": "127.0.0.1", "address": "127.0.0.9"})
        config = json.loads((node.folder / "put" / "config.json").read_text())
        node.wake()
        assert error(node.wait_sleep(10)) == "None"


def test_backoff_that_cannot_be_noted(board: Callable[..., Board], broker: MosquittoBroker) -> None:
    """A medium that cannot be written: it tries, rather than wait for ever."""
    with ChaosProxy(broker.port) as proxy:
        node = board(proxy.port, (), failures=9)
        node.run()
        assert sent(proxy.connections[0]) == ["CONNECT", "DISCONNECT"]


def test_refused_subscription_is_told(board: Callable[..., Board]) -> None:
    with ScriptedPeer() as peer:
        node = board(peer.port, (), node={"subscribe": COMMANDS})
        node.power_on()
        connection = accept(peer)
        connection.send(wire.connack())
        subscribe = connection.expect_packet(wire.SUBSCRIBE)
        connection.expect_packet(wire.PINGREQ)
        # In this order there is another fence: retained messages might follow the SUBACK.
        connection.send(wire.pingresp() + wire.suback(subscribe.packet_id or 0, 0x80))
        connection.expect_packet(wire.PINGREQ)
        connection.send(wire.pingresp())
        assert "Refused" in error(node.wait_sleep(10))


def test_main_survives_any_command(
    runtime: Runtime, broker: MosquittoBroker, tmp_path: Path
) -> None:
    """firmware/main.py: no command may stop it, now or at its next start."""
    config = {"host": "127.0.0.1", "port": broker.port, "client_id": "g", "topic": "g"}
    main = ROOT / "firmware" / "main.py"
    with (
        Observer(broker) as observer,
        Board(runtime, tmp_path, main, {"config.json": config}) as node,
    ):
        node.run()
        commands = [("set/count", "x"), ("set/relay", "y"), ("set/light", "purple"), ("do/x", "")]
        for name, payload in commands:
            observer.publish("g/" + name, payload, 2)
        observer._client.publish("g/do/toggle", b"\xff\xfe", 2).wait_for_publish(10)
        observer.publish("g/set/light", "off", 1)
        end = node.run()[0]
        assert sum(line.startswith("command") for line in end.lines) == 6
        end = node.run()[0]
        assert end.lines[0] == "wake timer relay 1"
        assert "sent meter 3" in end.lines and "sent light 3" not in end.lines

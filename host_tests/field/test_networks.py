"""Networks and peers as bad as they come: nothing is lost, and the client is back by itself.

(Each connection cut at each byte, closed, reset and stalled, also inside the handshakes of TLS and
WebSocket: `make prove`. A peer that reads nothing: scenarios/test_client.py.)
"""

import contextlib
import json
import threading
from collections.abc import Callable
from typing import Any

import paho.mqtt.client as paho
import pytest
from field.conftest import PROGRAMS, VERSIONS, Broker
from paho.mqtt.enums import CallbackAPIVersion

from tools.testing import wire
from tools.testing.board import Board
from tools.testing.brokers import MosquittoBroker
from tools.testing.observer import Observer
from tools.testing.peer import Connection, PeerFailure, PeerTimeout, ScriptedPeer
from tools.testing.runtimes import MICROPYTHON32, Device, Runtime

TIMEOUT = 0.3  # s, the client's


def closed(conn: Connection, timeout: float) -> str:
    """Wait until the device has closed; return who did, or nothing. What it sends is no matter."""
    with conn._changed:
        conn._changed.wait_for(lambda: conn.closed_by, timeout)
    return conn.closed_by


@VERSIONS
@pytest.mark.parametrize("keepalive", [0, 60])
def test_acknowledgement_that_never_comes(
    stay: Callable[..., Device], peer: ScriptedPeer, version: int, keepalive: int
) -> None:
    """Noticed in time, also by a client that was idle when it published, with or without pings."""
    broker = Broker(peer, version)
    options = {"version": version, "timeout": TIMEOUT, "keepalive": keepalive}
    stay(peer.port, options, count=1, pause=3 * TIMEOUT)
    conn = broker.accept()
    assert broker.decode(conn.next_packet()).type == wire.PUBLISH
    conn.expect(wire.pingreq(), 3)
    conn.send(wire.pingresp())
    assert closed(conn, 3)


@VERSIONS
@pytest.mark.once
def test_acknowledgement_that_never_comes_to_a_node(
    board: Callable[..., Board], peer: ScriptedPeer, version: int
) -> None:
    """It is given up some wakes later; no wake takes its whole budget for it after that."""
    broker = Broker(peer, version)
    over = threading.Event()

    def listen() -> None:
        while not over.is_set():
            with contextlib.suppress(PeerFailure):  # nobody came, or a wake was over before CONNECT
                conn = peer.accept(0.1)
                conn.next_packet()
                conn.send(broker.wire.connack(True))
                broker.serve(conn, deaf="bad")

    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    node = board(peer.port, (("bad", "N", 1, {}),), {"version": version}, {"budget": 1200})
    config = json.loads((node.folder / "put" / "config.json").read_text())
    last = node.run()[-1].lines[-1]
    assert last.startswith("left 1 error ")
    node.put("config.json", config | {"publish": [["n", "N", 1, {}]]})
    for _ in range(8):
        if last == "left 0 error None":
            break
        last = node.run()[-1].lines[-1]
    over.set()
    thread.join()
    assert last == "left 0 error None", [end.lines for end in node.records]


def accepts_and_is_silent(broker: Broker) -> None:
    broker.peer.accept().next_packet()


def resets_at_once(broker: Broker) -> None:
    broker.peer.accept().reset()


def resets_within_connack(broker: Broker) -> None:
    conn = broker.peer.accept()
    conn.next_packet()
    conn.send(broker.wire.connack()[:2])
    conn.reset()


def closes_behind_connack(broker: Broker) -> None:
    broker.accept(present=True).close()


def never_answers_a_ping(broker: Broker) -> None:
    conn = broker.accept(present=True)
    packet = conn.next_packet()
    while packet[0] >> 4 == wire.PUBLISH:
        packet = conn.next_packet()
    assert packet == wire.pingreq()
    assert closed(conn, 5)


def half_open(broker: Broker) -> None:
    broker.accept(present=True).half_open()


def a_byte_now_and_then(broker: Broker) -> None:
    """Slower than the time limit in all, and each byte within it: CONNACK has to be there in time,
    or a peer that drips would hold the client for ever."""
    conn = broker.peer.accept()
    conn.next_packet()
    for value in broker.wire.connack(True):
        if closed(conn, TIMEOUT / 2):
            return
        conn.send(bytes((value,)))
    assert closed(conn, 5)


def garbage(broker: Broker) -> None:
    conn = broker.peer.accept()
    conn.next_packet()
    conn.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    assert closed(conn, 5)


NETWORKS: tuple[Callable[[Broker], None], ...] = (
    accepts_and_is_silent,
    resets_at_once,
    resets_within_connack,
    closes_behind_connack,
    never_answers_a_ping,
    half_open,
    a_byte_now_and_then,
    garbage,
)


@VERSIONS
def test_client(stay: Callable[..., Device], peer: ScriptedPeer, version: int) -> None:
    """One client meets half of them in turn, each behind a connection that was good."""
    broker = Broker(peer, version)
    networks = NETWORKS[version % 2 :: 2]
    options = {"version": version, "timeout": TIMEOUT, "keepalive": 1}
    device = stay(peer.port, options, count=len(networks) + 1)
    for n, network in enumerate(networks):
        conn = broker.accept(present=n > 0)
        broker.take(conn, str(n))
        device.wait_line(f"sent {n}", 5)
        conn.close()
        network(broker)
    broker.take(broker.accept(present=True), str(len(networks)))
    device.wait_line("end", 5)
    sent = [line for line in device.lines if line.startswith("sent")]
    assert sent == [f"sent {n}" for n in range(len(networks) + 1)]


def published(conn: Connection, broker: Broker) -> list[bytes]:
    """Take all that a node has, up to its DISCONNECT."""
    payloads = []
    while (raw := conn.next_packet())[0] >> 4 != wire.DISCONNECT:
        if raw[0] >> 4 == wire.PUBLISH:
            packet: Any = broker.decode(raw)
            payloads.append(packet.payload)
            conn.send(broker.wire.puback(packet.packet_id))
        elif raw == wire.pingreq():
            conn.send(wire.pingresp())
    return payloads


@pytest.mark.desk("runs on the simulated board")
@VERSIONS
def test_node(peer: ScriptedPeer, version: int, tmp_path) -> None:
    """Each costs a node one wake, within its budget; the next one delivers what waits, too."""
    if MICROPYTHON32.reason:
        pytest.skip(MICROPYTHON32.reason)
    broker = Broker(peer, version)
    config = {
        "client": {
            "port": peer.port,
            "client_id": "node",
            "clean": False,
            "timeout": TIMEOUT,
            "version": version,
        },
        "node": {"period": 60, "budget": 1200, "backoff": 0},
        "publish": [("n", "N", 1, {})],
    }
    with Board(MICROPYTHON32, tmp_path, PROGRAMS / "asleep.py", {"config.json": config}) as node:
        number = 0
        for network in NETWORKS[1 - version % 2 :: 2]:  # the other half
            node.go_on()
            number += 1
            network(broker)
            end = node.wait_sleep(10)
            # (A node has tried again in the same wake, where there was time.)
            assert end.awake_ms < 1200 + 500 and "error None" not in end.lines[-1], network.__name__
            while peer._accepted:
                peer._accepted.popleft()
            node.go_on()
            number += 1
            conn = None
            while not conn:
                try:
                    conn = broker.accept(present=True)
                except PeerTimeout:
                    raise
                except PeerFailure:
                    pass  # of the wake before, and taken late: nothing ever came on it
            waiting = {b"%d" % n for n in (number - 1, number)}
            assert set(published(conn, broker)) == waiting, network.__name__
            assert node.wait_sleep(10).lines[-1] == "left 0 error None"


# --- Another with the same client identifier ------------------------------------------------------


class Thief:
    """Connects with somebody else's client identifier, and does not come back when it is sent away.
    ``clean``: the session that was there is lost with it."""

    def __init__(self, broker: MosquittoBroker, clean: bool) -> None:
        self.client = paho.Client(CallbackAPIVersion.VERSION2, "node", clean_session=clean)
        self.client.connect(broker.host, broker.port)
        while not self.client.is_connected():
            self.client.loop(0.1)

    def leave(self) -> None:
        """Disconnect."""
        self.client.disconnect()
        self.client.loop(0.1)


@VERSIONS
@pytest.mark.parametrize("clean", [False, True])
def test_taken_over(
    stay: Callable[..., Device],
    mosquitto: Callable[..., MosquittoBroker],
    version: int,
    clean: bool,
) -> None:
    """By another with the same client identifier, which may have ended the session: the client says
    so, comes back, and has its subscription."""
    broker = mosquitto()
    device = stay(broker.port, {"version": version}, subscribe="c")
    device.wait_line("subscribed", 5)
    thief = Thief(broker, clean)
    device.wait_line("lost", 5)
    device.wait_line("connected", 5)
    thief.leave()
    with Observer(broker, ("n", 0)) as observer:
        # Retained: where the session was ended, the subscription may be still on its way.
        observer.publish("c", "stop", 1, retain=True)
        device.wait_line("got stop", 5)
        device.wait_line("end", 5)


@VERSIONS
def test_taken_over_in_its_sleep(
    board: Callable[..., Board], mosquitto: Callable[..., MosquittoBroker], version: int
) -> None:
    broker = mosquitto()
    client = {"version": version}
    node = board(broker.port, client=client, node={"subscribe": [("c", 1)]})
    with Observer(broker, ("n", 1)) as observer:
        assert node.run()[0].lines[-1] == "left 0 error None"
        Thief(broker, True).leave()
        assert node.run()[0].lines[-1] == "left 0 error None"
        observer.publish("c", "command", 1)
        end = node.run()[0]
        assert "command command" in end.lines and end.lines[-1] == "left 0 error None"
        observer.wait_count("n", 3)


# --- A name server --------------------------------------------------------------------------------


@pytest.mark.desk("runs on the simulated board")
def test_name_server(runtime: Runtime, mosquitto: Callable[..., MosquittoBroker], tmp_path) -> None:
    """It fails, then it hangs, then it is back: so is the client, by itself."""
    broker = mosquitto()
    options = {"port": broker.port, "host": "broker.home", "client_id": "node", "timeout": 0.5}
    config = {"client": {**options, "clean": False, "backoff": [0.02, 0.1]}, "subscribe": "c"}
    files = {"config.json": {**config, "wifi": True}}
    main = PROGRAMS / "staying.py"
    with (
        Board(runtime, tmp_path, main, files, ("config.json",)) as board,
        Observer(broker, ("n", 0)) as observer,
    ):
        board.set_network(dns_fail=True)
        board.power_on()
        board.wait_line("failed OSError", 5)
        board.set_network(dns_ms=700)  # it blocks: all of the time limit is gone
        board.wait_line("failed TimeoutError", 5)
        board.set_network(dns_ms=100)
        board.wait_line("subscribed", 5)
        board.set_network(dns_fail=True)
        broker.kill()
        board.wait_line("lost", 5)
        broker.start()
        board.set_network()
        board.wait_line("connected", 5)
        observer.close()
        with Observer(broker, ("n", 0)) as again:
            again.publish("c", "stop", 1)
            board.wait_line("end", 5)

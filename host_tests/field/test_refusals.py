"""Refusals, certificates and redirects that pass: the client is back by itself, nothing is lost."""

import ssl
from collections.abc import Callable
from pathlib import Path
from time import sleep
from typing import Any

import pytest
from field.conftest import VERSIONS, Broker

from tools.testing import wire, wire5
from tools.testing.address import HOST
from tools.testing.board import Board
from tools.testing.brokers import MosquittoBroker
from tools.testing.certs import certificates
from tools.testing.loop import call, loop, run
from tools.testing.peer import Connection, ScriptedPeer
from tools.testing.runtimes import Device


@VERSIONS
@pytest.mark.parametrize("code", [2, 4, 5])
def test_refusal(stay: Callable[..., Device], peer: ScriptedPeer, version: int, code: int) -> None:
    """The broker's user database is away for a while."""
    broker = Broker(peer, version)
    device = stay(peer.port, {"version": version}, count=3)
    conn = broker.accept()
    broker.take(conn, "0")
    device.wait_line("sent 0", 5)
    conn.close()
    for _ in range(3):
        broker.accept(code).expect_closed()
    conn = broker.accept(present=True)
    broker.take(conn, "1")
    broker.take(conn, "2")
    device.wait_line("end", 5)
    assert [line for line in device.lines if line.startswith("sent")] == [
        f"sent {n}" for n in range(3)
    ]


@VERSIONS
@pytest.mark.parametrize("how", ["function", "replaced"])
def test_password_that_expires(
    stay: Callable[..., Device], peer: ScriptedPeer, version: int, how: str
) -> None:
    """Azure's tokens, a JWT: each CONNECT has a new one."""
    broker = Broker(peer, version)
    login = {"version": version, "username": "u", "password": "token1"}
    device = stay(peer.port, login, count=2, password=how)
    conn = broker.accept()
    assert broker.hello.password == b"token1"
    broker.take(conn, "0")
    device.wait_line("connected", 5)
    device.wait_line("sent 0", 5)
    conn.close()
    broker.accept(5)
    assert broker.hello.password == (b"token2" if how == "function" else b"new")
    conn = broker.accept(present=True)
    broker.take(conn, "1")
    device.wait_line("end", 5)


@VERSIONS
def test_connack_with_the_end_behind_it(
    stay: Callable[..., Device], peer: ScriptedPeer, version: int
) -> None:
    """In one segment: it was accepted, so connect() goes on."""
    broker = Broker(peer, version)
    device = stay(peer.port, {"version": version}, count=1)
    conn = peer.accept()
    conn.next_packet()
    conn.send(broker.wire.connack() + b"\x00\x00")
    conn = broker.accept(present=True)
    broker.take(conn, "0")
    device.wait_line("end", 5)


def test_redirect_is_not_obeyed(stay: Callable[..., Device], peer: ScriptedPeer) -> None:
    """By default: one packet must not lead a client to a dead or a hostile host."""
    broker = Broker(peer, 5)
    with ScriptedPeer() as other:
        there = {"server_reference": f"{HOST}:{other.port}"}
        device = stay(peer.port, {"version": 5, "username": "u", "password": "p"}, count=1)
        broker.accept().send(wire5.disconnect(0x9D, there))
        conn = peer.accept()
        conn.next_packet()
        conn.send(wire5.connack(reason_code=0x9C, properties=there))
        broker.take(broker.accept(), "0")
        device.wait_line("end", 5)
        other.expect_no_connection(50)


def test_redirect_to_nowhere(stay: Callable[..., Device], peer: ScriptedPeer) -> None:
    """Where it is obeyed, one attempt that fails leads back."""
    broker = Broker(peer, 5)
    with ScriptedPeer() as other:
        nowhere = {"server_reference": f"{HOST}:{other.port}"}
        other.close()
        device = stay(peer.port, {"version": 5, "redirect": True}, count=1)
        broker.accept().send(wire5.disconnect(0x9D, nowhere))
        broker.take(broker.accept(), "0")
        device.wait_line("end", 5)


def test_assigned_client_id_is_for_who_has_none(
    stay: Callable[..., Device], peer: ScriptedPeer
) -> None:
    broker = Broker(peer, 5)
    device = stay(peer.port, {"version": 5}, count=1)
    broker.accept(properties={"assigned_client_id": "another"}).close()
    conn = broker.accept()
    assert broker.hello.client_id == "node"
    broker.take(conn, "0")
    device.wait_line("end", 5)


def test_server_keep_alive_from_connack_on(stay: Callable[..., Device], peer: ScriptedPeer) -> None:
    """The server ends what is silent for half as long again, though the timeout is longer."""
    broker = Broker(peer, 5)
    stay(peer.port, {"version": 5, "timeout": 30})
    conn = broker.accept(properties={"server_keepalive": 1})
    conn.expect(wire.pingreq(), 1.5)


@VERSIONS
def test_program_that_blocks(stay: Callable[..., Device], peer: ScriptedPeer, version: int) -> None:
    """Longer than the timeout, with the answer in the socket."""
    broker = Broker(peer, version)
    options = {"version": version, "timeout": 0.4, "keepalive": 1}
    device = stay(peer.port, options, count=4, block=0.9)
    conn = broker.accept()
    for n in range(4):
        raw = conn.next_packet()
        while raw == wire.pingreq():
            sleep(0.1)  # longer than what it leaves asyncio, so that it blocks by then
            conn.send(wire.pingresp())
            raw = conn.next_packet()
        packet: Any = wire5.decode(raw, "up")[0] if version == 5 else wire.decode(raw)[0]
        assert packet.payload == b"%d" % n
        conn.send(broker.wire.puback(packet.packet_id))
    device.wait_line("end", 5)
    assert len(peer.connections) == 1


class Impostor:
    """A certificate for each time: some seconds somebody else answers."""

    def __init__(self) -> None:
        files = certificates()
        self.bad = False
        self.good_context = files.server_context()
        self.bad_context = files.server_context(files.foreign_server)
        self.context = files.server_context()
        self.context.sni_callback = self.choose

    def choose(self, sock: ssl.SSLObject, name: str, context: ssl.SSLContext) -> None:
        sock.context = self.bad_context if self.bad else self.good_context


@VERSIONS
def test_certificate_of_somebody_else(
    stay: Callable[..., Device], tmp_path: Path, version: int
) -> None:
    (tmp_path / "ca.der").write_bytes(certificates().ca_der)
    impostor = Impostor()
    with ScriptedPeer(impostor.context) as peer:
        broker = Broker(peer, version)
        options = {"version": version, "host": "localhost"}
        device = stay(peer.port, options, count=2, tls=str(tmp_path / "ca.der"))
        conn = broker.accept()
        broker.take(conn, "0")
        device.wait_line("sent 0", 5)
        impostor.bad = True
        conn.close()
        device.wait_line("lost", 5)
        peer.expect_no_connection(300)
        impostor.bad = False
        conn = broker.accept(present=True)
        broker.take(conn, "1")
        device.wait_line("end", 5)
        # Each of the connections in vain was closed as TLS: a collector would else close a file
        # descriptor that the next one has (on unix).


def test_certificate_at_a_remembered_address(
    board: Callable[..., Board], mosquitto: Callable[..., MosquittoBroker]
) -> None:
    """Somebody else has the address by now: the name is looked up in the same wake."""
    broker = mosquitto(tls=certificates())
    node = board(broker.tls_port, host="localhost", tls={"ca": "ca.der"})
    node.put("ca.der", certificates().ca_der)
    assert node.run()[0].lines[-1] == "left 0 error None"

    async def listen() -> Any:
        files = certificates()
        context = files.server_context(files.wrong_host)
        return await loop().create_server(
            lambda: Connection("up", lambda _: None), "127.0.0.9", broker.tls_port, ssl=context
        )

    server = call(listen())
    try:
        node.put("address", "localhost 127.0.0.9")
        assert node.run()[0].lines[-1] == "left 0 error None"
    finally:
        run(server.close)

"""What the standard wants a connection ended for, and the broker sends again: it ends some
connections, not each. Brokers that are not strict pass such topics on; here a scripted peer does.
"""

from collections.abc import Callable

import pytest
from field.conftest import VERSIONS, Broker

from tools.testing import wire, wire5
from tools.testing.board import Board
from tools.testing.peer import ScriptedPeer
from tools.testing.runtimes import Device

TOPICS = pytest.mark.parametrize(
    "topic", [b"\xff\xfe", b"a\0b", b"cmd/#"], ids=["utf8", "nul", "wildcard"]
)


def publish(broker: Broker, topic: bytes, packet_id: int, payload: bytes) -> bytes:
    """Return a PUBLISH at QoS 1, whatever its topic is."""
    body = len(topic).to_bytes(2, "big") + topic + packet_id.to_bytes(2, "big")
    body += b"\0" * broker.five + payload
    return b"\x32" + wire.encode_remaining_length(len(body)) + body


def third_is_read_past(broker: Broker, device: Device, bad: bytes) -> None:
    """A client that subscribes gets a bad message on each connection: it ends two of them."""
    for n in range(3):
        conn = broker.accept(present=n > 0)
        if not n:
            packet = broker.decode(conn.next_packet())
            conn.send(broker.wire.suback(packet.packet_id, 1))
        conn.send(bad)
        if n < 2:
            assert not broker.serve(conn)
    conn.send(publish(broker, b"cmd", 8, b"go") + bad + publish(broker, b"cmd", 9, b"stop"))
    assert broker.serve(conn) == [7, 8, 7, 9]
    device.wait_line("end", 5)
    assert [line for line in device.lines if line[:3] == "got"] == ["got go", "got stop"]


@VERSIONS
@TOPICS
def test_client(
    stay: Callable[..., Device], peer: ScriptedPeer, version: int, topic: bytes
) -> None:
    broker = Broker(peer, version)
    device = stay(peer.port, {"version": version}, subscribe="cmd")
    bad = publish(broker, topic, 7, b"x")
    third_is_read_past(broker, device, bad)


@VERSIONS
def test_large(stay: Callable[..., Device], peer: ScriptedPeer, version: int) -> None:
    """Larger than what is held in RAM: the third one is read past, to its last byte."""
    broker = Broker(peer, version)
    device = stay(peer.port, {"version": version, "large": True}, subscribe="cmd")
    bad = publish(broker, b"cmd/#", 7, bytes(20000))
    third_is_read_past(broker, device, bad)


def repeated(broker: Broker) -> bytes:
    """Return six PUBLISHes that were in flight, with DUP."""
    packets = [bytearray(publish(broker, b"cmd", n, b"%d" % n)) for n in range(1, 7)]
    for packet in packets:
        packet[0] |= 8
    return b"".join(packets)


def test_client_beyond_receive_maximum(stay: Callable[..., Device], peer: ScriptedPeer) -> None:
    """MQTT 5: mosquitto repeats what was in flight with an earlier client, whatever this says."""
    broker = Broker(peer, 5)
    client = {"version": 5, "properties": {"receive_maximum": 2}}
    device = stay(peer.port, client, subscribe="cmd")
    for n in range(3):
        conn = broker.accept(present=n > 0)
        if not n:
            packet = broker.decode(conn.next_packet())
            conn.send(wire5.suback(packet.packet_id, 1))
        conn.send(repeated(broker))
        if n < 2:
            assert not broker.serve(conn)
    conn.send(publish(broker, b"cmd", 10, b"stop"))
    assert broker.serve(conn) == [*range(1, 7), 10]
    device.wait_line("end", 5)


def test_node_beyond_receive_maximum(board: Callable[..., Board], peer: ScriptedPeer) -> None:
    broker = Broker(peer, 5)
    client = {"version": 5, "properties": {"receive_maximum": 2}}
    node = board(peer.port, client=client, node={"subscribe": [["cmd", 1]]})
    node.power_on()
    for n in range(3):
        conn = broker.accept(present=n > 0)
        conn.send(repeated(broker))
        if n < 2:
            assert not broker.serve(conn)
    assert broker.serve(conn) == [*range(1, 7)]
    assert node.wait_end(10).lines[-1] == "left 0 error None"


@VERSIONS
@TOPICS
def test_node(board: Callable[..., Board], peer: ScriptedPeer, version: int, topic: bytes) -> None:
    broker = Broker(peer, version)
    node = board(peer.port, client={"version": version}, node={"subscribe": [["cmd", 1]]})
    node.power_on()
    for n in range(3):
        conn = broker.accept(present=n > 0)
        conn.send(publish(broker, topic, 7, b"x"))
        if n < 2:
            assert not broker.serve(conn)
    conn.send(publish(broker, b"cmd", 8, b"go"))
    assert broker.serve(conn) == [7, 8]
    end = node.wait_end(10)
    assert end.lines[-2:] == ["command go", "left 0 error None"]

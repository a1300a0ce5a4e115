"""What the standard wants a connection ended for, and the broker sends again: it ends some
connections, not each. Brokers that are not strict pass such topics on; here a scripted peer does.
"""

from collections.abc import Callable

import pytest
from field.conftest import VERSIONS, Broker

from tools.testing import wire
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

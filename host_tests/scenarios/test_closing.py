"""How a connection of MQTT 5.0 ends: what is written last, and who closes it."""

import pytest

from tools.testing import wire5
from tools.testing.peer import Connection, ScriptedPeer

MESSAGE = [["t", "x", 1, False]]


def dialled(peer: ScriptedPeer) -> Connection:
    """Accept the device's next connection, and its CONNECT."""
    conn = peer.accept()
    (packet,) = wire5.decode(conn.next_packet(), "up")
    assert packet.type == wire5.CONNECT and packet.client_id == "node"
    return conn


def connected(peer: ScriptedPeer, session_present: bool = False) -> Connection:
    conn = dialled(peer)
    conn.send(wire5.connack(session_present))
    return conn


def expect_publish(conn: Connection, dup: bool = False) -> int:
    (packet,) = wire5.decode(conn.next_packet(), "up")
    assert (packet.type, packet.topic, packet.dup) == (wire5.PUBLISH, "t", dup)
    return packet.packet_id or 0


@pytest.mark.mqtt5("MQTT-3.14.4-1", "MQTT-3.14.4-2")
def test_closed_after_disconnect(start, peer: ScriptedPeer) -> None:
    device = start("publish", peer.port, {"version": 5}, messages=MESSAGE)
    conn = connected(peer)
    conn.send(wire5.puback(expect_publish(conn)))
    conn.expect(wire5.disconnect())
    conn.expect_closed()
    assert device.wait_exit(5) == 0


@pytest.mark.mqtt5("MQTT-3.2.2-15")
def test_closed_without_a_disconnect(start, peer: ScriptedPeer) -> None:
    """The server takes no packet that is as short as that."""
    device = start("publish", peer.port, {"version": 5}, messages=[])
    conn = dialled(peer)
    conn.send(wire5.connack(properties={"maximum_packet_size": 1}))
    conn.expect_closed()
    device.wait_line("end", 2)
    assert device.wait_exit(5) == 0


@pytest.mark.mqtt5("MQTT-3.14.4-1", "MQTT-3.14.4-2", "MQTT-4.13.1-1", "MQTT-4.13.2-1")
@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (b"\x36\x06\x00\x01t\x00\x01\x00", 0x81),  # QoS 3
        (b"\x40\x02\x00\x00", 0x82),  # identifier 0
        (wire5.publish("", properties={"topic_alias": 1}), 0x94),
        (b"\x40\x88\x27" + bytes(5000), 0x95),  # (a message that long is read past)
    ],
    ids=["malformed", "forbidden", "alias", "large"],
)
def test_closed_after_a_fault_of_the_server(
    start, peer: ScriptedPeer, fault: bytes, code: int
) -> None:
    """The server is told why; the session loses nothing."""
    device = start("publish", peer.port, {"version": 5}, messages=MESSAGE)
    conn = connected(peer)
    expect_publish(conn)
    conn.send(fault)
    conn.expect(wire5.disconnect(code))
    conn.expect_closed()
    conn = connected(peer, session_present=True)
    conn.send(wire5.puback(expect_publish(conn, dup=True)))
    conn.expect(wire5.disconnect())
    assert device.wait_exit(5) == 0


@pytest.mark.mqtt5("MQTT-3.2.2-7", "MQTT-4.13.2-1")
def test_closed_after_a_refusal(start, peer: ScriptedPeer) -> None:
    device = start("publish", peer.port, {"version": 5}, messages=MESSAGE)
    conn = dialled(peer)
    conn.send(wire5.connack(reason_code=0x87))
    conn.expect_closed()
    device.wait_line("raised Failed", 5)
    assert device.wait_exit(5) == 0


@pytest.mark.mqtt5("MQTT-3.14.4-1", "MQTT-4.13.2-1")
def test_closed_after_the_server_said_disconnect(start, peer: ScriptedPeer) -> None:
    options = {"version": 5, "strict": True}  # a refusal ends it
    device = start("publish", peer.port, options, messages=MESSAGE)
    conn = connected(peer)
    expect_publish(conn)
    conn.send(wire5.disconnect(0x8B))  # it shuts down: this passes
    conn.expect_closed()
    conn = connected(peer, session_present=True)
    expect_publish(conn, dup=True)
    conn.send(wire5.disconnect(0x8E))  # another has taken over the session: no fight
    conn.expect_closed()
    device.wait_line("raised Failed", 5)
    assert device.wait_exit(5) == 0
    peer.expect_no_connection(100)

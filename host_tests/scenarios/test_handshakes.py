"""Each handshake, and each of its packets lost, against a peer that checks every byte.

The peer loses a packet by not sending it, or by not having received it, and then cuts: what the
device does on its next connection shows what it remembered.
"""

import pytest
from play import connected, grant

from tools.testing import wire
from tools.testing.peer import Connection, ScriptedPeer

HOW = ["close", "reset"]
pytestmark = pytest.mark.parametrize("transport", ["tcp", "gateway"])  # and over WebSocket


def cut(conn: Connection, how: str) -> None:
    conn.reset() if how == "reset" else conn.close()


def aside(peer: ScriptedPeer) -> Connection:
    """Two connections have ended at a packet: now it goes behind all else, and a PINGRESP."""
    conn = connected(peer, session_present=True)
    # (A gateway cannot pass on a reset as one.)
    first = conn.next_packet()
    if first == wire.pingreq():
        conn.send(wire.pingresp())
    else:
        conn.put_back(first)
    return conn


def expect_publish(conn: Connection, qos: int, dup: bool = False, packet_id: int = 0) -> int:
    packet = conn.expect_packet(type=wire.PUBLISH, topic="t", payload=b"x", qos=qos, dup=dup)
    if packet_id:
        assert packet.packet_id == packet_id
    return packet.packet_id or 0


def expect_end(device, conn: Connection) -> None:
    conn.expect(wire.disconnect())
    conn.expect_closed()
    device.wait_line("end", 5)
    assert device.wait_exit(5) == 0


@pytest.mark.mqtt311("MQTT-3.14.4-1", "MQTT-4.3.1-1")
def test_qos0(start, peer: ScriptedPeer) -> None:
    device = start("publish", peer.port, messages=[["t", "x", 0, True], ["t", "y", 0, False]])
    conn = connected(peer)
    conn.expect(wire.publish("t", b"x", retain=True) + wire.publish("t", b"y"))
    expect_end(device, conn)


def test_qos1(start, peer: ScriptedPeer) -> None:
    device = start("publish", peer.port, messages=[["t", "x", 1, False]])
    conn = connected(peer)
    n = expect_publish(conn, 1)
    conn.expect_silence(100)  # it waits
    conn.send(wire.puback(n))
    device.wait_line("published t 1", 5)
    expect_end(device, conn)


@pytest.mark.parametrize("how", HOW)
def test_qos1_lost_puback(start, peer: ScriptedPeer, how: str) -> None:
    device = start("publish", peer.port, messages=[["t", "x", 1, False]])
    conn = connected(peer)
    n = expect_publish(conn, 1)
    cut(conn, how)
    conn = connected(peer, session_present=True)
    expect_publish(conn, 1, dup=True, packet_id=n)
    cut(conn, how)
    conn = aside(peer)
    expect_publish(conn, 1, dup=True, packet_id=n)
    conn.send(wire.puback(n))
    expect_end(device, conn)


def test_qos2(start, peer: ScriptedPeer) -> None:
    device = start("publish", peer.port, messages=[["t", "x", 2, False]])
    conn = connected(peer)
    n = expect_publish(conn, 2)
    conn.send(wire.pubrec(n))
    conn.expect(wire.pubrel(n))
    conn.expect_silence(100)
    conn.send(wire.pubcomp(n))
    device.wait_line("published t 2", 5)
    expect_end(device, conn)


@pytest.mark.parametrize("how", HOW)
def test_qos2_lost_at_each_step(start, peer: ScriptedPeer, how: str) -> None:
    device = start("publish", peer.port, messages=[["t", "x", 2, False]])
    conn = connected(peer)
    n = expect_publish(conn, 2)
    cut(conn, how)  # PUBLISH or PUBREC lost
    conn = connected(peer, session_present=True)
    expect_publish(conn, 2, dup=True, packet_id=n)
    conn.send(wire.pubrec(n))
    conn.expect(wire.pubrel(n))
    cut(conn, how)  # PUBREL or PUBCOMP lost: the PUBLISH never goes again
    conn = connected(peer, session_present=True)
    conn.expect(wire.pubrel(n))
    cut(conn, how)
    conn = aside(peer)
    conn.expect(wire.pubrel(n))
    conn.send(wire.pubcomp(n))
    device.wait_line("published t 2", 5)
    expect_end(device, conn)


def test_qos2_session_gone_before_pubrec(start, peer: ScriptedPeer) -> None:
    device = start("publish", peer.port, messages=[["t", "x", 2, False]])
    conn = connected(peer)
    expect_publish(conn, 2)
    conn.close()
    conn = connected(peer, session_present=False)
    n = expect_publish(conn, 2, dup=False)  # anew
    conn.send(wire.pubrec(n))
    conn.expect(wire.pubrel(n))
    conn.send(wire.pubcomp(n))
    expect_end(device, conn)


def test_qos2_session_gone_after_pubrec(start, peer: ScriptedPeer) -> None:
    device = start("publish", peer.port, messages=[["t", "x", 2, False]])
    conn = connected(peer)
    n = expect_publish(conn, 2)
    conn.send(wire.pubrec(n))
    conn.expect(wire.pubrel(n))
    conn.close()
    conn = connected(peer, session_present=False)
    conn.expect(wire.disconnect())  # neither sent again nor called a success
    device.wait_line("raised SessionLost", 5)


def subscribed(device, peer: ScriptedPeer) -> Connection:
    conn = connected(peer)
    grant(conn, 2)
    device.wait_line("granted 2", 5)
    return conn


RECEIVE = {"filters": [["t", 2]]}


def test_receive_qos0(start, peer: ScriptedPeer) -> None:
    device = start("receive", peer.port, **RECEIVE)
    conn = subscribed(device, peer)
    conn.send_slowly(wire.publish("t", b"x", retain=True) + wire.publish("t", b"stop"))
    device.wait_line("got t x 0 1", 5)
    device.wait_line("got t stop 0 0", 5)
    expect_end(device, conn)


@pytest.mark.parametrize("how", HOW)
@pytest.mark.mqtt311("MQTT-4.3.2-2")
def test_receive_qos1_lost_puback(start, peer: ScriptedPeer, how: str) -> None:
    device = start("receive", peer.port, **RECEIVE)
    conn = subscribed(device, peer)
    conn.send(wire.publish("t", b"x", qos=1, packet_id=7))
    device.wait_line("got t x 1 0", 5)
    conn.expect(wire.puback(7))
    cut(conn, how)
    conn = connected(peer, session_present=True)
    # For the client a new message once it was acknowledged, whatever DUP says [MQTT-4.3.2-2].
    conn.send(wire.publish("t", b"x", qos=1, packet_id=7, dup=True))
    device.wait_line("got t x 1 0", 5)
    conn.expect(wire.puback(7))
    conn.send(wire.publish("t", b"stop"))
    expect_end(device, conn)


@pytest.mark.parametrize("how", HOW)
@pytest.mark.mqtt311("MQTT-4.3.3-2")
def test_receive_qos2_lost_at_each_step(start, peer: ScriptedPeer, how: str) -> None:
    device = start("receive", peer.port, **RECEIVE)
    conn = subscribed(device, peer)
    conn.send(wire.publish("t", b"x", qos=2, packet_id=7))
    device.wait_line("got t x 2 0", 5)
    conn.expect(wire.pubrec(7))
    cut(conn, how)  # PUBREC lost
    conn = connected(peer, session_present=True)
    conn.send(wire.publish("t", b"x", qos=2, packet_id=7, dup=True))
    conn.expect(wire.pubrec(7))
    conn.send(wire.pubrel(7))
    conn.expect(wire.pubcomp(7))
    cut(conn, how)  # PUBCOMP lost
    conn = connected(peer, session_present=True)
    conn.send(wire.pubrel(7))
    conn.expect(wire.pubcomp(7))
    conn.send(wire.publish("t", b"y", qos=2, packet_id=7))  # the identifier is new again
    device.wait_line("got t y 2 0", 5)
    conn.expect(wire.pubrec(7))
    conn.send(wire.pubrel(7))
    conn.expect(wire.pubcomp(7))
    conn.send(wire.publish("t", b"stop"))
    expect_end(device, conn)
    assert sum(line.startswith("got t x") for line in device.lines) == 1


def test_not_acknowledged_until_done(start, peer: ScriptedPeer) -> None:
    device = start("receive", peer.port, hold=1, **RECEIVE)
    conn = subscribed(device, peer)
    conn.send(wire.publish("t", b"x", qos=1, packet_id=1))
    conn.send(wire.publish("t", b"x", qos=2, packet_id=2))
    device.wait_line("got t x 2 0", 5)
    conn.expect_silence(100)
    conn.close()
    conn = connected(peer, session_present=True)
    conn.send(wire.publish("t", b"x", qos=2, packet_id=2, dup=True))  # it has this one already
    conn.send(wire.publish("t", b"stop"))
    expect_end(device, conn)
    assert sum(line.startswith("got t x") for line in device.lines) == 2


def test_subscribes_again_when_the_session_is_gone(start, peer: ScriptedPeer) -> None:
    device = start("receive", peer.port, **RECEIVE)
    conn = subscribed(device, peer)
    conn.close()
    conn = connected(peer, session_present=True)
    conn.expect_silence(100)
    conn.close()
    conn = connected(peer, session_present=False)
    grant(conn, 2)
    conn.send(wire.publish("t", b"stop"))
    expect_end(device, conn)


def test_many_packets_at_once(start, peer: ScriptedPeer) -> None:
    """An honest broker's burst is answered, and not taken for a flood."""
    device = start("receive", peer.port, **RECEIVE)
    conn = subscribed(device, peer)
    conn.send(b"".join(wire.pubrel(n) for n in range(1, 1501)))
    for n in range(1, 1501):
        conn.expect(wire.pubcomp(n))
    conn.send(wire.publish("t", b"stop"))
    expect_end(device, conn)


def test_one_write_for_a_burst(start, peer: ScriptedPeer) -> None:
    """Resuming several messages takes one piece, not one for each."""
    device = start("burst", peer.port, count=5)
    conn = connected(peer)
    for _ in range(5):
        conn.expect_packet(type=wire.PUBLISH, qos=1)
    conn.close()
    conn = connected(peer, session_present=True)
    for n in range(5):
        packet = conn.expect_packet(type=wire.PUBLISH, dup=True, payload=b"%d" % n)
        conn.send(wire.puback(packet.packet_id))
    expect_end(device, conn)
    chunks = [data for way, data in conn.transcript.chunks if way == "up"]
    assert any(data.count(b"burst") == 5 for data in chunks), chunks

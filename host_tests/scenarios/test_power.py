"""A session in a journal over a loss of power, at each step of a QoS 2 handshake.

On a real board (make hil) the loss is a hard reset, and the journal is on its flash.
"""

from pathlib import Path

import pytest
from play import connected

from tools.testing import wire
from tools.testing.peer import Connection, ScriptedPeer
from tools.testing.runtimes import Runtime


@pytest.fixture
def keep(start, runtime: Runtime, peer: ScriptedPeer, tmp_path: Path):
    """Return a function that starts the program with the one journal."""
    journal = runtime.file(tmp_path / "journal")
    return lambda **config: start("keeper", peer.port, journal=journal, **config)


def expect_end(device, conn: Connection) -> None:
    conn.send(wire.publish("t", b"stop"))
    device.wait_line("got stop", 5)
    conn.expect(wire.disconnect())
    assert device.wait_exit(5) == 0


def test_outgoing(keep, peer: ScriptedPeer) -> None:
    device = keep(publish="x")
    conn = connected(peer)
    n = conn.expect_packet(type=wire.PUBLISH, payload=b"x", qos=2, dup=False).packet_id or 0
    device.kill()  # PUBLISH or PUBREC lost
    device = keep()
    conn = connected(peer, session_present=True)
    conn.expect_packet(type=wire.PUBLISH, payload=b"x", qos=2, dup=True, packet_id=n)
    conn.send(wire.pubrec(n))
    conn.expect(wire.pubrel(n))
    device.kill()  # PUBREL or PUBCOMP lost: the PUBLISH never goes again
    device = keep()
    conn = connected(peer, session_present=True)
    conn.expect(wire.pubrel(n))
    conn.send(wire.pubcomp(n))
    device.wait_line("connected", 5)
    expect_end(device, conn)


def test_incoming(keep, peer: ScriptedPeer) -> None:
    device = keep()
    conn = connected(peer)
    conn.send(wire.publish("t", b"x", qos=2, packet_id=7))
    device.wait_line("got x", 5)
    conn.expect(wire.pubrec(7))
    device.kill()  # PUBREC lost
    device = keep()
    conn = connected(peer, session_present=True)
    conn.send(wire.publish("t", b"x", qos=2, packet_id=7, dup=True))
    conn.expect(wire.pubrec(7))
    conn.send(wire.pubrel(7))
    conn.expect(wire.pubcomp(7))
    expect_end(device, conn)
    assert "got x" not in device.lines  # it was processed before the power was cut

"""tools/board/bridge.py between a line of two terminals and a broker that the test plays."""

import os
import pty
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness.line import BridgedLine, Line
from hypothesis import given
from hypothesis import strategies as st

from tools.board import bridge
from tools.testing import wire
from tools.testing.peer import Connection, ScriptedPeer

CONNECT = wire.connect("node")
LONG = wire.publish("t", b"x" * 300)
NOISE = b"\x00\xff\x10\x00\x04MQTT\x10\x10\x0a"


def feed(sorter: bridge.Sorter, *chunks: bytes, quiet: bool = False) -> list[bytes]:
    """Return what went to each connection in turn; the first of them may be an old one."""
    out = [b""]
    for chunk in chunks:
        for begins, piece in sorter.feed(chunk, quiet):
            if begins:
                out.append(b"")
            out[-1] += piece
    return out


@given(st.lists(st.integers(1, 40), min_size=1))
def test_pieces(sizes: list[int]) -> None:
    """Wherever what comes is cut into pieces, connections begin at their CONNECT."""
    inner = wire.publish("t", CONNECT * 3)  # a CONNECT that is payload
    first, second = CONNECT + inner + wire.pingreq(), CONNECT + LONG
    data = NOISE + first + second
    chunks, at, n = [], 0, 0
    while at < len(data):
        chunks.append(data[at : at + sizes[n % len(sizes)]])
        at += len(chunks[-1])
        n += 1
    assert feed(bridge.Sorter(), *chunks) == [b"", first, second]


def test_a_silence_ends_a_packet_before_connect_only() -> None:
    for at in range(1, len(LONG)):
        sorter = bridge.Sorter()
        feed(sorter, CONNECT + LONG[:at])
        assert feed(sorter, LONG[at:], quiet=True) == [LONG[at:]]
        sorter = bridge.Sorter()
        feed(sorter, CONNECT + LONG[:at])
        assert sorter.inside
        assert feed(sorter, CONNECT, quiet=True) == [b"", CONNECT]
    for at in range(3, len(LONG) - len(CONNECT)):
        sorter = bridge.Sorter()
        feed(sorter, CONNECT + LONG[:at])
        assert feed(sorter, CONNECT) == [CONNECT]  # payload, for all that is known


@pytest.fixture
def line(peer: ScriptedPeer) -> Iterator[BridgedLine]:
    with BridgedLine(peer.port) as chosen:
        yield chosen


def connected(line: BridgedLine, peer: ScriptedPeer) -> Connection:
    line.send(CONNECT)
    conn = peer.accept()
    conn.expect(CONNECT)
    conn.send(wire.connack())
    assert line.receive(5) == wire.connack()
    return conn


def test_both_ways_and_anew(line: BridgedLine, peer: ScriptedPeer) -> None:
    line.send(NOISE)
    conn = connected(line, peer)
    line.send(LONG + wire.pingreq())
    conn.expect(LONG + wire.pingreq())
    again = connected(line, peer)
    assert conn.expect_closed().startswith("other side")
    again.send(wire.pingresp())
    assert line.receive(5) == wire.pingresp()
    line.wait_said("the device begins anew", 5)


@pytest.mark.parametrize("left", [1, 299])
def test_reset_in_the_middle_of_a_packet(line: BridgedLine, peer: ScriptedPeer, left: int) -> None:
    conn = connected(line, peer)
    line.send(LONG[:-left])
    time.sleep(bridge.GAP * 3)  # it starts again: that is what the device is silent for
    for value in CONNECT[:-1]:
        line.send(bytes([value]))
    line.send(CONNECT[-1:])
    peer.accept().expect(CONNECT)
    conn.expect_closed()


def test_the_broker_closes(line: BridgedLine, peer: ScriptedPeer) -> None:
    """The device is told at the end of a packet, and if it had not closed itself."""
    connected(line, peer).close()
    assert line.receive(5) == bridge.HANG_UP
    line.send(wire.pingreq())  # to nobody
    conn = connected(line, peer)
    line.send(wire.disconnect())
    conn.expect(wire.disconnect())
    conn.close()
    assert line.receive(0.3) == b""
    conn = connected(line, peer)
    conn.send(LONG[:-2])
    conn.close()
    got = b""
    while len(got) < len(LONG) - 2:
        got += line.receive(5)
    line.wait_said("closed by the broker", 5)
    assert got + line.receive(0.3) == LONG[:-2], "these two bytes would have been payload"
    connected(line, peer)


def test_no_broker() -> None:
    with ScriptedPeer() as peer, BridgedLine(peer.port) as line:
        peer.close()
        line.send(CONNECT)
        assert line.receive(5) == bridge.HANG_UP
        line.wait_said("no connection to 127.0.0.1", 5)


def test_interrupted(line: BridgedLine) -> None:
    line.bridge.process.send_signal(signal.SIGINT)
    assert line.bridge.wait_exit(5) == 130
    assert not any("Traceback" in text for text in line.bridge.lines)


def test_the_line_goes_away(peer: ScriptedPeer, tmp_path: Path) -> None:
    """A plug that is pulled, and put back."""
    link = tmp_path / "port"
    first = Line()
    link.symlink_to(first.host)
    with BridgedLine(peer.port, str(link)) as bridged:
        first.close()
        bridged.wait_said("is gone", 5)
        with Line() as second:
            link.unlink()
            link.symlink_to(second.host)
            bridged.wait_said("is back", 5)
            second.send(CONNECT)
            peer.accept().expect(CONNECT)


def test_the_line_goes_away_while_it_connects(peer: ScriptedPeer) -> None:
    """pyserial lets termios.error through, which is no OSError."""
    master, slave = pty.openpty()
    line = bridge.connect(os.ttyname(slave), 115200, False)
    os.close(slave)
    os.close(master)
    with line, pytest.raises(OSError):
        bridge.Bridge(line, "127.0.0.1", peer.port)._begin()


def test_what_is_missing_is_named_as_make_has_it(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        bridge.main(["--host", "h"])
    assert "PORT=/dev/ttyUSB0 HOST=" in capsys.readouterr().err


def test_dry_run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """As the other tools have it; and the port of the only board of a kind is found."""
    assert bridge.main(["--port", "/dev/x", "--host", "h:1", "--dry-run"]) == 0
    assert "would join /dev/x at 115200 baud <-> h:1" in capsys.readouterr().out
    monkeypatch.setattr(bridge.ports, "attached", lambda: [])
    assert bridge.main(["--board", "RPI_PICO_W", "--host", "h"]) == 1
    assert "no rp2 board found on USB" in capsys.readouterr().err
    assert bridge.main(["--board", "NONE", "--port", "/dev/x", "--host", "h"]) == 1
    assert "NONE" in capsys.readouterr().err


def test_no_port(capsys: pytest.CaptureFixture[str]) -> None:
    assert bridge.main(["--port", "/dev/nothing", "--host", "h"]) == 1
    assert "What to do: plug the board in" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("h", ("h", 1883)),
        ("h:1", ("h", 1)),
        ("[::1]", ("::1", 1883)),
        ("[::1]:65535", ("::1", 65535)),
        ("", None),
        ("h:", None),
        ("h:0", None),
        ("h:65536", None),
        ("::1", None),
    ],
)
def test_address(text: str, wanted: tuple[str, int] | None) -> None:
    if wanted:
        assert bridge.address(text) == wanted
    else:
        with pytest.raises(ValueError):
            bridge.address(text)

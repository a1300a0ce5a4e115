"""What a program meets around the handshakes: errors, cancelling, offline, keep-alive."""

import asyncio
import errno
import os
import socket
import struct
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from dormouse import Client, _host
from paho.mqtt.client import Client as Paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from play import PROGRAMS, acknowledge, connected, grant

from tools.testing import wire, wire5
from tools.testing.address import HOST
from tools.testing.brokers import MosquittoBroker
from tools.testing.chaos import ChaosProxy
from tools.testing.needs import needed
from tools.testing.peer import ScriptedPeer
from tools.testing.runtimes import MICROPYTHON32, Runtime

PIECE = 240  # bytes of heap that are free in one piece


def test_cancelled_publish(start, peer: ScriptedPeer) -> None:
    device = start("cancel", peer.port)
    conn = connected(peer)
    n = conn.expect_packet(type=wire.PUBLISH, topic="sent", qos=2).packet_id or 0
    device.wait_line("timeout sent 1", 5)
    device.wait_line("timeout waiting 1", 5)
    conn.send(wire.pubrec(n))
    conn.expect(wire.pubrel(n))
    conn.send(wire.pubcomp(n))
    device.wait_line("outbox empty", 5)
    acknowledge(conn, topic="after")  # and nothing of "waiting"
    conn.expect(wire.disconnect())
    assert device.wait_exit(5) == 0


@pytest.mark.parametrize(
    ("version", "heap", "trouble"),
    [(4, "96k", []), (5, "176k", []), (4, "112k", ["trouble"])],
)
def test_heap_in_pieces(
    version: int, heap: str, trouble: list[str], mosquitto: Callable[..., MosquittoBroker]
) -> None:
    """A reconnect loads nothing, and takes nothing that is long: there may be no room for it, ever.

    Not where the broker forgot the session, either: what is subscribed anew then, and a handshake.
    Nor does a message that is too long for a client, or has a property that none had before: no
    character of them is a name, for which MicroPython's table may have to grow.
    """
    broker = mosquitto()
    argv = [*needed(lambda: MICROPYTHON32.argv), "-X", f"heapsize={heap}"]
    small = Runtime("small", lambda: argv, MICROPYTHON32.path_env, (".frozen",))
    program = PROGRAMS / "in_pieces.py"
    properties = None
    if version == 5:
        properties = Properties(PacketTypes.PUBLISH)
        properties.ContentType = "text/plain"
    with small.start(program, str(broker.port), str(version), str(PIECE), *trouble) as device:
        device.wait_line("in pieces", 20)
        broker.kill()
        broker.start()
        sender = Paho(CallbackAPIVersion.VERSION2, protocol=version)
        sender.connect(broker.host, broker.port)
        sender.loop_start()
        sent = [sender.publish("down", "x" * 60, 2, True, properties)]
        if trouble:
            sent.append(sender.publish("large", "x" * 9000, 1, True))
        for each in sent:
            each.wait_for_publish(5)
        sender.disconnect()
        sender.loop_stop()
        device.wait_line("again ", 10)
        device.wait_line(f"got {b'x' * 60}", 10)
        device.wait_line(f"end {len(trouble)}", 5)


@pytest.mark.parametrize("version", [4, 5])
def test_each_wait_cancelled(
    version: int, start, mosquitto: Callable[..., MosquittoBroker]
) -> None:
    device = start("cancel_each", mosquitto().port, {"version": version})
    device.wait_line("sound", 60)
    assert not any("zombie" in line for line in device.lines)
    points = {
        line.split(" ", 1)[1].rpartition(" ")[0]: int(line.split()[-1])
        for line in device.lines
        if line.startswith("points")
    }
    assert len(points) == 9 and min(points.values()) > 0, points


def test_offline_outbox(start, peer: ScriptedPeer) -> None:
    with ChaosProxy(peer.port) as proxy:
        proxy.refuse(how="closed")
        device = start("offline", proxy.port, {"timeout": 1})
        # The oldest at QoS 0 makes room; with none left, nothing does.
        device.wait_line("full 6", 5)
        device.wait_line("offline OSError" if "micro" in device.name else "offline Connection", 5)
        proxy.refuse(False)
        conn = connected(peer)
        acknowledge(conn, payload=b"1")
        n = conn.expect_packet(type=wire.PUBLISH, payload=b"3", qos=2).packet_id or 0
        acknowledge(conn, payload=b"4")
        acknowledge(conn, payload=b"5")
        conn.send(wire.pubrec(n))
        conn.expect(wire.pubrel(n))
        conn.send(wire.pubcomp(n))
        conn.expect(wire.disconnect())
        assert device.wait_exit(5) == 0


@pytest.mark.mqtt311("MQTT-3.2.2-5")
def test_refused_for_good(start, peer: ScriptedPeer) -> None:
    device = start("refused", peer.port, {"strict": True})
    device.wait_line("early ConnectionLost", 5)
    conn = peer.accept()
    conn.expect_packet(type=wire.CONNECT)
    conn.send(wire.connack(return_code=4))
    conn.expect_closed()
    device.wait_line("left 0", 5)
    for name in ("publish", "subscribe", "messages", "wait", "later"):
        assert any(line.startswith(f"{name} Refused ") for line in device.lines), name
    conn = peer.accept()
    conn.expect_packet(type=wire.CONNECT)
    conn.send(wire.connack(return_code=2))
    assert "Client identifier" in device.wait_line("connect Refused", 5)
    assert device.wait_exit(5) == 0
    peer.expect_no_connection(200)


@pytest.mark.mqtt311("MQTT-3.2.2-6")
def test_refused_for_now(start, peer: ScriptedPeer) -> None:
    """Server unavailable passes; so does a broker that closes without a word."""
    device = start("flow", peer.port, topic="n", count=0, qos=[])
    for _ in range(2):
        conn = peer.accept()
        conn.expect_packet(type=wire.CONNECT)
        conn.send(wire.connack(return_code=3))
        conn.expect_closed()
        conn = peer.accept()
        conn.expect_packet(type=wire.CONNECT)
        conn.close()
    conn = connected(peer)
    conn.expect_packet(type=wire.SUBSCRIBE)
    device.wait_line("connected", 5)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"", "ConnectionLost"),
        (wire.pingresp(), "ProtocolError"),
        (b"\x20\x02\x00\x06", "ProtocolError"),
        (b"\x30\xff\xff\x7f", "ProtocolError (48, 2097151)"),
        (b"HTTP/1.1 400 Bad Request" + b" " * 80, "ProtocolError"),
    ],
)
@pytest.mark.mqtt311("MQTT-3.2.2-6", "MQTT-3.2.0-1", "MQTT-4.8.0-1")
def test_first_attempt_fails(start, peer: ScriptedPeer, answer: bytes, error: str) -> None:
    device = start("publish", peer.port, messages=[])
    conn = peer.accept()
    conn.expect_packet(type=wire.CONNECT)
    conn.send(answer)
    if not answer:
        conn.close()
    assert error in device.wait_line("raised", 5)
    assert device.wait_exit(5) == 0
    peer.expect_no_connection(100)


def test_nobody_listens(start, peer: ScriptedPeer) -> None:
    port = peer.port
    peer.close()
    device = start("publish", port, messages=[])
    line = device.wait_line("raised", 5)
    # ECONNREFUSED; lwIP on a chip says ECONNRESET (ERR_RST in its err_to_errno).
    assert "111" in line or "104" in line
    assert device.wait_exit(5) == 0


def sockets(pid: int) -> int:
    """Return how many sockets a process has open."""
    links = [os.readlink(path) for path in Path(f"/proc/{pid}/fd").iterdir()]
    return sum(link.startswith("socket:") for link in links)


@pytest.mark.desk("counts the open sockets in this machine's /proc")
def test_failed_connections_are_closed(start, peer: ScriptedPeer) -> None:
    """Closed, reset, silent: a chip has a dozen sockets, and none to leave behind."""
    options = {"timeout": 0.2, "backoff": [0.001, 0.002]}
    device = start("flow", peer.port, options, topic="n", count=0, qos=[])
    conn = connected(peer)
    device.wait_line("connected", 5)
    before = sockets(device.pid)
    for _ in range(15):
        conn.close()
        conn = peer.accept()
        conn.reset()
        conn = peer.accept()
        conn.expect_packet(type=wire.CONNECT)  # and no CONNACK
        conn.expect_closed()
        conn = connected(peer, session_present=True)
        device.wait_line("connected", 5)
    assert len(peer.connections) > 40
    assert sockets(device.pid) == before


@pytest.mark.desk("counts the open sockets in this machine's /proc")
def test_no_sockets_left_by_refused_connections(start, peer: ScriptedPeer) -> None:
    with ChaosProxy(peer.port) as proxy:
        options = {"backoff": [0.001, 0.002]}
        device = start("flow", proxy.port, options, topic="n", count=0, qos=[])
        conn = connected(peer)
        device.wait_line("connected", 5)
        before = sockets(device.pid)
        proxy.refuse(how="reset")
        conn.close()
        proxy.wait_refused(30)
        proxy.refuse(False)
        connected(peer)
        device.wait_line("connected", 5)
        assert sockets(device.pid) == before


def test_connect_given_up(start, peer: ScriptedPeer) -> None:
    device = start("impatient", peer.port)
    conn = peer.accept()
    conn.expect_packet(type=wire.CONNECT)  # and no answer
    device.wait_line("timeout", 5)
    conn.expect_closed()
    device.wait_line("end", 5)
    peer.expect_no_connection(100)


@pytest.mark.mqtt311("MQTT-3.2.0-1")
def test_no_connack(start, peer: ScriptedPeer) -> None:
    device = start("publish", peer.port, {"timeout": 0.3}, messages=[])
    conn = peer.accept()
    conn.expect_packet(type=wire.CONNECT)
    device.wait_line("raised ConnectionLost no answer", 5)
    conn.expect_closed()


@pytest.mark.mqtt311("MQTT-3.14.4-1", "MQTT-3.14.4-2")
def test_disconnect_while_others_wait(start, peer: ScriptedPeer) -> None:
    device = start("pending", peer.port)
    conn = connected(peer)
    n = conn.expect_packet(type=wire.PUBLISH, qos=1, dup=False).packet_id
    conn.expect(wire.disconnect())
    conn.expect_closed()
    device.wait_line("publish ConnectionLost", 5)
    device.wait_line("messages nothing", 5)
    device.wait_line("connected False", 5)
    conn = connected(peer, session_present=True)  # the session goes on
    acknowledge(conn, dup=True, packet_id=n)
    conn.expect(wire.disconnect())
    assert device.wait_exit(5) == 0


def test_disconnect_from_a_dead_peer(start, peer: ScriptedPeer) -> None:
    device = start("pending", peer.port, {"timeout": 0.5})
    conn = connected(peer)
    conn.half_open()
    device.wait_line("connected False", 5)


def test_loop_left_by_break(start, peer: ScriptedPeer) -> None:
    """What a body did not finish comes again in the next loop, and holds nothing up for ever."""
    device = start("again", peer.port, case="broken_off")
    conn = connected(peer)
    grant(conn, 1)
    for n, payload in enumerate((b"1", b"2", b"stop"), 1):
        conn.send(wire.publish("t", payload, qos=1, packet_id=n))
    device.wait_line("end", 5)
    assert [x for x in device.lines if "got" in x] == ["got 1"] * 3 + ["got 2", "got stop"]
    conn.expect(wire.puback(1) + wire.puback(2))
    conn.expect(wire.disconnect())


def test_start_after_a_failed_connect(start, peer: ScriptedPeer) -> None:
    device = start("again", peer.port, case="failed_then_started")
    peer.accept().close()
    device.wait_line("failed", 5)
    peer.accept().close()  # start tries again
    conn = connected(peer)
    device.wait_line("connected", 5)
    conn.close()  # and so does a client that was asked to connect while it was
    conn = connected(peer, session_present=True)
    conn.expect(wire.disconnect())
    device.wait_line("end", 5)


def test_a_new_loop(start, peer: ScriptedPeer) -> None:
    device = start("anew", peer.port)
    for _ in range(2):
        conn = connected(peer)
        acknowledge(conn, topic="t")
        conn.expect(wire.disconnect())
        device.wait_line("published", 5)
    assert device.wait_exit(5) == 0


def test_leaves_over_two_connections(start, peer: ScriptedPeer) -> None:
    """What is said at each connection does not go behind the last word."""
    device = start("leaves", peer.port)
    conn = connected(peer)
    acknowledge(conn, topic="s", payload=b"online", retain=True)
    conn.expect_packet(type=wire.PUBLISH, topic="s", payload=b"offline", retain=True)
    conn.reset()
    conn = connected(peer, session_present=True)
    acknowledge(conn, topic="s", payload=b"offline", dup=True, retain=True)
    conn.expect(wire.disconnect())
    device.wait_line("left None", 5)
    assert device.wait_exit(5) == 0
    assert len(device.lines) == 1, device.transcript()


def test_connect_overtakes_disconnect(start, peer: ScriptedPeer) -> None:
    device = start("again", peer.port, case="overtaken")
    conn = connected(peer)
    conn.expect_packet(type=wire.PUBLISH)
    conn.expect(wire.disconnect())
    device.wait_line("worker ConnectionLost", 5)
    conn = connected(peer, session_present=True)
    device.wait_line("again True", 5)
    conn.expect_packet(type=wire.PUBLISH, dup=True)
    conn.expect(wire.disconnect())
    device.wait_line("left False", 5)
    device.wait_line("end", 5)


def test_dropped_while_offline(start, peer: ScriptedPeer) -> None:
    port = peer.port
    peer.close()
    device = start("again", port, case="dropped")
    device.wait_line("dropped", 5)
    device.wait_line("end", 5)


def test_connect_cancelled_at_each_step(start, mosquitto: Callable[..., MosquittoBroker]) -> None:
    device = start("again", mosquitto().port, case="given_up")
    device.wait_line("none left", 10)
    assert not any("zombie" in line for line in device.lines)


@pytest.mark.desk("fills 200 KB of outbox: more than a chip has to spare")
def test_disconnect_at_its_time_limit(start, peer: ScriptedPeer) -> None:
    device = start("again", peer.port, {"timeout": 0.5}, case="unable_to_write")
    conn = connected(peer)
    conn.half_open()
    device.wait_line("stuck", 20)
    device.wait_line("over False 0", 10)
    device.wait_line("end", 5)


def test_a_write_tells_how_the_connection_ended() -> None:
    """By its number, which is evidence against what was sent: asyncio's drain tells none where it
    was the write that met the end, or TLS had ended it."""

    async def written(end: Callable[[socket.socket, Any], None]) -> int | None:
        with socket.create_server((HOST, 0)) as server:
            stream, close = await _host.open_stream(HOST, server.getsockname()[1])
            peer = server.accept()[0]
            with peer:
                end(peer, stream)
                with pytest.raises(OSError) as told:
                    await _host.write(stream, b"x")
                close()
            return told.value.errno

    def reset(peer: socket.socket, stream: Any) -> None:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.close()

    def closed(peer: socket.socket, stream: Any) -> None:
        stream[1].transport.close()

    for end in (reset, closed):
        assert asyncio.run(written(end)) == errno.ECONNRESET, end


def test_disconnect_from_a_slow_peer() -> None:
    """What publish gave to be written arrives, and DISCONNECT behind it: the will is dropped. (On
    CPython, whose transport would keep some of it.)"""
    with socket.create_server((HOST, 0)) as server:
        sent = 0

        class Way:
            """The way to the broker, with an eye on what is not the kernel's yet."""

            read, write = staticmethod(_host.read), staticmethod(_host.write)

            async def open_stream(self, *address: Any) -> Any:
                stream, close = await _host.open_stream(*address)
                self.waiting = stream[1].transport.get_write_buffer_size
                return stream, close

        async def leave() -> None:
            nonlocal sent
            way = Way()
            client = Client(HOST, server.getsockname()[1], client_id="c", stream=way)
            async with client:
                with suppress(asyncio.TimeoutError):
                    while way.waiting() < 30000:
                        await asyncio.wait_for(client.publish("t", bytes(4000)), 0.5)
                        sent += 1
                full.set()

        def take() -> None:
            nonlocal got
            with server.accept()[0] as conn:
                conn.recv(1000)
                conn.sendall(wire.connack())
                full.wait(20)
                time.sleep(0.3)
                while data := conn.recv(65536):
                    got += data

        full = threading.Event()
        got = b""
        with ThreadPoolExecutor() as pool:
            taken = pool.submit(take)
            asyncio.run(leave())
            taken.result(20)
    packets = wire.decode(got)
    assert packets.pop().type == wire.DISCONNECT
    assert len(packets) == sent > 100


@pytest.mark.desk("fills 200 KB of outbox: more than a chip has to spare")
def test_disconnect_from_a_peer_that_breaks_off(start, peer: ScriptedPeer) -> None:
    """It is the owner's wish all the same, and no error: a Keeper does not start it anew."""
    device = start("again", peer.port, case="unable_to_write")
    conn = connected(peer)
    conn.half_open()
    device.wait_line("stuck", 20)
    time.sleep(0.1)  # it has begun to disconnect
    conn.reset()
    device.wait_line("over False 0 None", 3)
    device.wait_line("end", 5)
    peer.expect_no_connection(100)


@pytest.mark.desk("fills 200 KB of outbox: more than a chip has to spare")
@pytest.mark.parametrize("version", [4, 5])
def test_peer_that_reads_nothing(version: int, start, peer: ScriptedPeer) -> None:
    """Its window is 0: nothing can be written, no ping either."""
    options = {"timeout": 0.5, "keepalive": 1, "version": version}
    device = start("again", peer.port, options, case="never_read")
    conn = peer.accept()
    conn.next_packet()
    chosen: Any = wire if version == 4 else wire5
    conn.send(chosen.connack())
    conn.half_open()
    device.wait_line("stuck", 20)
    device.wait_line("gone ConnectionLost", 10)
    conn = peer.accept()
    conn.next_packet()
    conn.send(chosen.connack(True))
    raw = conn.next_packet()
    while raw[0] & 6 == 0:  # what waited at QoS 0, perhaps
        raw = conn.next_packet()
    conn.send(chosen.puback(int.from_bytes(raw[raw.index(b"end") + 3 :][:2], "big")))
    device.wait_line("end", 5)


@pytest.mark.desk("fills 200 KB of outbox: more than a chip has to spare")
def test_several_disconnect_at_once(start, peer: ScriptedPeer) -> None:
    device = start("again", peer.port, {"timeout": 0.5}, case="all_at_once")
    connected(peer).half_open()
    device.wait_line("stuck", 20)
    device.wait_line("over False 0", 10)
    device.wait_line("end", 5)


@pytest.mark.desk("fills 200 KB of outbox: more than a chip has to spare")
@pytest.mark.mqtt311("MQTT-7.1.2-1")
@pytest.mark.mqtt5("MQTT-4.2-1")
def test_partial_writes(start, peer: ScriptedPeer, tmp_path: Path) -> None:
    """What the network took only in part goes on where it stopped."""
    with ChaosProxy(peer.port) as proxy:
        folder = {"folder": str(tmp_path), "wait": "stalled"}
        device = start("again", proxy.port, case="in_pieces", **folder)
        conn = connected(peer)
        device.wait_line("connected", 5)
        proxy.stall()
        (tmp_path / "stalled").touch()
        sent = int(device.wait_line("stuck", 30).split()[1])
        proxy.resume()
        assert sent > 10
        for n in range(sent):  # the one that timed out was withdrawn
            packet = conn.expect_packet(type=wire.PUBLISH, topic="t", timeout=10)
            assert packet.payload == bytes([n % 251]) * 50000, f"message {n} is damaged"
        acknowledge(conn, topic="end")
        conn.expect(wire.disconnect())
        assert device.wait_exit(5) == 0


def test_connect_that_hangs(start) -> None:
    """A server whose queue of connections is full answers no SYN: the time limit ends it."""
    with socket.socket() as server, socket.socket() as one, socket.socket() as two:
        server.bind((HOST, 0))
        server.listen(0)
        for filler in (one, two):
            filler.setblocking(False)
            filler.connect_ex(server.getsockname())
        device = start("publish", server.getsockname()[1], {"timeout": 0.3}, messages=[])
        device.wait_line("raised TimeoutError", 5)
        assert device.wait_exit(5) == 0


@pytest.mark.mqtt311("MQTT-2.2.2-2", "MQTT-3.3.1-4", "MQTT-4.8.0-1")
def test_bad_packet_in_session(start, peer: ScriptedPeer) -> None:
    """A packet that the standard forbids ends the connection; the session loses nothing."""
    device = start("publish", peer.port, messages=[["t", "x", 1, False]])
    conn = connected(peer)
    packet = conn.expect_packet(type=wire.PUBLISH, dup=False)
    conn.send(b"\x36\x05\x00\x01a\x00\x01")  # QoS 3
    conn.expect_closed()
    conn = connected(peer, session_present=True)
    acknowledge(conn, dup=True, packet_id=packet.packet_id)
    conn.expect(wire.disconnect())
    assert device.wait_exit(5) == 0


@pytest.mark.mqtt311("MQTT-3.1.2-23", "MQTT-3.12.4-1")
def test_keep_alive(start, peer: ScriptedPeer) -> None:
    """PINGREQ when idle, and only then; without an answer the connection ends."""
    options = {"keepalive": 3, "timeout": 1}  # it pings after 7/8: 0.4 s for a slow machine
    device = start("receive", peer.port, options, filters=[["t", 1]])
    conn = connected(peer)
    grant(conn, 1)
    device.wait_line("granted", 5)
    for n in range(1, 9):  # busy for longer than the keep-alive
        conn.expect_silence(400)
        conn.send(wire.publish("t", b"x", qos=1, packet_id=n))
        conn.expect(wire.puback(n))
    conn.expect(wire.pingreq(), timeout=3)
    conn.send(wire.pingresp())
    conn.expect(wire.pingreq(), timeout=3)
    conn.expect_closed()
    connected(peer, session_present=True)


def test_slow_consumer(start, peer: ScriptedPeer) -> None:
    """A message taken slowly holds up neither pings nor acknowledgements."""
    device = start("slow", peer.port, seconds=2)
    conn = connected(peer)
    grant(conn, 1)
    conn.send(wire.publish("t", b"x", qos=1, packet_id=1))
    conn.expect(wire.pingreq(), timeout=2)
    conn.send(wire.pingresp())
    conn.expect(wire.pingreq(), timeout=2)
    conn.send(wire.pingresp())
    acknowledge(conn, topic="done", payload=b"x")
    device.wait_line("end", 5)  # left by break: not acknowledged
    conn.expect(wire.disconnect())


def test_a_message_wakes_no_writer(start, peer: ScriptedPeer) -> None:
    """Where there is nothing to write: that look costs more than the message."""
    device = start("woken", peer.port)
    conn = connected(peer)
    grant(conn, 1)
    device.wait_line("ready", 5)
    for _ in range(5):
        conn.send(wire.publish("t", b"x"))
        device.wait_line("looked 0 0", 5)
    conn.send(wire.publish("t", b"x", qos=1, packet_id=1))
    conn.expect(wire.puback(1))
    device.wait_line("acknowledged True", 5)
    conn.expect(wire.disconnect())


def test_answer_behind_a_full_inbox(start, peer: ScriptedPeer) -> None:
    """What does not fit is left to the broker, and comes at once when the inbox is empty."""
    device = start("waits_behind", peer.port)
    conn = connected(peer)
    grant(conn, 1)
    device.wait_line("ready", 5)
    conn.send(wire.publish("t", b"first"))
    packet = conn.expect_packet(type=wire.PUBLISH, topic="u", qos=1)
    conn.send(b"".join(wire.publish("t", b"x" * 100) for _ in range(20)))
    conn.send(wire.publish("t", b"end", qos=1, packet_id=1) + wire.puback(packet.packet_id or 0))
    device.wait_line("published True True", 5)
    conn = peer.accept(5)  # no keep-alive would end it so soon
    conn.expect_packet(type=wire.CONNECT)
    conn.send(wire.connack(True) + wire.publish("t", b"end", qos=1, packet_id=1, dup=True))
    device.wait_line("got end", 5)
    conn.expect(wire.disconnect())
    device.wait_line("end", 5)


@pytest.mark.parametrize("cuts", [1, 2])
def test_cut_behind_a_full_inbox(start, peer: ScriptedPeer, cuts: int) -> None:
    """The application takes nothing before it has its answer, and the connection that would have
    brought it is gone: CONNACK is read, and (where two ended at the message, so that it waits for a
    PINGRESP) what else it takes."""
    device = start("waits_behind", peer.port)
    conn = connected(peer)
    grant(conn, 1)
    device.wait_line("ready", 5)
    conn.send(wire.publish("t", b"first"))
    conn.expect_packet(type=wire.PUBLISH, topic="u", qos=1)
    conn.send(b"".join(wire.publish("t", b"x" * 100) for _ in range(20)))
    conn.close()
    for cut in range(1, cuts + 1):
        conn = connected(peer, session_present=True)
        if cut == cuts == 2:
            conn.expect(wire.pingreq(), timeout=5)
            conn.send(wire.pingresp())
        packet = conn.expect_packet(type=wire.PUBLISH, topic="u", qos=1, dup=True, timeout=5)
        if cut < cuts:
            conn.close()
    conn.send(wire.puback(packet.packet_id or 0))
    device.wait_line("published", 5)
    conn = connected(peer, session_present=True)
    conn.send(wire.publish("t", b"end"))
    device.wait_line("got end", 5)
    conn.expect(wire.disconnect())
    device.wait_line("end", 5)


@pytest.mark.mqtt311("MQTT-4.5.0-2")
def test_router(start, peer: ScriptedPeer) -> None:
    device = start("route", peer.port)
    conn = connected(peer)
    grant(conn, 1)
    device.wait_line("subscribed", 5)
    conn.send(wire.publish("a/b", b"1", qos=1, packet_id=1))
    device.wait_line("plain a/b 1", 5)
    acknowledge(conn, topic="echo", payload=b"1")
    device.wait_line("coroutine a/b", 5)
    conn.expect(wire.puback(1))
    conn.send(wire.publish("other", b"2", qos=1, packet_id=2))
    conn.expect(wire.puback(2))
    conn.send(wire.publish("stop", qos=1, packet_id=3))
    conn.expect(wire.puback(3))
    conn.expect(wire.disconnect())
    device.wait_line("end", 5)

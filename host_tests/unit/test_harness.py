"""The harness itself: what it sends, cuts and reports must be right before it judges anything."""

import asyncio
import re
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import paho.mqtt.client as paho
import pytest
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt.enums import CallbackAPIVersion

from tools.testing import loop, wire
from tools.testing.brokers import AmqttBroker, Broker, BrokerFailure, MosquittoBroker
from tools.testing.certs import certificates
from tools.testing.chaos import ChaosError, ChaosProxy, ChaosTimeout, How
from tools.testing.needs import mosquitto_argv
from tools.testing.peer import Connection, PeerFailure, PeerTimeout, ScriptedPeer, dial


def make_mosquitto() -> Broker:
    return MosquittoBroker(mosquitto_argv())


# --- loop -----------------------------------------------------------------------------------------


async def _value() -> int:
    return 7


async def _never() -> None:
    await asyncio.Event().wait()


async def _times_out_itself() -> None:
    raise TimeoutError("own")


def test_call_returns_raises_and_times_out() -> None:
    assert loop.call(_value()) == 7
    with pytest.raises(loop.LoopTimeout, match="_never"):
        loop.call(_never(), 0.05)
    with pytest.raises(TimeoutError, match="own"):
        loop.call(_times_out_itself())


def test_call_on_its_own_thread_is_refused() -> None:
    async def body() -> None:
        loop.call(_value())

    with pytest.raises(RuntimeError, match="own thread"):
        loop.call(body())


# A process of its own: other tests' servers live on this one's loop.
SHUTDOWN = """
import asyncio, threading
from tools.testing import loop
async def value(): return 7
async def forever(): await asyncio.Event().wait()
first = loop.loop()
asyncio.run_coroutine_threadsafe(forever(), first)
assert loop.call(value()) == 7
loop.shutdown()
assert first.is_closed(), "not closed"
assert threading.active_count() == 1, threading.enumerate()
assert loop.call(value()) == 7 and loop.loop() is not first
"""


def test_loop_shuts_down_and_starts_again() -> None:
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", SHUTDOWN], cwd=root, capture_output=True, text=True, timeout=20
    )
    assert (done.returncode, done.stderr) == (0, "")


# --- wire -----------------------------------------------------------------------------------------

# Bytes written down by hand from MQTT 3.1.1, its figures where it has some.
VECTORS: list[tuple[bytes, str, str]] = [
    (
        wire.connect(
            "a",
            clean=False,
            keep_alive=10,
            will=wire.Will("w", b"\x01", 1),
            username="u",
            password=b"p",
        ),
        # figures 3.2 to 3.6: user name, password, will QoS 1, will
        "10 19 00 04 4d 51 54 54 04 cc 00 0a 00 01 61 00 01 77 00 01 01 00 01 75 00 01 70",
        "CONNECT client_id='a' persistent keep_alive=10 username='u' password=… will='w' qos=1",
    ),
    (
        wire.connect(),
        "10 0c 00 04 4d 51 54 54 04 02 00 00 00 00",
        "CONNECT client_id='' clean keep_alive=0",
    ),
    (wire.connack(True), "20 02 01 00", "CONNACK session_present=1 code=0"),
    (wire.connack(False, 5), "20 02 00 05", "CONNACK session_present=0 code=5"),
    # figure 3.11: topic a/b, packet identifier 10
    (
        wire.publish("a/b", qos=1, packet_id=10),
        "32 07 00 03 61 2f 62 00 0a",
        "PUBLISH id=10 qos=1 topic='a/b' payload=0 B",
    ),
    (
        wire.publish("a/b", b"hihi", qos=2, packet_id=3, dup=True),
        "3c 0b 00 03 61 2f 62 00 03 68 69 68 69",
        "PUBLISH id=3 qos=2 dup topic='a/b' payload=4 B 68696869",
    ),
    (
        wire.publish("t", b"x", retain=True),
        "31 04 00 01 74 78",
        "PUBLISH qos=0 retain topic='t' payload=1 B 78",
    ),
    (wire.puback(0x1234), "40 02 12 34", "PUBACK id=4660"),
    (wire.pubrec(1), "50 02 00 01", "PUBREC id=1"),
    (wire.pubrel(1), "62 02 00 01", "PUBREL id=1"),
    (wire.pubcomp(65535), "70 02 ff ff", "PUBCOMP id=65535"),
    # figure 3.23: a/b at QoS 1, c/d at QoS 2
    (
        wire.subscribe(10, ("a/b", 1), ("c/d", 2)),
        "82 0e 00 0a 00 03 61 2f 62 01 00 03 63 2f 64 02",
        "SUBSCRIBE id=10 'a/b' qos=1 'c/d' qos=2",
    ),
    # figure 3.27: success at QoS 0, at QoS 2, failure
    (wire.suback(10, 0, 2, 0x80), "90 05 00 0a 00 02 80", "SUBACK id=10 codes=0x00,0x02,0x80"),
    # figure 3.30
    (
        wire.unsubscribe(10, "a/b", "c/d"),
        "a2 0c 00 0a 00 03 61 2f 62 00 03 63 2f 64",
        "UNSUBSCRIBE id=10 'a/b' 'c/d'",
    ),
    (wire.unsuback(10), "b0 02 00 0a", "UNSUBACK id=10"),
    (wire.pingreq(), "c0 00", "PINGREQ"),
    (wire.pingresp(), "d0 00", "PINGRESP"),
    (wire.disconnect(), "e0 00", "DISCONNECT"),
]


@pytest.mark.parametrize(("built", "wanted", "text"), VECTORS, ids=[v[2][:30] for v in VECTORS])
def test_vectors(built: bytes, wanted: str, text: str) -> None:
    assert built.hex(" ") == wanted
    assert wire.describe(built) == text
    (packet,) = wire.decode(built)
    assert packet.raw == built
    assert wire.encode(packet) == built


@pytest.mark.parametrize(
    ("length", "wanted"),  # table 2.4
    [
        (0, "00"),
        (127, "7f"),
        (128, "8001"),
        (16383, "ff7f"),
        (16384, "808001"),
        (2097151, "ffff7f"),
        (2097152, "80808001"),
        (268435455, "ffffff7f"),
    ],
)
def test_remaining_length(length: int, wanted: str) -> None:
    assert wire.encode_remaining_length(length).hex() == wanted


def test_remaining_length_has_limits() -> None:
    for length in (-1, 268435456):
        with pytest.raises(ValueError, match="remaining length"):
            wire.encode_remaining_length(length)


MALFORMED = [
    ("00 00", "packet type 0"),
    ("f0 00", "packet type 15"),
    ("60 02 00 01", "PUBREL with flags 0"),
    ("c1 00", "PINGREQ with flags 1"),
    ("36 05 00 01 74 00 01", "PUBLISH with QoS 3"),
    ("38 03 00 01 74", "PUBLISH with DUP at QoS 0"),
    ("32 05 00 01 74 00 00", "packet identifier 0"),
    ("30 03 00 01 23", "topic name '#'"),
    ("30 02 00 00", "topic name ''"),
    ("30 03 00 01 ff", "topic name is not UTF-8"),
    ("30 03 00 01 00", "topic name contains U+0000"),
    ("30 03 00 09 74", "topic name cut short"),
    ("82 02 00 01", "length of topic filter cut short"),
    ("82 06 00 01 00 01 74 03", "requested QoS 3"),
    ("90 03 00 01 03", "return codes 03"),
    ("20 02 02 00", "acknowledge flags"),
    ("20 02 01 05", "acknowledge flags"),
    ("20 02 00 06", "return code 6"),
    ("20 03 00 00 00", "1 bytes too many"),
    ("40 01 00", "packet identifier cut short"),
    ("30 ff ff ff ff 01", "remaining length longer than 4 bytes"),
    ("10 0c 00 04 4d 51 54 54 04 03 00 00 00 00", "reserved connect flag"),
    ("10 0c 00 04 4d 51 54 54 04 42 00 00 00 00", "password without user name"),
    ("10 0c 00 04 4d 51 54 54 04 0a 00 00 00 00", "will flags"),
    ("40 02 00", "packet cut short"),
]


@pytest.mark.parametrize(("data", "reason"), MALFORMED, ids=[m[1] for m in MALFORMED])
def test_malformed_is_refused_and_described_with_its_offset(data: str, reason: str) -> None:
    good, bad = wire.pingreq(), bytes.fromhex(data)
    with pytest.raises(wire.WireError, match=re.escape(reason)):
        wire.decode(good + bad)
    lines = wire.describe(good + bad).splitlines()
    assert lines[0] == "PINGREQ"
    assert "at offset 2" in lines[1] and bad.hex()[:12] in lines[1]


@given(st.binary(max_size=40))
def test_describe_and_decode_survive_anything(data: bytes) -> None:
    assert wire.describe(data)
    try:
        packets = wire.decode(data)
    except wire.WireError as error:
        assert 0 <= error.offset <= len(data)
    else:
        assert b"".join(packet.raw for packet in packets) == data


@given(st.data())
def test_splitter_gives_the_same_for_any_chunks(data: st.DataObject) -> None:
    stream = b"".join(vector[0] for vector in VECTORS) + wire.publish("t", b"z" * 300)
    ends = data.draw(st.lists(st.integers(0, len(stream)), max_size=8).map(sorted))
    splitter = wire.Splitter()
    packets: list[bytes] = []
    for start, end in zip([0, *ends], [*ends, len(stream)], strict=True):
        packets += splitter.feed(stream[start:end])
    assert packets == [packet.raw for packet in wire.decode(stream)]
    assert splitter.rest == b"" and splitter.offset == len(stream)


def test_splitter_tells_where_garbage_begins() -> None:
    splitter = wire.Splitter()
    assert list(splitter.feed(wire.pingreq() + b"\x30\xff")) == [wire.pingreq()]
    with pytest.raises(wire.WireError, match="at offset 2"):
        list(splitter.feed(b"\xff\xff\xff"))


# --- peer -----------------------------------------------------------------------------------------


@pytest.fixture
def peer() -> Iterator[ScriptedPeer]:
    with ScriptedPeer() as made:
        yield made


@pytest.fixture
def pair(peer: ScriptedPeer) -> tuple[Connection, Connection]:
    """Return the two ends of one connection: the client's, the server's."""
    client = dial(peer.port)
    return client, peer.accept()


def test_peer_plays_a_server_for_paho(peer: ScriptedPeer) -> None:
    client = paho.Client(CallbackAPIVersion.VERSION2, "node")
    client.connect_async("127.0.0.1", peer.port)
    client.loop_start()
    conn = peer.accept()
    connect = conn.expect_packet(wire.CONNECT, client_id="node", protocol_level=4)
    assert connect.clean_session
    conn.send(wire.connack())
    client.publish("a/b", b"hihi", qos=2)
    conn.expect(wire.publish("a/b", b"hihi", qos=2, packet_id=1))
    conn.send_slowly(wire.pubrec(1))
    conn.expect(wire.pubrel(1))
    conn.send(wire.pubcomp(1))
    client.disconnect()
    conn.expect(wire.disconnect())
    conn.expect_closed()
    client.loop_stop()
    assert conn.transcript.turnarounds == 6


def test_unexpected_packet_is_shown_with_everything(pair: tuple[Connection, Connection]) -> None:
    client, server = pair
    server.send(wire.connack())
    client.expect(wire.connack())
    client.send(wire.publish("a/b", b"hihi", qos=2, packet_id=3) + wire.pingreq())
    with pytest.raises(PeerFailure) as caught:
        server.expect(wire.publish("a/b", b"hihi", qos=2, packet_id=4))
    text = str(caught.value)
    assert "expected PUBLISH id=4 qos=2 topic='a/b' payload=4 B 68696869" in text
    assert "received PUBLISH id=3 qos=2 topic='a/b' payload=4 B 68696869" in text
    assert "first difference at byte 8" in text
    assert "not yet expected:\n    PINGREQ" in text
    assert "← server CONNACK" in text and "client → PINGREQ" in text


def test_wrong_field_is_named(pair: tuple[Connection, Connection]) -> None:
    client, server = pair
    client.send(wire.puback(3))
    with pytest.raises(PeerFailure, match="wrong: packet_id"):
        server.expect_packet(wire.PUBACK, packet_id=4)
    with pytest.raises(TypeError, match="no packet_ident"):
        server.expect_packet(wire.PUBACK, packet_ident=4)


def test_peer_tells_timeout_garbage_and_close_apart(pair: tuple[Connection, Connection]) -> None:
    client, server = pair
    client.send(b"\x30")
    with pytest.raises(PeerTimeout, match="incomplete PUBLISH"):
        server.expect(wire.pingreq(), 0.05)
    client.send(b"\xff\xff\xff\xff")
    with pytest.raises(PeerFailure, match="remaining length longer than 4 bytes"):
        server.expect(wire.pingreq())
    client.close()
    server.expect_closed()


def test_expect_closed_is_strict(pair: tuple[Connection, Connection]) -> None:
    client, server = pair
    with pytest.raises(PeerFailure, match="to be closed in"):
        server.expect_closed(0.05)
    client.send(wire.pingreq())
    with pytest.raises(PeerFailure, match="received a packet"):
        server.expect_closed()
    server.expect(wire.pingreq())
    client.reset()
    assert server.expect_closed() == "other side, by reset"


def test_silence_is_broken_by_a_single_byte(pair: tuple[Connection, Connection]) -> None:
    client, server = pair
    server.expect_silence(50)
    client.send(b"\x30")
    server._changed.acquire()  # let the byte arrive first, then look: it is in the transcript
    server._changed.wait_for(lambda: server.transcript.chunks, 5)
    server._changed.release()
    timer = threading.Timer(0.05, client.send, [b"\x02"])
    timer.start()
    with pytest.raises(PeerFailure, match="expected silence"):
        server.expect_silence(5000)


def test_half_open_peer_reads_nothing_and_stays(pair: tuple[Connection, Connection]) -> None:
    client, server = pair
    server.half_open()
    client.send(wire.pingreq())
    server.expect_silence(100)
    assert not client.closed_by
    with pytest.raises(PeerFailure, match="half open"):
        server.send(wire.pingresp())


def test_nobody_connects(peer: ScriptedPeer) -> None:
    with pytest.raises(PeerTimeout, match="nobody connected"):
        peer.accept(0.05)
    peer.expect_no_connection(20)
    dial(peer.port)
    with pytest.raises(PeerFailure, match="one came"):
        peer.expect_no_connection(1000)


# --- certs ----------------------------------------------------------------------------------------


def test_tls_peer_and_the_certificates_that_must_fail() -> None:
    certs = certificates()
    for identity, reason in (
        (certs.server, None),
        (certs.wrong_host, "IP address mismatch"),
        (certs.foreign_server, "self-signed|unable to get"),
    ):
        with ScriptedPeer(certs.server_context(identity)) as peer:
            if reason:
                with pytest.raises(ssl.SSLCertVerificationError, match=reason):
                    dial(peer.port, ssl_context=certs.client_context())
                continue
            for name in ("127.0.0.1", "localhost"):
                context = certs.client_context()
                client = dial(peer.port, ssl_context=context, server_hostname=name)
                client.send(wire.pingreq())
                peer.accept().expect(wire.pingreq())


def test_client_certificate_is_required() -> None:
    certs = certificates()
    with ScriptedPeer(certs.server_context(require_client=True)) as peer:
        dial(peer.port, ssl_context=certs.client_context(with_certificate=True))
        peer.accept()
        dial(peer.port, ssl_context=certs.client_context()).expect_closed()
        peer.expect_no_connection(50)


def test_der_is_der() -> None:
    certs = certificates()
    for der in (certs.ca_der, certs.server.certificate_der, certs.client.key_der):
        assert der[:1] == b"\x30" and b"-----" not in der
    context = ssl.create_default_context(cadata=certs.ca_der)
    assert context.cert_store_stats()["x509_ca"] >= 1
    assert "PRIVATE" not in repr(certs)


# --- chaos ----------------------------------------------------------------------------------------


@pytest.fixture
def proxy(peer: ScriptedPeer) -> Iterator[ChaosProxy]:
    with ChaosProxy(peer.port) as made:
        yield made


BURST = wire.connect("node") + wire.publish("t", b"x" * 40, qos=1, packet_id=1)


@pytest.mark.parametrize("how", ["close", "reset", "stall"])
@pytest.mark.parametrize("count", [0, 1, 2, 17, len(BURST) - 1, len(BURST)])
def test_cut_up_passes_exactly_n_bytes(
    peer: ScriptedPeer, proxy: ChaosProxy, count: int, how: How
) -> None:
    proxy.cut_after(count, "up", how)
    client = dial(proxy.port)
    server = peer.accept()
    if count:
        client.send(BURST + BURST)
    cut = proxy.wait_connection(1)
    cut.wait_cut()
    if how == "stall":
        server.drain(50)
        server.expect_silence(50)
        assert not client.closed_by
    else:
        # A cut behind a whole packet: the packets come first.
        server.drain(50)
        closed = (server.expect_closed(), client.expect_closed())
        by_reset = "other side, by reset"
        assert (by_reset in closed) == (how == "reset"), closed
    assert server.transcript.data("up") == (BURST + BURST)[:count]
    assert (cut.up, cut.cut) == (count, how)
    # The plan is used up: the next connection works.
    second = dial(proxy.port)
    second.send(BURST)
    peer.accept().expect(BURST)


@pytest.mark.parametrize("count", range(len(wire.connack() + wire.puback(1)) + 1))
def test_cut_down_passes_exactly_n_bytes(peer: ScriptedPeer, proxy: ChaosProxy, count: int) -> None:
    answer = wire.connack() + wire.puback(1)
    proxy.cut_after(count, "down", "close")
    client = dial(proxy.port)
    server = peer.accept()
    if count:
        client.send(BURST)
        server.expect(BURST)
        server.send(answer)
    proxy.wait_connection(1).wait_cut()
    client.drain(50)
    client.expect_closed()
    assert client.transcript.data("down") == answer[:count]


def test_cut_of_the_open_connection_counts_from_its_start(
    peer: ScriptedPeer, proxy: ChaosProxy
) -> None:
    client = dial(proxy.port)
    server = peer.accept()
    client.send(BURST)
    server.expect(BURST)
    with pytest.raises(ChaosError, match="already"):
        proxy.cut_after(len(BURST) - 1)
    proxy.cut_after(len(BURST) + 1, "up", "reset")
    client.send(wire.pingreq())
    server.expect_closed()
    assert server.transcript.data("up") == BURST + b"\xc0"
    assert "cut by the proxy: reset" in proxy.describe()
    assert "incomplete PINGREQ" in proxy.describe()


def test_counters_and_turnarounds(peer: ScriptedPeer, proxy: ChaosProxy) -> None:
    client = dial(proxy.port)
    server = peer.accept()
    client.send(BURST)
    server.expect(BURST)
    server.send(wire.connack() + wire.puback(1))
    client.expect(wire.connack() + wire.puback(1))
    connection = proxy.wait_connection(1)
    assert (connection.up, connection.down, connection.turnarounds) == (len(BURST), 8, 1)
    for _ in range(2):  # two chunks one way are no turnaround
        client.send(wire.pingreq())
        server.expect(wire.pingreq())
    assert (proxy.bytes_up, proxy.bytes_down, proxy.turnarounds) == (len(BURST) + 4, 8, 2)
    client.close()
    server.expect_closed()
    connection.wait_closed()
    with pytest.raises(ChaosTimeout, match="no connection 2"):
        proxy.wait_connection(2, 0.05)


def test_stall_and_resume(peer: ScriptedPeer, proxy: ChaosProxy) -> None:
    client = dial(proxy.port)
    server = peer.accept()
    proxy.stall()
    client.send(BURST)
    server.send(wire.connack())
    server.expect_silence(100)
    client.expect_silence(10)
    proxy.resume()
    server.expect(BURST)
    client.expect(wire.connack())


def test_half_open_is_silent_for_both_even_at_the_end(
    peer: ScriptedPeer, proxy: ChaosProxy
) -> None:
    client = dial(proxy.port)
    server = peer.accept()
    proxy.half_open()
    client.send(BURST)
    client.close()
    server.expect_silence(100)
    dial(proxy.port).send(BURST)
    peer.accept().expect(BURST)


@pytest.mark.parametrize("how", ["reset", "closed"])
def test_refuse_both_ways_and_back(peer: ScriptedPeer, proxy: ChaosProxy, how: str) -> None:
    proxy.refuse(True, how)  # type: ignore[arg-type]
    if how == "closed":
        with pytest.raises(ConnectionRefusedError):
            dial(proxy.port)
    else:
        assert dial(proxy.port).expect_closed() == "other side, by reset"
        assert proxy.refused == 1
    peer.expect_no_connection(50)
    proxy.refuse(False)
    dial(proxy.port)
    peer.accept()


def test_refused_target_resets_the_client(peer: ScriptedPeer) -> None:
    with ChaosProxy(1) as proxy:  # nobody listens on port 1
        assert dial(proxy.port).expect_closed() == "other side, by reset"
        proxy.target_port = peer.port
        dial(proxy.port)
        peer.accept()


def test_delay_is_latency_not_throughput(peer: ScriptedPeer, proxy: ChaosProxy) -> None:
    client = dial(proxy.port)
    server = peer.accept()
    proxy.delay(80)
    started = loop.loop().time()
    for _ in range(10):
        client.send(BURST)
    server.expect(BURST * 10)
    assert 0.08 <= loop.loop().time() - started < 0.4


def test_drip_and_cut_now(peer: ScriptedPeer, proxy: ChaosProxy) -> None:
    client = dial(proxy.port)
    server = peer.accept()
    proxy.drip(3)
    client.send(BURST)
    server.expect(BURST)
    sizes = {len(data) for _, data in proxy.wait_connection(1).transcript.chunks}
    assert max(sizes) == 3
    proxy.cut_now("reset")
    assert server.expect_closed() == client.expect_closed() == "other side, by reset"


# --- brokers --------------------------------------------------------------------------------------


class Paho:
    """A paho client with waits instead of callbacks."""

    def __init__(self, broker: Broker, port: int, client_id: str, clean: bool = True) -> None:
        self.messages: list[paho.MQTTMessage] = []
        self._changed = threading.Condition()
        self._connected = self._subscribed = False
        self.client = paho.Client(CallbackAPIVersion.VERSION2, client_id, clean_session=clean)
        if broker.username:
            self.client.username_pw_set(broker.username, broker.password)
        self.client.on_connect = self._on_connect
        self.client.on_subscribe = self._on_subscribe
        self.client.on_message = self._on_message
        self.client.connect_async("127.0.0.1", port)
        self.client.loop_start()

    def _note(self, change: Callable[[], None]) -> None:
        with self._changed:
            change()
            self._changed.notify_all()

    def _on_connect(self, *args: object) -> None:
        self._note(lambda: setattr(self, "_connected", args[3] == 0))

    def _on_subscribe(self, *args: object) -> None:
        self._note(lambda: setattr(self, "_subscribed", True))

    def _on_message(self, _c: object, _u: object, message: paho.MQTTMessage) -> None:
        self._note(lambda: self.messages.append(message))

    def wait(self, condition: Callable[[], object], timeout: float = 10) -> None:
        with self._changed:
            assert self._changed.wait_for(condition, timeout), [m.payload for m in self.messages]

    def connected(self) -> "Paho":
        self.wait(lambda: self._connected)
        return self

    def subscribed(self, topic_filter: str, qos: int) -> "Paho":
        self.connected().client.subscribe(topic_filter, qos)
        self.wait(lambda: self._subscribed)
        return self

    def stop(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


@pytest.fixture(params=["amqtt", "mosquitto"])
def broker(request: pytest.FixtureRequest) -> Iterator[Broker]:
    with AmqttBroker() if request.param == "amqtt" else make_mosquitto() as made:
        yield made


def hello(broker: Broker, client_id: str = "node", clean: bool = False) -> Connection:
    """Connect by hand and return the connection, CONNACK not yet read."""
    conn = dial(broker.port)
    login = {"username": broker.username, "password": broker.password}
    conn.send(wire.connect(client_id, clean=clean, **login))  # type: ignore[arg-type]
    return conn


def test_paho_round_trip_at_qos_2_through_the_proxy(broker: Broker) -> None:
    with ChaosProxy(broker.port) as proxy:
        subscriber = Paho(broker, broker.port, "subscriber").subscribed("t/#", 2)
        publisher = Paho(broker, proxy.port, "publisher").connected()
        for number in range(5):
            publisher.client.publish("t/x", b"%d" % number, qos=2).wait_for_publish(5)
        subscriber.wait(lambda: len(subscriber.messages) == 5)
        proxy.wait_connection(1).wait_packets(5, wire.PUBCOMP, "down")
        publisher.stop()
        subscriber.stop()
    assert [(m.payload, m.qos) for m in subscriber.messages] == [(b"%d" % n, 2) for n in range(5)]
    text = proxy.describe()
    assert text.count("PUBREL") == 5 and "client → DISCONNECT" in text, text


def test_restart_keeps_the_port_and_what_it_says_of_sessions(broker: Broker) -> None:
    conn = hello(broker)
    conn.expect_packet(wire.CONNACK, session_present=False, return_code=0)
    conn.send(wire.subscribe(1, ("t", 1)))
    conn.expect(wire.suback(1, 1))
    port = broker.port
    broker.restart()
    assert broker.port == port
    conn.expect_closed()
    kept = not broker.behaviour.forgets_sessions_on_restart
    hello(broker).expect_packet(wire.CONNACK, session_present=kept)
    broker.stop()
    assert not broker.running
    with pytest.raises(ConnectionRefusedError):
        dial(port)
    broker.stop()


def test_amqtt_stops_with_whoever_is_connected() -> None:
    broker = AmqttBroker()
    for end in (broker.stop, broker.kill):
        broker.start()
        silent, half_open, live = dial(broker.port), hello(broker, "a"), hello(broker, "b")
        live.expect(wire.connack())
        half_open.half_open()
        started = time.monotonic()
        end()
        assert time.monotonic() - started < 3
        silent.expect_closed()
        live.expect_closed()


def test_two_amqtt_brokers_at_once_and_a_wrong_password() -> None:
    with AmqttBroker() as one, AmqttBroker(username="other") as two:
        assert one.port != two.port
        hello(one).expect_packet(wire.CONNACK, return_code=0)
        conn = dial(two.port)
        conn.send(wire.connect("x", username="dormouse", password="teapot"))
        conn.expect(wire.connack(False, two.behaviour.refused_login_code))
        conn.expect_closed()


def test_brokers_offer_tls() -> None:
    certs = certificates()
    for broker in (AmqttBroker(tls=certs), MosquittoBroker(mosquitto_argv(), tls=certs)):
        with broker:
            conn = dial(broker.tls_port, ssl_context=certs.client_context())
            login = {"username": broker.username, "password": broker.password}
            conn.send(wire.connect("tls", **login))  # type: ignore[arg-type]
            conn.expect(wire.connack())


@pytest.mark.parametrize("held", [19, 20])
def test_mosquitto_loses_what_it_acknowledges_while_it_holds_20(held: int) -> None:
    """Why what is set aside at QoS 2 counts in the window (docs/architecture.md)."""
    with make_mosquitto() as broker:
        subscriber = Paho(broker, broker.port, "subscriber").subscribed("t", 2)
        conn = hello(broker)
        conn.expect_packet(wire.CONNACK)
        for number in range(held):  # never released
            conn.send(wire.publish("t", b"old", qos=2, packet_id=number + 1))
            conn.expect(wire.pubrec(number + 1))
        conn.close()
        conn = hello(broker)
        conn.expect(wire.connack(True))
        conn.send(wire.publish("t", b"new", qos=1, packet_id=100))
        conn.expect(wire.puback(100))
        conn.send(wire.publish("t", b"last"))
        subscriber.wait(lambda: subscriber.messages and subscriber.messages[-1].payload == b"last")
        subscriber.stop()
    assert len(subscriber.messages) == (2 if held < 20 else 1)


def test_mosquitto_accounts_save_and_kill() -> None:
    argv = mosquitto_argv()
    with MosquittoBroker(
        argv, username="dormouse", password="teapot", allow_anonymous=False
    ) as broker:
        wrong = dial(broker.port)
        wrong.send(wire.connect("node", username="dormouse", password="coffee"))
        wrong.expect(wire.connack(False, 5))
        hello(broker).expect(wire.connack())
        broker.save()
        broker.kill()
        assert not broker.running
        broker.start()
        hello(broker).expect(wire.connack(True))


def test_mosquitto_that_cannot_start_says_why() -> None:
    broker = MosquittoBroker(mosquitto_argv(), extra_config="no_such_option 1")
    with pytest.raises(BrokerFailure, match="no_such_option"):
        broker.start()
    with pytest.raises(BrokerFailure, match="cannot run"):
        MosquittoBroker(["/no/such/program"]).start()


def test_mosquitto_picks_another_port_when_one_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken, socket.socket() as free:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        free.bind(("127.0.0.1", 0))
        ports = [taken.getsockname()[1], free.getsockname()[1]]
        free.close()
        monkeypatch.setattr("tools.testing.brokers.free_port", lambda: ports.pop(0))
        with make_mosquitto() as broker:
            assert not ports and broker.running
            hello(broker).expect(wire.connack())


# --- Known behaviour: does it still hold? ---------------------------------------------------------


def joined(broker: Broker, client_id: str, clean: bool = False) -> Connection:
    """Connect by hand, CONNACK read."""
    conn = hello(broker, client_id, clean)
    conn.expect_packet(wire.CONNACK, return_code=0)
    return conn


def listener(
    broker: Broker,
    client_id: str = "listener",
    topic_filter: str = "t",
    qos: int = 2,
    clean: bool = False,
) -> Connection:
    """Connect and subscribe."""
    conn = joined(broker, client_id, clean)
    conn.send(wire.subscribe(1, (topic_filter, qos)))
    conn.expect(wire.suback(1, qos))
    return conn


def leave(conn: Connection) -> None:
    """Disconnect, and wait until the broker has noticed: it closes too."""
    conn.send(wire.disconnect())
    conn.expect_closed()


def publish(broker: Broker, *messages: tuple[bytes, int], topic: str = "t") -> None:
    """Publish (payload, QoS) messages one after the other and stay until the broker is at rest."""
    conn = joined(broker, "publisher", clean=True)
    for number, (payload, qos) in enumerate(messages, 1):
        conn.send(wire.publish(topic, payload, qos=qos, packet_id=number if qos else None))
        if qos == 1:
            conn.expect(wire.puback(number))
        elif qos == 2:
            conn.expect(wire.pubrec(number))
            conn.send(wire.pubrel(number))
            conn.expect(wire.pubcomp(number))
    conn.expect_silence(50)
    leave(conn)


@pytest.mark.parametrize("qos", [1, 2])
def test_known_redelivery_after_a_cut(broker: Broker, qos: int) -> None:
    conn = listener(broker, qos=qos)
    publish(broker, (b"m", qos))
    packet_id = conn.expect_packet(wire.PUBLISH, payload=b"m", qos=qos, dup=False).packet_id
    assert packet_id
    conn.reset()
    again = joined(broker, "listener")
    got = again.drain()
    if not broker.behaviour.redelivers_unacknowledged:
        assert got == []
        return
    assert [(p.type, p.packet_id, p.dup) for p in got] == [(wire.PUBLISH, packet_id, True)]
    if qos == 2:
        again.send(wire.pubrec(packet_id))
        again.expect(wire.pubrel(packet_id))
        again.reset()
        joined(broker, "listener").expect(wire.pubrel(packet_id))


@pytest.mark.parametrize("step", ["PUBLISH sent", "PUBREC got", "PUBREL sent", "PUBCOMP got"])
def test_known_resume_of_an_incoming_qos_2_message(broker: Broker, step: str) -> None:
    watcher = listener(broker, "watcher", qos=0, clean=True)
    conn = joined(broker, "node")
    conn.send(wire.publish("t", b"m", qos=2, packet_id=7))
    if step != "PUBLISH sent":
        conn.expect(wire.pubrec(7))
    if step in ("PUBREL sent", "PUBCOMP got"):
        conn.send(wire.pubrel(7))
    if step == "PUBCOMP got":
        conn.expect(wire.pubcomp(7))
    conn.drain(50)  # the broker has read what was sent, or the reset could overtake it
    conn.reset()

    known, released = broker.behaviour, step in ("PUBREL sent", "PUBCOMP got")
    conn = joined(broker, "node")
    unasked = [wire.pubrec(7)] if known.repeats_pubrec_on_reconnect and not released else []
    assert [p.raw for p in conn.drain()] == unasked
    if not released:
        conn.send(wire.publish("t", b"m", qos=2, packet_id=7, dup=True))
        conn.expect(wire.pubrec(7))
    conn.send(wire.pubrel(7))
    if not released or known.answers_unknown_pubrel:
        conn.expect(wire.pubcomp(7))
    else:
        conn.expect_silence(200)
    assert wire.payloads(watcher.drain()) == [b"m"]


def test_known_queue_of_an_absent_client(broker: Broker) -> None:
    known = broker.behaviour
    leave(listener(broker))
    publish(broker, *[(b"%d" % n, 1) for n in range(25)])
    conn = hello(broker, "listener")
    conn.expect_packet(wire.CONNACK, session_present=True)
    got = conn.drain()
    assert wire.payloads(got) == [b"%d" % n for n in range(known.unacknowledged_limit or 25)]
    assert {p.retain for p in got} == {known.queued_come_with_retain}
    assert {p.qos for p in got} == {2 if known.delivers_at_subscription_qos else 1}
    conn.send(wire.pingreq() + wire.subscribe(9, ("u", 1)))
    conn.expect(wire.pingresp())
    if known.deaf_until_queue_acknowledged:
        conn.expect_silence(200)
    else:
        conn.expect(wire.suback(9, 1), 1)


def test_known_subscriptions(broker: Broker) -> None:
    known = broker.behaviour
    conn = joined(broker, "node")
    conn.send(wire.subscribe(5, ("a/+", 2), ("a/1", 1), ("x", 0)))
    conn.expect(wire.suback(5, 2, 1, 0))
    publish(broker, (b"m", 1), topic="a/1")
    copies = len(wire.payloads(conn.drain()))
    assert copies == (2 if known.overlapping_subscriptions_double else 1)
    conn.send(wire.subscribe(6, ("x", 2)))
    conn.expect(wire.suback(6, 2))
    publish(broker, (b"m", 1), topic="x")
    conn.expect_packet(wire.PUBLISH, topic="x", qos=1 if known.subscribing_again_replaces else 0)
    conn.send(wire.subscribe(8, ("good", 1), ("a/#/b", 1)))
    if known.closes_on_bad_filter:
        conn.expect_closed()
    else:
        conn.expect(wire.suback(8, 1, 0x80))


def test_known_retained(broker: Broker) -> None:
    listener(broker)
    conn = joined(broker, "publisher")
    conn.send(wire.publish("t", b"r", qos=1, packet_id=1, retain=True))
    conn.expect(wire.puback(1))
    conn.expect_silence(50)
    stranger = joined(broker, "stranger", clean=True)
    expected = [b"r"] if broker.behaviour.sends_retained_to_strangers else []
    assert wire.payloads(stranger.drain()) == expected


def test_known_take_over(broker: Broker) -> None:
    known = broker.behaviour
    watcher = listener(broker, "watcher", "will", qos=0)

    def sleeper() -> Connection:
        conn = dial(broker.port)
        conn.send(
            wire.connect(
                "node",
                clean=False,
                will=wire.Will("will", b"w"),
                username=broker.username,
                password=broker.password,
            )
        )
        conn.expect_packet(wire.CONNACK)
        return conn

    first = sleeper()
    first.send(wire.subscribe(1, ("t", 1)))
    first.expect(wire.suback(1, 1))
    first.half_open()
    second = sleeper()
    second.drain(50)
    publish(broker, (b"m", 1))
    assert wire.payloads(second.drain()) == ([] if known.mute_after_takeover else [b"m"])
    assert wire.payloads(watcher.drain()) == ([b"w"] if known.sends_will_on_takeover else [])


def test_known_clean_session_that_lingers(broker: Broker) -> None:
    leave(joined(broker, "node", clean=True))
    present = hello(broker, "node").expect_packet(wire.CONNACK).session_present
    assert present == broker.behaviour.clean_session_lingers


@pytest.mark.parametrize("kind", ["amqtt", "mosquitto"])
def test_known_refused_login(kind: str) -> None:
    login = {"username": "dormouse", "password": "teapot", "allow_anonymous": False}
    made = AmqttBroker(**login) if kind == "amqtt" else MosquittoBroker(mosquitto_argv(), **login)  # type: ignore[arg-type]
    with made as broker:
        known = broker.behaviour
        conn = listener(broker, "node", qos=1)
        wrong = dial(broker.port)
        wrong.send(wire.connect("node", clean=False, username="dormouse", password="coffee"))
        answer = wrong.next_packet()
        present = known.session_present_when_refused
        assert answer == bytes([0x20, 2, present, known.refused_login_code])
        wrong.expect_closed()
        publish(broker, (b"m", 1))
        if known.refused_login_disturbs_session:
            conn.expect_closed()
        else:
            conn.expect_packet(wire.PUBLISH, payload=b"m")


def test_known_qos_2_window_of_a_publisher(broker: Broker) -> None:
    watcher = listener(broker, "watcher", qos=0, clean=True)
    conn = joined(broker, "node")
    count = 25
    ids = range(1, count + 1)
    conn.send(b"".join(wire.publish("t", b"%d" % n, qos=2, packet_id=n) for n in ids))
    assert sorted(p.raw for p in conn.drain()) == sorted(map(wire.pubrec, ids))
    conn.send(b"".join(map(wire.pubrel, ids)))
    assert sorted(p.raw for p in conn.drain()) == sorted(map(wire.pubcomp, ids))
    arrived = broker.behaviour.loses_qos2_in_flight_over or count
    assert wire.payloads(watcher.drain()) == [b"%d" % n for n in ids][:arrived]


def test_known_loss_at_disconnect(broker: Broker) -> None:
    watcher = listener(broker, "watcher", qos=0, clean=True)
    conn = joined(broker, "node", clean=True)
    ids = range(1, 31)
    burst = b"".join(wire.publish("t", b"m", qos=1, packet_id=n) for n in ids)
    conn.send(burst + wire.disconnect())
    acknowledged = len(conn.drain())
    arrived = len(wire.payloads(watcher.drain()))
    if broker.behaviour.loses_acknowledged_at_disconnect:
        assert arrived < acknowledged
    else:
        assert arrived == acknowledged == 30


def test_known_patience(broker: Broker) -> None:
    """With a keep alive of 1 s, and with a message that is not acknowledged for 6 s."""
    known = broker.behaviour
    subscriber = listener(broker, qos=2)
    silent = dial(broker.port)
    login = {"username": broker.username, "password": broker.password}
    silent.send(wire.connect("silent", keep_alive=1, **login))  # type: ignore[arg-type]
    silent.expect(wire.connack())
    publish(broker, (b"m", 2))
    packet_id = subscriber.expect_packet(wire.PUBLISH).packet_id
    assert packet_id
    limit = known.forgets_unacknowledged_after_s
    subscriber.expect_silence(6500)  # mosquitto looks for the silent every 5 s
    subscriber.send(wire.pubrec(packet_id))
    if limit is None:
        subscriber.expect(wire.pubrel(packet_id))
    else:
        assert limit == 5
        subscriber.expect_silence(200)
    if known.enforces_keep_alive:
        silent.expect_closed()
    else:
        silent.expect_silence(10)


def test_known_mqtt5(broker: Broker) -> None:
    """amqtt reads it as 3.1.1 before it looks at the level: with a user name it never answers."""
    conn = dial(broker.port)
    header = wire.encode_string("MQTT") + bytes([5, 0x02, 0, 0, 0])  # the last 0: no properties
    conn.send(wire.build(wire.CONNECT, 0, header + wire.encode_string("five")))
    assert conn.next_packet()[3] == (0 if broker.behaviour.mqtt5 else 1)

"""Programs for umqtt and mqtt_as, of which only the import was changed."""

import asyncio
import json
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from play import PROGRAMS, acknowledge, cut_each, grant, outage

from tools.testing import wire
from tools.testing.board import Board
from tools.testing.brokers import MosquittoBroker
from tools.testing.certs import certificates
from tools.testing.chaos import ChaosProxy
from tools.testing.observer import Observer
from tools.testing.peer import Connection, PeerFailure, ScriptedPeer
from tools.testing.runtimes import CPYTHON, MICROPYTHON32, Device, Runtime

pytestmark = pytest.mark.desk("programs of others, with their own ways to be started")
Start = Callable[..., MosquittoBroker]


def said(device: Device, line: str) -> None:
    """Wait for a line that may have come before others, which were waited for already."""
    if line not in device.lines:
        device.wait_line(line, 10)


def test_umqtt_publishes(runtime: Runtime, mosquitto: Start) -> None:
    broker = mosquitto()
    with (
        Observer(broker, ("u/#", 2)) as observer,
        runtime.start(PROGRAMS / "umqtt_pub.py", str(broker.port)) as device,
    ):
        assert device.wait_exit(10) == 0, device.transcript()
        assert device.lines == ["published"]
        observer.wait("u/state", "kept")
        assert [m.topic for m in observer.messages] == ["u/temp", "u/count", "u/state"]
        with Observer(broker, ("u/#", 1)) as late:
            assert late.wait("u/state", "kept").retain and len(late.messages) == 1


@pytest.mark.parametrize(
    ("runtime", "how"),
    [(CPYTHON, "wait"), *((MICROPYTHON32, how) for how in ("wait", "check", "poll"))],
    indirect=["runtime"],
    ids=lambda value: getattr(value, "name", value),
)
def test_umqtt_subscribes(runtime: Runtime, mosquitto: Start, how: str) -> None:
    """Commands at QoS 2, answers from inside the callback, pings by itself; a cut, and what was
    sent meanwhile."""
    broker = mosquitto()
    with (
        ChaosProxy(broker.port) as proxy,
        Observer(broker, ("u/#", 2)) as observer,
        runtime.start(PROGRAMS / "umqtt_sub.py", str(proxy.port), how) as device,
    ):
        device.wait_line("connected 0", 10)
        device.wait_line("subscribed", 10)
        for n in range(5):
            observer.publish("u/do", "toggle", 2)
            observer.wait_count("u/led", n + 1)
        proxy.wait_connection(1).wait_packets(5, wire.PUBCOMP)
        time.sleep(1.6)  # longer than the broker waits with this keep-alive
        proxy.refuse()
        proxy.cut_now("reset")
        device.wait_line("lost OSError" if "micro" in device.name else "lost ", 10)
        observer.publish("u/do", "toggle", 2)
        proxy.refuse(False)
        device.wait_line("connected 1", 10)
        assert observer.wait_count("u/led", 6) == ["on", "off"] * 3
        assert len([line for line in device.lines if line.startswith("lost")]) >= 1
        assert len(proxy.connections) == 2, "the pings went by themselves"
        # What the callback raises comes out of the call; the message comes again.
        observer.publish("u/do", "raise", 2)
        device.wait_line("callback once", 10)
        proxy.cut_now("reset")
        device.wait_line("connected 1", 10)
        device.wait_line("got b'u/do' b'raise'", 10)
        device.kill()
    if "micro" in device.name:
        assert not any("Traceback" in line for line in device.lines)


def test_umqtt_called_seldom(runtime: Runtime, mosquitto: Start) -> None:
    """More seldom than an answer may take: it lies in the socket, and the connection lives."""
    with runtime.start(PROGRAMS / "umqtt_seldom.py", str(mosquitto().port)) as device:
        device.wait_line("end", 20)


def test_umqtt_waits_for_what_came_with_an_answer(runtime: Runtime, mosquitto: Start) -> None:
    """A retained message right behind SUBACK; user, password, ssl and ssl_params as umqtt's own
    defaults have them."""
    broker = mosquitto()
    with Observer(broker, ("x", 1)) as observer:
        observer.publish("u/setting", "42", 1, retain=True)
        with runtime.start(PROGRAMS / "umqtt_setting.py", str(broker.port)) as device:
            for _ in range(3):
                device.wait_line("set b'42'", 10)
            device.wait_line("end []", 10)
            device.wait_line("lost ", 10)
            device.wait_line("lost 107", 10)
            assert device.wait_exit(10) == 0, device.transcript()


def test_umqtt_callback_behind_connect(runtime: Runtime, mosquitto: Start) -> None:
    """What the broker kept is given in the calls behind it, and none is lost for want of one."""
    with runtime.start(PROGRAMS / "umqtt_late.py", str(mosquitto().port)) as device:
        device.wait_line("connected 1", 10)
        device.wait_line("in order True", 10)
        device.wait_line("the end is noticed", 10)
        assert device.wait_exit(10) == 0, device.transcript()


def test_umqtt_attributes() -> None:
    from dormouse.compat.umqtt import MQTTClient

    c = MQTTClient("x", "h", 0, "user", "secret", 60, None, {"server_hostname": "h"})
    assert (c.user, c.pswd, c.keepalive, c.port) == ("user", "secret", 60, 1883)
    with pytest.raises(ValueError, match="SSLContext"):
        MQTTClient("x", "h", ssl=True, ssl_params={})
    with pytest.raises(ValueError, match="timeout: more than 0"):
        MQTTClient("x", "h", timeout=0).connect()
    with pytest.raises(TypeError, match="no option clientid: it is client_id"):
        MQTTClient("x", "h", clientid="y").connect()


def test_robust_says_that_it_is_there(runtime: Runtime, mosquitto: Start) -> None:
    """After each connect, by the ``connect`` of a subclass, which sets the will anew: what is under
    way meanwhile is not lost. Without a broker it tries again, and not on top of itself."""
    broker = mosquitto(persistence=True)
    with (
        ChaosProxy(broker.port) as proxy,
        Observer(broker, ("r/#", 2)) as observer,
        runtime.start(PROGRAMS / "robust_lwt.py", str(proxy.port)) as device,
    ):
        for n in range(3):
            observer.wait_count("r/n", 3 + 20 * n)
            if n == 1:
                proxy.refuse()
            proxy.cut_now("reset")
            if n == 1:
                proxy.wait_refused(20, 10)
                proxy.refuse(False)
        observer.wait_count("r/n", 60)
        seen = observer.payloads("r/n")
        assert seen == [str(n) for n in range(len(seen))], device.transcript()
        assert observer.payloads("r/state")[-1] == "Online"
        assert observer.payloads("r/state").count("Offline") == 3
        assert not any("Traceback" in line for line in device.lines)


def test_umqtt_refused_and_absent(runtime: Runtime, mosquitto: Start) -> None:
    broker = mosquitto(allow_anonymous=False, username="u", password="p")
    with runtime.start(PROGRAMS / "umqtt_sub.py", str(broker.port), "wait") as device:
        assert device.wait_exit(10) == 0, device.transcript()
        assert device.lines == ["refused 5"]
    broker.stop()
    with runtime.start(PROGRAMS / "umqtt_pub.py", str(broker.port)) as device:
        assert device.wait_exit(10) != 0
        assert "Error" in device.lines[-1]


def test_umqtt_over_tls(runtime: Runtime, mosquitto: Start, tmp_path: Path) -> None:
    certs = certificates()
    broker = mosquitto(tls=certs)
    (tmp_path / "ca.der").write_bytes(certs.ca_der)
    program = (PROGRAMS / "umqtt_pub.py").read_text()
    program = program.replace('"127.0.0.1"', '"localhost"')
    program = program.replace("SERVER, PORT", 'SERVER, PORT, ssl=context("ca.der")')
    program = "from dormouse.net.tls import context\n" + program
    (tmp_path / "program.py").write_text(program)
    with (
        Observer(broker, ("u/#", 2)) as observer,
        runtime.start(tmp_path / "program.py", str(broker.tls_port), cwd=tmp_path) as device,
    ):
        assert device.wait_exit(15) == 0, device.transcript()
        observer.wait("u/state", "kept")


def test_robust(runtime: Runtime, mosquitto: Start) -> None:
    """Connections are cut at many bytes: QoS 1 at least once, QoS 2 once, and nothing published
    twice by the program's own doing."""
    broker = mosquitto()
    with (
        ChaosProxy(broker.port) as proxy,
        Observer(broker, ("r/#", 2)) as observer,
        runtime.start(PROGRAMS / "robust_count.py", str(proxy.port), "90") as device,
    ):
        device.wait_line("subscribed", 10)
        cut_each(proxy, 8)
        device.wait_line("published", 20)
        assert len(proxy.connections) > 4
        observer.publish("r/do", "hello", 1)
        device.wait_line("got hello", 10)
        observer.publish("r/n", "end", 2)
        observer.wait("r/n", "end")
        seen = [int(text) for text in observer.payloads("r/n")[:-1]]
        for n in range(90):
            if n % 3:  # its QoS
                assert seen.count(n) == 1 or (n % 3 == 1 and n in seen), (n, seen)


def greeted(peer: ScriptedPeer, session_present: bool = False) -> Connection:
    """Accept the device's next connection."""
    conn = peer.accept()
    conn.expect_packet(type=wire.CONNECT)
    conn.send(wire.connack(session_present))
    return conn


def test_umqtt_answers_each_message(runtime: Runtime, peer: ScriptedPeer) -> None:
    """From inside the callback, at QoS 1: to more messages at once than the stack has room for. And
    it leaves from inside it."""
    with runtime.start(PROGRAMS / "umqtt_answers.py", str(peer.port), "100", "8192") as device:
        conn = greeted(peer)
        grant(conn, 0)
        conn.send(b"".join(wire.publish("do", b"%d" % n) for n in range(100)))
        for n in range(100):
            acknowledge(conn, topic="answer", payload=b"%d" % n)
        device.wait_line("answered 100 1", 10)
        conn.expect_packet(type=wire.PUBLISH, topic="more")
        conn.send(wire.publish("do", b"stop"))
        conn.expect(wire.disconnect())
        conn.expect_closed()
        line = device.wait_line("raised", 10)
        assert "107" in line or "not connected" in line
        assert device.wait_exit(10) == 0, device.transcript()


def test_umqtt_answers_more_than_it_can_hold(runtime: Runtime, peer: ScriptedPeer) -> None:
    """What comes while the callback waits is bounded: the rest is left to the broker."""
    count = 60
    with runtime.start(PROGRAMS / "umqtt_answers.py", str(peer.port), str(count), "1024") as device:
        answered: list[int] = []
        left = set(range(1, count + 1))

        def serve(conn: Connection, dup: bool) -> None:
            """Send what is left, and answer, until the device closes or has done it all."""
            for n in sorted(left):
                conn.send(wire.publish("do", b"%d" % n, qos=1, packet_id=n, dup=dup))
            with suppress(PeerFailure):
                while left:
                    (packet,) = wire.decode(conn.next_packet())
                    if packet.type == wire.PUBACK:
                        left.discard(packet.packet_id or 0)
                        continue
                    answered.append(int(packet.payload))
                    if len(answered) == 1:
                        time.sleep(0.3)  # all that came is in the device
                    conn.send(wire.puback(packet.packet_id or 0))

        conn = greeted(peer)
        grant(conn, 0)
        serve(conn, False)
        assert 10 < len(answered) < 30 and left
        device.wait_line("lost", 10)
        for _ in range(9):
            if left:
                serve(greeted(peer, True), True)
        device.wait_line(f"answered {count} 1", 10)
        assert answered == list(range(1, count + 1))


def answer_published(conn: Connection) -> int:
    """Take the device's next PUBLISH; answer its pings, as a broker does."""
    while True:
        (packet,) = wire.decode(conn.next_packet())
        if packet.type == wire.PUBLISH:
            return packet.packet_id or 0
        assert packet.type == wire.PINGREQ
        conn.send(wire.pingresp())


def test_umqtt_callback_that_takes_its_time(runtime: Runtime, peer: ScriptedPeer) -> None:
    """Longer than an answer may: what publish waits for lies in the socket then. Without one it
    ends all the same."""
    with runtime.start(PROGRAMS / "umqtt_slow.py", str(peer.port)) as device:
        conn = greeted(peer)
        for _ in range(2):
            identifier = answer_published(conn)
            conn.send(wire.publish("do", b"slow"))
            device.wait_line("begun", 10)
            conn.send(wire.puback(identifier))
            device.wait_line("acknowledged", 10)
        answer_published(conn)
        conn.send(wire.publish("do", b"slow"))
        device.wait_line("lost", 10)


CUTS = """\
import gc
import sys
from dormouse.compat.umqtt import MQTTClient
from dormouse.net.tls import context

c = MQTTClient("cut", "localhost", int(sys.argv[1]), ssl=context("ca.der"), keepalive=30)
for n in range(5):
    c.connect()
    c.publish("cut", str(n), qos=1)
    c._close()  # as when the connection is lost
    c.connect()  # which takes the same descriptor
    gc.collect()  # whatever is left of the one before must not close it
    c.publish("cut", "and", qos=1)
c.disconnect()
print("end")
"""


def test_umqtt_over_tls_and_cuts(runtime: Runtime, mosquitto: Start, tmp_path: Path) -> None:
    """The collector finds nothing of a connection that was lost: it would close another one."""
    certs = certificates()
    (tmp_path / "ca.der").write_bytes(certs.ca_der)
    (tmp_path / "program.py").write_text(CUTS)
    port = str(mosquitto(tls=certs).tls_port)
    with runtime.start(tmp_path / "program.py", port, cwd=tmp_path) as device:
        device.wait_line("end", 20)


def test_robust_goes_on_after_a_wrong_certificate(monkeypatch: pytest.MonkeyPatch) -> None:
    """MicroPython raises ValueError for one; when the right server answers again, it is there."""
    from dormouse.compat import robust

    faults = [ValueError("invalid cert"), MemoryError(), OSError(111)]

    def connect(client: object, clean: bool) -> int:
        if faults:
            raise faults.pop()
        return 1

    monkeypatch.setattr(robust._Simple, "connect", connect)
    client = robust.MQTTClient("r", "h")
    client.DELAY = 0
    assert client.reconnect() == 1 and not faults


def test_mqtt_as_whose_wifi_raises_what_a_port_does() -> None:
    """An ESP32's "Wifi Unknown Error" is no OSError, for which programs for mqtt_as look."""
    from dormouse.compat.mqtt_as import MQTTClient

    class Radio:
        async def join(self, ms: int = 15000) -> None:
            raise RuntimeError("Wifi Unknown Error 0x0102")

    client = MQTTClient({"server": "h", "client_id": "c", "wifi": Radio()})
    with pytest.raises(OSError, match="0x0102"):
        asyncio.run(client.connect())


UNTOLD = """
import asyncio
from dormouse.compat.mqtt_as import _call

class Untold(Exception):
    def __str__(self):
        return "Untold" + 1  # a mistake in it

    __repr__ = __str__

def callback(*args):
    raise Untold

asyncio.run(_call(callback, b"t", b"", False))
print("end")
"""


def test_mqtt_as_and_an_error_that_cannot_be_told(runtime: Runtime, tmp_path: Path) -> None:
    """It does not end what gives messages to the callback."""
    (tmp_path / "program.py").write_text(UNTOLD)
    with runtime.start(tmp_path / "program.py", cwd=tmp_path) as device:
        device.wait_line("end", 20)


def test_mqtt_as_with_callbacks(runtime: Runtime, mosquitto: Start, tmp_path: Path) -> None:
    """The Wi-Fi is lost, and the broker; what was published meanwhile comes."""
    broker = mosquitto(persistence=True)
    files = {"config.json": [broker.port, 20]}
    with (
        Board(runtime, tmp_path, PROGRAMS / "as_callback.py", files, type="rp2") as board,
        Observer(broker, ("m/#", 1)) as observer,
    ):
        board.set_network()
        board.power_on()
        board.wait_line("wifi up", 10)
        board.wait_line("subscribed", 10)
        assert board.device
        said(board.device, "published")
        assert observer.wait_count("m/n", 20) == [str(n) for n in range(20)]
        observer.publish("m/do", "x", 1)
        board.wait_line("got b'm/do' b'x' False", 10)
        observer.publish("m/do", "bad", 1)  # at which the callback raises
        observer.publish("m/do", "next", 1)
        board.wait_line("got b'm/do' b'next' False", 10)
        with outage(board, broker):
            board.wait_line("wifi down", 10)
        board.wait_line("wifi up", 40)
        board.wait_line("subscribed", 10)
        observer.wait_subscribed(2)
        observer.publish("m/do", "y", 1)
        board.wait_line("got b'm/do' b'y' False", 10)
        assert any(line.startswith("down: ") for line in board.lines), "DEBUG, dprint"


def test_mqtt_as_with_a_queue(runtime: Runtime, mosquitto: Start, tmp_path: Path) -> None:
    broker = mosquitto()
    with ChaosProxy(broker.port) as proxy, Observer(broker, ("m/#", 2)) as observer:
        (tmp_path / "config.json").write_text(json.dumps([proxy.port, 20]))
        with runtime.start(PROGRAMS / "as_queue.py", cwd=tmp_path) as device:
            device.wait_line("subscribed", 10)
            proxy.cut_now("reset")
            device.wait_line("down", 10)
            device.wait_line("subscribed", 20)
            said(device, "published")
            observer.publish("m/do", "x", 2)
            device.wait_line("got b'm/do' b'x' False", 10)
            observer.publish("m/do", "end", 2)
            device.wait_line("end False", 10)
            assert device.wait_exit(10) == 0, device.transcript()
        assert observer.payloads("m/n") == [str(n) for n in range(20)]


def test_robust_connects_again_in_the_callback(runtime: Runtime, peer: ScriptedPeer) -> None:
    """The message that the callback has is not given to it once more."""
    argv = str(peer.port), "1", "8192", "robust"
    with runtime.start(PROGRAMS / "umqtt_answers.py", *argv) as device:
        conn = greeted(peer)
        grant(conn, 1)
        conn.send(wire.publish("do", b"1", qos=1, packet_id=7))
        conn.expect_packet(type=wire.PUBLISH, topic="answer")
        conn.reset()
        conn = greeted(peer, True)
        conn.send(wire.publish("do", b"1", qos=1, packet_id=7, dup=True))
        acknowledge(conn, topic="answer", dup=True)
        conn.expect(wire.puback(7))
        device.wait_line("answered 1 1", 10)
        acknowledge(conn, topic="more")
        assert device.wait_exit(10) == 0, device.transcript()


@pytest.mark.parametrize("where", ["message", "connection"])
def test_mqtt_as_left_in_a_handler(runtime: Runtime, mosquitto: Start, where: str) -> None:
    """Which runs in a task of the client's own; it connects again, and its handlers run again."""
    with runtime.start(PROGRAMS / "as_bye.py", str(mosquitto().port), where) as device:
        device.wait_line("left", 10)
        device.wait_line("connected False", 10)
        device.wait_line("again True", 10)
        device.wait_line("end", 10)
        assert device.lines.count("got b'go on'") == 1
        assert device.wait_exit(10) == 0, device.transcript()
        assert not any("Error" in line or "Traceback" in line for line in device.lines)


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", None])
def test_mqtt_as_first_attempt(runtime: Runtime, answer: bytes | None) -> None:
    """What closes, is no broker, or says nothing: OSError, for which such programs look."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        with runtime.start(PROGRAMS / "as_first.py", port) as device:
            peer, _ = server.accept()
            with peer:
                peer.recv(100)
                if answer:
                    peer.sendall(answer)
                if answer is not None:
                    peer.close()
                device.wait_line("connection failed 104", 10)
            assert device.wait_exit(10) == 0, device.transcript()


def test_mqtt_as_begun_before_it_connects(runtime: Runtime, mosquitto: Start) -> None:
    """Tasks wait for the connection; and the end of a program shows its own error."""
    with runtime.start(PROGRAMS / "as_begun.py", str(mosquitto().port)) as device:
        device.wait_line("got b'm/do' b'repubs 0' False", 10)
        device.wait_line("up True, 0 discards, 2 tasks", 10)
        device.wait_line("ended by the program's own", 10)
        device.wait_line("closed", 10)
        assert device.wait_exit(10) == 0, device.transcript()


def test_mqtt_as_handlers_that_stay(runtime: Runtime, mosquitto: Start) -> None:
    """They hold up no other one; a log that raises ends nothing."""
    with (
        ChaosProxy(mosquitto().port) as proxy,
        runtime.start(PROGRAMS / "as_stays.py", str(proxy.port)) as device,
    ):
        for _ in range(2):
            device.wait_line("wifi True", 20)
            device.wait_line("connection", 10)
            proxy.cut_now("reset")
            device.wait_line("wifi False", 10)
            said(device, "down")
        device.wait_line("connection", 20)
        assert sum(line.startswith("log down: ") for line in device.lines) == 2


def test_mqtt_as_config_is_checked() -> None:
    from dormouse import Will
    from dormouse.compat.mqtt_as import MQTTClient, config

    for wrong, text in (
        ({}, "no server"),
        ({"server": "h", "sever": "h"}, "no such key"),
        ({"server": "h", "ssl": True}, "SSLContext"),
        ({"server": "h", "mqttv5": True}, "version=5"),
        ({"server": "h", "options": {"max_packet": 9000}}, "inbox_bytes"),
    ):
        with pytest.raises(ValueError, match=text):
            MQTTClient({**config, **wrong})
    # What mqtt_as takes.
    c = {**config, "server": "h", "password": "no user"}
    for will, retain, qos in (
        (("t", b"p"), False, 0),
        (("t", b"p", True), True, 0),
        (["t", b"p", True, 1], True, 1),
    ):
        session = MQTTClient({**c, "will": will}).client.session
        assert session.greeting[2] == Will("t", b"p", qos, retain)

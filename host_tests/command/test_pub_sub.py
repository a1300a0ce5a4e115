"""dormouse pub, sub and request beside mosquitto's own clients."""

import io
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path

import pytest
from calling import Done, Run, lose_and_find, start, wait_logged

from tools.command import sub
from tools.command.shared import formats, output
from tools.command.shared.failure import Failure
from tools.testing import runtimes, wire
from tools.testing.address import HOST
from tools.testing.brokers import MosquittoBroker
from tools.testing.certs import certificates
from tools.testing.needs import needed
from tools.testing.peer import ScriptedPeer


@pytest.fixture
def at(server: MosquittoBroker) -> list[str]:
    """The options that name the broker."""
    return ["-h", HOST, "-p", str(server.port)]


NUMBERS = itertools.count()
EXPIRY = "session-expiry-interval"


class Theirs:
    """mosquitto's own clients beside a broker."""

    def __init__(self, server: MosquittoBroker) -> None:
        self.server = server
        self.at = ["-h", HOST, "-p", str(server.port)]

    def argv(self, name: str) -> list[str]:
        """Return how to start one; skips the test where it cannot be had."""
        return [*needed(lambda: runtimes.get.mosquitto_client(name)), *self.at]

    def sub(self, topic: str, *more: str) -> subprocess.Popen[bytes]:
        """Start mosquitto_sub, and return when the broker says that it is subscribed."""
        name = f"theirs{next(NUMBERS)}x"
        args = [*self.argv("mosquitto_sub"), "-i", name, "-t", topic, "-W", "10", *more]
        process = subprocess.Popen(args, stdout=subprocess.PIPE)
        self.wait_log(f"Sending SUBACK to {name}")
        return process

    def wait_log(self, text: str) -> None:
        """Wait until the broker has logged it."""
        deadline = time.monotonic() + 20
        while text not in self.server.log():
            assert time.monotonic() < deadline, text
            time.sleep(0.01)

    def pub(self, *args: str) -> None:
        """Run mosquitto_pub."""
        subprocess.run([*self.argv("mosquitto_pub"), *args], check=True, timeout=15)


@pytest.fixture
def theirs(server: MosquittoBroker) -> Theirs:
    """mosquitto's own clients."""
    return Theirs(server)


def lines(process: subprocess.Popen[bytes]) -> list[bytes]:
    """Return what a program printed until its end."""
    out, _ = process.communicate(timeout=15)
    return out.splitlines()


@pytest.mark.parametrize("version", ["311", "5"])
@pytest.mark.parametrize("qos", ["0", "1", "2"])
def test_ours_to_theirs(run: Run, theirs: Theirs, at: list[str], qos: str, version: str) -> None:
    process = theirs.sub("to/theirs", "-q", qos, "-C", "2", "-F", "%t %p %q")
    done = run("pub", *at, "-t", "to/theirs", "-m", "grüß", "-q", qos, "-V", version, "-v")
    assert (done.status, done.err) == (0, "")
    said = f"1 message, 6 bytes, QoS {qos}, {'acknowledged' if qos != '0' else 'sent'}"
    assert done.out.startswith(said)
    assert run("pub", *at, "-t", "to/theirs", "-n", "-q", qos).status == 0
    assert lines(process) == [f"to/theirs grüß {qos}".encode(), f"to/theirs  {qos}".encode()]


def test_theirs_to_ours(theirs: Theirs, at: list[str]) -> None:
    ours = start(
        "sub", *at, "-t", "to/ours/#", "-q", "2", "-C", "3", "-W", "10", "-F", r"%t\t%p %q"
    )
    # Retained: it is there whether ours is subscribed yet or not.
    for qos in "012":
        args = ["-t", f"to/ours/{qos}", "-m", f"é{qos}", "-q", qos, "-r"]
        theirs.pub(*args)
    out, err = ours.communicate(timeout=15)
    assert ours.returncode == 0, err
    assert sorted(out.decode().splitlines()) == [f"to/ours/{q}\té{q} {q}" for q in "012"]


def test_a_format_says_the_same_as_theirs(run: Run, theirs: Theirs, at: list[str]) -> None:
    properties = ["-D", "publish", "content-type", "text/plain"]
    properties += ["-D", "publish", "user-property", "unit", "C"]
    args = ["-t", "same/format", "-m", '{"a": 1}', "-q", "1", "-r", "-V", "5", *properties]
    theirs.pub(*args)
    shape = r"%t|%p|%x|%X|%l|%q|%r|%C|%P|%%|\t"
    asked = ["-t", "same/format", "-q", "1", "-V", "5", "-C", "1", "-W", "10", "-F"]
    one = subprocess.run([*theirs.argv("mosquitto_sub"), *asked, shape], stdout=subprocess.PIPE)
    assert run("sub", *at, *asked, shape).bytes == one.stdout
    two = subprocess.run([*theirs.argv("mosquitto_sub"), *asked, "%j"], stdout=subprocess.PIPE)
    both = [json.loads(run("sub", *at, *asked, "%j").out), json.loads(two.stdout)]
    for found in both:
        del found["tst"], found["properties"]  # the names of properties are dormouse's
    assert both[0] == both[1]


def test_lines_of_stdin(theirs: Theirs, at: list[str]) -> None:
    process = theirs.sub("lines", "-q", "1", "-C", "500")
    ours = start("pub", *at, "-t", "lines", "-l", "-q", "1", "--json", stdin=subprocess.PIPE)
    sent = [b"line %03d" % i for i in range(500)]
    out, err = ours.communicate(b"\n".join(sent), timeout=15)
    assert ours.returncode == 0, err
    said = json.loads(out)
    assert (said["messages"], said["bytes"]) == (500, 500 * 8)
    assert lines(process) == sent  # all, in order


def test_a_file_of_a_megabyte(run: Run, at: list[str], tmp_path: Path) -> None:
    data = os.urandom(1_000_000)
    (tmp_path / "image").write_bytes(data)
    done = run("pub", *at, "-t", "big/file", "-f", str(tmp_path / "image"), "-q", "1", "-r")
    assert done.status == 0, done.err
    done = run("sub", *at, "-t", "big/file", "-C", "1", "-N", "-W", "10")
    assert done.bytes == data
    cleared = run("sub", *at, "-t", "big/#", "--remove-retained", "-C", "1", "-W", "10", "-F", "%l")
    assert (cleared.status, cleared.out) == (0, "1000000\n")
    assert run("sub", *at, "-t", "big/#", "-W", "0.5").status == 3
    missing = run("pub", *at, "-t", "a", "-f", str(tmp_path / "nothing"))
    assert missing.status == 2 and "nothing: No such file" in missing.err


def test_tls_and_websocket(run: Run, server: MosquittoBroker) -> None:
    ca = ["--cafile", str(certificates().ca_file)]
    ways: list[list[str]] = [
        ["-h", HOST, "-p", str(server.tls_port), *ca],
        ["-L", f"mqtts://{HOST}:{server.tls_port}", *ca],
        ["-h", HOST, "-p", str(server.ws_port), "--ws"],
        ["-L", f"wss://{HOST}:{server.wss_port}/mqtt", *ca],
        ["-h", HOST, "-p", str(server.tls_port), "--insecure"],
    ]
    for number, way in enumerate(ways):
        topic = ["-t", f"ways/{number}"]
        done = run("pub", *way, *topic, "-m", "through", "-r", "-q", "1")
        assert (done.status, done.err) == (0, ""), way
        assert run("sub", *way, *topic, "-C", "1", "-W", "5").out == "through\n"
    done = run("pub", "-h", HOST, "-p", str(server.tls_port), "--tls", "-t", "a", "-m", "b")
    assert done.status == 1 and "certificate" in done.err and "--cafile" in done.err
    for topic in ("ways/0", "ways/#"):  # no fragment
        done = run("sub", "-L", f"mqtt://{HOST}:{server.port}/{topic}", "-C", "1", "-W", "5")
        assert done.out == "through\n"


def test_a_session_that_is_kept(run: Run, at: list[str]) -> None:
    kept = [*at, "-t", "kept/+", "-i", "desk", "-c", "-q", "1", "-W", "10"]
    assert run("sub", *kept, "-E").status == 0
    for word in ("one", "two"):
        run("pub", *at, "-t", "kept/a", "-m", word, "-q", "1")
    assert run("sub", *kept, "-C", "1").out == "one\n"  # and only that is acknowledged
    assert run("sub", *kept, "-C", "1").out == "two\n"
    assert run("sub", *kept[:-2], "-W", "0.5").status == 3
    done = run("sub", *at, "-t", "a", "-c")
    assert done.status == 2 and "-i" in done.err
    # The session is given up again.
    assert run("sub", *at, "-t", "x", "-i", "desk", "-E").status == 0


def test_a_will(run: Run, theirs: Theirs, at: list[str]) -> None:
    process = theirs.sub("died", "-C", "1")
    ours = start("sub", *at, "-t", "wait", "-v", "--will-topic", "died", "--will-payload", "oh")
    run("pub", *at, "-t", "wait", "-m", "x", "-r")
    assert ours.stdout and ours.stdout.readline() == b"wait x\n"
    ours.kill()
    assert lines(process) == [b"oh"]
    ours.communicate()


def test_ctrl_c(at: list[str], run: Run, theirs: Theirs) -> None:
    run("pub", *at, "-t", "ctrl/c", "-m", "x", "-r")
    ours = start("sub", *at, "-t", "ctrl/c", "-v")
    assert ours.stdout and ours.stdout.readline() == b"ctrl/c x\n"
    ours.send_signal(signal.SIGINT)
    out, err = ours.communicate(timeout=10)
    assert (ours.returncode, out, err) == (130, b"", b"")
    waits = start("pub", *at, "-t", "a", "-l", "-i", "ctrlc", stdin=subprocess.PIPE)
    assert waits.stdin
    waits.stdin.write(b"one\n")
    waits.stdin.flush()
    theirs.wait_log("Received PUBLISH from ctrlc")  # and it waits for the next line
    waits.send_signal(signal.SIGINT)
    assert waits.wait(10) == 130
    waits.communicate()


def test_a_pipe_that_has_enough(at: list[str], run: Run) -> None:
    for i in range(3):
        run("pub", *at, "-t", f"pipe/{i}", "-m", "x", "-r")
    ours = start("sub", *at, "-t", "pipe/+", "-v")
    assert ours.stdout and ours.stdout.readline()
    ours.stdout.close()
    run("pub", *at, "-t", "pipe/3", "-m", "x")
    assert ours.wait(10) == 0
    assert ours.stderr and ours.stderr.read() == b""
    ours.stderr.close()


def test_the_broker_goes_and_comes_back(
    run: Run, mosquitto: Callable[..., MosquittoBroker]
) -> None:
    broker = mosquitto(persistence=False)
    at = ["-h", HOST, "-p", str(broker.port)]
    run("pub", *at, "-t", "back", "-m", "1", "-r")
    ours = start("sub", *at, "-t", "back", "-v")
    assert ours.stdout and ours.stdout.readline() == b"back 1\n"
    lose_and_find(ours, "sub", broker)
    run("pub", *at, "-t", "back", "-m", "2")
    assert ours.stdout.readline() == b"back 2\n"
    ours.send_signal(signal.SIGINT)
    ours.communicate(timeout=10)


@pytest.mark.parametrize("quiet", [False, True])
def test_pub_tells_that_the_broker_has_gone(
    mosquitto: Callable[..., MosquittoBroker], quiet: bool
) -> None:
    broker = mosquitto(persistence=False)
    args = ["-h", HOST, "-p", str(broker.port), "-t", "a", "-l", "-q", "1", "-v"]
    ours = start("pub", *args, *(["--quiet"] if quiet else []), stdin=subprocess.PIPE)
    assert ours.stdin and ours.stderr
    ours.stdin.write(b"1\n")
    ours.stdin.flush()
    wait_logged(broker, "Sending PUBACK")
    broker.restart()
    if not quiet:
        said = ours.stderr.readline()
        assert said.startswith(b"dormouse pub: connection lost (") and b"connecting again" in said
        assert b"dormouse pub: connected again" in ours.stderr.readline()
    out, err = ours.communicate(b"2\n", timeout=20)
    assert (ours.returncode, err) == (0, b"")
    assert out == b"2 messages, 2 bytes, QoS 1, acknowledged\n"


def test_request_tells_that_the_broker_has_gone(
    run: Run, mosquitto: Callable[..., MosquittoBroker]
) -> None:
    broker = mosquitto(persistence=False)
    at = ["-h", HOST, "-p", str(broker.port)]
    ours = start("request", *at, "-V", "311", "-t", "ask", "-e", "answer", "-W", "20")
    wait_logged(broker, "Sending PUBACK")
    lose_and_find(ours, "request", broker)
    assert run("pub", *at, "-t", "answer", "-m", "yes").status == 0
    assert ours.communicate(timeout=20) == (b"yes\n", b"")


def test_two_with_one_name(at: list[str]) -> None:
    """They throw each other out, for ever; a person is told why that may be."""
    two = [start("sub", *at, "-t", "a", "-i", "twin") for _ in range(2)]
    try:
        assert two[0].stderr
        for line in two[0].stderr:
            if b"is there another client with -i twin?" in line:
                break
        else:
            pytest.fail("nothing was told")
    finally:
        for process in two:
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=10)


def test_limits_of_mosquitto(run: Run, mosquitto: Callable[..., MosquittoBroker]) -> None:
    """What it says of them is told as what it is, and with what to do."""
    limits = "max_keepalive 30\nmessage_size_limit 100"
    broker = mosquitto(persistence=False, extra_config=limits)
    args = ["pub", "-h", HOST, "-p", str(broker.port), "-t", "a", "-q", "1"]
    done = run(*args, "-m", "b")
    assert done.status == 1 and "a shorter -k" in done.err
    assert run(*args, "-m", "b", "-k", "30").status == 0
    done = run(*args, "-m", "b" * 200, "-V", "5", "-W", "10")
    assert done.status == 1 and "Packet too large" in done.err


def test_passwords(
    run: Run,
    mosquitto: Callable[..., MosquittoBroker],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    broker = mosquitto(
        persistence=False, username="mouse", password="cheese", allow_anonymous=False
    )
    args = ["pub", "-h", HOST, "-p", str(broker.port), "-t", "a", "-m", "b", "-q", "1"]
    assert run(*args, "-u", "mouse", "-P", "cheese").status == 0
    (tmp_path / "word").write_text("cheese\n")
    assert run(*args, "-u", "mouse", "--password-file", str(tmp_path / "word")).status == 0
    url = ["pub", "-L", f"mqtt://mouse:cheese@{HOST}:{broker.port}/a", "-m", "b", "-q", "1"]
    assert run(*url).status == 0
    for version in ("311", "5"):
        done = run(*args, "-V", version, "-u", "mouse", "-P", "bread")
        assert done.status == 1 and "What to do: -u and -P" in done.err
        assert "bread" not in done.err
    monkeypatch.setenv("DORMOUSE_PASSWORD", "cheese")
    assert run(*args, "-u", "mouse").status == 0


def test_request(run: Run, server: MosquittoBroker, at: list[str]) -> None:
    import paho.mqtt.client as paho
    from paho.mqtt.packettypes import PacketTypes
    from paho.mqtt.properties import Properties

    lamp = paho.Client(paho.CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
    ready = threading.Event()

    def answer(client: paho.Client, _: object, message: paho.MQTTMessage) -> None:
        if message.topic == "lamp/plain":  # of somebody who speaks 3.1.1
            client.publish("lamp/state", b"dim")
            return
        properties = Properties(PacketTypes.PUBLISH)
        asked = message.properties
        assert asked
        properties.CorrelationData = asked.CorrelationData
        wrong = Properties(PacketTypes.PUBLISH)
        wrong.CorrelationData = b"another's"
        client.publish(asked.ResponseTopic, b"not for you", properties=wrong)
        client.publish(asked.ResponseTopic, b"on " + message.payload, 1, properties=properties)

    lamp.on_message = answer
    lamp.on_connect = lambda c, *_: c.subscribe([("lamp/get", 1), ("lamp/plain", 1)])
    lamp.on_subscribe = lambda *_: ready.set()
    lamp.connect(HOST, server.port)
    lamp.loop_start()
    try:
        assert ready.wait(5)
        done = run("request", *at, "-t", "lamp/get", "-m", "?")
        assert (done.status, done.out, done.err) == (0, "on ?\n", "")
        done = run("request", *at, "-t", "lamp/get", "-m", "!", "-e", "mine", "--json")
        assert json.loads(done.out)["payload"] == "on !"
        done = run("request", *at, "-V", "311", "-t", "lamp/plain", "-e", "lamp/state")
        assert (done.status, done.out) == (0, "dim\n")
        assert run("request", *at, "-t", "lamp/get", "-C", "2", "-W", "0.5").status == 3
    finally:
        lamp.disconnect()
        lamp.loop_stop()
    done = run("request", *at, "-t", "lamp/get")
    assert done.status == 1 and "nobody listens at lamp/get" in done.err
    assert run("request", *at, "-t", "lamp/get", "-V", "311").status == 2


@pytest.mark.parametrize(
    ("args", "status", "why"),
    [
        (("pub", "-t", "a"), 2, "what to send?"),
        (("pub", "-m", "a"), 2, "-t TOPIC is missing"),
        (("pub", "-t", "a/#", "-m", "x"), 2, "a/#"),
        (("pub", "-t", "a", "-m", "x", "-D", "publish", "content-type", "t"), 2, "say -V 5"),
        (("pub", "-V", "5", "-t", "a", "-m", "x", "-D", "publish", "colour", "t"), 2, "one of"),
        (("sub",), 2, "-t FILTER is missing"),
        (("sub", "-t", "a/#/b"), 2, "a/#/b"),
        (("sub", "-t", "a", "-F", "%k"), 2, "'%k' stands for nothing"),
        (("sub", "-t", "a", "-L", "http://x"), 2, "is no URL of a broker"),
        (("sub", "-t", "a", "--no-local"), 2, "say -V 5"),
        (("subs", "-t", "a"), 2, "did you mean"),
        (("sub", "-t", "a", "-p", "99999"), 2, "no whole number from 1 to 65,535"),
        (("sub", "-t", "a", "-L", "mqtt://x:99999"), 2, "is no URL of a broker"),
        (("sub", "-t", "a", "-L", "mqtt://[::1"), 2, "is no URL of a broker"),
        (("sub", "-t", "a", "-W", "nan"), 2, "no number above 0"),
        (("sub", "-t", "a", "--connect-timeout", "inf"), 2, "no number up to"),
        (("sub", "-t", "a", "--psk", "zz"), 2, "a key in hex"),
        (("sub", "-t", ""), 2, "an empty topic"),
        *[
            (("sub", "-t", "a", o, ""), 2, "it is empty")
            for o in ("--cafile", "--psk", "--cert", "--ws")
        ],
        *[
            (("sub", "-t", "a", o, ""), 2, "it is empty")
            for o in ("-L", "--key", "--password-file")
        ],
        (("pub", "-t", "a", "-m", "x", "-k", "70000"), 2, "0 to 65,535"),
        (("pub", "-t", "a" * 70000, "-m", "x"), 2, "a text of 70,000 bytes"),
        (("pub", "-t", "a\udcff", "-m", "x"), 2, "no UTF-8"),
        (("pub", "-t", "a", "-m", "x", "--repeat", "0"), 2, "no whole number from 1"),
        (("pub", "-t", "a", "-m", "x", "-h", ""), 2, "-h is empty"),
        (("pub", "-t", "a", "-m", "x", "-h", "mqtt://x"), 2, "-L mqtt://HOST:PORT"),
        (("pub", "-t", "a", "-m", "x", "-h", "x:1883"), 2, "-L mqtt://HOST:PORT"),
        (("pub", "-t", "a", "-m", "x", "-h", "..x"), 2, "can be no name"),
        (("pub", "-t", "a", "-m", "x", "-h", "x" * 64), 2, "can be no name"),
        (("sub", "-V", "5", "-t", "$share/g"), 2, "$share/NAME/FILTER"),
        (("sub", "-V", "5", "-t", "$share/g/a", "--no-local"), 2, "no --no-local"),
        (("sub", "-V", "5", "-t", "$share/g/a/#/b"), 2, "alone in their level"),
        (
            ("pub", "-V", "5", "-t", "a", "-m", "x", "-D", "will", "content-type", "t"),
            2,
            "say --will-topic",
        ),
        *[
            (
                ("pub", "-t", "a", "-m", "x", *will),
                2,
                f"{will[0]}: there is no will\nWhat to do: say",
            )
            for will in (("--will-payload", ""), ("--will-qos", "0"), ("--will-retain",))
        ],
        (  # before anything is published: it would be said of what is acknowledged
            ("pub", "-V", "5", "-t", "a", "-m", "x", "-D", "disconnect", EXPIRY, "5"),
            2,
            "the session ends with the connection\nWhat to do: say -x",
        ),
    ],
)
def test_wrong_arguments(
    run: Run, server: MosquittoBroker, args: tuple[str, ...], status: int, why: str
) -> None:
    done = run(args[0], "-h", HOST, "-p", str(server.port), *args[1:])
    assert (done.status, done.out) == (status, "")
    assert why in done.err


def test_a_certificate_without_its_key(run: Run, tmp_path: Path) -> None:
    own = certificates().client
    (tmp_path / "cert.pem").write_bytes(own.certificate_pem)
    (tmp_path / "both.pem").write_bytes(own.certificate_pem + own.key_pem)
    args = ("pub", "-t", "a", "-m", "x", "-h", HOST, "-p", "1", "--cert")
    done = run(*args, str(tmp_path / "cert.pem"))
    assert done.status == 2 and "no private key is with it\nWhat to do: --key FILE" in done.err
    assert "nobody listens there" in run(*args, str(tmp_path / "both.pem")).err


@pytest.mark.parametrize(
    "args",
    [
        *[("sub", "-t", "a", o, "\udcff") for o in ("-F", "-t", "-T", "-U", "-i", "-u", "--ws")],
        *[("sub", "-t", "a", o, "\udcff") for o in ("--will-topic", "--psk-identity")],
        *[("request", "-t", "a", o, "\udcff") for o in ("-F", "-t", "-e")],
        ("pub", "-m", "x", "-t", "\udcff"),
        ("watch", "--once", "-t", "\udcff"),
        ("watch", "--once", "--nodes", "\udcff"),
        ("pub", "-m", "x", "-L", f"mqtt://{HOST}:1/%ff"),
        ("pub", "-m", "x", "-t", "a", "-L", f"mqtt://%ff@{HOST}:1"),
        ("pub", "-m", "x", "-t", "a", "-L", f"ws://{HOST}:1/%ff"),
        *[
            ("pub", "-m", "x", "-t", "a", "-V", "5", "-D", "publish", *words)
            for words in (("content-type", "\udcff"), ("user-property", "a", "\udcff"))
        ],
    ],
)
def test_a_text_that_is_no_utf8_is_told_before_connecting(run: Run, args: tuple[str, ...]) -> None:
    done = run(*args, *(() if "-L" in args else ("-h", HOST, "-p", "1")))
    assert (done.status, done.out) == (2, "") and "no UTF-8" in done.err, done.err


def test_a_password_is_bytes(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    word = tmp_path / "word"
    word.write_bytes(b"\xff\r\n")
    monkeypatch.setenv("DORMOUSE_PASSWORD", "\udcff")
    ways = (
        ("-u", "u", "-P", "\udcff"),
        ("-u", "u", "--password-file", str(word)),
        ("-u", "u"),
    )
    with ScriptedPeer() as peer, ThreadPoolExecutor(1) as beside:
        at = ("-h", HOST, "-p", str(peer.port))
        for way in (*(at + way for way in ways), ("-L", f"mqtt://u:%ff@{HOST}:{peer.port}")):
            asked = beside.submit(run, "pub", "-t", "a", "-m", "x", *way)
            their = peer.accept()
            their.expect_packet(wire.CONNECT, username="u", password=b"\xff")
            their.close()
            asked.result(10)


def test_nobody_there(run: Run) -> None:
    done = run("pub", "-h", HOST, "-p", "1", "-t", "a", "-m", "b")
    assert done.status == 1 and "nobody listens there" in done.err and "What to do" in done.err
    done = run("pub", "-h", "no-such-name.invalid", "-t", "a", "-m", "b")
    assert done.status == 1 and "nobody knows this name" in done.err and "What to do" in done.err


def test_another_protocol(run: Run, server: MosquittoBroker, at: list[str]) -> None:
    """TLS and WebSocket to a port that has neither, and a web server: what to do is said."""
    for more in (["--insecure"], ["--ws"]):
        done = run("sub", *at, "-t", "a", "-W", "5", *more)
        assert done.status == 1 and "with TLS (--tls, --cafile) or without" in done.err, done.err
    with ScriptedPeer() as peer, ThreadPoolExecutor(1) as beside:
        asked = beside.submit(run, "sub", "-h", HOST, "-p", str(peer.port), "-t", "a")
        peer.accept().send(b"HTTP/1.1 400 Bad Request\r\n\r\n" + b"x" * 99)
        done = asked.result(10)
    assert done.status == 1 and "what answers is no MQTT broker" in done.err
    with ScriptedPeer() as peer, ThreadPoolExecutor(1) as beside:  # as a web server waits for more
        at = ("-h", HOST, "-p", str(peer.port), "--connect-timeout", "0.2")
        done = run("sub", *at[:4], "-t", "a", "-W", "0.2")
        assert (done.status, done.err) == (3, "dormouse sub: not subscribed within 0.2 s\n")
        peer.accept()
        asked = beside.submit(run, "pub", *at, "-t", "a", "-m", "x")
        peer.accept()
        done = asked.result(10)
    assert done.status == 1 and "no answer within 0.2 s\nWhat to do: is it the right" in done.err


def test_what_was_sent_at_qos_0_is_not_called_acknowledged(run: Run, at: list[str]) -> None:
    assert run("pub", *at, "-t", "a", "-m", "x", "-v").out.startswith(
        "1 message, 1 byte, QoS 0, sent"
    )
    done = run("pub", *at, "-t", "a", "-m", "xy", "-v", "-q", "1")
    assert done.out == "1 message, 2 bytes, QoS 1, acknowledged\n"


def test_bytes_that_are_typed(at: list[str], run: Run) -> None:
    """A payload that is no UTF-8 goes as it was typed, as mosquitto_pub sends it."""
    done = run("pub", *at, "-t", "typed", "-m", os.fsdecode(b"\xff\xfe"), "-r", "-q", "1")
    assert done.status == 0, done.err
    assert run("sub", *at, "-t", "typed", "-C", "1", "-N").bytes == b"\xff\xfe"


def test_help(run: Run) -> None:
    assert run().status == 2
    assert "dormouse COMMAND --help" in run("--help").out
    for name in ("pub", "sub", "request"):
        text = run(name, "--help").out
        assert "examples:" in text and "exit status:" in text
        assert all(len(line) <= 100 for line in text.splitlines())


def test_formats() -> None:
    for good in ("%t", "%%", "\\t", "%@H:%@M", ""):
        formats.check(good)
    for bad in ("%", "%z", "\\q"):
        with pytest.raises(Failure):
            formats.check(bad)


@pytest.mark.parametrize(
    ("topic_filter", "topic", "does"),
    [
        ("a/#", "a", True),
        ("a/#", "a/b/c", True),
        ("a/+", "a", False),
        ("+/b", "a/b", True),
        ("#", "$SYS/x", False),
        ("$SYS/#", "$SYS/x", True),
        ("a/b", "a/b/c", False),
        ("+", "", True),
    ],
)
def test_topic_filters(topic_filter: str, topic: str, does: bool) -> None:
    assert sub.matches(topic_filter, topic) is does


@pytest.mark.parametrize(
    ("payload", "said"),
    [
        (b'{"a": [1.5, null]}', {"a": [1.5, None]}),
        (b"", None),
        *[(text, text.decode()) for text in (b"[NaN, Infinity]", b"1e999", b'"\\ud800"', b"on")],
        (b"[" * 200_000, "[" * 200_000),
        (b"[" * 900 + b"]" * 900, None),  # as deep as Python just goes, or not
    ],
)  # fmt: skip
def test_what_is_no_json_is_text(payload: bytes, said: object) -> None:
    """Anybody may write it: it neither ends `sub -F %J` nor makes what it prints no JSON."""
    message = formats.Arrived("t", payload, 0, False, 0, {}, datetime.now().astimezone())
    for template in ("%J", "%j"):
        shown = formats.render(template, message)
        found = json.loads(shown, parse_constant=pytest.fail)
    if len(payload) != 1800:
        assert json.loads(formats.render("%J", message))["payload"] == said
    assert found["payload"] == payload.decode()


def test_at_a_terminal_a_payload_is_harmless(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(output, "at_terminal", lambda: True)
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written))
    output.write("\x1b[2J\x9b2J\tä\n".encode())
    sys.stdout.flush()
    assert written.getvalue() == "\\x1b[2J\\x9b2J\tä\n".encode()


def test_a_payload_that_is_not_text(run: Run, at: list[str], tmp_path: Path) -> None:
    (tmp_path / "raw").write_bytes(b"\xff\x00\x1b")
    run("pub", *at, "-t", "raw", "-f", str(tmp_path / "raw"), "-r")
    done: Done = run("sub", *at, "-t", "raw", "-C", "1", "--json", "-W", "5")
    assert json.loads(done.out)["payload_base64"] == "/wAb"
    assert run("sub", *at, "-t", "raw", "-C", "1", "-F", "%x", "-W", "5").out == "ff001b\n"

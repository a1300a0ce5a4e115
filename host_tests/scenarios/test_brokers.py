"""Device programs on every runtime against every broker, with paho as the other side."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tools.testing import wire
from tools.testing.brokers import BROKERS, AmqttBroker, Broker, MosquittoBroker
from tools.testing.chaos import ChaosError, ChaosProxy
from tools.testing.observer import Observer

DESK = {
    "wss": "certificates: they want a name, and a clock that is set",
    "uart": "a serial line that is a pseudo-terminal of this machine",
}


def over(*names: str) -> pytest.MarkDecorator:
    """Run a test with all brokers over TCP, and with these."""
    more = [
        pytest.param(name, marks=[pytest.mark.desk(DESK[way])] if way in DESK else [])
        for name in names
        for way in [name.partition(" over ")[2]]
    ]
    return pytest.mark.parametrize("broker", [*BROKERS, *more], indirect=True)


# WebSocket everywhere with one broker; the others where something else could go wrong.
WS = over("mosquitto over ws")
EACH_WAY = over("mosquitto over ws", "mosquitto over wss", "mosquitto over uart")
BOTH_BROKERS = over(
    "mosquitto over ws", "amqtt over ws", "mosquitto over wss", "mosquitto over uart"
)


@pytest.fixture
def account(broker: Broker) -> dict:
    """How a device talks to the broker, as Client arguments."""
    account = {"username": broker.username, "password": broker.password}
    if broker.version == 5:
        account |= {"version": 5}
    if broker.transport != "tcp":
        account |= {"transport": broker.transport}
    if broker.transport == "uart":  # only its keep-alive finds a cut in the middle of a packet
        account |= {"keepalive": 1, "timeout": 1}
    return account


@pytest.fixture
def observe(broker: Broker) -> Iterator[Callable[..., Observer]]:
    """Return a function that starts an observer with (topic filter, QoS) pairs."""
    with ExitStack() as stack:
        yield lambda *filters: stack.enter_context(Observer(broker, *filters))


@BOTH_BROKERS
@pytest.mark.mqtt311("MQTT-7.0.0-2")
def test_publish(start, broker: Broker, account: dict, observe) -> None:
    observer = observe(("t/#", 2))
    messages = [[f"t/{qos}", f"{n}", qos, False] for n in range(20) for qos in (0, 1, 2)]
    device = start("publish", broker.entry, account, messages=messages)
    assert device.wait_exit(30) == 0
    observer.wait("t/2", "19")
    for qos in (0, 1, 2):
        observer.wait(f"t/{qos}", "19")
        assert observer.payloads(f"t/{qos}") == [f"{n}" for n in range(20)]


@WS
@pytest.mark.mqtt311("MQTT-3.3.1-8", "MQTT-3.3.1-9")
def test_retained(start, broker: Broker, account: dict, observe) -> None:
    device = start("publish", broker.entry, account, messages=[["t/r", "kept", 1, True]])
    assert device.wait_exit(10) == 0
    device = start("receive", broker.entry, account, filters=[["t/r", 1]])
    device.wait_line("got t/r kept 1 1", 10)
    observe().publish("t/r", "stop", 1)
    device.wait_line("got t/r stop 1 0", 10)
    assert device.wait_exit(10) == 0


@BOTH_BROKERS
@pytest.mark.mqtt311("MQTT-7.0.0-2")
def test_receive(start, broker: Broker, account: dict, observe) -> None:
    observer = observe()
    device = start("receive", broker.entry, account, filters=[["t/+", 2], ["u", 0], ["v/#", 1]])
    device.wait_line("granted 2 0 1", 10)
    for n in range(10):
        for qos in (0, 1, 2):
            observer.publish("t/x", f"{qos}-{n}", qos)
    observer.publish("u", "u", 2)
    observer.publish("v", "v", 1)
    observer.publish("other", "x", 1)
    observer.publish("t/x", "stop", 1)
    assert device.wait_exit(30) == 0
    got = [line.split()[1:4] for line in device.lines if line.startswith("got")]
    for qos in (0, 1, 2):
        numbers = [payload for topic, payload, _ in got if payload.startswith(f"{qos}-")]
        assert numbers == [f"{qos}-{n}" for n in range(10)]
        if not broker.behaviour.delivers_at_subscription_qos:
            assert all(q == str(qos) for _, p, q in got if p.startswith(f"{qos}-"))
    assert ["u", "u", "0"] in got and ["v", "v", "1"] in got
    assert not any(topic == "other" for topic, _, _ in got)


@WS
def test_unsubscribe(start, broker: Broker, account: dict, observe) -> None:
    observer = observe()
    device = start("unsubscribe", broker.entry, account)
    device.wait_line("unsubscribed", 10)
    observer.publish("a", "no", 1)
    observer.publish("b", "yes", 1)
    device.wait_line("got b yes", 10)
    assert device.wait_exit(10) == 0
    assert not any(line.startswith("got a") for line in device.lines)


@WS
def test_will(start, broker: Broker, account: dict, observe) -> None:
    observer = observe(("will", 1))
    will = ["will", "gone", 1, False]
    device = start("will", broker.entry, account, will=will, leave=True)
    assert device.wait_exit(10) == 0  # DISCONNECT: no will
    options = {**account, "keepalive": 2}
    device = start("will", broker.entry, options, will=["will", "second", 1, False], leave=False)
    device.wait_line("connected", 10)
    if not (device.says_goodbye or broker.behaviour.enforces_keep_alive):
        pytest.skip("a board without power says no goodbye, and this broker misses nobody")
    device.kill()
    observer.wait("will", "second", 20)
    assert observer.payloads("will") == ["second"]


@WS
def test_session_kept_while_away(
    start, broker: Broker, proxy: ChaosProxy, account: dict, observe
) -> None:
    observer = observe()
    device = start("receive", proxy.port, account, filters=[["t", 2]])
    device.wait_line("granted", 10)
    observer.publish("t", "stop", 1)
    assert device.wait_exit(10) == 0
    proxy.wait_connection(1).wait_closed()  # by the broker too: it knows that the device is away
    for n in range(5):
        observer.publish("t", f"{n}", 1 + n % 2)
    observer.publish("t", "stop", 1)
    device = start("receive", broker.entry, account, filters=[])
    device.wait_line("connected 1", 10)
    assert device.wait_exit(10) == 0
    got = [line.split()[2] for line in device.lines if line.startswith("got")]
    assert got == ["0", "1", "2", "3", "4", "stop"]


@EACH_WAY
def test_killed_before_it_was_done(start, broker: Broker, account: dict, observe) -> None:
    """What the application did not acknowledge comes again after a crash."""
    observer = observe()
    device = start("receive", broker.entry, account, filters=[["t", 2]], hold=1)
    device.wait_line("granted", 10)
    observer.publish("t", "one", 1)
    observer.publish("t", "two", 2)
    device.wait_line("got t two", 10)
    if broker.behaviour.mute_after_takeover and not device.says_goodbye:
        pytest.skip("a board without power says no goodbye, and this broker is mute after that")
    device.kill()
    device = start("receive", broker.entry, account, filters=[])
    device.wait_line("connected 1", 10)
    if broker.behaviour.redelivers_unacknowledged:
        device.wait_line("got t one", 10)
        device.wait_line("got t two", 10)
    observer.publish("t", "stop", 1)
    assert device.wait_exit(10) == 0


def test_refused_by_amqtt(start) -> None:
    with AmqttBroker() as broker:
        options = {"username": broker.username, "password": "wrong"}
        device = start("publish", broker.port, options, messages=[])
        assert device.wait_exit(10) == 0
        line = device.wait_line("raised Refused", 1)
        assert "wrong" not in line


CUTS = [(40, "up"), (60, "up"), (30, "down"), (17, "down"), (90, "up"), (25, "down"), (100, "up")]


@EACH_WAY
def test_cuts(start, broker: Broker, proxy: ChaosProxy, account: dict, observe) -> None:
    """Many messages both ways over connections that break in the middle of packets."""
    observer = observe(("n/+", 2))
    count = 70  # long enough for all cuts on a busy machine
    # Where PUBREL is not answered again, a QoS 2 publish may have to wait for ever.
    out = [0, 1, 2] if broker.behaviour.answers_unknown_pubrel else [0, 1]
    # A broker that gives up what a cut interrupted could lose any command, and the stop too.
    both_ways = broker.behaviour.redelivers_unacknowledged
    commands = range(35 if both_ways else 0)
    more = {"topic": "n", "count": count, "qos": out, "gap": 0.02, "receive": both_ways}
    device = start("flow", proxy.port, account, **more)
    device.wait_line("subscribed", 10)
    for n in commands[:30]:
        for qos in (1, 2):
            observer.queue(f"n/cmd/{qos}", f"{n}", qos)
    for number, (after, direction) in enumerate(CUTS, 1):
        connection = proxy.wait_connection(number)
        try:
            cut_soon(proxy, after, direction, "reset" if number % 2 else "close")
            connection.wait_cut(3)
        except ChaosError:
            break  # all was done before so many bytes had passed
    for n in commands[30:]:
        for qos in (1, 2):
            observer.publish(f"n/cmd/{qos}", f"{n}", qos)
    device.wait_line(f"sent {out[-1]} {count - 1}", 30)
    if both_ways:
        observer.publish("n/cmd/1", "stop", 1)
    assert device.wait_exit(20) == 0, device.transcript()
    assert len(proxy.connections) > 3, "too few cuts to prove anything"
    numbers = [f"{n}" for n in range(count)]
    for qos in out:
        if qos:
            observer.wait(f"n/{qos}", f"{count - 1}")
        got = observer.payloads(f"n/{qos}")
        if qos:
            assert list(dict.fromkeys(got)) == numbers, f"QoS {qos} at least once, in order"
        if qos != 1:
            assert len(set(got)) == len(got), f"QoS {qos} at most once"
    for qos in (1, 2):
        got = [line.split()[2] for line in device.lines if line.startswith(f"got {qos}")]
        assert list(dict.fromkeys(got)) == [f"{n}" for n in commands]
        assert qos == 1 or len(set(got)) == len(got), "QoS 2 at most once"


def cut_soon(proxy: ChaosProxy, after: int, direction: str, how: str) -> None:
    """Cut the open connection when so many more bytes have passed. Raises ChaosError."""
    connection = proxy.connections[-1]
    while True:
        passed = connection.up if direction == "up" else connection.down
        try:
            return proxy.cut_after(passed + after, direction, how, "current")
        except ChaosError:  # more have passed meanwhile?
            if connection.closed:
                raise


# One QoS 2 handshake: PUBLISH and PUBREL up, PUBREC and PUBCOMP down; what a frame begins with.
PUBLISH, REPLY = 2 + 2 + 1 + 2 + 2, 4
FRAME = {"ws": (6, 2)}


def handshake(broker: Broker) -> tuple[list[tuple[str, int]], int]:
    """Return each byte of a handshake as direction and offset, and how many the PUBREC has."""
    up, down = FRAME.get(broker.transport, (0, 0))
    out = [("up", n) for n in range(PUBLISH + REPLY + 2 * up)]
    return out + [("down", n) for n in range(2 * (REPLY + down))], REPLY + down


@WS
@pytest.mark.desk("tells the program when by files, which a board does not see")
def test_cut_at_each_byte_of_qos2(
    start, broker: Broker, proxy: ChaosProxy, account: dict, observe, tmp_path: Path
) -> None:
    """Exactly once, wherever in its handshake the connection of a message breaks."""
    observer = observe(("t", 2))
    device = start("paced", proxy.port, account, topic="t", qos=2, folder=str(tmp_path))
    points = []
    offsets, pubrec = handshake(broker)
    for direction, offset in offsets:
        n = len(points) + 10  # two digits, so that each PUBLISH has the same length
        released = direction == "down" and offset >= pubrec
        if released and not broker.behaviour.answers_unknown_pubrel:
            continue
        device.wait_line(f"ready {n}", 10)
        connection = proxy.connections[-1]
        passed = connection.up if direction == "up" else connection.down
        if offset:
            proxy.cut_after(passed + offset, direction, "reset" if n % 2 else "close", "current")
        else:
            proxy.cut_now()
        (tmp_path / f"go{n}").touch()
        connection.wait_cut(10)
        points.append(f"{n}")
    last = f"{len(points) + 10}"
    device.wait_line(f"ready {last}", 10)
    (tmp_path / "last").write_text("last")
    (tmp_path / "last").rename(tmp_path / f"go{last}")  # not seen before it is written
    assert device.wait_exit(10) == 0
    observer.wait("t", last)
    assert observer.payloads("t") == [*points, last]
    print(f"{len(points)} cuts")


@EACH_WAY
def test_broker_restarts(start, broker: Broker, proxy: ChaosProxy, account: dict, observe) -> None:
    """A broker that forgot: subscribed again, what was not acknowledged sent anew."""
    observer = observe(("n/+", 2))
    device = start("flow", proxy.port, account, topic="n", count=5, qos=[1])
    device.wait_line("subscribed", 10)
    device.wait_line("sent 1 4", 10)
    proxy.refuse()
    proxy.cut_now()
    broker.restart()
    observer.wait_subscribed(2)
    proxy.refuse(False)
    line = device.wait_line("connected", 20)
    forgot = broker.behaviour.forgets_sessions_on_restart
    assert line == f"connected {int(not forgot)}"
    if forgot:
        proxy.connections[-1].wait_packets(1, wire.SUBACK, "down")
    observer.publish("n/cmd/2", "x", 2)
    device.wait_line("got 2 x", 10)
    observer.publish("n/cmd/1", "stop", 1)
    assert device.wait_exit(20) == 0


@EACH_WAY
def test_half_open(start, broker: Broker, proxy: ChaosProxy, account: dict, observe) -> None:
    """A peer that is gone without a word is noticed by the keep-alive."""
    observer = observe()
    options = {**account, "keepalive": 1, "timeout": 0.5}
    device = start("flow", proxy.port, options, topic="n", count=0, qos=[])
    device.wait_line("subscribed", 10)
    proxy.half_open()
    line = device.wait_line("lost", 10)
    assert "ConnectionLost" in line and "no answer" in line
    proxy.cut_now()
    device.wait_line("connected", 10)
    observer.publish("n/cmd/1", "stop", 1)
    assert device.wait_exit(10) == 0


def test_refused_by_mosquitto(start, mosquitto: Callable[..., MosquittoBroker]) -> None:
    broker = mosquitto(username="u", password="p", allow_anonymous=False)
    for password, code in (("wrong", 5), (None, 5)):
        options = {"username": password and "u", "password": password}
        device = start("publish", broker.port, options, messages=[])
        assert device.wait_exit(10) == 0
        line = device.wait_line("raised Refused", 1)
        assert f", {code})" in line and "wrong" not in line
    options = {"username": "u", "password": "p"}
    device = start("publish", broker.port, options, messages=[["t", "x", 2, False]])
    device.wait_line("published t 2", 10)

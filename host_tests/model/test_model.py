"""The real session against a model broker, through arbitrary interleavings with cuts.

Every run ends with a calm connection, and then: QoS 2 exactly once and QoS 1 at least once in both
directions, order kept, no identifier used twice at once, and nothing left over.
"""

import core_checks
import pytest
from dormouse.session import Session
from hypothesis import given, settings
from hypothesis import strategies as st
from model_broker import ModelBroker

ACTIONS = (
    *["publish 0", "publish 1", "publish 2", "send 0", "send 1", "send 2"],
    *["up", "up", "up", "down", "down", "down", "up 3", "down 3", "take", "ack"],
    *["cut", "lose"],
)


class World:
    """A client's session, a broker, and the bytes under way between them."""

    def __init__(self, broker: type[ModelBroker] = ModelBroker) -> None:
        self.broker = broker()
        self.session = self.make()
        self.up = b""
        self.sent: dict[int, list[bytes]] = {0: [], 1: [], 2: []}
        self.told: dict[int, list[bytes]] = {0: [], 1: [], 2: []}
        self.got: dict[int, list[bytes]] = {0: [], 1: [], 2: []}
        self.taken: list = []
        self.n = 0
        self.reconnect()

    def make(self) -> Session:
        """Return the client's session."""
        return Session(lambda: None, "c", False, window=3, pid=65533)

    def reconnect(self) -> None:
        """Cut: what is under way is lost both ways; then connect."""
        self.session.lost()
        self.broker.cut()
        self.up = b""
        self.session.connect(0)

    def act(self, action: str) -> None:
        word, _, number = action.partition(" ")
        if word == "publish":
            qos = int(number)
            if len(self.session.outbox) < 20:
                self.n += 1
                self.sent[qos].append(b"%d" % self.n)
                self.session.publish("t", b"%d" % self.n, qos)
        elif word == "send":
            self.n += 1
            self.told[int(number)].append(b"%d" % self.n)
            self.broker.send(int(number), b"%d" % self.n)
        elif word == "up":
            self.deliver_up(int(number or 10**6))
        elif word == "down":
            self.deliver_down(int(number or 10**6))
        elif word == "take" and self.session.inbox:
            m = self.session.inbox.pop(0)
            self.got[m.qos].append(m.payload)
            self.taken.append(m)
        elif word == "ack" and self.taken:
            self.taken.pop().ack()  # the last first: the session has to bring them into order
        elif word == "lose":  # written by the client, and lost
            self.write()
            self.reconnect()
        elif word == "cut":
            self.reconnect()

    def write(self) -> None:
        while data := self.session.take(0):
            self.up += bytes(data)

    def deliver_up(self, n: int) -> None:
        self.write()
        self.broker.feed(self.up[:n])
        self.up = self.up[n:]

    def deliver_down(self, n: int) -> None:
        data, self.broker.out = self.broker.out[:n], self.broker.out[n:]
        if data:
            self.session.receive(memoryview(data), 0)

    def calm(self) -> None:
        """Let everything come to its end on one good connection."""
        self.reconnect()
        for _ in range(200):
            for action in ("up", "down", "take", "ack"):
                self.act(action)

    def check(self) -> None:
        self.calm()
        b, s = self.broker, self.session
        assert not b.violations
        received: dict[int, list[bytes]] = {0: [], 1: [], 2: []}
        for qos, payload in b.received:
            received[qos].append(payload)
        for sent, got in ((self.sent, received), (self.told, self.got)):
            assert got[2] == sent[2], "QoS 2 exactly once, in order"
            assert list(dict.fromkeys(got[1])) == sent[1], "QoS 1 at least once, in order"
            assert len(set(got[0])) == len(got[0]), "QoS 0 at most once"
            assert got[0] == [n for n in sent[0] if n in got[0]]
        assert not (s.outbox or s.inbox or s.held or s.released or b.flight or b.seen or b.queue)


@settings(max_examples=400, deadline=None)
@given(st.lists(st.sampled_from(ACTIONS), max_size=80))
@pytest.mark.mqtt311(
    "MQTT-2.3.1-2",
    "MQTT-3.1.0-2",
    "MQTT-4.1.0-1",
    "MQTT-4.3.2-1",
    "MQTT-4.3.2-2",
    "MQTT-4.3.3-1",
    "MQTT-4.3.3-2",
    "MQTT-4.4.0-1",
    "MQTT-4.6.0-1",
)
def test_any_interleaving(actions: list[str]) -> None:
    world = World()
    for action in actions:
        world.act(action)
    world.check()


def breaks(broker: type[ModelBroker], patch=None) -> bool:
    """Run a fixed set of interleavings; return whether one of them breaks a promise."""
    import random

    for seed in range(150):
        chosen = random.Random(seed).choices(ACTIONS, k=60)
        world = World(broker)
        if patch:
            patch(world.session)
        try:
            for action in chosen:
                world.act(action)
            world.check()
        except (AssertionError, core_checks.packet.MQTTError, IndexError, TypeError):
            return True
    return False


# Broken twins: what the model must notice, or its silence means nothing.


def forgets_released(session: Session) -> None:
    """Forgets incoming QoS 2 identifiers at a reconnect, as rumqttc did."""
    connect = session.connect
    session.connect = lambda now: (session.released.clear(), connect(now))


def repeats_publish(session: Session) -> None:
    """Never sends PUBREL."""
    answer = session._answer
    session._answer = lambda first, pid: first != 0x62 and answer(first, pid)
    wire = session._wire
    session.bare = False
    session._wire = lambda o: wire(o) if o.packet else b"\xc0\0"


def takes_used_identifiers(session: Session) -> None:
    """Takes any identifier, in use or not; there are only few."""

    publish = session.publish

    def publish_again(*args, **options):
        session.pid %= 3
        return publish(*args, **options)

    class Blind(dict):
        def __contains__(self, pid: object) -> bool:
            return False

    session.pids = Blind()
    session.publish = publish_again


def forgets_what_it_holds(session: Session) -> None:
    """Delivers again what the application has and has not acknowledged yet."""
    lost = session.lost
    session.lost = lambda: (session.held.clear(), lost())


def test_the_model_passes_what_is_right() -> None:
    assert not breaks(ModelBroker)


@pytest.mark.parametrize(
    "twin",
    [forgets_released, repeats_publish, takes_used_identifiers, forgets_what_it_holds],
    ids=lambda f: f.__name__,
)
def test_broken_twin_is_noticed(twin) -> None:
    assert breaks(ModelBroker, twin)

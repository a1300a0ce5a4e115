"""The durable session against the model broker: power cuts beside the network cuts.

A power cut ends everything but the store and the broker, at any moment: also in the middle of a
save, which then is on the medium whole or not at all. The application commits what it has
processed together with each acknowledgement, and after a cut knows no more than that.
"""

import random

import pytest
from dormouse.packet import MQTTError
from dormouse.session import Session
from dormouse.store import Store
from dormouse.store.durable import durable
from hypothesis import given, settings
from hypothesis import strategies as st
from model_broker import ModelBroker
from test_model import ACTIONS, World

DurableSession = durable()


class PowerCut(BaseException):
    """The power is gone: nobody is there to catch it."""


class Medium(Store):
    """Keeps what was saved; the power can go just before or just after a save."""

    survives = 2

    def __init__(self, content: dict) -> None:
        self.content = content
        self.cut = ""  # "before" or "after": at the next save
        super().__init__()

    def read(self) -> dict:
        return {key: bytes(value) for key, value in self.content.items()}

    def write(self, changes: dict) -> None:
        if self.cut == "before":
            raise PowerCut
        for key, value in changes.items():
            self.content.pop(key, None)
            if value is not None:
                self.content[key] = bytes(value)
        if self.cut:
            raise PowerCut


class DurableWorld(World):
    """A world whose client can lose its power, and a broker that can lose its sessions."""

    payload_at = 7  # in a PUBLISH: behind the header, the topic and the identifier

    def __init__(self, burst: bool, kind=DurableSession, broker=ModelBroker) -> None:
        self.burst = burst
        self.kind = kind
        self.content: dict = {}
        super().__init__(broker)

    def make(self) -> DurableSession:
        self.store = Medium(self.content)
        session = self.kind(lambda: None, "c", self.store, clean=False, window=3, pid=65533)
        session.burst = self.burst
        session.fencing = True
        return session

    def boot(self) -> None:
        """Lose the power, and start again."""
        for o in self.session.outbox:  # its publish did not return
            if o.packet and 0 < o.expect < 7 and o.key not in self.content:
                payload = bytes(o.packet[self.payload_at :])
                self.sent[o.expect - 3].remove(payload)
        self.session = self.make()
        self.taken = []
        self.got = {0: [], 1: [], 2: []}
        committed = self.session.committed or b""
        for item in filter(None, committed.split(b",")):
            self.got[item[0] - 48].append(item[1:])
        self.reconnect()

    def act(self, action: str) -> None:
        try:
            if action == "power":
                raise PowerCut
            if action in ("before", "after"):
                self.store.cut = action
            elif action == "forget":
                self.broker.forget()
                self.reconnect()
            elif action == "ack" and self.taken:
                m = self.taken.pop()
                self.got[m.qos].append(m.payload)
                done = [b"%d%s" % (qos, n) for qos, items in self.got.items() for n in items]
                m.ack(b",".join(done))
            elif action == "take" and self.session.inbox:
                self.taken.append(self.session.inbox.pop(0))
            else:
                super().act(action)
        except PowerCut:
            self.boot()

    def write(self) -> None:
        try:
            super().write()
        except PowerCut:  # what was written before may still arrive
            self.broker.feed(self.up)
            raise

    def check(self) -> None:
        """As in a world without power cuts, but for the order in which the application is done."""
        self.store.cut = ""
        self.calm()
        b, s = self.broker, self.session
        assert not b.violations
        received: dict[int, list[bytes]] = {0: [], 1: [], 2: []}
        for qos, payload in b.received:
            received[qos].append(payload)
        assert sorted(self.got[2]) == sorted(self.told[2]), "QoS 2 processed exactly once"
        assert set(self.got[1]) == set(self.told[1]), "QoS 1 processed at least once"
        assert received[2] == self.sent[2], "QoS 2 exactly once, in order"
        assert list(dict.fromkeys(received[1])) == self.sent[1], "QoS 1 at least once, in order"
        assert not (s.outbox or s.inbox or s.held or s.released or b.flight or b.seen or b.queue)
        assert not [key for key in self.content if key > 255], "the store is empty"

    def check_forgotten(self) -> None:
        """What is left when the broker lost its session: everything arrives, nothing wedges."""
        self.store.cut = ""
        self.calm()
        s = self.session
        received = {payload for _, payload in self.broker.received}
        for qos in (1, 2):
            assert set(self.sent[qos]) <= received
        # What was held or seen of the old session may stay, if the CONNACK that said that it is
        # gone was lost; it holds up nothing.
        assert not (s.outbox or s.inbox)
        assert not [key for key in self.content if key >= 0x20000]


CUTS = ("power", "power", "before", "after", "down 4")


@settings(max_examples=400, deadline=None)
@given(st.booleans(), st.lists(st.sampled_from(ACTIONS + CUTS), max_size=80))
@pytest.mark.mqtt311("MQTT-3.1.2-4", "MQTT-4.3.3-1", "MQTT-4.3.3-2")
def test_any_interleaving_with_power_cuts(burst: bool, actions: list[str]) -> None:
    world = DurableWorld(burst)
    for action in actions:
        world.act(action)
    world.check()


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from((*ACTIONS, *CUTS, "forget")), max_size=80))
def test_a_burst_at_a_broker_that_forgot(actions: list[str]) -> None:
    world = DurableWorld(True)
    for action in actions:
        world.act(action)
    world.check_forgotten()


def breaks(kind=DurableSession, burst: bool = True, count: int = 300) -> bool:
    """Run a fixed set of interleavings; return whether one of them breaks a promise."""
    for seed in range(count):
        world = DurableWorld(burst, kind)
        try:
            for action in random.Random(seed).choices(ACTIONS + CUTS, k=60):
                world.act(action)
            world.check()
        except (AssertionError, MQTTError, IndexError, TypeError, ValueError, KeyError, PowerCut):
            return True
    return False


# Broken twins: what the model must notice, or its silence means nothing.


class SavesLate(DurableSession):
    """Saves when it is asked for the next bytes, as if a write could wait until it has time."""

    def take(self, now):
        store, self.store = self.store, Store()
        self.store.data = store.data.copy()
        try:
            data = super().take(now)
        finally:
            self.store = store
        if not data:
            self.save()
        return data


class ForgetsPubrec(DurableSession):
    """Keeps a QoS 2 message as PUBLISH until PUBCOMP."""

    def _ahead(self, o):
        Session._ahead(self, o)
        self.changes.pop(o.key, None)


class ForgetsSeen(DurableSession):
    """Does not keep the identifiers of incoming QoS 2 messages."""

    def _load(self):
        super()._load()
        self.released.clear()


class MarksTooLittle(DurableSession):
    """Marks as seen what was answered, not what was processed and waits for its turn."""

    def save(self):
        held, self.held = self.held, []
        try:
            super().save()
        finally:
            self.held = held


class MarksTooEarly(DurableSession):
    """Marks as seen what arrived: then nobody processes it after a power cut."""

    def save(self):
        done = [(m, m.done) for m in self.held]
        for m in self.held:
            m.done = True
        try:
            super().save()
        finally:
            for m, d in done:
                m.done = d


class CommitsApart(DurableSession):
    """Writes what the application commits in a record of its own."""

    def commit(self, data):
        super().commit(data)
        self.store.save({1: self.committed})


class RepeatsTheBurst(DurableSession):
    """Sends again after CONNACK what went before it."""

    def _packet(self, first, body):
        if first == 0x20:
            for o in self.outbox:
                o.sent = min(o.sent, -1)
        super()._packet(first, body)


class StartsAtOne(DurableSession):
    """Takes packet identifiers from the beginning after a power cut."""

    def _load(self):
        super()._load()
        self.pid = 65533


class LosesTheOrder(DurableSession):
    """Brings the outbox back in another order."""

    def _load(self):
        super()._load()
        self.outbox.sort(key=lambda o: -o.key)


def test_the_model_passes_what_is_right() -> None:
    assert not breaks(count=100) and not breaks(burst=False, count=100)


TWINS = [SavesLate, ForgetsPubrec, ForgetsSeen, MarksTooLittle, MarksTooEarly, CommitsApart]
TWINS += [RepeatsTheBurst, LosesTheOrder, StartsAtOne]


@pytest.mark.parametrize("twin", TWINS, ids=lambda kind: kind.__name__)
def test_broken_twin_is_noticed(twin) -> None:
    assert breaks(twin)

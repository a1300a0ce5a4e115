"""The interleavings of test_model.py and test_durable.py in MQTT 5.0: same promises, more limits.

On each connection broker and client take two messages at once and one topic alias.
"""

from functools import partial

import pytest
from dormouse.mqtt5.session import Session5
from dormouse.packet import MQTTError
from dormouse.store.durable import durable
from hypothesis import given, settings
from hypothesis import strategies as st
from model_broker5 import ModelBroker5
from test_durable import CUTS, DurableWorld
from test_model import ACTIONS, World

OPTIONS = {"properties": {"receive_maximum": 2, "topic_alias_maximum": 1}}


class LongNames(Session5):
    """Publishes to topics that are worth an alias."""

    def publish(self, topic, *args, **options):
        return super().publish("long/" + topic, *args, **options)


class World5(World):
    """A world that speaks MQTT 5.0."""

    def __init__(self, kind=LongNames) -> None:
        self.kind = kind
        super().__init__(ModelBroker5)

    def make(self) -> Session5:
        return self.kind(lambda: None, "c", False, window=3, pid=65533, **OPTIONS)

    def deliver_down(self, n: int) -> None:
        data = self.broker.out[:n]
        World.deliver_down(self, n)
        if self.broker.connected:
            self.broker.delivered(data)


DurableSession5 = durable(LongNames)


class DurableWorld5(DurableWorld):
    """A world with power cuts that speaks MQTT 5.0."""

    payload_at = 13

    def __init__(self, burst: bool, kind=DurableSession5) -> None:
        super().__init__(burst, partial(kind, **OPTIONS), ModelBroker5)

    deliver_down = World5.deliver_down

    def check_forgotten(self) -> None:
        """What is left when the broker lost its session: everything arrives, nothing wedges.

        Where the CONNACK that said so was lost as well, the client cannot know: what it holds for
        messages that will not be repeated may stay.
        """
        self.store.cut = ""
        self.calm()
        received = {payload for _, payload in self.broker.received}
        assert set(self.sent[1] + self.sent[2]) <= received
        assert not (self.session.outbox or self.session.inbox)
        assert not [key for key in self.content if key >= 0x20000]


@settings(max_examples=400, deadline=None)
@given(st.lists(st.sampled_from(ACTIONS), max_size=80))
def test_any_interleaving(actions: list[str]) -> None:
    world = World5()
    for action in actions:
        world.act(action)
    world.check()


@settings(max_examples=400, deadline=None)
@given(st.booleans(), st.lists(st.sampled_from(ACTIONS + CUTS), max_size=80))
def test_any_interleaving_with_power_cuts(burst: bool, actions: list[str]) -> None:
    world = DurableWorld5(burst)
    for action in actions:
        world.act(action)
    world.check()


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from((*ACTIONS, *CUTS, "forget")), max_size=80))
def test_a_burst_at_a_broker_that_forgot(actions: list[str]) -> None:
    world = DurableWorld5(True)
    for action in actions:
        world.act(action)
    world.check_forgotten()


def runs(make, actions=ACTIONS, count: int = 150) -> tuple[bool, int]:
    """Run a fixed set of interleavings; return whether one breaks a promise, and uses of an
    alias."""
    import random

    aliased = 0
    for seed in range(count):
        world = make()
        try:
            for action in random.Random(seed).choices(actions, k=60):
                world.act(action)
            world.check()
        except (AssertionError, MQTTError, IndexError, TypeError, ValueError, KeyError):
            return True, aliased
        aliased += world.broker.aliased
    return False, aliased


# Broken twins: what the model must notice, or its silence means nothing.


class TakesItsOwnWindow(LongNames):
    """Sends as many at once as it likes."""

    def _heed(self, properties):
        super()._heed(properties)
        self.window = self.most


class KeepsAliases(LongNames):
    """Uses on the next connection the aliases of this one."""

    def connect(self, now):
        kept = getattr(self, "aliases", {})
        super().connect(now)
        self.aliases = kept


class ForgetsNames(LongNames):
    """Does not learn the broker's aliases."""

    def _publish(self, first, body):
        super()._publish(first, body)
        self.names.clear()


class CountsWhatItHolds(LongNames):
    """Holds against the broker what was in flight on an earlier connection."""

    def connect(self, now):
        super().connect(now)
        self.unanswered = len(self.held) + len(self.released)


class NeverCountsDown(LongNames):
    """Counts what came, not what was answered."""

    def _answer(self, first, pid):
        n = self.unanswered
        super()._answer(first, pid)
        self.unanswered = n


def test_the_model_passes_what_is_right() -> None:
    broken, aliased = runs(World5)
    assert not broken
    assert aliased > 100
    for burst in (True, False):
        assert not runs(lambda burst=burst: DurableWorld5(burst), ACTIONS + CUTS, 60)[0]


TWINS = [TakesItsOwnWindow, KeepsAliases, ForgetsNames, CountsWhatItHolds, NeverCountsDown]


@pytest.mark.parametrize("twin", TWINS, ids=lambda kind: kind.__name__)
def test_broken_twin_is_noticed(twin) -> None:
    assert runs(lambda: World5(twin))[0]


def test_a_burst_that_forgot_the_limits_is_noticed() -> None:
    class ForgetsLimits(DurableSession5):
        def _load(self):
            super()._load()
            self.memory = None

    assert runs(lambda: DurableWorld5(True, ForgetsLimits), ACTIONS + CUTS)[0]

"""How a node waits before it looks for its broker again."""

from __future__ import annotations

import random
from binascii import crc32
from dataclasses import dataclass


@dataclass(frozen=True)
class Waits:
    """What the ways of waiting go by, in s. delay: fixed; shortest, longest: bounds of what grows;
    period: of a node that sleeps; backoff: wakes that it lets pass at most."""

    delay: float = 5
    shortest: float = 1
    longest: float = 60
    period: float = 300
    backoff: int = 16


class Policy:
    """One node's way of waiting. Times in s."""

    name = ""
    title = ""
    sleeps = False

    def __init__(self, waits: Waits, rng: random.Random, client_id: str) -> None:
        self.waits = waits
        self.rng = rng
        self.failures = 0

    def wait(self, now: float) -> float:
        """Return how long to wait after a connection failed or was lost."""
        raise NotImplementedError

    def reset(self) -> None:
        """A connection stood."""
        self.failures = 0


class Fixed(Policy):
    """Always the same: what many clients do."""

    name = "fixed"
    title = "fixed delay"

    def wait(self, now: float) -> float:
        return self.waits.delay


class Exponential(Policy):
    """Twice as long after each failure, without chance."""

    name = "exponential"
    title = "exponential"

    def wait(self, now: float) -> float:
        limit = self.waits.shortest * float(2**self.failures)
        self.failures = min(self.failures + 1, 16)
        return min(limit, self.waits.longest)


class FullJitter(Policy):
    """A random part of that: dormouse's Client (client.py, ``_run``)."""

    name = "jitter"
    title = "full jitter (Client)"

    def wait(self, now: float) -> float:
        limit = min(self.waits.shortest * 2.0**self.failures, self.waits.longest)
        self.failures = min(self.failures + 1, 16)
        return self.rng.random() * limit


class Phase(Policy):
    """A node that sleeps: it wakes at a point of its own in each period, by its client id; after a
    wake in vain it lets a random number of wakes pass (sleep/node.py, ``phase`` and ``_count``)."""

    name = "phase"
    title = "phase (Node)"
    sleeps = True

    def __init__(self, waits: Waits, rng: random.Random, client_id: str) -> None:
        super().__init__(waits, rng, client_id)
        self.at = crc32(client_id.encode()) % int(waits.period * 1000) / 1000

    def first(self, now: float) -> float:
        """Return the s until the next planned wake."""
        return (self.at - now) % self.waits.period or self.waits.period

    def wait(self, now: float) -> float:
        self.failures = min(self.failures + 1, 7)
        bound = min(1 << self.failures, self.waits.backoff + 1)
        skip = self.rng.randrange(1 << 16) * bound >> 16
        return self.first(now) + skip * self.waits.period


POLICIES: tuple[type[Policy], ...] = (Fixed, Exponential, FullJitter, Phase)

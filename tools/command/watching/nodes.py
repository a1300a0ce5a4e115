"""Nodes that sleep, by the status that each of their wakes leaves: asleep, late, dead, lost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeGuard

from ..shared.foreign import read_json

FAR = 1e11  # s since 1970: the year 5138

ASLEEP, LATE, DEAD, LOST, ODD = "asleep", "late", "dead", "lost", "odd"


def _time(value: object) -> TypeGuard[float]:
    # There are numbers that are no time at all.
    return isinstance(value, int | float) and 0 <= value < FAR


@dataclass
class Node:
    """What is known of one node. Times in s since 1970; due: when it must have been heard again."""

    topic: str
    said: str = ODD
    period: float = 0.0
    due: float | None = None
    heard: float | None = None  # None: what it left before this program came

    def state(self, now: float, missed: int) -> str:
        """Return the state; dead: so many wakes missed."""
        if self.due is None:
            return self.said
        over = now - self.due
        if over <= 0:
            return ASLEEP
        return LATE if over <= self.period * (missed - 1) else DEAD


class Nodes:
    """All nodes whose status came. missed: wakes in a row until one is dead."""

    def __init__(self, missed: int = 3) -> None:
        self.missed = missed
        self.known: dict[str, Node] = {}

    def take(self, topic: str, payload: bytes, retained: bool, now: float) -> None:
        """Take in a status: what ``Node(status=...)`` leaves, or the will. Empty: it is no more."""
        if not payload:
            self.known.pop(topic, None)
            return
        node = self.known.setdefault(topic, Node(topic))
        node.heard = None if retained else now
        node.due, node.said = None, ODD
        try:
            status = read_json(payload)
        except ValueError:
            # A will in a person's words: the node was awake, and is gone.
            node.said = LOST if payload.lower() in (b"offline", b"lost", b"dead") else ODD
            return
        if not isinstance(status, dict):
            return
        if status.get("lost"):
            node.said = LOST
        elif _time(period := status.get("asleep")):
            self._asleep(node, period, status.get("until"), retained, now)

    def _asleep(self, node: Node, period: float, until: object, retained: bool, now: float) -> None:
        node.said = ASLEEP
        node.period = float(period)
        if retained and _time(until) and until:
            node.due = float(until)
        else:
            # Left before this program came by a node that does not know the time: no later than a
            # whole period from now.
            node.due = now + node.period

    def states(self, now: float) -> dict[str, str]:
        """Return the state of each node, by topic."""
        return {topic: node.state(now, self.missed) for topic, node in sorted(self.known.items())}

"""A fleet and its broker: how deep queues grow, what they take, what comes back at once."""

from __future__ import annotations

from dataclasses import dataclass

OVERHEAD = 40  # bytes beside topic and payload, that brokers' makers tell to reckon with


@dataclass(frozen=True)
class Fleet:
    """nodes, each with a message of so many bytes in each period (s); outage: s, for which who
    takes the messages in is away. overhead: bytes a message costs the broker beside its own."""

    nodes: int
    period: float
    size: int
    outage: float
    overhead: int = OVERHEAD
    messages: int = 1
    outbox: int = 32  # messages that a node keeps: dormouse's default

    @property
    def rate(self) -> float:
        """Messages per second: N r."""
        return self.nodes * self.messages / self.period

    @property
    def depth(self) -> int:
        """Messages that wait for one subscriber that was away: N r T."""
        return round(self.rate * self.outage)

    @property
    def memory(self) -> int:
        """Bytes that they take: N r T (S + O)."""
        return self.depth * (self.size + self.overhead)

    @property
    def kept_by_nodes(self) -> int:
        """Messages that nodes hold when it was the broker that was away: as many as each can."""
        each = min(int(self.messages * self.outage / self.period), self.outbox)
        return self.nodes * each

    @property
    def lost_by_nodes(self) -> int:
        """Messages for which the nodes had no room meanwhile."""
        return max(self.depth - self.kept_by_nodes, 0)

    @property
    def return_rate(self) -> float:
        """Messages per second in the first period after the broker's return, its peak: what waited
        and what is new, spread over the period by the nodes' phase."""
        return (self.kept_by_nodes + self.nodes * self.messages) / self.period

    @property
    def connect_rate(self) -> float:
        """Connects per second: each node once in a period, spread by the nodes' phase."""
        return self.nodes / self.period

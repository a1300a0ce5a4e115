"""What is known of the nodes that get an update: who has it, who is next, what is shown of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from rich.table import Table
from rich.text import Text

from .update import Report, clean, number, read_report

ENDS = ("done", "back", "refused", "withdrawn")
FINAL = ("done", "back")  # of this very update, a node goes on to no other
MOST = 10_000  # nodes, of which no more are listened to
COLOURS = {"done": "green", "back": "red", "refused": "red", "trial": "yellow", "have": "cyan"}
ASLEEP = 86400 * 30  # s; whoever says to sleep longer is not believed


@dataclass
class Node:
    """One node. ``report``: its newest one that counts; ``claim``: one that nothing proves."""

    topic: str
    report: Report | None = None
    claim: Report | None = None
    asleep: float = 0  # until when; nothing depends on it

    @property
    def state(self) -> str:
        return self.report.state if self.report else "waiting"

    def words(self) -> str:
        """Return how it is, for a person."""
        report = self.report
        if not report:
            if self.claim:
                return f"says {self.claim.state}: not proven (no node_key there, or not the node)"
            if self.asleep > time.time():
                return f"asleep until {time.strftime('%H:%M:%S', time.localtime(self.asleep))}"
            return "not heard of yet"
        if report.state == "have":
            return f"fetching {100 * report.have // max(report.count, 1)} %"
        words = {"trial": "restarts with it", "back": "the old version is back"}
        text = words.get(report.state, report.state)
        return f"{text}: {report.why}" if report.why else text


class Fleet:
    """The nodes that an update is for.

    ``secret(topic)``: what a node's reports are proven by, or None. ``believe``: whether those that
    are not proven count, too.
    """

    def __init__(
        self,
        topics: Iterable[str],
        version: int,
        of: str,
        secret: Callable[[str], str | None],
        believe: bool = False,
    ):
        self.version, self.of, self.secret, self.believe = version, of, secret, believe
        self.nodes = {topic: Node(topic) for topic in topics}
        self.fixed = bool(self.nodes)  # else they are found by what they say

    def find(self, topic: str) -> Node | None:
        """Return a node; a new one where they were not named."""
        if topic not in self.nodes and not self.fixed and len(self.nodes) < MOST:
            self.nodes[topic] = Node(topic)
        return self.nodes.get(topic)

    def hear(self, topic: str, payload: bytes) -> Node | None:
        """Take what was said at a node's ``updated``; return the node if that changes anything."""
        if not payload or (self.fixed and topic not in self.nodes):
            return None
        report = read_report(topic, payload, self.secret(topic))
        node = self.find(topic) if report else None
        if not report or not node or report.id != self.version:
            return None
        if report.of != self.of:
            if report.state not in ENDS or len(report.of) != len(self.of):
                return None
            # Of the files that had this number before: it takes no others by it.
            why = f"number {self.version} was another update's: give a higher --number"
            report = replace(report, of=self.of, state="refused", why=why)
        if not report.proven and not self.believe:
            before, node.claim = node.claim, report
            return node if before != report and not node.report else None
        before = node.report
        if before and before.state in FINAL and report.state not in FINAL:
            return None  # it was said before, and somebody says it again
        node.report = report
        return node if before != report else None

    def sleeps(self, topic: str, until: object) -> None:
        """Note until when a node, or who says to be it, sleeps."""
        node = self.find(topic)
        if node and isinstance(until, int | float) and until < time.time() + ASLEEP:
            node.asleep = until

    def stage(self, share: int) -> list[Node]:
        """Return the nodes that a share is offered to."""
        return [n for n in self.nodes.values() if number(self.version, n.topic) < share]

    def failed(self) -> list[Node]:
        """Return those that do not run it, and will not."""
        return [n for n in self.nodes.values() if n.state in ("back", "refused", "withdrawn")]

    def done(self) -> list[Node]:
        """Return those that run it."""
        return [n for n in self.nodes.values() if n.state == "done"]

    def table(self, share: int, most: int) -> Table:
        """Return what is shown: as many nodes as there are lines, those that failed first."""
        order = ("back", "refused", "withdrawn", "flash", "trouble", "trial", "have", "waiting")
        table = Table(box=None, pad_edge=False, expand=True)
        table.add_column("node", no_wrap=True)
        table.add_column("state", no_wrap=True, ratio=1)
        nodes = sorted(
            self.nodes.values(),
            key=lambda n: (*order, "done").index(n.state),
        )
        for node in nodes[:most]:
            mine = number(self.version, node.topic) < share
            words = node.words() if mine or node.report else "its turn comes later"
            style = COLOURS.get(node.state, "")
            table.add_row(Text(clean(node.topic, 60)), Text(words, style=style))
        done, failed = len(self.done()), len(self.failed())
        more = f"; {len(nodes) - most} more are not shown" if len(nodes) > most else ""
        table.caption = f"{done} of {len(nodes)} run update {self.version}, {failed} do not{more}"
        table.caption_justify = "left"
        return table

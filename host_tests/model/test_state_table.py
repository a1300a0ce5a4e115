"""The table of an outgoing packet's states in docs/architecture.md is the machine that runs.

Each row is held against each kind of session: brought into that state, the event, and what is then.
What no row speaks of changes nothing. A word in the table that this test does not know fails it.
"""

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
from dormouse.mqtt5.session import Session5
from dormouse.packet import ProtocolError
from dormouse.session import Session
from dormouse.store import Store
from dormouse.store.durable import durable

from tools.testing import wire, wire5

PAGE = Path(__file__).resolve().parents[2] / "docs" / "architecture.md"
SECTION = "## States of an outgoing packet"

EXPECT = {"none": 0, "PUBACK": 4, "PUBREC": 5, "PUBCOMP": 7, "SUBACK": 9, "UNSUBACK": 11}
NEVER, BEFORE, NOW = -2, -1, 0  # (all is sent at 0 ms)
SENT = {"never": NEVER, "before": BEFORE, "now": NOW}
ANSWERS = ("PUBACK", "PUBREC", "PUBCOMP", "SUBACK", "UNSUBACK")
KINDS = {
    "3.1.1": (4, Session),
    "3.1.1 in a store": (4, durable()),
    "MQTT 5": (5, Session5),
    "MQTT 5 in a store": (5, durable(Session5)),
}


def rows() -> Iterator[tuple[set[int], set[int], set[str], str]]:
    """Yield the table: what is expected, what was sent, the events, and what is then."""
    text = PAGE.read_text().partition(SECTION)[2].partition("\n## ")[0]
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert "expect" in lines[0] and "then" in lines[0], "the table is gone"
    for line in lines[2:]:
        expect, sent, event, then = (cell.strip() for cell in line.strip("|").split("|"))
        yield expects(expect), {SENT[word] for word in sent.split(", ")}, events(event), then


def expects(cell: str) -> set[int]:
    """Return the packet types of a cell."""
    cell = cell.partition(" (")[0]
    if cell.startswith("any but "):
        return {*EXPECT.values()} - {0, EXPECT[cell.removeprefix("any but ")]}
    return {EXPECT[word] for word in cell.split(", ")}


def events(cell: str) -> set[str]:
    """Return the events of a cell, as ``Machine.event`` knows them."""
    if cell.startswith("taken"):
        return {"taken"}
    cell = cell.removesuffix(" again")
    return {cell} if cell.startswith("connected") else {*cell.split(", ")}


class Machine:
    """A session with one packet in one state."""

    def __init__(self, kind: str, expect: int, sent: int) -> None:
        self.version, make = KINDS[kind]
        self.codec = wire5 if self.version == 5 else wire
        options = {"store": Store()} if "store" in kind else {}
        self.session = s = make(lambda: None, client_id="c", clean=False, **options)
        self.connect(False)
        if expect > 7:
            more = [("t/#", 1)] if expect == 9 else ["t/#"]
            self.packet = s.request(0x82 if expect == 9 else 0xA2, more)
        else:
            self.packet = s.publish("t", b"payload", {0: 0, 4: 1}.get(expect, 2))
        if sent != NEVER or expect == 7:
            self.taken()
        if expect == 7:
            self.hear("PUBREC")
            self.taken()
        if sent == BEFORE:
            self.connect(True)
        assert (self.packet.expect, self.packet.sent) == (expect, sent)

    def connect(self, present: bool) -> None:
        """Connect (again)."""
        s = self.session
        if s.state:
            s.lost()
        s.connect(0)
        self.taken()
        s.receive(memoryview(self.codec.connack(present)), 0)

    def taken(self) -> list:
        """Take what is to be written, as packets."""
        data = b""
        while part := self.session.take(0):
            data += bytes(part)
        return self.codec.decode(data)

    def hear(self, name: str) -> None:
        """Give the session an answer."""
        pid = self.packet.pid
        codes = [1] if name == "SUBACK" else [0] if name == "UNSUBACK" and self.version == 5 else []
        data = getattr(self.codec, name.lower())(pid, *codes)
        self.session.receive(memoryview(data), 0)

    def event(self, event: str) -> None:
        """Let an event happen; ``was``: the packet's state before more is taken to be written."""
        if event == "connected again, session present":
            self.connect(True)
        elif event == "connected again, session gone":
            self.connect(False)
        elif event in ANSWERS:
            self.hear(event)
        o = self.packet
        self.was = o.expect, o.sent, o.done

    def holds(self, then: str, wrote: list) -> bool:
        """Return whether what a row says is so. KeyError for words that are not known."""
        o, s = self.packet, self.session
        gone = o.done and o not in s.outbox
        mine = [p for p in wrote if p.type in (3, 6, 8, 10) and p.packet_id in (o.pid, None)]
        names = [p.name for p in mine]
        dup = any(getattr(p, "dup", False) for p in mine)
        first = mine[0].name if mine else ""
        return {
            "done": gone and not o.error,
            "sent now": o.sent == NOW and len(mine) == 1,
            "expect PUBCOMP, PUBREL goes; payload dropped": o.expect == 7
            and names == ["PUBREL"]
            and o.packet is None,
            "PUBREL goes again": o.expect == 7 and names == ["PUBREL"],
            "before: goes again, PUBLISH with DUP": self.was[1] == BEFORE
            and len(mine) == 1
            and dup == (first == "PUBLISH"),
            "never: goes anew, without DUP": self.was[1] == NEVER and len(mine) == 1 and not dup,
            "done, with `SessionLost`": gone and type(o.error).__name__ == "SessionLost",
        }[then.partition(" (")[0]]


STATES = [
    *[(expect, sent) for expect in (4, 5, 9, 11) for sent in (NEVER, BEFORE, NOW)],
    *[(0, NEVER), (7, NOW)],
]
EVENTS = (
    *["taken", *ANSWERS],
    *["connected again, session present", "connected again, session gone"],
)


@pytest.mark.parametrize("kind", KINDS)
def test_each_row_is_so(kind: str) -> None:
    tried = set()
    for expect, sent, event, then in rows():
        for e, s, what in itertools.product(sorted(expect), sorted(sent), sorted(event)):
            if what in ANSWERS and e > 7 and e != EXPECT[what]:
                continue  # a row of several packets: to each its own answer
            machine = Machine(kind, e, s)
            machine.event(what)
            wrote = machine.taken()
            assert machine.holds(then, wrote), (e, s, what, then, wrote)
            tried.add((e, s, what))
    assert {(e, s) for e, s, _ in tried} == {*STATES}, "a state that no row speaks of"


@pytest.mark.parametrize("kind", KINDS)
def test_what_no_row_speaks_of_changes_nothing(kind: str) -> None:
    known = set()
    for expect, sent, event, _ in rows():
        known |= {*itertools.product(expect, sent, event)}
    for state, event in itertools.product(STATES, EVENTS):
        if (*state, event) in known or (state[0] == 0 and event in ANSWERS):
            continue
        machine = Machine(kind, *state)
        if event == "taken":
            machine.taken()
        try:
            machine.event(event)
        except ProtocolError:
            machine.event("nothing")
        expect, sent, done = machine.was
        assert (expect, done) == (state[0], False), (state, event)
        # A connection that ends makes "before" of "now", and nothing else happens to it.
        assert sent == state[1] or event.startswith("connected"), (state, event)

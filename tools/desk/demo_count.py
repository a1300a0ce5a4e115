"""The demo's counting: what the node said, what others saw, and whether the promise was kept.

Pure functions, so that host_tests/test_demo.py can try them with numbers of its own.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

READINGS = {"light": 0, "temperature": 1, "meter": 2}  # name: QoS
COMMANDS = {"set/level": 1, "do/toggle": 2}


@dataclass
class Facts:
    """What the node said in one boot. died: the power was cut before it slept."""

    died: bool = False
    reason: str = "?"
    relay: int = 0  # committed before this boot
    sent: dict[str, int] = field(default_factory=dict)  # reading: its number
    commands: list[tuple[str, int]] = field(default_factory=list)
    dropped: int = 0
    waiting: int | None = None  # None: it did not say
    error: str = ""

    @property
    def skipped(self) -> bool:
        """Whether the node let this wake pass, after others in vain."""
        return "'backoff'" in self.error


def facts(lines: Sequence[str], died: bool = False) -> Facts:
    """Return what a boot's output says. Other lines than the expected ones are passed over."""
    found = Facts(died)
    for line in lines:
        words = line.split()
        if words[:1] == ["wake"] and len(words) == 4:
            found.reason, found.relay = words[1], int(words[3])
        elif words[:1] == ["sent"] and len(words) == 3:
            found.sent[words[1]] = int(words[2])
        elif words[:1] == ["command"] and len(words) == 4 and words[2] in COMMANDS:
            found.commands.append((words[2], int(words[3].strip("b'"))))
        elif words[:1] == ["dropped"]:
            found.dropped += 1
        elif words[:1] == ["error"]:
            found.error = line[6:]
        elif words[:1] == ["asleep"] and len(words) == 5:
            found.waiting = int(words[3])
    return found


@dataclass(frozen=True)
class Tally:
    """What became of the messages of one QoS. The lists hold message numbers."""

    qos: int
    sent: int
    received: int  # different ones
    lost: list[int]
    doubled: list[int]
    unordered: list[int]  # came behind one that was sent later
    unknown: list[int]  # never sent

    def faults(self) -> list[str]:
        """Return how the promise of this QoS was broken; an empty list if it was kept."""
        lists = {"out of order": self.unordered, "never sent": self.unknown}
        if self.qos:
            lists["lost"] = self.lost
        if self.qos != 1:
            lists["doubled"] = self.doubled
        return [f"{what}: {_some(numbers)}" for what, numbers in lists.items() if numbers]


def tally(
    qos: int, sent: Sequence[int], received: Sequence[int], maybe: Collection[int] = ()
) -> Tally:
    """Compare the numbers sent with those received, both in their order.

    maybe: numbers that may have been sent: the power was cut before the node could say so.
    """
    different = list(dict.fromkeys(received))
    return Tally(
        qos=qos,
        sent=len(sent),
        received=len(different),
        # A node that sent a number twice forgot the first: two messages.
        lost=[n for n in dict.fromkeys(sent) if received.count(n) < sent.count(n)],
        doubled=sorted(n for n in different if received.count(n) > 1),
        unordered=[n for i, n in enumerate(different) if i and n < max(different[:i])],
        unknown=[n for n in different if n not in sent and n not in maybe],
    )


def _some(numbers: Sequence[int], limit: int = 5) -> str:
    text = ", ".join(str(n) for n in numbers[:limit])
    return text + (f" and {len(numbers) - limit} more" if len(numbers) > limit else "")


def accepted(boots: Sequence[Facts], name: str) -> tuple[list[int], set[int]]:
    """Return the numbers of a reading that the node said it sent, and those it may have sent.

    A boot that died before it said so may have counted one further, or not: if it did, the
    message is in the store; if not, the next boot uses that number.
    """
    sent: list[int] = []
    maybe: set[int] = set()
    silent = last = 0
    for boot in boots:
        if name in boot.sent:
            sent.append(boot.sent[name])
            last, silent = boot.sent[name], 0
        elif boot.died:
            silent += 1
            maybe.add(last + silent)
    return sent, maybe


def obeyed(boots: Sequence[Facts], name: str) -> list[list[int]]:
    """Return the numbers of the commands that each boot obeyed for good.

    What a boot that died had in hand was not committed if it came again later.
    """
    lists: list[list[int]] = []
    for i, boot in enumerate(boots):
        numbers = [n for what, n in boot.commands if what == name]
        if boot.died:
            later = [c for b in boots[i + 1 :] for c in b.commands]
            numbers = [n for n in numbers if (name, n) not in later]
        lists.append(numbers)
    return lists


def relay_faults(boots: Sequence[Facts]) -> list[str]:
    """Return where the relay, which each toggle turns over, is not as the commands left it."""
    faults = []
    toggles = obeyed(boots, "do/toggle")
    for i in range(1, len(boots)):
        if "?" in (boots[i].reason, boots[i - 1].reason):
            continue
        if boots[i].relay != boots[i - 1].relay ^ len(toggles[i - 1]) & 1:
            faults.append(f"the relay after wake {i} is not as its toggles left it")
    return faults


def tallies(
    boots: Sequence[Facts], received: dict[str, list[int]], queued: dict[str, list[int]]
) -> tuple[list[Tally], list[Tally]]:
    """Return the counts of the readings and of the commands.

    received: what an observer at the broker saw, by name; queued: the commands it sent.
    """
    readings = []
    for name, qos in READINGS.items():
        sent, maybe = accepted(boots, name)
        readings.append(tally(qos, sent, received.get(name, []), maybe))
    commands = []
    for name, qos in COMMANDS.items():
        done = [n for numbers in obeyed(boots, name) for n in numbers]
        commands.append(tally(qos, queued.get(name, []), done))
    return readings, commands


HINTS = ("(loss allowed)", "(doubles allowed)", "")


def final_lines(
    readings: Sequence[Tally], commands: Sequence[Tally], other_faults: Sequence[str]
) -> list[str]:
    """Return the last lines: one for each QoS, and whether the promise was kept."""
    lines = [f"{'QoS':<15} {'sent':>6} {'received':>9} {'lost':>5} {'doubled':>8}"]
    faults = [*other_faults]
    for what, all_ in (("readings", readings), ("commands", commands)):
        for t in all_:
            name = f"{t.qos} {what}"
            counts = f"{t.sent:6} {t.received:9} {len(t.lost):5} {len(t.doubled):8}"
            lines.append(f"{name:<15} {counts}  {HINTS[t.qos]}".rstrip())
            faults += [f"{what} at QoS {t.qos} {fault}" for fault in t.faults()]
    if faults:
        return [*lines, f"PROMISE BROKEN: {'; '.join(faults)}"]
    return [*lines, "promise kept: 0 lost at QoS 1 and 2, 0 doubled at QoS 2"]

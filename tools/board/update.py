"""What an update is on the wire: an offer that its owner signed, and chunks (docs/ota.md)."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from dataclasses import dataclass, field, replace
from typing import Any

CHUNK = 2048  # bytes of content; a packet with it is below a node's max_packet, 4,096
MANY = 32  # of them in a message for nodes that take such (firmware/dormouse/field/large_ota.py)
HASH = 32
WHOLE = 1 << 24  # the share that is all nodes
TEXT = 1000  # bytes that a node takes of an offer's text
WORD = re.compile(r"[^\s\x00-\x1f\x7f]+")
LONGEST = 4096  # bytes of a report


class CannotUpdate(Exception):
    """It cannot be done, or was not. The text says why, and what to do; it holds no secret."""


@dataclass(frozen=True)
class Bundle:
    """Files by their names on the node (None: to be removed), and how a trial goes: how many
    starts, after how many s each is given up, after how many ms without progress it is reset."""

    files: dict[str, bytes | None]
    tries: int
    limit: int
    watchdog: int

    @property
    def head(self) -> bytes:
        """The lines that tell what follows."""
        lines = ""
        for name, data in self.files.items():
            lines += f"{'-' if data is None else len(data)} {name}\n"
        return lines.encode()

    @property
    def content(self) -> bytes:
        """All of it."""
        return self.head + b"".join(data for data in self.files.values() if data)

    def chunks(self, size: int = CHUNK) -> tuple[str, list[bytes]]:
        """Return the SHA-256 of the first chunk, in hex, and all of them, of ``size`` bytes of
        content, each with the SHA-256 of the next one in front."""
        content = self.content
        chunks = []
        after = bytes(HASH)
        for at in reversed(range(0, len(content), size)):
            chunks.append(after + content[at : at + size])
            after = hashlib.sha256(chunks[-1]).digest()
        return after.hex(), chunks[::-1]


def many(chunks: list[bytes]) -> dict[str, bytes]:
    """Return the same chunks in messages of many, by their names below the update's number."""
    return {f"{n}/{MANY}": b"".join(chunks[n : n + MANY]) for n in range(0, len(chunks), MANY)}


def number(version: int, topic: str) -> int:
    """Return where a node stands among all: it takes an update whose share is above it."""
    return int.from_bytes(hashlib.sha256(f"{version} {topic}".encode()).digest()[:3], "big")


def share(version: int, topics: list[str], count: int) -> int:
    """Return the share that ``count`` of some nodes are in."""
    if count >= len(topics):
        return WHOLE
    return sorted(number(version, topic) for topic in topics)[count - 1] + 1


@dataclass(frozen=True)
class Offer:
    """What is offered to whom: the words that are signed."""

    version: int
    app: str
    target: str
    board: str
    minimum: int
    expiry: int
    size: int
    head: int
    first: str  # SHA-256 of the first chunk
    trial: tuple[int, int, int]
    chunk: int = CHUNK

    def text(self, share: int) -> str:
        """Return what is signed for a share of the nodes."""
        words = ["dormouse-update", self.version, self.app, self.target, self.board, share]
        words += [
            self.minimum,
            self.expiry,
            self.size,
            self.head,
            self.chunk,
            self.first,
            *self.trial,
        ]
        return " ".join(str(word) for word in words)


def withdrawal(offer: Offer) -> Offer:
    """Return what takes an offer back for good: there is nothing in it."""
    return replace(offer, size=0, head=0, minimum=0, expiry=0)


# --- Reports --------------------------------------------------------------------------------------

STATES = ("have", "trial", "done", "back", "refused", "withdrawn", "flash", "trouble")


@dataclass
class Report:
    """What a node says, or what says it is one: each value is of its type, and may be shown."""

    id: int
    of: str
    state: str
    runs: int = 0
    have: int = 0
    count: int = 0
    why: str = ""
    proven: bool = field(default=False, compare=False)


def clean(text: Any, most: int = 100) -> str:
    """Return what somebody else wrote as a terminal may show it: no escapes, no new lines."""
    return "".join(c if c.isprintable() else "?" for c in str(text)[:most])


def _int(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 62:
        raise ValueError
    return value


def is_proven(topic: str, payload: bytes, secret: str | None) -> bool:
    """Return whether the node at a topic said this; ``secret``: its own, or None."""
    words, _, code = payload.rpartition(b', "mac": "')
    if not (secret and words and code.endswith(b'"}')):
        return False
    good = hmac.new(secret.encode(), b"dormouse-report %s %s}" % (topic.encode(), words), "sha256")
    return hmac.compare_digest(good.hexdigest().encode(), code[:-2])


def read_report(topic: str, payload: bytes, secret: str | None) -> Report | None:
    """Return a report; None for anything else. ``secret``: the node's, by which it is proven."""
    if not payload or len(payload) > LONGEST:
        return None
    try:
        found = json.loads(payload.decode())
        report = Report(_int(found["id"]), clean(found["of"], 16), clean(found["state"], 16))
        for name in ("runs", "have", "count"):
            setattr(report, name, _int(found.get(name, 0)))
        report.why = clean(found.get("why", ""))
        if report.state not in STATES:
            return None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    report.proven = is_proven(topic, payload, secret)
    return report


def read_answer(topic: str, payload: bytes, secret: str | None) -> tuple[int, str, bool] | None:
    """Return what a node in safe mode says of orders: the last one's number, why it could not be
    carried out, or "", and whether that is proven; None for anything else."""
    if not payload or len(payload) > LONGEST:
        return None
    try:
        found = json.loads(payload.decode())
        return _int(found["order"]), clean(found.get("why", "")), is_proven(topic, payload, secret)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None

"""What went over connections: bytes with their times, to be kept in a file and decoded again.

Secrets are not kept: a password's bytes are overwritten before anything is stored or shown.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...testing.wire import Direction

if TYPE_CHECKING:
    from ...testing.chaos import ProxiedConnection

FORMAT = 1


class BadTrace(Exception):
    """A file is no trace, or no capture with MQTT in it. The text says what it is."""


@dataclass
class Chunk:
    """Bytes that passed at once. at: s since the trace began."""

    at: float
    way: Direction
    data: bytes


@dataclass
class Connection:
    """A connection of a client. Times in s since the trace began.

    opened: when TCP's handshake began; ready: when it was done; closed: None if that was not seen.
    end: how it ended, for a person.
    """

    number: int
    opened: float
    ready: float
    peer: str = ""
    closed: float | None = None
    end: str = "open"
    chunks: list[Chunk] = field(default_factory=list)


@dataclass
class Trace:
    """Connections in the order in which they began. name: of the file, or of the proxy."""

    name: str
    connections: list[Connection] = field(default_factory=list)

    def save(self, path: Path) -> None:
        """Write it to a file. Raises OSError."""
        path.write_text(json.dumps(_as_json(self)), encoding="utf-8")


def of_proxy(name: str, connections: Sequence[ProxiedConnection]) -> Trace:
    """Return what a proxy of the tests (tools.testing.chaos) has seen."""
    start = min((c.transcript.began for c in connections), default=0.0)
    trace = Trace(name)
    for c in connections:
        began = c.transcript.began - start
        end = f"cut by the proxy: {c.cut}" if c.cut else "closed" if c.closed else "open"
        pairs = zip(c.transcript.times, c.transcript.chunks, strict=True)
        chunks = [Chunk(began + at, way, data) for at, (way, data) in pairs]
        trace.connections.append(Connection(c.number, began, began, "the node", None, end, chunks))
    return trace


def _as_json(trace: Trace) -> dict[str, Any]:
    from .decode import sanitized

    return {
        "dormouse trace": FORMAT,
        "connections": [
            {
                "number": c.number,
                "opened": c.opened,
                "ready": c.ready,
                "peer": c.peer,
                "closed": c.closed,
                "end": c.end,
                "chunks": [
                    [round(k.at, 6), k.way, base64.b64encode(k.data).decode()] for k in sanitized(c)
                ],
            }
            for c in trace.connections
        ],
    }


def _connections(found: dict[str, Any]) -> Iterator[Connection]:
    for entry in found["connections"]:
        chunks = []
        for at, way, text in entry.pop("chunks"):
            if way not in ("up", "down"):
                raise ValueError(way)
            chunks.append(Chunk(float(at), way, base64.b64decode(text)))
        for name in ("opened", "ready", "closed"):
            if name != "closed" or entry[name] is not None:
                entry[name] = float(entry[name])
        for name in ("number", "peer", "end"):
            entry[name] = (int if name == "number" else str)(entry[name])
        yield Connection(**entry, chunks=chunks)


def load(path: Path) -> Trace:
    """Read a file that `save` wrote, or a capture (pcap, pcapng). Raises BadTrace, OSError."""
    from . import pcap

    data = path.read_bytes()
    if pcap.is_capture(data):
        return pcap.read(data, path.name)
    try:
        found = json.loads(data)
        if found["dormouse trace"] != FORMAT:
            raise BadTrace(f"{path}: of another version of dormouse")
        return Trace(path.name, list(_connections(found)))
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise BadTrace(f"{path}: neither a trace of dormouse scope nor a capture") from error

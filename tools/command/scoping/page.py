"""A trace as one HTML page: nothing is loaded from anywhere."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .compare import figures, packets
from .decode import HEX, Decoded
from .figure import COLOURS
from .text import KINDS, head, summary

TEMPLATE = Path(__file__).with_name("page.html")


def _connection(decoded: Decoded, milliamperes: float, trace: int) -> dict[str, Any]:
    c = decoded.connection
    return {
        "trace": trace,
        "head": head(decoded),
        "summary": summary(decoded, milliamperes),
        "opened": c.opened,
        "ready": c.ready,
        "closed": c.closed,
        "spans": [[s.kind, s.begin, s.end] for s in decoded.spans],
        "packets": [
            {
                "at": p.at,
                "way": p.way,
                "size": p.size,
                "name": p.name,
                "text": p.text,
                "fields": p.fields,
                "hex": p.raw[:HEX].hex(),
                "wrong": p.wrong,
            }
            for p in decoded.packets
        ],
    }


def render(traces: Sequence[tuple[str, Sequence[Decoded]]], milliamperes: float, title: str) -> str:
    """Return the page of one trace, or of two to compare: names and connections."""
    connections = [
        _connection(decoded, milliamperes, number)
        for number, (_, found) in enumerate(traces)
        for decoded in found
    ]
    data: dict[str, Any] = {
        "title": title,
        "traces": [name for name, _ in traces],
        "kinds": {kind: [text, COLOURS[kind]] for kind, text in KINDS.items()},
        "connections": connections,
    }
    if len(traces) == 2:
        before, after = traces[0][1], traces[1][1]
        rows = figures(before, after, milliamperes)
        data["compare"] = [[r.what, r.before, r.after, r.change] for r in rows]
        data["diff"] = packets(before, after)
    # What a peer sent must not end the script element: "</script>", "<!--".
    text = json.dumps(data, ensure_ascii=False).replace("<", "\\u003c")
    return TEMPLATE.read_text(encoding="utf-8").replace("{{DATA}}", text)

"""A trace in a terminal: a line for each packet, with its time and the gap before it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..shared.foreign import visible
from .decode import Decoded, Seen

KINDS = {
    "tcp": "TCP's handshake",
    "tls": "TLS's handshake",
    "sends": "the node sends",
    "waits": "the node waits for the broker",
    "takes": "answers come",
    "thinks": "the node is at work",
    "ends": "to the end of the connection",
}


def arrow(way: str, plain: bool) -> str:
    """Return the arrow of a direction."""
    if plain:
        return "-->" if way == "up" else "<--"
    return "──▶" if way == "up" else "◀──"


def packet_line(packet: Seen, at: float, gap: float, plain: bool, width: int = 0) -> str:
    """Return the line of a packet. at: s since the connection began; gap: s since the one before;
    width: characters, 0: any."""
    ms = gap * 1000
    since = f"+{ms:,.1f}" if ms >= 0.05 else ""
    mark = "!" if packet.wrong else " "
    text = packet.text if packet.text.startswith(packet.name) else f"{packet.name} {packet.text}"
    line = f"{at * 1000:9,.1f} {since:>9} {arrow(packet.way, plain)}{mark}"
    line += f"{packet.size:5} B  {visible(text)}"
    return line if not width or len(line) <= width else line[: width - 1] + ("." if plain else "…")


def head(decoded: Decoded) -> str:
    """Return the first line of a connection."""
    c = decoded.connection
    version = {5: "MQTT 5", 4: "MQTT 3.1.1", 3: "MQTT 3.1"}.get(decoded.version, "no CONNECT")
    who = decoded.client_id or "(no client id)"
    return visible(f"connection {c.number}: {who} from {c.peer}, {version}")


def summary(decoded: Decoded, milliamperes: float) -> list[str]:
    """Return what a connection came to."""
    up, down = decoded.bytes("up"), decoded.bytes("down")
    seconds = decoded.seconds
    charge = f", {seconds * milliamperes:.1f} mC at {milliamperes:g} mA" if milliamperes else ""
    lines = [
        f"{visible(decoded.connection.end)}: {seconds * 1000:,.1f} ms{charge}; {up} bytes up, "
        f"{down} down, {len(decoded.packets)} packets, {decoded.turnarounds} turnarounds"
    ]
    spent = [(text, decoded.spent(kind)) for kind, text in KINDS.items()]
    parts = [f"{text} {s * 1000:,.1f} ms" for text, s in spent if s >= 0.00005]
    return [*lines, "; ".join(parts)] if parts else lines


def lines(decoded: Decoded, milliamperes: float, plain: bool, width: int = 0) -> Iterator[str]:
    """Return all lines of a connection."""
    yield head(decoded)
    yield f"{'ms':>9} {'gap':>9} node {'<->' if plain else '◀─▶'} broker"
    last = decoded.connection.ready
    for packet in decoded.packets:
        since = packet.at - decoded.connection.opened
        yield packet_line(packet, since, packet.at - last, plain, width)
        last = packet.at
    for line in summary(decoded, milliamperes):
        yield "  " + line


def table(decoded: Sequence[Decoded], milliamperes: float) -> list[tuple[str, str]]:
    """Return the figures of a trace, on average over its connections."""
    n = len(decoded) or 1
    rows = [
        ("connections", f"{len(decoded)}"),
        ("packets", f"{sum(len(d.packets) for d in decoded) / n:.1f}"),
        ("bytes up", f"{sum(d.bytes('up') for d in decoded) / n:,.1f}"),
        ("bytes down", f"{sum(d.bytes('down') for d in decoded) / n:,.1f}"),
        ("turnarounds", f"{sum(d.turnarounds for d in decoded) / n:.1f}"),
        ("ms", f"{sum(d.seconds for d in decoded) / n * 1000:,.1f}"),
    ]
    for kind, text in KINDS.items():
        rows.append((f"ms: {text}", f"{sum(d.spent(kind) for d in decoded) / n * 1000:,.1f}"))
    if milliamperes:
        charge = sum(d.seconds for d in decoded) / n * milliamperes
        rows.append((f"mC at {milliamperes:g} mA", f"{charge:.1f}"))
    return rows

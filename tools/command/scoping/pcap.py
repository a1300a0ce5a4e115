"""Captures of tcpdump and Wireshark, pcap and pcapng: the TCP connections in them.

pcap: draft-ietf-opsawg-pcap; pcapng: draft-ietf-opsawg-pcapng; link types: tcpdump.org/linktypes.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from ...testing.wire import Direction
from .trace import BadTrace, Chunk, Connection, Trace

PORTS = (1883, 8883)  # a server's, where no SYN says who began
FIN, SYN, RST, ACK = 1, 2, 4, 16
_MAGIC = {0xA1B2C3D4: 1e-6, 0xA1B23C4D: 1e-9}
_SECTION = 0x0A0D0D0A  # pcapng's first block
# Link type: bytes before the network's header, and where the EtherType stands (None: by version).
_LINKS = {0: (4, None), 108: (4, None), 12: (0, None), 101: (0, None), 1: (14, 12), 113: (16, 14)}
_LINKS[276] = (20, 0)  # Linux cooked, version 2
_LINKS[228] = _LINKS[229] = _LINKS[101]  # raw IPv4, raw IPv6


class Segment(NamedTuple):
    """A TCP segment. at: s."""

    at: float
    source: tuple[str, int]
    target: tuple[str, int]
    seq: int
    flags: int
    data: bytes


def is_capture(data: bytes) -> bool:
    """Tell whether a file is a capture."""
    if len(data) < 24:
        return False
    orders = [int.from_bytes(data[:4], order) for order in ("little", "big")]
    return bool(_MAGIC.keys() & set(orders)) or _SECTION in orders


def _classic(data: bytes) -> Iterator[tuple[float, int, bytes]]:
    order = "<" if int.from_bytes(data[:4], "little") in _MAGIC else ">"
    tick = _MAGIC[struct.unpack_from(order + "I", data)[0]]
    link = struct.unpack_from(order + "I", data, 20)[0] & 0xFFFF
    at = 24
    while at + 16 <= len(data):
        seconds, ticks, size, _ = struct.unpack_from(order + "IIII", data, at)
        yield seconds + ticks * tick, link, data[at + 16 : at + 16 + size]
        at += 16 + size


def _ticks(options: bytes, order: str) -> float:
    # Option 9, if_tsresol: a power of 10, or with the first bit of 2.
    at = 0
    while at + 4 <= len(options):
        code, size = struct.unpack_from(order + "HH", options, at)
        if code == 9 and size:
            value = options[at + 4]
            return float(2.0 ** -(value & 0x7F) if value & 0x80 else 10.0**-value)
        if not code:
            break
        at += 4 + (size + 3 & ~3)
    return 1e-6


def _next_generation(data: bytes) -> Iterator[tuple[float, int, bytes]]:
    at, order = 0, "<"
    interfaces: list[tuple[int, float]] = []
    while at + 12 <= len(data):
        kind = struct.unpack_from("<I", data, at)[0]
        if kind == _SECTION:
            order = "<" if data[at + 8 : at + 12] == b"\x4d\x3c\x2b\x1a" else ">"
            interfaces = []
        kind, size = struct.unpack_from(order + "II", data, at)
        if size < 12 or at + size > len(data):
            return
        body = data[at + 8 : at + size - 4]
        if kind == 1:
            interfaces.append((struct.unpack_from(order + "H", body)[0], _ticks(body[8:], order)))
        elif kind == 6 and len(body) >= 20:
            number, high, low, caught = struct.unpack_from(order + "IIII", body)
            if number < len(interfaces):
                link, tick = interfaces[number]
                yield (high << 32 | low) * tick, link, body[20 : 20 + caught]
        at += size


def _network(link: int, frame: bytes) -> bytes:
    """Return the IP packet in a frame, or nothing."""
    if link not in _LINKS:
        raise BadTrace(f"a capture of link type {link}, which is not read here")
    start, kind_at = _LINKS[link]
    if kind_at is not None:
        kind = int.from_bytes(frame[kind_at : kind_at + 2], "big")
        while kind in (0x8100, 0x88A8):  # VLAN tags
            kind = int.from_bytes(frame[start + 2 : start + 4], "big")
            start += 4
        if kind not in (0x0800, 0x86DD):
            return b""
    return frame[start:]


def _segment(at: float, packet: bytes) -> Segment | None:
    if len(packet) < 20:
        return None
    if packet[0] >> 4 == 4:
        head, protocol = (packet[0] & 15) * 4, packet[9]
        whole = packet[: int.from_bytes(packet[2:4], "big") or len(packet)]
        addresses = packet[12:16], packet[16:20]
    else:
        head, protocol = 40, packet[6]
        whole = packet[: 40 + int.from_bytes(packet[4:6], "big")]
        addresses = packet[8:24], packet[24:40]
    tcp = whole[head:]
    if protocol != 6 or len(tcp) < 20:
        return None
    names = [str(ipaddress.ip_address(address)) for address in addresses]
    ports = struct.unpack_from(">HH", tcp)
    seq = struct.unpack_from(">I", tcp, 4)[0]
    data = tcp[(tcp[12] >> 4) * 4 :]
    return Segment(at, (names[0], ports[0]), (names[1], ports[1]), seq, tcp[13], data)


@dataclass
class _Half:
    """One direction: what comes in order, and what waits for what is missing."""

    expected: int | None = None
    early: dict[int, bytes] = field(default_factory=dict)

    def take(self, segment: Segment) -> bytes:
        """Return the bytes that are next, those of this segment and of earlier ones."""
        seq = segment.seq + bool(segment.flags & SYN) & 0xFFFFFFFF
        if segment.flags & SYN or self.expected is None:
            self.expected = seq
        if segment.data:
            self.early[seq] = segment.data
        out = b""
        while found := self._next():
            out += found
        return out

    def _next(self) -> bytes:
        for seq in list(self.early):
            ahead = seq - (self.expected or 0) & 0xFFFFFFFF
            behind = -ahead & 0xFFFFFFFF
            data = self.early[seq]
            if behind >= len(data) > 0 and behind < 1 << 31 and ahead:
                del self.early[seq]  # a repetition
            elif behind < len(data):
                del self.early[seq]
                self.expected = seq + len(data) & 0xFFFFFFFF
                return data[behind:]
        return b""


class _Stream:
    """A TCP connection while it is read."""

    def __init__(self, number: int, first: Segment) -> None:
        began = first.flags & (SYN | ACK) == SYN
        client = first.source
        if not began and first.source[1] in PORTS and first.target[1] not in PORTS:
            client = first.target
        if first.flags & (SYN | ACK) == SYN | ACK:
            client = first.target
        self.client = client
        self.halves: dict[Direction, _Half] = {"up": _Half(), "down": _Half()}
        peer = f"{client[0]}:{client[1]}"
        self.connection = Connection(number, first.at, first.at, peer)

    def take(self, segment: Segment) -> None:
        c = self.connection
        way: Direction = "up" if segment.source == self.client else "down"
        if way == "down" and segment.flags & SYN:
            c.ready = segment.at
        if data := self.halves[way].take(segment):
            c.chunks.append(Chunk(segment.at, way, data))
        if segment.flags & RST:
            c.closed, c.end = segment.at, "reset"
        elif segment.flags & FIN and c.end == "open":
            by = "node" if way == "up" else "broker"
            c.closed, c.end = segment.at, f"closed by the {by}"


def read(data: bytes, name: str) -> Trace:
    """Return the connections of a capture that speak MQTT (or TLS). Raises BadTrace."""
    frames = _next_generation if not _is_classic(data) else _classic
    streams: dict[frozenset[tuple[str, int]], _Stream] = {}
    done: list[_Stream] = []
    for at, link, frame in frames(data):
        segment = _segment(at, _network(link, frame))
        if segment is None:
            continue
        key = frozenset((segment.source, segment.target))
        fresh = segment.flags & (SYN | ACK) == SYN
        if key not in streams or (fresh and streams[key].connection.chunks):
            streams[key] = _Stream(len(done) + 1, segment)
            done.append(streams[key])
        streams[key].take(segment)
    return _relative(name, [s.connection for s in done if _speaks_mqtt(s.connection)])


def _is_classic(data: bytes) -> bool:
    return _SECTION not in [int.from_bytes(data[:4], order) for order in ("little", "big")]


def _speaks_mqtt(connection: Connection) -> bool:
    first = next((c.data for c in connection.chunks if c.way == "up"), b"")
    # CONNECT with its protocol name; a TLS handshake; a request for a WebSocket.
    return b"MQTT" in first[:10] or first[:2] == b"\x16\x03" or first[:4] == b"GET "


def _relative(name: str, connections: list[Connection]) -> Trace:
    if not connections:
        raise BadTrace(f"{name}: no MQTT connection in it that is seen from its beginning")
    start = min(c.opened for c in connections)
    for number, c in enumerate(connections, 1):
        c.number = number
        c.opened, c.ready = c.opened - start, c.ready - start
        c.closed = None if c.closed is None else c.closed - start
        for chunk in c.chunks:
            chunk.at -= start
    return Trace(name, connections)

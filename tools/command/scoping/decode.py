"""A connection's bytes as packets, flights and phases."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from ...testing import wire, wire5
from ...testing.wire import Direction
from .trace import Chunk, Connection

_WAYS: tuple[Direction, ...] = ("up", "down")
HEX = 512  # bytes of a packet that are shown
FIRST = 16  # packets of a connection among which its CONNECT is
_TLS = {20: "change cipher spec", 21: "alert", 22: "handshake", 23: "application data"}


@dataclass(frozen=True)
class Seen:
    """A packet. at: s, when its last byte passed. fields: what it holds; wrong: why it is none."""

    at: float
    way: Direction
    size: int
    name: str
    text: str
    fields: dict[str, Any] = field(default_factory=dict)
    raw: bytes = b""
    wrong: str = ""


@dataclass(frozen=True)
class Span:
    """A phase of a connection. kind: tcp, tls, sends, waits, takes, thinks, ends. Times in s."""

    kind: str
    begin: float
    end: float


@dataclass(frozen=True)
class Decoded:
    """A connection, decoded. version: 4 or 5, 0 if no CONNECT was seen; secure: in TLS."""

    connection: Connection
    packets: list[Seen]
    secure: bool
    client_id: str
    version: int

    @cached_property
    def spans(self) -> list[Span]:
        """Its phases. Not known before they are asked for: a proxy decodes anew at each packet."""
        return list(_spans(self.connection, self.packets, self.secure))

    def bytes(self, way: Direction) -> int:
        """Return the bytes of MQTT (or what else it speaks) in a direction."""
        return sum(packet.size for packet in self.packets if packet.way == way)

    @property
    def turnarounds(self) -> int:
        """How often the node waited for the broker and then went on."""
        ways = [packet.way for packet in self.packets]
        return sum(pair == ("down", "up") for pair in itertools.pairwise(ways))

    @property
    def seconds(self) -> float:
        """From its beginning to its end, or to what was seen last."""
        last = [self.connection.ready, *(packet.at for packet in self.packets)]
        end = self.connection.closed if self.connection.closed is not None else max(last)
        return end - self.connection.opened

    def spent(self, kind: str) -> float:
        """Return the s spent in phases of a kind."""
        return sum(span.end - span.begin for span in self.spans if span.kind == kind)


class Decoder:
    """Decodes a connection while it goes on: packets, or TLS's records; out of WebSocket's frames
    if it is in some. Behind what is malformed nothing can be found, in that direction."""

    def __init__(self) -> None:
        self.secure = False
        self._begun = False
        self._version = 4
        self._websocket: dict[Direction, _Frames] = {}
        self._splitters: dict[Direction, wire.Splitter] = {}
        for way in _WAYS:
            self._splitters[way] = wire.Splitter()
        self._records = {"up": b"", "down": b""}
        self._broken: set[Direction] = set()
        self._last: dict[Direction, float] = {}

    def feed(self, chunk: Chunk) -> Iterator[Seen]:
        """Take bytes; give the packets that are whole now."""
        for part in self.unwrap(chunk):
            if self.secure:
                yield from self._tls(part)
            elif part.way not in self._broken:
                self._last[part.way] = part.at
                yield from self._mqtt(part)

    def unwrap(self, chunk: Chunk) -> Iterator[Chunk]:
        """Give what is in WebSocket's frames, or the chunk as it is."""
        if not self._begun and chunk.way == "up":
            self._begun = True
            self.secure = chunk.data[:2] == b"\x16\x03"
            if chunk.data.startswith(b"GET "):
                self._websocket = {"up": _Frames(), "down": _Frames()}
        if not self._websocket:
            yield chunk
        elif data := self._websocket[chunk.way].feed(chunk.data):
            yield Chunk(chunk.at, chunk.way, data)

    def finish(self) -> Iterator[Seen]:
        """Give what was cut off."""
        for way, splitter in self._splitters.items():
            if splitter.rest and way not in self._broken:
                rest = splitter.rest
                name = wire.NAMES.get(rest[0] >> 4, "packet")
                wrong = f"{name} cut off after {len(rest)} bytes"
                yield Seen(self._last[way], way, len(rest), name, wrong, {}, _masked(rest), wrong)

    def _mqtt(self, chunk: Chunk) -> Iterator[Seen]:
        splitter = self._splitters[chunk.way]
        try:
            for raw in splitter.feed(chunk.data):
                if raw[0] >> 4 == wire.CONNECT:
                    self._version = _version(raw)
                yield _seen(chunk, raw, self._version)
        except wire.WireError as error:
            self._broken.add(chunk.way)
            rest, wrong = splitter.rest, str(error)
            yield Seen(chunk.at, chunk.way, len(rest), "garbage", wrong, {}, rest, wrong)

    def _tls(self, chunk: Chunk) -> Iterator[Seen]:
        # What records hold cannot be read, but when they went.
        data = self._records[chunk.way] + chunk.data
        while len(data) >= 5 and len(data) >= 5 + int.from_bytes(data[3:5], "big"):
            size = 5 + int.from_bytes(data[3:5], "big")
            what = _TLS.get(data[0], f"record {data[0]}")
            yield Seen(chunk.at, chunk.way, size, "TLS", f"TLS {what}", {"record": what})
            data = data[size:]
        self._records[chunk.way] = data


class _Frames:
    """One direction of a WebSocket: HTTP's head, then frames (RFC 6455)."""

    def __init__(self) -> None:
        self.rest = b""
        self.agreed = False

    def feed(self, data: bytes) -> bytes:
        """Return the payload of the whole frames with data."""
        self.rest += data
        if not self.agreed:
            _, found, rest = self.rest.partition(b"\r\n\r\n")
            if not found:
                return b""
            self.agreed, self.rest = True, rest
        out = b""
        while frame := self._frame():
            first, payload = frame
            if first & 15 in (0, 1, 2):
                out += payload
        return out

    def _frame(self) -> tuple[int, bytes] | None:
        data = self.rest
        if len(data) < 2:
            return None
        size, at = data[1] & 0x7F, 2
        if size > 125:
            width = 2 if size == 126 else 8
            size, at = int.from_bytes(data[2 : 2 + width], "big"), 2 + width
        mask = data[at : at + 4] if data[1] & 0x80 else b""
        at += len(mask)
        if len(data) < at + size:
            return None
        self.rest = data[at + size :]
        body = data[at : at + size]
        if mask:
            body = bytes(b ^ mask[i % 4] for i, b in enumerate(body))
        return data[0], body


def assemble(connection: Connection, packets: list[Seen], secure: bool) -> Decoded:
    """Return a connection with its packets, and what follows from them. It takes as long for many
    packets as for few."""
    first = itertools.islice(packets, FIRST)
    hello = next((p for p in first if p.name == "CONNECT" and not p.wrong), None)
    fields = hello.fields if hello else {}
    return Decoded(
        connection,
        packets,
        secure,
        str(fields.get("client_id", "")),
        int(fields.get("protocol_level", 0)),
    )


def decode(connection: Connection) -> Decoded:
    """Decode a connection."""
    decoder = Decoder()
    packets = [seen for chunk in connection.chunks for seen in decoder.feed(chunk)]
    return assemble(connection, [*packets, *decoder.finish()], decoder.secure)


# --- Packets --------------------------------------------------------------------------------------


def _version(raw: bytes) -> int:
    at = 1
    while raw[at] & 0x80:
        at += 1
    name = int.from_bytes(raw[at + 1 : at + 3], "big")
    level = raw[at + 3 + name : at + 4 + name]
    return 5 if level == b"\x05" else 4


def _seen(chunk: Chunk, raw: bytes, version: int) -> Seen:
    name = wire.NAMES.get(raw[0] >> 4, "AUTH" if raw[0] >> 4 == 15 else "packet")
    packet: wire.Packet | wire5.Packet
    try:
        if version == 5:
            (packet,) = wire5.decode(raw, chunk.way)
            text = wire5.describe_packet(packet)
        else:
            (packet,) = wire.decode(raw)
            text = wire.describe_packet(packet)
    except wire.WireError as error:
        return Seen(chunk.at, chunk.way, len(raw), name, str(error), {}, _masked(raw), str(error))
    for secret in _secrets(packet):
        text = text.replace(repr(secret), "…")
    if packet.type == wire.PUBLISH:
        text = text.partition(" payload=")[0] + f" payload={_payload(packet.payload)}"
    fields = _fields(packet)
    return Seen(chunk.at, chunk.way, len(raw), name, text, fields, _without_secrets(packet, raw))


def _payload(data: bytes) -> str:
    text = data[:40].decode(errors="replace")
    if not text.isprintable() or "\ufffd" in text:
        return f"{len(data)} B {data[:8].hex()}"
    return repr(text) + ("…" if len(data) > 40 else "")


def _masked(raw: bytes) -> bytes:
    # What could not be decoded and may hold a password.
    return raw[:2] if raw[:1] and raw[0] >> 4 in (wire.CONNECT, 15) else raw


def _secrets(packet: wire.Packet | wire5.Packet) -> Iterator[bytes]:
    if packet.password:
        yield packet.password
    if isinstance(packet, wire5.Packet) and packet.properties.get("auth_data"):
        yield packet.properties["auth_data"]


def _without_secrets(packet: wire.Packet | wire5.Packet, raw: bytes) -> bytes:
    for secret in _secrets(packet):
        place = raw.rfind(secret)  # the password is the last field of CONNECT
        raw = raw[:place] + b"*" * len(secret) + raw[place + len(secret) :]
    return raw


def sanitized(connection: Connection) -> list[Chunk]:
    """Return a connection's bytes without its secrets, out of WebSocket's frames: to be kept."""
    decoder = Decoder()
    chunks = [part for chunk in connection.chunks for part in decoder.unwrap(chunk)]
    if decoder.secure:
        return chunks
    both: dict[Direction, bytes] = {}
    version = 4
    for way in _WAYS:
        data = b"".join(c.data for c in chunks if c.way == way)
        out, splitter = b"", wire.Splitter()
        with contextlib.suppress(wire.WireError):
            for raw in splitter.feed(data):
                if raw[0] >> 4 == wire.CONNECT:
                    version = _version(raw)
                clean = _seen(Chunk(0, way, raw), raw, version).raw
                out += clean.ljust(len(raw), b"*")
        rest = data[len(out) :]  # no whole packet, or none at all
        both[way] = out + _masked(rest).ljust(len(rest), b"*")
    kept = []
    for chunk in chunks:
        kept.append(Chunk(chunk.at, chunk.way, both[chunk.way][: len(chunk.data)]))
        both[chunk.way] = both[chunk.way][len(chunk.data) :]
    return kept


def _fields(packet: wire.Packet | wire5.Packet) -> dict[str, Any]:
    """Return the fields of a packet that are not empty, for a page; without secrets."""
    found: dict[str, Any] = {}
    for each in dataclasses.fields(packet):
        value = getattr(packet, each.name)
        if each.name in ("type", "raw", "password") or value in (each.default, (), {}, b"", ""):
            continue
        found[each.name] = _plain(value)
    if packet.password is not None:
        found["password"] = "(not shown)"
    if isinstance(found.get("properties"), dict) and "auth_data" in found["properties"]:
        found["properties"]["auth_data"] = "(not shown)"
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        text = value.decode(errors="replace")
        return text if text.isprintable() else value[:HEX].hex(" ")
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [each.name for each in dataclasses.fields(value)]
        return {name: _plain(getattr(value, name)) for name in names}
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


# --- Phases ---------------------------------------------------------------------------------------


def _spans(connection: Connection, packets: list[Seen], secure: bool) -> Iterator[Span]:
    if connection.ready > connection.opened:
        yield Span("tcp", connection.opened, connection.ready)
    last, way = connection.ready, "down"
    for packet in packets:
        if packet.at > last:
            kind = {
                ("up", "up"): "sends",
                ("up", "down"): "waits",
                ("down", "down"): "takes",
                ("down", "up"): "thinks",
            }[way, packet.way]
            if secure and packet.text == "TLS handshake":
                kind = "tls"
            yield Span(kind, last, packet.at)
        last, way = packet.at, packet.way
    if connection.closed is not None and connection.closed > last:
        yield Span("ends", last, connection.closed)

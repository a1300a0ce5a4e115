"""What a wake is on the wire, packet by packet: computed from the standards alone.

host_tests/command/test_plan.py holds it against wakes of the simulated board, to the byte.
Section numbers are those of MQTT 3.1.1 and 5.0.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import NamedTuple

WINDOW = 16  # messages in flight: dormouse's default, and its Receive Maximum
INFLIGHT = 20  # those that a broker sends at once: mosquitto's max_inflight_messages
# Properties that dormouse sends in CONNECT: session expiry, receive maximum, maximum packet size.
CONNECT_PROPERTIES = 5 + 3 + 5
# CONNACK's properties are the broker's. mosquitto 2.0: topic alias maximum, receive maximum.
CONNACK_PROPERTIES = 3 + 3
ORDERS = ("burst", "careful", "clean")


class Packet(NamedTuple):
    """A packet: "up" is from the node to the broker; size in bytes."""

    way: str
    name: str
    size: int


@dataclass(frozen=True)
class Traffic:
    """What a wake carries. Sizes in bytes of UTF-8.

    order: burst, dormouse's; careful, where CONNACK is awaited first; clean, as programs on other
    clients do: a new session each time, each answer awaited. listens: whether it subscribes;
    commands: how many are queued for it. expires: publishes carry a message expiry (MQTT 5). heard:
    whether anybody subscribes to what it publishes: else a PUBACK of MQTT 5 says so.
    """

    qos: int = 1
    topic: int = 20
    payload: int = 30
    messages: int = 1
    client_id: int = 8
    version: int = 4
    order: str = "burst"
    listens: bool = False
    commands: int = 0
    command_qos: int = 1
    command_topic: int = 16
    command_payload: int = 4
    username: int = 0
    password: int = 0
    expires: bool = False
    heard: bool = True


@dataclass(frozen=True)
class Wake:
    """A wake on the wire: its packets in order, with what follows from them."""

    packets: tuple[Packet, ...] = field(repr=False)

    def _sum(self, way: str) -> int:
        return sum(packet.size for packet in self.packets if packet.way == way)

    @property
    def up(self) -> int:
        """Bytes from the node."""
        return self._sum("up")

    @property
    def down(self) -> int:
        """Bytes to the node."""
        return self._sum("down")

    @property
    def turnarounds(self) -> int:
        """How often the node waits for an answer, beside TCP's (and TLS's) own handshake."""
        ways = [packet.way for packet in self.packets]
        return sum(pair == ("down", "up") for pair in itertools.pairwise(ways))

    def names(self, way: str) -> str:
        """Return the packets of a direction, in order."""
        return " ".join(packet.name for packet in self.packets if packet.way == way)


def framed(body: int) -> int:
    """Return the size of a packet with a body of so many bytes (section 2.2.3)."""
    digits = 1
    while body >= 128**digits:
        digits += 1
    return 1 + digits + body


class _Sizes:
    """The sizes of the packets of one kind of traffic."""

    def __init__(self, traffic: Traffic) -> None:
        self.t = traffic
        self.five = traffic.version == 5

    def connect(self) -> int:
        """3.1: protocol name, level, flags, keep alive; what follows."""
        t = self.t
        body = 10 + 2 + t.client_id
        if self.five:
            body += 1 + (CONNECT_PROPERTIES if t.order != "clean" else 0)
        for text in (t.username, t.password):
            body += 2 + text if text else 0
        return framed(body)

    def connack(self) -> int:
        """3.2: flags, code."""
        return framed(2 + (1 + CONNACK_PROPERTIES if self.five else 0))

    def publish(self, topic: int, payload: int, qos: int, expires: bool = False) -> int:
        """3.3: topic, identifier, payload."""
        body = 2 + topic + (2 if qos else 0) + payload
        if self.five:
            body += 1 + (5 if expires else 0)
        return framed(body)

    def message(self) -> int:
        """A message of the node."""
        return self.publish(self.t.topic, self.t.payload, self.t.qos, self.t.expires)

    def command(self) -> int:
        """A message for the node."""
        return self.publish(self.t.command_topic, self.t.command_payload, self.t.command_qos)

    def subscribe(self) -> int:
        """3.8: identifier, one filter with its QoS."""
        return framed(2 + (1 if self.five else 0) + 2 + self.t.command_topic + 1)

    def suback(self) -> int:
        """3.9: identifier, one code."""
        return framed(2 + (1 if self.five else 0) + 1)


ACK = 4  # PUBACK, PUBREC, PUBREL, PUBCOMP without a reason (3.4 to 3.7)
PING = 2  # PINGREQ, PINGRESP, DISCONNECT


def _answers(t: Traffic) -> list[Packet]:
    name = {1: "PUBACK", 2: "PUBREC"}.get(t.qos)
    # "No matching subscribers" takes a byte; mosquitto says so at QoS 1.
    size = ACK + (t.version == 5 and t.qos == 1 and not t.heard)
    return [Packet("down", name, size)] * t.messages if name else []


def _released(way: str, name: str, t: Traffic) -> list[Packet]:
    return [Packet(way, name, ACK)] * t.messages if t.qos == 2 else []


def _kept(t: Traffic) -> list[Packet]:
    # A node whose session is kept, by dormouse: see docs/sleep.md, "What a wake does".
    sizes = _Sizes(t)
    up, down = "up", "down"
    fence = [Packet(up, "PINGREQ", PING)] if t.listens else []
    fenced = [Packet(down, "PINGRESP", PING)] if t.listens else []
    connect, connack = (
        Packet(up, "CONNECT", sizes.connect()),
        Packet(down, "CONNACK", sizes.connack()),
    )
    # The last wake's PUBREL had no time for its answer, unless commands made that wake longer.
    before = _released(up, "PUBREL", t) if not t.commands else []
    ended = _released(down, "PUBCOMP", t) if not t.commands else []
    messages = [Packet(up, "PUBLISH", sizes.message())] * t.messages
    command = Packet(down, "PUBLISH", sizes.command())
    parts = _parts(t)
    flow = [connect, connack] if t.order == "careful" else [connect]
    flow += [*before, *messages, *fence]
    flow += [connack] if t.order != "careful" else []
    flow += [*ended, *_answers(t), *[command] * sum(parts[:1]), *fenced]
    flow += _released(up, "PUBREL", t)
    if t.commands:
        flow += _taken(t, command, parts, fence, fenced)
    return [*flow, Packet(up, "DISCONNECT", PING)]


def _parts(t: Traffic) -> list[int]:
    # How many commands come at once: what is not acknowledged is in the broker's window.
    most = min(INFLIGHT, WINDOW) if t.version == 5 else INFLIGHT
    if not t.command_qos:
        most = t.commands
    return [min(most, t.commands - i) for i in range(0, t.commands, most or 1)]


def _taken(
    t: Traffic, command: Packet, parts: list[int], fence: list[Packet], fenced: list[Packet]
) -> list[Packet]:
    # Commands are acknowledged, and fenced again until nothing comes before the answer.
    flow: list[Packet] = []
    ended = _released("down", "PUBCOMP", t)
    for number, count in enumerate(parts):
        flow += [command] * count + fenced if number else []
        if t.command_qos < 2:
            flow += [Packet("up", "PUBACK", ACK)] * (count if t.command_qos else 0)
            flow += [*fence, *ended]
        else:
            flow += [Packet("up", "PUBREC", ACK)] * count + fence
            flow += [*[Packet("down", "PUBREL", ACK)] * count, *ended, *fenced]
            flow += [Packet("up", "PUBCOMP", ACK)] * count + fence
        ended = []
    return [*flow, *fenced]


def _clean(t: Traffic) -> list[Packet]:
    # A new session each time, each answer awaited: what was queued meanwhile is lost.
    sizes = _Sizes(t)
    flow = [Packet("up", "CONNECT", sizes.connect()), Packet("down", "CONNACK", sizes.connack())]
    if t.listens:
        flow += [Packet("up", "SUBSCRIBE", sizes.subscribe())]
        flow += [Packet("down", "SUBACK", sizes.suback())]
    for _ in range(t.messages):
        flow += [Packet("up", "PUBLISH", sizes.message())]
        flow += [Packet("down", "PUBACK", ACK)] if t.qos == 1 else []
        if t.qos == 2:
            flow += [Packet("down", "PUBREC", ACK), Packet("up", "PUBREL", ACK)]
            flow += [Packet("down", "PUBCOMP", ACK)]
    return [*flow, Packet("up", "DISCONNECT", PING)]


def wake(traffic: Traffic) -> Wake:
    """Return a wake as it is when the session has settled (from the second one on).

    Raises ValueError for more messages than go in one window, for an unknown order, and for
    commands in the careful order, where it is the broker's timing that decides.
    """
    if traffic.order == "careful" and traffic.commands:
        raise ValueError("commands in the careful order: not computed")
    if traffic.order not in ORDERS:
        raise ValueError(f"order: one of {', '.join(ORDERS)}")
    if not 0 <= traffic.messages <= WINDOW:
        raise ValueError(f"messages in a wake: up to {WINDOW}, which are in flight together")
    build = _clean if traffic.order == "clean" else _kept
    return Wake(tuple(build(traffic)))

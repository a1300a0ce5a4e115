"""A strict broker, written from the standards with the harness's codecs, and some seen in the wild.

It shares nothing with the firmware. Its state is made of values that never change, so a copy costs
nothing; what it holds against the client it raises as a Violation at once.

Messages are numbers: the payload of number 7 is b"<7>", so that it is found in whatever holds it.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any

from tools.testing import wire, wire5

DOWN_TOPIC = "d/1"
FILTER = "d/#"
UP_TOPIC = "up/long"


class Violation(AssertionError):
    """A promise is broken, or a rule of the standard."""


@dataclass(frozen=True)
class Kind:
    """What a broker is like. Those that are not strict are such as there are.

    ``passes_at``: what a QoS 2 message is passed on at, "PUBLISH" or "PUBREL" (section 4.3.3,
    methods A and B). ``dup``: whether repeats have DUP, as they must (aedes, rumqttd: not).
    ``resets``: repeats PUBLISH with DUP where PUBREL is due (mosquitto 2.0, after two cuts).
    ``refuses``: messages that a failing PUBREC or PUBACK answers (MQTT 5).
    ``closes``: messages at which it ends the connection (AWS: a topic against the policy).
    ``wrong``: answers QoS 2 with PUBACK (RabbitMQ 3.10). ``lowest``: takes the lowest identifier
    that is free, not the next. ``receive_maximum``: what CONNACK says, in turn at each connection.
    ``oversize``: messages to the client that are longer than it takes. ``mute``: messages that it
    never answers (AWS, ThingsBoard).
    """

    version: int = 4
    passes_at: str = "PUBLISH"
    dup: bool = True
    resets: bool = False
    refuses: tuple[int, ...] = ()
    closes: tuple[int, ...] = ()
    wrong: bool = False
    lowest: bool = True
    receive_maximum: tuple[int, ...] = ()
    oversize: tuple[int, ...] = ()
    mute: tuple[int, ...] = ()

    @property
    def faulty(self) -> bool:
        """Whether it gives a client reason to end the connection."""
        return self.wrong or bool(self.oversize)


def payload(n: int) -> bytes:
    """Return the payload of a message."""
    return b"<%d>" % n


@cache
def number_of(data: bytes) -> int:
    """Return the number of a message by its payload."""
    return int(data[1 : data.index(b">")])


@cache
def decode(version: int, raw: bytes) -> Any:
    """Decode one packet of the client."""
    if version == 5:
        (packet,) = wire5.decode(raw, "up")
        return packet
    (old,) = wire.decode(raw)
    return old


@cache
def decode_down(version: int, raw: bytes) -> Any:
    """Decode one packet of the broker."""
    return wire5.decode(raw, "down")[0] if version == 5 else wire.decode(raw)[0]


@cache
def split(data: bytes) -> tuple[bytes, ...]:
    """Cut into packets what the client wrote. Raises Violation for half a packet."""
    splitter = wire.Splitter()
    packets = tuple(splitter.feed(data))
    if splitter.rest:
        raise Violation(f"half a packet: {splitter.rest.hex()}")
    return packets


@cache
def _simple(version: int, name: str, *arguments: Any) -> bytes:
    codec: Any = wire5 if version == 5 else wire
    return bytes(getattr(codec, name)(*arguments))


@cache
def _publish(version: int, n: int, qos: int, pid: int, dup: bool, big: bool) -> bytes:
    codec: Any = wire5 if version == 5 else wire
    data = payload(n) + b"x" * (400 if big else 0)
    return bytes(codec.publish(DOWN_TOPIC, data, qos=qos, packet_id=pid or None, dup=dup))


# In flight to the client: identifier, QoS, number, whether PUBREC came.
Flight = tuple[int, int, int, bool]


class Broker:
    """One client's session, and its connection."""

    __slots__ = (
        "closing",
        "connected",
        "down",
        "excused",
        "flight",
        "gone",
        "kind",
        "last",
        "most",
        "passed",
        "present",
        "queue",
        "quota",
        "seen",
        "subscribed",
        "turn",
    )

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self.connected = False
        self.closing = False  # the broker has ended the connection: the client will see it
        self.present = False  # there is a session
        self.subscribed: tuple[tuple[str, int], ...] = ()
        self.seen: tuple[tuple[int, int], ...] = ()  # QoS 2 from the client, PUBREL due: id, number
        self.flight: tuple[Flight, ...] = ()
        self.queue: tuple[
            tuple[int, int], ...
        ] = ()  # to the client, not yet in flight: QoS, number
        self.last = 0  # identifier
        self.turn = 0  # which of what CONNACK says in turn
        self.quota = self.most = 0  # how many more may be in flight, and at most
        self.down: tuple[bytes, ...] = ()  # on its way to the client
        # What a checker knows, and no broker:
        self.passed: tuple[int, ...] = ()  # what was passed on, in order
        self.excused: tuple[
            int, ...
        ] = ()  # QoS 2 from the client that was in the middle at a forget
        self.gone: tuple[int, ...] = ()  # to the client: forgotten, with the session

    def copied(self) -> "Broker":
        """Return a copy."""
        new = Broker.__new__(Broker)
        for name in Broker.__slots__:
            setattr(new, name, getattr(self, name))
        return new

    def told(self) -> tuple[Any, ...]:
        """Return all its state."""
        return tuple([getattr(self, name) for name in Broker.__slots__ if name != "kind"])

    # --- what happens to it

    def forget(self) -> None:
        """Lose the session, as a restart without persistence does; its connection is gone then."""
        self.present = False
        self.excused += tuple([n for _, n in self.seen if n not in self.excused])
        self.gone += tuple([f[2] for f in self.flight]) + tuple([n for _, n in self.queue])
        self.seen = ()
        self.flight = self.queue = ()
        self.subscribed = ()

    def cut(self) -> None:
        """The connection ended; what was not delivered is gone."""
        self.connected = False
        self.closing = False
        self.down = ()

    def send(self, qos: int, n: int) -> None:
        """Somebody publishes a message that the client is to get."""
        if not self.subscribed:
            self.gone += (n,)
            return
        self.queue += ((qos, n),)
        self._fill()

    def feed(self, raw: bytes) -> None:
        """Take one packet from the client. Raises Violation."""
        if self.closing:
            return
        try:
            p = decode(self.kind.version, raw)
        except wire.WireError as error:
            raise Violation(f"malformed: {error}") from None
        name = p.name
        if (name == "CONNECT") == self.connected:
            raise Violation(f"{name} out of place")
        handle = getattr(self, f"_{name.lower()}", None)
        if not handle:
            raise Violation(f"{name} is not for a client to send")
        handle(p)

    # --- the client's packets

    def _connect(self, p: Any) -> None:
        kind = self.kind
        self.connected = True
        clean = p.clean_start if kind.version == 5 else p.clean_session
        if clean and self.present:
            self.forget()
        properties: dict[str, Any] = {}
        if kind.version == 5:
            self.most = p.properties.get("receive_maximum", 65535)
            if kind.receive_maximum:
                self.turn += self.turn < len(kind.receive_maximum)
                properties["receive_maximum"] = self.receive_maximum()
            self._say("connack", self.present, 0, _Properties(properties))
        else:
            self.most = 20
            self._say("connack", self.present)
        self.quota = self.most
        self.present = not clean or kind.version == 5
        flight: tuple[Flight, ...] = ()
        for pid, qos, n, recd in self.flight:
            if recd and not kind.resets:
                self._say("pubrel", pid)
                flight += ((pid, qos, n, True),)
            else:
                self._publish_down(pid, qos, n, kind.dup)
                flight += ((pid, qos, n, False),)
        self.flight = flight
        self._fill()

    def receive_maximum(self) -> int:
        """Return what CONNACK of this connection says."""
        turns = self.kind.receive_maximum
        return turns[self.turn - 1] if turns else 65535

    def _disconnect(self, p: Any) -> None:
        code = getattr(p, "reason_code", 0)
        if code not in (0, 4) and not self.kind.faulty:
            raise Violation(f"DISCONNECT {code:#x} though the broker did nothing wrong")
        self.closing = True

    def _pingreq(self, p: Any) -> None:
        self._say("pingresp")

    def _subscribe(self, p: Any) -> None:
        granted = []
        for name, qos, *_ in p.subscriptions:
            self.subscribed = (*[s for s in self.subscribed if s[0] != name], (name, qos))
            granted.append(qos)
        self._say("suback", p.packet_id, *granted)

    def _unsubscribe(self, p: Any) -> None:
        self.subscribed = tuple([s for s in self.subscribed if s[0] not in p.topic_filters])
        codes = [0] * len(p.topic_filters) if self.kind.version == 5 else []
        self._say("unsuback", p.packet_id, *codes)

    def _publish(self, p: Any) -> None:
        kind = self.kind
        topic = p.topic
        if kind.version == 5 and "topic_alias" in p.properties:
            raise Violation("a topic alias that CONNACK did not allow")
        if topic != UP_TOPIC:
            raise Violation(f"topic {topic!r}")
        n = number_of(p.payload)
        if n in kind.closes:
            self._end(0x87)
            return
        if n in kind.mute:
            return
        if p.qos < 2 or kind.wrong:
            if n in kind.refuses:
                self._say("puback", p.packet_id, 0x87)
                return
            self.passed += (n,)
            if p.qos:
                self._say("puback", p.packet_id)
            return
        known = dict(self.seen).get(p.packet_id)
        if known is None:
            if n in kind.refuses:
                self._say("pubrec", p.packet_id, 0x87)
                return
            if len(self.seen) >= self.receive_maximum():
                self._end(0x93)
                return
            self.seen += ((p.packet_id, n),)
            if kind.passes_at == "PUBLISH":
                self.passed += (n,)
        elif known != n or not p.dup:
            raise Violation(f"identifier {p.packet_id} used again in flight")
        self._say("pubrec", p.packet_id)

    def _pubrel(self, p: Any) -> None:
        known = dict(self.seen).get(p.packet_id)
        if known is not None:
            self.seen = tuple([s for s in self.seen if s[0] != p.packet_id])
            if self.kind.passes_at == "PUBREL":
                self.passed += (known,)
        self._say("pubcomp", p.packet_id)

    def _puback(self, p: Any) -> None:
        self._answered(p, 1, "PUBACK")

    def _pubrec(self, p: Any) -> None:
        self._answered(p, 2, "PUBREC")

    def _pubcomp(self, p: Any) -> None:
        for f in self.flight:
            if f[0] == p.packet_id:
                if not f[3]:
                    raise Violation("PUBCOMP before PUBREC")
                self.flight = tuple([g for g in self.flight if g is not f])
                self._free()
                return
        # The client ends what it knows nothing of: a PUBREL is answered in any case.

    def _answered(self, p: Any, qos: int, name: str) -> None:
        ahead = False
        for i, (pid, q, n, recd) in enumerate(self.flight):
            if pid == p.packet_id:
                if q != qos:
                    raise Violation(f"{name} for a message at QoS {q}")
                if qos == 2 and recd:
                    self._say("pubrel", pid)  # twice PUBREC: the client was told twice
                    return
                if ahead:
                    raise Violation(
                        f"{name} of <{n}> overtakes one that came before it [MQTT-4.6.0]"
                    )
                if qos == 2:
                    self.flight = (
                        *self.flight[:i],
                        (pid, q, n, True),
                        *self.flight[i + 1 :],
                    )
                    self._say("pubrel", pid)
                else:
                    self.flight = (*self.flight[:i], *self.flight[i + 1 :])
                    self._free()
                return
            ahead |= q == qos and not recd
        raise Violation(f"{name} for identifier {p.packet_id}, which is not in flight")

    # --- to the client

    def _free(self) -> None:
        self.quota = min(self.quota + 1, self.most)  # section 4.9 of MQTT 5
        self._fill()

    def _fill(self) -> None:
        while self.connected and not self.closing and self.queue:
            qos, n = self.queue[0]
            if qos and self.quota < 1:
                return
            self.queue = self.queue[1:]
            if not qos:
                self._publish_down(0, 0, n, False)
                continue
            used = {f[0] for f in self.flight}
            pid = 1 if self.kind.lowest else self.last % 50 + 1
            while pid in used:
                pid = pid % 50 + 1
            self.last = pid if not self.kind.lowest else 0
            self.flight += ((pid, qos, n, False),)
            self._publish_down(pid, qos, n, False)

    def _publish_down(self, pid: int, qos: int, n: int, dup: bool) -> None:
        self.quota -= qos > 0
        big = n in self.kind.oversize
        self.down += (_publish(self.kind.version, n, qos, pid, dup, big),)

    def _end(self, code: int) -> None:
        if self.kind.version == 5:
            self._say("disconnect", code)
        self.closing = True

    def _say(self, name: str, *arguments: Any) -> None:
        self.down += (_simple(self.kind.version, name, *arguments),)


class _Properties(dict[str, Any]):
    """Properties that can be looked up in a cache."""

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(tuple(sorted(self.items())))

"""The model broker in MQTT 5.0: the same session, and what 5.0 limits on each connection.

It uses all that it may: as many unacknowledged messages as the client takes, a topic alias as soon
as there is one; and holds against the client whatever goes beyond what CONNACK allowed.
"""

from model_broker import ModelBroker

from tools.testing import wire, wire5

RECEIVE_MAXIMUM = 2
ALIASES = 1


class ModelBroker5(ModelBroker):
    """See ModelBroker. ``delivered`` must be told which of its bytes have reached the client."""

    codec = wire5
    aliased = 0  # how often the client used an alias alone

    def delivered(self, data: bytes) -> None:
        """The client knows these bytes: what they acknowledge is in flight no more."""
        for raw in self.down.feed(data):
            if wire5.decode(raw, "down")[0].type in (wire.PUBACK, wire.PUBCOMP):
                self.in_flight -= self.in_flight > 0  # those of an earlier connection do not count

    def _fill(self) -> None:
        while self.connected and self.queue:
            qos, payload = self.queue[0]
            # Those not yet received must fit the next connection too.
            if qos and min(self.quota, self.most - sum(f[2] is not None for f in self.flight)) < 1:
                return
            self.quota -= qos > 0
            del self.queue[0]
            self.pid = self.pid % 5 + 1
            while any(f[0] == self.pid for f in self.flight):
                self.pid = self.pid % 50 + 1
            if qos:
                self.flight.append((self.pid, qos, payload))
            self._send(qos, payload, self.pid)

    def _send(self, qos: int, payload: bytes, pid: int, dup: bool = False) -> None:
        topic = "" if self.alias_known else "t"
        self.alias_known = self.alias_allowed
        properties = {"topic_alias": 1} if self.alias_allowed else {}
        identifier = pid if qos else None
        self.out += wire5.publish(
            topic, payload, qos=qos, packet_id=identifier, dup=dup, properties=properties
        )

    def feed(self, data: bytes) -> None:
        """Take in bytes from the client."""
        for raw in self.splitter.feed(data):
            p = wire5.decode(raw, "up")[0]
            if p.type == wire.CONNECT:
                self._limits(p)
            elif p.type == wire.PUBLISH:
                self._check(p)
            elif p.type in (wire.DISCONNECT, wire5.AUTH):
                self.violations.append(wire5.describe(raw))
            self._packet(p)
            if p.type in (wire.PUBACK, wire.PUBCOMP):
                self.quota = min(self.quota + 1, self.most)
                self._fill()

    def _limits(self, p: wire5.Packet) -> None:
        self.down = wire.Splitter()
        self.names: dict[int, str] = {}
        self.in_flight = 0
        self.quota = self.most = p.properties["receive_maximum"]
        self.alias_known = False
        self.alias_allowed = p.properties.get("topic_alias_maximum", 0) > 0
        if p.clean_start or not p.properties.get("session_expiry"):
            self.violations.append("no session asked for")

    def _connect(self) -> None:
        self.connected = True
        self.came: set[int] = set()
        limits = {"receive_maximum": RECEIVE_MAXIMUM, "topic_alias_maximum": ALIASES}
        self.out += wire5.connack(self.present, properties=limits)
        self.present = True
        for pid, qos, payload in self.flight:
            if payload is None:
                self.out += wire5.pubrel(pid)
            else:
                self.quota -= 1
                self._send(qos, payload, pid, dup=True)
        self._fill()

    def _check(self, p: wire5.Packet) -> None:
        alias = p.properties.get("topic_alias", 0)
        if alias > ALIASES:
            self.violations.append(f"alias {alias}")
        if alias and p.topic:
            self.names[alias] = p.topic
        if (p.topic or self.names.get(alias)) != "long/t":
            self.violations.append(f"topic {p.topic!r}, alias {alias}")
        self.aliased += not p.topic
        if p.qos:
            self.in_flight += 1
            if self.in_flight > RECEIVE_MAXIMUM:
                self.violations.append("receive maximum exceeded")

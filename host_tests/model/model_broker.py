"""A broker's side of one session, as small as the standard allows, for the model tests.

Written from section 4.3 with the harness's own codec; it shares nothing with the firmware. Unlike
a real broker it can be cut, and looked into, between any two bytes.
"""

from typing import Any

from tools.testing import wire


class ModelBroker:
    """Keeps one client's session over its connections; ``forget`` loses it, as a restart does."""

    codec: Any = wire

    def __init__(self) -> None:
        self.received: list[tuple[int, bytes]] = []  # QoS and payload of what the client published
        self.violations: list[str] = []
        self.queue: list[tuple[int, bytes]] = []  # to the client, not yet in flight
        self.pid = 0
        self.out = b""
        self.connected = False
        self.forget()

    def forget(self) -> None:
        """Lose the session."""
        self.present = False
        self.seen: set[int] = set()  # QoS 2 from the client: PUBREC sent, PUBREL due
        self.flight: list[tuple[int, int, bytes | None]] = []  # identifier, QoS, payload or None

    def send(self, qos: int, payload: bytes) -> None:
        """Queue a message for the client."""
        self.queue.append((qos, payload))
        self._fill()

    def cut(self) -> None:
        """The connection ended; what was not delivered is gone."""
        self.out = b""
        self.connected = False
        self.splitter = wire.Splitter()

    def feed(self, data: bytes) -> None:
        """Take in bytes from the client."""
        for raw in self.splitter.feed(data):
            self._packet(self.codec.decode(raw)[0])

    splitter = wire.Splitter()

    def _fill(self) -> None:
        while self.connected and self.queue:
            qos, payload = self.queue.pop(0)
            self.pid = self.pid % 5 + 1  # few, so that identifiers come again soon
            while any(f[0] == self.pid for f in self.flight):
                self.pid = self.pid % 50 + 1
            if qos:
                self.flight.append((self.pid, qos, payload))
            self.out += self.codec.publish(
                "t", payload, qos=qos, packet_id=self.pid if qos else None
            )

    def _packet(self, p: wire.Packet) -> None:
        if (p.type == wire.CONNECT) == self.connected:
            self.violations.append(f"{p.name} out of place")
        if p.type == wire.CONNECT:
            self._connect()
        elif p.type == wire.PUBLISH:
            self._publish(p)
        elif p.type == wire.PUBREL:
            self.seen.discard(p.packet_id or 0)
            self.out += self.codec.pubcomp(p.packet_id or 0)
        elif p.type in (wire.PUBACK, wire.PUBREC, wire.PUBCOMP):
            self._acknowledged(p)

    def _connect(self) -> None:
        self.connected = True
        self.came: set[int] = set()
        self.out += self.codec.connack(self.present)
        self.present = True
        for pid, qos, payload in self.flight:
            if payload is None:
                self.out += self.codec.pubrel(pid)
            else:
                self.out += self.codec.publish("t", payload, qos=qos, packet_id=pid, dup=True)
        self._fill()

    def _publish(self, p: wire.Packet) -> None:
        pid = p.packet_id or 0
        if pid in self.came:  # no test here needs an identifier twice on one connection
            self.violations.append(f"PUBLISH {pid} sent again on a living connection")
        self.came.add(pid or -1)
        if p.qos == 2:
            if pid not in self.seen:
                self.seen.add(pid)
                self.received.append((2, p.payload))
            elif not p.dup:
                self.violations.append(f"identifier {pid} used again in flight")
            self.out += self.codec.pubrec(pid)
            return
        self.received.append((p.qos, p.payload))
        if p.qos:
            self.out += self.codec.puback(pid)

    def _acknowledged(self, p: wire.Packet) -> None:
        for i, (pid, qos, payload) in enumerate(self.flight):
            if pid != p.packet_id:
                continue
            if p.type == wire.PUBREC and qos == 2:
                self.flight[i] = (pid, 2, None)
                self.out += self.codec.pubrel(pid)
            elif (p.type, qos) == (wire.PUBACK, 1) or (p.type == wire.PUBCOMP and payload is None):
                del self.flight[i]
            else:
                self.violations.append(f"{p.name} for QoS {qos}")
            return
        self.violations.append(f"{p.name} for unknown identifier {p.packet_id}")

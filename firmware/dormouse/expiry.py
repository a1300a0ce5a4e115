"""Messages that are not worth sending after some time, in MQTT 3.1.1 too. Sans-IO."""

from time import time

from micropython import const

from .packet import MQTTError
from .session import Session

_YEAR = const(31536000)  # s
_NEVER = const(-2)  # Message.sent
_BURST = const(536)  # bytes, as session's
_FAR = const(1 << 40)  # s: no deadline is later


class Expired(MQTTError):
    """The message was not sent before its time was over, so it was dropped."""


def varint(packet, at: int) -> tuple:
    """Return the integer of variable length at ``at`` (section 2.2.3), and where it ends."""
    n = shift = 0
    while True:
        c = packet[at]
        at += 1
        n |= (c & 0x7F) << shift
        if c < 128:
            return n, at
        shift += 7


def length(packet) -> int:
    """Return how long a packet is by its own header."""
    n, at = varint(packet, 1)
    return at + n


def expiring(base=Session):
    """Return a kind of session, made from ``base``, whose ``publish`` takes ``message_expiry``.

    A message that was not sent within ``message_expiry`` seconds is dropped, with the error
    Expired: at the next connection, or when another is published. What was sent goes on to the end
    of its handshake. ``clock``: returns s; it should go on while the chip sleeps deeply, as
    ``time.time`` does on ESP32. (On RP2 it begins anew: there time asleep does not count.) Where it
    jumped by more than a year it was set, and the time of what waits begins then.
    """

    class ExpiringSession(base):
        aging = True  # something in the outbox expires, perhaps
        soon = 0  # when the first of it does: to look before, at each message, is in vain

        def __init__(self, *args, clock=time, **options) -> None:
            super().__init__(*args, **options)
            self.bare = False
            self.clock = clock

        def publish(
            self, topic, payload=b"", qos=0, retain=False, message_expiry=None, **properties
        ):
            """As Session's; ``message_expiry``: s, or None."""
            if self.aging:
                self._expire()
            deadline = b""
            if message_expiry is not None:
                self.aging = True
                end = int(self.clock() + message_expiry)
                self.soon = min(self.soon, end)
                deadline = end.to_bytes(5, "big")
                deadline += min(max(int(message_expiry), 0), 0xFFFFFFFF).to_bytes(4, "big")
            o = base.publish(self, topic, payload, qos, retain, **properties)
            if deadline:
                # Behind the packet, so that it is wherever the packet is.
                try:
                    o.packet.extend(deadline)
                except MemoryError:
                    self.withdraw(o)
                    raise
                self.bulk += len(deadline)
            return o

        def take(self, now):
            """As Session's, but for what has expired."""
            if self.aging and self.state:
                self._expire()
            return base.take(self, now)

        def left(self, o):
            """Return the seconds until a message expires, or None if it does not."""
            n = length(o.packet)
            if n < len(o.packet):
                now = int(self.clock())
                left = int.from_bytes(o.packet[n : n + 5], "big") - now
                if left < -_YEAR:
                    left = int.from_bytes(o.packet[n + 5 :], "big")
                    o.packet[n : n + 5] = (now + left).to_bytes(5, "big")
                    # Else it would begin at each start of a node that sleeps. (Not of what another
                    # version of MQTT has put there: that is converted in RAM only.)
                    if o.key and self.store.data.get(o.key) is o.packet:
                        self.changes[o.key] = o.packet
                return left

        def _wire(self, o):
            packet = base._wire(self, o)
            n = length(packet) if self.aging else len(packet)
            if n < len(packet):
                if n > _BURST:  # nothing is put behind it; and for a copy there may be no memory
                    packet = memoryview(packet)
                packet = packet[:n]
            return packet

        def _connack(self, body):
            base._connack(self, body)
            self.soon = 0  # what was sent may wait anew

        def _expire(self):
            now = int(self.clock())
            if now < self.soon and self.outbox:
                return
            aging = False
            soon = _FAR
            for o in self.outbox[:]:
                if o.packet:
                    left = self.left(o)
                    if left is not None:
                        aging = True
                        if left <= 0 and o.sent == _NEVER:
                            o.error = Expired()  # first: there may be no memory for it
                            self._drop(o, True)
                        elif o.sent == _NEVER:
                            soon = min(soon, now + left)
            self.aging = aging
            self.soon = soon if aging else 0

    return ExpiringSession

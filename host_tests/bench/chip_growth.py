"""What a message takes beside n others: instructions, on an emulated chip, for tools/desk/chip.py.

A line for each: what grows, n, instructions.
"""

import gc

import chip
from chip_measure import PAYLOAD, TOPIC, nothing
from chip_program import ack, incoming, session_of, short

TIMES = 10


def count(operation):
    operation()
    gc.collect()
    gc.disable()
    chip.align()
    start = chip.count()
    for _ in range(TIMES):
        operation()
    n = chip.count() - start & 0x3FFFFFFF
    gc.enable()
    return n // TIMES


def waiting(n):
    """One more at QoS 1 into a store, where n wait; offline."""
    from dormouse.session import Session
    from dormouse.store import Store
    from dormouse.store.durable import durable

    s = durable(Session)(
        nothing, "node-7", Store(), clean=False, outbox=n + 50, outbox_bytes=1 << 20
    )
    for _ in range(n):
        s.publish("a", b"", 1)
    return count(lambda: s.publish("a", b"", 1))


def expiring(n):
    """One more at QoS 1 that expires, where n wait that do; offline."""
    s = session_of(5, outbox=n + 50, outbox_bytes=1 << 20)
    s.lost()

    def one():
        s.publish("a", b"", 1, message_expiry=3600)

    for _ in range(n):
        one()
    return count(one)


def in_flight(n):
    """Publish at QoS 1, and the PUBACK of the oldest, where n are in flight."""
    s = session_of(4, window=n + 1, outbox=n + 50, outbox_bytes=1 << 20)
    out = []

    def one():
        out.append(s.publish(TOPIC, PAYLOAD, 1))
        s.take(0)
        if len(out) > n:
            s.receive(short(0x40, out.pop(0)), 0)

    for _ in range(n):
        one()
    return count(one)


def filters(n):
    """A message received, where n topic filters are subscribed."""
    s = session_of(4)
    for i in range(0, n, 8):
        o = s.request(0x82, [("a/%d" % j, 1) for j in range(i, min(i + 8, n))])
        s.take(0)
        s.receive(ack(0x90, o, b"\x01" * len(o.filters)), 0)
    packet = incoming(4, 0, 30)

    def one():
        s.receive(packet, 0)
        s.inbox.pop(0)

    return count(one)


def handlers(n):
    """A message that a Router gives to one of n handlers."""
    from dormouse.router import Router

    class Message:
        topic = "a/%d/state" % (n - 1)

    router = Router()
    for i in range(n):
        router.on("a/%d/+" % i, lambda m: None)

    def one():
        try:
            router.handle(Message).send(None)
        except StopIteration as e:
            return e.value

    return count(one)


def size(n):
    """Publish at QoS 0, of n bytes."""
    s = session_of(4, outbox_bytes=1 << 20)
    data = b"x" * n

    def one():
        s.publish(TOPIC, data)
        s.take(0)

    return count(one)


for text, function, steps in (
    ("publish, n waiting in a store", waiting, (1, 10, 50, 200)),
    ("publish, n that expire waiting", expiring, (1, 10, 50, 200)),
    ("publish to PUBACK, n in flight", in_flight, (1, 4, 16, 64, 256)),
    ("receive, n filters", filters, (1, 10, 50, 200)),
    ("handled by one of n handlers", handlers, (1, 10, 50, 200)),
    ("publish, n bytes", size, (8, 64, 512, 4096, 16384)),
):
    for n in steps:
        gc.collect()
        print(text, n, function(n), sep="|")

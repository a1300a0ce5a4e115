"""Counts instructions and bytes of the library's operations; runs on an emulated chip, started by
tools/desk/chip.py.

No network: what a broker would answer is written out here, and what would be written is dropped.
"""

from chip_measure import PAYLOAD, TOPIC, measure, nothing


def session_of(version, **options):
    """Return a connected session."""
    from dormouse.resume import reserve
    from dormouse.session import Session

    kind = Session
    if version == 5:
        from dormouse.mqtt5.session import Session5

        kind = Session5
    session = kind(nothing, "node-7", False, **options)
    reserve(session)  # as Client does
    up(session, version)
    return session


CONNACK = {4: b"\x20\x02\x00\x00", 5: b"\x20\x03\x00\x00\x00"}
CONNACK_AGAIN = {4: b"\x20\x02\x01\x00", 5: b"\x20\x03\x01\x00\x00"}


def up(session, version, connack=CONNACK):
    session.connect(0)
    while session.take(0):
        pass
    session.receive(memoryview(connack[version]), 0)
    while session.take(0):
        pass


def incoming(version, qos, n):
    """Return a PUBLISH as a broker sends it."""
    body = bytes((0, len(TOPIC))) + TOPIC.encode()
    if qos:
        body += b"\x00\x07"
    if version == 5:
        body += b"\x00"
    body += b"x" * n
    n = len(body)
    head = bytes((0x30 | qos << 1,))
    head += bytes((n,)) if n < 128 else bytes((n & 127 | 128, n >> 7))
    return memoryview(head + body)


def ack(first, o, rest=b""):
    """Return what answers a packet of ours."""
    return memoryview(bytes((first, 2 + len(rest), o.pid >> 8, o.pid & 255)) + rest)


answer = memoryview(bytearray(b"\x40\x02\x00\x00"))


def short(first, o):
    """As ``ack``, of four bytes, valid until the next call. To make one anew takes 3,000
    instructions, which are a broker's, and not to be counted."""
    answer[0] = first
    answer[2] = o.pid >> 8
    answer[3] = o.pid & 255
    return answer


def core():
    from dormouse.packet import encode_topic, string

    measure("string, 20 B", lambda: string(TOPIC))
    measure("encode_topic, 20 B", lambda: encode_topic(TOPIC, 0))
    measure("encode_topic, a filter", lambda: encode_topic("greenhouse/+/temp/in", 1, True))


def client(version):
    name = "MQTT 5: " if version == 5 else ""
    kind = session_of(version).__class__
    measure(name + "Session()", lambda: kind(nothing, "node-7", False))
    s = session_of(version)

    def out(qos):
        o = s.publish(TOPIC, PAYLOAD, qos)
        s.take(0)
        if qos:
            s.receive(short(0x30 + (qos << 4), o), 0)
        if qos == 2:
            s.take(0)
            s.receive(short(0x70, o), 0)
        assert o.done, qos

    measure(name + "publish, QoS 0", lambda: out(0))
    measure(name + "publish, QoS 1 to PUBACK", lambda: out(1))
    measure(name + "publish, QoS 2 to PUBCOMP", lambda: out(2))

    def into(packet, qos=0):
        s.receive(packet[:], 0)  # (a memoryview of what was read, as Client has it)
        m = s.inbox.pop(0)
        if qos:
            m.ack()
            s.take(0)
        if qos == 2:
            s.receive(memoryview(b"\x62\x02\x00\x07"), 0)
            s.take(0)

    small = incoming(version, 0, 30)
    measure(name + "receive, QoS 0", lambda: into(small))
    first = incoming(version, 1, 30)
    measure(name + "receive, QoS 1, and PUBACK", lambda: into(first, 1))
    second = incoming(version, 2, 30)
    measure(name + "receive, QoS 2, to PUBCOMP", lambda: into(second, 2))
    large = incoming(version, 0, 1024)
    room = None

    def into_room():  # as Client reads: the rest of a packet, or the next one, to where it goes
        nonlocal room
        packet = large
        while packet:
            if room and len(room) > 384:
                data = room[: len(packet)]
                data[:] = packet[: len(data)]
            else:
                data = packet[:384]
            packet = packet[len(data) :]
            room = s.receive(data, 0)
        s.inbox.pop(0)

    measure(name + "receive, QoS 0, 1 KiB", into_room)
    names = [("a/%d" % i, 1) for i in range(8)]

    def subscribe():
        o = s.request(0x82, names)
        s.take(0)
        s.receive(ack(0x90, o, (b"\x00" if version == 5 else b"") + b"\x01" * 8), 0)
        assert o.done

    measure(name + "subscribe to 8 filters", subscribe)

    def again():
        s.lost()
        up(s, version, CONNACK_AGAIN)

    measure(name + "connect again", again)


def wake(version, n):
    """The core of a node's wake: the session from its store, messages, the burst, the answers, all
    saved for the sleep."""
    from dormouse.store import Store
    from dormouse.store.durable import CLEAN, durable

    kind = durable(session_of(version).__class__)
    store = Store()
    filters = [("greenhouse/7/cmd", 1)]
    s = kind(nothing, "node-7", store, clean=False)  # what an earlier wake has left
    up(s, version)
    o = s.request(0x82, filters)
    s.take(0)
    s.receive(ack(0x90, o, b"\x00\x01" if version == 5 else b"\x01"), 0)
    s.save()

    def operation():
        s = kind(nothing, "node-7", store, clean=False)
        s.burst = s.fencing = True
        out = []
        for _ in range(n):
            out.append(s.publish(TOPIC, PAYLOAD, 1))
        s.connect(0)
        while s.take(0):
            pass
        s.receive(memoryview(CONNACK_AGAIN[version]), 0)
        for o in out:
            s.receive(short(0x40, o), 0)
        s.receive(memoryview(b"\xd0\x00"), 0)
        assert s.fence == CLEAN
        for o in out:
            assert o.done
        s.disconnect()
        while s.take(0):
            pass
        s.save()

    name = "MQTT 5: " if version == 5 else ""
    text = "a wake's core, 1 message" if n == 1 else "a wake's core, %d messages" % n
    measure(name + text, operation, 4)


if __name__ == "__main__":
    measure("(nothing)", nothing)
    core()
    for v in (4, 5):
        client(v)
        wake(v, 1)
        wake(v, 10)

"""What bytes of others may do: typed errors, bounded memory, and afterwards all as before.

Each target is a function of bytes that raises for what must not be; its name says what they are:

    session4, session5      what a broker sends, in any state of a session, in any pieces
    durable4, durable5      the same to a session in a store
    decode4, decode5        one packet, at the functions that read them
    websocket               frames of a WebSocket server
    answer                  what a WebSocket server says to the upgrade
    journal, blob           what a file, or RTC memory and NVS, hold at the start
    config                  config.json
    offer, signed           what anybody, and what a careless owner publishes as an update
    update                  update.part, update.json, update.id and update.id2, at the start
    boot                    update.json at boot.py, with what that follows; through power cuts and
                            on a flash that is full
    order                   update.order and update.order2, and what orders a node in safe mode

They run on every Python: `make fuzz` finds bytes on CPython, this program repeats them elsewhere:

    micropython -X heapsize=96K targets.py FOLDER...      each named as its target
    targets.py FILE.txt                                   lines of a target and bytes in hex
"""

import os
import sys

import dormouse.packet as packet

# A session loads these when it needs them: here, from source, that takes the compiler's memory too.
import dormouse.reason
import dormouse.resume
import dormouse.text
import dormouse.trouble  # noqa: F401
from dormouse.packet import MQTTError, ProtocolError
from dormouse.session import Session
from dormouse.store import MAGIC, Store
from dormouse.store.journal import Journal
from dormouse.store.rtc import Blob
from wrong import Wrong

FILE = "fuzzed"  # in the folder where it runs
INBOX = 600  # bytes
PACKET = 300


def _kind(five, stored):
    if five:
        from dormouse.mqtt5.session import Session5 as kind
    else:
        kind = Session
    if stored:
        from dormouse.store.durable import durable

        kind = durable(kind)
    return kind


_KINDS = {}


def _session(five, stored):
    key = five, stored
    if key not in _KINDS:
        _KINDS[key] = _kind(five, stored)
    options = {"store": Store()} if stored else {}
    return _KINDS[key](
        lambda: None,
        client_id="c",
        clean=False,
        max_packet=PACKET,
        inbox_bytes=INBOX,
        **options,
    )


def _take(s):
    out = b""
    for _ in range(50):
        data = s.take(0)
        if not data:
            return out
        out += bytes(data)
    raise Wrong("there is always more to write")


def _hear(s, *packets):
    for data in packets:
        s.receive(memoryview(data), 0)


def _connack(five, present=0):
    return bytes((0x20, 3, present, 0, 0)) if five else bytes((0x20, 2, present, 0))


def _publish(five, first, pid, payload):
    head = b"\0\1t" + packet.number(pid) + (b"\0" if five else b"")
    return packet.frame(first, head, payload)


def _busy(s, five):
    # One of each in each state: going out, and coming in.
    for qos in (1, 2, 2, 0):
        s.publish("t", b"payload", qos)
    s.request(0x82, [("a/#", 1), ("b", 2)])
    _take(s)
    released = s.outbox[2].pid
    _hear(s, packet.frame(0x50, packet.number(released)))
    for first, pid in ((0x32, 1), (0x34, 2), (0x34, 3)):
        _hear(s, _publish(five, first, pid, b"payload"))
    s.inbox.pop(0)
    m = s.inbox.pop(0)
    m.ack()
    _take(s)


def _bounded(s):
    n = 0
    for m in s.inbox:
        n += len(m.topic) + len(m.payload)
    if n > INBOX or len(s.held) > 64 or len(s.released) > 2100 or len(s.control) > 8192:
        raise Wrong("memory is not bounded")


def _serves(s, five):
    # The same object at a broker that is sane.
    s.lost()
    while s.inbox:
        s.inbox.pop(0).ack()
    for m in list(s.held):
        m.ack()
    s.connect(0)
    if _take(s)[:1] != b"\x10":
        raise Wrong("no CONNECT")
    _hear(s, _connack(five))
    _take(s)
    s.window = 16
    o = s.publish("t", b"sane", 1)
    if b"sane" not in _take(s):
        raise Wrong("a message does not go out")
    _hear(s, packet.frame(0x40, packet.number(o.pid)), _publish(five, 0x32, 9, b"come"))
    if not o.done or o.error:
        raise Wrong("PUBACK is not taken")
    if not s.inbox or s.inbox[-1].payload != b"come":
        raise Wrong("a message does not come in")
    s.inbox.pop().ack()
    if b"\x40\x02\0\x09" not in _take(s):
        raise Wrong("no PUBACK")
    s.lost()


def _driven(data, five, stored):
    if len(data) < 2:
        return
    s = _session(five, stored)
    if stored:
        s.burst = s.fencing = bool(data[0] & 8)
    s.connect(0)
    _take(s)
    if data[0] & 3:
        _hear(s, _connack(five, data[0] >> 2 & 1))
        _take(s)
        if data[0] & 2:
            _busy(s, five)
    step = 1 + data[1] % 40
    data = memoryview(data)[2:]
    try:
        for i in range(0, len(data), step):
            s.receive(data[i : i + step], 0)
            _bounded(s)
            _take(s)
            if len(s.inbox) > 2:
                s.inbox.pop(0).ack()
    except MQTTError:
        pass
    _bounded(s)
    _serves(s, five)


def session4(data):
    _driven(data, False, False)


def session5(data):
    _driven(data, True, False)


def durable4(data):
    _driven(data, False, True)


def durable5(data):
    _driven(data, True, True)


def decode4(data):
    first = data[0] if data else 0
    body = memoryview(data)[1:]
    try:
        packet.read_publish(first, body)
    except ProtocolError:
        pass


def decode5(data):
    import dormouse.mqtt5.packet as packet5

    first = data[0] if data else 0
    body = memoryview(data)[1:]
    for read, arguments in (
        (packet5.read_ack, (first, body)),
        (packet5.read_suback, (first, body)),
        (packet5.read_publish, (first, body)),
        (packet5.read_connack, (body,)),
        (packet5.read_disconnect, (body,)),
        (packet5.read_auth, (body,)),
    ):
        try:
            read(*arguments)
        except ProtocolError:
            pass


class Below:
    """Stands for the network below a WebSocket."""

    def __init__(self, data, piece):
        self.data = data
        self.piece = piece
        self.written = 0

    async def open_stream(self, *address):
        return self, lambda: None

    async def read(self, stream, buf):
        n = min(len(buf), self.piece, len(self.data))
        buf[:n] = self.data[:n]
        self.data = self.data[n:]
        return n

    async def write(self, stream, buf):
        self.written += len(buf)

    def put(self, stream, data):
        self.written += len(data)


AGREED = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n"
)


def _run(coroutine):
    try:
        coroutine.send(None)
    except StopIteration as e:
        return e.value
    raise Wrong("it waits")


def _opened(data, piece):
    import dormouse.net.ws as ws

    below = ws.below = Below(data, piece)
    ws._put = below.put
    ws.urandom = lambda n: b"the sample nonce"[:n]
    w = ws.WebSocket("/mqtt")
    try:
        return w, below, _run(w.open_stream("h", 80))
    except (OSError, MQTTError):
        return w, below, None


def websocket(data):
    if not data:
        return
    w, below, stream = _opened(AGREED + data[1:], 1 + data[0] % 60)
    if not stream:
        return
    buf = memoryview(bytearray(64))
    came = 0
    try:
        while below.data:
            n = _run(w.read(below, buf))
            came += n
            if not n:
                break
    except (OSError, MQTTError):
        pass
    if came > len(data):
        raise Wrong("more than came")
    stream[1]()


def answer(data):
    _opened(data[1:], 1 + data[0] % 60 if data else 1)


def journal(data):
    for name in (FILE + ".new", FILE + ".bad"):
        try:
            os.remove(name)
        except OSError:
            pass
    with open(FILE, "wb") as f:
        f.write(data)
    store = Journal(FILE, 4096)
    before = dict(store.data)
    changes = {1: b"committed", 0x50000: b"a message", 0x10007: None}
    store.save(changes)
    store._close()
    again = Journal(FILE, 4096)
    for key in before:
        if key not in changes and again.data.get(key) != before[key]:
            raise Wrong("what was read is lost")
    if again.warning or again.data[1] != b"committed":
        raise Wrong("what was saved is not there")
    again._close()


class Piece(Blob):
    """Memory that holds one piece."""

    def __init__(self, content):
        self.content = content
        super().__init__(2048)

    def load(self):
        return self.content

    def dump(self, piece):
        self.content = bytes(piece)


def blob(data):
    store = Piece(data)
    if sum([len(value) for value in store.data.values()]) > 1500:
        return
    store.save({1: b"committed"})
    again = Piece(store.content)
    if again.warning or again.data[1] != b"committed":
        raise Wrong("what was saved is not there")


def config(data):
    import dormouse.field.config as field

    with open(FILE, "wb") as f:
        f.write(data)
    settings = field.load(FILE)  # it raises nothing
    if not settings["topic"] or ("trouble" not in settings and not settings["host"]):
        raise Wrong("no topic, or no host, and no word of it")
    try:
        field.make_client(settings)
    except (KeyError, ValueError, TypeError, OSError):  # a crash, which guard counts
        pass


def _of_updates(name):
    def run(data):
        import update_targets  # only where it is asked for: it takes memory

        getattr(update_targets, name)(data)

    return run


TARGETS = {
    "offer": _of_updates("offer"),
    "signed": _of_updates("signed"),
    "update": _of_updates("update"),
    "boot": _of_updates("boot"),
    "order": _of_updates("order"),
    "session4": session4,
    "session5": session5,
    "durable4": durable4,
    "durable5": durable5,
    "decode4": decode4,
    "decode5": decode5,
    "websocket": websocket,
    "answer": answer,
    "journal": journal,
    "blob": blob,
    "config": config,
}


def readers():
    """Return what reads a packet's body: functions of a body, each with its name."""
    import dormouse.mqtt5.packet as packet5

    out = []
    for first in range(0x30, 0x40):
        out.append(("read_publish %02x" % first, lambda b, f=first: packet.read_publish(f, b)))
        out.append(("read_publish5 %02x" % first, lambda b, f=first: packet5.read_publish(f, b)))
    for first in (0x40, 0x50, 0x62, 0x70):
        out.append(("read_ack %02x" % first, lambda b, f=first: packet5.read_ack(f, b)))
    for first in (0x90, 0xB0):
        out.append(("read_suback %02x" % first, lambda b, f=first: packet5.read_suback(f, b)))
    out.append(("read_connack", packet5.read_connack))
    out.append(("read_disconnect", packet5.read_disconnect))
    out.append(("read_auth", packet5.read_auth))
    return out


def every(read, length):
    """Give a reader every body of up to ``length`` bytes; return how many, and how many it took."""
    n = good = 0
    for size in range(length + 1):
        body = bytearray(size)
        view = memoryview(body)
        for value in range(256**size):
            for i in range(size):
                body[i] = value & 255
                value >>= 8
            n += 1
            try:
                read(view)
                good += 1
            except ProtocolError:
                pass
    return n, good


def seeds():
    """Return bytes to begin with: pairs of a target and bytes."""
    out = []
    for five in (False, True):
        whole = _connack(five, 1)
        acks = b""
        for first in (0x40, 0x50, 0x62, 0x70):
            acks += bytes(packet.frame(first, b"\0\1"))
        acks += bytes(packet.frame(0x90, b"\0\5\0\1\2" if five else b"\0\5\1\2"))
        acks += bytes(packet.frame(0xB0, b"\0\6\0\0\0" if five else b"\0\6"))
        messages = b""
        for first, pid in ((0x32, 7), (0x34, 8), (0x3C, 3), (0x3A, 1)):
            messages += bytes(_publish(five, first, pid, b"m"))
        more = [acks, messages, b"\xd0\0", bytes(packet.frame(0x30, b"\0\1t", b"x" * 500))]
        if five:
            for properties in (
                b"\x21\0\2\x22\0\1\x24\1\x25\0\x27\0\0\1\0\x13\0\5\x12\0\1z",
                b"\x26\0\1a\0\1b\x1f\0\1r\x1c\0\1h",
            ):
                more.append(packet.frame(0x20, b"\0\0" + bytes((len(properties),)), properties))
            more.append(packet.frame(0xE0, b"\x8b\x05\x1f\0\2no"))
            more.append(packet.frame(0x30, b"\0\1t\x0e\x01\x01\x02\0\0\0\5\x08\0\1r\x09\0\0x"))
        for name in ("session", "durable"):
            name += "5" if five else "4"
            for mode in (0, 1, 2, 6, 14):
                for part in more:
                    out.append((name, bytes((mode, 39)) + (b"" if mode else whole) + bytes(part)))
        for part in more:
            out.append(("decode5" if five else "decode4", bytes(part[:1]) + bytes(part[2:])))
    out.append(("websocket", b"\x3b\x82\x03abc\x89\x02hi\x02\x01a\x80\x01b\x88\x02\x03\xe8"))
    out.append(("answer", b"\x3b" + AGREED))
    out.append(("answer", b"\x3bHTTP/1.1 401 Unauthorized\r\nServer: x\r\n\r\n"))
    made = bytearray(MAGIC)
    changes = {1: b"c", 2: b"1 a/#", 5: b"\0\0\0\1", 0x10001: b"", 0x40001: b"2\3\0\1t\0\1x"}
    crc, _ = packet_of(made.extend, changes, 0)
    blob_only = bytes(made)
    packet_of(made.extend, {0x40001: None, 1: b"d"}, crc)
    out.append(("journal", bytes(made)))
    out.append(("blob", blob_only))
    text = b'{"host":"h","topic":"t","port":1883,"keepalive":60,"client_id":"c","timeout":5}'
    out.append(("config", text))
    out.append(
        ("config", text[:-1] + b',"tls":{"ca":"x"},"transport":"ws","path":"/","store":"rtc"}')
    )
    import update_targets

    return out + update_targets.seeds()


def packet_of(write, changes, crc):
    from dormouse.store import pack

    return pack(write, changes, crc)


def lines(file):
    """Repeat what is in the lines of a file."""
    n = 0
    with open(file) as f:
        for line in f:
            name, data = line.strip().split(" ")
            try:
                TARGETS[name](bytes.fromhex(data))
            except Exception as e:
                print("wrong", line)
                raise e
            n += 1
    print("fine", n)


def main(folders):
    """Repeat what is in the files of folders."""
    for folder in folders:
        if folder.endswith(".txt"):
            lines(folder)
            continue
        name = folder.rstrip("/").split("/")[-1]
        n = 0
        for file in sorted(os.listdir(folder)):
            with open(folder + "/" + file, "rb") as f:
                data = f.read()
            try:
                TARGETS[name](data)
            except Exception as e:
                print("wrong", name, file)
                raise e
            n += 1
        print("fine", name, n)


if __name__ == "__main__":
    main(sys.argv[1:])

"""Repeats recorded calls to a session, on any Python, and holds each answer against the record.

    micropython device.py records.jsonl

Prints "same COUNT" at the end, or the first call that differs. (See record.py.)
"""

import json
import sys

from disk import (  # type: ignore[import-not-found]  # beside this file
    NAME,
    ROOM,
    Disk,
    PowerCut,
    stand_on_disk,
)
from dormouse.packet import ConnectionLost, MQTTError
from dormouse.session import Session
from dormouse.store import Layered, Store, journal, rtc

stand_on_disk(journal, rtc)


class Clock:
    """Time, as recorded."""

    now = 0


class Medium(Store):
    """Keeps what was written; the power can be cut before a write."""

    survives = 2

    def __init__(self, content, power):
        self.content = content
        self.power = power
        super().__init__()

    def read(self):
        return dict(self.content)

    def write(self, changes):
        if self.power[0] == self.power[1]:
            raise PowerCut
        self.power[0] += 1
        for key in changes:
            self.content.pop(key, None)
            if changes[key] is not None:
                self.content[key] = bytes(changes[key])


class Memory(rtc.Blob):
    """The disk's memory, as RTCStore has the chip's."""

    survives = 1

    def __init__(self, disk):
        self.disk = disk
        super().__init__(ROOM)

    def load(self):
        return self.disk.load()

    def dump(self, piece):
        self.disk.dump(piece)


def kind(record):
    """Return the kind of session that a record is of."""
    return stored(plain(record)) if record["stored"] else plain(record)


def plain(record):
    """Return the kind of session, in RAM."""
    if record["version"] == 5:
        from dormouse.mqtt5.session import Session5

        return Session5
    if record["expiring"]:
        from dormouse.expiry import expiring

        return expiring()
    return Session


def stored(base):
    """Return the same in a store."""
    from dormouse.store.durable import durable

    return durable(base)


class Chip:
    """A session, its store, and what the application has of both."""

    def __init__(self, record):
        self.record = record
        self.kind = kind(record)
        self.power = [0, -1]
        self.disk = Disk.current = Disk(self.power, True, True)
        self.content = self.disk.content()  # as recorded
        self.gone = False  # the power is, and the record has not said so yet
        self.small = {}
        self.large = {}
        self.start()

    def start(self):
        record = self.record
        real = record["real"]
        options = dict(record["options"])
        if record["stored"]:
            large = journal.Journal(NAME) if real else Medium(self.large, self.power)
            options["store"] = large
            if record["layered"]:
                small = Memory(self.disk) if real else Medium(self.small, self.power)
                options["store"] = Layered(small, large)
        if record["expiring"] or record["version"] == 5:
            options["clock"] = lambda: Clock.now // 1000
        self.session = self.kind(lambda: None, client_id="c", **options)
        if record["burst"]:
            self.session.burst = self.session.fencing = True
        self.handles = []
        self.taken = []

    def call(self, name, a):
        """Do one call; return what it gave."""
        s = self.session
        if name == "connect":
            s.connect(a[0])
        elif name == "receive":
            s.receive(memoryview(bytes.fromhex(a[0])), a[1])
        elif name == "take":
            data = s.take(a[0])
            return data if data is None else bytes(data).hex()
        elif name == "tick":
            return s.tick(a[0])
        elif name == "lost":
            if a[0] and hasattr(s, "behind"):
                s.lost(ConnectionLost(a[0]))
            else:
                s.lost()
        elif name == "pop":
            m = s.inbox.pop(0)
            if m.qos:
                self.taken.append(m)
            return str(m.payload, "utf-8")
        elif name == "ack":
            m = self.taken.pop(a[0])
            if a[1] is None:
                m.ack()
            else:
                m.ack(a[1].encode())
        elif name == "publish":
            more = {"message_expiry": a[3]} if a[3] else {}
            self.handles.append(s.publish(a[0], a[1].encode(), a[2], **more))
        elif name == "withdraw":
            s.withdraw(self.handles.pop(a[0]))
        elif name == "request":
            self.handles.append(s.request(0x82, [(a[0], 2)]))
        elif name == "restart":
            self.power[1] = a[1]
            if a[0]:
                self.small.clear()
                self.disk.memory = b""
            self.start()
        elif name == "found":
            store = self.session.store
            want = {key: bytes.fromhex(value) for key, value in a[0]}
            got = {key: bytes(value) for key, value in store.data.items()}
            return store.warning if got == want else str(got)
        elif name == "ended":
            for i in a[0][::-1]:
                if not self.handles.pop(i).done:
                    return "not ended"
        return None

    def alike(self, want, got):
        """MicroPython's dicts have no order, so CONNECT's properties have none either."""
        if self.record["version"] != 5 or not isinstance(got, str) or got[:2] != "10":
            return False
        return sorted(bytes.fromhex(want)) == sorted(bytes.fromhex(got))

    def repeat(self):
        """Do all calls; return the first that gave something else, or None."""
        last = None
        for call in self.record["calls"] + [["end"]]:
            name, *a = call
            if name == "file":
                if a[1] is None:
                    del self.content[a[0]]
                else:
                    self.content[a[0]] = bytes.fromhex(a[1])
                continue
            content = self.disk.content()
            if content != self.content:
                return last, "want:", self.content, "got:", content
            if name == "fuse":
                self.power[:] = (0, a[0])
                self.disk.cut = ""
                continue
            if self.gone != (name == "cut") or (self.gone and self.disk.cut != a[0]):
                return last, "cut in the middle of:", self.gone and self.disk.cut, "and then:", call
            if name == "cut":
                self.gone = False
                continue
            if name == "end":
                break
            last = call
            want = None
            if name in ("take", "tick", "receive", "found"):
                want = a.pop()
            elif name == "pop":
                want = a[0]
            if name in ("take", "tick", "receive", "connect"):
                Clock.now = a[-1]
            try:
                got = self.call(name, a)
            except PowerCut:
                self.gone = True
                got = want and "PowerCut"
            except MQTTError as error:
                got = type(error).__name__
            if got != want and not self.alike(want, got):
                return call, "got:", got
        return None


def main(path):
    """Repeat all records of a file."""
    n = 0
    with open(path) as f:
        for line in f:
            n += 1
            wrong = Chip(json.loads(line)).repeat()
            if wrong:
                print("record", n, "differs:", wrong)
                return
    print("same", n)


main(sys.argv[1])

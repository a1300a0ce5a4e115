"""Checks of log.py that run on every runtime (see core_checks.py)."""

import dormouse.field.log as logs
from core_checks import run, same
from dormouse.store import Store


class Clock:
    """Stands for time.gmtime."""

    now = (2021, 1, 1, 0, 0, 7, 4, 1)

    def __call__(self):
        return self.now


clock = Clock()
logs.gmtime = clock


class Counting(Store):
    writes = 0

    def write(self, changes):
        self.writes += 1


class Broken(Store):
    def write(self, changes):
        raise OSError(5)


def check_lines():
    log = logs.Log()
    log("one", 2, b"three")
    same(log.text(), b"one 2 b'three'\n")
    log("four")
    same(log.text(), b"one 2 b'three'\nfour\n")
    same(log.save(), True)


def check_time():
    log = logs.Log()
    log("never set")
    clock.now = (2026, 11, 21, 7, 3, 59, 5, 325)
    log("set")
    clock.now = Clock.now
    same(log.text(), b"never set\n11-21 07:03:59 set\n")


def check_ring():
    # Of every size, the newest whole lines that fit, and the ring does not grow.
    for size in range(8, 40):
        log = logs.Log(None, size)
        lines = []
        for n in range(60):
            line = "abcdefg"[: n * 5 % 7] + str(n % 10)
            log(line)
            lines.append(line.encode() + b"\n")
            kept = lines[:]
            while sum([len(x) for x in kept]) > size:
                kept.pop(0)
            same(log.text(), b"".join(kept))
            same(len(log.ring), size)


def check_long_line():
    log = logs.Log(None, 10)
    log("a")
    log("0123456789ABCDEF")
    same(log.text(), b"789ABCDEF\n"[-10:])
    log("b")
    same(log.text(), b"b\n")
    log("\u00e4" * 9)  # the ring may begin inside a character
    same(len(log.text()), 10)


def check_save():
    store = Counting()
    log = logs.Log(store, 40)
    log("normal")
    same((log.save(), store.writes, store.data), (True, 0, {}))
    log("bad", keep=True)
    same((log.save(), store.writes), (True, 1))
    same(bytes(store.data[9]), b"normal\nbad\n")
    same((log.save(), store.writes), (True, 1))
    same((log.save({8: b"\1"}), store.writes, store.data[8]), (True, 2, b"\1"))
    again = logs.Log(store, 40)
    same(again.text(), b"normal\nbad\n")
    again("more")
    same(again.text(), b"normal\nbad\nmore\n")
    small = logs.Log(store, 6)
    same(small.text(), b"l\nbad\n")  # as much as there is room for


def check_store_that_fails():
    for store in (None, Broken()):
        log = logs.Log(store)
        log("bad", keep=True)
        same(log.save({8: b"\1"}), False)
        same(log.text(), b"bad\n")
        same(log.due, True)  # the next time


CHECKS = [name for name in dict(globals()) if name.startswith("check_")]

if __name__ == "__main__":
    run(globals(), CHECKS)

"""Memory runs out while a message ends, at each line that allocates, one after the other: it is not
done without its error, and a publish that raises has done nothing.

(``test_no_memory.py`` goes ways by chance, on which few messages are refused, expire or make room.)
"""

from collections.abc import Callable
from typing import Any

import dormouse.reason  # loaded in the middle it would be traced, too
import dormouse.store.room
import dormouse.trouble  # noqa: F401
import pytest
from dormouse.expiry import expiring
from dormouse.mqtt5.session import Session5
from dormouse.resume import reserve
from dormouse.session import ConnectionLost, Session
from dormouse.store import Store
from dormouse.store.durable import durable
from no_memory import NoMemory

MOST = 600  # lines that allocate in what is tried
KINDS: dict[str, Callable[..., Any]] = {
    "3.1.1": Session,
    "3.1.1, expiring": expiring(),
    "3.1.1, store": durable(),
    "3.1.1, expiring, store": durable(expiring()),
    "5": Session5,
    "5, store": durable(Session5),
}
WAYS = {}


def way(kinds: str):
    """Note a way to the end of a message, for kinds of session with this in their name. It yields
    before the memory runs out, and then what is wrong."""

    def noted(function):
        for kind in KINDS:
            if any(part in kind for part in kinds.split("|")):
                WAYS[f"{function.__name__}, {kind}"] = function, kind
        return function

    return noted


def make(kind: str, **options: Any) -> Any:
    if "store" in kind:
        options["store"] = Store()
    session = KINDS[kind](lambda: None, "id", clean=False, **options)
    session.five = kind[0] == "5"
    reserve(session)
    return session


def drain(s: Any, now: int = 0) -> None:
    while s.take(now):
        pass


def up(s: Any, now: int = 0) -> None:
    s.connect(now)
    drain(s, now)
    s.receive(memoryview(b"\x20\x03\0\0\0" if s.five else b"\x20\x02\0\0"), now)
    drain(s, now)


@way("5")
def refused(s: Any) -> Any:
    up(s)
    sent = [s.publish("t", b"x", qos) for qos in (1, 2)]
    drain(s)
    yield
    for o, first in zip(sent, (b"\x40", b"\x50"), strict=True):
        s.receive(memoryview(first + b"\3" + o.pid.to_bytes(2, "big") + b"\x97"), 0)
    yield sent


@way("3.1.1|5")
def given_up(s: Any) -> Any:
    up(s)
    o = s.publish("t", b"x", 1)
    drain(s)
    o.tries = 4
    s.suspects = 1
    yield
    s.lost(ConnectionLost("closed"))
    yield [o]


@way("3.1.1|5")
def makes_room_at_qos_0(s: Any) -> Any:
    sent = [s.publish("t", b"", qos) for qos in [0] + [1] * 31]
    yield
    s.publish("t", b"", 1)
    yield sent


@way("expiring|5")
def expires(s: Any) -> Any:
    clock = [1000000000]
    s.clock = lambda: clock[0]
    o = s.publish("t", b"x", 1, message_expiry=5)
    clock[0] += 10
    yield
    up(s)
    yield [o]


@way("store")
def oldest(s: Any) -> Any:
    s.full = "oldest"
    sent = [s.publish("t", b"old", 1) for _ in range(32)]
    yield
    o = s.publish("t", b"new", 1)
    yield [o, *sent]


@pytest.mark.parametrize("name", WAYS)
def test_ends(name: str) -> None:
    function, kind = WAYS[name]
    memory = NoMemory()
    for number in range(1, MOST):
        s = make(kind)
        steps = function(s)
        next(steps)
        before = list(s.outbox)
        raised, sent = None, before
        try:
            sent = memory.run(number, lambda steps=steps: next(steps))
        except MemoryError as e:
            raised = e
        if not memory.at:
            assert number > 5
            return
        for o in [*before, *sent]:
            assert o.error or not o.done, f"done without its error: {memory.at}"
            assert o.done or o in s.outbox, f"neither done nor in the outbox: {memory.at}"
        if raised and "oldest" in name:
            assert s.outbox == before, f"it has done something: {memory.at}"
            s.save()
            assert sorted(key for key in s.store.data if key > 0x40000) == [
                o.key for o in before
            ], f"it has done something to the store: {memory.at}"
    raise AssertionError("it does not come to an end")

"""Bounds: what may happen in one exploration, and how often."""

from dataclasses import dataclass, field
from itertools import product
from typing import Any

from explorer.broker import Kind


@dataclass(frozen=True)
class Case:
    """One exploration.

    ``ups``, ``downs``: the QoS of each message that the application publishes, and that it is sent.
    ``cuts``, ``crashes``, ``forgets``, ``withdrawals``, ``waits``: how often, at any moment.
    ``calm_waits``: time passes where nothing else is left to be done. ``subscribed``: begins behind
    a subscription. ``receive``: the client's own receive maximum. ``any_order``: the application
    acknowledges in any order. ``expiry``: s, of each message that it publishes. ``real``: the store
    is the library's journal (and memory), on a disk that loses its power between any two changes;
    ``torn``: in the middle of one, too.
    """

    broker: Kind = field(default_factory=Kind)
    ups: tuple[int, ...] = ()
    downs: tuple[int, ...] = ()
    cuts: int = 0
    crashes: int = 0
    forgets: int = 0
    withdrawals: int = 0
    waits: int = 0
    calm_waits: bool = False
    stored: bool = False
    layered: bool = False
    real: bool = False
    torn: bool = False
    burst: bool = False
    expiring: bool = False
    clean: bool = False
    subscribed: bool = True
    any_order: bool = True
    window: int = 3
    max_packet: int = 0
    inbox: int = 0
    receive: int = 2
    expiry: int = 0

    @property
    def budget(self) -> tuple[int, ...]:
        """How often each of what may fail may still do so."""
        return self.cuts, self.crashes, self.forgets, self.withdrawals, self.waits


FIVE = Kind(version=5)
AT_PUBREL = Kind(passes_at="PUBREL")

# What `make test` explores, each to its end.
QUICK: dict[str, Case] = {
    # 3.1.1, in RAM: only the network fails
    "up, 2 2": Case(ups=(2, 2), cuts=2),
    "up, 1 2": Case(ups=(1, 2), cuts=2),
    "up, 2 1, passed on at PUBREL": Case(broker=AT_PUBREL, ups=(2, 1), cuts=2),
    "up, 2 2 2, window 2": Case(ups=(2, 2, 2), cuts=1, window=2),
    "up, 0 1 2 1": Case(ups=(0, 1, 2, 1), cuts=1),
    "down, 2 2": Case(downs=(2, 2), cuts=2),
    "down, 1 1": Case(downs=(1, 1), cuts=2),
    "down, 1 2": Case(downs=(1, 2), cuts=2),
    "down, 0 2 1": Case(downs=(0, 2, 1), cuts=1),
    "down, 2 2 2, next identifier": Case(
        broker=Kind(lowest=False), downs=(2, 2, 2), cuts=1, any_order=False
    ),
    "both, 2": Case(ups=(2,), downs=(2,), cuts=1),
    "both, 1 2": Case(ups=(1,), downs=(2,), cuts=1),
    "withdrawn": Case(ups=(2, 1), cuts=1, withdrawals=1),
    "clean": Case(clean=True, ups=(1,), downs=(1,), cuts=1),
    "time passes": Case(ups=(1,), waits=1, cuts=1),
    # the broker forgets, at any moment
    "forgets, down 2 1": Case(downs=(2, 1), cuts=1, forgets=1, any_order=False),
    "forgets, up 2 1": Case(ups=(2, 1), cuts=1, forgets=1),
    "forgets, up 2, passed on at PUBREL": Case(
        broker=AT_PUBREL, ups=(2,), cuts=1, forgets=1, subscribed=False
    ),
    # in a store: the power fails too, before any record
    "store, up 2 1": Case(stored=True, ups=(2, 1), cuts=1, crashes=1),
    "store, up 2 2, burst": Case(broker=AT_PUBREL, stored=True, burst=True, ups=(2, 2), crashes=1),
    "store, down 2 1, burst": Case(
        stored=True, burst=True, downs=(2, 1), crashes=1, any_order=False
    ),
    "store, down 2 2": Case(stored=True, downs=(2, 2), crashes=1),
    "store, withdrawn": Case(stored=True, ups=(2, 1), withdrawals=1, crashes=1, window=1),
    "store, expiring": Case(expiring=True, expiry=5, stored=True, ups=(2, 1), waits=1, cuts=1),
    "two stores, one lost": Case(stored=True, layered=True, ups=(2,), downs=(2,), crashes=1),
    # on a disk and in a memory: the power fails at any byte of a record
    "torn, up 2 1": Case(stored=True, real=True, torn=True, burst=True, ups=(2, 1), crashes=1),
    "torn, up 2, and torn again": Case(stored=True, real=True, torn=True, ups=(2,), crashes=2),
    "torn, down 2, and torn again": Case(stored=True, real=True, torn=True, downs=(2,), crashes=2),
    "torn, two stores, MQTT 5": Case(
        broker=FIVE, stored=True, layered=True, real=True, torn=True, ups=(2,), crashes=2
    ),
    # MQTT 5
    "MQTT 5, up 2 1": Case(broker=FIVE, ups=(2, 1), cuts=2),
    "MQTT 5, down 2 1": Case(broker=FIVE, downs=(2, 1), cuts=1),
    "MQTT 5, refused": Case(broker=Kind(version=5, refuses=(1,)), ups=(2, 2), cuts=1),
    "MQTT 5, store, both": Case(
        broker=FIVE, stored=True, burst=True, ups=(2,), downs=(2,), crashes=1
    ),
    "MQTT 5, what CONNACK said before": Case(
        broker=Kind(version=5, receive_maximum=(2, 1)), ups=(2, 2), cuts=1, burst=True, stored=True
    ),
    # brokers as there are
    "repeats without DUP": Case(broker=Kind(dup=False), downs=(2, 2), cuts=1),
    "repeats without DUP, 1": Case(broker=Kind(dup=False), downs=(1, 1), cuts=1),
    "repeats what is released": Case(broker=Kind(resets=True), downs=(2,), cuts=1),
    "repeats what is released, store": Case(
        broker=Kind(resets=True), stored=True, downs=(2,), cuts=1, crashes=1
    ),
    "closes at a message, MQTT 5": Case(
        broker=Kind(version=5, closes=(1,)), ups=(2, 1), calm_waits=True
    ),
    "closes at a message, store": Case(
        broker=Kind(closes=(1,)), stored=True, burst=True, ups=(1,), calm_waits=True
    ),
    "never answers a message": Case(broker=Kind(mute=(1,)), ups=(1, 2), calm_waits=True),
    "PUBACK for QoS 2": Case(broker=Kind(wrong=True), ups=(2, 1), cuts=1),
    "too long": Case(broker=Kind(oversize=(100,)), downs=(1, 1), max_packet=100),
    "too long, MQTT 5": Case(broker=Kind(version=5, oversize=(100,)), downs=(1, 1), max_packet=100),
    "the application is slow": Case(downs=(1, 1, 1), max_packet=128, inbox=192, any_order=False),
    "the application is slow, MQTT 5": Case(
        broker=FIVE, receive=5, downs=(1, 1, 1), max_packet=128, inbox=192, any_order=False
    ),
}

# What was in QUICK, and took longer than it found: `make prove` has it.
LONG: dict[str, Case] = {
    "longer; RAM; forgets, MQTT 5": Case(
        broker=FIVE, ups=(2,), downs=(1,), cuts=1, forgets=1, any_order=False
    ),
    "longer; RAM; time passes": Case(ups=(1,), downs=(2,), waits=1, cuts=1),
    "longer; RAM; closes at a message": Case(broker=Kind(closes=(1,)), ups=(1, 1), calm_waits=True),
    "longer; RAM; the network fails, and fails": Case(ups=(1,), cuts=6),  # a twin's, too
    "longer; store; down 2": Case(stored=True, burst=True, downs=(2,), cuts=1, crashes=1),
    "longer; store; forgets": Case(stored=True, burst=True, ups=(2,), forgets=1, crashes=1),
    "longer; store; two stores, torn": Case(
        stored=True, layered=True, real=True, torn=True, ups=(2,), downs=(1,), crashes=1
    ),
}


def wide() -> dict[str, Case]:
    """Return what `make prove` explores: each kind of session at each kind of broker, with each
    traffic and each two of the things that fail."""
    sessions: dict[str, dict[str, Any]] = {
        "RAM": {},
        "store": {"stored": True},
        "store, burst": {"stored": True, "burst": True},
        "two stores, burst": {"stored": True, "layered": True, "burst": True},
        "store, expiring": {"stored": True, "expiring": True, "expiry": 5},
        "journal, torn": {"stored": True, "real": True, "torn": True, "burst": True},
        "journal and memory, torn": {
            "stored": True,
            "layered": True,
            "real": True,
            "torn": True,
            "burst": True,
        },
    }
    brokers = {
        "3.1.1": Kind(),
        "3.1.1, at PUBREL": Kind(passes_at="PUBREL", lowest=False),
        "MQTT 5": Kind(version=5, passes_at="PUBREL"),
        "MQTT 5, few": Kind(version=5, receive_maximum=(2, 1), refuses=(2,)),
    }
    traffic: dict[str, dict[str, Any]] = {
        "up 2 1": {"ups": (2, 1)},
        "up 2 2 0": {"ups": (2, 2, 0)},
        "down 2 1": {"downs": (2, 1)},
        "down 1 1": {"downs": (1, 1)},
        "up 2, down 2": {"ups": (2,), "downs": (2,)},
    }
    faults: dict[str, dict[str, Any]] = {
        "2 cuts": {"cuts": 2},
        "cut, forgets": {"cuts": 1, "forgets": 1},
        "2 power cuts": {"crashes": 2},
        "cut, power cut": {"cuts": 1, "crashes": 1},
        "power cut, forgets": {"crashes": 1, "forgets": 1},
        "power cut, withdrawn": {"crashes": 1, "withdrawals": 1},
        "time passes, cut": {"waits": 2, "cuts": 1},
    }
    out = {}
    for chosen in product(brokers.items(), sessions.items(), traffic.items(), faults.items()):
        (a, broker), (b, session), (c, what), (d, fails) = chosen
        stored = "stored" in session
        if ("crashes" in fails and not stored) or ("withdrawals" in fails and "ups" not in what):
            continue
        if "expiry" in session and "waits" not in fails:
            continue
        if "torn" in session and "crashes" not in fails:
            continue
        out[f"{a}; {b}; {c}; {d}"] = Case(broker=broker, **{**session, **what, **fails})
    for name, kind in (("closes", Kind(closes=(1,))), ("never answers", Kind(mute=(1,)))):
        for b, session in sessions.items():
            if "expiry" not in session:
                crashes = 1 if session else 0
                out[f"{name}; {b}; up 1; power cut"] = Case(
                    broker=kind, ups=(1,), crashes=crashes, calm_waits=True, **session
                )
    return out

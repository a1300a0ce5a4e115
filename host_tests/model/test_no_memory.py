"""Memory runs out now and then, at any line that allocates: nothing is lost, doubled or silenced.

What it costs is one connection, as any other end of it. A ``publish`` that raises MemoryError has
done nothing; an ``ack`` that does may be called again.
"""

import os
import random
from collections.abc import Callable
from typing import Any

import pytest
from dormouse.resume import reserve
from no_memory import NoMemory
from test_durable import DurableWorld
from test_model import ACTIONS, World
from test_model5 import DurableWorld5, World5

SEEDS = int(os.environ.get("DORMOUSE_SEEDS", "300"))
# How many attributes there is room for in an object (MicroPython's py/map.c). A larger table is
# some hundred bytes in one piece: once a client lives, there may be none.
TABLES = (29, 37, 47, 59, 73, 97)
POWER = ("power", "before", "after")


class Short:
    """Goes before a World: one in which memory runs out in what is done next, if ``number``."""

    number = 0  # at how many lines that allocate

    def __init__(self, *args: Any) -> None:
        self.memory = NoMemory()
        super().__init__(*args)

    def short(self, call: Callable[..., Any], *args: Any) -> Any:
        number, self.number = self.number, 0
        return self.memory.run(number, lambda: call(*args)) if number else call(*args)

    def make(self) -> Any:
        """Return a session in whose publish, take and receive memory may run out."""
        session = super().make()  # type: ignore[misc]
        reserve(session)
        session.connect(0)
        self.names = len(vars(session))
        session.lost()
        for name in ("publish", "take", "receive", "lost", "connect"):
            call = getattr(session, name)
            setattr(session, name, lambda *args, call=call: self.short(call, *args))
        return session

    def reconnect(self) -> None:
        """As the client does it: an end that raises is one, too, and it tries again."""
        try:
            super().reconnect()  # type: ignore[misc]
        except MemoryError:
            super().reconnect()  # type: ignore[misc]

    def act(self, action: str) -> None:
        if action == "ack" and self.taken:
            m = self.taken[-1]
            ack = type(m).ack
            m.ack = lambda *args: self.short(ack, m, *args)
        try:
            super().act(action)  # type: ignore[misc]
        except MemoryError:
            self.number = 0
            if action == "ack":
                del m.ack
                if not m.done:  # else it goes with the next one, or on the next connection
                    self.taken.append(m)
                    self.undone(m)
            elif action.startswith("publish"):
                payload = self.sent[int(action[-1])].pop()
                for o in self.session.outbox:
                    assert not (o.packet and o.packet.endswith(payload))
            else:
                self.reconnect()
        finally:
            self.number = 0

    def undone(self, m: Any) -> None:
        """An ack raised before anything of it was done."""

    taken: list
    sent: dict
    session: Any


class ShortStore(Short):
    """The same with a store."""

    def __init__(self) -> None:
        super().__init__(True)

    def undone(self, m: Any) -> None:
        """What was to be committed with it is not."""
        self.got[m.qos].remove(m.payload)

    got: dict


WORLDS = {
    "3.1.1": type("ShortWorld", (Short, World), {}),
    "5": type("ShortWorld5", (Short, World5), {}),
    "3.1.1, store": type("ShortDurable", (ShortStore, DurableWorld), {}),
    "5, store": type("ShortDurable5", (ShortStore, DurableWorld5), {}),
}


def play(kind: str, seed: int) -> list[str]:
    """Do something by chance in such a world, and hold its promises against it; return how."""
    chance = random.Random(seed)
    world = WORLDS[kind]()
    log: list[str] = []
    actions = ACTIONS + (POWER if "store" in kind and seed % 2 else ())
    for action in chance.choices(actions, k=60):
        world.number = chance.randrange(1, 30) if chance.random() < 0.3 else 0
        world.memory.at = ""
        world.act(action)
        log.append(f"{action} {world.memory.at}")
    try:
        world.check()
    except BaseException:
        print(seed, log)
        raise
    grown = len(vars(world.session)) - 5  # what ``make`` has put there
    assert grown <= min(size for size in TABLES if size >= world.names), (
        "a longer table of attributes"
    )
    return log


@pytest.mark.parametrize("kind", WORLDS)
def test_runs_out_anywhere(kind: str) -> None:
    lines = {step.split()[-1] for seed in range(SEEDS) for step in play(kind, seed)}
    assert len([line for line in lines if ".py:" in line]) > 40

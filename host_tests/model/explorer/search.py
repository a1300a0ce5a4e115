"""Breadth first over all that may happen, and the shortest way to what must not be."""

import re
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from explorer.broker import Violation
from explorer.cases import Case
from explorer.library import Library
from explorer.world import CALM, World

ORDER = {action: i for i, action in enumerate(CALM)}


@dataclass
class Found:
    """What an exploration found. ``whole``: it saw all that the bounds allow.

    ``wrong``: what must not be, and the shortest way to it, once for each kind of it.
    """

    case: Case
    states: int
    steps: int
    depth: int
    seconds: float
    whole: bool
    wrong: list[tuple[str, tuple[str, ...]]]


class Search:
    """One exploration of one case. ``limit``: of states. ``first``: ends at what is wrong first."""

    def __init__(
        self, case: Case, library: Library, limit: int = 10**9, first: bool = False
    ) -> None:
        self.case = case
        self.library = library
        self.limit = limit
        self.first = first
        self.parent: dict[int, tuple[int, str]] = {}  # state: the one before it, and what happened
        self.next: dict[int, tuple[int, str]] = {}  # state: what a calm end makes of it
        self.cuts: dict[str, tuple[int, str]] = {}  # in the middle of what the power was cut, where
        self.end: dict[int, str | None] = {}  # calm states: what is wrong with them
        self.wrong: dict[str, tuple[str, tuple[str, ...]]] = {}
        self.steps = 0
        self.depth = 0

    def run(self, progress: Callable[[int], None] | None = None) -> Found:
        """Explore. ``progress`` is called with the number of states, now and then."""
        began = time.monotonic()
        whole = True
        world = World(self.case, self.library)
        key = world.key()
        self.parent[key] = 0, ""
        todo = deque([(0, key, world)])
        while todo and not (self.first and self.wrong):
            if len(self.parent) >= self.limit:
                whole = False
                break
            self.depth, key, world = todo.popleft()
            for new_key, new in self._expand(key, world):
                todo.append((self.depth + 1, new_key, new))
            if progress and not self.steps % 256:
                progress(len(self.parent))
        if whole and not (self.first and self.wrong):
            self._liveness()
        seconds = time.monotonic() - began
        wrong = list(self.wrong.values())
        return Found(self.case, len(self.parent), self.steps, self.depth, seconds, whole, wrong)

    def _expand(self, key: int, world: World) -> list[tuple[int, World]]:
        out: list[tuple[int, World]] = []
        best = len(CALM)
        actions = list(world.actions())
        while actions:
            action = actions.pop(0)
            self.steps += 1
            rank = ORDER.get(action, len(CALM))
            try:
                new = world.after(action)
            except Violation as violation:
                self._found(str(violation), (*self.way(key), action))
                if rank < best:
                    best = rank
                    self.next[key] = 0, action
                continue
            if new.left[1] and action.count("!") < 2 and self.case.stored:
                actions += [f"{action}!{k}" for k in new.cuts]
            if new.disk.cut:
                self.cuts.setdefault(new.disk.cut, (key, action))
            new_key = new.key()
            if rank < best and new_key != key:
                best = rank
                self.next[key] = new_key, action
            if new_key not in self.parent:
                self.parent[new_key] = key, action
                out.append((new_key, new))
        if best == len(CALM):
            self.end[key] = world.wrong_when_calm()
        return out

    def _found(self, wrong: str, way: tuple[str, ...]) -> None:
        self.wrong.setdefault(re.sub(r"<?\d+>?", "N", wrong), (wrong, way))

    def way(self, key: int) -> tuple[str, ...]:
        """Return the actions that lead to a state."""
        out: list[str] = []
        while True:
            key, action = self.parent[key]
            if not action:
                return tuple(out[::-1])
            out.append(action)

    def sample(self, count: int) -> list[tuple[str, ...]]:
        """Return so many ways, to states from all over, the deepest first."""
        keys = list(self.parent)
        return [self.way(key) for key in keys[:: -max(1, len(keys) // count)][:count]]

    def torn(self, count: int) -> list[tuple[str, ...]]:
        """Return so many ways, each through another place on the disk at which the power went."""
        places = list(self.cuts.values())
        step = max(1, -(-len(places) // count))
        return [(*self.way(key), action) for key, action in places[::-step]]

    def _liveness(self) -> None:
        """From every state that was reached a calm end: does it end, and is all well then?"""
        known: set[int] = {0}  # 0: what happens next was found wrong already
        for key in self.parent:
            path: dict[int, str] = {}
            at = key
            while at in self.next and at not in known and at not in path:
                path[at] = self.next[at][1]
                at = self.next[at][0]
            if at not in known:
                wrong = "a calm run goes on for ever" if at in path else self.end[at]
                if wrong:
                    self._found(wrong, (*self.way(key), *path.values()))
                known.add(at)
            known.update(path)


def explore(case: Case, library: Library, limit: int = 10**9, first: bool = False) -> Found:
    """Explore one case."""
    return Search(case, library, limit, first).run()

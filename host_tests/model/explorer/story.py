"""The way to what must not be: as packets to read; kept as a file, and played again."""

import json
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from explorer.broker import Kind, Violation
from explorer.cases import Case
from explorer.library import Library
from explorer.world import CALM, World
from tools.testing import wire, wire5

FOUND = Path(__file__).resolve().parent.parent / "found"
SAID = {
    "connect": "a byte stream is open",
    "cut": "the connection is cut; what was under way is lost",
    "forget": "the broker loses the session (and its connection, if one stood)",
    "crash": "the chip restarts with what its store holds",
    "eof": "the broker has closed the connection",
    "take": "the application takes a message",
    "publish": "the application publishes",
    "send": "somebody publishes for the client",
    "wait": "time passes until the client has to look",
}


def _packet(version: int, raw: bytes) -> str:
    text = (wire5 if version == 5 else wire).describe(raw)
    for word in ("topic='d/1' ", "topic='up/long' ", " client_id='c'", " persistent"):
        text = text.replace(word, "")
    head, _, data = text.partition(" payload=")
    if data:
        number = raw[raw.rindex(b"<") :].split(b">")[0].decode()
        head += f" {number}>"
    return head


class Play:
    """Plays actions, and tells what happens in lines that can be read."""

    def __init__(self, case: Case, library: Library) -> None:
        self.world = World(case, library)
        self.lines: list[str] = []
        self.played: list[str] = []
        self.wrong: str | None = None

    def act(self, action: str) -> None:
        """Do one action, if it can be done now."""
        before = self.world
        self.lines.append(self._say(before, action))
        self.played.append(action)
        try:
            self.world = before.after(action)
        except Violation as violation:
            self.wrong = str(violation)
            if action.partition("!")[0] == "write":
                self.lines[-1] = "client  takes bytes to be written"
                if "!" in action:
                    self.lines.append(f"chip    loses its power {self._fuse(action)}")
            return
        if action.partition("!")[0] == "write":
            new = self.world.up[len(before.up) :]
            words = ["client  writes    " + self._packet(raw) for raw in new]
            self.lines[-1:] = words
            if "!" in action:
                self.lines.append(f"chip    loses its power {self._fuse(action)}")

    def _packet(self, raw: bytes) -> str:
        return _packet(self.world.case.broker.version, raw)

    def _say(self, world: World, action: str) -> str:
        word, _, argument = action.partition(" ")
        word, _, fuse = word.partition("!")
        if word == "up":
            return "broker  receives  " + self._packet(world.up[0])
        if word == "down":
            return "client  receives  " + self._packet(world.broker.down[0])
        if word == "ack":
            m = world.taken[int(argument.partition("!")[0])]
            text = f"app     is done with {m.payload.decode()}"
        elif word == "take":
            text = f"app     takes {world.session.inbox[0].payload.decode()}"
        elif word == "withdraw":
            text = f"app     withdraws <{argument}>"
        elif word == "publish":
            qos = world.case.ups[world.published]
            text = f"app     publishes <{world.published + 1}> at QoS {qos}"
        elif word == "send":
            text = f"others  publish <{100 + world.sent}> at QoS {world.case.downs[world.sent]}"
        else:
            text = "        " + SAID.get(action, SAID.get(word, action))
        return text + (f"; the power is cut {self._fuse(action)}" if fuse else "")

    def _fuse(self, action: str) -> str:
        case = self.world.case
        n = action.partition("!")[2]
        if not case.real:
            return "before that record is written"
        return f"when {n} of the bytes are on the medium (a file made or renamed counts as one)"

    def calm(self) -> str | None:
        """Let it come to its end; return what is wrong then, or None."""
        seen = set()
        while not self.wrong:
            key = self.world.key()
            if key in seen:
                self.wrong = "a calm run goes on for ever"
                break
            seen.add(key)
            for action in CALM:
                if self.world.can(action):
                    new = self.world.after(action)
                    if new.key() != key:
                        self.act(action)
                        break
            else:
                self.wrong = self.world.wrong_when_calm()
                break
        return self.wrong

    def follow(self, way: Sequence[str]) -> str | None:
        """Follow a way as far as it goes, then let it come to its end; what is wrong, or None."""
        for action in way:
            if not self.wrong and self.world.can(action.partition("!")[0]):
                self.act(action)
        try:
            return self.wrong or self.calm()
        except Violation as violation:
            return str(violation)

    def text(self) -> str:
        """Return the story."""
        return "\n".join([*self.lines, f"WRONG: {self.wrong}" if self.wrong else "all is well"])


def whole(case: Case, library: Library, way: Sequence[str]) -> list[str]:
    """Return a way with the calm end that follows it."""
    play = Play(case, library)
    play.follow(way)
    return play.played


def save(name: str, case: Case, way: Sequence[str], wrong: str, folder: Path = FOUND) -> Path:
    """Keep a way as a file."""
    plain = Case()
    kept: dict[str, Any] = {}
    for f in fields(case):
        if getattr(case, f.name) != getattr(plain, f.name):
            kept[f.name] = getattr(case, f.name)
    if "broker" in kept:
        kind = Kind()
        broker = asdict(case.broker)
        kept["broker"] = {k: v for k, v in broker.items() if v != getattr(kind, k)}
    path = folder / f"{name}.json"
    path.parent.mkdir(exist_ok=True)
    text = json.dumps({"wrong": wrong, "case": kept, "way": list(way)}, indent=1)
    path.write_text(text + "\n")
    return path


def _tuples(values: dict[str, Any]) -> dict[str, Any]:
    return {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}


def load(path: Path) -> tuple[Case, tuple[str, ...], str]:
    """Return the case, the way and what was wrong."""
    kept = json.loads(path.read_text())
    values: dict[str, Any] = kept["case"]
    if "broker" in values:
        values["broker"] = Kind(**_tuples(values["broker"]))
    return Case(**_tuples(values)), tuple(kept["way"]), kept["wrong"]

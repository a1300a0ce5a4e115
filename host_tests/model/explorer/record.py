"""A way through an exploration as the bare calls to a session, for another Python to repeat.

A record is one line of JSON: what session, and a list of calls with what each of them must give:

    ["connect", now]   ["receive", hex, now]   ["take", now, hex or an error's name]
    ["tick", now, ms or an error's name]   ["lost", why, or ""]
    ["pop", payload]   ["ack", index, commit]
    ["publish", topic, payload, qos, expiry]   ["withdraw", index]   ["request", filter]
    ["fuse", writes]: the power is cut in what follows, behind so many records, or bytes and steps
    ["cut", in the middle of what]: it was   ["file", name, hex or none]: what a call made of it
    ["restart", whether the small part of the store is lost, at what the power is cut again, or -1]
    ["found", [[key, hex], ...], warning]: what the store has at that start

``device.py`` repeats them, on CPython and MicroPython alike.
"""

import json
from collections.abc import Sequence
from typing import Any

from explorer.broker import FILTER, UP_TOPIC, Violation, payload
from explorer.cases import Case
from explorer.disk import PowerCut
from explorer.library import Library
from explorer.world import World

BUFFERS = bytes, bytearray, memoryview


class Recorder(World):
    """A world that writes down what it asks of its session."""

    calls: list[list[Any]]
    in_order = True
    content: dict[str, bytes]  # of the disk, as far as it is in ``calls``

    def __init__(self, case: Case, library: Library) -> None:
        self.calls = []
        self.content = {"": b""}
        super().__init__(case, library)

    def copied(self, action: str = "") -> "Recorder":
        raise NotImplementedError("it is for one way only")

    def go(self, action: str) -> None:
        """Do one action. Raises Violation."""
        self._step(action)

    def _add(self, *call: Any) -> list[Any]:
        """Write a call down, behind what the one before it made of the disk."""
        self.look_at_disk()
        self.calls.append([*call])
        return self.calls[-1]

    def look_at_disk(self) -> None:
        """Write down what has changed there."""
        content = self.disk.content()
        for name in sorted({*content, *self.content}):
            data = content.get(name)
            if data != self.content.get(name):
                self.calls.append(["file", name, data if data is None else data.hex()])
        self.content = content

    def _act(self, action: str) -> None:
        fuse = self.power[1]
        if fuse >= 0:
            self._add("fuse", fuse)
        super()._act(action)

    def _result(self, name: str, arguments: list[Any], function: Any, *given: Any) -> Any:
        call = self._add(name, *arguments)
        try:
            result = function(*given)
        except PowerCut:
            call.append("PowerCut")
            raise
        except Exception as error:
            call.append(type(error).__name__)
            raise
        call.append(bytes(result).hex() if isinstance(result, BUFFERS) else result)
        return result

    def _do_connect(self, _: str) -> None:
        self._add("connect", self.now)
        super()._do_connect(_)

    def _do_write(self, _: str) -> None:
        take = self.session.take
        self.session.take = lambda now: self._result("take", [now], take, now)
        try:
            super()._do_write(_)
        finally:
            self.session.__dict__.pop("take", None)

    def _do_down(self, _: str) -> None:
        receive = self.session.receive

        def silent(data: memoryview, now: int) -> None:
            receive(data, now)  # where the next bytes may go is for the client

        def heard(data: memoryview, now: int) -> None:
            self._result("receive", [bytes(data).hex(), now], silent, data, now)

        self.session.receive = heard
        try:
            super()._do_down(_)
        finally:
            self.session.__dict__.pop("receive", None)

    def _do_wait(self, _: str) -> None:
        tick = self.session.tick
        self.session.tick = lambda now: self._result("tick", [now], tick, now)
        try:
            super()._do_wait(_)
        finally:
            self.session.__dict__.pop("tick", None)

    def _cut(self, error: Exception | None = None) -> None:
        self._add("lost", str(error) if error else "")
        super()._cut(error)

    def _restart(self, small_lost: bool) -> None:
        self._add("restart", small_lost, self.power[1])
        super()._restart(small_lost)
        if self.case.real:
            store = self.session.store
            data = sorted((key, bytes(value).hex()) for key, value in store.data.items())
            self._add("found", data, store.warning)

    def _crash(self, fuses: list[str]) -> None:
        self._add("cut", self.disk.cut)
        super()._crash(fuses)

    def _do_publish(self, _: str) -> None:
        qos = self.case.ups[self.published]
        text = payload(self.published + 1).decode()
        self._add("publish", UP_TOPIC, text, qos, self.case.expiry)
        super()._do_publish(_)

    def _do_withdraw(self, argument: str) -> None:
        numbers = [n for n, _ in self.handles]
        self._add("withdraw", numbers.index(int(argument)))
        super()._do_withdraw(argument)

    def _do_subscribe(self, _: str) -> None:
        self._add("request", FILTER)
        super()._do_subscribe(_)

    def _do_take(self, _: str) -> None:
        self._add("pop", self.session.inbox[0].payload.decode())
        super()._do_take(_)

    def _do_ack(self, argument: str) -> None:
        n = int(self.taken[int(argument)].payload[1:].split(b">")[0])
        done = self.done + ((n,) if n not in self.done else ())
        commit = ",".join(map(str, done)) if self.case.stored else None
        self._add("ack", int(argument), commit)
        super()._do_ack(argument)

    def _look(self) -> None:
        before = [n for n, _ in self.handles]
        super()._look()
        after = [n for n, _ in self.handles]
        if before != after:  # what the application waited for and waits no more
            self._add("ended", [i for i, n in enumerate(before) if n not in after])


def record(case: Case, library: Library, way: Sequence[str]) -> str:
    """Return a way as a line of JSON."""
    world = Recorder(case, library)
    for action in way:
        try:
            world.go(action)
        except Violation:
            break
    world.look_at_disk()
    options: dict[str, Any] = {"window": case.window, "pid": 65533, "clean": case.clean}
    if case.broker.version == 5:
        options["properties"] = {"receive_maximum": case.receive}
    for name, value in (("max_packet", case.max_packet), ("inbox_bytes", case.inbox)):
        if value:
            options[name] = value
    return json.dumps(
        {
            "version": case.broker.version,
            "stored": case.stored,
            "layered": case.layered,
            "real": case.real,
            "expiring": case.expiring,
            "burst": case.burst,
            "options": options,
            "calls": world.calls,
        }
    )

"""The checks of dormouse/patterns (patterns_checks.py), on every runtime."""

import json
import random
import threading
from pathlib import Path
from typing import Any

import patterns_checks
import pytest
from dormouse.patterns.shadow import Shadow
from dormouse.session import Message
from dormouse.store import Store
from harness.shadow import ShadowService

from tools.testing import runtimes


@pytest.mark.parametrize("name", patterns_checks.CHECKS)
def test_check(name: str) -> None:
    getattr(patterns_checks, name)()


def test_on_runtime(runtime: runtimes.Runtime) -> None:
    with runtime.start(Path(patterns_checks.__file__)) as device:
        assert device.wait_exit(60) == 0, device.transcript()
        for name in patterns_checks.CHECKS:
            assert f"ok {name}" in device.lines, device.transcript()
        assert f"done {len(patterns_checks.CHECKS)} checks, 0 failed" in device.lines


class Crossing(ShadowService):
    """The service and its device, and what is on the way between them: ``up`` and ``down``."""

    def __init__(self, seed: int, disorder: float) -> None:
        self.shadows = {}
        self._changed = threading.Condition()
        self.chance = random.Random(seed)
        self.disorder = disorder
        self.up: list[tuple[str, str, Message]] = []
        self.down: list[tuple[str, str]] = []
        self.settings: dict[str, object] = {"a": 0, "b": 0}
        self.device = Shadow(self._publish, "t", store=Store())
        self.device.get()

    def _publish(self, topic: str, payload: str, qos: int) -> Message:
        message = Message()
        message.done = False
        self.up.append((topic, payload, message))
        return message

    def _send(self, topic: str, document: Any) -> None:
        self.down.append((topic, json.dumps(document)))

    def take(self, topic: str, payload: str, message: Message | None = None) -> None:
        if message:
            message.done = True
        prefix, _, kind = topic.rpartition("/")
        with self._changed:
            self._answer(prefix, kind, payload.encode())

    def give(self) -> None:
        at = 0
        if self.chance.random() < self.disorder:
            at = self.chance.randrange(len(self.down))
        message = Message()
        message.topic, payload = self.down.pop(at)
        message.payload = payload.encode()
        if self.chance.random() < self.disorder / 3:
            self.down.append((message.topic, payload))
        for name, value in (self.device.take(message) or {}).items():
            self.settings[name] = value
            self.device.report({name: value})
        self.device.done()

    def change(self, here: bool) -> None:
        """Somebody desires another setting, or changes it at the device."""
        change = {self.chance.choice("ab"): self.chance.randrange(9)}
        if here:
            self.settings.update(change)
            self.device.report(change, desired=change)
        else:
            self.take(f"{self.device.base}update", json.dumps({"state": {"desired": change}}))

    def live(self) -> None:
        for _ in range(60):
            what = self.chance.random()
            if what < 0.25:
                self.change(what < 0.05)
            elif what < 0.6 and self.up:
                self.take(*self.up.pop(0))
            elif self.down:
                self.give()
        while self.up or self.down:
            if self.up:
                self.take(*self.up.pop(0))
            if self.down:
                self.give()


@pytest.mark.parametrize("disorder", [0, 0.3])
def test_shadow_whatever_crosses(disorder: float) -> None:
    """Many change a shadow at once, and all is on its way for long: in the end the device is as is
    desired, and that is what it said. AWS has no order between topics, and may repeat."""
    for seed in range(150):
        life = Crossing(seed, disorder)
        life.live()
        one = life.shadow("t")
        for said in (one.desired or {}, one.reported or {}):
            assert {name: life.settings[name] for name in said} == said, (seed, life.settings, one)

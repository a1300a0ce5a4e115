"""Many nodes in one process: each its own Client and Ota, and boot.py, in a folder of its own.

    async with Nodes(broker, [f"green/{n}" for n in range(50)], "green/update", folder) as nodes:
        nodes.nodes["green/7"].broken.add(1)
        await nodes.live(lambda: ...)

They wake one after the other, as sleeping nodes do, and know nothing from one wake to the next but
what is in their folder. A version that is broken on a node does not connect there.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

from dormouse import Client
from dormouse.field.ota import Ota

from tools.testing.brokers import Broker
from tools.testing.runtimes import FIRMWARE

from . import owner

BOOT = compile((FIRMWARE / "boot.py").read_text(), "boot.py", "exec")
QUIET = 0.4  # s without a message, after which a wake is over


class _Machine(ModuleType):
    """As much of the chip as boot.py asks for."""

    @staticmethod
    def reset_cause() -> int:
        return 1

    class WDT:
        def __init__(self, timeout: int):
            pass


@contextlib.contextmanager
def inside(folder: Path) -> Iterator[None]:
    """Be in a folder, for what does not wait."""
    before = os.getcwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


class Node:
    """One node. ``broken``: versions that do not connect here."""

    def __init__(self, topic: str, update: str, port: int, folder: Path, broken: set[int]):
        self.topic, self.update, self.port, self.folder = topic, update, port, folder
        self.broken = broken
        folder.mkdir(parents=True)
        (folder / "main.py").write_text("VERSION = 0\n")
        self.tried: set[int] = set()

    @property
    def version(self) -> int:
        """The version that main.py is of."""
        return int((self.folder / "main.py").read_text().split()[2])

    def boot(self) -> None:
        """Start: boot.py, as MicroPython does."""
        with inside(self.folder):
            exec(BOOT, {"__name__": "boot"})

    async def wake(self) -> None:
        """Be awake once."""
        self.boot()
        while self.version in self.broken:
            self.tried.add(self.version)
            self.boot()  # a watchdog ends each try
        self.tried.add(self.version)
        signer = owner.signer()
        with inside(self.folder):
            ota = Ota(signer.key, self.topic, self.update, secret=signer.node_key(self.topic))
        name = self.topic.replace("/", "-")
        async with Client("127.0.0.1", self.port, client_id=name, clean=False) as client:
            with inside(self.folder):
                ota.confirm(client)
            await client.subscribe(*ota.filters)
            with inside(self.folder):
                ota.fetch(client)
            with contextlib.suppress(TimeoutError):
                while not ota.ready:
                    async with asyncio.timeout(QUIET):
                        message = await anext(client.messages)
                    with inside(self.folder):
                        ota.handle(message, client)
                    message.ack()
        if ota.ready:
            self.boot()


class Nodes:
    """All of them."""

    def __init__(self, broker: Broker, topics: list[str], update: str, folder: Path):
        self.nodes = {
            topic: Node(topic, update, broker.port, folder / str(n), set())
            for n, topic in enumerate(topics)
        }

    async def live(self, over: Callable[[], bool], at_once: int = 16) -> None:
        """Let them wake in turn until it is over."""
        while not over():
            nodes = iter(self.nodes.values())

            async def some(nodes: Iterator[Node] = nodes) -> None:
                for node in nodes:
                    if over():
                        return
                    await node.wake()

            await asyncio.gather(*(some() for _ in range(at_once)))

    async def __aenter__(self) -> Nodes:
        sys.modules["machine"] = _Machine("machine")
        return self

    async def __aexit__(self, *_: object) -> None:
        sys.modules.pop("machine", None)

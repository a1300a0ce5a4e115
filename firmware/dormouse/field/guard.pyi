"""Types of guard.py."""

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from ..client import Client
from ..sleep.node import _Network
from ..store import Store
from .led import LED
from .log import Log
from .watchdog import Watchdog as Watchdog
from .watchdog import feed as feed

_Config = dict[str, Any]

class _Application(Protocol):
    def run(self) -> Awaitable[object]: ...

class Guard:
    config: _Config
    network: Callable[[], _Network] | None
    store: Store | None
    led: LED | None
    trial: bool
    trouble: object
    log: Log
    crashes: int
    reason: str
    woken: str
    person: bool
    limit: int
    period: int
    safe_period: int
    def __init__(
        self,
        config: _Config,
        store: Callable[[_Config], Store],
        network: Callable[[], _Network] | None = None,
    ) -> None: ...
    def number(self, name: str, default: int) -> int: ...
    def safe(self) -> bool: ...
    def crash(self, reason: str, text: str) -> bool: ...
    def count(self) -> bool: ...
    def delay(self) -> int: ...
    def show(self, blinks: int | None) -> None: ...
    def leave(self) -> None: ...
    def sleep(self, s: int) -> None: ...

def on_trial() -> bool: ...
def good(publish: Callable[..., object] | None = None) -> None: ...
def end(
    error: Exception | None = None,
    publish: Callable[..., object] | None = None,
    reached: bool = False,
) -> None: ...
async def watch(client: Client) -> None: ...
def run(
    make: Callable[[_Config, Store, Log], _Application],
    config: _Config,
    store: Callable[[_Config], Store] = ...,
    network: Callable[[], _Network] | None = None,
) -> None: ...

"""Types of clock.py."""

from ..sleep.node import _Network
from ..store import Store

class ClockError(OSError): ...

class Clock:
    wifi: _Network | None
    host: str
    port: int
    store: Store | None
    period: int
    renew: int
    fresh: bool
    def __init__(
        self,
        wifi: _Network | None = None,
        host: str = "pool.ntp.org",
        store: Store | None = None,
        period: float = 0,
        renew: int = 64,
        port: int = 123,
    ) -> None: ...
    async def join(self, timeout_ms: int = 15000) -> None: ...
    def proven(self) -> None: ...
    def off(self) -> None: ...

def now() -> int: ...
async def sntp(host: str, timeout_ms: int = 3000, port: int = 123) -> int: ...

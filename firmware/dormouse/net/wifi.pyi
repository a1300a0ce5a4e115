"""Types of wifi.py."""

from typing import Any

from ..store import Store

class WifiError(OSError):
    code: int

class Wifi:
    wlan: Any  # network.WLAN of the port
    login: tuple[str, str]
    store: Store | None
    pm: int | None
    renew: int
    fresh: bool
    def __init__(
        self,
        ssid: str,
        password: str,
        store: Store | None = None,
        pm: int | None = None,
        hostname: str | None = None,
        renew: int = 16,
    ) -> None: ...
    async def join(self, timeout_ms: int = 15000) -> None: ...
    def off(self) -> None: ...

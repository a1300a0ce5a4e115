"""Types of once.py."""

from collections.abc import Mapping

from ..packet import _Bytes
from ..store import Store

_What = str | _Bytes | int

class Once:
    store: Store
    key: int
    size: int
    state: bool
    within: float
    def __init__(
        self,
        store: Store,
        key: int = 0x100,
        size: int = 24,
        state: bool = False,
        within: float = 0,
    ) -> None: ...
    def seen(self, what: _What, value: _What = "") -> bool: ...
    def done(
        self, what: _What, value: _What = "", changes: Mapping[int, _Bytes | None] | None = None
    ) -> None: ...
    def forget(self) -> None: ...

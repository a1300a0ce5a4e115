"""Types of sequence.py."""

from collections.abc import Mapping

from ..packet import _Bytes
from ..session import Session
from ..store import Store

class Counter:
    session: Session
    last: int
    state: bytes
    def __init__(self, session: Session) -> None: ...
    def next(self, state: _Bytes | None = None) -> int: ...
    def pack(self, state: _Bytes) -> bytes: ...

class Sequence:
    missed: int
    anew: int
    store: Store
    key: int
    last: int | None
    def __init__(self, store: Store, key: int = 0x101) -> None: ...
    def check(self, n: int) -> int: ...
    def done(self, n: int, changes: Mapping[int, _Bytes | None] | None = None) -> None: ...

"""Types of rtc.py."""

from ..packet import _Bytes
from . import Store

class Blob(Store):
    size: int
    piece: bytearray
    def __init__(self, size: int) -> None: ...
    # What a subclass gives; RTCStore by attributes.
    def load(self) -> _Bytes: ...
    def dump(self, blob: _Bytes, /) -> None: ...

class RTCStore(Blob):
    def __init__(self, size: int = 2048) -> None: ...

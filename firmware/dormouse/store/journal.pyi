"""Types of journal.py."""

from . import Store

class Journal(Store):
    path: str
    limit: int
    saves: int
    written: int
    def __init__(self, path: str, limit: int = 16384, reserve: int = 0) -> None: ...

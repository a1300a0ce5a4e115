"""Types of layered.py."""

from . import Store

class Layered(Store):
    small: Store
    large: Store
    def __init__(self, small: Store, large: Store) -> None: ...

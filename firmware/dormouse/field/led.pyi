"""Types of led.py."""

from typing import Any

class LED:
    invert: bool
    outlasts: bool
    pin: Any  # a machine.Pin
    def __init__(self, pin: int | str | dict[str, Any]) -> None: ...
    def light(self, on: bool = False) -> None: ...
    def blink(self, count: int) -> None: ...

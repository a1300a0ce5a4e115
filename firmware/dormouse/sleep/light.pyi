"""Types of light.py."""

from ..session import Session

def sleep_budget(session: Session, now: int, planned: int) -> int: ...

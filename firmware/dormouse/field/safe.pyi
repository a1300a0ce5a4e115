"""Types of safe.py."""

from .guard import Guard

async def visit(guard: Guard) -> None: ...

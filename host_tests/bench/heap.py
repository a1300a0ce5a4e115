"""How a program on a device measures its heap: for programs beside this one; tools/desk/why.py puts
it into others."""

import gc


def deep(n):
    # Wipe the stack: the collector takes what looks like a pointer for one, and a stale one would
    # keep garbage.
    a = b = c = d = e = f = g = h = None  # noqa: F841
    if n:
        deep(n - 1)


def heap():
    """Return the bytes of heap that are held."""
    for _ in range(3):
        deep(25)
        gc.collect()
    return gc.mem_alloc()

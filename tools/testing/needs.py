"""Skipping what cannot be had on this machine: with the reason, and never in CI."""

import os
from collections.abc import Callable
from typing import NoReturn, TypeVar

import pytest

from . import runtimes

T = TypeVar("T")


def missing(reason: str) -> NoReturn:
    """Skip the test visibly; in CI let it fail."""
    if os.environ.get("CI"):
        pytest.fail(f"nothing may be skipped in CI: {reason}")
    pytest.skip(reason)


def needed(part: Callable[[], T]) -> T:
    """Return what ``part`` returns; skip the test where that cannot be had."""
    try:
        return part()
    except runtimes.NotAvailable as error:
        missing(str(error))


def mosquitto_argv() -> list[str]:
    """Return how to start mosquitto; skips the test where it cannot be had."""
    return needed(runtimes.get.mosquitto)

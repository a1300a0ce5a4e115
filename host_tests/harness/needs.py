"""Skipping what cannot be had on this machine: with the reason, and never in CI."""

import os

import pytest

from . import runtimes


def missing(reason: str) -> None:
    """Skip the test visibly; in CI let it fail."""
    if os.environ.get("CI"):
        pytest.fail(f"nothing may be skipped in CI: {reason}")
    pytest.skip(reason)


def mosquitto_argv() -> list[str]:
    """Return how to start mosquitto; skips the test where it cannot be had."""
    try:
        return runtimes.get.mosquitto()
    except runtimes.NotAvailable as error:
        missing(str(error))
        raise

"""Somebody who reads all and publishes all, without the key, against updates: a few rounds of
`make attack`."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest
from harness.attack import Siege

from tools.testing import runtimes
from tools.testing.brokers import MosquittoBroker
from tools.testing.needs import missing

pytestmark = pytest.mark.desk("runs on the simulated board: its boot.py, flash and power cuts")


@pytest.mark.timeout(400)
def test_attack(mosquitto: Callable[..., MosquittoBroker], tmp_path: Path) -> None:
    runtime = runtimes.MICROPYTHON64
    if runtime.reason:
        missing(runtime.reason)
    broker = mosquitto(extra_config="max_queued_messages 10000")
    with Siege(broker, runtime, tmp_path / "board", random.Random(1)) as siege:
        for _ in range(6):
            siege.round()
        siege.check_readings()
        assert siege.boots > 8 and len(siege.attacker.done) > 5

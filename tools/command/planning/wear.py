"""What messages cost the flash: measured on the simulated board, whose flash is a real littlefs."""

from __future__ import annotations

from dataclasses import dataclass

CYCLES = 100_000  # erase cycles of a block of flash: what its makers promise at the least
YEAR = 365.25 * 24 * 3600  # s
SOURCE = "measured: make wake (a Journal on littlefs)"

# Blocks of 4,096 bytes in the filesystem of MicroPython's own builds (ESP32: 4 MB of flash).
BLOCKS = {"esp32": 512, "rp2": 212}


@dataclass(frozen=True)
class Wear:
    """A message's records, bytes given to the filesystem, bytes that it programs, blocks erased."""

    saves: float
    journal: float
    flash: float
    erases: float


NONE = Wear(0, 0, 0, 0)
# Port: QoS of a message that goes out. Averages over 60 wakes, payload 30 bytes, topic 20:
# `make wake ARGS=--json`.
MESSAGE = {
    "esp32": {0: NONE, 1: Wear(3, 100, 677, 1 / 6), 2: Wear(4, 116, 815, 1 / 5)},
    "rp2": {0: NONE, 1: Wear(3, 100, 1536, 2 / 3), 2: Wear(3.9, 116, 1655, 1 / 2)},
}


def years(port: str, qos: int, period: float, messages: int = 1) -> float | None:
    """Return how long a flash lasts with so many messages in each period (s); None: it is not worn,
    or the port was not measured.

    littlefs takes each time another of the blocks that are free: here, half of them.
    """
    wear = MESSAGE.get(port, {}).get(qos, NONE)
    if not wear.erases or not messages:
        return None
    return CYCLES * BLOCKS[port] / 2 / (wear.erases * messages) * period / YEAR

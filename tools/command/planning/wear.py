"""What messages cost the flash: measured on the simulated board, whose flash is a real littlefs."""

from __future__ import annotations

from dataclasses import dataclass

CYCLES = 100_000  # erase cycles of a block of flash: what its makers promise at the least
YEAR = 365.25 * 24 * 3600  # s

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


# Up to so many bytes of topic and payload, one message in a wake, MESSAGE holds. Beyond, littlefs
# has the journal in blocks of its own, and each record begins a new one: a wake erases at the most
# WAKE + messages * (EACH + bytes / SPAN) + commands * TAKEN. Above each of 50 kinds of wakes that
# were measured (1 to 16 messages, 30 to 8,000 bytes, up to 20 commands, both boards); of some it is
# a small part.
SIZE = 50
WAKE, EACH, SPAN, TAKEN = 2, 2, 2048, 1.5


def is_measured(messages: int, size: int, commands: int) -> bool:
    """Tell whether a wake is as those that MESSAGE is of. size: bytes of topic and payload;
    commands: those that come at QoS 1 or 2."""
    return not commands and (not messages or (messages == 1 and size <= SIZE))


def erases(
    port: str, qos: int, messages: int = 1, size: int = SIZE, commands: int = 0
) -> float | None:
    """Return the blocks that a wake erases, or if it was not measured at the most; None: the port
    was not measured."""
    if port not in MESSAGE:
        return None
    worn = messages if qos else 0
    if is_measured(worn, size, commands):
        return MESSAGE[port][qos].erases if worn else 0
    return WAKE + worn * (EACH + size / SPAN) + commands * TAKEN


def years(
    port: str, qos: int, period: float, messages: int = 1, size: int = SIZE, commands: int = 0
) -> float | None:
    """Return how long a flash lasts with such a wake in each period (s), or at the least, if it was
    not measured; None: it is not worn, or the port was not measured.

    littlefs takes each time another of the blocks that are free: here, half of them.
    """
    worn = erases(port, qos, messages, size, commands)
    return CYCLES * BLOCKS[port] / 2 / worn * period / YEAR if worn else None

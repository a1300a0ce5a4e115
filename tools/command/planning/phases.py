"""What a wake is made of in time and charge: phases, each with who measured it."""

from __future__ import annotations

import argparse
from dataclasses import dataclass

from ...amounts import real

# One board (ESP32, MicroPython with the program frozen), one network: each line there is from power
# on to sleep, so a phase is the difference of two. Uncertain by what another board and another
# network make of it, which nobody has published: SPREAD is assumed.
# github.com/glenn20/upy-esp32-experiments, ESPNowvsWifiEnergyUsage/README.md
GLENN = "published: glenn20/upy-esp32-experiments"
SPREAD = 0.25
YOU = "you"
ROUND_TRIP = 20.0  # ms: that MQTT message took 40 ms, which were two round trips
RADIO = 8.4 / 40 * 1000  # mA, the same message: 8.4 mC in 40 ms


@dataclass(frozen=True)
class Phase:
    """A part of a wake. ms; mC; spread: 0.25 is 25 % more or less."""

    name: str
    ms: float
    mc: float
    source: str
    spread: float = SPREAD

    @property
    def ma(self) -> float:
        """What it draws, on average, in mA."""
        return self.mc / self.ms * 1000 if self.ms else 0.0


BOOT = Phase("boot", 70, 3.32, GLENN)
FILES = Phase("mount files, compile", 350, 23.6, GLENN)
WIFI = {
    "static": Phase("Wi-Fi, known address", 734 - 70, 100.2 - 3.32, GLENN),
    "dhcp": Phase("Wi-Fi, DHCP", 1626 - 70, 204.3 - 3.32, GLENN),
}
MEASURED = ("ESP32_GENERIC",)  # boards for which these hold


def network(name: str, round_trips: int, round_trip: float, source: str, spread: float) -> Phase:
    """Return the phase of so many round trips (ms each), radio on."""
    ms = round_trips * round_trip
    return Phase(name, ms, ms * RADIO / 1000, source, spread)


def parse(text: str) -> Phase:
    """Return the phase that a person wrote: NAME=MS:MA or NAME=MS:MA:PERCENT (the spread).

    Raises ArgumentTypeError.
    """
    name, _, rest = text.partition("=")
    parts = rest.split(":")
    kinds = (real(), real(), real(most=100))  # a spread of more would be a charge below 0
    if not name or len(parts) not in (2, 3):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=MS:MA or NAME=MS:MA:PERCENT")
    numbers = [kind(part) for kind, part in zip(kinds, parts, strict=False)]
    ms, ma = numbers[:2]
    return Phase(name, ms, ms * ma / 1000, YOU, numbers[2] / 100 if len(numbers) > 2 else 0)


@dataclass(frozen=True)
class Power:
    """A wake in time and charge, and what a battery makes of it.

    asleep_ua: with its source; capacity in mAh, or None; period in s.
    """

    phases: tuple[Phase, ...]
    period: float
    asleep_ua: float
    asleep_source: str
    capacity: float | None

    @property
    def awake_ms(self) -> float:
        """How long a wake is."""
        return sum(phase.ms for phase in self.phases)

    @property
    def wake_mc(self) -> float:
        """What a wake takes, in mC."""
        return sum(phase.mc for phase in self.phases)

    @property
    def asleep_mc(self) -> float:
        """What the sleep between two wakes takes, in mC."""
        return self.asleep_ua * max(self.period - self.awake_ms / 1000, 0) / 1000

    def average_ua(self, side: int = 0) -> float:
        """Return the average current in µA; side: -1 or 1, the end of what is uncertain."""
        # All are added up: who measured one phase wrong measured all of them wrong.
        off = sum(phase.mc * phase.spread for phase in self.phases) * side
        return (self.wake_mc + off + self.asleep_mc) / self.period * 1000

    def days(self, side: int = 0) -> float | None:
        """Return how long the battery lasts, to its last drop; None if there is no battery."""
        if self.capacity is None:
            return None
        return self.capacity * 1000 / self.average_ua(-side) / 24

    def shares(self) -> list[tuple[str, float]]:
        """Return what takes which part of the charge."""
        whole = self.wake_mc + self.asleep_mc
        parts = [(phase.name, phase.mc / whole) for phase in self.phases]
        return [*parts, ("asleep", self.asleep_mc / whole)]

"""Where RP2's watchdog is: addressmap.h and watchdog.h of the pico-sdk."""

import sys

import pytest
from dormouse import chip


@pytest.mark.parametrize(
    ("machine", "reason"),
    [
        ("Raspberry Pi Pico W with RP2040", 0x40058008),
        ("Raspberry Pi Pico 2 W with RP2350", 0x400D8008),
        ("Raspberry Pi Pico 2 W with RP2350-RISCV", 0x400D8008),
    ],
)
def test_reason(machine: str, reason: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.implementation, "_machine", machine, raising=False)
    assert chip.register(8) == reason

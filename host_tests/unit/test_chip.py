"""Where RP2's watchdog and timer are: addressmap.h, watchdog.h and timer.h of the pico-sdk."""

import sys
from types import SimpleNamespace

import pytest
from dormouse.sleep import chip


@pytest.mark.parametrize(
    ("name", "reason", "armed"),
    [
        ("Raspberry Pi Pico W with RP2040", 0x40058008, 0x40054020),
        ("Raspberry Pi Pico 2 W with RP2350", 0x400D8008, 0x400B0020),
        ("Raspberry Pi Pico 2 W with RP2350-RISCV", 0x400D8008, 0x400B0020),
    ],
)
def test_registers(name: str, reason: int, armed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.implementation, "_machine", name, raising=False)
    assert chip.register(8) == reason
    usb = 0x50110000  # ADDR_ENDP: no host
    written: dict[int, int] = {usb: 0}
    slept: list[int] = []
    machine = SimpleNamespace(mem32=written, deepsleep=slept.append)
    monkeypatch.setitem(sys.modules, "machine", machine)
    chip.deepsleep(5_000_000)
    chip.deepsleep(1)  # which would be no sleep, and without end
    assert (written, slept) == ({usb: 0, armed: 15}, [4294966, 2])

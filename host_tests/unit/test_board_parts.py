"""What hangs on the simulated board's pins: values that a test sets, and what a program did."""

from pathlib import Path

import pytest

from tools.testing.board import Board
from tools.testing.runtimes import Runtime

PROGRAM = """
import machine
from machine import ADC, I2C, PWM, SPI, Pin
import dht, ds18x20, onewire
print("adc", ADC(Pin(34)).read_u16(), ADC(35).read_u16())
bus = I2C(0)
print("scan", bus.scan())
print("id", bus.readfrom_mem(0x76, 0xD0, 1), bus.readfrom_mem(0x76, 0xF9, 2))
bus.writeto_mem(0x76, 0xF4, b"\\x27")
print("held", bus.readfrom_mem(0x76, 0xF4, 1))
bus.writeto(0x44, b"\\x24\\x00")
print("sht", bus.readfrom(0x44, 3))
try:
    bus.writeto(0x10, b"\\x00")
except OSError as e:
    print("nobody", e.args[0])
spi = SPI(1)
into = bytearray(4)
spi.write_readinto(b"\\x9f\\x00\\x00\\x00", into)
print("spi", bytes(into))
spi.write(b"\\x9f")
print("then", spi.read(3))
pwm = PWM(Pin(2), freq=1000, duty_u16=32768)
pwm.duty_u16(0)
sensor = dht.DHT22(Pin(4))
sensor.measure()
print("dht", sensor.temperature(), sensor.humidity())
try:
    dht.DHT11(Pin(5)).measure()
except OSError as e:
    print("silent", e.args[0])
ds = ds18x20.DS18X20(onewire.OneWire(Pin(15)))
(rom,) = ds.scan()
ds.convert_temp()
print("ds", ds.read_temp(rom))
print("pin", Pin(12, Pin.IN).value())
try:
    machine.Nothing
except AttributeError:
    print("no such name")
"""


@pytest.mark.parametrize("kind", ["esp32", "rp2"])
def test_values(runtime: Runtime, tmp_path: Path, kind: str) -> None:
    with Board(runtime, tmp_path, files={"main.py": PROGRAM}, type=kind) as board:
        board.set_inputs(adc={34: 20000}, pins={12: 1}, dht={4: (21.5, 60)})
        board.set_inputs(
            i2c={0x76: {"d0": b"\x60", "f7": "0102030405"}, 0x44: {"2400": "6667a2"}},
            spi={1: {"9f": "ef4018"}},
            onewire={15: {"28ff641e8216043c": -10.125}},
        )
        board.power_on()
        end = board.wait_end(10)
        assert end.reason == "exit", end.lines
        assert end.lines == [
            "adc 20000 0",
            "scan [68, 118]",
            "id b'`' b'\\x03\\x04'",
            'held b"\'"',
            "sht b'fg\\xa2'",
            f"nobody {19 if kind == 'esp32' else 5}",
            "spi b'\\x00\\xef@\\x18'",
            "then b'\\xef@\\x18'",
            "dht 21.5 60",
            f"silent {116 if kind == 'esp32' else 110}",
            "ds -10.125",
            "pin 1",
            "no such name",
        ]
        assert [(o["freq"], o["duty_u16"]) for o in board.outputs("pwm")] == [
            (1000, 32768),
            (1000, 0),
        ]
        assert [o["data"] for o in board.outputs("i2c")] == ["27", "2400"]
        board.set_inputs(adc={34: 1})  # what is not named stays
        board.power_on()
        assert board.wait_end(10).lines[0] == "adc 1 0" and board.lines[-2] == "pin 1"


def test_nothing_is_set(runtime: Runtime, tmp_path: Path) -> None:
    program = "from machine import ADC, I2C\nprint(ADC(1).read_u16(), I2C(0).scan())"
    with Board(runtime, tmp_path, files={"main.py": program}) as board:
        board.power_on()
        assert board.wait_end(10).lines == ["0 []"]
        assert board.outputs() == board.changes() == []

"""MicroPython's ds18x20 on the simulated board."""

from onewire import OneWire

CONVERT, READ_SCRATCH = 0x44, 0xBE
FAMILIES = (0x10, 0x22, 0x28)


class DS18X20:
    def __init__(self, onewire: OneWire):
        self.ow = onewire
        self.buf = bytearray(9)

    def scan(self):
        return [rom for rom in self.ow.scan() if rom[0] in FAMILIES]

    def convert_temp(self):
        self.ow.reset(True)
        self.ow.writebyte(CONVERT)

    def read_scratch(self, rom):
        self.ow.reset(True)
        self.ow.select_rom(rom)
        self.ow.writebyte(READ_SCRATCH)
        self.ow.readinto(self.buf)
        if self.ow.crc8(self.buf[:8]) != self.buf[8]:
            raise Exception("CRC error")
        return self.buf

    def read_temp(self, rom):
        raw = int.from_bytes(self.read_scratch(rom)[:2], "little")
        return (raw - 65536 if raw & 0x8000 else raw) / 16

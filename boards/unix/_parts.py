"""What hangs on the pins of the simulated board: ADC, I2C, SPI, PWM, 1-wire, DHT.

What the node reads is in inputs.json of the board's folder, read again at each use; what it does to
its surroundings is a line in outputs.jsonl. In inputs.json, pins as text:

    "adc": {"34": 20000}                       what read_u16() gives, 0 to 65535
    "dht": {"4": [21.5, 60]}                   degrees C, % humidity; none: no answer in time
    "onewire": {"4": {"28ff641e8216043c": 21.5}}     a DS18B20, by its ROM: degrees C
    "i2c": {"118": {"d0": "60", "f7": "5a2b"}}       by address: what was written before the read,
    "spi": {"1": {"9f": "ef4018"}}                   by bus: the command, in hex -> the answer

An I2C answer may be read from its middle on, as registers are: "f7" of 8 bytes answers "fa", too.
Bytes that the node writes to a register are there when it reads that, until the boot ends.

The errors are those of ports/esp32 and ports/rp2: machine_i2c.c, drivers/dht.
"""

import json
from binascii import hexlify, unhexlify

import _board
from _board import state

ETIMEDOUT = 116 if state.esp32 else 110
NO_DEVICE = 19 if state.esp32 else 5  # ENODEV; EIO


def inputs(kind, key):
    """Return what is set for a part, or None."""
    return _board.load("inputs.json", {}).get(kind, {}).get(str(key))


def output(kind, **what):
    """Note what the node did."""
    what.update(kind=kind, boot=state.boot)
    what["ms"] = _board.ticks_diff(_board.ticks_ms(), state.started)
    with open(_board.path("outputs.jsonl"), "a") as f:
        f.write(json.dumps(what) + "\n")


def number(pin):
    return getattr(pin, "id", pin)


def text(data):
    return hexlify(bytes(data)).decode()


class ADC:
    """An analog input: 0 where nothing is set."""

    if state.esp32:
        ATTN_0DB, ATTN_2_5DB, ATTN_6DB, ATTN_11DB = 0, 1, 2, 3
        WIDTH_9BIT, WIDTH_10BIT, WIDTH_11BIT, WIDTH_12BIT = 9, 10, 11, 12
    else:
        CORE_TEMP = 4

    def __init__(self, pin, **options):
        self.pin = number(pin)

    def read_u16(self):
        return inputs("adc", self.pin) or 0

    def read_uv(self):
        return self.read_u16() * 3300000 // 65535

    if state.esp32:

        def read(self):
            return self.read_u16() >> 4

        def atten(self, x):
            pass

        def width(self, x):
            pass


class PWM:
    """An output that blinks by itself; each change is noted."""

    def __init__(self, pin, freq=None, duty_u16=0, duty_ns=None, **options):
        self.pin = number(pin)
        self._freq = freq or 0
        self._duty = duty_u16
        if duty_ns is not None:
            self._duty = self._from_ns(duty_ns)
        self._note()

    def init(self, **options):
        self.__init__(self.pin, **options)

    def deinit(self):
        self._freq = self._duty = 0
        self._note()

    def _note(self):
        output("pwm", pin=self.pin, freq=self._freq, duty_u16=self._duty)

    def _from_ns(self, ns):
        return min(65535, ns * self._freq * 65535 // 1000000000)

    def freq(self, hz=None):
        if hz is None:
            return self._freq
        self._freq = hz
        self._note()

    def duty_u16(self, x=None):
        if x is None:
            return self._duty
        self._duty = min(max(x, 0), 65535)
        self._note()

    def duty_ns(self, ns=None):
        if ns is None:
            return self._duty * 1000000000 // 65535 // self._freq if self._freq else 0
        self.duty_u16(self._from_ns(ns))

    if state.esp32:

        def duty(self, x=None):
            if x is None:
                return self._duty >> 6
            self.duty_u16(x << 6)


class I2C:
    """A bus; hardware and software ones are alike here."""

    _written = {}  # (address, register in hex) -> bytes

    def __init__(self, id=-1, **options):
        self.id = id
        self._asked = {}  # address -> what was written last, in hex

    def _device(self, address):
        device = inputs("i2c", address)
        if device is None:
            raise OSError(NO_DEVICE)
        return device

    def _answer(self, address, size):
        device = self._device(address)
        asked = self._asked.get(address, "")
        held = self._written.get((address, asked))
        if held is None:
            held = unhexlify(device.get(asked, ""))
        if not held and asked:  # in the middle of an answer, as of registers in a row
            for key, value in device.items():
                ahead = int(asked, 16) - int(key, 16) if len(key) == len(asked) else -1
                if 0 <= ahead < len(value) // 2:
                    held = unhexlify(value)[ahead:]
        return (held + bytes(size))[:size]

    def scan(self):
        return sorted(int(address) for address in _board.load("inputs.json", {}).get("i2c", {}))

    def writeto(self, address, buf, stop=True):
        self._device(address)
        self._asked[address] = text(buf)
        output("i2c", address=address, data=text(buf))
        return len(buf)

    def writevto(self, address, vector, stop=True):
        return self.writeto(address, b"".join(bytes(part) for part in vector), stop)

    def readfrom(self, address, size, stop=True):
        return self._answer(address, size)

    def readfrom_into(self, address, buf, stop=True):
        buf[:] = self._answer(address, len(buf))

    def _register(self, register, addrsize):
        return text(register.to_bytes(addrsize // 8, "big"))

    def readfrom_mem(self, address, register, size, *, addrsize=8):
        self._asked[address] = self._register(register, addrsize)
        return self._answer(address, size)

    def readfrom_mem_into(self, address, register, buf, *, addrsize=8):
        buf[:] = self.readfrom_mem(address, register, len(buf), addrsize=addrsize)

    def writeto_mem(self, address, register, buf, *, addrsize=8):
        self._device(address)
        key = self._register(register, addrsize)
        self._written[address, key] = bytes(buf)
        output("i2c", address=address, register=register, data=text(buf))


SoftI2C = I2C


class SPI:
    """A bus: what is read is the answer to what was written before, or at the same time."""

    MSB, LSB = 0, 1

    def __init__(self, id=-1, baudrate=1000000, **options):
        self.id = id
        self._asked = ""

    def init(self, **options):
        pass

    def deinit(self):
        pass

    def _answer(self, size):
        return (unhexlify((inputs("spi", self.id) or {}).get(self._asked, "")) + bytes(size))[:size]

    def write(self, buf):
        self._asked = text(buf)
        output("spi", id=self.id, data=self._asked)

    def read(self, size, write=0):
        return self._answer(size)

    def readinto(self, buf, write=0):
        buf[:] = self._answer(len(buf))

    def write_readinto(self, write_buf, read_buf):
        whole = text(write_buf)
        output("spi", id=self.id, data=whole)
        for key in inputs("spi", self.id) or {}:
            if whole.startswith(key):
                self._asked = key
                blank = len(key) // 2
                read_buf[:] = (bytes(blank) + self._answer(len(read_buf)))[: len(read_buf)]
                return
        read_buf[:] = bytes(len(read_buf))


SoftSPI = SPI

"""MicroPython's dht on the simulated board: values from inputs.json (see _parts.py)."""

from _parts import ETIMEDOUT, inputs, number


class DHTBase:
    def __init__(self, pin):
        self.pin = number(pin)
        self._read = (0, 0)

    def measure(self):
        """OSError where no sensor answers."""
        found = inputs("dht", self.pin)
        if found is None:
            raise OSError(ETIMEDOUT)
        self._read = found

    def temperature(self):
        return self._read[0]

    def humidity(self):
        return self._read[1]


class DHT22(DHTBase):
    pass


class DHT11(DHTBase):
    """Whole degrees and per cent."""

    def measure(self):
        super().measure()
        self._read = int(self._read[0]), int(self._read[1])

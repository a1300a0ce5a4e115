"""A status LED: on while the node is awake, and a few blinks for a person who just started it."""

from time import sleep


class LED:
    """``pin``: a pin's number or name ("LED" on a Pico W), or {"pin": ..., "invert": true} for an
    LED that lights at level 0. Raises ValueError or TypeError for a pin that is none."""

    def __init__(self, pin) -> None:
        from machine import Pin

        self.invert = False
        if isinstance(pin, dict):
            self.invert = bool(pin.get("invert"))
            pin = pin["pin"]
        # The LED of a Pico W is at its radio chip, which goes off before it sleeps, and which a
        # write would turn on again.
        self.outlasts = isinstance(pin, int)
        self.pin = Pin(pin, Pin.OUT)
        self.light(True)

    def light(self, on: bool = False) -> None:
        """Turn it on or off."""
        self.pin.value(on ^ self.invert)

    def blink(self, count: int) -> None:
        """Go dark, blink, stay dark; 0.5 s and 0.4 s for each blink."""
        self.light()
        sleep(0.5)
        for _ in range(count):
            self.light(True)
            sleep(0.1)
            self.light()
            sleep(0.3)

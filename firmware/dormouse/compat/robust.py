"""MQTTClient with the methods of umqtt.robust: it connects again by itself.

    from dormouse.compat.robust import MQTTClient       # instead of umqtt.robust

It waits for ever where umqtt.robust does, in each call, while there is no broker. A program that
has other things to do is better off with ``dormouse.Client``.
"""

from time import sleep

from .umqtt import MQTTClient as _Simple
from .umqtt import MQTTException  # noqa: F401  (programs import it from here)


class MQTTClient(_Simple):
    """A synchronous client that connects again when the connection is lost, with the
    ``clean_session`` of the last ``connect``. Arguments as ``umqtt.MQTTClient``'s."""

    DELAY = 2  # s between attempts
    DEBUG = False
    _busy = False  # in ``reconnect``: what its ``connect`` calls is not to call it again

    def delay(self, i: int) -> None:
        """Wait before attempt ``i``, from 1."""
        sleep(self.DELAY)

    def log(self, in_reconnect: bool, e: Exception) -> None:
        """Print why a connection ended, with DEBUG."""
        if self.DEBUG:
            print("mqtt reconnect:" if in_reconnect else "mqtt:", repr(e))

    def reconnect(self) -> int:
        """Connect, by ``connect`` of a subclass where it has one, and try again until it works.
        Raises MQTTException if the broker refuses."""
        i = 0
        while True:
            try:
                self._busy = True
                return self.connect(self.clean)
            # ValueError: somebody else's certificate (MicroPython), which may pass; no memory, too.
            except (OSError, ValueError, MemoryError) as e:
                self.log(True, e)
            finally:
                self._busy = False
            i += 1
            self.delay(i)

    def wait_msg(self) -> None:
        """As umqtt's; connects again if need be."""
        self._again(super().wait_msg)

    def check_msg(self, attempts: int = 2) -> None:
        """As umqtt's; connects again if need be, ``attempts`` times at most."""
        while attempts:
            attempts -= 1
            try:
                return super().check_msg()
            except OSError as e:
                if self._busy:
                    raise
                self.log(False, e)
                self.reconnect()

    def _up(self):
        if not self.sock and self._session and not self._busy:
            self.reconnect()
        return super()._up()

    def _until(self, o):
        if self._busy:
            return super()._until(o)
        # Not ``withdraw``n when a connection is lost: it goes again in the next one.
        while not o.done:
            try:
                self._step(o)
            except OSError as e:
                self.log(False, e)
                self.reconnect()
        if o.error:
            raise o.error

    def _again(self, f):
        while True:
            try:
                return f()
            except OSError as e:
                if self._busy:
                    raise
                self.log(False, e)
                self.reconnect()

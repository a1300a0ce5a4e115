"""dormouse: a tiny asyncio MQTT client that sleeps and never loses or doubles a message.

    from dormouse import Client, Will, Message

Names load what they need at first use; the errors are MQTTError and its subclasses.
"""

import sys

if sys.implementation.name != "micropython":
    from . import _host  # noqa: F401  (what CPython lacks)


def __getattr__(name):
    for part in ("packet", "session", "client"):
        part = __import__(part, globals(), None, ("",), 1)
        if hasattr(part, name):
            return getattr(part, name)
    raise AttributeError(name)

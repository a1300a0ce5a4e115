"""Ways to the broker, and what they need. Nothing here knows a session."""

from .. import __getattr__ as _find

_HOMES = {"Wifi": "wifi", "Clock": "clock", "WebSocket": "ws", "Serial": "serial", "context": "tls"}


def __getattr__(name):
    return _find(name, "dormouse.net", _HOMES.get(name, ""))

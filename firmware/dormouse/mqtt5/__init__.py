"""What MQTT 5.0 adds: loaded by ``Client(version=5)``."""

from .. import __getattr__ as _find


def __getattr__(name):
    home = "request" if name in ("Requester", "respond") else "session"
    return _find(name, "dormouse.mqtt5", home)

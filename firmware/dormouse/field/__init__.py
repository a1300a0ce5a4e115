"""What a device on a pole needs: settings, crashes counted, a log, an LED, updates."""

from .. import __getattr__ as _find

_HOMES = {"Log": "log", "LED": "led", "Ota": "ota", "LargeOta": "large_ota"}


def __getattr__(name):
    return _find(name, "dormouse.field", _HOMES.get(name, ""))

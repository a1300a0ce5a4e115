"""Messages larger than RAM, out and in, piece by piece: loaded by ``Client(large=True)``."""

from .. import __getattr__ as _find


def __getattr__(name):
    return _find(name, "dormouse.large", "source" if name[:6] == "Source" else "taking")

"""Wake cycles: a node that sleeps deeply between them."""

from .. import __getattr__ as _find


def __getattr__(name):
    return _find(name, "dormouse.sleep", "node")

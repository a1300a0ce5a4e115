"""Wake cycles: a node that sleeps deeply between them."""

from .. import __getattr__ as _find


def __getattr__(name):
    # A client that only sleeps lightly loads no Node.
    return _find(name, "dormouse.sleep", "light" if name == "sleep_budget" else "node")

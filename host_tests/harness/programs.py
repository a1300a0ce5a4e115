"""The programs of tools/, as a person starts them."""

import sys

from tools.testing.runtimes import ROOT


def argv_of(name: str) -> list[str]:
    """Return the argv of a program of tools/, to be started in ROOT."""
    (found,) = (ROOT / "tools").glob(f"*/{name}.py")
    return [sys.executable, "-m", f"tools.{found.parent.name}.{name}"]

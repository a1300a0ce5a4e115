"""What only the tests of dormouse itself are built from; the rest is in tools/testing."""

import importlib
import sys

# For what was written before they moved: `from harness.board import Board` is the same module.
_MOVED = "address board brokers certs chaos loop observer peer runtimes wire wire5 sntp needs"
for _name in _MOVED.split(" "):
    _module = importlib.import_module(f"tools.testing.{_name}")
    globals()[_name] = sys.modules[f"harness.{_name}"] = _module

"""python -m tools.command: what `dormouse` is from a wheel."""

import sys
from pathlib import Path

if __package__ != "dormouse_tools.command":
    # In the repository: the core is not installed there.
    sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "firmware"))

from .main import main

if __name__ == "__main__":
    sys.exit(main())

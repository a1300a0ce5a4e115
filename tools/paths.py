"""Where things are: in a checkout around this package, in an installed one inside it.

ROOT     what holds firmware/ and boards/: the checkout, or the copy in the wheel
CACHE    what was fetched: .cache/ in the checkout, or the user's cache folder ($DORMOUSE_CACHE)
BUILD    what is made: build/ in the checkout, or a folder in CACHE
CHECKOUT whether this is a checkout; what an installed package has not, needs one

For old Pythons too: bootstrap.py comes here before there is an environment.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
CHECKOUT = (HERE.parent / "firmware" / "dormouse").is_dir()
ROOT = HERE.parent if CHECKOUT else HERE / "data"
FIRMWARE = ROOT / "firmware"
LIBRARY = FIRMWARE / "dormouse"
BOARDS = ROOT / "boards"


def user_cache() -> Path:
    """Return the folder in which this user's programs keep what can be fetched again."""
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")


_chosen = os.environ.get("DORMOUSE_CACHE")
CACHE = Path(_chosen) if _chosen else ROOT / ".cache" if CHECKOUT else user_cache() / "dormouse"
BUILD = ROOT / "build" if CHECKOUT else CACHE / "build"


def find_library() -> None:
    """Let `import dormouse` work in a checkout, where it is not installed."""
    if CHECKOUT and str(FIRMWARE) not in sys.path:
        sys.path.insert(0, str(FIRMWARE))

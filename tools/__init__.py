"""Programs for the desk: `make help` tells which; each starts as `python -m tools.board.deploy`."""

from __future__ import annotations

import sys
from types import TracebackType


def _told(kind: type[BaseException], error: BaseException, where: TracebackType | None) -> None:
    if not issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, where)


if sys.argv[:1] == ["-m"]:  # so started; to load the rest takes a moment, and Ctrl-C ends that, too
    sys.excepthook = _told

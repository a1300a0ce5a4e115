"""The numbers of an owner's updates and orders, kept in a file beside his key."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

try:
    import fcntl
except ImportError:  # Windows: two of these tools at once are not to be there
    fcntl = None  # type: ignore[assignment]

from .update import CannotUpdate


class Numbers:
    """The numbers of one owner's updates, counted in a file beside his key, so that none is used
    twice, and one that has not ended goes on under its own. Several of these tools may run at once.

    They are counted, not taken from the clock: one that was a century ahead once would leave no
    room for any later one.
    """

    def __init__(self, path: Path, where: str):
        self.path, self.where = path, where
        self.state: dict[str, Any] = {}
        self.last = 0
        self._read()

    def open(self) -> tuple[int, str]:
        """Return the number of the update that has not ended here, and what it is; 0 for none."""
        found = self.state.get("open", {}).get(self.where) or [0, ""]
        return int(found[0]), str(found[1])

    def take(self, digest: str, number: int | None) -> tuple[int, bool]:
        """Return the number for an update, and whether it was begun before. Raises CannotUpdate."""
        with self._held():
            before, same = self.open()
            if same == digest and number in (None, before):
                return before, True
            if number is not None and number <= self.last:
                raise CannotUpdate(f"--number: {self.last} was used; {self.last + 1} or more")
            self.last = number or self.last + 1
            self._write([self.last, digest])
            return self.last, False

    def end(self, number: int | None = None) -> None:
        """An update has ended: the same files again would be another one."""
        with self._held():
            if number in (None, self.open()[0]):  # else another of these tools has begun one here
                self._write(None)

    def order(self) -> int:
        """Return the number of the next order."""
        with self._held():
            self.last += 1
            self._write(self.state.get("open", {}).get(self.where))
            return self.last

    def _read(self) -> None:
        try:
            self.state = json.loads(self.path.read_text())
            self.last = max(self.last, int(self.state.get("last", 0)))
        except FileNotFoundError:
            pass
        except (OSError, ValueError, AttributeError, TypeError) as error:
            raise CannotUpdate(
                f"{self.path}: {error}\nWhat to do: remove it, and give the next --number"
            ) from None

    @contextlib.contextmanager
    def _held(self) -> Iterator[None]:
        # What others have counted since it was read counts, too.
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            lock = self.path.with_suffix(".lock").open("w")
        except OSError as error:
            raise CannotUpdate(
                f"{self.path}: {error.strerror}: there the numbers of updates are counted"
            ) from None
        with lock:
            if fcntl:
                fcntl.flock(lock, fcntl.LOCK_EX)
            self._read()
            yield

    def _write(self, found: list[Any] | None) -> None:
        self.state["last"] = self.last
        self.state.setdefault("open", {})[self.where] = found
        new = self.path.with_suffix(".new")
        try:
            new.write_text(json.dumps(self.state))
            new.replace(self.path)
        except OSError as error:
            raise CannotUpdate(f"{new}: {error.strerror}") from None

"""The library's own source, loaded as a package of its own: as it is, or with a fault put in.

What is explored is what ships: the same files. They are loaded under another name so that a fault
can be put in for one exploration, and nothing else in the process sees it.
"""

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import itertools
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from explorer.snapshot import Reader

FIRMWARE = Path(__file__).resolve().parents[3] / "firmware"
_numbers = itertools.count()

Fault = tuple[str, str]  # what stands there once, and what stands there instead


class DoesNotFit(Exception):
    """A fault's line is no longer in the source, or not only once: the twin has to follow it."""


class _Loader(importlib.machinery.SourceFileLoader):
    """Reads a module's source, with faults put in."""

    faults: tuple[Fault, ...] = ()

    def get_code(self, fullname: str) -> Any:
        source = Path(self.path).read_text()
        for old, new in self.faults:
            if source.count(old) != 1:
                raise DoesNotFit(
                    f"{Path(self.path).name}: {old!r} is there {source.count(old)} times"
                )
            source = source.replace(old, new)
        return compile(source, self.path, "exec", dont_inherit=True)


class _Finder(importlib.abc.MetaPathFinder):
    """Finds the modules of one copy."""

    def __init__(self, name: str, faults: Mapping[str, tuple[Fault, ...]]) -> None:
        self.name = name
        self.faults = dict(faults)

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> Any:
        head, _, rest = fullname.partition(".")
        if head != self.name:
            return None
        base = FIRMWARE.joinpath("dormouse", *rest.split(".")) if rest else FIRMWARE / "dormouse"
        package = base.is_dir()
        file = base / "__init__.py" if package else base.with_suffix(".py")
        if not file.exists():
            return None
        loader = _Loader(fullname, str(file))
        loader.faults = self.faults.get(str(file.relative_to(FIRMWARE / "dormouse")), ())
        spec = importlib.util.spec_from_file_location(
            fullname,
            file,
            loader=loader,
            submodule_search_locations=[str(base)] if package else None,
        )
        return spec


class Library:
    """One copy of the library. ``faults``: file name below dormouse/, what to put in."""

    def __init__(self, faults: Mapping[str, tuple[Fault, ...]] | None = None) -> None:
        self.name = f"dormouse_copy{next(_numbers)}"
        self.finder = _Finder(self.name, faults or {})
        importlib.import_module("dormouse")  # which gives CPython what it lacks
        sys.meta_path.insert(0, self.finder)
        self.session = self.module("session")
        self.session5 = self.module("mqtt5.session")
        self.durable = self.module("store.durable")
        self.expiry = self.module("expiry")
        self.store = self.module("store")
        self.packet = self.module("packet")
        self.kinds: dict[tuple[int, bool, bool], Any] = {}
        for module in (self.session, self.session5):
            if hasattr(module, "reader"):
                vars(module)["reader"] = Reader.of(vars(module)["reader"])

    def module(self, name: str) -> ModuleType:
        """Return a module of this copy."""
        return importlib.import_module(f"{self.name}.{name}")

    def kind(self, version: int, stored: bool, expiring: bool) -> Any:
        """Return a kind of session."""
        key = version, stored, expiring
        if key not in self.kinds:
            kind = self.session5.Session5 if version == 5 else self.session.Session
            if expiring and version == 4:
                kind = self.expiry.expiring(kind)
            self.kinds[key] = self.durable.durable(kind) if stored else kind
        return self.kinds[key]

    def behind(self, session: Any) -> bool:
        """Return whether a driver would read no more for now."""
        return hasattr(session, "behind") and session.behind()

    def lost(self, session: Any, error: Exception | None) -> None:
        """Tell a session that its byte stream is gone, and why."""
        if hasattr(session, "behind"):
            session.lost(error)
        else:
            session.lost()

    def close(self) -> None:
        """Take this copy out of the process again."""
        sys.meta_path.remove(self.finder)
        for name in [n for n in sys.modules if n.partition(".")[0] == self.name]:
            del sys.modules[name]

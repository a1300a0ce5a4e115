"""The owner of the nodes in a test: a key, made once in a run, and the messages of an update."""

from __future__ import annotations

import functools
import shutil
import tempfile
import threading
from pathlib import Path

from tools.board import owner
from tools.board.owner import FileOwner, Owner
from tools.board.update import WHOLE, Bundle, Offer, many

_ONE = threading.Lock()
_FOLDER = tempfile.TemporaryDirectory(prefix="dormouse-owner-")  # removed when the run ends


@functools.cache
def key() -> Path:
    """Return a private key's file."""
    path = Path(_FOLDER.name) / "owner.pem"
    owner.make(path, 2048, None)
    return path


def signer() -> Owner:
    """Return who signs with it; to threads that come together the same one."""
    with _ONE:
        return _signer()


@functools.cache
def _signer() -> Owner:
    return FileOwner(key())


def put_key(folder: Path) -> None:
    """Put it where `make ota` looks for it, if ``folder`` is XDG_CONFIG_HOME."""
    (folder / "dormouse").mkdir(exist_ok=True)
    shutil.copy(key(), folder / "dormouse" / "owner.pem")


def messages(
    bundle: Bundle,
    version: int,
    target: str,
    by: Owner | None = None,
    chunk: int = 2048,
    share: int = WHOLE,
    large: bool = False,
    **words: object,
) -> list[tuple[str, bytes]]:
    """Return what is retained of an update: names below the update topic, "" for the offer, which
    is the first, and payloads; with ``large`` many chunks in one."""
    first, chunks = bundle.chunks(chunk)
    fields = {
        "version": version,
        "app": "main",
        "target": target,
        "board": "-",
        "minimum": 0,
        "expiry": 0,
        "size": len(bundle.content),
        "head": len(bundle.head),
        "first": first,
        "trial": (bundle.tries, bundle.limit, bundle.watchdog),
        "chunk": chunk,
    }
    text = Offer(**(fields | words)).text(share)  # type: ignore[arg-type]
    payload = f"{text}\n{(by or signer()).sign(text)}".encode()
    found = many(chunks) if large else {str(n): data for n, data in enumerate(chunks)}
    return [("", payload), *((f"{version}/{name}", data) for name, data in found.items())]

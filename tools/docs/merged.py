"""One source of the reference: signatures from the .pyi, words from the docstrings of the .py."""

from __future__ import annotations

import ast
import shutil
from pathlib import Path

from .. import parts

# Methods that are another object's, so they have no words of their own in the class.
SAME = {
    "session:Message.chunks": "With ``Client(large=True)``: return what is left of the payload, "
    "for ``async for``: memoryviews, each valid until the next is asked for. Raises "
    "``Incomplete``.",
    "session:Message.readinto": "With ``Client(large=True)``: take what there is of the payload, "
    "waiting for it; return the number of bytes, 0 at its end. Raises ``Incomplete``.",
    "client:Client.publish_nowait": "As ``publish``, but returns its Message at once.",
    "net/serial:Serial.read": "As ``dormouse.stream.read``.",
    "net/serial:Serial.write": "As ``dormouse.stream.write``.",
    "sleep/node:wake_reason": "See ``dormouse.sleep.chip.wake_reason``.",
    "sleep/node:Node.publish": "As ``Client.publish_nowait``: queued for the next wake.",
    "store/nvs:NVSStore.load": "As ``rtc.Blob``'s.",
    "store/nvs:NVSStore.dump": "As ``rtc.Blob``'s.",
    "store/rtc:Blob.load": "Return the medium's bytes. Of subclasses.",
    "store/rtc:Blob.dump": "Put bytes onto the medium, all or none. Of subclasses.",
}
Function = ast.FunctionDef | ast.AsyncFunctionDef
Node = ast.Module | ast.ClassDef | Function


def documented() -> list[str]:
    """Return the modules that have a place in the reference: those with types for users, which
    host_tests/unit/test_typing.py sees to."""
    return [name for name in parts.every() if parts.source(name).with_suffix(".pyi").exists()]


def merge(stub: str, source: str, module: str = "") -> tuple[str, list[str]]:
    """Return a .pyi with the docstrings of the .py in it, and what is public and has none."""
    tree, code = ast.parse(stub), ast.parse(source)
    missing: list[str] = []
    _merge(tree, code, module + ":", missing)
    ast.fix_missing_locations(tree)
    return ast.unparse(tree), missing


def _merge(into: Node, code: Node | None, name: str, missing: list[str]) -> None:
    text = ast.get_docstring(code, clean=False) if code else None
    if ast.get_docstring(into) is not None:  # what the .pyi says of itself
        del into.body[0]
    if text is not None:
        into.body.insert(0, ast.Expr(ast.Constant(text)))
    elif name in SAME:
        into.body.insert(0, ast.Expr(ast.Constant(SAME[name])))
    elif not isinstance(into, ast.Module):
        missing.append(name)
    if isinstance(into, Function):
        return
    dot = "" if name.endswith(":") else "."
    # A class may be made by a function (``durable``): its words are deeper down then.
    deep = () if code is None else code.body if isinstance(code, ast.ClassDef) else ast.walk(code)
    below = {node.name: node for node in deep if isinstance(node, ast.ClassDef | Function)}
    for node in list(into.body):
        # __init__ is told of by its class; other special methods by Python's documentation.
        if isinstance(node, ast.ClassDef | Function) and node.name[0] != "_":
            _merge(node, below.get(node.name), f"{name}{dot}{node.name}", missing)


def write(folder: Path) -> None:
    """Write the library so, as a package for the reference to be made from."""
    shutil.rmtree(folder, ignore_errors=True)
    for name in documented():
        target = folder / "dormouse" / f"{name}.py"
        target.parent.mkdir(parents=True, exist_ok=True)
        source = parts.source(name)
        text, _ = merge(source.with_suffix(".pyi").read_text(), source.read_text(), name)
        target.write_text(text + "\n")


def undocumented() -> list[str]:
    """Return what is public and has no docstring, as module:name."""
    found = []
    for name in documented():
        source = parts.source(name)
        found += merge(source.with_suffix(".pyi").read_text(), source.read_text(), name)[1]
    return found

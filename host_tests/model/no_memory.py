"""Memory that runs out once, in the middle of whatever the library does.

MicroPython raises MemoryError where something is allocated: a call, a list or dict that grows,
bytes put together, an attribute that an object did not have. So here it is raised before such a
line of the library is executed, by a trace function: once, at the line of a given number.
"""

import ast
import sys
from collections.abc import Callable
from functools import cache
from itertools import pairwise
from pathlib import Path
from types import FrameType
from typing import Any

import dormouse

LIBRARY = Path(dormouse.__file__).parent
# Calls that allocate nothing: built-in ones; "on_output", which is the driver's and sets an event;
# and what puts back what was taken out just before, whose room is still there.
FREE = {
    *["len", "isinstance", "min", "max", "callable", "hasattr", "type", "const"],
    *["pop", "remove", "get", "send", "super", "clear"],
    *["on_output", "_ahead", "insert", "update"],
}
# Attributes that are small numbers: to add to one allocates nothing.
NUMBERS = {
    *["bulk", "used", "flying", "suspects", "asking", "sure", "dropped"],
    *["troubles", "unanswered"],
}
# "update" puts back into a dict what was just taken out of it.
UNTOUCHED = {"<module>", "_fault", "update"}


def _free(node: ast.AST) -> bool:
    """Return whether to evaluate this node, not those in it, allocates nothing."""
    if isinstance(node, ast.Call):
        name = getattr(node.func, "id", getattr(node.func, "attr", ""))
        return name in FREE
    if isinstance(node, ast.Subscript):
        return not isinstance(node.ctx, ast.Store) and not isinstance(node.slice, ast.Slice)
    if isinstance(node, (ast.List, ast.Tuple, ast.Dict, ast.Set)):
        return isinstance(getattr(node, "ctx", None), ast.Store)
    if isinstance(node, ast.BinOp):
        numbers = (isinstance(node.left, ast.Constant), isinstance(node.right, ast.Constant))
        return not isinstance(node.op, ast.Add) or any(numbers)
    if isinstance(node, ast.AugAssign):
        if getattr(node.target, "attr", "") in NUMBERS:
            return True
        return not isinstance(node.op, ast.Add) or isinstance(
            node.value, (ast.Constant, ast.Compare, ast.Call)
        )
    return not isinstance(node, (ast.ListComp, ast.DictComp, ast.GeneratorExp, ast.JoinedStr))


@cache
def lines(path: str) -> tuple[set[int], dict[int, list[tuple[str, str]]]]:
    """Return the lines of a file that allocate; and those that set attributes, with these: a
    variable's name, and the attribute's."""
    found: set[int] = set()
    sets: dict[int, list[tuple[str, str]]] = {}
    free: set[int] = set()
    for node in ast.walk(ast.parse(Path(path).read_text())):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            if isinstance(node.value, ast.Name):
                sets.setdefault(node.lineno, []).append((node.value.id, node.attr))
        elif isinstance(node, (ast.expr, ast.AugAssign)) and not _free(node):
            found.add(node.lineno)
        for body in (getattr(node, "body", None), getattr(node, "orelse", None)):
            for before, statement in pairwise(body) if isinstance(body, list) else ():
                if isinstance(before, ast.Delete) and isinstance(before.targets[0], ast.Attribute):
                    free.add(statement.lineno)  # it takes the place of that one
    return found, {line: names for line, names in sets.items() if line not in free}


class NoMemory:
    """Runs something, and at the line of a number that allocates raises MemoryError."""

    def __init__(self) -> None:
        self.at = ""  # where it was raised

    def run(self, number: int, call: Callable[[], Any]) -> Any:
        """Return what ``call`` returns. Raises what it raises, perhaps this MemoryError."""
        left = [number]
        self.at = ""

        def trace(frame: FrameType, event: str, _: Any) -> Any:
            path = frame.f_code.co_filename
            if event == "call":
                return trace if path.startswith(str(LIBRARY)) else None
            if event != "line" or frame.f_code.co_name in UNTOUCHED:
                return trace
            ends = sys.exception()
            if ends is not outer and type(ends).__name__ == "PowerCut":
                return trace  # there is nobody any more for whom memory could run out
            found, sets = lines(path)
            line = frame.f_lineno
            if line in found or any(
                attribute not in vars(frame.f_locals[name])
                for name, attribute in sets.get(line, ())
            ):
                left[0] -= 1
                if not left[0]:
                    self.at = f"{Path(path).name}:{line}"
                    raise MemoryError
            return trace

        before, outer = sys.gettrace(), sys.exception()
        sys.settrace(trace)
        try:
            return call()
        finally:
            sys.settrace(before)

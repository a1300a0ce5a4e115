"""Copies of a session, and what tells two of its states apart.

Both look at whatever attributes there are, and know none by name: a session may get others. What
they cannot copy they refuse, so that nothing is shared by two states unnoticed.
"""

from collections.abc import Callable
from types import BuiltinFunctionType, FunctionType, GeneratorType, MethodType
from typing import Any

_ATOMS = {int, bool, bytes, str, float, type(None), type, FunctionType, BuiltinFunctionType}


class Reader:
    """The session's reader of packets, which can be copied: a generator cannot.

    It remembers what came since the last whole packet, which is all that the generator knows.
    """

    make: Callable[..., Any]

    def __init__(self, limit: int, handle: MethodType, *more: Any) -> None:
        self.arguments = limit, handle, more
        self.rest = b""
        self.inner: Any = None

    @classmethod
    def of(cls, make: Callable[..., Any]) -> type["Reader"]:
        """Return a kind of reader around a function that makes a generator."""
        return type("Reader", (cls,), {"make": staticmethod(make)})

    def __next__(self) -> None:
        limit, handle, more = self.arguments
        self.inner = self.make(limit, handle, *more)
        next(self.inner)

    def send(self, data: memoryview) -> Any:
        self.rest = _behind(self.rest + bytes(data))
        return self.inner.send(data)

    def copied(self, session: Any) -> "Reader":
        """Return a reader at the same place, for a copy of the session."""
        limit, handle, more = self.arguments
        more = tuple([session if m is handle.__self__ else m for m in more])
        new = type(self)(limit, MethodType(handle.__func__, session), *more)
        new.rest = self.rest
        if self.inner is not None:
            next(new)
            if self.rest:
                new.inner.send(memoryview(self.rest))
        return new


def _behind(data: bytes) -> bytes:
    """Return what is left behind the last whole packet."""
    at = 0
    while True:
        n = shift = 0
        for i in range(at + 1, len(data)):
            n |= (data[i] & 127) << shift
            shift += 7
            if data[i] < 128:
                break
        else:
            return data[at:]
        if i + 1 + n > len(data):
            return data[at:]
        at = i + 1 + n


def copied(value: Any, memo: dict[int, Any]) -> Any:
    """Return a deep copy; ``memo``: what was copied already, by id."""
    kind = type(value)
    if kind in _ATOMS:
        return value
    if kind is tuple:
        return tuple([copied(v, memo) for v in value]) if value else value
    known = memo.get(id(value))
    if known is not None:
        return known
    new: Any
    if isinstance(value, list):
        new = memo[id(value)] = kind()
        for v in value:
            new.append(v if type(v) in _ATOMS else copied(v, memo))
        if kind is not list:
            for k, v in value.__dict__.items():
                new.__dict__[k] = copied(v, memo)
        return new
    if kind is dict:
        new = memo[id(value)] = {}
        for k, v in value.items():
            new[k] = v if type(v) in _ATOMS else copied(v, memo)
        return new
    if kind is bytearray:
        new = memo[id(value)] = bytearray(value)
        return new
    if kind is memoryview:
        return memoryview(bytes(value))
    if kind is MethodType:
        return MethodType(value.__func__, copied(value.__self__, memo))
    if isinstance(value, Reader):
        return value.copied(memo[id(value.arguments[1].__self__)])
    if isinstance(value, BaseException):
        return value
    if kind is GeneratorType or not hasattr(value, "__dict__"):
        raise TypeError(f"a state that cannot be copied: {value!r}")
    new = memo[id(value)] = object.__new__(kind)
    to = new.__dict__
    for k, v in value.__dict__.items():
        to[k] = v if type(v) in _ATOMS else copied(v, memo)
    return new


def told(value: Any, seen: dict[int, int]) -> Any:
    """Return what a state is made of, hashable: equal for states that will behave alike.

    An object that stands in two places is told once, and then by its number.
    """
    kind = type(value)
    if kind in _ATOMS:
        return value
    if kind is tuple:
        return tuple([told(v, seen) for v in value])
    if kind is bytearray or kind is memoryview:
        return bytes(value)
    if kind is dict:
        return tuple([(k, v if type(v) in _ATOMS else told(v, seen)) for k, v in value.items()])
    if isinstance(value, list):
        return tuple([v if type(v) in _ATOMS else told(v, seen) for v in value])
    if kind is MethodType:
        return value.__func__
    if isinstance(value, Reader):
        return value.rest
    if isinstance(value, BaseException):
        return kind, repr(value.args)
    number = seen.get(id(value))
    if number is not None:
        return "again", number
    seen[id(value)] = len(seen)
    state = value.__dict__
    out = []
    for k in sorted(state):
        v = state[k]
        out.append((k, v if type(v) in _ATOMS else told(v, seen)))
    return tuple(out)

"""How a person calls the tools for boards: by make in a checkout, which is what their texts say;
where only the package is installed by the command, for there is no Makefile."""

from __future__ import annotations

import argparse
import re
from typing import Any

from ..make import TARGETS, option
from ..paths import CHECKOUT

TOOLS = ("flash", "deploy", "provision", "ota-key", "ota", "console", "logs", "bridge", "hil")
_MAKE = re.compile(rf"\bmake ({'|'.join(TOOLS)})\b(?!-)")
_FLAGS = {name for tool in TOOLS for name in TARGETS[tool].flags}
_NAMES = {name for tool in TOOLS for name in (*TARGETS[tool].options, *TARGETS[tool].said)}
_ALL = "|".join(sorted({*_FLAGS, *_NAMES, "PORT", "FILES"}))
_VARIABLE = re.compile(rf"\b({_ALL})=(1\b)?")
_ARGS = re.compile(r""" \(ARGS=\.\.\.\)|ARGS=("?)(.*?)\1(?=\s|$)""")


def words(text: str, checkout: bool = CHECKOUT) -> str:
    """Return a text in which a person is told what to call, as it can be called here."""
    if checkout:
        return text

    def variable(match: re.Match[str]) -> str:
        name = option("FILE" if match[1] == "FILES" else match[1])
        return name if match[1] in _FLAGS else f"{name} {match[2] or ''}"

    text = _MAKE.sub(r"dormouse \1", text)
    return _VARIABLE.sub(variable, _ARGS.sub(lambda match: match[2] or "", text))


class Parser(argparse.ArgumentParser):
    """A parser whose texts say what can be called here."""

    def _print_message(self, message: str, file: Any = None) -> None:
        super()._print_message(words(message or ""), file)

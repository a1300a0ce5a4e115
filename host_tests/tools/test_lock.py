"""What pip and npm bring is what is locked, and a file with another hash is refused."""

import base64
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tools.setup import bootstrap, get, lock
from tools.testing.needs import missing
from tools.testing.runtimes import ROOT

PINNED = re.compile(r"([a-z0-9-]+)==([^ ;]+)(?: ; ([^\\]+))? \\")


def pinned(group: str) -> dict[str, list[str]]:
    """Return the versions of each package that is locked for a group."""
    found: dict[str, list[str]] = {}
    for line in bootstrap.locked(group).read_text().splitlines():
        if match := PINNED.fullmatch(line):
            found.setdefault(match[1], []).append(match[2])
        else:
            assert re.fullmatch(r"    --hash=sha256:[0-9a-f]{64}( \\)?", line), line
    return found


def test_all_is_locked() -> None:
    """Each group, at versions that it allows, the same in all groups; if not: make lock."""
    versions: dict[str, list[str]] = {}
    for group in lock.groups():
        found = pinned(group)
        for text in bootstrap.requirements(group):
            wanted = Requirement(text)
            got = found[canonicalize_name(wanted.name)]
            assert any(wanted.specifier.contains(version) for version in got), text
        for name, got in found.items():
            known = versions.setdefault(name, got)
            assert set(got) <= set(known) or set(known) <= set(got), name
    assert set(path.stem for path in bootstrap.LOCKED.iterdir()) == set(lock.groups())


def test_npm_is_locked() -> None:
    for name, wanted in get.NPM.items():
        text = (get.NPM_LOCKED / f"{name}.json").read_text()
        assert "://" not in text
        packages = json.loads(text)["packages"]
        package, _, version = wanted.rpartition("@")
        assert packages.pop("")["dependencies"] == {package: version}
        assert all(one["integrity"].startswith("sha512-") for one in packages.values())


def wheel(folder: Path, version: str, text: str) -> str:
    """Make a package that is only a module; return its SHA-256."""
    path = folder / f"harmless-{version}-py3-none-any.whl"
    info = f"harmless-{version}.dist-info"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("harmless.py", text)
        file.writestr(
            f"{info}/METADATA", f"Metadata-Version: 2.1\nName: harmless\nVersion: {version}\n"
        )
        file.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        file.writestr(f"{info}/RECORD", "")
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout of nothing but bootstrap.py, which needs one package."""
    folder = tmp_path_factory.mktemp("checkout")
    (folder / "tools" / "setup").mkdir(parents=True)
    (folder / "wheels").mkdir()
    (folder / "requirements").mkdir()
    for name in ("bootstrap.py", "get.py"):
        shutil.copy(ROOT / "tools" / "setup" / name, folder / "tools" / "setup")
    for name in ("tools/__init__.py", "tools/setup/__init__.py", "tools/paths.py"):
        shutil.copy(ROOT / name, folder / name)
    (folder / "pyproject.toml").write_text(
        '[dependency-groups]\nbuild = ["harmless>=1"]\ntest = ["harmless>=1"]\n'
    )
    return folder


def set_up(checkout: Path, **more: str) -> tuple[int, str, str]:
    """Run bootstrap.py; return its exit status, what it said, and what is installed then."""
    index = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(checkout / "wheels")}
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PIP_")}
    done = subprocess.run(
        [sys.executable, str(checkout / "tools" / "setup" / "bootstrap.py")],
        env={**environment, "PIP_CONFIG_FILE": os.devnull, **index, **more},
        capture_output=True,
        text=True,
        timeout=100,
    )
    site = next(checkout.glob(".venv/lib/python*/site-packages"))
    module = site / "harmless.py"
    return done.returncode, done.stderr, module.read_text() if module.exists() else ""


@pytest.mark.prove  # half a minute; who runs the tests has done just that
def test_bootstrap_takes_what_is_locked(checkout: Path) -> None:
    """By its hash. An index with other versions is told, and no end; but for DORMOUSE_LOCKED."""
    wheels = checkout / "wheels"
    right = wheel(wheels, "1.0", "one = 1\n")
    wheel(wheels, "1.1", "newer = 1\n")
    locked = checkout / "requirements" / "build.txt"
    locked.write_text(f"harmless==1.0 \\\n    --hash=sha256:{right}\n")
    assert set_up(checkout)[::2] == (0, "one = 1\n")
    assert set_up(checkout) == (0, "", "one = 1\n")  # nothing is done twice
    locked.write_text(f"harmless==1.1 \\\n    --hash=sha256:{right}\n")  # somebody changed it
    for more in ({}, {"DORMOUSE_LOCKED": "1"}):
        status, said, module = set_up(checkout, **more)
        assert status == 1 and module == "one = 1\n" and "Traceback" not in said
        assert "is not what is locked in requirements/build.txt" in said
    locked.write_text(f"harmless==1.2 \\\n    --hash=sha256:{right}\n")
    status, said, module = set_up(checkout, DORMOUSE_LOCKED="1")
    assert status == 1 and "requirements/build.txt cannot be had: see above" in said
    status, said, module = set_up(checkout)
    assert status == 0 and "no hash is compared" in said and module  # as pyproject.toml allows


def test_npm_takes_what_is_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its hash, and nothing of it is run."""
    if not shutil.which("npm"):
        missing("npm is not here")
    (tmp_path / "package").mkdir()
    script = f"node -e \"require('fs').writeFileSync('{tmp_path}/ran', '')\""
    (tmp_path / "package" / "package.json").write_text(
        json.dumps({"name": "harmless", "version": "1.0.0", "scripts": {"postinstall": script}})
    )
    made = tmp_path / "harmless.tgz"
    with tarfile.open(made, "w:gz") as tar:
        tar.add(tmp_path / "package", "package")
    monkeypatch.setattr(get, "CACHE", tmp_path / "cache")
    monkeypatch.setattr(get, "NPM_LOCKED", tmp_path)
    monkeypatch.setattr(get, "NPM", {"one": "harmless@1"})
    get.CACHE.mkdir()
    where = f"file:{made}"
    right = "sha512-" + base64.b64encode(hashlib.sha512(made.read_bytes()).digest()).decode()

    def locked(integrity: str) -> Path:
        one = {"version": "1.0.0", "resolved": where, "integrity": integrity}
        packages = {
            "": {"dependencies": {"harmless": where}},
            "node_modules/harmless": {**one, "hasInstallScript": True},
        }
        text = {"name": "one", "lockfileVersion": 3, "requires": True, "packages": packages}
        (tmp_path / "one.json").write_text(json.dumps(text))
        return get.npm_install("one")

    with pytest.raises(get.NotAvailable, match="EINTEGRITY"):
        locked(right[:9] + ("A" if right[9] != "A" else "B") + right[10:])
    assert (locked(right) / "package.json").exists()
    assert not (tmp_path / "ran").exists()

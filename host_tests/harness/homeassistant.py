"""What Home Assistant takes in MQTT discovery, read from its own source.

    schema = Schema(source())
    schema.check("homeassistant/device/x/config", payload)      # raises Invalid

Home Assistant is large, and wants a newer Python than this project: its package is fetched without
what it depends on, into .cache/, and of it the abbreviations and the options of each platform are
read (not run). Which one, and its hash, is in requirements/homeassistant.txt.
"""

from __future__ import annotations

import ast
import fcntl
import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

from tools.testing.runtimes import ROOT, NotAvailable

CACHE = ROOT / ".cache" / "homeassistant"
LOCK = ROOT / "requirements" / "homeassistant.txt"
PYTHON = "3.14.2"  # that it shall be for: the newest is for this or an older one
TIME = 100  # s; it has 43 MB
PART = "homeassistant/components/mqtt/"
NEEDED = re.compile(PART + r"\w+\.py|homeassistant/const\.py")


class Invalid(Exception):
    """Home Assistant would not take it."""


def source() -> Path:
    """Return the folder with Home Assistant's source; fetched if need be. Raises NotAvailable."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with open(CACHE / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # tests run beside each other
        done = CACHE / "done"
        if not done.exists() or done.read_text() != LOCK.read_text():
            _fetch()
            done.write_text(LOCK.read_text())
    return CACHE


def _fetch() -> None:
    argv = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(CACHE)]
    argv += ["--python-version", PYTHON, "--only-binary=:all:"]
    argv += ["--require-hashes", "-r", str(LOCK)]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=TIME)
    except subprocess.TimeoutExpired as error:
        raise NotAvailable(f"Home Assistant's package: not fetched in {TIME} s") from error
    wheels = sorted(CACHE.glob("homeassistant-*.whl"))
    if done.returncode or not wheels:
        raise NotAvailable(f"Home Assistant's package: {done.stderr.strip()[-200:]}")
    with zipfile.ZipFile(wheels[-1]) as wheel:
        for name in wheel.namelist():
            if NEEDED.fullmatch(name):
                wheel.extract(name, CACHE)
    for path in wheels:
        path.unlink()


def constants(path: Path) -> dict[str, Any]:
    """Return the names that a module gives to literals."""
    found: dict[str, Any] = {}
    for node in ast.parse(path.read_text()).body:
        targets: list[ast.expr] = []
        if isinstance(node, ast.Assign):
            targets = node.targets
        elif isinstance(node, ast.AnnAssign):
            targets = [node.target]
        for target in targets:
            if isinstance(target, ast.Name) and node.value is not None:  # type: ignore[attr-defined]
                value = node.value  # type: ignore[attr-defined]
                if isinstance(value, ast.Name) and value.id in found:
                    found[target.id] = found[value.id]
                    continue
                try:
                    found[target.id] = ast.literal_eval(value)
                except ValueError:
                    continue
    return found


class Schema:
    """The options of discovery."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        abbreviations = constants(folder / PART / "abbreviations.py")
        self.short = abbreviations["ABBREVIATIONS"]
        self.short_device = abbreviations["DEVICE_ABBREVIATIONS"]
        self.short_origin = abbreviations["ORIGIN_ABBREVIATIONS"]
        self._names = constants(folder / "homeassistant" / "const.py")
        self._names |= constants(folder / PART / "const.py")
        self._texts = {
            path.stem: ast.parse(path.read_text())
            for path in (folder / PART).glob("*.py")
            if path.stem in ("schemas", "config") or "PLATFORM_SCHEMA_MODERN" in path.read_text()
        }
        self.platforms = self._names["SUPPORTED_COMPONENTS"]

    def options(self, module: str, name: str) -> tuple[set[str], set[str]]:
        """Return the options of a schema, and those that are required."""
        names = {**self._names, **constants(self.folder / PART / f"{module}.py")}
        for node in self._texts[module].body:
            targets = node.targets if isinstance(node, ast.Assign) else []
            if isinstance(node, ast.AnnAssign):
                targets = [node.target]
            if any(isinstance(t, ast.Name) and t.id == name for t in targets):
                found = self._look(module, node.value, names)  # type: ignore[attr-defined]
                return {key for key, _ in found}, {key for key, required in found if required}
        for other in ("config", "schemas"):
            if other != module:
                try:
                    return self.options(other, name)
                except KeyError:
                    continue
        raise KeyError(name)

    def _look(self, module: str, tree: ast.AST, names: dict[str, Any]) -> set[tuple[str, bool]]:
        """Return options below a node: keys of dicts, and those of schemas that are named."""
        found: set[tuple[str, bool]] = set()
        if isinstance(tree, ast.Dict):  # what the values are is not looked at
            for key in tree.keys:
                if isinstance(key, ast.Call) and isinstance(key.func, ast.Attribute):
                    option = key.args[0]
                    word = str(option.value) if isinstance(option, ast.Constant) else None
                    # CONF_STATE_CLASS comes from another component: they are all named so.
                    name = getattr(option, "id", "")
                    word = word or names.get(name) or name.removeprefix("CONF_").lower()
                    found.add((word, key.func.attr == "Required"))
            return found
        if isinstance(tree, ast.Name) and "SCHEMA" in tree.id:
            options, required = self.options(module, tree.id)
            return {(option, option in required) for option in options}
        for child in ast.iter_child_nodes(tree):
            found |= self._look(module, child, names)
        return found

    def check(self, topic: str, payload: bytes) -> dict[str, Any]:
        """Return the components of a device's discovery, with long names. Raises Invalid."""
        if not re.fullmatch(r"\w+/device/[a-zA-Z0-9_-]+/config", topic):
            raise Invalid(topic)
        config = expand(json.loads(payload), self.short)
        expand(config.get("device", {}), self.short_device)
        expand(config.get("origin", {}), self.short_origin)
        components = config.get("components", {})
        self._held(config, self.options("schemas", "DEVICE_DISCOVERY_SCHEMA"), "device")
        self._held(
            config["device"], self.options("schemas", "MQTT_ENTITY_DEVICE_INFO_SCHEMA"), "device"
        )
        self._held(config["origin"], self.options("schemas", "MQTT_ORIGIN_INFO_SCHEMA"), "origin")
        if not config["device"].get("identifiers"):
            raise Invalid("a device needs identifiers")
        for name, part in components.items():
            if not re.fullmatch(r"[a-zA-Z0-9_-]+", name):
                raise Invalid(name)
            expand(part, self.short)
            platform = part.get("platform")
            if platform not in self.platforms:
                raise Invalid(f"{name}: no such platform: {platform}")
            if set(part) == {"platform"}:
                continue  # an entity that goes
            if "unique_id" not in part:
                raise Invalid(f"{name}: no unique_id")
            base = part.pop("~", "")
            for key, value in part.items():
                if key.endswith("topic") and isinstance(value, str):
                    part[key] = value.replace("~", base, 1)
            del part["platform"]
            schema = "PLATFORM_SCHEMA_MODERN"
            texts = ast.unparse(self._texts[platform])
            if "_PLATFORM_SCHEMA_BASE = " in texts:
                schema = "_PLATFORM_SCHEMA_BASE"
            self._held(part, self.options(platform, schema), name)
        return dict(config)

    @staticmethod
    def _held(part: dict[str, Any], schema: tuple[set[str], set[str]], name: str) -> None:
        options, required = schema
        unknown, missing = set(part) - options, required - set(part)
        if unknown or missing:
            raise Invalid(f"{name}: unknown {sorted(unknown)}, missing {sorted(missing)}")


def expand(part: dict[str, Any], short: dict[str, str]) -> dict[str, Any]:
    """Write out what is abbreviated, in place."""
    for key in list(part):
        if key in short:
            part[short[key]] = part.pop(key)
    return part

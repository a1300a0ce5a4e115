"""What the documents, the package lists and the footprint table say is true."""

import json
import re
import subprocess
from pathlib import Path

from tools.testing import runtimes
from tools.testing.needs import needed

ROOT = runtimes.ROOT
LIBRARY = ROOT / "firmware" / "dormouse"
ON_DEVICE = {path.name for path in LIBRARY.glob("*.py")} - {"_host.py"}


def test_package_json_lists_the_library() -> None:
    package = json.loads((ROOT / "package.json").read_text())
    assert {target for target, _ in package["urls"]} == {f"dormouse/{n}" for n in ON_DEVICE}
    for _, source in package["urls"]:
        assert (ROOT / source).is_file()


def test_manifest_freezes_the_library() -> None:
    calls = []
    manifest = (ROOT / "firmware" / "manifest.py").read_text()
    exec(manifest, {"package": lambda *args, **kwargs: calls.append((args, kwargs))})
    ((name, *_), options), *others = calls
    assert name == "dormouse" and not others
    assert set(options["files"]) == ON_DEVICE


def test_no_registry_host_is_named() -> None:
    """Mirrors come from the machine's own configuration."""
    hosts = ("pypi" + ".org", "debian" + ".org/debian", "npm" + "js.org", "python" + "hosted")
    done = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    names = done.stdout.split() or [str(p.relative_to(ROOT)) for p in LIBRARY.glob("*")]
    for name in names:
        text = (ROOT / name).read_text(errors="replace")
        assert not [host for host in hosts if host in text], name


def test_make_targets_in_readme_exist() -> None:
    text = (ROOT / "README.md").read_text()
    targets = set(re.findall(r"(?:^|`)make ([a-z][a-z-]*)", text, re.M))
    assert {"demo", "test"} <= targets
    for target in targets:
        done = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


def test_imports_point_one_way() -> None:
    """packet <- session <- client -> stream; the session knows no socket, clock or asyncio."""
    allowed = {
        "__init__": set(),
        "packet": set(),
        "session": {"packet", "reason"},
        "stream": set(),
        "client": {"packet", "session", "stream"},
        "router": {"packet"},
        "store": {"packet"},
        "durable": {"packet", "session", "store", "convert"},
        "journal": {"store"},
        "rtc": {"store"},
        "nvs": {"store", "rtc"},
        "chip": set(),
        "sleep": {"chip", "packet", "session", "durable"},
        "log": set(),
        "led": set(),
        "config": {"client", "journal", "rtc", "nvs", "tls", "ws", "wifi", "clock", "ota"},
        "guard": {"chip", "config", "log", "led", "safe"},
        "safe": {"config", "guard", "sleep", "store"},
        "wifi": set(),
        "tls": set(),
        "clock": set(),
        "kinds": {"session", "expiry", "session5", "durable"},
        "expiry": {"packet", "session"},
        "packet5": {"packet"},
        "session5": {"expiry", "packet", "packet5", "reason", "session"},
        "reason": set(),
        "request": set(),
        "convert": {"expiry", "packet"},
        "ws": {"packet", "session", "stream"},
        "serial": {"stream"},
        "ota": {"session"},
    }
    allowed["client"].add("kinds")  # for a client with a store, or of version 5
    assert {f"{name}.py" for name in allowed} == ON_DEVICE
    for name, inside in allowed.items():
        text = (LIBRARY / f"{name}.py").read_text()
        found = set(re.findall(r"^\s*from \.(\w+) import", text, re.M))
        found |= set(re.findall(r"^\s*import dormouse\.(\w+) as", text, re.M))
        found -= {"_host"}
        assert found <= inside, name
    for name in ("packet", "session", "store", "durable", "packet5", "session5"):
        text = (LIBRARY / f"{name}.py").read_text()
        assert not re.findall(r"^\s*(?:import|from) (?:socket|time|asyncio)", text, re.M)


def test_footprint_table_is_true() -> None:
    """docs/footprint.md shows this code: .mpy to the byte, heap within 2 %."""
    from tools.desk import size

    now = needed(size.measure)
    assert now.core <= size.TARGETS["mpy"]

    def table(text: str) -> dict[str, int]:
        rows = re.findall(r"^\| ([^|]+) \| ([\d,]+) \|", text, re.M)
        return {name: int(n.replace(",", "")) for name, n in rows}

    written, measured = table(size.REPORT.read_text()), table(size.report(now))
    assert written.keys() == measured.keys()
    for name, n in measured.items():
        slack = n // 50 if "heap" in name else 0
        assert abs(written[name] - n) <= slack, f"{name}: {n}: run make size ARGS=--write"


def test_parts_load_only_when_used(runtime: runtimes.Runtime, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "import sys, dormouse\n"
        "def loaded():\n"
        "    print(sorted(n[9:] for n in sys.modules if n[:9] == 'dormouse.' and n[9] != '_'))\n"
        "from dormouse import Will\n"
        "loaded()\n"
        "dormouse.Client('host')\n"
        "loaded()\n"
        "from dormouse.journal import Journal\n"
        "dormouse.Client('host', client_id='c', clean=False, store=Journal('journal'))\n"
        "loaded()\n"
        "dormouse.Client('host', client_id='c', version=5)\n"
        "loaded()\n"
    )
    core = {"packet", "session", "client"}
    if runtime is not runtimes.CPYTHON:
        core.add("stream")
    with runtime.start(program, cwd=tmp_path) as device:
        assert device.wait_exit(10) == 0, device.transcript()
        found = [set(re.findall(r"\w+", line)) for line in device.lines]
    stored = core | {"store", "journal", "kinds", "durable"}
    five = stored | {"expiry", "packet5", "session5"}
    assert found == [{"packet"}, core, stored, five]

"""What the documents, the package lists and the footprint table say is true."""

import contextlib
import json
import re
import subprocess
from pathlib import Path

import pytest

from tools import parts
from tools.setup import get
from tools.testing import runtimes
from tools.testing.needs import needed

ROOT = runtimes.ROOT
LIBRARY = ROOT / "firmware" / "dormouse"
ON_DEVICE = {f"{name}.py" for name in parts.every()}


def test_package_json_lists_the_library() -> None:
    package = json.loads((ROOT / "package.json").read_text())
    assert {target for target, _ in package["urls"]} == {f"dormouse/{n}" for n in ON_DEVICE}
    for _, source in package["urls"]:
        assert (ROOT / source).is_file()


def test_manifest_freezes_the_library() -> None:
    calls = []
    manifest = (ROOT / "firmware" / "manifest.py").read_text()
    with contextlib.chdir(ROOT / "firmware"):
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


TOP = """.ci .github .gitignore CHANGELOG.md CONTRIBUTING.md LICENSE Makefile README.md SECURITY.md
boards docs examples firmware host_tests package.json pyproject.toml requirements tools"""


def test_nothing_else_is_in_the_root() -> None:
    """An experiment's output, say, added with all else."""
    done = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    assert {name.split("/")[0] for name in done.stdout.split()} <= set(TOP.split())


def test_make_targets_in_readme_exist() -> None:
    text = (ROOT / "README.md").read_text()
    targets = set(re.findall(r"(?:^|`)make ([a-z][a-z-]*)", text, re.M))
    assert {"demo", "test"} <= targets
    for target in targets:
        done = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


# Parts from the bottom up: an import only ever points at a part that stands before its own. (net
# knows no session: it stands beside the client, not on it.)
FLOORS = ("", "mqtt5", "store", "large", "net", "sleep", "field", "patterns", "compat")
# In the plain client's folder, from the bottom up, too.
GROUND = (
    "__init__",
    "text",
    "packet",
    "reason",
    "mistakes",
    "trouble",
    "resume",
    "stream",
    "session",
    "router",
    "expiry",
    "kinds",
    "client",
)


def test_every_module_stands_in_a_part() -> None:
    assert set(parts.modules()) == set(FLOORS), "a folder is a part: give it its place in FLOORS"
    assert set(parts.modules()[""]) == set(GROUND)


@pytest.mark.parametrize("name", parts.every())
def test_imports_point_downwards(name: str) -> None:
    """Within a part too, there is no circle; what is loaded later, in a function, counts."""
    if name == parts.DOOR:
        return
    part = name.rpartition("/")[0]
    for target in parts.imports(name) - parts.NOT_FOR_DEVICES:
        below = target.rpartition("/")[0]
        assert FLOORS.index(below) <= FLOORS.index(part), f"{name} imports {target}, above it"
        if part == below == "" and target != "__init__":
            assert GROUND.index(target) < GROUND.index(name), f"{name} imports {target}, above it"
        elif part == below:
            assert name not in reach(target), f"{name} and {target} import each other"


def reach(name: str) -> set[str]:
    """Return all modules of the same part that a module needs, directly or not."""
    found: set[str] = set()
    new = {name}
    while new:
        found |= new
        part = name.rpartition("/")[0]
        new = {t for n in new for t in parts.imports(n) if t.rpartition("/")[0] == part} - found
    return found - {name}


def test_net_knows_no_session() -> None:
    for name in parts.modules()["net"]:
        assert not {t.rpartition("/")[2] for t in parts.imports(name)} & {"session", "client"}


def test_session_knows_no_socket_clock_or_asyncio() -> None:
    for name in ("packet", "session", "mqtt5/packet", "mqtt5/session", "store/durable"):
        text = parts.source(name).read_text()
        assert not re.findall(r"^\s*(?:import|from) (?:socket|time|asyncio)", text, re.M)


def test_packages_give_the_names_in_their_types(runtime: runtimes.Runtime, tmp_path: Path) -> None:
    """``from dormouse.store import Journal``, and each module by its own name, on each runtime."""
    lines = ["import sys", "if sys.implementation.name == 'micropython': import network_stub"]
    (tmp_path / "network_stub.py").write_text("import sys\nsys.modules['network'] = sys\n")
    for part, names in parts.modules().items():
        package = "dormouse." + part if part else "dormouse"
        stub = (LIBRARY / part / "__init__.pyi").read_text()
        given = re.findall(r"^from \.(\w+) import \w+ as (\w+)", stub, re.M)
        lines += [f"from {package} import {name}" for _, name in given if name != "Wifi"]
        modules = [name.rpartition("/")[2] for name in names]
        lines += [f"from {package} import {m}" for m in modules if m not in ("__init__", "wifi")]
    # On CPython the modules of MicroPython that some need are not there: those are left out.
    lines = [
        f"try:\n    {line}\nexcept ImportError as e:\n"
        "    assert sys.implementation.name != 'micropython' and 'dormouse' not in str(e), e"
        if line.startswith("from ")
        else line
        for line in lines
    ]
    program = tmp_path / "program.py"
    program.write_text("\n".join([*lines, "print('all there')", ""]))
    with runtime.start(program, cwd=tmp_path) as device:
        assert device.wait_exit(20) == 0, device.transcript()
        assert device.lines == ["all there"]


def test_footprint_table_is_true() -> None:
    """docs/footprint.md shows this code: .mpy to the byte, heap within 2 %."""
    from tools.desk import size

    version, _ = needed(lambda: get.probe_micropython(runtimes.MICROPYTHON32.argv))
    if version != (1, 25):  # heap, and what mpy-cross makes, are those of one build
        pytest.skip(f"the page is of MicroPython 1.25, and this is {version[0]}.{version[1]}")
    now = needed(size.measure)
    assert now.core <= size.MOST

    def table(text: str) -> dict[str, int]:
        rows = re.findall(r"^\| ([^|]+) \| ([\d,]+) \|", text, re.M)
        return {name: int(n.replace(",", "")) for name, n in rows}

    written, measured = table(size.REPORT.read_text()), table(size.report(now))
    assert written.keys() == measured.keys()
    for name, n in measured.items():
        slack = n // 50 if "heap" in name else 0
        assert abs(written[name] - n) <= slack, f"{name}: {n}: run make size ARGS=--write"


def test_readme_says_what_the_tables_say() -> None:
    """Its figures are those of docs/footprint.md and docs/boards.md, to the next KB."""
    pages = "".join((ROOT / "docs" / name).read_text() for name in ("footprint.md", "boards.md"))
    said = r"a client is (\d+) KB of flash and some (\d+) KB of heap, (\d+) KB where it is frozen"
    found = re.search(said, (ROOT / "README.md").read_text())
    assert found
    for kb, row in zip(
        found.groups(),
        (
            "a 3.1.1 client, .mpy",
            "heap connected, one subscription",
            "the same connected, one subscription",
        ),
        strict=True,
    ):
        told = re.search(rf"^\| {re.escape(row)} \| ([\d,]+) \|", pages, re.M)
        assert told, row
        assert abs(int(kb) * 1000 - int(told[1].replace(",", ""))) <= 1000, f"{row}: {told[1]}"


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
        "from dormouse.store import Journal\n"
        "dormouse.Client('host', client_id='c', clean=False, store=Journal('journal'))\n"
        "loaded()\n"
        "dormouse.Client('host', client_id='c', version=5)\n"
        "loaded()\n"
    )
    core = {"packet", "resume", "session", "client"}
    if runtime is not runtimes.CPYTHON:
        core.add("stream")
    with runtime.start(program, cwd=tmp_path) as device:
        assert device.wait_exit(10) == 0, device.transcript()
        found = [set(re.findall(r"[\w.]+", line)) for line in device.lines]
    stored = core | {"store", "store.journal", "kinds", "store.durable"}
    five = stored | {"expiry", "mqtt5", "mqtt5.packet", "mqtt5.session"}
    # On CPython the packages themselves are there, for dir() and editors.
    packages = {n for n in parts.modules() if n} if runtime is runtimes.CPYTHON else set()
    assert found == [names | packages for names in ({"packet"}, core, stored, five)]

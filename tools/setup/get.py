"""Get the real parts that the tests and the simulated board run on.

    python -m tools.setup.get micropython64 micropython32 mosquitto node-micropython
    python -m tools.setup.get all

Each part is looked for in the order: an environment variable, the machine, `.cache/`; what is
found nowhere is fetched into `.cache/` without root. A program is given as the beginning of an
argv; append your own arguments and start it. The process that you start is the program itself, so
its pid and its signals are the program's.

What cannot be had raises `NotAvailable`, whose text says why and what to do about it.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import functools
import hashlib
import json
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ParamSpec, TypeVar

from ..paths import CACHE

P = ParamSpec("P")
T = TypeVar("T")


MICROPYTHON_OLDEST = (1, 22)
DEBIAN_SUITE = "trixie"  # Debian 13: MicroPython 1.25, for amd64, i386, arm64 and armhf
NEWER_SUITE = "sid"  # has mosquitto 2.1
NODE_OLDEST = 18
NODE_PACKAGE = "@micropython/micropython-webassembly-pyscript"
# Of npm; the versions and the hash of each file are in npm/NAME.json (`make lock`).
NPM = {"node": f"{NODE_PACKAGE}@^1.27", "aedes-0.51": "aedes@0.51", "aedes-1": "aedes@1"}
NPM_LOCKED = Path(__file__).with_name("npm")

APT_TIMEOUT = 300  # seconds, for one apt call: an index is 10 MB
NPM_TIMEOUT = 300  # seconds
PROBE_TIMEOUT = 20  # seconds, for asking a program its version
UNFINISHED = "unfinished."  # how folders in .cache/ are named until they are renamed
FAILED_FOR = 300  # seconds for which a failed fetch is not tried again, but for the command line

# The native architecture of the machine (dpkg's names), and the pointer size -> architecture that
# it can run.
RUNNABLE = {
    ("amd64", 64): "amd64",
    ("amd64", 32): "i386",
    ("i386", 32): "i386",
    ("arm64", 64): "arm64",
    ("armhf", 32): "armhf",
}

# Package manager -> the command that installs a part. Only shown, never run.
INSTALL_COMMANDS = {
    "apt-get": "sudo apt-get install {}",
    "dnf": "sudo dnf install {}",
    "pacman": "sudo pacman -S {}",
    "zypper": "sudo zypper install {}",
    "apk": "sudo apk add {}",
    "brew": "brew install {}",
}


class NotAvailable(Exception):
    """A part that cannot be had on this machine. The text says why, and what to do."""


# --- What the machine is --------------------------------------------------------------------------


def os_release() -> dict[str, str]:
    """Return the fields of /etc/os-release (ID, VERSION_CODENAME, ...); none on macOS."""
    with contextlib.suppress(OSError):
        return platform.freedesktop_os_release()
    return {}


def is_ubuntu() -> bool:
    """Tell whether the packages of this machine come from Ubuntu (Ubuntu itself, Mint, ...)."""
    return "UBUNTU_CODENAME" in os_release()


def install_command(package: str) -> str:
    """Return the command with which this machine's package manager would install `package`."""
    for manager, command in INSTALL_COMMANDS.items():
        if shutil.which(manager):
            return command.format(package)
    return f"install {package} with your package manager"


def native_architecture() -> str:
    """Return dpkg's name of the machine's architecture ("amd64").

    Raises NotAvailable without dpkg.
    """
    if not shutil.which("dpkg"):
        raise NotAvailable("dpkg is not here")
    return run(["dpkg", "--print-architecture"]).strip()


def run(argv: list[str], timeout: float = PROBE_TIMEOUT, **options) -> str:
    """Run a program to its end and return its stdout.

    Raises NotAvailable with its last words if it fails.
    """
    try:
        done = subprocess.run(
            argv,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            stdin=subprocess.DEVNULL,
            **options,
        )
    except subprocess.TimeoutExpired as error:
        raise NotAvailable(f"no answer within {timeout:g} s: {shlex.join(argv)}") from error
    except OSError as error:
        raise NotAvailable(f"cannot run {argv[0]}: {error.strerror or error}") from error
    if done.returncode:
        words = (done.stderr.strip() or done.stdout.strip()).splitlines()[-4:]
        shown = shlex.join(argv) if len(argv) < 10 else f"{argv[0]} ... {argv[-1]}"
        raise NotAvailable("\n".join([f"exit status {done.returncode}: {shown}", *words]))
    return done.stdout


# --- Fetching packages by apt, with private directories and no root -------------------------------


class Apt:
    """apt with directories of its own, seeing one suite of one mirror: nothing of the machine is
    changed.

    The mirror, proxies and credentials are those of the machine's apt configuration; apt checks
    signatures and hashes.
    """

    def __init__(
        self, native: str, architecture: str, sources: bool = False, suite: str = DEBIAN_SUITE
    ):
        """Set up for packages of `architecture` (dpkg's name) on a machine whose own is `native`,
        and with `sources` for source packages too.

        Raises NotAvailable where apt is not here or knows no fitting mirror.
        """
        if not shutil.which("apt-get"):
            raise NotAvailable("apt-get is not here")
        self.suite = suite
        own = "" if suite == DEBIAN_SUITE else f"-{suite}"
        self.home = CACHE / f"apt-{architecture}{own}{'-sources' if sources else ''}"
        self.architecture = architecture
        self.native = native
        self._make_directories()
        line = self._source()
        lines = [line, line.replace("deb ", "deb-src ", 1)] if sources else [line]
        (self.home / "sources.list").write_text("\n".join(lines) + "\n")

    def _make_directories(self) -> None:
        for folder in ("state/lists/partial", "cache/archives/partial", "empty"):
            (self.home / folder).mkdir(parents=True, exist_ok=True)
        # An empty list of installed packages: "install" then resolves the whole closure, down to
        # libc.
        (self.home / "status").write_text("")

    def _source(self) -> str:
        """Return the one line of sources.list."""
        if is_ubuntu():
            suite, components = os_release()["UBUNTU_CODENAME"], "main universe"
            keyring = "/usr/share/keyrings/ubuntu-archive-keyring.gpg"
        else:
            suite, components = self.suite, "main"
            keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"
        if not Path(keyring).exists():
            raise NotAvailable(
                f"the keyring {keyring} is not here, so apt could not check what it fetches"
            )
        return f"deb [signed-by={keyring}] {self._mirror()} {suite} {components}"

    def _mirror(self) -> str:
        """Return where this machine's own apt configuration gets the distribution from."""
        codename = os_release().get("UBUNTU_CODENAME") or os_release().get("VERSION_CODENAME", "")
        suites = {codename, "stable", "testing", "unstable", "sid", "oldstable"}
        archive = "ubuntu" if is_ubuntu() else "debian"
        # With ReleaseInfo off, apt lists what is configured, also where `apt-get update` was never
        # run (containers).
        table = run(
            [
                *("apt-get", "-o", f"Dir::State={self.home / 'empty'}"),
                *("-o", "APT::Get::IndexTargets::ReleaseInfo=false", "indextargets"),
                *("--format", "$(REPO_URI)|$(RELEASE)|$(COMPONENT)", "Created-By: Packages"),
            ]
        )
        rows = [line.split("|") for line in table.splitlines()]
        found = [uri for uri, suite, component in rows if suite in suites and component == "main"]
        # Others use the suite's name too: the distribution's archive is the one whose path is
        # named after it.
        found.sort(key=lambda uri: not uri.rstrip("/").endswith(archive))
        if not found:
            raise NotAvailable(f"apt's own configuration names no mirror of the {archive} archive")
        return found[0]

    def _argv(self, *command: str) -> list[str]:
        home = self.home
        options = {
            "Dir::Etc::SourceList": home / "sources.list",
            "Dir::Etc::SourceParts": "/dev/null",
            "Dir::Etc::Preferences": "/dev/null",  # pins are about the machine's own suites
            "Dir::Etc::PreferencesParts": "/dev/null",
            "Dir::State": home / "state",
            "Dir::State::status": home / "status",
            "Dir::Cache": home / "cache",
            "APT::Default-Release": "",
            "APT::Architecture": self.native,
            "APT::Update::Error-Mode": "any",  # a failed download must not look like success
            "Acquire::Languages": "none",
        }
        if os.geteuid() == 0:
            options["APT::Sandbox::User"] = (
                "root"  # the user _apt may not be able to enter this folder
            )
        argv = ["apt-get", "-q"]
        for name, value in options.items():
            argv += ["-o", f"{name}={value}"]
        for name in dict.fromkeys([self.native, self.architecture]):
            argv += ["-o", f"APT::Architectures::={name}"]
        return [*argv, *command]

    def update(self) -> None:
        """Fetch the index. Raises NotAvailable with apt's own words."""
        run(self._argv("update"), timeout=APT_TIMEOUT)

    def put(self, packages: list[str], root: Path) -> None:
        """Fetch these packages, without their dependencies, and unpack them into `root`."""
        with tempfile.TemporaryDirectory(prefix=UNFINISHED, dir=CACHE) as folder:
            unpack(self.download(packages, Path(folder)), root)

    def closure(self, package: str) -> list[tuple[str, str]]:
        """Return `package` and all that it depends on, as (name, architecture or "all")."""
        plan = run(
            self._argv(
                "install",
                "-y",
                "--no-install-recommends",
                "--print-uris",
                f"{package}:{self.architecture}",
            ),
            timeout=APT_TIMEOUT,
        )
        # A line reads: 'URI' NAME_VERSION_ARCHITECTURE.deb SIZE HASH
        files = [line.split()[1] for line in plan.splitlines() if line.startswith("'")]
        parts = [file.removesuffix(".deb").split("_") for file in files]
        return [(name, architecture) for name, _, architecture in parts]

    def libraries(self, package: str) -> list[str]:
        """Return `package` and the libraries of its dependency closure, as NAME:ARCHITECTURE."""
        return [
            f"{name}:{architecture}"
            for name, architecture in self.closure(package)
            if architecture == self.architecture
            and (name == package or name.startswith(("lib", "zlib")))
        ]

    def download(self, packages: list[str], folder: Path) -> list[Path]:
        """Download packages into `folder`, hashes checked by apt; return the .deb files."""
        run(self._argv("download", *packages), timeout=APT_TIMEOUT, cwd=folder)
        return sorted(folder.glob("*.deb"))

    def source(self, package: str, folder: Path) -> Path:
        """Download a source package into `folder`, hashes checked by apt; return the folder."""
        run(self._argv("source", "--download-only", package), timeout=APT_TIMEOUT, cwd=folder)
        return folder


def link(root: Path) -> None:
    """Give libraries the names that programs know them by, as their installation would: a few
    packages leave that to ldconfig."""
    ldconfig = shutil.which("ldconfig", path="/usr/sbin:/sbin")
    folders = {str(path.parent) for path in root.glob("**/lib*.so.*")}
    if ldconfig and folders:
        run([ldconfig, "-n", *folders])


def unpack(debs: list[Path], root: Path) -> None:
    """Unpack .deb files into `root`, which must not exist: it appears complete or not at all."""
    beside = Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=root.parent))
    try:
        for deb in debs:
            run(["dpkg", "-x", str(deb), str(beside)], timeout=60)
        link(beside)
        beside.chmod(0o755)
        beside.rename(root)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def fetch(package: str, bits: int, program: str, suite: str = DEBIAN_SUITE) -> list[str]:
    """Return the argv that starts `program` of a distribution's package, fetched if need be.

    suite: of Debian.

    Raises NotAvailable where this machine has no apt, or cannot run that architecture.
    """
    native = native_architecture()
    architecture = RUNNABLE.get((native, bits))
    if architecture is None:
        raise NotAvailable(
            f"there is no {bits}-bit package that a {native} machine is known to run"
        )
    if is_ubuntu() and architecture != native:
        raise NotAvailable(f"Ubuntu has no {architecture} packages any more")
    root = CACHE / f"{package}-{architecture}{'' if suite == DEBIAN_SUITE else f'-{suite}'}"
    if not root.exists():
        say(f"fetching {package} for {architecture} by apt ...")
        apt = Apt(native, architecture, suite=suite)
        apt.update()
        apt.put(apt.libraries(package), root)
    return loader_argv(root, program)


def loader_argv(root: Path, program: str) -> list[str]:
    """Return the argv that starts `program` out of an unpacked `root` with the C library in there.

    The machine's own C library may be older than the one that the program was built against.
    """
    binary = next(
        (p for p in (root / "usr/bin" / program, root / "usr/sbin" / program) if p.exists()), None
    )
    loaders = sorted(root.glob("**/ld-linux*.so.?"), key=lambda path: path.is_symlink())
    if binary is None or not loaders:
        raise NotAvailable(
            f"{root} holds no {program} or no loader: delete that folder and try again"
        )
    loader = loaders[0]
    folders = sorted({str(path.parent) for path in root.glob("**/lib*.so.*")})
    argv = [str(loader), "--library-path", ":".join(folders), str(binary)]
    missing = [
        line.strip()
        for line in run([str(loader), "--list", *argv[1:]]).splitlines()
        if "not found" in line
    ]
    if missing:
        raise NotAvailable(f"{program} lacks libraries: {'; '.join(missing)}")
    return argv


# --- Doing it once, whoever asks first ------------------------------------------------------------


def say(text: str) -> None:
    """Show progress on stderr: stdout belongs to the answer."""
    print(text, file=sys.stderr, flush=True)


@contextlib.contextmanager
def locked() -> Iterator[None]:
    """Hold the cache for one process at a time (pytest-xdist starts several)."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with open(CACHE / "get.lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        for leftover in CACHE.glob(f"{UNFINISHED}*"):  # of a process that was killed
            shutil.rmtree(leftover)
        yield


def once(part: str, get: Callable[[], T]) -> T:
    """Return get(), called under the lock.

    A failure is remembered for FAILED_FOR seconds, so that of many test processes without a network
    only the first one waits for it.
    """
    with locked():
        failure = CACHE / f"{part}.failed"
        if failure.exists() and time.time() - failure.stat().st_mtime < FAILED_FOR:
            raise NotAvailable(failure.read_text())
        try:
            return get()
        except NotAvailable as error:
            failure.write_text(str(error))
            raise


def found_once(find: Callable[P, list[str]]) -> Callable[P, list[str]]:
    """Let a part be looked for once in a process; who asks gets an argv of its own to append to."""
    known: dict[tuple[object, ...], list[str]] = {}

    @functools.wraps(find)
    def copy(*args: P.args, **options: P.kwargs) -> list[str]:
        key = (args, *options.items())
        if key not in known:
            known[key] = find(*args, **options)
        return [*known[key]]

    return copy


def forget_failures() -> None:
    """Let the next call try again what failed a moment ago."""
    for path in CACHE.glob("*.failed"):
        path.unlink(missing_ok=True)


# --- The parts ------------------------------------------------------------------------------------


def probe_micropython(argv: list[str]) -> tuple[tuple[int, int], int]:
    """Ask a MicroPython for ((major, minor), bits of a pointer).

    Raises NotAvailable if it is none.
    """
    question = (
        "import sys; v = sys.implementation; "
        "print(v.name, v.version[0], v.version[1], sys.maxsize > 2**31)"
    )
    words = run([*argv, "-c", question]).split()
    if len(words) != 4 or words[0] != "micropython":
        raise NotAvailable(f"{argv[0]} is no MicroPython")
    return (int(words[1]), int(words[2])), 64 if words[3] == "True" else 32


def require_micropython(argv: list[str], bits: int) -> list[str]:
    """Return argv. Raises NotAvailable unless it is a MicroPython that fits and is new enough."""
    version, size = probe_micropython(argv)
    if size != bits or version < MICROPYTHON_OLDEST:
        oldest = ".".join(map(str, MICROPYTHON_OLDEST))
        raise NotAvailable(
            f"{argv[-1]} is MicroPython {version[0]}.{version[1]} with {size}-bit objects; "
            f"wanted: {oldest} or later with {bits}-bit objects"
        )
    return argv


def from_environment(variable: str) -> list[str] | None:
    """Return the command (with arguments) in an environment variable, or None if not set."""
    return shlex.split(os.environ.get(variable, "")) or None


def micropython_on_path(bits: int) -> list[str] | None:
    """Return the machine's MicroPython if it fits; an old one must not hide a fetched one."""
    path = shutil.which("micropython")
    if not path:
        return None
    with contextlib.suppress(NotAvailable):
        return require_micropython([path], bits)
    return None


@found_once
def micropython(bits: int) -> list[str]:
    """Return the argv prefix of a MicroPython, unix port, with 64- or 32-bit objects.

    Order: $MICROPYTHON (64) or $MICROPYTHON32 (32), PATH, the distribution's package fetched into
    `.cache/`. Raises NotAvailable; ValueError for any other number of bits.
    """
    if bits not in (32, 64):
        raise ValueError(f"bits is 32 or 64, not {bits}")
    variable = {64: "MICROPYTHON", 32: "MICROPYTHON32"}[bits]
    if given := from_environment(variable):
        try:
            return require_micropython(given, bits)
        except NotAvailable as error:
            raise NotAvailable(f"${variable}: {error}") from error
    if found := micropython_on_path(bits):
        return found
    try:
        return once(
            f"micropython{bits}",
            lambda: require_micropython(fetch("micropython", bits, "micropython"), bits),
        )
    except NotAvailable as error:
        if bits == 64:
            advice = (
                f"{install_command('micropython')} (if that is 1.22 or later), "
                f"or point ${variable} at a unix-port binary"
            )
        else:
            advice = (
                f"build ports/unix with MICROPY_FORCE_32BIT=1 and point ${variable} at the binary"
            )
        raise NotAvailable(f"MicroPython, {bits}-bit: {error}\nWhat to do: {advice}.") from error


@found_once
def mosquitto() -> list[str]:
    """Return the argv prefix of the broker mosquitto.

    Order: $MOSQUITTO, PATH and the usual sbin folders, the distribution's package fetched into
    `.cache/`. Started as root a broker without a configuration wants to become the user
    "mosquitto": write `user root` into the configuration. Raises NotAvailable.
    """
    if given := from_environment("MOSQUITTO"):
        if not shutil.which(given[0]):
            raise NotAvailable(f"$MOSQUITTO: {given[0]} is no program")
        return given
    path = os.pathsep.join(
        [os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin", "/opt/homebrew/sbin"]
    )
    if found := shutil.which("mosquitto", path=path):
        return [found]
    try:
        bits = 64 if sys.maxsize > 2**32 else 32
        return once("mosquitto", lambda: fetch("mosquitto", bits, "mosquitto"))
    except NotAvailable as error:
        advice = f"{install_command('mosquitto')}, or point $MOSQUITTO at the binary"
        raise NotAvailable(f"mosquitto: {error}\nWhat to do: {advice}.") from error


@found_once
def newer_mosquitto() -> list[str]:
    """Return the argv prefix of mosquitto 2.1 or later, of Debian's next release. Raises
    NotAvailable."""
    if is_ubuntu():
        raise NotAvailable(f"mosquitto 2.1 is taken from Debian's {NEWER_SUITE}, on Debian only")
    argv = once("mosquitto-2.1", lambda: fetch("mosquitto", 64, "mosquitto", NEWER_SUITE))
    asked = subprocess.run([*argv, "-h"], capture_output=True, text=True, timeout=PROBE_TIMEOUT)
    if "mosquitto version 2.0" in asked.stdout:
        raise NotAvailable(f"Debian's {NEWER_SUITE} has no mosquitto 2.1 yet")
    return argv


@found_once
def mosquitto_client(name: str = "mosquitto_pub") -> list[str]:
    """Return the argv prefix of mosquitto_pub, mosquitto_sub or mosquitto_rr.

    Order: PATH, the distribution's package fetched into `.cache/`. Raises NotAvailable.
    """
    if found := shutil.which(name):
        return [found]
    try:
        bits = 64 if sys.maxsize > 2**32 else 32
        return once("mosquitto-clients", lambda: fetch("mosquitto-clients", bits, name))
    except NotAvailable as error:
        advice = install_command("mosquitto-clients")
        raise NotAvailable(f"{name}: {error}\nWhat to do: {advice}.") from error


CHROMIUM_PACKAGE = "chromium-headless-shell"  # Debian's chromium, without a window
CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome", CHROMIUM_PACKAGE)
# What a page without a GPU needs none of, 35 MB of it; and what is no library, but needed.
CHROMIUM_WITHOUT = ("libllvm", "libz3")
CHROMIUM_MORE = ("chromium-common", "fonts-dejavu-core", "fontconfig-config")
# The browser starts its own program again for each page, and looks for its files beside it: so the
# loader has to stand there.
CHROMIUM_START = """#!/bin/sh
here=$(dirname "$(readlink -f "$0")")
root=$here/../../..
libraries={libraries}
exec "$here/loader" --library-path "$libraries" "$here/{program}" --no-zygote \\
    --browser-subprocess-path="$here/start" "$@"
"""


def fetch_chromium() -> list[str]:
    """Return how to start the distribution's chromium, fetched into `.cache/` if need be."""
    architecture = native_architecture()
    root = CACHE / f"{CHROMIUM_PACKAGE}-{architecture}"
    if not root.exists():
        say(f"fetching {CHROMIUM_PACKAGE} by apt, some 90 MB ...")
        apt = Apt(architecture, architecture)
        apt.update()
        libraries = apt.libraries(CHROMIUM_PACKAGE)
        packages = [name for name in libraries if not name.startswith(CHROMIUM_WITHOUT)]
        apt.put([*packages, *CHROMIUM_MORE], root)
    home = root / "usr" / "lib" / "chromium"
    start = home / "start"
    if not start.exists():
        loaders = sorted(root.glob("**/ld-linux*.so.?"), key=lambda path: path.is_symlink())
        if not loaders or not (home / CHROMIUM_PACKAGE).exists():
            raise NotAvailable(f"{root} holds no chromium: delete that folder and try again")
        shutil.copy(loaders[0], home / "loader")
        folders = sorted({path.parent for path in root.glob("**/lib*.so*")})
        names = ":".join(f"$root/{path.relative_to(root)}" for path in folders)
        text = CHROMIUM_START.format(libraries=f'"{names}"', program=CHROMIUM_PACKAGE)
        start.write_text(text)
        start.chmod(0o755)
    run([str(start), "--version"])
    return [str(start)]


@found_once
def chromium() -> list[str]:
    """Return the argv prefix of a chromium, to be started headless.

    Order: $CHROMIUM, PATH, the distribution's package fetched into `.cache/`. Raises NotAvailable.
    """
    if given := from_environment("CHROMIUM"):
        return given
    for name in CHROMIUM_NAMES:
        if found := shutil.which(name):
            return [found]
    try:
        return once("chromium", fetch_chromium)
    except NotAvailable as error:
        advice = f"{install_command('chromium')}, or point $CHROMIUM at a browser of its family"
        raise NotAvailable(f"chromium: {error}\nWhat to do: {advice}.") from error


def node() -> str:
    """Return the path of a node that is new enough. Raises NotAvailable."""
    path = shutil.which("node")
    if not path:
        raise NotAvailable("node is not here")
    version = run([path, "--version"]).strip()
    if int(version.lstrip("v").split(".")[0]) < NODE_OLDEST:
        raise NotAvailable(f"node is {version}; wanted: {NODE_OLDEST} or later")
    return path


def npm_install(name: str) -> Path:
    """Return the folder of a package of NPM, installed into `.cache/` if need be: the files that
    are locked, and without running anything of them."""
    package, _, _ = NPM[name].rpartition("@")
    lock = (NPM_LOCKED / f"{name}.json").read_bytes()
    final = CACHE / f"{name}-{hashlib.sha256(lock).hexdigest()[:8]}"
    installed = final / "node_modules" / package
    if installed.exists():
        return installed
    npm = shutil.which("npm")
    if not npm:
        raise NotAvailable("npm is not here")
    say(f"installing {package} by npm ...")
    beside = Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=CACHE))
    try:
        (beside / "package-lock.json").write_bytes(lock)
        root = json.loads(lock)["packages"][""]
        (beside / "package.json").write_text(json.dumps({"private": True, **root}))
        run(
            [
                *(npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"),
                "--fetch-retries=1",  # npm's default: over a minute
            ],
            timeout=NPM_TIMEOUT,
            cwd=beside,
        )
        shutil.rmtree(final, ignore_errors=True)
        beside.rename(final)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return installed


def install_node_package() -> Path:
    """Return the folder of MicroPython for Node, installed into `.cache/` if need be."""
    return npm_install("node")


def aedes(version: str) -> Path:
    """Return the folder of the broker aedes, installed by npm. Raises NotAvailable."""
    node()
    return once(f"aedes-{version}", lambda: npm_install(f"aedes-{version}"))


# What RabbitMQ of Debian needs of Erlang; libraries are the machine's own.
ERLANG = (
    *("asn1", "base", "crypto", "eldap", "ftp", "inets", "mnesia", "os-mon", "parsetools"),
    *("public-key", "runtime-tools", "snmp", "ssl", "syntax-tools", "tftp", "tools", "xmerl"),
)
RABBITMQ = ["rabbitmq-server", *(f"erlang-{part}" for part in ERLANG)]
# Of what ejabberd of Debian depends on; a machine need not have these libraries.
EJABBERD = ("erlang-", "libyaml", "libexpat")


def of_own_release(name: str, packages: Callable[[Apt], list[str]]) -> Path:
    """Return the root of a broker's unpacked packages, of the machine's own release of Debian (its
    programs run with the machine's C library), fetched if need be. Raises NotAvailable."""

    def fetch() -> Path:
        release = os_release()
        if release.get("ID") != "debian":
            raise NotAvailable(f"{name} is taken from Debian's packages, on Debian only")
        architecture = native_architecture()
        suite = release["VERSION_CODENAME"]
        root = CACHE / f"{name}-{architecture}-{suite}"
        if not root.exists():
            say(f"fetching {name} and Erlang by apt ...")
            apt = Apt(architecture, architecture, suite=suite)
            apt.update()
            apt.put(packages(apt), root)
            for script in ("erl", "start"):  # where Erlang is, is written into these
                program = root / "usr/lib/erlang/bin" / script
                if program.is_symlink():
                    continue
                text = program.read_text()
                program.write_text(
                    text.replace("ROOTDIR=/usr/lib", f"ROOTDIR={root.resolve()}/usr/lib")
                )
        return root

    return once(name, fetch)


def rabbitmq() -> Path:
    """Return the root of an unpacked RabbitMQ with its Erlang. Raises NotAvailable."""
    return of_own_release("rabbitmq", lambda _: RABBITMQ)


def ejabberd() -> Path:
    """Return the root of an unpacked ejabberd with its Erlang. Raises NotAvailable."""

    def packages(apt: Apt) -> list[str]:
        names = [name for name, _ in apt.closure("ejabberd")]
        return ["ejabberd", *(name for name in names if name.startswith(EJABBERD))]

    return of_own_release("ejabberd", packages)


def fetch_pip_wheel() -> Path:
    """Return the wheel in the package python3-pip-whl, fetched into `.cache/` if need be."""
    root = CACHE / "python3-pip-whl"
    if not root.exists():
        say("fetching python3-pip-whl by apt ...")
        native = native_architecture()
        apt = Apt(native, native)
        apt.update()
        apt.put(["python3-pip-whl"], root)
    wheels = sorted(root.glob("usr/share/python-wheels/pip-*.whl"))
    if not wheels:
        raise NotAvailable(f"{root} holds no wheel of pip: delete that folder and try again")
    return wheels[-1]


def pip_wheel() -> Path:
    """Return pip as a wheel, for a Python without ensurepip (bootstrap.py).

    Raises NotAvailable.
    """
    with locked():
        return fetch_pip_wheel()


@found_once
def node_micropython() -> list[str]:
    """Return the argv prefix of the newest MicroPython (WebAssembly, no sockets) in Node.

    Append `[--path FOLDER]... SCRIPT [ARGUMENT]...`. Raises NotAvailable.
    """
    try:
        program = node()
        package = once("node-micropython", install_node_package)
    except NotAvailable as error:
        advice = f"install node {NODE_OLDEST} or later with npm: {install_command('nodejs npm')}"
        if shutil.which("node") and shutil.which("npm"):
            advice = "see that npm can install packages here, or update node"
        raise NotAvailable(f"MicroPython in Node: {error}\nWhat to do: {advice}.") from error
    return [
        program,
        str(Path(__file__).with_name("node_micropython.mjs")),
        "--package",
        str(package),
    ]


def emulated_chip(name: str) -> list[str]:
    """Return the argv prefix of an emulated chip with MicroPython (tools/setup/emulated.py)."""
    from . import emulated

    return emulated.command(name)


PARTS: dict[str, Callable[[], list[str]]] = {
    "micropython64": functools.partial(micropython, 64),
    "micropython32": functools.partial(micropython, 32),
    "mosquitto": mosquitto,
    "mosquitto-clients": mosquitto_client,
    "chromium": chromium,
    "node-micropython": node_micropython,
    "cortex-m3": functools.partial(emulated_chip, "cortex-m3"),
    "rv32": functools.partial(emulated_chip, "rv32"),
}


# --- Command line ---------------------------------------------------------------------------------


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        prog="get.py",
        description="Get the real parts that the tests run on: MicroPython and brokers. What the "
        "machine has is used; the rest is fetched into .cache/ without root.",
        epilog="$MICROPYTHON, $MICROPYTHON32 and $MOSQUITTO name programs of your own. "
        "Exit status: 0 all there; 1 a part cannot be had (with --keep-going: 0 all the same).",
    )
    parser.add_argument(
        "parts", nargs="+", metavar="PART", choices=[*PARTS, "all"], help=", ".join([*PARTS, "all"])
    )
    parser.add_argument(
        "--keep-going", action="store_true", help="a part that cannot be had is no failure"
    )
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Get the parts; print `NAME: how to start it`. Return the exit status."""
    options = parse(argv)
    names = list(PARTS) if "all" in options.parts else list(dict.fromkeys(options.parts))
    forget_failures()
    missing = 0
    for name in names:
        try:
            print(f"{name}: {shlex.join(PARTS[name]())}", flush=True)
        except NotAvailable as error:
            missing += 1
            say(f"{name}: not available. {error}")
    return 1 if missing and not options.keep_going else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        say("interrupted; what was unfinished is redone next time")
        sys.exit(130)

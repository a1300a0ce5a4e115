"""The package for a desk: built, installed from its wheel, used in an empty folder."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tools.paths import CACHE, ROOT
from tools.testing import runtimes
from tools.testing.address import HOST
from tools.testing.brokers import MosquittoBroker
from tools.testing.needs import missing


def run(*argv: object, cwd: Path, env: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        [str(word) for word in argv],
        cwd=cwd,
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    options = ["--no-build-isolation", "--no-deps", "--quiet", "--disable-pip-version-check"]
    run(sys.executable, "-m", "pip", "wheel", *options, "-w", folder, ROOT, cwd=folder)
    (found,) = folder.glob("dormouse_mqtt-*.whl")
    return found


@pytest.fixture(scope="module")
def desk(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with the wheel; what it depends on is borrowed from this one."""
    folder = tmp_path_factory.mktemp("desk")
    run(sys.executable, "-m", "venv", "--without-pip", folder / "venv", cwd=folder)
    python = folder / "venv" / "bin" / "python"
    site = Path(
        run(
            python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder
        ).strip()
    )
    (site / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    options = ["--no-deps", "--no-index", "--quiet", "--disable-pip-version-check"]
    run(sys.executable, "-m", "pip", "--python", python, "install", *options, wheel, cwd=folder)
    return folder


def environment(**more: str) -> dict[str, str]:
    """What a user's shell has, and not the paths of these tests."""
    left = {
        k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "PYTEST", "MICROPY"))
    }
    return {**left, "DORMOUSE_CACHE": str(CACHE), **more}


def test_what_is_in_it(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    for name in (
        "dormouse/__init__.py",
        "dormouse/py.typed",
        "dormouse_tools/testing/plugin.py",
        "dormouse_tools/data/boards/unix/board.py",
        "dormouse_tools/data/firmware/boot.py",
    ):
        assert name in names
    assert not [name for name in names if "__pycache__" in name or name.startswith("tools/")]
    tops = {name.split("/")[0] for name in names if ".dist-info" not in name}
    assert tops == {"dormouse", "dormouse_tools"}


def test_the_example_repository(desk: Path) -> None:
    """examples/my_node, alone in a folder: its tests pass, as docs/testing.md says."""
    if runtimes.MICROPYTHON32.reason:
        missing(runtimes.MICROPYTHON32.reason)
    mine = desk / "my_node"
    shutil.copytree(ROOT / "examples" / "my_node", mine)
    python = desk / "venv" / "bin" / "python"
    argv = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "not cut or 450"]
    said = run(*argv, cwd=mine, env=environment(CI=""))
    assert "passed" in said and "failed" not in said and "error" not in said


def test_the_test_in_the_document(desk: Path) -> None:
    """docs/testing.md: a program and a test of it, as they stand there."""
    if runtimes.MICROPYTHON32.reason:
        missing(runtimes.MICROPYTHON32.reason)
    text = (ROOT / "docs" / "testing.md").read_text()
    program, test = re.findall(r"```python\n(.*?)```", text, re.S)
    mine = desk / "document"
    mine.mkdir()
    (mine / "main.py").write_text(program)
    (mine / "test_main.py").write_text(test)
    python = desk / "venv" / "bin" / "python"
    argv = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    assert "1 passed" in run(*argv, cwd=mine, env=environment(CI=""))


def test_import_and_command(desk: Path) -> None:
    """On CPython, from a folder with nothing in it."""
    empty = desk / "empty"
    empty.mkdir()
    bin = desk / "venv" / "bin"
    code = "import dormouse; dormouse.Client; print(dormouse.__file__)"
    assert str(desk) in run(bin / "python", "-c", code, cwd=empty, env=environment())
    assert "pub" in run(bin / "dormouse", "--help", cwd=empty, env=environment())
    names = run(bin / "python", "-m", "dormouse_tools.board.boards", cwd=empty, env=environment())
    assert "ESP32_GENERIC" in names
    assert not list(empty.iterdir())


def test_the_command_of_a_new_user(desk: Path, mosquitto: Callable[..., MosquittoBroker]) -> None:
    """Each of its parts, with nothing around it, and of what it may use only what it needs."""
    mine = desk / "mine"
    mine.mkdir()
    broker = mosquitto(persistence=False, extra_config="sys_interval 1")
    at = ("-h", HOST, "-p", str(broker.port))
    # As if these were not installed: they are extras.
    extras = ("amqtt", "paho", "matplotlib", "cryptography", "trustme", "serial", "mpremote")
    code = "import sys; sys.modules.update(dict.fromkeys(sys.argv[1].split(',')))\n"
    code += "from dormouse_tools.command.main import main; sys.exit(main(sys.argv[2:]))"
    python = desk / "venv" / "bin" / "python"

    def dormouse(*args: str) -> str:
        argv = (python, "-c", code, ",".join(extras), *args)
        return run(*argv, cwd=mine, env=environment())

    dormouse("pub", *at, "-t", "new/user", "-m", "hello", "-q", "2", "-r")
    assert dormouse("sub", *at, "-t", "new/#", "-C", "1", "-W", "20", "-v") == "new/user hello\n"
    assert "days" in dormouse("plan", "--battery", "2500")
    assert "all back" in dormouse("storm", "--nodes", "20", "--outage", "2", "--policy", "jitter")
    assert "clients connected" in dormouse("watch", *at, "--once", "-W", "20")
    scope = subprocess.Popen(
        [python, "-c", code, ",".join(extras), "scope", *at, "--listen", "0", "-C", "1",
         "--html", "wake.html", "--save", "wake.json"],
        cwd=mine, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert scope.stderr
    port = re.findall(r"port (\d+)", scope.stderr.readline())[0]
    dormouse("pub", "-h", HOST, "-p", port, "-t", "a", "-m", "x", "-q", "1")
    out, err = scope.communicate(timeout=30)
    assert scope.returncode == 0 and "PUBACK" in out, err
    assert "PUBACK" in (mine / "wake.html").read_text()
    assert "PUBACK" in dormouse("scope", "wake.json")
    # Pictures, a real broker of its own and boards are extras, and it says which.
    for args, extra in (
        (("plan", "--picture", "plan.svg"), "dormouse-mqtt[pictures]"),
        (("scope", "wake.json", "--svg", "wake.svg"), "dormouse-mqtt[pictures]"),
        (("storm", "--real", "--nodes", "2"), "dormouse-mqtt[test]"),
        (("ota", "--help"), "dormouse-mqtt[board]"),
    ):
        argv = [python, "-c", code, ",".join(extras), *args]
        done = subprocess.run(
            argv, cwd=mine, env=environment(), capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 1 and extra in done.stderr, done.stderr


def test_tools_for_boards_of_a_new_user(desk: Path) -> None:
    """There is no Makefile beside the package: what they tell to do can be done by the command."""
    mine = desk / "boards"
    mine.mkdir()
    command = desk / "venv" / "bin" / "dormouse"

    def dormouse(status: int, *args: str) -> str:
        done = subprocess.run(
            [command, *args],
            cwd=mine,
            env=environment(HOME=str(mine), DORMOUSE_SSID="x"),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )
        text = done.stdout + done.stderr
        assert done.returncode == status, text
        assert not re.search(r"\bmake [a-z]|(?<![A-Z_[])[A-Z]{2,}(_[A-Z]+)?=", text), text
        return text

    for name in ("flash", "deploy", "provision", "ota-key", "ota", "console", "logs", "bridge"):
        dormouse(0, name, "--help")
    assert "say --board NAME" in dormouse(1, "deploy", "--board", "ESP33")
    missing = str(mine / "ttyUSB9")
    assert "with --wait. " in dormouse(1, "deploy", "--board", "ESP32_GENERIC", "--port", missing)
    main = ("--main", "nothing.py", "--dry-run", "--board", "ESP32_GENERIC")
    assert "--main the program" in dormouse(1, "deploy", *main)
    asked = ("ota", "--host", HOST, "--topic", "a/b", "--main", str(ROOT / "firmware" / "main.py"))
    assert "dormouse ota-key, then dormouse provision" in dormouse(1, *asked)
    assert "--host its broker --topic its topic" in " ".join(dormouse(2, "ota").split())
    assert "which dormouse provision puts" in dormouse(0, "ota-key")
    assert (mine / ".config" / "dormouse" / "owner.pem").exists()
    done = subprocess.run([command, "hil"], cwd=mine, env=environment(), capture_output=True)
    assert done.returncode == 1 and b"take a copy of the repository" in done.stderr


def test_a_wrong_option_is_told(desk: Path) -> None:
    folder = desk / "wrong"
    folder.mkdir()
    (folder / "test_it.py").write_text("def test_it(board):\n    pass\n")
    python = desk / "venv" / "bin" / "python"
    for option, text in (
        ("--dormouse-runtime=pypy", "no runtime 'pypy': one of micropython32"),
        ("--dormouse-runtime=cpython", "no such program for the board"),
    ):
        done = subprocess.run(
            [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", option],
            cwd=folder,
            env=environment(),
            capture_output=True,
            text=True,
        )
        assert done.returncode and text in done.stdout + done.stderr

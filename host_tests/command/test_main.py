"""dormouse itself: what it lists, the tools for boards behind it, what it says of mistakes."""

import subprocess
from pathlib import Path

import pytest
from calling import COMMAND, Run

from tools.board import face
from tools.command.main import COMMANDS
from tools.command.shared.board_tools import TOOLS
from tools.paths import ROOT


def test_it_lists_all(run: Run) -> None:
    text = run("--help").out
    for name in (*COMMANDS, *TOOLS):
        assert f"\n  {name} " in text
    assert run().status == 2
    assert run("--version").out.startswith("dormouse ")


@pytest.mark.parametrize("name", TOOLS)
def test_tools_for_boards(run: Run, name: str) -> None:
    done = run(name, "--help")
    assert done.status == 0, done.err
    asked = "console" if name == "logs" else name
    assert done.out.startswith(f"usage: dormouse {asked} ")


@pytest.mark.parametrize(
    ("text", "installed"),
    [
        ("Next: make provision BOARD=ESP32_GENERIC", "dormouse provision --board ESP32_GENERIC"),
        ("make ota-key, then make provision", "dormouse ota-key, then dormouse provision"),
        ("wait for it\n    with WAIT=1. Or", "with --wait. Or"),
        ("Or name the port: PORT=/dev/ttyUSB0", "name the port: --port /dev/ttyUSB0"),
        ("or with\n    ARGS=--withdraw to take", "with\n    --withdraw to take"),
        ("--ca FILE of who signed it (ARGS=...); a HOST", "of who signed it; a HOST"),
        ('make ota HOST=a ARGS="--order log"', "dormouse ota --host a --order log"),
        ("DORMOUSE_PORT=1 DORMOUSE_HOST=b make it", "DORMOUSE_PORT=1 DORMOUSE_HOST=b make it"),
    ],
)
def test_what_a_tool_tells_to_do(text: str, installed: str) -> None:
    """In a checkout by make; where there is none, by the command."""
    assert face.words(text, True) == text
    assert installed in face.words(text, False)


def test_a_tool_is_really_run(run: Run) -> None:
    done = run("flash", "--board", "ESP33")
    assert done.status == 1 and "there is no board 'ESP33'" in done.err


@pytest.mark.parametrize("name", COMMANDS)
def test_each_has_examples_and_tells_its_exit_status(run: Run, name: str) -> None:
    text = run(name, "--help").out
    assert "examples:" in text and "exit status:" in text
    assert run(name, "--no-such-option").status == 2


@pytest.mark.parametrize(
    ("words", "where", "status"),
    [
        ("plan", ">&-", 0),
        ("plan", "<&-", 0),
        ("--help", ">&-", 0),
        ("plan", "> /dev/full", 1),
        ("--help", "> /dev/full", 1),
    ],
)
def test_streams_that_are_closed_or_full(words: str, where: str, status: int) -> None:
    if "full" in where and not Path("/dev/full").exists():
        pytest.skip("/dev/full is Linux's")
    command = f"exec {' '.join(COMMAND)} {words} {where}"
    done = subprocess.run(command, shell=True, cwd=ROOT, capture_output=True, text=True, timeout=30)
    assert done.returncode == status and "Traceback" not in done.stderr
    assert ("cannot write: " in done.stderr) == (status == 1)


def test_a_terminal_without_its_letters() -> None:
    """A locale that has no micro sign: it is written in another way, and nothing ends."""
    env = {"PYTHONIOENCODING": "ascii", "PATH": "/usr/bin:/bin"}
    done = subprocess.run([*COMMAND, "plan"], cwd=ROOT, env=env, capture_output=True, timeout=30)
    assert done.returncode == 0 and rb"\xb5A" in done.stdout, done.stderr

"""`make run`: a program on the simulated board, with a console."""

import os
import pty
import select
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from harness.programs import argv_of

from tools.paths import ROOT
from tools.testing import runtimes
from tools.testing.needs import missing


@pytest.fixture(autouse=True)
def micropython() -> None:
    if runtimes.MICROPYTHON32.reason:
        missing(runtimes.MICROPYTHON32.reason)


def test_its_output_and_status(tool: Callable[..., subprocess.CompletedProcess], tmp_path) -> None:
    """Its network is there, as a boot.py would have it; config.json is on the flash."""
    program = tmp_path / "node.py"
    program.write_text(
        "import json, machine, network, socket, sys\n"
        "print(sys.argv[1:], json.load(open('config.json')), network.WLAN(0).isconnected())\n"
        "print(socket.getaddrinfo('broker.local', 1883)[0][0])\n"
        "if machine.reset_cause() != machine.DEEPSLEEP_RESET:\n"
        "    machine.deepsleep(3600000)\n"
        "raise ValueError('the end')\n"
    )
    (tmp_path / "config.json").write_text('{"wifi": {"ssid": "mine"}}')
    folder = tmp_path / "board"
    done = tool("run", "--fast", "--folder", str(folder), str(program), "a", stdin=-3)
    assert done.returncode == 1 and "ValueError: the end" in done.stdout + done.stderr
    assert done.stdout.count("['a'] {'wifi': {'ssid': 'mine'}} True") == 2
    assert "simulated ESP32_GENERIC" in done.stderr
    program.write_text("import esp32")
    done = tool("run", "--board", "RPI_PICO_W", "--folder", str(tmp_path / "p"), str(program))
    assert done.returncode == 1 and "no module named 'esp32'" in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("args", "why"),
    [
        (("nothing.py",), "nothing.py: no such file"),
        ((".",), "no program is named"),
        ((str(ROOT / "docs"),), "docs is a folder"),
        (("--folder", "/proc/none", __file__), "/proc/none"),
        (("--board", "ESP99", __file__), "there is no board 'ESP99'"),
        (("--fresh", "--folder", str(ROOT / "docs"), __file__), "is no board's folder"),
    ],
)
def test_what_cannot_be_run(tool, args: tuple[str, ...], why: str) -> None:
    done = tool("run", *args)
    assert done.returncode == 1 and why in done.stderr and "What to do:" in done.stderr


def test_one_program_on_a_board(tool, tmp_path: Path) -> None:
    """Two at one flash would destroy it."""
    program = tmp_path / "node.py"
    program.write_text("import time\nprint('ready')\ntime.sleep(60)\n")
    argv = [*argv_of("run"), "--wifi", "mine", "--folder", str(tmp_path / "board"), str(program)]
    with subprocess.Popen(
        argv, cwd=ROOT, stdout=-1, stderr=-1, stdin=-3, text=True, start_new_session=True
    ) as first:
        try:
            assert first.stdout and first.stdout.readline() == "ready\n"
            assert first.stderr and 'its Wi-Fi is "mine"' in first.stderr.readline()
            done = tool("run", "--folder", str(tmp_path / "board"), str(program), stdin=-3)
            assert done.returncode == 1 and "another program runs on the board" in done.stderr
        finally:
            os.killpg(first.pid, signal.SIGINT)


def test_console(tmp_path: Path) -> None:
    """Ctrl-C, and the program's names are at the prompt."""
    program = tmp_path / "node.py"
    program.write_text("import time\nx = 41\nprint('ready')\nwhile True:\n    time.sleep(1)\n")
    argv = [*argv_of("run"), "--folder", str(tmp_path / "board"), str(program)]
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(ROOT)
        os.execv(argv[0], argv)
    said = b""

    def until(text: bytes) -> None:
        nonlocal said
        end = time.monotonic() + 20
        while text not in said:
            assert time.monotonic() < end, said
            if select.select([terminal], [], [], 0.5)[0]:
                said += os.read(terminal, 1024)
        said = b""

    try:
        until(b"ready")
        os.write(terminal, b"\x03")
        until(b">>> ")
        os.write(terminal, b"x + 1\r")
        until(b"42")
        os.write(terminal, b"\x04")
    finally:
        os.close(terminal)
        os.waitpid(pid, 0)

"""make deploy: the real mpremote and mpy-cross, on a simulated board behind a serial port."""

import json
import re
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest
from harness.programs import argv_of
from harness.serial_board import SerialBoard

from tools import parts
from tools.board import deploy, device, ports
from tools.testing.brokers import AmqttBroker
from tools.testing.observer import Observer
from tools.testing.runtimes import ROOT

PROGRAM = """\
import asyncio, json
from dormouse import Client
async def main():
    with open("config.json") as f:
        config = json.load(f)
    async with Client("127.0.0.1", client_id="deployed", **config) as client:
        await client.publish("deployed/value", {value}, qos=2)
    print("published")
asyncio.run(main())
"""


def program(folder: Path, value: bytes) -> Path:
    path = folder / f"main{value.decode()}.py"
    path.write_text(PROGRAM.replace("{value}", repr(value)))
    return path


def deployed(tool, board: SerialBoard, main: Path) -> str:
    done = tool("deploy.py", "--board", "unix", "--port", board.port, "--main", str(main))
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_what_lands_there_runs(board: SerialBoard, tool, tmp_path: Path) -> None:
    """Twice: then only what has changed is copied; what is not dormouse's stays."""
    with AmqttBroker() as broker, Observer(broker, ("deployed/#", 2)) as observer:
        config = {"port": broker.port, "username": broker.username, "password": broker.password}
        (tmp_path / "config.json").write_text(json.dumps(config))
        (tmp_path / "old.py").write_text("raise ValueError('this stands before old.mpy')")
        board.mpremote(
            *("fs", "mkdir", ":lib", "+", "fs", "mkdir", ":lib/dormouse", "+"),
            *("cp", str(tmp_path / "config.json"), ":config.json", "+"),
            *("cp", str(tmp_path / "old.py"), ":lib/other.py", "+"),
            *("cp", str(tmp_path / "old.py"), ":lib/dormouse/session.py"),
        )
        n = len(parts.every()) + 2  # boot.py, main.py
        said = deployed(tool, board, program(tmp_path, b"1"))
        end = "it runs. Next: make logs BOARD=unix\n"
        assert said == f"{n} copied, 0 the same, 1 removed; {end}"
        board.wait_output("published", 10)
        observer.wait("deployed/value", "1")
        assert deployed(tool, board, program(tmp_path, b"2")) == (
            f"1 copied, {n - 1} the same, 0 removed; {end}"
        )
        observer.wait("deployed/value", "2")
    listed = board.mpremote(
        "fs", "ls", ":", "+", "fs", "ls", ":lib", "+", "fs", "ls", ":lib/dormouse"
    )
    names = {line.split()[-1] for line in listed.splitlines()}
    assert {"config.json", "main.py", "other.py", "session.mpy", "mqtt5/"} <= names
    assert "session.py" not in names and "_host.mpy" not in names


def test_dry_run_prints_commands_that_work(board: SerialBoard, tool, tmp_path: Path) -> None:
    main = program(tmp_path, b"3")
    done = tool(
        "deploy.py", "--board", "unix", "--port", board.port, "--main", str(main), "--dry-run"
    )
    assert done.returncode == 0, done.stderr
    assert board.starts == 1 and not board.mpremote("fs", "ls", ":").count("main.py")
    *commands, last = done.stdout.splitlines()
    assert last.startswith("nothing was done")
    script = tmp_path / "commands.sh"
    script.write_text("set -e\n" + "\n".join(commands))
    ran = subprocess.run(["bash", str(script)], capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    # As `make deploy` would have left it: nothing is left to do.
    assert deployed(tool, board, main).startswith(f"0 copied, {len(parts.every()) + 2} the same")


def test_another_chip_than_named(board: SerialBoard, tool) -> None:
    done = tool("deploy.py", "--board", "RPI_PICO_W", "--port", board.port)
    assert done.returncode == 1
    assert "this is no RPI_PICO_W: its MicroPython says 'linux'" in done.stderr


def test_frozen_library_is_not_copied(board: SerialBoard, tool, tmp_path: Path) -> None:
    """As the board itself tells: a module whose file is no file. And a boot.py of one's own stays,
    but not one that has only comments, as a new ESP32's."""
    (tmp_path / "boot.py").write_text(
        "import sys\n"
        "class Frozen: __file__ = 'dormouse/__init__.py'\n"
        "sys.modules['dormouse'] = Frozen\n"
    )
    board.mpremote("cp", str(tmp_path / "boot.py"), ":boot.py")
    said = deployed(tool, board, program(tmp_path, b"4"))
    assert "frozen" in said and "1 copied, 0 the same, 0 removed" in said
    assert "its boot.py is not dormouse's, and stays" in said
    (tmp_path / "boot.py").write_text("# executed on every boot\n\n#import esp\n")
    board.mpremote("cp", str(tmp_path / "boot.py"), ":boot.py")
    assert "stays" not in deployed(tool, board, program(tmp_path, b"5"))
    assert "stays" not in deployed(tool, board, program(tmp_path, b"6"))
    assert "Puts an update in place" in board.mpremote("cat", ":boot.py")


@pytest.mark.parametrize(
    ("args", "why"),
    [
        (["--board", "ESP33"], "there is no board 'ESP33'"),
        ([], "BOARD=NAME"),
        (["--board", "ESP32_GENERIC", "--port", "/dev/nothing"], "/dev/nothing: No such file"),
        (["--board", "ESP32_GENERIC", "--port", str(ROOT / "README.md")], "is no serial port"),
    ],
)
def test_errors_say_what_to_do(tool, args: list[str], why: str) -> None:
    done = tool("deploy.py", *args)
    assert done.returncode == 1 and not done.stdout
    assert why in done.stderr and "What to do:" in done.stderr
    assert "Traceback" not in done.stderr


def test_missing_main(board: SerialBoard, tool) -> None:
    done = tool("deploy.py", "--board", "unix", "--port", board.port, "--main", "no.py")
    assert done.returncode == 1 and "no.py: no such file" in done.stderr


def test_mpremotes_own_words_are_known(tmp_path: Path) -> None:
    """A port that mpremote cannot open: what it says is turned into what to do."""
    with pytest.raises(device.DeviceError, match="in use, or went away"):
        device.Device(str(tmp_path)).run("exec", "1")


def test_error_on_the_board_is_shown(board: SerialBoard) -> None:
    with pytest.raises(device.DeviceError, match="ZeroDivisionError"):
        device.Device(board.port).ask("1/0")
    with pytest.raises(device.DeviceError, match="file system is full"):
        device.Device(board.port).ask("raise OSError(28)")


def test_full_flash(tool, tmp_path: Path) -> None:
    """Nothing is copied where it cannot fit. What may fit, and does not, is told as well: here
    littlefs takes more than the bytes."""
    size = 65536
    for half in (False, True):
        folder = tmp_path / str(size)
        with SerialBoard(folder, config={"flash": size}) as small:
            done = tool("deploy.py", "--board", "unix", "--port", small.port)
            assert done.returncode == 1
            assert "the board's file system is full" in done.stderr
            assert "What to do:" in done.stderr
            assert ("room for" in done.stderr) != half
            assert ("lib/" in small.mpremote("fs", "ls", ":")) == half
        if not half:
            told = re.search(r"([\d,]+) bytes, and there is room for", done.stderr)
            assert told
            blocks = -(-int(told[1].replace(",", "")) // 4096)
            size = (blocks + 2) * 4096  # the two that any file system has


def test_no_file_system() -> None:
    answer = {"block": 0, "free": 0, "sizes": {}}  # statvfs with nothing mounted
    with pytest.raises(deploy.CannotDeploy, match="no file system"):
        deploy.check_room(deploy.Plan([], {}, [], 0), answer)


def test_a_program_with_a_syntax_error_can_be_replaced(board: SerialBoard, tmp_path: Path) -> None:
    """The board is at its REPL then, as a chip is."""
    (tmp_path / "main.py").write_text("x = (\n")
    board.mpremote("cp", str(tmp_path / "main.py"), ":main.py", "+", "reset")
    board.wait_output("SyntaxError", 10)
    assert board.mpremote("exec", "print(6 * 7)").strip() == "42"


def test_a_port_is_waited_for(board: SerialBoard, tmp_path: Path) -> None:
    """A chip with USB of its own has a port while it is awake only."""
    port, main = tmp_path / "port", program(tmp_path, b"7")
    argv = [*argv_of("deploy"), "--wait", "--board", "unix"]
    waiting = subprocess.Popen(
        [*argv, "--port", str(port), "--main", str(main)],
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    try:
        assert waiting.stderr
        with waiting.stderr:
            assert "No such file" in waiting.stderr.readline()
            port.symlink_to(board.port)
            assert waiting.wait(60) == 0
    finally:
        waiting.kill()
        waiting.wait()
    assert "main.py" in board.mpremote("fs", "ls", ":")


def found(*vids: int) -> list[SimpleNamespace]:
    return [SimpleNamespace(device=f"/dev/tty{i}", vid=v, product=None) for i, v in enumerate(vids)]


def test_port_is_found_if_there_is_one_board() -> None:
    assert ports.choose(None, "esp32", found(0x1234, 0x10C4, 0x2E8A)) == "/dev/tty1"
    assert ports.choose(None, "rp2", found(0x1234, 0x10C4, 0x2E8A)) == "/dev/tty2"
    assert ports.choose("/dev/given", "rp2", found()) == "/dev/given"
    with pytest.raises(ports.NoPort, match="no rp2 board"):
        ports.choose(None, "rp2", found(0x303A))
    with pytest.raises(ports.NoPort, match=r"several boards.*\n.*\n.*PORT=/dev/tty0  Espressif"):
        ports.choose(None, "esp32", found(0x303A, 0x10C4))


RUNNING = "import time\nprint('mine runs')\nwhile True:\n    time.sleep(1)\n"


def runs_its_own(board: SerialBoard, tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(RUNNING)
    board.mpremote("cp", str(path), ":main.py", "+", "reset")
    board.wait_output("mine runs", 10)
    board.output.clear()


def test_a_refused_board_runs_again(board: SerialBoard, tool, tmp_path: Path) -> None:
    """At its prompt a node would be awake until its battery is empty."""
    runs_its_own(board, tmp_path)
    done = tool("deploy", "--board", "RPI_PICO_W", "--port", board.port)
    assert done.returncode == 1 and "this is no RPI_PICO_W" in done.stderr
    assert done.stderr.splitlines()[-1] == "the board runs again, as it was"
    board.wait_output("mine runs", 10)


def test_an_interrupted_board_runs_again(
    board: SerialBoard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs_its_own(board, tmp_path)

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(deploy, "plan", interrupted)
    assert deploy.main(["--board", "unix", "--port", board.port]) == 130
    board.wait_output("mine runs", 10)


def test_half_copied_is_told(
    board: SerialBoard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    runs_its_own(board, tmp_path)
    run = device.Device.run

    def failing(self: device.Device, *commands: str, **options: object) -> str:
        if "cp" in commands:
            raise device.DeviceError("the board went away")
        return run(self, *commands, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(device.Device, "run", failing)
    assert deploy.main(["--board", "unix", "--port", board.port]) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == (
        "the board runs again; what was copied before this is on it: say it once more, to end it"
    )
    board.wait_output("mine runs", 10)

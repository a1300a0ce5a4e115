"""make hil: the tool, mpremote's transport and real brokers; only the board is simulated."""

import json
import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from harness import hil
from harness.hil import FOLDER, BoardLost, BoardRuntime, Link
from harness.programs import argv_of
from harness.serial_board import SerialBoard

from tools.board import hil as tool_hil
from tools.testing.needs import needed
from tools.testing.runtimes import MICROPYTHON32, ROOT, Runtime

STARTER = ROOT / "host_tests" / "scenarios" / "programs" / "on_board.py"
SECRET = "wifi secret 1"
MAIN = "import time\nprint('mine')\nwhile True:\n time.sleep(1)\n"
NETWORK = {
    "ssid": "home",
    "password": SECRET,
    "address": ["127.0.0.7", "255.0.0.0", "127.0.0.1", "127.0.0.1"],
}


@pytest.fixture
def board(tmp_path: Path) -> Iterator[SerialBoard]:
    """A board as small as they are: 32 bits, 128 KB of heap, 32 of them for the simulation."""
    argv = needed(lambda: MICROPYTHON32.argv)
    small = Runtime("small", lambda: [*argv, "-X", "heapsize=128k"], "")
    with SerialBoard(tmp_path / "board", small) as chosen:
        yield chosen


@pytest.fixture
def used(board: SerialBoard, tmp_path: Path) -> SerialBoard:
    """A board as a user has it: provisioned, with a program, and with files called as ours."""
    (board.folder / "network.json").write_text(json.dumps(NETWORK))
    config = {"wifi": {"ssid": "home", "password": SECRET}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "main.py").write_text(MAIN)
    (tmp_path / "old.py").write_text("raise ValueError('the user\\'s own')")
    board.mpremote(
        *("cp", str(tmp_path / "config.json"), ":config.json", "+"),
        *("fs", "mkdir", ":lib", "+", "fs", "mkdir", ":lib/dormouse", "+"),
        *("cp", str(tmp_path / "old.py"), ":lib/dormouse/__init__.py", "+"),
        *("cp", str(tmp_path / "old.py"), ":device.py", "+"),
        *("cp", str(tmp_path / "main.py"), ":main.py"),
    )
    return board


def files(board: SerialBoard) -> str:
    """Return what is on the board, with hashes."""
    names = ("config.json", "main.py", "device.py", "lib/dormouse/__init__.py")
    commands = [word for name in names for word in ("fs", "sha256sum", f":{name}", "+")]
    return board.mpremote(*commands, "fs", "ls", ":", "+", "fs", "ls", ":lib/dormouse")


def argv(board: SerialBoard, tmp_path: Path, *args: str) -> list[str]:
    report = ("--report", str(tmp_path / "report.md"))
    return ["--board", "unix", "--port", board.port, *report, *args]


def test_scenarios_pass_and_the_board_is_as_it_was(used: SerialBoard, tool, tmp_path: Path) -> None:
    before = files(used)
    # Another address than all else here listens at: what asks for it is found out.
    chosen = "qos2_lost and reset or test_outgoing or test_retained or after_disconnect or moved"
    chosen += " or kept_while_away and amqtt"
    done = tool("hil.py", *argv(used, tmp_path, "--host", "127.0.0.2", "-k", chosen))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "brokers at 127.0.0.2" in done.stdout
    report = (tmp_path / "report.md").read_text().splitlines()
    assert report[0].startswith("# unix: ")
    assert re.search(r"MicroPython 1\.\d\d", report[0]), report[0]
    rows = [line.strip("| ").split(" | ") for line in report if line.startswith("| ")]
    passed = [(scenario, broker) for scenario, broker, result, *_ in rows if result == "passed"]
    assert ("handshakes: qos2_lost_at_each_step (reset-gateway)", "peer") in passed
    assert ("brokers: retained", "mosquitto, MQTT 5") in passed
    assert ("brokers: session_kept_while_away", "amqtt") in passed
    assert ("power: outgoing", "peer") in passed
    assert [row[0] for row in rows if row[2].startswith("left out: runs on the simulated")] == [
        "sleep: address_moved"
    ]
    assert report[-1].startswith(f"{len(passed)} passed, 1 left out; ")
    assert files(used) == before and FOLDER not in before
    assert SECRET not in done.stdout + done.stderr


@pytest.mark.prove
def test_route_to_the_board_says_the_host(used: SerialBoard, tool, tmp_path: Path) -> None:
    """And a board whose asyncio is broken fails where that is needed, not elsewhere."""
    (tmp_path / "boot.py").write_text("import asyncio\nasyncio.gather = None\n")
    used.mpremote("cp", str(tmp_path / "boot.py"), ":boot.py")
    done = tool("hil.py", *argv(used, tmp_path, "-k", "one_write_for_a_burst or test_qos1_lost"))
    assert done.returncode == 1
    assert "brokers at 127.0.0.1" in done.stdout
    report = (tmp_path / "report.md").read_text()
    assert "| handshakes: one_write_for_a_burst (tcp) | peer | failed |" in report
    assert "4 passed, 2 failed; " in report
    assert "TypeError" in done.stdout  # the board's own traceback


Started = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def started(used: SerialBoard, tmp_path: Path) -> Iterator[Started]:
    """Return a function that starts the tool, and returns when its first scenario has passed."""
    processes = []

    def start() -> subprocess.Popen[str]:
        args = argv(used, tmp_path, "-k", "handshakes")
        process = subprocess.Popen(
            [*argv_of("hil"), *args],
            cwd=ROOT,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        assert process.stdout
        while "PASSED" not in (line := process.stdout.readline()):
            assert line, process.stderr and process.stderr.read()
        return process

    yield start
    for process in processes:
        process.kill()
        process.wait()
        for pipe in (process.stdout, process.stderr):
            if pipe:
                pipe.close()


@pytest.mark.prove
def test_unplugged(started: Started, used: SerialBoard, tmp_path: Path) -> None:
    process = started()
    used.close()
    said, wrong = process.communicate(timeout=60)
    assert process.returncode == 1
    assert f"the board at {used.port} went away" in wrong and "plug it in again" in wrong
    assert "Traceback" not in wrong and "left out" not in wrong
    report = (tmp_path / "report.md").read_text()
    assert " passed |" in report and " not run |" in report
    assert "not run" in said


def test_interrupted(started: Started, used: SerialBoard, tmp_path: Path) -> None:
    before = files(used)
    process = started()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    used.wait_output("mine", 10)  # its own program runs again
    assert " not run |" in (tmp_path / "report.md").read_text()
    assert files(used) == before


FILL = """
import os
s = os.statvfs(os.getcwd())
with open('big', 'wb') as f:
    for _ in range(s[0] * s[3] - 230 * 1024 >> 12): f.write(bytes(4096))
"""


def test_errors_say_what_to_do(
    used: SerialBoard, tool, tmp_path: Path, monkeypatch, capsys: pytest.CaptureFixture[str]
) -> None:
    starter = tmp_path / STARTER.name
    starter.write_text(STARTER.read_text().replace("FAULT = 6000", "FAULT = 300"))
    monkeypatch.setattr(tool_hil, "STARTER", starter)

    def checked(status: int, said: str, wrong: str) -> str:
        assert status == 1 and "Traceback" not in wrong
        assert "What to do:" in wrong and SECRET not in said + wrong
        return wrong

    def fails(*args: str) -> str:
        return checked(tool_hil.main(argv(used, tmp_path, *args)), *capsys.readouterr())

    before = files(used)
    # An address of this machine that no connection can be made to. As a person starts it:
    done = tool("hil.py", *argv(used, tmp_path, "--host", "127.255.255.255"))
    wrong = checked(done.returncode, done.stdout, done.stderr)
    assert "cannot reach this machine at 127.255.255.255" in wrong
    assert "HOST=192.0.2.1 is no address of this machine" in fails("--host", "192.0.2.1")
    (used.folder / "network.json").write_text(json.dumps({**NETWORK, "wrong_password": True}))
    assert "did not join its Wi-Fi (OSError: no Wi-Fi: status 202)" in fails()
    assert files(used) == before
    (tmp_path / "cable.json").write_text('{"host": "broker.local"}')
    used.mpremote("cp", str(tmp_path / "cable.json"), ":config.json")
    assert "names no Wi-Fi" in fails()
    used.mpremote("fs", "rm", ":config.json")
    assert "no config.json" in fails()
    used.mpremote("exec", FILL)
    assert "KB of flash left, and 240 KB are needed" in fails()
    assert "the board runs again, as it was" in fails()


def test_dry_run(tool) -> None:
    args = ("--board", "RPI_PICO_W", "--dry-run", "-k", "qos1_lost or test_tls")
    done = tool("hil.py", *args)
    assert done.returncode == 0, done.stderr
    assert "8 scenarios would run on RPI_PICO_W" in done.stdout
    assert "qos1_lost_puback (close-tcp)" in done.stdout and "left out: certificates" in done.stdout
    assert tool("hil.py", *args[:3], "-k", "nonsense").returncode == 1


# --- The board as a runtime


@pytest.fixture
def runtime(used: SerialBoard) -> Iterator[BoardRuntime]:
    with Link(used.port) as link:
        chosen = BoardRuntime("unix", link, {}, STARTER)
        chosen.prepare()
        yield chosen


def reasons(board: SerialBoard) -> list[str]:
    """Return why each boot of the board ended."""
    lines = (board.folder / "boots.jsonl").read_text().splitlines()
    return [json.loads(line)["reason"] for line in lines]


def program(tmp_path: Path, source: str) -> Path:
    path = tmp_path / "program.py"
    path.write_text(source)
    return path


def test_how_a_program_ends(
    runtime: BoardRuntime, used: SerialBoard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for source, status in (("print('x')", 0), ("import sys\nsys.exit(3)", 3), ("1/0", 1)):
        with runtime.start(program(tmp_path, source)) as device:
            assert device.wait_exit(5) == status
    assert device.lines[-1] == "ZeroDivisionError: divide by zero"
    forever = "import time\nprint('on')\nwhile True:\n time.sleep(1)\n"
    with runtime.start(program(tmp_path, forever)) as device:
        device.wait_line("on", 5)
        device.terminate()
        assert device.wait_exit(5) == 1 and "KeyboardInterrupt" in device.lines[-1]
    monkeypatch.setattr(hil, "DEAF", 0.3)
    with runtime.start(program(tmp_path, forever)) as device:
        device.wait_line("on", 5)
        device.kill()
        assert device.wait_exit(5) == -9
    with runtime.start(program(tmp_path, "print('again')")) as device:
        device.wait_line("again", 5)
    assert reasons(used).count("reset") == 1
    joined = (used.folder / "network.log").read_text().splitlines()
    # A soft reset between programs leaves the radio as it is: at first, and after the reset.
    assert [json.loads(line)["event"] for line in joined].count("up") == 2


def test_kill_is_a_power_cut(runtime: BoardRuntime, used: SerialBoard, tmp_path: Path) -> None:
    """Nothing unwinds, and no peer is told; what comes after waits for the reset."""
    source = """\
import asyncio, time
async def main():
    try:
        print('on')
        while True:
            time.sleep_ms(20)  # here Ctrl-C would unwind
            await asyncio.sleep(0)
    finally:
        open('unwound', 'w').close()
asyncio.run(main())
"""
    for _ in range(2):
        with runtime.start(program(tmp_path, source)) as device:
            device.wait_line("on", 5)
            device.kill()
            assert device.wait_exit(1) == -9
            assert device.lines[-1] == "on"  # nor did Ctrl-C raise anything
    said = runtime.link.fresh() or runtime.link.call(f"import os; print(os.listdir('{FOLDER}'))")
    assert "program.py" in said and "unwound" not in said
    # One that has ended is not cut: no reset, and its own status.
    with runtime.start(program(tmp_path, "import asyncio, sys\nsys.exit(3)")) as device:
        assert device.wait_exit(5) == 3
        device.kill()
        assert device.wait_exit(1) == 3
    assert reasons(used).count("reset") == 2


def test_asyncio_runs_again(runtime: BoardRuntime, tmp_path: Path) -> None:
    """What cuts the power is there in each run, and disturbs none; others hold what it returns."""
    source = """\
import asyncio
async def main(n):
    await asyncio.sleep(0.02)
    if n == 2:
        print('on')
        await asyncio.sleep(60)
    return n
print([asyncio.run(main(n)) for n in range(3)])
"""
    with runtime.start(program(tmp_path, source)) as device:
        device.wait_line("on", 5)
        device.kill()
        assert device.wait_exit(1) == -9
    short = source.replace("60", "0")
    with runtime.start(program(tmp_path, short)) as device:
        assert device.wait_exit(5) == 0
        assert device.lines == ["on", "[0, 1, 2]"]


def test_ctrl_c_while_it_allocates(runtime: BoardRuntime, tmp_path: Path) -> None:
    """As on a chip: the heap is as good as before. (Of the simulated board.)"""
    source = """\
import time
n = 0
while n < 40:
    try:
        print('at', n)
        while True:
            for i in range(4000):
                x = bytearray(90)
            time.sleep_ms(1)
    except KeyboardInterrupt:
        n += 1
"""
    with runtime.start(program(tmp_path, source)) as device:
        for n in range(40):
            device.wait_line(f"at {n}", 3)
            device.terminate()
        assert device.wait_exit(5) == 0, device.transcript()


def test_what_one_board_cannot(runtime: BoardRuntime, tmp_path: Path) -> None:
    path = program(tmp_path, "print('on')\nimport time\nwhile True:\n time.sleep(1)\n")
    with runtime.start(path), pytest.raises(pytest.skip.Exception, match="several devices"):
        runtime.start(path)
    with pytest.raises(pytest.skip.Exception, match="environment"):
        runtime.start(path, cwd=tmp_path)


def test_a_program_that_does_not_end(
    runtime: BoardRuntime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told, and does not make the next scenarios look as if they wanted two devices."""
    monkeypatch.setattr(hil, "INTERRUPT", 0.5)
    deaf = "import time\nwhile True:\n try:\n  print('on')\n  time.sleep(1)\n"
    deaf += " except KeyboardInterrupt:\n  pass\n"
    path = program(tmp_path, deaf)
    with pytest.raises(BoardLost, match="does not end at Ctrl-C"), runtime.start(path) as device:
        device.wait_line("on", 5)
    with pytest.raises(BoardLost):
        runtime.start(path)


def test_only_changed_files_are_copied(
    runtime: BoardRuntime, used: SerialBoard, tmp_path: Path
) -> None:
    for word in ("one", "one", "two"):
        with runtime.start(program(tmp_path, f"print('{word}')")) as device:
            device.wait_line(word, 5)
            assert device.wait_exit(5) == 0
    runtime.link.fresh()
    boots = [json.loads(line) for line in (used.folder / "boots.jsonl").read_text().splitlines()]
    assert [boot["flash"]["writes"] > 0 for boot in boots[-3:]] == [True, False, True]


def test_a_board_that_is_gone(runtime: BoardRuntime, used: SerialBoard, tmp_path: Path) -> None:
    path = program(tmp_path, "import time\nprint('on')\nwhile True:\n time.sleep(1)\n")
    with runtime.start(path) as device:
        device.wait_line("on", 5)
        used.close()
        device.wait_line(f"the board at {used.port} went away", 5)
        assert device.wait_exit(5) == 1
    with pytest.raises(BoardLost):
        runtime.start(path)

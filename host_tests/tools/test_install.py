"""What docs/install.md and README.md tell a reader to run, run as it stands there.

The board is the simulated one, so BOARD and PORT are put in its place; `make -n` tells what a
target runs, and that is run (without the set-up of .venv, in which this runs already).
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest
from harness.serial_board import SerialBoard
from test_flash import make_firmware

from tools import make as make_tool
from tools import parts
from tools.board import boards, certificates
from tools.setup import mip_index
from tools.testing.brokers import AmqttBroker
from tools.testing.observer import Observer
from tools.testing.runtimes import ROOT

DOCUMENT = (ROOT / "docs" / "install.md").read_text()
# Under `make test` its own variables would get into every make that is started here.
OUTER = ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "ARGS", "BOARD", "PORT", "DRY_RUN")
ENVIRONMENT = {name: value for name, value in os.environ.items() if name not in OUTER}
COMMANDS = [
    line.split("  #")[0].strip()
    for text in (DOCUMENT, (ROOT / "README.md").read_text())
    for block in re.findall(r"```sh\n(.*?)```", text, re.S)
    for line in block.splitlines()
]


def command(start: str) -> str:
    """Return a command of the documents, which all have it the same way."""
    found = {line for line in COMMANDS if line.startswith(start)}
    assert len(found) == 1, found
    return found.pop()


def make(line: str, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run a make line of the documents, but for the set-up of .venv."""
    return subprocess.run(
        line.replace("make ", "make PYTHON=true ", 1),
        shell=True,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        env={**ENVIRONMENT, **(environment or {})},
        stdin=subprocess.DEVNULL,
    )


def run(line: str, environment: dict[str, str] | None = None) -> str:
    """Run a make line that must work; return its output."""
    done = make(line, environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def on(line: str, board: SerialBoard) -> str:
    assert "BOARD=ESP32_GENERIC" in line
    return line.replace("BOARD=ESP32_GENERIC", f"BOARD=unix PORT={board.port}")


def test_flash(tmp_path: Path) -> None:
    firmware = make_firmware(boards.named("ESP32_GENERIC"), tmp_path)
    line = re.sub(r"FIRMWARE=\S+", f"FIRMWARE={firmware}", command("make flash"))
    said = run(f"{line} DRY_RUN=1")
    assert "write-flash --erase-all 0x1000" in said and "verify-flash" in said


def test_from_the_repository(board: SerialBoard) -> None:
    """deploy, provision with the environment of the document, logs."""
    assert "copied" in run(on(command("make deploy"), board))
    exports = " ".join(line for line in COMMANDS if line.startswith("export "))
    shown = subprocess.run(
        ["bash", "-c", f"{exports.replace('export', ';export').strip(';')}; env -0"],
        capture_output=True,
        text=True,
        check=True,
    )
    environment = dict(v.split("=", 1) for v in shown.stdout.split("\0") if v[:9] == "DORMOUSE_")
    assert environment["DORMOUSE_SSID"] == "my network"
    (board.folder / "network.json").write_text(json.dumps({"ssid": "my network"}))
    with AmqttBroker() as broker, Observer(broker, ("greenhouse/#", 2)) as observer:
        environment |= {
            "DORMOUSE_HOST": "127.0.0.1",
            "DORMOUSE_PORT": str(broker.port),
            "DORMOUSE_WIFI_PASSWORD": "its password",
            "DORMOUSE_USERNAME": broker.username or "",
            "DORMOUSE_PASSWORD": broker.password or "",
        }
        run(on(command("make provision"), board), environment)
        observer.wait("greenhouse/7/meter", '{"value": 1, "n": 1}')
        assert "read /dev" in run(f"{on(command('make logs'), board)} DRY_RUN=1")
        assert "repl" in run(f"{on(command('make console'), board)} DRY_RUN=1")


def test_all_by_mip(board: SerialBoard) -> None:
    line = command("mpremote mip install package.json").removeprefix("mpremote ")
    argv = [sys.executable, "-m", "mpremote", "connect", board.port, *line.split()]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    said = board.mpremote(
        "exec", "import dormouse.sleep as s, dormouse.mqtt5.session; print(s.Node)"
    )
    assert "Node" in said


def test_parts_by_mip(board: SerialBoard, tmp_path: Path) -> None:
    """The index, served by Python's own web server, on a free port of loopback."""
    run(f'{command("make mip-index")} ARGS="--out {tmp_path / "mip"}"')
    line = command("python3 -m http.server").replace("python3", sys.executable).split()
    line[line.index("build/mip")] = str(tmp_path / "mip")
    server = subprocess.Popen(
        [sys.executable, "-u", *line[1:-1], "0", "--bind", "127.0.0.1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert server.stdout
        (port,) = re.findall(r"port (\d+)", server.stdout.readline())
        install = command("mpremote mip install --index")
        assert "localhost:8000" in install
        install = install.replace("localhost:8000", f"127.0.0.1:{port}")
        board.mpremote(*install.split()[1:])
    finally:
        server.terminate()
        server.wait()
        server.stdout.close()
    said = board.mpremote("exec", "import dormouse.sleep as s; print(s.Node)")
    assert "Node" in said


def test_every_make_line_is_a_target() -> None:
    lines = [line for line in COMMANDS if line.startswith("make ")]
    for line in lines:
        argv = ["make", "-n", *line.split()[1:]]
        done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, env=ENVIRONMENT)
        assert done.returncode == 0, f"{line}: {done.stderr}"
    told = {line.split()[1] for line in re.findall(r"^make .*", DOCUMENT, re.M)}
    assert told == {"flash", "deploy", "provision", "logs", "console", "mip-index", "hil"}


def given(target: str, **variables: str) -> list[str]:
    """Return what a target's tool is given, of variables on make's command line."""
    environ = {f"GIVEN_{name}": value for name, value in variables.items()}
    environ |= {f"GIVEN_{name}_FROM": "command line" for name in variables}
    return make_tool.arguments(target, environ)


def test_what_tools_are_given() -> None:
    for target in ("deploy", "provision", "console", "logs", "hil"):
        for wait in ("1", "0", ""):
            assert ("--wait" in given(target, BOARD="unix", WAIT=wait)) == (wait == "1"), target
    assert given("deploy", BOARD="b", PORT="8080", ARGS="-x 'a b'") == [
        *("--board", "b", "--port", "8080", "-x", "a b")
    ]
    assert given("ota", HOST="h", PORT="1", FILES="a b") == [
        *("--host", "h", "--port", "1", "--file", "a", "--file", "b")
    ]
    # In an environment these may stand for something else.
    environ = {"GIVEN_HOST": "desk", "GIVEN_HOST_FROM": "environment", "GIVEN_PORT": "8080"}
    assert make_tool.arguments("hil", environ) == []
    assert make_tool.arguments("hil", {"GIVEN_PORT": "/dev/x"}) == ["--port", "/dev/x"]


def test_every_target_has_a_tool() -> None:
    text = (ROOT / "Makefile").read_text()
    using = re.findall(r"^([\w-]+):.*\n(?:\t.*\n)*?\t@\$\(tool\) \$@", text, re.M)
    assert sorted(using) == sorted(make_tool.TARGETS)
    pasted = set(re.findall(r"\$\((\w+)\)", "".join(re.findall(r"^\t.*\n", text, re.M))))
    assert pasted == {"PYTHON", "VENV_PYTHON", "MAKEFILE_LIST", "tool"}


@pytest.mark.parametrize("where", ["command line", "environment"])
@pytest.mark.parametrize(
    "value", ["x'; touch pwned; '", "$(shell touch pwned)", "`touch pwned`", "$(touch pwned)"]
)
def test_values_are_only_text(tmp_path: Path, where: str, value: str) -> None:
    pwned = tmp_path / "pwned"
    value = value.replace("pwned", str(pwned))
    variables = {name: value for name in ("BOARD", "MAIN", "PORT", "HOST", "ARGS")}
    on_line = where == "command line"
    done = subprocess.run(
        ["make", "PYTHON=true", "deploy", *(f"{n}={v}" for n, v in variables.items() if on_line)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={**ENVIRONMENT, **({} if on_line else variables)},
    )
    assert done.returncode and done.stderr
    assert not pwned.exists()


def test_table_of_packages_is_true() -> None:
    """It tells the nearest needs; with all that these need it is what the sources import."""
    rows = re.findall(r"^\| `(dormouse[\w-]*)` \| [^|]* \| ([^|]*)\|", DOCUMENT, re.M)
    found = {name: tuple(re.findall(r"`([\w-]+)`", needs)) for name, needs in rows}
    assert found.pop(mip_index.ALL) == ()
    wanted = {part: set(parts.needs(part)) for part in parts.modules()}
    assert found.keys() == {mip_index.package(part) for part in wanted}
    for part in wanted:
        assert whole(mip_index.package(part), found) == {
            mip_index.package(need) for need in whole(part, wanted)
        }, part


def whole(name: str, needs: Mapping[str, Iterable[str]]) -> set[str]:
    """Return all that something needs, and what these need."""
    found = set(needs[name])
    for need in needs[name]:
        found |= whole(need, needs)
    return found


def test_messages_are_those_of_the_tools() -> None:
    """Each part of a message in the last table, between its dots, is in a tool."""
    messages = re.findall(r"^\| `([^`]+)` \|", DOCUMENT.split("## When it does not work")[1], re.M)
    assert len(messages) > 8
    names = ("ports", "device", "deploy", "flash", "provision", "hil")
    tools = [
        ROOT / "tools" / "board" / f"{name}.py" for name in (*names, "broker_check", "certificates")
    ]
    others = ["host_tests/harness/hil.py", "firmware/dormouse/net/clock.py"]
    # What OpenSSL says is none of a tool's: test_tls.py has it from a handshake.
    others.append("host_tests/scenarios/test_tls.py")
    source = "".join(path.read_text() for path in (*tools, *(ROOT / other for other in others)))
    source = re.sub(r'"\s*\n\s*f?"', "", source)  # one string on several lines
    source = source.replace("{kind}", "esp32").replace("{TAKES}", certificates.TAKES)
    for part in (part.strip() for text in messages for part in text.split("...")):
        assert part in source, part

"""make provision, console and logs, on a simulated board behind a serial port."""

import json
import os
import pty
import re
import select
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from harness import owner
from harness.programs import argv_of
from harness.serial_board import SerialBoard

from tools.board import device, provision
from tools.board import settings as tools_settings
from tools.board.owner import FileOwner, make
from tools.board.provision import forgotten
from tools.board.settings import CannotProvision, collect, nested
from tools.testing.brokers import AmqttBroker
from tools.testing.observer import Observer
from tools.testing.runtimes import ROOT

SECRETS = ("wifi secret 1", "broker secret 2", "update secret 3 " * 3)


PSK = "00112233445566778899aabbccddeeff"


def settings(broker: AmqttBroker, **changes: str) -> dict[str, str]:
    return {
        **os.environ,
        "DORMOUSE_SSID": "",
        "DORMOUSE_HOST": "127.0.0.1",
        "DORMOUSE_PORT": str(broker.port),
        "DORMOUSE_USERNAME": broker.username or "",
        "DORMOUSE_PASSWORD": broker.password or "",
        "DORMOUSE_CLIENT_ID": "greenhouse-7",
        "DORMOUSE_TOPIC": "greenhouse/7",
        **changes,
    }


def run(tool, board: SerialBoard, environment: dict[str, str], *args: str):
    args = ("--board", "unix", "--port", board.port, *args)
    return tool("provision.py", *args, env=environment, stdin=subprocess.DEVNULL)


def on_board(board: SerialBoard) -> dict:
    return json.loads(board.mpremote("fs", "cat", ":config.json"))


def test_help_lists_the_variables(capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever it reads from the environment, as docs/install.md says."""
    with pytest.raises(SystemExit):
        provision.main(["--help"])
    told = set(re.findall(r"DORMOUSE_\w+", capsys.readouterr().out))
    for module in (provision, tools_settings):
        assert module.__file__
        text = Path(module.__file__).read_text()
        assert set(re.findall(r"\"(DORMOUSE_\w+)\"", text)) <= told


def test_a_port_that_does_not_go_with_the_transport() -> None:
    old = {"host": "h", "client_id": "c", "topic": "t"}
    ws = {"DORMOUSE_TRANSPORT": "ws"}
    with pytest.raises(CannotProvision, match="DORMOUSE_PORT="):
        collect({**old, "port": 1883}, ws, False)
    old_ws = {**old, "port": 9001, "transport": "ws"}
    assert collect(old_ws, ws, False)["port"] == 9001
    assert collect(old_ws, {"DORMOUSE_TRANSPORT": "tcp"}, False)["port"] == 1883
    assert collect({**old, "port": 1884}, {}, False)["port"] == 1884


@pytest.mark.parametrize(("host", "good"), [("h:1883", False), ("h", True), ("fe80::1", True)])
def test_host_without_port(host: str, good: bool) -> None:
    given = {"DORMOUSE_HOST": host, "DORMOUSE_CLIENT_ID": "c", "DORMOUSE_TOPIC": "t"}
    if good:
        assert collect({}, given, False)["host"] == host
    else:
        with pytest.raises(CannotProvision, match="without a port"):
            collect({}, given, False)


def test_a_board_that_does_not_answer(board: SerialBoard, monkeypatch: pytest.MonkeyPatch) -> None:
    """It took the command, and then fell asleep: mpremote alone would wait for ever."""
    monkeypatch.setattr(device, "ANSWER", 3, raising=False)
    with pytest.raises(device.DeviceError, match="no answer from MicroPython for 3 s\nWhat to do"):
        device.Device(board.port).ask("while True: pass")


def test_deployed_and_provisioned_node_wakes(board: SerialBoard, tool) -> None:
    """make deploy, make provision: firmware/main.py measures, sends, and sleeps."""
    done = tool("deploy.py", "--board", "unix", "--port", board.port)
    assert done.returncode == 0 and "make provision" in done.stdout
    with AmqttBroker() as broker, Observer(broker, ("greenhouse/#", 2)) as observer:
        done = run(tool, board, settings(broker))
        assert done.returncode == 0, done.stderr
        board.wait_output("asleep", 10)
        observer.wait("greenhouse/7/meter", '{"value": 1, "n": 1}')  # MicroPython's order
        assert broker.password and broker.password not in done.stdout + done.stderr


def test_what_the_board_has_is_kept(board: SerialBoard, tool, tmp_path: Path) -> None:
    old = {"wifi": {"ssid": "home", "password": SECRETS[0]}, "budget": 7000, "topic": "old/topic"}
    (tmp_path / "config.json").write_text(json.dumps(old))
    board.mpremote("cp", str(tmp_path / "config.json"), ":config.json")
    with AmqttBroker() as broker:
        environment = settings(broker, DORMOUSE_PERIOD="60")
        for name in ("DORMOUSE_SSID", "DORMOUSE_TOPIC"):
            del environment[name]
        done = run(tool, board, environment)
    assert done.returncode == 0, done.stderr
    assert on_board(board) == {
        **old,
        "host": "127.0.0.1",
        "port": broker.port,
        "username": broker.username,
        "password": broker.password,
        "client_id": "greenhouse-7",
        "period": 60,
        "store": "journal",
    }
    assert SECRETS[0] not in done.stdout + done.stderr and "(not shown)" in done.stdout


def test_refused_and_unreachable_change_nothing(board: SerialBoard, tool) -> None:
    with AmqttBroker() as broker:
        wrong = settings(broker, DORMOUSE_PASSWORD=SECRETS[1])
        done = run(tool, board, wrong)
        assert done.returncode == 1 and "check user name and password" in done.stderr, done.stderr
        assert SECRETS[1] not in done.stdout + done.stderr
    done = run(tool, board, wrong)  # the broker is gone
    assert done.returncode == 1 and "NO_TEST=1" in done.stderr, done.stderr
    assert "Connection refused" in done.stderr  # asyncio keeps it for itself
    assert "Traceback" not in done.stderr
    assert "config" not in board.mpremote("fs", "ls", ":")
    done = run(tool, board, wrong, "--no-test")
    assert done.returncode == 0 and on_board(board)["password"] == SECRETS[1]


def test_what_the_board_answered_is_not_in_an_error() -> None:
    """Its config.json goes through mpremote, which may fail after it."""
    said = f"{device.MARK}{json.dumps(SECRETS)}\n"
    assert SECRETS[0] not in device.explain(said)
    assert device.explain(f"{said}OSError: 5") == "OSError: 5"


def test_no_secret_on_a_dry_run(tool) -> None:
    environment = {
        **os.environ,
        "DORMOUSE_SSID": "home",
        "DORMOUSE_WIFI_PASSWORD": SECRETS[0],
        "DORMOUSE_HOST": "broker.local",
        "DORMOUSE_USERNAME": "node",
        "DORMOUSE_PASSWORD": SECRETS[1],
        "DORMOUSE_CLIENT_ID": "n",
        "DORMOUSE_TOPIC": "t",
        "DORMOUSE_TLS": "psk",
        "DORMOUSE_PSK_IDENTITY": "node",
        "DORMOUSE_PSK": PSK,
        "DORMOUSE_UPDATE_KEY": SECRETS[2],
    }
    args = ("--board", "ESP32_GENERIC", "--dry-run")
    done = tool("provision.py", *args, env=environment, stdin=subprocess.DEVNULL)
    assert done.returncode == 0 and "mpremote connect PORT cp" in done.stdout
    assert not [s for s in (*SECRETS, PSK) if s in done.stdout + done.stderr]
    assert done.stdout.count("(not shown)") == 4 and '"node"' in done.stdout


@pytest.mark.parametrize(
    ("variable", "value", "why"),
    [
        ("DORMOUSE_SSID", "x" * 33, "32 bytes at most"),
        ("DORMOUSE_WIFI_PASSWORD", "short", "8 to 63 characters"),
        ("DORMOUSE_HOST", "mqtt://broker", "without mqtt://"),
        ("DORMOUSE_HOST", "", "a name or an address"),
        ("DORMOUSE_PORT", "70000", "from 1 to 65535"),
        ("DORMOUSE_CLIENT_ID", "", "at least one character"),
        ("DORMOUSE_TOPIC", "a/#", "a topic without + and #"),
        ("DORMOUSE_PERIOD", "soon", "whole seconds"),
        ("DORMOUSE_STORE", "tape", "journal, rtc or nvs"),
        ("DORMOUSE_TLS", "on", "no, yes (certificates) or psk"),
        ("DORMOUSE_TRANSPORT", "udp", "tcp, or ws"),
        ("DORMOUSE_LED", "2 dimmed", "2 inverted"),
        ("DORMOUSE_UPDATE_KEY", "short", "32 characters or more"),
    ],
)
def test_what_is_wrong_is_said(variable: str, value: str, why: str) -> None:
    good = {
        "DORMOUSE_SSID": "home",
        "DORMOUSE_WIFI_PASSWORD": SECRETS[0],
        "DORMOUSE_HOST": "broker.local",
        "DORMOUSE_CLIENT_ID": "n",
        "DORMOUSE_TOPIC": "t",
    }
    assert collect({}, good, False)["host"] == "broker.local"
    with pytest.raises(CannotProvision) as caught:
        collect({}, {**good, variable: value}, False)
    assert why in str(caught.value) and f"{variable}=..." in str(caught.value)
    assert "short" not in str(caught.value)


def test_a_port_that_does_not_go_with_tls() -> None:
    """The default follows TLS; a port of one's own stays."""
    base = {"DORMOUSE_TLS": "psk", "DORMOUSE_PSK_IDENTITY": "i", "DORMOUSE_PSK": PSK}
    old = {"host": "h", "client_id": "n", "topic": "t"}
    for port, expected in ((1883, 8883), (9001, 9001)):
        assert collect({**old, "port": port}, base, False)["port"] == expected
    secure = {**old, "port": 1883, "tls": {"psk": ["i", PSK]}}
    assert collect(secure, {}, False)["port"] == 1883  # as it was
    assert collect({**secure, "port": 8883}, {"DORMOUSE_TLS": "no"}, False)["port"] == 1883


@pytest.mark.parametrize(
    ("text", "led"),
    [("", None), ("2", 2), ("LED", "LED"), ("2 inverted", {"pin": 2, "invert": True})],
)
def test_led_is_kept(text: str, led: object) -> None:
    old = {"host": "h", "client_id": "n", "topic": "t", "host ": "mine", "a.b": 1}
    found = collect(old, {"DORMOUSE_LED": text}, False)
    config = nested(found)
    assert config.get("led") == led and config["a.b"] == 1
    assert nested(collect(config, {}, False)) == config


def test_update_key_is_made(board: SerialBoard, tool, tmp_path: Path) -> None:
    """For this user only, under the node's name, and not shown."""
    with AmqttBroker() as broker:
        environment = settings(broker, DORMOUSE_UPDATE_KEY="new", XDG_CONFIG_HOME=str(tmp_path))
        done = run(tool, board, environment)
    assert done.returncode == 0, done.stderr
    path = tmp_path / "dormouse" / "greenhouse-7.update_key"
    key = path.read_text().strip()
    assert len(key) == 64 and on_board(board)["update_key"] == key
    assert path.stat().st_mode & 0o777 == 0o600
    assert key not in done.stdout + done.stderr and str(path) in done.stdout


def test_the_owners_key(board: SerialBoard, tool, tmp_path: Path) -> None:
    """The public half of it, and the node's own; the private one stays here."""
    owner.put_key(tmp_path)
    with AmqttBroker() as broker:
        more = {"DORMOUSE_UPDATE_KEY": "owner", "DORMOUSE_UPDATE_TOPIC": "fleet/update"}
        environment = settings(broker, XDG_CONFIG_HOME=str(tmp_path), **more)
        done = run(tool, board, environment)
        assert done.returncode == 0, done.stderr
        config = on_board(board)
        signer = owner.signer()
        assert config["update_key"] == signer.key and config["update_topic"] == "fleet/update"
        assert config["node_key"] == signer.node_key(config["topic"])
        assert config["node_key"] not in done.stdout + done.stderr
        environment["XDG_CONFIG_HOME"] = str(tmp_path / "empty")
        done = run(tool, board, environment)
        assert done.returncode == 1 and "make ota-key" in done.stderr
        # A key that is elsewhere, and one that only a command can use.
        other, public = tmp_path / "other.pem", tmp_path / "other.pub.pem"
        make(other, 2048, None)
        del environment["DORMOUSE_UPDATE_KEY"]
        command = f"openssl dgst -sha256 -sign {other}"
        for args in (("--key", str(other)), ("--sign", command, "--public", str(public))):
            done = run(tool, board, environment, *args)
            assert done.returncode == 0, done.stderr
            config = on_board(board)
            assert config["update_key"] == FileOwner(other).key != signer.key
            assert config["node_key"] == FileOwner(other).node_key(config["topic"])
        environment["DORMOUSE_TOPIC"] = "elsewhere"
        done = run(tool, board, environment)
        assert done.returncode == 0 and "Another topic" in done.stdout, done.stderr
        assert "node_key" not in on_board(board) and on_board(board)["update_key"]


LEFT = ("update.part", "update.id", "update.id2", "update.order", "update.order2")


def put(board: SerialBoard, folder: Path, files: dict[str, str]) -> None:
    """Write files onto the board."""
    commands: list[str] = []
    for name, text in files.items():
        (folder / name).write_text(text)
        commands += ["cp", str(folder / name), f":{name}", "+"]
    board.mpremote(*commands, "reset")


def test_another_update_key_begins_anew(board: SerialBoard, tool, tmp_path: Path) -> None:
    """A thief's update, half fetched, would go on with the new key, and his numbers would keep the
    new owner's updates and orders away."""
    environment = {
        **os.environ,
        "DORMOUSE_HOST": "h",
        "DORMOUSE_CLIENT_ID": "n",
        "DORMOUSE_TOPIC": "t",
        "DORMOUSE_UPDATE_KEY": SECRETS[2],
    }
    config = {"host": "h", "client_id": "n", "topic": "t", "update_key": "stolen " * 5}
    left = dict.fromkeys(LEFT, "1")
    put(
        board,
        tmp_path,
        {"config.json": json.dumps(config), **left, "update.json": '{"files": []}\n'},
    )
    done = run(tool, board, environment, "--no-test")
    assert done.returncode == 0, done.stderr
    assert on_board(board)["update_key"] == SECRETS[2]
    assert "update." not in board.mpremote("fs", "ls", ":")
    told = [line for line in done.stdout.splitlines() if "Another update key" in line]
    assert len(told) == 1 and all(name in told[0] for name in (*LEFT, "update.json"))
    # With the same key all that stays: nothing of its own may come twice.
    put(board, tmp_path, left)
    done = run(tool, board, environment, "--no-test")
    assert done.returncode == 0 and "Another update key" not in done.stdout, done.stderr
    found = board.mpremote("fs", "ls", ":")
    assert all(name in found for name in LEFT)
    # Before the new config.json is there.
    commands = run(tool, board, environment, "--dry-run").stdout
    assert 0 < commands.index("update.order2") < commands.index("os.rename")


@pytest.mark.parametrize(
    ("marks", "version"),
    [("", "old"), ("A", "old"), ("A5", "old"), ("A5D", "new"), ("A5B", "old")],
)
def test_another_update_key_ends_a_trial(
    board: SerialBoard, tool, tmp_path: Path, marks: str, version: str
) -> None:
    """boot.py puts the old version back, whole; one that has connected stays."""
    plan = {"id": 9**20, "of": "0", "skip": 1, "chunk": 64, "tries": 30, "limit": 300}
    plan |= {"watchdog": 60000, "files": [["main.py", 0, 0, 14], ["new.py", 1, 0, 14]]}
    boot = (ROOT / "firmware" / "boot.py").read_text()
    texts = ("print('new')\n#", "print('old')\n")
    # (Without a mark nothing is in place, and the tool's own first word starts boot.py.)
    files = {"main.py": texts[not marks], "main.py.old": texts[1], "new.py": "", "boot.py": boot}
    files |= {"update.part": "\n" + " " * 32 + texts[0], "update.id": "1"}
    put(board, tmp_path, {**files, "update.json": json.dumps(plan) + f"\n{marks}"})
    environment = {
        **os.environ,
        "DORMOUSE_HOST": "h",
        "DORMOUSE_CLIENT_ID": "n",
        "DORMOUSE_TOPIC": "t",
        "DORMOUSE_UPDATE_KEY": SECRETS[2],
    }
    done = run(tool, board, environment, "--no-test")
    assert done.returncode == 0, done.stderr
    assert board.mpremote("fs", "cat", ":main.py").startswith(f"print('{version}')")
    found = board.mpremote("fs", "ls", ":")
    assert "update." not in found and ".old" not in found, found
    assert ("new.py" in found) == (version == "new")
    assert "stays" not in done.stdout and "is gone: update.json, " in done.stdout


def test_a_trial_that_cannot_be_ended_is_told() -> None:
    assert forgotten([], False) == ""
    assert "update.json stays" in forgotten(["update.id"], True)


def test_another_chip_than_named(board: SerialBoard, tool) -> None:
    """It may have no such store, and would say so in the field only."""
    args = ("--board", "ESP32_GENERIC_S3", "--port", board.port, "--no-test")
    done = tool("provision.py", *args, env=os.environ | {"DORMOUSE_HOST": "h"}, stdin=-3)
    assert done.returncode == 1 and "this is no ESP32_GENERIC_S3" in done.stderr
    assert "config" not in board.mpremote("fs", "ls", ":")


def test_what_the_chip_has_not(tool) -> None:
    environment = {
        **os.environ,
        "DORMOUSE_SSID": "",
        "DORMOUSE_HOST": "h",
        "DORMOUSE_CLIENT_ID": "n",
        "DORMOUSE_TOPIC": "t",
    }
    for more, why in (
        ({"DORMOUSE_STORE": "rtc"}, "no rtc"),
        ({"DORMOUSE_PERIOD": "3428"}, "3427 s between wakes, or less"),
        ({"DORMOUSE_PERIOD": "11"}, "12 s between wakes"),  # others than main.py stay awake
    ):
        args = ("--board", "RPI_PICO_W", "--dry-run")
        done = tool("provision.py", *args, env={**environment, **more}, stdin=subprocess.DEVNULL)
        assert done.returncode == ("11" not in more.values()) and why in done.stderr


def in_terminal(argv: list[str], environment: dict[str, str]) -> tuple[int, int]:
    """Start a program in a terminal of its own; return its pid and our end."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(argv[0], argv, environment)
    return pid, terminal


def read_until(terminal: int, text: str) -> str:
    said = b""
    while text.encode() not in said:
        assert select.select([terminal], [], [], 20)[0], said
        said += os.read(terminal, 1024)
    return said.decode()


def tool_argv(name: str, board: SerialBoard, *args: str) -> list[str]:
    return [*argv_of(name.removesuffix(".py")), "--board", "unix", "--port", board.port, *args]


def test_a_person_is_asked(board: SerialBoard) -> None:
    """A wrong answer is asked for again; a password is not echoed."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("DORMOUSE_")}
    pid, terminal = in_terminal(tool_argv("provision.py", board, "--no-test"), environment)
    said = ""
    for question, answer in (
        ("Wi-Fi network", "home"),
        ("its password", SECRETS[0]),
        ("broker: ", "mqtt://x"),
        ("broker: ", "broker.local"),
        ("TLS: no, yes, or psk [no]", "maybe"),
        ("TLS: no, yes, or psk [no]", ""),
        ("tcp or ws [tcp]", "ws"),
        ("[/mqtt]", "mqtt"),
        ("[/mqtt]", ""),
        ("its port: ", ""),
        ("its port: ", "9001"),
        ("user name", "node"),
        ("password there", SECRETS[1]),
        ("client identifier", "n7"),
        ("topic", "t/7"),
        ("[300]", ""),
        ("[journal]", ""),
        ("status LED", "2 inverted"),
        ("updates over MQTT", SECRETS[2]),
    ):
        said += read_until(terminal, question)
        os.write(terminal, answer.encode() + b"\n")
    said += read_until(terminal, '"update_key": "(not shown)"')
    os.waitpid(pid, 0)
    os.close(terminal)
    assert not [secret for secret in SECRETS if secret in said]
    config = on_board(board)
    assert config["wifi"] == {"ssid": "home", "password": SECRETS[0]}
    assert config["password"] == SECRETS[1] and config["host"] == "broker.local"
    assert (config["transport"], config["path"], config["port"]) == ("ws", "/mqtt", 9001)
    assert config["led"] == {"pin": 2, "invert": True} and config["update_key"] == SECRETS[2]


def test_a_person_is_asked_again(board: SerialBoard) -> None:
    """When the broker refuses: with the answers as they were, passwords too."""
    with AmqttBroker() as broker:
        given = settings(broker, DORMOUSE_TLS="no", DORMOUSE_TRANSPORT="tcp", DORMOUSE_STORE="rtc")
        del given["DORMOUSE_PASSWORD"], given["DORMOUSE_CLIENT_ID"]
        pid, terminal = in_terminal(tool_argv("provision.py", board), given)
        said = ""
        for question, answer in (
            ("password there (empty: none)", SECRETS[1]),
            ("client identifier: ", "n7"),
            ("[300]", "60"),
            ("status LED", "2"),
            ("updates over MQTT", SECRETS[2]),
            ("password there [unchanged]", broker.password or ""),
            ("client identifier [n7]", ""),
            ("[60]", ""),
            ("status LED (-: none) [2]", "-"),
            ("new: make one; none) [unchanged]", ""),
        ):
            said += read_until(terminal, question)
            os.write(terminal, answer.encode() + b"\n")
        assert "trying the broker" in said and "check user name and password" in said
        said += read_until(terminal, '"update_key": "(not shown)"')
        os.waitpid(pid, 0)
        os.close(terminal)
    config = on_board(board)
    assert config["password"] == broker.password and config["update_key"] == SECRETS[2]
    assert (config["client_id"], config["period"], config.get("led")) == ("n7", 60, None)
    assert not [secret for secret in (*SECRETS, broker.password or "") if secret in said]


def test_interrupted(board: SerialBoard) -> None:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("DORMOUSE_")}
    pid, terminal = in_terminal(tool_argv("provision.py", board), environment)
    read_until(terminal, "Wi-Fi network")
    # A Ctrl-C in the moment before input() waits is only seen at the next key (CPython): so again,
    # as a person would.
    said = b""
    while b"interrupted" not in said:
        os.write(terminal, b"\x03")
        while b"interrupted" not in said and select.select([terminal], [], [], 1)[0]:
            said += os.read(terminal, 1024)
    _, status = os.waitpid(pid, 0)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(status) == 130 and b"Traceback" not in said
    assert "config" not in board.mpremote("fs", "ls", ":")


def test_console(board: SerialBoard) -> None:
    pid, terminal = in_terminal(tool_argv("console.py", board), dict(os.environ))
    read_until(terminal, "Connected to MicroPython")
    os.write(terminal, b"print(6*7)\r")
    read_until(terminal, "\r\n42")
    os.write(terminal, b"\x1d")
    os.waitpid(pid, 0)
    os.close(terminal)


def test_logs_leave_the_program_alone(board: SerialBoard, tmp_path: Path) -> None:
    """What it prints over two deep sleeps; Ctrl-C ends the listening, not the program."""
    (tmp_path / "main.py").write_text(
        "import machine, time\n"
        "time.sleep_ms(300)\n"
        "print('woken by', machine.wake_reason())\n"
        "machine.deepsleep(1000)\n"
    )
    board.mpremote("cp", str(tmp_path / "main.py"), ":main.py", "+", "reset")
    logs = subprocess.Popen(
        tool_argv("console.py", board, "--logs"), stdout=subprocess.PIPE, text=True
    )
    assert logs.stdout
    with logs.stdout:
        seen = [logs.stdout.readline().split(" ", 1) for _ in range(4)]
        logs.send_signal(signal.SIGINT)
        assert logs.wait(10) == 130
    assert [text for _, text in seen].count("woken by 4\n") >= 2
    assert all(stamp.count(":") == 2 for stamp, _ in seen)
    board.output.clear()
    board.wait_output("woken by 4", 10)


@contextmanager
def listening(*args: str) -> Iterator[subprocess.Popen[str]]:
    """Start logs; at the end it is stopped by Ctrl-C."""
    argv = [*argv_of("console"), "--logs", *args]
    logs = subprocess.Popen(argv, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    try:
        assert logs.stderr
        with logs.stderr:
            yield logs
            logs.send_signal(signal.SIGINT)
            assert logs.wait(10) == 130
    finally:
        logs.kill()
        logs.wait()


def test_logs_have_the_port_for_themselves(board: SerialBoard, tool) -> None:
    """Of two programs that read each would get a part, and neither would know why."""
    with listening("--board", "unix", "--port", board.port) as logs:
        assert logs.stderr and "listening at" in logs.stderr.readline()
        for name, *args in (
            ("deploy.py", "--board", "unix"),
            ("console.py", "--logs"),
            ("bridge.py", "--host", "127.0.0.1"),
        ):
            done = tool(name, *args, "--port", board.port, timeout=10)
            assert done.returncode == 1
            assert "the port is in use" in done.stderr and "What to do:" in done.stderr


def test_logs_of_a_port_that_is_not_there_yet(board: SerialBoard, tmp_path: Path) -> None:
    """As of a chip with USB of its own that sleeps deeply. A port that is named needs no BOARD."""
    port = tmp_path / "port"
    with listening("--port", str(port)) as logs:
        assert logs.stderr and "No such file" in logs.stderr.readline()
        port.symlink_to(board.port)
        while "listening at" not in logs.stderr.readline():
            assert logs.poll() is None

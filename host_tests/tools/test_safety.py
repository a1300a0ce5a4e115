"""What a board says is a stranger's word: no file of this machine goes by it, no terminal obeys."""

import json
from pathlib import Path

import pytest
from harness.serial_board import SerialBoard

from tools.board import device, provision, safety
from tools.board.settings import UNCHANGED, CannotProvision


@pytest.mark.parametrize(
    "name",
    ["../x.der", "/etc/passwd", "..", "a/b", "a\\b", "-rf", ".ssh", "", "a b", 7, None, ["x"]],
)
def test_names_of_files_that_are_none(name: object) -> None:
    assert not safety.is_plain(name)
    found = {"tls": "yes", "tls.ca": UNCHANGED, "tls.cert": None, "tls.key": None}
    with pytest.raises(CannotProvision, match="strange name for its ca"):
        provision.make_tls(found, {"ca": name})


def test_names_of_files() -> None:
    assert all(map(safety.is_plain, ("ca.der", "ca2.der", "my_cert-1.pem")))


def test_no_two_clients_share_a_file() -> None:
    ids = ["greenhouse/7", "greenhouse_7", "greenhouse%2F7", "Greenhouse_7", "a" * 300, "a" * 301]
    ids += ["..", ".", "../a", "\x1b[2J", "ä"]
    names = [safety.file_name(text) for text in ids]
    assert len({name.lower() for name in names}) == len(ids)
    assert all("/" not in name and len(name) < 130 and name.isprintable() for name in names)
    assert safety.file_name("greenhouse-7") == "greenhouse-7"


def test_a_key_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "key"
    assert safety.keep_aside(path) is None
    for n in range(3):
        path.write_text(str(n))
        assert safety.keep_aside(path)
    assert sorted(p.read_text() for p in tmp_path.iterdir()) == ["0", "1", "2"]


@pytest.mark.parametrize(
    "config",
    [
        {"host": "\x1b[2Jx"},
        {"tls": "yes"},
        {"tls": {"psk": ["only one"]}},
        {"wifi": ["home"]},
        {"budget": "long"},
        ["no", "object"],
    ],
)
def test_a_config_of_a_stranger_is_made_anew(
    monkeypatch: pytest.MonkeyPatch, capsys, config: object
) -> None:
    answer = {"config": json.dumps(config)}
    monkeypatch.setattr(device.Device, "ask", lambda self, program: answer)
    monkeypatch.setattr(provision, "check", lambda board, who: None)
    assert provision.read_old(device.Device("port"), None) == {}  # type: ignore[arg-type]
    said = capsys.readouterr().err
    assert "cannot be read" in said and "\x1b" not in said


def test_words_of_a_board_are_only_shown() -> None:
    assert device.explain("\x1b]0;mine\x07 failed") == "?]0;mine? failed"


def test_a_failed_provision_leaves_the_board_running(
    board: SerialBoard, tool, tmp_path: Path
) -> None:
    """The broker that was named is none: config.json stays as it was."""
    main = tmp_path / "main.py"
    main.write_text("import time\nprint('mine runs')\nwhile True:\n    time.sleep(1)\n")
    board.mpremote("cp", str(main), ":main.py", "+", "reset")
    board.wait_output("mine runs", 10)
    board.output.clear()
    environment = {
        "DORMOUSE_HOST": "127.0.0.1",
        "DORMOUSE_PORT": "1",
        "DORMOUSE_CLIENT_ID": "n",
        "DORMOUSE_TOPIC": "t",
    }
    done = tool("provision", "--board", "unix", "--port", board.port, env=environment, stdin=-3)
    assert done.returncode == 1 and "What to do" in done.stderr
    assert done.stderr.splitlines()[-1] == "the board runs again, as it was"
    board.wait_output("mine runs", 10)
    assert "config.json" not in board.mpremote("fs", "ls", ":")

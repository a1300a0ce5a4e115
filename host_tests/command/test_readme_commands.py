"""What README shows of the command, run as it stands there."""

import re
import shlex
from pathlib import Path

import pytest
from calling import Run

from tools.paths import ROOT
from tools.testing.address import HOST
from tools.testing.brokers import MosquittoBroker, password_line
from tools.testing.needs import mosquitto_argv


def test_readme(run: Run, server: MosquittoBroker) -> None:
    (block,) = re.findall(r"```console\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    shown = re.findall(r"^\$ dormouse (.*)\n((?:(?!\$ ).*\n)+)", block, re.M)
    assert len(shown) == 3
    for command, output in shown:
        words = shlex.split(command, comments=True)
        if "broker.local" in words:
            words[words.index("broker.local")] = HOST
            words += ["-p", str(server.port)]
        done = run(*words)
        said = [" ".join(line.split()) for line in done.out.splitlines()]
        for line in output.splitlines():
            assert any(each.startswith(" ".join(line.split())) for each in said), (line, done.out)


def test_a_mosquitto_of_ones_own(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By docs/brokers.md's lines: nobody without a password, and what waits outlasts a restart."""
    page = (ROOT / "docs" / "brokers.md").read_text()
    (block,) = re.findall(r"^```\n(listener 1883\n.*?)```", page, re.M | re.S)
    passwords = tmp_path / "passwd"
    passwords.write_text(password_line("node", "cheese"))
    passwords.chmod(0o600)
    lines = block.replace("/etc/mosquitto/passwd", str(passwords)).splitlines()
    own = [line for line in lines if not line.startswith(("listener", "allow_anonymous"))]
    assert len(own) == 2 and "allow_anonymous false" in lines
    config = "\n".join(own)
    argv = mosquitto_argv()
    with MosquittoBroker(argv, allow_anonymous=False, extra_config=config) as broker:
        there = ("-h", HOST, "-p", str(broker.port))
        node = (*there, "-u", "node", "-i", "sleeper", "-c", "-t", "cmd", "-q", "1")
        assert run("pub", *there, "-t", "cmd", "-m", "x").status == 1
        monkeypatch.setenv("DORMOUSE_PASSWORD", "cheese")
        assert run("sub", *node, "-E").status == 0
        assert run("pub", *there, "-u", "node", "-t", "cmd", "-m", "go", "-q", "1").status == 0
        broker.restart()
        assert run("sub", *node, "-C", "1", "-W", "10").out == "go\n"

"""make ota: what it says when it cannot be done; what it sends to a node is in test_update.py."""

import os
from pathlib import Path

import ota
import pytest
from harness.brokers import AmqttBroker, free_port

TOPIC = f"test/{os.getpid()}/tool"


def run(tool, *args: str, key: str | None = "k", **environment: str):
    known = {k: v for k, v in os.environ.items() if not k.startswith("DORMOUSE_")}
    if key:
        environment["DORMOUSE_UPDATE_KEY"] = key
    # No terminal: nothing can be asked.
    return tool("ota.py", *args, env={**known, **environment}, stdin=-3)


@pytest.mark.parametrize(
    ("main", "why"),
    [
        ("x = \n", "SyntaxError"),
        ("match x:\n    case 1: pass\n", "SyntaxError"),  # CPython would take it
        (None, "No such file"),
    ],
)
def test_programs_that_cannot_run(tool, tmp_path: Path, main: str | None, why: str) -> None:
    path = tmp_path / "main.py"
    if main:
        path.write_text(main)
    done = run(tool, "--host", "127.0.0.1", "--topic", TOPIC, "--main", str(path))
    assert done.returncode == 1 and why in done.stderr and "Traceback" not in done.stderr


def test_what_is_missing(tool, tmp_path: Path) -> None:
    with AmqttBroker() as broker:
        where = ("--host", "127.0.0.1", "--port", str(broker.port), "--topic", TOPIC)
        done = run(tool, *where, key=None)
        assert done.returncode == 1 and "DORMOUSE_UPDATE_KEY=" in done.stderr
        done = run(tool, *where, "--username", "somebody")
        assert done.returncode == 1 and "DORMOUSE_PASSWORD=" in done.stderr
        wrong = {"DORMOUSE_USERNAME": "somebody", "DORMOUSE_PASSWORD": "a secret"}
        done = run(tool, *where, **wrong)
        assert done.returncode == 1 and "check DORMOUSE_USERNAME" in done.stderr
        assert "a secret" not in done.stdout + done.stderr
        done = run(tool, *where, "--ca", str(tmp_path / "none.pem"))
        assert done.returncode == 1 and "none.pem: No such file" in done.stderr
    done = run(tool, "--host", "127.0.0.1", "--port", str(free_port()), "--topic", TOPIC)
    assert done.returncode == 1 and "What to do: check HOST" in done.stderr
    assert "Connection refused" in done.stderr  # asyncio keeps it for itself
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "args", [("--topic", "a/#"), ("--topic", ""), ("--tries", "0"), ("--window", "100"), ()]
)
def test_options_that_cannot_be(tool, args: tuple[str, ...]) -> None:
    topic = () if "--topic" in args or not args else ("--topic", "a")
    done = run(tool, "--host", "h", *topic, *args)
    assert done.returncode == 2 and "error:" in done.stderr
    assert topic or "TOPIC=" in done.stderr or args == ("--topic", "a/#")  # as make has it


def test_dry_run(tool, tmp_path: Path) -> None:
    (tmp_path / "font.bin").write_bytes(bytes(100))
    files = ("--file", str(tmp_path / "font.bin"), "--file", f"lib/a.bin={tmp_path}/font.bin")
    done = run(tool, "--host", "h", "--topic", "a", "--dry-run", "--library", *files, key=None)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert {"font.bin: 100 bytes", "lib/a.bin: 100 bytes"} <= set(lines)
    assert "lib/dormouse/client.py: remove" in lines  # or it would be taken before the .mpy
    assert any(line.startswith("lib/dormouse/client.mpy: 2,") for line in lines)
    assert lines[-1] == "nothing was sent" and not any("main.py" in line for line in lines)


def test_numbers_grow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same files go on under their number until it has ended; others get a larger one."""
    monkeypatch.setattr(ota, "BUILD", tmp_path)
    a, b = (ota.Bundle({"main.py": text}, 3, 300, 60000) for text in (b"a", b"b"))
    first = ota.Number("t", a)
    again = ota.Number("t", a)
    assert not first.resumed and again.resumed and again.value == first.value
    other = ota.Number("t", b)
    assert not other.resumed and other.value > first.value
    other.end()
    later = ota.Number("t", b)
    assert not later.resumed and later.value > other.value

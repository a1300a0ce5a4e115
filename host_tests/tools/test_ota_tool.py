"""make ota: what it says when it cannot be done; what it sends to a node is in test_update.py."""

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from harness.programs import argv_of

from tools.board import ota
from tools.testing.brokers import AmqttBroker, MosquittoBroker, free_port
from tools.testing.certs import certificates
from tools.testing.runtimes import ROOT, Device

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


def test_tls(tool, mosquitto: Callable[..., MosquittoBroker]) -> None:
    """What is wrong with it is said; with the right files the tool is in, and offers the update."""
    certs = certificates()
    broker = mosquitto(tls=certs, require_client_certificate=True)
    where = ("--host", "127.0.0.1", "--port", str(broker.tls_port), "--topic", TOPIC)
    client = ("--cert", str(certs.client.certificate_file))
    for args, why, do in (
        ((), "reset", "--tls"),
        (("--ca", str(certs.foreign_ca_file)), "self-signed", "--ca FILE of who signed"),
        (("--ca", str(certs.ca_file)), "", "--cert-key"),
        (("--ca", str(certs.ca_file), *client), "client.pem", ""),
    ):
        done = run(tool, *where, *args)
        assert done.returncode == 1 and "Operation not permitted" not in done.stderr
        assert why in done.stderr and do in done.stderr and "Traceback" not in done.stderr
    argv = [*argv_of("ota"), *where, "--ca", str(certs.ca_file)]
    process = subprocess.Popen(
        [*argv, *client, "--cert-key", str(certs.client.key_file)],
        cwd=ROOT,
        env=os.environ | {"DORMOUSE_UPDATE_KEY": "k"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    with Device("ota.py", process) as sender:
        sender.wait_line("waiting for the node", 10)
        process.send_signal(signal.SIGINT)
        assert sender.wait_exit(10) == 130


@pytest.mark.parametrize(
    "args",
    [
        ("--topic", "a/#"),
        ("--topic", ""),
        ("--tries", "0"),
        ("--window", "100"),
        ("--host", "h:1"),
        (),
    ],
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

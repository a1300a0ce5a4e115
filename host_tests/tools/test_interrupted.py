"""Ctrl-C ends a tool with 130, and no traceback; a tool leaves nothing in the folder for temporary
files."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tools.desk import size
from tools.paths import ROOT
from tools.setup import conformance


@pytest.mark.parametrize(("tool", "work"), [(size, "measure"), (conformance, "collect")])
def test_ctrl_c(tool: object, work: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def pressed() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(tool, work, pressed)
    monkeypatch.setattr(sys, "argv", ["it"])
    with pytest.raises((SystemExit, KeyboardInterrupt)) as end:
        tool.main()  # type: ignore[attr-defined]
    assert end.value.args == (130,)


@pytest.mark.parametrize(
    "tool", ["desk.wake", "desk.run", "board.ota", "board.bridge", "command", "setup.conformance"]
)
def test_ctrl_c_while_it_is_loaded(tool: str, tmp_path: Path) -> None:
    (tmp_path / "argparse.py").write_text("raise KeyboardInterrupt\n")
    done = subprocess.run(
        [sys.executable, "-m", f"tools.{tool}", *(["pub"] if tool == "command" else [])],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        timeout=60,
    )
    # 130 to a shell, both of them.
    assert done.returncode in (130, -signal.SIGINT) and done.stderr == ""


def test_the_owner_of_a_test_leaves_no_key(tmp_path: Path) -> None:
    program = "from harness import owner; print(owner.key().read_text())"
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": f"{ROOT}/host_tests:{ROOT}"},
        timeout=60,
    )
    assert "PRIVATE KEY" in done.stdout, done.stderr
    assert not list(tmp_path.iterdir())

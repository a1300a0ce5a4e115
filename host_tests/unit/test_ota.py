"""The checks of ota.py (ota_checks.py) on every runtime; the sender's half against the node's."""

from pathlib import Path

import ota_checks
import pytest

from tools.board import ota
from tools.testing import runtimes

PROGRAM = Path(ota_checks.__file__)


@pytest.mark.parametrize("name", ota_checks.CHECKS)
def test_check(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    getattr(ota_checks, name)()


def test_on_micropython(runtime: runtimes.Runtime, tmp_path: Path) -> None:
    with runtime.start(PROGRAM, cwd=tmp_path) as device:
        assert device.wait_exit(60) == 0, device.transcript()
        output = "\n".join(device.lines) + "\n"
    for name in ota_checks.CHECKS:
        assert f"ok {name}\n" in output, f"{name} did not pass:\n{output}"
    assert f"done {len(ota_checks.CHECKS)} checks, 0 failed" in output, output


def test_sender_makes_what_is_documented() -> None:
    """The tool's bundle and the one that the checks spell out are the same."""
    update = ota_checks.Update()
    bundle = ota.Bundle(dict(ota_checks.NEW), 3, 60, 8000)
    assert bundle.content == update.data
    assert bundle.text(5) == update.text
    assert f'"hmac": "{update.code}"' in bundle.offer(5, ota_checks.TOPIC, ota_checks.KEY, 1)


@pytest.mark.parametrize("option", ["--watchdog=3000000000", "--limit=10000000", "--tries=1000"])
def test_trial_that_would_not_end(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    """boot.py could not give such a time to the chip, or nobody lives to see its end."""
    with pytest.raises(SystemExit):
        ota.parse(["--host", "h", "--topic", "t", option])
    assert "at most" in capsys.readouterr().err

"""tools/setup/bootstrap.py: whose .venv it removes, and whose not."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tools.testing.runtimes import ROOT


@pytest.mark.parametrize("there", [True, False])
def test_venv_of_another_checkout(tmp_path: Path, there: bool) -> None:
    """A symbolic link: neither removed, nor written through."""
    mine, theirs = tmp_path / "mine", tmp_path / "theirs" / ".venv"
    (mine / "tools" / "setup").mkdir(parents=True)
    shutil.copy(ROOT / "tools" / "setup" / "bootstrap.py", mine / "tools" / "setup")
    shutil.copy(ROOT / "pyproject.toml", mine)
    theirs.parent.mkdir()
    if there:
        theirs.mkdir()
        (theirs / "kept").write_text("")
    (mine / ".venv").symlink_to(theirs)
    done = subprocess.run(
        [sys.executable, str(mine / "tools" / "setup" / "bootstrap.py")],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert f".venv is a symbolic link to {theirs}" in done.stderr
    assert f"What to do: rm {mine / '.venv'}" in done.stderr
    assert [path.name for path in tmp_path.glob("theirs/.venv/*")] == ["kept"] * there
    assert theirs.exists() == there and (mine / ".venv").is_symlink()

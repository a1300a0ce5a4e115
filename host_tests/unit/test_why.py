"""make size ARGS=--why: what each function takes."""

import subprocess
import sys

import pytest

from tools import parts
from tools.desk import why
from tools.testing.needs import needed


def test_each_function_is_weighed() -> None:
    found = needed(lambda: why.why(["kinds", "router"]))
    names = {(module, name) for module, name, _, _ in found}
    assert {("kinds", "choose"), ("router", "Router.handle"), ("router", "matches")} <= names
    flash = [flash for _, _, flash, _ in found]
    assert flash == sorted(flash, reverse=True) and flash[-1] > 0
    # All functions together take less than their modules, and most of it.
    whole = sum(len(parts.source(name).read_bytes()) for name in ("kinds", "router"))
    assert 200 < sum(flash) < whole
    assert all(0 <= ram <= 4 * flash for _, _, flash, ram in found)


def test_a_module_that_is_not_there() -> None:
    with pytest.raises(SystemExit, match="no such module: nonsense"):
        why.why(["nonsense"])


def test_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tools.desk.size", "--why", "kinds"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "choose" in done.stdout

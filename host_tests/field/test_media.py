"""Files, flash and RTC memory that fail or are full: state is kept, and what waits can leave."""

from pathlib import Path

import pytest
from field.conftest import PROGRAMS

from tools.testing.runtimes import Runtime


@pytest.mark.parametrize("program", ["media", "routes"])
def test_checks(runtime: Runtime, tmp_path: Path, program: str) -> None:
    """``media``: a read that fails once, a journal that cannot be read, a rename that fails, a full
    flash, a full RTC memory. ``routes``: handlers that raise, topics that nobody wants."""
    with runtime.start(PROGRAMS / f"{program}.py", cwd=tmp_path) as device:
        device.wait_line("end", 30)

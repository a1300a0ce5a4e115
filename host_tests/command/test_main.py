"""dormouse itself: what it lists, the tools for boards behind it, what it says of mistakes."""

import pytest
from calling import Run

from tools.command.main import COMMANDS
from tools.command.shared.board_tools import TOOLS


def test_it_lists_all(run: Run) -> None:
    text = run("--help").out
    for name in (*COMMANDS, *TOOLS):
        assert f"\n  {name} " in text
    assert run().status == 2
    assert run("--version").out.startswith("dormouse ")


@pytest.mark.parametrize("name", TOOLS)
def test_tools_for_boards(run: Run, name: str) -> None:
    done = run(name, "--help")
    assert done.status == 0, done.err
    asked = "console" if name == "logs" else name
    assert done.out.startswith(f"usage: dormouse {asked} ")


def test_a_tool_is_really_run(run: Run) -> None:
    done = run("flash", "--board", "ESP33")
    assert done.status == 1 and "there is no board 'ESP33'" in done.err


@pytest.mark.parametrize("name", COMMANDS)
def test_each_has_examples_and_tells_its_exit_status(run: Run, name: str) -> None:
    text = run(name, "--help").out
    assert "examples:" in text and "exit status:" in text
    assert run(name, "--no-such-option").status == 2

"""Numbers that cannot be are refused by each tool, and none says that it has held nothing."""

import argparse
import importlib

import pytest

from tools import amounts


@pytest.mark.parametrize(
    ("tool", "words"),
    [
        ("attack", ["--rounds", "0"]),
        ("attack", ["--workers", "0"]),
        ("soak", ["--messages", "0"]),
        ("soak", ["--minutes", "nan"]),
        ("fuzz", ["--seconds", "-1"]),
        ("wake", ["--commands", "1000"]),
        ("mutants", ["-n", "0"]),
        ("prove", ["--stride", "0"]),
        ("explore", ["--limit", "many"]),
        ("explore", ["-k", "("]),
        ("demo", ["--pause", "nan"]),
        ("demo", ["--wakes", "0"]),
    ],
)
def test_refused(tool: str, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        importlib.import_module(f"tools.desk.{tool}").main(words)
    assert end.value.code == 2 and f"{words[1]!r} is no " in capsys.readouterr().err


def test_taken() -> None:
    assert amounts.positive("0.5") == 0.5 and amounts.real()("0") == 0
    assert amounts.port("65535") == 65535 and amounts.whole(0, 3)("0") == 0
    for read, text in (
        (amounts.positive, "0"),
        (amounts.positive, "inf"),
        (amounts.real(), "-1"),
        (amounts.port, "65536"),
        (amounts.whole(), "1.5"),
    ):
        with pytest.raises(argparse.ArgumentTypeError):
            read(text)

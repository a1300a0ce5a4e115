"""make mutants: which faults it makes, and that what no test notices is told. No test runs here."""

import pytest

from tools.desk import mutants

pytest.importorskip("cosmic_ray", reason="pip install cosmic-ray, the group mutants of pyproject")

SOURCE = '''"""A docstring: 1 + 1."""
import sys

if sys.implementation.name == "micropython":
    X = 3


def f(a, b=2):
    """And 2 more."""
    for n in range(a):
        if n > b and a != 4:
            break
    return a - b
'''


def test_faults_are_those_of_the_program() -> None:
    """Not of a docstring, nor of what only CPython runs; the same ones for the same seed."""
    made = list(mutants.mutants(SOURCE, 100, 1))
    assert {m.line for m in made} == {8, 10, 11, 12, 13}
    for m in made:
        assert m.source != SOURCE
        compile(m.source, "mutant", "exec")
        changed = mutants.diff(SOURCE, m.source, "x.py").splitlines()
        assert sum(line[:1] in "+-" for line in changed) == 2, changed
    assert list(mutants.mutants(SOURCE, 3, 1)) == made[:3]
    assert list(mutants.mutants(SOURCE, 100, 2)) != made


def test_a_module_by_a_word_of_its_name() -> None:
    for text, module in {
        "sleep/node": "sleep/node",
        "sleep": "sleep/node",
        "rtc.py": "store/rtc",
        "session": "session",
        "expiry": "expiry",
        "nothing": "nothing",
    }.items():
        assert mutants.named(text) == module


def test_all_named_tests_are_there() -> None:
    for module, tests in mutants.TESTS.items():
        assert (mutants.DEVICE / f"{module}.py").exists(), module
        assert mutants.choose(module, []) == list(tests), module


def test_what_survives_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each in a copy, never in this repository."""
    original = (mutants.DEVICE / "expiry.py").read_text()
    monkeypatch.setitem(mutants.TESTS, "expiry", ("unit/test_core.py",))
    seen: list[str] = []

    def run(self: mutants.Copy, timeout: float) -> str | None:
        assert (mutants.DEVICE / "expiry.py").read_text() == original
        seen.append(self.file.read_text())
        return None if len(seen) in (1, 3) else "unit/test_core.py::test_x"

    monkeypatch.setattr(mutants.Copy, "run", run)
    assert mutants.main(["expiry", "-n", "3"]) == 0
    out = capsys.readouterr().out
    assert seen[0] == original and len(set(seen)) == 4
    assert out.count("SURVIVED") == 1 and "expiry: 2 of 3 faults noticed, seed 1" in out


def test_what_cannot_be_done_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    for args, why in ((["nothing"], "no module nothing"), (["led"], "no module led")):
        assert mutants.main(args) == 1
        assert why in capsys.readouterr().err
    assert mutants.main(["session", "--tests", "bench"]) == 1
    assert "no tests of session" in capsys.readouterr().err

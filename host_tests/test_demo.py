"""The demo: its counting, by numbers made up here; its runs, as a user starts them."""

import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from harness.needs import missing
from harness.runtimes import RUNTIMES

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))

import demo  # noqa: E402

FULL = range(1, 11)
OPTIONS = ["--plain", "--readings", "50", "--cuts", "2"]


def tallies(**changed: demo.Tally) -> list[demo.Tally]:
    """Return the tallies of QoS 0, 1 and 2, perfect but for those given as `q0` and so on."""
    return [changed.get(f"q{q}", demo.tally(q, FULL, FULL)) for q in (0, 1, 2)]


def last_line(**changed: demo.Tally) -> str:
    """Return the last line of a run with these readings and perfect commands."""
    return demo.final_lines(tallies(**changed), tallies()[1:], [])[-1]


# --- Counting -------------------------------------------------------------------------------------


def test_all_arrived() -> None:
    assert last_line().startswith("promise kept")
    lines = demo.final_lines(tallies(), tallies()[1:], [])
    assert [line.split()[:2] for line in lines[1:4]] == [["0", "10"], ["1", "10"], ["2", "10"]]


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_lost(qos: int) -> None:
    t = demo.tally(qos, FULL, [n for n in FULL if n != 4])
    assert (t.sent, t.received, t.lost) == (10, 9, [4])
    assert t.faults() == (["lost: 4"] if qos else [])
    assert last_line(**{f"q{qos}": t}).startswith("PROMISE BROKEN" if qos else "promise kept")


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_doubled(qos: int) -> None:
    t = demo.tally(qos, FULL, [*FULL, 10])
    assert (t.received, t.doubled, t.unordered) == (10, [10], [])
    assert t.faults() == ([] if qos == 1 else ["doubled: 10"])


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_order(qos: int) -> None:
    assert demo.tally(qos, FULL, [1, 3, 2, *range(4, 11)]).faults() == ["out of order: 2"]


def test_repeated_in_a_later_place_is_in_order() -> None:
    assert demo.tally(1, FULL, [1, 2, 3, 2, 3, *range(4, 11)]).faults() == []


def test_never_sent() -> None:
    assert demo.tally(2, FULL, [*FULL, 11]).faults() == ["never sent: 11"]


def test_what_the_broker_forgot_is_apart() -> None:
    t = demo.tally(2, FULL, [n for n in FULL if n not in (4, 5)], forgotten=[4])
    assert (t.lost, t.apart) == ([5], [4])
    assert demo.tally(2, FULL, FULL, forgotten=[4]).apart == []


def test_sent_anew_is_apart_and_no_excuse_at_qos_2() -> None:
    seen = [1, 2, 3, 3, *range(4, 11)]
    t = demo.tally(1, FULL, seen, again=[3])
    assert (t.doubled, t.apart) == ([], [3])
    assert demo.tally(2, FULL, seen, again=[3]).faults() == ["doubled: 3"]


def test_lost_command_and_other_faults_break_it() -> None:
    commands = [demo.tally(1, FULL, FULL), demo.tally(2, FULL, FULL[:-1])]
    line = demo.final_lines(tallies(), commands, ["only 1 of 2 cuts"])[-1]
    assert line == "PROMISE BROKEN: only 1 of 2 cuts; commands at QoS 2 lost: 10"


def test_node_facts() -> None:
    facts = demo.node_facts(
        [
            "connected",
            "sent meter 1",
            "sent meter 2",
            "done meter 1",
            "SessionLost meter 2",
            "dropped light 3",
            "command 2 do/pulse 7",
            "subscribed",
            "lost ConnectionLost('closed',)",
        ]
    )
    assert facts.sent["meter"] == [1, 2]
    assert (facts.done["meter"], facts.session_lost["meter"]) == ({1}, {2})
    assert (facts.commands["do/pulse"], facts.dropped) == ([7], 1)
    assert facts.subscribed and not facts.connected


def test_plan_has_a_restart_and_no_cut_behind_pubrec() -> None:
    for cuts in range(1, 20):
        steps = demo.plan(cuts)
        assert len(steps) == cuts and any(step.restart for step in steps)
        assert all(step.offset <= (120 if step.way == "up" else 8) for step in steps)


# --- Runs -----------------------------------------------------------------------------------------


@contextmanager
def running(*options: str) -> Iterator[subprocess.Popen[str]]:
    """Start the demo; kill it at the end if it still runs."""
    argv = [sys.executable, str(ROOT / "tools" / "demo.py"), *OPTIONS, *options]
    pipe = subprocess.PIPE
    with subprocess.Popen(argv, stdout=pipe, stderr=subprocess.STDOUT, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def children(pid: int) -> list[str]:
    """Return the process ids of a process's children."""
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return [child for task in tasks for child in task.read_text().split()]


def need(name: str) -> None:
    """Skip the test if a runtime cannot be had."""
    reason = RUNTIMES[name].reason
    if reason:
        missing(reason)


@pytest.mark.parametrize("name", list(RUNTIMES))
def test_promise_kept(name: str) -> None:
    need(name)
    with running("--runtime", name) as process:
        output, _ = process.communicate(timeout=90)
    assert process.returncode == 0, output
    lines = output.splitlines()
    assert lines[-1].startswith("promise kept"), output
    assert "2 cuts, 1 broker restarts, 2 times subscribed" in output
    start = next(i for i, line in enumerate(lines) if line.startswith("QoS"))
    assert re.match(r"0 +50 +\d+ +\d+ +0 +0 ", lines[start + 1])
    assert re.match(r"1 +50 +\d+ +0 +\d+ +\d+ ", lines[start + 2])
    assert re.match(r"2 +50 +\d+ +0 +0 +\d+$", lines[start + 3])
    assert re.match(r"1, commands +4 +4 +0 ", lines[start + 4])
    assert re.match(r"2, commands +4 +4 +0 +0 +0$", lines[start + 5])
    assert "Traceback" not in output


@pytest.mark.parametrize("after", [0.0, 0.5, 2.0])
def test_ctrl_c(after: float) -> None:
    need("micropython64")
    with running() as process:
        assert process.stdout
        first = process.stdout.readline()  # the broker runs
        time.sleep(after)
        node = children(process.pid)
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=20)
    assert node or not after
    assert not [pid for pid in node if Path(f"/proc/{pid}").exists()]
    assert process.returncode == demo.INTERRUPTED, first + output
    assert "Traceback" not in output
    assert output.splitlines()[-1].startswith("interrupted")


def test_too_few_readings() -> None:
    with running("--readings", "5") as process:
        output, _ = process.communicate(timeout=20)
    assert process.returncode == 2 and "--readings" in output


def test_node_that_loses_a_reading_breaks_the_promise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A node that claims one more reading at QoS 2 than it publishes: noticed, exit status 1."""
    liar = tmp_path / "main.py"
    source = (ROOT / "firmware" / "main.py").read_text()
    publish = 'self.publish("meter", meter, 2)'
    assert publish in source
    lie = 'if self.count == 4:\n                print("sent", "meter", 4)\n            else:\n'
    liar.write_text(source.replace(publish, f"{lie}                {publish}"))
    monkeypatch.setattr(demo, "NODE", liar)
    monkeypatch.setattr(demo.INTERRUPT, "install", lambda: None)  # pytest has its own
    assert demo.main([*OPTIONS, "--runtime", "cpython"]) == 1
    assert "readings at QoS 2 lost: 4" in capsys.readouterr().out.splitlines()[-1]

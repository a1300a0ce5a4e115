"""The demo: its counting, by numbers made up here; its runs, as a user starts them."""

import random
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from harness.programs import argv_of

from tools.desk import demo, demo_life
from tools.desk import demo_count as count
from tools.testing.needs import missing, mosquitto_argv
from tools.testing.runtimes import ROOT, RUNTIMES

FULL = range(1, 11)
OPTIONS = ["--plain", "--pause", "0"]


def tallies(**changed: count.Tally) -> list[count.Tally]:
    """Return the tallies of QoS 0, 1 and 2, perfect but for those given as `q0` and so on."""
    return [changed.get(f"q{q}", count.tally(q, FULL, FULL)) for q in (0, 1, 2)]


def last_line(**changed: count.Tally) -> str:
    """Return the last line of a run with these readings and perfect commands."""
    return count.final_lines(tallies(**changed), tallies()[1:], [])[-1]


# --- Counting -------------------------------------------------------------------------------------


def test_all_arrived() -> None:
    assert last_line().startswith("promise kept")
    lines = count.final_lines(tallies(), tallies()[1:], [])
    assert [line.split()[:3] for line in lines[1:3]] == [
        ["0", "readings", "10"],
        ["1", "readings", "10"],
    ]


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_lost(qos: int) -> None:
    t = count.tally(qos, FULL, [n for n in FULL if n != 4])
    assert (t.sent, t.received, t.lost) == (10, 9, [4])
    assert t.faults() == (["lost: 4"] if qos else [])
    assert last_line(**{f"q{qos}": t}).startswith("PROMISE BROKEN" if qos else "promise kept")


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_doubled(qos: int) -> None:
    t = count.tally(qos, FULL, [*FULL, 10])
    assert (t.received, t.doubled, t.unordered) == (10, [10], [])
    assert t.faults() == ([] if qos == 1 else ["doubled: 10"])


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_order(qos: int) -> None:
    assert count.tally(qos, FULL, [1, 3, 2, *range(4, 11)]).faults() == ["out of order: 2"]


def test_repeated_in_a_later_place_is_in_order() -> None:
    assert count.tally(1, FULL, [1, 2, 3, 2, 3, *range(4, 11)]).faults() == []


def test_number_said_twice_was_two_messages() -> None:
    assert count.tally(2, [*FULL, 10], FULL).faults() == ["lost: 10"]


def test_never_sent() -> None:
    assert count.tally(2, FULL, [*FULL, 11]).faults() == ["never sent: 11"]


def test_what_may_have_been_sent_may_come_once_or_not_at_all() -> None:
    assert count.tally(2, FULL, FULL, maybe=[11]).faults() == []
    assert count.tally(2, FULL, [*FULL, 11], maybe=[11]).faults() == []
    assert count.tally(2, FULL, [*FULL, 11, 11], maybe=[11]).faults() == ["doubled: 11"]


def test_lost_command_and_other_faults_break_it() -> None:
    commands = [count.tally(1, FULL, FULL), count.tally(2, FULL, FULL[:-1])]
    line = count.final_lines(tallies(), commands, ["the relay is 1"])[-1]
    assert line == "PROMISE BROKEN: the relay is 1; commands at QoS 2 lost: 10"


def boot(*lines: str, relay: int = 0, died: bool = False) -> count.Facts:
    """Return what a boot with this output said."""
    return count.facts([f"wake timer relay {relay}", *lines], died)


def test_facts() -> None:
    facts = boot(
        "sent meter 1",
        "dropped light 3",
        "command 2 do/toggle 7",
        'command 0 state {"asleep":309,"until":0}',
        "error ConnectionLost('backoff', 0)",
        "asleep 299967 ms, 5 waiting",
        relay=1,
    )
    assert (facts.reason, facts.relay, facts.sent) == ("timer", 1, {"meter": 1})
    assert (facts.commands, facts.dropped, facts.waiting) == ([("do/toggle", 7)], 1, 5)
    assert facts.skipped and not boot().skipped


def test_accepted_is_what_the_node_said() -> None:
    boots = [boot("sent meter 1"), boot(died=True), boot(died=True), boot("sent meter 3")]
    assert count.accepted(boots, "meter") == ([1, 3], {2, 3})
    assert count.accepted([boot("sent meter 1"), boot()], "meter") == ([1], set())


def test_a_command_in_hand_at_a_power_cut_counts_once() -> None:
    boots = [boot("command 2 do/toggle 1", died=True), boot("command 2 do/toggle 1"), boot(relay=1)]
    assert count.obeyed(boots, "do/toggle") == [[], [1], []]
    assert count.relay_faults(boots) == []
    boots[0].died = False  # then it was doubled
    assert count.obeyed(boots, "do/toggle") == [[1], [1], []]
    assert count.relay_faults(boots)


def test_toggle_committed_and_yet_again_is_seen_at_the_relay() -> None:
    toggle = "command 2 do/toggle 1"
    boots = [boot(toggle, died=True), boot(toggle, relay=1), boot(relay=0)]
    assert count.relay_faults(boots) == ["the relay after wake 1 is not as its toggles left it"]


def test_plan() -> None:
    steps = demo_life.plan(60, random.Random(1))
    assert len(steps) == 60 and steps[: len(demo_life.PLAN)] == list(demo_life.PLAN)
    assert {step.fault for step in demo_life.PLAN} == {"", *demo_life.FAULTS}
    assert steps == demo_life.plan(60, random.Random(1)) != demo_life.plan(60, random.Random(2))
    assert max(step.commands for step in demo_life.PLAN) * len(count.COMMANDS) > 20


# --- Runs -----------------------------------------------------------------------------------------


@contextmanager
def running(*options: str) -> Iterator[subprocess.Popen[str]]:
    """Start the demo; kill it at the end if it still runs."""
    argv = [*argv_of("demo"), *OPTIONS, *options]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        argv, stdout=pipe, stderr=subprocess.STDOUT, text=True, cwd=ROOT
    ) as process:
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


@pytest.mark.parametrize(
    ("broker", "runtime", "wakes"),
    [
        ("amqtt", "micropython32", 16),
        ("mosquitto", "micropython64", 16),
        ("mosquitto", "cpython", 3),
    ],
)
def test_promise_kept(broker: str, runtime: str, wakes: int, tmp_path: Path) -> None:
    need(runtime)
    if broker == "mosquitto":
        mosquitto_argv()
    page = tmp_path / "demo.html"
    wanted = ("--broker", broker, "--runtime", runtime, "--wakes", str(wakes))
    wide = ("--wide",) if broker == "mosquitto" else ()
    with running(*wanted, *wide, "--scope", str(page)) as process:
        output, _ = process.communicate(timeout=90)
    assert process.returncode == 0, output
    assert "Traceback" not in output
    lines = output.splitlines()
    assert lines[0].startswith(f"broker: {broker}")
    assert lines[-1].startswith("promise kept"), output
    assert f"packet by packet: {page}" in lines and '"PUBREL id=' in page.read_text()
    if not wide:  # for a terminal as it is opened
        assert max(map(len, lines)) <= 80 or str(page) in max(lines, key=len), output
        happened = "4 power cuts, 2 cut connections, 1 broker restart, 2 wakes without Wi-Fi."
        assert lines[-3] == happened
        assert re.search(r"% asleep; all \d+ readings arrived, all 38 commands", lines[-2])
    elif wakes == 16:
        faults = "2 wakes without Wi-Fi, 2 cuts, 1 broker restarts, 4 power cuts "
        assert f"{faults}(1 asleep, 1 awake, 2 in a write)" in output
    asleep = re.search(r"([\d.]+) % asleep", output)
    assert asleep and float(asleep[1]) > 95
    start = next(i for i, line in enumerate(lines) if line.startswith("QoS"))
    assert re.match(r"0 readings +\d+ +\d+ +\d+ +0 ", lines[start + 1])
    assert re.match(r"1 readings +\d\d? +\d+ +0 ", lines[start + 2])
    assert re.match(r"2 readings +\d\d? +\d+ +0 +0$", lines[start + 3])
    assert re.match(r"1 commands +(\d+) +\1 +0 ", lines[start + 4])
    assert re.match(r"2 commands +(\d+) +\1 +0 +0$", lines[start + 5])


@pytest.mark.parametrize("after", [0, 2])
def test_ctrl_c(after: int) -> None:
    need("micropython64")
    with running("--runtime", "micropython64") as process:
        assert process.stdout
        # Line 3 is the table's head: the broker runs, the node starts.
        first = "".join(process.stdout.readline() for _ in range(3 + after))
        deadline = time.monotonic() + 5
        while not (node := children(process.pid)) and time.monotonic() < deadline:
            time.sleep(0.001)
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=20)
    assert node
    assert not [pid for pid in node if Path(f"/proc/{pid}").exists()]
    assert process.returncode == demo.INTERRUPTED, first + output
    assert "Traceback" not in output
    assert output.splitlines()[-1].startswith("interrupted")


def test_options_that_make_no_sense(capsys: pytest.CaptureFixture[str]) -> None:
    for options in (["--wakes", "0"], ["--pause", "-1"], ["--broker", "hermes"]):
        with pytest.raises(SystemExit) as exit_:
            demo.main(options)
        assert exit_.value.code == 2 and options[0] in capsys.readouterr().err


def test_mosquitto_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing_here() -> list[str]:
        raise demo.NotAvailable("no mosquitto: apt install mosquitto")

    monkeypatch.setattr(demo.runtimes.get, "mosquitto", missing_here)
    monkeypatch.setattr(demo.INTERRUPT, "install", lambda: None)
    assert demo.main(["--broker", "mosquitto", "--runtime", "cpython"]) == 1
    error = capsys.readouterr().err
    assert "apt install mosquitto" in error and "--broker amqtt" in error


PUBLISH = 'self.publish(name, json.dumps({"n": self.state["count"], "value": value}), qos)'
SECOND = 'name == "meter" and self.state["count"] == 2'
SENT = 'print("sent", name, self.state["count"])'
RELAY = 'self.state["relay"] ^= 1'
PRINT = 'print("command"'
LIARS = {
    # what it does: the code, what stands in its place, what the demo says
    "loses a reading": (
        PUBLISH,
        f'print("sent", "meter", 2) if {SECOND} else {PUBLISH}',
        "readings at QoS 2 lost: 2",
    ),
    "doubles a reading": (
        PUBLISH,
        f"{PUBLISH}\n                {SECOND} and {PUBLISH}",
        "readings at QoS 2 doubled: 2",
    ),
    "conceals a reading": (
        SENT,
        f"{SECOND} or {SENT}",
        "readings at QoS 2 never sent: 2",
    ),
    "does not obey": (RELAY, "pass", "the relay is 0 after 1 toggles"),
    "loses a command": (PRINT, 'message.qos == 1 or print("command"', "commands at QoS 1 lost: 1"),
    "doubles a command": (
        PRINT,
        'message.qos == 2 and print("command 2", name, "1")\n            print("command"',
        "commands at QoS 2 doubled: 1",
    ),
}


@pytest.mark.parametrize("what", LIARS)
def test_node_that_breaks_the_promise(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    old, new, verdict = LIARS[what]
    source = (ROOT / "firmware" / "main.py").read_text()
    assert source.count(old) == 1
    liar = tmp_path / "main.py"
    liar.write_text(source.replace(old, new))
    monkeypatch.setattr(demo, "NODE", liar)
    monkeypatch.setattr(demo.INTERRUPT, "install", lambda: None)  # pytest has its own
    assert demo.main([*OPTIONS, "--wakes", "2", "--runtime", "cpython"]) == 1
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("PROMISE BROKEN") and verdict in last

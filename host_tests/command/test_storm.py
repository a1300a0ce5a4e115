"""dormouse storm: thousands of nodes on the real session, and some on a real mosquitto."""

import json
import random
import re
import resource
from binascii import crc32
from pathlib import Path

import pytest
from calling import Run

from tools.command import storm
from tools.command.storming import figure, model, real
from tools.command.storming.model import Result, Storm
from tools.command.storming.policy import Exponential, Fixed, FullJitter, Phase, Policy, Waits
from tools.paths import ROOT
from tools.testing import runtimes
from tools.testing.needs import needed

STORM = Storm(nodes=2000, rate=100, backlog=1024, outage=30)


@pytest.fixture(scope="module")
def results() -> dict[str, Result]:
    """What 2,000 nodes come to."""
    kinds: tuple[type[Policy], ...] = (Fixed, FullJitter, Phase)
    return {kind.name: model.simulate(STORM, kind) for kind in kinds}


def test_all_are_back_and_nothing_is_lost(results: dict[str, Result]) -> None:
    for result in results.values():
        assert len(result.back) == result.delivered == 2000
        assert result.back == sorted(result.back) and result.back[0] > 0
        # What was tried is what came back, what timed out, and what was refused.
        tried = sum(result.attempts.values())
        assert tried == len(result.back) + result.timed_out + result.refused
        assert sum(result.served.values()) == len(result.back) + result.in_vain
        assert max(result.served.values()) <= STORM.rate + 1


def test_what_the_defaults_are_for(results: dict[str, Result]) -> None:
    fixed, jitter, phase = (results[name] for name in ("fixed", "jitter", "phase"))
    assert fixed.peak == 2000 and fixed.timed_out > 0 and fixed.in_vain > 0
    # The Client's is spread over its longest wait, 60 s; the Node's over its period, 300 s.
    assert jitter.peak < 120 and jitter.timed_out == jitter.in_vain == 0
    assert phase.peak < 30 and phase.timed_out == phase.in_vain == 0
    end = jitter.until(1)
    assert end and end < 62
    assert jitter.until(0.5) < end  # type: ignore[operator]


def test_a_fixed_delay_may_never_end() -> None:
    """The backlog is longer than patience: what the broker serves has gone already."""
    # 400 wait 20 s for a broker that takes 20 a second, and have patience for 10.
    storm = Storm(nodes=500, rate=20, backlog=400, outage=20, limit=300)
    stuck = model.simulate(storm, Fixed)
    assert stuck.until(1) is None and stuck.in_vain > 10 * len(stuck.back)
    assert model.simulate(storm, FullJitter).until(1)


def test_it_is_the_same_again() -> None:
    storm = Storm(nodes=200, outage=10)
    once, again = (model.simulate(storm, FullJitter) for _ in range(2))
    assert (once.back, once.attempts) == (again.back, again.attempts)
    other = model.simulate(Storm(nodes=200, outage=10, seed=2), FullJitter)
    assert other.back != once.back


def test_ways_of_waiting() -> None:
    waits = Waits(delay=3, shortest=1, longest=10, period=100, backoff=4)
    rng = random.Random(1)
    fixed = Fixed(waits, rng, "a")
    assert [fixed.wait(0) for _ in range(3)] == [3, 3, 3]
    growing = Exponential(waits, rng, "a")
    assert [growing.wait(0) for _ in range(6)] == [1, 2, 4, 8, 10, 10]
    growing.reset()
    assert growing.wait(0) == 1
    jitter = FullJitter(waits, rng, "a")
    bounds = (1, 2, 4, 8, 10, 10)
    assert all(0 <= jitter.wait(0) < bound for bound in bounds)
    node = Phase(waits, rng, "greenhouse-7")
    assert node.at == crc32(b"greenhouse-7") % 100_000 / 1000
    assert node.first(node.at - 1) == pytest.approx(1)
    assert node.first(node.at) == pytest.approx(100)
    # Wakes that pass: below 2, 4, and then backoff + 1.
    skipped = [round((node.wait(node.at) - 100) / 100) for _ in range(200)]
    assert skipped[0] in (0, 1) and set(skipped[2:]) == {0, 1, 2, 3, 4}


def test_the_phase_is_the_nodes(tmp_path: Path) -> None:
    """A Node on the simulated board says where in its period it wakes."""
    program = tmp_path / "main.py"
    program.write_text(
        "from dormouse import Client\n"
        "from dormouse.sleep import Node\n"
        "from dormouse.store import Journal\n"
        "client = Client('h', client_id='greenhouse-7', clean=False, store=Journal('j'))\n"
        "print('phase', Node(client, 300, guard=False).phase)\n"
        "import machine\n"
        "machine.deepsleep(1000)\n"
    )
    from tools.testing.board import Board

    runtime = runtimes.RUNTIMES["cpython"]
    with Board(runtime, tmp_path / "board", program) as board:
        lines = board.run(1)[-1].lines
    waits = Waits(period=300)
    expected = Phase(waits, random.Random(), "greenhouse-7").at
    assert f"phase {round(expected * 1000)}" in lines


def test_too_few_files_for_a_real_mosquitto(run: Run) -> None:
    """Each node is a connection: where this system gives no more of them, that is told, at once."""
    needed(runtimes.get.mosquitto)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (150, hard))
    try:
        done = run("storm", "--real", "--nodes", "300", "--outage", "1")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert (done.status, done.out) == (1, ""), done.err
    assert "300 nodes cannot connect: " in done.err and "What to do: fewer --nodes" in done.err
    assert "Traceback" not in done.err and "never retrieved" not in done.err


def test_the_table_in_the_document() -> None:
    """Of its rows those that are soon run; a fixed delay takes a minute."""
    text = (ROOT / "docs" / "command.md").read_text()
    (args,) = re.findall(r"dormouse (storm --nodes 5000 .*) --picture", text)
    storm_ = storm.storm_of(storm.arguments(args.split()[1:]))
    for kind, name in ((Exponential, "exponential"), (FullJitter, "full jitter"), (Phase, "phase")):
        r = model.simulate(storm_, kind)
        cells = [f"{n:,}" for n in (r.peak, r.total, r.in_vain)]
        cells += [storm.seconds(r.until(part)) for part in (0.5, 1)]
        (row,) = re.findall(rf"^\| {name}, [^|]* \| (.*) \|$", text, re.M)
        assert row.split(" | ") == cells


def test_on_a_real_mosquitto() -> None:
    """The same nodes, in real time: all come back, and the jitter's peak is the lower one."""
    argv = needed(runtimes.get.mosquitto)
    waits = Waits(delay=1, shortest=1, longest=3)
    storm = Storm(nodes=60, outage=0.5, waits=waits, limit=60)
    fixed, jitter = (real.run(storm, kind, argv) for kind in (Fixed, FullJitter))
    for result in (fixed, jitter):
        assert len(result.back) == result.delivered == 60
    assert fixed.peak > jitter.peak
    with pytest.raises(ValueError, match="1000 nodes"):
        real.run(Storm(nodes=1001, outage=1), Fixed, argv)


def test_the_command(run: Run, tmp_path: Path) -> None:
    picture = tmp_path / "storm.svg"
    args = ("storm", "--nodes", "150", "--outage", "10", "--picture", str(picture))
    done = run(*args)
    assert done.status == 0, done.err
    assert "150 nodes lose their broker for 10 s" in done.out
    assert "full jitter (Client)" in done.out and "attempts per second" in done.out
    assert not set(done.out) & set("│┃╭\x1b█▁")
    assert "<svg" in picture.read_text()
    said = json.loads(run(*args, "--json", "--policy", "jitter").out)
    (only,) = said["results"]
    assert only["policy"] == "jitter" and only["back"] == only["delivered"] == 150


def test_some_are_never_back(run: Run) -> None:
    args = ("--nodes", "500", "--rate", "20", "--backlog", "400", "--outage", "20")
    done = run("storm", *args, "--limit", "60", "--policy", "fixed")
    assert done.status == 1 and "never" in done.out
    assert run("storm", "--nodes", "0").status == 2
    assert run("storm", "--real", "--nodes", "5000").status == 2
    real = [storm.arguments(("--real", *more)).period for more in ((), ("--period", "7"))]
    assert real == [20, 7], "two periods, in real time: of 300 s it would be ten minutes"


def test_a_picture_that_cannot_be_is_told_first(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model, "simulate", lambda *_: pytest.fail("it has begun"))
    for name in ("nowhere/a.svg", "a.doc", "a"):
        done = run("storm", "--nodes", "3", "--picture", str(tmp_path / name))
        assert done.status == 2 and str(tmp_path / name) in done.err


def test_a_picture_that_cannot_be_written_takes_nothing_with_it(run: Run, tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    (tmp_path / "a.svg").symlink_to("/dev/full")
    args = ("--nodes", "3", "--outage", "1", "--policy", "jitter")
    done = run("storm", *args, "--picture", str(tmp_path / "a.svg"))
    assert done.status == 1 and "a.svg: No space" in done.err
    assert "full jitter (Client)" in done.out and "written:" not in done.err
    done = run("storm", *args, "--json", "--picture", str(tmp_path / "a.svg"))
    assert done.status == 1 and json.loads(done.out)["results"]
    done = run("plan", "--picture", str(tmp_path / "a.svg"))
    assert done.status == 1 and "a.svg: No space" in done.err and "awake" in done.out


@pytest.mark.parametrize("option", ["--timeout", "--delay", "--shortest", "--longest", "--period"])
def test_a_session_counts_in_ms(run: Run, option: str) -> None:
    done = run("storm", "--nodes", "5", option, "0.0001", "--outage", "0.001", "--limit", "0.001")
    assert (done.status, done.out) == (2, "")
    assert "no number 0.001 or more" in done.err


def test_bars() -> None:
    result = Result("x", "jitter", 4)
    result.attempts.update({-1: 9, 0: 100, 5: 1, 9: 0})
    assert figure.bars(result, 10, 10, plain=True) == "@    .    "

"""Every statement of the standard has a test or a reason; the checks that were written for it."""

import asyncio
import subprocess
from pathlib import Path
from types import ModuleType

import conformance5_checks
import conformance_checks
import pytest
from dormouse import client, session
from test_core import all_passed

from tools.setup import conformance
from tools.setup.conformance import Claim, Reason
from tools.testing import runtimes, wire
from tools.testing.needs import needed
from tools.testing.peer import ScriptedPeer

MODULES = (conformance_checks, conformance5_checks)
EACH = pytest.mark.parametrize("checks", MODULES, ids=lambda module: module.__name__)


@pytest.mark.parametrize(
    ("checks", "name"), [(module, name) for module in MODULES for name in module.CHECKS]
)
def test_check(checks: ModuleType, name: str) -> None:
    getattr(checks, name)()


@EACH
def test_on_runtime(runtime: runtimes.Runtime, checks: ModuleType) -> None:
    assert checks.__file__
    with runtime.start(Path(checks.__file__)) as device:
        assert device.wait_exit(60) == 0, device.transcript()
        all_passed(checks, "\n".join(device.lines) + "\n")


@EACH
def test_on_newest_micropython(checks: ModuleType) -> None:
    """MicroPython's newest release, in Node."""
    path = ["--path", str(runtimes.FIRMWARE)]
    command = [*needed(runtimes.get.node_micropython), *path, str(checks.__file__)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr
    all_passed(checks, done.stdout)


@pytest.mark.mqtt311("MQTT-4.8.0-2")
def test_no_memory_ends_the_connection(peer: ScriptedPeer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A packet that could not be dealt with is not skipped: the broker keeps it, and repeats it."""
    made = client.Client("127.0.0.1", peer.port, client_id="c", clean=False, backoff=(0.01, 0.01))
    read_publish = session.read_publish

    def no_memory(first: int, body: memoryview) -> None:
        monkeypatch.setattr(session, "read_publish", read_publish)
        raise MemoryError

    def broker() -> None:
        conn = peer.accept()
        conn.expect_packet(type=wire.CONNECT)
        conn.send(wire.connack(False))
        monkeypatch.setattr(session, "read_publish", no_memory)
        message = wire.publish("t", b"x", qos=1, packet_id=1)
        conn.send(message + wire.publish("t", b"y", qos=1, packet_id=2))
        conn.expect_closed()
        conn = peer.accept()
        conn.expect_packet(type=wire.CONNECT)
        conn.send(wire.connack(True) + wire.publish("t", b"x", qos=1, packet_id=1, dup=True))
        conn.expect(wire.puback(1))
        conn.close()

    async def main() -> None:
        played = asyncio.create_task(asyncio.to_thread(broker))
        made.start()
        message = await anext(made.messages)
        assert message.payload == b"x"
        message.ack()
        await played
        await made.disconnect()

    asyncio.run(main())


# --- the report


@pytest.fixture(scope="module")
def found() -> tuple[list[Claim], list[str]]:
    """What the tests claim: all of them, whichever were chosen for this run."""
    return conformance.collect()


def test_every_statement_has_a_test_or_a_reason(found: tuple[list[Claim], list[str]]) -> None:
    claims, wrong = found
    known = conformance.statements()
    assert [len(known[version]) for version in conformance.VERSIONS] == [101, 198]
    wrong = wrong + conformance.problems(known, claims, conformance.reasons())
    assert not wrong, "\n".join(wrong)


def test_report_is_true(found: tuple[list[Claim], list[str]]) -> None:
    now = conformance.report(conformance.statements(), found[0], conformance.reasons())
    assert conformance.REPORT.read_text() == now, "run make conformance ARGS=--write"


KNOWN = {"mqtt311": {"A-1": "a", "A-2": "b"}, "mqtt5": {"A-1": "c", "A-3": "d"}}
CLAIMS = [Claim("mqtt311", "A-1", "x.py", "test_x"), Claim("mqtt5", "A-3", "x.py", "test_x")]
REASONS = [Reason("mqtt311", "A-2", "for a server"), Reason("mqtt5", "A-1", "not done: later")]


def test_nothing_is_wrong_with_a_whole_report() -> None:
    assert not conformance.problems(KNOWN, CLAIMS, REASONS)
    text = conformance.report(KNOWN, CLAIMS, REASONS)
    assert "| MQTT 3.1.1 | 2 | 1 | 1 | 0 |\n| MQTT 5.0 | 2 | 1 | 1 | 1 |\n" in text
    assert "| A-1 | a | [x](../host_tests/x.py): test_x |" in text
    assert "| A-1 | c | *not done: later* |" in text


@pytest.mark.parametrize(
    ("claims", "reasons", "text"),
    [
        (CLAIMS[1:], REASONS, "mqtt311 A-1 has neither a test nor a reason"),
        (CLAIMS, REASONS[1:], "mqtt311 A-2 has neither a test nor a reason"),
        ([*CLAIMS, CLAIMS[0]._replace(id="A-3")], REASONS, "x.py: test_x: there is no statement"),
        ([*CLAIMS, CLAIMS[0]._replace(version="mqtt4")], REASONS, "no statement mqtt4 'A-1'"),
        (CLAIMS, [*REASONS, REASONS[0]._replace(id="A-9")], "reasons.csv: there is no statement"),
        (CLAIMS, [*REASONS, REASONS[0]], "is there twice"),
        (CLAIMS, [*REASONS, REASONS[0]._replace(id="A-1")], "A-1 is shown by a test"),
        (CLAIMS, [REASONS[0]._replace(text=" "), REASONS[1]], "has no reason"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_wrong_with_a_report(claims: list, reasons: list, text: str) -> None:
    (wrong,) = conformance.problems(KNOWN, claims, reasons)
    assert text in wrong


CHECKS_FILE = """
# mqtt311: A-1 A-2
# mqtt5: A-3
def check_a():
    pass

# mqtt5: A-1

def check_b():
    pass

# MQTT5:A-9
def check_c():
    pass

# mqtt5:
def check_d():
    pass
# mqtt5: A-1
"""


def test_comments_of_checks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(conformance, "TESTS", tmp_path)
    path = tmp_path / "some_checks.py"
    path.write_text(CHECKS_FILE)
    claims, wrong = conformance.claims_of_checks(path)
    a = [("mqtt311", "A-1", "check_a"), ("mqtt311", "A-2", "check_a"), ("mqtt5", "A-3", "check_a")]
    b = [("MQTT5", "A-9", "check_c"), ("mqtt5", "", "check_d")]  # no statement has such a name
    assert [(c.version, c.id, c.test) for c in claims] == a + b
    assert [line.split(":")[1] for line in wrong] == ["8", "20"]


GIVEN = {
    "some_checks.py": "# mqtt5: A-1\ndef check_run(): pass\n# mqtt5: A-2\ndef check_idle(): pass\n"
    "# mqtt5: A-6\ndef check_out(): pass\nCHECKS = ['check_run', 'check_idle']\n",
    "test_a.py": "import pytest, some_checks\n"
    "@pytest.mark.mqtt5('A-3', 'A-4')\ndef test_marked(): pass\n"
    "@pytest.mark.mqtt311()\n@pytest.mark.parametrize('n', [1, 2])\ndef test_empty(n): pass\n"
    "@pytest.mark.mqtt5('A-5')\ndef helper(): pass\n"
    "@pytest.mark.parametrize('name', ['check_run', 'check_out'])\ndef test_check(name): pass\n",
}


def test_what_is_collected(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As pytest finds them: what it would not run shows nothing."""
    for name, text in GIVEN.items():
        (tmp_path / name).write_text(text)
    tool = Path(conformance.__file__).read_text()
    tool = tool.replace('TESTS = ROOT / "host_tests"', f"TESTS = Path({str(tmp_path)!r})")
    program = tmp_path / "tool.py"
    program.write_text(tool)
    monkeypatch.setattr(conformance, "TESTS", tmp_path)
    monkeypatch.setattr(conformance, "__file__", str(program))
    claims, wrong = conformance.collect()
    assert [(c.version, c.id, c.test) for c in claims] == [
        ("mqtt311", "", "test_empty"),
        ("mqtt5", "A-1", "check_run"),
        ("mqtt5", "A-2", "check_idle"),
        ("mqtt5", "A-3", "test_marked"),
        ("mqtt5", "A-4", "test_marked"),
        ("mqtt5", "A-6", "check_out"),  # not in CHECKS: no device runs it
    ]
    idle = [f"some_checks.py: {name} is run by no test" for name in ("check_idle", "check_out")]
    assert wrong == idle
    (tmp_path / "test_b.py").write_text("import nothing_of_that_name\n")
    with pytest.raises(
        conformance.NotCollected, match=r"^\S*test_b.py\n(.|\n)*nothing_of_that_name"
    ):
        conformance.collect()

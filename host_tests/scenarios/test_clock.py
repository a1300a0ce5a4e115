"""The clock is set before a certificate is looked at: on the simulated board, on every runtime."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from play import PROGRAMS

from tools.testing.board import Board
from tools.testing.brokers import MosquittoBroker
from tools.testing.certs import certificates
from tools.testing.runtimes import Runtime
from tools.testing.sntp import TimeServer

pytestmark = pytest.mark.desk("runs on the simulated board: its clock and power cuts")

Make = Callable[..., Board]


@pytest.fixture
def board(runtime: Runtime, tmp_path: Path) -> Iterator[Make]:
    """Return a function that makes a board with programs/timed.py."""
    with ExitStack() as stack:

        def make(kind: str, port: int, **config: Any) -> Board:
            files = {"config.json": {"ntp": "127.0.0.1", "port": port, **config}}
            made = Board(runtime, tmp_path / kind, PROGRAMS / "timed.py", files, type=kind)
            return stack.enter_context(made)

        yield make


@pytest.fixture
def server() -> Iterator[TimeServer]:
    """A time server that shows the time of the board that is set as `server.board`."""
    with TimeServer(lambda: server.board.time) as server:
        yield server


def said(board: Board, word: str) -> str:
    return next(line for line in board.lines if line.startswith(word)).partition(" ")[2]


def wake(board: Board) -> float:
    """Let the board wake once; return by how many s its clock was wrong after that."""
    board.run(timeout=15)
    return int(said(board, "now")) - board.time


def change(board: Board, **config: Any) -> None:
    board.put("config.json", json.loads(board.read("config.json")) | config)


def test_esp32_asks_after_power_on(board: Make, server: TimeServer) -> None:
    """And keeps its clock over deep sleep."""
    server.board = node = board("esp32", server.port, period=300)
    assert -2 < wake(node) < 1
    assert said(node, "before").startswith("9466848") and server.asked == 1
    assert -2 < wake(node) < 1 and server.asked == 1
    node.cut_power()
    assert -2 < wake(node) < 1 and server.asked == 2
    assert not node.read("store").count(b"\x0c\x05"), "nothing is written"


def test_rp2_remembers(board: Make, server: TimeServer) -> None:
    """Its clock starts in 2021 at each boot; the store knows better, but for a loss of power."""
    server.board = node = board("rp2", server.port, period=300)
    for _ in range(4):
        assert -6 < wake(node) < 6  # a whole second is lost in each wake, at worst
        assert said(node, "before").startswith("16094592")
    assert server.asked == 1
    node.cut_power()
    assert -2 < wake(node) < 1 and server.asked == 2


def test_rp2_without_a_store_asks_each_time(board: Make, server: TimeServer) -> None:
    server.board = node = board("rp2", server.port)
    for k in range(3):
        assert -2 < wake(node) < 1 and server.asked == k + 1


@pytest.mark.parametrize("kind", ["esp32", "rp2"])
def test_asks_after_a_wake_in_vain(board: Make, server: TimeServer, kind: str) -> None:
    """The time may have been the reason. And one wake in `renew`."""
    server.board = node = board(kind, server.port, period=300)
    wake(node)
    change(node, failures=1)
    assert -2 < wake(node) < 1 and server.asked == 2
    change(node, failures=0, renew=1)
    assert -2 < wake(node) < 1 and server.asked == 3


@pytest.mark.once
@pytest.mark.parametrize("how", ["silent", "unset", "kiss", "stranger", "short", "client", "zero"])
def test_no_good_answer(board: Make, server: TimeServer, how: str) -> None:
    """Not set: that is said. Known from before: it has to do."""
    server.board = node = board("rp2", server.port, period=300, ms=200)
    server.how = how
    wake(node)
    assert said(node, "raised") == (
        "ClockError the clock is not set: 127.0.0.1: no answer from the time server"
    )
    assert server.asked
    server.how = "right"
    wake(node)
    server.how = how
    change(node, failures=1)
    assert -6 < wake(node) < 6 and not any("raised" in line for line in node.lines)
    node.cut_power()
    node.power_on(3_600_000)
    node.wait_sleep(10)
    assert -3610 < int(said(node, "now")) - node.time < -3000  # all that is known


def test_esp32_goes_on_with_a_set_clock(board: Make, server: TimeServer) -> None:
    server.board = node = board("esp32", server.port, period=300, renew=1, ms=200)
    wake(node)
    server.how = "silent"
    assert -2 < wake(node) < 1 and server.asked >= 2
    assert not any("raised" in line for line in node.lines), node.lines


def test_lost_question_is_asked_again(board: Make, server: TimeServer) -> None:
    server.board = node = board("esp32", server.port)
    server.lost = 1
    assert -2 < wake(node) < 1 and server.asked == 2


def test_after_2036(board: Make, server: TimeServer) -> None:
    """NTP's seconds begin anew."""
    server.time = lambda: 2_100_000_000.5
    node = board("rp2", server.port)
    node.run()
    assert said(node, "now") in ("2100000000", "2100000001")


@pytest.mark.once
@pytest.mark.parametrize("kind", ["esp32", "rp2"])
def test_a_time_that_no_port_can_count(board: Make, server: TimeServer, kind: str) -> None:
    """From 2068 on gmtime raises, and time is negative, on ports that count from 2000."""
    server.time = lambda: 3_200_000_000
    node = board(kind, server.port)
    node.run()
    assert "the time server is wrong: 3200000000" in said(node, "raised")
    server.time = lambda: node.time
    assert -2 < wake(node) < 1


def test_name_that_is_not_found(board: Make) -> None:
    node = board("esp32", 1, ntp="time.invalid")
    node.set_network()
    wake(node)
    assert said(node, "raised").startswith("ClockError the clock is not set: time.invalid: ")


def test_stands_in_the_place_of_wifi(board: Make, server: TimeServer) -> None:
    """`fresh`, which a Node sets, reaches it."""
    server.board = node = board("esp32", server.port, fresh=True)
    wake(node)
    assert said(node, "join") == "True" and "off" in node.lines


def test_who_stays_connected_asks_anew(board: Make, server: TimeServer) -> None:
    """Without a store: `fresh` says that no broker was reached, and the time may be the reason."""
    server.board = node = board("esp32", server.port, renew=64)
    wake(node)
    assert server.asked == 1
    change(node, lie=1900000000, renew=0)
    assert wake(node) > 10**7 and server.asked == 1
    change(node, lie=0, fresh=True)
    assert -2 < wake(node) < 1 and server.asked == 2


def test_node(
    runtime: Runtime, mosquitto: Callable[..., MosquittoBroker], server: TimeServer, tmp_path: Path
) -> None:
    """A Node joins, sets its clock, and connects by TLS; without a time server it says so."""
    certs = certificates()
    client = {"port": mosquitto(tls=certs).tls_port, "client_id": "node", "clean": False}
    config = {
        "client": client,
        "host": "localhost",
        "tls": {"ca": "ca.der"},
        "wifi": True,
        "clock": server.port,
        "node": {"period": 300, "budget": 5000, "status": "state"},
        "publish": [["t", "N", 1]],
    }
    files = {"config.json": config, "ca.der": certs.ca_der}
    with Board(runtime, tmp_path, PROGRAMS / "sleeper.py", files, type="rp2") as node:
        server.board = node
        node.set_network()
        for _ in range(2):
            node.run()
            assert "left 0 error None" in node.lines, node.lines
        assert server.asked == 1
        server.how = "silent"
        node.cut_power()
        (node.folder / "put").mkdir(exist_ok=True)
        node.put("store", b"")
        node.run()
        assert any("ClockError" in line and "is not set" in line for line in node.lines), node.lines


def test_a_desk_sets_its_own_clock(runtime: Runtime, tmp_path: Path) -> None:
    """There is no machine.RTC: nothing to set, whenever it would ask."""
    program = tmp_path / "program.py"
    program.write_text(
        "import asyncio\nfrom dormouse.net.clock import Clock\n"
        "asyncio.run(Clock(host='127.0.0.1', port=9, renew=1).join())\nprint('joined')\n"
    )
    with runtime.start(program) as device:
        device.wait_line("joined", 10)

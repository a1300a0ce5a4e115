"""The device code on the sockets of lwIP and ESP-IDF, as boards/unix/_sockets.py has them."""

import socket
from pathlib import Path

import pytest

from tools.testing.board import Board, End
from tools.testing.runtimes import MICROPYTHON32, MICROPYTHON64, Runtime

pytestmark = pytest.mark.desk("runs on the simulated board: its sockets")

CHIPS = pytest.mark.parametrize(
    ("runtime", "chip", "version"),
    [
        (MICROPYTHON32, "rp2", "1.22"),
        (MICROPYTHON32, "rp2", "1.25"),
        (MICROPYTHON64, "esp32", "1.22"),
        (MICROPYTHON64, "esp32", "1.25"),
    ],
    indirect=["runtime"],
)

START = """
import asyncio, network, socket, sys, time
from dormouse.stream import open_stream, write

wlan = network.WLAN()
wlan.active(True)
wlan.connect("home", "secret")
while not wlan.isconnected():
    time.sleep(0.01)
"""


@pytest.fixture
def refused() -> int:
    """A port at which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port


def run(runtime: Runtime, folder: Path, program: str, kind: str, version: str) -> End:
    main = folder / "main.py"
    main.write_text(START + program)
    with Board(runtime, folder / "board", main, type=kind, version=version) as board:
        board.set_network()
        board.power_on()
        return board.wait_end(20)


@CHIPS
def test_refused_connection(
    runtime: Runtime, chip: str, version: str, refused: int, tmp_path: Path
) -> None:
    """The first write says so; and nothing was done with what the refusal has freed."""
    program = f"""
async def main():
    try:
        s, close = await open_stream("127.0.0.1", {refused})
        await write(s, memoryview(b"CONNECT"))
    except OSError as e:
        print("said", e.errno)

asyncio.run(main())
"""
    end = run(runtime, tmp_path, program, chip, version)
    assert (end.reason, end.lines) == ("exit", ["said 104"]), end.lines  # ECONNRESET


@CHIPS
def test_no_route(runtime: Runtime, chip: str, version: str, tmp_path: Path) -> None:
    program = """
async def main():
    try:
        await open_stream("127.0.0.1", 1)
    except OSError as e:
        print("said", e.errno)

wlan.disconnect()
asyncio.run(main())
"""
    end = run(runtime, tmp_path, program, chip, version)
    assert end.lines == ["said 118" if chip == "esp32" else "said 113"]


@pytest.mark.parametrize("runtime", [MICROPYTHON32], indirect=True)
def test_option_of_a_refused_connection(runtime: Runtime, refused: int, tmp_path: Path) -> None:
    """The simulated board itself: what RP2 makes of it."""
    program = f"""
s = socket.socket()
s.setblocking(False)
try:
    s.connect(socket.getaddrinfo("127.0.0.1", {refused})[0][-1])
except OSError as e:
    print(e.errno)
s.setsockopt(6, socket.TCP_NODELAY, 1)
print("not reached")
"""
    end = run(runtime, tmp_path, program, "rp2", "1.25")
    assert end.reason == "fault" and end.lines[0] == "115" and "not reached" not in end.lines

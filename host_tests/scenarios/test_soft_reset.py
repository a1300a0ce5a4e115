"""What a soft reset (Ctrl-D, machine.soft_reset) leaves as it is: the radio, on both ports."""

import json
from pathlib import Path
from typing import Any

import pytest
from play import PROGRAMS

from tools.testing.board import Board
from tools.testing.runtimes import CPYTHON, MICROPYTHON32, MICROPYTHON64, Runtime

pytestmark = pytest.mark.desk("runs on the simulated board: its radio")


@pytest.mark.parametrize(
    ("runtime", "kind", "version"),
    [
        (MICROPYTHON64, "esp32", "1.25"),
        (MICROPYTHON32, "rp2", "1.24.0"),
        (CPYTHON, "rp2", "1.25"),
        (MICROPYTHON32, "rp2", "1.28"),
    ],
    indirect=["runtime"],
)
def test_new_wifi_settings(runtime: Runtime, tmp_path: Path, kind: str, version: str) -> None:
    """New settings and Ctrl-D: the node leaves the network it is still in, and neither takes nor
    keeps the address that was set by hand there."""

    def settings(ssid: str, **more: object) -> None:
        board.put("config.json", {"ssid": ssid, **more})

    home = {"ssid": "home", "address": ["10.0.0.7", "255.255.255.0", "10.0.0.1", "10.0.0.1"]}
    away: dict[str, Any] = {"ssid": "away", "bssid": "02aabbccddee"}
    away["address"] = ["10.0.0.9", "255.255.255.0", "10.0.0.1", "10.0.0.1"]
    main = PROGRAMS / "joins.py"
    with Board(runtime, tmp_path, main, type=kind, version=version) as board:
        board.set_network(**home)
        settings("home")
        board.run()
        settings("home", soft=True)  # the address that is remembered now is set by hand
        board.wake()
        assert board.wait_end(10).reason == "soft_reset"
        assert board.lines[1:] == ["network home 10.0.0.7"]

        settings("home")
        board.restart()
        board.wait_sleep(10)
        assert board.lines[0].endswith("joined True"), "the radio is as it was"
        assert board.lines[1:] == ["network home 10.0.0.7"]

        settings("home", soft=True)
        board.wake()
        assert board.wait_end(10).reason == "soft_reset"
        settings("away")
        board.set_network(**away)
        board.restart()
        board.wait_sleep(10)
        assert board.lines[0].endswith("joined True"), "it is still in the other one"
        assert board.lines[1:] == ["network away 10.0.0.9"]
        board.run()
        assert board.lines[1:] == ["network away 10.0.0.9"], "as it was remembered"
    events = [json.loads(line) for line in (tmp_path / "network.log").read_text().splitlines()]
    assert [e["ssid"] for e in events if e["event"] == "join"][-2:] == ["away", "away"]

"""make plan: what it computes, what it says of each figure's source, and what it refuses."""

from dataclasses import replace

import pytest

from tools.board import boards, plan

USE = plan.Use(battery=2000, period=300, awake_ms=2000, awake_ma=80)
WHOLE = ("--battery", "2000", "--period", "300", "--awake-ms", "2000", "--awake-ma", "80")


def test_battery() -> None:
    """2 s at 80 mA and 298 s at 5 µA are 161,490 µAs in 300 s: 538.3 µA."""
    board = boards.named("ESP32_GENERIC")
    figures = {figure.what: figure for figure in plan.battery(board, USE)}
    assert figures["on average"].value == "538.3 µA"
    assert "99% of it awake" in figures["on average"].source
    assert figures["the battery lasts"].value == "155 days"  # 2,000,000 / 538.3 / 24
    assert figures["asleep"].value == "5 µA"
    assert figures["asleep"].source == board.currents["deep_sleep"].source
    mine = replace(USE, asleep_ua=2000)
    figures = {figure.what: figure for figure in plan.battery(board, mine)}
    assert figures["on average"].value == "2520.0 µA"
    assert figures["asleep"].source == "you (ASLEEP_UA)"


@pytest.mark.parametrize(
    ("args", "why"),
    [
        (("ESP32_GENERIC", *WHOLE[:6]), "AWAKE_MA: only you know"),
        (("ESP32_GENERIC",), "BATTERY, PERIOD, AWAKE_MS, AWAKE_MA: only you know"),
        (("ESP32_GENERIC_C6", *WHOLE), "no source for the current in deep sleep"),
        (("RPI_PICO_W", *WHOLE, "--period", "5000"), "sleeps 4295 s at most"),
        (("ESP32_GENERIC", *WHOLE, "--period", "2"), "it never sleeps"),
        (("ESP33", *WHOLE), "there is no board 'ESP33'"),
    ],
)
def test_refused(tool, args: tuple[str, ...], why: str) -> None:
    done = tool("plan.py", "--no-wear", "--board", *args)
    assert done.returncode == 1 and not done.stdout
    assert why in done.stderr and "What to do:" in done.stderr


def test_own_current_where_there_is_no_source(tool) -> None:
    args = ("--board", "ESP32_GENERIC_C6", *WHOLE, "--asleep-ua", "15", "--no-wear")
    done = tool("plan.py", *args)
    assert done.returncode == 0 and "15 µA" in done.stdout


def test_wear_and_wire_are_measured(capsys: pytest.CaptureFixture[str]) -> None:
    board = boards.named("RPI_PICO_W")
    wire, flash = plan.measured(board, USE)
    assert wire.value == "1 wait, 88 bytes of MQTT"  # as test_wake.py has it
    assert flash.what == "the flash lasts" and "make wake" in flash.source
    years = [
        float(plan.measured(board, replace(USE, period=p))[1].value.split()[0].replace(",", ""))
        for p in (300, 3000)
    ]
    assert years[1] == pytest.approx(10 * years[0], rel=0.05)
    assert plan.measured(board, replace(USE, qos=0))[1].value == "is not worn"

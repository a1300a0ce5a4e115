#!/usr/bin/env python3
"""Write config.json onto a board: Wi-Fi, broker, client identifier, topic, period, store.

    make provision BOARD=ESP32_GENERIC              # asks; what the board has is the default
    DORMOUSE_SSID=home DORMOUSE_HOST=10.0.0.2 make provision BOARD=... </dev/null   # asks nothing

Each setting is taken from its environment variable, else asked for (on a terminal), else as the
board has it. Passwords are asked for without being shown, or come from the environment; they are
never on a command line, and never printed, with DRY_RUN=1 neither. What is on the board in
config.json besides stays. All is checked first, the broker by a connection from this machine (not
with NO_TEST=1, for a broker that only the board can reach). main.py starts anew with it.

Exit status: 0; 1 it cannot be done, with the reason; 130 interrupted.
"""

from __future__ import annotations

import argparse
import asyncio
import getpass
import json
import os
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ports
from device import Device, DeviceError

import boards

ROOT = Path(__file__).resolve().parent.parent
TEST_TIMEOUT = 10  # seconds for the broker to answer

# On the board: the new file is whole before it takes the place of the old one. FAT does not rename
# onto a file that is there.
REPLACE = (
    "import os\n"
    "try:\n"
    " os.rename('config.new', 'config.json')\n"
    "except OSError:\n"
    " os.remove('config.json')\n"
    " os.rename('config.new', 'config.json')\n"
)
READ = "try:\n with open('config.json') as f:\n  answer(f.read())\nexcept OSError:\n answer('')\n"


class CannotProvision(Exception):
    """It cannot be done. The text says why, and what to do; it holds no secret."""


# --- Settings, and what they may be ---------------------------------------------------------------


def _ssid(text: str) -> str:
    """Check the name of a network; empty: none (a board with a cable)."""
    if len(text.encode()) > 32:
        raise ValueError("32 bytes at most (IEEE 802.11)")
    return text


def _wifi_password(text: str) -> str:
    """Check a WPA passphrase; empty: an open network."""
    hexadecimal = len(text) == 64 and not set(text.lower()) - set("0123456789abcdef")
    if text and not 8 <= len(text.encode()) <= 63 and not hexadecimal:
        raise ValueError("8 to 63 characters, or 64 hexadecimal digits (WPA)")
    return text


def _host(text: str) -> str:
    if not text or "://" in text or "/" in text or len(text.split()) != 1:
        raise ValueError("a name or an address, without mqtt:// and without a port")
    return text


def _port(text: str) -> int:
    number = int(text) if text.isdecimal() else 0
    if not 1 <= number <= 65535:
        raise ValueError("a number from 1 to 65535")
    return number


def _optional(text: str) -> str | None:
    return text or None


def _client_id(text: str) -> str:
    if not text or len(text.encode()) > 65535 or "\0" in text:
        raise ValueError("at least one character: a session needs a fixed client identifier")
    return text


def _topic(text: str) -> str:
    if not text or set(text) & set("#+\0") or text.endswith("/") or text.startswith("$"):
        raise ValueError("a topic without + and #, not ending in /; such as greenhouse/7")
    return text


def _period(text: str) -> int:
    number = int(text) if text.isdecimal() else 0
    if not 1 <= number <= 2147483:
        raise ValueError("whole seconds, from 1 to 2147483")
    return number


def _store(text: str) -> str:
    if text not in ("journal", "rtc", "nvs"):
        raise ValueError("journal, rtc or nvs (docs/sleep.md)")
    return text


STORES = {"journal": "Journal", "rtc": "RTCStore", "nvs": "NVSStore"}


@dataclass(frozen=True)
class Setting:
    """One setting: its key in config.json, its environment variable, and how it is asked for."""

    key: str
    variable: str
    question: str
    default: str
    check: Callable[[str], Any]
    secret: bool = False


SETTINGS = (
    Setting("wifi.ssid", "DORMOUSE_SSID", "Wi-Fi network (empty: none)", "", _ssid),
    Setting("wifi.password", "DORMOUSE_WIFI_PASSWORD", "its password", "", _wifi_password, True),
    Setting("host", "DORMOUSE_HOST", "broker", "", _host),
    Setting("port", "DORMOUSE_PORT", "its port", "1883", _port),
    Setting("username", "DORMOUSE_USERNAME", "user name there (empty: none)", "", _optional),
    Setting("password", "DORMOUSE_PASSWORD", "password there", "", _optional, True),
    Setting("client_id", "DORMOUSE_CLIENT_ID", "client identifier", "", _client_id),
    Setting("topic", "DORMOUSE_TOPIC", "topic of this node", "", _topic),
    Setting("period", "DORMOUSE_PERIOD", "seconds between wakes", "300", _period),
    Setting("store", "DORMOUSE_STORE", "where its session is kept", "journal", _store),
)


def flat(config: dict[str, Any]) -> dict[str, Any]:
    """Return a config.json with wifi's two settings as keys of their own."""
    found = dict(config)
    wifi = found.pop("wifi", None) or {}
    return {**found, **{f"wifi.{key}": value for key, value in wifi.items()}}


def nested(settings: dict[str, Any]) -> dict[str, Any]:
    """Return what config.json is to hold; without a network no wifi at all."""
    wifi = {key[5:]: settings[key] for key in settings if key.startswith("wifi.")}
    rest = {key: value for key, value in settings.items() if not key.startswith("wifi.")}
    return {"wifi": wifi, **rest} if wifi.get("ssid") else rest


def masked(config: dict[str, Any]) -> str:
    """Return config.json as it may be shown: without its passwords."""
    shown = {
        key: "(not shown)" if value and key.endswith("password") else value
        for key, value in flat(config).items()
    }
    return json.dumps(nested(shown), indent=2)


def ask(setting: Setting, before: str) -> str:
    """Ask on the terminal; an empty answer is `before`."""
    if setting.secret:
        hint = " [unchanged]" if before else " (empty: none)"
        return getpass.getpass(f"{setting.question}{hint}: ") or before
    hint = f" [{before}]" if before else ""
    return input(f"{setting.question}{hint}: ").strip() or before


def collect(
    old: dict[str, Any], environment: Mapping[str, str], interactive: bool
) -> dict[str, Any]:
    """Return all settings, checked. Raises CannotProvision for what is missing or wrong."""
    found = flat(old)
    for setting in SETTINGS:
        if setting.key == "wifi.password" and not found["wifi.ssid"]:
            found.pop(setting.key, None)
            continue
        if setting.key == "password" and not found["username"]:
            found["password"] = None
            continue
        value = found.get(setting.key)
        before = setting.default if value is None else str(value)
        while True:
            given = environment.get(setting.variable)
            text = before if given is None else given
            if given is None and interactive:
                text = ask(setting, before)
            try:
                found[setting.key] = setting.check(text)
                break
            except ValueError as error:  # its text is ours, and does not repeat what was typed
                why = f"{setting.question}: {error}"
                if given is not None or not interactive:
                    raise CannotProvision(f"{why}\nWhat to do: {setting.variable}=...") from None
                print(why, file=sys.stderr)
    return nested(found)


# --- The broker -----------------------------------------------------------------------------------


async def _connect(config: dict[str, Any]) -> None:
    sys.path.insert(0, str(ROOT / "firmware"))
    from dormouse import Client  # type: ignore[import-not-found]

    # Not under the node's own identifier: the broker would end the node's connection, and with a
    # clean session forget what waits for it.
    async with Client(
        config["host"],
        config["port"],
        client_id=config["client_id"][:16] + "-check",
        username=config["username"],
        password=config["password"],
        timeout=TEST_TIMEOUT,
    ):
        pass


def test_connect(config: dict[str, Any]) -> None:
    """Connect to the broker from this machine. Raises CannotProvision."""
    where = f"{config['host']}, port {config['port']}"
    try:
        asyncio.run(asyncio.wait_for(_connect(config), TEST_TIMEOUT + 2))
    except (OSError, TimeoutError) as error:
        why = getattr(error, "strerror", None) or str(error) or "no answer"
        raise CannotProvision(
            f"no connection to {where}: {why}\nWhat to do: check that the broker runs and listens "
            "on that address. Can only the board reach it: NO_TEST=1"
        ) from error
    except Exception as error:  # Refused, ProtocolError ...: all of dormouse's own
        raise CannotProvision(
            f"{where}: {type(error).__name__} {error.args}\n"
            "What to do: check user name and password"
        ) from error


# --- The board ------------------------------------------------------------------------------------


def read_old(device: Device) -> dict[str, Any]:
    """Return the board's config.json, {} if it has none. Raises DeviceError, CannotProvision."""
    text = device.ask(READ)
    if not text:
        return {}
    try:
        old = json.loads(text)
    except ValueError:
        old = None
    if not isinstance(old, dict):
        print("its config.json cannot be read, and is made anew", file=sys.stderr)
        return {}
    return old


def write(device: Device, config: dict[str, Any]) -> None:
    """Put config.json onto the board, whole or not at all, and reset. Raises DeviceError."""
    with tempfile.TemporaryDirectory() as folder:  # only for this user
        path = Path(folder) / "config.json"
        path.touch(0o600)
        path.write_text(json.dumps(config, indent=2) + "\n")
        device.run("cp", str(path), ":config.new", "+", "exec", REPLACE, "+", "reset")


def provision(board: boards.Board, port: str, test: bool, dry_run: bool) -> None:
    """Do all of it. Raises CannotProvision, DeviceError."""
    device = Device(port, dry_run)
    old = {} if dry_run else read_old(device)
    config = collect(old, os.environ, sys.stdin.isatty())
    if STORES[config["store"]] not in board.sleep["stores"]:
        raise CannotProvision(
            f"{board.name} has no {config['store']}\nWhat to do: DORMOUSE_STORE=journal"
        )
    longest = board.sleep.get("longest_ms")
    if longest and config["period"] * 1000 > longest:
        raise CannotProvision(
            f"{board.name} sleeps {longest // 1000} s at most\nWhat to do: a shorter period"
        )
    if test and not dry_run:
        test_connect(config)
    write(device, config)
    print(masked(config))


def main(argv: list[str] | None = None) -> int:
    """Parse the command line, provision, and return the exit status."""
    variables = ", ".join(setting.variable for setting in SETTINGS)
    parser = argparse.ArgumentParser(
        description="Write config.json onto a board; asks for what the environment does not have.",
        epilog=f"Environment: {variables}. Passwords are taken from there, or asked for.",
    )
    parser.add_argument("--board", default="", help="a folder of boards/")
    parser.add_argument("--port", help="serial port; found if there is one board")
    parser.add_argument("--no-test", action="store_true", help="do not try the broker from here")
    parser.add_argument("--dry-run", action="store_true", help="only print the commands")
    options = parser.parse_args(argv)
    try:
        board = boards.named(options.board)
        port = ports.ready(options.port, board.port, options.dry_run)
        provision(board, port, not options.no_test, options.dry_run)
    except (boards.BadBoard, ports.NoPort, CannotProvision, DeviceError) as error:
        print(f"provision: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (KeyboardInterrupt, EOFError):
        print("\ninterrupted: config.json is whole, the old one or the new", file=sys.stderr)
        sys.exit(130)

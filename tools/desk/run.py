"""Run a device program on the simulated board, with a console, as it would run on a chip.

    make run PROGRAM=my/main.py                    # an ESP32 on MicroPython
    make run PROGRAM=my/main.py BOARD=RPI_PICO_W   # what that board has, and has not
    make run PROGRAM=my/main.py ARGS="--fast --broker"

Output and keyboard are yours. It sleeps in real time, or not at all with --fast; Ctrl-C interrupts
the program, and the prompt comes, as on a chip. Every name leads to this machine: "broker.local" is
a broker here (--broker starts one on port 1883). A config.json and a boot.py beside the program are
put onto the flash; without a boot.py there is one that joins the Wi-Fi, for a program that does
not. Flash, RTC memory and clock stay in the board's folder until --fresh.

Exit status: the program's; 1 it cannot be done, with the reason; 130 interrupted.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from ..board import boards
from ..paths import BUILD
from ..testing.board import RUNNER
from ..testing.runtimes import RUNTIMES, NotAvailable, Runtime

BOARD = "ESP32_GENERIC"
PORT = 1883
WIFI = "home"
BOOT = """\
import network, time
wlan = network.WLAN(network.STA_IF)
wlan.active(True)
if not wlan.isconnected():
    wlan.connect({!r}, "its password")
while not wlan.isconnected():
    time.sleep(0.01)
"""


class CannotRun(Exception):
    """It cannot be done. The text says why, and what to do."""


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Keep others from a board's flash meanwhile. Raises CannotRun if one is at it."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise CannotRun(
            f"another program runs on the board in {folder}\n"
            'What to do: end it, or take another board: ARGS="--folder build/run/second"'
        ) from error
    finally:
        os.close(lock)


def prepare(folder: Path, program: Path, kind: str, wifi: str | None, fresh: bool) -> str:
    """Make the board's folder: its kind, its network, its config.json; return the network's name.

    Raises CannotRun.
    """
    settings = folder / "board.json"
    if fresh:
        old = list(folder.iterdir())
        if old and not settings.exists():
            raise CannotRun(f"{folder} is no board's folder\nWhat to do: name another --folder")
        for path in old:  # the folder itself is what is locked
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    settings.write_text(json.dumps({"type": kind, "flash": 1 << 20}))
    put = folder / "put"
    put.mkdir(exist_ok=True)
    config, boot = program.with_name("config.json"), program.with_name("boot.py")
    if config.exists():
        shutil.copy(config, put)
        with contextlib.suppress(ValueError, TypeError, KeyError):
            wifi = wifi or json.loads(config.read_text())["wifi"]["ssid"]
    wifi = wifi or WIFI
    (folder / "network.json").write_text(json.dumps({"ssid": wifi}))
    (put / "boot.py").write_text(boot.read_text() if boot.exists() else BOOT.format(wifi))
    return wifi


@contextlib.contextmanager
def a_broker(wanted: bool) -> Iterator[None]:
    """A broker on the usual port, for anybody. Raises CannotRun if that is taken."""
    if not wanted:
        yield
        return
    from ..testing.brokers import AmqttBroker, BrokerFailure

    broker = AmqttBroker(allow_anonymous=True)
    broker.port = PORT
    try:
        broker.start()
    except BrokerFailure as error:
        raise CannotRun(
            f"port {PORT} is taken: {str(error).splitlines()[0]}\n"
            "What to do: without --broker the one that listens there is used"
        ) from error
    try:
        yield
    finally:
        broker.close()


def start(runtime: Runtime, options: argparse.Namespace, folder: Path, program: Path) -> int:
    """Run it to its end with the terminal for itself; return its exit status."""
    prompt = sys.stdin.isatty()
    argv = [*runtime.argv, *(["-i"] if prompt else []), str(RUNNER)]
    argv += ["--fast"] * options.fast + ["--repl"] * prompt
    process = subprocess.Popen(
        [*argv, str(folder), str(program), *options.argument],
        env={**os.environ, **runtime.environment()},
    )
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # it is the program's
    try:
        status = process.wait()
    finally:
        signal.signal(signal.SIGINT, before)
        process.kill()
    return 128 - status if status < 0 else status


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description="Run a device program on the simulated board, with a console.",
        epilog="make run PROGRAM=my/main.py BOARD=RPI_PICO_W says the same.",
    )
    parser.add_argument("program", type=Path, help="the main program")
    parser.add_argument("argument", nargs="*", help="in its sys.argv")
    parser.add_argument("--board", default=BOARD, help=f"a folder of boards/ ({BOARD})")
    parser.add_argument("--fast", action="store_true", help="deep sleep takes no time")
    parser.add_argument("--broker", action="store_true", help=f"start a broker on port {PORT}")
    parser.add_argument(
        "--wifi", metavar="SSID", help=f"the network that is there (config.json's, or {WIFI})"
    )
    parser.add_argument("--fresh", action="store_true", help="a new board: its flash is empty")
    parser.add_argument("--folder", type=Path, help="where the board is kept (build/run/...)")
    parser.add_argument(
        "--runtime", choices=list(RUNTIMES), default="micropython32", help="(micropython32)"
    )
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Parse the command line, run, and return the exit status."""
    options = parse(argv)
    try:
        program = options.program.resolve()
        if program.is_dir():
            which = "no program is named" if program == Path.cwd() else f"{program} is a folder"
            raise CannotRun(f"{which}\nWhat to do: PROGRAM=my/main.py")
        if not program.is_file():
            raise CannotRun(f"{options.program}: no such file\nWhat to do: PROGRAM=my/main.py")
        board = boards.named(options.board)
        runtime = RUNTIMES[options.runtime]
        _ = runtime.argv  # raises
        # MicroPython's flash is an image, CPython's a folder: one board cannot be both.
        kind = "cpython" if options.runtime == "cpython" else "micropython"
        folder = options.folder or BUILD / "run" / f"{board.name}-{kind}"
        folder = folder.resolve()
        port = "esp32" if board.port == "unix" else board.port
        with alone(folder), a_broker(options.broker):
            wifi = prepare(folder, program, port, options.wifi, options.fresh)
            print(
                f"{program.name} on a simulated {board.name}, kept in {folder}; "
                f'its Wi-Fi is "{wifi}" (--wifi: another)',
                file=sys.stderr,
            )
            return start(runtime, options, folder, program)
    except (CannotRun, boards.BadBoard, NotAvailable) as error:
        print(f"run: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"run: {error}\nWhat to do: another --folder for the board", file=sys.stderr)
        return 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)

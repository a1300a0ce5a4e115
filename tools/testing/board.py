"""The simulated board from the host's side: power, sleep, and what is on its flash.

    with Board(MICROPYTHON32, tmp_path, Path("node.py"), {"config.json": {"period": 300}}) as board:
        board.power_on()
        end = board.wait_sleep(5)           # end.sleep_ms, end.awake_ms, end.written ...
        board.wake()                        # the time slept has passed; RTC memory is as before
        board.wait_line("connected", 5)
        board.cut_power()                   # RTC memory and clock are lost, the flash is not

What the board itself does is in boards/unix/; its README.md tells what is simulated.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..paths import BOARDS
from .runtimes import Device, Runtime

RUNNER = BOARDS / "unix" / "board.py"

RESTARTS = ("reset", "soft_reset", "wdt")  # ends after which a chip starts again by itself


@dataclass(frozen=True)
class End:
    """How a boot ended, as the board itself wrote it down.

    reason: deepsleep, reset, soft_reset, wdt, exit, exception, interrupted, or flash_died.
    cause: how the boot before ended (power for a loss of power); wake: timer, ext0, ext1 or None.
    sleep_ms: of a deep sleep with a timer; pins: ext0 or ext1 where a pin may end it. awake_ms,
    main_ms: since the process and since the main program started, less light_ms in light sleep.
    written, writes, erases: bytes programmed, in how many operations, and blocks erased on the
    flash. clock_ms: what the board's clock showed at the end, since 1970. lines: the output.
    """

    boot: int
    cause: str
    wake: str | None
    reason: str
    sleep_ms: int | None
    pins: str | None
    awake_ms: int
    main_ms: int
    light_ms: int
    written: int
    writes: int
    erases: int
    clock_ms: int
    lines: list[str]


class Board:
    """One board in a folder of its own; off at first, or as it was left there. As a context
    manager it ends what runs.

    main: a program on this machine; None: main.py on the board's flash. files: what is on the
    flash from the beginning (bytes, str, or anything else as JSON). config: the keys of
    board.json (boards/unix/_board.py, DEFAULTS): type="rp2", flash=..., clock="kept" and so on.
    """

    def __init__(
        self,
        runtime: Runtime,
        folder: Path,
        main: Path | None = None,
        files: Mapping[str, Any] | None = None,
        args: tuple[str, ...] = (),
        **config: Any,
    ):
        self.runtime = runtime
        self.folder = Path(folder).resolve()
        self.main = main
        self.args = args
        self.device: Device | None = None
        self.records: list[End] = []  # of all boots that ended by themselves
        self._dies: int | None = None
        self.folder.mkdir(parents=True, exist_ok=True)
        log = self.folder / "boots.jsonl"
        self._read = log.stat().st_size if log.exists() else 0  # bytes of it that are in `records`
        self._before = 0  # records when this boot began
        if config or not (self.folder / "board.json").exists():
            (self.folder / "board.json").write_text(json.dumps(config))
        for name, data in (files or {}).items():
            self.put(name, data)

    def copy(self, folder: Path) -> Board:
        """Return another board in the state of this one, which must not be running."""
        self._must_be_off()
        shutil.copytree(self.folder, folder)
        return Board(self.runtime, folder, self.main, args=self.args)

    # --- the flash

    def put(self, name: str, data: Any) -> None:
        """Put a file onto the flash when the board starts the next time; that is not counted.

        data: bytes, str, or anything else as JSON.
        """
        if not isinstance(data, bytes | str):
            data = json.dumps(data)
        path = self.folder / "put" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data.encode() if isinstance(data, str) else data)

    def set_network(self, **script: Any) -> None:
        """Say what the board's network does (boards/unix/network.py), at once: also to one that
        runs, which must not meet half of it."""
        path = self.folder / "network.json"
        new = path.with_suffix(".new")
        new.write_text(json.dumps(script))
        new.replace(path)

    def files(self) -> dict[str, bytes]:
        """Return all files on the flash, by name. The board must not be running."""
        lines = (line.partition(" ") for line in self._look("--list"))
        return {name: self.read(name) for _, _, name in lines}

    def read(self, name: str) -> bytes:
        """Return a file of the flash. The board must not be running."""
        return bytes.fromhex("".join(self._look("--read", name)))

    def _look(self, *options: str) -> list[str]:
        self._must_be_off()
        with self.runtime.start(RUNNER, *options, str(self.folder)) as device:
            assert device.wait_exit(10) == 0, device.transcript()
            return device.lines

    # --- what hangs on its pins

    def set_inputs(self, **parts: Mapping[Any, Any]) -> None:
        """Say what the board's pins and buses read from now on, part by part; what is not named
        stays. boards/unix/_parts.py tells what the parts hold:

            board.set_inputs(pins={4: 1}, adc={34: 20000}, dht={4: (21.5, 60)},
                             onewire={4: {"28ff641e8216043c": 21.5}}, i2c={0x76: {"d0": b"\x60"}})
        """
        for name, mine in (("pins.json", True), ("inputs.json", False)):
            given = {part: values for part, values in parts.items() if (part == "pins") == mine}
            if given:
                path = self.folder / name
                held = json.loads(path.read_text()) if path.exists() else {}
                held.update(given["pins"] if mine else given)
                new = path.with_suffix(".new")
                new.write_text(json.dumps(held, default=bytes.hex))
                new.replace(path)

    def changes(self, pin: int | None = None) -> list[dict[str, Any]]:
        """Return each change of an output so far: {"boot": 1, "ms": 120, "pin": 2, "value": 1}.

        pin: of this one only.
        """
        found = self._noted("pins.jsonl")
        return [line for line in found if pin is None or line["pin"] == pin]

    def outputs(self, kind: str | None = None) -> list[dict[str, Any]]:
        """Return what was written to PWM, I2C and SPI so far. kind: "pwm", "i2c" or "spi" only."""
        found = self._noted("outputs.jsonl")
        return [line for line in found if kind is None or line["kind"] == kind]

    def _noted(self, name: str) -> list[dict[str, Any]]:
        try:
            text = (self.folder / name).read_text()
        except FileNotFoundError:
            return []
        return [json.loads(line) for line in text.splitlines()]

    def flash_dies_after(self, count: int) -> None:
        """Let the power be cut in the next boot, before byte ``count`` (from 0) is programmed."""
        self._dies = count

    # --- power

    @property
    def sleeping(self) -> bool:
        """Whether the board is in deep sleep."""
        return self._left("deepsleep")

    def _left(self, *causes: str) -> bool:
        return not self.running and self._last().get("cause") in causes

    def _last(self) -> dict[str, Any]:
        # How the last boot ended, if not by a loss of power.
        with contextlib.suppress(FileNotFoundError):
            last: dict[str, Any] = json.loads((self.folder / "boot.json").read_text())
            return last
        return {}

    @property
    def running(self) -> bool:
        return self.device is not None and self.device.process.poll() is None

    def power_on(self, after_ms: int = 0) -> Device:
        """Start the board, which was without power; ``after_ms`` pass before. Returns the device.

        RuntimeError if it runs or sleeps.
        """
        self._must_be_off()
        if self._last():
            raise RuntimeError("the board has power: wake(), restart() or cut_power()")
        if after_ms:
            self._skip(after_ms)
        return self._start()

    def restart(self) -> Device:
        """Let the board start again after a reset of any kind. RuntimeError if there was none."""
        if not self._left(*RESTARTS):
            raise RuntimeError("the board was not reset")
        return self._start()

    def wake(self, after_ms: int | None = None, pin: bool = False) -> Device:
        """Wake the board from deep sleep: its world's clock jumps by the time slept.

        after_ms: earlier (or later) than the board planned; for a pin, the time until then.
        RuntimeError if the board does not sleep, or planned no such wake.
        """
        if not self.sleeping:
            raise RuntimeError("the board does not sleep")
        last = self._last()
        if pin and last["pins"] is None:
            raise RuntimeError("no pin can wake the board: see esp32.wake_on_ext0")
        if not pin and last["sleep_ms"] is None:
            raise RuntimeError("the board sleeps without a timer")
        options = ["--wake", "pin" if pin else "timer"]
        if after_ms is None and pin:
            after_ms = 0
        if after_ms is not None:
            options += ["--after-ms", str(after_ms)]
        return self._start(*options)

    def cut_power(self) -> None:
        """Cut the power, running or asleep: RTC memory and the clock are lost."""
        if self.device:
            self.device.kill()
            self._records()
        for name in ("boot.json", "rtc.bin"):
            (self.folder / name).unlink(missing_ok=True)

    def go_on(self) -> Device:
        """Start the board in whatever way comes next: wake it, restart it, or power it on."""
        if self.sleeping:
            return self.wake()
        return self.restart() if self._left(*RESTARTS) else self.power_on()

    # --- what happens

    def wait_end(self, timeout: float) -> End:
        """Wait until this boot has ended by itself, and return how. timeout: s.

        AssertionError with the output when it takes longer, or ended without a record.
        """
        assert self.device, "the board was never started"
        try:
            process = os.pidfd_open(self.device.pid)
        except ProcessLookupError:
            pass
        else:
            # No polling, which is what subprocess does for a time limit: boots are many.
            with contextlib.closing(os.fdopen(process, "rb", buffering=0)) as f:
                select.select([f], [], [], timeout)
        self.device.wait_exit(0.1)
        self._records()
        assert len(self.records) > self._before, "no record\n" + self.device.transcript()
        return self.records[-1]

    def wait_sleep(self, timeout: float) -> End:
        """Wait until the board sleeps deeply. AssertionError if its boot ends in another way."""
        end = self.wait_end(timeout)
        assert self.device
        assert end.reason == "deepsleep", f"{end.reason}\n{self.device.transcript()}"
        return end

    def run(self, wakes: int = 1, timeout: float = 10) -> list[End]:
        """Let the board run until it went to sleep ``wakes`` times; the records of these boots.

        timeout: s for each boot. A boot after a reset counts for none; any other end is an
        AssertionError.
        """
        ends: list[End] = []
        while wakes:
            self.go_on()
            end = self.wait_end(timeout)
            if end.reason not in RESTARTS:
                assert self.device
                assert end.reason == "deepsleep", f"{end.reason}\n{self.device.transcript()}"
                wakes -= 1
            ends.append(end)
        return ends

    def wait_line(self, prefix: str, timeout: float) -> str:
        """As ``Device.wait_line``, of this boot."""
        assert self.device, "the board was never started"
        return self.device.wait_line(prefix, timeout)

    @property
    def lines(self) -> list[str]:
        """The output of this boot, so far."""
        return self.device.lines if self.device else []

    @property
    def time(self) -> float:
        """The time in the board's world: s since 1970, ahead of this machine's by what it slept."""
        return time.time() + self._skipped() / 1e9

    # --- inside

    def _must_be_off(self) -> None:
        if self.running:
            raise RuntimeError("the board is running")

    def _start(self, *options: str) -> Device:
        self._must_be_off()
        if self.device:  # for who did not wait for the end of the boot before
            self.device.wait_exit(10)
            self._records()
        self._before = len(self.records)
        if self._dies is not None:
            options += "--dies-after", str(self._dies)
            self._dies = None
        main = () if self.main is None else (str(Path(self.main).resolve()), *self.args)
        self.device = self.runtime.start(RUNNER, "--once", *options, str(self.folder), *main)
        return self.device

    def _skipped(self) -> int:
        try:
            return int((self.folder / "world").read_text())
        except FileNotFoundError:
            return 0

    def _skip(self, ms: int) -> None:
        (self.folder / "world").write_text(str(self._skipped() + ms * 1_000_000))

    def _records(self) -> None:
        assert self.device
        try:
            with open(self.folder / "boots.jsonl", "rb") as f:
                f.seek(self._read)
                data = f.read()
        except FileNotFoundError:
            return
        # A boot that was killed while it wrote left a piece of a line.
        for line in data.splitlines(keepends=True):
            self._read += len(line)
            with contextlib.suppress(ValueError):
                fields = json.loads(line)
                fields.update(fields.pop("flash"), clock_ms=fields.pop("clock"))
                self.records.append(End(**fields, lines=list(self.device.lines)))

    def __enter__(self) -> Board:
        return self

    def __exit__(self, *_: object) -> None:
        if self.device:
            self.device.kill()

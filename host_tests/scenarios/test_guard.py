"""A node that cannot be lost: guard on the simulated board, on both types of chip."""

import ast
import asyncio
import importlib.util
import json
import os
import socket
import subprocess
import sys
import time
import types
import typing
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
from dormouse.field.log import Log
from dormouse.packet import Refused
from dormouse.session import Message
from dormouse.store import Store, StoreFull
from harness import owner
from harness.bottle import Bottle
from harness.interrupt import interrupt
from harness.programs import argv_of
from play import PROGRAMS

from tools.board.owner import Owner, SecretOwner
from tools.board.update import Bundle
from tools.testing.board import Board, End
from tools.testing.brokers import AmqttBroker, MosquittoBroker
from tools.testing.certs import certificates
from tools.testing.chaos import ChaosProxy
from tools.testing.observer import Observer
from tools.testing.peer import ScriptedPeer
from tools.testing.runtimes import (
    CPYTHON,
    MICROPYTHON32,
    MICROPYTHON64,
    ROOT,
    Device,
    Runtime,
)
from tools.testing.sntp import TimeServer

pytestmark = pytest.mark.desk("runs on the simulated board: its crashes, watchdog and power cuts")

PERIOD = 300
SAFE = {"crashes": 2, "retry": 0}  # safe mode after two crashes, and never by chance left again


def each(*pairs: tuple[Runtime, str]) -> pytest.MarkDecorator:
    """Run a test on these runtimes as these chips."""
    ids = [f"{runtime.name}-{chip}" for runtime, chip in pairs]
    return pytest.mark.parametrize(("runtime", "chip"), pairs, indirect=["runtime"], ids=ids)


CHIPS = each(
    (CPYTHON, "esp32"),
    (MICROPYTHON64, "esp32"),
    (MICROPYTHON32, "esp32"),
    (MICROPYTHON32, "rp2"),
)
# What no other runtime or chip makes another of.
ONE = each((MICROPYTHON32, "esp32"))
# What takes its time, for a person or for a watchdog.
SLOW = each((MICROPYTHON64, "esp32"), (MICROPYTHON32, "rp2"))


@pytest.fixture
def board(runtime: Runtime, tmp_path: Path) -> Iterator[Callable[..., Board]]:
    """Return a function that makes a board of a type with programs/guarded.py and its config."""
    with ExitStack() as stack:

        def make(
            chip: str,
            port: int,
            program: str = "guarded",
            name: str = "board",
            flash: int | None = None,
            **config: Any,
        ) -> Board:
            base = {"host": "127.0.0.1", "port": port, "client_id": "n", "topic": "g"}
            config = {**base, "period": PERIOD, **config}
            files = {"config.json": config}
            main = PROGRAMS / f"{program}.py"
            size = {"flash": flash} if flash else {}
            made = Board(runtime, tmp_path / name, main, files, type=chip, **size)
            return stack.enter_context(made)

        yield make


@pytest.fixture
def broker(mosquitto: Callable[..., MosquittoBroker]) -> MosquittoBroker:
    return mosquitto(persistence=True)


def change(board: Board, **config: Any) -> None:
    board.put("config.json", json.loads(board.read("config.json")) | config)


def crash(end: End) -> str:
    """Return the line that counted a crash in this boot, or ""."""
    return next((line for line in end.lines if line.startswith("crash ")), "")


def run(board: Board, wakes: int = 1) -> list[End]:
    return board.run(wakes, 30)


def first(observer: Observer, topic: str) -> str:
    """Wait for a message at a topic; return the payload of the first one there."""
    return observer.wait_count(topic, 1)[0]


def kept_log(end: End) -> str:
    """Return what the application saw as its log when it began."""
    line = next(line for line in end.lines if line.startswith("log "))
    return ast.literal_eval(line[4:]).decode("utf-8", "replace")


# --- crashes


@CHIPS
def test_crash(board: Callable[..., Board], broker: MosquittoBroker, chip: str) -> None:
    """It is counted and logged; the chip sleeps, longer each time; a good wake ends that."""
    do = {"2": "raise", "3": "text", "4": "memory", "5": "untold"}
    node = board(chip, broker.port, do=do, show=True)
    assert run(node)[0].lines[-1] == "error None"
    sleeps = []
    for n in (1, 2, 3, 4):
        end = run(node)[0]
        assert crash(end).startswith(f"crash {n} ")
        sleeps.append(end.sleep_ms)
    assert sleeps == [10_000, 20_000, 40_000, 80_000]
    end = run(node)[0]
    log = kept_log(end)
    assert "guarded.py" in log and "MemoryError" in log and "crash 3" in log
    assert "TypeError" in log  # of an exception whose own text raises it
    assert "Traceback" not in log  # only its last lines
    assert end.lines[-2:] == ["error None", "well again"]
    change(node, do={"*": "raise"})
    end = run(node)[0]
    assert crash(end).startswith("crash 1 ") and end.sleep_ms == 10_000
    assert "OSError" in end.lines[-1]


@CHIPS
def test_cancelled(board: Callable[..., Board], broker: MosquittoBroker, chip: str) -> None:
    """A task that was cancelled and is awaited ends the program, but not at the REPL."""
    node = board(chip, broker.port, do={"2": "cancel"})
    run(node)
    end = run(node)[0]
    assert crash(end).startswith("crash 1 ") and end.sleep_ms == 10_000


@SLOW
def test_delay_grows_to_the_period(board: Callable[..., Board], chip: str) -> None:
    node = board(chip, 1, do={"*": "make"}, period=45, crashes=9, count=False)
    # A person may be there: the first boot gives them time.
    end = run(node)[0]
    assert end.main_ms > 5000 and "Ctrl-C" in end.lines[-1]
    assert "no sensor" in end.lines[-2]
    ends = run(node, 4)
    assert [e.sleep_ms for e in ends] == [20_000, 40_000, 45_000, 45_000]
    assert all(e.main_ms < 3000 for e in ends)


@ONE
def test_safe_period_is_kept_after_a_crash_too(board: Callable[..., Board], chip: str) -> None:
    """In safe mode the application is tried now and then; it crashes again, and the sleep is that
    of safe mode as it is set, not the one from crash to crash."""
    plan: dict[str, Any] = {"period": 300, "safe_period": 700, "crashes": 1, "retry": 1}
    ends = run(board(chip, 1, do={"*": "make"}, **plan), 3)
    assert all(crash(e) for e in ends), [e.lines for e in ends]
    assert [e.sleep_ms for e in ends] == [10_000, 700_000, 700_000]


@CHIPS
def test_a_normal_wake_writes_nothing(
    board: Callable[..., Board], broker: MosquittoBroker, chip: str
) -> None:
    """Nothing of guard's: a crash does, and the wake that ends the crashes."""
    node = board(chip, broker.port, do={"5": "raise"}, writes=True)
    wrote = [[line for line in e.lines if line.startswith("guard writes")] for e in run(node, 7)]
    both = ["guard writes 8", "guard writes 9"]
    assert wrote == [[], [], [], [], both, both, []]


@SLOW
def test_hang(board: Callable[..., Board], broker: MosquittoBroker, chip: str) -> None:
    """An endless loop: the watchdog resets, which is a crash, though RP2 resets to sleep, too."""
    node = board(chip, broker.port, do={"2": "loop"}, watchdog=3, budget=1000)
    run(node)
    hung, after, good = run(node, 2)
    assert hung.reason == "wdt" and 3000 <= hung.main_ms < 15_000
    assert crash(after) == "crash 1 watchdog" and after.sleep_ms == 10_000
    assert good.lines[-1] == "well again"
    assert not any(crash(e) for e in run(node, 2))


@SLOW
def test_long_lookup(board: Callable[..., Board], chip: str) -> None:
    """A lookup may take longer than RP2's hardware waits; the wake's end is no crash."""
    node = board(chip, 1, do={"*": "lookup"}, watchdog=60, network=True, budget=20_000)
    node.set_network(dns_ms=9500)
    end = run(node)[0]
    assert "looking up" in end.lines and end.main_ms > 9000
    assert not crash(end) and end.sleep_ms > 60_000


def test_lookup_that_hangs(board: Callable[..., Board]) -> None:
    """One outside a wake that takes too long is a hang."""
    node = board("esp32", 1, do={"*": "lookup"}, watchdog=1, network=True)
    node.set_network(dns_ms=9500)
    node.power_on()
    end = node.wait_end(20)
    assert end.reason == "wdt" and end.main_ms < 5000


@CHIPS
def test_lookup_in_the_wake(board: Callable[..., Board], chip: str) -> None:
    """A name server that does not answer ends a wake, by force, and is no crash."""
    node = board(chip, 1, network=True, host="broker.home", budget=500)
    node.set_network(dns_ms=9500)
    end = run(node)[0]
    assert 1400 <= end.main_ms < 5000 and end.sleep_ms > 60_000 and not crash(end)


@SLOW
@pytest.mark.parametrize("do", ["loop", "wait", "crash"])
def test_ctrl_c(board: Callable[..., Board], chip: str, do: str) -> None:
    """It is no crash, and neither watchdog nor wake end the REPL."""
    todo, line = {
        "loop": ("loop", "looping"),
        "wait": ("wait", "waiting"),
        "crash": ("raise", "asleep in"),
    }[do]
    limit = 6 if do == "crash" else 1
    repl = limit + (9.5 if chip == "rp2" else 1)  # s after which the watchdog would have ended it
    node = board(chip, 1, do={"*": todo}, watchdog=limit, repl=repl, budget=500, guard=do == "wait")
    device = node.power_on()
    node.wait_line(line, 10)
    interrupt(device.pid)
    began = time.monotonic()
    end = node.wait_end(30)
    assert time.monotonic() - began > repl
    assert end.reason == "exit" and end.lines[-2:] == ["interrupted", "still here"]
    assert bool(crash(end)) == (do == "crash")


# --- safe mode


def order(observer: Observer, by: Owner, number: int, text: str, retain: bool = False) -> str:
    """Give an order that its owner signed; return it."""
    text = f"dormouse-order g {number} {text}"
    payload = f"{text}\n{by.sign(text)}"
    observer.publish("g/safe/do", payload, 1, retain)
    return payload


@CHIPS
def test_safe_mode(board: Callable[..., Board], broker: MosquittoBroker, chip: str) -> None:
    """After crashes in a row the node can still be reached; then the application goes on, with
    the commands that waited for it."""
    node = board(chip, broker.port, do={"2": "raise", "3": "raise"}, **SAFE)
    run(node, 3)
    with Observer(broker, ("g/#", 1)) as observer:
        observer.publish("g/do/x", "kept", 2)
        end = run(node)[0]
        assert end.sleep_ms > 60_000 and not end.written  # no flash is worn
        assert not any(line.startswith("boot") for line in end.lines)
        state = json.loads(first(observer, "g/safe"))
        assert state["crashes"] == 2 and "OSError" in state["reason"]
        observer.publish("g/safe/do", "log", 1)
        observer.publish("g/safe/do", "nonsense", 1)
        run(node)
        assert "crash 2" in first(observer, "g/log")
    with Observer(broker, ("g/safe", 1)) as observer:
        assert json.loads(first(observer, "g/safe"))["crashes"] == 2  # retained
        observer.publish("g/safe/do", "restart", 1)
        end = run(node)[0]
        assert "restart" in end.lines and end.sleep_ms <= 1000
        observer.wait("g/safe", "")
    end = run(node)[0]
    assert "command kept" in end.lines and end.lines[-1] == "error None"
    with Observer(broker, ("g/#", 1)) as observer:
        run(node)
        observer.wait("g/n", "5")
        assert not observer.payloads("g/safe")


@ONE
def test_safe_mode_after_a_time_server_that_lied(board: Callable[..., Board], chip: str) -> None:
    """No certificate is of use then, and nothing in safe mode remembers that: one wake in four, by
    chance, asks."""
    lie = 3 * 10**8  # s
    with TimeServer(lambda: node.time + lie) as server:
        secure = {"tls": {"verify": False, "ca": "ca.der"}, "ntp": "127.0.0.1"}
        node = board(chip, 1, do={"*": "make"}, **SAFE, **secure, ntp_port=server.port)
        node.put("ca.der", certificates().ca_der)
        end = run(node, 3)[-1]
        assert abs(end.clock_ms / 1000 - node.time - lie) < 5
        lie = 0
        change(node, chance=4)
        end = run(node)[0]
        assert any(line.startswith("safe mode") for line in end.lines)
        assert abs(end.clock_ms / 1000 - node.time) < 5


@ONE
def test_safe_mode_and_an_update_that_expires(
    board: Callable[..., Board], mosquitto: Callable[..., MosquittoBroker], chip: str
) -> None:
    """All of it is there, and the power was cut: what its expiry means is known when the clock is
    set, which is behind the network; then it is put in place."""
    certs = certificates()
    broker = mosquitto(tls=certs)
    with TimeServer(lambda: node.time) as server:
        secure = {"host": "localhost", "tls": {"ca": "ca.der"}, "ntp": "127.0.0.1"}
        secure |= {"ntp_port": server.port, "update_key": "k" * 32}
        node = board(chip, broker.tls_port, do={"*": "make"}, **SAFE, **secure)
        run(node, 2)
        node.cut_power()
        bundle = Bundle({"new": b"new"}, 3, 60, 8000)
        expiry = int(node.time) + 86400
        (_, offer), *chunks = owner.messages(bundle, 5, "g", SecretOwner("k" * 32), expiry=expiry)
        text = offer.partition(b"\n")[0] + b"\n"
        record = b'[5, 0, "", null, "", 0]'
        node.put("update.part", text + b"".join(data for _, data in chunks))
        node.put("update.id", record + b"\n%x" % zlib.crc32(record))
        node.put("ca.der", certs.ca_der)
        end = run(node, 2)[1]  # the first one, after power-on, is the application's
        assert any(line.startswith("safe mode") for line in end.lines)
        node.cut_power()
        assert json.loads(node.read("update.json"))["id"] == 5


@ONE
def test_safe_mode_on_a_cable(
    board: Callable[..., Board], broker: MosquittoBroker, chip: str
) -> None:
    """It knows Wi-Fi only: of another network the program says what joins it."""
    node = board(chip, broker.port, do={"*": "make"}, cable=True, **SAFE)
    with Observer(broker, ("g/safe", 1)) as observer:
        end = run(node, 3)[2]
        assert json.loads(first(observer, "g/safe"))["crashes"] == 2
    assert "joined by cable" in end.lines and end.lines[-1] == "cable off"


def test_safe_mode_amqtt(board: Callable[..., Board]) -> None:
    """At another broker, with user name and password."""
    with AmqttBroker() as broker, Observer(broker, ("g/#", 1)) as observer:
        login = {"username": broker.username, "password": broker.password}
        # Signed, for what it has queued comes as if it was retained.
        signer = SecretOwner("k" * 32)
        login["update_key"] = signer.key
        node = board("esp32", broker.port, do={"2": "raise", "3": "raise"}, **SAFE, **login)
        run(node, 4)
        assert json.loads(first(observer, "g/safe"))["crashes"] == 2
        order(observer, signer, 1, "log")
        run(node)
        log = first(observer, "g/log")
        assert "crash 2" in log and broker.password not in log
        order(observer, signer, 2, "restart")
        assert run(node, 2)[1].lines[-1] == "error None"


@ONE
def test_orders_that_are_signed(
    board: Callable[..., Board], broker: MosquittoBroker, chip: str
) -> None:
    """With an update key they are its owner's only, once each; retained or not makes no odds."""
    signer = owner.signer()
    node = board(chip, broker.port, do={"2": "raise", "3": "raise"}, update_key=signer.key, **SAFE)
    node.put("junk/log.txt", "x" * 5000)
    run(node, 3)
    with Observer(broker, ("g/#", 1)) as observer:
        run(node)
        state = json.loads(first(observer, "g/safe"))
        assert state["order"] == 0 and state["free"] > 10_000 and len(state["versions"]) == 2
        other = order(observer, SecretOwner("k" * 32), 9, "restart")
        for payload in ("restart", "log", other.replace(" 9 ", " 1 "), "x" * 3000, "", "\n"):
            observer.publish("g/safe/do", payload, 1, bool(payload))
        run(node)
        assert json.loads(observer.payloads("g/safe")[-1])["crashes"] == 2
        assert not observer.payloads("g/log")
        done = order(observer, signer, 1, "erase junk/log.txt")
        order(observer, signer, 2, "log", True)
        for name in ("config.json", "boot.py", "../x", ""):
            order(observer, signer, 3, f"erase {name}")
        run(node)
        assert "crash 2" in first(observer, "g/log")
        listed = first(observer, "g/safe/files")
        assert "config.json" in listed and "junk/log.txt" not in listed
        node.put("junk/log.txt", "again")
        node.put("update.order", "")  # of two copies
        observer.publish("g/safe/do", done, 1)
        run(node)
        assert node.read("junk/log.txt") == b"again" and "config.json" in node.files()
        assert len(observer.payloads("g/log")) == 1
        restart = order(observer, signer, 4, "restart")
        assert run(node, 2)[1].lines[-1] == "error None"
        change(node, do={"*": "raise"})
        run(node, 2)
        observer.publish("g/safe/do", restart, 1, True)
        ends = run(node, 3)
        assert all(any(line.startswith("safe mode") for line in end.lines) for end in ends)


@ONE
def test_orders_by_the_tool(
    board: Callable[..., Board], broker: MosquittoBroker, chip: str, tmp_path: Path
) -> None:
    """It waits for the node's answer, and believes only one that proves to be its own."""
    owner.put_key(tmp_path)
    signer = owner.signer()
    keys = {"update_key": signer.key, "node_key": signer.node_key("g")}
    node = board(chip, broker.port, do={"2": "raise", "3": "raise"}, **keys, **SAFE)
    run(node, 4)

    def give(text: str, status: int) -> str:
        argv = [*argv_of("ota"), "--host", "127.0.0.1", "--port", str(broker.port)]
        argv += ["--topic", "g", "--order", text]
        process = subprocess.Popen(
            argv,
            cwd=ROOT,
            env={**os.environ, "XDG_CONFIG_HOME": str(tmp_path), "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        with Device("ota", process) as tool:
            tool.wait_line("order ", 20)
            for word in ('{"order": 1}', '{"order": 1, "mac": "00"}', "[", "", '{"order": true}'):
                observer.publish("g/safe", word, 1, True)
            observer.publish("g/log", "\x1b[2Jforged", 1)
            run(node)
            assert tool.wait_exit(20) == status, tool.transcript()
            assert "\x1b" not in tool.transcript()
            return tool.transcript()

    with Observer(broker, ("g/#", 1)) as observer:
        said = give("log", 0)
        assert "crash 2" in said and "has carried out order 1" in said
        assert "says that it is done: not proven" in said
        assert "order 2: OSError(2,) No such file" in give("erase nothing", 1)
        assert "config.json" in give("files", 0)
        assert "has carried out order 4" in give("restart", 0)
    assert run(node)[0].lines[-1] == "error None"


@ONE
def test_what_is_retained_is_no_order(
    board: Callable[..., Board], broker: MosquittoBroker, chip: str
) -> None:
    """One retained "restart" would end each stay in safe mode."""
    node = board(chip, broker.port, do={"*": "raise"}, **SAFE)
    with Observer(broker, ("g/#", 1)) as observer:
        run(node, 3)
        observer.publish("g/safe/do", "restart", 1, True)
        run(node)  # it was subscribed when that came
        run(node, 3)
        ends = run(node, 3)
        assert all(any(line.startswith("safe mode") for line in end.lines) for end in ends)


@CHIPS
def test_stay(board: Callable[..., Board], broker: MosquittoBroker, chip: str) -> None:
    """For a person who looks for what is wrong: answers at once, for as long as was ordered."""
    node = board(chip, broker.port, do={"*": "raise"}, **SAFE)
    for name in ("data.csv", "part.mpy", "more"):
        node.put(name, "x" * 600)
    run(node, 3)
    with Observer(broker, ("g/#", 1)) as observer:
        observer.publish("g/safe/do", "stay 60", 1)
        node.go_on()
        for count in (1, 2):
            observer.publish("g/safe/do", "files", 1)
            observer.wait_count("g/safe/files", count)
        # However many messages come meanwhile: it is time that was ordered.
        for _ in range(40):
            observer.publish("g/safe/do", "nonsense", 1)
        names = ["part.mpy", "lib/../CONFIG.json", "dormouse.journal"]
        names += ["part.mpy\0", "part.mpy/x/..", "config.json\0/x", "data.csv"]
        for name in names:
            observer.publish("g/safe/do", f"erase {name}", 1)
        listed = observer.wait_count("g/safe/files", 3)[-1]
        assert "part.mpy" in listed and "data.csv" not in listed and "config.json" in listed
        assert node.running
        observer.publish("g/safe/do", "restart", 1)
        assert node.wait_end(10).sleep_ms <= 1000


@ONE
@pytest.mark.parametrize("signed", [True, False])
def test_safe_mode_that_somebody_floods(
    board: Callable[..., Board], broker: MosquittoBroker, chip: str, signed: bool
) -> None:
    """Messages longer than it takes, retained and queued, and nonsense, at all that it reads; files
    of an update that are garbage: it reports, and does what it is ordered behind them."""
    signer = owner.signer()
    key = {"update_key": signer.key} if signed else {}
    node = board(chip, broker.port, do={"*": "raise"}, **SAFE, **key)
    for name in ("update.part", "update.id", "update.id2", "update.bad", "update.order"):
        node.put(name, b"\xff{[" * 700)
    run(node, 2)
    node.put("update.json", b"\xff{[" * 700)
    with Observer(broker, ("g/#", 1)) as observer:
        for length in (4096, 20_000, 200_000):
            for topic in ("g/safe/do", "g/update"):
                observer.publish(topic, "9" * length, 1, True)
        run(node)
        for length in (5000, 60_000):
            observer.publish("g/safe/do", bytes(length), 1)
        for junk in ("stay", "stay x", "stay -1", "erase", "erase /", "files x", "\n", "\0"):
            observer.publish("g/safe/do", junk, 1)
        if signed:
            order(observer, signer, 1, "log")
        else:
            observer.publish("g/safe/do", "log", 1)
        ends = run(node, 4)
        assert all(end.sleep_ms > 290_000 for end in ends)
        assert "crash 2" in first(observer, "g/log")
        assert json.loads(observer.payloads("g/safe")[-1])["crashes"] == 2


@pytest.mark.once
@ONE
@pytest.mark.parametrize("kind", ["full", "memory"])
def test_wakes_that_fail_by_the_chip_itself(
    board: Callable[..., Board], broker: MosquittoBroker, chip: str, kind: str
) -> None:
    """A store or a memory that is full: nothing goes out, which is a crash like any other."""
    node = board(chip, broker.port, do={"*": "full" if kind == "full" else "no memory"}, **SAFE)
    with Observer(broker, ("g/#", 1)) as observer:
        ends = node.run(4, 90)  # (to fill a flash takes half a minute)
        assert any(line.startswith("safe mode") for end in ends for line in end.lines)
        state = json.loads(first(observer, "g/safe"))
        assert any(word in state["reason"] for word in ("28", "StoreFull", "MemoryError"))


@pytest.mark.once
@ONE
def test_a_store_with_errors_of_its_own(
    board: Callable[..., Board], broker: MosquittoBroker, chip: str
) -> None:
    """NVS has those of ESP-IDF: no network knows them, and no list of errno."""
    node = board(chip, broker.port, kind="worn", **SAFE)
    ends = run(node, 4)
    assert [bool(crash(end)) for end in ends[:2]] == [True, True]
    assert any(line.startswith("safe mode: 2 crashes, OSError(-24577,") for line in ends[-1].lines)


@pytest.mark.once
@ONE
def test_memory_that_stays_full(board: Callable[..., Board], chip: str) -> None:
    """What a task of the application holds leaves no room to tell of its crash: it is counted, and
    the chip sleeps."""
    node = board(chip, 1, do={"*": "hoard"}, **SAFE)
    assert [bool(crash(end)) for end in run(node, 3)] == [True, True, False]
    assert any(line.startswith("safe mode: 2") for line in node.lines)


def test_safe_mode_is_over_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that takes nothing more does not make a client publish that at each message."""
    from dormouse.field import guard

    class Broken:
        data: typing.ClassVar = {}

        def save(self, changes: object) -> None:
            raise OSError(5)

    g = object.__new__(guard.Guard)
    g.crashes = g.limit = 5
    g.config = {"topic": "t"}
    g.log = Log(Broken())
    monkeypatch.setattr(guard, "_this", g)
    said = []

    def publish(topic: str, payload: bytes, qos: int, retain: bool) -> Message:
        said.append(topic)
        return Message()

    for _ in range(3):
        guard.good(publish)
    assert said == ["t/safe"]


def test_a_watchdog_that_is_true() -> None:
    """It is no limit of 1 s, which would reset the node in each wake."""
    from dormouse.field.guard import Guard

    settings = types.SimpleNamespace(config={"watchdog": True, "retry": 0, "crashes": "7"})
    assert Guard.number(settings, "watchdog", 180) == 180  # type: ignore[arg-type]
    assert Guard.number(settings, "retry", 8) == 0  # type: ignore[arg-type]
    assert Guard.number(settings, "crashes", 5) == 7  # type: ignore[arg-type]


def test_erase_takes_no_other_name_for_a_program() -> None:
    """littlefs and FAT find a file by more names than its own."""
    from dormouse.field.safe import Orders

    class Config:
        config: typing.ClassVar = {"topic": "g"}

    other = ("main.py/", "main.py/.", "lib/a.mpy//", "main.py.", "main.py ", "main.py/x/..")
    other += ("main.py\0", "main.py\0/x", "main.py\t", "main.py\\", "x/../main.py/x/..")
    orders = Orders(Config, None, None)
    more = ("main.py\x7f", "CONFIG~1.JSO", "ma\u0131n.py", "Dormouse.journal/.", "", "/", ".")
    for name in (*other, *more):
        assert not orders._may_go(name), name
    for name in ("data.csv", "logs/data.csv", "data", ".cache", "a b.csv"):
        assert orders._may_go(name), name
    orders.ota = typing.cast(typing.Any, True)
    for name in other:
        for own in ("boot.py", "Config.json"):
            assert not orders._may_go(name.replace("main.py", own).replace("lib/a.mpy", own)), name
    for name in ("main.py", "logs/data.csv", "t\u00e4glich.csv", "a~1.csv"):
        assert orders._may_go(name), name


def test_erase_takes_no_key_and_no_session() -> None:
    """By whatever name the application has them: where anybody may order it."""
    from dormouse.field.safe import Orders

    some = types.SimpleNamespace

    def store(path: str) -> Any:
        return some(path=path)

    config = {"topic": "g", "tls": {"ca": "certs/ca", "key": "own", "verify": False}}
    for opened, names in (
        (None, "node.key ca.pem old.crt update.id update.order2 certs/ca own"),
        (store("journal"), "journal journal.new"),
        (store("data/Journal"), "data/journal.bad"),
        (some(small=store("state"), large=store("messages")), "state messages.new"),
        (some(small=None, large=store("messages")), "messages"),
    ):
        guard = some(config=config, store=opened)
        orders = Orders(guard, None, None)  # type: ignore[arg-type]
        for name in names.split():
            assert not orders._may_go(name), name
        assert orders._may_go("data.csv")


def test_crashes_that_a_byte_does_not_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is safe mode for any "crashes", and starts by a person have an end."""
    from dormouse.field import guard

    Bottle(monkeypatch)
    monkeypatch.setattr(guard, "_this", None)
    store = Store()
    for most in (128, 256, 1 << 40):
        store.data = {8: bytes((255,))}
        g = guard.Guard({"topic": "g", "watchdog": 0, "retry": 0, "crashes": most}, lambda _: store)
        for g.person in (False, True):
            assert g.safe(), most


def test_a_retry_that_cannot_be(monkeypatch: pytest.MonkeyPatch) -> None:
    """One below 0 is none; each random number can be divided by -1."""
    from dormouse.field import guard

    Bottle(monkeypatch)
    monkeypatch.setattr(guard, "_this", None)
    store = Store()
    store.data = {8: bytes((9,))}
    for retry in (-1, -8, 0, "0"):
        g = guard.Guard({"topic": "g", "watchdog": 0, "retry": retry}, lambda _: store)
        g.person = False
        assert all(g.safe() for _ in range(20)), retry


def test_the_last_resort_takes_the_radio_down(monkeypatch: pytest.MonkeyPatch) -> None:
    """RP2 does not sleep with it on, and begins anew at once. (Safe mode itself raises, here.)"""
    from dormouse.field import guard

    Bottle(monkeypatch)
    done: list[Any] = []
    wlan = types.SimpleNamespace(deinit=lambda: done.append("off"))
    monkeypatch.setitem(sys.modules, "network", types.SimpleNamespace(WLAN=lambda: wlan))
    monkeypatch.setattr(guard, "_this", None)
    monkeypatch.setattr(guard, "deepsleep", done.append)
    store = Store()
    store.save = lambda changes: 1 / 0  # type: ignore[assignment]  # no crash can be counted
    config = {"topic": "g", "watchdog": 0, "tls": {"ca": "missing.der"}, "host": "h"}
    guard.run(lambda *_: 1 / 0, config, lambda _: store)
    assert done == ["off", 300_000]


def test_a_wake_that_had_an_error_but_reached_the_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    """What crashed is over then, unless the chip itself is the cause of the error."""
    from dormouse.field import guard

    def crashes(error: Exception | None, reached: bool) -> int:
        g = object.__new__(guard.Guard)
        g.crashes, g.limit, g.config, g.led = 2, 5, {"topic": "t"}, None
        g.log = Log()
        monkeypatch.setattr(guard, "_this", g)
        with suppress(OSError, StoreFull):
            guard.end(error, None, reached)
        return g.crashes

    assert crashes(Refused("filter", [128]), True) == 0
    assert crashes(None, False) == 0, "as it was without the third argument"
    assert crashes(Refused("filter", [128]), False) == 2
    assert crashes(OSError(28, "full"), True) == crashes(StoreFull(9), True) == 2


def test_what_the_led_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the kind of the error, whatever version of MQTT; a message's, at the broker, is none."""
    from dormouse.expiry import Expired
    from dormouse.field import guard
    from dormouse.mqtt5 import Failed

    class WifiError(OSError):
        """As net.wifi's, which is for a chip."""

    def blinks(error: Exception | None, reached: bool = False) -> int:
        g = object.__new__(guard.Guard)
        g.crashes, g.woken, g.log, g.led = 0, "power", Log(), types.SimpleNamespace()
        said: list[int] = []
        g.led.blink, g.led.light = said.append, lambda: None
        monkeypatch.setattr(guard, "_this", g)
        guard.end(error, None, reached)
        return sum(said)

    Bottle(monkeypatch)
    assert blinks(WifiError("not found")) == 2
    assert blinks(OSError(113, "no route")) == blinks(TimeoutError()) == 3
    assert blinks(Refused("Not authorized", 5)) == blinks(Failed(0x87, {})) == 4
    assert blinks(Refused("filter", [128]), True) == 4
    assert blinks(Expired(), True) == blinks(None) == blinks(None, True) == 0


@pytest.mark.prove  # half a minute
@ONE
def test_orders_on_a_full_flash(
    board: Callable[..., Board], broker: MosquittoBroker, chip: str
) -> None:
    """There is no room to note that one was given: what is to be found out is told all the same,
    and what is erased makes room. What must not come twice is refused until then."""
    signer = owner.signer()
    small = {"flash": 131072, "do": {"*": "full"}}
    node = board(chip, broker.port, update_key=signer.key, **small, **SAFE)
    with Observer(broker, ("g/#", 1)) as observer:
        run(node)
        assert json.loads(observer.payloads("g/safe")[-1])["free"] == 0
        for n, text in enumerate(("restart", "stay 9", "files"), 1):
            order(observer, signer, n, text)
        assert "restart" not in run(node)[0].lines
        states = [json.loads(text) for text in observer.payloads("g/safe")]
        assert {s["order"]: s["why"] for s in states if "why" in s}.keys() == {1, 2, 3}
        listed = observer.wait_count("g/safe/files", 1)[0]
        found = sorted(map(str.split, listed.splitlines()), key=lambda pair: int(pair[0]))
        for n, (_, name) in enumerate(found[-3:], 4):
            order(observer, signer, n, f"erase {name}")
        run(node)
        state = json.loads(observer.payloads("g/safe")[-1])
        assert state["free"] > 0 and state["order"] == 6 and "why" not in state
        assert node.read("update.order") == node.read("update.order2") == b"6"


@ONE
@pytest.mark.parametrize("data", ["", '{"host": "127.0.0.1"', "[]"])
def test_settings_that_are_lost(
    board: Callable[..., Board], broker: MosquittoBroker, chip: str, data: str
) -> None:
    """The chip sleeps, and is there again when they are."""
    node = board(
        chip,
        broker.port,
    )
    good = (node.folder / "put" / "config.json").read_text()
    assert run(node)[0].lines[-1] == "error None"
    node.put("config.json", data)
    ends = run(node, 5)
    assert all(end.sleep_ms and end.awake_ms < 25_000 for end in ends)
    assert any("make provision" in line for line in ends[-1].lines)
    node.put("config.json", good)
    node.cut_power()
    assert any(end.lines[-1] in ("error None", "well again") for end in run(node, 20))


@pytest.mark.once
@CHIPS
def test_a_try_by_chance(board: Callable[..., Board], broker: MosquittoBroker, chip: str) -> None:
    """What was broken may be whole again: then nobody has to come."""
    node = board(chip, broker.port, do={"2": "raise", "3": "raise"}, crashes=2, retry=1)
    run(node, 3)
    with Observer(broker, ("g/safe", 1)) as observer:
        change(node, retry=0)
        run(node)
        first(observer, "g/safe")
        change(node, retry=1)
        end = run(node)[0]
        assert "boot 4 timer" in end.lines or "boot 4 reset" in end.lines
        assert end.lines[-1] == "well again"
        run(node)
        observer.wait("g/safe", "")
    change(node, retry=3, do={"*": "raise"})
    ends = run(node, 40)
    tries = [bool(crash(e)) for e in ends[2:]]
    assert 0 < sum(tries) < 30  # of 38, a third by chance: outside once in ten million runs
    assert all(e.sleep_ms == PERIOD * 1000 for e in ends[2:] if crash(e))


@CHIPS
def test_mended_over_the_cable(
    board: Callable[..., Board], broker: MosquittoBroker, chip: str
) -> None:
    """Who starts a node in safe mode sees whether its program works now."""
    node = board(chip, broker.port, do={"*": "raise"}, **SAFE)
    ends = run(node, 3)
    assert [bool(crash(end)) for end in ends] == [True, True, False]
    node.cut_power()
    end = run(node)[0]
    assert crash(end).startswith("crash 3") and end.sleep_ms == PERIOD * 1000, "once for each start"
    assert not crash(run(node)[0])
    node.cut_power()
    change(node, do={})
    with Observer(broker, ("g/safe", 1)) as observer:
        assert run(node)[0].lines[-1] == "well again"
        run(node)
        observer.wait("g/safe", "")


@SLOW
def test_a_start_that_tells_nothing(
    board: Callable[..., Board], broker: MosquittoBroker, chip: str
) -> None:
    """A supply that is switched, a panic, a brown-out: they look as if a person were there."""
    node = board(chip, broker.port, do={"*": "raise"}, **SAFE)
    run(node, 2)
    change(node, do={"*": "reset"})
    node.cut_power()
    reasons = []
    for _ in range(4):
        node.go_on()
        reasons.append(node.wait_end(30).reason)
        if chip == "rp2":  # whose reset may be a wake
            node.cut_power()
    assert reasons == ["reset", "reset", "deepsleep", "deepsleep"]


@SLOW
@pytest.mark.parametrize("kind", ["unopened", "unwritable", "full", "corrupt"])
def test_any_store(
    board: Callable[..., Board], broker: MosquittoBroker, runtime: Runtime, chip: str, kind: str
) -> None:
    """Where a crash cannot be counted the node is there for help at once."""
    if kind == "full" and runtime is CPYTHON:
        pytest.skip("its flash is a folder, which is never full")
    node = board(chip, broker.port, do={"*": "raise"}, kind=kind, count=False, **SAFE)
    if kind == "corrupt":
        node.put("dormouse.journal", b"garbage")
    # RP2's littlefs has files of up to 512 bytes in its directory, where there still is room.
    counted = kind == "corrupt" or (kind == "full" and chip == "rp2")
    with Observer(broker, ("g/#", 1)) as observer:
        end = run(node)[0]
        assert crash(end)
        assert (end.sleep_ms == 10_000) == counted
        assert any(line.startswith("trouble: ") for line in end.lines) == (
            kind in ("corrupt", "unopened")
        )
        if counted:
            run(node, 2)
        state = json.loads(first(observer, "g/safe"))
        assert state["crashes"] == 1 + counted
        observer.publish("g/safe/do", "log", 1)
        assert bool(crash(run(node)[0])) != counted or kind == "full"
        # (On a full flash the second one is counted, and its lines have no room.)
        assert f"crash {1 + (kind == 'corrupt')}" in first(observer, "g/log")


def test_what_the_application_left(
    board: Callable[..., Board], broker: MosquittoBroker, runtime: Runtime
) -> None:
    """Its tasks do not go on in the safe mode that follows at once."""
    node = board("esp32", broker.port, do={"*": "stray"}, kind="unwritable", count=False)
    with Observer(broker, ("g/#", 1)) as observer:
        assert run(node)[0].reason == "deepsleep"
        first(observer, "g/safe")
    assert "stray" not in node.lines


def test_any_settings(board: Callable[..., Board], broker: MosquittoBroker) -> None:
    """Settings that are nonsense do not keep the node from being reached."""
    wrong = {
        "topic": 7,
        "keepalive": 86400,
        "timeout": 1e-9,
        "username": ["x"],
        "password": "p",
        "ntp_port": "123",
        "retry": 0,
        "period": "5 min",
        "crashes": None,
        "watchdog": 1e12,
        "led": {},
        "safe_period": [],
    }
    node = board("rp2", broker.port, do={}, **wrong)
    with Observer(broker, ("n/#", 1)) as observer:
        ends = run(node, 7)
        assert [bool(crash(e)) for e in ends[:5]] == [True] * 5
        assert any(line.startswith("trouble: led KeyError") for line in ends[0].lines)
        # A traceback in inner words is preceded by what is wrong.
        said = crash(ends[0])
        assert said.startswith("crash 1 config.json: ") and "no such period" in said
        assert any(e.lines and e.lines[-1].startswith("safe mode: 5") for e in ends[5:])
        state = json.loads(first(observer, "n/safe"))
    for name in ("topic", "username", "ntp_port", "period", "safe_period"):
        assert f"no such {name}" in state["trouble"]


@SLOW
def test_settings_that_keep_it_in_safe_mode(
    board: Callable[..., Board], broker: MosquittoBroker, chip: str
) -> None:
    """No crash is needed for safe mode by "crashes": 0, which no restart would end."""
    node = board(chip, broker.port, crashes=0, retry=0)
    assert run(node)[0].lines[-1] == "error None"


def test_watchdog_shorter_than_safe_mode(
    board: Callable[..., Board], broker: MosquittoBroker
) -> None:
    """Safe mode is there to be reached, in a slow network, too."""
    wifi = {"ssid": "home", "password": "right"}
    node = board("esp32", broker.port, watchdog=1, do={"*": "make"}, wifi=wifi, **SAFE)
    node.set_network(join_ms=2500, password="right")
    with Observer(broker, ("g/safe", 1)) as observer:
        for _ in range(4):
            node.go_on()
            node.wait_end(20)
        assert json.loads(first(observer, "g/safe"))["crashes"] >= 2


# --- power cuts


@SLOW
def test_power_cuts(board: Callable[..., Board], chip: str) -> None:
    """Cut at any byte of a crash's record: it is counted or not, and the node starts."""
    node = board(chip, 1, do={"*": "make"}, count=False, period=3600)
    ends = run(node)
    whole = node.copy(node.folder.parent / "whole")
    with whole:
        total = run(whole)[0].written
        assert total > 100
    seen = set()
    for count in [*range(0, total, total // 11), total]:
        with node.copy(node.folder.parent / f"cut{count}") as cut:
            cut.flash_dies_after(count)
            cut.wake()
            end = cut.wait_end(20)
            assert (end.reason == "flash_died") == (count < total)
            assert crash(end).startswith("crash 2 ")
            cut.cut_power()
            line = cut.power_on().wait_line("crash", 10)
            seen.add(line[:8])
    assert ends[0].sleep_ms == 10_000
    assert seen == {"crash 2 ", "crash 3 "}


# --- the LED


def blinks(node: Board, boot: int, pin: Any, on: int = 1) -> int:
    """Return how often the LED went on in a boot, which has to leave it off."""
    lines = map(json.loads, (node.folder / "pins.jsonl").read_text().splitlines())
    values = [line["value"] for line in lines if line["boot"] == boot and line["pin"] == pin]
    assert values[-1] == 1 - on
    return values.count(on)


@SLOW
def test_led(board: Callable[..., Board], broker: MosquittoBroker, chip: str) -> None:
    """On while awake; it blinks for a person only, who is there when the power comes."""
    node = board(chip, 1, led=2, crashes=1, retry=0)
    run(node, 2)
    assert (blinks(node, 1, 2), blinks(node, 2, 2)) == (1 + 3, 1)  # no broker
    change(node, port=broker.port, led={"pin": "LED", "invert": True}, do={"*": "raise"})
    node.cut_power()
    run(node)  # crashes
    assert blinks(node, 3, "LED", 0) == 1 + 5
    run(node)  # safe mode
    assert blinks(node, 4, "LED", 0) == 1
    node.cut_power()
    run(node)
    assert blinks(node, 5, "LED", 0) == 1 + 5


# --- a node that stays connected


AWAKE: dict[str, Any] = {"watchdog": 3, "keepalive": 1, "timeout": 1, "backoff": [0.02, 0.5]}


@SLOW
def test_awake(board: Callable[..., Board], broker: MosquittoBroker, chip: str) -> None:
    """No reset while it is idle, the broker is away or silent; one when the program hangs."""
    with ChaosProxy(broker.port) as proxy, Observer(broker) as observer:
        node = board(chip, proxy.port, "guarded_awake", **AWAKE)
        # s after which a hang would have ended it
        limit = AWAKE["watchdog"] + (9 if chip == "rp2" else 1)
        device = node.power_on()
        node.wait_line("subscribed", 10)
        quiet(node, limit)
        proxy.refuse(how="closed")
        proxy.cut_now()
        quiet(node, limit)
        proxy.refuse(False)
        observer.publish("g/hang", "x", 1)  # its session keeps it
        device.wait_line("hanging", 10)
        assert node.wait_end(20).reason == "wdt"


def quiet(node: Board, seconds: float) -> None:
    """Nothing ends the boot for so long. (A wait, for that is what is to be seen.)"""
    assert node.device
    with pytest.raises(AssertionError, match="still running"):
        node.device.wait_exit(seconds)


@pytest.mark.parametrize("how", ["silent", "refused"])
def test_awake_and_no_answer(board: Callable[..., Board], how: str) -> None:
    """An attempt that ends is progress, though the broker says nothing, or is not there."""
    with ScriptedPeer() as peer, socket.create_server(("127.0.0.1", 0)) as server:
        port = peer.port if how == "silent" else server.getsockname()[1]
        server.close()
        node = board("esp32", port, "guarded_awake", **AWAKE)
        node.power_on()
        if how == "silent":
            peer.accept(10)
        quiet(node, 5)


def test_awake_and_a_radio_that_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    """examples/awake.py: what a port's Wi-Fi raises, or a scan without memory, is no crash."""
    spec = importlib.util.spec_from_file_location("awake", ROOT / "examples" / "awake.py")
    assert spec and spec.loader
    awake = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(awake)
    faults = [OSError(5), RuntimeError("Wifi Unknown Error 0x0102"), MemoryError()]

    class Radio:
        async def join(self, ms: int = 15000) -> None:
            if faults:
                raise faults.pop()

    async def at_once(s: float) -> None:
        pass

    node = awake.Node({"host": "h", "topic": "t", "client_id": "c"})
    node.wifi = Radio()
    monkeypatch.setattr(asyncio, "sleep", at_once)
    asyncio.run(node.join())
    assert not faults


@ONE
def test_awake_and_no_wifi(board: Callable[..., Board], broker: MosquittoBroker, chip: str) -> None:
    """A Keeper's attempt to join is progress, too: before the first one no client is started."""
    node = board(chip, broker.port, "guarded_awake", **AWAKE, away=7)
    node.power_on()
    node.wait_line("subscribed", 15)
    assert node.lines.count("no connection: OSError('away',)") > 3

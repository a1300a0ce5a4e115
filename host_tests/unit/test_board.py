"""The simulated board: sleep, resets, power cuts, its clock, its flash that dies, its timers."""

import json
import shutil
import socket
import time

import pytest
from harness.interrupt import interrupt

from tools.setup import get
from tools.testing import runtimes
from tools.testing.board import RUNNER, Board

HOUR = 3_600_000  # ms

# What every program starts with; `note` appends to a file on the flash.
HEAD = """
import machine, os, sys, time

print("cause", machine.reset_cause())

def note(text):
    with open("notes", "a") as f:
        f.write(text)

def notes():
    try:
        with open("notes") as f:
            return f.read()
    except OSError:
        return ""

"""


@pytest.fixture
def make(runtime, tmp_path):
    """Return a function that makes a board with a program on its flash."""
    boards = []

    def made(program, **options):
        files = {"main.py": HEAD + program, **options.pop("files", {})}
        boards.append(Board(runtime, tmp_path / f"board{len(boards)}", files=files, **options))
        return boards[-1]

    yield made
    for board in boards:
        board.__exit__()


SLEEPER = """
rtc = machine.RTC()
print("wake", machine.wake_reason())
print("rtc", rtc.memory().decode(), "flash", notes(), "ram", "x" in sys.modules)
sys.modules["x"] = sys
rtc.memory(rtc.memory() + b"r")
note("f")
machine.deepsleep(3600000)
note("never")
"""


def test_deep_sleep_keeps_rtc_memory_and_flash_but_not_ram(make):
    board = make(SLEEPER)
    began = time.monotonic()
    ends = board.run(wakes=3)
    assert time.monotonic() - began < 5
    assert [end.lines for end in ends] == [
        ["cause 1", "wake 0", "rtc  flash  ram False"],
        ["cause 4", "wake 4", "rtc r flash f ram False"],
        ["cause 4", "wake 4", "rtc rr flash ff ram False"],
    ]
    assert board.sleeping and not board.running
    assert board.read("notes") == b"fff"


def test_an_hour_of_sleep_passes_on_the_boards_clock_only(make):
    board = make(SLEEPER)
    world, began = board.time, time.time()
    first, second, third = board.run(wakes=3)
    for a, b in ((first, second), (second, third)):
        assert HOUR <= b.clock_ms - a.clock_ms < HOUR + 2000
    assert abs(board.time - world - 2 * 3600 - (time.time() - began)) < 2
    assert [end.sleep_ms for end in (first, second)] == [HOUR, HOUR]


@pytest.mark.parametrize("asleep", [True, False])
def test_a_power_cut_loses_rtc_memory_and_the_clock_but_not_the_flash(make, asleep):
    board = make(SLEEPER)
    if asleep:
        board.run()
    else:
        awake = SLEEPER.replace("machine.deepsleep(3600000)", "print('noted')\ntime.sleep(60)")
        board.put("main.py", HEAD + awake)
        board.power_on()
        board.wait_line("noted", 5)
        board.put("main.py", HEAD + SLEEPER)
    board.cut_power()
    assert not board.sleeping and not board.running
    end = board.run()[0]
    assert end.lines == ["cause 1", "wake 0", "rtc  flash f ram False"]
    assert end.clock_ms < 946684800_000 + 5000  # 2000-01-01


def test_a_pin_wakes_earlier_where_one_was_armed(make):
    board = make(
        """
print("wake", machine.wake_reason() == machine.PIN_WAKE, machine.wake_reason())
if not notes():
    import esp32
    esp32.wake_on_ext0(pin=machine.Pin(4, machine.Pin.IN), level=esp32.WAKEUP_ANY_HIGH)
    note("armed")
machine.deepsleep(3600000)
"""
    )
    board.power_on()
    first = board.wait_sleep(5)
    assert first.pins == "ext0"
    board.wake(after_ms=60_000, pin=True)
    second = board.wait_sleep(5)
    assert second.lines[1] == "wake True 2"
    assert 60_000 <= second.clock_ms - first.clock_ms < 62_000
    with pytest.raises(RuntimeError, match="no pin"):
        board.wake(pin=True)
    board.wake()
    assert board.wait_sleep(5).lines[1] == "wake False 4"


RESETS = """
rtc = machine.RTC()
step = len(rtc.memory())
rtc.memory(rtc.memory() + b"r")
print("step", step)
try:
    if step == 0:
        machine.reset()
    if step == 1:
        machine.soft_reset()
    if step == 2:
        wdt = machine.WDT(timeout=500)
        for _ in range(10):
            time.sleep(0.07)
            wdt.feed()
        print("fed")
        time.sleep(30)
finally:
    print("finally")
machine.deepsleep(1000)
"""


def test_reset_causes_and_what_survives_a_reset(make):
    ends = make(RESETS).run()
    assert [end.reason for end in ends] == ["reset", "soft_reset", "wdt", "deepsleep"]
    assert [end.lines for end in ends] == [
        ["cause 1", "step 0"],  # a reset runs nothing any more
        ["cause 2", "step 1", "finally"],
        ["cause 5", "step 2", "fed"],
        ["cause 3", "step 3", "finally"],
    ]
    # The clock goes on.
    assert 0 < ends[3].clock_ms - ends[0].clock_ms < 5000


def test_rp2_has_neither_rtc_memory_nor_esp32_and_loses_its_clock(make):
    board = make(
        """
print(hasattr(machine.RTC(), "memory"), hasattr(machine, "wake_reason"), time.gmtime()[:3])
print(hasattr(machine, "DEEPSLEEP_RESET"), machine.RTC().datetime()[:4], len(machine.unique_id()))
try:
    import esp32
except ImportError:
    print("no esp32")
try:
    machine.WDT(timeout=8389)
except ValueError as e:
    print(e)
try:
    machine.deepsleep(5000000)
except ValueError as e:
    print(e)
note("n")
if len(notes()) == 1:
    machine.soft_reset()
machine.deepsleep(3600000)
""",
        type="rp2",
    )
    ends = board.run(wakes=2)
    assert [end.lines[0] for end in ends] == ["cause 1", "cause 1", "cause 3"]
    for end in ends:
        assert end.lines[1:] == [
            "False False (2021, 1, 1)",
            "False (2021, 1, 1, 4) 8",
            "no esp32",
            "timeout exceeds 8388",
            "sleep too long",
        ]
        assert 1609459200_000 <= end.clock_ms < 1609459200_000 + 5000


@pytest.mark.parametrize(
    ("before", "version", "short"),
    [
        ("", "1.24", 64),  # issue 16181
        ("", "1.25", 64),
        ("machine.Timer(-1, period=5000, callback=print).deinit()", "1.26", 5000),
        ("timer = machine.Timer(-1, mode=0, period=5000, callback=print)", "1.23", 5000),
    ],
    ids=["lwip, 1.24", "lwip", "stopped", "running"],
)
def test_an_alarm_ends_the_deep_sleep_of_rp2(make, before, version, short):
    """As a build of MicroPython 1.25 and one of 1.28 for RPI_PICO_W did in an emulator."""
    program = before + "\nmachine.deepsleep(3600000)\n"
    end = make(program, type="rp2", version=version).run()[0]
    assert short - 2000 < end.sleep_ms <= short
    # ESP32's does not.
    assert make(program.replace("-1", "1")).run()[0].sleep_ms == HOUR
    # dormouse sees to it.
    program = before + "\nimport dormouse.sleep.chip\ndormouse.sleep.chip.deepsleep(3600000)\n"
    assert make(program, type="rp2", version=version).run()[0].sleep_ms == HOUR


def test_no_alarm_no_early_end_of_a_deep_sleep(make):
    assert make("machine.deepsleep(3600000)", type="rp2", version="1.23").run()[0].sleep_ms == HOUR
    stopped = "machine.Timer(-1, period=5000, callback=print).deinit()\nmachine.deepsleep(3600000)"
    assert make(stopped, type="rp2", version="1.23").run()[0].sleep_ms == HOUR


@pytest.mark.parametrize("version", ["1.23", "1.25", "1.28"])
def test_deep_sleep_of_rp2_on_a_usb_host(make, version):
    """From 1.24 on each interrupt of USB ends it, and a reset follows; dormouse sleeps on."""
    end = make("machine.deepsleep(3600000)", type="rp2", version=version, usb=20).run()[0]
    assert end.sleep_ms == (HOUR if version == "1.23" else 20)
    program = "import dormouse.sleep.chip\ndormouse.sleep.chip.deepsleep(700)\n"
    board = make(program, type="rp2", version=version, usb=20)
    board.power_on()
    end = board.wait_end(10)
    assert end.reason == "reset", "with RAM lost, as at the end of a deep sleep"
    # On a busy machine some of it goes by awake.
    assert end.light_ms < 1500 and end.light_ms + end.main_ms >= 690


def test_a_person_at_the_usb_of_a_sleeping_rp2(make):
    """Ctrl-C ends the sleep: main.py is left, and the REPL is there."""
    program = "import dormouse.sleep.chip\nprint('sleeps')\ndormouse.sleep.chip.deepsleep(60000)\n"
    board = make(program, type="rp2", usb=20)
    board.power_on()
    board.wait_line("sleeps", 10)
    interrupt(board.device.pid)
    assert board.wait_end(10).reason == "interrupted"


def test_the_clock_of_a_chip(make):
    board = make(
        """
t = time.gmtime(time.time())
print(t[:6], time.gmtime(0)[0], time.time_ns() // 10**9 == int(time.time()))
print(time.mktime((2024, 2, 29, 12, 30, 15, 0, 0)))
machine.RTC().datetime((2024, 2, 29, 0, 23, 59, 58, 0))
print(machine.RTC().datetime()[:7], int(time.time()))
machine.deepsleep(3000)
"""
    )
    first, second = board.run(wakes=2)
    assert first.lines[1:] == [
        "(2000, 1, 1, 0, 0, 0) 2000 True",
        "762525015",  # s from 2000-01-01
        "(2024, 2, 29, 3, 23, 59, 58) 762566398",
    ]
    assert second.lines[1] == "(2024, 3, 1, 0, 0, 1) 2000 True"
    board = make("print(int(time.time()))", type="rp2", clock="kept")
    board.power_on(after_ms=HOUR)
    assert abs(int(board.wait_end(5).lines[1]) - time.time() - 3600) < 5


def test_a_sleep_that_is_longer_than_the_chip_believes(make):
    board = make("machine.deepsleep(1000000)\n", drift_ppm=50_000)
    world = board.time
    first, second = board.run(wakes=2)
    assert 1_000_000 <= second.clock_ms - first.clock_ms < 1_002_000
    assert 1050 <= board.time - world < 1055


WRITES = """
def put(name, text):
    with open(name + ".new", "w") as f:
        f.write(text)
    os.rename(name + ".new", name)

synced = "old"
if machine.RTC().memory() == b"set up":
    put("value", "new" * 3)
    with open("notes", "a") as f:
        f.write("12345")
    machine.deepsleep()
else:
    try:
        with open("value") as f:
            value = f.read()
    except OSError:
        value = None
    if value is None:
        put("value", synced)
        machine.RTC().memory(b"set up")
    else:
        print("value", value in (synced, "new" * 3), value[:3], notes())
    machine.deepsleep(1)
"""


@pytest.mark.once
def test_a_flash_that_dies_at_every_byte_keeps_what_was_synced(make, runtime, tmp_path):
    board = make(WRITES)
    board.run()
    with board.copy(tmp_path / "whole") as whole_board:
        whole = whole_board.run()[0]
    assert whole.written > 10
    # Every byte; the two MicroPythons share them, for their littlefs is the same.
    first = 1 if runtime is runtimes.MICROPYTHON32 else 0
    last = None
    seen = set()
    for n in range(first, whole.written + 1, 1 if runtime is runtimes.CPYTHON else 2):
        folder = tmp_path / "dying"
        shutil.rmtree(folder, ignore_errors=True)
        with board.copy(folder) as dying:
            dying.flash_dies_after(n)
            dying.wake()
            end = dying.wait_end(5)
            if n == whole.written:
                assert end.reason == "deepsleep"
                break
            assert (end.reason, end.written) == ("flash_died", n)
            after = dying.run()[0]
            assert after.cause == "power"
            assert after.lines[1].startswith("value True"), (n, after.lines)
            _, _, value, *text = after.lines[1].split(" ")
            assert "12345".startswith("".join(text)), (n, after.lines)
            seen.add((value, *text))
            assert last != "new" or value == "new"
            last = value
    assert {value for value, *_ in seen} == {"old", "new"}


def test_a_torn_write_is_on_the_flash(tmp_path):
    # CPython's folder; where there is a littlefs, it drops what is torn, as it should.
    program = "f = open('log', 'wb')\nf.write(b'abcdef')\nf.flush()\nprint('never')\n"
    with Board(runtimes.CPYTHON, tmp_path / "b", files={"main.py": program}) as board:
        board.flash_dies_after(4)
        board.power_on()
        end = board.wait_end(5)
        assert (end.reason, end.written, end.lines) == ("flash_died", 4, [])
        assert board.read("log") == b"abcd"


def test_programming_flash_clears_bits_and_erasing_sets_them(make):
    lines = (
        make(
            """
import _flash, io
flash = _flash.Flash(io.BytesIO(b"\\xff" * 64), 64, 32)
flash.writeblocks(1, b"\\x0f\\x55", 4)
flash.writeblocks(1, b"\\xf5\\x55", 4)
buf = bytearray(3)
flash.readblocks(1, buf, 3)
print([b for b in buf], flash.ioctl(4, 0), flash.ioctl(5, 0))
flash.ioctl(6, 1)
flash.readblocks(1, buf, 3)
print([b for b in buf])
machine.deepsleep(1)
"""
        )
        .run()[0]
        .lines
    )
    assert lines[1:] == ["[255, 5, 85] 2 32", "[255, 255, 255]"]


def test_flash_wear_is_counted(make, runtime):
    board = make("note('x' * 10000)\nmachine.deepsleep(1)\n")
    end = board.run()[0]
    if runtime is runtimes.CPYTHON:
        assert (end.written, end.erases) == (10000, 0)
    else:
        assert end.written > 10000 and end.writes > 3 and end.erases >= 3
    assert len(board.files()["notes"]) == 10000


@pytest.fixture
def calls_in_main(runtime):
    """Before 1.24 MicroPython's unix port runs a scheduled call in whichever thread looks first, so
    the simulated Timer cannot tell a chip's main program from its interrupt."""
    if runtime is not runtimes.CPYTHON:
        version, _ = get.probe_micropython(runtime.argv)
        if version < (1, 24):
            pytest.skip(f"MicroPython {version[0]}.{version[1]} schedules into any thread")


def test_timer_in_main_and_while_main_is_blocked(make, calls_in_main):
    program = """
def call(timer):
    print("callback")
    time.sleep(0.4)
    print("callback over")

machine.Timer(0, mode=machine.Timer.ONE_SHOT, period=20, callback=call)
if os.system("sleep 0.2") == 0:
    print("unblocked")
machine.Timer(-1).init(mode=machine.Timer.ONE_SHOT, period=60000, callback=call)
ticks = []
def bad(timer):
    ticks.append(1)
    if len(ticks) == 2:
        raise ValueError("in a callback")
    if len(ticks) == 4:
        timer.deinit()
timer = machine.Timer(1)
timer.init(period=10, callback=bad)
while len(ticks) < 4:
    time.sleep(0.005)
time.sleep(0.1)
print("ticks", len(ticks))
machine.Timer(2, mode=machine.Timer.ONE_SHOT, period=20, callback=lambda t: machine.deepsleep(1000))
os.system("exec sleep 1 > /dev/null 2>&1")
print("never")
"""
    board = make(program)
    board.power_on()
    end = board.wait_sleep(10)
    assert end.lines[1:4] == ["callback", "callback over", "unblocked"]
    assert end.lines[-1] == "ticks 4"
    assert any("in a callback" in line for line in end.lines)
    assert end.awake_ms < 2000


def test_timer_waits_for_a_blocked_interpreter_where_the_chip_does(make, calls_in_main):
    board = make(
        """
def call(timer):
    print("callback")
    machine.deepsleep(1)
machine.Timer(0, mode=machine.Timer.ONE_SHOT, period=20, callback=call)
os.system("sleep 0.3")
print("unblocked")
for _ in range(1000):
    time.sleep(0.005)
""",
        timer="vm",
    )
    line = board.run()[0].lines[-1]
    end = board.records[-1]
    assert line == "callback" and end.awake_ms >= 300


def test_timer_interrupts_asyncio(make):
    end = make(
        """
import asyncio
machine.Timer(0, mode=machine.Timer.ONE_SHOT, period=20, callback=lambda t: machine.deepsleep(1))
async def main():
    await asyncio.sleep(60)
asyncio.run(main())
"""
    ).run()[0]
    assert end.awake_ms < 2000


NVS = """
import esp32
nvs = esp32.NVS("dormouse")
buf = bytearray(8)

def tried(function, *args):
    try:
        return function(*args)
    except OSError as e:
        return e.args

print(tried(nvs.get_blob, "a", buf), bytes(buf))
if machine.reset_cause() == machine.PWRON_RESET:
    nvs.set_blob("a", b"old")
    nvs.set_i32("n", -5)
    nvs.commit()
nvs.set_blob("a", memoryview(b"newer"))
print(tried(nvs.get_blob, "a", buf), bytes(buf), tried(nvs.get_i32, "n"))
print(tried(nvs.get_blob, "a", bytearray(4)))
print(tried(nvs.set_blob, "k" * 16, b""), tried(nvs.set_blob, "k", bytes(30000)))
print(tried(nvs.get_i32, "a"), tried(nvs.erase_key, "none"))
machine.deepsleep(1)
"""


def test_nvs_keeps_what_was_committed(make):
    board = make(NVS)
    first, second = board.run(wakes=2)
    assert first.lines[1] == "(-4354, 'ESP_ERR_NVS_NOT_FOUND') " + repr(bytes(8))
    assert second.lines[1] == "3 " + repr(b"old" + bytes(5))
    for end in (first, second):
        assert end.lines[2:] == [
            "5 " + repr(b"newer" + bytes(3)) + " -5",
            "(-4364, 'ESP_ERR_NVS_INVALID_LENGTH')",
            "(-4361, 'ESP_ERR_NVS_KEY_TOO_LONG') (-4357, 'ESP_ERR_NVS_NOT_ENOUGH_SPACE')",
            "(-4354, 'ESP_ERR_NVS_NOT_FOUND') (-4354, 'ESP_ERR_NVS_NOT_FOUND')",
        ]
    assert first.written == 96 + 96 and second.written == 0


def test_nvs_cut_in_a_commit_keeps_the_old_value(make):
    board = make(
        """
import esp32
nvs = esp32.NVS("x")
buf = bytearray(3)
try:
    nvs.get_blob("a", buf)
except OSError:
    pass
print(bytes(buf))
nvs.set_blob("a", b"new" if machine.reset_cause() == machine.DEEPSLEEP_RESET else b"old")
nvs.commit()
machine.deepsleep(1)
"""
    )
    first = board.run()[0]
    board.flash_dies_after(first.written - 1)
    board.wake()
    assert board.wait_end(5).reason == "flash_died"
    assert first.written == 96
    ends = board.run(wakes=3)  # the first of them sets the old value again
    assert [end.lines[1] for end in ends] == [repr(b"old"), repr(b"old"), repr(b"new")]


def test_rtc_memory_has_2048_bytes(make):
    lines = (
        make(
            """
rtc = machine.RTC()
rtc.memory(bytes(2048))
try:
    rtc.memory(bytes(2049))
except ValueError as e:
    print(e, len(rtc.memory()))
rtc.memory(b"short")
print(rtc.memory())
machine.deepsleep(1)
"""
        )
        .run()[0]
        .lines
    )
    assert lines[1:] == ["buffer too long 2048", repr(b"short")]


def test_how_a_program_can_end(make):
    board = make(
        """
note("n")
if len(notes()) == 1:
    raise OSError(5, "oops")
if len(notes()) == 2:
    sys.exit()
"""
    )
    board.power_on()
    end = board.wait_end(5)
    assert end.reason == "exception" and any("oops" in line for line in end.lines)
    board.power_on()
    assert board.wait_end(5).reason == "soft_reset"  # as on a chip
    with pytest.raises(RuntimeError, match="has power"):
        board.power_on()
    board.restart()
    end = board.wait_end(5)
    assert (end.reason, end.lines) == ("exit", ["cause 5"])
    with pytest.raises(RuntimeError, match="does not sleep"):
        board.wake()
    board.power_on()
    assert board.wait_end(5).lines == ["cause 1"]


def test_pins_frequency_and_id(make):
    board = make(
        """
pin, led = machine.Pin(4, machine.Pin.IN, machine.Pin.PULL_UP), machine.Pin(2, machine.Pin.OUT)
led.on()
print(pin.value(), pin(), led.value(), machine.Pin(5, machine.Pin.IN).value())
machine.freq(80000000)
print(machine.freq(), machine.unique_id() == bytes([0, 0, 0, 0, 0xAB, 0xCD]))
machine.idle()
""",
        unique_id="abcd",
    )
    (board.folder / "pins.json").write_text('{"4": 1}')
    board.power_on()
    assert board.wait_end(5).lines[1:] == ["1 1 1 0", "80000000 True"]


def test_light_sleep_does_not_count_as_awake(make):
    end = make(
        """
machine.lightsleep(500)
print(machine.wake_reason() == machine.TIMER_WAKE)
machine.deepsleep(1)
"""
    ).run()[0]
    assert end.lines[1] == "True"
    assert 500 <= end.light_ms < 2000 and end.awake_ms < 450


def test_a_program_and_its_files_from_the_host(runtime, tmp_path):
    main = tmp_path / "programs" / "main.py"
    main.parent.mkdir()
    (main.parent / "beside.py").write_text("name = 'beside'\n")
    main.write_text(
        "import json, sys, os\nimport dormouse, beside, more\n"
        "print(json.load(open('config.json'))['n'], sys.argv[1:], beside.name, more.name)\n"
        "print(os.getenv('DORMOUSE_BOARD') is not None, 'machine' in sys.modules)\n"
    )
    files = {
        "config.json": {"n": 7},
        "boot.py": "print('boot.py')\n",
        "lib/more.py": b"name = 'more'\n",
    }
    with Board(runtime, tmp_path / "b", main, files, args=("a", "b")) as board:
        board.power_on()
        end = board.wait_end(5)
        assert end.lines == ["boot.py", "7 ['a', 'b'] beside more", "True False"]
        assert board.files() == {k: _bytes(v) for k, v in files.items()}


def _bytes(data):
    if isinstance(data, dict):
        data = json.dumps(data)
    return data if isinstance(data, bytes) else data.encode()


def by_hand(runtime, folder, program, *options):
    (folder / "put").mkdir(parents=True)
    (folder / "put" / "main.py").write_text(HEAD + program)
    return runtime.start(RUNNER, *options, str(folder))


def test_by_hand_the_board_goes_on_by_itself(runtime, tmp_path):
    program = """
rtc = machine.RTC()
rtc.memory(rtc.memory() + b"r")
if len(rtc.memory()) == 1:
    machine.deepsleep(100000000)
if len(rtc.memory()) == 2:
    machine.reset()
if len(rtc.memory()) == 3:
    machine.deepsleep(50)
print("end", time.time() >= 100000)
"""
    with by_hand(runtime, tmp_path / "b", program, "--fast") as device:
        assert device.wait_exit(10) == 0
        assert device.lines == ["cause 1", "cause 4", "cause 2", "cause 4", "end True"]


def test_by_hand_no_connection_outlives_a_boot(runtime, tmp_path):
    program = """
import socket
if machine.reset_cause() == machine.DEEPSLEEP_RESET:
    time.sleep(60)
s = socket.socket()
s.connect(socket.getaddrinfo("127.0.0.1", PORT)[0][-1])
machine.deepsleep(1)
"""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(5)
        program = program.replace("PORT", str(server.getsockname()[1]))
        with by_hand(runtime, tmp_path / "b", program, "--fast") as device:
            connection, _ = server.accept()
            with connection:
                connection.settimeout(5)
                assert connection.recv(1) == b""
                device.wait_line("cause 4", 5)


@pytest.mark.parametrize("program", ["time.sleep(60)", "machine.deepsleep(60000)"])
def test_by_hand_ctrl_c_is_clean(runtime, tmp_path, program):
    with by_hand(runtime, tmp_path / "b", program) as device:
        device.wait_line("cause", 5)
        name = "boot.json" if "machine" in program else "boots"
        while not (tmp_path / "b" / name).exists():
            time.sleep(0.001)
        interrupt(device.pid)
        assert device.wait_exit(5) == 130
        assert device.lines == ["cause 1"]


def test_by_hand_help(runtime, tmp_path):
    with runtime.start(RUNNER, "--help") as device:
        assert device.wait_exit(5) == 0
        assert "--fast" in "\n".join(device.lines)
    with runtime.start(RUNNER, "--wrong", str(tmp_path)) as device:
        assert device.wait_exit(5) == 2
    for wrong in (
        ("--dies-after", "x", str(tmp_path)),
        ("--wake", "door", str(tmp_path)),
        ("--version", "new", str(tmp_path)),
        (str(tmp_path), "no_such.py"),
    ):
        with runtime.start(RUNNER, *wrong) as device:
            assert device.wait_exit(5) == 2
            (line,) = device.lines
            assert line.endswith((f"{wrong[1]}: see --help", "no_such.py: no such program"))


def test_records_of_boots_nobody_waited_for(make):
    board = make("machine.deepsleep(1000)\n")
    for _ in range(3):
        device = board.go_on()
        device.wait_exit(5)
    with (board.folder / "boots.jsonl").open("a") as f:
        f.write('{"boot": 3, "ca')  # killed in the middle of the line
    board.wake()
    end = board.wait_sleep(5)
    assert end is board.wait_end(5)
    assert [e.boot for e in board.records] == [1, 2, 3, 4]
    assert [e.lines for e in board.records] == [["cause 1"]] + [["cause 4"]] * 3


def test_a_wrong_configuration_is_refused(make):
    board = make("", colour="red")
    assert board.power_on().wait_exit(5) == 1
    assert "unknown key colour" in board.lines[-1]


def test_a_boot_that_was_killed_left_no_record(make):
    board = make("print('up')\nwhile True: time.sleep(1)\n")
    board.power_on()
    board.wait_line("up", 5)
    with pytest.raises(RuntimeError, match="running"):
        board.power_on()
    board.device.kill()
    with pytest.raises(AssertionError, match="no record"):
        board.wait_end(1)

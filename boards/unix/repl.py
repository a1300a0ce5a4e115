"""The simulated board with a REPL, for a host that talks to it as over a serial port.

    micropython boards/unix/repl.py FOLDER STATUS_FD MODE

Only host_tests/harness/serial_board.py starts it. On stdin and stdout is the REPL.
MODE is `friendly` (boot.py, main.py, REPL) or `raw` (boot.py, raw REPL), as shared/runtime/pyexec.c
and the ports' main.c have it. On STATUS_FD goes a byte when it matters to the host: b busy with a
program, i idle at a prompt, h neither (between two programs nobody reads what is typed), R and F
for the mode in which the board starts next.
"""

import io
import os
import sys

FOLDER, STATUS, MODE = sys.argv[1:4]
HERE = __file__.rsplit("/", 1)[0]
WINDOW = 128  # of raw paste mode: MICROPY_REPL_STDIN_BUFFER_MAX / 2

sys.path[:] = [HERE, ".frozen"]
import _board  # noqa: E402
import _flash  # noqa: E402

status = open(int(STATUS), "wb", 0)
stdin = sys.stdin.buffer
stdout = sys.stdout.buffer


def tell(mark):
    status.write(mark)


def busy(then, function, *args):
    """Run something that Ctrl-C interrupts, and tell `then`; return the error, or None."""
    try:
        tell(b"b")
        try:
            function(*args)
        finally:
            tell(then)
    except SystemExit:  # ports/esp32/main.c, ports/rp2/main.c: soft_reset_exit
        _board.end("soft_reset")
    except BaseException as error:
        text = io.StringIO()
        sys.print_exception(error, text)
        return text.getvalue()


def run_file(name):
    try:
        with open(name) as f:
            source = f.read()
    except OSError:
        return
    error = busy(b"h", lambda: exec(compile(source, name, "exec"), names))  # a SyntaxError, too
    if error:
        stdout.write(error.encode())


def run_text(source, kind):
    try:
        code = compile(source, "<stdin>", kind)
    except Exception as error:
        text = io.StringIO()
        sys.print_exception(error, text)
        return text.getvalue()
    return busy(b"i", exec, code, names)


def byte():
    while True:
        try:
            data = stdin.read(1)
        except KeyboardInterrupt:  # it came when the program had just ended
            return 3
        if not data:
            _board.end("exit")
        return data[0]


def raw_answer(source):
    """Run what the host sent; the answer is output, \x04, error, \x04."""
    error = run_text(source, "exec")
    stdout.write(b"\x04" + (error or "").encode() + b"\x04>")


def raw_paste():
    if (byte(), byte()) != (65, 1):  # "A\x01"
        stdout.write(b"R\x00")
        return
    stdout.write(b"R\x01" + bytes((WINDOW, 0)) + b"\x01")
    source = bytearray()
    while True:
        c = byte()
        if c == 4:
            break
        if c == 3:  # pyexec.c, mp_reader_stdin_readbyte: nothing is run
            stdout.write(b"\x04\x04KeyboardInterrupt: \r\n\x04>")
            return
        source.append(c)
        if len(source) % WINDOW == 0:
            stdout.write(b"\x01")
    stdout.write(b"\x04")
    raw_answer(source.decode())


def soft_reset(mark):
    tell(mark)
    stdout.write(b"MPY: soft reboot\r\n")
    _board.end("soft_reset")


def raw():
    """The raw REPL, until Ctrl-B."""
    tell(b"i")
    stdout.write(b"raw REPL; CTRL-B to exit\r\n>")
    source = bytearray()
    while True:
        c = byte()
        if c == 1:
            return raw()
        if c == 2:
            stdout.write(b"\r\n")
            return
        if c == 3:
            source = bytearray()
        elif c == 4:
            stdout.write(b"OK")
            if not source:
                stdout.write(b"\r\n")
                soft_reset(b"R")
            raw_answer(source.decode())
            source = bytearray()
        elif c == 5 and not source:
            raw_paste()
        else:
            source.append(c)


def friendly():
    """The REPL for people, in the end for ever: one line at a time."""
    tell(b"i")
    while True:
        stdout.write(b"MicroPython on the simulated board\r\n>>> ")
        line = bytearray()
        while True:
            c = byte()
            if c == 1:
                raw()
                break
            if c == 2:
                break
            if c == 3:
                line = bytearray()
                stdout.write(b"\r\n>>> ")
            elif c == 4 and not line:
                stdout.write(b"\r\n")
                soft_reset(b"F")
            elif c in b"\r\n":
                stdout.write(b"\r\n")
                if line:
                    stdout.write((run_text(line.decode(), "single") or "").encode())
                stdout.write(b">>> ")
                line = bytearray()
            else:
                line.append(c)
                stdout.write(bytes((c,)))


_board.configure(FOLDER)
os.putenv("DORMOUSE_BOARD", FOLDER)  # where network.py looks
_board.begin("timer", None)
# As on a chip: what is frozen, and the flash. dormouse is only there when somebody installs it.
sys.path[:] = [HERE, "", ".frozen", "/flash/lib"]
if _board.state.esp32:
    sys.path.insert(0, HERE + "/chip_esp32")
_flash.mount()
import machine  # noqa: E402

machine.bootloader = lambda timeout=0: _board.end("bootloader")
names = {"__name__": "__main__"}
run_file("boot.py")
if MODE == "raw":
    raw()
else:
    run_file("main.py")
friendly()

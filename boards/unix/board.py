"""The simulated board: starts a node on MicroPython unix or CPython as a chip would."""

import os
import sys

HELP = """\
micropython boards/unix/board.py [OPTIONS] FOLDER [MAIN [ARGUMENT ...]]

The simulated board. Runs boot.py and main.py from the board's flash, or MAIN from this machine.
After a deep sleep or a reset it starts again, until main.py ends or Ctrl-C. The board's parts are
files in FOLDER, which is made when missing: see README.md beside this file. python3 will do, too.

    --fast            do not wait while the board sleeps deeply: its clock jumps
    --once            end after one boot, whatever ended it
    --wake timer|pin  what ended the deep sleep before this boot (timer)
    --after-ms MS     ... after this time, and not after the one planned
    --dies-after N    the power is cut when N more bytes were programmed
    --version V       behave as this version of MicroPython does, where they differ (1.25)
    --list            only print the sizes and names of the files on the flash
    --read NAME       only print a file of the flash, in hex
    --repl            then the prompt, if started by `micropython -i` or `python3 -i`
    --help            only print this"""

_HERE = __file__.rsplit("/", 1)[0] if "/" in __file__ else "."
_VALUES = ("--wake", "--after-ms", "--dies-after", "--version", "--read")
_FLAGS = ("--fast", "--once", "--list", "--repl", "--help")


def parse(args):
    """Return the options as a dict, and what follows them. Exits with status 2 if it cannot."""
    options = {}
    args = list(args)
    while args and args[0][:2] == "--":
        name = args.pop(0)
        if name in _VALUES and args:
            options[name] = args.pop(0)
        elif name in _FLAGS:
            options[name] = True
        else:
            args = []
            break
    if "--help" in options or not args:
        print(HELP)
        sys.exit(0 if "--help" in options else 2)
    for name in options:
        if not _can_be(name, options[name]):
            print("%s %s: see --help" % (name, options[name]))
            sys.exit(2)
    return options, args


def _can_be(name, value):
    if name == "--version":
        return all(part.isdigit() for part in value.split("."))
    if name == "--wake":
        return value in ("timer", "pin")
    return value.isdigit() if name in ("--after-ms", "--dies-after") else True


def absolute(path):
    return path if path[:1] == "/" else os.getcwd() + "/" + path


def number(options, name):
    return int(options[name]) if name in options else None


def set_path(main):
    """Let ``import`` find what it would find on a chip, and what stands for the frozen modules."""
    here = absolute(_HERE)
    firmware = here.rsplit("/", 2)[0] + "/firmware"
    path = [p for p in sys.path if p not in ("", here, _HERE)]
    if firmware not in path:
        path.append(firmware)
    if main:
        path.insert(0, main.rsplit("/", 1)[0])
    if _board.state.esp32:
        path.insert(0, here + "/chip_esp32")
    sys.path[:] = ["", here] + path + ["lib"]


def set_time():
    """CPython: the board's clock. (On MicroPython time.py stands before the built-in module.)"""
    import time

    epoch = _board.EPOCHS[_board.state.config["type"]]
    gmtime = time.gmtime

    def board_time():
        return _board.clock_ns() / 1e9 - epoch

    def board_gmtime(secs=None):
        return gmtime((board_time() if secs is None else secs) + epoch)

    time.time = board_time
    time.time_ns = lambda: _board.clock_ns() - epoch * 10**9
    time.gmtime = time.localtime = board_gmtime
    time.mktime = lambda t: _board.seconds(*t[:6]) - epoch


# boot.py's names are main.py's, too (shared/runtime/pyexec.c).
main_module = {"__name__": "__main__"}


def run(path):
    """Run a program as the main module."""
    with open(path) as f:
        source = f.read()
    main_module["__file__"] = path
    exec(compile(source, path, "exec"), main_module)


def show(options):
    if "--read" in options:
        with open(options["--read"], "rb") as f:
            data = True
            while data:  # line by line: it may be larger than the heap
                data = f.read(512)
                print("".join("%02x" % byte for byte in data))
        return
    folders = ["."]
    while folders:
        folder = folders.pop()
        for name in sorted(os.listdir(folder)):
            path = name if folder == "." else folder + "/" + name
            stat = os.stat(path)
            if stat[0] & 0x4000:
                folders.append(path)
            else:
                print(stat[6], path)


def repl():
    """Nobody is at the REPL, where a chip is when main.py has ended: a watchdog goes on (but not
    one of days, which a program has put off for a person)."""
    machine = sys.modules.get("machine")
    while machine and machine.WDT._run and machine.WDT._run[0] < 86400000:
        _board.sleep(1)


def console():
    """Leave the program's names for the prompt of the Python that was started with -i."""
    globals().update(main_module)
    print("(at its prompt, as a chip is when main.py has ended; Ctrl-D ends it)")


def boot(main, prompt=False):
    """Run boot.py and the main program; end the boot as a chip would, however they end.

    prompt: but for an end at which a chip is at its prompt.
    """
    end = _board.end
    try:
        try:
            os.stat("boot.py")
        except OSError:
            pass
        else:
            run("boot.py")
        _board.state.main = _board.ticks_ms()
        run(main)
    except SystemExit:  # ports/esp32/main.c, ports/rp2/main.c: soft_reset_exit
        end("soft_reset")
    except KeyboardInterrupt:
        if prompt:
            return console()
        end("interrupted", status=130)
    except BaseException as error:
        if _board.MICROPYTHON:
            sys.print_exception(error)
        else:
            import traceback

            traceback.print_exception(error)
        if prompt:
            return console()
        repl()
        end("exception", status=1)
    if prompt:
        return console()
    repl()
    end("exit")


if __name__ == "__main__":
    options, args = parse(sys.argv[1:])
    main = absolute(args[1]) if len(args) > 1 else None
    if main:
        try:
            os.stat(main)
        except OSError:
            print("%s: no such program" % main)
            sys.exit(2)
    folder = absolute(args[0])
    try:
        os.mkdir(folder)
    except OSError:
        pass
    import _board
    import _flash

    _board.configure(folder, options.get("--version"))
    if _board.MICROPYTHON:
        os.putenv("DORMOUSE_BOARD", folder)  # where network.py looks
    else:
        os.environ["DORMOUSE_BOARD"] = folder
    if "--list" in options or "--read" in options:
        _flash.mount()
        show(options)
        sys.exit()
    _board.state.live = "--once" not in options
    _board.state.fast = "--fast" in options
    _board.begin(options.get("--wake"), number(options, "--after-ms"))
    set_path(main)
    if not _board.MICROPYTHON:
        set_time()
    _flash.mount()
    # Not before: a new flash is formatted, and gets its files, in the factory.
    _board.state.dies_after = number(options, "--dies-after")
    sys.argv[:] = [main or "main.py"] + args[2:]
    boot(main or "main.py", "--repl" in options)

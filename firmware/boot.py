"""Puts an update in place, and the old version back if the new one does not connect (docs/ota.md).

MicroPython runs this at each start before main.py. It needs nothing but MicroPython itself, for an
update may replace everything else, and it is never updated itself. ``dormouse/ota.py`` writes
update.json when a new version is on flash whole and verified: a line of JSON. Behind that line this
file notes how far it is, a byte each: an appended byte is there or not, on littlefs and on FAT,
which cannot rename onto a file.
    (none)  all NAME.new are to be put in place: NAME -> NAME.old, NAME.new -> NAME
    0 - 9   a try of the new version began; the digit is machine.reset_cause()
    B, b    the old version is to be put back, NAME.old -> NAME; it is back
    D       the new version has connected, and stays
"""


def _boot():
    import os

    try:
        os.stat("update.json")
    except OSError:
        return  # all of normal life
    import json

    import machine

    def note(mark):
        with open("update.json", "a") as f:
            f.write(mark)

    def move(a, b):
        # If there is an ``a``: then ``b`` is what was meant to be replaced.
        try:
            os.stat(a)
        except OSError:
            return
        remove(b)
        os.rename(a, b)

    def remove(name):
        try:
            os.remove(name)
        except OSError:
            pass

    with open("update.json") as f:
        plan = json.loads(f.readline())
        marks = f.read()
    if marks[-1:] in ("b", "D"):
        return  # the application will tell, and clear up
    back = "B" in marks or len(marks) >= plan["tries"]
    try:
        # Each step looks at what is there, so a cut at any moment is gone on from.
        if not marks:
            for name, kind in plan["files"]:  # kind: 0 is replaced, 1 is new, 2 goes away
                try:
                    if kind < 2:
                        os.stat(name + ".new")
                except OSError:
                    continue  # done
                move(name, name + ".old")
                move(name + ".new", name)
        if not back:
            note(str(machine.reset_cause()))
    except OSError:  # full or worn: a try that is not counted would have no end
        back = True
    if back:
        try:
            if "B" not in marks:
                note("B")
        except OSError:
            pass  # there may be room when the new files are gone
        for name, kind in plan["files"]:
            remove(name + ".new")
            if kind == 1:
                remove(name)
            else:
                move(name + ".old", name)
        note("b")
        return
    # A syntax error or a loop ends nowhere; the watchdog ends it. An application that lives takes
    # it over (dormouse.guard, or machine.WDT) and feeds it.
    ms = plan["watchdog"]
    try:
        machine.WDT(timeout=ms)
    except ValueError:
        machine.WDT(timeout=8388)  # the longest on RP2040 (ports/rp2/machine_wdt.c)

    # One that stays awake and feeds it, but does not connect, is ended too.
    def late(_=None):
        try:
            os.stat("update.json")
            machine.reset()
        except OSError:
            pass

    import sys

    if sys.platform == "rp2":  # as in dormouse/sleep.py: RP2 has timers, ESP32 threads
        machine.Timer(-1, mode=0, period=plan["limit"] * 1000, callback=late)
    else:
        import _thread
        import time

        def watch():
            time.sleep(plan["limit"])
            late()

        _thread.start_new_thread(watch, ())


try:
    _boot()
except Exception as e:  # with an error here MicroPython would not run main.py
    print("boot.py:", repr(e))
del _boot

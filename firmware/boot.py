"""Puts an update in place, and the old version back if the new one does not connect (docs/ota.md).

MicroPython runs this at each start before main.py. It needs nothing but MicroPython itself, for an
update may replace everything else, and it is never updated itself. ``dormouse/field/ota.py`` writes
update.json when a new version is on flash whole and verified: a line of JSON. Behind that line this
file notes how far it is, a byte each (an appended byte is there or not, on littlefs and on FAT):
    (none)  nothing is done; first NAME is copied to NAME.old, for all files
    A       NAME.new is to be copied to NAME, for all files
    0 - 9   a try of the new version began; the digit is machine.reset_cause()
    B, b    the old version is to be put back, NAME.old to NAME; it is back
    D       the new version has connected, and stays
What is copied stays until that is noted, so a cut at any moment is gone on from. (A rename that
loses power on FAT may leave one file with two names, and no file when one of them is removed.)
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

    def copy(a, b):
        buf = bytearray(512)
        with open(a, "rb") as f, open(b, "wb") as g:
            n = 1
            while n:
                n = f.readinto(buf)
                g.write(memoryview(buf)[:n])

    def remove(name):
        try:
            os.remove(name)
        except OSError:
            pass

    with open("update.json") as f:
        plan = f.readline()
        marks = f.read()
    if plan[-1:] != "\n":  # it was being written; all it needs is still there
        remove("update.json")
        return
    plan = json.loads(plan)
    files = plan["files"]  # name, kind: 0 is replaced, 1 is new, 2 goes away
    if marks[-1:] in ("b", "D"):
        return  # the application will tell, and clear up
    if not marks:
        try:
            for name, kind in files:
                if kind != 1:
                    copy(name, name + ".old")
        except OSError:
            note("b")
            return
        note("A")
        marks = "A"
    back = "B" in marks or len(marks) > plan["tries"]
    try:
        if marks == "A":
            for name, kind in files:
                if kind == 2:
                    remove(name)
                else:
                    copy(name + ".new", name)
        if not back:
            note(str(machine.reset_cause()))
    except OSError:  # full or worn: a try that is not counted would have no end
        back = True
    if back:
        for name, _ in files:
            remove(name + ".new")  # room
        if "B" not in marks:
            note("B")
        for name, kind in files:
            if kind == 1:
                remove(name)
                continue
            try:
                copy(name + ".old", name)
            except OSError:  # the new version has filled the flash: a rename needs no room
                try:
                    os.rename(name + ".old", name)
                except OSError:
                    pass  # done before a cut
        note("b")
        return
    # A syntax error or a loop ends nowhere; the watchdog ends it. An application that lives takes
    # it over (dormouse.field.guard, or machine.WDT) and feeds it.
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

    if sys.platform == "rp2":  # as in dormouse/sleep/node.py: RP2 has timers, ESP32 threads
        return machine.Timer(-1, mode=0, period=plan["limit"] * 1000, callback=late)
    else:
        import _thread
        import time

        def watch():
            time.sleep(plan["limit"])
            late()

        _thread.start_new_thread(watch, ())


try:
    _boot = _boot()  # a Timer that no name holds is stopped by the next garbage collection
except Exception as e:  # with an error here MicroPython would not run main.py
    print("boot.py:", repr(e))

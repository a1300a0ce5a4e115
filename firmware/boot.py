"""Puts an update in place, and the old version back if the new one does not connect (docs/ota.md).

MicroPython runs this at each start before main.py. It needs nothing but MicroPython itself, for an
update may replace everything else, and it is never updated itself. ``dormouse.field.ota`` writes
update.json when a new version is on flash whole and verified: a line of JSON. Behind that line this
file notes how far it is, a byte each (an appended byte is there or not, on littlefs and on FAT):
    (none)  nothing is done; first NAME is copied to NAME.old, for all files
    A       NAME is to be copied out of update.part, for all files
    0 - 9   a try of the new version began; the digit is machine.reset_cause()
    B, b    the old version is to be put back, NAME.old to NAME; it is back
    D       the new version has connected, and stays
What is copied stays until that is noted, so a cut at any moment is gone on from. (A rename that
loses power on FAT may leave one file with two names, and no file when one of them is removed.)
An update.json that cannot be read is no update: it is moved aside.
"""


def _boot():
    import os

    try:
        os.stat("update.json")
    except OSError:
        return  # all of normal life
    import json
    import time

    import machine

    BUF = memoryview(bytearray(512))
    WAITS = 20, 100, 400, 0  # ms: what is wrong with a medium may pass

    def note(mark):
        with open("update.json", "a") as f:
            f.write(mark)

    def copy(a, b):
        with open(a, "rb") as f, open(b, "wb") as g:
            n = 1
            while n:
                n = f.readinto(BUF)
                g.write(BUF[:n])

    def take(name, at, n):
        # Content, of which 32 bytes stand before each chunk (dormouse/field/ota.py).
        for i, c in enumerate(name):
            if c == "/":
                try:
                    os.mkdir(name[:i])
                except OSError:
                    pass  # it is there; if not, open() tells
        with open("update.part", "rb") as f, open(name, "wb") as g:
            while n:
                i, k = divmod(at, chunk)
                f.seek(skip + i * (chunk + 32) + 32 + k)
                k = f.readinto(BUF[: min(512, n, chunk - k)])
                if not k:
                    raise OSError(5)
                g.write(BUF[:k])
                at += k
                n -= k

    def remove(name):
        try:
            os.remove(name)
        except OSError:
            pass

    def restore(name):
        try:
            copy(name + ".old", name)
        except OSError as e:
            if e.errno != 2:  # ENOENT: done before a cut
                # The new version has filled the flash: a rename needs no room. (But FAT's takes no
                # name that is there.)
                remove(name)
                os.rename(name + ".old", name)

    try:
        for ms in WAITS:
            try:
                with open("update.json", "rb") as f:
                    line = f.readline()
                    marks = f.read()
                break
            except OSError:
                if not ms:
                    raise
                time.sleep(ms / 1000)
        marks = str(marks, "utf-8")
        if line[-1:] != b"\n":  # it was being written; all it needs is still there
            remove("update.json")
            return
        plan = json.loads(line)
        # name; kind: 0 is replaced, 1 is new, 2 goes away; its place and length in the content
        files = plan["files"]
        chunk = plan["chunk"]
        skip = plan["skip"]
        tries = plan["tries"] + 0
        ms = plan["watchdog"] + 0
        limit = plan["limit"] * 1000
        for name, kind, at, n in files:
            name + "", kind + at + n + chunk + skip
        if marks[:1] not in ("", "A", "b"):
            raise ValueError
    except Exception:
        remove("update.bad")
        try:
            os.rename("update.json", "update.bad")
        except OSError:
            remove("update.json")
        raise
    if marks[-1:] in ("b", "D"):
        return  # the application will tell, and clear up
    if not marks:
        try:
            for name, kind, _, _ in files:
                if kind != 1:
                    copy(name, name + ".old")
        except OSError:
            note("b")
            return
        note("A")
        marks = "A"
    back = "B" in marks or len(marks) > tries
    try:
        if marks == "A":
            for name, kind, at, n in files:
                if kind == 2:
                    remove(name)
                else:
                    take(name, at, n)
        if not back:
            note(str(machine.reset_cause()))
    except Exception:  # full, worn, no such place: a try that is not counted would have no end
        back = True
    if back:
        remove("update.part")  # room
        if "B" not in marks:
            note("B")
        for ms in WAITS:
            try:
                for name, kind, _, _ in files:
                    if kind == 1:
                        remove(name)
                    else:
                        restore(name)
                note("b")
                return
            except OSError:
                if not ms:
                    raise  # the next start tries again
                time.sleep(ms / 1000)
    # A syntax error or a loop ends nowhere; the watchdog ends it. An application that lives takes
    # it over (dormouse.field.guard, or machine.WDT) and feeds it.
    try:
        machine.WDT(timeout=ms)
    except ValueError:
        machine.WDT(timeout=8388)  # the longest on RP2040 (ports/rp2/machine_wdt.c)

    # One that stays awake and feeds it, but does not connect, is ended too.
    def late(_=None):
        try:
            os.stat("update.json")
        except OSError as e:
            if e.errno == 2:  # ENOENT: it has connected
                return
        machine.reset()

    import sys

    if sys.platform == "rp2":  # as in dormouse/sleep/node.py: RP2 has timers, ESP32 threads
        return machine.Timer(-1, mode=0, period=limit, callback=late)
    else:
        import _thread

        def watch():
            time.sleep(limit // 1000)
            late()

        _thread.start_new_thread(watch, ())


try:
    _boot = _boot()  # a Timer that no name holds is stopped by the next garbage collection
except Exception as e:  # with an error here MicroPython would not run main.py
    print("boot.py:", repr(e))

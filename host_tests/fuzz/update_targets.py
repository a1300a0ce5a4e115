"""Targets (see targets.py): updates, what a node finds of them at its start, boot.py, orders."""

import os
import sys
from binascii import crc32, hexlify
from hashlib import sha256

import dormouse
from wrong import Wrong

SECRET = "s" * 32
FILES = ("update.part", "update.json", "update.id", "update.id2")
CONTENT = b"300 main.py\n" + b"x" * 300
CHUNK = 128


class Update:
    """What an honest owner publishes."""

    def __init__(self, id):
        self.id = id
        self.chunks = []
        after = bytes(32)
        for at in range((len(CONTENT) - 1) // CHUNK * CHUNK, -1, -CHUNK):
            self.chunks.insert(0, after + CONTENT[at : at + CHUNK])
            after = sha256(self.chunks[0]).digest()
        words = ("dormouse-update", id, "main", "green/+", "-", 1 << 24, 0, 0, len(CONTENT), 12)
        words += (CHUNK, _hex(after), 3, 60, 8000)
        self.text = " ".join([str(word) for word in words])

    def arrives(self, ota):
        """All of it, as retained messages do; return the last report."""
        report = ota.take("", signed_by_owner(self.text))
        for n in range(len(self.chunks)):
            report = ota.take("%d/%d" % (self.id, n), self.chunks[n]) or report
        return report


def _hex(data):
    return str(hexlify(data), "utf-8")


def signed_by_owner(text):
    import dormouse.field.ota as module

    return (text + "\n" + _hex(module.hmac(SECRET.encode(), text.encode()))).encode()


def _node(**content):
    # A node without updates, but for what its files hold.
    import dormouse.field.ota as module

    for name in FILES + ("update.bad", "main.py.old"):
        try:
            os.remove(name)
        except OSError:
            pass
    content["main.py"] = b"old"
    for name, data in content.items():
        with open(name, "wb") as f:
            f.write(data)
    return module.Ota(SECRET, "green/7")


def _sizes():
    out = []
    for name in FILES:
        try:
            out.append(os.stat(name)[6])
        except OSError:
            out.append(-1)
    return out


def _updated(ota):
    # Whatever was said, the owner's next update arrives.
    u = Update(ota._recall()[0] + 1)
    report = u.arrives(ota)
    if not ota.ready or not report or '"trial"' not in report:
        raise Wrong("an honest update does not arrive: %s" % report)


def offer(data):
    ota = _node()
    u = Update(5)
    if data and data[0] & 1:  # it is on its way
        ota.take("", signed_by_owner(u.text))
        ota.take("5/0", u.chunks[0])
    before = _sizes()
    name = "5/%d" % (data[0] >> 2) if data and data[0] & 2 else ""
    report = ota.take(name, data[1:])
    if report or _sizes() != before:
        raise Wrong("what is not the owner's costs something: %s" % report)
    _updated(ota)


def signed(data):
    try:
        text = str(data, "utf-8")
    except ValueError:
        return
    ota = _node()
    ota.take("", signed_by_owner(text))
    import dormouse.field.ota as module

    if ota.ready:
        return
    ota = module.Ota(SECRET, "green/7")  # the power was cut
    ota.take("5/0", data)
    if ota.ready:
        return
    _updated(ota)


def update(data):
    from dormouse import Client

    if not data:
        return
    content = {FILES[data[0] & 3]: data[1:]}
    if data[0] & 4 and not data[0] & 2:  # the records of what was, beside it
        content["update.id"] = content["update.id2"] = b'[4, 4, "done", null, "", 4]\n6d4d5291'
    ota = _node(**content)
    client = Client("h", client_id="c")
    ota.confirm(client)
    ota.fetch(client)
    if ota.ready or ota.trial:  # boot.py's turn
        return
    if _sizes()[1] >= 0:
        raise Wrong("a plan that nobody follows stays")
    _updated(ota)


class PowerCut(BaseException):
    """The power is gone."""


class Flash:
    """Files in RAM, in the place of the modules os and io: what is written there may name any file.

    ``room``: bytes in all. ``fuse``: how many may still be written until the power is cut, or None.
    """

    def __init__(self, files, room=8192):
        self.files = files
        self.room = room
        self.fuse = None

    def spend(self, n):
        if self.fuse is not None:
            if n > self.fuse:
                raise PowerCut
            self.fuse -= n

    def free(self):
        return self.room - sum([len(data) for data in self.files.values()])

    def stat(self, name):
        if name not in self.files:
            raise OSError(2, "ENOENT")
        return (0x8000, 0, 0, 0, 0, 0, len(self.files[name]), 0, 0, 0)

    def statvfs(self, name):
        return (512, 512, 0, self.free() // 512) + (0,) * 6

    def listdir(self, folder):
        return list(self.files)

    def mkdir(self, name):
        raise OSError(17)

    def remove(self, name):
        self.stat(name)
        self.spend(1)
        del self.files[name]

    def rename(self, old, new):
        self.stat(old)
        self.spend(1)
        self.files[new] = self.files.pop(old)

    def open(self, name, mode="r"):
        if not isinstance(name, str):
            raise TypeError
        if mode[0] == "w" or (mode[0] == "a" and name not in self.files):
            self.spend(1)
            self.files[name] = b""
        self.stat(name)
        return File(self, name, mode)


class File:
    """One of them that is open."""

    def __init__(self, flash, name, mode):
        self.flash = flash
        self.name = name
        self.text = "b" not in mode
        self.at = len(flash.files[name]) if mode[0] == "a" else 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def seek(self, at):
        if at < 0:
            raise ValueError
        self.at = at

    def read(self, n=-1):
        data = self.flash.files[self.name][self.at :]
        if self.text:
            data = str(data, "utf-8")
        if n >= 0:
            data = data[:n]
        self.at += len(data)
        return data

    def readline(self):
        data = self.flash.files[self.name][self.at :]
        data = data[: data.find(b"\n") + 1] or data
        self.at += len(data)
        return data

    def readinto(self, buf):
        data = self.read(len(buf))
        buf[: len(data)] = data
        return len(data)

    def write(self, data):
        data = data.encode() if self.text else bytes(data)
        flash = self.flash
        while data:  # some of it may be there when the power goes, or when there is no more room
            part = data[:16]
            data = data[16:]
            if flash.free() < len(part):
                raise OSError(28)
            flash.spend(len(part))
            old = flash.files[self.name]
            flash.files[self.name] = old[: self.at] + part + old[self.at + len(part) :]
            self.at += len(part)


class Stub:
    """Stands for the modules machine, _thread, time and gc."""

    def collect(self):
        pass

    def reset_cause(self):
        return 1

    def WDT(self, timeout):
        if timeout > 8388:
            raise ValueError

    def start_new_thread(self, function, arguments):
        pass


BOOT = []  # its code


def boot_code():
    """Return the code of boot.py."""
    with open(dormouse.__file__[: dormouse.__file__.rindex("dormouse")] + "boot.py") as f:
        return compile(f.read(), "boot.py", "exec")


def _boots(flash):
    # One start; return what boot.py said.
    if not BOOT:
        BOOT.append(boot_code())
    said = []
    stub = Stub()
    kept = {}
    for name, module in (("os", flash), ("machine", stub), ("_thread", stub)):
        kept[name] = sys.modules.get(name)
        sys.modules[name] = module
    try:
        exec(BOOT[0], {"open": flash.open, "print": lambda *words: said.append(str(words))})
    finally:
        for name in kept:
            if kept[name]:
                sys.modules[name] = kept[name]
            else:
                del sys.modules[name]
    return said


def _on(flash):
    # The modules that are looked at find their files there.
    import dormouse.field.ota as ota
    import dormouse.field.safe as safe

    for module in (ota, safe):
        module.os = flash
        module.open = flash.open
    safe.gc = Stub()
    return ota, safe


STARTS = 40
NEW = b"x" * 300


def boot(data):
    if len(data) < 2:
        return
    u = Update(5)
    kept = {"main.py": b"old", "boot.py": b"itself", "config.json": b"{}"}
    files = dict(kept)
    if data[0] & 1:
        files["main.py.old"] = b"older"
    whole = u.text.encode() + b"\n" + b"".join(u.chunks)
    files["update.part"] = whole[: len(whole) - (data[0] & 2) * 100]
    files["update.json"] = bytes(data[2:])
    flash = Flash(files)
    if data[0] & 4:
        flash.room = flash.room - flash.free() + 4 * data[1]
    elif data[0] & 8:
        flash.fuse = 4 * data[1]
    # Behind an "A" main.py.old is there: else no power cut leads here.
    copied = data[0] & 1 or data[-1:] == b"\n"
    _starts(flash, kept, copied)
    flash.fuse = None
    flash.room = 16384
    _goes_on(flash)


def _starts(flash, kept, copied):
    # Start after start, until nothing changes any more.
    ota, _ = _on(flash)
    for _ in range(STARTS):
        plan = ota.plan()
        before = dict(flash.files)
        try:
            said = _boots(flash)
        except PowerCut:
            flash.fuse = None
            continue
        if not plan and said:  # it is no plan: nothing may come of it
            for name in kept:
                if flash.files.get(name) != kept[name]:
                    raise Wrong("what is no plan changed " + name)
        if flash.files == before:
            break
    else:
        if plan and plan[0]["tries"] < STARTS // 2:
            raise Wrong("it has no end")
    if plan and copied:
        for name, kind, _, n in plan[0]["files"]:
            if name == "main.py" and not kind and n and not flash.files.get(name):
                raise Wrong("there is no main.py any more: %s" % plan[1])


def _goes_on(flash):
    # The application, whichever it is, reports; and the owner's next update is put in place.
    from dormouse import Client

    ota, _ = _on(flash)
    client = Client("h", client_id="c")
    node = ota.Ota(SECRET, "green/7")
    node.confirm(client)
    node.fetch(client)
    if node.trial:
        if ota.plan()[1][-1:] != "B":
            raise Wrong("a trial without an end")
        return
    if not isinstance(node._recall()[1], int):
        return
    u = Update(max(node._recall()[:2]) + 1)
    report = u.arrives(node)
    if not node.ready or not report or '"trial"' not in report:
        raise Wrong("an honest update does not arrive: %s" % report)
    if _boots(flash) or flash.files["main.py"] != NEW:
        raise Wrong("an honest update is not put in place")
    node = ota.Ota(SECRET, "green/7")
    if not node.trial or not node.confirm(client) or node.runs() != u.id:
        raise Wrong("an honest update does not stay")


class Order:
    """A message that is an order."""

    topic = "green/7/safe/do"

    def __init__(self, payload, retain=False):
        self.payload = payload
        self.retain = retain


class Guard:
    """What Orders ask of a guard."""

    config = {"topic": "green/7"}
    crashes = 3
    reason = trouble = None

    def __init__(self):
        self.lines = []
        self.log = self

    def __call__(self, *words):
        self.lines.append(words)

    def text(self):
        return "log"


def _ordered(n, order):
    return signed_by_owner("dormouse-order green/7 %d %s" % (n, order))


def order(data):
    if len(data) < 2:
        return
    files = {"main.py": b"old", "boot.py": b"b", "config.json": b"{}", "junk": b"x" * 100}
    n = data[1] & 15
    if data[0] & 1:
        files["update.order"] = bytes(data[2 : 2 + n])
    if data[0] & 2:
        files["update.order2"] = bytes(data[2 : 2 + n]) if data[0] & 4 else b"7"
    text = bytes(data[2 + n :])
    flash = Flash(files)
    module, safe = _on(flash)
    said = []
    signer = module.Ota(SECRET, "green/7")

    def orders(ota=signer):
        return safe.Orders(Guard(), ota, lambda *message: said.append(message))

    def done(o, payload, retain=False):
        # Whether anything came of an order.
        before = dict(flash.files)
        del said[:]
        o.take(Order(payload, retain))
        return said or flash.files != before or o.restart or o.stay or o.guard.lines

    if done(orders(), text, data[0] & 8):
        raise Wrong("what is not the owner's costs something: %s" % said)
    last = orders().count
    try:
        payload = signed_by_owner(str(text, "utf-8"))
    except ValueError:
        payload = b""
    o = orders()
    if done(o, payload) and not o.why and done(orders(), payload):
        raise Wrong("an order is done twice")
    last = orders().count
    o = orders()
    flash.files["junk"] = b"x" * 100
    if not done(o, _ordered(last + 1, "erase junk")) or "junk" in flash.files:
        raise Wrong("an order that is the owner's is not done: %s" % o.why)
    if orders().count != last + 1 or done(orders(), _ordered(last + 1, "restart")):
        raise Wrong("its number is not kept")
    kept = dict(flash.files)
    o = orders(None)  # anybody's
    o.take(Order(text))
    for name in ("main.py", "boot.py", "config.json"):
        if flash.files.get(name) != kept[name]:
            raise Wrong("anybody removes " + name)


def seeds():
    """Return those of updates."""
    u = Update(5)
    good = signed_by_owner(u.text)
    out = [("signed", u.text.encode()), ("offer", b"\0" + good[:-1])]
    out.append(("offer", b"\1" + good.replace(b" 60 ", b" 61 ")))
    out.append(("offer", b"\7" + u.chunks[1][:-1] + b"y"))
    words = u.text.split(" ")
    for at, word in ((1, "0"), (5, "0"), (8, "-1"), (8, "0"), (9, "9999"), (10, "0"), (11, "x")):
        out.append(("signed", " ".join(words[:at] + [word] + words[at + 1 :]).encode()))
    out.append(("update", b"\0" + u.text.encode() + b"\n" + u.chunks[0] + u.chunks[1][:9]))
    plan = b'{"id":5,"of":"0","skip":9,"chunk":128,"tries":3,"limit":60,"watchdog":8000,"files":%s}'
    for files, marks in (
        (b'[["main.py",0,12,300]]', b"\n"),
        (b'[["main.py",0,12,300],["x",2,0,0]]', b"\nA01"),
        (b"[]", b"\nA0123b"),
        (b'[["main.py"]]', b"\nA"),
    ):
        out.append(("update", b"\1" + plan % files + marks))
    record = b'[5, 4, "refused", "why", "00", 3]'
    out.append(("update", b"\2" + record + b"\n%x" % crc32(record)))
    out.append(("update", b"\3" + record + b"\n0"))
    return out + boot_seeds(u, plan)


def boot_seeds(u, plan):
    """Return those of boot.py and of orders."""
    out = []
    plan = plan.replace(b'"skip":9', b'"skip":%d' % (len(u.text) + 1))
    for files in (
        b'[["main.py",0,12,300]]',
        b'[["main.py",0,12,300],["config.json",2,0,0],["new",1,12,9]]',
        b'[["main.py",0,999,300]]',
        b"[]",
    ):
        for marks in (b"", b"A", b"A01", b"A012", b"A0B", b"A0123B", b"A012Bb", b"b", b"A0D"):
            out.append(("boot", b"\0\0" + plan % files + b"\n" + marks))
    whole = out[0][1][2:]
    for flags in (1, 2, 4, 8, 5, 9):
        for at in (5, 60, 150, 250):
            out.append(("boot", bytes((flags, at)) + whole))
    for old, new in (
        (b'"chunk":128', b'"chunk":0'),
        (b'"chunk":128', b'"chunk":-1'),
        (b'"tries":3', b'"tries":"3"'),
        (b'"files":[', b'"files":{'),
        (b"12,300", b"-12,300"),
        (b"12,300", b"12,-300"),
        (b"8000", b"90000"),
        (b"\n", b""),
    ):
        out.append(("boot", b"\0\0" + whole.replace(old, new)))
    for text in ("log", "files", "restart", "stay 9", "stay x", "erase junk", "erase boot.py", ""):
        words = ("dormouse-order green/7 9 " + text).encode()
        for head in (b"\0\0", b"\7\x018", b"\3\x018", b"\x0f\x02-8", b"\7\x0a9999999999"):
            out.append(("order", head + words))
        out.append(("order", b"\0\0" + text.encode()))
    out.append(("order", b"\0\0dormouse-order green/7 99999999999 erase junk"))
    out.append(("order", b"\0\0dormouse-order green/7 " + b"9" * 21 + b" erase junk"))
    out.append(("order", b"\7\4\xff\xfe\0\n"))
    return out

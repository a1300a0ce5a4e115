"""Checks of ota.py that run on every runtime (see core_checks.py), in an empty folder."""

import json
import os
from binascii import hexlify
from hashlib import sha256

from core_checks import run, same
from dormouse.field.ota import Ota, hmac

KEY = "k" * 64
TOPIC = "green/7"
NEW = (("main.py", b"new" * 300), ("lib/x/a.py", b"a" * 700), ("empty", b""), ("gone", None))


def put(name, data):
    with open(name, "wb") as f:
        f.write(data)


def get(name):
    with open(name, "rb") as f:
        return f.read()


def there(name):
    try:
        os.stat(name)
        return True
    except OSError:
        return False


def clear(folder="."):
    for name in os.listdir(folder):
        path = folder + "/" + name
        if os.stat(path)[0] & 0x4000:
            clear(path)
            os.rmdir(path)
        else:
            os.remove(path)


def text(data):
    return str(hexlify(data), "utf-8")


class Update:
    """What a sender sends. Made here by hand, from what the module's documentation says."""

    def __init__(self, id=5, files=NEW, key=KEY, topic=TOPIC, size=None, hashes=None):
        head = ""
        body = b""
        for name, data in files:
            digest = "-" if data is None else text(sha256(data).digest())
            head += "%s %d %s\n" % ((hashes or {}).get(name, digest), len(data or b""), name)
            body += data or b""
        self.id = id
        head = head.encode()
        self.head = len(head)
        self.data = head + body
        self.text = "%d %d %d %s 3 60 8000" % (
            id,
            size or len(self.data),
            len(head),
            text(sha256(head).digest()),
        )
        self.code = text(hmac(key.encode(), (topic + " " + self.text).encode()))

    def offer(self, ota, ask=None, code=None):
        offer = {"offer": self.text, "hmac": code or self.code}
        if ask:
            offer["ask"] = ask
        return said(ota.take("update", json.dumps(offer)))

    def chunk(self, ota, at, n=256, ask=False, data=None):
        name = "update/%d/%d" % (self.id, at) + ("/ask" if ask else "")
        return said(ota.take(name, self.data[at : at + n] if data is None else data))

    def chunks(self, ota, at=0, n=256):
        report = None
        while at < len(self.data):
            same(report, None)
            report = self.chunk(ota, at, n)
            at += n
        return report


def said(report):
    return report and json.loads(report)


def node(key=KEY, **options):
    clear()
    put("main.py", b"old")
    put("gone", b"old")
    return Ota(key, TOPIC, **options)


def refused(report, why, id=5):
    same((report["id"], report["state"]), (id, "refused"))
    assert why in report["why"], report


def nothing_left(last=None):
    left = [name for name in os.listdir(".") if name != "lib" or os.listdir("lib/x")]
    same(sorted(left), sorted(["main.py", "gone"] + (["update.id"] if last else [])))
    same(get("main.py"), b"old")


def check_hmac():
    """RFC 4231, test cases 2 and 6 (a key that is longer than a block)."""
    same(
        text(hmac(b"Jefe", b"what do ya want for nothing?")),
        "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
    )
    same(
        text(hmac(b"\xaa" * 131, b"Test Using Larger Than Block-Size Key - Hash Key First")),
        "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
    )


def check_all_arrives():
    ota = node()
    assert not ota.trial and not ota.ready
    u = Update()
    same(u.offer(ota), {"id": 5, "state": "have", "have": 0})
    same(u.chunks(ota), {"id": 5, "state": "trial"})
    assert ota.ready and not there("update.part")
    same(get("main.py"), b"old")  # boot.py's work
    same(get("main.py.new"), b"new" * 300)
    same(get("lib/x/a.py.new"), b"a" * 700)
    same(get("empty.new"), b"")
    plan = json.loads(get("update.json"))
    same(plan["files"], [["main.py", 0], ["lib/x/a.py", 1], ["empty", 1], ["gone", 2]])
    same([plan[k] for k in ("id", "tries", "limit", "watchdog")], [5, 3, 60, 8000])
    same(u.offer(ota), {"id": 5, "state": "trial"})  # asked again before it restarts
    same(u.chunk(ota, 0, ask=True), None)
    same(ota.confirm(), None)


def check_any_chunks():
    """Chunks that end anywhere, and one that holds all."""
    for n in (1, 7, 100, 1000, 5000):
        ota = node()
        u = Update()
        u.offer(ota)
        same(u.chunks(ota, 0, n), {"id": 5, "state": "trial"})
        same(get("main.py.new"), b"new" * 300)


def check_duplicates_and_gaps():
    ota = node()
    u = Update()
    same(u.offer(ota, 3), {"id": 5, "state": "have", "have": 0, "ask": 3})
    same(u.chunk(ota, 0, 500), None)
    same(u.chunk(ota, 0, 500), None)
    same(u.chunk(ota, 250, 500), None)  # half of it is new
    same(u.chunk(ota, 1000, 500), {"id": 5, "state": "have", "have": 750})
    same(u.chunk(ota, 1500, 500, True), None)  # that something is lost has been told
    same(u.chunk(ota, 0, 500, True), {"id": 5, "state": "have", "have": 750})
    same(u.chunk(ota, 750, 250, True), {"id": 5, "state": "have", "have": 1000})
    same(u.chunk(ota, 1500, 500), {"id": 5, "state": "have", "have": 1000})
    same(u.offer(ota, 4), {"id": 5, "state": "have", "have": 1000, "ask": 4})
    same(u.chunks(ota, 1000), {"id": 5, "state": "trial"})


def check_it_goes_on_after_a_restart():
    u = Update()
    for n in (1, 60, u.head - 1, u.head, u.head + 1, 900, len(u.data) - 1):
        ota = node()
        u.offer(ota)
        u.chunk(ota, 0, n)
        ota = Ota(KEY, TOPIC)
        assert not ota.trial
        if n % 2:
            same(u.offer(ota), {"id": 5, "state": "have", "have": n})
        same(u.chunks(ota, n), {"id": 5, "state": "trial"})
        same(get("lib/x/a.py.new"), b"a" * 700)


def check_power_cut_before_it_was_verified():
    """All is there, and the message that was not acknowledged comes again."""
    for again in (lambda u, o: u.offer(o), lambda u, o: u.chunk(o, len(u.data) - 9, 9)):
        ota = node()
        u = Update()
        u.offer(ota)
        finish = ota._finish
        ota._finish = lambda: None
        u.chunks(ota)
        assert finish
        same(again(u, Ota(KEY, TOPIC)), {"id": 5, "state": "trial"})


def check_power_cut_before_names_were_checked():
    ota = node()
    u = Update(files=(("config.json", b"bad"),))
    u.offer(ota)
    ota._wrong = None
    u.chunk(ota, 0, u.head)
    ota = Ota(KEY, TOPIC)
    same(u.chunk(ota, u.head), None)
    assert not there("config.json.new")
    same(u.offer(ota)["have"], 0)
    refused(u.chunk(ota, 0), "not to be updated: config.json")


def check_wrong_key():
    ota = node()
    refused(Update(key="another").offer(ota), "wrong key or topic")
    refused(Update(topic="green/8").offer(ota), "wrong key or topic")
    u = Update()
    refused(u.offer(ota, code=u.code[:-1]), "wrong key")
    refused(u.offer(ota, code=u.code + "0"), "wrong key")
    refused(u.offer(ota, code="0" * 64), "wrong key")
    u.text = u.text.replace(" 3 60", " 9 60")
    refused(u.offer(ota), "wrong key")
    same(u.chunk(ota, 0), None)
    nothing_left()
    for key in (None, ""):
        refused(Update(key="").offer(node(key)), "no update_key")
    nothing_left()


def check_wrong_bytes():
    """A chunk that was changed on its way: in the head, and in a file."""
    u = Update()
    for at, why in ((10, "head"), (u.head + 10, "wrong SHA-256: main.py")):
        ota = node()
        u.offer(ota)
        data = bytearray(u.data)
        data[at] ^= 1
        report = None
        for k in range(0, len(data), 256):
            report = u.chunk(ota, k, data=bytes(data[k : k + 256])) or report
        refused(report, why)
        nothing_left(True)
        refused(u.offer(ota), why)  # it has ended
        same(Update(6).offer(ota)["state"], "have")


def check_wrong_hash_and_size():
    ota = node()
    u = Update(hashes={"main.py": "0" * 64})
    u.offer(ota)
    refused(u.chunks(ota), "wrong SHA-256: main.py")
    nothing_left(True)
    for more in (-1, 1):
        ota = node()
        u = Update(size=len(Update().data) + more)
        u.offer(ota)
        refused(u.chunk(ota, 0, u.head), "head")
        nothing_left(True)


def check_too_large():
    ota = node()
    refused(Update(size=1 << 50).offer(ota), "are free")
    refused(Update(files=[("n%d" % n, b"") for n in range(200)]).offer(ota), "longer than 8192")
    nothing_left()


def check_names():
    bad = "boot.py BOOT.PY config.json Config.JSON update.json update.id dormouse.journal ca.der"
    bad += " dormouse.journal.new ../main.py /main.py a/../../main.py ./boot.py a//b a/ .. boot.py."
    bad += " a\\b.py a.new a.old lib/ca.der/../x caf\xe9.py a:b"
    for name in bad.split(" "):
        ota = node(keep=("ca.der",))
        u = Update(files=(("x", b"x"), (name, b"bad")))
        u.offer(ota)
        report = u.chunk(ota, 0, u.head)
        assert report and report["state"] == "refused", name
        assert report["why"] in ("no such name: " + name, "not to be updated: " + name), report
        nothing_left(True)
    for kept in ("Certs/CA.der", "/certs/ca.der", "./certs/ca.der"):  # as the settings may name it
        ota = node(keep=(kept,))
        u = Update(files=(("certs/ca.der", b"bad"),))
        u.offer(ota)
        refused(u.chunk(ota, 0, u.head), "not to be updated: certs/ca.der")
    ota = node()
    u = Update(files=(("x", b"x"), ("X", b"y")))
    u.offer(ota)
    refused(u.chunk(ota, 0, u.head), "no such name: X")
    ota = node()
    u = Update(files=(("lib/ca.der", b"x"), ("A-b_1/x.y.z", b"")))
    u.offer(ota)
    same(u.chunks(ota)["state"], "trial")


def check_numbers():
    """One that has ended does not begin again; an older one is not taken."""
    ota = node()
    put("update.id", b'[5, "done", null]')
    same(Update(5).offer(ota), {"id": 5, "state": "done"})
    refused(Update(4).offer(ota), "older than update 5", 4)
    put("update.id", b'[5, "back", "why"]')
    same(Update(5).offer(ota), {"id": 5, "state": "back", "why": "why"})
    put("update.id", b"[5,")  # FAT lost power
    same(Update(4).offer(ota)["state"], "have")


def check_another_one_replaces_it():
    ota = node()
    u = Update(5)
    u.offer(ota)
    u.chunk(ota, 0, len(u.data) - 1)
    assert there("lib/x/a.py.new")
    v = Update(6, (("main.py", b"newer"),))
    same(v.offer(ota)["have"], 0)
    assert not there("lib/x/a.py.new")
    same(u.chunk(ota, 0, 300, True), None)
    same(v.chunks(ota), {"id": 6, "state": "trial"})
    same(json.loads(get("update.json"))["files"], [["main.py", 0]])


def check_what_is_malformed_is_ignored():
    ota = node()
    for payload in (b"", b"x", b"[]", b"5", b"{}", b'{"offer": 5, "hmac": 5}', b"\xff", b'"offer"'):
        same(ota.take("update", payload), None)
    for payload in (b'{"offer": "a", "hmac": ""}', b'{"offer": "5 5", "hmac": 5}'):
        same(ota.take("update", payload), None)
    u = Update()
    u.offer(ota)
    for name in ("update/", "update/5", "update/x/0", "update/5/x", "update/5/-1/", "update//"):
        ota.take(name, b"")
    for n in (10**10, 10**20, 10**400):  # beyond a machine's word, on 32 and on 64 bits
        ota.take("update/5/-%d" % n, b"")
        ota.take("update/%d/0" % n, b"")
    # Nested deeper than json goes down. Whoever may read the offer has its hmac.
    for n in (100, 1000, 20000):
        ask = "[" * n + "]" * n
        text = '{"offer":"%s","hmac":"%s","ask":%s}' % (u.text, u.code, ask)
        ota.take("update", text.encode())
    same(u.chunks(ota)["state"], "trial")


def check_part_that_is_torn():
    for part in (b"", b"5 1", b"5 900 80 abc 3 60 8000"):
        ota = node()
        put("update.part", part)
        u = Update()
        same(u.offer(ota)["have"], 0)
        same(u.chunks(ota)["state"], "trial")


def plan(marks, id=5):
    node()
    files = '{"id": %d, "tries": 3, "files": [["main.py", 0]]}\n' % id
    put("update.json", (files + marks).encode())
    put("main.py.old", b"older")
    return Ota(KEY, TOPIC)


def check_the_end_of_a_trial():
    ota = plan("A1")
    assert ota.trial
    same(Update(6).offer(ota), None)
    same(said(ota.confirm()), {"id": 5, "state": "done"})
    nothing_left(True)
    assert not ota.trial
    same(ota.confirm(), None)
    same(Update(5).offer(ota), {"id": 5, "state": "done"})
    same(said(plan("A13D").confirm()), {"id": 5, "state": "done"})  # cut before it was told
    nothing_left(True)


def check_what_came_back():
    why = "no connection in 3 tries, reset causes 3 3 1"
    same(said(plan("A331Bb").confirm()), {"id": 5, "state": "back", "why": why})
    nothing_left(True)
    same(Update(5).offer(Ota(KEY, TOPIC)), {"id": 5, "state": "back", "why": why})
    for marks in ("b", "ABb"):
        same(said(plan(marks).confirm())["why"], "could not be put in place")
        nothing_left(True)
    refused(said(plan("").confirm()), "boot.py did not run")
    nothing_left(True)
    same(plan("A331B").confirm(), None)  # boot.py is not through
    assert there("main.py.old")


CHECKS = sorted(name for name in globals() if name.startswith("check_"))

if __name__ == "__main__":
    run(globals(), CHECKS)

"""Checks of ota.py that run on every runtime (see core_checks.py), in an empty folder."""

import json
import os
from binascii import hexlify
from hashlib import sha256

from core_checks import run, same
from dormouse import Client
from dormouse.field.ota import Ota, hmac, on_trial, refuse_weak, verify
from dormouse.session import Message
from dormouse.store import Store

# A key of these checks only, made for them.
N = (
    "9668ca611a61d1fc8ab0f869e2576db7698371f7e373aa1e09403ff2d59909be8b19db3081ca7a7bcea57566"
    "0834e27aa875ed4460e1d6546bed0a7c3462a014631655ba4f517701bc607191875f1653da88cb4589a993e0"
    "8fa58195b4ab2a1f4558e5f0c74b8e53fcb1f3b28ba7e421aa759cbbff3af8d90617f9bf53d11bcbeed2264a"
    "e074d359d8cf7cedf7f2d45ea630ff6ab23b47c1c41719fcee19b1f40ed3971d6ea3791b3e9768c58d68bc04"
    "96ead4ff891a3dc1a5b112a5a24664fbaacbc8009c70bcd9a9f9f140614a43c8c05c59c097e32ff7405a08c9"
    "a450c87e9024472fb4c6aa5ae1f0bd28fe2b0577eed25f3589ddc73baf9ad658cb2230e3"
)
D = (
    "3dcd8743092522b4a3847e3e7bdbb2e087819465e8571192cff84f8e87881fc1e4c45615836f608ed8e591ec"
    "bff8830b2587775bfe772dab78c168ea8a57f031105a1015c31bd54ba84cf4bd78a370b839f6b597b82e2eee"
    "39f826dc0de5bb242849940a30c9f20cbeab9c58441c539825c3b80863a2a6b7fe5201b4454b8a20cb90a158"
    "7e98b61cbf79a3dc443978e38e354234c89826bfd6ffe7c42e36b9650de96bb26035dbf8838e141fed897d20"
    "5a14d7793fdb4e59a235c0f263a64c66f583a6090b82857aebd36c7b3fd36d36b8081a6eeaf306c613df4f87"
    "c1f90d4e5c02d5de98e23d93304cc76a32c574dde02269642874d52a2b590d543c362199"
)

KEY = "rsa:" + N
SECRET = "s" * 32  # signing with it takes a chip no time
TOPIC = "green/7"
NEW = (("main.py", b"new" * 300), ("lib/x/a.py", b"a" * 700), ("empty", b""), ("gone", None))
CHUNK = 256
PREFIX = "3031300d060960864801650304020105000420"


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


def sign(key, words, block=None):
    """As whoever has the private key, or the secret."""
    if key != KEY:
        return text(hmac(key.encode(), words.encode()))
    block = block or "0001" + "ff" * 202 + "00" + PREFIX + text(sha256(words.encode()).digest())
    s = "%x" % pow(int(block, 16), int(D, 16), int(N, 16))
    return "0" * (512 - len(s)) + s


class Update:
    """What the owner publishes. Made here by hand, from what the module's documentation says."""

    def __init__(self, id=5, files=NEW, key=SECRET, head=None, **words):
        lines = ""
        body = b""
        for name, data in files:
            lines += "%s %s\n" % ("-" if data is None else len(data), name)
            body += data or b""
        lines = lines.encode() if head is None else head
        self.id = id
        content = lines + body
        self.chunks = []
        after = bytes(32)
        for at in range((len(content) - 1) // CHUNK * CHUNK, -1, -CHUNK):
            self.chunks.insert(0, after + content[at : at + CHUNK])
            after = sha256(self.chunks[0]).digest()
        self.of = text(after)[:16]
        self.words = {
            "kind": "dormouse-update",
            "version": id,
            "app": "main",
            "target": "green/+",
            "board": "-",
            "share": 1 << 24,
            "minimum": 0,
            "expiry": 0,
            "size": len(content),
            "head": len(lines),
            "chunk": CHUNK,
            "sha": text(after),
            "tries": 3,
            "limit": 60,
            "watchdog": 8000,
        }
        self.words.update(words)
        order = "kind version app target board share minimum expiry size head chunk sha"
        order += " tries limit watchdog"
        self.text = " ".join([str(self.words[name]) for name in order.split(" ")])
        self.payload = (self.text + "\n" + sign(key, self.text)).encode()

    def offer(self, ota, payload=None):
        return said(ota.take("", payload or self.payload))

    def chunk(self, ota, n, data=None):
        return said(ota.take("%d/%d" % (self.id, n), data or self.chunks[n]))

    def rest(self, ota, n=0):
        report = None
        while n < len(self.chunks):
            report = self.chunk(ota, n) or report
            n += 1
        return report


def said(report):
    return report and json.loads(report)


def node(key=SECRET, **options):
    clear()
    put("main.py", b"old")
    put("gone", b"old")
    return Ota(key, TOPIC, **options)


def state(report, name, id=5):
    same((report["id"], report["state"]), (id, name))
    return report


def refused(report, why, id=5):
    assert why in state(report, "refused", id)["why"], report


def nothing(ota, *others):
    """No answer, no record, no state."""
    left = ["gone", "main.py"]
    same(sorted(os.listdir(".")), sorted(left + list(others)))
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


def check_signature():
    good = sign(KEY, "text")
    assert verify(KEY, "text", good)
    assert not verify(KEY, "texT", good)
    n = int(N, 16)
    s = int(good, 16)
    for bad in (0, 1, n - 1, n - s, s ^ 1):
        assert not verify(KEY, "text", "0" * (512 - len("%x" % bad)) + "%x" % bad), bad
    for bad in ("", good[:-1], good + "0", "0" + good, "%x" % (s + n)):
        assert not verify(KEY, "text", bad)
    digest = text(sha256(b"text").digest())
    # What a lazy reader of the encoded block takes (Bleichenbacher 2006, and its kin).
    for block in (
        "0001" + "ff" * 8 + "00" + PREFIX + digest + "00" * 194,  # garbage behind it
        "0001" + "ff" * 194 + "00" * 9 + PREFIX + digest,
        "0002" + "ff" * 202 + "00" + PREFIX + digest,
        "0001" + "ff" * 201 + "fe00" + PREFIX + digest,
        "0001" + "ff" * 204 + "00" + PREFIX.replace("0d06", "0b06").replace("0500", "") + digest,
        "0001" + "ff" * 221 + "00" + digest,
    ):
        assert not verify(KEY, "text", sign(KEY, "text", block)), block
    assert verify(SECRET, "text", sign(SECRET, "text"))
    for bad in ("", sign(SECRET, "texT"), sign(SECRET, "text")[:-1], sign(SECRET, "text") + "0"):
        assert not verify(SECRET, "text", bad)


def check_weak_keys():
    for key in ("4711", "k" * 31, "rsa:" + "f" * 256, "rsa:" + "7" + "f" * 511, "rsa:" + N + "0"):
        weak(key)
    for key in ("8" + "z" * 511, "8_" * 256, "+" + "f" * 511, " " * 511 + "f"):
        weak("rsa:" + key)  # no hex: nothing would ever be taken
    for n in (512, 768, 1024):
        refuse_weak("rsa:" + "f" * n)
    refuse_weak("k" * 32)


def weak(key):
    try:
        Ota(key, TOPIC)
    except ValueError as e:
        assert "update_key" in e.args[0]
    else:
        raise AssertionError(key)


def check_all_arrives():
    for key in (KEY, SECRET):
        ota = node(key)
        assert not ota.trial and not ota.ready
        u = Update(key=key)
        report = u.offer(ota)
        same((report["have"], report["count"], report["of"]), (0, len(u.chunks), u.of))
        state(u.rest(ota), "trial")
        assert ota.ready and there("update.part")
        same(get("main.py"), b"old")  # boot.py's work
        plan = json.loads(get("update.json"))
        same([plan[k] for k in ("id", "tries", "limit", "watchdog")], [5, 3, 60, 8000])
        same(
            [f[:2] for f in plan["files"]],
            [["main.py", 0], ["lib/x/a.py", 1], ["empty", 1], ["gone", 2]],
        )
        part = get("update.part")[plan["skip"] :]
        content = b""
        for at in range(0, len(part), CHUNK + 32):
            content += part[at + 32 : at + 32 + CHUNK]
        for (_, _, at, n), (_, data) in zip(plan["files"], NEW):  # noqa: B905
            same(content[at : at + n], data or b"")
        state(u.offer(ota), "trial")  # asked again before it restarts
        same(u.chunk(ota, 0), None)


def check_it_asks():
    """By the real session: for three chunks at a time, which it gives up when it has them."""
    ota = node(update="fleet/update")
    same(ota.filters, [("fleet/update", 1)])
    client = Client("h", client_id="c")
    u = Update()
    asked = []

    def deliver(topic, payload):
        m = Message()
        m.topic = topic
        m.payload = payload
        return ota.handle(m, client)

    assert not deliver("fleet/updates", u.payload) and not deliver("green/7/set/x", b"")
    assert deliver("fleet/update", u.payload)
    while not ota.ready:
        box = client.session.outbox
        assert box
        o = box.pop(0)
        if o.expect == 0:
            continue
        if o.expect == 11:
            for name in o.filters:
                asked.remove(name)
        else:
            assert not asked and len(o.filters) <= 3
            for name, qos in o.filters:
                same(qos, 0)
                asked.append(name)
            for name in list(asked):
                same(name[:15], "fleet/update/5/")
                deliver(name, u.chunks[int(name[15:])])
    # No more of it; and how it stands, which is the newest report only.
    same(sorted([o.expect for o in client.session.outbox]), [0, 11])


def check_reports_take_the_place_of_nothing():
    ota = node()
    client = Client("h", client_id="c", outbox=4)
    for _ in range(3):
        client.publish_nowait("reading", b"1", 0)
    ota.tell("one", client)
    ota.tell("two", client)  # the newest
    same([o.packet[-3:] for o in client.session.outbox[3:]], [bytearray(b"two")])
    client.session.withdraw(client.session.outbox[-1])
    client.publish_nowait("reading", b"1", 1)
    assert ota.tell("three", client)
    same(len(client.session.outbox), 4)
    for o in client.session.outbox:
        assert b"reading" in o.packet
    store = Store()
    store.survives = 1
    options = {"store": store, "clean": False, "full": "oldest", "outbox_bytes": 1000}
    client = Client("h", client_id="c", **options)
    while client.session.bulk < 800:
        client.publish_nowait("reading", bytes(50), 1)
    count = len(client.session.outbox)
    for report in ("x" * 90, "x" * 180, "x" * 2000):  # the last one goes by no means
        ota.tell(report, client)
        kept = [o for o in client.session.outbox if b"reading" in o.packet]
        assert len(kept) == count and len(client.session.outbox) <= count + 1


def check_wrong_chunks():
    """Anything that is not the chunk that is due changes nothing."""
    ota = node()
    u = Update()
    u.offer(ota)
    assert len(u.chunks) > 5
    for n in range(len(u.chunks)):
        good = u.chunks[n]
        before = get("update.part")
        for bad in (
            b"",
            b"x",
            good + b"x",
            good[:-1],
            bytes(len(good)),
            b"x" * 5000,
            u.chunks[n - 1],
        ):
            same(u.chunk(ota, n, bad or b"\0"), None)
        flipped = bytearray(good)
        flipped[n * 7 % len(good)] ^= 1
        same(u.chunk(ota, n, bytes(flipped)), None)
        for k in range(len(u.chunks)):
            if k != n:
                same(u.chunk(ota, k), None)  # not its turn, or here already
        same(get("update.part"), before)
        report = u.chunk(ota, n)
    state(report, "trial")


def check_it_goes_on_after_a_restart():
    u = Update(key=SECRET)
    for n in range(len(u.chunks)):
        for torn in (0, 1, 100):
            ota = node()
            u.offer(ota)
            for k in range(n):
                u.chunk(ota, k)
            put("update.part", get("update.part") + u.chunks[n][:torn])
            ota = Ota(SECRET, TOPIC)
            assert not ota.trial
            if torn:
                same(u.offer(ota)["have"], n)
            state(u.rest(ota, n), "trial")
            assert get("update.part").endswith(u.chunks[-1])


def check_power_cut_before_it_was_verified():
    ota = node()
    u = Update()
    u.offer(ota)
    ota._finish = lambda: None
    u.rest(ota)
    ota = Ota(SECRET, TOPIC)
    ota.fetch(Client("h", client_id="c"))
    assert ota.ready


def check_power_cut_before_names_were_checked():
    ota = node()
    u = Update(files=(("config.json", b"bad" * 300),))
    u.offer(ota)
    ota._wrong = None
    u.chunk(ota, 0)
    ota = Ota(SECRET, TOPIC)
    refused(u.rest(ota, 1), "not to be updated: config.json")
    nothing(ota, "update.id", "update.id2")


def check_what_is_not_the_owners():
    """No answer, no record, no state."""
    ota = node(KEY)
    u = Update(key=KEY)
    good = u.payload
    for payload in (
        Update(key="k" * 64).payload,
        good[:-1],
        good + b"0",
        good.replace(b" 60 ", b" 61 "),
        good.replace(b"update 5", b"update 6"),
        good.split(b"\n")[0],
        good.split(b"\n")[0] + b"\n",
        good.split(b"\n")[0] + b"\n" + b"0" * 512,
        good.split(b"\n")[0] + b"\n" + b"f" * 512,
        good.split(b"\n")[0] + b"\n" + b"\xff" * 512,
        b"",
        b"\n",
        b"\0" * 2048,
        b" " * 2048,
        b"x" * 5000,
        b"9" * 3800 + b" 1 1 00 1 1 1",
        b"dormouse-update " + b"9" * 1900,
        b"[" * 2000,
        b'{"offer": "5 5", "hmac": 5}',
    ):
        same(u.offer(ota, payload or b"\n"), None)
        nothing(ota)
        same(ota.take("", payload), None)
    for words in (
        {"target": "green/8"},
        {"target": "blue/#"},
        {"app": "other"},
        {"board": "esp8266"},
        {"kind": "dormouse-order"},
        {"share": 0},
    ):
        same(Update(**words).offer(ota), None)
        nothing(ota)
    for name in ("5/", "5/0", "x/0", "5/x", "5/-1", "//", "5/0/ask", "%d/0" % 10**400):
        same(ota.take(name, u.chunks[0]), None)
    nothing(ota)
    state(u.offer(ota), "have")
    ota._scan = None  # what is on flash is not looked at again
    for payload in (
        b"",
        b"x",
        b"\n\n",
        b"\xff" * 500,
        b" " * 14 + b"\n",
        good.replace(b" 60 ", b" 61 "),
    ):
        same(ota.take("", payload), None)
        assert ota._id, payload
    del ota._scan
    for name in ("5/-1", "5/00", "5/ 0", "5/0/", "6/0", "05/0", "5/%d" % 10**400):
        same(ota.take(name, u.chunks[0]), None)
    state(u.rest(ota), "trial")


def check_targets():
    for target in (TOPIC, "green/+", "#", "green/#", "+/7"):
        state(Update(target=target).offer(node()), "have")
    for share in (0, 1 << 23, 1 << 24):
        took = 0
        for n in range(64):
            clear()
            took += bool(Update(share=share).offer(Ota(SECRET, "green/%d" % n)))
        assert (share >> 23) * 16 <= took <= 16 + (share >> 23) * 32, (share, took)


def check_later_stages_go_on():
    """The same update offered to more nodes: what has arrived counts."""
    ota = node()
    u = Update(share=(1 << 24) - 1)
    u.offer(ota)
    u.chunk(ota, 0)
    same(Update().offer(ota)["have"], 1)
    state(u.rest(ota, 1), "trial")


def check_floor():
    """Nothing older than what was offered once, nothing twice, though either copy is lost."""
    ota = node()
    u = Update(5)
    v = Update(9)
    u.offer(ota)
    u.chunk(ota, 0)
    v.offer(ota)  # takes its place
    for bad in (None, "update.id", "update.id2"):
        if bad:
            put(bad, b"")
        ota = Ota(SECRET, TOPIC)
        refused(u.offer(ota), "older than update 9")
        same(u.rest(ota), None)
    same(Update(9, files=(("main.py", b"x"),)).offer(ota)["why"], "its number is another's")
    state(v.offer(ota), "have", 9)
    state(v.rest(ota), "trial", 9)


def check_floor_of_a_later_stage():
    """What is offered to others first is the newest for this node, too."""
    ota = node()
    u = Update(5)
    u.offer(ota)
    u.chunk(ota, 0)
    same(Update(9, share=0).offer(ota), None)
    same(u.rest(ota, 1), None)
    ota = Ota(SECRET, TOPIC)
    refused(u.offer(ota), "older than update 9")
    state(Update(9).offer(ota), "have", 9)


def check_expired_on_its_way():
    """Begun in time, and held up since then by whoever can."""
    import dormouse.field.ota as module

    real = module.time
    now = 1800000000 - (0 if module.gmtime(0)[0] == 1970 else 946684800)
    try:
        module.time = lambda: now
        ota = node()
        u = Update(expiry=1800000010)
        u.offer(ota)
        u.rest(ota, 1)
        u.chunk(ota, 0)
        module.time = lambda: now + 11
        refused(u.rest(ota), "its time is over")
        assert not there("update.json") and not there("update.part")
        module.time = lambda: now
        refused(u.offer(ota), "its time is over")  # it has ended
    finally:
        module.time = real


def check_expiry_before_the_clock_is_set():
    """All is there, and the power was cut: before the wake nobody knows whether it is too late."""
    import dormouse.field.ota as module

    real = module.time
    epoch = 0 if module.gmtime(0)[0] == 1970 else 946684800
    try:
        for later in (1, 11):
            module.time = lambda: 1800000000 - epoch
            ota = node()
            u = Update(expiry=1800000010)
            u.offer(ota)
            module.time = lambda: 1609459205 - epoch  # as an RP2 says at each boot
            state(u.rest(ota), "have")
            client = Client("h", client_id="c")
            ota = Ota(SECRET, TOPIC)
            ota.fetch(client)
            same((ota.ready, client.session.outbox, ota.confirm(client)), (False, [], False))
            module.time = lambda later=later: 1800000000 + later - epoch
            same(ota.confirm(client), False)
            o = client.session.outbox[0]
            same((ota.ready, b'"refused"' in o.packet), (later == 1, later == 11))
    finally:
        module.time = real


def asks(client):
    """Return how often the offer is asked for in what waits, and forget it."""
    box = client.session.outbox
    wanted = [(TOPIC + "/update", 1)]
    n = sum([getattr(o, "filters", None) == wanted for o in box])
    for o in box[:]:
        client.session.withdraw(o)
    return n


def comes(ota, client, payload):
    m = Message()
    m.topic = TOPIC + "/update"
    m.payload = payload
    same(ota.handle(m, client), True)


def check_an_offer_that_comes_at_a_bad_time():
    """It was acknowledged, so it does not come by itself; but the broker retains it."""
    import dormouse.field.ota as module

    client = Client("h", client_id="c")
    for marks in ("A1", "A331Bb"):
        for v, times in ((Update(6), 1), (Update(5), 0), (Update(4), 0)):
            ota = plan(marks)
            comes(ota, client, v.payload)
            same(asks(client), 0)  # it would be in the way of the trial again
            same(ota.confirm(client), True)
            same(asks(client), times)
    ota = node()  # behind the last chunk
    u = Update(5)
    u.offer(ota)
    u.rest(ota)
    comes(ota, client, Update(6).payload)
    assert ota.ready and there("update.part")
    same(asks(client), 0)
    put("update.json", get("update.json") + b"A1")
    ota = Ota(SECRET, TOPIC)  # the chip was reset: only what is on flash is known
    same(ota.confirm(client), True)
    same(asks(client), 1)

    real = module.verify
    for bad in (OSError(28), MemoryError()):

        def fail(*args, bad=bad, **more):
            raise bad

        ota = node()
        ota.fetch(client)
        same(asks(client), 0)
        part = "verify" if isinstance(bad, MemoryError) else "open"
        setattr(module, part, fail)
        try:
            for n in range(6):
                comes(ota, client, u.payload)
                told = [o for o in client.session.outbox if o.packet and b'"flash"' in o.packet]
                same(len(told), part == "open")
                same(asks(client), n < 3)  # not without end in one wake
        finally:
            module.verify = real
            if part == "open":
                del module.open
        ota.fetch(client)
        same(asks(client), 1)
        comes(ota, client, u.payload)
        same(ota._id, 5)
        same(asks(client), 0)


def check_no_memory_at_the_ends():
    """Neither where all has arrived nor at the trial's end is anything raised, or lost."""
    import dormouse.field.ota as module

    def fail(*args):
        raise MemoryError

    client = Client("h", client_id="c")
    u = Update(5)
    ota = node()
    u.offer(ota)
    u.rest(ota)
    os.remove("update.json")  # cut before it was there
    for good in (False, True):
        ota = Ota(SECRET, TOPIC)
        real = ota._wrong
        ota._wrong = real if good else fail
        ota.fetch(client)
        same((ota.ready, there("update.json")), (good, good))
    ota = plan("A1")
    ota._end_of_trial = fail
    same(ota.confirm(client), False)
    assert ota.trial and there("update.json")
    del ota._end_of_trial
    state(confirm(ota), "done")
    assert module.plan() is None
    # Another one was offered meanwhile: it is asked for later, and the end is told all the same.
    ota = plan("A1")
    comes(ota, client, Update(6).payload)
    asks(client)
    client.session.request = fail
    same(ota.confirm(client), True)
    del client.session.request
    assert not ota.trial and ota._slot in client.session.outbox
    asks(client)
    same(ota.confirm(client), False)
    same(asks(client), 1)


def check_an_offer_that_was_lost():
    """It was offered, and neither began nor ended: now and then a wake asks for it."""
    client = Client("h", client_id="c")
    ota = node()
    same(Update(5, share=0).offer(ota), None)
    n = 0
    for _ in range(200):
        ota = Ota(SECRET, TOPIC)
        ota.fetch(client)
        n += asks(client)
    assert 10 < n < 100, n
    state(Update(5).offer(ota), "have")
    same(asks(client), 0)
    state(Update(5, files=(), head=b"").offer(ota), "withdrawn")
    for _ in range(50):
        Ota(SECRET, TOPIC).fetch(client)
        same(asks(client), 0)


def check_withdrawn():
    ota = node()
    u = Update(5)
    u.offer(ota)
    u.chunk(ota, 0)
    w = Update(5, files=(), head=b"")
    state(w.offer(ota), "withdrawn")
    nothing(ota, "update.id", "update.id2")
    ota = Ota(SECRET, TOPIC)
    state(u.offer(ota), "withdrawn")
    same(u.rest(ota), None)
    state(Update(6).offer(ota), "have", 6)
    ota = node()
    state(w.offer(ota), "withdrawn")  # it was never offered here
    state(u.offer(ota), "withdrawn")


def check_conditions():
    ota = node()
    refused(Update(minimum=3).offer(ota), "for those that run update 3")
    refused(Update(expiry=1700000001).offer(ota), "its time is over")
    refused(Update(size=1 << 50).offer(ota), "are free")
    refused(Update(head=b"0 x\n" * 2049).offer(ota), "longer than 8192")
    nothing(ota, "update.id", "update.id2")
    state(Update(expiry=4000000000).offer(ota), "have")


def check_heads():
    bad = (
        "boot.py BOOT.PY config.json Config.JSON config.bak update.json update.id dormouse.journal"
    )
    bad += " ca.der dormouse.journal.new ../main.py /main.py a/../../main.py ./boot.py a//b a/ .."
    bad += " boot.py. a\\b.py a.old lib/ca.der/../x caf\xe9.py a:b"
    for name in bad.split(" "):
        ota = node(keep=("ca.der",))
        u = Update(files=(("x", b"x"), (name, b"bad")))
        u.offer(ota)
        report = state(u.rest(ota), "refused")
        assert report["why"] in ("no such name: " + name, "not to be updated: " + name), report
        nothing(ota, "update.id", "update.id2")
        state(u.offer(ota), "refused")  # it has ended
    for kept in ("Certs/CA.der", "/certs/ca.der", "./certs/ca.der"):  # as the settings may name it
        ota = node(keep=(kept,))
        u = Update(files=(("certs/ca.der", b"bad"),))
        u.offer(ota)
        refused(u.rest(ota), "not to be updated: certs/ca.der")
    for files, head in (
        ((("x", b"x"), ("X", b"y")), None),
        ((), b"-5 x\n"),
        ((), b"9 x\n"),
        ((), b"\n"),
        ((), b"x\n"),
        ((), b"\xff\xff\n"),
        ((("x", b"x"),), b"1 x"),
        ((("x", b"x"),), b"1 x\n" * 2),
    ):
        ota = node()
        u = Update(files=files, head=head)
        u.offer(ota)
        report = u.rest(ota)
        assert not report or report["state"] == "refused", (files, head, report)
        assert not ota.ready
    ota = node()
    u = Update(files=(("lib/ca.der", b"x"), ("A-b_1/x.y.z", b"")))
    u.offer(ota)
    state(u.rest(ota), "trial")


def check_reports_are_proven():
    """By the secret that the node shares with the sender."""
    ota = node(KEY, secret=SECRET)
    report = ota.take("", Update(key=KEY).payload)
    words, code = report[:-2].split(', "mac": "')
    same(code, text(hmac(SECRET.encode(), ("dormouse-report green/7 %s}" % words).encode())))
    assert "mac" not in Update(key=KEY).offer(node(KEY))


def plan(marks, id=5):
    node()
    words = {"id": id, "of": "o" * 16, "tries": 3, "limit": 9, "watchdog": 9, "skip": 9, "chunk": 9}
    words["files"] = [["main.py", 0, 0, 5]]
    put("update.json", (json.dumps(words) + "\n" + marks).encode())
    put("update.part", b"part")
    put("main.py.old", b"older")
    return Ota(SECRET, TOPIC)


def confirm(ota):
    client = Client("h", client_id="c")
    if ota.confirm(client):
        packet = bytes(client.session.outbox[-1].packet)
        return json.loads(packet[packet.index(b"{") :])


def check_the_end_of_a_trial():
    ota = plan("A1")
    assert ota.trial and on_trial()
    same(Update(6).offer(ota), None)
    state(confirm(ota), "done")
    nothing(ota, "update.id", "update.id2")
    assert not ota.trial and not on_trial()
    same(confirm(ota), None)
    same(ota.runs(), 5)
    state(Update(5).offer(ota), "done")
    refused(Update(4).offer(Ota(SECRET, TOPIC)), "older than update 6", 4)  # 6 was offered
    state(confirm(plan("A13D")), "done")  # cut before it was told


def check_what_came_back():
    why = "no connection in 3 tries, reset causes 3 3 1"
    ota = plan("A331Bb")
    same(confirm(ota)["why"], why)
    nothing(ota, "update.id", "update.id2")
    report = state(Update(5).offer(Ota(SECRET, TOPIC)), "back")
    same((report["why"], report["runs"]), (why, 0))
    for marks in ("b", "ABb"):
        same(confirm(plan(marks))["why"], "could not be put in place")
    refused(confirm(plan("")), "boot.py did not run")
    same(confirm(plan("A331B")), None)  # boot.py is not through
    assert there("main.py.old")


JUNK = (
    b"",
    b"{}",
    b"{}\n",
    b"null\n",
    b"{\n",
    b"\xff\xfe\n",
    b"[1]\n9",
    b'{"id":5}\n9',
    b"\0" * 64,
    b"x" * 20000,
    b"[" * 5000,
    b"5 5 5 5\n",
    b'[5, 5, "done", null, "", 5]\n0',
    b'{"id": 5, "files": [["main.py", 0]], "tries": 3, "limit": 30, "watchdog": 5000}\n33\xff',
    b'{"id": 5, "files": [], "tries": "x", "limit": 30, "watchdog": 5000}\nZ',
    b"dormouse-update 5 main # - 1 0 0 9 9 0 00 1 1 1\n",
    b"dormouse-update 5 main # - 1 0 0 99999999999 9 9999999999 00 1 1 1\n",
)


def check_files_that_cannot_be_read():
    """Any bytes at all are no update; a new one is taken, and its end is remembered."""
    u = Update(6)
    for name in ("update.json", "update.part", "update.id", "update.id2", "update.bad"):
        for junk in JUNK:
            ota = node()
            u.offer(ota)
            put(name, junk)
            if name == "update.id":
                put("update.id2", junk)
            ota = Ota(SECRET, TOPIC)
            assert not ota.trial and not on_trial(), (name, junk)
            client = Client("h", client_id="c")
            ota.fetch(client)
            ota.confirm(client)
            state(u.offer(ota), "have", 6)
            state(u.rest(ota), "trial", 6)


def mangled(data, n):
    """Return data that was cut, or has other bytes somewhere, or is something else: n tells."""
    seed = sha256(b"%d %d" % (n, len(data))).digest()
    at = int.from_bytes(seed[:4], "big") % len(data)
    if n % 3 == 0:
        return data[:at]
    if n % 3 == 1:
        return data[:at] + seed[4 : 5 + n % 20] + data[at + 1 :]
    return data[: at // 2] + data[at:]


def check_files_that_were_good_once():
    """Cut or overwritten anywhere: nothing is raised, and the next update is taken."""
    u = Update(5)
    ota = node()
    u.offer(ota)
    u.chunk(ota, 0)
    good = {"update.part": get("update.part"), "update.id": get("update.id")}
    u.rest(ota, 1)
    good["update.json"] = get("update.json") + b"A12"
    v = Update(99)
    client = Client("h", client_id="c")
    for name in sorted(good):
        for n in range(24):
            data = mangled(good[name], n)
            node()
            for other in good:
                if other < name:  # as they are beside each other
                    put(other, good[other])
            put(name, data)
            if name == "update.id":
                put("update.id2", data)
            for _ in range(2):
                ota = Ota(SECRET, TOPIC)
                ota.fetch(client)
                ota.confirm(client)
            assert not there("update.json") and not ota.trial, (name, data)
            state(v.offer(ota), "have", 99)
            state(v.rest(ota), "trial", 99)


def check_flash_that_gives_errors():
    """EIO or ENOSPC at any operation: nothing is raised, and when it has passed all goes on."""
    import dormouse.field.ota as module

    real = open
    u = Update(key=SECRET)
    client = Client("h", client_id="c")
    for errno in (5, 28):
        for at in range(40):
            ota = node()
            left = [at]

            def bad(*args, errno=errno, left=left):
                left[0] -= 1
                if left[0] == -1 or left[0] < -40:
                    raise OSError(errno)
                return real(*args)

            module.open = bad
            try:
                for _ in range(2):
                    ota.take("", u.payload)
                    for n in range(len(u.chunks)):
                        ota.take("5/%d" % n, u.chunks[n])
                    ota.fetch(client)
                    ota.confirm(client)
                    if _ == 0 and not ota.ready:
                        ota = Ota(SECRET, TOPIC)
            finally:
                module.open = real
            if not ota.ready:
                ota = Ota(SECRET, TOPIC)
                ota.fetch(client)
                if not ota.ready:
                    u.offer(ota)
                    u.rest(ota, ota._next)
            assert ota.ready, (errno, at)


class Cut:
    """In the place of ``open``: the power is cut in the middle of a file that is written."""

    def __init__(self, left):
        self.left = left
        self.open = open

    def __call__(self, name, mode="r"):
        if mode == "w":
            self.left -= 1
            if self.left < 0:
                put(name, b"")
                raise OSError(5)
        return self.open(name, mode)


def check_the_whole_copy_is_written_last():
    """One copy of what is remembered is bad; a cut while that is mended leaves the other."""
    import dormouse.field.ota as module
    import dormouse.field.safe as safe

    class Guard:
        config = {"topic": TOPIC}  # noqa: RUF012

    def cut(left, what):
        for part in (module, safe):
            part.open = Cut(left)
        try:
            what()
        except OSError:
            pass
        finally:
            for part in (module, safe):
                del part.open

    for bad in ("update.id", "update.id2"):
        for junk in (b"", b"\xff", b"12"):
            for left in range(3):
                ota = node()
                Update(5).offer(ota)
                put(bad, junk)
                cut(left, lambda: node_again().runs())
                same(node_again()._recall()[0], 5)
    for bad in safe._COUNTS:
        for left in range(3):
            clear()
            for name in safe._COUNTS:
                put(name, b"1234")
            put(bad, b"")
            orders = safe.Orders(Guard, None, None)
            orders.count += 1
            cut(left, lambda orders=orders: orders._count("log"))
            assert safe.Orders(Guard, None, None).count >= 1234


class SafeGuard:
    """What safe mode's orders ask of a guard."""

    crashes = 5
    reason = "OSError(5,)"
    trouble = None

    def __init__(self):
        self.config = {"topic": TOPIC}
        self.lines = []

    def log(self, *words):
        self.lines.append(words)


# Orders that are none, or not to be carried out, and what tells it.
NO_ORDERS = (
    ("fly", "no such order"),
    ("Log", "no such order"),
    ("restart2", "no such order"),
    ("stay", "stay S"),
    ("stay x", "stay S"),
    ("stay -1", "stay S"),
    ("erase config.json", "not to be erased"),
    ("erase nothing", "Error(2,"),
)


def check_orders_that_are_refused():
    """An order that is not carried out is not answered as if it had been."""
    from dormouse.field import safe

    sent = []
    for ota in (node(), None):
        clear()
        put("config.json", b"{}")
        guard = SafeGuard()
        orders = safe.Orders(guard, ota, lambda *args: sent.append(args))
        n = 0

        def give(order, ota=ota, orders=orders):
            nonlocal n
            n += 1
            del sent[:]
            m = Message()
            m.topic = TOPIC + "/safe/do"
            words = "dormouse-order %s %d %s" % (TOPIC, n, order)
            m.payload = (words + "\n" + sign(SECRET, words) if ota else order).encode()
            orders.take(m)
            return json.loads(sent[-1][1]) if ota else orders.why

        for order, why in NO_ORDERS:
            said = give(order)
            if ota:
                same(said["order"], n)
                said = said["why"]
            same((order, why in said, orders.stay, orders.restart), (order, True, 0, False))
        same("log, files, restart, stay S, erase NAME" in guard.lines[0][1], True)
        same(there("config.json"), True)
        said = give("stay 9")
        same((orders.stay, orders.why), (9, None))
        same("why" in said if ota else said, False if ota else None)
        # What is repeated takes one line of the log; what anybody may order takes one in all, in
        # whatever order it comes; nothing that was not signed takes any.
        same(len(guard.lines), 3 if ota else 1)
        del guard.lines[:]
        for _ in range(9):
            give("fly")
        same(len(guard.lines), 1 if ota else 0)
        for _ in range(9 if not ota else 0):
            give("erase nothing")
            give("fly")
            give("files")
        same(len(guard.lines), 1 if ota else 0)
        m = Message()
        m.topic = TOPIC + "/safe/do"
        m.payload = b"" if ota is None else b"dormouse-order %s 99 fly\n00" % TOPIC.encode()
        del sent[:]
        orders.take(m)
        same((len(guard.lines), sent), (1 if ota else 0, []))


def check_orders_of_an_owner_without_a_key():
    """A key that cannot be used is no reason to obey everybody."""
    from dormouse.field import safe

    sent = []
    for key, there_is in (("rsa:c0ffee", True), ("?", True), ("", False), (None, False)):
        clear()
        put("data.csv", b"1,2")
        guard = SafeGuard()
        guard.config["update_key"] = key
        orders = safe.Orders(guard, None, lambda *args: sent.append(args))
        del sent[:]
        for order in ("erase data.csv", "stay 9", "fly", "restart"):
            m = Message()
            m.topic = TOPIC + "/safe/do"
            m.payload = order.encode()
            orders.take(m)
        same((there("data.csv"), orders.restart), (there_is, not there_is))
        same((orders.stay, len(sent), len(guard.lines)), (0, 0, 0) if there_is else (9, 2, 1))


def check_topics_below_the_updates():
    """A group may be named as the first part of its nodes' topics: what is theirs is no chunk."""
    u = Update()
    ota = node(update="green")
    client = Client("h", client_id="n", clean=False, store=Store())
    for topic, mine in (
        ("green", True),
        ("green/5/0", True),
        ("green/5/0/32", True),
        (TOPIC + "/do/toggle", False),
        (TOPIC + "/set/5", False),
        (TOPIC + "/safe/do", False),
        ("green/", False),
        ("greener/5/0", False),
        ("gree", False),
    ):
        m = Message()
        m.topic = topic
        m.payload = u.payload
        same((topic, ota.handle(m, client)), (topic, mine))


class Flaky:
    """In the place of ``os`` and ``open``: the ``at``-th operation on files fails."""

    def __init__(self, at):
        self.left = at
        self.count = 0
        self.open_file = open

    def step(self):
        self.count += 1
        self.left -= 1
        if not self.left:
            raise OSError(5, "fault")

    def open(self, name, mode="r"):
        self.step()
        return FlakyFile(self, self.open_file(name, mode))

    def stat(self, name):
        self.step()
        return os.stat(name)

    def remove(self, name):
        self.step()
        os.remove(name)

    def rename(self, old, new):
        self.step()
        os.rename(old, new)

    def statvfs(self, name):
        self.step()
        return os.statvfs(name)


class FlakyFile:
    def __init__(self, flaky, f):
        self.step = flaky.step
        self.f = f

    def read(self, *n):
        self.step()
        return self.f.read(*n)

    def readline(self):
        self.step()
        return self.f.readline()

    def readinto(self, buf):
        self.step()
        return self.f.readinto(buf)

    def write(self, data):
        self.step()
        return self.f.write(data)

    def seek(self, n):
        self.step()
        return self.f.seek(n)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.f.close()


def check_a_fault_at_each_operation():
    """One that passes, at any operation on files: the update arrives, what is remembered never goes
    back, and its trial comes to its end; nothing that is read is taken for lost."""
    import dormouse.field.ota as module

    def life(at, resets):
        clear()
        put("main.py", b"old")
        put("gone", b"old")
        module.os = flaky = Flaky(at)
        module.open = flaky.open
        module.sleep = lambda s: None
        client = Client("h", client_id="c")
        u = Update(5)
        ota = node_again()
        floor = 0
        for _ in range(4):
            ota.fetch(client)
            u.offer(ota)
            for n in range(len(u.chunks)):
                u.chunk(ota, n)
                if resets and n % 3 == 2 and not ota.ready:
                    ota = node_again()
                    ota.confirm(client)
            same(ota._recall()[0] >= floor, True)
            floor = ota._recall()[0]
            client.session.outbox.clear()
            if ota.ready:
                ota.fetch(client)
                break
        same((ota.ready, ota.trouble), (True, None))
        left, flaky.left = flaky.left, 0
        put("update.json", get("update.json") + b"A1")
        flaky.left = left
        for _ in range(3):  # starts
            ota = node_again()
            ota.confirm(client)
            same((ota.trouble, there("update.bad")), (None, False))
        same((there("update.json"), ota.runs()), (False, 5))
        return flaky.count

    real = module.sleep
    try:
        for resets in (False, True):
            for at in range(1, life(0, resets) + 1):
                life(at, resets)
    finally:
        module.os = os
        module.sleep = real
        del module.open


def node_again():
    return Ota(SECRET, TOPIC)


CHECKS = sorted(name for name in globals() if name.startswith("check_"))

if __name__ == "__main__":
    run(globals(), CHECKS)

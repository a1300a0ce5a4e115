"""Takes a new version of the application through MQTT; ``boot.py`` puts it in place (docs/ota.md).

    topic               retained, from the owner
    UPDATE              an offer: TEXT, a line end, its signature in hex
    UPDATE/VERSION/N    chunk N of it: SHA-256 of chunk N + 1 (32 bytes), and CHUNK bytes of content
    topic               retained, from the node
    NODE/updated        how it goes, in JSON

TEXT is these words with single spaces between them: dormouse-update VERSION APP TARGET BOARD SHARE
MINIMUM EXPIRY SIZE HEAD CHUNK SHA256 TRIES LIMIT WATCHDOG. SHA256 is that of chunk 0. So whoever
signs TEXT vouches for each chunk, and the node knows it for right before a byte of it is written.

The content is SIZE bytes. Its first HEAD are a line for each file, "LENGTH NAME", or "- NAME" for
one that is to go; then the files' contents follow, in that order. A SIZE of 0 is a withdrawal.

On flash: update.part: TEXT, a line end, the chunks as they come. update.json: see ``boot.py``.
update.id and update.id2: the highest VERSION ever offered, which update ended last, and how.
"""

import json
import os
import sys
from binascii import crc32, hexlify
from hashlib import sha256
from time import gmtime, sleep, time

from micropython import const

from ..packet import MQTTError

_PART = "update.part"
_PLAN = "update.json"
_COPIES = ("update.id", "update.id2")
_BAD = "update.bad"
_ENOENT = const(2)
_WAITS = (20, 100, 400)  # ms
_OFFER = const(2048)  # bytes of an offer, at most
_TEXT = const(1000)  # of them; of what is remembered, too
_WHY = const(100)  # characters
_HEAD = const(8192)  # bytes of a head
_LONG = const(16384)  # bytes of update.json
_HASH = const(32)
_RESERVE = const(4)  # blocks of flash that stay free, for the store and the filesystem itself
_WINDOW = const(3)  # chunks asked for at once: as many as an inbox of 8 KB takes
_PATIENCE = const(3)  # times that the same chunk is asked for in one wake
_SELDOM = const(3)  # and one wake in four
_WEAK = const(32)  # characters of a key that everybody who reads an offer may try to guess
_SHARE = const(3)  # bytes of a SHARE
_EPOCH = const(946684800)  # s from 1970 to 2000, where the time of most ports begins
_SET = const(1700000000)  # a clock that says less was never set
_LATE = "its time is over, or the clock is not set"
_ALLOWED = "abcdefghijklmnopqrstuvwxyz0123456789_-./"
# What stands before a SHA-256 in a signature (RFC 8017, section 9.2, note 1).
_PREFIX = b"\x000\x310\r\x06\t`\x86H\x01e\x03\x04\x02\x01\x05\x00\x04 "


def _patient(f, *args):
    # What is wrong with a medium may pass: a bad contact, a voltage. What was not read is there.
    for ms in _WAITS:
        try:
            return f(*args)
        except OSError as e:
            if e.errno == _ENOENT:
                raise
            sleep(ms / 1000)
    return f(*args)


def _size(name):
    try:
        return _patient(os.stat, name)[6]
    except OSError:
        return -1


def _begin(name):
    with open(name, "rb") as f:
        return f.read(_TEXT)


def _remove(name):
    try:
        os.remove(name)
    except OSError:
        pass


def _aside(name):
    # What cannot be read is not there; but whoever comes may want to see it.
    _remove(_BAD)
    try:
        os.rename(name, _BAD)
    except OSError:
        _remove(name)
    return name + " could not be read"


def _text(data):
    return str(hexlify(data), "utf-8")


def _now():
    return time() + (_EPOCH if gmtime(0)[0] == 2000 else 0)


def _late(expiry):
    return expiry and not _SET < _now() < expiry


def hmac(key: bytes, text: bytes) -> bytes:
    """Return the HMAC-SHA256 of a text (RFC 2104)."""
    if len(key) > 64:
        key = sha256(key).digest()
    key += b"\0" * (64 - len(key))
    for pad in (0x36, 0x5C):
        text = sha256(bytes([byte ^ pad for byte in key]) + text).digest()
    return text


def refuse_weak(key: str) -> None:
    """Raise ValueError for a key (see ``Ota``) that would protect nothing."""
    if key[:4] == "rsa:":
        try:
            if len(key) in (516, 772, 1028) and int(key[4:], 16) >> 4 * len(key) - 17:
                return  # no bit less
        except ValueError:
            pass
        raise ValueError("update_key: an RSA key of 2048, 3072 or 4096 bits")
    if len(key) < _WEAK:
        raise ValueError("update_key: 32 characters or more")


def verify(key: str, text: str, signature: str) -> bool:
    """Return whether a signature (hex) of a text is by the owner of a key (see ``Ota``).

    "rsa:": RSASSA-PKCS1-v1_5 with SHA-256 (RFC 8017, section 8.2.2), the exponent 65537; the whole
    encoded block is compared. Else HMAC-SHA256. Raises ValueError for what is no hex.
    """
    data = text.encode()
    if key[:4] != "rsa:":
        # Hashed once more, so that the time of comparing tells nothing.
        good = _text(hmac(key.encode(), data))
        return sha256(good.encode()).digest() == sha256(signature.encode()).digest()
    n = int(key[4:], 16)
    size = len(key) // 2 - 2  # bytes
    if len(signature) != 2 * size:
        return False
    s = int(signature, 16)
    block = b"\1" + b"\xff" * (size - 54) + _PREFIX + sha256(data).digest()
    return 0 < s < n and pow(s, 65537, n) == int.from_bytes(block, "big")


def plan() -> tuple | None:
    """Return the plan in update.json and the marks behind it (see ``boot.py``), or None."""
    n = _size(_PLAN)
    if not 0 < n <= _LONG:
        return None
    try:
        line, marks = _patient(_lines)
        found = json.loads(line)
        marks = str(marks, "utf-8")
        if marks[:1] in ("", "A", "b") and found["id"] > 0 and found["tries"] > 0:
            found["of"] + ""
            for name, kind, at, n in found["files"]:
                name + "", kind + at + n
            return found, marks
    except Exception:  # any bytes at all
        pass
    return None


def _lines():
    with open(_PLAN, "rb") as f:
        return f.readline(), f.read()


def on_trial() -> bool:
    """Return whether this is a try of a new version of the application (see ``boot.py``)."""
    found = plan()
    return bool(found) and found[1][-1:].isdigit()


class Ota:
    """What arrives of an update, and what became of the last one.

    ``key``: whose updates are taken: "rsa:" and the modulus of a public key in hex (2048, 3072 or
    4096 bits), or a secret of 32 characters or more that the sender has too. ``topic``: the node's.
    ``update``: where updates are offered; a group of nodes may have one. ``keep``: names of files
    that no update may touch, beside boot.py, config.*, dormouse.* and update.*: other stores,
    keys, certificates. ``app``: which application this is; others' updates are not for it.
    ``secret``: what the sender knows a report of this node by. All are str. Raises ValueError for a
    key that would protect nothing.

    ``filters``: pairs of topic filter and QoS to subscribe to. ``trial`` (bool): this is the trial
    of a new version, or its end is not reported yet: connect, and call ``confirm``. ``ready``
    (bool): all has arrived and is verified: save the session and ``machine.reset()``. ``trouble``:
    what on flash could not be read and was begun anew, or None.

    All in the current folder, which on a chip is the root of its flash.
    """

    _buffer = bytearray

    def __init__(
        self,
        key: str,
        topic: str,
        update: str | None = None,
        keep=(),
        app: str = "main",
        secret: str | None = None,
    ) -> None:
        refuse_weak(key)
        self.key = key
        self.topic = topic
        self.update = update or topic + "/update"
        self.filters = [(self.update, 1)]
        self.keep = ["boot.py"] + [name.lstrip("./").lower() for name in keep]
        self.app = app
        self.secret = secret or (None if key[:4] == "rsa:" else key)
        self.ready = False
        self.trouble = None
        self.trial = _size(_PLAN) >= 0
        if self.trial and not plan():
            self.trouble = _aside(_PLAN)
            self.trial = False
        # _id: which update is on its way, None for none; _known: the offer that was verified last;
        # _asked: topics of the chunks that were asked for; _slot: the report that waits
        # _copy: which of _COPIES is known to be whole; _offered: number and name of the last offer
        self._id = self._known = self._record = self._slot = self._copy = self._offered = None
        self._asked = []
        self._first = self._next = 0  # where they begin; which is the next
        self._again = _PATIENCE
        self._missed = False  # an offer came that could not be taken

    def fetch(self, client) -> None:
        """Ask for what is to come next of an update that is on its way; before each wake, or when
        connected. ``client``: the Client."""
        try:
            self._load()
            if self._id and self._next == self._count and not self.ready:
                self.tell(self._finish(), client)  # the power was cut before that was found out
        except (OSError, MemoryError) as e:
            self.tell(self._flash(e), client)
        session = client.session
        asked = self._asked
        if asked:
            session.request(0xA2, asked)
        self._asked = asked = []
        self._first = self._next
        if self.ready or self.trial:
            return
        if not self._id:
            # What was offered last did not begin, or its offer was lost: while another was on
            # trial, or by the broker. It has it still; asked for now and then, if not missed here.
            floor, last = self._recall()[:2]
            if not self._missed and floor > last and _size(_PART) < 0:
                from os import urandom

                self._missed = not urandom(1)[0] & _SELDOM
            if self._missed:
                session.request(0x82, self.filters)
                self._missed = False
            return
        pairs = []
        for name in self._due():
            name = "%s/%d/%s" % (self.update, self._id, name)
            session.filters.pop(name, None)  # it is what is asked for, though it was before
            asked.append(name)
            pairs.append((name, 0))
        if pairs:  # else all is there, and the clock not set
            session.request(0x82, pairs)

    def _due(self):
        # Which chunks are asked for at once.
        last = self._next + (_WINDOW if self._again == _PATIENCE else 1)
        return range(self._next, min(last, self._count))

    def handle(self, message, client) -> bool:
        """Take ``message`` if it is part of an update; tell what is to be told, and ask for what
        comes next, by ``client`` (the Client). Returns whether it was."""
        name = message.topic
        part = self._part(name)
        if part is None:
            return False
        report = self.take(part, message.payload)
        self.tell(report, client)
        asked = self._asked
        due = self._next >= self._first + len(asked)
        if self._missed and not part:  # it is to come again, but not without end
            due = self._again
            self._again = max(due - 1, 0)
        elif not self._id or self.ready:
            due = asked  # no more of it
        elif name not in asked:
            due = report  # an offer
            self._again = max(self._again, 1)
        elif not due and name == asked[-1] and self._again:
            self._again -= 1  # something in between is wrong, or was lost
            due = True
        if due:
            self.fetch(client)
        return True

    def _part(self, name):
        # What an offer's or a chunk's topic has behind ``update``; None for any other: one of the
        # node's own may be below it.
        n = len(self.update)
        part = name[n:]
        if name[:n] == self.update and (
            not part or (part[0] == "/" and part.replace("/", "").isdigit())
        ):
            return part[1:]

    def take(self, name: str, payload) -> str | None:
        """Take a message that came under ``update``; ``name``: its topic without that and the "/".

        What it holds is on flash when this returns. Returns what to tell, or None: so it is for all
        that is not from the owner. Raises nothing.
        """
        try:
            return self._chunk(name, payload) if name else self._offer(payload)
        except OSError as e:
            self._missed = self._missed or not name
            return self._flash(e)
        except Exception as e:  # whatever it is, it must not come again and again
            self._id = None  # what is on flash is looked at anew
            if isinstance(e, MemoryError):  # which may pass
                self._missed = self._missed or not name
            return None

    def confirm(self, client) -> bool:
        """Say that the application has connected to the broker: that ends the trial.

        Returns whether there is something to be sent. Call it after each connect; where no update
        is on trial it does nothing. Raises nothing.
        """
        report = None
        if self.trial and not self.ready:
            try:
                report = self._end_of_trial()
            except (OSError, MemoryError) as e:  # the next start tries again
                report = self._flash(e)
        elif self.trouble:
            report = self._report("trouble", self.trouble)
            self.trouble = None
        if self._missed:
            try:
                self.fetch(client)
            except (MQTTError, MemoryError):
                pass  # the next time
        return self.tell(report, client)

    def tell(self, report: str | None, client) -> bool:
        """Publish what ``take`` returned, if it takes the place of nothing else: the newest is
        retained at the broker. Returns whether there was anything."""
        if not report:
            return False
        session = client.session
        box = session.outbox
        session.withdraw(self._slot)
        count, free = session.limits[:2]
        for o in box:
            count -= 1
            free -= len(o.packet or b"")
        if count > 0 and free > 2 * len(report):
            try:
                self._slot = client.publish_nowait(self.topic + "/updated", report, 0, True)
            except MQTTError:
                pass  # MQTT 5: it retains nothing, say
        return True

    def runs(self) -> int:
        """Return which update runs: the last one that connected; 0 for none."""
        return self._recall()[5]

    def prove(self, report: dict) -> str:
        """Return a report as JSON; with ``secret`` it has what proves that it is this node's."""
        text = json.dumps(report)
        if self.secret:
            code = hmac(
                self.secret.encode(), ("dormouse-report %s %s" % (self.topic, text)).encode()
            )
            text = '%s, "mac": "%s"}' % (text[:-1], _text(code))
        return text

    # --- what is told, and what is remembered

    def _report(self, state, why=None, id=None, of=None):
        record = self._recall()
        report = {"id": id or record[1], "of": of or record[4], "state": state, "runs": record[5]}
        if why:
            report["why"] = why
        if state == "have":
            report["have"] = self._next
            report["count"] = self._count
        return self.prove(report)

    def _flash(self, e):
        # What there is of it is looked at anew.
        id, of = (self._id, self._of) if self._id else self._offered or (None, None)
        self._id = None
        return id and self._report("flash", repr(e), id, of)

    def _recall(self):
        # The highest version offered; the update that ended last, how, why, which; what runs.
        if self._record:
            return self._record
        best = line = None
        bad = False
        found = []
        for name in _COPIES:
            try:
                line = _patient(_begin, name)
                if not line:  # a cut while it was written
                    continue
                line, check = line.split(b"\n")
                record = json.loads(line)
                if int(check, 16) != crc32(line):
                    raise ValueError
                found.append(line)
                if not best or record[:2] > best[:2]:
                    best = record
                    self._copy = name
            except OSError as e:
                bad |= e.errno != 2
            except Exception:  # any bytes at all
                bad = True
        if bad and not best:
            self.trouble = _aside(_COPIES[0])
        self._record = best or [0, 0, "", None, "", 0]
        if best and found != [line, line]:
            try:
                self._remember()  # where one is lost the other is not to be the last
            except OSError:
                pass
        return self._record

    def _remember(self, **changes):
        # On two places: a cut while one is written leaves the other, so the one that is known to be
        # whole goes last.
        record = list(self._recall())
        for name in changes:
            record[("floor", "id", "state", "why", "of", "runs").index(name)] = changes[name]
        line = json.dumps(record)
        a, b = _COPIES
        for name in (b, a) if self._copy == a else _COPIES:
            with open(name, "w") as f:
                f.write("%s\n%x" % (line, crc32(line.encode())))
        self._record = record

    def _ended(self, state, why):
        # It has ended, whatever comes again of it.
        self._remember(id=self._id, state=state, why=why and why[:_WHY], of=self._of)
        self._drop()
        return self._report(state, why)

    def _drop(self):
        self._id = None
        _remove(_PART)

    def _end_of_trial(self):
        found = plan()
        if not found:
            self.trial = False
            self.trouble = _aside(_PLAN)
            return self._report("trouble", self.trouble)
        found, marks = found
        end = marks[-1:]
        why = None
        state = "done"
        if end == "b":
            state = "back"
            why = "no connection in %d tries" % found["tries"]
            if len(marks) < 4:
                why = "could not be put in place"
            else:
                why += ", reset causes " + " ".join(marks[1:-2])
        elif end == "B":
            return  # boot.py could not put it back, and tries again
        elif not end or end == "A":
            state = "refused"
            why = "boot.py did not run, or could not write: make deploy"
        elif end != "D":
            with open(_PLAN, "a") as f:
                f.write("D")
        for name, _, _, _ in found["files"]:
            _remove(name + ".old")
        id = found["id"]
        floor, _, _, _, _, runs = self._recall()
        self._missed = self._missed or floor > id  # another was offered meanwhile
        floor = max(floor, id)  # it was offered, and that it was may be lost
        if state == "done":
            runs = id
        self._remember(floor=floor, id=id, state=state, why=why, of=found["of"], runs=runs)
        self.trial = False
        _remove(_PART)
        _remove(_PLAN)
        return self._report(state, why)

    # --- an offer

    def _mine(self, words):
        # Whether it is for this node: looked at first, for it costs least.
        from ..router import matches

        kind, _, app, target, board, _, _, _, _, _, _, _, _, _, _ = words
        return (
            kind == "dormouse-update"
            and app == self.app
            and board in ("-", sys.platform)
            and matches(target, self.topic)
        )

    def _words(self, payload):
        # Those of an offer by the owner, for this node; else None. Raises anything.
        text, signature = str(payload, "utf-8").split("\n")
        words = text.split(" ")
        if len(text) <= _TEXT and self._mine(words):
            if text == self._known or verify(self.key, text, signature):
                self._known = text
                return words

    def _offer(self, payload):
        if len(payload) > _OFFER:
            return
        try:
            words = self._words(payload)
        except MemoryError:
            raise
        except Exception:  # nonsense, which costs no look at what is on flash
            return
        if not words:
            return
        id = int(words[1])
        of = words[11][:16]
        self._offered = id, of
        self._missed = False
        floor, last, state, why, _, runs = self._recall()
        busy = _size(_PLAN) >= 0
        if id > floor:
            self._remember(floor=id)
            if not busy:
                self._drop()  # another was on its way
        number = sha256(("%d %s" % (id, self.topic)).encode()).digest()[:_SHARE]
        if int.from_bytes(number, "big") >= int(words[5]):
            return  # its turn comes later
        if busy:
            found = plan()
            if found and found[0]["id"] == id:
                return self._report("trial", None, id, of) if self.ready else None
            # A newer one is asked for when that has ended.
            self._missed = not found or id > found[0]["id"]
            return
        if id == last:
            return self._report(state, why)
        if id < floor:
            return self._report("refused", "older than update %d" % floor, id, of)
        self._load()
        size = int(words[8])
        if not size:
            self._id = id
            self._of = of
            return self._ended("withdrawn", None)
        why = None
        if self._id == id and self._of != of:
            why = "its number is another's"
        elif runs < int(words[6]):
            why = "for those that run update %s" % words[6]
        elif _late(int(words[7])):
            why = _LATE
        elif int(words[9]) > _HEAD:
            why = "its head is longer than %d bytes" % _HEAD
        elif self._id != id:
            why = self._room(size + size // int(words[10]) * _HASH + _OFFER)
        if why:
            return self._report("refused", why, id, of)
        if self._id != id:
            with open(_PART, "w") as f:
                f.write(self._known + "\n")
            self._load()
        return self._report("have", None, id, of)

    def _room(self, n):
        s = os.statvfs(".")
        free = (s[3] - _RESERVE) * s[0]
        if n > free:
            return "%d bytes, and %d are free" % (n, max(free, 0))

    # --- its content

    def _load(self):
        # Find out what there is: _id None, or all about it. All is verified once more: the power
        # may have been cut while it was written, and flash wears.
        if self._id or self.ready or _size(_PART) < 0 or _size(_PLAN) >= 0:
            return
        try:
            _patient(self._look)
        except EOFError:
            pass
        except MemoryError:
            return  # it may pass
        except Exception:  # any bytes at all
            self.trouble = _aside(_PART)
            return
        if not self._id:
            _remove(_PART)  # of one that has ended

    def _look(self):
        with open(_PART, "rb") as f:
            text = f.read(_TEXT)
            n = text.find(b"\n")
            if n < 0 and len(text) < _TEXT:
                raise EOFError  # a cut while it was written
            text = text[:n]
            self._skip = n + 1
            text = str(text, "utf-8")
            words = text.split(" ")
            self._expiry, self._size, self._head, self._chunks = [int(word) for word in words[7:11]]
            self._sha = self._whole = bytes.fromhex(words[11])
            self._of = words[11][:16]
            self._trial = [int(word) for word in words[12:15]]
            self._count = (self._size - 1) // self._chunks + 1
            id = int(words[1])
            if id == self._recall()[0] and id != self._recall()[1]:
                self._scan(f)
                self._id = id
                self._known = text

    def _length(self, n):
        # Of chunk n, with the SHA-256 of the next one.
        return min(self._chunks, self._size - n * self._chunks) + _HASH

    def _scan(self, f):
        # How many chunks are there and right.
        f.seek(self._skip)
        self._next = 0
        buf = memoryview(self._buffer(self._length(0)))
        while self._next < self._count:
            data = buf[: self._length(self._next)]
            if f.readinto(data) != len(data) or sha256(data).digest() != self._sha:
                break
            self._sha = bytes(data[:_HASH])
            self._next += 1

    def _files(self):
        # Length (None: to go), name and place of each.
        at = 0
        place = self._head
        rest = b""
        with open(_PART, "rb") as f:
            while at < self._head:
                n, k = divmod(at, self._chunks)
                f.seek(self._skip + n * (self._chunks + _HASH) + _HASH + k)
                data = f.read(min(256, self._chunks - k, self._head - at))
                at += len(data)
                lines = (rest + data).split(b"\n")
                rest = lines.pop()
                for line in lines:
                    n, name = str(line, "utf-8").split(" ")
                    n = None if n == "-" else int(n)
                    yield n, name, place
                    place += n or 0

    def _chunk(self, name, data):
        if self.ready or _size(_PLAN) >= 0:
            return
        self._load()
        if not self._id or name != "%d/%d" % (self._id, self._next):
            return
        n = self._length(self._next)
        if len(data) != n or sha256(data).digest() != self._sha:
            return  # not the owner's
        with open(_PART, "r+b") as f:
            f.seek(self._skip + self._next * (self._chunks + _HASH))
            f.write(data)
        self._sha = bytes(data[:_HASH])
        before = self._next * self._chunks
        self._next += 1
        self._again = _PATIENCE
        if before < self._head <= before + self._chunks:
            why = self._wrong()
            if why:
                return self._ended("refused", why)
            why = self._room(self._blocks)
            if why:
                id = self._id
                self._drop()
                return self._report("refused", why, id, self._of)
        if self._next == self._count:
            return self._finish()
        if self._next >= self._first + len(self._asked):
            return self._report("have", None, self._id, self._of)

    def _wrong(self):
        # Why a whole head is not to be followed.
        total = self._head
        names = []
        folders = []
        block = os.statvfs(".")[0]
        room = most = 0
        for n, name, _ in self._files():
            for part in name.split("/"):
                if not part or part.strip(".") != part:
                    return "no such name: " + name
            low = name.lower()  # FAT knows no difference
            for c in low:
                if c not in _ALLOWED:
                    return "no such name: " + name
            if low in self.keep or low[:7] in ("update.", "config.") or low[:9] == "dormouse.":
                return "not to be updated: " + name
            if low in names or low[-4:] == ".old":
                return "no such name: " + name
            names.append(low)
            low = low[: low.rfind("/") + 1]
            if low not in folders:  # which grows by as many names as NAME.old
                folders.append(low)
                room += 2 * block
            total += n or 0
            old = _size(name)
            for k in (
                old,
                -1 if n is None else n - max(old + 1, 0),
            ):  # NAME.old, what NAME grows by
                if k >= 0:
                    k = (k // block + 1) * block
                    room += k
                    most = max(most, k)  # one more while it is copied
        self._blocks = room + most + (self._count - self._next) * (self._chunks + _HASH)
        if total != self._size or not names:
            return "its head is not the offer's"

    def _finish(self):
        # All is there: verified as it is on flash, then boot.py's.
        with open(_PART, "rb") as f:
            self._sha = self._whole
            self._scan(f)
        if self._next < self._count:
            return
        why = self._wrong()  # it may have been cut before that was looked at
        if not why and _late(self._expiry):  # somebody may have held it up
            if _now() <= _SET:  # before a wake, say, after a loss of power: see ``confirm``
                self._missed = True
                return
            why = _LATE
        if why:
            return self._ended("refused", why)
        files = []
        for n, name, place in self._files():
            kind = 0 if _size(name) >= 0 else 1
            if n is None:
                if kind:
                    continue
                kind = 2
            files.append((name, kind, place, n or 0))
        plan = {"id": self._id, "of": self._of, "skip": self._skip, "chunk": self._chunks}
        plan.update(zip(("tries", "limit", "watchdog"), self._trial))
        plan["files"] = files
        try:
            with open(_PLAN, "w") as f:
                f.write(json.dumps(plan) + "\n")
        except OSError:
            _remove(_PLAN)  # half of one would be in the way until the next start
            raise
        self.ready = True
        return self._report("trial", None, self._id, self._of)

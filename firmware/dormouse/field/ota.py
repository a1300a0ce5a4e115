"""Takes a new version of the application through MQTT; ``boot.py`` puts it in place (docs/ota.md).

    name, under the node's topic        payload
    update                              {"offer": TEXT, "hmac": hex, "ask": n}, retained
        TEXT: "ID SIZE HEAD SHA256 TRIES LIMIT WATCHDOG", separated by single spaces
        hmac: HMAC-SHA256 (RFC 2104) of "TOPIC TEXT" by the node's key
    update/ID/OFFSET[/ask]              bytes of the bundle from OFFSET on
    updated                             what ``take`` and ``confirm`` return

The bundle is SIZE bytes. Its first HEAD, whose SHA-256 is in the offer, are a line for each file,
"SHA256 LENGTH NAME", or "- 0 NAME" for one that is to go; then the files' contents follow, in that
order. So nothing is used, not even a name, that the key does not vouch for.

On flash: update.part (the offer, the head as it comes), NAME.new (contents as they come), then
update.json (see ``boot.py``); update.id, which update was the last to end, and how.
"""

import json
import os
from binascii import hexlify
from hashlib import sha256

from micropython import const

from ..session import OutboxFull

_PART = "update.part"
_PLAN = "update.json"
_LAST = "update.id"
_HEAD = const(8192)  # bytes of a head
_RESERVE = const(4)  # blocks of flash that stay free, for the store and the filesystem itself
_ALLOWED = "abcdefghijklmnopqrstuvwxyz0123456789_-./"


def _size(name):
    try:
        return os.stat(name)[6]
    except OSError:
        return -1


def _remove(name):
    try:
        os.remove(name)
    except OSError:
        pass


def _read(name, skip, n):
    # SHA-256 of n bytes of a file, in hex; one that is shorter has another.
    h = sha256()
    buf = memoryview(bytearray(min(n, 512)))
    with open(name, "rb") as f:
        f.seek(skip)
        while n > 0:
            k = f.readinto(buf[:n] if n < 512 else buf)
            if not k:
                return
            h.update(buf[:k])
            n -= k
        if f.read(1):
            return
    return str(hexlify(h.digest()), "utf-8")


def hmac(key: bytes, text: bytes) -> bytes:
    """Return the HMAC-SHA256 of a text (RFC 2104)."""
    if len(key) > 64:
        key = sha256(key).digest()
    key += b"\0" * (64 - len(key))
    for pad in (0x36, 0x5C):
        text = sha256(bytes([byte ^ pad for byte in key]) + text).digest()
    return text


class Ota:
    """What arrives of an update, and what became of the last one.

    ``key``: str, the setting "update_key"; without one no update is taken. ``topic``: the node's,
    str, under which the sender publishes. ``keep``: names (str) of files that no update may touch,
    beside boot.py, config.json, dormouse.journal and update.*: other stores, keys, certificates.

    ``trial`` (bool): this is the trial of a new version, or its end is not reported yet: connect,
    and call ``confirm``. ``ready`` (bool): all has arrived and is verified: when what ``take``
    returned last is sent, save the session and ``machine.reset()``.

    All in the current folder, which on a chip is the root of its flash.
    """

    def __init__(self, key: str | None, topic: str, keep=()) -> None:
        self.key = key
        self.topic = topic
        self.keep = ["boot.py", "config.json", "config.new"]
        self.keep += [name.lstrip("./").lower() for name in keep]
        self.trial = _size(_PLAN) >= 0
        self.ready = False
        self._id = self._gap = None

    def take(self, name: str, payload) -> str | None:
        """Take a message that came under ``topic``; ``name``: its topic without that and the "/".

        What it holds is on flash when this returns. Returns what to publish as ``topic``/updated
        at QoS 1, or None. Raises nothing: what is malformed is not from the sender, and ignored.
        """
        try:
            _, *where = name.split("/")
            if where:
                return self._chunk(int(where[0]), int(where[1]), len(where) > 2, payload)
            return self._offer(json.loads(payload)) if payload else None
        except OSError as e:
            return self._id and self._refuse(self._id, "flash: %s" % e)
        except Exception:  # whatever it is, it must not come again and again
            self._id = None  # what is on flash is looked at anew
            return None

    def confirm(self) -> str | None:
        """Say that the application has connected to the broker: that ends the trial.

        Returns what to publish as ``topic``/updated at QoS 1, or None. Call it after each
        connect; where no update is on trial it does nothing. Raises nothing.
        """
        if not self.trial or self.ready:
            return None
        try:
            with open(_PLAN) as f:
                plan = json.loads(f.readline())
                marks = f.read()
            end = marks[-1:]
            why = None
            state = "done"
            if end == "b":
                state = "back"
                why = "no connection in %d tries" % plan["tries"]
                if len(marks) < 4:
                    why = "could not be put in place"
                else:
                    why += ", reset causes " + " ".join(marks[1:-2])
            elif end == "B":
                return None  # boot.py could not put it back, and tries again
            elif not end or end == "A":
                state = "refused"
                why = "boot.py did not run, or could not write: make deploy"
            elif end != "D":
                with open(_PLAN, "a") as f:
                    f.write("D")
            for name, _ in plan["files"]:
                _remove(name + ".old")
                _remove(name + ".new")
            self._end(plan["id"], state, why)
        except (OSError, ValueError):  # the next start tries again
            return None
        self.trial = False
        _remove(_PART)
        _remove(_PLAN)
        return self._report(plan["id"], state, why)

    def handle(self, message, publish) -> bool:
        """Take ``message`` if it is part of an update, and tell what is to be told by ``publish``
        (a Node's, or ``Client.publish_nowait``). Returns whether it was."""
        name = message.topic[len(self.topic) + 1 :]
        mine = name.split("/")[0] == "update"
        if mine:
            self.tell(self.take(name, message.payload), publish)
        return mine

    def tell(self, report: str | None, publish) -> bool:
        """Publish what ``take`` or ``confirm`` returned. Returns whether there was anything."""
        if report:
            try:
                publish(self.topic + "/updated", report, 1)
            except OutboxFull:
                pass  # the sender asks again
        return bool(report)

    # --- inside

    def _report(self, id, state, why=None, ask=None):
        report = {"id": id, "state": state}
        if state == "have":
            report["have"] = self._have
        if why:
            report["why"] = why
        if ask:
            report["ask"] = ask
        return json.dumps(report)

    def _end(self, id, state, why):
        with open(_LAST, "w") as f:
            f.write(json.dumps((id, state, why)))

    def _refuse(self, id, why):
        # Also removes what there is of it.
        if self._id == id:
            for _, _, name in self._files():
                _remove(name + ".new")
            _remove(_PART)
            self._id = None
        return self._report(id, "refused", why)

    def _offer(self, offer):
        text = offer["offer"]
        words = text.split(" ")
        id = int(words[0])
        ask = offer.get("ask")
        if _size(_PLAN) >= 0:
            return self._report(id, "trial") if self.ready else None
        if not self.key:
            return self._report(id, "refused", "no update_key on the node: make provision")
        good = hmac(self.key.encode(), (self.topic + " " + text).encode())
        wrong = 0
        for a, b in zip(hexlify(good), offer["hmac"].encode()):
            wrong |= a ^ b
        if wrong or len(offer["hmac"]) != 64:
            return self._report(id, "refused", "wrong key or topic")
        try:
            with open(_LAST) as f:
                last, state, why = json.loads(f.read())
        except (OSError, ValueError):
            last = 0
        if id == last:
            return self._report(id, state, why)
        if id < last:
            return self._report(id, "refused", "older than update %d" % last)
        self._load()
        if self._id != id:
            if self._id:
                self._refuse(self._id, "")  # another was on its way
            if int(words[2]) > _HEAD:
                return self._report(id, "refused", "its head is longer than %d bytes" % _HEAD)
            why = self._room(int(words[1]))
            if why:
                return self._report(id, "refused", why)
            with open(_PART, "w") as f:
                f.write(text + "\n")
            self._load()
        return self._finish() or self._report(id, "have", None, ask)

    def _room(self, n):
        s = os.statvfs(".")
        free = (s[3] - _RESERVE) * s[0]
        if n > free:
            return "%d bytes, and %d are free" % (n, max(free, 0))

    def _load(self):
        # Find out what there is: _id None, or all about it.
        if self._id or _size(_PART) < 0:
            return
        with open(_PART) as f:
            text = f.readline()
        words = text.split(" ")
        if len(words) != 7 or text[-1] != "\n":  # FAT lost power in the middle
            _remove(_PART)
            return
        self._skip = len(text)
        self._length = int(words[1])
        self._head = int(words[2])
        self._sha = words[3]
        self._plan = words[4:]
        self._have = _size(_PART) - self._skip
        self._good = False
        self._id = int(words[0])
        if self._have >= self._head:
            if self._wrong():  # the power was cut before that was found out
                self._refuse(self._id, "")
                return
            whole = True
            for _, n, name in self._files():
                if whole:
                    k = _size(name + ".new")
                    self._have += max(k, 0)
                    whole = k >= n

    def _files(self):
        # SHA-256, length and name of each, when the whole head is there and is the sender's.
        if not self._good:
            if _size(_PART) - self._skip < self._head:
                return
            if _read(_PART, self._skip, self._head) != self._sha:
                return
            self._good = True  # once, not for each chunk: nobody writes there any more
        with open(_PART) as f:
            f.seek(self._skip)
            for line in f:
                sha, n, name = line[:-1].split(" ")
                yield sha, int(n), name

    def _chunk(self, id, offset, ask, data):
        if self.ready or _size(_PLAN) >= 0:
            return
        self._load()
        if self._id != id:
            return
        lost = offset - self._have
        if lost > 0:
            if self._gap == self._have:  # it has been told
                return
            self._gap = self._have
            return self._report(id, "have")
        data = memoryview(data)[-lost:]
        while data and self._have < self._length:
            name = _PART
            at = self._head
            if at <= self._have:
                for _, n, other in self._files():
                    if at <= self._have:
                        at += n
                        name = other
                self._folders(name)
                name += ".new"
            n = min(at - self._have, len(data))
            with open(name, "ab") as f:
                f.write(data[:n])
            self._have += n
            data = data[n:]
            if self._have == self._head:
                why = self._wrong() or self._room(self._blocks)
                if why:
                    return self._fail(why)
        report = self._finish()
        if report or not ask:
            return report
        return self._report(id, "have")

    def _folders(self, name):
        at = name.find("/")
        while at > 0:
            try:
                os.mkdir(name[:at])
            except OSError:
                pass  # it is there; if not, the file's open() tells
            at = name.find("/", at + 1)

    def _wrong(self):
        # Why a whole head is not to be followed.
        total = self._head
        names = []
        block = os.statvfs(".")[0]
        room = most = 0
        for sha, n, name in self._files():
            for part in name.split("/"):
                if not part or part.strip(".") != part:
                    return "no such name: " + name
            low = name.lower()  # FAT knows no difference
            for c in low:
                if c not in _ALLOWED:
                    return "no such name: " + name
            if low in self.keep or low[:7] == "update." or low[:17] == "dormouse.journal":
                return "not to be updated: " + name
            if low in names or low[-4:] in (".new", ".old"):
                return "no such name: " + name
            names.append(low)
            total += n
            if sha == "-":
                n = -1
            old = _size(name)
            for k in (n, old, n - max(old + 1, 0)):  # NAME.new, NAME.old, what NAME grows by
                if k >= 0:
                    k = (k // block + 1) * block
                    room += k
                    most = max(most, k)  # one more while it is copied
        self._blocks = room + most
        if total != self._length or not names:
            return "its head is not the offer's"

    def _fail(self, why):
        # It has ended, whatever comes again of it.
        self._end(self._id, "refused", why)
        return self._refuse(self._id, why)

    def _finish(self):
        # All is there: verified as it is on flash, then boot.py's.
        if self._have < self._length:
            return
        files = []
        for sha, n, name in self._files():
            kind = 2
            if sha != "-":
                new = name + ".new"
                if not n:
                    self._folders(name)
                    open(new, "wb").close()
                if _read(new, 0, n) != sha:
                    return self._fail("wrong SHA-256: " + name)
                kind = 0 if _size(name) >= 0 else 1
            elif _size(name) < 0:
                continue
            files.append((name, kind))
        plan = {"id": self._id, "files": files}
        for name, value in zip(("tries", "limit", "watchdog"), self._plan):
            plan[name] = int(value)
        with open(_PLAN, "w") as f:
            f.write(json.dumps(plan) + "\n")
        _remove(_PART)
        self.ready = True
        return self._report(self._id, "trial")

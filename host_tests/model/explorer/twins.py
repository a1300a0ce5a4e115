"""Broken twins: the library with one fault of one line in it. Each must be found by exploring.

Where the source changes, a twin whose line is gone says so (library.DoesNotFit), and has to follow.
"""

from dataclasses import dataclass

from explorer.broker import Kind
from explorer.cases import AT_PUBREL, FIVE, Case
from explorer.search import Found


@dataclass(frozen=True)
class Twin:
    """A fault: ``old`` is there once in ``file``; ``new``: in its place; ``case``: finds it."""

    name: str
    file: str
    old: str
    new: str
    case: Case


def row(twin: Twin, found: Found | None) -> str:
    """Return a line of the table in docs/proof.md."""
    wrong, way = found.wrong[0] if found and found.wrong else ("not found", ())
    text = wrong.replace("<", "&lt;")
    return f"| {twin.name} | {twin.file} | {text} | {len(way)} |"


SESSION = "session.py"
FIVE_SESSION = "mqtt5/session.py"
DURABLE = "store/durable.py"
EXPIRY = "expiry.py"
TROUBLE = "trouble.py"
RESUME = "resume.py"
JOURNAL = "store/journal.py"
STORE = "store/__init__.py"
LAYERED = "store/layered.py"

UP = Case(ups=(2, 1), cuts=1)
UP_B = Case(broker=AT_PUBREL, ups=(2, 2), cuts=1)
DOWN = Case(downs=(2, 1), cuts=1)
DOWN_ANY = Case(downs=(1, 1))
STORED_UP = Case(stored=True, ups=(2, 1), crashes=1)
STORED_UP_B = Case(broker=AT_PUBREL, stored=True, ups=(2,), crashes=1)
TORN = Case(stored=True, real=True, torn=True, ups=(2,), crashes=2)
STORED_DOWN = Case(stored=True, downs=(2, 2), crashes=1, any_order=False)

TWINS = [
    # --- outgoing
    Twin(
        "repeats nothing after a reconnect",
        SESSION,
        "            o.sent = _BEFORE\n            if o.once:\n",
        "            if o.once:\n",
        UP,
    ),
    Twin(
        "repeats without DUP",
        RESUME,
        "o.packet[0] = o.packet[0] & 0xF7 | present << 3",
        "o.packet[0] &= 0xF7",
        UP,
    ),
    Twin(
        "sends again on a living connection",
        SESSION,
        "            o.done = True\n            self.on_output()  #",
        "            o.done = True\n            self.flying = 0\n            self.on_output()  #",
        UP,
    ),
    Twin(
        "takes an identifier that is in use",
        SESSION,
        "        pid = new_pid(self) if qos else 0\n",
        "        pid = 7\n",
        Case(ups=(2, 1)),
    ),
    Twin(
        "says delivered when it was written",
        SESSION,
        "                    if packet[0] & 6:",
        "                    if packet[0] & 4:",
        Case(ups=(1,), cuts=1),
    ),
    Twin(
        "frees the window at PUBREC",
        SESSION,
        "if self.flying >= self.window and",
        "if len([p for p in self.outbox if p.sent >= 0 and p.packet]) >= self.window and",
        Case(ups=(2, 2), window=1),
    ),
    Twin(
        "knows no window",
        SESSION,
        "if self.flying >= self.window and",
        "if None and",
        Case(ups=(1, 1), window=1),
    ),
    Twin(
        "answers PUBREC once only",
        RESUME,
        "            if (o.expect == _PUBCOMP) == ahead:\n",
        "            if o.packet and (o.expect == _PUBCOMP) == ahead:\n",
        UP,
    ),
    Twin(
        "takes PUBREC for the end",
        SESSION,
        "    outbox = s.outbox\n    if outbox[0] is o:\n",
        "    s._drop(o, True)\n    return\n    if not o:\n",
        UP_B,
    ),
    Twin(
        "releases in another order",
        SESSION,
        "        self.outbox.insert(i, o)\n",
        "        self.outbox.insert(self.flying, o)\n",
        UP_B,
    ),
    Twin(
        "sends the newest first",
        SESSION,
        "            raise\n        self.bulk += n\n",
        "            raise\n        self.outbox.insert(self.flying, self.outbox.pop())\n"
        "        self.bulk += n\n",
        Case(ups=(1, 1)),
    ),
    Twin(
        "says delivered where the session was lost",
        RESUME,
        "                o.error = SessionLost()\n",
        "                pass\n",
        Case(broker=AT_PUBREL, ups=(2,), forgets=1),
    ),
    Twin(
        "says lost where the session was not",
        RESUME,
        "            if not present:\n                o.error",
        "            if o.sent == _BEFORE:\n                o.error",
        UP_B,
    ),
    # --- incoming
    Twin(
        "forgets what it released at a reconnect",
        SESSION,
        "        self.past = True\n",
        "        self.past = True\n        self.released = {}\n",
        DOWN,
    ),
    Twin(
        "forgets what the application has at a reconnect",
        SESSION,
        "        for m in self.held:\n            m.fresh = False\n",
        "        self.held = []\n",
        DOWN,
    ),
    Twin(
        "acknowledges before the application is done",
        SESSION,
        "                self.held.append(m)\n        if new:\n",
        "                self.held.append(m)\n                m.done = True\n"
        "                self.flush()\n        if new:\n",
        DOWN,
    ),
    Twin(
        "acknowledges in the application's order",
        SESSION,
        "                    blocked |= m.qos\n",
        "                    pass\n",
        DOWN_ANY,
    ),
    Twin(
        "does not answer a PUBREL that it does not know",
        SESSION,
        "        s.ended += (told,)\n    s._answer(0x70, pid)\n",
        "        s.ended += (told,)\n        s._answer(0x70, pid)\n",
        DOWN,
    ),
    Twin(
        "keeps an identifier behind its PUBREL",
        SESSION,
        "s.released.pop(pid, None)\n",
        "s.released.get(pid)\n",
        DOWN,
    ),
    Twin(
        "never answers a repeated PUBLISH",
        RESUME,
        "                m.fresh = True\n",
        "                m.fresh = False\n",
        DOWN,
    ),
    Twin(
        "makes no subscription again",
        RESUME,
        "        _repeat(s, s.filters if forgot else {})\n",
        "        pass\n",
        Case(forgets=1),
    ),
    # --- what is not borne, and what is not certain
    Twin(
        "trusts session present though a CONNACK was owed",
        SESSION,
        "            self.unsure = True\n",
        "            pass\n",
        Case(cuts=1, forgets=1),
    ),
    Twin(
        "notes nowhere that a CONNACK is owed",
        DURABLE,
        "owed = _owed(self)",
        "owed = None",
        Case(stored=True, burst=True, crashes=1, forgets=1),
    ),
    Twin(
        "takes silence for evidence",
        SESSION,
        "        if self.late or (error and sent",
        "        error = error or ConnectionLost()\n        if self.late or (error and sent",
        Case(ups=(1,), cuts=6),
    ),
    Twin(
        "never gives up what is not borne",
        TROUBLE,
        "    if o.tries > _TRIES:\n",
        "    if None:\n",
        Case(broker=Kind(closes=(1,)), ups=(1,), calm_waits=True),
    ),
    Twin(
        "keeps on the medium what was withdrawn",
        DURABLE,
        "                    try:\n                        self.save()\n"
        "                    except (OSError, StoreFull, MemoryError):\n",
        "                    try:\n                        pass\n"
        "                    except (OSError, StoreFull, MemoryError):\n",
        Case(stored=True, ups=(2,), withdrawals=1, crashes=1),
    ),
    Twin(
        "takes a repeat without DUP for another message",
        RESUME,
        "    repeat = first & 8 or (m.qos == 2 and not s.vague)\n",
        "    repeat = first & 8\n",
        Case(broker=Kind(dup=False), downs=(2,), cuts=1),
    ),
    Twin(
        "remembers nothing that PUBCOMP ended",
        RESUME,
        "and mark in s.ended:\n",
        "and None:\n",
        Case(broker=Kind(resets=True), downs=(2,), cuts=1),
    ),
    # --- in a store
    Twin(
        "puts a message on the medium when it is sent",
        DURABLE,
        "                        self.save()\n                    else:  # the short way\n",
        "                        pass\n                    elif not qos:\n",
        STORED_UP,
    ),
    Twin(
        "saves behind the bytes",
        DURABLE,
        "or self.look:\n                try:\n                    self.save()\n",
        "or self.look:\n                try:\n                    data or self.save()\n",
        STORED_DOWN,
    ),
    Twin(
        "does not keep PUBREC",
        DURABLE,
        "                self._pubrel(o)\n\n        def _packet",
        "                pass\n\n        def _packet",
        STORED_UP_B,
    ),
    Twin(
        "does not keep what it released",
        DURABLE,
        "                seen = dict(self.released)\n                for",
        "                seen = {}\n                for",
        STORED_DOWN,
    ),
    Twin(
        "does not keep what is done with before its turn",
        DURABLE,
        "                if m.done and m.qos == 2:\n",
        "                if None:\n",
        Case(stored=True, downs=(2,), cuts=1, crashes=1),
    ),
    Twin(
        "marks what came as done with",
        DURABLE,
        "                if m.done and m.qos == 2:\n",
        "                if m.qos == 2:\n",
        Case(stored=True, ups=(1,), downs=(2,), crashes=1),
    ),
    Twin(
        "commits in a record of its own",
        DURABLE,
        "            self.changes[_COMMITTED] = self.committed\n",
        "            self.changes[_COMMITTED] = self.committed\n            self.save()\n",
        STORED_DOWN,
    ),
    Twin(
        "never clears the medium",
        DURABLE,
        "        s.changes[o.key] = None\n",
        "        pass\n",
        STORED_UP,
    ),
    Twin(
        "brings the outbox back in another order",
        DURABLE,
        "keys.sort(key=_number)",
        "keys.sort(key=_number, reverse=True)",
        Case(stored=True, ups=(1, 1), crashes=1),
    ),
    Twin(
        "keeps nothing of what PUBCOMP ended",
        DURABLE,
        "            if look & _ENDS:\n",
        "            if None:\n",
        Case(broker=Kind(resets=True), stored=True, downs=(2,), cuts=1, crashes=1),
    ),
    Twin(
        "removes from one medium before the other has it",
        LAYERED,
        "((large, new), (self.small, small), (large, gone))",
        "((large, gone), (self.small, small), (large, new))",
        Case(broker=AT_PUBREL, stored=True, layered=True, ups=(2,), crashes=1),
    ),
    # --- on a disk and in a memory that lose power at any byte
    Twin(
        "writes on behind a torn record",
        JOURNAL,
        "            pass  # torn: the next save writes the file anew\n",
        "            self._sound = self._end = left\n",
        TORN,
    ),
    Twin(
        "lets a torn record take the good ones with it",
        JOURNAL,
        "            pass  # torn: the next save writes the file anew\n",
        "            data.clear()\n",
        TORN,
    ),
    Twin(
        "takes a torn record for a corrupt one",
        STORE,
        "    if left < n + 4:\n        raise EOFError\n",
        "",
        TORN,
    ),
    Twin(
        "looks at no CRC",
        STORE,
        '    if f.read(4) != crc.to_bytes(4, "little"):\n        raise ValueError\n',
        "    f.read(4)\n",
        Case(stored=True, layered=True, real=True, torn=True, ups=(1, 1), crashes=1),
    ),
    Twin(
        "removes the old file before the new one is whole",
        JOURNAL,
        '            with open(path + ".new", "wb") as f:\n',
        "            if self._end:\n                os.remove(path)\n"
        '            with open(path + ".new", "wb") as f:\n',
        TORN,
    ),
    Twin(
        "leaves the new file where it was about to take its place",
        JOURNAL,
        'os.rename(path + ".new", path)',
        "raise",
        TORN,
    ),
    # --- expiring
    Twin(
        "drops what was sent",
        EXPIRY,
        "                        if left <= 0 and o.sent == _NEVER:\n",
        "                        if left <= 0:\n",
        Case(expiring=True, expiry=5, ups=(1, 1), waits=1),
    ),
    Twin(
        "sends what has expired",
        EXPIRY,
        "            if self.aging and self.state:\n                self._expire()\n",
        "",
        Case(expiring=True, expiry=5, ups=(1,), waits=1),
    ),
    # --- MQTT 5
    Twin(
        "heeds no receive maximum",
        FIVE_SESSION,
        '        self.window = min(self.most, properties.get("receive_maximum", self.most))\n',
        "",
        Case(broker=Kind(version=5, receive_maximum=(1,)), ups=(1, 1)),
    ),
    Twin(
        "forgets in a burst what CONNACK said",
        FIVE_SESSION,
        "        if self.memory and not self.server:\n",
        "        if None:\n",
        Case(
            broker=Kind(version=5, receive_maximum=(1,)),
            ups=(1, 1),
            stored=True,
            burst=True,
            crashes=1,
        ),
    ),
    Twin(
        "takes a failing PUBREC for a good one",
        FIVE_SESSION,
        "            if kind < _PUBREL and codes > 127 and "
        "(kind == _PUBREC or o.expect < _PUBREL):\n",
        "            if None:\n",
        Case(broker=Kind(version=5, refuses=(1,)), ups=(2,)),
    ),
    Twin(
        "counts what came, and not what it answered",
        FIVE_SESSION,
        '        self.unanswered -= first in b"\\x40\\x70"\n',
        "",
        Case(broker=FIVE, downs=(1, 1, 1)),
    ),
    Twin(
        "counts what came on an earlier connection",
        FIVE_SESSION,
        "        self.unanswered = 0  #",
        '        self.unanswered = getattr(self, "unanswered", 0)  #',
        Case(broker=FIVE, receive=1, downs=(1,), cuts=1),
    ),
]

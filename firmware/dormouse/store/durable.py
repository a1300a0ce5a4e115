"""A session that survives: what the wire depends on is on a store's medium before the byte is sent.

    before these bytes are written      this is on the medium
    PUBLISH at QoS 1 or 2               the packet [MQTT-4.4.0-1]
    PUBREL                              that PUBREC came; the packet no more [MQTT-4.3.3-1]
    PUBREC                              the identifier, and with it what the application committed
    the identifier's next use           that its handshake has ended

It can also start a connection in one burst: CONNECT, unfinished handshakes, new messages and a
PINGREQ behind them, before CONNACK (section 3.1.4 allows it). The PINGREQ is a fence: if nothing
came between it and its PINGRESP, the broker has nothing left to send.
"""

from builtins import bytes, len, max

from micropython import const

from ..packet import SessionLost, number
from ..resume import resume
from ..session import Message, OutboxFull, Session
from . import StoreFull

# Packet types (section 2.2.1).
_CONNACK = const(2)
_PUBLISH = const(3)
_PUBREL = const(6)
_PUBCOMP = const(7)
_SUBACK = const(9)
_UNSUBACK = const(11)
_PINGRESP = const(13)

_DOWN = const(0)  # Session.state
_CONNECTING = const(1)
_CLOSING = const(3)

_BEFORE = const(-1)  # Message.sent
_NEVER = const(-2)

_ASIDE = const(2)  # Message.tries

# Keys in the store.
_COMMITTED = const(1)  # what the application committed
_FILTERS = const(2)  # there since the broker keeps a session: what is subscribed
_SERVER = const(7)  # MQTT 5: what the last CONNACK said of the server
_LAST = const(5)  # the number of the last message that was sent, 4 bytes
_OWED = const(14)  # there while a CONNECT has no CONNACK, or none before it had
_SUSPECTS = const(15)  # packets at which connections ended, 5 bytes each: the key, and how often
# (from 2 on it is set aside); key 0: the SUBSCRIBE of a Node
_ENDED = const(13)  # what tells those whose PUBCOMP may not have reached the broker, and those at
# QoS 1 that were done with too late to be answered, 4 bytes each
_SEEN = const(0x10000)  # + identifier: an incoming QoS 2 message that is done with, PUBREL due;
# what tells it, 4 bytes
_RELEASED = const(0x20000)  # + order: an outgoing one whose PUBREC came; its identifier
_MESSAGE = const(0x40000)  # + number: an outgoing message; its packet
_FIVE = const(0x20000000)  # + that: a packet of MQTT 5

_KEPT = const(20)  # of these at most: Session.ended

# DurableSession.look: where something may have changed since the last record
_DONE = const(1)  # what is held and released, so what is done with
_CONNECT = const(2)  # whether a CONNACK is owed
_ENDS = const(4)  # what tells the messages that were ended
_TRIED = const(8)  # what is set aside
_ALL = const(15)

# DurableSession.fence
_NONE = const(0)
_DUE = const(1)  # goes behind all that may be sent now
_SENT = const(2)
CLEAN = const(3)  # its PINGRESP came, and no message before it: the broker's queue is empty


def _number(key):
    return key % _FIVE


# Functions, not methods: a method that is inherited has to pass by all that its class has, and each
# message calls some.


def _owed(s):
    owed = s.owed or s.unsure
    if not owed:
        for o in s.again:  # the broker forgot: what it subscribes again is not there yet
            owed |= o in s.outbox
    # Where nothing was agreed with the broker, nothing can be lost: no record for it.
    if not owed or s.filters or s.released or s.held:
        return owed
    for o in s.outbox:
        if o.expect == _PUBCOMP:
            return True
    return False


def _gone(s, o):
    if o.key in s.store.data:
        s.changes[o.key] = None
    else:
        s.changes.pop(o.key, None)


def subscribed(s):
    """Note what is subscribed for the next record."""
    names = []
    for name in s.filters:
        names.append("%d %s" % (s.filters[name], name))
    names = "\0".join(names).encode()
    if names != s.store.data.get(_FILTERS):
        s.changes[_FILTERS] = names
    else:
        s.changes.pop(_FILTERS, None)


def _kept(data):
    # A copy: the application may add to what it is given, and must not change ``data``.
    return bytes(data[_COMMITTED]) if _COMMITTED in data else None


def _spent(s, m):
    # The mark of one at QoS 1 serves once: the next one like it may have this identifier.
    mark = s._mark(m) ^ 1
    if m.qos == 1 and mark in s.ended:
        i = s.ended.index(mark)
        s.ended = s.ended[:i] + s.ended[i + 1 :]
        s.sure -= s.sure > i


def _moves(s):
    # The broker had something to send.
    s.moved = True
    if s.fence == CLEAN:
        s.fence = _NONE


def _aside(s):
    aside = b""
    if s.wary:
        aside = b"\0\0\0\0" + bytes((s.wary,))
    for o in s.outbox:
        if o.tries and o.expect <= _PUBCOMP:
            aside += o.key.to_bytes(4, "big") + bytes((o.tries,))
    return aside or None


def durable(base=Session):
    """Return a kind of session, made from ``base``, that survives."""
    # What each message takes goes by name: super() takes three times as long.
    five = hasattr(base, "reauthenticate")  # Session5
    first_key = _MESSAGE + (_FIVE if five else 0)
    base_publish = base.publish
    base_take = base.take
    base_packet = base._packet
    base_drop = base._drop

    class DurableSession(base):
        """A session that lives in ``store`` (a ``store.Store``), and goes on where the last one
        ended.

        ``full``: with "oldest", a publish for which there is no room drops the oldest message that
        was never sent (its ``error`` is OutboxFull); with "refuse" it raises OutboxFull. A Node's
        default is to drop, that of any other client to refuse. All other arguments are the base's.
        ``committed``: the bytes last given to ``Message.ack``, or None.

        Raises ValueError for clean=True. What the store raises when it cannot write, OSError or
        StoreFull, is raised by ``ack``, OSError by ``publish`` too; from ``take`` it ends the
        connection, if it was for what depends on it (see ``room.without``). ``stuck``: that error.
        """

        # Of the class until they change, as in Session.
        past = True  # a connection of an earlier life
        order = 0  # of the next message whose PUBREC comes
        doubt = False  # a burst had no answer: so far there is no other
        overtaken = False  # a message came behind the PINGRESP of a fence
        full = None
        burst = False  # whether to send before CONNACK, where the broker has a session
        fencing = False  # whether to send a fence at each connection
        moved = False  # something came since the fence went
        ready = None  # what was taken ahead of its time
        wary = 0  # tries of a SUBSCRIBE that no store holds: a Node makes it in each wake
        committed = None

        # Found at once here: each message needs it. (And with a name less the table of this class
        # is full, so that all else of the base takes the longest way: 3 % of a wake.)
        _sent = base._sent

        def __init__(self, on_output, client_id, store, full=None, clean=True, **options) -> None:
            base.__init__(self, on_output, client_id, clean, **options)
            if clean or full not in (None, "refuse", "oldest"):
                raise ValueError("a store needs clean=False, full= refuse or oldest", clean, full)
            self.store = store
            if full:
                self.full = full
            self.changes = {}  # what is not on the medium yet, as for Store.save
            self.look = 0  # and where else to look for such
            self.stuck = None  # why the last record was not written, if it was not in this wake
            self._load()

        def _load(self):
            data = self.store.data
            self.committed = _kept(data)
            if five:
                self.memory = data.get(_SERVER)
            filters = data.get(_FILTERS)
            if filters:
                # (Each str that is made is looked for among all names that MicroPython knows.)
                for part in bytes(filters).split(b"\0"):
                    options, name = part.split(b" ", 1)
                    self.filters[str(name, "utf-8")] = int(options) & (-1 if five else 3)
            last = data.get(_LAST)
            if last:
                self.pid = int.from_bytes(last, "big")
            self.last = self.pid  # the number of the last message that was sent
            if _OWED in data:
                self.owed = True
            tries = {}
            if _SUSPECTS in data:
                aside = data[_SUSPECTS]
                for i in range(0, len(aside), 5):
                    tries[int.from_bytes(aside[i : i + 4], "big")] = aside[i + 4]
                self.wary = tries.get(0, 0)
            keys = []
            for key in data:
                if key > _SEEN:
                    keys.append(key)
            keys.sort(key=_number)  # which is the order of the outbox
            for key in keys:
                if key < _RELEASED:
                    self.released[key - _SEEN] = int.from_bytes(data[key], "big")
                    continue
                o = Message()
                o.key = key
                o.sent = _BEFORE
                o.tries = tries.get(key, 0)
                self.suspects += o.tries >= _ASIDE
                if key < _MESSAGE:
                    o.pid = int.from_bytes(data[key][:2], "big")
                    if len(data[key]) > 2:
                        o.error = SessionLost()
                    o.expect = _PUBCOMP
                    o.packet = None
                    self.order = key - _RELEASED + 1 & 0x1FFFF
                else:
                    count = _number(key) - _MESSAGE
                    o.pid = (count - 1) % 65535 + 1
                    if o.pid in self.pids:  # a store in two parts lost power between them
                        self.changes[key] = None
                        continue
                    if last and count > self.last:
                        o.sent = _NEVER
                    self.pid = max(self.pid, count)
                    o.packet = data[key] = bytearray(data[key])
                    if (key >= _FIVE) != five:
                        from ..mqtt5.convert import convert

                        # In RAM only, at each start: there may be no room for another record.
                        o.packet = convert(o.packet, five, hasattr(self, "left"))
                    o.expect = _PUBLISH + (o.packet[0] >> 1 & 3)
                self.outbox.append(o)
                self.pids[o.pid] = o
                if o.packet:
                    self.bulk += len(o.packet)
                    self.used += 1
            if not last:
                self.last = self.pid
                self.changes[_LAST] = self.pid.to_bytes(4, "big")
            self.seen = dict(self.released)  # what the medium has of what is done with
            if _ENDED in data:
                ended = data[_ENDED]
                for i in range(0, len(ended), 4):
                    self.ended += (int.from_bytes(ended[i : i + 4], "big"),)

        # --- the store

        def save(self) -> None:
            """Put on the medium what has changed, as one record. Raises OSError or StoreFull."""
            changes = self.changes
            look = self.look
            data = self.store.data
            if look & _CONNECT:
                owed = _owed(self)
                if owed != (_OWED in data):
                    changes[_OWED] = b"" if owed else None
                else:
                    changes.pop(_OWED, None)
            found = {}  # may be otherwise the next time, so it does not stay in ``changes``
            late = ()
            seen = self.seen
            if look & _DONE and (seen or self.released or self.held):
                seen = dict(self.released)
                for m in self.held:
                    # Done with, though its turn to be answered may come later: were it not marked
                    # with what the application committed, it would be processed twice.
                    if m.done and m.qos == 2:
                        seen[m.pid] = self._mark(m)
                    elif m.done and not m.fresh:
                        # At QoS 1, when its connection was over: a command that takes longer than
                        # a wake would come again in each, with all else behind it.
                        late += (self._mark(m) ^ 1,)
                        look |= _ENDS
                for pid in self.seen:
                    if pid not in seen:
                        found[_SEEN + pid] = None
                for pid in seen:
                    if self.seen.get(pid) != seen[pid]:
                        found[_SEEN + pid] = seen[pid].to_bytes(4, "big")
            if look & _ENDS:
                ended = b""
                for mark in (self.ended + late)[-_KEPT:]:
                    ended += mark.to_bytes(4, "big")
                if ended != data.get(_ENDED, b""):
                    found[_ENDED] = ended or None
            if look & _TRIED:
                aside = _aside(self)
                if aside != data.get(_SUSPECTS):
                    found[_SUSPECTS] = aside
            if found:
                changes = dict(changes)
                changes.update(found)
            if changes:
                self.store.save(changes)
                self.changes.clear()  # (for another dict there may be no memory)
                self.seen = seen
            self.look = 0

        def _pubrel(self, o):
            # What is left to do for this message, once its PUBREC came. (If there is no memory in
            # the middle, CONNACK makes up for it.)
            key = o.key
            if key >= _MESSAGE:
                key = _RELEASED + self.order
            self.changes[key] = number(o.pid) + (b"\1" if o.error else b"")
            if key != o.key:
                _gone(self, o)
                o.key = key
                self.order = self.order + 1 & 0x1FFFF
            elif self.changes[key] == self.store.data.get(key):
                del self.changes[key]

        def commit(self, data, m=None) -> None:
            """Set what the next record holds for the application; for ``Message.ack``, of ``m``."""
            data = data.encode() if isinstance(data, str) else memoryview(data)
            self.committed = bytes(data)  # (of a number it would make that many zeros)
            if self.committed == self.store.data.get(_COMMITTED):
                self.changes.pop(_COMMITTED, None)
                return
            self.changes[_COMMITTED] = self.committed
            if m is not None:
                done = m.done
                m.done = True
                try:
                    self._commit()
                except BaseException:
                    m.done = done
                    raise

        def _commit(self):
            self.look |= _DONE
            try:
                self.save()
            except BaseException:
                self._uncommit()
                raise

        def _uncommit(self):
            # The application's own state was not taken, and it is told. If it were to go into each
            # record from now on: what is too long would keep all else from being sent, what is not
            # would come without what it belongs to.
            if self.changes.pop(_COMMITTED, None) is not None:
                self.committed = _kept(self.store.data)

        def flush(self) -> None:
            """As Session's; what the application committed is on the medium when it returns."""
            if _COMMITTED in self.changes:
                self._commit()  # first: what is not on the medium is not answered
            self.look |= _DONE
            base.flush(self)

        def publish(self, topic, payload=b"", qos=0, retain=False, **options) -> Message:
            """As the base's; a message at QoS 1 or 2 is on the medium when this returns."""
            pid = self.pid
            try:
                if options:
                    o = base_publish(self, topic, payload, qos, retain, **options)
                else:  # (``**`` takes as long as the rest of this)
                    o = base_publish(self, topic, payload, qos, retain)
                if qos:
                    count = self.pid
                    o.key = first_key + count
                    self.changes[o.key] = o.packet
                    if self.state:  # about to be sent: one record
                        self.last = count
                        self.changes[_LAST] = count.to_bytes(4, "big")
                    if self.look:
                        self.save()
                    else:  # the short way
                        self.store.save(self.changes)
                        self.changes.clear()
                return o
            except Exception as e:
                # It may be in the outbox, and is not on the medium: out again.
                # (The last one there is another, if there was no identifier for this one yet.)
                o = self.outbox[-1] if self.pid != pid and self.outbox else None
                if o is not None and o.pid == (self.pid - 1) % 65535 + 1:
                    self._drop(o)
                if not isinstance(e, (OutboxFull, StoreFull)):
                    raise
                if self.full != "oldest" or not qos:
                    raise OutboxFull  # whatever had no room
            from .room import publish  # loaded now: many a node never needs it

            return publish(self, topic, payload, qos, retain, **options)

        def withdraw(self, o, sent=False) -> None:
            """As the base's; it is gone from the medium too."""
            if o in self.outbox:
                self.look = _ALL
                base.withdraw(self, o, sent)
                if o not in self.outbox:
                    try:
                        self.save()
                    except (OSError, StoreFull, MemoryError):
                        pass  # the next record says it

        # --- the burst

        def connect(self, now: int) -> None:
            """As Session's; with ``burst``, what waits is sent at once."""
            base.connect(self, now)
            self.ready = None
            self.fence = _DUE if self.fencing else _NONE
            self.early = _CONNECTING
            if (
                self.burst
                and _FILTERS in self.store.data
                and not (self.doubt or self.unsure or self.suspects)
            ):
                # As if CONNACK had come with session present. If it says otherwise, resume is
                # called again, and what has gone in the burst by then
                #   PUBLISH: was new to the broker, with or without DUP; it is not sent again.
                #   PUBREL: meant nothing to it; its message ends with SessionLost, as it would have
                #   without a burst.
                # If CONNACK refuses, the broker must not have looked at what followed CONNECT
                # [MQTT-3.1.4-5]: all of it goes again at the next connection.
                self.early = _DOWN
                for o in self.outbox:
                    if o.sent == _BEFORE:  # of an earlier connection: a wake seldom has any
                        resume(self, 1)
                        break

        def lost(self, error=None) -> None:
            """As Session's; notes a burst that nothing was heard of to its end."""
            self.look = _ALL
            n = len(self.filters)
            base.lost(self, error)
            if len(self.filters) != n:  # a SUBSCRIBE that repeats was given up
                subscribed(self)
            if self.early == _DOWN:
                self.doubt = True
            if _COMMITTED in self.changes:
                try:
                    self.save()
                except StoreFull as e:
                    self._uncommit()
                    self._tell(e)
                except (OSError, MemoryError):
                    pass  # it may pass

        def take(self, now: int) -> memoryview | None:
            """As Session's; saves before it returns. Raises OSError or StoreFull, if anything in it
            depends on that."""
            n = self.flying
            data = self.ready
            if data is not None:
                self.ready = None
            else:
                owed = self.owed
                data = base_take(self, now)
                if self.owed is not owed:
                    self.look |= _CONNECT
            if self.fence == _DUE and self.early < self.state < _CLOSING:
                if self.asked is None or self.state == _CONNECTING:
                    if self.control or self.flying < len(self.outbox):
                        self.ready = base_take(self, now)
                    if not self.ready:  # all is out: the fence goes behind it, in one piece
                        self.fence = _SENT
                        # Whose PUBACK is yet to go makes room for another one.
                        self.moved = False
                        for m in self.held:
                            self.moved |= m.fresh
                        self.ping(now)
                        data = memoryview(bytes(data or b"") + self.control)
                        self.control = b""
                        self.sent = now
            if self.flying > n:
                last = self.last
                for o in self.outbox[n : self.flying]:
                    if o.expect < _PUBCOMP:
                        count = o.key % _FIVE - _MESSAGE
                        if count > last:
                            last = count
                if last != self.last:
                    self.last = last
                    self.changes[_LAST] = last.to_bytes(4, "big")
            if self.stuck is not None:
                from .room import rests as without

                if without(self, data, now):
                    return data
            if self.changes or self.look:
                try:
                    self.save()
                except (OSError, StoreFull) as e:
                    from .room import without  # loaded now: many a node never needs it

                    without(self, data, e, now)
            return data

        def _arrived(self, m, first, pid):
            n = len(self.inbox)
            m.session = self  # at QoS 0 too: what the application commits with it is kept
            base._arrived(self, m, first, pid)
            if m.done and self.ended:
                _spent(self, m)
            # Sent before, and it never came: with the last fence it was behind the PINGRESP.
            if first & 8 and len(self.inbox) > n:
                self.overtaken = True
            _moves(self)

        def _drop(self, o, done=False):
            _gone(self, o)  # (key 0 is none's: of what no store has)
            base_drop(self, o, done)

        def _ahead(self, o):
            base._ahead(self, o)
            if o.expect == _PUBCOMP:
                self._pubrel(o)

        def _packet(self, first, body):
            # PUBACK, PUBREC, PUBCOMP. What they do is in ``changes``, but for what was set aside.
            if 0x3F < first < 0x60 or 0x6F < first < 0x80:
                if self.suspects:
                    self.look |= _TRIED | _CONNECT
                base_packet(self, first, body)
                self.early = _CONNECTING
            else:
                self._other(first, body)

        def _other(self, first, body):
            # (Of its own: its frame is on the heap.)
            kind = first >> 4
            n = len(self.filters)
            base_packet(self, first, body)
            data = self.store.data
            look = _ALL
            if kind == _PUBLISH:
                look = _DONE | _ENDS if _ENDED in data else _DONE
            elif kind == _PINGRESP:
                look = _DONE | _ENDS if _ENDED in data else 0
            elif kind == _CONNACK and self.resumed and _SUSPECTS not in data:
                look = _DONE | _CONNECT
            self.look |= look
            # Whether the broker took what came with CONNECT: it answers to it, if it has to.
            if kind != _CONNACK or not (self.fencing or self.outbox):
                self.early = _CONNECTING
            # (No copy of them to compare with: for many there may be no memory, each time.)
            if kind == _SUBACK or len(self.filters) != n:
                subscribed(self)
            if kind == _SUBACK:
                if self.fence == CLEAN:
                    self.fence = _NONE  # retained messages may follow
            elif kind == _CONNACK:
                if _FILTERS not in data:
                    self.changes.setdefault(_FILTERS, b"")
                if five and self.memory != data.get(_SERVER):
                    self.changes[_SERVER] = self.memory
                for o in self.outbox:  # whether it is certain has changed, perhaps
                    if o.expect == _PUBCOMP:
                        self._pubrel(o)
                if self.fence == _SENT:
                    self.asked = self.heard  # PINGRESP is due yet
            elif kind == _PUBREL:
                _moves(self)
            elif kind == _PINGRESP and self.fence == _SENT:
                # (What was left to the broker is still to come.)
                self.fence = _NONE if self.moved or self.shed else CLEAN

    return DurableSession

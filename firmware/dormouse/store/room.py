"""How a message gets into an outbox or a store that is full: the oldest ones make room. And what
goes though the store takes no record.

Loaded when there is no room for the first time.
"""

from micropython import const

from ..packet import OutboxFull
from . import StoreFull

_COMMITTED = const(1)  # a key
_NEVER = const(-2)  # Message.sent
_PUBACK = const(4)
_PUBREC = const(5)
_PUBCOMP = const(7)
_SUBACK = const(9)
_ASIDE = const(2)  # Message.tries
_ALL = const(15)  # DurableSession.look
_TICKS = const(0x3FFFFFFF)
_REST = const(30000)  # ms
_HELLO = const(0x10)  # CONNECT


def publish(s, *args, **options):
    """Publish with a ``DurableSession`` whose ``full`` is "oldest": the oldest messages that were
    never sent are dropped until there is room, and end with OutboxFull. If there is none in the
    end, none is dropped. Raises OutboxFull, and what else ``publish`` raises."""
    box = s.outbox[:]
    victims = []
    s.look = _ALL  # it may be one that was set aside
    s.full = "refuse"
    try:
        while True:
            for old in s.outbox:
                # What is set aside has held up enough.
                if 0 < old.expect < _PUBCOMP and (old.tries >= _ASIDE or old.sent == _NEVER):
                    break
            else:
                raise OutboxFull
            victims.append(old)
            old.error = OutboxFull()  # now: behind the message there may be no memory for it
            s._drop(old)
            try:
                o = s.publish(*args, **options)
                break
            except OutboxFull:
                pass  # one more
    except BaseException:
        _put_back(s, box, victims)
        raise
    finally:
        s.full = "oldest"
    for old in victims:
        del old.packet  # whose place in its table is for the other
        old.done = True
    return o


def _put_back(s, box, victims):
    # None had to go in vain; but for what has ended meanwhile.
    s.aging = True  # one may expire
    s.soon = 0
    for o in victims:
        if o.error:  # (the last one may have no place for it)
            o.error = None
        if o.key not in s.store.data:
            s.changes[o.key] = o.packet
        else:
            s.changes.pop(o.key, None)
    s.outbox = [o for o in box if not o.done]
    s.suspects = s.bulk = s.used = 0
    s.flying = s.asking = 0
    s.pids = {}
    for o in s.outbox:
        s.flying += o.sent >= 0
        s.asking += o.expect >= _SUBACK
        if o.expect:
            s.pids[o.pid] = o
        s.suspects += o.tries >= _ASIDE
        if o.packet:
            s.bulk += len(o.packet)
            s.used += 1
    try:
        s.save()  # a record meanwhile may have taken one off the medium
    except (OSError, StoreFull, MemoryError):
        pass  # the next one says it


def without(s, data, error, now: int) -> None:
    """The store did not take the record before ``data`` (a full flash, or one that fails). A node
    is not mute for that: what goes all the same is CONNECT, messages, for they are on the medium or
    at QoS 0, and what asks and answers without a state. Until there is room a message at QoS 1
    comes once more after a reset, and one that was sent counts as never sent. Raises ``error`` for
    the handshakes at QoS 2, and for PUBACK where the application committed something with it."""
    if isinstance(error, StoreFull):
        # When the time of a message begins (``expiry``) is noted if there is room: to a store it
        # is one message more, though the medium has it already.
        changes = s.changes
        noted = [key for key in changes if changes[key] and changes[key] is s.store.data.get(key)]
        for key in noted:
            del changes[key]
        if noted:
            try:
                return s.save()
            except (OSError, StoreFull) as e:
                error = e
    s.failed = now  # in ms; None once it is tried again. (A name less in the session's class.)
    # Counted once in a row; and not told by a call: who is told may publish, and this is in the
    # middle of that.
    s.troubles += s.stuck is None or s.trouble is not s.stuck
    s.trouble = s.stuck = error
    if _depends(s, data):
        raise error


def rests(s, data, now: int) -> bool:
    """Return whether that is to be tried later, and not before ``data``: each try in vain wears
    the flash, and a client may send all the time."""
    if s.failed is not None and now - s.failed & _TICKS < _REST:
        if not (data and data[0] == _HELLO) and not _depends(s, data):
            return True
    s.failed = None
    return False


def _depends(s, data):
    for part in (data, s.ready):
        i = 0
        while part and i < len(part):
            kind = part[i] >> 4
            if _PUBREC <= kind <= _PUBCOMP or (kind == _PUBACK and _COMMITTED in s.changes):
                return True
            n = shift = 0
            c = 128
            while c > 127 and i + 1 < len(part):  # (a piece of a large message may be anything)
                i += 1
                c = part[i]
                n |= (c & 127) << shift
                shift += 7
            i += 1 + n
    return False

"""How a message gets into an outbox or a store that is full: the oldest ones make room.

Loaded when there is no room for the first time.
"""

from micropython import const

from ..packet import OutboxFull
from . import StoreFull

_NEVER = const(-2)  # Message.sent
_PUBCOMP = const(7)
_SUBACK = const(9)
_ASIDE = const(2)  # Message.tries
_ALL = const(15)  # DurableSession.look


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
            s._drop(old)
            victims.append(old)
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
        old.packet = None
        old.done = True
        old.error = OutboxFull()
    return o


def _put_back(s, box, victims):
    # None had to go in vain; but for what has ended meanwhile.
    s.aging = True  # one may expire
    s.soon = 0
    for o in victims:
        if o.key in s.store.data:
            del s.changes[o.key]
        else:
            s.changes[o.key] = o.packet
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

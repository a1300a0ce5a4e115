"""What a connection does with what an earlier one has left: handshakes, and subscriptions.

Loaded with the session, though a client's first connection needs nothing of it: the second one
comes when the heap is in pieces, and may have no room to load anything, ever.
"""

from micropython import const

from .packet import Refused, SessionLost

_PUBCOMP = const(7)
_SUBACK = const(9)
_BEFORE = const(-1)  # Message.sent
_NEVER = const(-2)
_FILTERS = const(8)  # in a SUBSCRIBE: AWS IoT takes no more
_ASIDE = const(2)  # Message.tries
_RELEASED = const(100)  # identifiers unreleased by the broker: as many as any has in flight
_OVERHEAD = const(64)  # what a message costs beside topic and payload, about, in bytes


def reserve(s) -> None:
    """Give a session all attributes that it may ever have, for one that lives long. (Where there is
    no room for another in its table, that takes some hundred bytes in one piece: later there may be
    none, ever.)"""
    kinds = [type(s)]
    try:
        for kind in kinds:
            for name, value in kind.__dict__.items():
                # (A bool may be no int. Without ``clean``, which hardly changes: in a table that is
                # nearly full each look-up takes longer, 2 % of a message.)
                if name != "clean" and (value is None or isinstance(value, (bool, int, tuple))):
                    setattr(s, name, getattr(s, name))
            kinds += kind.__bases__
    except MemoryError:
        pass  # it may do without


def connected(s, present: int) -> None:
    """CONNACK came. ``present``: its session present."""
    if not present:
        # Identifiers of the broker's messages mean nothing any more [MQTT-3.1.2-6].
        s.held = []
        s.released = {}
        if s.ended:
            s.ended = ()
    n = 0
    for m in s.held[::-1]:
        if m.done:
            # Not for ever: not every broker repeats what it had no answer to.
            n += len(m.topic) + len(m.payload) + _OVERHEAD
            if n > s.limits[2]:
                s.held.remove(m)
                if m.qos == 2:
                    release(s, m)
    if s.vague and not (s.held or s.released):
        s.vague = False
    if present and s.unsure:
        # A CONNECT before this one reached it perhaps, found the session forgotten, and made
        # the new one that is present now. So nothing that was agreed in the old one is certain:
        # subscriptions, and what the identifiers of both sides mean. (But what repeats a message
        # that was ended is of the old one: nothing was subscribed in a new one yet.)
        s.vague = True
        for o in s.outbox:
            if o.expect == _PUBCOMP:
                o.error = SessionLost()  # PUBCOMP comes also for what it does not know
    resume(s, present)
    forgot = s.unsure or not present
    if forgot or s.denied or s.suspects:
        _repeat(s, s.filters if forgot else {})


def release(s, m) -> None:
    """A message at QoS 2 was answered: keep its identifier until PUBREL, and what tells it."""
    if len(s.released) >= _RELEASED:
        s.released.pop(next(iter(s.released)))
    s.released[m.pid] = s._mark(m)


def resume(s, present: int) -> None:
    """Make ready what was sent on an earlier connection, and not on this one."""
    for o in s.outbox[:]:
        if o.expect == _PUBCOMP:
            if not present:
                o.error = SessionLost()
                s._drop(o, True)
        elif o.sent == _BEFORE:
            # With the session, again with DUP and in the original order, which is the
            # outbox's [MQTT-4.4.0-1, 4.6.0-1, 4.6.0-4]; without it, anew.
            o.sent = _BEFORE if present else _NEVER
            if o.expect < _SUBACK:
                o.packet[0] = o.packet[0] & 0xF7 | present << 3
    outbox = s.outbox[: s.flying]
    for ahead in (True, False):
        for o in s.outbox[s.flying :]:
            if (o.expect == _PUBCOMP) == ahead:
                outbox.append(o)
    s.outbox = outbox  # (made beside it: there may be no memory in the middle)


def groups(pairs):
    """Yield pairs of topic filter and options, as they go in one SUBSCRIBE each: not too many, and
    with one subscription identifier."""
    while pairs:
        part = []
        rest = []
        for pair in pairs:
            fits = len(part) < _FILTERS and pair[1] >> 8 == pairs[0][1] >> 8
            (part if fits else rest).append(pair)
        yield part
        pairs = rest


def _repeat(s, filters):
    # SUBSCRIBE again, before all else; apart from that, one by one and behind all else, what was
    # denied, for it may have ended connections, and what is in a SUBSCRIBE at which two have ended:
    # one of its filters is the reason, and the others are not to wait for it. What of all that is
    # under way already goes on; what was tried alone keeps its place, and its tries.
    pairs = dict(filters)
    alone = dict(s.denied)
    tries = 0
    again = s.again
    s.again = []
    for o in again:
        if o not in s.outbox:
            continue
        name, options = o.filters[0]
        stays = o.sent >= 0 or (
            o.tries > _ASIDE and s.filters.get(name, alone.get(name)) == options
        )
        if stays:
            s.again.append(o)
        else:
            s._drop(o)
        for name, options in o.filters:
            pairs.pop(name, None)
            if stays:
                alone.pop(name, None)
            elif name in s.filters:  # believed, and not even asked for
                (pairs if o.tries < _ASIDE else alone)[name] = options
                tries |= o.tries == 1
    for part in groups(list(pairs.items())):
        ask(s, part, tries)
    for pair in alone.items():
        ask(s, [pair], _ASIDE)


def ask(s, part, tries: int) -> None:
    """Subscribe to pairs of topic filter and options again, in one SUBSCRIBE."""
    # Behind PUBREL and others of its kind, and before what the application asked for meanwhile:
    # that is what it is told there is.
    i = s.flying
    while i < len(s.outbox) and (s.outbox[i].expect == _PUBCOMP or s.outbox[i] in s.again):
        i += 1
    try:
        o = s.request(0x82, part)
        s.outbox.insert(i, s.outbox.pop())
    except Refused as e:
        from .trouble import apart

        for pair in apart(s, part, e):
            ask(s, (pair,), tries)
        return
    o.tries = tries
    s.suspects += tries >= _ASIDE
    s.again.append(o)


# An incoming message whose identifier is in ``held`` or ``released`` already, or that has DUP, is
#
#   1. released: it was answered, and is again, in its turn; not delivered.
#   2. held: it is in the inbox, with the application, or done with. Not delivered again, but
#      from now on it may be answered on this connection, in its new turn.
#   3. not there, at QoS 1 with DUP: its PUBACK was lost, and it is delivered again. All that
#      waits of earlier connections is forgotten then: the broker repeats it behind this one, or
#      the application would end at the older of the two.
#   4. without DUP [MQTT-3.3.1-1]: a new message under a free identifier. At QoS 2 only where
#      the broker may have forgotten the session: else it is one that repeats without DUP.
#   5. with DUP, among the last ones that were ended by PUBCOMP, which may be lost:
#      mosquitto 2.0 repeats such a one after two cuts. Answered, and not delivered. So is one at
#      QoS 1 that a store knows as done with when its connection was over.


def repeated(s, m, first: int) -> bool:
    """Put such a message where it belongs. Returns whether it is to be delivered."""
    new = not m.done
    # (Identifiers may be of a session that the broker forgot, so DUP is not enough: a message of
    # the new one may have come with it first. What tells a message decides; 0: not known. At QoS 1
    # it is another, for ``ended`` has both.)
    mark = s._mark(m) ^ m.qos & 1
    repeat = first & 8 or (m.qos == 2 and not s.vague)
    if m.qos == 2 and m.pid in s.released:
        if repeat and s.released[m.pid] in (0, mark):
            m.done = True  # 1
            new = False
    elif first & 8 and mark in s.ended:
        m.done = True  # 5
        new = False
    before = None
    for old in s.held:
        if old.pid == m.pid:
            before = old
            if repeat and old.qos == m.qos and s._mark(old) ^ m.qos & 1 == mark:
                m = old  # 2
                m.fresh = True
                new = False
            break
    else:
        if new and first & 8 and m.qos == 1:
            for box in (s.held, s.inbox):  # 3
                for old in list(box):
                    if old.qos == 1 and not old.fresh:
                        box.remove(old)
    s.held.append(m)
    # Behind it: there may be no memory for it.
    if before is not None:
        s.held.remove(before)
    if m.qos == 2:
        s.released.pop(m.pid, None)
    return new

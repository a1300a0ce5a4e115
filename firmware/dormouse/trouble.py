"""What a session does about a packet that the broker does not bear, or that this chip cannot hold.

Loaded when there is such a packet for the first time: who has none pays nothing for it.
"""

from micropython import const

from .packet import ConnectionLost, MQTTError, OutboxFull, ProtocolError

_PUBLISH = const(3)
_PUBREC = const(5)
_PUBCOMP = const(7)
_SUBACK = const(9)
_NEVER = const(-2)  # Message.sent
_CONNECTING = const(1)  # Session.state
_UP = const(2)
_TICKS = const(0x3FFFFFFF)
_FOREVER = const(0x1FFFFFFF)
_SHOWN = const(64)  # bytes of the topic of a message that is read past
_ASIDE = const(2)  # connections that ended at a packet: now all else goes before it
_TRIES = const(4)  # the last of them
_BAD = const(3)  # messages that are malformed: from this one on they end no connection
_TURN = const(16)  # messages of the application between two turns of what is set aside


class Undeliverable(MQTTError):
    """A packet was given up: the broker ended each connection on which it came, and did not those
    without it; or it never answered it, and answered the PINGREQ behind it.

    Its arguments: what the broker did last, an error; then the topic, or the topic filters.
    """


def lost(s, sent: list, error) -> None:
    """A connection has ended. ``sent``: what it left unanswered; ``error``: why, if the broker
    ended it."""
    first = sent[0] if sent else None
    for o, expect in s.late:
        if o in s.outbox and o.expect == expect:  # its answer did not come after all
            first = None  # it is one of these: once is enough
            o.tries = o.tries or 1  # that is evidence enough
            blame(s, o, ConnectionLost("no acknowledgement"))
    s.late = ()
    # A packet that was the first unanswered one when the broker ended a connection
    #   1. for the first time: it goes again in its place, for brokers do restart;
    #   2. again: it is set aside, all else goes before it;
    #   3. and then alone, behind a PINGRESP, on a connection that lived without it: a try less.
    #      With others under way beside it, it says nothing.
    # With packets set aside the others go one of a kind at a time, so the first is the one.
    if isinstance(error, ProtocolError) and error.args[0] >> 4 not in b"\4\5\7\x09\x0b":
        return  # that was no answer to what was sent
    if error and first in s.outbox and (len(sent) == 1 or first.tries < _ASIDE):
        blame(s, first, error)


def blame(s, o, error):
    """A connection has ended at this packet, by ``error``: a try more."""
    # Where another reason is likely, it is set aside and not given up: DISCONNECT by an
    # administrator, a broker that lets nothing at all through.
    if o.tries > _ASIDE and (getattr(error, "mild", False) or not _others(s)):
        s.outbox.remove(o)  # the next one has its turn
        s.outbox.append(o)
        return
    o.tries += 1
    if o.tries == _ASIDE and isinstance(error, ProtocolError) and hasattr(s, "known"):
        s.known = 0  # a reason code that MQTT 5 has not there: this server means it
    if not s.suspects:
        s.turn = 0
        s.other = None
    s.suspects += o.tries == _ASIDE
    s.tried += o.tries > _ASIDE
    if o.tries > _TRIES:
        what = getattr(o, "filters", None) or (_topic(o.packet) if o.packet else o.pid)
        e = Undeliverable(error, what)
        if o in s.again:
            deny(s, o.filters)
        o.error = o.error  # all that takes memory: done without it, it would be delivered
        s._drop(o, True)
        o.error = e
        s._tell(e)


def _others(s):
    # Whether the broker bears others: it is one that is set aside, or a message went through since.
    return s.suspects < 2 or _through(s.other)


def _through(o):
    return o is not None and ((o.done and not o.error) or o.expect == _PUBCOMP)


def spare(s):
    """Return what of the outbox has to make room for what the broker may bear, or None: the first
    one that was set aside."""
    if _through(s.other):
        for o in s.outbox:
            if o.tries >= _ASIDE and o.sent < 0 and o.expect < _PUBCOMP:
                # Not told by a call: who is told may publish, and this is in the middle of that.
                s.troubles += 1
                s.trouble = Undeliverable(OutboxFull(), _topic(o.packet))
                return o


def _topic(packet):
    i = 1
    while packet[i] > 127:
        i += 1
    return str(packet[i + 3 : i + 3 + (packet[i + 1] << 8 | packet[i + 2])], "utf-8")


def deny(s, pairs) -> None:
    """Note topic filters that a repeat was refused: they are asked for at each connection, and
    nobody takes them for subscribed."""
    s.denied = dict(s.denied)
    s.denied.update(pairs)
    for name, _ in pairs:
        s.filters.pop(name, None)


def refused(s, o) -> None:
    """A SUBSCRIBE that repeats was refused, or some of its filters. (Where the answer does not fit
    it, nobody knows of any that it is subscribed.)"""
    for pair in o.filters:
        if isinstance(o.error, ProtocolError):
            s.filters.pop(pair[0], None)
        if pair[0] not in s.filters:
            deny(s, (pair,))
    s._tell(o.error)


def apart(s, part, error):
    """The server takes no SUBSCRIBE of these pairs (MQTT 5): for one of them, or they are too long
    together. Returns what to ask for one by one; a single one is denied, and told."""
    if len(part) > 1:
        return part
    deny(s, part)
    s._tell(error)
    return ()


def overtakes(s):
    """Return what goes though so many are in flight: SUBSCRIBE is not of the window."""
    n = s.window
    for o in s.outbox:
        if o.sent >= 0:
            n -= o.expect < _SUBACK
        elif n > 0 or o.expect >= _SUBACK:
            return o


def missed(s, now: int) -> int:
    """Return the ms until an overdue acknowledgement is missed for good, 0 if a PINGREQ is to go
    behind it first. Raises ConnectionLost when one was answered, and twice ``patience`` is over:
    the broker does not bear the packet, or its answer is lost."""
    left = _FOREVER
    patience = s.patience or s.timeout
    s.late = late = []
    for o in s.outbox[: s.flying]:
        n = patience - (now - o.sent & _TICKS)
        if s.ponged is not None and 0 < s.ponged - o.sent & _TICKS < _FOREVER:
            n += patience
            if n <= 0:
                late.append((o, o.expect))
        left = min(left, n)
    if late:
        raise ConnectionLost("no acknowledgement", late[0][0].expect << 4)
    return left


def rests(s, now: int) -> int:
    """Return the ms until what was set aside is tried again: a connection has to live without it.
    The first try is made at once."""
    for o in s.outbox:
        if o.tries == _ASIDE:
            return 0
    return _rest(s, now)


def _rest(s, now):
    return (0 if s.patience else s.timeout) - (now - s.began & _TICKS)


def fill(s, data, now: int):
    """Add to ``data`` what may be sent while packets are set aside: of the others one of each kind
    at a time, so the first that is not answered is the one. Then one that was set aside, alone.

    An application that publishes without end would leave it no moment: now and then all else waits
    until one of them was answered. At QoS 2 they are of the window, for the broker may hold them:
    mosquitto 2.0 acknowledges and loses what comes while it holds 20, of earlier connections too.
    (A window full of such holds up nothing at QoS 0 and 1.)
    """
    busy = 0  # bits: by what the broker owes; for what is set aside, 1
    room = s.window
    quota = s.window  # of this connection
    doubt = False
    proof = None  # that it takes QoS 2: a PUBREC came
    for o in s.outbox:
        quota -= o.sent >= 0 and o.expect < _SUBACK
        if o.expect == _PUBCOMP:
            proof = o
        if o.tries >= _ASIDE:
            busy |= (o.sent >= 0) << 1
            room -= o.expect in (_PUBREC, _PUBCOMP)
            doubt |= o.expect == _PUBREC
    if doubt and (s.other is None or s.other.expect != _PUBCOMP):
        # AWS IoT takes no QoS 2 at all: each would end two connections, and what is behind it. With
        # the proof those that never went are as before: they would doubt each other, for ever.
        for o in s.outbox:
            if o.expect == _PUBREC and o.sent < 0:
                if proof and o.tries == _ASIDE and o.sent == _NEVER:
                    o.tries = 1
                    s.suspects -= 1
                elif not proof and room > 0 and o.tries < _ASIDE:
                    o.tries = _ASIDE
                    s.suspects += 1
                    room -= 1
        s.other = proof or s.other
    if s.turn:
        alone = s.pid >= s.turn and _may(s, now)
    else:  # one had its turn, or this is the first time
        alone = busy
        if not busy:
            s.turn = s.pid + _TURN
    for o in s.outbox[:]:
        kind = o.expect
        if o.tries >= _ASIDE:
            continue
        if o.sent < 0:
            if o.packet and (
                alone
                or busy >> kind & 1
                or (room <= 0 and kind == _PUBREC)
                or (quota <= 0 and 0 < kind < _PUBCOMP)
            ):
                continue
            if data and len(data) + len(o.packet or b"") + o.size > s.limits[5]:
                break
            packet = s._wire(o)
            data = data + packet if data else packet
            s._sent(o, now)
            if 0 < kind < _SUBACK:
                quota -= 1
                if not _through(s.other):
                    s.other = o
        if kind:
            busy |= 1 << kind
    if busy or data or not _may(s, now):
        return data
    return _attempt(s, now, alone)


def _may(s, now):
    # Whether one that was set aside may go.
    return (
        s.state == _UP and (s.inbox or not s.shed) and s.fence not in (1, 2) and rests(s, now) <= 0
    )


def _attempt(s, now, alone):
    # Nothing is under way: a PINGREQ, and when that was answered one that was set aside.
    if s.ponged is None:
        if s.asked is not None:
            return None
        s.ping(now)
        data = s.control
        s.control = b""
        return data
    # That which was tried least: one that ends each connection is not to be the first always.
    rested = _rest(s, now) <= 0
    least = None
    for o in s.outbox:
        if o.tries == _ASIDE or (o.tries > _ASIDE and rested):
            if least is None or o.tries < least.tries:
                least = o
    if least is not None:
        if alone:
            s.turn = 0
        packet = s._wire(least)
        s._sent(least, now)
        return packet


def shed(s) -> None:
    """What the application waited for behind a full inbox has come. Raises ConnectionLost when it
    is time for a new connection, which brings what was left to the broker. (With clean=True that
    would bring what is retained from its begin, for ever: no more is dropped, and that is all. But
    what is set aside has not even gone, and the PINGRESP that it waits for lies there, too.)"""
    if s.clean:
        s.shed = bool(s.outbox) and s.behind()
    elif not s.inbox:
        e = ConnectionLost("inbox full")
        e.again = True  # at once: all that was left to the broker is still to come
        raise e


def malformed(s, m, first: int, body, error) -> int:
    """A PUBLISH came that the standard does not allow: it says that such a one ends the connection
    [MQTT-1.5.3-1, 1.5.3-2, 3.3.2-2, 4.8.0-1], and so do the first ones. A broker that let it pass
    once will do so at each connection, so a third one is acknowledged, told, and not delivered.

    ``m``: an empty Message. Returns the packet identifier; raises ``error``.
    """
    qos = first >> 1 & 3
    at = 2 + (body[0] << 8 | body[1]) if len(body) > 1 else 0
    pid = body[at] << 8 | body[at + 1] if at and qos and len(body) > at + 1 else 0
    s.malformed += 1
    if s.malformed < _BAD or qos == 3 or not 0 < at <= len(body) or (qos and not pid):
        raise error
    topic = ""
    for c in body[2 : min(at, _SHOWN + 2)]:
        topic += _shown(c)
    m.topic = topic
    m.payload = b""
    m.done = True
    s._tell(ProtocolError(first, max(s.size, len(body)), topic))
    return pid


def _shown(c):
    # (By chr it would be a name, as MicroPython keeps them: their table may have to grow, by more
    # than there is in one piece.)
    return "%c" % c if 31 < c < 127 else "?"


def skip(s, m, first: int, n: int, data, i: int):
    """Read past a PUBLISH of ``n`` bytes that is too long, in constant memory, and acknowledge it:
    a part of ``packet.reader``, which goes on with what it returns. ``m``: an empty Message."""
    if first >> 4 != _PUBLISH or s.limits[4] == "keep" or s.state == _CONNECTING:
        raise ProtocolError(first, n)
    size = len(data)
    k = name = pid = 0
    topic = ""
    qos = first >> 1 & 3
    end = 2  # of the topic's length; then of the topic and the identifier
    while k < n:
        if i == size:
            data = yield
            size = len(data)
            i = 0
        if k >= end:
            c = min(size - i, n - k)
            k += c
            i += c
            continue
        c = data[i]
        i += 1
        if k < 2:
            name = name << 8 | c
            if k:
                end = name + 2 + (qos and 2)
        elif k >= name + 2:
            pid = pid << 8 | c
        elif k < _SHOWN + 2:
            topic += _shown(c)
        k += 1
        if k == end:
            if qos == 3 or (qos and not pid):
                raise ProtocolError(first)
            # Answered now: where no connection is as long as it takes (a Node's budget), it would
            # come again at each, with all else behind it.
            m.topic = topic
            m.payload = b""
            m.done = True
            s.lacking = 0, 0
            s._tell(ProtocolError(first, n, topic))
            s._arrived(m, first, pid)
    if k < end:
        raise ProtocolError(first)
    return data, i, size

"""The MQTT session: packet identifiers, QoS 1 and 2 handshakes, resume.

Sans-IO: no socket, no clock, no asyncio. The driver (``client.Client`` on a chip, a test or an
explorer elsewhere) tells what happened and writes what ``take`` returns:

    connect(now)        a byte stream to the broker is open
    receive(data, now)  these bytes came
    take(now)           what to write next, or None
    tick(now)           time has passed: how many ms may pass until the next tick at the latest
    lost(error)         the byte stream is gone; with an error: the broker has closed it

``now`` is in ms and may wrap at any power of two from 2**30 on, as ``time.ticks_ms`` does.
"""

from binascii import crc32

from micropython import const

from .packet import (
    ConnectionLost,
    MQTTError,
    ProtocolError,
    connect,
    publish,
    read_pid,
    read_publish,
    reader,
    request,
)

# Packet types (section 2.2.1).
_CONNACK = const(2)
_PUBLISH = const(3)
_PUBACK = const(4)
_PUBREC = const(5)
_PUBREL = const(6)
_PUBCOMP = const(7)
_SUBACK = const(9)
_UNSUBACK = const(11)
_PINGRESP = const(13)

# Session.state
_DOWN = const(0)
_CONNECTING = const(1)  # CONNECT went out first; what may follow before CONNACK: ``early``
_UP = const(2)
_CLOSING = const(3)  # what may still go goes, then DISCONNECT
_CLOSED = const(4)  # DISCONNECT was taken: nothing follows it [MQTT-3.14.4-2]

# Message.sent
_NEVER = const(0)
_BEFORE = const(1)  # on an earlier connection of this session: goes again, with DUP
_NOW = const(2)  # on this connection: never again on it [MQTT-4.4.0-1]

_TICKS = const(0x3FFFFFFF)
_FOREVER = const(0x1FFFFFFF)  # ms, six days
_BURST = const(536)  # bytes that go as one piece: the smallest segment any TCP takes (RFC 9293)
_FLOOD = const(2048)  # bytes of answers unsent: more is not honest
_RELEASED = const(
    100
)  # identifiers that a broker may leave unreleased: as many as any has in flight
_FILTERS = const(8)  # in a SUBSCRIBE that is repeated: AWS IoT takes no more
_ENDED = const(20)  # incoming QoS 2 messages whose end may not have reached the broker
_ASIDE = const(2)  # connections that ended at a packet: now all else goes before it
_SHORT = const(3)  # times that there was no memory for a message until it is read past
_OVERHEAD = const(64)  # what a message costs beside topic and payload, about, in bytes


class Refused(MQTTError):
    """The broker said no.

    ``code`` is the return code of a refusing CONNACK (section 3.2.2.3), or the list of those of a
    SUBACK in the order of the topic filters: the granted QoS, or 0x80 for a refused one. The
    granted ones are subscribed.
    """

    def __init__(self, code) -> None:
        words = "filter"
        if isinstance(code, int):
            from .reason import text  # loaded now: it is much, and seldom needed

            words = text(b"\0\x84\x85\x88\x86\x87"[code])
        super().__init__(words, code)
        self.code = code


class OutboxFull(MQTTError):
    """The outbox has no room, or what waited at QoS 0 had to make room."""


class SessionLost(MQTTError):
    """The broker took a QoS 2 message (PUBREC) and forgot its session before the handshake ended.

    Whether it passed the message on cannot be known; sending it again could double it.
    """


class Message:
    """An application message. (SUBSCRIBE and UNSUBSCRIBE wait for their answers in one too.)

    One that arrived has ``topic`` (str), ``payload`` (bytes), ``qos`` and ``retain`` (bool). One
    that goes out tells whether it is ``done`` (bool), and its ``error``: an MQTTError, or None.
    """

    # In:  fresh: it came on this connection, so its answer may go on it.
    #      done: the application is done with it.
    # Out: packet: None once PUBREC came, for only the identifier pid is still needed.
    #      expect: the packet type that answers it, 0 at QoS 0.
    #      codes: those of a SUBACK.
    #      at: when it was sent on this connection.
    #      tries: how many connections ended at it.
    #      once: nobody waits for it any more, so it is not sent again.
    #      vague: its PUBREC may be of a session that the broker has forgotten since.
    topic: str
    payload: bytes
    qos: int
    retain: bool
    sent = _NEVER
    done = once = vague = False
    tries = size = pid = expect = 0
    error: Exception | None
    error = codes = None

    def ack(self, commit=None) -> None:
        """Tell the broker that this message is done with: it will not come again.

        Until then the broker keeps a QoS 1 or 2 message, and sends it again after a reconnect.
        Calling it twice, or at QoS 0, does nothing.

        ``commit`` (bytes; for a client with a store) is the application's own state: when ``ack``
        returns, it is on the medium in one record with the mark that this message is done with.
        AttributeError without a store; OSError or StoreFull if it could not be written.
        """
        if commit is not None:
            self.session.commit(commit)
        self.done = True
        self.session.flush()


def _mark(m):
    return m.pid << 32 | crc32(m.payload, crc32(m.topic.encode()))


class Session:
    """One MQTT session, from its first connection to its last.

    ``on_output()`` is called when ``take`` has something new. ``keepalive``: s. ``window``: QoS 1
    and 2 messages in flight at once. ``outbox``, ``outbox_bytes``: how many messages and bytes of
    packets may wait or be in flight; when full, messages waiting at QoS 0 are dropped, oldest
    first, then ``publish`` raises OutboxFull. ``max_packet``: the longest packet accepted, bytes.
    ``inbox_bytes``: what may wait for the application; then ``behind`` tells the driver to read no
    more, but for what the application waits for (``shed``): then messages at QoS 0 are dropped and
    counted in ``dropped``, and those at QoS 1 and 2 are left to the broker, which repeats them on
    the next connection. ``oversize``: with "skip" a message longer than ``max_packet``, or than
    there is memory for, is read past, acknowledged and told; with "keep" it ends the connection,
    and comes again at each. ``timeout``: ms until CONNACK or PINGRESP; for a connection to
    live until a packet is tried again at which others ended; for an acknowledgement until a
    PINGREQ goes behind it, and as long again until it is missed for good. ``pid``: how many
    packet identifiers were used; random for a client that lost its memory, so as not to use one
    that the broker still waits on.

    What goes wrong with one message and ends nothing is told to ``on_trouble(error)``, if given,
    and counted: ``troubles``, ``trouble`` (the last one): Undeliverable; ProtocolError with length
    and topic of a message that was too long, or with the first byte of an answer that fits nothing;
    Refused for topic filters that were repeated.

    Raises ValueError or TypeError for what the standard forbids.

    Hooks, for other kinds of session; all others are this one's own:
        _hello(...)         the bytes of CONNECT
        _reader(limit)      what cuts the stream into packets
        _wire(o)            the bytes of a packet of the outbox, each time it is sent
        _answer(first, pid) queue an acknowledgement; no other way leads to one
        _queue(...)         every packet comes into the outbox by it, with its identifier
        _finish(o)          every packet leaves the outbox by ``_drop``, with an end by ``_finish``
        _packet(first, body)    a whole packet came; ``_arrived`` and ``_reply`` decide on it
        _connack(body)      must call the base's, with two bytes as 3.1.1 has them
        _resume(present)    on each connection, before anything of the outbox is sent
        _groups(pairs)      what is repeated, by packets
        _suback(o, codes)   must look at all codes before the first takes effect
    """

    # Of the class until they change: that takes less.
    state = _DOWN
    early = _CONNECTING  # messages go in states above this one
    dropped = 0  # incoming QoS 0 messages for which there was no room
    again = ()  # the SUBSCRIBEs that repeat ``filters``
    late = ()  # packets whose acknowledgement is missed for good
    denied = None  # topic filters that a repeat was refused: asked for at each connection
    bulk = used = 0  # bytes of packets in the outbox, and how many: of none whose PUBREC came
    suspects = 0  # packets in the outbox that are set aside
    tried = 0  # how often one of them was tried in vain
    troubles = 0
    trouble = None
    owed = unsure = False  # a CONNECT has no CONNACK: what it says of the session may be old news
    vague = False  # identifiers of the broker's messages may be of a session that it forgot
    tight = size = lacking = (
        0  # for which length memory was short, the last one, how often in a row
    )

    def __init__(
        self,
        on_output,
        client_id: str = "",
        clean: bool = True,
        keepalive: int = 60,
        will=None,
        username: str | None = None,
        password=None,
        window: int = 16,
        outbox: int = 32,
        outbox_bytes: int = 8192,
        max_packet: int = 4096,
        inbox_bytes: int = 8192,
        timeout: int = 10000,
        pid: int = 0,
        oversize: str = "skip",
        on_trouble=None,
    ) -> None:
        self.on_output = on_output
        self.on_trouble = on_trouble
        self.oversize = oversize
        self.clean = clean
        self.greeting = client_id, keepalive, will
        self.login = username, password
        self._greet(False)  # checks every argument now
        # PINGREQ an eighth early: the standard's limit is for the packet to be sent, and a
        # chip's clock and scheduler are late at times [MQTT-3.1.2-23].
        self.keepalive = keepalive * 875
        self.window = window
        self.limits = outbox, outbox_bytes, inbox_bytes, max_packet
        # A window of 0 never opens, and a message that never fits would come again for ever.
        if min(window, outbox, timeout) < 1 or inbox_bytes < max_packet + _OVERHEAD:
            raise ValueError("limits", window, timeout, self.limits)
        if oversize not in ("skip", "keep"):
            raise ValueError("oversize", oversize)
        self.timeout = self.patience = self.rest = timeout
        self.pid = pid
        self.outbox = []  # going out: first those whose PUBREC came, in that order, then the rest
        self.pids = {}  # the same by packet identifier, but for QoS 0
        self.inbox = []  # arrived, not yet taken by the application
        self.held = []  # arrived at QoS 1 and 2: not yet acknowledged, in the order they came
        self.released = []  # identifiers of incoming QoS 2 messages: PUBREC sent, PUBREL due
        self.marks = {}  # of each of these what tells the message
        self.ended = []  # the same of the last ones whose PUBCOMP went
        self.sure = 0  # of how many of these the broker had PUBCOMP when the last PINGREQ came
        self.filters = {}  # what is subscribed: topic filter, QoS

    # --- what the application asks for

    def publish(self, topic: str, payload=b"", qos: int = 0, retain: bool = False) -> Message:
        """Put a message into the outbox; the payload is copied.

        Raises OutboxFull; ValueError or TypeError for a bad topic, QoS or payload.
        """
        pid = self._new_pid() if qos else 0
        packet = publish(topic, payload, qos, retain, pid)
        count, limit, _, _ = self.limits
        if len(packet) > limit:
            raise ValueError("outbox_bytes", limit)
        while self.bulk + len(packet) > limit or self.used >= count:
            for o in self.outbox:
                if not o.expect:
                    break
            else:
                raise OutboxFull
            self._finish(o)
            o.error = OutboxFull()
        return self._queue(packet, pid, qos and _PUBLISH + qos)

    def request(self, first: int, filters) -> Message:
        """Put SUBSCRIBE (0x82) for pairs of topic filter and QoS, or UNSUBSCRIBE (0xA2) for topic
        filters, into the outbox. Raises ValueError or TypeError."""
        pid = self._new_pid()
        o = self._queue(request(first, pid, filters), pid, (first >> 4) + 1)
        o.filters = filters
        return o

    def withdraw(self, o: Message, sent: bool = False) -> None:
        """Take back what was never sent. What was sent goes on to the end of its handshake, but
        SUBSCRIBE, UNSUBSCRIBE and with clean=True all else goes on no other connection.

        With ``sent`` it is taken back in any case: the broker may have it or not, and at QoS 2 may
        keep it for a PUBREL that does not come.
        """
        if o in self.outbox:
            if o.expect >= _SUBACK or self.clean:
                o.once = True
            if sent or not o.sent or (o.once and o.sent == _BEFORE):
                self._drop(o)

    def flush(self) -> None:
        """Send what is due for messages that the application is done with.

        In the order in which they came, QoS 1 and 2 apart [MQTT-4.6.0-2, 4.6.0-3]. Those that
        came on an earlier connection wait for the broker to repeat them, and hold up nothing: it
        may have given them up.
        """
        blocked = 0
        for m in list(self.held):
            if m.fresh:
                if not m.done:
                    blocked |= m.qos
                elif not blocked & m.qos:
                    self.held.remove(m)
                    if m.qos == 2:
                        self.marks[m.pid] = _mark(m)
                        self.released.append(m.pid)
                        if len(self.released) > _RELEASED:
                            self.marks.pop(self.released.pop(0), None)
                    self._answer(0x30 + (m.qos << 4), m.pid)

    def disconnect(self) -> None:
        """Send DISCONNECT after what may still be sent; ``state`` tells when it was taken."""
        if self.state == _UP:
            self.state = _CLOSING
            self.on_output()

    # --- what the driver tells

    def connect(self, now: int) -> None:
        """A byte stream to the broker is open: CONNECT is the first packet [MQTT-3.1.0-1]."""
        limit = self.limits[3]
        if self.tight and self.lacking >= _SHORT:
            limit = self.tight
        self.reader = self._reader(limit)
        next(self.reader)
        self.control = self._greet()  # acknowledgements and pings to send, in order
        self.began = self.sent = self.heard = self.pinged = now
        self.asked = now  # since when CONNACK or PINGRESP is due, or None
        self.ponged = None  # when the last PINGRESP came
        self.resumed = None  # CONNACK's session present, once it came
        self.shed = self.paused = (
            False  # messages were left to the broker; the driver reads no more
        )
        if self.owed:
            self.unsure = True
        self.state = _CONNECTING
        self.on_output()

    def lost(self, error=None) -> None:
        """The byte stream is gone. ``error``: why the broker ended it, if it did; the silence of a
        network, or its failure, says nothing of what was under way."""
        was = self.state
        self.state = _DOWN
        first = None  # of what it left unanswered
        alone = True
        for o in list(self.outbox):
            if o.sent == _NOW:
                o.sent = _BEFORE
                if first:
                    alone = False
                else:
                    first = o
            if o.once and o.sent:
                self._drop(o)
        # The broker will repeat what was not acknowledged; only then may an answer go out.
        for m in self.held:
            m.fresh = False
        if self.late or (error and first and was > _CONNECTING):
            from .trouble import lost  # loaded now: it is much, and seldom needed

            lost(self, first, alone, error if was > _CONNECTING else None)

    def receive(self, data: memoryview, now: int):
        """Take in bytes. Returns where the rest of a packet goes, a memoryview, or None: who reads
        straight into it, and gives back what of it was filled, saves copies and calls. The
        connection is to be closed if it raises: ProtocolError, Refused, ConnectionLost,
        MemoryError."""
        self.heard = now
        try:
            room = self.reader.send(data)
        except MemoryError:
            # Not for ever: when it was the same length some times in a row, it is read past.
            self.lacking = self.lacking + 1 if self.size == self.tight else 1
            self.tight = self.size
            raise
        if len(self.control) > _FLOOD:
            raise ConnectionLost("flood")
        return room

    def behind(self) -> bool:
        """Return whether the application is behind: then read no more, so that TCP holds back the
        broker. Set ``paused`` meanwhile, for the PINGRESP that lies there is not missed then.

        What the application waits for may lie there too. To read on for it set ``shed``: messages
        are not taken any more, and ``take`` ends the connection when the inbox is empty.
        """
        n = 0
        for m in self.inbox:
            n += len(m.topic) + len(m.payload) + _OVERHEAD + m.size
        return n > self.limits[2]

    def busy(self) -> bool:
        """Return whether the broker owes an answer to something in the outbox."""
        for o in self.outbox:
            if o.sent == _NOW:
                return True
        return False

    def tick(self, now: int) -> int:
        """Return in how many ms to call again at the latest. Raises ConnectionLost."""
        if self.paused:
            self.asked = self.ponged = None
            self.heard = now
        keepalive = self.keepalive
        if self.asked is not None:
            left = self.timeout - (now - self.asked & _TICKS)
            if left <= 0:
                raise ConnectionLost("no answer")
            return min(left, keepalive or left)  # the answer may come before
        # Idle is: nothing sent, which the broker would end; or nothing heard, which is all that
        # tells a dead link from a busy one while QoS 0 messages go out.
        left = _FOREVER
        if keepalive:
            left = keepalive - max(now - self.sent & _TICKS, now - self.heard & _TICKS)
        n = _FOREVER
        for o in self.outbox if not self.paused else ():
            if o.sent == _NOW:
                n = min(n, self.patience - (now - o.at & _TICKS))
        if n <= 0:
            from .trouble import missed

            n = missed(self, now)
        left = min(left, n)
        if left <= 0:
            self.ping(now)
            left = min(self.timeout, keepalive or self.timeout)
        if self.suspects:
            from .trouble import rests

            n = rests(self, now)
            if n > 0:
                return min(left, n)
            self.on_output()
        return left

    def ping(self, now: int) -> None:
        """Send PINGREQ."""
        self.asked = self.pinged = now
        self.sure = len(self.ended)
        self.control += b"\xc0\x00"
        self.on_output()

    def take(self, now: int) -> memoryview | None:
        """Return the next bytes to write, valid until the next call; they count as sent.

        Several small packets are put together: small writes cost a round trip each. Raises
        ConnectionLost when it is time for a new connection, see ``behind``.
        """
        if self.state in (_DOWN, _CLOSED):
            return None
        if self.state == _CONNECTING:
            self.owed = True
        data = self.control
        self.control = b""
        careful = self.suspects
        free = self.window
        busy = 0  # bits: by what the broker owes
        for o in list(self.outbox) if self.state > self.early else ():
            kind = o.expect
            if o.tries >= _ASIDE:
                busy |= (o.sent == _NOW) << 1
                continue
            if kind and kind < _SUBACK:
                free -= 1
            if o.sent == _NOW:
                busy |= 1 << kind
                continue
            # Those in flight come first in the outbox. When no more may go, none overtakes, not
            # even at QoS 0; but PUBREL and SUBSCRIBE do. With packets set aside one of each kind
            # goes at a time, so the first that is not answered is the one.
            if o.packet and (busy >> kind & 1 if careful else free < 0 and kind < _SUBACK):
                continue
            packet = self._wire(o)
            if data and len(data) + len(packet) > _BURST:
                break
            data = data + packet if data else packet
            busy |= self._sent(o, now) << kind
        if not (busy or data) and self.state == _UP:
            if self.shed and not self.inbox:
                e = ConnectionLost("inbox full")
                e.again = True  # at once: all that was left to the broker is still to come
                raise e
            if careful:
                data = self._try(now)
        if not data:
            if self.state != _CLOSING:
                return None
            self.state = _CLOSED
            data = b"\xe0\x00"
        self.sent = now
        return memoryview(data)

    # --- inside

    def _reader(self, limit):
        return reader(limit, self._packet, ProtocolError, self)

    def _hello(self, *args):
        return connect(*args)

    def _greet(self, ask=True):
        # CONNECT, made for each connection: user name and password may be functions, or others now.
        login = []
        for value in self.login:
            if callable(value):
                value = value() if ask else ""
            login.append(value)
        client_id, keepalive, will = self.greeting
        return bytes(self._hello(client_id, self.clean, keepalive, will, *login))

    # The handshakes, out. What is in the outbox goes when ``sent`` is not _NOW:
    #
    #   expect     the broker answers             then
    #   (QoS 0)                                   done when it is written
    #   PUBACK     PUBACK, PUBCOMP                done
    #              PUBREC                         as below: it takes it for QoS 2
    #   PUBREC     PUBREC                         its PUBREL goes; expects PUBCOMP
    #              PUBACK, PUBCOMP                done: it does not know QoS 2 (RabbitMQ), or more
    #   PUBCOMP    PUBREC                         its PUBREL goes again
    #              PUBCOMP                        done
    #   SUBACK, UNSUBACK      the same            done
    #   any        an answer that fits none       nothing; it is told
    #   any        closes, or no answer           see ``trouble``
    #
    # A new connection, session present: all that was sent goes again, PUBLISH with DUP. Without
    # it: what expects PUBCOMP ends with SessionLost, all else goes anew (``_resume``).

    def _wire(self, o):
        return o.packet or bytes((0x62, 2, o.pid >> 8, o.pid & 0xFF))  # PUBREL

    def _sent(self, o, now):
        # Return whether an answer is due.
        o.sent = _NOW
        if not o.expect:
            self._finish(o)
            return False
        o.at = now
        return True

    def _try(self, now):
        # All else is through.
        from .trouble import attempt

        return attempt(self, now)

    def _tell(self, error):
        self.troubles += 1
        self.trouble = error
        if self.on_trouble:
            self.on_trouble(error)

    def _answer(self, first, pid):
        self.control += bytes((first, 2, pid >> 8, pid & 0xFF))
        self.on_output()

    def _new_pid(self):
        # 1 to 65535, and none that is in use [MQTT-2.3.1-1, 2.3.1-2].
        while True:
            pid = self.pid % 65535 + 1
            self.pid += 1
            if pid not in self.pids:
                return pid

    def _find(self, pid):
        return self.pids.get(pid)

    def _queue(self, packet, pid, expect):
        o = Message()
        o.packet = packet
        if expect:  # an attribute more is a larger table for each message
            o.pid = pid
            o.expect = expect
            self.pids[pid] = o
        self.outbox.append(o)
        self.bulk += len(packet)
        self.used += 1
        self.on_output()
        return o

    def _drop(self, o):
        self.outbox.remove(o)
        self.pids.pop(o.pid, None)
        if o.packet:
            self.bulk -= len(o.packet)
            self.used -= 1
        self.suspects -= o.tries >= _ASIDE

    def _finish(self, o):
        self._drop(o)
        o.packet = None
        o.done = True
        self.on_output()  # the window may have opened

    def _packet(self, first, body):
        kind = first >> 4
        if (kind == _CONNACK) != (self.state == _CONNECTING):
            raise ProtocolError(first)
        if kind == _PUBLISH:
            self._publish(first, body)
            return
        if first & 15 != (2 if kind == _PUBREL else 0):
            raise ProtocolError(first)
        if kind == _CONNACK:
            self._connack(bytes(body))
        elif kind == _PINGRESP and not body:
            self.asked = None
            self.ponged = self.heard
            self.answered = self.pinged
            self.ended = self.ended[self.sure :]
            self.sure = 0
        elif kind in (_PUBACK, _PUBREC, _PUBCOMP, _SUBACK, _UNSUBACK, _PUBREL):
            self._reply(first, read_pid(first, body[:2] if kind == _SUBACK else body), body)
        else:
            raise ProtocolError(first)

    def _connack(self, body):
        if len(body) != 2 or body[1] > 5:
            raise ProtocolError(0x20)
        if body[1]:
            # Whatever its session present says: amqtt sets it, against [MQTT-3.2.2-4].
            raise Refused(body[1])
        if body[0] > (not self.clean):
            raise ProtocolError(0x20)
        present = body[0]
        self.asked = None
        self.state = _UP
        self.resumed = present
        if not present:
            # Identifiers of the broker's messages mean nothing any more [MQTT-3.1.2-6].
            self.held = []
            self.released = []
            self.ended = []
        if not (self.held or self.released):
            self.vague = False
        unsure = self.unsure
        self.owed = self.unsure = False
        if present and unsure:
            # A CONNECT before this one reached it perhaps, found the session forgotten, and made
            # the new one that is present now. So nothing that was agreed in the old one is certain:
            # subscriptions, and what the identifiers of both sides mean.
            self.vague = True
            self.ended = []
            for o in self.outbox:
                o.vague |= o.expect == _PUBCOMP
        self._resume(present)
        forgot = unsure or not present
        if forgot or self.denied:
            self._repeat(self.filters if forgot else {})

    def _resume(self, present):
        # What was sent on an earlier connection, and not on this one.
        for o in list(self.outbox):
            if o.expect == _PUBCOMP:
                if not present:
                    o.error = SessionLost()
                    self._finish(o)
            elif o.sent == _BEFORE:
                # With the session, again with DUP and in the original order, which is the
                # outbox's [MQTT-4.4.0-1, 4.6.0-1, 4.6.0-4]; without it, anew.
                o.sent = present
                if o.expect < _SUBACK:
                    o.packet[0] = o.packet[0] & 0xF7 | present << 3
        self.on_output()

    def _groups(self, pairs):
        while pairs:
            yield pairs[:_FILTERS]
            pairs = pairs[_FILTERS:]

    def _repeat(self, filters):
        # SUBSCRIBE again, before all else. What of it is under way already goes on.
        pairs = dict(filters)
        tries = 0
        if self.denied:
            pairs.update(self.denied)
            tries = _ASIDE  # they may have ended connections: behind all else
        again = self.again
        self.again = []
        for o in again:
            if o in self.outbox:
                if o.sent == _NOW:
                    self.again.append(o)
                    for name, _ in o.filters:
                        pairs.pop(name, None)
                else:
                    tries = max(tries, o.tries)
                    self._drop(o)
        for part in self._groups(list(pairs.items())):
            try:
                o = self.request(0x82, part)
            except Refused as e:
                self._tell(e)
                continue
            o.tries = tries
            self.suspects += tries >= _ASIDE
            self.outbox.insert(len(self.again), self.outbox.pop())
            self.again.append(o)

    def _reply(self, first, pid, body):
        kind = first >> 4
        if kind == _PUBREL:
            # Answered in any case: this client may have forgotten the message at a restart.
            for m in self.held:
                if m.pid == pid:
                    self.held.remove(m)
                    break
            if pid in self.released:
                self.released.remove(pid)
                mark = self.marks.pop(pid, None)
                if mark:  # until a PINGREQ behind its PUBCOMP is answered
                    self.ended.append(mark)
                    if len(self.ended) > _ENDED:
                        self.ended.pop(0)
                        self.sure = max(self.sure - 1, 0)
            self._answer(0x70, pid)
            return
        o = self._find(pid)
        if not o or not o.sent:
            # A PUBREC or PUBCOMP may belong to what this client forgot at a restart: end it.
            if kind == _PUBREC:
                self._answer(0x62, pid)
            elif kind != _PUBCOMP:
                self._tell(ProtocolError(first))
            return
        if kind == _PUBREC and o.expect <= _PUBCOMP:
            if o.expect != _PUBCOMP:
                # The broker has the message: from here on only PUBREL is repeated
                # [MQTT-4.3.3-1]. It moves behind those whose PUBREC came earlier, which is the
                # order of the PUBRELs.
                self._drop(o)
                o.expect = _PUBCOMP
                o.packet = None
                o.tries = i = 0
                for p in self.outbox:
                    i += p.expect == _PUBCOMP
                self.outbox.insert(i, o)
                self.pids[pid] = o
            o.sent = _BEFORE
            self.on_output()
        elif kind == o.expect or (o.expect < _PUBREL and kind in (_PUBACK, _PUBCOMP)):
            if kind == _SUBACK:
                self._suback(o, list(body[2:]))
            elif kind == _UNSUBACK:
                for name in o.filters:
                    for known in (self.filters, self.denied or ()):
                        if name in known:
                            del known[name]
            if o.vague:
                o.error = SessionLost()  # PUBCOMP comes also for what it does not know
            self._finish(o)
            if kind != o.expect:
                self._tell(ProtocolError(first))
            if o.error and o in self.again:  # nobody waits for this one
                self._tell(o.error)
        else:
            self._tell(ProtocolError(first))

    def _suback(self, o, codes):
        for code in codes:
            if code not in b"\0\1\2\x80":  # [MQTT-3.9.3-2]
                codes = ()
        if len(codes) != len(o.filters):
            o.error = ProtocolError(0x90)
            return
        self._granted(o, codes, Refused(codes))

    def _granted(self, o, codes, refused):
        o.codes = codes
        for (name, options), code in zip(o.filters, codes):
            if self.denied:
                self.denied.pop(name, None)
            if code < 3:
                self.filters[name] = options
            else:
                self.filters.pop(name, None)
                o.error = refused
                if o in self.again:
                    from .trouble import deny

                    deny(self, ((name, options),))

    # The handshakes, in: ``held`` is what the broker waits for, in the order of this connection's
    # PUBLISHes, which is that of the answers [MQTT-4.6.0-2, 4.6.0-3]; ``released`` what it was
    # answered PUBREC. A message whose identifier is there already is one of
    #
    #   1. released: it was answered, and is again, in its turn; not delivered.
    #   2. held: it is in the inbox, with the application, or done with. Not delivered again, but
    #      from now on it may be answered on this connection, in its new turn.
    #   3. not there, at QoS 1 with DUP: its PUBACK was lost, and it is delivered again. All that
    #      waits of earlier connections is forgotten then: the broker repeats it behind this one, or
    #      the application would end at the older of the two.
    #   4. without DUP [MQTT-3.3.1-1]: a new message under a free identifier. At QoS 2 only where
    #      the broker may have forgotten the session: else it is one that repeats without DUP.
    #   5. with DUP, at QoS 2, among the last ones that were ended by PUBCOMP, which may be lost:
    #      mosquitto 2.0 repeats such a one after two cuts. Answered, and not delivered.

    def _publish(self, first, body):
        m = Message()
        m.topic, m.payload, m.qos, m.pid = read_publish(first, body)
        self._arrived(m, first)

    def too_long(self, first: int, n: int, data, i: int):
        """For the reader: a packet of ``n`` bytes is too long. Returns what reads past it. Raises
        ProtocolError."""
        from .trouble import skip

        return skip(self, Message(), first, n, data, i)

    def buffer(self, n: int) -> memoryview:
        """For the reader: room for a packet of this length. Raises MemoryError."""
        self.size = n
        return memoryview(bytearray(n))

    def _arrived(self, m, first):
        m.retain = bool(first & 1)
        m.session = self
        m.fresh = True
        self.size = 0
        if self.shed:
            self.dropped += not m.qos
            return  # the broker repeats it on the next connection
        new = not m.done
        if m.qos:
            repeat = first & 8 or (m.qos == 2 and not self.vague)
            if m.qos == 2 and m.pid in self.released:
                self.released.remove(m.pid)
                if repeat:
                    m.done = True  # 1
                    new = False
            elif m.qos == 2 and first & 8 and _mark(m) in self.ended:
                m.done = True  # 5
                new = False
            for old in self.held:
                if old.pid == m.pid:
                    self.held.remove(old)
                    if repeat and old.qos == m.qos:
                        m = old  # 2
                        m.fresh = True
                        new = False
                    break
            else:
                if new and first & 8 and m.qos == 1:
                    for box in (self.held, self.inbox):  # 3
                        for old in list(box):
                            if old.qos == 1 and not old.fresh:
                                box.remove(old)
            self.held.append(m)
        if new:
            self.inbox.append(m)
        else:
            self.flush()

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

# Named here, they are found at once: a built-in name costs more instructions than its call.
from builtins import bytes, len

from micropython import const

from .packet import (
    ConnectionLost,
    OutboxFull,
    ProtocolError,
    Refused,
    SessionLost,  # noqa: F401 - with the other errors of a session
    connect,
    publish,
    read_publish,
    reader,
    request,
)
from .resume import connected, release, repeated

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

# Message.sent: from 0 on, when, on this connection: never again on it [MQTT-4.4.0-1]
_BEFORE = const(-1)  # on an earlier connection of this session: goes again, with DUP
_NEVER = const(-2)

_TICKS = const(0x3FFFFFFF)
_FOREVER = const(0x1FFFFFFF)  # ms, six days
_BURST = const(536)  # bytes that go as one piece: the smallest segment any TCP takes (RFC 9293)
_FLOOD = const(2048)  # bytes of answers unsent: more is not honest
_ENDED = const(20)  # incoming QoS 2 messages whose end may not have reached the broker
_ASIDE = const(2)  # connections that ended at a packet: now all else goes before it
_SHORT = const(3)  # times that there was no memory for a message until it is read past
_KIB = const(4000)  # ms for each KiB that waits or is in flight, on the slowest link
_OVERHEAD = const(64)  # what a message costs beside topic and payload, about, in bytes


class Message:
    """An application message. (SUBSCRIBE and UNSUBSCRIBE wait for their answers in one too.)

    One that arrived has ``topic`` (str), ``payload`` (bytes; from 4 KiB on a bytearray, if there is
    no memory for it beside its packet), ``qos`` and ``retain`` (bool). One that goes out tells
    whether it is ``done`` (bool), and its ``error``: an MQTTError, or None.
    """

    # In:  fresh: it came on this connection, so its answer may go on it. None: it is being put.
    #      done: the application is done with it.
    #      size: bytes that it takes beside topic and payload.
    # Out: packet: None once PUBREC came, for only the identifier pid is still needed. Deleted when
    #      it is done: ``done`` takes its place, and with that no larger table.
    #      expect: the packet type that answers it, 0 at QoS 0.
    #      codes: those of a SUBACK.
    #      key: where a store has it.
    #      tries: how many connections ended at it.
    #      size: bytes that it will have beside those of packet.
    #      once: nobody waits for it any more, so it is not sent again.
    #      error: set before it is done where its PUBREC may be of a session that the broker has
    #      forgotten since.
    topic: str
    payload: bytes
    qos: int
    retain: bool
    sent = _NEVER
    retain = done = once = False
    qos = tries = size = pid = expect = key = 0
    error: Exception | None
    error = codes = session = None

    def ack(self, commit=None) -> None:
        """Tell the broker that this message is done with: it will not come again.

        Until then the broker keeps a QoS 1 or 2 message, and sends it again after a reconnect.
        Calling it twice, or at QoS 0, does nothing.

        ``commit`` (bytes, str; for a client with a store) is the application's own state: when
        ``ack`` returns, it is on the medium in one record with the mark that this message is done
        with. AttributeError without a store; OSError or StoreFull if it could not be written: then
        the message is not done with, and what is too long for the store is not committed.
        """
        if commit is not None:
            self.done = self.done  # behind the other there may be no memory for an attribute
            self.session.commit(commit, self)
        self.done = True
        if self.session is not None:  # at QoS 0
            self.session.flush()


def _pubrel(o):
    return b"\x62\x02" + o.pid.to_bytes(2, "big")  # (the fastest of five ways)


# Functions, not methods: to find one takes a tenth of the instructions. And of their own: a frame
# of more than eleven words (variables, and what is being computed; a ``for`` takes four, a ``try``
# three) is not on the stack but on the heap, and takes 750 (py/objfun.c, VM_MAX_STATE_ON_STACK).


def new_pid(s):
    """Return a packet identifier: 1 to 65535, and none that is in use
    [MQTT-2.3.1-1, 2.3.1-2]."""
    while True:
        s.pid += 1
        pid = (s.pid - 1) % 65535 + 1
        if pid not in s.pids:
            return pid


def received(s, o) -> None:
    """PUBREC came: the broker has the message. From here on only PUBREL is repeated
    [MQTT-4.3.3-1], in the order of the PUBRECs."""
    outbox = s.outbox
    if outbox[0] is o:
        del outbox[0]
    else:
        outbox.remove(o)
    if o.sent >= 0:
        s.flying -= 1
    if o.packet:
        s.bulk -= len(o.packet)
        s.used -= 1
    if o.tries:
        s.suspects -= o.tries >= _ASIDE
        o.tries = 0
    o.packet = None
    o.expect = _PUBCOMP
    o.sent = _BEFORE
    s._ahead(o)
    s.on_output()


def released(s, pid) -> None:
    """PUBREL came. It is answered in any case: this client may have forgotten the message at a
    restart."""
    for m in s.held:
        if m.pid == pid:
            s.held.remove(m)
            break
    told = s.released.pop(pid, None)
    if told:  # until a PINGREQ behind its PUBCOMP is answered
        if len(s.ended) == _ENDED:
            s.ended = s.ended[1:]
            s.sure -= s.sure > 0
        s.ended += (told,)
    s._answer(0x70, pid)


def known(held, pid) -> bool:
    """Return whether a message has this identifier."""
    for m in held:
        if m.pid == pid:
            return True
    return False


def forget(s, filters) -> None:
    """UNSUBACK came."""
    for name in filters:
        for kept in (s.filters, s.denied):
            if name in kept:
                del kept[name]


def granted(s, o, codes, refused) -> None:
    """A SUBACK came. ``refused``: the error if it is one."""
    o.codes = codes
    for (name, options), code in zip(o.filters, codes):
        if s.denied:
            s.denied.pop(name, None)
        if code < 3:
            s.filters[name] = options
        else:
            s.filters.pop(name, None)
            o.error = refused


class Session:
    """One MQTT session, from its first connection to its last.

    ``on_output()`` is called when ``take`` has something new. ``keepalive``: s. ``window``: QoS 1
    and 2 messages in flight at once. ``outbox``, ``outbox_bytes``: how many messages and bytes of
    packets may wait or be in flight; when full, messages waiting at QoS 0 are dropped, oldest
    first, then ``publish`` raises OutboxFull. ``max_packet``: the longest packet accepted, bytes.
    ``inbox_bytes``: what may wait for the application; then ``behind`` tells the driver to read no
    more, but for what the application waits for (``shed``): then messages at QoS 0 are dropped and
    counted in ``dropped``, and those at QoS 1 and 2 are left to the broker, which repeats them on
    the next connection; with clean=True, where it does not, they are dropped, too. ``oversize``:
    with "skip" a message longer than ``max_packet``, or than there is memory for, is read past,
    acknowledged and told; with "keep" it ends the connection, and comes again at each.
    ``timeout``: ms until CONNACK or PINGRESP; for a connection to live until a packet is tried
    again at which others ended; for an acknowledgement until a PINGREQ goes behind it, and as long
    again until it is missed for good. ``pid``: how many packet identifiers were used; random for a
    client that lost its memory, so as not to use one that the broker still waits on.

    What goes wrong with one message and ends nothing is told to ``on_trouble(error)``, if given,
    and counted: ``troubles``, ``trouble`` (the last one): Undeliverable; ProtocolError with length
    and topic of a message that was too long, or with the first byte of an answer that fits nothing;
    Refused for topic filters that were repeated.

    Raises ValueError or TypeError for what the standard forbids.

    ``resume`` is what a connection does with what an earlier one has left. Another module holds
    what is seldom needed, and is loaded when it is: ``trouble``, what the broker does not bear, or
    this chip cannot hold.

    Hooks, for other kinds of session; all others are this one's own:
        _hello(...)         the bytes of CONNECT
        _fault(first)       the error for what is no packet, see packet.reader
        _wire(o)            the bytes of a packet of the outbox, each time it is sent; ``bare`` is
                            False for a kind that has one
        _answer(first, pid) queue an acknowledgement; no other way leads to one
        _queue(...)         every packet comes into the outbox by it, with its identifier
        _drop(o, done)      every packet leaves the outbox by it, but one at QoS 0 that was sent;
                            with ``done`` its message ended
        _packet(first, body)    a whole packet came; ``_arrived`` and ``_reply`` decide on it
        _connack(body)      must call the base's, with two bytes as 3.1.1 has them
        _suback(o, codes)   must look at all codes before the first takes effect
    """

    _hello = staticmethod(connect)
    _fault = ProtocolError
    # Of the class until they change. (What is looked up for each message is not: an attribute of
    # the class takes ten times as long.)
    dropped = 0  # incoming messages for which there was no room: at QoS 0, with ``clean`` at any
    again = ()  # the SUBSCRIBEs that repeat ``filters``
    late = ()  # packets whose acknowledgement is missed for good, and what they expect
    denied = ()  # topic filters that a repeat was refused: asked for at each connection
    other = None  # a message that went while any were, through if there is one
    tried = 0  # how often one that was set aside was tried in vain
    troubles = 0
    trouble = on_trouble = None
    unsure = False  # a CONNACK was owed: what the next one says of the session may be old news
    vague = False  # identifiers of the broker's messages may be of a session that it forgot
    past = False  # there was a connection before this one
    fence = 0  # while it is one of 1 and 2, what is set aside is not tried
    turn = 0  # at which ``pid`` what is set aside has its turn; 0: it has
    ended = ()  # what tells incoming QoS 2 messages, the last ones whose PUBCOMP went
    sure = 0  # of how many of these the broker had PUBCOMP when the last PINGREQ came
    lacking = 0, 0  # for which length memory was short, and how often
    early = _CONNECTING  # messages go in states above this one
    clean = False
    # ms until an acknowledgement is overdue. With 0 it is ``timeout``, and as long a connection has
    # to live until what was set aside is tried again; else that goes at once.
    patience = 0
    paused = False  # whether the driver reads no more
    malformed = 0  # messages that the standard does not allow
    size = 0  # of the packet that is being read, if it comes in pieces
    asking = 0  # SUBSCRIBE and UNSUBSCRIBE in the outbox

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
        # A window of 0 never opens, and a message that never fits would come again for ever.
        if (
            min(window, outbox, timeout) < 1
            or inbox_bytes < max_packet + _OVERHEAD
            or oversize not in ("skip", "keep")
        ):
            raise ValueError("limits", window, outbox, timeout, inbox_bytes, max_packet, oversize)
        self.on_output = on_output
        if on_trouble:
            self.on_trouble = on_trouble
        if clean:
            self.clean = True
        self.greeting = client_id, keepalive, will
        self.login = username, password
        self._greet(False)  # checks every argument now
        # PINGREQ an eighth early: the standard's limit is for the packet to be sent, and a
        # chip's clock and scheduler are late at times [MQTT-3.1.2-23].
        self.keepalive = keepalive * 875
        self.window = window
        self.limits = outbox, outbox_bytes, inbox_bytes, max_packet, oversize, _BURST
        self.timeout = timeout
        self.pid = pid
        self.state = _DOWN
        self.owed = False  # a CONNECT has no CONNACK
        self.bulk = self.used = 0  # bytes of packets in the outbox, and how many: no PUBREL
        self.flying = 0  # of the outbox were sent on this connection, not answered: the first ones
        self.bare = True  # packets go as they are in the outbox
        self.suspects = 0  # packets in the outbox that are set aside
        # Going out: what was sent on this connection, in that order; what goes before all that
        # waits, PUBREL; the rest.
        self.outbox = []
        self.pids = {}  # the same by packet identifier, but for QoS 0
        self.inbox = []  # arrived, not yet taken by the application
        self.held = []  # arrived at QoS 1 and 2: not yet acknowledged, in the order they came
        # Identifiers of incoming QoS 2 messages: PUBREC sent, PUBREL due; what tells the message.
        self.released = {}
        self.filters = {}  # what is subscribed: topic filter, QoS

    # --- what the application asks for

    def publish(self, topic: str, payload=b"", qos: int = 0, retain: bool = False) -> Message:
        """Put a message into the outbox; the payload is copied.

        Raises OutboxFull; ValueError or TypeError for a bad topic, QoS or payload.
        """
        pid = new_pid(self) if qos else 0
        packet = publish(topic, payload, qos, retain, pid)
        count, limit, _, _, _, _ = self.limits
        n = len(packet)
        while self.bulk + n > limit or self.used >= count:
            if n > limit:
                raise ValueError("outbox_bytes", limit)
            for o in self.outbox:
                if not o.expect:
                    break
            else:
                o = None
                if self.suspects:
                    from .trouble import spare

                    o = spare(self)
                if o is None:
                    raise OutboxFull
            o.error = OutboxFull()
            self._drop(o, True)
        if not self.bare:
            return self._queue(packet, pid, qos and _PUBLISH + qos)
        # As ``_queue``: a call less for each message.
        o = Message()
        o.packet = packet
        if qos:
            o.pid = pid
            o.expect = _PUBLISH + qos
            self.pids[pid] = o
        try:
            self.outbox.append(o)
        except MemoryError:
            self.pids.pop(pid, None)
            raise
        self.bulk += n
        self.used += 1
        self.on_output()
        return o

    def request(self, first: int, filters) -> Message:
        """Put SUBSCRIBE (0x82) for pairs of topic filter and QoS, or UNSUBSCRIBE (0xA2) for topic
        filters, into the outbox. Raises ValueError or TypeError."""
        pid = new_pid(self)
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
            if sent or o.sent == _NEVER or (o.once and o.sent == _BEFORE):
                self._drop(o)

    def flush(self) -> None:
        """Send what is due for messages that the application is done with.

        In the order in which they came, QoS 1 and 2 apart [MQTT-4.6.0-2, 4.6.0-3]. Those that
        came on an earlier connection wait for the broker to repeat them, and hold up nothing: it
        may have given them up.
        """
        blocked = 0
        for m in self.held[:]:
            if m.fresh:
                if not m.done:
                    blocked |= m.qos
                elif not blocked & m.qos:
                    if m.qos == 2:
                        release(self, m)
                    self._answer((m.qos << 4) + 0x30, m.pid)
                    self.held.remove(m)  # last: there may be no memory for the others

    def put_back(self, m) -> None:
        """Give a message again that the application took, and left before it was done with it. One
        at QoS 0, or that was acknowledged, does not come again."""
        if m in self.held and not m.done:
            self.inbox.insert(0, m)

    def disconnect(self) -> None:
        """Send DISCONNECT after what may still be sent; ``state`` tells when it was taken."""
        if self.state == _UP:
            self.state = _CLOSING
            self.on_output()

    # --- what the driver tells

    def connect(self, now: int) -> None:
        """A byte stream to the broker is open: CONNECT is the first packet [MQTT-3.1.0-1]."""
        limit, times = self.lacking
        if self.size:  # there was no memory for it
            # Not for ever: when it was the same length some times in a row, it is read past.
            times = times + 1 if self.size == limit else 1
            limit = self.size
            self.lacking = limit, times
            self.size = 0
        if times < _SHORT:
            limit = self.limits[3]
        self.reader = reader(limit, self._packet, self._fault, self)
        next(self.reader)
        self.control = self._greet()  # acknowledgements and pings to send, in order
        self.began = self.sent = self.heard = self.pinged = now
        self.asked = now  # since when CONNACK or PINGRESP is due, or None
        self.ponged = None  # when the PINGREQ went that was answered last
        self.resumed = None  # CONNACK's session present, once it came
        self.shed = False  # whether messages are left to the broker
        if self.paused:
            self.paused = False
        if self.owed:
            self.unsure = True
        self.state = _CONNECTING
        self.on_output()

    def lost(self, error=None) -> None:
        """The byte stream is gone. ``error``: why the broker ended it, if it did; the silence of a
        network, or its failure, says nothing of what was under way."""
        if error and self.size:
            self.size = 0  # what the broker does not bear, or this client, is no lack of memory
        if self.state <= _CONNECTING:
            error = None
        self.state = _DOWN
        self.past = True
        sent = self.outbox[: self.flying]
        self.flying = 0
        for o in sent:
            o.sent = _BEFORE
            if o.once:
                self._drop(o)
        # The broker will repeat what was not acknowledged; only then may an answer go out.
        if self.held and self.held[-1].fresh is None:  # there was no memory for it
            self.held.pop()
        for m in self.held:
            m.fresh = False
        if self.late or (error and sent):
            try:
                from .trouble import lost  # loaded now: it is much, and seldom needed
            except MemoryError:
                return  # evidence will come again
            lost(self, sent, error)

    def receive(self, data: memoryview, now: int):
        """Take in bytes. Returns where the rest of a packet goes, a memoryview, or None: who reads
        straight into it, and gives back what of it was filled, saves copies and calls. The
        connection is to be closed if it raises: ProtocolError, Refused, ConnectionLost,
        MemoryError."""
        self.heard = now
        room = self.reader.send(data)
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

    def tick(self, now: int) -> int:
        """Return in how many ms to call again at the latest. Raises ConnectionLost."""
        if self.paused:
            self.asked = self.ponged = None
            self.heard = now
        keepalive = self.keepalive
        if self.asked is not None:
            # It may lie behind a lot, of what goes out as of what comes; that is a sign of life.
            since = min(now - self.asked & _TICKS, now - self.heard & _TICKS)
            left = self.timeout + (self.bulk >> 10) * _KIB - since
            if left <= 0:
                raise ConnectionLost("no answer")
            return min(left, keepalive or left)  # the answer may come before
        # Idle is: nothing sent, which the broker would end; or nothing heard, which is all that
        # tells a dead link from a busy one while QoS 0 messages go out.
        left = _FOREVER
        if keepalive:
            left = keepalive - max(now - self.sent & _TICKS, now - self.heard & _TICKS)
        if self.flying and not self.paused:
            n = (self.patience or self.timeout) - (now - self.outbox[0].sent & _TICKS)
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
        if self.ended:
            self.sure = len(self.ended)
        self.control += b"\xc0\x00"
        self.on_output()

    def take(self, now: int):
        """Return the next bytes to write, in any buffer, valid until the next call; they count as
        sent.

        Several small packets are put together: small writes cost a round trip each. Raises
        ConnectionLost when it is time for a new connection, see ``behind``.
        """
        # (With a local variable more, its frame would be on the heap: 750 instructions.)
        if self.state == _DOWN or self.state == _CLOSED:
            return None
        if self.state == _CONNECTING:
            self.owed = True
        data = self.control
        self.control = b""
        if self.state > _CONNECTING or self.state > self.early:
            if self.suspects:
                from .trouble import fill

                data = fill(self, data, now)
            else:
                outbox = self.outbox
                while self.flying < len(outbox):
                    o = outbox[self.flying]
                    # When no more may go, none overtakes, not even at QoS 0; but SUBSCRIBE does.
                    if self.flying >= self.window and 0 < o.expect < _PUBCOMP:
                        if not self.asking:
                            break
                        from .trouble import overtakes as fill  # (no other variable, see above)

                        o = fill(self)
                        if o is None:
                            break
                        outbox.remove(o)
                        outbox.insert(self.flying, o)
                    if data and len(data) + len(o.packet or b"") + o.size > self.limits[5]:
                        break
                    if not self.bare:
                        packet = self._wire(o)
                        data = data + packet if data else packet
                        self._sent(o, now)
                        continue
                    # As these two: calls less for each message.
                    packet = o.packet or _pubrel(o)
                    data = data + packet if data else packet
                    if packet[0] & 6:  # (at QoS 0 ``expect`` is of the class)
                        self.flying += 1
                        o.sent = now
                    else:
                        del o.packet
                        o.done = True
                        del outbox[self.flying]
                        self.bulk -= len(packet)
                        self.used -= 1
                        self.on_output()
        if not data:
            if self.state != _CLOSING:
                if self.shed and not self.flying:
                    from .trouble import shed as fill

                    fill(self)
                return None
            self.state = _CLOSED
            data = b"\xe0\x00"
        self.sent = now
        return data

    # --- inside

    def _greet(self, ask=True):
        # CONNECT, made for each connection: user name and password may be functions, or others now.
        username, password = self.login
        if callable(username):
            username = username() if ask else ""
        if callable(password):
            password = password() if ask else ""
        client_id, keepalive, will = self.greeting
        return self._hello(client_id, self.clean, keepalive, will, username, password)

    # The handshakes, out. What is in the outbox goes when it was not sent on this connection:
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
    # it: what expects PUBCOMP ends with SessionLost, all else goes anew (``resume``).

    def _wire(self, o):
        return o.packet or _pubrel(o)

    def _sent(self, o, now):
        outbox = self.outbox
        if outbox[self.flying] is not o:
            outbox.remove(o)
            outbox.insert(self.flying, o)
        if o.expect:
            self.flying += 1
            o.sent = now
        else:
            del outbox[self.flying]
            self.bulk -= len(o.packet)
            self.used -= 1
            del o.packet
            o.done = True
            self.on_output()

    def _mark(self, m):
        # What tells a message from another one under its identifier.
        return crc32(m.payload, crc32(m.topic.encode(), m.pid)) & _TICKS

    def _tell(self, error):
        self.troubles += 1
        self.trouble = error
        if self.on_trouble:
            try:
                self.on_trouble(error)
            except Exception as e:
                self.trouble = e  # the application's own

    def _answer(self, first, pid):
        self.control += bytes((first, 2, pid >> 8, pid & 0xFF))
        self.on_output()

    def _queue(self, packet, pid, expect):
        o = Message()
        o.packet = packet
        if expect:  # an attribute more is a larger table for each message
            o.pid = pid
            o.expect = expect
            self.pids[pid] = o
        try:
            self.outbox.append(o)
        except MemoryError:
            self.pids.pop(pid, None)
            raise
        if expect >= _SUBACK:
            self.asking += 1
        self.bulk += len(packet)
        self.used += 1
        self.on_output()
        return o

    def _ahead(self, o):
        # Before all that waits, but behind others of its kind.
        i = self.flying
        while i < len(self.outbox) and self.outbox[i].expect >= _PUBCOMP:
            i += 1
        self.outbox.insert(i, o)

    def _drop(self, o, done=False):
        outbox = self.outbox
        if outbox[0] is o:
            del outbox[0]
        else:
            outbox.remove(o)  # which asks the class for ``__eq__``
        if o.sent >= 0:
            self.flying -= 1
        if o.packet:
            self.bulk -= len(o.packet)
            self.used -= 1
        if o.expect:
            del self.pids[o.pid]
            if o.expect >= _SUBACK:
                self.asking -= 1
            if self.suspects and o.tries >= _ASIDE:
                self.suspects -= 1
        if done:
            del o.packet
            o.done = True
            self.on_output()  # the window may have opened

    def _packet(self, first, body):
        # (With a local variable more, its frame would be on the heap: 750 instructions.)
        if self.state == _CONNECTING:
            if first != 0x20:
                raise ProtocolError(first)
            self._connack(bytes(body))
        elif first >> 4 == _PUBLISH:
            self._publish(first, body)
        elif first in (0x40, 0x70, 0x50, 0x62, 0x90, 0xB0):
            pid = 0
            if len(body) == 2 or (first == 0x90 and len(body) > 2):
                pid = body[0] << 8 | body[1]
            if not pid:
                raise ProtocolError(first)
            o = self.pids.get(pid)
            # What comes most, as in ``_reply``: a call less.
            if o is None or o.sent == _NEVER or first > 0x70 or o.expect > _PUBCOMP:
                self._reply(first, pid, o, body)
            elif first == 0x50:
                received(self, o)
            elif first >> 4 == o.expect:
                self._drop(o, True)
            else:
                self._reply(first, pid, o, body)
        elif first != 0xD0 or body:
            raise ProtocolError(first)
        else:
            self.asked = None
            self.ponged = self.pinged
            self.on_output()  # what was set aside may go
            if self.ended:
                self.ended = self.ended[self.sure :]
                self.sure = 0

    def _publish(self, first, body):
        m = Message()
        try:
            m.topic, m.payload, _, pid = read_publish(first, body)
        except ProtocolError as e:
            from .trouble import malformed

            pid = malformed(self, m, first, body, e)
        self._arrived(m, first, pid)

    def _connack(self, body):
        if len(body) != 2 or 5 < body[1] < 128:
            raise ProtocolError(0x20)
        if body[1]:  # (from 128 on it is MQTT 5's: older mochi-mqtt)
            self.owed = self.unsure  # it has made no session of this CONNECT [MQTT-3.2.2-4]
            # Whatever its session present says: amqtt sets it, against [MQTT-3.2.2-4].
            from .reason import refused  # loaded now: it is much, and seldom needed

            raise Refused(refused(body[1]), body[1])
        if body[0] > (not self.clean):
            raise ProtocolError(0x20)
        self.asked = None
        self.state = _UP
        self.resumed = body[0]
        if self.past:
            connected(self, body[0])
        self.owed = False
        if self.unsure:
            self.unsure = False
        self.on_output()

    def _reply(self, first, pid, o, body):
        if first == 0x62:
            released(self, pid)
            return
        # (Whether an object is true takes ten times as long: a chip asks its class.)
        expect = 0 if o is None or o.sent == _NEVER else o.expect
        if first == 0x50 and expect <= _PUBCOMP:
            if expect:
                received(self, o)
            else:  # of what this client forgot at a restart: end it
                self._answer(0x62, pid)
        elif expect and (first >> 4 == expect or (expect < _PUBREL and first in (0x40, 0x70))):
            if first == 0x90:
                body = list(body[2:])
                self._suback(o, body)
            elif first == 0xB0:
                forget(self, o.filters)
            self._drop(o, True)
            if first >> 4 != expect:
                self._tell(ProtocolError(first))
            if first == 0x90 and o.error and o in self.again:  # nobody waits for this one
                from .trouble import refused

                refused(self, o)
        elif expect or first != 0x70:  # that may be for what this client forgot, too
            self._tell(ProtocolError(first))

    def _suback(self, o, codes):
        good = len(codes) == len(o.filters)
        for code in codes:
            # [MQTT-3.9.3-2], but that some refuse with the codes of MQTT 5 (ejabberd with 0x8F).
            good &= code < 3 or code > 127
        if good:
            granted(self, o, codes, Refused("filter", codes))
        else:
            o.error = ProtocolError(0x90)

    # The handshakes, in: ``held`` is what the broker waits for, in the order of this connection's
    # PUBLISHes, which is that of the answers [MQTT-4.6.0-2, 4.6.0-3]; ``released`` what it was
    # answered PUBREC. What of them is repeated: see ``resume``.

    def too_long(self, first: int, n: int, data, i: int):
        """For the reader: a packet of ``n`` bytes is too long. Returns what reads past it. Raises
        ProtocolError."""
        from .trouble import skip

        return skip(self, Message(), first, n, data, i)

    def _arrived(self, m, first, pid):
        # With ``done`` it was read past. An attribute less is a smaller table for each message.
        if self.shed:
            self.dropped += self.clean or not pid
            if not self.clean:
                return  # the broker repeats it on the next connection
            m.done = True
            m.payload = b""  # it waits for its turn to be answered
        if first & 1:
            m.retain = True
        new = not m.done
        if pid:
            m.qos = first >> 1 & 3
            m.pid = pid
            m.session = self
            m.fresh = None  # until it is where it belongs: there may be no memory for that
            if first & 8 or pid in self.released or known(self.held, pid):
                new = repeated(self, m, first)
            else:
                self.held.append(m)
        if new:
            self.inbox.append(m)
        if pid:
            m.fresh = True
            if not new:
                self.flush()

"""The MQTT session: packet identifiers, QoS 1 and 2 handshakes, resume.

Sans-IO: no socket, no clock, no asyncio. The driver (``client.Client`` on a chip, a test or an
explorer elsewhere) tells what happened and writes what ``take`` returns:

    connect(now)        a byte stream to the broker is open
    receive(data, now)  these bytes came
    take(now)           what to write next, or None
    tick(now)           time has passed: how many ms may pass until the next tick at the latest
    lost()              the byte stream is gone

``now`` is in ms and may wrap at any power of two from 2**30 on, as ``time.ticks_ms`` does.
"""

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
_FLOOD = const(2048)  # bytes of answers unsent, identifiers unreleased: more is not honest
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
    topic: str
    payload: bytes
    qos: int
    retain: bool
    sent = _NEVER
    done = False
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


class Session:
    """One MQTT session, from its first connection to its last.

    ``on_output()`` is called when ``take`` has something new. ``keepalive``: s. ``window``: QoS 1
    and 2 messages in flight at once. ``outbox``, ``outbox_bytes``: how many messages and bytes of
    packets may wait or be in flight; when full, messages waiting at QoS 0 are dropped, oldest
    first, then ``publish`` raises OutboxFull. ``max_packet``: the longest packet accepted, bytes.
    ``inbox_bytes``: what may wait for the application; beyond that messages at QoS 0 are dropped
    and counted in ``dropped``, and one at QoS 1 or 2 ends the connection, so that the broker keeps
    it. ``timeout``: ms until CONNACK or PINGRESP. ``pid``: how many packet identifiers were used;
    random for a client that lost its memory, so as not to use one that the broker still waits on.

    Raises ValueError or TypeError for what the standard forbids.
    """

    # Of the class until they change: that takes less.
    state = _DOWN
    early = _CONNECTING  # messages go in states above this one
    dropped = 0  # incoming QoS 0 messages for which there was no room
    again = None  # the SUBSCRIBE that repeats ``filters`` for a broker that forgot

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
    ) -> None:
        self.on_output = on_output
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
        self.timeout = timeout
        self.pid = pid
        self.outbox = []  # going out: first those whose PUBREC came, in that order, then the rest
        self.inbox = []  # arrived, not yet taken by the application
        self.held = []  # arrived at QoS 1 and 2: not yet acknowledged, in the order they came
        self.released = []  # identifiers of incoming QoS 2 messages: PUBREC sent, PUBREL due
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
        while True:
            n = len(packet)
            oldest = None
            for o in self.outbox:
                if o.packet:
                    n += len(o.packet)
                if not o.expect and not oldest:
                    oldest = o
            if n <= limit and len(self.outbox) < count:
                return self._queue(packet, pid, qos and _PUBLISH + qos)
            if not oldest:
                raise OutboxFull
            self._finish(oldest)
            oldest.error = OutboxFull()

    def request(self, first: int, filters) -> Message:
        """Put SUBSCRIBE (0x82) for pairs of topic filter and QoS, or UNSUBSCRIBE (0xA2) for topic
        filters, into the outbox. Raises ValueError or TypeError."""
        pid = self._new_pid()
        o = self._queue(request(first, pid, filters), pid, (first >> 4) + 1)
        o.filters = filters
        return o

    def withdraw(self, o: Message) -> None:
        """Take back what was never sent. What was sent goes on to the end of its handshake."""
        if o in self.outbox and not o.sent:
            self.outbox.remove(o)

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
                        self.released.append(m.pid)
                    self._answer(0x30 + (m.qos << 4), m.pid)

    def disconnect(self) -> None:
        """Send DISCONNECT after what may still be sent; ``state`` tells when it was taken."""
        if self.state == _UP:
            self.state = _CLOSING
            self.on_output()

    # --- what the driver tells

    def connect(self, now: int) -> None:
        """A byte stream to the broker is open: CONNECT is the first packet [MQTT-3.1.0-1]."""
        self.reader = reader(self.limits[3], self._packet)
        next(self.reader)
        self.control = self._greet()  # acknowledgements and pings to send, in order
        self.sent = self.heard = now
        self.asked = now  # since when CONNACK or PINGRESP is due, or None
        self.resumed = None  # CONNACK's session present, once it came
        self.state = _CONNECTING
        self.on_output()

    def lost(self) -> None:
        """The byte stream is gone."""
        self.state = _DOWN
        for o in self.outbox:
            if o.sent:
                o.sent = _BEFORE
        # The broker will repeat what was not acknowledged; only then may an answer go out.
        for m in self.held:
            m.fresh = False

    def receive(self, data: memoryview, now: int) -> None:
        """Take in bytes. The connection is to be closed if it raises: ProtocolError, Refused,
        ConnectionLost."""
        self.heard = now
        self.reader.send(data)
        if len(self.control) > _FLOOD:
            raise ConnectionLost("flood")
        if len(self.released) > _FLOOD:
            self.released.pop(0)

    def tick(self, now: int) -> int:
        """Return in how many ms to call again at the latest. Raises ConnectionLost."""
        keepalive = self.keepalive
        if self.asked is not None:
            left = self.timeout - (now - self.asked & _TICKS)
            if left <= 0:
                raise ConnectionLost("no answer")
            return min(left, keepalive or left)  # the answer may come before
        # Idle is: nothing sent, which the broker would end; or nothing heard, which is all that
        # tells a dead link from a busy one while QoS 0 messages go out.
        left = keepalive - max(now - self.sent & _TICKS, now - self.heard & _TICKS)
        if not keepalive:
            return _FOREVER
        if left > 0:
            return left
        self.asked = now
        self.control += b"\xc0\x00"
        self.on_output()
        return min(self.timeout, keepalive)

    def take(self, now: int) -> memoryview | None:
        """Return the next bytes to write, valid until the next call; they count as sent.

        Several small packets are put together: small writes cost a round trip each.
        """
        if self.state in (_DOWN, _CLOSED):
            return None
        data = self.control
        self.control = b""
        free = self.window
        for o in list(self.outbox) if self.state > self.early else ():
            # Those in flight come first in the outbox. When no more may go, none overtakes, not
            # even at QoS 0; but SUBSCRIBE does.
            if o.expect < _SUBACK:
                if o.expect:
                    free -= 1
                if free < 0:
                    continue
            if o.sent == _NOW:
                continue
            if data and len(data) + len(o.packet) > _BURST:
                break
            packet = self._wire(o)
            data = data + packet if data else packet
            o.sent = _NOW
            if not o.expect:
                self._finish(o)
        if not data:
            if self.state != _CLOSING:
                return None
            self.state = _CLOSED
            data = b"\xe0\x00"
        self.sent = now
        return memoryview(data)

    # --- inside

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

    def _wire(self, o):
        return o.packet  # as it goes out now

    def _answer(self, first, pid):
        self.control += bytes((first, 2, pid >> 8, pid & 0xFF))
        self.on_output()

    def _new_pid(self):
        # 1 to 65535, and none that is in use [MQTT-2.3.1-1, 2.3.1-2].
        while True:
            pid = self.pid % 65535 + 1
            self.pid += 1
            if not self._find(pid):
                return pid

    def _find(self, pid):
        for o in self.outbox:
            if o.pid == pid:
                return o

    def _queue(self, packet, pid, expect):
        o = Message()
        o.packet = packet
        o.pid = pid
        o.expect = expect
        self.outbox.append(o)
        self.on_output()
        return o

    def _finish(self, o):
        self.outbox.remove(o)
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
        self.asked = None
        self.state = _UP
        self.resumed = body[0]
        if not body[0]:
            # Identifiers of the broker's messages mean nothing any more [MQTT-3.1.2-6].
            self.held = []
            self.released = []
        self._resume(body[0])

    def _resume(self, present):
        # What was sent on an earlier connection, and not on this one.
        again = self.again
        for o in list(self.outbox):
            if o.expect == _PUBCOMP:
                if not present:
                    o.error = SessionLost()
                    self._finish(o)
                elif o.sent == _BEFORE:
                    o.sent = _NOW
                    self._answer(0x62, o.pid)
            elif o.sent == _BEFORE:
                # With the session, again with DUP and in the original order, which is the
                # outbox's [MQTT-4.4.0-1, 4.6.0-1, 4.6.0-4]; without it, anew.
                o.sent = present
                if o.expect < _SUBACK:
                    o.packet[0] = o.packet[0] & 0xF7 | present << 3
        if not present and (again not in self.outbox or again.sent != _NOW):
            self.withdraw(again)
            if self.filters:
                self.again = self.request(0x82, list(self.filters.items()))
                self.outbox.insert(0, self.outbox.pop())
        self.on_output()

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
            self._answer(0x70, pid)
            return
        o = self._find(pid)
        if not o or not o.sent:
            # A PUBREC or PUBCOMP may belong to what this client forgot at a restart: end it.
            if kind == _PUBREC:
                self._answer(0x62, pid)
            elif kind != _PUBCOMP:
                raise ProtocolError(first)
        elif kind == _PUBREC and o.expect in (_PUBREC, _PUBCOMP):
            if o.expect == _PUBREC:
                # The broker has the message: from here on only PUBREL is repeated
                # [MQTT-4.3.3-1]. It moves behind those whose PUBREC came earlier, which is the
                # order of the PUBRELs.
                o.expect = _PUBCOMP
                o.packet = None
                o.sent = _NOW
                self.outbox.remove(o)
                i = 0
                for p in self.outbox:
                    i += p.expect == _PUBCOMP
                self.outbox.insert(i, o)
            self._answer(0x62, pid)
        elif kind != o.expect:
            raise ProtocolError(first)
        else:
            if kind == _SUBACK:
                self._suback(o, list(body[2:]))
            elif kind == _UNSUBACK:
                for name in o.filters:
                    self.filters.pop(name, None)
            self._finish(o)
            if o.error and o is self.again:
                raise o.error  # nobody waits for this one

    def _suback(self, o, codes):
        if len(codes) != len(o.filters):
            raise ProtocolError(0x90)
        o.codes = codes
        for (name, qos), code in zip(o.filters, codes):
            if code < 3:
                self.filters[name] = qos
            elif code == 0x80:
                self.filters.pop(name, None)
                o.error = Refused(codes)
            else:
                raise ProtocolError(0x90)  # [MQTT-3.9.3-2]

    def _publish(self, first, body):
        m = Message()
        m.topic, m.payload, m.qos, m.pid = read_publish(first, body)
        m.retain = bool(first & 1)
        m.session = self
        m.fresh = True
        if m.qos:
            # DUP tells a message that comes again from a new one [MQTT-3.3.1-1] under an identifier
            # that is free for the broker: it may have forgotten the session, and said so in a
            # CONNACK that was lost.
            if m.qos == 2 and m.pid in self.released:
                if first & 8:
                    self._answer(0x50, m.pid)
                    return
                self.released.remove(m.pid)
            for old in self.held:
                if old.pid == m.pid:
                    if old.qos == m.qos and first & 8:
                        # The one that the application has already: not again, but now an
                        # answer may go on this connection.
                        old.fresh = True
                        self.flush()
                        return
                    self.held.remove(old)  # the broker gave it up, and its identifier with it
                    break
        n = 0
        for old in self.inbox + [m]:
            n += len(old.topic) + len(old.payload) + _OVERHEAD
        if n <= self.limits[2]:
            self.inbox.append(m)
            if m.qos:
                self.held.append(m)
        elif m.qos:
            raise ConnectionLost("inbox full")
        else:
            self.dropped += 1

"""The MQTT 5.0 session: what differs from session.py. Sans-IO; for ``Client(version=5)`` only.

Section numbers are those of the OASIS standard, MQTT Version 5.0.
"""

from micropython import const

from ..expiry import expiring, length, varint
from ..packet import ProtocolError, frame
from ..session import ConnectionLost, Message, Refused, Session, granted, new_pid
from .packet import (
    ProtocolError5,
    auth,
    connect,
    disconnect,
    encode_properties,
    read_ack,
    read_auth,
    read_connack,
    read_disconnect,
    read_properties,
    read_publish,
    read_suback,
    request,
)

_CONNACK = const(2)
_PUBLISH = const(3)
_PUBREC = const(5)
_PUBREL = const(6)
_SUBACK = const(9)
_UNSUBACK = const(11)
_DISCONNECT = const(14)
_AUTH = const(15)

_NEVER = const(-2)  # Message.sent

_CONNECTING = const(1)  # Session.state
_UP = const(2)
_CLOSING = const(3)
_CLOSED = const(4)

_FOREVER = const(0xFFFFFFFF)  # Session Expiry Interval: never
_NAMES = const(32)  # topic names that are looked for again in a connection
_WINDOW = const(16)  # messages at QoS 1 and 2 that the server may have in flight
_RECEIVE = const(100)  # of them at most: so many identifiers are kept until PUBREL (``resume``)
_BURST = const(536)  # bytes, as session's
_BAD = const(3)  # messages that are not allowed: from this one on they end no connection
_TICKS = const(0x3FFFFFFF)
_SOON = const(500)  # ms
_KEPT = (
    "receive_maximum maximum_qos retain_available maximum_packet_size server_keepalive "
    "wildcard_available subscription_id_available shared_available"
).split()

# Reason codes after which the same again may work: unspecified, implementation specific, server
# unavailable, busy, shutting down, keep alive, receive maximum, rate, quota, administrative,
# connection rate, connect time. (All others say that something has to change first.)
_RETRY = b"\x80\x83\x88\x89\x8b\x8d\x93\x96\x97\x98\x9f\xa0"
_ANOTHER = b"\x9c\x9d"  # use another server, server moved
# Those that may be about the packet that was under way: unspecified, malformed, protocol error,
# implementation specific, not authorized, topic name invalid, receive maximum, packet too large,
# quota, payload format, retain, QoS, subscriptions of a kind. All others are the connection's.
_BLAMES = b"\x80\x81\x82\x83\x87\x8f\x90\x93\x95\x97\x99\x9a\x9b\x9e\xa1\xa2"


def _words(code, properties):
    if "reason_string" in properties or not isinstance(code, int):
        return properties.get("reason_string", "topic filter")
    try:
        from ..reason import text

        return text(code)
    except MemoryError:
        return ""  # the code says it


def _malformed(first):
    return ProtocolError5(first, 0x81)


class Failed(Refused):
    """The server said no, for good.

    ``code``: the reason code, or the list of those of a SUBACK or UNSUBACK; ``properties``: those
    of its packet, with ``reason_string`` if it gave one. Of a publish: it is not delivered.
    """

    def __init__(self, code, properties) -> None:
        # Not Refused's: its texts are those of 3.1.1.
        super(Refused, self).__init__(_words(code, properties), code)
        self.code = code
        self.properties = properties


class Message5(Message):
    """A Message with ``properties``: a dict, see mqtt5.packet. User properties are decoded each
    time they are asked for: nobody but the application knows whether they are worth their RAM."""

    kept = None

    @property
    def properties(self):
        kept = self.kept
        if kept and isinstance(kept.get("user_properties"), bytes):
            kept = read_properties(0x30, kept["user_properties"], 0)[0]
            kept.pop("topic_alias", None)
        return kept

    @properties.setter
    def properties(self, values):
        self.kept = values


class Codes(list):
    """The reason codes of a SUBACK or UNSUBACK, in the order of the topic filters; ``properties``:
    those of its packet."""


class Disconnected(ConnectionLost):
    """The server ended the connection, or did not take it, for a reason that may pass.

    ``code`` and ``properties`` as those of ``Failed``.
    """

    def __init__(self, code, properties) -> None:
        super().__init__(_words(code, properties), code)
        self.code = code
        self.properties = properties


# A base with a name: super() takes three times as long, and each message needs some of its methods.
_Base = expiring(Session)


class Session5(_Base):
    """An MQTT 5.0 session.

    ``session_expiry``: s that the server keeps the session after the connection ended; if None,
    for ever with clean=False, else not at all. ``properties``: more of CONNECT's, a dict:
    receive_maximum (16; more than 100 are 100), topic_alias_maximum (0), user_properties,
    request_problem_information, request_response_information, auth_method.
    ``will_properties``: a dict: will_delay and so on. ``auth(data)`` answers the server's
    challenges with auth_method: bytes for bytes; for None, at the begin, the first data, or None,
    asked at each connection. All other arguments are Session's.

    ``redirect``: whether to go where a server says that it moved (section 4.11): False; True: to
    another port of its host, and with TLS and without user name and password to another host; or a
    collection of host names that may have those, too, over TLS. Where the first attempt fails
    there, it is back to ``owner.address`` as it was. ``owner``: has that ``address``.

    ``server``: the properties of the last CONNACK, a dict. A message that arrived has
    ``properties``; one that went out ``codes``, the reason code (or codes), and ``properties``
    of its acknowledgement.
    """

    # Of the class until they change, as in Session.
    redirect = False
    owner = None
    will_delay = 0  # s

    def __init__(
        self,
        on_output,
        client_id: str = "",
        clean: bool = True,
        keepalive: int = 60,
        will=None,
        username=None,
        password=None,
        session_expiry: int | None = None,
        properties=None,
        will_properties=None,
        auth=None,
        redirect=False,
        owner=None,
        **options,
    ) -> None:
        if not client_id and not clean:
            raise ValueError("clean=False needs a fixed client_id")
        if session_expiry is None:
            session_expiry = 0 if clean else _FOREVER
        self.expiry = session_expiry
        self.auth = None  # not asked before there is a connection: what it says may hold once
        self.properties = {"receive_maximum": _WINDOW}
        self.properties.update(properties or {})
        self.properties["receive_maximum"] = min(self.properties["receive_maximum"], _RECEIVE)
        if session_expiry:
            self.properties["session_expiry"] = session_expiry
        self.will_properties = will_properties
        if will_properties:
            self.will_delay = will_properties.get("will_delay", 0)
        super().__init__(
            on_output, client_id, clean, keepalive, will, username, password, **options
        )
        self.auth = auth
        self.properties["maximum_packet_size"] = self.limits[3]
        if redirect:
            self.owner = owner
            self.redirect = redirect
        self.redirects = 0
        self.home = None  # the owner's own address, while it is at another
        self.moving = False  # the next connection is the first one to where the server said
        self.server = {}
        self.unfit = False  # something in the outbox is not what the server takes, perhaps
        self.memory = None  # of ``server`` what a burst has to heed, encoded: for a store
        self.most = self.window
        self.fault = None

    _fault = staticmethod(_malformed)
    # Reason codes above it refuse, whether or not the standard has them there (mosquitto: PUBACK
    # 0x95); 0: any is taken for what it says, for connections ended at one twice (mochi-mqtt: 1).
    known = 127

    def _hello(self, *args):
        if self.auth:
            self.properties["auth_data"] = self.auth(None)
        return connect(*args, self.properties, self.will_properties)

    # --- what the application asks for

    def publish(self, topic, payload=b"", qos=0, retain=False, message_expiry=None, **properties):
        """As Session's. ``properties``: payload_format, content_type, response_topic,
        correlation_data, user_properties. ``message_expiry``: s.

        Raises Failed if the server said in CONNACK that it does not take this QoS, retained
        messages, or a packet of this size.
        """
        if "topic_alias" in properties:
            raise ValueError("topic_alias")  # they are for a connection, and made at its begin
        data = bytearray(b"\0")
        if properties or message_expiry is not None:
            properties["message_expiry"] = message_expiry  # rewritten when it is sent
            data = bytearray(encode_properties(_PUBLISH, properties))
        if isinstance(payload, str):
            payload = payload.encode()
        payload = memoryview(payload)
        n = len(data) + len(payload)
        data.extend(payload)
        if len(data) != n:  # its items are wider than a byte
            raise TypeError(payload)
        # Only in the properties, before the payload, differs the packet from that of 3.1.1.
        o = _Base.publish(self, topic, data, qos, retain, message_expiry)
        try:
            o.properties = None
            n = len(o.packet)
            self._allowed(qos, retain, n if message_expiry is None else length(o.packet))
        except (Failed, MemoryError):
            self.withdraw(o)
            raise
        return o

    def request(
        self,
        first: int,
        filters,
        subscription_id: int = 0,
        no_local: bool = False,
        retain_as_published: bool = False,
        retain_handling: int = 0,
        user_properties=None,
    ):
        """As Session's, with the options of SUBSCRIBE (section 3.8.3.1) for all these filters."""
        properties = {"user_properties": user_properties}
        pairs = filters
        if first == 0x82:
            more = no_local << 2 | retain_as_published << 3 | min(retain_handling, 3) << 4
            more |= subscription_id << 8
            pairs = []
            for name, options in filters:
                if type(options) is not int:  # nor a bool, as with 3.1.1
                    raise TypeError("qos, retain")
                pairs.append((name, options | more))
            self._offered(pairs)
            properties["subscription_id"] = pairs[0][1] >> 8 or None if pairs else None
            filters = []
            for name, options in pairs:
                filters.append((name, options & 0xFF))
        pid = new_pid(self)
        packet = request(first, pid, filters, properties)
        self._allowed(0, 0, len(packet))
        o = self._queue(packet, pid, (first >> 4) + 1)
        o.filters = pairs
        return o

    def disconnect(self, code: int = 0, **properties) -> None:
        """As Session's. ``code`` 4: the server is to publish the will all the same, after its
        delay. ``properties``: session_expiry, reason_string, user_properties. Raises Failed if they
        make it longer than the server takes; if it is that without them, nothing goes."""
        if properties.get("session_expiry") and not self.properties.get("session_expiry"):
            raise ValueError("session_expiry")  # section 3.14.2.2.2
        bye = disconnect(code, properties)
        if properties:
            self._allowed(0, 0, len(bye))  # [MQTT-3.14.2-3, 3.14.2-4]
        self.bye = bye
        super().disconnect()
        if self.state == _CLOSING and len(bye) > self.server.get("maximum_packet_size", _FOREVER):
            self.state = _CLOSED

    def recall(self) -> None:
        """Before the first connection: heed what a store knows of the server."""
        if self.memory and not self.server:
            self._heed(read_properties(0x20, self.memory, 0)[0])

    def reauthenticate(self) -> None:
        """Begin the exchange of ``auth`` anew, on a living connection (section 4.12.1). Where there
        is none, the next one does that in any case."""
        if self.state == _UP:
            self._auth(0x19, self.auth(None))

    # --- what the driver tells

    def connect(self, now: int) -> None:
        """As Session's."""
        self.fault = None
        self.names = {}  # topic names that the server will mean by their alias
        self.aliases = {}  # topic name: alias, or 0 when it was sent once
        self.alias_limit = self.alias_last = 0  # what the server takes is in CONNACK
        self.unanswered = 0  # messages at QoS 1 and 2 that came on this connection
        if "auth_method" in self.properties:
            self.burst = False  # nothing but AUTH goes before CONNACK [MQTT-3.1.2-30]
        self.recall()
        for o in self.outbox:
            if self._unfit(o):
                self.burst = False  # the server may take more by now: CONNACK will tell
        super().connect(now)

    def lost(self, error=None) -> None:
        """As Session's. For a DISCONNECT whose reason is the connection's no packet is given up."""
        if self.fault:
            # Whether it could be told or not. Before CONNACK it says nothing of what went.
            error = None if self.resumed is None else self.fault
        if getattr(error, "code", 0x80) not in _BLAMES:
            error.mild = True
        super().lost(error)
        # One that stood for a while is none of those that follow each other.
        if self.redirects and self.resumed is not None:
            if self.heard - self.began & _TICKS > self.timeout:
                self.redirects = 0
        if self.home and not self.moving and self.resumed is None:
            self.owner.address = self.home
            self.home = None
        self.moving = False
        self.resumed = None

    def tick(self, now: int) -> int:
        """As Session's."""
        left = super().tick(now)
        # CONNACK may bring a keep-alive that is shorter than the wait for it.
        return min(left, _SOON) if self.state == _CONNECTING else left

    def receive(self, data: memoryview, now: int):
        """As Session's, but for a fault of the server: it is told why first. ``take`` raises it."""
        if self.fault:
            return None
        try:
            return _Base.receive(self, data, now)
        except (ProtocolError, ConnectionLost) as e:
            code = 0x97  # no room for its messages
            if isinstance(e, ProtocolError):
                # With a second argument: longer than what it was told.
                code = 0x95 if len(e.args) > 1 else getattr(e, "code", 0x82)
            elif isinstance(e, Disconnected):
                raise
            if self.state == _CLOSED:
                raise  # it has had its DISCONNECT [MQTT-3.14.4-2]
            self.fault = e
            self.state = _CLOSING
            self.asked = now  # so no PINGREQ follows either
            for m in self.held:
                m.fresh = False  # nothing is answered behind DISCONNECT [MQTT-3.14.4-2]
            self.control = disconnect(code)
            self.on_output()

    def take(self, now: int) -> memoryview | None:
        """As Session's. Raises what ended the connection, when the server was told."""
        if self.fault and self.state:
            data = self.control
            self.control = b""
            if not data:
                raise self.fault
            return memoryview(data)
        data = _Base.take(self, now)
        if data and self.state == _CLOSED:
            return memoryview(self.bye)
        return data

    # --- inside

    def _allowed(self, qos, retain, size):
        server = self.server
        code = 0
        if qos > server.get("maximum_qos", 2):
            code = 0x9B
        elif retain and not server.get("retain_available", 1):
            code = 0x9A
        elif size > server.get("maximum_packet_size", size):
            code = 0x95
        if code:
            raise Failed(code, {})

    def _offered(self, pairs):
        if 0 in self.server.values():
            from .server import refused  # loaded now: few servers leave anything out

            code = refused(self.server, pairs)
            if code:
                raise Failed(code, {})

    def _expire(self):
        super()._expire()
        if self.unfit and self.state > _CONNECTING:  # before, the server has more to say
            self.unfit = False
            for o in self.outbox[:]:
                # (Who is told may publish, and one of these makes room for that.)
                error = not o.done and self._unfit(o)
                if error:
                    o.error = error  # first: there may be no memory for an attribute
                    self._drop(o, True)
                    if o in self.again:
                        from ..resume import ask
                        from ..trouble import apart

                        # Nobody waits for it, but all take it for subscribed.
                        for pair in apart(self, o.filters, error):
                            ask(self, (pair,), o.tries)
                    else:
                        self._tell(error)

    def _unfit(self, o):
        # Why the server does not take what was published before it said so, or None.
        if o.packet and o.sent < 0:
            first = o.packet[0] if o.expect < _SUBACK else 0
            try:
                self._allowed(first >> 1 & 3, first & 1, length(o.packet))
                if o.expect == _SUBACK:
                    self._offered(o.filters)
            except Failed as e:
                return e

    def _wire(self, o):
        packet = o.packet
        if not packet or packet[0] >> 4 != _PUBLISH or not (self.alias_limit or self.aging):
            return _Base._wire(self, o)
        n, at = varint(packet, 1)
        end = at + n
        n = at + 2 + (packet[at] << 8 | packet[at + 1])
        name = bytes(packet[at:n])
        pid = packet[n : n + 2] if o.expect else b""
        # A topic gets its alias at its second use: few are used once, and it costs 3 bytes.
        alias = self.aliases.get(name, -1)
        topic = b"\0\0" if alias > 0 else name
        # One that is shorter than its alias gets none.
        most = self.server.get("maximum_packet_size", _FOREVER)
        if alias < 0 and self.alias_limit and len(self.aliases) < _NAMES and len(name) > 5:
            self.aliases[name] = 0
        elif not alias and self.alias_last < self.alias_limit and end + o.size + 5 <= most:
            self.alias_last += 1
            alias = self.aliases[name] = self.alias_last
        left = self.left(o)
        if left is None and alias < 1:
            return packet
        values, at = read_properties(packet[0], packet, n + len(pid))
        if left is not None:
            # A clock that went back must not make it longer. (One of 3.1.1 has none here.)
            values["message_expiry"] = min(max(left, 1), values.get("message_expiry", _FOREVER))
        if alias > 0:
            values["topic_alias"] = alias
        values = topic + pid + encode_properties(_PUBLISH, values)
        try:
            return frame(packet[0], values, memoryview(packet)[at:end])
        except MemoryError:
            if end <= _BURST:
                raise
        # As it was published: the server may keep it for longer, but at each connection it would
        # be the first, and nothing else would go.
        if alias > 0:
            self.aliases[name] = 0
        return memoryview(packet)[:end]

    def _packet(self, first, body):
        kind = first >> 4
        if kind != _PUBLISH and first & 15 != (2 if kind == _PUBREL else 0):
            raise ProtocolError5(first, 0x81)
        if self.state == _CONNECTING and kind not in (_CONNACK, _AUTH):
            raise ProtocolError5(first, 0x82)
        if kind == _PUBLISH:
            self._publish(first, body)
        elif kind == _AUTH:
            code, properties = read_auth(body)
            if not self.auth or properties.get("auth_method") != self.properties.get("auth_method"):
                raise ProtocolError5(first, 0x82)
            if self.state == _CONNECTING and not code:
                raise ProtocolError5(first, 0x82)  # [MQTT-4.12.0-2]
            data = self.auth(properties.get("auth_data", b""))
            if code:
                self._auth(0x18, data)
        elif kind == _DISCONNECT:
            self._refuse(*read_disconnect(body))
        elif not _PUBLISH < kind < 12 or kind == 8 or kind == 10:
            _Base._packet(self, first, body)
        elif kind < _SUBACK:
            # (An attribute of the class is looked for only where there is a code.)
            known = self.known if len(body) > 2 and not self.suspects else 0
            pid, code, properties = read_ack(first, body, known)
            self._acknowledged(first, pid, code, properties)
        else:
            pid, codes, properties = read_suback(first, body, 0 if self.suspects else self.known)
            codes = Codes(codes)
            codes.properties = properties
            self._acknowledged(first, pid, codes, properties)

    def _acknowledged(self, first, pid, codes, properties):
        kind = first >> 4
        if properties and not self.properties.get("request_problem_information", 1):
            raise ProtocolError5(first, 0x82)  # [MQTT-3.1.2-29]
        self.redirects = 0  # it does something for us
        o = self.pids.get(pid)
        body = b""
        if (
            o
            and o.sent > _NEVER
            and kind != _PUBREL
            and (kind == o.expect or max(kind, o.expect) < _SUBACK)
        ):
            if kind == _PUBREC and codes == 0x91 and o.packet and o.packet[0] & 8:
                codes = 0  # "in use": EMQX says so of what it has, and gets again with DUP
            # PUBCOMP has nothing to say where PUBREC had.
            o.codes = codes or o.codes or 0
            o.properties = properties or getattr(o, "properties", None) or {}
            if kind < _PUBREL and codes > 127 and (kind == _PUBREC or o.expect < _PUBREL):
                # Refused: the exchange ends here, and its identifier is free [MQTT-4.3.3-4].
                error = Failed(codes, properties)
                o.error = o.error  # all that takes memory: done without it, it would be delivered
                self._drop(o, True)
                o.error = error
                self._tell(error)  # perhaps nobody waits for it
                return
            if kind == _UNSUBACK:
                self._unsuback(o, codes)
            elif kind == _SUBACK:
                body = b"\0\0" + bytes(codes)
        elif not o and kind == _PUBREC and codes > 127:
            return  # of what this client forgot at a restart: there is nothing to release
        self._reply(first, pid, o, body)

    def _suback(self, o, codes):
        if len(codes) != len(o.filters):
            o.error = ProtocolError5(0x90, 0x82)
            return
        granted(self, o, o.codes, Failed(o.codes, o.properties))

    def _unsuback(self, o, codes):
        if len(codes) != len(o.filters):
            o.error = ProtocolError5(0xB0, 0x82)
            o.filters = ()
            return
        gone = []
        for name, code in zip(o.filters, codes):
            if code > 127:
                o.error = Failed(codes, o.properties)
            else:
                gone.append(name)
        o.filters = gone

    def _auth(self, code, data):
        method = self.properties["auth_method"]
        self.control += auth(code, {"auth_method": method, "auth_data": data})
        self.on_output()

    def _connack(self, body):
        if body == b"\0\1":
            body = b"\0\x84\0"  # as a server of 3.1.1 says it
        present, code, properties = read_connack(body)
        if code:
            self.owed = self.unsure  # it has made no session of this CONNECT
            self._refuse(code, properties)
        if properties.get("auth_method") != self.properties.get("auth_method"):
            raise ProtocolError5(0x20, 0x82)  # [MQTT-4.12.0-5, 4.12.0-6]
        if self.auth:
            self.auth(properties.get("auth_data", b""))  # the server's proof
        self._heed(properties)
        kept = {}
        for name in properties:
            if name in _KEPT:
                kept[name] = properties[name]
        self.memory = encode_properties(_CONNACK, kept)
        self.alias_limit = properties.get("topic_alias_maximum", 0)
        self.expiry = properties.get("session_expiry", self.properties.get("session_expiry", 0))
        client_id, keepalive, will = self.greeting
        if not client_id:
            client_id = properties.get("assigned_client_id", "")
            self.greeting = client_id, keepalive, will
        super()._connack(bytes((present, 0)))
        if self.expiry:
            self.clean = False  # from now on: the session began at this connection
        if self.again:
            self._expire()  # now: a store notes at CONNACK what is subscribed

    def _heed(self, properties):
        self.server = properties
        self.unfit = self.aging = True
        self.window = min(self.most, properties.get("receive_maximum", self.most))
        self.keepalive = properties.get("server_keepalive", self.greeting[1]) * 875

    def _refuse(self, code, properties):
        moved = False
        if code in _ANOTHER and self.redirect:
            from .server import move  # loaded now: few are moved

            moved = move(self, properties.get("server_reference", ""))
        if code and code not in _RETRY and not moved:
            raise Failed(code, properties)
        e = Disconnected(code, properties)
        e.again = moved
        raise e

    def _publish(self, first, body):
        m = Message5()
        n = len(body)  # which may become the payload
        try:
            topic, m.payload, _, pid, m.kept = read_publish(first, body, False)
        except ProtocolError as e:
            from ..trouble import malformed

            pid = malformed(self, m, first, body, e)
            topic = m.topic
            m.kept = {}
        if "topic_alias" in m.kept:
            alias = m.kept.pop("topic_alias")
            if alias > self.properties.get("topic_alias_maximum", 0):
                raise ProtocolError5(first, 0x94)
            if topic:
                self.names[alias] = topic
            elif alias in self.names:
                topic = self.names[alias]
            else:
                raise ProtocolError5(first, 0x82)
        m.topic = topic
        m.size = n - len(m.payload)
        self._arrived(m, first, pid)

    def _arrived(self, m, first, pid):
        if pid:
            self.unanswered += 1
            if self.unanswered > self.properties["receive_maximum"]:
                # Not for ever: mosquitto repeats all that it had in flight, though that was more
                # with an earlier client of this session (3.1.1, or another maximum).
                e = ProtocolError5(first, 0x93)
                self.malformed += 1
                if self.malformed < _BAD:
                    raise e
                self._tell(e)
        _Base._arrived(self, m, first, pid)

    def _answer(self, first, pid):
        # As the server counts (section 4.9): also what it repeated of an earlier connection.
        self.unanswered -= first in b"\x40\x70"
        _Base._answer(self, first, pid)

"""Checks of packet5.py and reason.py that run on every runtime, with no test library.

See core_checks.py, whose way this is. Bytes, and the tables of properties and reason codes, are
written out by hand from the standard, MQTT 5.0.
"""

import core_checks
import dormouse.mqtt5.packet as packet5
import dormouse.reason as reason
from core_checks import h, raises, same
from dormouse.packet import ProtocolError, Will

MALFORMED = 0x81
FORBIDDEN = 0x82

ACKS = "PUBACK PUBREC PUBREL PUBCOMP"
EVERY = "CONNECT CONNACK will PUBLISH SUBSCRIBE SUBACK UNSUBSCRIBE UNSUBACK DISCONNECT AUTH " + ACKS
REASONS = "CONNACK SUBACK UNSUBACK DISCONNECT AUTH " + ACKS

# Table 2-4: identifier, name, a value, its bytes, and where it goes.
PROPERTIES = (
    (0x01, "payload_format", 1, "01", "PUBLISH will"),
    (0x02, "message_expiry", 0xFFFFFFFE, "ff ff ff fe", "PUBLISH will"),
    (0x03, "content_type", "text", "0004'text'", "PUBLISH will"),
    (0x08, "response_topic", "a/b", "0003'a/b'", "PUBLISH will"),
    (0x09, "correlation_data", b"\x00\xff", "0002 00 ff", "PUBLISH will"),
    (0x0B, "subscription_id", 300, "ac 02", "PUBLISH SUBSCRIBE"),
    (0x11, "session_expiry", 0xFFFFFFFF, "ffff ffff", "CONNECT CONNACK DISCONNECT"),
    (0x12, "assigned_client_id", "id", "0002'id'", "CONNACK"),
    (0x13, "server_keepalive", 0, "0000", "CONNACK"),
    (0x15, "auth_method", "m", "0001'm'", "CONNECT CONNACK AUTH"),
    (0x16, "auth_data", b"\x80", "0001 80", "CONNECT CONNACK AUTH"),
    (0x17, "request_problem_information", 0, "00", "CONNECT"),
    (0x18, "will_delay", 0x01020304, "0102 0304", "will"),
    (0x19, "request_response_information", 1, "01", "CONNECT"),
    (0x1A, "response_information", "r", "0001'r'", "CONNACK"),
    (0x1C, "server_reference", "s", "0001's'", "CONNACK DISCONNECT"),
    (0x1F, "reason_string", "why", "0003'why'", REASONS),
    (0x21, "receive_maximum", 65535, "ffff", "CONNECT CONNACK"),
    (0x22, "topic_alias_maximum", 0, "0000", "CONNECT CONNACK"),
    (0x23, "topic_alias", 258, "0102", "PUBLISH"),
    (0x24, "maximum_qos", 0, "00", "CONNACK"),
    (0x25, "retain_available", 1, "01", "CONNACK"),
    (0x26, "user_properties", [("k", "v")], "0001'k' 0001'v'", EVERY),
    (0x27, "maximum_packet_size", 1, "0000 0001", "CONNECT CONNACK"),
    (0x28, "wildcard_available", 0, "00", "CONNACK"),
    (0x29, "subscription_id_available", 0, "00", "CONNACK"),
    (0x2A, "shared_available", 1, "01", "CONNACK"),
)
NOT_FROM_CLIENT = (("PUBLISH", "subscription_id"), ("DISCONNECT", "server_reference"))
NOT_FROM_SERVER = (("DISCONNECT", "session_expiry"),)
POSITIVE = ("subscription_id", "receive_maximum", "topic_alias", "maximum_packet_size")
FLAGS = (
    "payload_format",
    "request_problem_information",
    "request_response_information",
    "maximum_qos",
    "retain_available",
    "wildcard_available",
    "subscription_id_available",
    "shared_available",
)


def ack_sender(first):
    return lambda p: packet5.ack(first, 9, 0x80 if first < 0x60 else 0x92, p)


# What a client sends: the bytes before and after the properties, and what makes the packet of them.
SENT = {
    "CONNECT": (
        "0004'MQTT' 05 02 0000",
        "0001'c'",
        lambda p: packet5.connect("c", True, 0, None, None, None, p),
    ),
    "will": (
        "0004'MQTT' 05 06 0000 00 0001'c'",
        "0001'w' 0000",
        lambda p: packet5.connect("c", True, 0, Will("w"), None, None, None, p),
    ),
    "PUBLISH": (
        "0001't' 0009",
        "'x'",
        lambda p: packet5.publish("t", b"x", 1, False, 9, packet5.encode_properties(3, p)),
    ),
    "PUBACK": ("0009 80", "", ack_sender(0x40)),
    "PUBREC": ("0009 80", "", ack_sender(0x50)),
    "PUBREL": ("0009 92", "", ack_sender(0x62)),
    "PUBCOMP": ("0009 92", "", ack_sender(0x70)),
    "SUBSCRIBE": ("0009", "0001'f' 01", lambda p: packet5.request(0x82, 9, [("f", 1)], p)),
    "UNSUBSCRIBE": ("0009", "0001'f'", lambda p: packet5.request(0xA2, 9, ["f"], p)),
    "DISCONNECT": ("04", "", lambda p: packet5.disconnect(4, p)),
    "AUTH": ("18", "", lambda p: packet5.auth(0x18, p)),
}
TYPES = {"CONNECT": 1, "will": 0, "PUBLISH": 3, "PUBACK": 4, "PUBREC": 5, "PUBREL": 6}
TYPES.update({"PUBCOMP": 7, "SUBSCRIBE": 8, "UNSUBSCRIBE": 10, "DISCONNECT": 14, "AUTH": 15})
# What it receives: first byte, the bytes before and after the properties, and what reads it; the
# properties are the last of what that returns.
RECEIVED = {
    "CONNACK": (0x20, "00 00", "", lambda first, body: packet5.read_connack(body)),
    "PUBLISH": (0x32, "0001't' 0009", "'x'", packet5.read_publish),
    "PUBACK": (0x40, "0009 10", "", packet5.read_ack),
    "PUBREC": (0x50, "0009 00", "", packet5.read_ack),
    "PUBREL": (0x62, "0009 92", "", packet5.read_ack),
    "PUBCOMP": (0x70, "0009 92", "", packet5.read_ack),
    "SUBACK": (0x90, "0009", "01 80", packet5.read_suback),
    "UNSUBACK": (0xB0, "0009", "11", packet5.read_suback),
    "DISCONNECT": (0xE0, "8e", "", lambda first, body: packet5.read_disconnect(body)),
    "AUTH": (0xF0, "18", "", lambda first, body: packet5.read_auth(body)),
}
METHOD = "15 0001'm'"  # an AUTH must have it


def body_of(packet):
    """Cut off the fixed header, whose remaining length must be true."""
    n = packet[1]
    at = 2
    if n > 127:
        n = n & 127 | packet[2] << 7
        at = 3
    same(len(packet), at + n)
    return bytes(packet[at:])


def receive(name, properties, extra=b""):
    """Read a packet with these property bytes; ``extra`` behind all."""
    first, before, after, read = RECEIVED[name]
    assert len(properties) < 128
    body = h(before) + bytes((len(properties),)) + properties + h(after) + extra
    return read(first, memoryview(body))


def refuses(code, name, properties):
    error = raises(packet5.ProtocolError5, receive, name, properties)
    same((name, properties, error.code), (name, properties, code))
    same(error.args, (RECEIVED[name][0],))
    assert isinstance(error, ProtocolError)


# mqtt5: MQTT-3.3.4-6
def check_every_property_sent():
    for name in SENT:
        before, after, make = SENT[name]
        for key, word, value, text, where in PROPERTIES:
            good = name in where.split() and (name, word) not in NOT_FROM_CLIENT
            values = {word: value}
            coded = bytes((key,)) + h(text)
            if word != "auth_method" and (name == "AUTH" or word == "auth_data"):
                if not good and name != "AUTH":
                    same(raises(ValueError, make, values).args[0] in (word, "auth_method"), True)
                values["auth_method"] = "m"
                coded += h(METHOD)
            if not good:
                assert raises(ValueError, make, values).args[0] in (word, "auth_method"), word
                continue
            got = body_of(make(values))
            head = h(before) + bytes((len(coded),))
            same((word, got[: len(head)]), (word, head))
            # The order is the dict's, which on MicroPython is its own.
            orders = (coded, h(METHOD) + bytes((key,)) + h(text))
            assert got[len(head) :] in [order + h(after) for order in orders], (name, word, got)
            # None is left out; so is the property length where it may be.
            values[word] = None
            if name != "AUTH":
                plain = body_of(make(None))
                same(body_of(make(values if word != "auth_data" else {word: None})), plain)
                same(body_of(make({})), plain)
        raises(ValueError, make, {"payload_formats": 1})


# mqtt5: MQTT-3.3.4-3 MQTT-3.3.4-4 MQTT-3.14.2-2
def check_every_property_received():
    for name in RECEIVED:
        for key, word, value, text, where in PROPERTIES:
            coded = bytes((key,)) + h(text)
            base = h(METHOD) if name == "AUTH" and word != "auth_method" else b""
            if name not in where.split():
                refuses(MALFORMED, name, base + coded)
                continue
            if (name, word) in NOT_FROM_SERVER:
                refuses(FORBIDDEN, name, base + coded)
                continue
            many = word == "user_properties" or word == "subscription_id"
            expected = {"auth_method": "m"} if base else {}
            expected[word] = [value] if word == "subscription_id" else value
            got = receive(name, base + coded)[-1]
            same((name, got), (name, expected))
            same(type(got[word]), type(expected[word]))
            if many:
                expected[word] = expected[word] * 3
                same(receive(name, coded + base + coded + coded)[-1], expected)
            else:
                refuses(FORBIDDEN, name, base + coded + coded)
            for end in range(len(base) + 1, len(base) + len(coded)):
                refuses(MALFORMED, name, (base + coded)[:end])


# mqtt5: MQTT-1.5.5-1
def check_identifiers_that_are_none():
    known = [row[0] for row in PROPERTIES]
    same(len(known), 27)
    for name in RECEIVED:
        for key in range(256):
            if key not in known:
                coded = bytes((key,)) if key < 128 else bytes((key & 127 | 128, key >> 7))
                refuses(MALFORMED, name, coded)
                refuses(MALFORMED, name, coded + h("0000 0000"))
        for key in known:
            refuses(MALFORMED, name, bytes((key | 128, 0)) + h("0000 0000"))  # [MQTT-1.5.5-1]
    for word in (
        "payload_format message_expiry",
        "payload_format \x02message_expiry",
        "\x23topic_alias",
        "",
        " ",
        "x",
        "alias",
        "expiry",
        "_id",
        "topic_alias ",
        5,
        None,
    ):
        for kind in range(16):
            raises((ValueError, TypeError), packet5.encode_properties, kind, {word: 1})


# mqtt5: MQTT-1.5.4-1 MQTT-1.5.4-2 MQTT-1.5.4-3 MQTT-3.3.2-8 MQTT-3.3.2-13 MQTT-3.3.2-19
def check_values_out_of_range():
    limits = {1: 1, 2: 65535, 4: 0xFFFFFFFF}
    for key, word, value, text, where in PROPERTIES:
        up = [n for n in where.split() if n in SENT and (n, word) not in NOT_FROM_CLIENT]
        down = [n for n in where.split() if n in RECEIVED and (n, word) not in NOT_FROM_SERVER]
        size = len(h(text))
        low = 1 if word in POSITIVE else 0
        if isinstance(value, int):
            top = 268435455 if word == "subscription_id" else limits[size]
            for name in up:
                kind = TYPES[name]
                for good in (low, top, True):
                    packet5.encode_properties(kind, {word: good})
                for bad in (low - 1, top + 1, -5):
                    same(
                        raises(ValueError, packet5.encode_properties, kind, {word: bad}).args,
                        (word, bad),
                    )
                for bad in ("1", 1.5, b"\x01", [1]):
                    error = raises(TypeError, packet5.encode_properties, kind, {word: bad})
                    same(error.args, (word, bad))
            for name in down:
                for good in (low, top) if word != "subscription_id" else ():
                    got = receive(name, bytes((key,)) + good.to_bytes(size, "big"))[-1]
                    same(got, {word: good})
                if low:
                    zero = b"\x00" if word == "subscription_id" else bytes(size)
                    refuses(FORBIDDEN, name, bytes((key,)) + zero)
                if word in FLAGS:
                    for n in range(2, 256):
                        refuses(FORBIDDEN, name, bytes((key, n)))
        elif isinstance(value, str):
            for name in up:
                kind = TYPES[name]
                for bad in ("a\x00b", "x" * 65536):
                    same(
                        raises(ValueError, packet5.encode_properties, kind, {word: bad}).args,
                        (word, bad),
                    )
                for bad in (5, b"text", ["a"]):
                    raises(TypeError, packet5.encode_properties, kind, {word: bad})
            for name in down:
                for bad in ("0001 00", "0002 c080", "0003 eda080", "0001 ff", "0002 c3 28"):
                    refuses(MALFORMED, name, bytes((key,)) + h(bad))
                # [MQTT-1.5.4-3]: U+FEFF is a character like any other
                base = h(METHOD) if name == "AUTH" and word != "auth_method" else b""
                got = receive(name, base + bytes((key,)) + h("0004 efbbbf'a'"))[-1][word]
                same(got, "\ufeffa")
        elif isinstance(value, bytes):
            for name in up:
                values = {word: b"x" * 65536, "auth_method": "m"}
                if word != "auth_data":
                    values = {word: values[word]}
                same(
                    raises(ValueError, packet5.encode_properties, TYPES[name], values).args[0], word
                )
                values[word] = 5
                raises(TypeError, packet5.encode_properties, TYPES[name], values)


# mqtt5: MQTT-1.5.7-1
def check_user_properties():
    encode = packet5.encode_properties
    pairs = [("b", "2"), ("a", ""), ("b", "2"), ("", "\u20ac")]
    coded = h("26 0001'b' 0001'2' 26 0001'a' 0000 26 0001'b' 0001'2' 26 0000 0003 e282ac")
    same(encode(3, {"user_properties": pairs}), bytes((len(coded),)) + coded)
    same(receive("PUBLISH", coded)[-1], {"user_properties": pairs})
    same(encode(3, {"user_properties": []}), b"\x00")
    for bad in (["ab"], {"ab": "c"}, "ab", [("a", 1)], 5, [5]):
        error = raises(TypeError, encode, 3, {"user_properties": bad})
        same(error.args[0], "user_properties")
    for bad in ([("a",)], [("a", "b", "c")], [("a", "\x00")], [("\x00", "a")]):
        raises(ValueError, encode, 3, {"user_properties": bad})
    for bad in ("26 0001 00 0000", "26 0000 0001 00", "26 0000 0001 c0"):
        refuses(MALFORMED, "PUBLISH", h(bad))
    # As a whole: longer than one byte of length tells.
    many = encode(3, {"user_properties": [("k", "v" * 120)] * 2})
    same(many[:2], b"\xfc\x01")
    same(len(many), 2 + 252)


def check_user_properties_are_bounded():
    # Each takes some ten times its bytes of heap, and an answer has no part in what it does.
    for name in RECEIVED:
        more = h(METHOD if name == "AUTH" else "")
        for n in (15, 16, 17, 20):
            pairs = receive(name, more + h("26 0000 0000") * n)[-1]["user_properties"]
            same(len(pairs), n if name == "PUBLISH" else min(n, 16))
        refuses(MALFORMED, name, more + h("26 0000 0000") * 20 + h("26 0000 0001 00"))
    pairs = receive("PUBACK", h("26 0000 0001'a'") + h("26 0000 0001'b'") * 16)[-1]
    same(pairs["user_properties"], [("", "a")] + [("", "b")] * 15)
    # What follows them is read.
    values = receive("CONNACK", h("26 0000 0000") * 20 + h("24 01"))[-1]
    same((len(values["user_properties"]), values["maximum_qos"]), (16, 1))


# mqtt5: MQTT-3.3.2-14
def check_topics_in_properties():
    for bad in ("", "a/#", "+", "a+b"):
        for kind in (0, 3):
            error = raises(ValueError, packet5.encode_properties, kind, {"response_topic": bad})
            same(error.args, ("response_topic", bad))
        coded = b"\x08" + bytes((0, len(bad))) + bad.encode()
        refuses(FORBIDDEN, "PUBLISH", coded)


# mqtt5: MQTT-1.5.5-1
def check_variable_length():
    """Section 1.5.5, table 1-1: the borders; never longer than it must be, four bytes at most."""
    for value, text in (
        (1, "01"),
        (127, "7f"),
        (128, "80 01"),
        (16383, "ff 7f"),
        (16384, "80 80 01"),
        (2097151, "ff ff 7f"),
        (2097152, "80 80 80 01"),
        (268435455, "ff ff ff 7f"),
    ):
        coded = b"\x0b" + h(text)
        sent = packet5.encode_properties(8, {"subscription_id": value})
        same(sent, bytes((len(coded),)) + coded)
        same(receive("PUBLISH", coded)[-1], {"subscription_id": [value]})
    for bad in ("0b 80 00", "0b ff 80 00", "0b ffff ff80 01", "0b ffff ffff", "0b 80", "0b"):
        refuses(MALFORMED, "PUBLISH", h(bad))
    for bad in ("80 00", "80 80 80 80 00", "ff ff ff 7f", "ff", "", "05 02 0000 00"):
        error = raises(packet5.ProtocolError5, packet5.read_properties, 0x30, h(bad), 0)
        same(error.code, MALFORMED)
    same(packet5.read_properties(0x30, h("'x' 03 23 0001 'y'"), 1), ({"topic_alias": 1}, 5))


def check_no_method():
    for make in (SENT["CONNECT"][2], SENT["AUTH"][2]):
        for method in ({}, {"auth_method": None}):
            values = {"auth_data": b"x"}
            values.update(method)
            assert "auth_method" in raises(ValueError, make, values).args
    raises(ValueError, packet5.auth, 0x18, None)
    raises(ValueError, packet5.auth, 0x18, {})
    raises(ValueError, packet5.auth, 0x18, {"reason_string": "x"})
    refuses(FORBIDDEN, "AUTH", b"")
    refuses(FORBIDDEN, "AUTH", h("16 0001'x'"))


# mqtt5: MQTT-2.2.2-1 MQTT-3.1.2-1 MQTT-3.1.2-3 MQTT-3.1.2-9 MQTT-3.1.2-11 MQTT-3.1.2-13
# mqtt5: MQTT-3.1.2-16 MQTT-3.1.2-17 MQTT-3.1.2-18 MQTT-3.1.2-19 MQTT-3.1.3-1 MQTT-3.1.3-3
# mqtt5: MQTT-3.1.3-4 MQTT-3.1.3-12
def check_connect():
    connect = packet5.connect
    same(connect("", False, 60, None, None, None), h("10 0d 0004'MQTT' 05 00 003c 00 0000"))
    same(connect("", True, 0, None, None, b"p")[9:], h("42 0000 00 0000 0001'p'"))
    will = Will("w", b"off", qos=1, retain=True)
    same(
        connect("id", False, 10, will, "u", b"\x00p", {"receive_maximum": 5}, {"will_delay": 9}),
        h("10 27 0004'MQTT' 05 ec 000a 03 21 0005 0002'id' 05 18 00000009")
        + h("0001'w' 0003'off' 0001'u' 0002 00'p'"),
    )
    same(connect("c", True, 1, Will("w"), None, None)[9:], h("06 0001 00 0001'c' 00 0001'w' 0000"))
    raises(ValueError, connect, "c", True, 0, None, None, None, None, {"will_delay": 1})
    raises(ValueError, connect, "c", True, 65536, None, None, None)
    raises(ValueError, connect, "c\x00", True, 0, None, None, None)
    raises(ValueError, connect, "c", True, 0, None, "\x00", None)
    raises(TypeError, connect, 5, True, 0, None, None, None)
    raises(TypeError, connect, "c", True, 0, None, None, 5)


# mqtt5: MQTT-2.2.1-2 MQTT-2.2.2-1 MQTT-3.3.1-2 MQTT-3.3.1-4 MQTT-3.3.2-1 MQTT-3.3.2-2 MQTT-4.7.0-1
def check_publish():
    publish = packet5.publish
    none = b"\x00"
    same(publish("a/b", b"hi", 0, False, 0, none), h("30 08 0003'a/b' 00 'hi'"))
    same(publish("a", b"", 1, True, 1, none), h("33 06 0001'a' 0001 00"))
    alias = packet5.encode_properties(3, {"topic_alias": 7})
    same(publish("a", "\xe9", 2, False, 65535, alias), h("34 0b 0001'a' ffff 03 23 0007 c3a9"))
    same(publish("", b"", 0, False, 0, alias), h("30 06 0000 03 23 0007"))
    same(publish("", memoryview(b"x"), 1, False, 2, alias), h("32 09 0000 0002 03 23 0007 'x'"))
    raises(ValueError, publish, "", b"", 0, False, 0, none)
    text = packet5.encode_properties(3, {"content_type": "#"})
    raises(ValueError, publish, "", b"", 0, False, 0, text)
    for topic in ("a/#", "+", "a\x00"):
        raises(ValueError, publish, topic, b"", 0, False, 0, alias)
    for topic in ("a", ""):
        raises(ValueError, publish, topic, b"", 3, False, 1, alias)
        raises(ValueError, publish, topic, b"", -1, False, 1, alias)
        raises(ValueError, publish, topic, b"", 1, False, 65536, alias)
        raises(TypeError, publish, topic, 5, 0, False, 0, alias)
    for topic in (None, 5, b"a", 0):
        raises(TypeError, publish, topic, b"", 0, False, 0, alias)


# mqtt5: MQTT-2.1.3-1 MQTT-3.8.1-1 MQTT-3.8.3-2 MQTT-3.8.3-3 MQTT-3.8.3-4 MQTT-3.8.3-5 MQTT-3.10.1-1
# mqtt5: MQTT-3.10.3-2 MQTT-4.7.1-1 MQTT-4.7.1-2 MQTT-4.8.2-1 MQTT-4.8.2-2
def check_request():
    request = packet5.request
    filters = [("a/+", 1), ("#", 2 | 4 | 8 | 2 << 4), ("$share/g//x/#", 8 | 1 << 4)]
    same(
        request(0x82, 5, filters, {"subscription_id": 1}),
        h("82 1f 0005 02 0b 01 0003'a/+' 01 0001'#' 2e 000d'$share/g//x/#' 18"),
    )
    same(request(0xA2, 5, ["a", "$share/g/#"]), h("a2 12 0005 00 0001'a' 000a'$share/g/#'"))
    same(request(0x82, 1, [("$share", 4), ("$shared/x", 4)])[5:8], h("0006'$'"))
    for options in (3, 0x30, 0x33, 0x40, 0x80, 0xC0, 256, -1, -16):
        raises(ValueError, request, 0x82, 1, [("a", options)])
    for name in ("", "a#", "#/a", "a+/b", "$share/", "$share/g", "$share/g/", "$share//a"):
        raises(ValueError, request, 0x82, 1, [(name, 0)])
        raises(ValueError, request, 0xA2, 1, [name])
    for name in ("$share/+/a", "$share/#", "$share/+", "$share/g+/a", "$share/#/a", "$share/g/a#"):
        raises(ValueError, request, 0x82, 1, [(name, 0)])
        raises(ValueError, request, 0xA2, 1, [name])
    raises(ValueError, request, 0x82, 1, [("$share/g/a", 4)])  # [MQTT-3.8.3-4]
    raises(ValueError, request, 0x82, 1, [])
    raises(ValueError, request, 0xA2, 1, [])
    raises(ValueError, request, 0x82, 65536, [("a", 0)])
    raises(TypeError, request, 0x82, 1, [(5, 0)])
    raises(ValueError, request, 0xA2, 1, ["a"], {"subscription_id": 1})


# mqtt5: MQTT-2.1.3-1 MQTT-3.6.1-1 MQTT-3.14.1-1 MQTT-3.15.1-1
def check_short_forms_sent():
    same(packet5.ack(0x40, 1), h("40 02 0001"))
    same(packet5.ack(0x50, 1, 0x10), h("50 03 0001 10"))
    same(packet5.ack(0x62, 258, 0, {}), h("62 02 0102"))
    same(packet5.ack(0x70, 1, 0x92, {"reason_string": None}), h("70 03 0001 92"))
    same(packet5.ack(0x40, 1, 0, {"reason_string": "a"}), h("40 08 0001 00 04 1f 0001'a'"))
    same(packet5.disconnect(), h("e0 00"))
    same(packet5.disconnect(4), h("e0 01 04"))
    same(packet5.disconnect(0, {"session_expiry": 5}), h("e0 07 00 05 11 00000005"))
    same(packet5.auth(0x19, {"auth_method": "m"}), h("f0 06 19 04 15 0001'm'"))


PUBLISHED = "00 10 80 83 87 90 91 97 99"
FROM_EITHER = "00 80 81 82 83 90 93 94 95 96 97 98 99"
# Reason codes: tables 3-1 and 3-4 to 3-10; 8c in DISCONNECT: table 2-6.
CODES_RECEIVED = {
    "CONNACK": "00 80 81 82 83 84 85 86 87 88 89 8a 8c 90 95 97 99 9a 9b 9c 9d 9f",
    "PUBACK": PUBLISHED,
    "PUBREC": PUBLISHED,
    "PUBREL": "00 92",
    "PUBCOMP": "00 92",
    "SUBACK": "00 01 02 80 83 87 8f 91 97 9e a1 a2",
    "UNSUBACK": "00 11 80 83 87 8f 91",
    "DISCONNECT": FROM_EITHER + "87 89 8b 8c 8d 8e 8f 9a 9b 9c 9d 9e 9f a0 a1 a2",
    "AUTH": "00 18",
}
CODES_SENT = {
    "PUBACK": PUBLISHED,
    "PUBREC": PUBLISHED,
    "PUBREL": "00 92",
    "PUBCOMP": "00 92",
    "DISCONNECT": FROM_EITHER + "04",
    "AUTH": "18 19",
}
FIRSTS = {"PUBACK": 0x40, "PUBREC": 0x50, "PUBREL": 0x62, "PUBCOMP": 0x70}


def read_code(name, code):
    """Read a packet with that reason code, and return the reason codes in it."""
    first, _, _, read = RECEIVED[name]
    if name == "CONNACK":
        return read(first, bytes((0, code, 0)))[1]
    if name in FIRSTS:
        same(read(first, bytes((0, 9, code, 0)))[1], code)
        return read(first, bytes((0, 9, code)))[1]
    if name in ("SUBACK", "UNSUBACK"):
        got = read(first, bytes((0, 9, 0, 0, code)))[1]
        same(got[0], 0)
        return got[1]
    if name == "AUTH":
        return read(first, bytes((code, 4)) + h(METHOD))[0]
    same(read(first, bytes((code, 0)))[0], code)
    return read(first, bytes((code,)))[0]


# mqtt5: MQTT-3.2.2-8 MQTT-3.4.2-1 MQTT-3.5.2-1 MQTT-3.6.2-1 MQTT-3.7.2-1 MQTT-3.8.4-7 MQTT-3.9.3-2
# mqtt5: MQTT-3.11.3-2 MQTT-3.14.2-1 MQTT-3.15.2-1
def check_reason_codes_received():
    same(len(CODES_RECEIVED) + 1, len(RECEIVED))
    for name in CODES_RECEIVED:
        good = h(CODES_RECEIVED[name])
        for code in range(256):
            if code in good:
                same(read_code(name, code), code)
            else:
                error = raises(packet5.ProtocolError5, read_code, name, code)
                same((name, code, error.code), (name, code, FORBIDDEN))


# mqtt5: MQTT-3.4.2-1 MQTT-3.5.2-1 MQTT-3.6.2-1 MQTT-3.7.2-1 MQTT-3.14.2-1 MQTT-3.15.2-1
def check_reason_codes_sent():
    for name in CODES_SENT:
        good = h(CODES_SENT[name])
        for code in range(-2, 260):
            if name in FIRSTS:
                args = (packet5.ack, FIRSTS[name], 9, code)
            elif name == "AUTH":
                args = (packet5.auth, code, {"auth_method": "m"})
            else:
                args = (packet5.disconnect, code)
            if 0 <= code < 256 and code in good:
                body = body_of(args[0](*args[1:]))
                got = body[2:] if name in FIRSTS else body
                same(got[:1], bytes((code,)) if code else b"")
            else:
                raises(ValueError, *args)


def check_truncation():
    """Every packet cut at every length, and one byte too many, is a typed error or a shorter
    packet by the standard."""
    for name, text, fits in (
        ("CONNACK", "01 00 0c 12 0002'id' 1f 0002'ok' 24 01", ()),
        ("PUBLISH", "0003'a/b' 0001 0a 23 0001 26 0001'k' 0001'v' 'hello'", range(18, 23)),
        ("PUBACK", "0001 10 05 1f 0002'ok'", (2, 3)),
        ("PUBREC", "0001 97 05 1f 0002'ok'", (2, 3)),
        ("PUBREL", "0001 92 05 1f 0002'ok'", (2, 3)),
        ("PUBCOMP", "0001 92 05 1f 0002'ok'", (2, 3)),
        ("SUBACK", "0001 05 1f 0002'ok' 00 01 80", (9, 10)),
        ("UNSUBACK", "0001 05 1f 0002'ok' 00 11 80", (9, 10)),
        ("DISCONNECT", "9d 09 1c 0002'me' 1f 0001'x'", (0, 1)),
        ("AUTH", "18 08 15 0001'm' 16 0001 00", (0,)),
    ):
        first, _, _, read = RECEIVED[name]
        whole = h(text)
        read(first, memoryview(whole))
        for n in range(len(whole)):
            if n in fits:
                read(first, memoryview(whole)[:n])
            else:
                error = raises(packet5.ProtocolError5, read, first, memoryview(whole)[:n])
                assert error.code in (MALFORMED, FORBIDDEN), error.code
                assert name == "AUTH" or error.code == MALFORMED, (name, n)
        if name not in ("PUBLISH", "SUBACK", "UNSUBACK"):
            error = raises(packet5.ProtocolError5, read, first, whole + b"\x00")
            same(error.code, MALFORMED)


# mqtt5: MQTT-2.2.1-3 MQTT-3.2.2-1
def check_read():
    none = {}
    same(packet5.read_connack(h("00 00 00")), (0, 0, none))
    same(packet5.read_connack(h("01 00 03 21 0014")), (1, 0, {"receive_maximum": 20}))
    same(packet5.read_connack(h("00 84 00")), (0, 0x84, none))
    for bad in ("02 00 00", "80 00 00", "ff 00 00"):  # [MQTT-3.2.2-1]
        error = raises(packet5.ProtocolError5, packet5.read_connack, h(bad))
        same((error.args, error.code), ((0x20,), MALFORMED))
    same(packet5.read_ack(0x40, h("ffff")), (65535, 0, none))
    same(packet5.read_ack(0x40, h("0001 10")), (1, 0x10, none))
    same(packet5.read_ack(0x62, h("0001 92 00")), (1, 0x92, none))
    same(packet5.read_suback(0x90, h("0102 00 02 80 00")), (258, [2, 0x80, 0], none))
    same(packet5.read_suback(0xB0, h("0001 00 11")), (1, [0x11], none))
    same(packet5.read_disconnect(b""), (0, none))
    same(packet5.read_disconnect(h("8e")), (0x8E, none))
    same(packet5.read_disconnect(h("9c 04 1c 0001's'")), (0x9C, {"server_reference": "s"}))
    same(packet5.read_auth(b""), (0, none))
    same(packet5.read_auth(h("18 04 15 0001'm'")), (0x18, {"auth_method": "m"}))
    for first, read in ((0x40, packet5.read_ack), (0x90, packet5.read_suback)):
        error = raises(packet5.ProtocolError5, read, first, h("0000 00 00"))  # [MQTT-2.2.1-3]
        same(error.code, FORBIDDEN)


# mqtt5: MQTT-1.5.4-1 MQTT-2.2.1-3 MQTT-3.3.1-2 MQTT-3.3.1-4 MQTT-3.3.2-1 MQTT-3.3.2-2 MQTT-4.7.0-1
# mqtt5: MQTT-4.7.3-1
def check_read_publish():
    read = packet5.read_publish
    same(read(0x30, h("0001'a' 00 'hi'")), ("a", b"hi", 0, 0, {}))
    same(type(read(0x30, memoryview(h("0001'a' 00 'hi'")))[1]), bytes)
    same(read(0x3B, h("0001'a' 0007 00")), ("a", b"", 1, 7, {}))
    same(read(0x35, h("0000 ffff 03 23 0009 00")), ("", b"\x00", 2, 65535, {"topic_alias": 9}))
    same(read(0x30, h("0001'a' 02 01 01 ff"))[1], b"\xff")  # what it says of itself is not checked
    for first, text, code in (
        (0x36, "0001'a' 0001 00", MALFORMED),  # QoS 3
        (0x3E, "0001'a' 0001 00", MALFORMED),
        (0x38, "0001'a' 00", MALFORMED),  # DUP at QoS 0
        (0x30, "0001 ff 00", MALFORMED),
        (0x30, "0001 00 00", MALFORMED),
        (0x30, "0000 00", FORBIDDEN),  # no topic, no alias
        (0x30, "0001'#' 00", FORBIDDEN),
        (0x30, "0003'a/+' 03 23 0001", FORBIDDEN),
        (0x32, "0001'a' 0000 00", FORBIDDEN),
    ):
        error = raises(packet5.ProtocolError5, read, first, h(text))
        same((first, text, error.args, error.code), (first, text, (first,), code))


def check_reason_text():
    for code, words in (
        (0, "Success"),
        (1, "Granted QoS 1"),
        (2, "Granted QoS 2"),
        (4, "Disconnect with Will Message"),
        (0x10, "No matching subscribers"),
        (0x11, "No subscription existed"),
        (0x18, "Continue authentication"),
        (0x19, "Re-authenticate"),
        (0x80, "Unspecified error"),
        (0x81, "Malformed Packet"),
        (0x82, "Protocol Error"),
        (0x83, "Implementation specific error"),
        (0x84, "Unsupported Protocol Version"),
        (0x85, "Client Identifier not valid"),
        (0x86, "Bad User Name or Password"),
        (0x87, "Not authorized"),
        (0x88, "Server unavailable"),
        (0x89, "Server busy"),
        (0x8A, "Banned"),
        (0x8B, "Server shutting down"),
        (0x8C, "Bad authentication method"),
        (0x8D, "Keep Alive timeout"),
        (0x8E, "Session taken over"),
        (0x8F, "Topic Filter invalid"),
        (0x90, "Topic Name invalid"),
        (0x91, "Packet Identifier in use"),
        (0x92, "Packet Identifier not found"),
        (0x93, "Receive Maximum exceeded"),
        (0x94, "Topic Alias invalid"),
        (0x95, "Packet too large"),
        (0x96, "Message rate too high"),
        (0x97, "Quota exceeded"),
        (0x98, "Administrative action"),
        (0x99, "Payload format invalid"),
        (0x9A, "Retain not supported"),
        (0x9B, "QoS not supported"),
        (0x9C, "Use another server"),
        (0x9D, "Server moved"),
        (0x9E, "Shared Subscriptions not supported"),
        (0x9F, "Connection rate exceeded"),
        (0xA0, "Maximum connect time"),
        (0xA1, "Subscription Identifiers not supported"),
        (0xA2, "Wildcard Subscriptions not supported"),
    ):
        text = reason.text(code)
        same(text.lower(), words.lower())
        same(text[0], words[0])
        same("QoS" in text, "QoS" in words)
        name = words.upper().replace(" ", "_").replace("-", "_")
        same(getattr(reason, name), code)
    same(reason.NORMAL_DISCONNECTION, 0)
    same(reason.GRANTED_QOS_0, 0)
    for code in (3, 0x7F, 0xA3, 0xFF):
        same(reason.text(code), "Reason code 0x%02x" % code)


CHECKS = sorted(name for name in globals() if name.startswith("check_"))

if __name__ == "__main__":
    core_checks.run(globals(), CHECKS)

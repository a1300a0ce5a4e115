"""The checks of packet5.py on every runtime; its agreement with the harness's own codec."""

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dormouse.mqtt5.packet as packet5
import packet5_checks
import pytest
from core_checks import reader as cutter
from dormouse import packet
from hypothesis import example, given, settings
from hypothesis import strategies as st
from test_core import all_passed
from test_properties import name, payload, pid, qos, text, topic_filter

from tools.testing import runtimes, wire, wire5
from tools.testing.needs import needed

PROGRAM = Path(packet5_checks.__file__)


@pytest.mark.parametrize("check", packet5_checks.CHECKS)
def test_check(check: str) -> None:
    getattr(packet5_checks, check)()


def test_on_runtime(runtime: runtimes.Runtime) -> None:
    with runtime.start(PROGRAM) as device:
        assert device.wait_exit(100) == 0
        all_passed(packet5_checks, "\n".join(device.lines) + "\n")


def test_on_newest_micropython() -> None:
    """MicroPython's newest release, in Node."""
    path = ["--path", str(runtimes.FIRMWARE)]
    command = [*needed(runtimes.get.node_micropython), *path, str(PROGRAM)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr
    all_passed(packet5_checks, done.stdout)


# --- Both codecs agree ----------------------------------------------------------------------------

_bit = st.integers(0, 1)
_u16, _u32 = st.integers(0, 65535), st.integers(0, 0xFFFFFFFF)
_some16, _some32 = st.integers(1, 65535), st.integers(1, 0xFFFFFFFF)
_short = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
_data = st.binary(max_size=20)
_subscription_id = st.integers(1, 268_435_455)

USER = {"user_properties": st.lists(st.tuples(_short, _short), min_size=1, max_size=4)}
REASON = {"reason_string": _short, **USER}
MESSAGE = {
    "payload_format": _bit,
    "message_expiry": _u32,
    "content_type": _short,
    "response_topic": name,
    "correlation_data": _data,
    **USER,
}
LIMITS = {
    "session_expiry": _u32,
    "receive_maximum": _some16,
    "topic_alias_maximum": _u16,
    "maximum_packet_size": _some32,
    "auth_method": _short,
    **USER,
}
CONNECT = {**LIMITS, "request_problem_information": _bit, "request_response_information": _bit}
CONNACK = {
    **LIMITS,
    "auth_data": _data,
    "assigned_client_id": _short,
    "server_keepalive": _u16,
    "response_information": _short,
    "server_reference": _short,
    "reason_string": _short,
    "maximum_qos": _bit,
    "retain_available": _bit,
    "wildcard_available": _bit,
    "subscription_id_available": _bit,
    "shared_available": _bit,
}
AUTH_MORE = {"auth_data": _data, **REASON}


def some(options: dict[str, st.SearchStrategy]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=options)


auth_properties = st.fixed_dictionaries({"auth_method": _short}, optional=AUTH_MORE)


def seen(made: bytearray) -> wire5.Packet:
    """What the harness reads of a packet that the client sends."""
    (found,) = wire5.decode(bytes(made), "up")
    return found


def read(made: bytes, reader: Callable[..., Any]) -> Any:
    """What the firmware reads of a packet that the harness made, through its own reader."""
    got: list[tuple[int, bytes]] = []
    cutter(1 << 20, got).send(memoryview(made))
    ((first, body),) = got
    return reader(first, memoryview(body))


READERS: dict[int, Callable[..., Any]] = {
    wire.CONNACK: lambda first, body: packet5.read_connack(body),
    wire.PUBLISH: packet5.read_publish,
    **dict.fromkeys((wire.PUBACK, wire.PUBREC, wire.PUBREL, wire.PUBCOMP), packet5.read_ack),
    **dict.fromkeys((wire.SUBACK, wire.UNSUBACK), packet5.read_suback),
    wire.DISCONNECT: lambda first, body: packet5.read_disconnect(body),
    wire5.AUTH: lambda first, body: packet5.read_auth(body),
}


@given(
    text,
    st.booleans(),
    _u16,
    some(CONNECT),
    st.none() | st.tuples(name, payload, qos, st.booleans()),
    some({**MESSAGE, "will_delay": _u32}),
    st.none() | text,
    st.none() | payload,
)
def test_connect(
    client_id: str,
    clean: bool,
    keepalive: int,
    properties: dict,
    will: tuple | None,
    will_properties: dict,
    username: str | None,
    password: bytes | None,
) -> None:
    if not will:
        will_properties = {}
    made = packet5.connect(
        client_id,
        clean,
        keepalive,
        will and packet.Will(*will),
        username,
        password,
        properties,
        will_properties,
    )
    found = seen(made)
    assert (found.protocol_name, found.protocol_level) == ("MQTT", 5)
    assert (found.client_id, found.clean_start, found.keep_alive) == (client_id, clean, keepalive)
    assert (found.username, found.password, found.properties) == (username, password, properties)
    assert found.will == (wire5.Will(*will, will_properties) if will else None)
    assert wire5.encode(found) == bytes(made)


@given(name, payload, qos, st.booleans(), pid, some({**MESSAGE, "topic_alias": _some16}))
def test_publish_sent(
    topic: str, body: bytes, q: int, retain: bool, n: int, properties: dict
) -> None:
    coded = packet5.encode_properties(3, properties)
    made = packet5.publish(topic, body, q, retain, n, coded)
    found = seen(made)
    assert (found.topic, found.payload, found.qos, found.retain) == (topic, body, q, retain)
    assert (found.dup, found.packet_id, found.properties) == (False, n if q else None, properties)
    assert wire5.encode(found) == bytes(made)


@given(
    name | st.just(""),
    payload,
    qos,
    st.booleans(),
    pid,
    some({**MESSAGE, "topic_alias": _some16, "subscription_id": st.lists(_subscription_id)}),
)
def test_publish_received(
    topic: str, body: bytes, q: int, dup: bool, n: int, properties: dict
) -> None:
    if not properties.get("subscription_id", True):
        del properties["subscription_id"]
    if not topic:
        properties["topic_alias"] = 1
    made = wire5.publish(
        topic, body, qos=q, packet_id=n if q else None, dup=dup and q > 0, properties=properties
    )
    expected = (topic, body, q, n if q else 0, properties)
    assert read(made, packet5.read_publish) == expected
    assert wire5.decode(made, "down")[0].properties == properties


OPTIONS = st.builds(
    lambda q, low, handling: q | low << 2 | handling << 4,
    qos,
    st.integers(0, 3),
    st.integers(0, 2),
)
share = st.text("ab$ é", min_size=1, max_size=3)
filters = topic_filter | st.builds(
    lambda group, name: f"$share/{group}/{name}", share, topic_filter
)


@given(
    st.lists(st.tuples(filters, OPTIONS), min_size=1, max_size=5),
    pid,
    some({"subscription_id": _subscription_id, **USER}),
)
@example([("$share/+/a", 0)], 1, {})
@example([("$share/a", 0)], 1, {})
@example([("$share/a/b", 4)], 1, {})
def test_requests(pairs: list[tuple[str, int]], n: int, properties: dict) -> None:
    bad = [name for name, o in pairs if not wire5.is_topic_filter(name)]
    if bad or any(o & 4 and name.startswith("$share/") for name, o in pairs):
        with pytest.raises(ValueError):
            packet5.request(0x82, n, pairs, properties)
    else:
        made = packet5.request(0x82, n, pairs, properties)
        found = seen(made)
        assert [(s.topic_filter, s.options) for s in found.subscriptions] == pairs
        assert (found.packet_id, found.properties) == (n, properties)
        assert wire5.encode(found) == bytes(made)
    if not bad:
        properties.pop("subscription_id", None)
        made = packet5.request(0xA2, n, [name for name, _ in pairs], properties)
        found = seen(made)
        assert found.topic_filters == tuple(name for name, _ in pairs)
        assert (found.packet_id, found.properties) == (n, properties)
        assert wire5.encode(found) == bytes(made)


@given(
    _short.map(lambda t: t.replace("a", "/")) | st.text("$share/+#g", max_size=12), st.booleans()
)
@example("$share//a", False)
@example("$share/g/", False)
@example("$share/g", False)
@example("$share/#", True)
@example("$share", True)
def test_same_filters(text: str, sub: bool) -> None:
    """Both codecs take the same strings for topic filters."""
    try:
        packet5.request(0x82 if sub else 0xA2, 1, [(text, 0) if sub else text])
        good = True
    except ValueError:
        good = False
    assert good == wire5.is_topic_filter(text)


ACKS = st.sampled_from([wire.PUBACK, wire.PUBREC, wire.PUBREL, wire.PUBCOMP])


@given(ACKS, pid, st.data())
def test_acks(kind: int, n: int, data: st.DataObject) -> None:
    code = data.draw(st.sampled_from(sorted(wire5.codes(kind))))
    properties = data.draw(some(REASON))
    first = kind << 4 | (2 if kind == wire.PUBREL else 0)
    made = packet5.ack(first, n, code, properties)
    found = seen(made)
    expected = (n, code, properties)
    assert (found.packet_id, found.reason_code, found.properties) == expected
    build = {4: wire5.puback, 5: wire5.pubrec, 6: wire5.pubrel, 7: wire5.pubcomp}[kind]
    # As short as may be: what the harness makes of None.
    assert bytes(made) == build(n, code, properties or None) == wire5.encode(found)
    for form in (properties, properties or None):
        assert read(build(n, code, form), packet5.read_ack) == expected


@given(st.sampled_from([wire.SUBACK, wire.UNSUBACK]), pid, some(REASON), st.data())
def test_suback(kind: int, n: int, properties: dict, data: st.DataObject) -> None:
    listed = st.sampled_from(sorted(wire5.codes(kind)))
    found = data.draw(st.lists(listed, min_size=1, max_size=6))
    build = wire5.suback if kind == wire.SUBACK else wire5.unsuback
    made = build(n, *found, properties=properties)
    assert read(made, packet5.read_suback) == (n, found, properties)
    assert wire5.encode(*wire5.decode(made, "down")) == made


@given(st.booleans(), some(CONNACK), st.data())
def test_connack(present: bool, properties: dict, data: st.DataObject) -> None:
    code = data.draw(st.sampled_from(sorted(wire5.codes(wire.CONNACK))))
    made = wire5.connack(present, code, properties)
    assert read(made, READERS[wire.CONNACK]) == (present, code, properties)
    assert wire5.encode(*wire5.decode(made, "down")) == made


@given(st.data(), some({**REASON, "server_reference": _short}))
def test_disconnect(data: st.DataObject, properties: dict) -> None:
    code = data.draw(st.sampled_from(sorted(wire5.codes(wire.DISCONNECT, "down"))))
    for form in (properties, properties or None):
        made = wire5.disconnect(code, form)
        assert read(made, READERS[wire.DISCONNECT]) == (code, properties)
    code = data.draw(st.sampled_from(sorted(wire5.codes(wire.DISCONNECT, "up"))))
    sent = data.draw(some({**REASON, "session_expiry": _u32}))
    out = packet5.disconnect(code, sent)
    found = seen(out)
    assert (found.reason_code, found.properties) == (code, sent)
    assert bytes(out) == wire5.encode(found)


@given(st.sampled_from([0, 0x18]), st.sampled_from([0x18, 0x19]), auth_properties)
def test_auth(down: int, up: int, properties: dict) -> None:
    assert read(wire5.auth(down, properties), READERS[wire5.AUTH]) == (down, properties)
    out = packet5.auth(up, properties)
    found = seen(out)
    assert (found.reason_code, found.properties) == (up, properties)
    assert bytes(out) == wire5.encode(found)
    assert read(wire5.auth(), READERS[wire5.AUTH]) == (0, {})


def verdict(function: Callable[[], Any]) -> Any:
    """What a codec says of bytes: their meaning, or that they are wrong."""
    try:
        return function()
    except (packet5.ProtocolError5, wire5.WireError5) as error:
        assert error.code in (0x81, 0x82)
        return "refused"


def meaning(first: int, body: bytes) -> tuple:
    """What the harness makes of a packet to a client, in the shape of the firmware's readers."""
    (found,) = wire5.decode(wire.build(first >> 4, first & 15, body), "down")
    properties = found.properties
    if found.type == wire.CONNACK:
        return int(found.session_present), found.reason_code, properties
    if found.type == wire.PUBLISH:
        return found.topic, found.payload, found.qos, found.packet_id or 0, properties
    if found.type in (wire.SUBACK, wire.UNSUBACK):
        return found.packet_id, list(found.reason_codes), properties
    if found.packet_id is not None:
        return found.packet_id, found.reason_code, properties
    return found.reason_code, properties


_odd = st.sampled_from(
    ["a\0", "\0", "", "a/#", "+", "\ufeff", b"\xc0\x80", b"\xed\xa0\x80", b"\xff", "a/b"]
)
_VALUES: dict[str, st.SearchStrategy] = {
    "bool": st.integers(0, 2),
    "u16": st.just(0) | _u16,
    "u32": st.just(0) | _u32,
    "string": _odd | _short,
    "binary": _data,
    "pair": st.lists(st.tuples(_odd | _short, _odd | _short), min_size=1, max_size=2),
}


@st.composite
def some_property(draw: st.DrawFn, kind: int) -> bytes:
    """A property that mostly belongs there, with a value that may be wrong."""
    names = packet5_checks.PROPERTIES
    there = [n for _, n, _, _, where in names if wire5.NAMES[kind] in where.split()]
    word = draw(st.sampled_from(there * 2) | st.sampled_from([row[1] for row in names]))
    if word == "subscription_id":
        return b"\x0b" + draw(st.sampled_from([b"\x01", b"\x00", b"\x81\x00", b"\xff\x7f"]))
    return wire5.encode_property(word, draw(_VALUES[wire5._BY_NAME[word].kind]))


GOOD = {
    wire.CONNACK: CONNACK,
    wire.PUBLISH: {**MESSAGE, "topic_alias": _some16, "subscription_id": _subscription_id},
    wire.DISCONNECT: {**REASON, "server_reference": _short},
    wire5.AUTH: AUTH_MORE,
}


@st.composite
def bodies(draw: st.DrawFn) -> tuple[int, bytes]:
    """A packet to a client with one thing that may be wrong."""
    kind = draw(st.sampled_from(sorted(READERS)))
    fault = draw(st.sampled_from(["property", "property", "property", "code", "length", "bytes"]))
    first = kind << 4 | (2 if kind == wire.PUBREL else 0)
    good = st.sampled_from(sorted(wire5.codes(kind)) or [0])
    code = bytes([draw(good if fault != "code" else st.integers(0, 255))])
    values = draw(some(GOOD.get(kind, REASON)))
    if kind == wire5.AUTH and (fault != "property" or draw(_bit)):
        values["auth_method"] = "m"
    coded = b"".join(wire5.encode_property(*item) for item in values.items())
    if fault == "property":
        coded += draw(some_property(kind) | st.binary(min_size=1, max_size=4))
    coded = wire5.encode_properties(coded)
    if fault == "length":  # longer than it must be, or not true
        low = bytes([coded[0] | 0x80, 0])
        coded = draw(st.sampled_from([low, bytes([coded[0] ^ 1])])) + coded[1:]
    two = draw(pid).to_bytes(2, "big")
    if kind == wire.CONNACK:
        body = bytes([draw(_bit)]) + code + coded
    elif kind == wire.PUBLISH:
        first |= draw(st.integers(0, 5) if fault != "bytes" else st.integers(0, 15))
        topic = draw(name if fault != "bytes" else _odd | _short)
        body = wire.encode_string(topic) + (two if first & 6 else b"") + coded + draw(_data)
    elif kind in (wire.SUBACK, wire.UNSUBACK):
        body = two + coded + code
    elif kind in (wire.DISCONNECT, wire5.AUTH):
        body = code + coded
    else:
        body = two + code + coded
    if fault == "bytes":
        at = draw(st.integers(0, len(body)))
        body = body[:at] + draw(st.binary(max_size=2)) + body[at + draw(st.integers(0, 2)) :]
    return first, body


@settings(max_examples=500)
@given(bodies())
def test_same_verdict(made: tuple[int, bytes]) -> None:
    """On what a broken server might send: the same meaning, or refused by both."""
    first, body = made
    ours = verdict(lambda: READERS[first >> 4](first, memoryview(body)))
    assert ours == verdict(lambda: meaning(first, body))


@given(st.sampled_from(sorted(READERS)), st.binary(max_size=40))
def test_same_verdict_on_garbage(kind: int, body: bytes) -> None:
    first = kind << 4 | (2 if kind == wire.PUBREL else 0)
    ours = verdict(lambda: READERS[kind](first, memoryview(body)))
    assert ours == verdict(lambda: meaning(first, body))


# --- The harness's codec --------------------------------------------------------------------------


def test_harness_tables() -> None:
    """The second opinion's table of properties against the one of the checks."""
    for key, word, value, coded, where in packet5_checks.PROPERTIES:
        made = wire5.encode_property(word, value)
        assert made == bytes([key]) + packet5_checks.h(coded)
        types = {**{n: t for t, n in wire5.NAMES.items()}, "will": wire5.WILL}
        row = wire5._BY_NAME[word]
        assert set(row.packets) == {types[n] for n in where.split()}, word
        assert row.zero == (word not in packet5_checks.POSITIVE)
        assert (row.kind == "bool") == (word in packet5_checks.FLAGS)
    assert len(wire5._BY_NAME) == len(packet5_checks.PROPERTIES)
    for word, found in packet5_checks.CODES_RECEIVED.items():
        assert wire5.codes(types[word], "down") == set(packet5_checks.h(found)), word
    for word, found in packet5_checks.CODES_SENT.items():
        assert wire5.codes(types[word], "up") == set(packet5_checks.h(found)), word


@pytest.mark.parametrize(
    ("data", "way", "code"),
    [
        (wire5.publish("t", properties={"subscription_id": 1}), "up", 0x82),
        (wire5.disconnect(0, {"session_expiry": 1}), "down", 0x82),
        (wire5.disconnect(0x9C, {"server_reference": "s"}), "up", 0x82),
        (wire5.disconnect(4), "down", 0x82),
        (wire5.connack(), "up", 0x82),
        (wire5.pingreq(), "down", 0x82),
        (wire5.connect(properties={"auth_data": b"x"}), "up", 0x82),
        (wire5.connect(properties={"receive_maximum": 0}), "up", 0x82),
        (wire5.connect(will=wire5.Will("a/#", b"")), "up", 0x82),
        (wire5.connect(will=wire5.Will("a", b"", qos=3)), "up", 0x81),
        (wire5.connect(properties={"will_delay": 1}), "up", 0x81),
        (wire5.subscribe(1, ("a", 3)), "up", 0x82),
        (wire5.subscribe(1, wire5.Subscription("a", retain_handling=3)), "up", 0x82),
        (wire5.subscribe(1, wire5.Subscription("a", retain_handling=4)), "up", 0x81),
        (wire5.subscribe(1, wire5.Subscription("$share/g/a", no_local=True)), "up", 0x82),
        (wire5.subscribe(1, ("$share/g", 0)), "up", 0x82),
        (wire5.subscribe(1, ("a", 0), properties={"subscription_id": [1, 2]}), "up", 0x82),
        (wire5.subscribe(1), "up", 0x81),
        (wire5.unsubscribe(1), "up", 0x81),
        (wire5.auth(0x19, {"auth_method": "m"}), "down", 0x82),
        (b"\x60\x02\x00\x01", "up", 0x81),
        (b"\x00\x00", None, 0x81),
        (b"\xc0\x80\x00", "up", 0x81),
        (b"\xd0\x01\x00", "down", 0x81),
        (b"\x30\xff\xff\xff\xff\x01", None, 0x81),
        (wire5.pingreq()[:1], None, 0x81),
    ],
)
def test_harness_refuses(data: bytes, way: wire.Direction | None, code: int) -> None:
    with pytest.raises(wire5.WireError5) as error:
        wire5.decode(data, way)
    assert error.value.code == code


def test_harness_describes() -> None:
    will = wire5.Will("w", b"", properties={"will_delay": 3})
    stream = wire5.connect("c", will=will, username="u", password="p")
    stream += wire5.connack(True, 0, {"maximum_qos": 1})
    stream += wire5.subscribe(7, ("f", 1)) + wire5.suback(7, 1, 0x97) + wire5.unsubscribe(8, "f")
    stream += wire5.publish("t", b"x", qos=1, packet_id=2, properties={"topic_alias": 5})
    stream += wire5.puback(2, 0x10) + wire5.disconnect(0x8E) + wire5.pingresp()
    assert len(wire5.decode(stream)) == 9
    assert wire5.describe(stream + b"\x10").splitlines() == [
        "CONNECT client_id='c' clean keep_alive=0 username='u' password=… "
        "will='w' qos=0 {'will_delay': 3}",
        "CONNACK session_present=1 code=0x00 {'maximum_qos': 1}",
        "SUBSCRIBE id=7 'f' options=0x01",
        "SUBACK id=7 codes=0x01,0x97",
        "UNSUBSCRIBE id=8 'f'",
        "PUBLISH id=2 qos=1 topic='t' payload=1 B 78 {'topic_alias': 5}",
        "PUBACK id=2 code=0x10",
        "DISCONNECT code=0x8e",
        "PINGRESP",
        "incomplete: 10",
    ]
    assert "garbage" in wire5.describe(b"\x00\x00")

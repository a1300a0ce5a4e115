"""Properties of the codec, with hypothesis; the second opinion is the harness's own codec."""

import sys

import core_checks
from dormouse import packet
from hypothesis import given
from hypothesis import strategies as st

from tools.testing import wire

text = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=300)
name = text.map(lambda t: t.replace("+", "").replace("#", "")).filter(bool)
qos = st.integers(0, 2)
pid = st.integers(1, 65535)
payload = st.binary(max_size=400)
topic_filter = (
    st.lists(
        st.one_of(st.just("+"), name.map(lambda t: t.replace("/", ""))), min_size=1, max_size=4
    )
    .map("/".join)
    .filter(bool)
    | st.just("#")
    | name.map(lambda t: t + "/#")
)


@given(name, payload, qos, st.booleans(), pid)
def test_publish(topic: str, body: bytes, q: int, retain: bool, n: int) -> None:
    made = bytes(packet.publish(topic, body, q, retain, n))
    (seen,) = wire.decode(made)
    assert (seen.topic, seen.payload, seen.qos, seen.retain) == (topic, body, q, retain)
    assert not seen.dup and seen.packet_id == (n if q else seen.packet_id)
    ((first, got),) = core_checks.packets(made, len(made))
    assert packet.read_publish(first, memoryview(got)) == (topic, body, q, n if q else 0)


@given(text, st.integers(0, 65535), st.none() | st.tuples(name, payload, qos, st.booleans()))
def test_connect(client_id: str, keepalive: int, will: tuple | None) -> None:
    made = packet.connect(client_id, True, keepalive, will and packet.Will(*will), "u", b"p")
    (seen,) = wire.decode(bytes(made))
    assert (seen.client_id, seen.keep_alive, seen.clean_session) == (client_id, keepalive, True)
    assert (seen.username, seen.password) == ("u", b"p")
    if will:
        assert seen.will
        assert (seen.will.topic, seen.will.payload, seen.will.qos, seen.will.retain) == will
    else:
        assert seen.will is None


@given(st.lists(st.tuples(topic_filter, qos), min_size=1, max_size=5), pid)
def test_subscribe(pairs: list, n: int) -> None:
    assert bytes(packet.request(0x82, n, pairs)) == wire.subscribe(n, *pairs)
    filters = [f for f, _ in pairs]
    assert bytes(packet.request(0xA2, n, filters)) == wire.unsubscribe(n, *filters)


@given(st.lists(st.tuples(name, payload, qos, pid), max_size=6), st.data())
def test_any_chunking(messages: list, data: st.DataObject) -> None:
    """However the stream is cut, the same packets come out, and the same error at its end."""
    stream = b"".join(bytes(packet.publish(t, p, q, False, n)) for t, p, q, n in messages)
    stream += data.draw(st.sampled_from([b"", b"\xd0\x00", b"\x00", b"\x30\xff\xff\xff\xff\x01"]))
    whole = core_checks.packets(stream, 500)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    got: list = []
    reader = core_checks.reader(500, got)
    try:
        for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
            reader.send(memoryview(stream)[start:end])
    except packet.ProtocolError as e:
        got.append((type(e), e.args[1]) if len(e.args) > 1 else type(e))
    assert got == whole


@given(st.binary(max_size=60))
def test_utf8_as_cpython(data: bytes) -> None:
    """Exactly what CPython decodes strictly, without U+0000 and wildcards, is a topic name."""
    try:
        good = str(data, "utf-8")
        expected = bool(good) and not set(good) & set("\0+#")
    except UnicodeDecodeError:
        expected = False
    try:
        packet.read_publish(0x30, memoryview(packet.binary(data)))
        assert expected
    except packet.ProtocolError:
        assert not expected


@given(st.binary(max_size=200), st.booleans())
def test_garbage_is_a_protocol_error(data: bytes, up: bool) -> None:
    """Whatever arrives, a session raises what its docstring says, and nothing else."""
    line = core_checks.Line()
    if up:
        line.up()
    else:
        line.session.connect(0)
    try:
        line.session.receive(memoryview(data), 0)
    except sys.modules["dormouse.packet"].MQTTError:
        line.session.lost()
    line.up()

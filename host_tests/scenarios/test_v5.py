"""MQTT 5.0 on every runtime, against a peer that checks: authentication, servers that move, errors
that are told, requests and responses."""

import base64
import hashlib
import hmac
import os
from typing import Any

import pytest

from tools.testing import wire5
from tools.testing.address import HOST
from tools.testing.peer import Connection, ScriptedPeer

V5 = {"version": 5}
METHOD = "SCRAM-SHA-256"


def expect(conn: Connection, type: int, **fields: Any) -> wire5.Packet:
    """Take the device's next packet, which must be well formed and have these fields."""
    packet = wire5.decode(conn.next_packet(), "up")[0]
    assert packet.type == type, wire5.describe(packet.raw)
    for name, value in fields.items():
        assert getattr(packet, name) == value, wire5.describe_packet(packet)
    return packet


def accept(peer: ScriptedPeer) -> tuple[Connection, wire5.Packet]:
    """Take the device's next connection and its CONNECT."""
    conn = peer.accept()
    return conn, expect(conn, wire5.CONNECT, client_id="node", protocol_level=5)


def connected(peer: ScriptedPeer, present: bool = False, **properties: Any) -> Connection:
    conn, _ = accept(peer)
    conn.send(wire5.connack(present, properties=properties))
    return conn


def expect_end(device, conn: Connection) -> None:
    expect(conn, wire5.DISCONNECT, reason_code=0)
    conn.expect_closed()
    device.wait_line("end", 5)
    assert device.wait_exit(5) == 0


# --- Authentication


class Scram:
    """The server's side of SCRAM-SHA-256, with few rounds: the chips' Pythons are slow."""

    def __init__(self, password: bytes, rounds: int = 16) -> None:
        self.salt, self.rounds = os.urandom(8), rounds
        self.key = hashlib.pbkdf2_hmac("sha256", password, self.salt, rounds)

    def hmac(self, key: bytes, data: bytes) -> bytes:
        return hmac.new(key, data, "sha256").digest()

    def challenge(self, first: bytes) -> bytes:
        assert first.startswith(b"n,,n=user,r=")
        self.nonce = first.split(b"r=")[1] + os.urandom(6).hex().encode()
        salt = base64.b64encode(self.salt)
        said = b"r=%s,s=%s,i=%d" % (self.nonce, salt, self.rounds)
        self.whole = first[3:] + b"," + said
        return said

    def verify(self, final: bytes) -> bytes | None:
        """Return the server's proof, or None if the client's is wrong."""
        without, _, proof = final.partition(b",p=")
        assert without == b"c=biws,r=" + self.nonce
        whole = self.whole + b"," + without
        mine = self.hmac(self.key, b"Client Key")
        stored = hashlib.sha256(mine).digest()
        want = bytes(a ^ b for a, b in zip(mine, self.hmac(stored, whole), strict=True))
        if base64.b64decode(proof) != want:
            return None
        return b"v=" + base64.b64encode(self.hmac(self.hmac(self.key, b"Server Key"), whole))


def method(data: bytes | None = None) -> dict[str, Any]:
    return {"auth_method": METHOD} if data is None else {"auth_method": METHOD, "auth_data": data}


def prove(conn: Connection, server: Scram, first: bytes) -> bytes | None:
    """Challenge the device; return what proves that the server knows the password."""
    conn.send(wire5.auth(0x18, method(server.challenge(first))))
    answer = expect(conn, wire5.AUTH, reason_code=0x18)
    assert answer.properties["auth_method"] == METHOD
    return server.verify(answer.properties["auth_data"])


def begin(start, peer: ScriptedPeer, password: str = "pw", **config: Any):
    device = start(
        "scram",
        peer.port,
        {**V5, "properties": {"auth_method": METHOD}, "strict": True},
        user="user",
        password=password,
        **config,
    )
    conn, hello = accept(peer)
    assert hello.properties["auth_method"] == METHOD
    return device, conn, hello.properties["auth_data"]


def test_authentication(start, peer: ScriptedPeer) -> None:
    device, conn, first = begin(start, peer, again=2, cut=True)
    server = Scram(b"pw")
    conn.send(wire5.connack(properties=method(prove(conn, server, first))))
    device.wait_line("connected 1", 5)
    firsts = {first}
    for n in (2, 3):
        again = expect(conn, wire5.AUTH, reason_code=0x19)
        assert again.properties["auth_method"] == METHOD
        firsts.add(again.properties["auth_data"])
        server = Scram(b"pw")
        proof = prove(conn, server, again.properties["auth_data"])
        conn.send(wire5.auth(0, method(proof)))
        device.wait_line(f"again {n}", 5)
    conn.close()
    # A reconnect after that begins anew, too.
    conn, hello = accept(peer)
    firsts.add(hello.properties["auth_data"])
    assert len(firsts) == 4
    proof = prove(conn, Scram(b"pw"), hello.properties["auth_data"])
    conn.send(wire5.connack(True, properties=method(proof)))
    device.wait_line("reconnected 4", 5)
    expect_end(device, conn)


def test_wrong_password(start, peer: ScriptedPeer) -> None:
    device, conn, first = begin(start, peer, password="guess")
    assert prove(conn, Scram(b"pw"), first) is None
    conn.send(wire5.connack(reason_code=0x87))
    device.wait_line("raised Failed", 5)
    conn.expect_closed()
    peer.expect_no_connection(300)


@pytest.mark.parametrize("proof", ["wrong", "none", "no exchange"])
def test_server_that_does_not_know_the_password(start, peer: ScriptedPeer, proof: str) -> None:
    device, conn, first = begin(start, peer)
    data = None
    if proof != "no exchange":
        server = Scram(b"other")
        prove(conn, server, first)
        data = b"v=" + base64.b64encode(bytes(32)) if proof == "wrong" else None
    conn.send(wire5.connack(properties=method(data)))
    device.wait_line("raised", 5)
    conn.expect_closed()
    peer.expect_no_connection(300)


def test_server_that_forgets_the_password(start, peer: ScriptedPeer) -> None:
    device, conn, first = begin(start, peer, again=1)
    conn.send(wire5.connack(properties=method(prove(conn, Scram(b"pw"), first))))
    device.wait_line("connected 1", 5)
    again = expect(conn, wire5.AUTH, reason_code=0x19)
    prove(conn, Scram(b"other"), again.properties["auth_data"])
    conn.send(wire5.auth(0, method(b"v=" + base64.b64encode(bytes(32)))))
    device.wait_line("raised ValueError", 5)
    conn.expect_closed()


# --- Which errors end what


def test_server_moved(start, peer: ScriptedPeer) -> None:
    with ScriptedPeer() as other:
        client = {**V5, "redirect": True, "strict": True}
        device = start("five", peer.port, client, case="staying", publish=True)
        conn, _ = accept(peer)
        there = {"server_reference": f"{HOST}:{other.port}"}
        conn.send(wire5.connack(reason_code=0x9D, properties=there))
        conn.expect_closed()
        conn = connected(other)
        device.wait_line(f"connected {other.port}", 5)
        publish = wire5.decode(conn.next_packet(), "up")[0]
        conn.send(wire5.puback(publish.packet_id or 0))  # it is of use
        back = {"server_reference": f"{HOST}:{peer.port} elsewhere:1"}
        conn.send(wire5.disconnect(0x9C, back))
        device.wait_line("lost 156", 5)
        conn = connected(peer, present=True)
        device.wait_line(f"connected {peer.port}", 5)
        publish = wire5.decode(conn.next_packet(), "up")[0]
        conn.send(wire5.puback(publish.packet_id or 0))
        # From one to the other for ever: at the fourth the client says so.
        conn.close()
        for n in range(4):
            here, at = (peer, other) if n % 2 == 0 else (other, peer)
            conn, _ = accept(here)
            there = {"server_reference": f"{HOST}:{at.port}"}
            conn.send(wire5.connack(reason_code=0x9C, properties=there))
        device.wait_line("over 156 None", 5)
        conn.expect_closed()


def test_server_moved_before_the_first_connection(start, peer: ScriptedPeer) -> None:
    """connect() raises when its first attempt fails; this is none."""
    with ScriptedPeer() as other:
        client = {**V5, "redirect": True}
        device = start("five", peer.port, client, case="publishing", qos=[1])
        conn, _ = accept(peer)
        conn.send(
            wire5.connack(reason_code=0x9D, properties={"server_reference": f"{HOST}:{other.port}"})
        )
        conn = connected(other)
        publish = wire5.decode(conn.next_packet(), "up")[0]
        conn.send(wire5.puback(publish.packet_id or 0))
        device.wait_line("end", 5)


@pytest.mark.parametrize("code", [0x8E, 0x98, 0x8D, 0x8B])
def test_disconnected(start, peer: ScriptedPeer, code: int) -> None:
    device = start("five", peer.port, {**V5, "strict": True}, case="staying")
    conn = connected(peer)
    device.wait_line("connected", 5)
    conn.send(wire5.disconnect(code, {"reason_string": "because"}))
    conn.expect_closed()
    if code != 0x8E:
        conn = connected(peer, present=True)
        conn.send(wire5.disconnect(0x8E, {"reason_string": "because"}))
        conn.expect_closed()
        device.wait_line(f"lost {code}", 5)
    # Another took the session over: fighting for it would throw that one out.
    device.wait_line("over 142 because", 5)
    device.wait_line("publish Failed 142 because", 5)
    conn = connected(peer)  # who asks for it gets it
    device.wait_line("connect", 5)
    conn.drain()
    device.wait_line("end", 5)
    assert len(peer.connections) == (2 if code == 0x8E else 3)


def test_quota_exceeded(start, peer: ScriptedPeer) -> None:
    device = start("five", peer.port, V5, case="publishing", qos=[1, 1, 2, 2, 0])
    conn = connected(peer)
    for n, code in ((0, 0x97), (1, 0)):
        p = expect(conn, wire5.PUBLISH, payload=b"%d" % n, qos=1)
        conn.send(wire5.puback(p.packet_id or 0, code, {"reason_string": "full"}))
    p = expect(conn, wire5.PUBLISH, payload=b"2", qos=2)
    conn.send(wire5.pubrec(p.packet_id or 0, 0x97))
    p = expect(conn, wire5.PUBLISH, payload=b"3", qos=2)  # no PUBREL for the one before
    conn.send(wire5.pubrec(p.packet_id or 0, 0x10))
    expect(conn, wire5.PUBREL, packet_id=p.packet_id)
    conn.send(wire5.pubcomp(p.packet_id or 0))
    expect(conn, wire5.PUBLISH, payload=b"4", qos=0)
    for line in ("0 Failed 151 full", "1 0", "2 Failed 151 None", "3 16", "4 None"):
        device.wait_line(line, 5)
    expect_end(device, conn)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"\x30\x02\x00\x05", 0x81),
        (wire5.publish("a/+"), 0x82),
        (wire5.publish("t", properties={"topic_alias": 1}), 0x94),
        (b"\x40\x88\x27" + bytes(5000), 0x95),  # (a message that long is read past)
        (b"".join(wire5.publish("t", qos=1, packet_id=n + 1) for n in range(17)), 0x93),
    ],
    ids=["malformed", "protocol", "alias", "large", "receive maximum"],
)
def test_server_is_told_its_fault(start, peer: ScriptedPeer, data: bytes, code: int) -> None:
    device = start("five", peer.port, V5, case="staying")
    conn = connected(peer)
    device.wait_line("connected", 5)
    conn.send(data)
    expect(conn, wire5.DISCONNECT, reason_code=code)
    conn.expect_closed()
    # It may have been an accident: the session goes on.
    conn = connected(peer, present=True)
    device.wait_line("connected", 5)
    conn.expect_silence(50)


# --- Requests and responses


def test_requests(start, peer: ScriptedPeer) -> None:
    device = start("five", peer.port, V5, case="requesting")
    conn = connected(peer, response_information="answers/")
    p = expect(conn, wire5.SUBSCRIBE)
    assert p.subscriptions == (wire5.Subscription("answers/node", 1),)
    conn.send(wire5.suback(p.packet_id or 0, 1))
    keys: dict[bytes, bytes] = {}
    for _ in range(4):
        p = expect(conn, wire5.PUBLISH, topic="ask", qos=1)
        assert p.properties["response_topic"] == "answers/node"
        keys[p.payload] = p.properties["correlation_data"]
        conn.send(wire5.puback(p.packet_id or 0))
    assert sorted(keys) == [b"a", b"b", b"c", b"d"]
    assert len(set(keys.values())) == 4
    device.wait_line("c timeout", 5)

    def answer(name: bytes, key: bytes | None, payload: bytes, topic: str = "answers/node") -> None:
        properties = {} if key is None else {"correlation_data": key}
        conn.send(wire5.publish(topic, payload, properties=properties))

    answer(b"c", keys[b"c"], b"late")
    answer(b"?", b"nobody", b"unknown")
    answer(b"?", None, b"without")
    answer(b"?", keys[b"a"], b"elsewhere", "other")
    for name in (b"d", b"b", b"a"):
        answer(name, keys[name], b"re " + name)
    for line in (
        "other answers/node late",
        "other answers/node unknown",
        "other answers/node without",
    ):
        device.wait_line(line, 5)
    for line in ("other other elsewhere", "d re d", "b re b", "a re a", "waiting 0"):
        device.wait_line(line, 5)
    p = expect(conn, wire5.PUBLISH, topic="ask", payload=b"e")
    answer(b"e", p.properties["correlation_data"], b"early")  # before its PUBACK
    answer(b"d", keys[b"d"], b"twice")
    device.wait_line("other answers/node twice", 5)
    conn.send(wire5.puback(p.packet_id or 0))
    device.wait_line("e early", 5)
    p = expect(conn, wire5.PUBLISH, topic="ask", payload=b"f")
    conn.send(wire5.puback(p.packet_id or 0, 0x97))  # nobody will answer, and that is told at once
    device.wait_line("f Failed 151", 5)
    expect_end(device, conn)


def test_responses(start, peer: ScriptedPeer) -> None:
    device = start("five", peer.port, V5, case="responding")
    conn = connected(peer)
    p = expect(conn, wire5.SUBSCRIBE)
    conn.send(wire5.suback(p.packet_id or 0, 1))
    for n, asks in enumerate(({"correlation_data": b"\0k"}, {})):
        properties = {"response_topic": "back", **asks}
        conn.send(wire5.publish("ask", b"%d" % n, properties=properties))
        p = expect(conn, wire5.PUBLISH, topic="back", payload=b"re: %d" % n, qos=1)
        assert p.properties == asks
        conn.send(wire5.puback(p.packet_id or 0))
    conn.send(wire5.publish("ask", b"x"))
    device.wait_line("no answer wanted", 5)
    expect_end(device, conn)

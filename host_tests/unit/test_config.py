"""What a node makes of its config.json (dormouse/field/config.py)."""

import json
import math
import types
from pathlib import Path
from typing import Any

import dormouse.field.config as config
import pytest
from dormouse.field.mend import _KINDS, blame, check
from dormouse.field.safe import Orders
from dormouse.packet import encode_topic
from dormouse.store import Store

from tools.testing.board import Board
from tools.testing.runtimes import Runtime

PROGRAM = """\
import dormouse.field.config as config
import machine
import sys

def why(o):
    try:
        config.make_store(o)
    except Exception as e:
        print(type(e).__name__, *e.args)

before = set(sys.modules)
c = config.load("good.json")
client = config.make_client(c, clean=False, store=config.make_store(c), keepalive=7)
print(client.address, client.timeout, client.session.keepalive, type(client.session.store).__name__)
client = config.make_client({"host": "h", "tls": None})
print(client.address, client.timeout, config.make_wifi({}))
loaded = sorted(n for n in sys.modules if n not in before and n[:9] == "dormouse.")
wifi = config.make_wifi(c)
cable = object()
print(wifi.login, config.make_wifi(c, None, cable) is cable)
print(*loaded)
c["tls"] = {"ca": "ca.der"}
print(config.make_wifi(c).wifi.login, config.make_wifi(c, None, cable).wifi is cable)
why({"store": "tape"})

def client(o):
    try:
        return config.make_client(o)
    except Exception as e:
        print(type(e).__name__, *e.args)

client({"host": "h", "transport": "websocket"})
for name in (None, "", "tcp", "ws"):
    print(name, type(client({"host": "h", "transport": name}).stream).__name__)
machine.deepsleep(1000)
"""


def test_parts_of_a_node(runtime: Runtime, tmp_path: Path) -> None:
    """Each setting has its effect; what is not named is not loaded; what is missing is said."""
    good = {"host": "h", "topic": "t", "port": 1, "client_id": "c", "timeout": 5, "keepalive": 9}
    good |= {"username": "u", "password": "p", "wifi": {"ssid": "s", "password": "w"}}
    files = {"main.py": PROGRAM, "good.json": json.dumps(good)}
    with Board(runtime, tmp_path / "board", files=files) as board:
        end = board.run()[0]
    first, plain, wifi, loaded, clock, *errors = end.lines[:7]
    assert end.lines[7] == "None module" and end.lines[-1] == "ws WebSocket"
    assert end.lines[8:-1] == [" module", "tcp module"]
    assert first == "('h', 1, None) 5 6125 Journal"
    assert plain == "('h', 1883, None) 5 None"
    assert wifi == "('s', 'w') True"
    assert clock == "('s', 'w') True"
    assert {"dormouse.store.journal", "dormouse.store.durable"} <= set(loaded.split())
    assert not {"dormouse.net.wifi", "dormouse.net.tls", "dormouse.net.ws"} & set(loaded.split())
    assert errors == ["ValueError store tape", "ValueError transport: tcp or ws websocket"]


WHOLE = """\
{
  "wifi": {
    "ssid": "s",
    "password": "p"
  },
  "host": "h",
  "topic": "t",
  "period": 60,
  "client_id": "c"
}
"""
SECURE = WHOLE.replace('"host"', '"tls": {\n    "ca": "ca.der"\n  },\n  "host"')


def test_a_file_that_is_damaged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What stands whole is used, whatever the rest is; and where it was to be secure, only that."""
    path = tmp_path / "config.json"

    def load(data: bytes) -> dict[str, Any]:
        path.write_bytes(data)
        found = config.load(str(path))
        assert isinstance(found["topic"], str) and found["topic"]
        return found

    assert load(WHOLE.encode()) == json.loads(WHOLE)
    assert not capsys.readouterr().out
    for text in (WHOLE, SECURE):
        data = text.encode()
        for at in range(len(data)):
            rest = data[at + 1 :]
            for broken in (data[:at], data[:at] + b"\xff" + rest, data[:at] + rest):
                found = load(broken)
                if found.get("host") and text == SECURE and b"tls" in broken:
                    assert found["tls"]  # never in clear
                if "trouble" in found:
                    assert "make provision" in found["trouble"]
    found = load(WHOLE[:-30].encode())
    assert (found["host"], found["topic"], found["wifi"]["password"]) == ("h", "t", "p")
    assert "damaged" in found["trouble"]
    for data in (b"", b"\0" * 100, b"[" * 9000, b"null", b"[]", b"5", b'{"topic": "t"}', b"{}"):
        found = load(data)
        assert "no host" in found["trouble"] and "make provision" in found["trouble"]
    assert "no file" in config.load(str(tmp_path / "none"))["trouble"]


def test_a_read_that_fails_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "config.json"
    path.write_text(WHOLE)
    faults: list[Exception] = [OSError(5, "fault")]

    def flaky(name: str, mode: str) -> Any:
        if faults:
            raise faults.pop()
        return open(name, mode)

    monkeypatch.setattr(config, "open", flaky, raising=False)
    assert config.load(str(path)) == json.loads(WHOLE) and not faults
    faults.append(MemoryError())
    assert "no host" in config.load(str(path))["trouble"]


def test_values_that_cannot_be() -> None:
    wrong = {"host": "h", "topic": "t", "period": "5 min", "wifi": {"ssid": 5}, "port": -1}
    trouble: list[str] = []
    check(wrong, trouble)
    assert wrong == {"host": "h", "topic": "t"}
    assert trouble == ["no such port", "no such period", "no such wifi"]
    for port in ("1884", 1884.0):  # a Client takes them, so safe mode has to
        found: dict[str, Any] = {"host": "h", "topic": "t", "port": port}
        check(found, trouble)
        assert found["port"] == 1884 and blame({**found, "port": port}) == ""
    for topic in ("fleet/+/update", "fleet/#"):
        assert blame({"host": "h", "topic": "t", "update_topic": topic}).endswith("update_topic\n")
    for port in ("x", "", math.inf, math.nan, "70000"):
        assert blame({"host": "h", "topic": "t", "port": port}) == "config.json: no such port\n"
    wrong = {"host": "h", "topic": "t", "transport": "websocket", "watchdog": True, "outbox": "64"}
    before = dict(wrong)
    said = blame(wrong)
    assert said == "config.json: no such transport, no such outbox, no such watchdog\n"
    assert wrong == before
    assert blame({"host": "h", "topic": "t", "transport": "ws", "watchdog": 0, "crashes": 5}) == ""


def test_any_values_at_all() -> None:
    """Whatever stands there, a node can be made of what is left, or has no host."""
    base = {"host": "h", "topic": "t", "client_id": "c", "username": "u", "password": "p"}
    strange = ["", "x", "\0", "\ud800", "#", "a/+", "e" * 70000, [], [1], {}, {"a": 1}]
    strange += [None, True, False, 0, -1, 1, 70000, 1 << 80, 0.5, math.inf, math.nan]
    strange += [{"ssid": "s"}, {"ssid": "s", "password": 5}]
    for key in _KINDS:
        for value in strange:
            found = {**base, key: value}
            trouble: list[str] = []
            check(found, trouble)
            encode_topic(found["topic"] + "/safe", 0)
            if key in ("host", "tls"):
                # What says anything of TLS, and is none, is not to go in clear.
                assert found.get(key) or not found.get("host") or not value
                continue
            id = (found.get("client_id") or "unique") + "-safe"
            store = Store()
            client = config.make_client(
                found, client_id=id, clean=False, store=store, keepalive=60, timeout=5
            )
            client.session.login = client.username, client.password
            client.session.connect(0)
            assert client.session.take(0)


def test_damaged_where_it_was_to_be_secure(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    for tls in ("true", "1", '"ca"', "[]", "null", "{}", '{"verify": false}'):
        path.write_text('{\n"host": "h",\n"topic": "t",\n"tls": %s,\n"period": 5x\n}' % tls)
        found = config.load(str(path))
        assert not found.get("host") and "damaged" in found["trouble"], tls


def test_an_update_key_that_protects_nothing() -> None:
    """The node runs without updates, and says why where it can."""
    for key in ("4711", "k" * 31, "rsa:", "rsa:" + "f" * 256):
        settings: dict[str, Any] = {"topic": "t", "update_key": key}
        assert config.make_ota(settings) is None
        assert settings["trouble"].startswith("update_key: ")
    settings = {"topic": "t", "update_key": "k", "trouble": "no such port"}
    config.make_ota(settings)
    assert settings["trouble"].startswith("update_key: ") and "no such port" in settings["trouble"]
    settings = {"topic": "t", "update_key": "k" * 32, "tls": {"ca": "certs/ca.der", "psk": None}}
    ota = config.make_ota(settings)
    assert "certs/ca.der" in ota.keep and "trouble" not in settings
    assert config.make_ota({"topic": "t"}) is None


def test_an_owner_whose_key_is_lost(tmp_path: Path) -> None:
    """Orders in safe mode are nobody's then, and not everybody's: as TLS, it fails closed."""
    path = tmp_path / "config.json"
    whole = WHOLE.replace('"c"', '"c",\n  "update_key": "%s"' % ("k" * 32))

    def locked(text: str) -> bool:
        path.write_text(text)
        found = config.load(str(path))
        check(found, [])
        ota = config.make_ota(found)
        guard = types.SimpleNamespace(config=found)
        return Orders(guard, ota, None).locked and not ota  # type: ignore[arg-type]

    assert not locked(whole) and not locked(WHOLE)
    for n in range(1, len(whole) - 2):
        # The key stands at the end: it may be gone without a word of it.
        assert locked(whole[:n]) or '"%s"' % ("k" * 32) in whole[:n], n
    for key in ('"rsa:c0ffee"', "5", '["k"]', "true"):
        text = whole.replace('"%s"' % ("k" * 32), key)
        assert locked(text) and locked(text.replace('"topic": "t",', "")), key
    for key in ("null", '""', "false"):
        assert not locked(whole.replace('"%s"' % ("k" * 32), key)), key


def test_tls_without_a_word_of_it_is_none_in_clear() -> None:
    """An object with nothing in it is TLS all the same: a password must not go out in clear."""
    with pytest.raises(ValueError, match="no ca"):
        config.make_client({"host": "h", "username": "u", "password": "p", "tls": {}})
    for none in (None, False):
        client = config.make_client({"host": "h", "client_id": "c", "tls": none})
        assert client.address == ("h", 1883, None)

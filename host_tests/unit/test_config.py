"""What a node makes of its config.json (dormouse/field/config.py)."""

import json
from pathlib import Path

from tools.testing.board import Board
from tools.testing.runtimes import Runtime

PROGRAM = """\
import dormouse.field.config as config
import machine
import sys

def why(o):
    try:
        config.load() if o is None else config.make_store(o)
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
with open("config.json", "w") as f:
    f.write('{"topic": "t"}')
why(None)
with open("config.json", "w") as f:
    f.write('[]')
why(None)
why({"store": "tape"})
import os
os.remove("config.json")
why(None)
machine.deepsleep(1000)
"""


def test_parts_of_a_node(runtime: Runtime, tmp_path: Path) -> None:
    """Each setting has its effect; what is not named is not loaded; what is missing is said."""
    good = {"host": "h", "topic": "t", "port": 1, "client_id": "c", "timeout": 5, "keepalive": 9}
    good |= {"username": "u", "password": "p", "wifi": {"ssid": "s", "password": "w"}}
    files = {"main.py": PROGRAM, "good.json": json.dumps(good)}
    with Board(runtime, tmp_path / "board", files=files) as board:
        end = board.run()[0]
    first, plain, wifi, loaded, clock, *errors = end.lines
    assert first == "('h', 1, None) 5 6125 Journal"
    assert plain == "('h', 1883, None) 5 None"
    assert wifi == "('s', 'w') True"
    assert clock == "('s', 'w') True"
    assert {"dormouse.store.journal", "dormouse.store.durable"} <= set(loaded.split())
    assert not {"dormouse.net.wifi", "dormouse.net.tls", "dormouse.net.ws"} & set(loaded.split())
    assert errors == [
        "ValueError config.json: no host: make provision",
        "ValueError config.json: no host: make provision",
        "ValueError store tape",
        "ValueError config.json: no file: make provision",
    ]

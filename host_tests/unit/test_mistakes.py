"""What is often got wrong is told in words, on every Python; and nothing else is called wrong."""

from pathlib import Path

from tools.testing.runtimes import Runtime

PROGRAM = """
import asyncio
from dormouse import Client, Will
from dormouse.store import Store

def told(what, make):
    try:
        make()
    except Exception as e:
        print(what, type(e).__name__, *e.args)
    else:
        print(what, "taken")

for version in (4, 5):
    def client(host="broker.local", version=version, **options):
        return Client(host, client_id="c", version=version, **options)

    told("store", lambda: client(clean=False, store="journal"))
    told("will", lambda: client(will=("t", b"x")))
    told("keepalive", lambda: client(keepalive=0.5))
    told("scheme", lambda: client("mqtt://broker.local"))
    told("port", lambda: client("broker.local:1883"))
    told("host", lambda: client(None))
    told("number", lambda: client(port="mqtt"))
    told("number", lambda: client(port=None))
    told("good", lambda: client(port="1884"))
    told("context", lambda: client(tls=True))
    told("none", lambda: client(clean=False, store={}))
    told("limit", lambda: client(window=0))
    told("limit", lambda: client(timeout=0))
    told("limit", lambda: client(max_packet=9000))
    told("limit", lambda: client(oversize="drop"))
    told("name", lambda: client(ssl=True))
    told("name", lambda: client(user="x"))
    told("name", lambda: client(clean_session=True))
    told("login", lambda: client(password="x"))
    told("seconds", lambda: client(keepalive=70000))
    told("class", lambda: client(clean=False, store=Store))
    for options in (
        {"username": b"x"},
        {"username": "x", "password": 5},
        {"timeout": None},
        {"timeout": "5"},
    ):
        try:
            client(**options)
        except TypeError as e:  # behind it stands what Python says, each in its words
            print(len(e.args), e.args[0])
    told("other", lambda: client(full="oldest", clean=False, store=Store()))
    told("other", lambda: client(full="newest", clean=False, store=Store()))
    for host in ("broker.local", "10.0.0.7", "fe80::1", ""):
        told("good", lambda: client(host, will=Will("t"), keepalive=5))
    c = client()
    for payload in ({"a": 1}, 7):
        try:
            c.publish_nowait("t", payload)
        except TypeError:  # its words are Python's own: a bytes-like object, or the buffer protocol
            print("refused")
    told("bool", lambda: c.publish_nowait("t", b"", True))
    told("bool", lambda: c.publish_nowait("t", b"", False, 1))
    told("right", lambda: c.publish_nowait("t", b"", 1, True))
    told("Will", lambda: Will("t", b"", True))

expiring = Client("broker.local", client_id="c", expiring=True)
told("expiring", lambda: expiring.publish_nowait("t", b"", 1, message_expiry=5))

async def main():
    c = Client("127.0.0.1", 1, client_id="c")
    for what in (c.publish("t", b""), c.messages.__aiter__().__anext__()):
        try:
            await what
        except Exception as e:
            print(type(e).__name__, *e.args)
    c.start()
    async def loop():
        async for message in c.messages:
            pass
    first = asyncio.create_task(loop())
    await asyncio.sleep(0)
    try:
        await loop()
    except RuntimeError as e:
        print(*e.args)
    await c.disconnect()
    await first
    print("the first ended in order")

asyncio.run(main())
"""
EACH = [
    "store TypeError store: an object, such as store.Journal(name)",
    "will TypeError will: Will(topic, payload)",
    "keepalive TypeError keepalive: whole seconds",
    "scheme ValueError host: without mqtt:// and port, which are tls= and port= mqtt://broker.local",
    "port ValueError host: without mqtt:// and port, which are tls= and port= broker.local:1883",
    "host TypeError host: a name or an address None",
    *["number ValueError port: a number"] * 2,
    "good taken",
    "context TypeError tls: an SSLContext",
    "none TypeError store: an object, such as store.Journal(name)",
    "limit ValueError window, outbox, timeout: more than 0 0 32 10.0",
    "limit ValueError window, outbox, timeout: more than 0 16 32 0.0",
    "limit ValueError inbox_bytes: 64 more than max_packet 8192 9000",
    "limit ValueError oversize: skip or keep drop",
    "name TypeError no option ssl: it is tls",
    "name TypeError no option user: it is username",
    "name TypeError no option clean_session: it is clean",
    "LOGIN",
    "seconds ValueError keepalive: 0 to 65535 s 70000",
    "class TypeError store: an object, such as store.Journal(name)",
    "2 client_id, username: str",
    "2 password: str or bytes",
    *["2 timeout, window, outbox, inbox_bytes, max_packet: numbers"] * 2,
    "other taken",
    "other ValueError a store needs clean=False, full= refuse or oldest False newest",
    *["good taken"] * 4,
    *["refused"] * 2,
    *["bool TypeError qos, retain"] * 2,
    "right taken",
    "Will TypeError qos, retain",
]


def test_told(runtime: Runtime, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    with runtime.start(program) as device:
        assert device.wait_exit(10) == 0, device.transcript()
    alone = {4: "login ValueError a password needs a username", 5: "login taken"}
    assert device.lines == [
        *(alone[4] if line == "LOGIN" else line for line in EACH),
        *(alone[5] if line == "LOGIN" else line for line in EACH),
        "expiring taken",
        *["ConnectionLost connect() first"] * 2,
        "one loop over messages at a time",
        "the first ended in order",
    ]

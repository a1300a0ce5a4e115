"""A node that goes wrong in every way that needs no broker, and prints what is said."""

import asyncio
import json
import sys

import machine
from dormouse import Client
from dormouse.expiry import expiring
from dormouse.field.config import load
from dormouse.mqtt5 import respond
from dormouse.net import Wifi
from dormouse.session import Message, Session
from dormouse.sleep import Node
from dormouse.store import Journal, NVSStore, RTCStore, Store

CPYTHON = sys.implementation.name != "micropython"
FOLDER = sys.modules["_board"].state.folder
ESP32 = hasattr(machine.RTC, "memory")

with open("config.json") as f:
    config = json.load(f)


def tell(name, e):
    """Print an error as MicroPython does: CPython words and sorts those of the system otherwise."""
    text = repr(e)
    if CPYTHON and isinstance(e, Exception):
        if type(e).__name__ == "TimeoutError":
            text = "TimeoutError()"
        elif isinstance(e, OSError) and type(e).__name__ != "WifiError":
            text = "OSError(%d,)" % e.args[0]
            if "/" in str(e.args[-1]):  # a Journal names its file
                text = "OSError(%d, %r)" % e.args
        elif len(e.args) == 1:
            text = text[:-1] + ",)"
    print("said", name, text)


def raises(name, f, *args, **options):
    try:
        f(*args, **options)
    except Exception as e:
        tell(name, e)


def surroundings(**script):
    with open(FOLDER + "/network.json", "w") as f:
        json.dump(script, f)


made = []


def client(host="broker.example", **options):
    made.append(Journal("journal%d" % len(made)))
    options["store"] = made[-1]
    return Client(host, config["port"], client_id="n", clean=False, **options)


def node(c=None, period=300, budget=3000, **options):
    return Node(c or client(), period, budget, guard=False, **options)


async def wake(name, n):
    async for _ in n.wake():
        pass
    tell(name, n.error)


async def wakes():
    for name, script in (
        # ESP32 shows an old fault until something new happens: those without one come first.
        ("no answer", {"silent": True}),
        ("no address", {"no_dhcp": True}),
        ("password", {"wrong_password": True}),
        ("no network", {"down": True}),
    ):
        surroundings(**script)
        # Two wait for the end of the time; and with less than 3 s for it there is no scan.
        budget = 900 if name in ("no answer", "no address") else 8000
        await wake(name, node(budget=budget, wifi=Wifi("home", "secret")))
    surroundings()
    await wake("no route", node(client("127.0.0.1")))
    surroundings(dns_fail=True)
    wifi = Wifi("home", "secret")
    await wake("no name", node(wifi=wifi))
    surroundings()
    c = client()
    for name, filters in (
        ("list", (["a", "b"],)),
        ("bytes filter", (b"a/#",)),
        ("qos", ("a/#", 1)),
    ):
        try:
            await c.subscribe(*filters)
        except Exception as e:
            tell(name, e)
    await wake("session expiry", node(client(version=5, session_expiry=3600), wifi=wifi))
    c = client()
    c.session.store.save({3: bytes((0, 3, 2))})
    await wake("backoff", node(c, wifi=wifi))
    c = client(timeout=0.1)
    c.start()
    try:
        task = asyncio.create_task(c.publish("t", b"", 1))
        await asyncio.sleep(0)
        await c.disconnect()
        await task
    except Exception as e:
        tell("not connected", e)
    c = client(version=5, session_expiry=3600)
    n = node(c, wifi=wifi, subscribe=(("c/#", 1),))
    async for _ in n.wake():
        await n.client.disconnect()
    tell("disconnected", n.error)


def plans():
    raises("no store", node, Client("h"))
    raises("budget", node, period=1)
    raises("expiry", node, expiry=300)
    delay = {"will_delay": 60}
    will = (4, b"\0\1t\0\0")
    five = {"version": 5, "will": will, "session_expiry": 3600}
    raises("will", node, client(will_properties=delay, **five))
    five["session_expiry"] = 600
    raises("late will", node, client(will_properties={"will_delay": 900}, **five))
    raises("too long", node, period=4000000)
    raises("jitter", node, jitter=301)
    raises("pairs", node, subscribe=("cmd", 1))


def arguments():
    print("said", "no config", load("nothing.json")["trouble"])
    print("said", "no host", load()["trouble"])
    raises("id", Client, "h", client_id="", clean=False)
    raises("clean", Client, "h", client_id="n", store=Store())
    raises("full", Client, "h", client_id="n", clean=False, store=Store(), full="newest")
    raises("limits", Client, "h", window=0)
    raises("inbox", Client, "h", max_packet=9000)
    raises("other name", Client, "h", ssl=True)
    raises("unknown", Client, "h", colour=1)
    raises("id bytes", Client, "h", client_id=b"n")
    raises("no folder", Journal("none/j").save, {16: b"x"})
    raises("version", Client, "h", version=3)
    raises("password only", Client, "h", password="x")
    c = client(outbox=2, outbox_bytes=300)
    raises("topic", c.publish_nowait, "a/#")
    raises("bytes topic", c.publish_nowait, b"a")
    raises("empty topic", c.publish_nowait, "")
    raises("bool", c.publish_nowait, "t", b"", True, 1)
    raises("str qos", c.publish_nowait, "t", b"", "1")
    raises("payload", c.publish_nowait, "t", 21.5)
    raises("qos", c.publish_nowait, "t", b"", 3)
    raises("large", c.publish_nowait, "t", bytes(400), 1)
    raises("option", c.publish_nowait, "t", content_type="x")
    for _ in range(3):
        raises("outbox", c.publish_nowait, "t", b"", 1)
    c = client(version=5)
    raises("alias", c.publish_nowait, "t", topic_alias=1)
    message = Message()
    message.properties = {}
    raises("respond", respond, c, message)
    s = expiring()(lambda: None, "n", True, clock=lambda: 100)
    o = s.publish("t", b"x", 1, message_expiry=0)
    s._expire()
    tell("expired", o.error)


def flood():
    s = Session(lambda: None, "n", False)
    s.connect(0)
    s.receive(memoryview(b"\x20\x02\x00\x00"), 0)
    raises("flood", s.receive, memoryview(b"\x62\x02\x00\x01" * 600), 0)


def stores():
    with open("bad", "wb") as f:
        f.write(b"dmo\x01\x05\x00nonsense")
    print("said", "journal", Journal("bad").warning)
    j = Journal("small", 20)
    j.save({16: bytes(15)})
    raises("journal full", j.save, {0x40000: bytes(30)})
    if ESP32:
        machine.RTC().memory(b"something else")
        print("said", "rtc", RTCStore().warning)
        raises("rtc full", RTCStore().save, {16: bytes(3000)})
        raises("nvs full", NVSStore().save, {16: bytes(5000)})
    else:
        raises("no rtc", RTCStore)
        raises("no nvs", NVSStore)


raises("part", __import__, "dormouse.nothing")
if not CPYTHON:  # it says "cannot import name"
    raises("name", exec, "from dormouse import Node")
plans()
arguments()
flood()
stores()
surroundings()
asyncio.run(wakes())
print("end")

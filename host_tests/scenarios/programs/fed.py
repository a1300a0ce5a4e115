"""A node that is given the messages of an update from a file, again from the first at each start,
as a broker would that got no acknowledgement. Its version is its first line; see test_ota.py."""

import asyncio
import os

import machine
from dormouse import Client
from part import PART

with open("messages") as f:
    LARGE = "/32 " in f.read()
if LARGE:
    import dormouse.large.taking  # noqa: F401  (what a message is taken by, piece by piece)
    from dormouse import Message
    from dormouse.field import LargeOta as Ota
else:
    from dormouse.field import Ota

ota = Ota("k" * 32, "n")
with open("data") as f:
    DATA = f.read()
try:
    os.stat("extra/new")
    EXTRA = 2
except OSError:
    EXTRA = 1
try:
    os.stat("gone")
    GONE = 1
except OSError:
    GONE = 2
print("runs", VERSION, PART, len(DATA), EXTRA, GONE)  # noqa: F821
if CONNECTS:  # noqa: F821
    client = Client("nowhere", client_id="n")
    if ota.confirm(client):
        print("report", bytes(client.session.outbox[0].packet))
        machine.deepsleep(1000)
    ota.fetch(client)
    if LARGE:
        ota.tell = lambda report, client: report and print("report", report)
    with open("messages") as f:
        for line in f:
            name, payload = line.split(" ")
            payload = bytes.fromhex(payload.strip())
            if LARGE:
                message = Message()
                message.topic = ("n/update/" + name).rstrip("/")
                message.payload = payload
                asyncio.run(ota.receive(message, client))
                continue
            report = ota.take(name, payload)
            if report:
                print("report", report)
    if ota.ready:
        machine.reset()
machine.deepsleep(1000)

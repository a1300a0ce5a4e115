"""A node that is given the messages of an update from a file, again from the first at each start,
as a broker would that got no acknowledgement. Its version is its first line; see test_ota.py."""

import os

import machine
from dormouse import Client
from dormouse.field import Ota
from part import PART

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
    with open("messages") as f:
        for line in f:
            name, payload = line.split(" ")
            report = ota.take(name, bytes.fromhex(payload.strip()))
            if report:
                print("report", report)
    if ota.ready:
        machine.reset()
machine.deepsleep(1000)

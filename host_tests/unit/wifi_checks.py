"""Checks of wifi.py on the simulated network (boards/unix/network.py), on every runtime.

Runs as a program only, for network.py changes the sockets of its process; test_wifi.py starts it,
for each type of board.
"""

import asyncio
import json
import os
import sys

import network  # isort: split

import socket  # on MicroPython network's, for it was imported before

from dormouse.net import wifi as module
from dormouse.net.wifi import Wifi, WifiError, sleep_ms, ticks_ms
from dormouse.store import Store, StoreFull

FOLDER = os.getenv("DORMOUSE_BOARD")
PORT = int(sys.argv[1])  # somebody listens there
TYPE = os.getenv("BOARD_TYPE")
RP2 = TYPE == "rp2"
SECRET = "horse battery"
# What a lookup and a connect raise; on CPython the host's own number.
UNREACHABLE = [-2, 113] if RP2 else [-202, 118 if hasattr(sys, "print_exception") else 113]
FAST = {"type": TYPE, "scan_ms": 13, "join_ms": 3, "dhcp_ms": 8, "password": SECRET}
HERE = b"\x02\x11\x22\x33\x44\x55\x06"
OTHER = b"\x02\x11\x22\x33\x44\x54\x0b"  # of the same name, and weaker
ADDRESS = b"10.0.0.7 255.255.255.0 10.0.0.1 10.0.0.1"


class Counting(Store):
    """Counts what is written."""

    writes = 0

    def write(self, changes):
        self.writes += 1


class Full(Store):
    def write(self, changes):
        raise StoreFull


def same(got, expected):
    assert got == expected, "got %r, expected %r" % (got, expected)


def script(**changes):
    values = dict(FAST)
    values.update(changes)
    with open(FOLDER + "/network.json", "w") as f:
        json.dump(values, f)


def log():
    """What happened since the last call, as a list of dicts."""
    name = FOLDER + "/network.log"
    try:
        with open(name) as f:
            lines = [json.loads(line) for line in f]
    except OSError:
        return []
    os.remove(name)
    return lines


def events():
    """The names of what happened since the last call."""
    return [line["event"] for line in log() if line["event"] not in ("leave", "poweroff")]


async def start(**changes):
    """A node before its first join: radio off, surroundings set, nothing remembered."""
    script(**changes)
    power_on()
    log()
    return Counting()


def power_on():
    """The chip starts: its radio knows nothing."""
    network._radio = network._Radio()


def chance(value):
    """All that is by chance is this byte from now on."""
    module.urandom = lambda n: bytes((value,)) * n


def wifi(store=None, **options):
    options.setdefault("renew", 0)
    return Wifi("home", SECRET, store, **options)


async def known(**changes):
    """A node that joined once and slept: its store, as read at the next start."""
    store = await start(**changes)
    w = wifi(store)
    await w.join(8000)
    w.off()
    log()
    same(store.writes, 1)
    power_on()
    store.writes = 0
    return store


async def fails(w, timeout_ms, code):
    """Join must fail with this code; returns after how many ms."""
    began = ticks_ms()
    try:
        await w.join(timeout_ms)
    except WifiError as e:
        ms = ticks_ms() - began
        same(e.code, code)
        for text in (str(e), repr(e), repr(w)):
            assert SECRET not in text, text
        assert not w.wlan.active()
        return ms
    raise AssertionError("joined")


def unreachable():
    """Return the error of a lookup and a connection."""
    s = None
    codes = []
    try:
        socket.getaddrinfo("broker.example", 1883)
    except OSError as e:
        codes.append(e.args[0])
    try:
        s = socket.socket()
        s.settimeout(1)
        s.connect(socket.getaddrinfo("127.0.0.1", PORT)[0][-1])
    except OSError as e:
        codes.append(e.args[0])
    finally:
        if s:
            s.close()
    return codes


# --- joining


async def check_first_join_scans_and_asks_dhcp():
    store = await start()
    w = wifi(store)
    began = ticks_ms()
    await w.join(8000)
    assert ticks_ms() - began < 2500
    lines = log()
    same([line["event"] for line in lines], ["on", "scan", "join", "dhcp", "up"])
    same(lines[2]["bssid"], "021122334455")  # the stronger one of two
    same(store.writes, 1)
    same(bytes(store.data[4]), HERE + ADDRESS)
    assert w.wlan.isconnected() and unreachable() == []


async def check_second_join_neither_scans_nor_asks():
    store = await known()
    script(dhcp_ms=20000)
    await wifi(store).join(9000)
    lines = log()
    same([line["event"] for line in lines], ["on", "join", "static", "up"])
    same(lines[1]["bssid"], "021122334455")
    same(lines[1]["channel"], 6 if RP2 else None)
    same(store.writes, 0)
    same(unreachable(), [])


async def check_without_store_every_join_is_the_first():
    await start()
    for _ in range(2):
        w = wifi()
        await w.join(8000)
        assert "scan" in events()
        w.off()


async def check_joined_already():
    store = await known()
    w = wifi(store)
    await w.join(8000)
    log()
    await w.join(1)
    same(log(), [])


async def check_joined_to_another_network():
    # As after a soft reset, which leaves the radio as it is, with other settings.
    await Wifi("home", SECRET, await known(), renew=0).join(8000)
    log()
    script(ssid="elsewhere")
    network._radio.phase = network._UP  # it has both
    w = Wifi("elsewhere", SECRET)
    await w.join(8000)
    same(events(), ["off", "on", "scan", "join", "dhcp", "up"])
    same(w.wlan.config("ssid"), "elsewhere")


async def check_address_of_before_is_not_taken_for_dhcp():
    store = await known()
    await wifi(store).join(8000)
    new = ["10.0.0.9", "255.255.255.0", "10.0.0.1", "10.0.0.1"]
    script(address=new, ssid="elsewhere")
    store = Counting()
    log()
    await Wifi("elsewhere", SECRET, store).join(8000)
    same(events(), ["off", "on", "scan", "join", "dhcp", "up"])
    same(bytes(store.data[4]), HERE + " ".join(new).encode())


async def check_lost_link_is_forgotten():
    # Up to 1.24.0 RP2's active() is false then, with the radio on and its address set.
    store = await known()
    await wifi(store).join(8000)
    script(kicked=True)
    wlan = network.WLAN()
    while wlan.isconnected():
        await sleep_ms(1)
    script()
    log()
    store = Counting()
    await wifi(store).join(8000)
    found = events()
    same(found[-4:], ["scan", "join", "dhcp", "up"])
    same(store.writes, 1)


async def check_access_point_moved():
    for change in ({"bssid": "0299aabbccdd"}, {"bssid": "0299aabbccdd", "channel": 11}):
        store = await known()
        script(**change)
        w = wifi(store)
        await w.join(9000)
        found = events()
        assert found[:2] == ["on", "fault"], found
        same(found[-6:], ["off", "on", "scan", "join", "dhcp", "up"])
        same(store.writes, 1)
        same(bytes(store.data[4])[6], change.get("channel", 6))
        w.off()
        log()
        await wifi(store).join(9000)
        same(events(), ["on", "join", "static", "up"])
        same(store.writes, 1)


async def check_access_point_changed_channel_only():
    store = await known()
    script(channel=1)
    await wifi(store).join(9000)
    found = events()
    if RP2:  # told the channel, it does not look elsewhere
        assert "scan" in found and store.data[4][6] == 1
    else:
        same(found, ["on", "join", "static", "up"])


async def check_known_access_point_is_silent():
    # After a third of the time it tries without what it knew.
    store = await known()
    script(silent=True)
    w = wifi(store)
    task = asyncio.create_task(w.join(900))
    seen = []
    while "off" not in seen:
        await sleep_ms(1)
        seen += events()
    assert w.wlan.active()
    script()
    await task
    seen += events()
    same(seen[-3:], ["join", "dhcp", "up"])
    same(store.writes, 0)  # there was no time to see which access point it is


async def check_address_no_longer_valid():
    store = await known()
    new = ["192.168.9.4", "255.255.255.0", "192.168.9.1", "192.168.9.1"]
    script(address=new)
    w = wifi(store)
    await w.join(8000)
    same(unreachable(), UNREACHABLE)
    same(store.writes, 0)
    log()
    w.fresh = True
    chance(1)
    await w.join(8000)
    same(events(), ["off", "on", "join", "dhcp", "up"])
    same(unreachable(), [])
    same(store.writes, 1)
    same(bytes(store.data[4]), HERE + " ".join(new).encode())
    assert not w.fresh


async def again(store, by):
    """Join as a node does after a wake in vain; return what happened."""
    w = wifi(store)
    w.fresh = True
    chance(by)
    await w.join(8000)
    found = events()
    assert not w.fresh
    return found


async def check_access_point_that_leads_nowhere():
    store = await known()
    script(dead="021122334455")
    w = wifi(store)
    await w.join(8000)
    same(unreachable(), UNREACHABLE)
    w.off()
    # Each fourth looks for another, though the one that is known is the strongest.
    for by in 1, 2, 3, 5:
        assert "scan" not in await again(store, by)
        same(unreachable(), UNREACHABLE)
    same(store.writes, 0)
    same((await again(store, 4))[-4:], ["scan", "join", "dhcp", "up"])
    same(unreachable(), [])
    same((store.writes, bytes(store.data[4])), (1, OTHER + ADDRESS))
    w.off()
    log()
    await wifi(store).join(8000)  # and stays there
    same(events(), ["on", "join", "static", "up"])
    same(store.writes, 1)
    # And back: the other way round it was the weak one.
    script(dead="021122334454")
    same(unreachable(), UNREACHABLE)
    assert "scan" in await again(store, 0)
    same(unreachable(), [])
    same((store.writes, bytes(store.data[4])), (2, HERE + ADDRESS))


async def check_no_other_access_point():
    store = await known()
    scan = network.WLAN.scan
    network.WLAN.scan = lambda self: [ap for ap in scan(self) if ap[1] != OTHER[:6]]
    try:
        assert "scan" in await again(store, 0)
    finally:
        network.WLAN.scan = scan
    same((unreachable(), store.writes), ([], 0))


async def check_in_vain_and_now_it_does_not_join():
    # It is heard, and the strongest, and does not take the node.
    store = await known()
    script(bssid="021122334454", channel=11)
    scan = network.WLAN.scan
    network.WLAN.scan = lambda self: [
        (b"home", HERE[:6], 6, -30, 3, False),
        (b"home", OTHER[:6], 11, -80, 3, False),
    ]
    channels = network._channels
    network._channels = lambda script: {OTHER[:6]: 11}
    try:
        found = await again(store, 1)
    finally:
        network.WLAN.scan = scan
        network._channels = channels
    assert "fault" in found, found
    same(bytes(store.data[4]), OTHER + ADDRESS)


async def check_in_vain_without_time_to_scan():
    store = await known()
    w = wifi(store)
    w.fresh = True
    chance(0)
    await w.join(2900)
    same(events(), ["on", "join", "dhcp", "up"])
    same(store.writes, 0)


async def check_renew():
    module.urandom = os.urandom
    for renew, expected in ((0, {"static"}), (1, {"dhcp"}), (2, {"static", "dhcp"})):
        store = await known(scan_ms=0, join_ms=0, dhcp_ms=0)
        w = wifi(store, renew=renew)
        found = set()
        for _ in range(40):  # all the same with renew=2: once in 2**39
            await w.join(8000)
            found |= set(events()) & {"static", "dhcp", "scan"}
            w.off()
        same(found, expected)
        same(store.writes, 0)


async def check_hidden_network():
    store = await known(hidden=True)
    same(bytes(store.data[4]), bytes(7) + ADDRESS)
    await wifi(store).join(8000)
    lines = log()
    same([line["event"] for line in lines], ["on", "join", "static", "up"])
    same(lines[1]["bssid"], None)


async def check_no_time_to_scan():
    store = await start()
    await wifi(store).join(2900)
    same(events(), ["on", "join", "dhcp", "up"])
    same(store.writes, 0)  # which access point it is nobody knows


async def check_store_that_is_full():
    await start()
    w = Wifi("home", SECRET, Full())
    await w.join(8000)
    assert w.wlan.isconnected()


async def check_settings():
    store = await start()
    w = wifi(store, pm=network.WLAN.PM_NONE, hostname="node-7")
    same(network.hostname(), "node-7")
    await w.join(8000)
    same(w.wlan.config("pm"), network.WLAN.PM_NONE)
    w.off()
    assert not w.wlan.active()
    found = [line["event"] for line in log()]
    same(found[found.index("leave") :], ["leave", "off"] + ["poweroff"] * RP2)
    w.off()  # nothing to do, and no harm
    same(w.wlan.active(), False)
    await w.join(8000)
    same(w.wlan.config("pm"), network.WLAN.PM_NONE)


# --- failing


async def check_wrong_password_ends_at_once():
    store = await start(password="another")
    assert await fails(wifi(store), 9000, 2) < 3000
    same(store.writes, 0)
    with open(FOLDER + "/network.log") as f:
        assert SECRET not in f.read()
    again = "off on scan join" if RP2 else "join"  # it might have been the signal
    same(" ".join(events()), "on scan join fault " + again + " fault off")


async def check_weak_signal_is_no_wrong_password():
    store = await start(weak=1)
    w = wifi(store)
    await w.join(9000)
    assert w.wlan.isconnected()
    store = await start(weak=2)
    if RP2:
        assert await fails(wifi(store), 9000, 2) < 3000


async def check_refused_without_a_reason():
    # RP2: CYW43_LINK_FAIL, -1: not for good, but nothing comes of it.
    store = await start(refused=True)
    ms = await fails(wifi(store), 300, 0)
    assert ms < 250 if RP2 else ms >= 295, ms


async def check_no_such_network_ends_before_the_time():
    for change in ({"down": True}, {"ssid": "elsewhere"}):
        store = await start(**change)
        assert await fails(wifi(store), 9000, 1) < 3000
        store = await known()
        script(**change)
        assert await fails(wifi(store), 9000, 1) < 3000
        same((store.writes, bytes(store.data[4])), (0, HERE + ADDRESS))


async def check_never_longer_than_the_time():
    store = await known()
    for memory, change, code in (
        (None, {"silent": True}, 0),
        (store, {"silent": True}, 0),
        (store, {"no_dhcp": True}, 3),
        (store, {"join_ms": 9000}, 0),
    ):
        script(**change)
        w = wifi(memory, renew=1)
        ms = await fails(w, 120, code)
        assert 115 < ms < 400, ms
    same(store.writes, 0)


async def check_fault_of_before_is_not_taken_for_a_new_one():
    # ESP32 shows the last fault until something new happens.
    store = await start(down=True)
    w = wifi(store)
    await fails(w, 9000, 1)
    script(join_ms=60)
    await w.join(9000)
    assert w.wlan.isconnected()


async def check_cancelled_anywhere():
    store = await known()
    for memory in (None, store):
        for change in ({"silent": True}, {"no_dhcp": True}):
            for steps in range(2):
                script(**change)
                w = wifi(memory, renew=1)
                task = asyncio.create_task(w.join(8000))
                for _ in range(steps):
                    await sleep_ms(15)
                await cancelled(w, task)
    script(silent=True)
    w = wifi(store)
    task = asyncio.create_task(w.join(900))
    log()
    while "off" not in events():  # then it tries without what it knew
        await sleep_ms(1)
    await cancelled(w, task)
    same(store.writes, 0)


async def cancelled(w, task):
    """Cancel a join: the radio is off, and the next one works."""
    task.cancel()
    try:
        await task
        raise AssertionError("not cancelled")
    except asyncio.CancelledError:
        pass
    assert not w.wlan.active() and not w.wlan.isconnected()
    script()
    await w.join(8000)
    w.off()


async def check_lost_and_found():
    store = await known()
    w = wifi(store)
    await w.join(8000)
    script(down=True)
    assert not w.wlan.isconnected()
    same(unreachable(), UNREACHABLE)
    script()
    if not RP2:  # the port connects again by itself
        while not w.wlan.isconnected():
            await sleep_ms(1)
    await w.join(8000)
    same(unreachable(), [])
    same(store.writes, 0)


# --- the simulated network itself


async def check_lookup_blocks():
    store = await known()
    await wifi(store).join(8000)
    script(dns_ms=40)
    began = ticks_ms()
    socket.getaddrinfo("broker.example", 1883)
    assert ticks_ms() - began >= 40
    began = ticks_ms()
    socket.getaddrinfo("127.0.0.1", 1883)
    assert ticks_ms() - began < 40
    script(dns_fail=True)
    same(unreachable(), UNREACHABLE[:1])


async def check_unlike_the_other_chip():
    store = await known()
    w = wifi(store)
    await w.join(8000)
    same(w.wlan.status(), 3 if RP2 else 1010)
    same(hasattr(w.wlan, "deinit"), RP2)
    assert hasattr(w.wlan, "ifconfig") or hasattr(w.wlan, "ipconfig")
    for value in (b"", b"12345"):
        try:
            w.wlan.disconnect()
            w.wlan.connect("home", SECRET, bssid=value)
            raise AssertionError(value)
        except ValueError:
            pass
    try:
        w.wlan.connect("home", SECRET, channel=3)
        assert RP2
    except TypeError:
        assert not RP2


CHECKS = sorted(name for name in globals() if name.startswith("check_"))


def main():
    failed = 0
    for name in CHECKS:
        began = ticks_ms()
        try:
            asyncio.run(globals()[name]())
            print("ok", name, ticks_ms() - began, "ms")
        except Exception as e:
            failed += 1
            print("FAILED", name)
            if hasattr(sys, "print_exception"):
                sys.print_exception(e)
            else:
                import traceback

                traceback.print_exception(e)
    print("done", len(CHECKS), "checks,", failed, "failed")


if __name__ == "__main__":
    main()

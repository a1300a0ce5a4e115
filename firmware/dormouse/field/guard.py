"""A node that cannot be lost: crashes are counted, hangs end, and it can be reached in any case.

    guard.run(make, config)     # the last line of main.py

``make(config, store, log)`` returns the application, which has ``async run()``. Import what may be
broken inside ``make``. An exception out of it, or a watchdog's reset, is a crash: it is counted in
the store, its traceback goes into the log, and the chip sleeps for a while, longer each time. After
some crashes in a row the application gives way to ``safe``. A Ctrl-C is never a crash.

Settings in ``config``, all of them optional: ``crashes`` (5), in a row, until safe mode;
``safe_period`` (300 s, or ``period`` if that is longer): from one safe wake to the next; ``retry``
(8): one in so many safe wakes, by chance, tries the application; 0: only a start by a person does,
and that ``crashes`` times at most; ``watchdog`` (180 s, 0: none); ``led`` (see ``led.LED``).
"""

import asyncio
import gc
import os
import sys
from os import urandom
from time import sleep

from micropython import const

from ..packet import Refused
from ..sleep.chip import before, deepsleep, release, wake_reason
from .config import make_store
from .log import Log
from .watchdog import Watchdog, feed

if sys.implementation.name == "micropython":
    from sys import print_exception
else:
    from .._host import print_exception

_CRASHES = const(8)  # key in the store: how many in a row (1 byte), and why the last one (text)
_FIRST = const(10)  # s of sleep after the first crash
_SAFE = const(300)  # s from one safe wake to the next, at least
_PERSON = const(5)  # s in which somebody who just started the node can stop it
_MOST = const(127)  # crashes in a row: they are counted in a byte, to twice that
_DAY = const(86400)  # s, the longest limit of the watchdog
_LINES = const(-4)  # of a traceback
_REASON = const(80)  # characters of why it crashed
# errno of a flash that is full, worn or gone, and of no memory; a network has others.
_BROKEN = (5, 12, 19, 28, 30)

_this = None  # the Guard of this boot


class Guard:
    """What ``run`` knows of this boot."""

    def __init__(self, config, store, network=None):
        import machine

        global _this
        _this = self
        self.config = config
        self.network = network
        self.store = self.led = None
        self.trial = on_trial()
        limit = self.number("watchdog", 180)
        if limit <= 0 and self.trial:
            limit = 180  # boot.py's is running, and shorter
        if limit > 0:
            Watchdog(min(limit, _DAY))
        trouble = None
        try:
            self.store = store(config)
            trouble = self.store.warning
        except Exception as e:  # without one, nothing is counted, but nothing stops
            trouble = repr(e)
        self.log = Log(self.store)
        if config.get("trouble"):  # of config.load
            self.log(
                "trouble:", config["trouble"]
            )  # in each wake, so it is not to be saved in each
        self.trouble = trouble
        if trouble:
            self.log("trouble:", trouble, keep=True)
        state = (self.store and self.store.data.get(_CRASHES)) or b"\0"
        self.crashes = state[0]
        self.reason = str(state[1:], "utf-8")
        self.woken = wake_reason()
        # Somebody may be there. On RP2 a reset may be the end of a sleep, with nobody there.
        self.person = self.woken == "power" or (
            self.woken == "reset" and hasattr(machine, "DEEPSLEEP_RESET")
        )
        self.limit = min(max(self.number("crashes", 5), 1), _MOST)
        self.period = max(self.number("period", _SAFE), 1)
        self.safe_period = max(self.number("safe_period", max(self.period, _SAFE)), 1)
        try:
            if config.get("led") is not None:
                from .led import LED

                self.led = LED(config["led"])
                if self.led.outlasts:
                    before.append(self.led.light)
        except Exception as e:
            self.log("trouble: led", repr(e))  # in each wake, so it is not to be saved in each

    def number(self, name, default):
        """Return a setting, whatever is there in its place."""
        try:
            value = self.config[name]
            return default if value is True else int(value)  # "watchdog": true is not 1 s
        except (KeyError, TypeError, ValueError, OverflowError):
            return default

    def safe(self):
        """Return whether this wake is not the application's."""
        # An update on trial has to show what it can: boot.py sees to its end.
        if self.crashes < self.limit or self.trial:
            return False
        # It may have been mended over the cable: who did it starts it to see that it works. It is
        # counted before, and has an end: a panic, a brown-out, a switched supply are such starts.
        if self.person and self.crashes < 2 * self.limit:
            return not self.count()
        # By chance and not by count: a count would have to be stored.
        retry = max(self.number("retry", 8), 0)
        return not (retry and urandom(1)[0] % retry == 0)

    def crash(self, reason, text):
        """Count a crash; return whether that is on the medium."""
        self.reason = reason[:_REASON]
        try:
            self.log("crash", self.crashes + 1, text, keep=True)
        except MemoryError:
            pass  # counted it can be, for that needs less
        saved = self.count()
        self.crashes += 1
        return saved

    def count(self):
        """Write that there was one crash more, for the next boot; return whether that is there."""
        n = min(self.crashes + 1, 255)
        changes = {_CRASHES: bytes((n,)) + self.reason.encode()}
        if self.log.save(changes):
            return True
        self.log.due = False  # without the log, for which there may be no room
        return self.log.save(changes)

    def delay(self):
        """Return the s to sleep after a crash."""
        if self.crashes > self.limit:
            return self.safe_period
        return min(_FIRST << min(self.crashes - 1, 12), self.period)

    def show(self, blinks):
        """Blink for a person: only one who has just started the node may be there."""
        if self.led:
            if self.woken == "power" and blinks:
                self.led.blink(blinks)
            self.led.light()

    def leave(self):
        """After a crash, or in safe mode: before the sleep, let a person who is there stop it."""
        feed()
        self.show(5)
        if self.person:
            print("asleep in", _PERSON, "s; Ctrl-C stops it")
            sleep(_PERSON)

    def sleep(self, s):
        """Sleep for s seconds, however the application left the radio."""
        self.leave()
        _sleep(s)


def _sleep(s):
    try:
        import network

        wlan = network.WLAN()
        if hasattr(wlan, "deinit"):  # RP2, which does not sleep with its radio on
            wlan.deinit()
    except Exception:  # none there, or it is as broken as all else
        pass
    deepsleep(s * 1000)


def on_trial() -> bool:
    """Return whether this is a try of a new version of the application (see ``boot.py``)."""
    try:
        os.stat("update.json")
        from .ota import on_trial

        return on_trial()
    except Exception:  # the library on trial may be broken: boot.py sees to its end
        return False


def good(publish=None) -> None:
    """The node has reached the broker, so what crashed is over. Writes only if there were crashes.

    ``publish``: the client's or Node's; tells at <topic>/safe that safe mode is over.
    """
    g = _this
    if g and g.crashes:
        try:
            if g.crashes >= g.limit and publish:
                if publish(g.config["topic"] + "/safe", b"", 1, True).error:
                    return  # a Node's has no room
        except Exception:
            return  # no room: the next time
        g.log("well again", keep=True)
        g.log.save({_CRASHES: None})  # where that fails, the next boot does it
        g.crashes = 0


def end(error=None, publish=None, reached: bool = False) -> None:
    """The application's wake is over, with ``Node.error``, or None if all went well (``good``).
    With ``Node.reached`` that is told too by a wake that had an error, but reached the broker.

    Call it before ``Node.sleep``. Saves the log if it has to; turns the LED off, after a few
    blinks if something went wrong and the power has just been turned on: 2 no Wi-Fi, 3 no broker,
    4 refused, 5 crashed, or in safe mode.

    Raises an error of the flash or the memory, out of the application, as ``run`` wants it: that
    is a crash, for the next wake would be no better.
    """
    g = _this
    feed()
    if error is None or (reached and not _broken(error)):
        good(publish)
    if g:
        if _broken(error):
            raise error
        g.log.save()
        blinks = 0 if error is None or reached else 3
        if isinstance(error, Refused):  # MQTT 5's Failed is one
            blinks = 4
        elif type(error).__name__ == "WifiError":
            blinks = 2
        g.show(blinks)


async def watch(client) -> None:
    """Feed the watchdog for a client that stays connected, for ever: run it as a task.

    Progress is that bytes came from the broker, or that an attempt to connect ended. Its time must
    be longer than keepalive + timeout, and than the longest wait of backoff with an attempt
    (a name lookup included: 30 s). Notes, too, that the broker was reached (``good``).
    """
    # What is loaded when there is trouble takes some of the heap in one piece: in a life as long as
    # this one it may be in pieces by then, and one message too long would end each connection.
    try:
        from ..text import check  # noqa: F401
        from ..trouble import skip  # noqa: F401

        if hasattr(client.session, "store"):
            from ..store.room import without  # noqa: F401
    except MemoryError:
        pass
    seen = None
    while True:
        try:
            now = getattr(client.session, "heard", 0), client.error, client.connected
            if now != seen:
                seen = now
                feed()
                if client.connected:
                    good(client.publish_nowait)
            client._arrived.clear()
            await client._arrived.wait()
        except MemoryError:  # it may pass; a program that is well is not to be reset for it
            await asyncio.sleep(1)


async def _run(make, g):
    await make(g.config, g.store, g.log).run()


async def _visit(g):
    from .safe import visit

    await visit(g)


def run(make, config: dict, store=make_store, network=None) -> None:
    """Run the application, or safe mode. On a chip it does not return, if ``run()`` of the
    application ends in ``Node.sleep``; where that returns, this does, and the watchdog is stopped.

    ``store(config)`` returns the store. ``network()``, for a node on a cable: what joins its
    network in safe mode, which knows Wi-Fi only (see ``config.make_wifi``).

    Raises KeyboardInterrupt and SystemExit.
    """
    try:
        g = Guard(config, store, network)
        why = text = g.woken
        if why != "watchdog":
            try:
                asyncio.run(_visit(g) if g.safe() else _run(make, g))
                return
            except (Exception, asyncio.CancelledError) as e:  # the latter is no Exception
                _drop_tasks()  # it may have been for want of memory
                why, text = _tell(e)
                try:
                    from .mend import blame  # loaded now: it is much, and seldom needed

                    text = blame(config) + text
                except Exception:  # no memory for it, say
                    pass
        s = g.safe_period
        if g.crash(why, text):
            s = g.delay()
        else:
            # The next boot will not know of it: help has to come now, or never.
            feed()
            asyncio.run(_visit(g))
        g.sleep(s)
    except (Exception, asyncio.CancelledError) as e:
        # Not even that went well: then again from the beginning, in a while.
        _drop_tasks()
        print(_tell(e)[1])
        _sleep(_SAFE)
    finally:
        release()


def _broken(error):
    # Whether the chip itself is the cause of an error: its flash, or its memory. (Stores have
    # errors of their own: NVS those of ESP-IDF, littlefs 84 for what is corrupt.)
    if isinstance(error, OSError):
        failed = getattr(getattr(_this, "store", None), "failed", None)
        return error.errno in _BROKEN or (failed is not None and error.args == failed.args)
    return isinstance(error, MemoryError) or type(error).__name__ == "StoreFull"


def _drop_tasks():
    # What the application left running is not to go on, nor to hold memory. (For another queue, as
    # asyncio.new_event_loop makes it, there may be none.)
    if sys.implementation.name == "micropython":
        from asyncio.core import _io_queue, _task_queue

        while _task_queue.peek():
            _task_queue.pop()
        try:
            for _, _, stream in list(_io_queue.map.values()):
                _io_queue._dequeue(stream)
        except MemoryError:
            pass
    gc.collect()


def _tell(e):
    try:
        from io import StringIO

        f = StringIO()
        print_exception(e, f)
        return repr(e), "\n".join(f.getvalue().strip().split("\n")[_LINES:])
    except Exception as why:  # no memory, or it cannot even be told
        return type(e).__name__, "no text: " + type(why).__name__

"""Wake cycles: Wi-Fi up, one burst out, what the broker kept in, and asleep again.

A ``Node`` needs a client with a store that survives deep sleep. It keeps to a plan of wakes and to
a budget of time awake, whatever the network does; what could not be sent stays in the store.
"""

import asyncio
import sys
from binascii import crc32
from os import urandom
from time import gmtime, time, time_ns

from micropython import const

from ..packet import MQTTError, ProtocolError
from ..resume import groups
from ..session import ConnectionLost, Message, OutboxFull
from ..store.durable import CLEAN, subscribed
from .chip import before, deepsleep, wake_reason

if sys.implementation.name == "micropython":
    from time import ticks_ms
else:
    from .._host import ticks_ms

_NODE = const(3)  # keys in the store
_ADDRESS = const(6)
_FILTERS = const(2)  # DurableSession's: there since the broker keeps a session
_OUTGOING = const(0x20000)  # from here on

_NONE = const(0)  # DurableSession.fence
_DUE = const(1)
_PUBCOMP = const(7)  # Message.expect
_NEVER = const(-2)  # Message.sent
_TICKS = const(0x3FFFFFFF)
_GRACE = const(300)  # ms for DISCONNECT when the budget is spent
_GUARD = const(1000)  # ms beyond the budget, after which the chip sleeps in the middle of anything
_LONGEST = const(0x7FFFFFFF)  # ms, of ESP32's: a C int
_RP2 = const(4294967)  # ms, the longest that RP2's machine.deepsleep takes (ports/rp2/modmachine.c)
_STRIKES = const(2)  # bursts in vain, in as many wakes, that the careful order did better
_AGAIN = const(50)  # wakes in the careful order until a burst is tried again
_ASIDE = const(2)  # Message.tries, as session's
_TRIES = const(4)
_SELDOM = const(8)  # one wake in so many tries a SUBSCRIBE that was given up
_OVERTAKES = const(1)  # flags in the store: its PINGRESP overtakes messages
_WHOLE = const(2)  # the last wake ended with a clean fence
_LINGER = const(100)  # ms behind the fence, at a broker whose PINGRESP overtakes messages
_EPOCH = const(946684800)  # s from 1970 to 2000, where the time of most ports begins
_SET = const(1700000000)  # a clock that says less was never set


class Node:
    """A node that sleeps deeply.

    ``client``: a Client with a ``store``, not started. ``period``: s between wakes. ``budget``: ms
    awake at most, from the creation of the Node. ``subscribe``: pairs of topic filter and QoS, all
    that it listens to. ``wifi``: what has ``async join(ms)`` and ``off()`` (see ``wifi.Wifi``), or
    None. ``status``: a topic at which each wake leaves, retained, until when the node sleeps.
    ``jitter``: s, added at random to each sleep. ``max_messages``, ``max_bytes``: what a wake takes
    in of what the broker has queued; the rest waits there. ``expiry``: s, how long the broker keeps
    the session, if known. ``backoff``: wakes without trying to connect, at most, after many in
    vain. ``guard``: whether the chip is put to sleep by force 1 s after the budget: True whatever
    holds it up, "network" only what blocks in joining and in a name lookup (for a program whose own
    hangs are a watchdog's, see ``guard``), False never. ``renew``: one wake in so many, at random,
    looks the broker's name up again at its end, though the address of the last time answered (0:
    none, until it does not).

    ``error``: why the last wake was not complete, or None. ``reached`` (bool): whether it came to
    its end at the broker, and neither flash nor memory failed: an ``error`` that it has all the
    same is one message's or topic filter's. ``reason``: what ``wake_reason`` says.

    Raises ValueError for a plan that cannot work.
    """

    def __init__(
        self,
        client,
        period: float,
        budget: int = 10000,
        subscribe=(),
        wifi=None,
        status: str | None = None,
        jitter: float = 0,
        max_messages: int = 100,
        max_bytes: int = 32768,
        expiry: float | None = None,
        backoff: int = 16,
        guard: bool = True,
        renew: int = 8,
    ) -> None:
        import machine

        session = client.session
        store = getattr(session, "store", None)
        # RTC memory and a clock that goes on in deep sleep come together: ESP32 has both.
        clock = hasattr(machine.RTC, "memory")
        # s, from one sign of life to the next: a wake of which the timer was early by a quarter
        # counts for the one that was planned.
        away = period * 1.25 + jitter + budget / 1000
        # MQTT 5: the broker is to announce a node that misses its wake, and no other.
        delay = getattr(session, "will_delay", 0)
        if expiry is None:
            expiry = getattr(session, "expiry", None)
        subscribe = tuple(subscribe)  # it is gone through more than once
        why = 0  # of the texts in ``mistakes``
        if not store or not store.survives:
            why = 1
        elif budget + _GUARD >= period * 1000:
            why = 2
        elif expiry is not None and expiry <= away:
            why = 3
        elif delay and delay <= away:
            why = 4
        elif delay and delay > expiry:
            why = 5
        elif away * 1000 > (_LONGEST if clock else _RP2):
            why = 6
        elif not 0 <= jitter <= period:
            why = 7
        for pair in subscribe:
            if isinstance(pair, str) or len(pair) != 2:
                why = 8
                break
        if why:
            from .mistakes import text  # loaded now: a plan that works needs none

            raise ValueError(text(why))
        self.began = ticks_ms()
        self.client = client
        self.session = session
        self.store = store
        self.period = int(period * 1000)
        self.budget = budget
        self.subscribe = subscribe
        self.wifi = wifi
        self.status = status
        self.late = int.from_bytes(urandom(3), "big") * int(jitter * 1000) >> 24
        self.limits = max_messages, max_bytes
        self.backoff = backoff
        self.renew = renew
        # Wakes are at this point of each period, by the chip's clock: what a wake takes does not
        # add up, and nodes that got their power together do not wake together.
        name = session.greeting[0].encode()  # the client id
        self.phase = crc32(name) % self.period if clock else None
        self.away = away
        self.reason = wake_reason()
        self.guard = guard
        self.timer = None
        self.ip = ""  # the broker's address; None while the network is asked, which may block
        # Woken before the point: this wake is the one that was planned for it.
        self.early = self.reason == "timer" and clock
        self.address = client.address
        # DISCONNECT "with will message": its delay begins, and the next wake ends it.
        self._bye = {"code": 4} if delay else {}
        self.error = self._task = self._last = self._refused = None
        self.asked = []
        if not getattr(session, "full", True):
            session.full = "oldest"  # whatever the broker does, the newest is what it is for
        self.over = True
        self.reached = False
        # bursts in vain; wakes in vain; how many to let pass
        # whether its PINGRESP overtakes messages, and the last wake ended with a clean fence
        known = bytes(store.data.get(_NODE) or b"") + b"\0\0\0\0"
        self.strikes, self.failures, self.skip, self.flags = known[:4]
        self.early = self.early and self.next_wake() - self.late > self.period
        # An acknowledgement is to be missed within the budget; and what is set aside goes behind
        # all else, but there is no time to lose.
        session.patience = min(session.timeout, max(budget >> 2, 1))
        if guard:
            self._guard()

    # --- the plan

    def next_wake(self) -> int:
        """Return the ms from now until the next planned wake; ``sleep`` takes as many."""
        if self.phase is None:
            left = self.period - (ticks_ms() - self.began & _TICKS)
        else:
            left = (self.phase - time_ns() // 1000000) % self.period
            if self.early and left < self.period >> 2:
                left += self.period
        return max(left + self.late, 1)

    def publish(self, topic: str, payload=b"", qos: int = 0, retain: bool = False, **options):
        """Publish as ``client.publish_nowait`` does, but for what that raises: a program that ended
        here would end here at each start, and never reach its wake.

        What was not taken is ``done``, has its ``error``, and is the ``error`` of the next wake.
        What the store does not take (a full flash, say) goes at QoS 0, in this wake or not at all.
        """
        try:
            # (Not the client's: behind a wake that failed it raises why.)
            return self.session.publish(topic, payload, qos, retain, **options)
        except Exception as e:
            o = Message()
            o.done = True
            o.error = self._refused = e
        if qos and isinstance(o.error, (OutboxFull, OSError)):
            try:
                self.session.publish(topic, payload, 0, retain, **options)
            except Exception:
                pass  # there is no room in RAM either
        return o

    def waiting(self) -> int:
        """Return how many messages at QoS 1 and 2 are not through yet."""
        n = 0
        for key in self.store.data:
            n += key >= _OUTGOING
        return n

    def sleep(self, ms: int | None = None) -> None:
        """Save the session, and sleep until the next planned wake, or for ``ms``. On a chip it does
        not return.

        End the loop over ``wake`` first, or ``await close()``: without DISCONNECT the broker
        announces the node's death, its will.
        """
        try:
            try:
                self.session.save()
            finally:  # with its radio on, RP2 does not sleep
                if self.wifi:
                    self.wifi.off()
        finally:
            deepsleep(ms or self.next_wake())

    def _guard(self):
        # What blocks, a name server that does not answer for one, cannot be cancelled. All that
        # matters is on the medium already, so this is no more than a power cut that was planned.
        import machine

        def sleep(timer):
            if self.guard is True or (self.guard and self.ip is None):
                try:
                    if self.wifi and timer:
                        self.wifi.off()  # RP2's radio would stay on
                finally:
                    deepsleep(self.next_wake())

        ms = self.budget + _GUARD
        before.append(self.unguard)
        if hasattr(machine, "DEEPSLEEP_RESET"):  # ESP32's callbacks do not run while the port
            import _thread  # waits for the network (MicroPython issue 9713), but threads do
            from time import sleep as wait

            def watch():
                wait(ms / 1000)
                sleep(None)

            _thread.start_new_thread(watch, ())
        else:
            self.timer = machine.Timer(-1, mode=machine.Timer.ONE_SHOT, period=ms, callback=sleep)

    def unguard(self) -> None:
        """Do not put the chip to sleep by force: the program sees to it from now on."""
        self.guard = False
        if self.timer:
            self.timer.deinit()

    # --- a wake

    def wake(self, urgent: bool = False):
        """Return what the broker has kept: messages, for ``async for``.

        Joins the Wi-Fi and connects, sends what waits in the store, and ends when the broker has no
        more, ``max_messages`` or ``max_bytes`` are reached, or the budget is spent. Each message is
        acknowledged when the body is done with it. Raises nothing; see ``error``. After wakes in
        vain some pass without a try, but for ``urgent`` ones.
        """
        self.error = None
        self.over = self.reached = False
        self.count = self.bytes = 0
        if self.skip and not urgent:
            self.skip -= 1
            self.over = True
            if self._note():  # it could not be noted: then it would never come to an end
                self.over = False
            else:
                self.error = ConnectionLost("backoff", self.skip)
        last = self._last
        self._last = None
        self.session.put_back(last)  # an earlier loop was left before it was done
        return self

    def __aiter__(self):
        return self

    async def __anext__(self):
        last = self._last
        self._last = None
        if last:
            try:
                last.ack()
            except (OSError, MQTTError, MemoryError) as e:
                self.error = e
            last = None  # its memory may be what the next one needs
        if not self.over and not self._task:
            try:
                self._task = asyncio.create_task(self._run())
            except MemoryError as e:
                self.error = e
                self._end()
        c = self.client
        inbox = self.session.inbox
        c._changed.set()  # the body is done with what it had
        while not inbox or self._enough():
            if self.over:
                raise StopAsyncIteration
            c._arrived.clear()
            try:
                await c._arrived.wait()
            except MemoryError:  # the wake has its end, and is not to be the program's
                await asyncio.sleep(0)
        if self.over and self.error:
            raise StopAsyncIteration
        m = inbox.pop(0)
        self.count += 1
        self.bytes += len(m.payload)
        self._last = m
        return m

    async def close(self) -> None:
        """End a wake before its end; messages that were not taken come again."""
        task = self._task
        if task:
            task.cancel()
            while not task.done():
                await asyncio.sleep(0)
            await self.client.disconnect(**self._bye)  # cancelled before it began
            self._end()

    # --- inside

    def _enough(self):
        messages, size = self.limits
        return self.count >= messages or self.bytes >= size

    def _left(self):
        return self.budget - (ticks_ms() - self.began & _TICKS)

    async def _run(self):
        try:
            self.up = False
            self.ip = None
            await asyncio.wait_for(self._work(), self._left() / 1000)
        except Exception as e:  # whatever it is, the node has to get to sleep
            self.error = e
        finally:
            try:
                await self._finish()
            except Exception as e:  # no memory, say
                self.error = e
                # Nor for DISCONNECT: a client that goes on would be beside that of the next wake,
                # where there is no deep sleep.
                task = self.client._task
                while task and not task.done():
                    task.cancel()
                    await asyncio.sleep(0)
            finally:
                self._end()

    async def _finish(self):
        try:
            await asyncio.wait_for(self.client.disconnect(**self._bye), _GRACE / 1000)
        except (asyncio.TimeoutError, asyncio.CancelledError):
            pass  # MicroPython cancels what is in wait_for twice
        host, port, tls = self.address
        if self.up:
            if tls and hasattr(self.wifi, "proven"):
                self.wifi.proven()
            ip = self.ip
            renew = self.renew and not int.from_bytes(urandom(2), "big") % self.renew
            if renew and ip != host and self._left() > 0:
                # The name may lead elsewhere by now, though the old address answers.
                self.ip = None
                try:
                    ip = _lookup(host, port)
                except OSError:
                    pass
                self.ip = ip
        self._count()
        self._note()
        self.error = self.error or self._refused
        self._refused = None
        if isinstance(self.error, (OSError, MemoryError)):  # the chip's: no program is well with it
            self.reached = False

    def _count(self):
        # What this wake tells about the next ones.
        s = self.session
        # (Given up, it has more than _TRIES.)
        tries = [_tries(o) for o in self.asked] or [s.wary]
        s.wary = max(tries + [_tries(o) for o in s.again])
        for o in s.again:
            if o.tries and not o.done:
                # It is repeated for a broker that forgot, and connections ended at it: the next
                # wake asks for it, as for what was never subscribed.
                for name, _ in o.filters:
                    s.filters.pop(name, None)
                subscribed(s)
                s.withdraw(o, True)  # which saves all that
        if s.overtaken and self.flags & _WHOLE:
            self.flags |= _OVERTAKES
        self.flags &= ~_WHOLE
        if s.fence == CLEAN and not self.error:
            self.flags |= _WHOLE
        if not self.up:
            # Random, for a fleet that lost its broker is not to look for it together.
            self.failures = min(self.failures + 1, 7)
            bound = min(1 << self.failures, self.backoff + 1)
            self.skip = int.from_bytes(urandom(2), "big") * bound >> 16
            return
        self.failures = self.skip = 0
        if s.doubt:
            # It answered to CONNECT, but not to what came with it.
            self.strikes = min(self.strikes + 1, 255)
        elif self.strikes < _STRIKES or self.strikes > _AGAIN:
            self.strikes = 0
        else:
            self.strikes += 1

    def _note(self):
        # In one record, and only if anything has changed.
        data = self.store.data
        changes = {}
        state = bytes((self.strikes, self.failures, self.skip, self.flags))
        if state != (bytes(data.get(_NODE) or b"") + b"\0\0\0\0")[:4]:
            changes[_NODE] = state
        if not self.over:  # the end of a wake
            address = None
            if self.up and self.ip != self.address[0]:
                address = ("%s\0%s" % (self.address[0], self.ip)).encode()
            if address != data.get(_ADDRESS):
                changes[_ADDRESS] = address
        try:
            self.store.save(changes)
        except (OSError, MQTTError, MemoryError) as e:
            self.error = e
            return True

    def _end(self):
        self._task = None
        self.over = True
        c = self.client
        c.publish_nowait = self.session.publish  # whatever ended the client: the next wake sends it
        c._arrived.set()

    async def _work(self):
        c = self.client
        s = self.session
        s.burst = self.strikes < _STRIKES
        s.stuck = None
        self._ask()
        waiting = list(s.outbox)
        self.tried = s.tried
        await self._join()
        untold = self._tell()
        host = self.address[0]
        ip = None
        known = self.store.data.get(_ADDRESS)
        if known:
            name, ip = str(known, "utf-8").split("\0")
            if name != host:  # the settings have changed
                ip = None
        limits = c.timeout, s.timeout
        try:
            if ip or (s.burst and _FILTERS in self.store.data):
                # What is remembered may be wrong: then there has to be time for another try.
                left = max(self._left(), 1)
                c.timeout = min(c.timeout, left / 4000)
                s.timeout = min(s.timeout, left >> 1)
            await self._connect(ip)
        except (OSError, MQTTError, asyncio.TimeoutError, ValueError) as e:
            # (ValueError: somebody else has the address by now, with another certificate.)
            late = isinstance(e, asyncio.TimeoutError)
            doubt = s.doubt and not hasattr(e, "code")  # the broker has said why
            if not (ip or doubt or (late and self.wifi)):
                raise
            c.timeout, s.timeout = limits
            if late and self.wifi:
                self.wifi.fresh = True  # the network took us, and nothing came back
                await self._join()
            # The address is looked up; and in the careful order, which the session sees to.
            await self._connect(None)
        finally:
            c.timeout, s.timeout = limits
        self.up = True
        await self._drain()
        if self.flags & _OVERTAKES and s.resumed and s.fencing:
            await asyncio.sleep(_LINGER / 1000)
            await self._drain()
        if untold:
            self._tell()
        # (By now an acknowledgement's: the store did not take it, or another record.)
        self.error = self.error or s.stuck
        self.reached = not self.error
        for o in waiting:  # it has nobody else to be told
            if o.done and o.error:
                raise o.error
        if getattr(s, "expiry", self.away + 1) <= self.away:
            raise ConnectionLost("session expiry", s.expiry)  # the broker gives less than asked

    async def _drain(self):
        c = self.client
        s = self.session
        while (s.fencing and s.fence != CLEAN and not self._enough()) or not self._settled():
            if not c._task:
                raise c.error or ConnectionLost("disconnected")
            # Nobody takes what fills the inbox, or the store takes no record of what came:
            # connected again it would be the same.
            if not c.connected and (self._enough() or (s.stuck and c.error is s.stuck)):
                raise c.error or ConnectionLost("disconnected")
            if s.fencing and s.fence == _NONE and c.connected and not (s.inbox or self._busy()):
                s.fence = _DUE
                s.on_output()
            c._changed.clear()
            await c._changed.wait()

    def _ask(self):
        # Subscribe only to what the session does not have.
        s = self.session
        wanted = dict(self.subscribe)
        pairs = []
        for name in wanted:
            if s.filters.get(name) != wanted[name]:
                pairs.append((name, wanted[name]))
        names = []
        for name in s.filters:
            if name not in wanted:
                names.append(name)
        for o in self.asked:  # in an earlier wake of this process
            s.withdraw(o, True)
        self.asked = []
        if hasattr(s, "recall"):
            s.recall()  # MQTT 5: what it did not offer is not asked for together with all else
        if not (pairs or names):
            s.wary = 0  # nobody wants that any more
        # What ended connections in earlier wakes goes behind all else; given up, it is tried
        # now and then, for the reason may have passed.
        if (pairs or names) and (s.wary <= _TRIES or not urandom(1)[0] % _SELDOM):
            parts = list(groups(pairs)) + [names]
            if s.wary >= _ASIDE:
                # One of them is the reason: each by itself, in each wake another one first.
                parts = [[x] for x in pairs + names]
                n = urandom(1)[0] % len(parts)
                parts = parts[n:] + parts[:n]
            for part in parts:
                try:
                    if part:
                        o = s.request(0xA2 if isinstance(part[0], str) else 0x82, part)
                        o.tries = min(s.wary, _TRIES)
                        s.suspects += o.tries >= _ASIDE
                        self.asked.append(o)
                except Exception as e:  # no filter; MQTT 5: what the server said it does not take
                    if len(part) > 1:  # one of them, or all together: each by itself
                        parts += [part[i : i + 1] for i in range(len(part))]
                    else:
                        self._refused = e
        # A broker at which nothing is subscribed has nothing to send.
        s.fencing = bool(wanted or names)

    def _tell(self):
        # Until when the node sleeps: the clock is set by now, if it can be.
        if self.status:
            asleep = (self.next_wake() + self.budget) // 1000 + 1
            until = time() + asleep
            if gmtime(0)[0] == 2000:
                until += _EPOCH
            text = '{"asleep":%d,"until":%d}' % (asleep, until if until > _SET else 0)
            try:
                self.session.publish(self.status, text, 0, True)
            except MQTTError:
                # No room: what waits there is more important, and goes first. Or the broker retains
                # nothing.
                return True
            except Exception as e:  # no topic
                self._refused = e

    async def _join(self):
        if self.wifi:
            if self.failures:
                self.wifi.fresh = True  # its address may be another by now
            await self.wifi.join(max(self._left() * 3 >> 2, 1))  # it shall have time to say why

    async def _connect(self, ip):
        host, port, tls = self.address
        self.ip = ip
        self.ip = ip or (host and _lookup(host, port))  # "": no network, a serial line
        self.client.address = self.ip, port, tls, host
        await self.client.connect()

    def _busy(self):
        for m in self.session.held:
            if m.fresh and not m.done:
                return True

    def _settled(self):
        # The end of a QoS 2 handshake can wait where the broker keeps sessions: PUBREL goes in the
        # next burst if it has to. What is set aside gets one try in a wake: one of the messages,
        # and each request, for one filter that ends connections is not to hold up the others.
        s = self.session
        for o in s.outbox:
            if o.tries >= _ASIDE:
                if (
                    o.sent >= 0
                    or s.tried == self.tried
                    or (o.sent == _NEVER and o.expect > _PUBCOMP)
                ):
                    return False
            elif o.expect != _PUBCOMP or s.resumed == 0:
                return False
        return self._enough() or not (self.session.inbox or self._busy())


def _tries(o):
    # How wary the next wake has to be of this request.
    if isinstance(o.error, ProtocolError):  # a SUBACK that does not fit: maybe it was too many
        return _ASIDE
    return 0 if o.done and o.tries <= _TRIES else o.tries


def _lookup(host, port):
    import socket

    a = socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM)[0][-1]
    if isinstance(a, tuple):
        return a[0]
    family, a = socket.sockaddr(a)[:2]  # MicroPython's unix port
    return socket.inet_ntop(family, a)

"""A session, a broker, what is under way between them, an application, a chip: all that may happen.

A world is driven by words, the actions. ``after`` returns the world that one of them makes of this
one, which stays as it is. What must never be is raised as a Violation; what must hold once all is
calm is told by ``wrong_when_calm``.
"""

from collections.abc import Iterator
from typing import Any

from explorer.broker import (
    DOWN_TOPIC,
    FILTER,
    UP_TOPIC,
    Broker,
    Violation,
    decode,
    decode_down,
    number_of,
    payload,
    split,
)
from explorer.cases import Case
from explorer.disk import NAME, Disk, PowerCut
from explorer.library import Library
from explorer.medium import media_of, plain
from explorer.snapshot import copied, told

COMMITTED = 1  # the key in a store under which the application's own state is
MESSAGES = 0x10000  # from this key on a store holds handshakes and messages
SENT = 0x20000  # from this one on those that go out
LONG = 600_000  # ms: no wait is longer
PATIENCE = 24  # waits at the calm end of a world in which something is not yet well

# What the calm end of a world does, the first that can be done.
CALM = ("eof", "up", "down", "connect", "write", "take", "ack 0", "wait")


class Clock:
    """The time of the world that is being driven; sessions that want one share it."""

    seconds = 0

    @classmethod
    def now(cls) -> int:
        """Return s."""
        return cls.seconds


class World:
    """See the module."""

    broker: Broker
    session: Any
    in_order = False  # what is written to the disk

    def __init__(self, case: Case, library: Library) -> None:
        self.case = case
        self.library = library
        self.broker = Broker(case.broker)
        self.power = [0, -1]  # what was written so far; at what the power is cut, or -1; at what
        # it could have been
        self.disk = Disk.current = Disk(self.power, case.torn, self.in_order)
        self.now = 0  # ms; time goes on by "wait" only
        self.waits = 0
        self.session = self._booted({}, {})
        self.up: tuple[bytes, ...] = ()
        self.online = False
        self.left = case.budget  # cuts, crashes, forgets, withdrawals, waits
        # the application
        self.published = 0  # of case.ups
        self.born: tuple[int, ...] = ()  # when, in s
        self.sent = 0  # of case.downs
        self.handles: list[tuple[int, Any]] = []  # number, Message: what it waits for
        self.taken: list[Any] = []
        self.done: tuple[int, ...] = ()  # acknowledged; across a power cut, what was committed
        self.took: tuple[int, ...] = ()  # in order, from the beginning
        self.since: tuple[int, ...] = ()  # the same, since the last start
        self.promised: tuple[int, ...] = ()  # publish returned, or began to and may have succeeded
        self.ended: tuple[tuple[int, str], ...] = ()  # number, "" or the error's name
        self.withdrawn: tuple[int, ...] = ()  # those that never were on the wire
        self.subscription = False
        # the wire, as a checker sees it
        self.ever: tuple[int, ...] = ()  # numbers that were on the wire
        self.open: tuple[tuple[int, int], ...] = ()  # identifier, number: begun and not ended
        self.here: tuple[int, ...] = ()  # identifiers of PUBLISH on this connection, not answered
        self.bye = False
        self.most = case.window  # in flight, as the last CONNACK that came had it
        self.lost = 0  # how often the broker forgot
        self.small_lost = False  # the store's small part was: it then promises less
        self.owed = False  # CONNECT was written, and CONNACK did not come
        self.doubt = False  # a connection ended so: the client cannot know what its session is
        self.own: int | None = None  # of ``key``, what the client's side makes of it, once known
        self._begin()

    def _begin(self) -> None:
        """Bring it to where the exploration begins."""
        if self.case.subscribed:
            self._step("subscribe")
            for _ in range(40):
                for action in CALM[:-1]:
                    if self._can(action):
                        self._step(action)
            if not self.broker.subscribed or not self.subscription:
                raise Violation("no subscription on a good connection")

    # --- copies

    def copied(self, action: str = "") -> "World":
        """Return a copy, for an action; what that one leaves alone is one for both."""
        new = World.__new__(World)
        new.__dict__.update(self.__dict__)
        new.broker = self.broker.copied()
        if self._beyond(action):
            return new
        memo: dict[int, Any] = {}
        new.power = copied(self.power, memo)
        new.disk = copied(self.disk, memo)
        new.session = copied(self.session, memo)
        new.handles = [(n, copied(o, memo)) for n, o in self.handles]
        new.taken = [copied(m, memo) for m in self.taken]
        return new

    def _beyond(self, action: str) -> bool:
        """Return whether an action is only the broker's: the client's side stays as it is."""
        return action in ("up", "send") or (action == "forget" and not self.broker.connected)

    def key(self) -> int:
        """Return what tells this state from others."""
        self.power[0] = 0
        del self.power[2:]
        self.disk.cut = ""
        if self.own is None:
            seen: dict[int, int] = {}
            self.own = hash(
                (
                    told(self.session, seen),
                    told(self.disk, seen),
                    tuple([(n, told(o, seen)) for n, o in self.handles]),
                    tuple([told(m, seen) for m in self.taken]),
                )
            )
        return hash(
            (
                self.own,
                self.broker.told(),
                self.up,
                self.online,
                self.left,
                self.published,
                self.born,
                self.sent,
                self.done,
                self.took,
                self.since,
                self.promised,
                self.ended,
                self.withdrawn,
                self.subscription,
                self.ever,
                self.open,
                self.here,
                self.bye,
                self.most,
                self.lost,
                self.small_lost,
                self.owed,
                self.doubt,
                self.now,
            )
        )

    # --- what may happen

    def actions(self) -> Iterator[str]:
        """Yield what may happen next; some of it may turn out to change nothing."""
        case, broker, s = self.case, self.broker, self.session
        cuts, crashes, forgets, withdrawals, waits = self.left
        for action in ("eof", "up", "down", "connect", "write", "take"):
            if self._can(action):
                yield action
        for i in range(len(self.taken) if case.any_order else min(1, len(self.taken))):
            yield f"ack {i}"
        if self.published < len(case.ups) and len(s.outbox) < 8:
            yield "publish"
        if self.sent < len(case.downs):
            yield "send"
        if cuts and self.online:
            yield "cut"
        if forgets and broker.present:
            yield "forget"
        if withdrawals:
            for n, o in self.handles:
                if not o.done:
                    yield f"withdraw {n}"
        if crashes:
            yield "crash"
            if case.layered:
                yield "crash, small part lost"
        if self.online and (waits or self._can("wait")):
            yield "wait"

    def can(self, action: str) -> bool:
        """Return whether an action can be done now."""
        return self._can(action) or action in self.actions()

    def _can(self, action: str) -> bool:
        broker = self.broker
        if action == "connect":
            return not self.online
        if action == "write":
            return self.online
        if action == "up":
            return bool(self.up)
        if action == "down":  # an application that is behind holds back what comes
            return bool(broker.down) and not self.library.behind(self.session)
        if action == "eof":
            return broker.closing and not broker.down
        if action == "take":
            return bool(self.session.inbox)
        if action == "ack 0":
            return bool(self.taken)
        if action != "wait" or not self.case.calm_waits or not self.online:
            return False
        # Where time is all that is left, and something is not yet well.
        busy = self.up or broker.down or self.session.inbox or self.taken
        return (
            not busy
            and self.waits < PATIENCE
            and bool(self.wrong_when_calm())
            and self._nothing_to_write()
        )

    def _nothing_to_write(self) -> bool:
        try:
            copy = self.copied()
            Disk.current = copy.disk
            return not copy.session.take(self.now)
        except self.library.packet.MQTTError:
            return False

    def after(self, action: str) -> "World":
        """Return the world after an action. Raises Violation."""
        new = self.copied(action)
        new._step(action)
        return new

    def _step(self, action: str) -> None:
        if not self._beyond(action):
            self.own = None
        Clock.seconds = self.now // 1000
        Disk.current = self.disk
        word, *fuses = action.split("!")
        self.disk.cut = ""
        self.power[:] = 0, int(fuses.pop(0)) if fuses else -1
        try:
            try:
                self._act(word)
            except PowerCut:
                self._crash(fuses)
        except self.library.packet.MQTTError as error:
            self._ends(error)
        except Violation:
            raise
        except Exception as error:
            raise Violation(f"{type(error).__name__} in the session: {error}") from error
        self._look()

    @property
    def cuts(self) -> list[int]:
        """At what the power could have been cut in the last action."""
        return self.power[2:]

    def _act(self, action: str) -> None:
        word, _, argument = action.partition(" ")
        getattr(self, "_do_" + word.rstrip(","))(argument)

    def _spend(self, which: int) -> None:
        left = list(self.left)
        left[which] -= 1
        self.left = tuple(left)

    # --- the network

    def _do_connect(self, _: str) -> None:
        self.online = True
        self.bye = False
        self.here = ()
        self.session.connect(self.now)

    def _do_write(self, _: str) -> None:
        data = self.session.take(self.now)
        if data:
            for raw in split(bytes(data)):
                self._on_the_wire(raw)
                self.up += (raw,)

    def _do_up(self, _: str) -> None:
        raw = self.up[0]
        self.up = self.up[1:]
        self._before_the_broker(raw)
        passed = len(self.broker.passed)
        self.broker.feed(raw)
        if len(self.broker.passed) > passed:
            self._passed_on()

    def _do_down(self, _: str) -> None:
        raw = self.broker.down[0]
        self.broker.down = self.broker.down[1:]
        self._before_the_client(raw)
        self.session.receive(memoryview(raw), self.now)

    def _do_eof(self, _: str) -> None:
        self._cut(self.library.packet.ConnectionLost("closed"))

    def _do_cut(self, _: str) -> None:
        self._spend(0)
        self._cut()

    def _cut(self, error: Exception | None = None) -> None:
        """End the connection; ``error``: why, if it was the broker's doing."""
        self._doubt()
        self.broker.cut()
        self.up = ()
        self.online = False
        self.library.lost(self.session, error)

    def _doubt(self) -> None:
        self.doubt |= self.owed
        self.owed = False

    def _do_forget(self, _: str) -> None:
        self._spend(2)
        self.lost += 1
        connected = self.broker.connected
        self.broker.forget()
        if connected:
            self._cut()

    def _do_wait(self, _: str) -> None:
        if self.left[4]:
            self._spend(4)
        self.waits += 1
        self.now += min(self.session.tick(self.now), LONG)
        self.session.tick(self.now)

    def _ends(self, error: Exception) -> None:
        """The session said that the connection is to end."""
        lost = type(error) is self.library.packet.ConnectionLost
        silent = lost and error.args[0] in ("no answer", "no acknowledgement")
        faulty = self.broker.closing or self.case.broker.faulty
        if self.online and not silent and not faulty:
            raise Violation(f"the client ended the connection: {type(error).__name__} {error}")
        self._cut(error if self.broker.closing else None)

    # --- the chip

    def _booted(self, content: dict[int, bytes], small: dict[int, bytes]) -> Any:
        case, library = self.case, self.library
        options: dict[str, Any] = {"window": case.window, "pid": 65533, "clean": case.clean}
        if case.broker.version == 5:
            options["properties"] = {"receive_maximum": case.receive}
        if case.expiring or case.broker.version == 5:
            options["clock"] = Clock.now
        if case.max_packet:
            options["max_packet"] = case.max_packet
        if case.inbox:
            options["inbox_bytes"] = case.inbox
        if case.stored:
            media = media_of(library)
            store = media.file(NAME) if case.real else media.medium(content, self.power)
            if case.layered:
                other = media.memory(self.disk) if case.real else media.medium(small, self.power)
                store = media.layered(other, store)
            options["store"] = store
        kind = library.kind(case.broker.version, case.stored, case.expiring)
        session = kind(no_output, client_id="c", **options)
        if case.burst:
            session.burst = session.fencing = True
        return session

    def _do_crash(self, argument: str) -> None:
        self._spend(1)
        self.small_lost |= bool(argument)
        self._restart(bool(argument))

    def _crash(self, fuses: list[str]) -> None:
        self._spend(1)
        self.power[1] = int(fuses.pop(0)) if fuses else -1
        try:
            self._restart(False)
        except PowerCut:  # again, in the start behind it
            self._crash(fuses)

    def _restart(self, small_lost: bool) -> None:
        store: Any = self.session.store if self.case.stored else None
        self._doubt()
        self.broker.cut()
        self.up = ()
        self.online = False
        if self.case.real:
            if small_lost:
                self.disk.memory = b""
                store.small.data.clear()
            self.session = self._booted({}, {})
            self._nothing_more_is_gone(store)
        elif self.case.layered:
            small = {} if small_lost else dict(store.small.content)
            self.session = self._booted(dict(store.large.content), small)
        else:
            self.session = self._booted(dict(store.content) if store else {}, {})
        self.handles = []
        self.taken = []
        committed = self.session.committed or b"" if self.case.stored else b""
        self.done = tuple([int(n) for n in committed.split(b",") if n])
        self.since = ()

    def _nothing_more_is_gone(self, old: Any) -> None:
        """Hold what is there at a start against what was there before the power was cut."""
        new: Any = self.session.store
        pairs = [(old, new)]
        if self.case.layered:
            pairs = [(old.large, new.large), (old.small, new.small)]
            if new.small.warning:  # its memory was torn: it is empty, as if without power
                self.small_lost = True
                del pairs[1]
        for before, after in pairs:
            if after.warning:
                raise Violation(f"what was torn is taken for corrupt: {after.warning}")
            found = plain(after.data)
            if found != plain(before.data) and found != before.meant:
                what = "neither what was there nor what was to be"
                raise Violation(f"what a power cut left is {what}")

    # --- the application

    def _do_publish(self, _: str) -> None:
        n = self.published + 1
        qos = self.case.ups[self.published]
        self.published = n
        options = {"message_expiry": self.case.expiry} if self.case.expiry else {}
        self.born += (self.now // 1000,)
        o = self.session.publish(UP_TOPIC, payload(n), qos, **options)
        if qos:
            self.promised += (n,)
        self.handles.append((n, o))

    def _do_withdraw(self, argument: str) -> None:
        self._spend(3)
        n = int(argument)
        for i, (m, o) in enumerate(self.handles):
            if m == n:
                self.session.withdraw(o)
                if n in self.ever:  # it goes on to its end, or it does not: both are right
                    self.ended += ((n, "withdrawn"),)
                else:
                    self.withdrawn += (n,)
                del self.handles[i]
                return

    def _do_subscribe(self, _: str) -> None:
        self.handles.append((0, self.session.request(0x82, [(FILTER, 2)])))

    def _do_send(self, _: str) -> None:
        n = 100 + self.sent
        qos = self.case.downs[self.sent]
        self.sent += 1
        self.broker.send(qos, n)

    def _do_take(self, _: str) -> None:
        m = self.session.inbox.pop(0)
        n = number_of(m.payload)
        if m.topic != DOWN_TOPIC:
            raise Violation(f"topic {m.topic!r}")
        if m.qos == 2:
            if n in self.since or n in self.done:
                raise Violation(f"<{n}> at QoS 2 is given to the application twice")
            if any(k > n for k in self.since if self.qos(k) == 2):
                raise Violation(f"<{n}> at QoS 2 comes behind a later one")
        elif m.qos == 1 and n not in self.took:
            if any(k > n for k in self.took if self.qos(k) == 1):
                raise Violation(f"<{n}> at QoS 1 comes behind a later one")
        elif not m.qos and n in self.took:
            raise Violation(f"<{n}> at QoS 0 is given to the application twice")
        self.took += (n,)
        self.since += (n,)
        if m.qos:
            self.taken.append(m)

    def _do_ack(self, argument: str) -> None:
        m = self.taken.pop(int(argument))
        n = number_of(m.payload)
        if n not in self.done:
            self.done += (n,)
        if self.case.stored:
            m.ack(b",".join([b"%d" % k for k in self.done]))
        else:
            m.ack()

    def qos(self, n: int) -> int:
        """Return the QoS of a message by its number."""
        return self.case.downs[n - 100] if n >= 100 else self.case.ups[n - 1]

    # --- what must never be

    def _look(self) -> None:
        """Take in what became of what the application waits for."""
        for item in list(self.handles):
            n, o = item
            if not o.done:
                continue
            self.handles.remove(item)
            name = type(o.error).__name__ if o.error else ""
            if not n:
                self.subscription = not name
                continue
            self.ended += ((n, name),)
            if self.qos(n) and not name and n not in self.broker.passed:
                raise Violation(f"<{n}> is reported delivered, and the broker passed nothing on")
            if name == "SessionLost" and not (self.lost or self.doubt):
                raise Violation(f"<{n}> ends with SessionLost, and no session was lost")
            if name == "Expired" and n in self.ever:
                raise Violation(f"<{n}> ends as expired, and was on the wire")
            unborne = self.case.broker.closes + self.case.broker.mute
            if name == "Undeliverable" and n not in unborne:
                raise Violation(f"<{n}> is given up, and the broker would have taken it")
            if name == "Failed" and n not in self.case.broker.refuses:
                raise Violation(f"<{n}> ends with Failed, and was not refused")

    def _on_the_wire(self, raw: bytes) -> None:
        """Hold against the client what it writes."""
        p = decode(self.case.broker.version, raw)
        if self.bye:
            raise Violation(f"{p.name} behind DISCONNECT [MQTT-3.14.4-2]")
        if p.name == "CONNECT":
            self.owed = True
        elif p.name == "DISCONNECT":
            self.bye = True
        elif p.name == "PUBLISH":
            n = number_of(p.payload)
            if n in self.withdrawn:
                raise Violation(f"<{n}> goes out, and was withdrawn before it ever did")
            old = self.now // 1000 - self.born[n - 1]
            if self.case.expiry and n not in self.ever and old >= self.case.expiry:
                raise Violation(f"<{n}> goes out, and had expired before it ever did")
            if p.qos:
                self._publish_goes(p, n)
            self.ever += (n,) if n not in self.ever else ()
        elif p.name == "PUBREC" and self.case.stored:
            committed = self._medium().get(COMMITTED, b"").split(b",")
            for pid, qos, n, recd in self.broker.flight:
                if pid == p.packet_id and qos == 2 and not recd and b"%d" % n not in committed:
                    raise Violation(f"PUBREC of <{n}> before it was on the medium")

    def _medium(self) -> dict[int, bytes]:
        """Return what would be there after a power cut."""
        if self.case.real:
            return media_of(self.library).there(self.disk)
        store = self.session.store
        parts = (store.small, store.large) if self.case.layered else (store,)
        return {key: value for part in parts for key, value in part.content.items()}

    def _publish_goes(self, p: Any, n: int) -> None:
        pid = p.packet_id
        if pid in self.here:
            raise Violation(f"PUBLISH {pid} again on a living connection [MQTT-4.4.0-1]")
        for other, m in self.open:
            if other == pid and m != n:
                raise Violation(f"identifier {pid} of <{m}>, in flight, is used again for <{n}>")
        if (pid, n) not in self.open:
            self.open += ((pid, n),)
        if p.dup and n not in self.ever and self.left[1] == self.case.crashes:
            raise Violation(f"<{n}> with DUP, and it never was on the wire")
        self.here += (pid,)
        if len(self.here) > self.most:
            raise Violation(f"{len(self.here)} messages in flight, {self.most} may be")
        if self.case.stored and not any(payload(n) in v for v in self._medium().values()):
            raise Violation(f"PUBLISH of <{n}> before it was on the medium")

    def _before_the_broker(self, raw: bytes) -> None:
        """Hold against the client what it acknowledges."""
        p = decode(self.case.broker.version, raw)
        if p.name in ("PUBACK", "PUBREC"):
            for f in self.broker.flight:
                n = f[2]
                if f[0] == p.packet_id and n not in self.done + self.case.broker.oversize:
                    raise Violation(f"{p.name} of <{n}> before the application was done with it")

    def _before_the_client(self, raw: bytes) -> None:
        """Take in what the client is about to know."""
        p = decode_down(self.case.broker.version, raw)
        if p.name == "CONNACK":
            self.owed = False
            if not p.session_present:
                self.open = tuple([o for o in self.open if o[0] in self.here])
            if self.case.broker.version == 5:
                most = p.properties.get("receive_maximum", self.case.window)
                self.most = min(most, self.case.window)
        elif p.name in ("PUBACK", "PUBCOMP") or (
            p.name == "PUBREC" and getattr(p, "reason_code", 0) > 127
        ):
            self.open = tuple([o for o in self.open if o[0] != p.packet_id])
            self.here = tuple([pid for pid in self.here if pid != p.packet_id])

    def _passed_on(self) -> None:
        """Hold the broker's newest message against those before it."""
        *before, n = self.broker.passed
        qos = self.qos(n)
        if n in before:
            if qos == 2 and n not in self.broker.excused and not self.case.broker.wrong:
                raise Violation(f"<{n}> at QoS 2 is passed on twice")
            if qos == 0:
                raise Violation(f"<{n}> at QoS 0 is passed on twice")
            return
        if not qos:
            return
        ended = dict(self.ended)
        for m in self.promised:
            if (
                m < n
                and self.qos(m) == qos
                and m not in before
                and m not in self.withdrawn
                and not ended.get(m)
                and m not in self.broker.excused
                and m not in self.case.broker.refuses
                and m not in self.case.broker.closes + self.case.broker.mute
            ):
                raise Violation(f"<{n}> is passed on before <{m}>, which was published before it")

    # --- what must hold at the end

    def wrong_when_calm(self) -> str | None:
        """Return what is wrong with a world in which nothing is left to be done, or None."""
        s, b, case = self.session, self.broker, self.case
        if not self.online:
            return "not connected"
        if self.subscription and not b.subscribed:
            return "deaf: the application subscribed, and the broker knows nothing of it"
        ended = dict(self.ended)
        for n in self.promised:
            if n in self.withdrawn or ended.get(n) or n in case.broker.refuses:
                continue
            if n in case.broker.closes + case.broker.mute:
                continue
            given_up = n in b.excused or self.small_lost
            if n not in b.passed and not (given_up and self.qos(n) == 2):
                return f"<{n}> at QoS {self.qos(n)} is lost, and nobody was told"
        for n in range(100, 100 + self.sent):
            # Without its small part a store has lost what the application committed.
            done = self.took if self.small_lost else self.done
            if self.qos(n) and n not in done + b.gone + case.broker.oversize:
                return f"<{n}> at QoS {self.qos(n)} never reached the application"
        last = [n for n in self.took if self.qos(n) == 1]
        if last and last[-1] != max(last):
            return f"the application ends at <{last[-1]}>, and had <{max(last)}> before it"
        if self.handles:
            return f"who published <{self.handles[0][0]}> waits for ever"
        # What the broker forgot and could not say stays, a little of it, and holds up nothing.
        stays = self.lost and self.doubt
        for name in ("outbox", "inbox", "held", "released"):
            if getattr(s, name) and not (stays and name in ("held", "released")):
                return f"{name} is not empty: {len(getattr(s, name))}"
        if case.stored:
            first = SENT if stays else MESSAGES
            keys = [hex(key) for key in s.store.data if key >= first]
            if keys:
                return f"the store is not empty: {', '.join(keys)}"
        for name in ("flight", "seen", "queue"):
            if getattr(b, name) and not (name == "seen" and self.small_lost):
                return f"the broker's {name} is not empty"
        return None


def no_output() -> None:
    """The session has something to write: it is asked all the time."""

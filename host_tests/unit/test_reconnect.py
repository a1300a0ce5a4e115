"""What of client.py needs no peer: the waits between attempts, and arguments."""

import asyncio
import ssl
import sys
from types import SimpleNamespace

import pytest
from dormouse import Client, ConnectionLost, ProtocolError, Refused, Session, Will, client
from dormouse.field import guard
from dormouse.packet import publish
from dormouse.session import Message
from dormouse.store import Store


class Attempts:
    """Lets every attempt end with a given error, and notes the waits between them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, errors: list, random: bytes) -> None:
        self.waits: list[int] = []
        self.now = 0
        self.errors = list(errors)
        self.stopped = False
        monkeypatch.setattr(client.stream, "open_stream", self.open_stream)
        monkeypatch.setattr(client, "sleep_ms", self.sleep_ms)
        monkeypatch.setattr(client, "ticks_ms", lambda: self.now)
        monkeypatch.setattr(client, "urandom", lambda n: random * n)

    async def open_stream(self, *_):
        error, lasted = self.errors.pop(0)
        self.now += lasted
        raise error

    async def sleep_ms(self, ms: int) -> None:
        if self.stopped:  # disconnect's own
            return await asyncio.sleep(0)
        self.waits.append(ms)
        self.now += ms
        if not self.errors:
            self.stopped = True
            await asyncio.Event().wait()


LAST = (Refused(5), 0)


def run(attempts: Attempts, **options) -> Client:
    async def main() -> Client:
        c = Client("nowhere", client_id="c", strict=True, **options)
        c.start()
        with pytest.raises(Refused):
            await c.wait_connected()
        return c

    return asyncio.run(main())


def test_backoff_grows_to_its_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    attempts = Attempts(monkeypatch, [(OSError(111), 0)] * 9 + [LAST], b"\xff")
    run(attempts)
    bounds = [1000, 2000, 4000, 8000, 16000, 32000, 60000, 60000, 60000]
    assert [round(w, -2) for w in attempts.waits] == bounds
    assert all(w <= b for w, b in zip(attempts.waits, bounds, strict=True))


def test_full_jitter(monkeypatch: pytest.MonkeyPatch) -> None:
    attempts = Attempts(monkeypatch, [(OSError(111), 0)] * 4 + [LAST], b"\x00")
    run(attempts)
    assert attempts.waits == [0, 0, 0, 0]


def test_only_a_connection_that_stood_ends_the_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that the broker closes at once, or an attempt that hangs, is no success."""
    lost = ConnectionLost("closed")
    errors = [(lost, 0), (lost, 100), (TimeoutError(), 10000), (lost, 60000), (lost, 5), LAST]
    attempts = Attempts(monkeypatch, errors, b"\xff")
    run(attempts, backoff=(1, 100))
    assert [round(w, -2) for w in attempts.waits] == [1000, 2000, 4000, 1000, 2000]


@pytest.mark.parametrize(
    "error",
    [OSError(5), MemoryError(), TimeoutError(), ConnectionLost(), ProtocolError(0), Refused(3)],
    ids=repr,
)
def test_what_may_pass_is_tried_again(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    attempts = Attempts(monkeypatch, [(error, 0), (error, 0), LAST], b"\x00")
    run(attempts)
    assert len(attempts.waits) == 2


def test_no_memory_to_judge_what_ended_a_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever has no room there, the client goes on."""
    attempts = Attempts(monkeypatch, [(OSError(5), 0)] * 2, b"\x00")
    lost = Session.lost

    def short(self, error=None):
        lost(self, error)
        raise MemoryError

    async def main() -> None:
        monkeypatch.setattr(Session, "lost", short)
        c = Client("nowhere", client_id="c")
        c.start()
        while len(attempts.waits) < 2:
            await asyncio.sleep(0)
        assert isinstance(c.error, MemoryError) and not c.connected
        await c.disconnect()

    asyncio.run(main())


def test_no_memory_even_to_begin(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is none for the coroutine of a connection, or to close it, the client goes on."""
    attempts = Attempts(monkeypatch, [(OSError(5), 0), (OSError(6), 0), LAST], b"\x00")
    connection = Client._connection
    calls = []

    def short(self):
        calls.append(self.error)
        if len(calls) == 2:
            raise MemoryError
        return connection(self)

    monkeypatch.setattr(Client, "_connection", short)
    assert isinstance(run(attempts).error, Refused)
    assert [type(e) for e in calls] == [type(None), OSError, MemoryError, OSError]


class Wire:
    """A broker in the program itself: into a long buffer it is read without waiting."""

    def __init__(self, answers: bytes, closing: Exception | None = None) -> None:
        self.answers = answers
        self.closing = closing
        self.written: list[bytes] = []
        self.rooms: list[int] = []
        self.buffers: set[int] = set()
        self.opened = 0

    async def open_stream(self, *_):
        self.opened += 1
        self.left = memoryview(b"\x20\x02\0\0" + self.answers)
        return self, self.close

    def close(self) -> None:
        if self.closing:
            raise self.closing

    async def read(self, _, buf) -> int:
        self.rooms.append(len(buf))
        self.buffers.add(id(buf.obj))
        if len(buf) <= 384:
            await asyncio.sleep(0)
        while not self.left:
            await asyncio.sleep(0.001)
        n = min(len(buf), len(self.left) if len(self.rooms) > 1 else 4)
        buf[:n] = self.left[:n]
        self.left = self.left[n:]
        return n

    async def write(self, _, data) -> None:
        self.written.append(bytes(data))


def test_no_memory_to_put_packets_together() -> None:
    """Where packets have no room in one piece, they go one by one on the next connection."""
    wire = Wire(b"")

    async def main() -> None:
        c = Client("nowhere", client_id="c", clean=False, stream=wire, backoff=(0, 0))
        take = c.session.take

        def short(now):
            c.session.take = take
            raise MemoryError

        await c.connect()
        for n in range(3):
            c.publish_nowait("t", b"%d" % n, 1)
        c.session.take = short
        await c.wait_connected(False)
        assert isinstance(c.error, MemoryError)
        wire.written.clear()
        await c.wait_connected()
        while len(wire.written) < 4:
            await asyncio.sleep(0)
        await c.disconnect()

    asyncio.run(asyncio.wait_for(main(), 5))
    assert [data[-1:] for data in wire.written[1:4]] == [b"0", b"1", b"2"]


def test_a_stream_that_cannot_be_closed() -> None:
    wire = Wire(b"\0", closing=OSError(9))  # what ends each connection: a byte that begins nothing

    async def main() -> None:
        c = Client("nowhere", client_id="c", stream=wire, backoff=(0, 0))
        c.start()
        while wire.opened < 3:
            await asyncio.sleep(0)
        assert c._task and c.error is wire.closing
        assert len(wire.buffers) == 1, "one for all connections: there may be no memory for another"
        task = c._task
        while not task.done():  # as ``disconnect``
            task.cancel()
            await asyncio.sleep(0)
        assert c._task is None, "it has ended, and says so"

    asyncio.run(asyncio.wait_for(main(), 5))


def test_who_reads_without_waiting_lets_others_have_their_turn() -> None:
    """Whatever comes, and were it nothing that the application takes."""
    message = publish("t", bytes(1000), 0, False, 0)
    wire = Wire(bytes(message) * 100)

    async def main() -> None:
        c = Client("nowhere", client_id="c", stream=wire, inbox_bytes=200000)
        await c.connect()
        while len(c.session.inbox) < 100:
            await asyncio.sleep(0)
        await c.disconnect()

    asyncio.run(asyncio.wait_for(main(), 5))
    # Once the first came, whole packets are read at once; and one of eight reads waits.
    assert wire.rooms.count(len(message)) > 70
    for at in range(len(wire.rooms) - 8):
        assert 384 in wire.rooms[at : at + 8]


def test_a_client_that_has_ended_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    attempts = Attempts(monkeypatch, [LAST], b"\xff")
    c = run(attempts)
    with pytest.raises(Refused):
        c.publish_nowait("t", b"")

    async def main() -> None:
        attempts.stopped = True
        c.start()
        assert not c.publish_nowait("t", b"").done
        await c.disconnect()
        assert not c.publish_nowait("t", b"").done  # for the next connect()

    asyncio.run(main())


def test_publish_asks_when_it_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Made while the client had ended, and run when it was started again: as in ``gather``."""
    attempts = Attempts(monkeypatch, [LAST], b"\xff")

    async def main() -> None:
        c = Client("nowhere", client_id="c", strict=True)
        c.start()
        with pytest.raises(Refused):
            await c.wait_connected()
        attempts.stopped = True
        made = c.publish("t", b"", 1)
        c.start()
        made.send(None)
        assert c.session.outbox
        made.close()
        assert not c.session.outbox
        await c.disconnect()

    asyncio.run(main())


HOPELESS = [ValueError("certificate"), TypeError("a mistake"), Refused(1), Refused(2), Refused(4)]


@pytest.mark.parametrize("error", HOPELESS, ids=repr)
def test_strict_ends_where_waiting_does_not_help(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    attempts = Attempts(monkeypatch, [(error, 0)], b"\xff")

    async def main() -> Client:
        c = Client("nowhere", client_id="c", strict=True)
        c.start()
        with pytest.raises(type(error)):
            await c.publish("t", b"", 1)
        with pytest.raises(type(error)):
            await anext(c.messages)
        return c

    c = asyncio.run(main())
    assert c.error is error
    assert attempts.waits == []


@pytest.mark.parametrize("error", HOPELESS, ids=repr)
def test_start_never_ends_by_itself(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """It may pass, but not soon: the longest wait, and the next one is no shorter."""
    attempts = Attempts(monkeypatch, [(error, 0), (OSError(111), 0), (error, 0)], b"\xff")

    async def main() -> Client:
        c = Client("nowhere", client_id="c", backoff=(1, 60))
        c.start()
        while len(attempts.waits) < 3:
            await asyncio.sleep(0)
        assert c.error is error
        await c.disconnect()
        return c

    asyncio.run(main())
    assert [round(w, -2) for w in attempts.waits] == [60000] * 3


@pytest.mark.parametrize("error", HOPELESS, ids=repr)
def test_connect_raises_what_ended_its_first_attempt(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    attempts = Attempts(monkeypatch, [(error, 0)], b"\xff")

    async def main() -> None:
        c = Client("nowhere", client_id="c")
        with pytest.raises(type(error)):
            await c.connect()

    asyncio.run(main())
    assert attempts.waits == []


def test_arguments() -> None:
    with pytest.raises(ValueError, match="fixed client_id"):
        Client("h", clean=False)
    with pytest.raises(TypeError):
        Client("h", nonsense=1)
    with pytest.raises(ValueError):
        Client("h", keepalive=70000)
    with pytest.raises(ValueError):
        Client("h", will=Will("a/#"))
    with pytest.raises((ValueError, TypeError)):
        Client("h", will=b"x")
    for backoff in (5, (1,), None):
        with pytest.raises((ValueError, TypeError)):
            Client("h", backoff=backoff)
    assert Client("h").address == ("h", 1883, None)
    context = ssl.create_default_context()
    assert Client("h", tls=context).address == ("h", 8883, context)


@pytest.mark.mqtt311("MQTT-3.1.3-5")
@pytest.mark.mqtt5("MQTT-3.1.3-5")
def test_client_id_is_the_chips(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = SimpleNamespace(unique_id=lambda: b"\x24\x0a\xc4\x01\x02\x03")
    monkeypatch.setitem(sys.modules, "machine", machine)
    c = Client("h", clean=False)
    assert c.session.greeting[0] == "240ac4010203"
    assert Client("h", client_id="own").session.greeting[0] == "own"


def test_secrets_are_not_shown() -> None:
    c = Client("h", client_id="c", username="u", password="hidden")
    assert "hidden" not in repr(c) + repr(c.session)


def test_two_loops_are_told() -> None:
    """The second one begins while the first is in its body: at the latest when both wait."""

    async def main() -> None:
        client = Client("h")
        client._task = asyncio.create_task(asyncio.sleep(9))
        client.session.connect(0)
        message = Message()
        client.session.inbox.append(message)
        first = client.__aiter__()
        assert await first.__anext__() is message
        second = asyncio.create_task(client.__aiter__().__anext__())
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="one loop"):
            await first.__anext__()
        second.cancel()
        client._task.cancel()

    asyncio.run(main())


def test_no_memory_to_wait_for_what_was_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """It goes on, so ``publish`` does not raise: who did it again would send it twice."""

    async def main() -> None:
        c = Client("nowhere", client_id="c")
        c._task = asyncio.create_task(asyncio.sleep(1))
        short = [True]
        wait = c._changed.wait

        async def lacking() -> bool:
            if short.pop():
                raise MemoryError
            return await wait()

        monkeypatch.setattr(c._changed, "wait", lacking)
        publishing = asyncio.create_task(c.publish("t", b"x", 2))
        await asyncio.sleep(0)
        (o,) = c.session.outbox
        o.sent = 0  # it is under way
        o.done = True
        await publishing
        assert not short
        c._task.cancel()

    asyncio.run(main())


def test_watch_loads_what_is_for_trouble(monkeypatch: pytest.MonkeyPatch) -> None:
    """Later the heap may be in pieces, and have no room for it."""
    names = ("dormouse.text", "dormouse.trouble", "dormouse.store.room")
    for name in names:
        monkeypatch.setitem(sys.modules, name, None)
        del sys.modules[name]

    async def main() -> None:
        options = {"client_id": "c", "clean": False, "store": Store()}
        task = asyncio.create_task(guard.watch(Client("nowhere", **options)))
        await asyncio.sleep(0)
        task.cancel()

    asyncio.run(main())
    assert [name for name in names if name not in sys.modules] == []


def test_watch_goes_on_without_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else nobody feeds the watchdog any more, and a program that is well is reset for it."""

    async def main() -> None:
        fed = []
        monkeypatch.setattr(guard, "feed", lambda: fed.append(1))
        pauses = []
        monkeypatch.setattr(guard.asyncio, "sleep", lambda s: pauses.append(s) or pause(0))
        short = [1]

        def good(publish) -> None:
            if short:
                short.pop()
                raise MemoryError

        monkeypatch.setattr(guard, "good", good)
        c = Client("nowhere", client_id="c")
        c.connected = True
        task = asyncio.create_task(guard.watch(c))
        for heard in range(3):
            c.session.heard = heard
            c._arrived.set()
            for _ in range(3):
                await pause(0)
        assert (len(fed), pauses) == (3, [1])
        task.cancel()

    pause = asyncio.sleep
    asyncio.run(main())

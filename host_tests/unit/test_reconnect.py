"""What of client.py needs no peer: the waits between attempts, and arguments."""

import asyncio
import sys
from types import SimpleNamespace

import pytest
from dormouse import Client, ConnectionLost, ProtocolError, Refused, Session, Will, client


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
    context = object()
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

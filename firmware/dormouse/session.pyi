"""Types of session.py."""

from collections.abc import AsyncIterator, Callable, Generator, Iterable
from typing import Any, TypeAlias, TypeVar

from .packet import MQTTError, _Payload, _Will
from .packet import OutboxFull as OutboxFull
from .packet import Refused as Refused
from .packet import SessionLost as SessionLost

_T = TypeVar("_T")
_Login: TypeAlias = _T | Callable[[], _T | None] | None  # of user name, password

class Message:
    topic: str
    payload: bytes  # (a bytearray where there is no memory for it beside its packet)
    qos: int
    retain: bool
    sent: int
    done: bool
    pid: int
    expect: int
    key: int
    tries: int
    size: int
    once: bool
    error: Exception | None
    codes: int | list[int] | None
    session: Session | None  # of one that came; None at QoS 0 without a store
    properties: dict[str, Any]  # with version=5; of a message that went out None until it is done
    # With Client(large=True), see ``large``:
    length: int  # of the payload
    taken: int
    def chunks(self) -> AsyncIterator[memoryview]: ...
    async def readinto(self, buf: bytearray | memoryview) -> int: ...
    def ack(self, commit: _Payload | None = None) -> None: ...

def received(s: Session, o: Message) -> None: ...
def released(s: Session, pid: int) -> None: ...
def known(held: list[Message], pid: int) -> bool: ...
def forget(s: Session, filters: Iterable[str]) -> None: ...
def new_pid(s: Session) -> int: ...
def granted(s: Session, o: Message, codes: list[int], refused: Exception) -> None: ...

class Session:
    state: int
    early: int
    dropped: int
    again: list[Message] | tuple[()]
    denied: dict[str, int] | tuple[()]
    bulk: int
    used: int
    flying: int
    asking: int
    suspects: int
    tried: int
    troubles: int
    trouble: MQTTError | None
    on_trouble: Callable[[MQTTError], object] | None
    owed: bool
    unsure: bool
    vague: bool
    past: bool
    fence: int
    turn: int
    ended: tuple[int, ...]
    sure: int
    shed: bool
    paused: bool
    late: list[tuple[Message, int]] | tuple[()]
    size: int
    lacking: tuple[int, int]
    malformed: int
    other: Message | None
    on_output: Callable[[], object]
    clean: bool
    greeting: tuple[str, int, _Will | None]
    login: tuple[_Login[str], _Login[_Payload]]
    keepalive: int  # ms
    window: int
    limits: tuple[int, int, int, int, str, int]
    timeout: int  # ms
    patience: int  # ms
    pid: int
    outbox: list[Message]
    inbox: list[Message]
    held: list[Message]
    pids: dict[int, Message]
    released: dict[int, int]
    filters: dict[str, int]
    asked: int | None
    resumed: int | None
    def __init__(
        self,
        on_output: Callable[[], object],
        client_id: str = "",
        clean: bool = True,
        keepalive: int = 60,
        will: _Will | None = None,
        username: _Login[str] = None,
        password: _Login[_Payload] = None,
        window: int = 16,
        outbox: int = 32,
        outbox_bytes: int = 8192,
        max_packet: int = 4096,
        inbox_bytes: int = 8192,
        timeout: int = 10000,
        pid: int = 0,
        oversize: str = "skip",
        on_trouble: Callable[[MQTTError], object] | None = None,
    ) -> None: ...
    def publish(
        self, topic: str, payload: _Payload = b"", qos: int = 0, retain: bool = False
    ) -> Message: ...
    def request(
        self, first: int, filters: Iterable[tuple[str, int]] | Iterable[str]
    ) -> Message: ...
    def withdraw(self, o: Message, sent: bool = False) -> None: ...
    def put_back(self, m: Message | None) -> None: ...
    def flush(self) -> None: ...
    def disconnect(self) -> None: ...
    def connect(self, now: int) -> None: ...
    def lost(self, error: Exception | None = None) -> None: ...
    def behind(self) -> bool: ...
    def ping(self, now: int) -> None: ...
    def too_long(
        self, first: int, n: int, data: memoryview, i: int
    ) -> Generator[None, memoryview, tuple[memoryview, int, int]]: ...
    def receive(self, data: memoryview, now: int) -> memoryview | None: ...
    def tick(self, now: int) -> int: ...
    def take(self, now: int) -> bytes | bytearray | memoryview | None: ...

"""What causes and cures share: a program that stays connected, a board that sleeps."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from tools.testing import wire, wire5
from tools.testing.address import HOST
from tools.testing.board import Board
from tools.testing.peer import Connection, PeerFailure, ScriptedPeer
from tools.testing.runtimes import Device, Runtime

PROGRAMS = Path(__file__).parent / "programs"

VERSIONS = pytest.mark.parametrize("version", [4, 5], ids=["3.1.1", "5"])


class Broker:
    """Plays a broker of either version on a scripted peer's connections."""

    def __init__(self, peer: ScriptedPeer, version: int) -> None:
        self.peer = peer
        self.five = version == 5
        self.wire: Any = wire5 if self.five else wire

    def accept(self, code: int = 0, present: bool = False, **fields: Any) -> Connection:
        """Answer to the next CONNECT; ``code``: that of 3.1.1."""
        conn = self.peer.accept(10)
        packet = conn.next_packet()
        self.hello = self.decode(packet)
        if self.five:
            code = (0, 0x84, 0x85, 0x88, 0x86, 0x87)[code]
            conn.send(wire5.connack(session_present=present, reason_code=code, **fields))
        else:
            conn.send(wire.connack(present, code))
        return conn

    def decode(self, raw: bytes) -> Any:
        """Return a packet of the device, decoded."""
        return wire5.decode(raw, "up")[0] if self.five else wire.decode(raw)[0]

    def serve(self, conn: Connection, deaf: str = "") -> list[int]:
        """Answer until the device leaves, but for what is published as ``deaf``; return which
        messages it acknowledged."""
        acknowledged = []
        try:
            while True:
                packet = self.decode(conn.next_packet())
                if packet.type == wire.SUBSCRIBE:
                    conn.send(self.wire.suback(packet.packet_id, 1))
                elif packet.type == wire.PUBLISH and packet.qos and packet.topic != deaf:
                    conn.send(self.wire.puback(packet.packet_id))
                elif packet.type == wire.PINGREQ:
                    conn.send(wire.pingresp())
                elif packet.type == wire.PUBACK:
                    acknowledged.append(packet.packet_id)
        except PeerFailure:  # closed
            return acknowledged

    def take(self, conn: Connection, payload: str) -> None:
        """Take a PUBLISH at QoS 1, which has this payload."""
        packet = self.decode(conn.next_packet())
        assert (packet.type, packet.payload) == (wire.PUBLISH, payload.encode())
        conn.send(self.wire.puback(packet.packet_id))


@pytest.fixture
def stay(runtime: Runtime, tmp_path: Path) -> Iterator[Callable[..., Device]]:
    """Return a function that starts programs/staying.py with ``client`` options and more."""
    numbers = count()
    with ExitStack() as stack:

        def start(port: int, client: dict[str, Any] | None = None, **config: Any) -> Device:
            options = {"host": HOST, "port": port, "client_id": "node", "clean": False}
            config["client"] = {**options, "timeout": 5, "backoff": [0.02, 0.1], **(client or {})}
            file = tmp_path / f"{next(numbers)}.json"
            file.write_text(json.dumps(config))
            return stack.enter_context(runtime.start(PROGRAMS / "staying.py", str(file)))

        yield start


@pytest.fixture
def board(runtime: Runtime, tmp_path: Path) -> Iterator[Callable[..., Board]]:
    """Return a function that makes a board with programs/asleep.py."""
    with ExitStack() as stack:

        def make(
            port: int,
            publish: tuple = (("n", "N", 1, {}),),
            client: dict[str, Any] | None = None,
            node: dict[str, Any] | None = None,
            kind: str = "esp32",
            **config: Any,
        ) -> Board:
            config["client"] = {"port": port, "client_id": "node", "clean": False, "timeout": 2}
            config["client"] |= client or {}
            config["node"] = {"period": 60, "budget": 5000, "backoff": 0, **(node or {})}
            config["publish"] = publish
            files = {"config.json": config}
            made = Board(runtime, tmp_path, PROGRAMS / "asleep.py", files, type=kind)
            return stack.enter_context(made)

        yield make

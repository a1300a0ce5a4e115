"""Pieces of a conversation that several tests play as the broker, towards a device of conftest."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.programs import argv_of

from tools.testing import wire
from tools.testing.board import Board
from tools.testing.brokers import Broker
from tools.testing.chaos import ChaosProxy, How
from tools.testing.peer import Connection, ScriptedPeer
from tools.testing.runtimes import ROOT, Device
from tools.testing.wire import Direction

PROGRAMS = Path(__file__).parent / "programs"


def connected(peer: ScriptedPeer, session_present: bool = False) -> Connection:
    """Accept the device's next connection and its CONNECT."""
    conn = peer.accept()
    conn.expect_packet(type=wire.CONNECT, client_id="node", clean_session=False)
    conn.send(wire.connack(session_present))
    return conn


def grant(conn: Connection, qos: int) -> None:
    """Take the device's SUBSCRIBE, of one topic filter, and grant it a QoS."""
    packet = conn.expect_packet(type=wire.SUBSCRIBE)
    conn.send(wire.suback(packet.packet_id or 0, qos))


def acknowledge(conn: Connection, **fields) -> None:
    """Take the device's next PUBLISH, at QoS 1."""
    packet = conn.expect_packet(type=wire.PUBLISH, qos=1, **fields)
    conn.send(wire.puback(packet.packet_id or 0))


@contextmanager
def outage(board: Board, broker: Broker) -> Iterator[None]:
    """Take the network and the broker away, and give them back."""
    board.set_network(down=True)
    broker.kill()
    yield
    board.set_network()
    broker.start()


def cut_each(proxy: ChaosProxy, count: int) -> None:
    """Cut the connection, and so many after it, each some bytes later, this way and that."""
    plans: list[tuple[int, Direction, How]] = []
    for n in range(count):
        plans.append((45 + 15 * n, "up" if n % 2 else "down", "reset" if n % 3 else "close"))
    proxy.cut_each(*plans)


def start_ota(
    broker: Broker, topic: str, folder: Path, main: str, *args: str, key: str | None = None
) -> Device:
    """Start the tool behind `make ota` with a new main.py, for the node at a topic. key: a secret
    that it shares with the node; else the owner's key has to be in ``folder``."""
    path = folder / "new.py"
    path.write_text(main)
    argv = [*argv_of("ota"), "--host", "127.0.0.1"]
    argv += ["--port", str(broker.port), "--topic", topic, "--main", str(path), *args]
    secret = {"DORMOUSE_UPDATE_KEY": key} if key else {"XDG_CONFIG_HOME": str(folder)}
    process = subprocess.Popen(
        argv,
        cwd=ROOT,
        env={**os.environ, **secret, "PYTHONUNBUFFERED": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    return Device("ota.py", process)

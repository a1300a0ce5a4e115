"""docs/troubleshooting.md has the messages that the library prints, and no others.

All that it lists is made to happen, on every runtime: by a peer that refuses, falls silent and
sends nonsense (trouble.py), on a simulated board of either type (trouble_node.py), in a small heap.
"""

import ast
import re
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from dormouse.sleep.mistakes import text as plan
from play import PROGRAMS

from tools.testing import wire, wire5
from tools.testing.board import Board
from tools.testing.peer import Connection, PeerFailure, ScriptedPeer
from tools.testing.runtimes import CPYTHON, ROOT, Runtime

pytestmark = pytest.mark.desk("provokes messages on the simulated board and in this machine")

PAGE = ROOT / "docs" / "troubleshooting.md"

# Reason codes by the packets in which a server sends them (MQTT 5.0, tables 3-1, 3-10).
CONNACK5 = (
    *range(0x80, 0x8B),
    *(0x8C, 0x90, 0x95, 0x97, 0x99, 0x9A, 0x9B, 0x9C, 0x9D, 0x9F),
)
DISCONNECT5 = (
    *(0x00, 0x80, 0x81, 0x82, 0x83, 0x87, 0x89, 0x8B, 0x8D, 0x8E, 0x8F, 0x90, 0x93, 0x94),
    *(0x95, 0x96, 0x97, 0x98, 0x99, 0x9A, 0x9B, 0x9C, 0x9D, 0x9E, 0x9F, 0xA0, 0xA1, 0xA2),
)

HTTP = b"HTTP/1.1 400 Bad Request\r\nServer: any\r\nContent-Type: text/html\r\n" + b"x" * 99

# Of MicroPython only: CPython words them otherwise, or has no such fault.
MICROPYTHON_ONLY = (
    "AttributeError('Node',)",
    "ImportError(\"no module named 'dormouse...'\",)",
    "ImportError(\"no module named 'esp32'\",)",
    "MemoryError('memory allocation...',)",
    "ValueError('incompatible .mpy file',)",
    "OSError(118,)",
    "TypeError(\"unexpected keyword argument '...'\",)",
    "TypeError(\"'int' object isn't iterable\",)",
    "TypeError(\"unsupported types for __add__: 'str', 'bytes'\",)",
    "TypeError('object with buffer protocol required',)",
)
CPYTHON_ONLY = (
    "TypeError('cannot unpack non-iterable int object',)",
    "TypeError('can only concatenate str (not \"bytes\") to str',)",
    "TypeError(\"memoryview: a bytes-like object is required, not 'float'\",)",
)


def rows(text: str) -> list[str]:
    """Return the first column of all tables, where it is a message."""
    return re.findall(r"^\| `([^|]+)` \|", text, re.M)


def pattern(row: str) -> re.Pattern[str]:
    """Return what matches a row's messages: "..." stands for what varies."""
    return re.compile(".+".join(map(re.escape, row.split("..."))))


def answer(packet: bytes) -> Callable[[Connection], None]:
    return lambda conn: conn.send(packet)


def five(packet: bytes, **properties: Any) -> Callable[[Connection], None]:
    """A server of MQTT 5.0 that takes the connection, then sends this."""
    return lambda conn: conn.send(wire5.connack(properties=properties) + packet)


def filter_refused(conn: Connection) -> None:
    conn.send(wire.connack())
    conn.send(wire.suback(conn.expect_packet(type=wire.SUBSCRIBE).packet_id or 0, 0x80))


def filter_refused5(conn: Connection) -> None:
    conn.send(wire5.connack())
    (packet,) = wire5.decode(conn.next_packet(), "up")
    conn.send(wire5.suback(packet.packet_id or 0, 0x87))


def publish_refused5(code: int) -> Callable[[Connection], None]:
    def act(conn: Connection) -> None:
        conn.send(wire5.connack())
        (packet,) = wire5.decode(conn.next_packet(), "up")
        conn.send(wire5.pubrec(packet.packet_id or 0, code))

    return act


def session_forgotten(peer: ScriptedPeer) -> Callable[[Connection], None]:
    def act(conn: Connection) -> None:
        conn.send(wire.connack())
        conn.send(wire.pubrec(conn.expect_packet(type=wire.PUBLISH).packet_id or 0))
        conn.expect_packet(type=wire.PUBREL)
        conn.close()
        conn = peer.accept()
        conn.next_packet()
        conn.send(wire.connack(session_present=False))

    return act


def peer_cases(
    peer: ScriptedPeer, silent: int
) -> Iterator[tuple[str, dict[str, Any], str, Callable[[Connection], None] | None]]:
    """Yield name, options of the client, what the application does, and what the server does;
    None for one that it never meets."""
    keeps = {"client_id": "n", "clean": False}
    for code in range(1, 6):
        yield f"connack {code}", {}, "", answer(wire.connack(return_code=code))
    yield "suback", {}, "subscribe", filter_refused
    yield "not MQTT", {}, "", answer(HTTP)
    large = wire.connack() + wire.publish("t", payload=bytes(5000))
    yield "large", {"oversize": "keep"}, "idle", answer(large)
    yield "closed", {}, "", lambda conn: conn.close()
    yield "reset", {}, "", lambda conn: conn.reset()
    yield "silent", {"timeout": 0.5}, "", lambda conn: None
    yield "forgotten", keeps, "publish", session_forgotten(peer)
    yield "no answer to SYN", {"port": silent, "timeout": 0.2}, "", None
    with socket.create_server(("127.0.0.1", 0)) as free:
        closed = free.getsockname()[1]
    yield "nobody there", {"port": closed}, "", None

    new = {"version": 5, "client_id": "n"}
    for code in CONNACK5:
        yield f"5 connack {code:#x}", new, "", answer(wire5.connack(reason_code=code))
    for code in DISCONNECT5:
        yield f"5 disconnect {code:#x}", new, "idle", five(wire5.disconnect(code))
    yield "5 suback", new, "subscribe", filter_refused5
    yield "5 pubrec", new, "publish", publish_refused5(0x97)
    yield "5 size", new, "publish", five(b"", maximum_packet_size=5)
    yield "5 fault", new, "idle", five(b"\x36\x06\x00\x01t\x00\x01\x00")


@contextmanager
def silent_port() -> Iterator[int]:
    """A port whose connections are neither made nor refused: its queue is full."""
    with socket.socket() as server, socket.socket() as first, socket.socket() as second:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        address = server.getsockname()
        first.connect(address)
        second.setblocking(False)
        second.connect_ex(address)
        yield address[1]


def from_peer(start: Callable[..., Any], peer: ScriptedPeer) -> list[str]:
    """Return what the clients of trouble.py said."""
    with silent_port() as silent:
        cases = list(peer_cases(peer, silent))
        device = start("trouble", peer.port, cases=[case[:3] for case in cases])
        for name, _, _, act in cases:
            if act:
                conn = peer.accept()
                conn.next_packet()
                act(conn)
            device.wait_line(f"said {name} ", 10)
            if act and name != "closed":
                conn.close()
        assert device.wait_exit(10) == 0, device.transcript()
    return list(device.lines)


def heard(peer: ScriptedPeer) -> Connection:
    """Return the next connection on which anything came: a client may have gone before."""
    while True:
        conn = peer.accept()
        with suppress(PeerFailure):
            conn.next_packet()
            return conn


def from_board(runtime: Runtime, kind: str, folder: Path) -> list[str]:
    """Return what the node of trouble_node.py said."""
    with ScriptedPeer() as peer:
        files = {"config.json": {"port": peer.port}}
        with Board(runtime, folder, PROGRAMS / "trouble_node.py", files, type=kind) as board:
            board.go_on()
            board.wait_line("said no name", 20)
            conn = peer.accept()  # of the case "session expiry"
            conn.next_packet()
            conn.send(wire5.connack(properties={"session_expiry": 10}))
            board.wait_line("said not connected", 20)
            conn = heard(peer)  # of the case "disconnected"
            conn.send(wire5.connack() + wire5.publish("t", b"x"))
            board.wait_line("end", 20)
            return list(board.lines)


def from_small_heap(runtime: Runtime, folder: Path) -> list[str]:
    """Return what a chip says that is too small, and one with files for another MicroPython."""
    (folder / "old.mpy").write_bytes(b"M\x03\x00\x1f")
    program = folder / "small.py"
    program.write_text(
        "for name in ('old', 'dormouse.sleep.node'):\n"
        "    try:\n"
        "        __import__(name)\n"
        "    except Exception as e:\n"
        "        print('said', name, repr(e))\n"
    )
    done = subprocess.run(
        [*runtime.argv, "-X", "heapsize=24k", str(program)],
        env=runtime.environment(folder),
        capture_output=True,
        text=True,
        timeout=20,
    )
    return done.stdout.splitlines()


def test_page(
    start: Callable[..., Any], peer: ScriptedPeer, runtime: Runtime, tmp_path: Path
) -> None:
    """Each message that is provoked is on the page, and each on the page was provoked."""
    lines = from_peer(start, peer)
    for kind in ("esp32", "rp2"):
        lines += from_board(runtime, kind, tmp_path / kind)
    if runtime is not CPYTHON:
        lines += from_small_heap(runtime, tmp_path)
    found = [line for line in lines if line.startswith("said ")]
    assert len(found) > 90
    page = rows(PAGE.read_text())
    assert len(page) == len(set(page))
    left = set(page) - set(() if runtime is CPYTHON else CPYTHON_ONLY)
    if runtime is CPYTHON:
        left -= set(MICROPYTHON_ONLY)
        found = [line for line in found if "unexpected keyword" not in line]
        found = [line for line in found if "ModuleNotFoundError" not in line]
    strange = []
    for line in found:
        matching = {row for row in page if re.search(" " + pattern(row).pattern + "$", line)}
        if not matching:
            strange.append(line)
        left -= matching
    assert not strange, "not on the page:\n" + "\n".join(strange)
    assert not left, "on the page, and never said:\n" + "\n".join(sorted(left))


def test_how_messages_are_found() -> None:
    text = "| it says | do |\n|---|---|\n| `A('...',)` | x |\n| `b`, c | y |\n| plain | z |\n"
    assert rows(text) == ["A('...',)"]
    assert pattern("A('...',)").fullmatch("A('5 (six)',)")
    assert not pattern("A('...',)").fullmatch("B('5',)")


def words(said: ast.expr) -> Iterator[str]:
    """Yield what of an error's argument is always there: "no option %s: it is of" is two pieces."""
    if isinstance(said, ast.Constant) and isinstance(said.value, str):
        yield from (piece.strip(" :,") for piece in re.split("%[sdr]", said.value))
    elif isinstance(said, ast.BinOp):
        yield from words(said.left)
        if isinstance(said.op, ast.Add):
            yield from words(said.right)
    elif isinstance(said, ast.IfExp):
        yield from words(said.body)
        yield from words(said.orelse)


def errors(tree: ast.AST) -> Iterator[ast.Call]:
    """Yield where errors are made, be they raised there, returned or put aside."""
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name)):
            continue
        if re.search("(Error5?|Lost|Full|Refused|Undeliverable)$", node.func.id):
            yield node


def test_all_messages_are_told() -> None:
    """What the library says in words stands on a page for users, so that they can look it up."""
    pages = "".join(path.read_text() for path in PAGE.parent.glob("*.md"))
    found = 0
    for path in (ROOT / "firmware" / "dormouse").rglob("*.py"):
        for node in errors(ast.parse(path.read_text())):
            for piece in [piece for said in node.args for piece in words(said)]:
                found += 1
                where = f"{path.name}, line {node.lineno}: {piece!r} is on no page"
                assert piece in pages, where
    assert found > 100
    for why in range(1, 9):  # a Node's plan: texts by number
        assert plan(why) in pages, plan(why)


def test_errors_are_found_wherever_they_are_made() -> None:
    text = "raise ValueError('a'); return OSError('b %s c: %d' % x); e = StoreFull('d' + e + ' f')"
    said = [list(words(node.args[0])) for node in errors(ast.parse(text))]
    assert said == [["a"], ["b", "c", ""], ["d", "f"]]
    (choice,) = ast.parse("ValueError('a' if b else 'c')").body
    assert isinstance(choice, ast.Expr) and isinstance(choice.value, ast.Call)
    assert list(words(choice.value.args[0])) == ["a", "c"]

"""make ota: what it says when it cannot be done; what it sends to a node is in test_update.py."""

import asyncio
import hmac
import io
import json
import os
import signal
import subprocess
import types
from collections.abc import Callable
from pathlib import Path

import pytest
from harness.programs import argv_of
from rich.console import Console

from tools.board import ota
from tools.board.fleet import Fleet, Node
from tools.board.ota import Sending
from tools.board.owner import SecretOwner
from tools.board.update import WHOLE, Bundle, share
from tools.testing.brokers import AmqttBroker, MosquittoBroker, free_port
from tools.testing.certs import certificates
from tools.testing.runtimes import ROOT, Device

TOPIC = f"test/{os.getpid()}/tool"
KEY = "k" * 32


def run(tool, *args: str, key: str | None = KEY, **environment: str):
    known = {k: v for k, v in os.environ.items() if not k.startswith("DORMOUSE_")}
    if key:
        environment["DORMOUSE_UPDATE_KEY"] = key
    # No terminal: nothing can be asked.
    known["XDG_CONFIG_HOME"] = "/nonexistent"
    return tool("ota.py", *args, env={**known, **environment}, stdin=-3)


@pytest.mark.parametrize(
    ("main", "why"),
    [
        ("x = \n", "SyntaxError"),
        ("match x:\n    case 1: pass\n", "SyntaxError"),  # CPython would take it
        (None, "No such file"),
    ],
)
def test_programs_that_cannot_run(tool, tmp_path: Path, main: str | None, why: str) -> None:
    path = tmp_path / "main.py"
    if main:
        path.write_text(main)
    done = run(tool, "--host", "127.0.0.1", "--topic", TOPIC, "--main", str(path))
    assert done.returncode == 1 and why in done.stderr and "Traceback" not in done.stderr


def test_what_is_missing(tool, tmp_path: Path) -> None:
    with AmqttBroker() as broker:
        where = ("--host", "127.0.0.1", "--port", str(broker.port), "--topic", TOPIC)
        done = run(tool, *where, key=None)
        assert done.returncode == 1 and "make ota-key" in done.stderr
        done = run(tool, *where, key="4711")
        assert done.returncode == 1 and "32 characters" in done.stderr
        done = run(tool, *where, "--key", str(tmp_path / "none.pem"), key=None)
        assert done.returncode == 1 and "none.pem: No such file" in done.stderr
        done = run(tool, *where, "--username", "somebody")
        assert done.returncode == 1 and "DORMOUSE_PASSWORD=" in done.stderr
        wrong = {"DORMOUSE_USERNAME": "somebody", "DORMOUSE_PASSWORD": "a secret"}
        done = run(tool, *where, **wrong)
        assert done.returncode == 1 and "check DORMOUSE_USERNAME" in done.stderr
        assert "a secret" not in done.stdout + done.stderr
        done = run(tool, *where, "--ca", str(tmp_path / "none.pem"))
        assert done.returncode == 1 and "none.pem: No such file" in done.stderr
    done = run(tool, "--host", "127.0.0.1", "--port", str(free_port()), "--topic", TOPIC)
    assert done.returncode == 1 and "What to do: check HOST" in done.stderr
    assert "Connection refused" in done.stderr  # asyncio keeps it for itself
    assert "Traceback" not in done.stderr


def test_tls(tool, mosquitto: Callable[..., MosquittoBroker]) -> None:
    """What is wrong with it is said; with the right files the tool is in, and offers the update."""
    certs = certificates()
    broker = mosquitto(tls=certs, require_client_certificate=True)
    where = ("--host", "127.0.0.1", "--port", str(broker.tls_port), "--topic", TOPIC)
    client = ("--cert", str(certs.client.certificate_file))
    for args, why, do in (
        ((), "reset", "--tls"),
        (("--ca", str(certs.foreign_ca_file)), "self-signed", "--ca FILE of who signed"),
        (("--ca", str(certs.ca_file)), "", "--cert-key"),
        (("--ca", str(certs.ca_file), *client), "client.pem", ""),
    ):
        done = run(tool, *where, *args)
        assert done.returncode == 1 and "Operation not permitted" not in done.stderr
        assert why in done.stderr and do in done.stderr and "Traceback" not in done.stderr
    argv = [*argv_of("ota"), *where, "--ca", str(certs.ca_file)]
    process = subprocess.Popen(
        [*argv, *client, "--cert-key", str(certs.client.key_file)],
        cwd=ROOT,
        env=os.environ | {"DORMOUSE_UPDATE_KEY": KEY},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    with Device("ota.py", process) as sender:
        sender.wait_line("waiting for the next wake", 10)
        process.send_signal(signal.SIGINT)
        assert sender.wait_exit(10) == 130


@pytest.mark.parametrize(
    "args",
    [
        ("--topic", "a/#"),  # where do they read?
        ("--topic", ""),
        ("--topic", "a b"),
        ("--topic", "a/b+"),
        ("--topic", "#/a"),
        ("--update-topic", "fleet/#"),
        ("--first", "0"),
        ("--then", "x%"),
        ("--app", "two words"),
        ("--nodes", "/nonexistent"),
        ("--nodes", "/bin/sh"),  # no text
        ("--topic", "a/+", "--update-topic", "u", "--node", "b/7"),  # for whom it is not
        ("--topic", "a/+", "--update-topic", "u", "--node", "a/+"),
        ("--tries", "0"),
        ("--port", "99999"),
        ("--ca", ""),
        ("--expires", "-1"),
        ("--repeat", "nan"),
        ("--order", "fly"),
        ("--order", "stay"),
        ("--host", "h:1"),
        (),
    ],
)
def test_options_that_cannot_be(tool, args: tuple[str, ...]) -> None:
    topic = () if "--topic" in args or not args else ("--topic", "a")
    done = run(tool, "--host", "h", *topic, *args)
    assert done.returncode == 2 and "error:" in done.stderr
    assert args or "TOPIC=" in done.stderr  # as make has it


def test_dry_run(tool, tmp_path: Path) -> None:
    (tmp_path / "font.bin").write_bytes(bytes(100))
    files = ("--file", str(tmp_path / "font.bin"), "--file", f"lib/a.bin={tmp_path}/font.bin")
    done = run(tool, "--host", "h", "--topic", "a", "--dry-run", "--library", *files, key=None)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert {"font.bin: 100 bytes", "lib/a.bin: 100 bytes"} <= set(lines)
    assert "lib/dormouse/client.py: remove" in lines  # or it would be taken before the .mpy
    assert any(line.startswith("lib/dormouse/client.mpy: ") for line in lines)
    assert lines[-1] == "nothing was sent" and not any("main.py" in line for line in lines)


def test_dry_run_of_large_messages(tool, tmp_path: Path) -> None:
    (tmp_path / "font.bin").write_bytes(bytes(100_000))
    args = ("--file", str(tmp_path / "font.bin"), "--large")
    done = run(tool, "--host", "h", "--topic", "a", "--dry-run", *args, key=None)
    assert "... and as 2 messages of up to 66,560 bytes" in done.stdout, done.stderr
    done = run(tool, "--help", key=None)
    assert "LargeOta" in done.stdout


def test_a_broker_that_takes_no_large_messages(
    mosquitto: Callable[..., MosquittoBroker], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has the chunks, and that is said; it is not tried again when the connection was lost."""
    monkeypatch.setattr(ota, "TIMEOUT", 0.2)
    broker = mosquitto(extra_config="max_packet_size 20000")
    where = ["--host", "127.0.0.1", "--port", str(broker.port), "--topic", TOPIC]
    options = ota.parse([*where, "--large"])
    bundle = Bundle({"main.py": bytes(80_000)}, 3, 60, 8000)
    first, chunks = bundle.chunks()

    async def send() -> Sending:
        async with ota.connected(options, None) as client:
            offer = ota.make_offer(options, bundle, first)
            sending = Sending(client, options, SecretOwner(KEY), offer)
            sending.chunks = chunks
            sending.console = Console(file=io.StringIO(), width=200)
            for _ in range(2):
                await sending.put_chunks()
            await sending.clear()
            return sending

    sending = asyncio.run(send())
    said = sending.console.file.getvalue()  # type: ignore[attr-defined]
    assert "the broker takes no messages of 66,560 bytes" in said
    assert said.count("messages of 32 chunks") == 1
    assert set(sending.kept.values()) == {b""} and len(sending.kept) == len(chunks) + 2


def test_numbers_grow(tmp_path: Path) -> None:
    """The same files go on under their number until it has ended; others get the next one. They
    are counted: a clock that is a century ahead would leave no room."""
    path = tmp_path / "owner.numbers.json"
    assert ota.Numbers(path, "a").take("files", None) == (1, False)
    assert ota.Numbers(path, "a").take("files", None) == (1, True)
    assert ota.Numbers(path, "a").take("others", None) == (2, False)
    assert ota.Numbers(path, "b").take("files", None) == (3, False)  # one owner, one count
    numbers = ota.Numbers(path, "a")
    assert numbers.open() == (2, "others")
    numbers.end()
    assert ota.Numbers(path, "a").take("others", None) == (4, False)
    assert ota.Numbers(path, "a").take("others", 9) == (9, False)
    assert ota.Numbers(path, "a").order() == 10
    with pytest.raises(ota.CannotUpdate, match="11 or more"):
        ota.Numbers(path, "a").take("others", 10)
    for junk in ("", "{", "[]", '{"last": "x"}', "null"):
        path.write_text(junk)
        with pytest.raises(ota.CannotUpdate, match="--number"):
            ota.Numbers(path, "a")


def test_numbers_of_tools_side_by_side(tmp_path: Path) -> None:
    """Two groups of one owner are updated at once: neither writes over what the other counted."""
    path = tmp_path / "owner.numbers.json"
    a, b, c = (ota.Numbers(path, name) for name in "abc")
    assert [n.take("files", None)[0] for n in (a, b, c)] == [1, 2, 3]
    assert a.order() == 4
    b.end(2)
    a.end(1)
    assert ota.Numbers(path, "c").take("files", None) == (3, True)
    assert ota.Numbers(path, "b").take("files", None) == (5, False)
    newer = ota.Numbers(path, "c").take("others", None)[0]
    c.end(3)  # which was begun by another tool at the same topic, and goes on
    assert ota.Numbers(path, "c").take("others", None) == (newer, True)


def test_expiry_of_an_update_that_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So many days at least, at whatever hour; and the same command goes on, behind midnight too,
    as long as its time is not over."""
    options = ota.parse(["--host", "h", "--topic", "t", "--expires", "2"])
    bundle = Bundle({"main.py": b"x"}, 3, 300, 60000)
    numbers = ota.Numbers(tmp_path / "numbers.json", "t/update")
    midnight = 20_000 * ota.DAY
    for now, number in ((-10, 1), (0, 1), (10, 1), (2 * ota.DAY, 2), (2 * ota.DAY + 10, 2)):
        monkeypatch.setattr(ota.time, "time", lambda now=now: midnight + now)
        offer = ota.make_offer(options, bundle, "0" * 64)
        assert 2 * ota.DAY <= offer.expiry - midnight - now < 3 * ota.DAY
        offer = ota._resumed(offer, numbers.open()[1])
        assert numbers.take(offer.text(0), None)[0] == number, now
    other = ota._resumed(ota.make_offer(options, bundle, "1" * 64), numbers.open()[1])
    assert numbers.take(other.text(0), None)[0] == 3


def test_numbers_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "owner.numbers.lock").mkdir()
    with pytest.raises(ota.CannotUpdate, match="the numbers of updates are counted"):
        ota.Numbers(tmp_path / "owner.numbers.json", "a").take("files", None)
    (tmp_path / "owner.numbers.lock").rmdir()
    (tmp_path / "owner.numbers.new").mkdir()
    with pytest.raises(ota.CannotUpdate, match=r"owner\.numbers\.new: Is a dir"):
        ota.Numbers(tmp_path / "owner.numbers.json", "a").order()


def test_key_that_is_made(tool, tmp_path: Path) -> None:
    """For this user only, and never over another one."""
    env = os.environ | {"XDG_CONFIG_HOME": str(tmp_path), "DORMOUSE_KEY_PASSPHRASE": "long enough"}
    for args in ((), ("--key", str(tmp_path / "b.pem"), "--passphrase", "--bits", "3072")):
        done = tool("owner.py", *args, env=env)
        assert done.returncode == 0, done.stderr
        done = tool("owner.py", *args, env=env)
        assert done.returncode == 1 and "is not overwritten" in done.stderr
    for path in (tmp_path / "dormouse" / "owner.pem", tmp_path / "b.pem"):
        assert path.stat().st_mode & 0o777 == 0o600 and "PRIVATE" in path.read_text()
        assert "PUBLIC" in path.with_suffix(".pub.pem").read_text()
    assert "ENCRYPTED" in path.read_text() and (tmp_path / "dormouse").stat().st_mode & 0o077 == 0


def test_stages() -> None:
    """As many nodes as were said, whatever their names; each later stage has the earlier ones."""
    topics = [f"greenhouse/{n}" for n in range(50)]
    fleet = Fleet(topics, 7, "", lambda topic: None)
    before: set[str] = set()
    for count in (1, 5, 49, 50):
        stage = {node.topic for node in fleet.stage(share(7, topics, count))}
        assert len(stage) == count and before <= stage
        before = stage


def test_whom_it_believes() -> None:
    """Only what the node's own key proves; what is shown of the rest has no escapes in it."""
    secret = "s" * 32
    fleet = Fleet(["n"], 5, "o" * 16, lambda topic: secret)

    def say(key: str, topic: str = "n", **words: object) -> bool:
        text = json.dumps({"id": 5, "of": "o" * 16, "state": "done", "runs": 5} | words)
        code = hmac.new(key.encode(), f"dormouse-report {topic} {text}".encode(), "sha256")
        payload = f'{text[:-1]}, "mac": "{code.hexdigest()}"}}'
        return bool(fleet.hear("n", payload.encode()))

    say("x" * 32, why="\x1b[2Jforged")
    assert fleet.nodes["n"].state == "waiting" and "not proven" in fleet.nodes["n"].words()
    for words in ({"id": 4}, {"of": "x"}, {"state": "odd"}, {"id": True}, {"runs": -1}):
        say(secret, **words)
    say(secret, topic="m")  # another node's, replayed
    for junk in (b"", b"[]", b"\xff", b"[" * 4000, b'{"id": 1e999}', b"x" * 5000):
        assert not fleet.hear("n", junk)
    assert fleet.nodes["n"].state == "waiting"
    assert not fleet.hear("stranger", b"{}") and list(fleet.nodes) == ["n"]
    assert say(secret, state="back", why="\x1b[31mred\n\u202e" + "x" * 500)
    shown = fleet.nodes["n"].words()
    assert "\x1b" not in shown and "\n" not in shown and "\u202e" not in shown and len(shown) < 200
    console = Console(file=io.StringIO(), width=100)
    fleet.nodes["[red]n[/]"] = Node("[red]n[/]\x1b")
    console.print(fleet.table(WHOLE, 5))
    assert "[red]n[/]?" in console.file.getvalue()  # type: ignore[attr-defined]


def test_what_was_said_before() -> None:
    """An end stays, whatever of this update is said again. One who has another update of this
    number takes none by it."""
    secret = "s" * 32
    fleet = Fleet(["a", "b"], 5, "o" * 16, lambda topic: secret)

    def say(topic: str, state: str, of: str = "o" * 16, key: str = secret, id: int = 5) -> str:
        text = json.dumps({"id": id, "of": of, "state": state, "runs": 5})
        code = hmac.new(key.encode(), f"dormouse-report {topic} {text}".encode(), "sha256")
        fleet.hear(topic, f'{text[:-1]}, "mac": "{code.hexdigest()}"}}'.encode())
        return fleet.nodes[topic].state

    for state in ("have", "refused", "have", "done"):
        assert say("a", state) == state
    assert [say("a", state) for state in ("have", "trial", "refused")] == ["done"] * 3
    other = "p" * 16
    assert say("b", "have", other) == say("b", "done", other, "x" * 32) == "waiting"
    assert say("b", "done", other, id=4) == "waiting"
    assert say("b", "done", other) == "refused"
    assert "number 5 was another update's" in fleet.nodes["b"].words()


class Talk:
    """In the place of a client: somebody says all of this."""

    _task = True

    def __init__(self, *messages: tuple[str, bytes, bool]):
        self._messages = []
        for topic, payload, retain in messages:
            self._messages.append(
                types.SimpleNamespace(topic=topic, payload=payload, retain=retain)
            )
        self.published: list[str] = []

    @property
    async def messages(self):
        for message in self._messages:
            yield message

    async def subscribe(self, *filters) -> None:
        pass

    async def publish(self, topic: str, *args) -> None:
        self.published.append(topic)


def test_somebody_who_says_much() -> None:
    """More than there is room for before anybody listens: what comes later is heard."""

    async def main() -> int:
        news: asyncio.Queue = asyncio.Queue(3)
        await ota.listen(Talk(*[("t/state", b"x", True)] * 9), news)
        return news.qsize()

    assert asyncio.run(main()) == 3


def test_an_answer_while_the_connection_was_lost() -> None:
    """The broker retains it, and it is by its number this order's: one that was refused."""
    owner = SecretOwner(KEY)

    def answer(n: int, why: str = "") -> bytes:
        text = json.dumps({"order": n, "versions": ["1", 0]} | ({"why": why} if why else {}))
        code = hmac.new(KEY.encode(), f"dormouse-report g {text}".encode(), "sha256")
        return f'{text[:-1]}, "mac": "{code.hexdigest()}"}}'.encode()

    client = Talk(
        ("g/safe", answer(6), True),
        ("g/log", b"before", True),
        ("g/safe", answer(7, "OSError(2,)"), True),
        ("g/safe", answer(7), False),  # of the next safe wake
    )
    options = types.SimpleNamespace(topic="g", order="erase x", number=7, believe=False)
    with pytest.raises(ota.CannotUpdate, match="No such file"):
        asyncio.run(ota.order(client, options, owner, None))  # type: ignore[arg-type]


def test_content_of_earlier_updates_goes_too() -> None:
    """What nobody ended; not what is the application's, nor of a newer one, nor what is gone."""
    client = Talk()
    options = ota.parse(["--host", "h", "--topic", "a", "--update-topic", "u"])
    bundle = Bundle({"main.py": bytes(3000)}, 3, 60, 8000)
    first, chunks = bundle.chunks()
    offer = ota._numbered(ota.make_offer(options, bundle, first), 5)
    sending = Sending(client, options, SecretOwner(KEY), offer)
    sending.chunks = chunks
    stays = ["u", "u/4", "u/x/1", "u/4/x", "u/6/0", "u/4/0/32/1", "v/4/0", "u/-4/0"]
    stays.append(f"u/{'9' * 5000}/1")

    async def main() -> None:
        await sending.put_chunks()
        for topic in ("u/4/0", "u/4/17", "u/3/32/32", "u/5/1", "u/5/2", *stays):
            sending.hear(types.SimpleNamespace(topic=topic, payload=b"x", retain=True))
        sending.hear(types.SimpleNamespace(topic="u/4/1", payload=b"", retain=False))
        client.published.clear()
        await sending.clear()

    asyncio.run(main())
    gone = ["u/3/32/32", "u/4/0", "u/4/17", "u/5/0", "u/5/0/32", "u/5/1", "u/5/2"]
    assert sorted(client.published) == gone

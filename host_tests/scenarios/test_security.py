"""The recipes of docs/security.md, as they stand there: OpenSSL's commands, mosquitto's files, the
program that moves a node to another authority. Only names of hosts and numbers of ports differ.
"""

import os
import re
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
from harness import owner
from harness.programs import argv_of
from paho.mqtt.enums import CallbackAPIVersion

from tools.testing import runtimes
from tools.testing.board import Board, End
from tools.testing.brokers import MosquittoBroker, free_port
from tools.testing.needs import missing
from tools.testing.runtimes import FIRMWARE, ROOT, Device
from tools.testing.sntp import TimeServer

pytestmark = pytest.mark.desk("runs on the simulated board, with certificates for localhost")

PAGE = (ROOT / "docs" / "security.md").read_text()
MAIN = (FIRMWARE / "main.py").read_text()
NODE, OTHER = "greenhouse/7", "greenhouse/8"


def block(kind: str, word: str) -> str:
    """Return the one block of the page of a kind that has a word in it."""
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    (text,) = [text for found, text in blocks if found == kind and word in text]
    return text.replace("broker.local", "localhost")


def shell(text: str, folder: Path) -> None:
    done = subprocess.run(
        ["sh", "-e", "-c", text], cwd=folder, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr


def authority(folder: Path) -> None:
    """Make an authority, the broker's certificate and nodes', the owner's with them."""
    folder.mkdir(exist_ok=True)
    commands = block("sh", "-x509")
    shell(commands, folder)
    *_, node = commands.split("\n\n")
    for name, file in (("owner", "owner."), (OTHER.replace("/", "\\/"), "other.")):
        shell(node.replace("greenhouse\\/7", name).replace("node.", file), folder)


class Person:
    """A client with a certificate. Sees what the broker lets it see."""

    def __init__(self, port: int, folder: Path, name: str) -> None:
        self.seen: list[tuple[str, bytes]] = []
        ready = threading.Event()
        self.client = client = paho.Client(CallbackAPIVersion.VERSION2, name)
        client.tls_set(
            str(folder / "ca.pem"), str(folder / f"{name}.pem"), str(folder / f"{name}.key")
        )
        client.on_connect = lambda *_: client.subscribe("#", 1)
        client.on_subscribe = lambda *_: ready.set()
        client.on_message = lambda c, u, m: self.seen.append((m.topic, bytes(m.payload)))
        client.connect("localhost", port)
        client.loop_start()
        assert ready.wait(10)

    def put(self, topic: str, payload: str = "x", retain: bool = False) -> None:
        self.client.publish(topic, payload, 1, retain).wait_for_publish(10)

    def wait(self, topic: str) -> bytes:
        """Wait for a message; return the payload of the newest."""
        end = time.monotonic() + 10
        while time.monotonic() < end:
            for seen, payload in reversed(list(self.seen)):
                if seen == topic:
                    return payload
            time.sleep(0.01)
        raise AssertionError(f"nothing at {topic}: {self.seen}")

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


class Scene:
    """The broker by the page's files, in a folder with all that they name, and a node."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        self.stack, self.folder = stack, folder
        authority(folder)
        (folder / "acl").write_text(block("", "pattern read"))
        self.port = free_port()
        self.broker: MosquittoBroker | None = None
        self.general, self.config = block("", "listener 8883").split("\n\n")

    def serve(self, *listeners: str) -> None:
        """Start the broker with these configurations of listeners in place of what there was."""
        if self.broker:
            self.broker.stop()
        self.broker = MosquittoBroker(
            runtimes.get.mosquitto(),
            allow_anonymous=False,
            extra_config="\n".join([self.general, *listeners]),
        )
        self.stack.enter_context(self.broker)

    def listener(self, port: int, **files: str) -> str:
        text = self.config.replace("listener 8883", f"listener {port} 127.0.0.1")
        for name, file in files.items():
            text = re.sub(rf"^{name} .*$", f"{name} {file}", text, flags=re.MULTILINE)
        return text

    def person(self, name: str, port: int | None = None, ca: str = "") -> Person:
        made = Person(port or self.port, self.folder / ca, name)
        self.stack.callback(made.close)
        return made

    def board(self, time_server: int) -> Board:
        for file, kind in (("ca", "x509"), ("node", "x509"), ("node.key", "pkey -traditional")):
            name = file if "." in file else f"{file}.pem"
            command = f"openssl {kind} -in {name} -outform der -out {file}.der"  # as in tls.md
            shell(command, self.folder)
        config: dict[str, Any] = {"host": "localhost", "port": self.port, "client_id": "n"}
        config |= {"topic": NODE, "period": 300, "budget": 8000}
        config |= {"ntp": "127.0.0.1", "ntp_port": time_server}
        config["tls"] = {"ca": "ca.der", "cert": "node.der", "key": "node.key.der"}
        config["update_key"] = owner.signer().key
        config["node_key"] = owner.signer().node_key(NODE)
        files: dict[str, Any] = {"config.json": config, "main.py": MAIN}
        files["boot.py"] = (FIRMWARE / "boot.py").read_text()
        for name in ("ca.der", "node.der", "node.key.der"):
            files[name] = (self.folder / name).read_bytes()
        folder = self.folder / "board"
        made = Board(runtimes.MICROPYTHON64, folder, None, files, flash=262144)
        return self.stack.enter_context(made)

    def tool(self, main: str, *args: str) -> Device:
        """Start `make ota`, as its owner."""
        owner.put_key(self.folder)
        (self.folder / "main.py").write_text(main)
        argv = [*argv_of("ota"), "--host", "localhost", "--port", str(self.port), "--topic", NODE]
        argv += ["--main", str(self.folder / "main.py"), "--limit", "30", *args]
        for option, name in (("ca", "ca.pem"), ("cert", "owner.pem"), ("cert-key", "owner.key")):
            argv += [f"--{option}", str(self.folder / name)]
        process = subprocess.Popen(
            argv,
            cwd=ROOT,
            env={**os.environ, "XDG_CONFIG_HOME": str(self.folder)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        made = self.stack.enter_context(Device("ota", process))
        made.wait_line("waiting for the next wake", 30)
        return made


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    if runtimes.MICROPYTHON64.reason:
        missing(runtimes.MICROPYTHON64.reason)
    monkeypatch.chdir(tmp_path)  # the page's files name others without a folder
    with ExitStack() as stack:
        yield Scene(stack, tmp_path)


def boot(board: Board) -> End:
    board.go_on()
    end = board.wait_end(30)
    assert end.reason in ("deepsleep", "reset"), end
    return end


def sent(end: End) -> bool:
    # (PUBREL of the meter, at QoS 2, may be left to the next wake.)
    return any(line.endswith((" 0 waiting", " 1 waiting")) for line in end.lines)


def refuses(scene: Scene, port: int, ca: str, *certificate: str) -> bool:
    """Return whether the broker refuses a client of a certificate, or of none."""
    context = ssl.create_default_context(cafile=str(scene.folder / ca))
    if certificate:
        context.load_cert_chain(*certificate)
    client = paho.Client(CallbackAPIVersion.VERSION2, "stranger")
    client.tls_set_context(context)
    answer: list[int] = []
    client.on_connect = lambda c, u, flags, reason, p: answer.append(reason.value)
    try:
        client.connect("localhost", port)
        end = time.monotonic() + 5
        while not answer and time.monotonic() < end:
            if client.loop(0.1):
                return True
    except (OSError, ssl.SSLError):
        return True
    return answer != [0]


def test_recipes(scene: Scene) -> None:
    """A node lives by them: readings, commands; its neighbour reads and writes nothing of its. It
    moves to another authority by an update. Stolen, it is locked out."""
    folder = scene.folder
    with TimeServer(time.time) as server:
        board = scene.board(server.port)
        scene.serve(scene.listener(scene.port))
        assert refuses(scene, scene.port, "ca.pem")
        authority(folder / "new")
        stranger = [str(folder / "new" / f"owner.{end}") for end in ("pem", "key")]
        assert refuses(scene, scene.port, "ca.pem", *stranger)

        person = scene.person("owner")
        assert sent(boot(board))
        for name in ("meter", "temperature", "light", "state"):
            person.wait(f"{NODE}/{name}")
        neighbour = scene.person("other")
        person.put(f"{NODE}/do/toggle")
        for topic in (f"{NODE}/update", f"{NODE}/do/x", "secret", f"{OTHER}/do/x"):
            person.put(topic)
        person.put("fleet/green/update")
        assert any("do/toggle" in line for line in boot(board).lines)
        neighbour.wait("fleet/green/update")
        assert {topic for topic, _ in neighbour.seen} == {f"{OTHER}/do/x", "fleet/green/update"}
        person.seen.clear()
        for topic in (f"{NODE}/do/x", f"{NODE}/state", f"{NODE}/update", "fleet/green/update"):
            neighbour.put(topic)
        for topic in (f"{OTHER}/update", f"{OTHER}/do/x", f"{OTHER}/safe/do", "secret"):
            neighbour.put(topic)
        neighbour.put(f"{OTHER}/meter")
        person.wait(f"{OTHER}/meter")
        assert {topic for topic, _ in person.seen} == {f"{OTHER}/meter"}

        # Another authority, by an update.
        both = (folder / "ca.pem").read_text() + (folder / "new" / "ca.pem").read_text()
        (folder / "both.pem").write_text(both)
        port = free_port()
        files = {"certfile": "new/broker.pem", "keyfile": "new/broker.key"}
        new = scene.listener(port, cafile="both.pem", **files)
        scene.serve(scene.listener(scene.port), new)
        (folder / "ca2.pem").write_bytes((folder / "new" / "ca.pem").read_bytes())
        shell(block("sh", "ca2.pem").split("\n")[0], folder)
        end = block("python", "ca2.der").replace("8884", str(port))
        moved = MAIN[: MAIN.index(end.split("\n")[0])] + end
        tool = scene.tool(moved, "--file", f"ca2.der={folder / 'ca2.der'}")
        while tool.process.poll() is None:
            assert len(board.records) < 40, tool.transcript()
            boot(board)
        assert tool.wait_exit(10) == 0, tool.transcript()
        scene.serve(new)  # the old listener is closed
        assert sent(boot(board))
        person = scene.person("owner", port, "new")
        boot(board)
        person.wait(f"{NODE}/meter")

        # Stolen.
        (folder / "ca.conf").write_text(block("", "default_ca"))
        shell(block("sh", "-revoke"), folder)
        (line,) = re.findall(r"`(crlfile [^`]*)`", PAGE)
        scene.serve(f"{new}\n{line}")
        assert not sent(boot(board))
        mine = [str(folder / f"node.{end}") for end in ("pem", "key")]
        assert refuses(scene, port, "new/ca.pem", *mine)
        others = [str(folder / f"other.{end}") for end in ("pem", "key")]
        assert not refuses(scene, port, "new/ca.pem", *others)


def test_the_access_list_has_all_names() -> None:
    """The access list has all that firmware/main.py and safe mode publish and read."""
    acl = block("", "pattern read")
    published = MAIN[: MAIN.index("What it takes:")]
    names = re.findall(r"^    (\w+) {2,}\w", published, re.MULTILINE)
    for name in [*names, "safe", "safe/files"]:
        assert f"pattern write %u/{name}\n" in acl, name
    assert len(names) > 5
    for name in ("do/#", "set/#", "safe/do", "update/#"):
        assert f"pattern read  %u/{name}\n" in acl

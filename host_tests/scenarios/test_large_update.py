"""Updates in messages larger than RAM: the real tool, a real broker, nodes with LargeOta."""

import ast
import itertools
import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from harness import owner
from play import start_ota

from tools import parts
from tools.testing.brokers import MosquittoBroker
from tools.testing.chaos import ChaosProxy
from tools.testing.needs import needed
from tools.testing.observer import Observer
from tools.testing.runtimes import FIRMWARE, MICROPYTHON32, ROOT, Device
from tools.testing.wire import SUBSCRIBE, Splitter, decode

HEAP = "64k"
SIZE = 300_000
MODULES = ("field/__init__", "field/ota", "field/large_ota")
TOPICS = (f"large/{os.getpid()}/{n}" for n in itertools.count())  # the tool remembers them
# What a chip has. A reset ends the program; whoever started it starts it again.
MACHINE = """
import sys

def reset():
    print("reset")
    sys.exit(3)

def reset_cause():
    return 1

class WDT:
    def __init__(self, timeout):
        pass
"""
# As MicroPython starts a chip. Where the heap is that small it is collected often (docs/large.md).
START = """
import gc
gc.threshold(4096)
import boot
import main
"""


def example(number: int, port: int, key: str, topic: str) -> str:
    """Return the program of docs/ota.md, with what stands before it in a program of one's own."""
    page = (ROOT / "docs" / "ota.md").read_text()
    (text,) = [block for block in page.split("```")[1::2] if "ota = LargeOta" in block]
    text = text.removeprefix("python\n")
    made = 'Client("broker.local", client_id="display", clean=False, large="in", max_packet=1024)'
    assert made in text
    quick = made.replace('"broker.local"', f'"127.0.0.1", {port}').replace(
        ")", ", backoff=(0.05, 0.1))"
    )
    known = f"config = {{'update_key': {key!r}}}\ntopic = {topic!r}\nprint('version', {number})\n"
    text = known + text.replace(made, quick)
    ast.parse(text)
    return text


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library as a device has it, as .mpy files."""
    folder = tmp_path_factory.mktemp("large_update")
    for name in parts.every():
        if name.rpartition("/")[0] in ("", "large") or name in MODULES:
            parts.compile_module(name, folder / "dormouse" / f"{name}.mpy")
    return folder


def begin(compiled: Path, folder: Path) -> Device:
    """Start the node in its folder on the 32-bit runtime, with as little heap as a chip has."""
    argv = [*needed(lambda: MICROPYTHON32.argv), "-X", f"heapsize={HEAP}"]
    process = subprocess.Popen(
        [*argv, str(folder / "start.py")],
        cwd=folder,
        env={**os.environ, "MICROPYPATH": f".frozen:{folder}:{compiled}"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    return Device("node", process)


def questions(proxy: ChaosProxy) -> list[list[str]]:
    """Return what the node asked for, a list for each SUBSCRIBE."""
    found = []
    for connection in proxy.connections:
        for data in Splitter().feed(connection.transcript.data("up")):
            found += [p.subscriptions for p in decode(data) if p.type == SUBSCRIBE]
    return [[name for name, _ in pairs] for pairs in found]


class Scene:
    """A broker, and a node in its folder."""

    def __init__(self, broker: MosquittoBroker, compiled: Path, folder: Path):
        self.broker, self.compiled, self.folder = broker, compiled, folder
        self.topic = next(TOPICS)
        self.board = folder / "board"
        self.board.mkdir()
        owner.put_key(folder)
        self.image = os.urandom(SIZE)
        (folder / "image").write_bytes(self.image)

    def update(self, proxy: ChaosProxy, *args: str) -> str:
        """Let the node, which is met by a proxy, get another version of its program, and the
        image; return what the tool said."""
        key = owner.signer().key
        old, new = (example(number, proxy.port, key, self.topic) for number in (1, 2))
        boot = (FIRMWARE / "boot.py").read_text()
        files = {"machine.py": MACHINE, "start.py": START, "boot.py": boot, "main.py": old}
        for name, text in files.items():
            (self.board / name).write_text(text)
        args += ("--believe", "--file", f"image={self.folder / 'image'}")
        with begin(self.compiled, self.board) as node:
            node.wait_line("version 1", 20)
            with start_ota(self.broker, self.topic, self.folder, new, *args) as tool:
                node.wait_line("reset", 60)
                assert node.wait_exit(10) == 3, node.transcript()
                with begin(self.compiled, self.board) as again:
                    again.wait_line("version 2", 20)
                    assert tool.wait_exit(30) == 0, tool.transcript()
        assert (self.board / "image").read_bytes() == self.image
        assert (self.board / "main.py").read_text() == new
        return tool.transcript()


@pytest.fixture
def scene(
    compiled: Path, mosquitto: Callable[..., MosquittoBroker], tmp_path: Path
) -> Callable[..., Scene]:
    """Return what makes a scene, of a mosquitto with such settings."""
    return lambda **config: Scene(mosquitto(**config), compiled, tmp_path)


def test_larger_than_the_heap(scene: Callable[..., Scene]) -> None:
    """An image of almost five times the heap, cut twice on its way, as docs/ota.md has it."""
    here = scene()
    topic = here.topic
    with ChaosProxy(here.broker.port) as proxy, Observer(here.broker, (topic + "/#", 1)) as all_:
        proxy.cut_each((100_000, "down", "reset"), (90_000, "down", "close"))
        said = here.update(proxy, "--large")
        all_.wait(topic + "/update", "")
        asked = [names for names in questions(proxy) if "/update/" in names[0]]
        many = [names for names in asked if names[0].count("/") == topic.count("/") + 4]
        # (One more where a heap in pieces had no room for a moment.)
        assert len(proxy.connections) == 4 and 5 <= len(many) <= 6, many
        # 148 chunks would be 50 questions. What was cut goes on by threes.
        assert len(asked) <= 5 + 2 * 11, asked
        # Nothing came twice but what was cut, and a chunk behind each of these messages.
        assert proxy.bytes_down < SIZE * 1.1
        states = [json.loads(text)["state"] for text in all_.payloads(topic + "/updated")]
        assert [s for s, _ in itertools.groupby(states)] == ["have", "trial", "done"]
        assert "to the broker: 5 messages of 32 chunks" in said
        # Nothing is left at the broker.
        last = {m.topic: m.payload for m in all_.messages if "/update" in m.topic}
        del last[topic + "/updated"]
        assert len(last) == 148 + 5 + 1 and not any(last.values())


@pytest.mark.prove  # its tool tries for half a minute; in short: test_ota_tool
def test_broker_that_takes_none(scene: Callable[..., Scene]) -> None:
    """It closes the connection at a message of that length: that is said, and the chunks arrive."""
    here = scene(extra_config="max_packet_size 20000")
    with ChaosProxy(here.broker.port) as proxy:
        said = here.update(proxy, "--large")
        assert "the broker takes no messages of 66,560 bytes" in said
        asked = [names for names in questions(proxy) if "/update/" in names[0]]
        assert 50 <= len(asked) < 60


def test_without_the_option(scene: Callable[..., Scene]) -> None:
    """Sent as ever it is taken as ever, but for a question in 32 chunks."""
    here = scene()
    with ChaosProxy(here.broker.port) as proxy:
        said = here.update(proxy)
        assert "messages of" not in said
        asked = [names for names in questions(proxy) if "/update/" in names[0]]
        assert 50 <= len(asked) < 60

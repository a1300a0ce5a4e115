"""The programs in the documents, as they stand there, on every runtime."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tools.testing.board import Board
from tools.testing.brokers import MosquittoBroker
from tools.testing.certs import certificates
from tools.testing.chaos import ChaosProxy
from tools.testing.observer import Observer
from tools.testing.runtimes import MICROPYTHON64, ROOT, Runtime

pytestmark = pytest.mark.desk("programs with broker.local in them, most for the simulated board")

WHOLE = "asyncio.run("  # in a block that is a program
# And how many programs are in them.
DOCUMENTS = {"README.md": 2, "docs/sleep.md": 1, "docs/mqtt5.md": 1, "docs/patterns.md": 2}


def programs(name: str, port: int) -> list[str]:
    """Return a document's programs, with a broker that is there."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / name).read_text(), re.S)
    assert len(blocks) == DOCUMENTS[name] and all('"broker.local"' in code for code in blocks)
    return [code.replace('"broker.local"', f'"127.0.0.1", {port}') for code in blocks]


@pytest.mark.parametrize("name", ["README.md", "docs/mqtt5.md"])
def test_awake(runtime: Runtime, mosquitto, tmp_path: Path, name: str) -> None:
    broker: MosquittoBroker = mosquitto()
    program = tmp_path / "program.py"
    code = programs(name, broker.port)[0].replace('"will_delay": 30', '"will_delay": 1')
    program.write_text(code)
    with Observer(broker, ("greenhouse/#", 2)) as observer:
        with runtime.start(program) as device:
            observer.wait("greenhouse/7/temp", "21.5")
            observer.publish("greenhouse/7/cmd/x", "go", 2)
            device.wait_line("greenhouse/7/cmd/x b'go'", 10)
            device.kill()
        observer.wait("greenhouse/7/state", "offline")


def test_home_assistant(runtime: Runtime, mosquitto, tmp_path: Path) -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 120
    broker: MosquittoBroker = mosquitto()
    code = programs("README.md", broker.port)[1]
    with (
        Observer(broker, ("#", 1)) as observer,
        Board(runtime, tmp_path, files={"main.py": code}) as board,
    ):
        board.run()
        observer.wait_count("homeassistant/device/greenhouse-7/config", 1)
        observer.publish("greenhouse/7/fan/set", "ON", 2)
        board.run()
        assert "ON" in observer.wait_count("greenhouse/7/fan", 1)[0]
        assert len(observer.wait_count("greenhouse/7/temp", 2)) == 2


def test_asleep(runtime: Runtime, mosquitto, tmp_path: Path) -> None:
    broker: MosquittoBroker = mosquitto()
    code = programs("docs/sleep.md", broker.port)[0]
    with (
        Observer(broker, ("greenhouse/7/temp", 2)) as observer,
        Board(runtime, tmp_path, files={"main.py": code}) as board,
    ):
        board.set_network(ssid="my network")
        board.run()
        observer.publish("greenhouse/7/cmd/x", "go", 2)
        end = board.run()[0]
        assert end.lines == ["greenhouse/7/cmd/x b'go'"]
        board.run()
        observer.publish("greenhouse/7/temp", "end", 2)
        observer.wait("greenhouse/7/temp", "end")
    assert observer.payloads("greenhouse/7/temp") == ["21.5"] * 3 + ["end"]


def test_tls(runtime: Runtime, mosquitto, tmp_path: Path) -> None:
    """docs/tls.md, with certificates of its own."""
    certs = certificates()
    broker: MosquittoBroker = mosquitto(tls=certs, require_client_certificate=True)
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "tls.md").read_text(), re.S)
    (code,) = (block for block in blocks if WHOLE in block)
    program = tmp_path / "program.py"
    program.write_text(code.replace('"broker.local"', f'"localhost", {broker.tls_port}'))
    for name, data in (
        ("ca", certs.ca_der),
        ("cert", certs.client.certificate_der),
        ("key", certs.client.key_der),
    ):
        (tmp_path / f"{name}.der").write_bytes(data)
    with (
        Observer(broker, ("greenhouse/#", 2)) as observer,
        runtime.start(program, cwd=tmp_path) as device,
    ):
        observer.wait("greenhouse/7/temp", "21.5")
        assert device.wait_exit(10) == 0, device.transcript()


def test_every_whole_program_is_run() -> None:
    """By the tests above; docs/testing.md's by tools/test_wheel.py, docs/ota.md's by
    test_large_update.py."""
    found = set()
    for path in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        if any(
            WHOLE in block for block in re.findall(r"```python\n(.*?)```", path.read_text(), re.S)
        ):
            found.add(str(path.relative_to(ROOT)))
    assert found <= {*DOCUMENTS, "docs/tls.md", "docs/testing.md", "docs/ota.md"}


def commands(name: str, tool: str) -> list[str]:
    """Return the arguments of the one command in a document that starts a tool."""
    (line,) = re.findall(rf"^\.venv/bin/python (.*{tool}.*)$", (ROOT / name).read_text(), re.M)
    return shlex.split(line)


def test_tutorial_on_the_desk(mosquitto, tmp_path: Path) -> None:
    """The node of the tutorial runs by its command, and obeys what its other command says."""
    broker: MosquittoBroker = mosquitto()
    text = (ROOT / "docs" / "tutorial.md").read_text()
    (found,) = re.findall("^echo '(.*)' > /tmp/node/put/config.json$", text, re.M)
    (tmp_path / "put").mkdir()
    (tmp_path / "put" / "config.json").write_text(
        json.dumps({**json.loads(found), "port": broker.port})
    )
    argv = [sys.executable, *commands("docs/tutorial.md", "boards/unix/board.py")]
    argv[argv.index("/tmp/node")] = str(tmp_path)
    with Observer(broker, ("#", 1)) as observer:
        node = subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.DEVNULL)
        try:
            observer.wait_count("greenhouse/7/temperature", 2)
            tool = [sys.executable, *commands("docs/tutorial.md", "pub -h 127.0.0.1")]
            subprocess.run([*tool, "-p", str(broker.port)], cwd=ROOT, check=True, timeout=20)
            values = observer.wait_count("greenhouse/7/period", 2)
            assert json.loads(values[-1])["value"] == 600
        finally:
            node.terminate()
            node.wait(10)


DOOR = """
import asyncio
import esp32
from dormouse import Client
from dormouse.sleep import Node
from dormouse.store import Journal
from machine import Pin

DOOR = Pin(4, Pin.IN)

async def main():
    client = Client("127.0.0.1", PORT, client_id="door", clean=False, store=Journal("journal"))
    node = Node(client, period=3600)
    node.publish("door/1", str(DOOR.value()), qos=1)
    async for _ in node.wake(node.reason == "pin"):
        pass
    print(node.reason, node.error)
    SLEEP

asyncio.run(main())
"""


def test_a_door_wakes_it(mosquitto, tmp_path: Path) -> None:
    """By docs/faq.md's lines."""
    (lines,) = re.findall(
        r"```py\n(esp32.wake_on.*?)\n```", (ROOT / "docs/faq.md").read_text(), re.S
    )
    broker: MosquittoBroker = mosquitto()
    code = DOOR.replace("SLEEP", lines.replace("\n", "\n    ")).replace("PORT", str(broker.port))
    with (
        Observer(broker, ("door/1", 1)) as observer,
        Board(MICROPYTHON64, tmp_path, files={"main.py": code}) as board,
    ):
        board.set_inputs(pins={4: 0})
        board.run()
        board.set_inputs(pins={4: 1})
        board.wake(after_ms=5000, pin=True)
        assert board.wait_end(10).lines == ["pin None"]
        assert observer.wait_count("door/1", 2) == ["0", "1"]


BELL = """
import asyncio
from dormouse import Client
from machine import Timer

def after(ms, call):
    Timer(0).init(mode=Timer.ONE_SHOT, period=ms, callback=call)

async def main():
    global client
    client = Client("127.0.0.1", PORT, client_id="bell")
    await client.connect()
    TELL
    await client.wait_connected(False)

asyncio.run(main())
"""


def test_a_flag_that_a_callback_sets(mosquitto, tmp_path: Path) -> None:
    """By docs/faq.md's lines, with a Timer in the place of the button: at once, not at a ping."""
    text = (ROOT / "docs/faq.md").read_text()
    (lines,) = re.findall(r"```py\n(pressed = .*?)\n```", text, re.S)
    timer = lines.replace("button.irq(", "after(300, ").replace(", Pin.IRQ_FALLING)", ")")
    assert timer.count("after(300, lambda pin: pressed.set())") == 1
    broker: MosquittoBroker = mosquitto()
    code = BELL.replace("TELL", timer.replace("\n", "\n    ")).replace("PORT", str(broker.port))
    with (
        Observer(broker, ("door/1/bell", 1)) as observer,
        Board(MICROPYTHON64, tmp_path, files={"main.py": code}) as board,
    ):
        board.power_on()
        observer.wait_count("door/1/bell", 1, timeout=5)
        board.cut_power()


HANDLER = """
import asyncio
from dormouse import Client
from dormouse.router import Router

def obey(message):
    print(message.topic, message.payload)

async def main():
    client = Client("127.0.0.1", PORT, client_id="handlers")
    await client.connect()
    ROUTER

asyncio.run(main())
"""


def test_handlers_by_topic(runtime: Runtime, mosquitto, tmp_path: Path) -> None:
    """By docs/faq.md's lines."""
    text = (ROOT / "docs/faq.md").read_text()
    (lines,) = re.findall(r"```py\n(router = .*?)\n```", text, re.S)
    broker: MosquittoBroker = mosquitto()
    code = HANDLER.replace("ROUTER", lines.replace("\n", "\n    "))
    program = tmp_path / "program.py"
    program.write_text(code.replace("PORT", str(broker.port)))
    with Observer(broker) as observer, runtime.start(program) as device:
        observer.publish("greenhouse/7/cmd/x", "go", 1, True)
        device.wait_line("greenhouse/7/cmd/x b'go'", 10)
        device.kill()


def test_trace_in_concepts(mosquitto, tmp_path: Path) -> None:
    """What the node writes before it has heard anything, and all kinds of packets of its wake."""
    broker: MosquittoBroker = mosquitto()
    text = (ROOT / "docs" / "concepts.md").read_text()
    traces = re.findall(r"```text\n(.*?)```", text, re.S)
    with (
        ChaosProxy(broker.port) as proxy,
        Observer(broker) as observer,
        Board(
            MICROPYTHON64, tmp_path, files={"main.py": programs("docs/sleep.md", proxy.port)[0]}
        ) as board,
    ):
        board.set_network(ssid="my network")
        board.run()
        proxy.wait_connection(1).wait_closed()
        observer.publish("greenhouse/7/cmd/x", "go", 2)
        board.run()
        proxy.wait_connection(2).wait_closed()

    def kinds(text: str) -> list[str]:
        """Return the packets, but for the ends of handshakes: they are in this wake or the next."""
        found = re.findall(r"(?:client →|← server) [A-Z]+", text)
        return [packet for packet in found if packet[-6:] not in ("PUBREL", "UBCOMP")]

    for trace, connection in zip(traces, proxy.connections, strict=True):
        now = kinds(connection.transcript.describe())
        assert kinds(trace)[:4] == now[:4], connection.describe()
        assert set(kinds(trace)) == set(now), connection.describe()


def test_patterns_asleep(runtime: Runtime, mosquitto, tmp_path: Path) -> None:
    """Its commands are fresh, and repeated by their sender."""
    broker: MosquittoBroker = mosquitto()
    code = programs("docs/patterns.md", broker.port)[0]
    with (
        Observer(broker) as observer,
        Board(runtime, tmp_path, files={"main.py": code}, clock="kept") as board,
    ):
        board.run()
        for id in ("a", "a", None, None, "b"):  # without one: nobody could tell it from the last
            text = json.dumps({**({"id": id} if id else {}), "t": int(board.time)})
            observer.publish("greenhouse/7/toggle", text, 1)
        assert board.run()[0].lines == ["toggled on", "toggled off"]


def test_patterns_always_on(runtime: Runtime, mosquitto, tmp_path: Path) -> None:
    broker: MosquittoBroker = mosquitto()
    code = programs("docs/patterns.md", broker.port)[1]
    with (
        Observer(broker, ("lamp/#", 1)) as observer,
        Board(runtime, tmp_path, files={"main.py": code}) as board,
    ):
        board.set_network(ssid="my network")
        board.power_on()
        assert json.loads(observer.wait_count("lamp/3/health", 1)[0])["rssi"] == -50
        observer.publish("lamp/3/do/x", "go", 1)
        board.wait_line("lamp/3/do/x b'go'", 10)
        board.cut_power()
        assert observer.wait_count("lamp/3/state", 2) == ["online", "offline"]


@pytest.mark.parametrize("path", sorted(ROOT.glob("docs/*.md")), ids=lambda path: path.name)
def test_fragments_are_python(path: Path) -> None:
    """What stands there in part only is no program, but its words are right."""
    for code in re.findall(r"```py\n(.*?)```", path.read_text(), re.S):
        lines = "".join("    " + line + "\n" for line in code.splitlines())
        compile("async def main():\n" + lines, str(path), "exec")


@pytest.mark.parametrize("name", ["README.md", *(f"docs/{p.name}" for p in ROOT.glob("docs/*.md"))])
def test_what_documents_name_is_there(name: str) -> None:
    """Files, and links to them."""
    text = (ROOT / name).read_text()
    folder = (ROOT / name).parent
    links = [folder / link for link in re.findall(r"\]\((?!http)([\w./-]+)\)", text)]
    files = re.findall(r"`((?:firmware|host_tests|tools|boards|docs|examples)/[\w./-]+)`", text)
    missing = [p for p in [*links, *(ROOT / f for f in files)] if not p.exists()]
    assert not missing

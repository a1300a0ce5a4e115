"""The programs in the documents, as they stand there, on every runtime."""

import json
import re
from pathlib import Path

import pytest

from tools.testing.board import Board
from tools.testing.brokers import MosquittoBroker
from tools.testing.observer import Observer
from tools.testing.runtimes import ROOT, Runtime

pytestmark = pytest.mark.desk("programs with broker.local in them, most for the simulated board")

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


@pytest.mark.parametrize("name", ["README.md", "docs/sleep.md"])
def test_asleep(runtime: Runtime, mosquitto, tmp_path: Path, name: str) -> None:
    broker: MosquittoBroker = mosquitto()
    code = programs(name, broker.port)[-1]
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


def test_patterns_asleep(runtime: Runtime, mosquitto, tmp_path: Path) -> None:
    """Its commands are fresh, and repeated by their sender."""
    broker: MosquittoBroker = mosquitto()
    code = programs("docs/patterns.md", broker.port)[0]
    with (
        Observer(broker) as observer,
        Board(runtime, tmp_path, files={"main.py": code}, clock="kept") as board,
    ):
        board.run()
        for id in ("a", "a", "b"):
            text = json.dumps({"id": id, "t": int(board.time)})
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

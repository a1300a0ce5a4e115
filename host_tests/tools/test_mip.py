"""make mip-index: MicroPython's own mip and mpremote's install from it, and what lands works."""

import functools
import http.server
import json
import re
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness.serial_board import SerialBoard

from tools import parts
from tools.setup import mip_index
from tools.testing import runtimes
from tools.testing.brokers import AmqttBroker, Broker, MosquittoBroker
from tools.testing.certs import certificates
from tools.testing.needs import missing, mosquitto_argv
from tools.testing.runtimes import ROOT, Runtime

PUBLISH = """\
import asyncio, sys
from dormouse import Client
{more}
async def main():
    async with Client("127.0.0.1", {port}, client_id="installed", {options}) as client:
        await client.publish("installed", b"1", qos=2)
    print("published", sorted(n for n in sys.modules if n[:9] == "dormouse."))
asyncio.run(main())
"""


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a web server on loopback, with a fresh index."""
    folder = tmp_path_factory.mktemp("mip")
    mip_index.build(folder / "index")
    (folder / "package.json").write_text(mip_index.package_json())
    shutil.copytree(ROOT / "firmware" / "dormouse", folder / "firmware" / "dormouse")

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture(params=[runtimes.MICROPYTHON64, runtimes.MICROPYTHON32], ids=lambda r: r.name)
def chip(request: pytest.FixtureRequest) -> Runtime:
    chosen: Runtime = request.param
    if chosen.reason:
        missing(chosen.reason)
    return chosen


def run(chip: Runtime, folder: Path, text: str) -> list[str]:
    """Run a program that finds only what is in folder/lib."""
    program = folder / "program.py"
    program.write_text(text)
    with chip.start(program, cwd=folder, env={"MICROPYPATH": ".frozen:lib"}) as device:
        assert device.wait_exit(20) == 0, device.transcript()
        return device.lines


def names(folder: Path) -> set[str]:
    library = folder / "lib" / "dormouse"
    found = (path.relative_to(library) for path in library.rglob("*") if path.is_file())
    return {path.with_suffix("").as_posix() for path in found}


def options(broker: Broker) -> str:
    return f"username={broker.username!r}, password={broker.password!r}"


def test_core(chip: Runtime, index: str, tmp_path: Path) -> None:
    install = f"import mip\nmip.install('dormouse', index='{index}/index', target='lib')\n"
    run(chip, tmp_path, install)
    assert names(tmp_path) == set(parts.with_needs(""))
    assert {
        path.suffix for path in (tmp_path / "lib" / "dormouse").iterdir() if path.is_file()
    } == {".mpy"}
    with AmqttBroker() as broker:
        text = PUBLISH.format(more="", port=broker.port, options=options(broker))
        assert run(chip, tmp_path, text)[0].startswith("published")
    # Once more: nothing comes twice.
    assert all("Exists" in line for line in run(chip, tmp_path, install) if "dormouse/" in line)


@pytest.mark.parametrize("mpy", [True, False])
def test_mqtt5_and_a_store(chip: Runtime, index: str, tmp_path: Path, mpy: bool) -> None:
    """Two packages with one dependency in common, compiled and as sources."""
    run(
        chip,
        tmp_path,
        "import mip\nfor name in ('dormouse-mqtt5', 'dormouse-store'):\n"
        f"    mip.install(name, index='{index}/index', target='lib', mpy={mpy})\n",
    )
    wanted = {*parts.with_needs("mqtt5"), *parts.with_needs("store")}
    assert names(tmp_path) == wanted and "sleep/node" not in wanted
    with MosquittoBroker(mosquitto_argv()) as broker:
        text = PUBLISH.format(
            more="from dormouse.store.journal import Journal",
            port=broker.port,
            options="version=5, clean=False, store=Journal('journal')",
        )
        (line,) = run(chip, tmp_path, text)
    assert "dormouse.mqtt5.session" in line and "dormouse.store.durable" in line


def test_tls(chip: Runtime, index: str, tmp_path: Path) -> None:
    certs = certificates()
    (tmp_path / "ca.der").write_bytes(certs.ca_der)
    install = f"import mip\nmip.install('dormouse-net', index='{index}/index', target='lib')\n"
    run(chip, tmp_path, install)
    assert names(tmp_path) == set(parts.with_needs("net"))
    with MosquittoBroker(mosquitto_argv(), tls=certs) as broker:
        text = PUBLISH.format(
            more="import dormouse.net.clock\nfrom dormouse.net.tls import context",
            port=broker.tls_port,
            options="tls=context('ca.der')",
        )
        (line,) = run(chip, tmp_path, text)
    assert "dormouse.net.tls" in line and "dormouse.net.clock" in line


def test_mpremote_installs_for_a_node_that_sleeps(index: str, tmp_path: Path) -> None:
    """On the simulated board; /flash/lib is what mpremote finds in its sys.path."""
    if runtimes.MICROPYTHON64.reason:
        missing(runtimes.MICROPYTHON64.reason)
    with AmqttBroker() as broker, SerialBoard(tmp_path / "board") as board:
        board.mpremote("mip", "install", "--index", f"{index}/index", "dormouse-sleep")
        found = set(re.findall(r"(\w+)\.mpy", board.mpremote("fs", "ls", ":lib/dormouse/sleep")))
        assert {f"sleep/{name}" for name in found} == set(parts.modules()["sleep"])
        program = tmp_path / "main.py"
        program.write_text(
            "import asyncio\n"
            "from dormouse import Client\n"
            "from dormouse.store.journal import Journal\n"
            "from dormouse.sleep import Node\n"
            f"client = Client('127.0.0.1', {broker.port}, client_id='s', clean=False,\n"
            f"    store=Journal('journal'), {options(broker)})\n"
            "node = Node(client, period=300)\n"
            "node.publish('t', b'1', 1)\n"
            "async def main():\n"
            "    async for _ in node.wake():\n"
            "        pass\n"
            "    print('error', node.error, 'waiting', node.waiting())\n"
            "asyncio.run(main())\n"
        )
        assert "error None waiting 0" in board.mpremote("run", str(program))


def test_package_json_of_the_repository(index: str, tmp_path: Path) -> None:
    if runtimes.MICROPYTHON64.reason:
        missing(runtimes.MICROPYTHON64.reason)
    with SerialBoard(tmp_path / "board") as board:
        board.mpremote("mip", "install", f"{index}/package.json")
        said = board.mpremote(
            "exec", "import dormouse.sleep as s, dormouse.mqtt5.session; print(s.Node)"
        )
    assert "Node" in said


def test_package_json_is_up_to_date() -> None:
    """`make mip-index` writes it."""
    assert mip_index.PACKAGE_JSON.read_text() == mip_index.package_json()
    json.loads(mip_index.package_json())


@pytest.mark.parametrize("part", parts.modules())
def test_package_has_what_its_modules_import(part: str) -> None:
    """At the top of a module and later, but for what the door to other kinds of session asks."""
    there = {*parts.with_needs(part), *parts.NOT_FOR_DEVICES}
    for name in there - parts.NOT_FOR_DEVICES - {parts.DOOR}:
        assert parts.imports(name) <= there, name


def test_a_folder_with_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("all of it")
    with pytest.raises(mip_index.CannotIndex, match="is something else"):
        mip_index.build(tmp_path)
    assert (tmp_path / "thesis.txt").exists()

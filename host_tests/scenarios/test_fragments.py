"""What stands in the documents in part, made whole with as little as there is to add, and run.

(`test_readme.py` runs the programs that are whole.)
"""

import re
import textwrap
from pathlib import Path

import pytest

from tools.testing.board import Board
from tools.testing.brokers import MosquittoBroker
from tools.testing.runtimes import MICROPYTHON32, ROOT

pytestmark = pytest.mark.desk("programs with broker.local in them, for the simulated board")

HEAD = """
import asyncio, json, machine, os, time
from dormouse import Client, Will
from dormouse.router import Router
from dormouse.sleep import Node, sleep_budget
from dormouse.store import Journal


async def main():
    store = Journal("journal")
    settings = {}
"""
END = """
    print("fine")


asyncio.run(main())
"""
NODE = "client = Client('broker.local', client_id='n', clean=False, store=store)\n"
NODE += "node = Node(client, period=300)\n"
AWAKE = "client = Client('broker.local', client_id='c', version=VERSION)\nawait client.connect()\n"
WAKE = "async for message in node.wake():\n    pass\nassert node.error is None, node.error\n"
# Another client that answers.
ANSWERS = """
async def answers():
    other = Client("broker.local", client_id="lamp", version=VERSION)
    async with other:
        await other.subscribe("lamp/3/#", qos=1)
        there.set()
        async for message in other.messages:
            if "response" not in message.topic:
                respond(WHERE, message, b"on")
there = asyncio.Event()
task = asyncio.create_task(answers())
await there.wait()
"""
# Another client that takes the image.
TAKES = """
with open("image.jpg", "wb") as file:
    file.write(bytes(9000))
async def takes():
    client = Client("broker.local", client_id="taker", large=True)
    await client.connect()
    await client.subscribe("greenhouse/7/image", qos=1)
    there.set()
    TAKING
        print("took", os.stat("file")[6])
        break
there = asyncio.Event()
task = asyncio.create_task(takes())
await there.wait()
"""


def fragment(name: str, having: str) -> str:
    """Return the one block of code in a document that has this in it."""
    text = (ROOT / "docs" / name).read_text()
    (found,) = (b for b in re.findall(r"```py(?:thon)?\n(.*?)```", text, re.S) if having in b)
    return found


def five(text: str, version: int, where: str = "") -> str:
    return text.replace("VERSION", str(version)).replace("WHERE", where)


def rpc() -> str:
    text = fragment("patterns.md", '"phone")  # who asks').partition("\nrespond(")[0]
    head = "from dormouse.patterns.rpc import Requester, respond\n"
    head += five(ANSWERS, 4, "other.publish_nowait") + five(AWAKE, 4)
    return head + text + "assert answer == b'on'\n"


def requester() -> str:
    head = "from dormouse.mqtt5 import respond\n" + five(ANSWERS, 5, "other") + five(AWAKE, 5)
    return head + fragment("mqtt5.md", "Requester(client)") + "assert answer.payload == b'on'\n"


def large() -> str:
    out = fragment("large.md", 'Source("image.jpg")').replace("from dormouse import Client\n", "")
    taking = fragment("large.md", "message.chunks()").replace("\n", "\n    ").rstrip()
    return TAKES.replace("TAKING", taking) + out + "await task\n"


def shadow() -> str:
    text = NODE + fragment("patterns.md", "shadow.get()")
    return "from dormouse.patterns.shadow import Shadow\n" + text


def home() -> str:
    text = fragment("home-assistant.md", "home.announce()")
    text = text.replace("home.announce", "node.subscribe = (home.filter,)\nhome.announce")
    head = "from dormouse.patterns.homeassistant import HomeAssistant\n" + NODE
    return head + text


def ota() -> str:
    text = fragment("ota.md", "ota.handle").replace("Node(client, ...,", "Node(client, 300,")
    text = text.replace("        ...  #", "        pass  #").replace("node.sleep(", "assert not (")
    head = NODE.partition("node =")[0] + "config = {'update_key': 'x' * 40}\n"
    return head + "topic = 'greenhouse/7'\n" + text


def light() -> str:
    text = fragment("sleep.md", "sleep_budget(").replace("50_000", "100")
    return five(AWAKE, 4) + text


def counter() -> str:
    text = fragment("patterns.md", "numbers.next()")
    return "from dormouse.patterns.sequence import Counter\n" + NODE + text + WAKE


def state() -> str:
    text = fragment("patterns.md", "state.again")
    return "from dormouse.patterns.state import State\n" + NODE + text + WAKE


def sleeper() -> str:
    return fragment("mqtt5.md", '"will_delay": 900') + WAKE


WAYS = [rpc, requester, large, shadow, home, ota, light, counter, state, sleeper]


@pytest.mark.parametrize("made", WAYS, ids=lambda made: made.__name__)
def test_fragment(mosquitto, tmp_path: Path, made) -> None:
    broker: MosquittoBroker = mosquitto()
    code = HEAD + textwrap.indent(made(), "    ") + END
    code = re.sub(r"""["']broker\.local["']""", f'"{broker.host}", {broker.port}', code)
    with Board(MICROPYTHON32, tmp_path, files={"main.py": code}) as board:
        board.power_on()
        assert board.wait_end(15).lines[-1] == "fine", board.lines

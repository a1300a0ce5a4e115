"""Fifty nodes are updated by one command: staged, stopped when too many come back, and told."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from harness import owner
from harness.fleet import Nodes
from play import start_ota

from tools.board.update import number
from tools.testing.brokers import MosquittoBroker

pytestmark = pytest.mark.desk("many nodes in this process")

UPDATE = "fleet/green/update"
TOPICS = [f"green/{n}" for n in range(50)]


def main(version: int) -> str:
    return f"VERSION = {version}\n" + "#" * 3000


@pytest.mark.timeout(400)
def test_fleet(mosquitto: Callable[..., MosquittoBroker], tmp_path: Path) -> None:
    """Two of the second stage come back, which is one too many: no more than that stage has tried
    it, and nobody takes it any more. The next one runs everywhere."""
    broker = mosquitto(extra_config="set_tcp_nodelay true")
    owner.put_key(tmp_path)
    (tmp_path / "nodes.txt").write_text("\n".join(TOPICS))
    options = ("--update-topic", UPDATE, "--nodes", str(tmp_path / "nodes.txt"))
    options += ("--first", "1", "--then", "10%", "--then", "all", "--failures", "1")
    turn = sorted(TOPICS, key=lambda topic: number(1, topic))
    nodes = Nodes(broker, TOPICS, UPDATE, tmp_path / "nodes")
    for topic in turn[2:4]:
        nodes.nodes[topic].broken.add(1)

    def send(version: int) -> tuple[int, list[str]]:
        tool = start_ota(broker, "green/+", tmp_path, main(version), *options)
        with tool:
            tool.wait_line("waiting for the next wake", 60)

            async def live() -> None:
                async with nodes:
                    await nodes.live(lambda: tool.process.poll() is not None)

            asyncio.run(live())
            return tool.wait_exit(20), tool.lines

    status, lines = send(1)
    text = "\n".join(lines)
    assert status == 1 and "stopped, and taken back from all that do not run it:" in text
    assert f"first 1: {turn[0]}" in text
    for topic in turn[2:4]:
        assert f"{topic}: the old version is back: no connection in 3 tries" in text
    tried = {topic for topic, node in nodes.nodes.items() if 1 in node.tried}
    assert set(turn[2:4]) <= tried <= set(turn[:5]), "staged"
    assert all(nodes.nodes[topic].version == 0 for topic in turn[2:4])
    status, lines = send(2)
    assert status == 0 and lines[-1] == "done: all 50 nodes run update 2", lines[-5:]
    assert all(node.version == 2 for node in nodes.nodes.values())
    later = {topic for topic, node in nodes.nodes.items() if 1 in node.tried}
    assert later == tried

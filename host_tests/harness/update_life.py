"""Lives of a node that takes an update on its way; see life.py.

It counts, at QoS 2, in its first wakes. Before its second one another version of it is offered. At
the end that version runs, whatever was cut: whole, as each boot ran one of both whole; nothing that
was counted is lost or doubled, and nothing of the update is left on flash.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from harness import life, owner
from harness.life import CLIENT, MORE, NODE, WAKES, Boot, Life, Lives, MosquittoSide, state_topic
from tools.board.owner import SecretOwner
from tools.board.update import Bundle
from tools.testing.board import Board
from tools.testing.chaos import ChaosProxy
from tools.testing.runtimes import FIRMWARE, ROOT

SOURCE = (ROOT / "host_tests" / "scenarios" / "programs" / "update_life.py").read_text()
KEY = "k" * 32
VERSION = 7  # of the update
COUNT = 5  # messages
CHUNK = 1000  # bytes
GOOD = {"have", "trial", "done"}  # what it may tell of the update
GONE = ("update.part", "update.json", "update.bad")


def files(number: int) -> dict[str, bytes]:
    """Return the application's files."""
    return {
        "main.py": f"VERSION = {number}\n{SOURCE}".encode(),
        "part.py": f"PART = {number}\n".encode() + b"#" * 200 * number,
    }


class UpdateSide(MosquittoSide):
    """A mosquitto process, with an update for each node."""

    def config(self, client_id: str) -> dict[str, Any]:
        topic = state_topic(client_id)
        return {"key": KEY, "topic": topic, "update": f"life/{client_id}/u", "count": COUNT}

    def offer(self, client_id: str) -> None:
        """Publish the update."""
        bundle = Bundle({**files(2)}, 3, 60, 8000)
        found = owner.messages(bundle, VERSION, state_topic(client_id), SecretOwner(KEY), CHUNK)
        for name, payload in found[::-1]:  # the offer last
            topic = f"life/{client_id}/u" + (f"/{name}" if name else "")
            self._observer.publish(topic, payload, 1, True)

    def reports(self, client_id: str) -> list[str]:
        """Return what the node told of the update; to be asked before ``received``."""
        return [text for _, text in self._observer.pop(state_topic(client_id) + "/updated")]


class Updates(Lives):
    """Lets such lives happen."""

    side: UpdateSide

    def _board(self, folder: Path, client_id: str, port: int) -> Board:
        config = {
            "client": CLIENT | {"client_id": client_id, "port": port} | self.side.client,
            "node": NODE,
            **self.side.config(client_id),
        }
        boot = (FIRMWARE / "boot.py").read_text()
        on_it = {**files(1), "boot.py": boot, "config.json": config}
        return Board(self.runtime, folder, None, on_it, flash=131072)

    def _live(self, life: Life, board: Board, proxy: ChaosProxy, client_id: str) -> None:
        for number in range(1, WAKES + MORE + 1):
            if number == 2:
                self.side.offer(client_id)
            boot = self._boot(life, board, proxy, number)
            new = ["2", "2"] in boot.words("runs")
            if new and boot.idle and not boot.words("sent"):
                names = {line.split(" ")[-1] for line in board._look("--list")}
                left = [n for n in names if n in GONE or n.endswith(".old")]
                if left:
                    life.problems.append(f"left on flash: {left}")
                return
        life.problems.append("the update is not there, or something is left after all wakes")

    def _judge(self, life: Life) -> None:
        for number, boot in enumerate(life.boots, 1):
            self._judge_boot(life, number, boot)
        said = [n for boot in life.boots for _, n in boot.words("sent")]
        got = [payload for _, payload in life.received]
        _compare(life.problems, "counted at QoS 2", said, got, 2, True)

    def _judge_boot(self, life: Life, number: int, boot: Boot) -> None:
        for words in boot.words("runs"):
            if words not in (["1", "1"], ["2", "2"]):
                life.problems.append(f"boot {number} ran half of each version: {words}")
        if boot.words("trouble"):
            life.problems.append(f"boot {number}: {boot.words('trouble')}")
        whole = boot.end and boot.end.reason != "flash_died"
        if whole and not boot.words("runs"):
            life.problems.append(f"boot {number} ran no application")

    def _after(self, life: Life, client_id: str) -> None:
        for text in self.side.reports(client_id):
            if text and json.loads(text)["state"] not in GOOD:
                life.problems.append(f"it told {text}")


_compare = life._compare

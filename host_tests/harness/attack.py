"""A node that is updated again and again while somebody who reads all and publishes all attacks it.

    with Siege(broker, runtime, folder, random.Random(1)) as siege:
        siege.round()           # an honest update, attacked at each step; AssertionError if it wins

The node is firmware/main.py on the simulated board, with power cuts at random. The attacker has no
key. He forges, replays, changes, truncates, reorders and retains, before each boot and during it.
What must hold: only signed versions run, none older than one that ran or was withdrawn; the round
ends with the honest update; each reading at QoS 2 comes once, each at QoS 1 at least once.
"""

from __future__ import annotations

import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from tools.board.owner import SecretOwner
from tools.board.update import Bundle, read_report
from tools.testing.board import Board
from tools.testing.brokers import Broker
from tools.testing.runtimes import FIRMWARE, Runtime

from . import owner

TOPIC = "green/7"
UPDATE = f"{TOPIC}/update"
MOST = 60  # boots of a round
LONGEST = 20000  # of what the attacker sends; the node's max_packet is 4,096
ORDERS = ("restart", "stay 9", "erase main.py", "log")
MAIN = (FIRMWARE / "main.py").read_text()


def program(version: int) -> bytes:
    """Return the application: it says which version it is."""
    return f"print('version', {version})\n{MAIN}".encode()


class Wire:
    """A client that hears and remembers all that is published."""

    def __init__(self, broker: Broker, name: str):
        self.seen: list[tuple[str, bytes]] = []
        self.client = paho.Client(CallbackAPIVersion.VERSION2, name)
        self.client.max_inflight_messages_set(1000)
        self._ready = threading.Event()
        self.client.on_connect = lambda client, *_: client.subscribe("#", 1)
        self.client.on_subscribe = lambda *_: self._ready.set()
        self.client.on_message = lambda c, u, m: self.seen.append((m.topic, bytes(m.payload)))
        self.client.connect(broker.host, broker.port)
        self.client.loop_start()
        assert self._ready.wait(10)

    def put(self, topic: str, payload: bytes, retain: bool = True) -> None:
        self.client.publish(topic, payload, 1, retain).wait_for_publish(10)

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


class Attacker:
    """Does one thing after the other, by chance."""

    def __init__(self, wire: Wire, chance: random.Random):
        self.wire, self.chance = wire, chance
        self.key = SecretOwner("x" * 32)
        self.done: Counter[str] = Counter()

    def recorded(self, below: str = UPDATE) -> tuple[str, bytes]:
        """Return something that was published once, of the update."""
        seen = [m for m in self.wire.seen[-4000:] if m[0].startswith(below) and m[1]]
        return self.chance.choice(seen) if seen else (UPDATE, b"nothing yet")

    def act(self) -> None:
        """Do something."""
        name = self.chance.choice([n for n in dir(self) if n.startswith("do_")])
        self.done[name[3:]] += 1
        topic, payload = getattr(self, name)()
        self.done["longer than a node takes"] += len(payload) > 4096
        self.wire.put(topic, payload[:LONGEST], self.chance.random() < 0.6)

    def do_replay(self) -> tuple[str, bytes]:
        return self.recorded()

    def do_replay_elsewhere(self) -> tuple[str, bytes]:
        return self.recorded()[0], self.recorded()[1]

    def do_change(self) -> tuple[str, bytes]:
        topic, payload = self.recorded()
        data = bytearray(payload)
        for _ in range(self.chance.randint(1, 3)):
            data[self.chance.randrange(len(data))] = self.chance.randrange(256)
        return topic, bytes(data)

    def do_change_words(self) -> tuple[str, bytes]:
        topic, payload = self.recorded()
        words = payload.split(b" ")
        at = self.chance.randrange(len(words))
        words[at] = self.chance.choice([b"0", b"1", b"9" * 9, b"9" * 999, b"-1", b"", b"x", b"#"])
        return topic, b" ".join(words)

    def do_truncate(self) -> tuple[str, bytes]:
        topic, payload = self.recorded()
        return topic, payload[: self.chance.randrange(len(payload))]

    def do_lengthen(self) -> tuple[str, bytes]:
        topic, payload = self.recorded()
        return topic, payload + self.chance.randbytes(self.chance.choice([1, 99, 2000, LONGEST]))

    def do_forge(self) -> tuple[str, bytes]:
        """An update of his own, by a key of his own; its chunks, or one of them."""
        bundle = Bundle({"main.py": b"print('version', 666)\n" + bytes(3000)}, 3, 30, 5000)
        version = self.chance.choice([1, 50, 1000, 10**9])
        name, payload = self.chance.choice(owner.messages(bundle, version, "#", self.key))
        return (f"{UPDATE}/{name}" if name else UPDATE), payload

    def do_clear(self) -> tuple[str, bytes]:
        return self.recorded()[0], b""

    def do_report(self) -> tuple[str, bytes]:
        state = self.chance.choice(["done", "back", "refused", "have", "\x1b[2J"])
        report = {"id": self.chance.randint(1, 99), "of": "0" * 16, "state": state}
        return f"{TOPIC}/updated", json.dumps(report | {"mac": "0" * 64}).encode()

    def do_order(self) -> tuple[str, bytes]:
        text = self.chance.choice(ORDERS)
        signed = f"dormouse-order {TOPIC} {self.chance.randint(1, 99)} {text}"
        signed = f"{signed}\n{self.key.sign(signed)}"
        return f"{TOPIC}/safe/do", self.chance.choice([text, signed]).encode()

    def do_junk(self) -> tuple[str, bytes]:
        junk = self.chance.choice(
            [
                b"",
                b"{}",
                b"[" * 3000,
                b"9" * 3900,
                bytes(LONGEST),
                b"\xff" * 2048,
                b"\n",
                b" " * 2000,
                b'{"offer":5}',
            ]
        )
        return f"{UPDATE}{self.chance.choice(['', '/1/0', '/x'])}", junk

    def do_command(self) -> tuple[str, bytes]:
        name = self.chance.choice(["set/light", "do/x", "set/x"])
        return f"{TOPIC}/{name}", self.chance.randbytes(self.chance.choice([0, 9, 3000, LONGEST]))


class Siege:
    """A broker, a node, its owner, and the attacker."""

    def __init__(self, broker: Broker, runtime: Runtime, folder: Path, chance: random.Random):
        self.chance = chance
        self.owner = Wire(broker, "owner")
        self.attacker = Attacker(Wire(broker, "attacker"), chance)
        self.version = 0  # the newest that was offered
        self.runs = 0  # the newest that was seen to stay
        self.sent: dict[str, set[int]] = {"meter": set(), "temperature": set()}
        self.gone: set[int] = set()  # taken back before they were put in place
        self.boots = self.cuts = self.rounds = self._read = 0
        signer = owner.signer()
        config = {
            "host": "127.0.0.1",
            "port": broker.port,
            "client_id": "node",
            "topic": TOPIC,
            "period": 300,
            "budget": 4000,
            "timeout": 2,
            "update_key": signer.key,
            "node_key": signer.node_key(TOPIC),
        }
        files = {
            "config.json": config,
            "main.py": program(0),
            "boot.py": (FIRMWARE / "boot.py").read_text(),
        }
        self.board = Board(runtime, folder, None, files, flash=262144)

    def __enter__(self) -> Siege:
        return self

    def __exit__(self, *_: object) -> None:
        self.board.__exit__()
        self.owner.close()
        self.attacker.wire.close()

    # --- the owner

    def offer(self, size: int) -> list[tuple[str, bytes]]:
        """Make the next update."""
        self.version += 1
        files: dict[str, bytes | None] = {
            "main.py": program(self.version),
            "data/number": self.chance.randbytes(size),
        }
        made = owner.messages(Bundle(files, 3, 60, 20000), self.version, "green/+")
        return [(f"{UPDATE}/{name}" if name else UPDATE, data) for name, data in made]

    def keep(self, messages: list[tuple[str, bytes]]) -> None:
        """Put chunks and offer where they belong, the offer last, as `make ota` does."""
        for topic, payload in messages[1:] + messages[:1]:
            self.owner.client.publish(topic, payload, 1, True)
        self.owner.put("nothing", b"")

    def withdraw(self) -> None:
        """Take the newest one back."""
        empty = Bundle({}, 3, 60, 20000)
        words: dict[str, Any] = {"size": 0, "head": 0, "first": "0" * 64}
        ((_, payload),) = owner.messages(empty, self.version, "green/+", **words)
        self.owner.put(UPDATE, payload)

    def heard(self) -> None:
        """From now on what the node knows to be taken back must not run."""
        files = self.board.files()
        for name in ("update.id", "update.id2"):
            record = json.loads(files.get(name, b"[0, 0, 0]").partition(b"\n")[0] or b"[0, 0, 0]")
            if record[2] == "withdrawn":
                self.gone.add(record[1])

    # --- a round

    def round(self) -> None:
        """Offer an update, and let the node boot until it runs it."""
        self.rounds += 1
        messages = self.offer(self.chance.randint(1, 9000))
        self.keep(messages)
        if self.chance.random() < 0.2:  # not this one
            self._boots(self.chance.randint(0, 3), messages, lambda: False)
            if self.runs != self.version:
                self.withdraw()
                self._boots(2, [], lambda: False)
                self.heard()
            messages = self.offer(self.chance.randint(1, 9000))
            self.keep(messages)
        before = self.boots
        self._boots(MOST, messages, lambda: self.runs == self.version)
        if self.runs != self.version:
            # It was on trial, and the attack on the network or the power cuts ended that: the
            # owner sends it anew.
            assert self._came_back(), f"not there after {self.boots - before} boots\n{self.state()}"
            self.round()

    def state(self) -> str:
        """Return how the node is, for who has to find out why."""
        files = self.board.files()
        lines = [f"{name} {len(data)}" for name, data in files.items()]
        for name in ("update.id", "update.part", "update.json"):
            lines.append(f"{name}: {files.get(name, b'')[:300]!r}")
        for end in self.board.records[-4:]:
            lines += [f"-- {end.reason} {end.main_ms} ms", *(line[:150] for line in end.lines)]
        return "\n".join(lines)

    def _came_back(self) -> bool:
        reports = [p for t, p in self.owner.seen if t == f"{TOPIC}/updated" and b'"back"' in p]
        return any(f'"id": {self.version},'.encode() in p for p in reports)

    def _boots(
        self, count: int, messages: list[tuple[str, bytes]], over: Callable[[], bool]
    ) -> None:
        for _ in range(count):
            for _ in range(self.chance.randrange(4)):
                self.attacker.act()
            if messages and self.chance.random() < 0.7:  # the tool is there, and sees to it
                self.keep(messages)
            self.boot()
            if over() or (messages and self._came_back()):
                return

    def boot(self) -> None:
        """Let the node boot once; the attacker is at it meanwhile, and the power may be cut."""
        self.boots += 1
        if self.chance.random() < 0.25:
            self.board.flash_dies_after(self.chance.randrange(3000))
        self.board.go_on()
        for _ in range(self.chance.randrange(3)):
            time.sleep(self.chance.random() * 0.1)
            self.attacker.act()
        end = self.board.wait_end(60)
        if end.reason == "flash_died":
            self.cuts += 1
            self.board.cut_power()
        elif self.chance.random() < 0.05:
            self.board.cut_power()
        else:
            assert end.reason in ("deepsleep", "reset", "wdt"), end
        self._look(end.lines)

    def _look(self, lines: list[str]) -> None:
        for line in lines:
            words = line.split()
            if words[:1] == ["sent"] and words[1] in self.sent:
                self.sent[words[1]].add(int(words[2]))
            if line.startswith("version "):
                version = int(line.split()[1])
                assert self.runs <= version <= self.version, (version, self.runs, self.version)
                assert version not in self.gone, f"{version} was taken back"
        text = "\n".join(lines)
        assert "safe mode" not in text and "Traceback" not in text, text
        end = len(self.owner.seen)  # it grows meanwhile
        for topic, payload in self.owner.seen[self._read : end]:
            if topic == f"{TOPIC}/updated":
                # The node's own word, and no forged one.
                report = read_report(TOPIC, payload, owner.signer().node_key(TOPIC))
                if report and report.proven and report.state == "done":
                    self.runs = max(self.runs, report.id)
        self._read = end

    def check_readings(self) -> None:
        """All readings that ``publish`` took came: at QoS 2 once each, at QoS 1 at least once."""
        for _ in range(20):  # nobody attacks any more; what waits goes out
            self.board.go_on()
            end = self.board.wait_end(60)
            if any(line.endswith(" 0 waiting") for line in end.lines):
                break
        self.owner.put("nothing", b"")
        for name, most in (("meter", 1), ("temperature", 10**9)):
            count: Counter[int] = Counter()
            for topic, payload in self.owner.seen:
                if topic == f"{TOPIC}/{name}":
                    count[_number(payload)] += 1
            missing = sorted(n for n in self.sent[name] if not count[n])
            doubled = [n for n in count if count[n] > most]
            assert not missing and not doubled, (
                f"{name}, of {max(count)}: missing {missing[:9]}, doubled {doubled[:9]}\n"
                + self._told(name, (missing + doubled)[0])
            )

    def _told(self, name: str, n: int) -> str:
        """Return what the node said when it sent a reading, and in the boot behind that."""
        told = []
        for at, end in enumerate(self.board.records):
            if f"sent {name} {n}" in end.lines:
                for one in self.board.records[at : at + 2]:
                    told += [f"-- boot {one.boot} {one.reason}", *(x[:99] for x in one.lines)]
        return "\n".join(told)


def _number(payload: bytes) -> int:
    found: Any = json.loads(payload)
    return int(found["n"])

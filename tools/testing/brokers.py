"""Brokers for the tests, with one interface: amqtt inside this process, mosquitto beside it."""

import abc
import asyncio
import base64
import hashlib
import logging
import os
import signal
import socket
import subprocess
import tempfile
import time
from collections import deque
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from amqtt.broker import Broker as _Amqtt
from amqtt.errors import BrokerError as _AmqttError
from amqtt.plugins.base import BaseAuthPlugin
from amqtt.session import Session

from .address import HOST
from .certs import Certificates
from .loop import call, loop

B = TypeVar("B", bound="Broker")

# What the fixture ``broker`` starts, and the version of MQTT that the device speaks with it. amqtt
# has 3.1.1 only. A name may go on with " over ws", wss or uart.
BROKERS = {"amqtt": 4, "mosquitto": 4, "mosquitto, MQTT 5": 5}


class BrokerFailure(Exception):
    """A broker does not start, stop or answer. The text has the end of its log."""


class PortTaken(BrokerFailure):
    """Somebody else listens on the port."""


# --- Known behaviour ------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Behaviour:
    """What a broker is known to do where brokers differ, or where it breaks MQTT 3.1.1.

    Seen on amqtt 0.12.1 and mosquitto 2.0.11; host_tests/unit/test_harness.py looks again. A
    scenario asks here instead of asking for a broker's name.
    """

    # --- Sessions ---
    forgets_sessions_on_restart: bool
    # A client refused for its password takes over the live connection of its client identifier:
    # that one is closed, and what comes meanwhile may be lost.
    refused_login_disturbs_session: bool
    # Session present may be 1 in a CONNACK that refuses. [MQTT-3.2.2-4] forbids it.
    session_present_when_refused: bool
    # A persistent CONNECT within a second of a clean session's end finds that session: session
    # present 1, and it is still a clean one, gone a second after the next disconnect.
    clean_session_lingers: bool
    # After a take-over (the old connection still open), messages are queued for the next connect
    # instead of being delivered to the new connection.
    mute_after_takeover: bool
    sends_will_on_takeover: bool  # of a persistent session; of a clean one both do
    enforces_keep_alive: bool
    refused_login_code: int
    mqtt5: bool

    # --- From the broker to its subscribers ---
    # At the subscription's QoS even where the publish had a lower one. [MQTT-3.8.4-6]
    delivers_at_subscription_qos: bool
    # What was queued for an absent client comes with RETAIN set. [MQTT-3.3.1-9]
    queued_come_with_retain: bool
    # QoS 1 and 2 messages, and PUBREL, not acknowledged before a cut come again after the
    # reconnect. [MQTT-4.4.0-1] False: they are lost. No test of "at least once" from the broker
    # can pass there if it cuts after a PUBLISH was sent.
    redelivers_unacknowledged: bool
    # Seconds after which an unacknowledged message is given up, on a live connection too; None:
    # never.
    forgets_unacknowledged_after_s: float | None
    # How many messages it sends before one is acknowledged; None: all there are.
    unacknowledged_limit: int | None
    # After a reconnect it answers no SUBSCRIBE, and routes no PUBLISH of this client (though it
    # acknowledges it), until the queued messages are acknowledged or given up.
    deaf_until_queue_acknowledged: bool
    # A client gets, when it connects, each retained message that matches anybody's subscription,
    # at QoS 0 and before its first SUBACK.
    sends_retained_to_strangers: bool
    # A message that matches several subscriptions of one client comes once for each.
    overlapping_subscriptions_double: bool
    # SUBSCRIBE to a filter again changes its maximum QoS. [MQTT-3.8.4-3]
    subscribing_again_replaces: bool
    # An invalid topic filter: False: return code 0x80; True: the connection is closed.
    closes_on_bad_filter: bool

    # --- From a publisher to the broker ---
    # PUBREL with an unknown identifier (its PUBCOMP was lost) is answered with PUBCOMP.
    # [MQTT-4.3.3-2] False: silence. A publisher that waits for that PUBCOMP waits for ever.
    answers_unknown_pubrel: bool
    # After a reconnect, PUBREC comes unasked for each PUBLISH not yet released, so one may come
    # for a message in any state; and a PUBREL sent in one burst behind CONNECT may be overlooked
    # until that PUBREC is answered with PUBREL again.
    repeats_pubrec_on_reconnect: bool
    # Acknowledged messages are lost (clean session) or held back until the publisher connects
    # again (persistent) if more than 3 of them are followed at once by DISCONNECT or the
    # connection's end. QoS 0 too.
    loses_acknowledged_at_disconnect: bool
    # QoS 2 messages beyond so many in flight from one publisher are acknowledged to the end
    # (PUBREC, PUBCOMP) and lost; None: no such limit.
    loses_qos2_in_flight_over: int | None


AMQTT = Behaviour(
    forgets_sessions_on_restart=True,
    refused_login_disturbs_session=True,
    session_present_when_refused=True,
    clean_session_lingers=True,
    mute_after_takeover=True,
    sends_will_on_takeover=True,
    enforces_keep_alive=False,
    refused_login_code=5,
    mqtt5=False,
    delivers_at_subscription_qos=True,
    queued_come_with_retain=True,
    redelivers_unacknowledged=False,
    forgets_unacknowledged_after_s=5,
    unacknowledged_limit=None,
    deaf_until_queue_acknowledged=True,
    sends_retained_to_strangers=True,
    overlapping_subscriptions_double=True,
    subscribing_again_replaces=False,
    closes_on_bad_filter=False,
    answers_unknown_pubrel=False,
    repeats_pubrec_on_reconnect=True,
    loses_acknowledged_at_disconnect=True,
    loses_qos2_in_flight_over=None,
)

MOSQUITTO_PERSISTENT = Behaviour(
    forgets_sessions_on_restart=False,
    refused_login_disturbs_session=False,
    session_present_when_refused=False,
    clean_session_lingers=False,
    mute_after_takeover=False,
    sends_will_on_takeover=False,
    enforces_keep_alive=True,
    refused_login_code=5,
    mqtt5=True,
    delivers_at_subscription_qos=False,
    queued_come_with_retain=False,
    redelivers_unacknowledged=True,
    forgets_unacknowledged_after_s=None,
    unacknowledged_limit=20,  # max_inflight_messages
    deaf_until_queue_acknowledged=False,
    sends_retained_to_strangers=False,
    overlapping_subscriptions_double=False,
    subscribing_again_replaces=True,
    closes_on_bad_filter=True,
    answers_unknown_pubrel=True,
    repeats_pubrec_on_reconnect=False,
    loses_acknowledged_at_disconnect=False,
    loses_qos2_in_flight_over=20,  # max_inflight_messages again
)

MOSQUITTO = replace(MOSQUITTO_PERSISTENT, forgets_sessions_on_restart=True)


# --- The interface --------------------------------------------------------------------------------


class Broker(abc.ABC):
    """What every broker offers. A context manager that starts and stops it.

    `port` is set by the first `start` and kept over restarts; `tls_port`, `ws_port` and `wss_port`
    are 0 without such a listener. Clients log in with `username` and `password` (None:
    anonymously).
    """

    name: str
    behaviour: Behaviour
    host = HOST
    port = 0
    tls_port = 0
    ws_port = 0
    wss_port = 0
    username: str | None = None
    password: str | None = None
    version = 4  # of MQTT, for the device of a test: 4 is 3.1.1
    transport = "tcp"  # how the device of a test comes to it: ws, wss, uart

    @property
    @abc.abstractmethod
    def running(self) -> bool:
        """Whether it is started."""

    @property
    def entry(self) -> int:
        """The port for the device of a test."""
        return {"ws": self.ws_port, "wss": self.wss_port}.get(self.transport, self.port)

    @abc.abstractmethod
    def start(self) -> None:
        """Start, and return when the port accepts. Raises BrokerFailure."""

    @abc.abstractmethod
    def stop(self) -> None:
        """Stop in order. Stopping twice is allowed. Raises BrokerFailure if it does not end."""

    @abc.abstractmethod
    def kill(self) -> None:
        """Stop without giving it time to save anything."""

    @abc.abstractmethod
    def log(self) -> str:
        """Return what it logged, for failure messages."""

    def close(self) -> None:
        """Stop, and remove temporary files."""
        self.stop()

    def restart(self) -> None:
        """Stop in order and start again on the same ports."""
        self.stop()
        self.start()

    def failure(self, what: str) -> BrokerFailure:
        """Make an exception whose text ends with the last lines of the log."""
        return BrokerFailure(f"{self.name}: {what}\nlog:\n{_tail(self.log())}")

    def __enter__(self: B) -> B:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _tail(text: str, lines: int = 60) -> str:
    return "\n".join("    " + line for line in text.splitlines()[-lines:])


# --- amqtt ----------------------------------------------------------------------------------------


class AccountsPlugin(BaseAuthPlugin):
    """Accounts in memory. amqtt's own password file costs an argon2 hash on the loop at a login."""

    async def authenticate(self, *, session: Session) -> bool | None:
        """Tell whether the session's user name and password are an account's."""
        if session.username is None:
            session.is_anonymous = True
            return bool(self.config.allow_anonymous)
        wanted = self.config.accounts.get(session.username)
        return wanted is not None and wanted == session.password

    @dataclass
    class Config:
        """What the broker's configuration can set."""

        accounts: dict[str, str]
        allow_anonymous: bool = False


class _Capture(logging.Handler):
    """Keeps the last records as text."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: deque[str] = deque(maxlen=2000)
        self.setFormatter(logging.Formatter("%(relativeCreated)8d %(levelname)s %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


class _TrackedAmqtt(_Amqtt):
    """amqtt that knows its open connections."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__(config, loop=loop())
        self._writers: set[asyncio.StreamWriter] = set()

    async def stream_connected(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, listener_name: str
    ) -> None:
        """Serve a connection; amqtt calls this."""
        self._writers.add(writer)
        try:
            await super().stream_connected(reader, writer, listener_name)
        finally:
            self._writers.discard(writer)

    def drop_connections(self) -> None:
        """End every connection without a word."""
        for writer in list(self._writers):
            writer.transport.abort()


class AmqttBroker(Broker):
    """amqtt on the background loop: the embedded default. It has no disk and forgets all at a stop.

    `stop` closes its connections, `kill` drops them.
    """

    name = "amqtt"

    def __init__(
        self,
        username: str = "dormouse",
        password: str = "teapot",
        *,
        allow_anonymous: bool = False,
        tls: Certificates | None = None,
        websocket: bool = False,
        log_level: int = logging.INFO,
    ) -> None:
        self.behaviour = AMQTT
        self.username, self.password = username, password
        self.accounts = {username: password}
        self._allow_anonymous = allow_anonymous
        self._tls, self._websocket = tls, websocket
        self._log_level = log_level
        self._capture = _Capture()
        self._broker: _TrackedAmqtt | None = None

    @property
    def running(self) -> bool:
        return self._broker is not None

    def log(self) -> str:
        return "\n".join(self._capture.lines)

    def _config(self) -> dict[str, Any]:
        listeners: dict[str, Any] = {"default": {"type": "tcp", "bind": f"{HOST}:{self.port}"}}
        if self._tls is not None:
            listeners["tls"] = {
                "type": "tcp",
                "bind": f"{HOST}:{self.tls_port}",
                "ssl": True,
                "certfile": str(self._tls.server.certificate_file),
                "keyfile": str(self._tls.server.key_file),
                "cafile": str(self._tls.ca_file),
            }
        if self._websocket:
            listeners["ws"] = {"type": "ws", "bind": f"{HOST}:{self.ws_port}"}
        accounts = {"accounts": self.accounts, "allow_anonymous": self._allow_anonymous}
        plugin = f"{AccountsPlugin.__module__}.{AccountsPlugin.__name__}"
        return {"listeners": listeners, "plugins": {plugin: accounts}}

    def _listen_to_log(self, on: bool) -> None:
        for name in ("amqtt", "transitions"):
            logger = logging.getLogger(name)
            logger.setLevel(self._log_level if name == "amqtt" else logging.WARNING)
            logger.propagate = False
            (logger.addHandler if on else logger.removeHandler)(self._capture)

    def start(self) -> None:
        if self.running:
            raise self.failure("is running already")
        self._listen_to_log(True)
        try:
            self._broker = call(self._start())
        except _AmqttError as error:
            self._listen_to_log(False)
            raise self.failure(f"does not start: {error}") from error

    async def _start(self) -> _TrackedAmqtt:
        broker = _TrackedAmqtt(self._config())
        await broker.start()
        ports = {
            name: server.instance.sockets[0].getsockname()[1]
            for name, server in broker._servers.items()
        }
        self.port = ports["default"]
        self.tls_port, self.ws_port = ports.get("tls", 0), ports.get("ws", 0)
        return broker

    def stop(self) -> None:
        self._end(at_once=False)

    def kill(self) -> None:
        self._end(at_once=True)

    def _end(self, at_once: bool) -> None:
        if self._broker is None:
            return
        broker, self._broker = self._broker, None
        try:
            call(_shut_down(broker, at_once))
        finally:
            self._listen_to_log(False)


async def _shut_down(broker: _TrackedAmqtt, at_once: bool) -> None:
    """Shut amqtt down, and drop the connections that it does not close itself."""
    if at_once:
        broker.drop_connections()
    shutdown = asyncio.create_task(broker.shutdown())
    # amqtt closes its sessions, but waits (from Python 3.12.1) for whoever has sent no CONNECT.
    await asyncio.wait([shutdown], timeout=0.5)
    broker.drop_connections()
    await asyncio.wait_for(shutdown, 10)


# --- mosquitto ------------------------------------------------------------------------------------


def free_port() -> int:
    """Return a port that was free a moment ago."""
    with socket.socket() as sock:
        sock.bind((HOST, 0))
        return int(sock.getsockname()[1])


def password_line(username: str, password: str) -> str:
    """Return a line of mosquitto's password file: PBKDF2 with SHA-512, its form `$7$`."""
    salt, rounds = os.urandom(12), 101
    digest = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, rounds)
    encoded = [base64.b64encode(part).decode() for part in (salt, digest)]
    return f"{username}:$7${rounds}${'$'.join(encoded)}\n"


class MosquittoBroker(Broker):
    """A mosquitto process. `argv` is the program and what must come before its own arguments.

    Its database, if `persistence`, lives in a temporary folder until `close`. It is written at
    `stop` and `save`; with `save_often` also within a second or so of a change, for `kill`.
    """

    name = "mosquitto"

    def __init__(
        self,
        argv: list[str],
        *,
        persistence: bool = True,
        save_often: bool = False,
        username: str | None = None,
        password: str | None = None,
        allow_anonymous: bool = True,
        tls: Certificates | None = None,
        require_client_certificate: bool = False,
        websocket: bool = False,
        extra_config: str = "",
        listener_config: str = "",
        listener_of_tls: str = "",
    ) -> None:
        self.behaviour = MOSQUITTO_PERSISTENT if persistence else MOSQUITTO
        self.username, self.password = username, password
        self._argv = list(argv)
        self._persistence, self._save_often = persistence, save_often
        self._allow_anonymous = allow_anonymous
        self._tls, self._require_client = tls, require_client_certificate
        self._websocket = websocket
        self._extra = extra_config
        self._of_listener, self._of_tls = listener_config, listener_of_tls
        self._holder = tempfile.TemporaryDirectory(prefix="dormouse-mosquitto-")
        self.folder = Path(self._holder.name)
        self._log_path = self.folder / "log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """The process's number. Raises BrokerFailure if there is none."""
        return self._running_process().pid

    def log(self) -> str:
        if not self._log_path.exists():
            return ""
        return self._log_path.read_text(errors="replace")

    def _running_process(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            raise self.failure("is not running")
        return self._process

    # --- Configuration ---

    def _general(self) -> list[str]:
        lines = ["log_dest stderr", "log_type all", "log_timestamp false", "set_tcp_nodelay true"]
        lines.append(f"allow_anonymous {str(self._allow_anonymous).lower()}")
        if os.geteuid() == 0:
            lines.append("user root")  # else it gives up its rights and cannot read the folder
        if self._persistence:
            lines += ["persistence true", f"persistence_location {self.folder}/"]
        if self._save_often:
            lines += ["autosave_interval 1", "autosave_on_changes true"]
        if self.username is not None:
            path = self.folder / "passwords"
            path.write_text(password_line(self.username, self.password or ""))
            path.chmod(0o600)
            lines.append(f"password_file {path}")
        return lines

    def _listeners(self) -> list[str]:
        lines = [f"listener {self.port} {HOST}", self._of_listener]
        if self._tls is not None:
            lines += [
                f"listener {self.tls_port} {HOST}",
                f"cafile {self._tls.ca_file}",
                f"certfile {self._tls.server.certificate_file}",
                f"keyfile {self._tls.server.key_file}",
                f"require_certificate {str(self._require_client).lower()}",
                self._of_tls,
            ]
        if self._websocket:
            lines += [f"listener {self.ws_port} {HOST}", "protocol websockets"]
        if self._websocket and self._tls is not None:
            lines += [
                f"listener {self.wss_port} {HOST}",
                "protocol websockets",
                f"certfile {self._tls.server.certificate_file}",
                f"keyfile {self._tls.server.key_file}",
            ]
        return lines

    def _pick_ports(self) -> None:
        self.port = free_port()
        self.tls_port = free_port() if self._tls is not None else 0
        self.ws_port = free_port() if self._websocket else 0
        self.wss_port = free_port() if self._websocket and self._tls is not None else 0

    # --- Running ---

    def start(self) -> None:
        if self.running:
            raise self.failure("is running already")
        if self.port:
            self._start_on_ports()
            return
        for _ in range(10):
            self._pick_ports()
            try:
                self._start_on_ports()
                return
            except PortTaken:
                self.port = 0
        raise self.failure("found no free port in 10 tries")

    def _start_on_ports(self, timeout: float = 10) -> None:
        """Start the process and wait for it to listen. Raises PortTaken, BrokerFailure."""
        config = self.folder / "mosquitto.conf"
        config.write_text("\n".join([*self._general(), self._extra, *self._listeners(), ""]))
        with open(self._log_path, "ab") as log:
            began = log.tell()
            try:
                self._process = subprocess.Popen(
                    [*self._argv, "-c", str(config)],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                )
            except OSError as error:
                raise self.failure(f"cannot run {self._argv[0]}: {error.strerror}") from error
        try:
            self._wait_for_listener(began, time.monotonic() + timeout)
        except BrokerFailure:
            self._end(signal.SIGKILL)
            raise

    def _wait_for_listener(self, began: int, deadline: float) -> None:
        """Wait until the log says `running` (an accepting port may be somebody else's)."""
        while time.monotonic() < deadline:
            fresh = self._log_path.read_bytes()[began:]
            if b" running" in fresh and self.running:
                self._check_port()
                return
            if self._exited(0.01):
                taken = b"Address already in use" in self._log_path.read_bytes()[began:]
                if taken:
                    raise PortTaken(f"mosquitto: port {self.port} is taken")
                raise self.failure("ended while it started")
        raise self.failure("did not start in time")

    def _exited(self, within: float) -> bool:
        """Tell whether the process ends within so many seconds."""
        assert self._process is not None
        try:
            self._process.wait(within)
        except subprocess.TimeoutExpired:
            return False
        return True

    def _check_port(self) -> None:
        try:
            socket.create_connection((HOST, self.port), 5).close()
        except OSError as error:
            raise self.failure(f"port {self.port} does not accept: {error}") from error

    def _end(self, number: signal.Signals, timeout: float = 10) -> None:
        """Send a signal that ends the process and wait. Raises BrokerFailure if it does not."""
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.send_signal(number)
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired as error:
            self._process.kill()
            self._process.wait(timeout)
            raise self.failure(f"did not end after {number.name}") from error
        finally:
            self._process = None

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def save(self, timeout: float = 5) -> None:
        """Have it write its database now. Raises BrokerFailure if it does not say it did."""
        path = self.folder / "mosquitto.db"
        before = path.stat().st_mtime_ns if path.exists() else 0
        process = self._running_process()
        process.send_signal(signal.SIGUSR1)
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            # It writes a new file and renames it, so a new time means a whole file.
            if path.exists() and path.stat().st_mtime_ns != before:
                return
            if self._exited(0.01):
                raise self.failure("ended while it saved")
        raise self.failure("did not save in time")

    def close(self) -> None:
        try:
            self.stop()
        finally:
            self._holder.cleanup()

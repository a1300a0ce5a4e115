"""Brokers beside those that `make test` uses: aedes, RabbitMQ, ejabberd, as processes on loopback.

What they are known to do is in docs/brokers.md; host_tests/interop/matrix.py looks.
"""

import os
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from tools.setup import get
from tools.testing.address import HOST
from tools.testing.brokers import MOSQUITTO, Broker, BrokerFailure, MosquittoBroker, free_port

HERE = Path(__file__).parent


class Process(Broker):
    """A broker that is one process (with its children), started by ``argv`` in ``environment``."""

    behaviour = MOSQUITTO  # nothing of it is asked here
    seconds = 30.0  # until it listens

    def __init__(self) -> None:
        self._holder = tempfile.TemporaryDirectory(prefix=f"dormouse-{self.name}-")
        self.folder = Path(self._holder.name)
        self._process: subprocess.Popen[bytes] | None = None

    def argv(self) -> list[str]:
        """Return the command line; ``port`` is set."""
        raise NotImplementedError

    def environment(self) -> dict[str, str]:
        return {}

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        self.port = self.port or free_port()
        with open(self.folder / "log", "ab") as log:
            self._process = subprocess.Popen(
                self.argv(),
                env={**os.environ, **self.environment()},
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        end = time.monotonic() + self.seconds
        while True:
            try:
                socket.create_connection((HOST, self.port), 1).close()
                return
            except OSError:
                if not self.running or time.monotonic() > end:
                    raise self.failure("did not start") from None
                time.sleep(0.05)

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def _end(self, how: signal.Signals) -> None:
        process = self._process
        self._process = None
        if process is None or process.poll() is not None:
            return
        os.killpg(process.pid, how)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(5)

    def log(self) -> str:
        path = self.folder / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    def close(self) -> None:
        super().close()
        self._holder.cleanup()


class Aedes(Process):
    """aedes, by npm."""

    def __init__(self, version: str) -> None:
        self.name = f"aedes {version}"
        self._package = get.aedes(version)
        super().__init__()

    def argv(self) -> list[str]:
        return [get.node(), str(HERE / "aedes.mjs"), str(self._package), str(self.port)]


class RabbitMQ(Process):
    """RabbitMQ with its MQTT plugin, out of Debian's packages."""

    name = "rabbitmq"
    seconds = 90.0

    def __init__(self) -> None:
        self._root = get.rabbitmq().resolve()
        super().__init__()
        self._ports = [free_port() for _ in range(3)]  # AMQP, distribution, epmd
        self._epmd: subprocess.Popen[bytes] | None = None

    def environment(self) -> dict[str, str]:
        folder = str(self.folder)
        return {
            "HOME": folder,
            "PATH": f"{self._root}/usr/lib/erlang/bin:{os.environ['PATH']}",
            "RABBITMQ_NODENAME": "dormouse@localhost",
            "RABBITMQ_MNESIA_BASE": folder + "/mnesia",
            "RABBITMQ_LOG_BASE": folder,
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_SCHEMA_DIR": folder,
            "RABBITMQ_PID_FILE": folder + "/pid",
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            "RABBITMQ_CONFIG_FILE": folder + "/rabbitmq.conf",
            "RABBITMQ_ENABLED_PLUGINS_FILE": folder + "/plugins",
            "RABBITMQ_DIST_PORT": str(self._ports[1]),
            "ERL_EPMD_ADDRESS": HOST,
            "ERL_EPMD_PORT": str(self._ports[2]),
        }

    def argv(self) -> list[str]:
        (self.folder / "plugins").write_text("[rabbitmq_mqtt].")
        (self.folder / "rabbitmq.conf").write_text(
            f"listeners.tcp.1 = {HOST}:{self._ports[0]}\n"
            f"mqtt.listeners.tcp.1 = {HOST}:{self.port}\n"
            "mqtt.default_user = guest\nmqtt.default_pass = guest\n"
        )
        if self._epmd is None:  # which names the node; its own start looks for a fixed folder
            epmd = self._root / "usr/lib/erlang/bin/epmd"
            self._epmd = subprocess.Popen([str(epmd)], env={**os.environ, **self.environment()})
        return [str(next(self._root.glob("usr/lib/rabbitmq/lib/*/sbin/rabbitmq-server")))]

    def close(self) -> None:
        super().close()
        if self._epmd is not None:
            self._epmd.terminate()
            self._epmd.wait(5)


class Ejabberd(Process):
    """ejabberd with mod_mqtt alone, for anybody who has a password, out of Debian's packages.

    It is no node of Erlang's distribution, so it needs no epmd, listens on nothing else, and ends
    by SIGTERM as it would by its own `stop`.
    """

    name = "ejabberd"
    username, password = "dormouse", "any"  # 23.01 refuses an empty password, also where all may

    def __init__(self) -> None:
        self._root = get.ejabberd().resolve()
        super().__init__()

    @property
    def _libraries(self) -> Path:
        return next(self._root.glob("usr/lib/*/ejabberd-*")).parent

    def environment(self) -> dict[str, str]:
        folder = str(self.folder)
        return {
            "HOME": folder,
            "LD_LIBRARY_PATH": str(self._libraries),
            "ERL_LIBS": str(self._libraries),
            "ERL_CRASH_DUMP_SECONDS": "0",
            "EJABBERD_CONFIG_PATH": folder + "/ejabberd.yml",
            "EJABBERD_LOG_PATH": folder + "/ejabberd.log",
        }

    def argv(self) -> list[str]:
        (self.folder / "ejabberd.yml").write_text(
            "hosts: [localhost]\n"
            "auth_method: [anonymous]\n"
            "anonymous_protocol: login_anon\n"
            "allow_multiple_connections: true\n"
            f'listen: [{{module: mod_mqtt, ip: "{HOST}", port: {self.port}}}]\n'
            "modules: {mod_mqtt: {session_expiry: 1 day}}\n"  # 5 minutes otherwise
        )
        erl = str(self._root / "usr/lib/erlang/bin/erl")
        return [erl, "-noinput", "-mnesia", "dir", f'"{self.folder}/mnesia"', "-s", "ejabberd"]


def make(name: str) -> Broker:
    """Return a broker by name, not started. Raises get.NotAvailable."""
    if name == "rabbitmq":
        return RabbitMQ()
    if name == "ejabberd":
        return Ejabberd()
    if name.startswith("aedes "):
        return Aedes(name.split()[1])
    newer = name == "mosquitto 2.1"
    return MosquittoBroker(get.newer_mosquitto() if newer else get.mosquitto(), persistence=True)


__all__ = ["Aedes", "BrokerFailure", "Ejabberd", "RabbitMQ", "make"]

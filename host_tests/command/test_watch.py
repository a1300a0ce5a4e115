"""dormouse watch: figures of brokers under one name, nodes that are late or dead, alerts."""

import argparse
import contextlib
import json
import os
import pty
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from calling import COMMAND, Run, lose_and_find, start, wait_logged
from dormouse import Client, ConnectionLost
from rich.console import Console

from tools.command import watch
from tools.command.shared.output import note
from tools.command.watching.alerts import alerts, capacity
from tools.command.watching.figures import Figures, number
from tools.command.watching.nodes import Node, Nodes
from tools.paths import ROOT
from tools.testing import wire
from tools.testing.address import HOST
from tools.testing.brokers import MosquittoBroker
from tools.testing.needs import mosquitto_argv
from tools.testing.observer import Observer
from tools.testing.peer import dial

NOW = 1_800_000_000.0


@pytest.fixture(scope="module")
def told() -> Iterator[MosquittoBroker]:
    """A mosquitto that tells of itself each second."""
    with MosquittoBroker(mosquitto_argv(), persistence=False, extra_config="sys_interval 1") as it:
        yield it


@pytest.fixture
def at(told: MosquittoBroker) -> list[str]:
    """The options that name it."""
    return ["-h", HOST, "-p", str(told.port)]


# --- A real mosquitto -----------------------------------------------------------------------------


def test_mosquitto(run: Run, told: MosquittoBroker, at: list[str]) -> None:
    with Observer(told) as observer:
        observer.publish("x", "kept", 1, True)
        for _ in range(20):  # $SYS is as of the last second
            said = json.loads(run("watch", *at, "--once", "--json").out)
            if min(said["figures"].get(name, 0) for name in ("connected", "sessions")) >= 2:
                break  # (one may be of this second, and the other of the one before)
        assert said["version"].startswith("mosquitto version 2")
        figures = said["figures"]
        assert figures["connected"] == 2 and figures["sessions"] >= 2
        assert figures["retained"] >= 1 and figures["uptime"] >= 0
        assert {"received_per_s", "connects_per_s", "dropped"} <= set(figures)
        assert said["alerts"] == []
        # What it is made for: 80 % of 2 are reached by 2; of 100 they are not.
        done = run("watch", *at, "--once", "--capacity", "connected=2")
        assert done.status == 4 and "alert: clients connected: 2, 100% of 2" in done.out
        assert run("watch", *at, "--once", "--capacity", "connected=100").status == 0
        done = run("watch", *at, "--once", "--capacity", "memory=1")
        assert done.status == 4  # what it does not tell is no good news either


def test_a_queue_that_fills(run: Run, told: MosquittoBroker, at: list[str]) -> None:
    peer = dial(told.port)
    peer.send(wire.connect("away", clean=False) + wire.subscribe(1, ("queue", 1)))
    peer.expect_packet(wire.CONNACK)
    peer.expect_packet(wire.SUBACK)
    peer.send(wire.disconnect())
    peer.expect_closed()
    with Observer(told) as observer:
        for i in range(50):
            observer.queue("queue", f"{i}", 1)
        observer.publish("queue", "the last", 1)
    for _ in range(20):  # $SYS is as of the last second
        done = run("watch", *at, "--once", "--capacity", "stored=60", "--json")
        said = json.loads(done.out)
        if done.status == 4 and said["figures"]["away"] >= 1:
            break
    assert done.status == 4 and said["figures"]["away"] >= 1
    assert said["alerts"][0].startswith("messages kept (queued, and retained): ")


def test_nodes_by_their_status(run: Run, told: MosquittoBroker, at: list[str]) -> None:
    now = int(time.time())
    with Observer(told) as observer:
        for name, status in (
            ("good", {"asleep": 300, "until": now + 200}),
            ("late", {"asleep": 300, "until": now - 100}),
            ("dead", {"asleep": 300, "until": now - 700}),
            ("lost", {"lost": True}),
        ):
            observer.publish(f"house/{name}/state", json.dumps(status), 1, True)
        done = run("watch", *at, "--once", "--json", "--nodes", "house/+/state")
        states = {t.split("/")[1]: n["state"] for t, n in json.loads(done.out)["nodes"].items()}
        assert states == {name: name if name != "good" else "asleep" for name in states}
        assert len(states) == 4 and done.status == 4
        done = run("watch", *at, "--once", "--nodes", "house/+/state", "--missed", "30")
        assert "house/lost/state: lost" in done.out and "house/dead/state: dead" not in done.out
        for name in ("dead", "lost"):
            observer.publish(f"house/{name}/state", "", 1, True)
        done = run("watch", *at, "--once", "--nodes", "house/+/state")
        assert done.status == 0 and "nodes: 1 asleep, 1 late" in done.out
        # A slip in the filter: that no node is dead is no good news then.
        done = run("watch", *at, "--once", "--nodes", "hose/+/state")
        assert done.status == 3 and "no node has left a status at hose/+/state" in done.err
        assert "clients connected" in done.out


def test_lines_in_a_pipe(told: MosquittoBroker, at: list[str]) -> None:
    process = start("watch", *at, "--nodes", "pipe/+/state", "--interval", "1")
    assert process.stdout
    lines: list[str] = []
    while not any("connected=" in line for line in lines):
        lines.append(process.stdout.readline().decode())
    with Observer(told) as observer:
        observer.publish("pipe/7/state", '{"asleep":1,"until":0}', 1)
        for state in ("asleep", "late", "dead"):
            while not lines[-1].endswith(f"pipe/7/state: {state}\n"):
                lines.append(process.stdout.readline().decode())
        assert "alert: pipe/7/state: dead" in process.stdout.readline().decode()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=10)
    assert (process.returncode, err) == (130, b"")


def test_the_broker_goes_and_comes_back() -> None:
    with MosquittoBroker(mosquitto_argv(), persistence=False) as broker:
        process = start("watch", "-h", HOST, "-p", str(broker.port))
        wait_logged(broker, "Sending SUBACK")
        lose_and_find(process, "watch", broker)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=10)


def test_a_broker_that_is_gone_is_not_well() -> None:
    """What it told before is not told as if it were of now."""
    extra = "sys_interval 1"
    with MosquittoBroker(mosquitto_argv(), persistence=False, extra_config=extra) as broker:
        process = start("watch", "-h", HOST, "-p", str(broker.port), "--interval", "0.2")
        assert process.stdout

        def read_until(words: str) -> list[str]:
            lines: list[str] = []
            while not lines or words not in lines[-1]:
                lines.append(process.stdout.readline().decode())  # type: ignore[union-attr]
            return lines

        read_until(" connected=")
        broker.kill()
        read_until("alert: no connection: ")
        assert not [line for line in read_until(" no connection\n") if "connected=" in line]
        broker.start()
        read_until(" connected=")
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=10)
    seen = watch.Watch(watch.arguments(["--capacity", "connected=10"]))
    seen.figures.take("$SYS/broker/clients/connected", b"9", NOW)
    seen.client = gone = Client("h")
    gone.error = ConnectionLost("closed")
    assert seen.status() == 4 and seen.as_dict()["figures"] == {}
    assert seen.alerts() == ["no connection: closed"]
    gone.connected = True
    assert seen.alerts() == ["clients connected: 9, 90% of 10"]


@pytest.mark.parametrize("more", [[], ["--json"]])
@pytest.mark.parametrize("full", [False, True])
def test_where_nobody_reads(at: list[str], more: list[str], full: bool) -> None:
    if full and not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full here")
    with open("/dev/full" if full else os.devnull, "wb") as disk:
        out = {"stdout": disk} if full else {}
        process = start("watch", *at, "--interval", "0.2", "-W", "20", *more, **out)
        if process.stdout:
            process.stdout.close()
            process.stdout = None
        _, err = process.communicate(timeout=30)
    if full:
        assert (
            process.returncode == 1
            and err == b"dormouse watch: cannot write: No space left on device\n"
        )
    else:
        assert (process.returncode, err) == (0, b"")


def test_a_live_table(told: MosquittoBroker, at: list[str]) -> None:
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100", "LINES": "50"}
    argv = [*COMMAND, "watch", *at, "--nodes", "live/+/state", "-W", "30"]
    process = subprocess.Popen(argv, stdout=theirs, stderr=theirs, cwd=ROOT, env=environment)
    os.close(theirs)
    seen = b""
    with Observer(told) as observer:
        observer.publish("live/1/state", '{"asleep":300,"until":0}', 1, True)
        while b"live/1/state" not in seen or b"clients connected" not in seen:
            seen += os.read(ours, 65536)
    process.send_signal(signal.SIGINT)
    with contextlib.suppress(OSError):  # EIO: the other side is closed
        while data := os.read(ours, 65536):
            seen += data
    assert process.wait(10) == 130
    assert b"Traceback" not in seen and b"1 asleep" in seen
    os.close(ours)


def test_nobody_tells(run: Run, told: MosquittoBroker, at: list[str]) -> None:
    done = run("watch", *at, "-t", "nothing/#", "--once", "-W", "0.5")
    assert done.status == 3 and "told nothing" in done.err
    assert run("watch", "-h", HOST, "-p", "1", "--once").status == 1
    for text, why in (
        ("cheese=3", "'cheese' is none of"),
        ("connected=nan", "'nan' is no number"),
        ("connected=inf", "'inf' is no number"),
        ("connected", "'' is no number"),
    ):
        done = run("watch", *at, "--capacity", text, "--once", "-W", "0.1")
        assert done.status == 2 and why in done.err, done.err
    text = run("watch", "--help").out
    assert "connects_per_s" in text and "exit status:" in text


# --- EMQX, by what its documentation says that it publishes ---------------------------------------


def test_emqx() -> None:
    figures = Figures()
    first, second = "emqx@10.0.0.1", "emqx@10.0.0.2"
    for node, clients in ((first, b"1200"), (second, b"800")):
        assert figures.take(f"$SYS/brokers/{node}/stats/connections/count", clients, 0)
    assert figures.take(f"$SYS/brokers/{first}/version", b"5.8.0", 0)
    assert figures.take(f"$SYS/brokers/{first}/metrics/messages/received", b"1000", 0)
    assert figures.take(f"$SYS/brokers/{first}/metrics/messages/received", b"1600", 60)
    values = figures.values()
    assert values["connected"] == 2000 and values["received"] == 1600
    assert values["received_per_s"] == 10
    assert figures.version == "5.8.0"
    # It complains by itself.
    text = json.dumps({"name": "high_system_memory_usage", "message": "85 %"}).encode()
    assert figures.take(f"$SYS/brokers/{first}/alarms/activate", text, 61)
    found = alerts(figures, {}, {}, 80)
    assert found == [f"{first}: high_system_memory_usage: 85 %"]
    assert figures.take(f"$SYS/brokers/{first}/alarms/deactivate", text, 62)
    assert not alerts(figures, {}, {}, 80)
    # A counter that starts anew is no negative rate.
    assert figures.take(f"$SYS/brokers/{first}/metrics/messages/received", b"5", 120)
    assert "received_per_s" not in figures.values()
    for topic in ("$SYS/brokers", "$SYS/brokers/x/stats/other", "$SYS/else/a", "$SYS/broker/odd"):
        assert not figures.take(topic, b"1", 0)
    assert not figures.take(f"$SYS/brokers/{first}/alarms/activate", b"no JSON", 0)
    assert not figures.take(f"$SYS/brokers/{first}/stats/connections/count", b"many", 0)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("12", 12), ("1.5", 1.5), ("12 seconds", 12), ("none", None),
        ("2 days, 3 hours, 4 minutes, 5 seconds", 2 * 86400 + 3 * 3600 + 245),
    ],
)  # fmt: skip
def test_numbers(text: str, value: float | None) -> None:
    assert number(text) == value


# --- RabbitMQ, by its HTTP API --------------------------------------------------------------------

OVERVIEW = {
    "rabbitmq_version": "3.13.7",
    "object_totals": {"connections": 42, "queues": 50, "consumers": 45},
    "queue_totals": {"messages": 900},
    "message_stats": {"publish_details": {"rate": 12.5}},
    "churn_rates": {"connection_created_details": {"rate": 0.5}},
}


@pytest.fixture
def management() -> Iterator[tuple[str, dict[str, object]]]:
    """A server that answers as the management plugin does; what /api/nodes says can be changed."""
    node = {"name": "rabbit@a", "mem_used": 1000, "mem_alarm": False, "disk_free_alarm": False}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.headers.get("Authorization") != "Basic bW91c2U6Y2hlZXNl":  # mouse:cheese
                self.send_error(401)
                return
            found = {"/api/overview": OVERVIEW, "/api/nodes": [node]}[self.path]
            data = json.dumps(found).encode()
            self.send_response(200)
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer((HOST, 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"mouse:{{}}@{HOST}:{server.server_address[1]}", node
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_rabbitmq(run: Run, management: tuple[str, dict[str, object]]) -> None:
    where, node = management
    url = "http://" + where.format("cheese")
    said = json.loads(run("watch", "--rabbitmq", url, "--once", "--json").out)
    assert said["version"] == "RabbitMQ 3.13.7"
    assert said["figures"] == {
        "connected": 42, "sessions": 50, "subscriptions": 45, "stored": 900,
        "received_per_s": 12.5, "connects_per_s": 0.5, "memory": 1000,
    }  # fmt: skip
    done = run("watch", "--rabbitmq", url, "--once", "--capacity", "stored=1000")
    assert done.status == 4 and "90% of 1,000" in done.out and "cheese" not in done.out
    node["mem_alarm"] = True
    done = run("watch", "--rabbitmq", url, "--once")
    assert done.status == 4 and "rabbit@a: mem_alarm: publishers are blocked" in done.out
    done = run("watch", "--rabbitmq", "http://" + where.format("bread"), "--once")
    assert done.status == 1 and "401" in done.err and "bread" not in done.err


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-else\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{",
        b"HTTP/1.1 200 OK\r\n\r\n[1]",
        b"HTTP/1.1 200 OK\r\n\r\n" + b"[" * 100_000,
    ],
)
def test_what_is_no_rabbitmq(run: Run, answer: bytes) -> None:
    def serve() -> None:
        for _ in range(2):
            connection, _ = server.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(answer)

    with socket.create_server((HOST, 0)) as server:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        url = f"http://mouse:cheese@{HOST}:{server.getsockname()[1]}"
        done = run("watch", "--rabbitmq", url, "--once")
    assert (done.status, done.out) == (1, "") and "What to do:" in done.err, done.err
    assert "Traceback" not in done.err and "cheese" not in done.err


def test_rabbitmq_urls(run: Run, management: tuple[str, dict[str, object]]) -> None:
    where, node = management
    assert run("watch", "--rabbitmq", "http://" + where.format("%63heese"), "--once").status == 0
    for url in ("http://mouse:cheese@localhost:none", "localhost:15672", "http://"):
        done = run("watch", "--rabbitmq", url, "--once")
        assert done.status == 1 and "What to do:" in done.err and "cheese" not in done.err
    figures = Figures()
    nodes = [{**node, "name": name} for name in ("a", "b")]
    for each, uptime in zip(nodes, (50, 70), strict=True):
        figures.put(str(each["name"]), "uptime", uptime, 0)
    assert figures.values()["uptime"] == 70


# --- Nodes and alerts -----------------------------------------------------------------------------


def test_asleep_late_dead() -> None:
    nodes = Nodes(missed=3)
    nodes.take("a", b'{"asleep":100,"until":0}', False, NOW)
    states = [nodes.states(NOW + t)["a"] for t in (0, 100, 101, 300, 301)]
    assert states == ["asleep", "asleep", "late", "late", "dead"]
    nodes.take("a", b'{"asleep":100,"until":0}', False, NOW + 400)
    assert nodes.states(NOW + 401) == {"a": "asleep"}  # heard again
    # What it left before we came counts from when it left, if it knew the time.
    nodes.take("b", b'{"asleep":100,"until":%d}' % (NOW - 50), True, NOW)
    assert nodes.states(NOW)["b"] == "late"
    nodes.take("c", b'{"asleep":100,"until":0}', True, NOW)
    assert nodes.states(NOW)["c"] == "asleep"
    for payload, state in (
        (b'{"lost":true}', "lost"), (b"offline", "lost"), (b"21.5", "odd"), (b"[1]", "odd"),
        (b"\xff", "odd"), (b'{"asleep":"x"}', "odd"), (b'{"asleep":-5,"until":0}', "odd"),
        (b'{"asleep":1e400,"until":0}', "odd"), (b'{"asleep":NaN,"until":0}', "odd"),
        (b"[" * 200_000, "odd"), (b'{"asleep":1' + b"0" * 400 + b"}", "odd"),
    ):  # fmt: skip
        nodes.take("d", payload, False, NOW)
        assert nodes.states(NOW)["d"] == state
    nodes.take("d", b'{"asleep":5,"until":99999999999999999999}', True, NOW)
    assert nodes.states(NOW + 6)["d"] == "late"  # a time that cannot be is none
    nodes.take("d", b"", True, NOW)
    assert "d" not in nodes.states(NOW)
    assert Node("x").state(NOW, 3) == "odd"


def test_nothing_from_elsewhere_changes_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    evil = "\x1b]0;title\x07\x9b2J"
    seen = watch.Watch(watch.arguments(["--nodes", "#"]))
    seen.nodes.take(f"n/{evil}\n/state", b'{"lost":true}', True, NOW)
    seen.figures.take("$SYS/broker/version", f"mosquitto {evil}".encode(), NOW)
    alarm = json.dumps({"name": evil, "message": f"[b]{evil}"}).encode()
    seen.figures.take("$SYS/brokers/x/alarms/activate", alarm, NOW)
    seen.tell_changes()
    Console(force_terminal=True, width=300).print(seen.table())
    said = capsys.readouterr().out
    assert r"n/\x1b]0;title\x07\x9b2J\n/state: lost" in said and said.count(r"\x07\x9b2J") >= 6
    assert "\x1b]" not in said and "\x9b" not in said
    note(f"connection lost ({evil})\nand more")
    assert capsys.readouterr().err == "connection lost (\\x1b]0;title\\x07\\x9b2J)\nand more\n"


def test_alerts() -> None:
    figures = Figures()
    figures.put("n", "connected", 79, 0)
    figures.put("n", "dropped", 5, 0)
    assert alerts(figures, {"a": "late", "b": "asleep"}, {"connected": 100}, 80) == []
    figures.put("n", "connected", 80, 1)
    assert alerts(figures, {}, {"connected": 100}, 80) == ["clients connected: 80, 80% of 100"]
    assert alerts(figures, {}, {"dropped": 0}, 80) == ["messages dropped: 5"]
    assert alerts(figures, {}, {"stored": 5}, 80)[0].endswith("the broker does not tell")
    assert alerts(figures, {"a": "dead", "b": "lost"}, {}, 80) == ["a: dead", "b: lost"]
    assert capacity("connected=5e3") == ("connected", 5000)
    for text in ("connected", "cheese=1", "connected=-1"):
        with pytest.raises(argparse.ArgumentTypeError):
            capacity(text)

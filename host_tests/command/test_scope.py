"""dormouse scope: a proxy, captures, pages and pictures; the page in a real browser."""

import itertools
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import Browser
from calling import Run, start

from tools.command import scope
from tools.command.scoping import compare, page
from tools.command.scoping import decode as decode_module
from tools.command.scoping import text as shown_text
from tools.command.scoping.decode import Decoded, Seen, assemble, decode
from tools.command.scoping.trace import BadTrace, Chunk, Connection, Trace, load
from tools.testing import runtimes, wire, wire5
from tools.testing.address import HOST
from tools.testing.brokers import MosquittoBroker
from tools.testing.certs import certificates
from tools.testing.needs import needed
from tools.testing.peer import dial

EVIL = "</script><img id=evil src=x onerror=alert(1)>"


def recorded(*steps: tuple[float, str, bytes], closed: float | None = None) -> Connection:
    """Return a connection of these chunks: s, way, bytes."""
    c = Connection(1, 0.0, 0.002, "192.0.2.7:50000", closed, "closed by the node")
    c.chunks = [Chunk(at, way, data) for at, way, data in steps]  # type: ignore[arg-type]
    return c


def a_wake(delay: float = 0.020, fence: bool = True, payload: bytes = b"21.5") -> Connection:
    """Return a wake of a node, its broker so many s away."""
    burst = wire.connect(
        "node-007", clean=False, keep_alive=60, username="mouse", password="cheese"
    )
    burst += wire.publish("greenhouse/7/temp", payload, qos=1, packet_id=7)
    answer = wire.connack(session_present=True) + wire.puback(7)
    if fence:
        burst += wire.pingreq()
        answer += wire.pingresp()
    back = 0.003 + delay
    end = back + 0.001
    return recorded(
        (0.003, "up", burst[:30]),
        (0.0035, "up", burst[30:]),
        (back, "down", answer),
        (end, "up", wire.disconnect()),
        closed=end + 0.0005,
    )


# --- Decoding -------------------------------------------------------------------------------------


def test_a_wake_decoded() -> None:
    found = decode(a_wake())
    assert (found.client_id, found.version) == ("node-007", 4)
    names = [(p.way, p.name) for p in found.packets]
    up, down = "up", "down"
    assert names == [
        (up, "CONNECT"), (up, "PUBLISH"), (up, "PINGREQ"),
        (down, "CONNACK"), (down, "PUBACK"), (down, "PINGRESP"), (up, "DISCONNECT"),
    ]  # fmt: skip
    assert found.turnarounds == 1
    assert found.bytes("up") == sum(len(c.data) for c in found.connection.chunks if c.way == "up")
    assert found.spent("tcp") == pytest.approx(0.002)
    assert found.spent("waits") == pytest.approx(0.0195)
    assert found.spent("thinks") == pytest.approx(0.001 + 0.0015)
    # The first piece of the burst ended inside of CONNECT.
    assert found.packets[0].at == pytest.approx(0.0035)
    assert found.seconds == pytest.approx(found.connection.closed)
    spans = found.spans
    assert all(a.end == pytest.approx(b.begin) for a, b in itertools.pairwise(spans))


def test_no_secret_is_kept_or_shown(tmp_path: Path) -> None:
    properties = {"auth_method": "X", "auth_data": b"sesame"}
    five = recorded(
        (0.003, "up", wire5.connect("n", password=b"cheese", username="m", properties=properties)),
        (0.010, "up", wire5.auth(0x19, properties)),
    )
    five.number = 2
    # One that is cut off behind its password, at the begin of a connection and later.
    cut = wire.connect("n", username="mouse", password="cheese!")[:-1]
    halves = [recorded((0.003, "up", cut)), recorded((0.003, "up", wire.connect("n") + cut))]
    trace = Trace("x", [a_wake(), five, *halves])
    trace.save(tmp_path / "trace.json")
    again = load(tmp_path / "trace.json")
    text = page.render([("x", [decode(c) for c in trace.connections])], 210, "t")
    for c in (*again.connections, *(c for c in trace.connections)):
        for packet in decode(c).packets:
            text += packet.text + json.dumps(packet.fields)
            text += packet.raw.decode("latin-1")
    kept = b"".join(k.data for c in again.connections for k in c.chunks)
    for secret in ("cheese", "sesame"):
        assert secret not in text and secret.encode() not in kept
        assert secret.encode().hex() not in text
    # And everything else is.
    assert [p.text for p in decode(again.connections[0]).packets] == [
        p.text for p in decode(trace.connections[0]).packets
    ]


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_pieces_of_any_size(size: int) -> None:
    whole = decode(a_wake())
    cut = a_wake()
    cut.chunks = [
        Chunk(c.at, c.way, c.data[i : i + size])
        for c in cut.chunks
        for i in range(0, len(c.data), size)
    ]
    assert [p.text for p in decode(cut).packets] == [p.text for p in whole.packets]


def test_what_is_malformed_or_cut_off_is_told() -> None:
    found = decode(recorded((0.1, "up", wire.connect("a")[:9])))
    assert found.packets[-1].wrong == "CONNECT cut off after 9 bytes"
    found = decode(recorded((0.1, "up", wire.connect("a")), (0.2, "down", b"\xff\xff\xff\xff\xff")))
    assert found.packets[-1].name == "garbage" and found.packets[-1].wrong
    found = decode(recorded((0.1, "up", wire.connect("a") + b"\x36\x03\x00\x01a" + wire.pingreq())))
    assert "QoS 3" in found.packets[1].wrong  # and what comes behind it is found
    assert found.packets[2].name == "PINGREQ"


def test_tls_and_websocket() -> None:
    record = b"\x16\x03\x01\x00\x02ab"
    found = decode(recorded((0.01, "up", record), (0.03, "down", record * 2),
                            (0.04, "up", b"\x17\x03\x03\x00\x01x")))  # fmt: skip
    texts = ["TLS handshake"] * 3 + ["TLS application data"]
    assert [p.text for p in found.packets] == texts
    assert found.spent("tls") == pytest.approx(0.028)
    packet = wire.connect("a" * 200)
    mask = b"abcd"
    frame = b"\x82\xfe" + len(packet).to_bytes(2, "big") + mask
    frame += bytes(b ^ mask[i % 4] for i, b in enumerate(packet))
    head = b"GET /mqtt HTTP/1.1\r\n\r\n"
    answer = b"HTTP/1.1 101 x\r\n\r\n\x82\x04" + wire.connack()
    found = decode(recorded((0.01, "up", head), (0.02, "up", frame), (0.03, "down", answer)))
    assert [p.name for p in found.packets] == ["CONNECT", "CONNACK"]


# --- Captures -------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["pcap", "pcapng"])
@pytest.mark.parametrize("link", ["ethernet", "raw", "vlan", "ipv6"])
def test_captures(run: Run, tmp_path: Path, suffix: str, link: str) -> None:
    """What scapy writes: with a retransmission, out of order, another conversation between."""
    scapy = pytest.importorskip("scapy.all", reason="scapy writes captures for this test")
    wake = a_wake()
    ip = scapy.IPv6 if link == "ipv6" else scapy.IP
    ends = ("2001:db8::7", "2001:db8::1") if link == "ipv6" else ("192.0.2.7", "192.0.2.1")
    ether = scapy.Ether(src="02:00:00:00:00:07", dst="02:00:00:00:00:01")
    below = {
        "raw": None,
        "vlan": ether / scapy.Dot1Q(vlan=5),
    }.get(link, ether)
    seq = {"up": 0xFFFFFFF0, "down": 1000}  # which wraps
    frames = []

    def add(at: float, way: str, flags: str, data: bytes = b"") -> None:
        source, target = ends if way == "up" else ends[::-1]
        ports = (50000, 1883) if way == "up" else (1883, 50000)
        tcp = scapy.TCP(sport=ports[0], dport=ports[1], seq=seq[way], flags=flags)
        packet = ip(src=source, dst=target) / tcp / data
        packet = packet if below is None else below / packet
        packet.time = 1_700_000_000 + at
        frames.append(packet)
        seq[way] = (seq[way] + len(data) + ("S" in flags)) % 2**32

    add(0, "up", "S")
    add(0.002, "down", "SA")
    for chunk in wake.chunks:
        add(chunk.at, chunk.way, "PA", chunk.data)
    add(wake.closed or 0, "up", "FA")
    frames[2], frames[3] = frames[3], frames[2]  # out of order
    frames.insert(4, frames[2])  # and twice
    other = scapy.IP(src="192.0.2.9", dst="192.0.2.1") / scapy.TCP(sport=1, dport=80) / b"GET"
    frames.insert(1, other if below is None else below / other)
    name = tmp_path / f"capture.{suffix}"
    (scapy.wrpcapng if suffix == "pcapng" else scapy.wrpcap)(str(name), frames)
    trace = load(name)
    (found,) = map(decode, trace.connections)
    assert [p.text for p in found.packets] == [p.text for p in decode(wake).packets]
    assert found.spent("tcp") == pytest.approx(0.002, abs=1e-5)
    assert found.connection.end == "closed by the node"
    done = run("scope", str(name))
    assert done.status == 0 and "1 turnarounds" in done.out


def test_files_that_are_none(run: Run, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"a": 1}')
    (tmp_path / "b.pcap").write_bytes(b"\xd4\xc3\xb2\xa1" + bytes(20))
    for name, why in (("a.json", "neither a trace"), ("b.pcap", "no MQTT"), ("c", "No such file")):
        done = run("scope", str(tmp_path / name))
        assert done.status == 1 and why in done.err, done.err
    with pytest.raises(BadTrace):
        load(tmp_path / "b.pcap")
    for name, value in (
        ("opened", None),
        ("ready", []),
        ("closed", "soon"),
        ("chunks", [[0, "left", ""]]),
        ("chunks", [[None, "up", ""]]),
        ("chunks", None),
        ("colour", "red"),
    ):
        Trace("x", [a_wake()]).save(tmp_path / "odd.json")
        odd = json.loads((tmp_path / "odd.json").read_text())
        odd["connections"][0][name] = value
        (tmp_path / "odd.json").write_text(json.dumps(odd))
        with pytest.raises(BadTrace):
            load(tmp_path / "odd.json")
    for written in ("[1]", "[" * 100_000):
        (tmp_path / "odd.json").write_text(written)
        with pytest.raises(BadTrace):
            load(tmp_path / "odd.json")
    Trace("x", [a_wake()]).save(tmp_path / "good.json")
    done = run("scope", str(tmp_path / "good.json"), "--client", "nobody")
    assert done.status == 1 and "no connection of client nobody" in done.err
    assert run("scope", "a", "b", "c").status == 2


def test_nothing_from_elsewhere_changes_the_terminal() -> None:
    evil = "\x1b]0;title\x07\n\x9b2J"
    burst = wire.connect(f"n{evil}", username=evil) + wire.publish(f"t{evil}", evil.encode())
    c = recorded((0.003, "up", burst), (0.004, "down", wire5.disconnect(0)))
    c.end = f"closed {evil}"
    for plain in (False, True):
        for line in shown_text.lines(decode(c), 210, plain):
            assert line.isprintable()
    head = shown_text.head(decode(c))
    assert head.startswith(r"connection 1: n\x1b]0;title\x07\n\x9b2J from")


# --- Shown ----------------------------------------------------------------------------------------


def test_in_a_terminal_and_for_programs(run: Run, tmp_path: Path) -> None:
    name = str(tmp_path / "wake.json")
    Trace("x", [a_wake()]).save(Path(name))
    done = run("scope", name)
    assert done.status == 0
    lines = done.out.splitlines()
    assert lines[0] == "connection 1: node-007 from 192.0.2.7:50000, MQTT 3.1.1"
    assert re.match(r" +3\.5 +\+1\.5 --> +37 B  CONNECT client_id='node-007' persistent", lines[2])
    assert "payload='21.5'" in done.out and "password=…" in done.out
    assert "1 turnarounds" in done.out and "5.1 mC at 210 mA" in done.out
    said = json.loads(run("scope", name, "--json").out)
    assert (said["turnarounds"], said["up"], said["down"]) == (1, 37 + 27 + 2 + 2, 4 + 4 + 2)
    assert said["packets"][1]["fields"]["topic"] == "greenhouse/7/temp"


def test_pictures(run: Run, tmp_path: Path) -> None:
    name = str(tmp_path / "wake.json")
    Trace("x", [a_wake()]).save(Path(name))
    svg, png = tmp_path / "wake.svg", tmp_path / "wake.png"
    done = run("scope", name, "--svg", str(svg), "--png", str(png), "--quiet")
    assert (done.status, done.out) == (0, "")
    assert "<svg" in svg.read_text() and png.read_bytes()[:4] == b"\x89PNG"
    assert svg.read_text().count("PUBLISH") == 1


def before_and_after() -> tuple[list[Decoded], list[Decoded]]:
    """Return a wake of a distant broker with a fence, and of a near one without."""
    return [decode(a_wake(0.060))], [decode(a_wake(0.010, fence=False))]


def test_two_are_compared(run: Run, tmp_path: Path) -> None:
    before, after = before_and_after()
    rows = {row.what: row.change for row in compare.figures(before, after, 0)}
    assert rows["bytes up"] == "-2.0 (-3%)"
    assert rows["ms: the node waits for the broker"] == "-50.0 (-84%)"
    assert rows["turnarounds"] == ""
    assert "- >PINGREQ" in compare.packets(before, after)
    names = []
    for name, found in (("before.json", before), ("after.json", after)):
        names.append(str(tmp_path / name))
        Trace(name, [d.connection for d in found]).save(Path(names[-1]))
    done = run("scope", *names)
    assert done.status == 0 and "- >PINGREQ" in done.out and "-50.0 (-84%)" in done.out


WRITTEN = ("--save", "--html", "--svg", "--png")


@pytest.mark.parametrize("option", WRITTEN)
def test_where_nothing_can_be_written_is_told_first(run: Run, tmp_path: Path, option: str) -> None:
    name = tmp_path / "wake.json"
    Trace("x", [a_wake()]).save(name)
    for wrong, why in (
        (tmp_path / "nowhere" / f"a.{option[2:]}", "there is no folder"),
        (tmp_path, "is a folder"),
        (name / f"a.{option[2:]}", "there is no folder"),
        ("", "it is empty"),
        *([(tmp_path / "a", "does not end with")] if option in ("--svg", "--png") else []),
    ):
        done = run("scope", str(name), option, str(wrong))
        assert (done.status, done.out) == (2, "") and why in done.err, done.err
    assert not (tmp_path / "a.png").exists()
    process = start("scope", "--listen", "0", option, str(tmp_path / "nowhere" / "a.svg"))
    try:
        _, err = process.communicate(timeout=20)
    finally:
        process.kill()
    assert process.returncode == 2 and b"listening" not in err


@pytest.mark.parametrize("full", WRITTEN)
def test_what_cannot_be_written_takes_nothing_with_it(
    run: Run, server: MosquittoBroker, tmp_path: Path, full: str
) -> None:
    """The disk is full at the end: all the rest is written."""
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    files = {option: tmp_path / f"a.{option[2:]}" for option in WRITTEN}
    files[full].symlink_to("/dev/full")
    args = [word for option, path in files.items() for word in (option, str(path))]
    process = start("scope", "-h", HOST, "-p", str(server.port), "--listen", "0", "-C", "1", *args)
    assert run("pub", "-h", HOST, "-p", str(listening(process)), "-t", "a", "-m", "x").status == 0
    _, err = process.communicate(timeout=20)
    assert process.returncode == 1 and f"{files[full]}: No space".encode() in err, err
    for option in set(WRITTEN) - {full}:
        assert files[option].stat().st_size > 100
        assert f"written: {files[option]}".encode() in err


def test_without_matplotlib(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who cannot draw says so before there is anything to draw."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    picture = str(tmp_path / "a.svg")
    name = tmp_path / "wake.json"
    Trace("x", [a_wake()]).save(name)
    for args in (
        ("scope", str(name), "--svg", picture),
        ("plan", "--picture", picture),
        ("storm", "--nodes", "3", "--picture", picture),
    ):
        done = run(*args)
        assert (done.status, done.out) == (1, "") and "dormouse-mqtt[pictures]" in done.err


# --- The proxy ------------------------------------------------------------------------------------


def listening(process: subprocess.Popen[bytes]) -> int:
    """Return the port on which a started scope listens."""
    assert process.stderr
    line = process.stderr.readline().decode()
    found = re.search(r"listening on \S+ port (\d+)", line)
    assert found, line
    return int(found[1])


def test_the_proxy(run: Run, server: MosquittoBroker, tmp_path: Path) -> None:
    at = ("-h", HOST, "-p", str(server.port), "--listen", "0", "-C", "1")
    process = start("scope", *at, "--save", str(tmp_path / "t"), "--html", str(tmp_path / "h"))
    port = listening(process)
    done = run("pub", "-h", HOST, "-p", str(port), "-t", "a/b", "-m", "x", "-q", "2", "-i", "me")
    assert done.status == 0, done.err
    out, err = process.communicate(timeout=15)
    assert process.returncode == 0, err
    text = out.decode()
    order = ["CONNECT", "CONNACK", "PUBLISH", "PUBREC", "PUBREL", "PUBCOMP", "DISCONNECT"]
    assert re.findall(r"(?:-->|<--).*?B  (\w+)", text) == order
    assert "closed by the" in text and "3 turnarounds" in text
    (found,) = map(decode, load(tmp_path / "t").connections)
    assert [p.name for p in found.packets] == order
    assert "a/b" in (tmp_path / "h").read_text()


def test_the_proxy_ends_tls(run: Run, server: MosquittoBroker) -> None:
    mine = certificates()
    args = ("-h", HOST, "-p", str(server.tls_port), "--cafile", str(mine.ca_file), "--listen", "0")
    own = ("--listen-cert", str(mine.server.certificate_file),
           "--listen-key", str(mine.server.key_file))  # fmt: skip
    process = start("scope", *args, *own, "-C", "1", "--json")
    port = listening(process)
    to = ("-h", HOST, "-p", str(port), "--cafile", str(mine.ca_file))
    assert run("pub", *to, "-t", "a", "-m", "x", "-q", "1").status == 0
    out, err = process.communicate(timeout=15)
    assert process.returncode == 0, err
    assert "PUBLISH" in [p["name"] for p in json.loads(out)["packets"]]


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_node_that_does_not_take_the_certificate(
    server: MosquittoBroker, version: ssl.TLSVersion
) -> None:
    mine = certificates()
    own = ("--listen-cert", str(mine.server.certificate_file),
           "--listen-key", str(mine.server.key_file))  # fmt: skip
    process = start("scope", "-h", HOST, "-p", str(server.port), "--listen", "0", *own, "-C", "1")
    strict = ssl.create_default_context()  # which knows no certificate of ours
    strict.maximum_version = version
    address = HOST, listening(process)
    with socket.create_connection(address) as peer, pytest.raises(ssl.SSLError):
        strict.wrap_socket(peer, server_hostname=HOST)
    out, err = process.communicate(timeout=15)
    assert process.returncode == 1 and b"Traceback" not in err, err  # nothing was sent
    assert "unknown ca" in out.decode().lower().replace("_", " "), out


def test_ctrl_c_keeps_what_was_recorded(server: MosquittoBroker, tmp_path: Path) -> None:
    at = ("-h", HOST, "-p", str(server.port), "--listen", "0", "--save", str(tmp_path / "t"))
    process = start("scope", *at)
    peer = dial(listening(process))
    peer.send(wire.connect("sleepy"))
    peer.expect_packet(wire.CONNACK)
    assert process.stdout
    while b"CONNACK" not in process.stdout.readline():
        pass
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=15)
    assert process.returncode == 0 and b"Traceback" not in err, err
    assert load(tmp_path / "t").connections[0].chunks
    peer.close()
    idle = start("scope", *at[:6])
    listening(idle)
    idle.send_signal(signal.SIGINT)
    _, err = idle.communicate(timeout=15)
    assert (idle.returncode, err) == (130, b"")


@pytest.mark.parametrize(("full", "json"), [(False, False), (False, True), (True, False)])
def test_where_nobody_reads_it_ends_and_writes(
    server: MosquittoBroker, tmp_path: Path, full: bool, json: bool
) -> None:
    out = "/dev/full"
    if full and not Path(out).exists():
        pytest.skip(f"no {out} here")
    at = ("-h", HOST, "-p", str(server.port), "--listen", "0", "--save", str(tmp_path / "t"))
    with open(out if full else os.devnull, "wb") as disk:
        more = {"stdout": disk} if full else {}
        process = start("scope", *at, *(["--json"] if json else []), **more)
        port = listening(process)
        if process.stdout:
            process.stdout.close()
            process.stdout = None
        peer = dial(port)
        peer.send(wire.connect("headless") + wire.disconnect())
        _, err = process.communicate(timeout=20)
        peer.close()
    assert b"Traceback" not in err and b"Exception" not in err, err
    assert process.returncode == (1 if full else 0)
    assert (b"cannot write: No space" in err) == full, err
    assert load(tmp_path / "t").connections[0].chunks


def test_no_broker_behind_it(run: Run) -> None:
    process = start("scope", "-h", HOST, "-p", "1", "--listen", "0", "-C", "1")
    port = listening(process)
    with socket.create_connection((HOST, port), 5) as sock:
        assert sock.recv(1) == b""
    out, err = process.communicate(timeout=15)
    assert process.returncode == 1 and b"no broker" in out and b"no connection" in err
    taken = socket.create_server((HOST, 0))
    with taken:
        done = run("scope", "--listen", str(taken.getsockname()[1]))
    assert done.status == 1 and "cannot listen" in done.err
    for wrong in (
        ("--listen", "99999"),
        ("-C", "0"),
        ("-p", "99999"),
        ("-h", ""),
        ("--cafile", ""),
    ):
        done = run("scope", *wrong)
        assert done.status == 2 and "Traceback" not in done.err


def test_a_busy_connection_is_passed_on_whole(server: MosquittoBroker) -> None:
    """What passes is not changed: 2,000 messages both ways, while each is printed."""
    process = start("scope", "-h", HOST, "-p", str(server.port), "--listen", "0", "-C", "1")
    port = listening(process)
    reader = threading.Thread(target=process.stdout.read if process.stdout else None)
    reader.start()
    peer = dial(port)
    peer.send(wire.connect("busy") + wire.subscribe(1, ("busy/#", 0)))
    burst = b"".join(wire.publish("busy/x", b"%05d" % i) for i in range(2000))
    peer.expect_packet(wire.CONNACK)
    peer.expect_packet(wire.SUBACK)
    peer.send(burst)
    for i in range(2000):
        assert peer.expect_packet(wire.PUBLISH).payload == b"%05d" % i
    peer.send(wire.disconnect())
    peer.close()
    reader.join(20)
    assert process.wait(15) == 0


def test_a_long_connection_costs_no_more_at_each_packet(monkeypatch: pytest.MonkeyPatch) -> None:
    """What holds for all of a connection is looked at when it ends: the proxy is in the way of each
    packet, and a node that stays connected sends them for months."""
    found = []
    monkeypatch.setattr(decode_module, "_spans", lambda c, packets, _: found.append(len(packets)))
    printer = scope.Printer(scope.arguments(["--quiet", "--ma", "0"]))
    c = a_wake()
    chunks, c.closed = [*c.chunks], None
    c.chunks.clear()
    for chunk in chunks:
        c.chunks.append(chunk)
        printer.told(c)
    assert not found
    many = [Seen(0, "up", 2, "PINGREQ", "PINGREQ")] * 20_000
    looked = CountingList(many)
    assert assemble(c, looked, False).version == 0
    assert looked.given <= 100


class CountingList(list[Seen]):
    """A list that counts what it gives."""

    given = 0

    def __iter__(self) -> Iterator[Seen]:
        for each in super().__iter__():
            self.given += 1
            yield each


# --- The page -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A chromium without a window."""
    with Browser(needed(runtimes.get.chromium)) as chosen:
        yield chosen


def shown_ms(browser: Browser) -> float:
    """Return how many ms the timeline spans."""
    begin, end = re.findall(
        r"([\d.,]+) ms", browser.run("document.getElementById('span').textContent")
    )
    return float(end.replace(",", "")) - float(begin.replace(",", ""))


def test_the_page_in_a_browser(browser: Browser, tmp_path: Path) -> None:
    target = tmp_path / "wake.html"
    evil = a_wake(payload=EVIL.encode())
    evil.number = 2
    found = [decode(a_wake()), decode(evil)]
    target.write_text(page.render([("wake", found)], 210, f"a wake {EVIL}"), encoding="utf-8")
    browser.requests.clear()
    browser.open(target)
    count = "document.querySelectorAll('svg g.packet').length"
    assert browser.run(count) == 7
    assert browser.run("document.querySelectorAll('tr[data-packet]').length") == 7
    whole = shown_ms(browser)
    # Zoomed by the wheel, by a button, by a key; and out again.
    browser.wheel("svg", -240)
    browser.wait("!document.getElementById('span').textContent.startsWith('0 ms to 26')")
    zoomed = shown_ms(browser)
    assert zoomed < whole * 0.8
    browser.click("#in")
    assert shown_ms(browser) < zoomed * 0.6
    browser.key("+")
    assert shown_ms(browser) < zoomed * 0.4
    assert browser.run(count) < 7  # what is outside is not drawn
    browser.click("#all")
    assert shown_ms(browser) == pytest.approx(whole, abs=0.01) and browser.run(count) == 7
    # Read: an arrow's packet, with its fields and bytes.
    browser.click("svg g.packet:nth-of-type(2) rect")
    details = browser.run("document.getElementById('details').innerText")
    assert "PUBLISH" in details and "greenhouse/7/temp" in details and "21.5" in details
    assert re.search(r"0000 +32 19", details)
    browser.click('tr[data-packet="0:0"]')
    details = browser.run("document.getElementById('details').innerText")
    assert "node-007" in details and "(not shown)" in details and "cheese" not in details
    # What a peer sent is text, and nothing else.
    browser.run("const s = document.getElementById('which'); s.value = '1'; "
                "s.dispatchEvent(new Event('change'))")  # fmt: skip
    assert EVIL in browser.run("document.body.innerText")
    assert browser.run("document.getElementById('evil')") is None
    assert browser.faults == []
    assert browser.requests == [target.resolve().as_uri()]  # all of it is in the page


def test_two_traces_in_a_browser(browser: Browser, tmp_path: Path) -> None:
    before, after = before_and_after()
    target = tmp_path / "change.html"
    traces = [("before", before), ("after", after)]
    target.write_text(page.render(traces, 0, "a change"), encoding="utf-8")
    browser.open(target)
    assert browser.run("document.querySelectorAll('.line svg').length") == 2
    text = browser.run("document.getElementById('comparison').innerText")
    assert "-50.0 (-84%)" in text and "- >PINGREQ" in text
    assert browser.faults == []

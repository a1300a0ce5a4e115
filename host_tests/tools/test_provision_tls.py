"""make provision with TLS: what goes to a board is what the broker and MicroPython take."""

import json
import os
import subprocess
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives import serialization as s
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from harness.serial_board import SerialBoard
from test_provision import PSK, on_board, run

from tools.board import certificates as tool_certificates
from tools.board.settings import CannotProvision, collect
from tools.testing.brokers import MosquittoBroker
from tools.testing.certs import Certificates, Identity, certificates

Mosquitto = Callable[..., MosquittoBroker]
PASSWORD = "password of a key"
# A node that publishes once, over TLS as config.json says.
MAIN = """\
import asyncio, json
from dormouse import Client
from dormouse.net.tls import context
async def main():
    with open("config.json") as f:
        config = json.load(f)
    tls = context(**config["tls"])
    async with Client(config["host"], config["port"], tls, config["client_id"]) as client:
        await client.publish(config["topic"], b"1", 1)
    print("published by", sorted(config["tls"].values()))
asyncio.run(main())
"""


@pytest.fixture
def certs() -> Certificates:
    return certificates()


def settings(port: int, ca: Path | None, client: Identity | None = None, **more: str) -> dict:
    """Return an environment for provision; files in PEM."""
    found = {k: v for k, v in os.environ.items() if not k.startswith("DORMOUSE_")}
    found |= {"DORMOUSE_SSID": "", "DORMOUSE_HOST": "localhost", "DORMOUSE_PORT": str(port)}
    found |= {"DORMOUSE_CLIENT_ID": "greenhouse-7", "DORMOUSE_TOPIC": "greenhouse/7"}
    if ca:
        found |= {"DORMOUSE_TLS": "yes", "DORMOUSE_CA": str(ca)}
    if client:
        found |= {"DORMOUSE_CERT": str(client.certificate_file)}
        found |= {"DORMOUSE_KEY": str(client.key_file)}
    return found | more


def files(board: SerialBoard) -> set[str]:
    listed = board.mpremote("fs", "ls", ":").split()
    return {name for name in listed if name.endswith((".der", ".json", ".new"))}


def test_provisioned_node_connects(
    board: SerialBoard, tool, mosquitto: Mosquitto, certs: Certificates, tmp_path: Path
) -> None:
    """Files in PEM here are files in DER there; changed, kept, and removed with TLS."""
    broker = mosquitto(tls=certs, require_client_certificate=True)
    (tmp_path / "main.py").write_text(MAIN)
    done = tool(
        "deploy.py", "--board", "unix", "--port", board.port, "--main", str(tmp_path / "main.py")
    )
    assert done.returncode == 0, done.stderr
    done = run(tool, board, settings(broker.tls_port, certs.ca_file, certs.client))
    assert done.returncode == 0, done.stderr
    assert "plain text" in done.stdout
    board.wait_output("published by ['ca.der', 'cert.der', 'key.der']", 20)
    assert on_board(board)["tls"] == {"ca": "ca.der", "cert": "cert.der", "key": "key.der"}

    # Only the client's are new: RSA, and in files of DER.
    for name, data in (("c", certs.rsa_client.certificate_der), ("k", certs.rsa_client.key_der)):
        (tmp_path / name).write_bytes(data)
    environment = settings(broker.tls_port, None)
    environment |= {"DORMOUSE_CERT": str(tmp_path / "c"), "DORMOUSE_KEY": str(tmp_path / "k")}
    done = run(tool, board, environment)
    assert done.returncode == 0, done.stderr
    board.wait_output("published by ['ca.der', 'cert2.der', 'key2.der']", 20)
    assert files(board) == {"ca.der", "cert2.der", "key2.der", "config.json"}

    # Nothing is new: what is on the board is what is tried.
    done = run(tool, board, settings(broker.tls_port, None))
    assert done.returncode == 0, done.stderr
    assert files(board) == {"ca.der", "cert2.der", "key2.der", "config.json"}

    # Without the client's: the broker says no, and nothing changes.
    done = run(tool, board, settings(broker.tls_port, None, DORMOUSE_CERT="none"))
    assert done.returncode == 1 and "client" in done.stderr, done.stderr
    assert files(board) == {"ca.der", "cert2.der", "key2.der", "config.json"}

    done = run(tool, board, settings(broker.port, None, DORMOUSE_TLS="no"))
    assert done.returncode == 0, done.stderr
    assert files(board) == {"config.json"} and "tls" not in on_board(board)


def test_order_on_the_board(tool, certs: Certificates) -> None:
    """New files are there before config.json changes, old ones go behind it; no secret is shown."""
    environment = settings(8883, certs.ca_file, certs.client)
    args = ("--board", "ESP32_GENERIC", "--dry-run")
    done = tool("provision.py", *args, env=environment, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stderr
    command = next(line for line in done.stdout.splitlines() if "config.new" in line)
    marks = [":ca.der", ":cert.der", ":key.der", ":config.new", "os.rename", "os.remove(name)"]
    # REPLACE is printed over several lines.
    text = done.stdout[done.stdout.index(command) :]
    places = [text.index(mark) for mark in marks]
    assert places == sorted(places)
    assert all(text.count(name) == 1 for name in ("ca2.der", "cert2.der", "key2.der"))


# --- What is refused, and before the board is touched


class Files:
    """Makes files for a test."""

    def __init__(self, folder: Path, certs: Certificates) -> None:
        self.folder = folder
        self.certs = certs

    def write(self, name: str, data: bytes) -> str:
        (self.folder / name).write_bytes(data)
        return str(self.folder / name)

    def encrypted(self) -> str:
        key = s.load_pem_private_key(self.certs.client.key_pem, None)
        form = (s.Encoding.PEM, s.PrivateFormat.PKCS8)
        return self.write(
            "k", key.private_bytes(*form, s.BestAvailableEncryption(PASSWORD.encode()))
        )

    def made(self, key: Any, digest: Any = None, usage: Any = None, **more: Any) -> str:
        """A certificate for a key of any kind, signed with it in the name of another."""
        now = datetime.now(UTC)
        subject, issuer = (
            x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
            for name in ("made here", "authority")
        )
        builder = x509.CertificateBuilder(
            issuer, subject, key.public_key(), 7, now - timedelta(1), now + timedelta(365)
        )
        if usage:
            builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), False)
        made = builder.sign(key, digest, **more)
        return self.write("c", made.public_bytes(s.Encoding.PEM))


def small(f: Files) -> dict[str, str]:
    return {"DORMOUSE_CA": f.made(rsa.generate_private_key(65537, 1024), digest=hashes.SHA256())}


def edwards(f: Files) -> dict[str, str]:
    return {"DORMOUSE_CA": f.made(ed25519.Ed25519PrivateKey.generate())}


def odd_curve(f: Files) -> dict[str, str]:
    key = ec.generate_private_key(ec.BrainpoolP256R1())
    return {"DORMOUSE_CA": f.made(key, digest=hashes.SHA256())}


def pss(f: Files) -> dict[str, str]:
    key = rsa.generate_private_key(65537, 2048)
    pad = padding.PSS(padding.MGF1(hashes.SHA256()), 32)
    return {"DORMOUSE_CA": f.made(key, digest=hashes.SHA256(), rsa_padding=pad)}


def of_a_server(f: Files) -> dict[str, str]:
    key = ec.generate_private_key(ec.SECP256R1())
    path = f.made(key, hashes.SHA256(), ExtendedKeyUsageOID.SERVER_AUTH)
    return {"DORMOUSE_CERT": path}


def edwards_key(f: Files) -> dict[str, str]:
    form = (s.Encoding.PEM, s.PrivateFormat.PKCS8, s.NoEncryption())
    return {"DORMOUSE_KEY": f.write("k", ed25519.Ed25519PrivateKey.generate().private_bytes(*form))}


REFUSED: dict[str, tuple[Callable[[Files], dict[str, str]], str]] = {
    "no file": (lambda f: {"DORMOUSE_CA": "none.pem"}, "none.pem: No such file"),
    "no ca": (lambda f: {"DORMOUSE_CA": ""}, "would trust anybody"),
    "junk": (lambda f: {"DORMOUSE_CA": f.write("c", b"junk")}, "no certificate, neither PEM"),
    "a key": (
        lambda f: {"DORMOUSE_CA": str(f.certs.client.key_file)},
        "a private key, not a certificate",
    ),
    "a bundle": (
        lambda f: {"DORMOUSE_CA": f.write("c", f.certs.ca_pem + f.certs.foreign_ca_pem)},
        "2 certificates",
    ),
    "expired": (
        lambda f: {"DORMOUSE_CERT": str(f.certs.expired.certificate_file)},
        "expired on",
    ),
    "early": (lambda f: {"DORMOUSE_CERT": str(f.certs.early.certificate_file)}, "valid from"),
    "small": (small, "RSAPublicKey 1024"),
    "ed25519": (edwards, "MicroPython takes RSA"),
    "odd curve": (odd_curve, "MicroPython takes RSA"),
    "pss": (pss, "RSASSA-PSS"),
    "a server's": (of_a_server, "not for a client"),
    "ed25519 key": (edwards_key, "MicroPython takes RSA"),
    "no key": (lambda f: {"DORMOUSE_KEY": f.write("k", b"junk")}, "no private key, in PEM"),
    "without key": (lambda f: {"DORMOUSE_KEY": ""}, "the private key of that certificate"),
    "not the pair": (
        lambda f: {"DORMOUSE_KEY": str(f.certs.rsa_client.key_file)},
        "is not the key of",
    ),
    "encrypted": (lambda f: {"DORMOUSE_KEY": f.encrypted()}, "encrypted: its password"),
    "wrong password": (
        lambda f: {"DORMOUSE_KEY": f.encrypted(), "DORMOUSE_KEY_PASSWORD": "wrong one"},
        "wrong password",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_files_that_are_refused(tool, certs: Certificates, tmp_path: Path, what: str) -> None:
    change, why = REFUSED[what]
    environment = settings(8883, certs.ca_file, certs.client)
    environment |= change(Files(tmp_path, certs))
    args = ("--board", "ESP32_GENERIC", "--dry-run")
    done = tool("provision.py", *args, env=environment, stdin=subprocess.DEVNULL)
    assert done.returncode == 1 and why in done.stderr, done.stderr
    assert "What to do" in done.stderr and "Traceback" not in done.stderr
    assert "wrong one" not in done.stderr and "mpremote" not in done.stdout.split("exec")[-1]


def test_a_new_certificate_asks_for_its_key(certs: Certificates) -> None:
    """The key that the board has is another one's."""
    files = {"ca": "ca.der", "cert": "cert.der", "key": "key.der"}
    old = {"host": "h", "client_id": "n", "topic": "t", "tls": files}
    assert collect(old, {}, False)["tls.key"] == "unchanged"
    with pytest.raises(CannotProvision, match="DORMOUSE_KEY="):
        collect(old, {"DORMOUSE_CERT": str(certs.client.certificate_file)}, False)


def test_encrypted_key(
    board: SerialBoard, tool, mosquitto: Mosquitto, certs: Certificates, tmp_path: Path
) -> None:
    """With its password it goes to the board, in plain text."""
    broker = mosquitto(tls=certs, require_client_certificate=True)
    environment = settings(broker.tls_port, certs.ca_file, certs.client)
    environment["DORMOUSE_KEY"] = Files(tmp_path, certs).encrypted()
    environment["DORMOUSE_KEY_PASSWORD"] = PASSWORD
    done = run(tool, board, environment)
    assert done.returncode == 0, done.stderr
    assert PASSWORD not in done.stdout + done.stderr + json.dumps(on_board(board))
    board.mpremote("cp", ":key.der", str(tmp_path / "back"))
    assert (tmp_path / "back").read_bytes() == certs.client.key_der


def broker_with(mosquitto: Mosquitto, certs: Certificates, server: Identity) -> int:
    return mosquitto(tls=replace(certs, server=server)).tls_port


@pytest.mark.parametrize(
    ("what", "why"),
    [
        ("wrong host", "the broker's certificate is for other.example"),
        ("expired", "expired on"),
        ("early", ": valid from"),
        ("foreign", "DORMOUSE_CA= the certificate of the authority"),
        ("TLS 1.3 only", "a broker that takes TLS 1.2"),
        ("plain", "Does that port speak TLS?"),
        ("not plain", "TLS"),
        ("nobody", "check that the broker runs"),
    ],
)
def test_brokers_that_are_refused(
    board: SerialBoard, tool, mosquitto: Mosquitto, certs: Certificates, what: str, why: str
) -> None:
    if what == "nobody":
        port = 1
    elif what == "plain":
        port = mosquitto().port
    elif what == "not plain":
        port = mosquitto(tls=certs).tls_port
    elif what == "TLS 1.3 only":
        port = mosquitto(tls=certs, listener_of_tls="tls_version tlsv1.3").tls_port
    else:
        server = {
            "wrong host": certs.wrong_host,
            "expired": certs.expired,
            "early": certs.early,
            "foreign": certs.foreign_server,
        }[what]
        port = broker_with(mosquitto, certs, server)
    done = run(tool, board, settings(port, None if what == "not plain" else certs.ca_file))
    assert done.returncode == 1 and why in done.stderr, done.stderr
    assert "Traceback" not in done.stderr and "What to do" in done.stderr
    assert files(board) == set()


def test_websocket(board: SerialBoard, tool, mosquitto: Mosquitto) -> None:
    """Tried by WebSocket, too: not so a broker that speaks none on that port."""
    broker = mosquitto(websocket=True)
    done = run(tool, board, settings(broker.ws_port, None, DORMOUSE_TRANSPORT="ws"))
    assert done.returncode == 0, done.stderr
    config = on_board(board)
    assert (config["transport"], config["path"]) == ("ws", "/mqtt")
    done = run(tool, board, settings(broker.port, None))
    assert done.returncode == 1 and "Traceback" not in done.stderr
    done = run(tool, board, settings(broker.port, None, DORMOUSE_TRANSPORT="tcp"))
    assert done.returncode == 0 and "transport" not in on_board(board)


def test_psk_only_where_the_board_has_it(board: SerialBoard, tool) -> None:
    """MicroPython 1.25 has none: that is said, and nothing is written."""
    environment = settings(
        8883, None, DORMOUSE_TLS="psk", DORMOUSE_PSK_IDENTITY="node", DORMOUSE_PSK=PSK
    )
    done = run(tool, board, environment, "--no-test")
    assert done.returncode == 1 and "MicroPython 1.29 or later" in done.stderr
    assert PSK not in done.stdout + done.stderr and files(board) == set()


def test_names_in_certificates() -> None:
    """RFC 6125: a star is one label; addresses are compared as such."""
    ca = trustme.CA()
    leaf = ca.issue_cert("*.farm.example", "broker.example", "10.0.0.7").cert_chain_pems[0].bytes()
    certificate = x509.load_pem_x509_certificate(leaf)
    for host in ("a.farm.example", "A.Farm.example.", "broker.example", "10.0.0.7"):
        assert tool_certificates.bears(certificate, host), host
    for host in ("farm.example", "a.b.farm.example", "10.0.0.8", "example", "xbroker.example"):
        assert not tool_certificates.bears(certificate, host), host

"""TLS by files in DER, on every runtime, with mosquitto and real certificates.

What each Python says of a certificate that it does not take stands in docs/tls.md, word by word.
"""

import re
import shutil
import ssl
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tools.testing.brokers import MosquittoBroker, free_port
from tools.testing.certs import Certificates, Identity, certificates
from tools.testing.peer import ScriptedPeer
from tools.testing.runtimes import CPYTHON, ROOT, Device, Runtime

pytestmark = pytest.mark.desk("certificates: they want a name, and a clock that is set")

Start = Callable[..., Device]
Mosquitto = Callable[..., MosquittoBroker]
PSK = "00112233445566778899aabbccddeeff"


@pytest.fixture
def certs() -> Certificates:
    return certificates()


@pytest.fixture
def flash(certs: Certificates, tmp_path: Path) -> Path:
    """A folder with a device's files."""
    (tmp_path / "ca.der").write_bytes(certs.ca_der)
    (tmp_path / "foreign-ca.der").write_bytes(certs.foreign_ca_der)
    (tmp_path / "ca.pem").write_bytes(certs.ca_pem)
    (tmp_path / "junk.der").write_bytes(b"\x30junk")
    for name in ("client", "rsa_client", "foreign_client"):
        identity: Identity = getattr(certs, name)
        (tmp_path / f"{name}.der").write_bytes(identity.certificate_der)
        (tmp_path / f"{name}.key.der").write_bytes(identity.key_der)
    return tmp_path


def own(name: str) -> dict[str, str]:
    return {"cert": f"{name}.der", "key": f"{name}.key.der"}


@pytest.fixture
def secure(start: Start, flash: Path) -> Callable[..., str]:
    """Return a function that runs a device with these arguments of `context`, and returns what it
    says in the end: "end", or what was raised."""

    def run(port: int, host: str = "localhost", **tls: Any) -> str:
        files = {k: str(flash / v) if isinstance(v, str) else v for k, v in tls.items()}
        device = start("secure", port, {"host": host}, tls=files)
        assert device.wait_exit(15) == 0, device.transcript()
        said = " ".join(device.lines)
        assert ("published" in said) == said.endswith("end"), said
        return said.replace(f"{flash}/", "").strip()

    return run


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_verified(secure: Callable[..., str], mosquitto: Mosquitto, certs, host: str) -> None:
    """By name, and by an address that stands in the certificate."""
    assert secure(mosquitto(tls=certs).tls_port, host, ca="ca.der").endswith("end")


def test_not_verified(secure: Callable[..., str], mosquitto: Mosquitto, certs) -> None:
    """Only if that is said in so many words."""
    port = mosquitto(tls=certs).tls_port
    assert secure(port, verify=False).endswith("end")
    assert "no ca to verify the broker by" in secure(port)


@pytest.mark.parametrize("name", ["client", "rsa_client"])
def test_client_certificate(
    secure: Callable[..., str], mosquitto: Mosquitto, certs, name: str
) -> None:
    port = mosquitto(tls=certs, require_client_certificate=True).tls_port
    assert secure(port, ca="ca.der", **own(name)).endswith("end")
    for wrong in ({}, own("foreign_client")):
        # What arrives first decides: the broker's alert, or that it closed.
        # MicroPython has the number of mbedtls up to 1.27, and from 1.28 on its text, too.
        alert = r"SSLError .*(certificate required|unknown ca)|OSError .*(-30592|FATAL_ALERT)"
        ended = r"OSError .*\b(32|104)\b|ConnectionResetError|BrokenPipeError|ConnectionLost"
        expected = f"raised ({alert}|{ended})"
        assert re.search(expected, secure(port, ca="ca.der", **wrong))


def test_client_key_in_pkcs8(
    secure: Callable[..., str], mosquitto: Mosquitto, certs, flash: Path
) -> None:
    """As `openssl pkcs8` writes it: from MicroPython 1.24 on."""
    from cryptography.hazmat.primitives import serialization as s

    port = mosquitto(tls=certs, require_client_certificate=True).tls_port
    for name in ("client", "rsa_client"):
        key = s.load_pem_private_key(getattr(certs, name).key_pem, None)
        der = key.private_bytes(s.Encoding.DER, s.PrivateFormat.PKCS8, s.NoEncryption())
        (flash / f"{name}.key.der").write_bytes(der)
        assert secure(port, ca="ca.der", **own(name)).endswith("end")


@pytest.mark.skipif(not shutil.which("openssl"), reason="openssl is not here: install it")
@pytest.mark.parametrize("name", ["client", "rsa_client"])
def test_converted_by_hand(
    secure: Callable[..., str], mosquitto: Mosquitto, certs, flash: Path, name: str
) -> None:
    """The commands of docs/tls.md."""
    identity: Identity = getattr(certs, name)
    for path, data in (("client.pem", identity.certificate_pem), ("client.key", identity.key_pem)):
        (flash / path).write_bytes(data)
    text = (ROOT / "docs" / "tls.md").read_text()
    commands = re.findall(r"^openssl .*", text, re.M)
    assert len(commands) == 3
    for command in commands:
        subprocess.run(command.split(), cwd=flash, check=True)
    for path, data in (("ca.der", certs.ca_der), ("key.der", identity.key_der)):
        assert (flash / path).read_bytes() == data  # which all releases take
    port = mosquitto(tls=certs, require_client_certificate=True).tls_port
    assert secure(port, ca="ca.der", cert="cert.der", key="key.der").endswith("end")


@pytest.mark.parametrize(
    ("tls", "said"),
    [
        ({"ca": "none.der"}, "no file none.der"),
        ({"ca": "ca.pem"}, "ca.pem is PEM, not DER"),
        ({"ca": "junk.der"}, "junk.der: "),
        ({"ca": "client.key.der"}, "client.key.der: "),
        ({"ca": "ca.der", "cert": "client.der", "key": "none.der"}, "no file none.der"),
        (
            {"ca": "ca.der", "cert": "client.der", "key": "rsa_client.key.der"},
            "rsa_client.key.der is not the key of client.der",
        ),
        (
            {"ca": "ca.der", "cert": "rsa_client.der", "key": "client.key.der"},
            "client.key.der is not the key of rsa_client.der",
        ),
        ({"ca": "ca.der", "cert": "client.der", "key": "client.der"}, "client.der, client.der: "),
        ({"ca": "ca.der", "cert": "client.der"}, "cert and key: both or none"),
        ({"ca": "ca.der", "key": "client.key.der"}, "cert and key: both or none"),
        ({"psk": ["node", "abc"]}, "psk is no identity and key in hex"),
        ({"psk": ["node", "no hex"]}, "psk is no identity and key in hex"),
        ({"psk": ["node"]}, "psk is no identity and key in hex"),
    ],
)
def test_files(secure: Callable[..., str], tls: dict[str, Any], said: str) -> None:
    assert secure(1, **tls).startswith(f"raised CertificateError {said}")


# What each Python says: shown in docs/tls.md.
VERIFY = (
    "raised SSLCertVerificationError [SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: "
)
MESSAGES = {
    "wrong host": (
        "The certificate Common Name (CN) does not match with the expected CN",
        "Hostname mismatch, certificate is not valid for 'localhost'.",
    ),
    "expired": ("The certificate validity has expired", "certificate has expired"),
    "early": ("The certificate validity starts in the future", "certificate is not yet valid"),
    "foreign": (
        "The certificate is not correctly signed by the trusted CA",
        "unable to get local issuer certificate",
    ),
}


@pytest.mark.parametrize("what", MESSAGES)
def test_what_is_not_taken(secure, certs, what: str, runtime) -> None:
    """Each is for good: the client does not try again; and CONNECT is never sent."""
    server = {
        "wrong host": certs.wrong_host,
        "expired": certs.expired,
        "early": certs.early,
        "foreign": certs.foreign_server,
    }[what]
    micropython, cpython = MESSAGES[what]
    with ScriptedPeer(certs.server_context(server)) as peer:
        said = secure(peer.port, ca="ca.der")
        assert not any(c.transcript.data("up") for c in peer.connections), "CONNECT was sent"
    assert said.startswith(VERIFY + cpython if runtime is CPYTHON else "raised ValueError ")
    assert runtime is CPYTHON or micropython in said
    text = (ROOT / "docs" / "tls.md").read_text()
    assert micropython in text and cpython.split("'")[0] in text


def test_not_verified_takes_any(secure, mosquitto: Mosquitto, certs) -> None:
    port = mosquitto(tls=replace(certs, server=certs.wrong_host)).tls_port
    assert secure(port, verify=False).endswith("end")


def test_psk(secure, mosquitto: Mosquitto, runtime: Runtime, tmp_path: Path) -> None:
    """Where this Python has pre-shared keys it uses them; else it says who has."""
    (tmp_path / "psk").write_text(f"node:{PSK}\n")
    port = free_port()
    listener = f"listener {port} 127.0.0.1\npsk_hint broker\n"
    mosquitto(extra_config=f"psk_file {tmp_path}/psk", listener_config=listener)
    said = secure(port, psk=["node", PSK])
    if "published" in said:
        assert "Error" in secure(port, psk=["node", PSK[:-2]])
    else:
        assert "no pre-shared keys here: MicroPython 1.29" in said
        assert runtime is not CPYTHON or not hasattr(ssl.SSLContext, "set_psk_client_callback")

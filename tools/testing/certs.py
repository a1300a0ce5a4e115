"""Certificates for TLS tests: one authority, its server and client, and what must be refused."""

import ssl
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import trustme
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509 import load_pem_x509_certificate

from .address import HOST


@dataclass(frozen=True)
class Identity:
    """A certificate and its private key: PEM as bytes and as files, DER as MicroPython wants it."""

    certificate_pem: bytes = field(repr=False)
    key_pem: bytes = field(repr=False)
    certificate_file: Path
    key_file: Path

    @property
    def certificate_der(self) -> bytes:
        """The certificate in DER."""
        return pem_to_der(self.certificate_pem)

    @property
    def key_der(self) -> bytes:
        """The private key in DER, in the traditional form (SEC 1, PKCS #1) that mbedtls reads."""
        key = load_pem_private_key(self.key_pem, password=None)
        return key.private_bytes(Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption())


@dataclass(frozen=True)
class Certificates:
    """What a TLS test needs. Files live as long as this object."""

    ca_pem: bytes = field(repr=False)
    ca_file: Path
    server: Identity  # for address.HOST, 127.0.0.1 and localhost
    client: Identity  # common name and user: dormouse
    wrong_host: Identity  # by the same authority, for another host name
    foreign_ca_pem: bytes = field(repr=False)
    foreign_ca_file: Path
    foreign_server: Identity  # for 127.0.0.1 and localhost, by the foreign authority
    foreign_client: Identity  # by the foreign authority
    rsa_client: Identity  # as `client`, with an RSA key
    expired: Identity  # a server's whose time is over
    early: Identity  # a server's whose time has not begun
    folder: TemporaryDirectory[str] = field(repr=False)

    @property
    def ca_der(self) -> bytes:
        """The authority's certificate in DER, for `cadata` on MicroPython."""
        return pem_to_der(self.ca_pem)

    @property
    def foreign_ca_der(self) -> bytes:
        """The foreign authority's certificate in DER."""
        return pem_to_der(self.foreign_ca_pem)

    def server_context(
        self, identity: Identity | None = None, require_client: bool = False
    ) -> ssl.SSLContext:
        """Return a context for a server, by default `server`; optionally only for our clients."""
        chosen = identity or self.server
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(chosen.certificate_file, chosen.key_file)
        if require_client:
            context.load_verify_locations(self.ca_file)
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def client_context(self, with_certificate: bool = False) -> ssl.SSLContext:
        """Return a context for a host client that verifies certificate and host name."""
        context = ssl.create_default_context(cafile=str(self.ca_file))
        if with_certificate:
            context.load_cert_chain(self.client.certificate_file, self.client.key_file)
        return context


def pem_to_der(pem: bytes) -> bytes:
    """Convert one certificate."""
    return load_pem_x509_certificate(pem).public_bytes(Encoding.DER)


def _write(folder: Path, name: str, pem: bytes) -> Path:
    path = folder / name
    path.write_bytes(pem)
    return path


def _identity(folder: Path, name: str, leaf: trustme.LeafCert) -> Identity:
    certificate = leaf.cert_chain_pems[0].bytes()
    key = leaf.private_key_pem.bytes()
    return Identity(
        certificate,
        key,
        _write(folder, f"{name}.pem", certificate),
        _write(folder, f"{name}.key", key),
    )


def make_certificates() -> Certificates:
    """Make a new authority and all that hangs on it."""
    holder = TemporaryDirectory(prefix="dormouse-certs-")
    folder = Path(holder.name)
    own, foreign = trustme.CA(), trustme.CA(organization_name="foreign")
    names = dict.fromkeys((HOST, "127.0.0.1", "localhost"))
    now, year = datetime.now(UTC), timedelta(days=365)

    own_pem, foreign_pem = own.cert_pem.bytes(), foreign.cert_pem.bytes()
    return Certificates(
        ca_pem=own_pem,
        ca_file=_write(folder, "ca.pem", own_pem),
        server=_identity(folder, "server", own.issue_cert(*names)),
        client=_identity(
            folder, "client", own.issue_cert("dormouse@example.org", common_name="dormouse")
        ),
        wrong_host=_identity(folder, "wrong-host", own.issue_cert("other.example")),
        foreign_ca_pem=foreign_pem,
        foreign_ca_file=_write(folder, "foreign-ca.pem", foreign_pem),
        foreign_server=_identity(folder, "foreign-server", foreign.issue_cert(*names)),
        foreign_client=_identity(
            folder,
            "foreign-client",
            foreign.issue_cert("dormouse@example.org", common_name="dormouse"),
        ),
        rsa_client=_identity(
            folder,
            "rsa-client",
            own.issue_cert(
                "dormouse@example.org", common_name="dormouse", key_type=trustme.KeyType.RSA
            ),
        ),
        expired=_identity(
            folder, "expired", own.issue_cert(*names, not_before=now - year, not_after=now)
        ),
        early=_identity(
            folder, "early", own.issue_cert(*names, not_before=now + year, not_after=now + 2 * year)
        ),
        folder=holder,
    )


@cache
def certificates() -> Certificates:
    """Return one set for the whole test run: making keys costs time."""
    return make_certificates()

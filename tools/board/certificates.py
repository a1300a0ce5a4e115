"""Certificates and private keys on the host: read from PEM or DER, checked, and made into the DER
that a board's MicroPython takes. And what a broker shows."""

from __future__ import annotations

import socket
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_private_key,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, SignatureAlgorithmOID

PEM = b"-----BEGIN "
SOON = timedelta(days=30)
# What the builds of MicroPython for ESP32 and RP2 have in common (extmod/mbedtls/
# mbedtls_config_common.h, ESP-IDF's defaults), as far as mbedtls' default profile for certificates
# takes it (mbedtls_x509_crt_profile_default in library/x509_crt.c).
CURVES = ("secp256r1", "secp384r1", "secp521r1")
RSA_BITS = range(2048, 8193)
HASHES = ("sha256", "sha384", "sha512")
TAKES = "RSA of 2048 bits or more, or ECDSA on P-256, P-384 or P-521, signed with SHA-2"


class BadCertificate(ValueError):
    """A file is not what it should be. The text says why, and holds nothing secret."""


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadCertificate(f"{path}: {error.strerror}") from None


def read_certificate(path: Path) -> x509.Certificate:
    """Return the certificate in a file, PEM or DER. Raises BadCertificate."""
    data = _read(path)
    if b"PRIVATE KEY-----" in data and b"BEGIN CERTIFICATE" not in data:
        raise BadCertificate(f"{path}: a private key, not a certificate")
    try:
        if PEM not in data:
            return x509.load_der_x509_certificate(data)
        found = x509.load_pem_x509_certificates(data)
    except ValueError:
        raise BadCertificate(f"{path}: no certificate, neither PEM nor DER") from None
    if len(found) > 1:
        names = ", ".join(name(certificate) for certificate in found[:4])
        raise BadCertificate(
            f"{path}: {len(found)} certificates ({names}{', ...' if len(found) > 4 else ''}); a "
            "board takes one: a file with that one only"
        )
    return found[0]


def is_encrypted(path: Path) -> bool:
    """Tell whether a file holds a private key that asks for a password. Raises BadCertificate."""
    data = _read(path)
    load = load_pem_private_key if PEM in data else load_der_private_key
    try:
        load(data, None)
    except TypeError:  # "Password was not given but private key is encrypted"
        return True
    except Exception:
        pass  # read_key will say it
    return False


def read_key(
    path: Path, password: str | None = None
) -> rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey:
    """Return the private key in a file, PEM or DER. Raises BadCertificate."""
    data = _read(path)
    load = load_pem_private_key if PEM in data else load_der_private_key
    try:
        key = load(data, password.encode() if password else None)
    except TypeError:
        raise BadCertificate(f"{path}: encrypted: its password is needed") from None
    except ValueError:
        wrong = "wrong password, or no private key" if password else "no private key"
        raise BadCertificate(f"{path}: {wrong}, in PEM or DER") from None
    if not isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
        raise BadCertificate(f"{path}: {type(key).__name__}: MicroPython takes {TAKES}")
    return key


def certificate_der(certificate: x509.Certificate) -> bytes:
    """Return a certificate in DER."""
    return certificate.public_bytes(Encoding.DER)


def key_der(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> bytes:
    """Return a private key in DER, as PKCS #1 or SEC 1: MicroPython before 1.24 reads no PKCS #8
    where its mbedtls is of version 3 (extmod/modtls_mbedtls.c before commit 4d6d84983f)."""
    return key.private_bytes(Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption())


def name(certificate: x509.Certificate) -> str:
    """Return whom a certificate is for, to show."""
    return certificate.subject.rfc4514_string() or "no name"


def host_names(certificate: x509.Certificate) -> list[str]:
    """Return the host names and addresses that a broker's certificate bears."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        common = certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
        return [str(attribute.value) for attribute in common]
    addresses = [str(address) for address in names.get_values_for_type(x509.IPAddress)]
    return names.get_values_for_type(x509.DNSName) + addresses


def bears(certificate: x509.Certificate, host: str) -> bool:
    """Tell whether a broker's certificate bears a host name (RFC 6125, section 6.4) or address."""
    host = host.lower().rstrip(".")
    for found in host_names(certificate):
        found = found.lower()
        # A star stands for one label, the first.
        if found == host or (found[:2] == "*." and host.partition(".")[2] == found[2:]):
            return True
    return False


def check(certificate: x509.Certificate, what: str) -> None:
    """Check time, key type and signature. Raises BadCertificate; `what` begins its text."""
    now = datetime.now(UTC)
    if certificate.not_valid_after_utc < now:
        raise BadCertificate(f"{what}: expired on {certificate.not_valid_after_utc:%Y-%m-%d}")
    if certificate.not_valid_before_utc > now:
        raise BadCertificate(f"{what}: valid from {certificate.not_valid_before_utc:%Y-%m-%d} on")
    key = certificate.public_key()
    good = (isinstance(key, rsa.RSAPublicKey) and key.key_size in RSA_BITS) or (
        isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name in CURVES
    )
    if not good:
        size = getattr(key, "key_size", "")
        raise BadCertificate(f"{what}: {type(key).__name__} {size}: MicroPython takes {TAKES}")
    # A root's own signature is never looked at.
    if certificate.issuer == certificate.subject:
        return
    digest = certificate.signature_hash_algorithm
    if certificate.signature_algorithm_oid == SignatureAlgorithmOID.RSASSA_PSS:
        raise BadCertificate(f"{what}: signed with RSASSA-PSS, which MicroPython has not")
    if digest is None or digest.name not in HASHES:
        raise BadCertificate(f"{what}: not signed with SHA-2: MicroPython takes {TAKES}")


def check_client(certificate: x509.Certificate, what: str) -> None:
    """Check that a certificate may be a client's. Raises BadCertificate."""
    try:
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return
    if ExtendedKeyUsageOID.CLIENT_AUTH not in usage:
        raise BadCertificate(f"{what}: not for a client (its extended key usage)")


def belongs(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey, to: x509.Certificate) -> bool:
    """Tell whether a private key is a certificate's."""
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return key.public_key().public_bytes(*form) == to.public_key().public_bytes(*form)


def ends_soon(certificate: x509.Certificate) -> bool:
    """Tell whether a certificate expires within 30 days."""
    return certificate.not_valid_after_utc < datetime.now(UTC) + SOON


def of_broker(
    host: str, port: int, context: ssl.SSLContext, timeout: float
) -> x509.Certificate | None:
    """Return the certificate that a broker shows, whoever signed it; None if it shows none.

    `context` must not verify.
    """
    try:
        with (
            socket.create_connection((host, port), timeout) as plain,
            context.wrap_socket(plain, server_hostname=host) as secure,
        ):
            data = secure.getpeercert(True)
    except (OSError, ValueError):
        return None
    return x509.load_der_x509_certificate(data) if data else None

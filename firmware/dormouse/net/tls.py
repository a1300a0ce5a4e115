"""TLS by files in DER: ``Client("broker.local", tls=context("ca.der", "cert.der", "key.der"))``.

DER, for most RP2 builds of MicroPython read no PEM (extmod/mbedtls/mbedtls_config_common.h has it
from 1.29 on). ``make provision`` converts and copies; docs/tls.md tells the rest.
"""

import sys

if sys.implementation.name == "micropython":
    try:
        import tls
    except ImportError:  # 1.22; later an ssl.py that not all builds have
        import ssl as tls
else:
    import ssl as tls


class CertificateError(ValueError):
    """A file is missing, is PEM or something else, or the key does not belong to the certificate;
    the pre-shared key is none, or this Python has no such. The text has the file's name."""


def context(
    ca: str | None = None,
    cert: str | None = None,
    key: str | None = None,
    psk: tuple | None = None,
    verify: bool = True,
):
    """Return an SSLContext for a client.

    ``ca``: file of the authority's certificate, by which the broker's certificate, its host name
    included, is verified. ``cert``, ``key``: files of the client's certificate and its private key
    (not encrypted; PKCS #1 or SEC 1, for not all before 1.24 take PKCS #8). ``psk``: identity (str)
    and key (bytes, or hex as str) instead of certificates: MicroPython 1.29, CPython 3.13.
    ``verify=False`` alone makes a connection that anybody may answer.

    Raises CertificateError.
    """
    if bool(cert) != bool(key):  # a key alone would go unused, and only the broker say no
        raise CertificateError("cert and key: both or none")
    if verify and not ca and not psk:
        raise CertificateError("no ca to verify the broker by")
    c = tls.SSLContext(tls.PROTOCOL_TLS_CLIENT)
    if not verify and hasattr(c, "check_hostname"):  # CPython
        c.check_hostname = False
    # MicroPython 1.22 would verify nothing.
    c.verify_mode = tls.CERT_REQUIRED if verify else tls.CERT_NONE
    if psk:
        _psk(c, psk)
    name = ca
    try:
        if ca:
            data = _read(ca)
            try:
                c.load_verify_locations(cadata=data)
            except TypeError:  # MicroPython's, from 1.23 on
                c.load_verify_locations(data)
        if cert:
            name = cert + ", " + key
            data = _read(cert)
            secret = _read(key)
            # Nothing on a chip would notice until the broker refuses. An elliptic key ends with its
            # public half, in an RSA key the modulus is there: both stand in the certificate, too.
            if not (secret[-64:] in data or secret[40:104] in data):
                raise CertificateError(key + " is not the key of " + cert)
            if hasattr(c, "check_hostname"):
                from .._host import load_cert_chain

                load_cert_chain(c, data, secret)
            else:
                c.load_cert_chain(data, secret)
    except CertificateError:
        raise
    except (ValueError, OSError) as e:  # "invalid cert", "invalid key"; CPython: an SSLError
        raise CertificateError("%s: %s" % (name, e))
    return c


def _read(name):
    try:
        with open(name, "rb") as f:
            data = f.read()
    except OSError:
        raise CertificateError("no file " + name)
    if data[:1] != b"\x30":  # a SEQUENCE, ITU-T X.690 section 8.9
        raise CertificateError(name + " is %s, not DER" % ("PEM" if b"-BEGIN " in data else "junk"))
    return data


def _psk(c, psk):
    try:
        identity, key = psk
        if isinstance(key, str):
            from binascii import unhexlify

            key = unhexlify(key)
    except ValueError:  # not two, or no hex: neither Python says of what
        raise CertificateError("psk is no identity and key in hex")
    if hasattr(c, "psk_key"):  # MicroPython, if mbedtls was built with it: ESP32 and RP2 are
        c.psk_identity = identity
        c.psk_key = key
    elif hasattr(c, "set_psk_client_callback"):
        from .._host import set_psk

        set_psk(c, identity, key)
    else:
        raise CertificateError("no pre-shared keys here: MicroPython 1.29 or later has them")

"""Types of tls.py."""

import ssl

from ..packet import _Payload

class CertificateError(ValueError): ...

def context(
    ca: str | None = None,
    cert: str | None = None,
    key: str | None = None,
    psk: tuple[str, _Payload] | None = None,
    verify: bool = True,
) -> ssl.SSLContext: ...

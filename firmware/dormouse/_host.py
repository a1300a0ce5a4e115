"""What CPython lacks of MicroPython, so that the same files run on a desktop.

Not for the device: left out of ``manifest.py`` and ``package.json``.
"""

import asyncio
import base64
import importlib
import re
import socket
import ssl
import sys
import time
import traceback
import types
from collections.abc import Callable
from errno import ECONNRESET
from pathlib import Path

if "micropython" not in sys.modules:
    _shim = types.ModuleType("micropython")
    _shim.const = lambda value: value  # type: ignore[attr-defined]
    sys.modules["micropython"] = _shim


def ticks_ms() -> int:
    """Return a monotonic time in ms."""
    return time.monotonic_ns() // 1000000


def sleep_ms(ms: int):
    """Return an awaitable that ends after ``ms``."""
    return asyncio.sleep(ms / 1000)


def print_exception(e: BaseException, file) -> None:
    """Print a traceback as ``sys.print_exception`` does."""
    traceback.print_exception(e, file=file)


stream = sys.modules[__name__]  # what ``dormouse.stream`` is on a device
Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def read(stream: Stream, buf: memoryview) -> int:
    """Read as ``stream.read`` does."""
    if len(buf) <= 384:  # see there
        await asyncio.sleep(0)  # StreamReader does not, while it has bytes: others have to run too
    data = await stream[0].read(len(buf))
    buf[: len(data)] = data
    return len(data)


async def write(stream: Stream, buf: bytes | bytearray | memoryview) -> None:
    """Write as ``stream.write`` does."""
    stream[1].write(bytes(buf))
    try:
        await stream[1].drain()
    except ConnectionResetError as e:
        if e.errno is None:  # asyncio's own, behind the end: what it was, only the reader was told
            raise stream[0].exception() or ConnectionResetError(ECONNRESET, str(e)) from e
        raise


async def open_stream(
    host: str, port: int, tls=None, name: str | None = None
) -> tuple[Stream, Callable[[], None]]:
    """Connect as ``stream.open_stream`` does."""
    name = (name or host) if tls else None
    stream = await asyncio.open_connection(host, port, ssl=tls, server_hostname=name)
    # So ``write`` waits until the kernel has it, as on a chip: what is still here is lost by close.
    # (With high=0 asyncio's TLS would never write again.)
    stream[1].transport.set_write_buffer_limits(high=1, low=0)
    return stream, lambda: close(stream[1].transport)


def close(transport: asyncio.WriteTransport) -> None:
    """Close; with bytes left, at once: asyncio would wait for ever for a peer that takes none."""
    if transport.get_write_buffer_size():
        transport.abort()
    else:
        transport.close()


# What compat.umqtt does with a socket of its own, which asyncio has no part in.


def poll_wrap(tls: ssl.SSLContext, s: socket.socket, host: str) -> ssl.SSLSocket:
    """Shake hands; the socket does not block afterwards."""
    wrapped = tls.wrap_socket(s, server_hostname=host)
    wrapped.setblocking(False)
    return wrapped


def poll_read(s: socket.socket, buf: memoryview) -> int | None:
    """Read what there is, None for nothing yet."""
    try:
        return s.recv_into(buf)
    except (BlockingIOError, ssl.SSLWantReadError):
        return None


def poll_write(s: socket.socket, data: memoryview) -> int | None:
    """Write what can be, None for nothing yet."""
    try:
        return s.send(data)
    except (BlockingIOError, ssl.SSLWantWriteError):
        return None


def load_cert_chain(context: ssl.SSLContext, certificate: bytes, key: bytes) -> None:
    """Load both from DER, which OpenSSL reads from PEM files only. Raises ssl.SSLError."""
    import tempfile  # slow to load, and seldom needed

    # The first octets tell PKCS #8, SEC 1 and PKCS #1 apart: the version, and what follows it.
    kind = "" if b"\2\1\0\x30" in key[:12] else "EC " if b"\2\1\1\4" in key[:12] else "RSA "
    encoded = base64.encodebytes(key).decode()
    text = ssl.DER_cert_to_PEM_cert(certificate)
    text += f"-----BEGIN {kind}PRIVATE KEY-----\n{encoded}-----END {kind}PRIVATE KEY-----\n"
    with tempfile.NamedTemporaryFile() as file:  # for this user only, and gone afterwards
        file.write(text.encode())
        file.flush()
        context.load_cert_chain(file.name)


def set_psk(context: ssl.SSLContext, identity: str, key: bytes) -> None:
    """Use a pre-shared key and nothing else, as MicroPython does."""
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # there is no certificate: who has the key is the broker
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("PSK")
    context.set_psk_client_callback(lambda hint: (identity, key))  # type: ignore[attr-defined]


def _list_names() -> None:
    # Let dir(), editors and ``import *`` see what packages load lazily: their .pyi names it.
    folder = Path(__file__).parent
    for stub in [folder / "__init__.pyi"] + list(folder.glob("*/__init__.pyi")):
        package = importlib.import_module(".".join(stub.parent.relative_to(folder.parent).parts))
        given = set(re.findall(r"^from \.[\w.]* import \w+ as (\w+)$", stub.read_text(), re.M))
        own = {name for name, value in vars(package).items() if isinstance(value, type)}
        names = sorted(given | {name for name in own if name[0] != "_"})
        package.__all__ = names  # type: ignore[attr-defined]
        package.__dir__ = lambda package=package: sorted(  # type: ignore[method-assign, misc]
            set(vars(package)) | set(package.__all__)
        )


_list_names()

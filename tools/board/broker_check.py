"""Tries a broker from this machine, no better at TLS than a board is, and says what is wrong."""

from __future__ import annotations

import asyncio
import importlib
import os
import socket
import ssl
import sys
from pathlib import Path
from typing import Any

from ..paths import find_library
from . import certificates
from .settings import FILES, CannotProvision, Settings

TEST_TIMEOUT = 10  # seconds for the broker to answer
# What mbedtls of the builds for ESP32 and RP2 has (docs/tls.md); the broker must have some of it.
CIPHERS = "ECDHE+AES:kRSA+AES"


def _dormouse(name: str) -> Any:
    """Return a module of firmware/dormouse."""
    find_library()
    return importlib.import_module(f"dormouse.{name}" if name else "dormouse")


def make_context(tls: Settings, folder: Path, verify: bool = True) -> ssl.SSLContext:
    """Return a context from the files in `folder`, as they are on the board, which is no better at
    TLS than the board is. Raises ValueError."""
    files = {part: str(folder / tls[part]) for part in FILES if part in tls}
    context: ssl.SSLContext = _dormouse("net.tls").context(
        **files, psk=tls.get("psk"), verify=verify or "psk" in tls
    )
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    if "psk" not in tls:
        context.set_ciphers(CIPHERS)
    return context


async def _connect(config: Settings, context: ssl.SSLContext | None) -> None:
    options = {}
    if config.get("transport") == "ws":
        options["stream"] = _dormouse("net.ws").WebSocket(config["path"])
    # Not under the node's own identifier: the broker would end the node's connection, and with a
    # clean session forget what waits for it.
    async with _dormouse("").Client(
        config["host"],
        config["port"],
        tls=context,
        client_id=config["client_id"][:16] + "-check",
        username=config["username"],
        password=config["password"],
        timeout=TEST_TIMEOUT,
        **options,
    ):
        pass


def reason(error: Exception) -> str:
    """Return why a connection failed: asyncio's own words leave out what the system says."""
    number = getattr(error, "errno", None)
    if number and not isinstance(error, ssl.SSLError | socket.gaierror):  # theirs are others
        return os.strerror(number)
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    return getattr(error, "strerror", None) or str(error) or "no answer"


def test_connect(config: Settings, folder: Path) -> None:
    """Connect to the broker from this machine. Raises CannotProvision.

    `folder` has the files that config.json names, as they are on the board.
    """
    where = f"{config['host']}, port {config['port']}"
    context = None
    tls = config.get("tls")
    try:
        if tls:
            if "psk" in tls and not hasattr(ssl.SSLContext, "set_psk_client_callback"):
                print(
                    "not tested: pre-shared keys need Python 3.13 on this machine", file=sys.stderr
                )
                return
            context = make_context(tls, folder)
            _check_broker(config, folder)
        asyncio.run(asyncio.wait_for(_connect(config, context), TEST_TIMEOUT + 2))
    except certificates.BadCertificate as error:
        raise CannotProvision(f"{where}: {error}") from None
    except ssl.SSLError as error:
        raise CannotProvision(f"{where}: {_tls_trouble(error)}") from error
    except ValueError as error:  # a file that was on the board
        raise CannotProvision(f"{error}\nWhat to do: name the files anew") from error
    except (OSError, TimeoutError) as error:
        why = reason(error)
        hint = "\nDoes that port want TLS?"
        if tls:  # a broker that misses a certificate may close before its alert is read
            hint = "\nDoes that port speak TLS? Does the broker want a client certificate?"
        raise CannotProvision(
            f"no connection to {where}: {why}\nWhat to do: check that the broker runs and listens "
            f"on that address. Can only the board reach it: NO_TEST=1{hint}"
        ) from error
    except Exception as error:  # all of dormouse's own
        hint = "check user name and password"
        if type(error).__name__ != "Refused":  # ConnectionLost, ProtocolError
            hint = f"check that an MQTT broker is there{'' if tls else ', and one without TLS'}"
        raise CannotProvision(
            f"{where}: {type(error).__name__} {error.args}\nWhat to do: {hint}"
        ) from error


def _check_broker(config: Settings, folder: Path) -> None:
    """Check what a board's TLS would refuse, and this machine's would take; and the host name,
    for here we can say which names there are. Raises BadCertificate."""
    if "psk" in config["tls"]:
        return
    context = make_context(config["tls"], folder, verify=False)
    shown = certificates.of_broker(config["host"], config["port"], context, TEST_TIMEOUT)
    if shown is None:
        return
    try:
        certificates.check(shown, f"the broker's certificate ({certificates.name(shown)})")
    except certificates.BadCertificate as error:
        raise certificates.BadCertificate(
            f"{error}\nWhat to do: give the broker another one"
        ) from None
    if not certificates.bears(shown, config["host"]):
        names = ", ".join(certificates.host_names(shown)) or "none"
        raise certificates.BadCertificate(
            f"the broker's certificate is for {names}\nWhat to do: DORMOUSE_HOST= one of these"
        )


def _tls_trouble(error: ssl.SSLError) -> str:
    """Return what a failed handshake means, and what to do."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            f"{error.verify_message}\nWhat to do: DORMOUSE_CA= the certificate of the authority "
            "that signed the broker's (mosquitto: its cafile); the broker has to send those between"
        )
    reason = (error.reason or str(error)).lower().replace("_", " ")
    if "protocol version" in reason or "handshake failure" in reason:
        return (
            f"{reason}\nWhat to do: a broker that takes TLS 1.2 with AES, which is all a board "
            "has; and a client certificate if the broker asks for one (DORMOUSE_CERT, DORMOUSE_KEY)"
        )
    if "alert" in reason:
        return f"{reason}\nWhat to do: the broker does not take this client's certificate, or none"
    return f"{reason}\nWhat to do: check that this port of the broker speaks TLS"

"""The way to a broker: the options that pub, sub, request and watch have in common, and the client
that they make of them. They are called as mosquitto_pub and mosquitto_sub call theirs."""

from __future__ import annotations

import argparse
import asyncio
import os
import socket
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from dormouse import Client, MQTTError, ProtocolError, Will

from ...amounts import given, port, positive, said, utf8, whole
from . import output
from .failure import FAILED, WRONG, Failure
from .properties import Properties

# (transport, TLS): the port; those of WebSocket are HTTP's.
PORTS = {("tcp", False): 1883, ("tcp", True): 8883, ("ws", False): 80, ("ws", True): 443}
SCHEMES = {"mqtt": ("tcp", False), "mqtts": ("tcp", True), "ws": ("ws", False), "wss": ("ws", True)}
VERSIONS = {"311": 4, "mqttv311": 4, "3.1.1": 4, "4": 4, "5": 5, "mqttv5": 5}
LONGEST = 268_435_460  # bytes, the longest packet of MQTT
QUEUE = 2 * LONGEST  # bytes: a desk has room
FOR_EVER = 0xFFFFFFFF  # s, a session that does not expire (MQTT 5.0, section 3.1.2.11.2)
SHORTEST = 0.001  # s: the client counts ms

IDENTITY = "-u and -P, and what the broker lets you do"
# What a person is told to do about a reason code of CONNACK, SUBACK or PUBACK.
ADVICE = {
    **{2: "another -i; or a shorter -k, of which mosquitto says so too (max_keepalive)"},
    **{0x85: "another -i", 0x84: "without -V 5", 1: "-V 5"},
    **dict.fromkeys((4, 5, 0x86, 0x87), IDENTITY),
    **dict.fromkeys((3, 0x88, 0x89, 0x97), "later"),
}
OTHER_PROTOCOL = (
    "is it the right -p? with TLS (--tls, --cafile) or without, WebSocket (--ws) or not?"
)

SOON = 0.01  # seconds between two looks
SHORT, OFTEN = 10, 2  # a connection of so many s, so often in a row, is no network that is bad

# What TLS says where the broker wants another certificate of the client, or one at all.
NO_CERTIFICATE = ("CERTIFICATE_REQUIRED", "UNKNOWN_CA", "BAD_CERTIFICATE", "HANDSHAKE_FAILURE")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of a connection."""
    _add_broker(parser)
    _add_tls(parser)
    _add_session(parser)
    _add_will(parser)


def _add_broker(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("broker")
    group.add_argument("-h", "--host", metavar="HOST", help="its name or address (localhost)")
    group.add_argument("-p", "--port", type=port, metavar="PORT", help="1883; TLS 8883; ws 80")
    group.add_argument(
        "-L",
        "--url",
        type=said,
        metavar="URL",
        help="mqtt[s]://[user[:password]@]host[:port]/topic; ws[s]://.../path, its topic by -t",
    )
    group.add_argument("-u", "--username", type=utf8, metavar="NAME")
    group.add_argument("-P", "--pw", metavar="WORD", help="others on this machine can read it")
    group.add_argument(
        "--password-file", type=given, metavar="FILE", help="its first line; or $DORMOUSE_PASSWORD"
    )
    group.add_argument(
        "--ws", type=said, metavar="PATH", nargs="?", const="/mqtt", help="WebSocket (/mqtt)"
    )


def _add_tls(parser: argparse.ArgumentParser) -> None:
    tls = parser.add_argument_group("TLS")
    tls.add_argument("--tls", action="store_true", help="by the system's authorities")
    tls.add_argument(
        "--cafile", type=given, metavar="FILE", help="the authority that signed the broker's"
    )
    tls.add_argument("--cert", type=given, metavar="FILE", help="the client's certificate (PEM)")
    tls.add_argument("--key", type=given, metavar="FILE", help="its private key (PEM)")
    tls.add_argument("--insecure", action="store_true", help="whoever answers will do")
    tls.add_argument(
        "--psk", type=given, metavar="HEX", help="a key instead of certificates (Python 3.13)"
    )
    tls.add_argument("--psk-identity", type=utf8, metavar="NAME")


def _add_session(parser: argparse.ArgumentParser) -> None:
    session = parser.add_argument_group("session")
    session.add_argument("-i", "--id", type=utf8, metavar="ID", help="the client identifier")
    session.add_argument(
        "-k", "--keepalive", type=whole(0, 65535), default=60, metavar="S", help="60 s"
    )
    session.add_argument("-V", "--protocol-version", choices=VERSIONS, default="311")
    session.add_argument(
        "-c", "--disable-clean-session", action="store_true", help="keep the session; needs -i"
    )
    session.add_argument(
        "-x",
        "--session-expiry-interval",
        type=whole(0, FOR_EVER),
        metavar="S",
        help="how long; MQTT 5",
    )
    session.add_argument(
        "-D",
        "--property",
        nargs="+",
        action="append",
        default=[],
        metavar="P",
        help="PACKET NAME VALUE: a property of MQTT 5; PACKET user-property NAME VALUE",
    )
    session.add_argument(
        "--connect-timeout", type=positive, default=10, metavar="S", help="and for answers: 10 s"
    )
    session.add_argument("--quiet", action="store_true", help="not a word of lost connections")


def _add_will(parser: argparse.ArgumentParser) -> None:
    will = parser.add_argument_group("will: what the broker publishes if this dies")
    will.add_argument("--will-topic", type=said, metavar="TOPIC")
    will.add_argument("--will-payload", metavar="TEXT")
    will.add_argument("--will-qos", type=int, choices=(0, 1, 2))
    will.add_argument("--will-retain", action="store_true")


def _apply_url(options: argparse.Namespace) -> None:
    # What stands in the URL is as if it had been said by options; the rest of its path is a topic.
    try:
        url = urlsplit(options.url)
        known = url.scheme in SCHEMES and url.hostname and url.port != 0
    except ValueError:  # its port is no number, or too large
        known = False
    if not known:
        raise Failure(f"{options.url!r} is no URL of a broker", "as mqtts://host:8883/topic", WRONG)
    transport, secure = SCHEMES[url.scheme]
    options.host = options.host or url.hostname
    options.port = options.port or url.port
    options.tls = options.tls or secure
    if url.username:
        options.username = options.username or _unquoted(url.username)
    if url.password:  # of any bytes
        options.pw = options.pw or unquote(url.password, errors="surrogateescape")
    if transport == "ws":
        options.ws = options.ws or _unquoted(url.path) or "/mqtt"
        return
    # All that follows is the topic: # and ? mean nothing else here.
    topic = _unquoted(options.url.partition("://")[2].partition("/")[2])
    if topic and not options.topic:
        options.topic = [topic] if isinstance(options.topic, list) else topic


def _unquoted(part: str) -> str:
    try:
        return utf8(unquote(part, errors="surrogateescape"))
    except argparse.ArgumentTypeError as error:
        raise Failure(f"-L: {error}", status=WRONG) from error


def _password(options: argparse.Namespace) -> bytes | None:
    if options.pw is not None:
        return payload(options.pw)
    if options.password_file:
        try:
            return Path(options.password_file).read_bytes().split(b"\n")[0].removesuffix(b"\r")
        except OSError as error:
            raise Failure(f"{options.password_file}: {error.strerror}", status=WRONG) from error
    word = os.environ.get("DORMOUSE_PASSWORD") if options.username else None
    return None if word is None else payload(word)


def _context(options: argparse.Namespace) -> ssl.SSLContext | None:
    """Return the TLS context, or None. Raises Failure."""
    if options.psk:
        from dormouse.net.tls import context

        try:
            return context(psk=(options.psk_identity or "", options.psk))
        except (ValueError, TypeError) as error:
            raise Failure(f"--psk: {words(error)}", "a key in hex", WRONG) from error
    if options.key and not options.cert:
        raise Failure("--key goes with --cert", status=WRONG)
    secure = options.tls or options.cert is not None
    return server_context(secure, options.cafile, options.insecure, options.cert, options.key)


def server_context(
    tls: bool,
    cafile: str | None,
    insecure: bool,
    cert: str | None = None,
    key: str | None = None,
) -> ssl.SSLContext | None:
    """Return a context for a connection to a broker, or None without TLS. Raises Failure."""
    if not (tls or cafile or insecure):
        return None
    try:
        made = ssl.create_default_context(cafile=cafile)
        if cert:
            made.load_cert_chain(cert, key)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        names = ", ".join(filter(None, (cafile, cert, key)))
        if isinstance(error, ssl.SSLError) and cert and not key and _is_alone(cert):
            raise Failure(f"{cert}: no private key is with it", "--key FILE", WRONG) from error
        raise Failure(f"{names}: {error}", "PEM files that can be read", WRONG) from error
    if insecure:
        made.check_hostname = False
        made.verify_mode = ssl.CERT_NONE
    return made


def _is_alone(cert: str) -> bool:
    text = Path(cert).read_bytes()
    return b"BEGIN CERTIFICATE" in text and b"PRIVATE KEY" not in text


def resolve(options: argparse.Namespace) -> None:
    """Fill in what follows from other options. Raises Failure."""
    if options.url:
        _apply_url(options)
    options.version = VERSIONS[options.protocol_version]
    if options.host is not None:
        check_host(options.host)
    options.context = _context(options)
    options.host = options.host or "localhost"
    transport = "ws" if options.ws else "tcp"
    options.port = options.port or PORTS[transport, options.context is not None]
    options.properties = Properties(options.property)
    if options.properties and options.version != 5:
        raise Failure("properties are MQTT 5's", "say -V 5", WRONG)
    told = {
        "-D will": options.properties.of("will"),
        "--will-payload": options.will_payload is not None,
        "--will-qos": options.will_qos is not None,
        "--will-retain": options.will_retain,
    }
    for name, is_there in told.items():
        if is_there and not options.will_topic:
            raise Failure(f"{name}: there is no will", "say --will-topic", WRONG)
    if options.session_expiry_interval is not None and options.version != 5:
        raise Failure("-x is MQTT 5's", "say -V 5", WRONG)
    if options.disable_clean_session and not options.id:
        raise Failure("a session that is kept needs a name", "say -i ID", WRONG)


def check_host(host: str) -> None:
    """Raise Failure for what is no name and no address."""
    if not host.strip():
        raise Failure("-h is empty", "the broker's name or address", WRONG)
    if "/" in host or host.count(":") == 1:
        advice = "-h HOST -p PORT, or all of it as -L mqtt://HOST:PORT"
        raise Failure(f"-h {host!r} is more than a name", advice, WRONG)
    try:
        host.encode("idna")  # as it will be looked up
    except UnicodeError as error:
        advice = "labels of 1 to 63 letters, with dots between"
        raise Failure(f"-h {host!r} can be no name", advice, WRONG) from error


def payload(text: str) -> bytes:
    """Return what was typed, byte for byte, though it be no UTF-8."""
    return os.fsencode(text)


def make_client(options: argparse.Namespace, **more: Any) -> Client:
    """Return the client; ``more``: options of its own. Raises Failure for what MQTT forbids."""
    settings: dict[str, Any] = {
        "client_id": options.id or "",
        "keepalive": options.keepalive,
        "clean": not options.disable_clean_session,
        "timeout": max(options.connect_timeout, SHORTEST),
        "version": options.version,
        "username": options.username,
        "password": _password(options),
        "max_packet": LONGEST,
        "inbox_bytes": QUEUE,
        "outbox_bytes": QUEUE,
        "outbox": 1000,
        **more,
    }
    if options.ws:
        from dormouse.net.ws import WebSocket

        settings["stream"] = WebSocket(options.ws)
    if options.version == 5:
        _add_version5(settings, options)
    try:
        if options.will_topic:
            settings["will"] = Will(
                options.will_topic,
                payload(options.will_payload or ""),
                qos=options.will_qos or 0,
                retain=options.will_retain,
            )
        client = Client(options.host, options.port, options.context, **settings)
    except (ValueError, TypeError) as error:
        raise Failure(f"MQTT forbids it: {forbidden(error)}", status=WRONG) from error
    # At the end, where it would be refused, everything is done.
    kept = options.version == 5 and client.session.properties.get("session_expiry")
    if options.properties.of("disconnect").get("session_expiry") and not kept:
        why = "-D disconnect session-expiry-interval: the session ends with the connection"
        raise Failure(why, "say -x, too", WRONG)
    return client


def _add_version5(settings: dict[str, Any], options: argparse.Namespace) -> None:
    given = options.properties
    if options.session_expiry_interval is not None:
        settings["session_expiry"] = options.session_expiry_interval
    connect = given.of("connect")
    if "session_expiry" in connect:
        settings["session_expiry"] = connect.pop("session_expiry")
    settings["properties"] = connect or None
    settings["will_properties"] = given.of("will") or None


def _where(options: argparse.Namespace) -> str:
    scheme = ("wss" if options.context else "ws") if options.ws else ""
    scheme = scheme or ("mqtts" if options.context else "mqtt")
    return f"{scheme}://{options.host}:{options.port}{options.ws or ''}"


def explain(error: BaseException, options: argparse.Namespace) -> Failure:
    """Return what a person is told when the connection failed."""
    where = _where(options)
    if isinstance(error, Failure):
        return error
    if isinstance(error, ssl.SSLCertVerificationError):
        advice = "--cafile with the authority that signed it, and the host name that it bears"
        return Failure(f"{where}: its certificate: {error.verify_message}", advice)
    if isinstance(error, socket.gaierror):
        return Failure(f"{where}: nobody knows this name", "is -h right? try the address")
    if isinstance(error, ConnectionRefusedError):
        return Failure(f"{where}: nobody listens there", "is the broker up, is it the right -p?")
    if isinstance(error, asyncio.TimeoutError) or error.args == ("no answer",):
        advice = "is it the right host and port? TLS or not, WebSocket or not?"
        return Failure(f"{where}: no answer within {options.connect_timeout:g} s", advice)
    if isinstance(error, ProtocolError):
        return Failure(f"{where}: what answers is no MQTT broker", OTHER_PROTOCOL)
    if isinstance(error, (ValueError, TypeError)) and not isinstance(error, OSError):
        return Failure(f"MQTT forbids it: {forbidden(error)}", status=WRONG)
    code = getattr(error, "code", None)
    advice = ADVICE.get(code, "") if isinstance(code, int) else ""
    if isinstance(code, (bytes, list)):  # of each topic filter
        advice = "what the broker lets you subscribe to: its access list"
    elif isinstance(error, ssl.SSLError) and any(part in words(error) for part in NO_CERTIFICATE):
        advice = "--cert and --key: the broker takes who has a certificate of its authority"
    elif isinstance(error, (ConnectionResetError, ssl.SSLError)) or error.args == ("closed",):
        advice = OTHER_PROTOCOL
    return Failure(f"{where}: {type(error).__name__}: {words(error)}", advice, FAILED)


def words(error: BaseException | None) -> str:
    """Return what an error says."""
    said = " ".join(str(part) for part in getattr(error, "args", ()))
    return said or type(error).__name__


def forbidden(error: Exception) -> str:
    """Return what the client does not take, in words."""
    what = error.args[0] if error.args else ""
    if isinstance(error, UnicodeError):
        return "a text that is no UTF-8"
    if isinstance(what, int):
        return f"a text of {what:,} bytes: 65,535 at most"
    if what == "":
        return "an empty topic"
    if isinstance(what, str) and what.startswith("$share/") and len(error.args) > 1:
        return f"{what} (a share is $share/NAME/FILTER, its name without + and #; no --no-local)"
    if isinstance(what, str) and ("#" in what or "+" in what):
        return f"{what} (a topic has no + and #; a filter has them alone in their level, # last)"
    return words(error)


@asynccontextmanager
async def told(client: Client, options: argparse.Namespace, name: str) -> AsyncIterator[None]:
    """Tell of lost connections meanwhile; name: who tells."""

    async def watch() -> None:
        with suppress(MQTTError, OSError, ValueError, asyncio.TimeoutError):  # the end: told there
            thrown_out = 0
            while True:
                since = time.monotonic()
                await client.wait_connected(False)
                why = words(client.error)
                output.note(f"dormouse {name}: connection lost ({why}); connecting again")
                # As brokers do to the older one of two clients with one identifier.
                thrown_out = thrown_out + 1 if time.monotonic() - since < SHORT else 0
                if options.id and thrown_out == OFTEN:
                    output.note(f"dormouse {name}: is there another client with -i {options.id}?")
                await client.wait_connected()
                # Who is told so expects what is published from now on: it is subscribed, too.
                while client.connected and not all(o.done for o in client.session.again):
                    await asyncio.sleep(SOON)
                if client.connected:
                    output.note(f"dormouse {name}: connected again")

    task = None if options.quiet else asyncio.create_task(watch())
    try:
        yield
    finally:
        if task:
            task.cancel()
            await asyncio.wait([task])


@asynccontextmanager
async def connected(options: argparse.Namespace, name: str, **more: Any) -> AsyncIterator[Client]:
    """Give a connected client; name: who tells of connections that are lost meanwhile.

    Raises Failure when the broker cannot be reached or refuses.
    """
    client = make_client(options, **more)
    try:
        await client.connect()
    except (TimeoutError, OSError, MQTTError, ValueError) as error:
        raise explain(error, options) from error
    try:
        async with told(client, options, name):
            yield client
    finally:
        bye = options.properties.of("disconnect") if options.version == 5 else {}
        await client.disconnect(**bye)

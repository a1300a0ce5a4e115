#!/usr/bin/env python3
"""Write config.json and certificates onto a board: Wi-Fi, broker, TLS, client identifier, topic ...

    make provision BOARD=ESP32_GENERIC              # asks; what the board has is the default
    DORMOUSE_SSID=home DORMOUSE_HOST=10.0.0.2 make provision BOARD=... </dev/null   # asks nothing

Each setting is taken from its environment variable, else asked for (on a terminal), else as the
board has it. Passwords are asked for without being shown, or come from the environment; they are
never on a command line, and never printed, with DRY_RUN=1 neither. What is on the board in
config.json besides stays. All is checked first, the broker by a connection from this machine (not
with NO_TEST=1, for a broker that only the board can reach), over TLS with the very files that go
to the board. Certificates and keys are read in PEM or DER and go there in DER, under names that
its config.json does not use yet: it has the old ones or the new ones, all of them. On the board
keys and passwords are in plain text. main.py starts anew with it.

Exit status: 0; 1 it cannot be done, with the reason; 130 interrupted.
"""

from __future__ import annotations

import argparse
import asyncio
import getpass
import importlib
import json
import os
import secrets
import shlex
import ssl
import sys
import tempfile
from binascii import unhexlify
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import certificates
import ports
from device import Device, DeviceError

import boards

ROOT = Path(__file__).resolve().parent.parent
TEST_TIMEOUT = 10  # seconds for the broker to answer
UNCHANGED = "unchanged"  # the answer that keeps a file which the board has
# On the board: one of two names each, the one that config.json does not use yet.
FILES = {part: (f"{part}.der", f"{part}2.der") for part in ("ca", "cert", "key")}
# What mbedtls of the builds for ESP32 and RP2 has (docs/tls.md); the broker must have some of it.
CIPHERS = "ECDHE+AES:kRSA+AES"

# On the board: the new file is whole before it takes the place of the old one. FAT does not rename
# onto a file that is there.
REPLACE = (
    "import os\n"
    "try:\n"
    " os.rename('config.new', 'config.json')\n"
    "except OSError:\n"
    " os.remove('config.json')\n"
    " os.rename('config.new', 'config.json')\n"
)
# Behind it: files that config.json does not name any more.
REMOVE = "for name in %r:\n try:\n  os.remove(name)\n except OSError:\n  pass\n"
HAS_PSK = (
    "try:\n import tls\nexcept ImportError:\n import ssl as tls\n"
    "answer(hasattr(tls.SSLContext(tls.PROTOCOL_TLS_CLIENT), 'psk_key'))\n"
)
READ = "try:\n with open('config.json') as f:\n  answer(f.read())\nexcept OSError:\n answer('')\n"


class CannotProvision(Exception):
    """It cannot be done. The text says why, and what to do; it holds no secret."""


# --- Settings, and what they may be ---------------------------------------------------------------


def _ssid(text: str) -> str:
    """Check the name of a network; empty: none (a board with a cable)."""
    if len(text.encode()) > 32:
        raise ValueError("32 bytes at most (IEEE 802.11)")
    return text


def _wifi_password(text: str) -> str:
    """Check a WPA passphrase; empty: an open network."""
    hexadecimal = len(text) == 64 and not set(text.lower()) - set("0123456789abcdef")
    if text and not 8 <= len(text.encode()) <= 63 and not hexadecimal:
        raise ValueError("8 to 63 characters, or 64 hexadecimal digits (WPA)")
    return text


def _host(text: str) -> str:
    if not text or "://" in text or "/" in text or len(text.split()) != 1:
        raise ValueError("a name or an address, without mqtt:// and without a port")
    return text


def _port(text: str) -> int:
    number = int(text) if text.isdecimal() else 0
    if not 1 <= number <= 65535:
        raise ValueError("a number from 1 to 65535")
    return number


def _optional(text: str) -> str | None:
    return text or None


def _client_id(text: str) -> str:
    if not text or len(text.encode()) > 65535 or "\0" in text:
        raise ValueError("at least one character: a session needs a fixed client identifier")
    return text


def _topic(text: str) -> str:
    if not text or set(text) & set("#+\0") or text.endswith("/") or text.startswith("$"):
        raise ValueError("a topic without + and #, not ending in /; such as greenhouse/7")
    return text


def _period(text: str) -> int:
    number = int(text) if text.isdecimal() else 0
    if not 1 <= number <= 2147483:
        raise ValueError("whole seconds, from 1 to 2147483")
    return number


def _store(text: str) -> str:
    if text not in ("journal", "rtc", "nvs"):
        raise ValueError("journal, rtc or nvs (docs/sleep.md)")
    return text


def _tls(text: str) -> str:
    if text not in ("no", "yes", "psk"):
        raise ValueError("no, yes (certificates) or psk (a pre-shared key)")
    return text


def _certificate(text: str) -> str:
    if text == UNCHANGED:
        return text
    if not text:
        raise ValueError("a file: TLS without it would trust anybody")
    certificates.check(certificates.read_certificate(Path(text)), text)
    return text


def _client_certificate(text: str) -> str | None:
    if text in ("", "none"):
        return None
    _certificate(text)
    if text != UNCHANGED:
        certificates.check_client(certificates.read_certificate(Path(text)), text)
    return text


def _key(text: str) -> str:
    if text == UNCHANGED:
        return text
    if not text:
        raise ValueError("a file: the private key of that certificate")
    if not certificates.is_encrypted(Path(text)):
        certificates.read_key(Path(text))
    return text


def _psk_identity(text: str) -> str:
    if not text or len(text.encode()) > 128:  # RFC 4279, section 5.3
        raise ValueError("1 to 128 bytes")
    return text


def _psk(text: str) -> str:
    try:
        size = len(unhexlify(text))
    except ValueError:
        size = 0
    if not 16 <= size <= 32:  # mbedtls: MBEDTLS_PSK_MAX_LEN
        raise ValueError("32 to 64 hexadecimal digits, such as openssl rand -hex 32 prints")
    return text


def _transport(text: str) -> str | None:
    if text not in ("tcp", "ws"):
        raise ValueError("tcp, or ws (WebSocket)")
    return text if text != "tcp" else None


def _path(text: str) -> str:
    if not text.startswith("/") or not text.isascii() or len(text.split()) != 1:
        raise ValueError("the path of an address, such as /mqtt")
    return text


def _led(text: str) -> int | str | dict[str, int | str | bool] | None:
    pin, _, inverted = text.partition(" ")
    if inverted not in ("", "inverted"):
        raise ValueError(
            "a pin's number or name, such as 2 or LED; with inverted behind it: 2 inverted"
        )
    number: int | str = int(pin) if pin.isdecimal() else pin
    return {"pin": number, "invert": True} if inverted else number if pin else None


def _update_key(text: str) -> str | None:
    if text in ("", "none"):
        return None
    if text != "new" and len(text) < 32:
        raise ValueError("32 characters or more; new: make one; none")
    return text


STORES = {"journal": "Journal", "rtc": "RTCStore", "nvs": "NVSStore"}


Settings = dict[str, Any]


def _always(found: Settings) -> bool:
    return True


def _certified(found: Settings) -> bool:
    return bool(found["tls"] == "yes" and found["tls.cert"])


def _encrypted(found: Settings) -> bool:
    key = found.get("tls.key")
    return bool(key and key != UNCHANGED and certificates.is_encrypted(Path(key)))


def _usual_port(found: Settings) -> str:
    if found["transport"] == "ws":
        return ""  # there is none
    return "1883" if found["tls"] == "no" else "8883"


@dataclass(frozen=True)
class Setting:
    """One setting: its key in config.json, its environment variable, and how it is asked for.

    `needed` tells by the settings before it whether it is one; if not, it is None.
    """

    key: str
    variable: str
    question: str
    default: str | Callable[[Settings], str]
    check: Callable[[str], Any]
    secret: bool = False
    needed: Callable[[Settings], bool] = _always


SETTINGS = (
    Setting("wifi.ssid", "DORMOUSE_SSID", "Wi-Fi network (empty: none)", "", _ssid),
    Setting(
        "wifi.password",
        "DORMOUSE_WIFI_PASSWORD",
        "its password",
        "",
        _wifi_password,
        True,
        lambda found: bool(found["wifi.ssid"]),
    ),
    Setting("host", "DORMOUSE_HOST", "broker", "", _host),
    Setting("tls", "DORMOUSE_TLS", "TLS: no, yes, or psk", "no", _tls),
    Setting(
        "tls.ca",
        "DORMOUSE_CA",
        "file of the certificate of the authority that signed the broker's",
        "",
        _certificate,
        needed=lambda found: found["tls"] == "yes",
    ),
    Setting(
        "tls.cert",
        "DORMOUSE_CERT",
        "file of this client's certificate (none: none)",
        "",
        _client_certificate,
        needed=lambda found: found["tls"] == "yes",
    ),
    Setting("tls.key", "DORMOUSE_KEY", "file of its private key", "", _key, needed=_certified),
    Setting(
        "tls.key_password",
        "DORMOUSE_KEY_PASSWORD",
        "password of that file",
        "",
        _optional,
        True,
        _encrypted,
    ),
    Setting(
        "tls.identity",
        "DORMOUSE_PSK_IDENTITY",
        "identity of the pre-shared key",
        "",
        _psk_identity,
        needed=lambda found: found["tls"] == "psk",
    ),
    Setting(
        "tls.psk",
        "DORMOUSE_PSK",
        "pre-shared key, in hex",
        "",
        _psk,
        True,
        lambda found: found["tls"] == "psk",
    ),
    Setting(
        "ntp",
        "DORMOUSE_NTP",
        "time server, for the time in certificates",
        "pool.ntp.org",
        _host,
        needed=lambda found: found["tls"] == "yes",
    ),
    Setting("transport", "DORMOUSE_TRANSPORT", "transport: tcp or ws", "tcp", _transport),
    Setting(
        "path",
        "DORMOUSE_PATH",
        "path of the WebSocket",
        "/mqtt",
        _path,
        needed=lambda found: found["transport"] == "ws",
    ),
    Setting(
        "port",
        "DORMOUSE_PORT",
        "its port",
        _usual_port,
        _port,
    ),
    Setting("username", "DORMOUSE_USERNAME", "user name there (empty: none)", "", _optional),
    Setting(
        "password",
        "DORMOUSE_PASSWORD",
        "password there",
        "",
        _optional,
        True,
        lambda found: bool(found["username"]),
    ),
    Setting("client_id", "DORMOUSE_CLIENT_ID", "client identifier", "", _client_id),
    Setting("topic", "DORMOUSE_TOPIC", "topic of this node", "", _topic),
    Setting("period", "DORMOUSE_PERIOD", "seconds between wakes", "300", _period),
    Setting("store", "DORMOUSE_STORE", "where its session is kept", "journal", _store),
    Setting("led", "DORMOUSE_LED", "pin of a status LED (empty: none)", "", _led),
    Setting(
        "update_key",
        "DORMOUSE_UPDATE_KEY",
        "key for updates over MQTT (new: make one; none)",
        "",
        _update_key,
        True,
    ),
)
SECRETS = {setting.key for setting in SETTINGS if setting.secret}
OPTIONAL = ("ntp", "transport", "path", "led", "update_key")  # not in config.json at all if None


def flat(config: Settings) -> Settings:
    """Return a config.json with the settings in it under the keys of SETTINGS.

    Of files it has only that they are there.
    """
    found = dict(config)
    wifi = found.pop("wifi", None) or {}
    found |= {f"wifi.{key}": value for key, value in wifi.items()}
    tls = found.pop("tls", None) or {}
    found["tls"] = "psk" if "psk" in tls else "yes" if tls else "no"
    found |= {f"tls.{part}": UNCHANGED for part in FILES if tls.get(part)}
    found["tls.identity"], found["tls.psk"] = tls.get("psk") or (None, None)
    if isinstance(found.get("led"), dict):
        found["led"] = f"{found['led'].get('pin')} inverted"
    return found


def nested(settings: Settings, tls: Settings | None = None) -> Settings:
    """Return what config.json is to hold; without a network no wifi at all. `tls`: its tls."""
    wifi = {key[5:]: value for key, value in settings.items() if key.startswith("wifi.")}
    rest = {
        key: value
        for key, value in settings.items()
        if not key.startswith(("wifi.", "tls")) and not (key in OPTIONAL and value is None)
    }
    if tls:
        rest["tls"] = tls
    return {"wifi": wifi, **rest} if wifi.get("ssid") else rest


def masked(config: Settings) -> str:
    """Return config.json as it may be shown: without its passwords and keys."""
    shown = json.loads(json.dumps(config))
    hidden = "(not shown)"
    for key in SECRETS & shown.keys():
        shown[key] = hidden if shown[key] else shown[key]
    if shown.get("wifi", {}).get("password"):
        shown["wifi"]["password"] = hidden
    if shown.get("tls", {}).get("psk"):
        shown["tls"]["psk"][1] = hidden
    return json.dumps(shown, indent=2)


def ask(setting: Setting, before: str) -> str:
    """Ask on the terminal; an empty answer is `before`."""
    if setting.secret:
        hint = " [unchanged]" if before else " (empty: none)"
        return getpass.getpass(f"{setting.question}{hint}: ") or before
    hint = f" [{before}]" if before else ""
    return input(f"{setting.question}{hint}: ").strip() or before


def _follow(key: str, found: Settings, old: Settings) -> None:
    """After an answer, forget what the board has and what does not go with it."""
    if key == "tls" and found["tls"] != flat(old)["tls"] and found.get("port") in (1883, 8883):
        found["port"] = None
    if key == "tls.cert" and found[key] != UNCHANGED:
        found["tls.key"] = None


def collect(old: Settings, environment: Mapping[str, str], interactive: bool) -> Settings:
    """Return all settings, checked, by the keys of SETTINGS, and what else `old` holds.

    Raises CannotProvision for what is missing or wrong.
    """
    found = flat(old)
    for setting in SETTINGS:
        if not setting.needed(found):
            found[setting.key] = None
            continue
        value = found.get(setting.key)
        default = setting.default
        if callable(default):
            default = default(found)
        before = default if value is None else str(value)
        while True:
            given = environment.get(setting.variable)
            text = before if given is None else given
            if given is None and interactive:
                text = ask(setting, before)
            try:
                found[setting.key] = setting.check(text)
                _follow(setting.key, found, old)
                break
            except ValueError as error:  # its text is ours, and does not repeat a secret
                why = f"{setting.question}: {error}"
                if given is not None or not interactive:
                    raise CannotProvision(f"{why}\nWhat to do: {setting.variable}=...") from None
                print(why, file=sys.stderr)
    return found


# --- Certificates ---------------------------------------------------------------------------------


@dataclass
class TLS:
    """What config.json has of TLS, and the files that go to the board, by their names there."""

    config: Settings
    files: dict[str, bytes]

    def kept(self) -> list[str]:
        """Return the names of files that the board has already, and keeps."""
        names = [self.config[part] for part in FILES if part in self.config]
        return [name for name in names if name not in self.files]


def make_tls(found: Settings, old: Settings) -> TLS:
    """Read and check the files that were named. `old`: the tls of the board's config.json.

    Raises CannotProvision.
    """
    if found["tls"] == "no":
        return TLS({}, {})
    if found["tls"] == "psk":
        return TLS({"psk": [found["tls.identity"], found["tls.psk"]]}, {})
    config: Settings = {}
    files: dict[str, bytes] = {}
    try:
        data = _read_files(found)
    except ValueError as error:
        raise CannotProvision(f"{error}\nWhat to do: DORMOUSE_CA, _CERT, _KEY=...") from None
    for part, names in FILES.items():
        if found.get(f"tls.{part}") == UNCHANGED:
            if part not in old:
                raise CannotProvision(f"the board has no {part}\nWhat to do: name a file")
            config[part] = old[part]
        elif part in data:
            config[part] = names[1] if old.get(part) == names[0] else names[0]
            files[config[part]] = data[part]
    return TLS(config, files)


def _read_files(found: Settings) -> dict[str, bytes]:
    """Return part -> DER of the files that were named. Raises ValueError."""
    given = {
        part: Path(found[f"tls.{part}"])
        for part in FILES
        if found[f"tls.{part}"] not in (None, UNCHANGED)
    }
    if ("cert" in given) != ("key" in given):
        raise ValueError("a client certificate and its key: both anew, or none")
    data = {}
    for part in given.keys() - {"key"}:
        certificate = certificates.read_certificate(given[part])
        data[part] = certificates.certificate_der(certificate)
        if certificates.ends_soon(certificate):
            end = certificate.not_valid_after_utc
            print(f"note: {given[part]} expires on {end:%Y-%m-%d}", file=sys.stderr)
    if "key" in given:
        key = certificates.read_key(given["key"], found["tls.key_password"])
        if not certificates.belongs(key, certificates.read_certificate(given["cert"])):
            raise ValueError(f"{given['key']} is not the key of {given['cert']}")
        data["key"] = certificates.key_der(key)
    return data


# --- The broker -----------------------------------------------------------------------------------


def _dormouse(name: str) -> Any:
    """Return a module of firmware/dormouse."""
    if str(ROOT / "firmware") not in sys.path:
        sys.path.insert(0, str(ROOT / "firmware"))
    return importlib.import_module(f"dormouse.{name}" if name else "dormouse")


def make_context(tls: Settings, folder: Path, verify: bool = True) -> ssl.SSLContext:
    """Return a context from the files in `folder`, as they are on the board, which is no better at
    TLS than the board is. Raises ValueError."""
    files = {part: str(folder / tls[part]) for part in FILES if part in tls}
    context: ssl.SSLContext = _dormouse("tls").context(
        **files, psk=tls.get("psk"), verify=verify or "psk" in tls
    )
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    if "psk" not in tls:
        context.set_ciphers(CIPHERS)
    return context


async def _connect(config: Settings, context: ssl.SSLContext | None) -> None:
    options = {}
    if config.get("transport") == "ws":
        options["stream"] = _dormouse("ws").WebSocket(config["path"])
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
        raise CannotProvision(f"{where}: {_tls_trouble(config, error)}") from error
    except ValueError as error:  # a file that was on the board
        raise CannotProvision(f"{error}\nWhat to do: name the files anew") from error
    except (OSError, TimeoutError) as error:
        why = getattr(error, "strerror", None) or str(error) or "no answer"
        hint = f"\nDoes that port {'speak' if tls else 'want'} TLS?"
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


def _tls_trouble(config: Settings, error: ssl.SSLError) -> str:
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


# --- The board ------------------------------------------------------------------------------------


def read_old(device: Device) -> dict[str, Any]:
    """Return the board's config.json, {} if it has none. Raises DeviceError, CannotProvision."""
    text = device.ask(READ)
    if not text:
        return {}
    try:
        old = json.loads(text)
    except ValueError:
        old = None
    if not isinstance(old, dict):
        print("its config.json cannot be read, and is made anew", file=sys.stderr)
        return {}
    return old


def fetch(device: Device, names: list[str], folder: Path) -> None:
    """Copy files from the board into `folder`. Raises DeviceError."""
    for name in names:
        device.run("cp", f":{name}", str(folder / name))


def put(path: Path, data: bytes) -> Path:
    """Write a file that only this user may read."""
    path.touch(0o600)
    path.write_bytes(data)
    return path


def write(device: Device, config: Settings, files: dict[str, bytes], old: Settings) -> None:
    """Put files and config.json onto the board, and reset. Raises DeviceError.

    The files have names that its config.json does not use yet; so with config.json, which is there
    whole or not at all, they change all at once. `old`: the tls of the board's config.json.
    """
    tls = config.get("tls", {})
    wanted = {tls.get(part) for part in FILES}
    stale = [name for names in FILES.values() for name in names if name not in wanted]
    # Of a board on which there never was TLS there is nothing to remove.
    remove = ["exec", REMOVE % (stale,), "+"] if old or tls else []
    with tempfile.TemporaryDirectory() as folder:  # only for this user
        commands: list[str] = []
        for name, data in files.items():
            commands += ["cp", str(put(Path(folder) / name, data)), f":{name}", "+"]
        text = json.dumps(config, indent=2) + "\n"
        path = put(Path(folder) / "config.json", text.encode())
        commands += ["cp", str(path), ":config.new", "+", "exec", REPLACE, "+", *remove, "reset"]
        device.run(*commands)


def check_board(board: boards.Board, found: Settings) -> None:
    """Check that the board can do what the settings ask for. Raises CannotProvision."""
    if STORES[found["store"]] not in board.sleep["stores"]:
        raise CannotProvision(
            f"{board.name} has no {found['store']}\nWhat to do: DORMOUSE_STORE=journal"
        )
    longest = board.sleep.get("longest_ms")
    if longest and found["period"] * 1000 > longest:
        raise CannotProvision(
            f"{board.name} sleeps {longest // 1000} s at most\nWhat to do: a shorter period"
        )


def new_update_key(client_id: str) -> tuple[str, Path]:
    """Make a key, and return it with the file that will have it, which has it under .new now."""
    home = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "dormouse"
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    name = "".join(c if c.isalnum() or c in "-_." else "_" for c in client_id)
    key = secrets.token_hex(32)
    path = home / f"{name}.update_key"
    put(path.with_suffix(".update_key.new"), key.encode() + b"\n")
    return key, path


def provision(board: boards.Board, port: str, test: bool, dry_run: bool) -> None:
    """Do all of it. Raises CannotProvision, DeviceError."""
    device = Device(port, dry_run)
    before = {} if dry_run else read_old(device)
    old = before.get("tls") or {}
    found = collect(before, os.environ, sys.stdin.isatty())
    check_board(board, found)
    tls = make_tls(found, old)
    if "psk" in tls.config and not dry_run and not device.ask(HAS_PSK):
        raise CannotProvision(
            f"the MicroPython on this {board.name} has no pre-shared keys\n"
            "What to do: MicroPython 1.29 or later (make flash), or DORMOUSE_TLS=yes"
        )
    config = nested(found, tls.config)
    if test and not dry_run:
        with tempfile.TemporaryDirectory() as folder:
            for name, data in tls.files.items():
                put(Path(folder) / name, data)
            fetch(device, tls.kept(), Path(folder))
            test_connect(config, Path(folder))
    path = None
    if config.get("update_key") == "new" and not dry_run:
        config["update_key"], path = new_update_key(config["client_id"])
    write(device, config, tls.files, old)
    print(masked(config))
    if path:
        path.with_suffix(".update_key.new").replace(path)
        print(f"The new update key: export DORMOUSE_UPDATE_KEY=$(cat {shlex.quote(str(path))})")
    if "key" in tls.config or "psk" in tls.config:
        print("Its private key is on the board in plain text: who has the board has it.")


def main(argv: list[str] | None = None) -> int:
    """Parse the command line, provision, and return the exit status."""
    variables = ", ".join(setting.variable for setting in SETTINGS)
    parser = argparse.ArgumentParser(
        description="Write config.json onto a board; asks for what the environment does not have.",
        epilog=f"Environment: {variables}. Passwords are taken from there, or asked for.",
    )
    parser.add_argument("--board", default="", help="a folder of boards/")
    parser.add_argument("--port", help="serial port; found if there is one board")
    parser.add_argument("--no-test", action="store_true", help="do not try the broker from here")
    parser.add_argument("--dry-run", action="store_true", help="only print the commands")
    options = parser.parse_args(argv)
    try:
        board = boards.named(options.board)
        port = ports.ready(options.port, board.port, options.dry_run)
        provision(board, port, not options.no_test, options.dry_run)
    except (boards.BadBoard, ports.NoPort, CannotProvision, DeviceError) as error:
        print(f"provision: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (KeyboardInterrupt, EOFError):
        print("\ninterrupted: config.json is whole, the old one or the new", file=sys.stderr)
        sys.exit(130)

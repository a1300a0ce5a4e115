"""The settings of a node: what config.json holds, what each may be, and how they are asked for."""

from __future__ import annotations

import getpass
import json
import sys
from binascii import unhexlify
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import certificates, face
from .safety import CannotDo

UNCHANGED = "unchanged"  # the answer that keeps a file which the board has
# On the board: one of two names each, the one that config.json does not use yet.
FILES = {part: (f"{part}.der", f"{part}2.der") for part in ("ca", "cert", "key")}


class CannotProvision(CannotDo):
    """It cannot be done. The text says why, and what to do; it holds no secret."""


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
    # Two colons and more are an IPv6 address.
    if not text or "/" in text or text.count(":") == 1 or len(text.split()) != 1:
        raise ValueError("a name or an address, without mqtt:// and without a port")
    return text


def _whole(text: str, most: int, what: str) -> int:
    number = int(text) if text.isdecimal() else 0
    if not 1 <= number <= most:
        raise ValueError(f"{what} from 1 to {most}")
    return number


def _port(text: str) -> int:
    return _whole(text, 65535, "a number")


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
    return _whole(text, 2147483, "whole seconds,")


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
    if text not in ("owner", "new") and len(text) < 32:
        text = "owner (of make ota-key), 32 characters or more, new (makes one) or none"
        raise ValueError(face.words(text))
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
        face.words("key for updates over MQTT (owner: that of make ota-key; new: make one; none)"),
        "",
        _update_key,
        True,
    ),
)
SECRETS = {"node_key"} | {setting.key for setting in SETTINGS if setting.secret}
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
    """Ask on the terminal; an empty answer is `before`, and - is none where that may be."""
    if setting.secret:
        hint = " [unchanged]" if before else " (empty: none)"
        return getpass.getpass(f"{setting.question}{hint}: ") or before
    if not before:
        return input(f"{setting.question}: ").strip()
    question = setting.question.replace("(empty:", "(-:")
    text = input(f"{question} [{before}]: ").strip()
    return "" if text == "-" and question != setting.question else text or before


def _follow(key: str, found: Settings, old: Settings) -> None:
    """After an answer, forget what the board has and what does not go with it."""
    if key == "tls" and found["tls"] != flat(old)["tls"] and found.get("port") in (1883, 8883):
        found["port"] = None
    # A broker has one port for each: WebSocket's is none that could be guessed.
    if key == "transport" and found[key] != old.get(key):
        found["port"] = None
    if key == "tls.cert" and found[key] != UNCHANGED:
        found["tls.key"] = None


def collect(
    old: Settings,
    environment: Mapping[str, str],
    interactive: bool,
    answers: dict[str, str | None] | None = None,
) -> Settings:
    """Return all settings, checked, by the keys of SETTINGS, and what else `old` holds.

    answers: what a person has answered before, which is offered now; None: what was offered. What
    is answered is put there. Raises CannotProvision for what is missing or wrong.
    """
    found = flat(old)
    answers = {} if answers is None else answers
    for setting in SETTINGS:
        if not setting.needed(found):
            found[setting.key] = None
            continue
        value = found.get(setting.key)
        default = setting.default
        if callable(default):
            default = default(found)
        said = answers.get(setting.key)
        before = said if said is not None else default if value is None else str(value)
        while True:
            given = environment.get(setting.variable)
            text = before if given is None else given
            if given is None and interactive:
                text = ask(setting, before)
            try:
                found[setting.key] = setting.check(text)
                _follow(setting.key, found, old)
                if given is None and interactive:
                    # What was only taken over may change with another answer: the port with TLS.
                    answers[setting.key] = said if text == before else text
                break
            except ValueError as error:  # its text is ours, and does not repeat a secret
                why = f"{setting.question}: {error}"
                if given is not None or not interactive:
                    raise CannotProvision(f"{why}\nWhat to do: {setting.variable}=...") from None
                print(why, file=sys.stderr)
    return found

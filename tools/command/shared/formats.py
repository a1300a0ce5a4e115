"""How a message is printed: the formats of mosquitto_sub's -F, and JSON."""

from __future__ import annotations

import base64
import json
import re
from datetime import datetime
from typing import Any, NamedTuple

from .failure import WRONG, Failure
from .foreign import read_json


class Arrived(NamedTuple):
    """A message and when it came (local time, with its zone)."""

    topic: str
    payload: bytes
    qos: int
    retain: bool
    packet_id: int
    properties: dict[str, Any]
    at: datetime


ESCAPES = {
    "n": "\n",
    "t": "\t",
    "r": "\r",
    "0": "\0",
    "\\": "\\",
    "a": "\a",
    "e": "\x1b",
    "v": "\v",
}
# mosquitto_sub's letters for properties, in dormouse's names.
PROPERTY = {
    "A": "topic_alias",
    "C": "content_type",
    "D": "correlation_data",
    "E": "message_expiry",
    "F": "payload_format",
    "R": "response_topic",
    "S": "subscription_id",
}
HELP = """format (-F), as in mosquitto_sub:
  %t topic   %p payload   %x payload in hex   %l its length   %q QoS   %r retain   %m identifier
  %I date and time (ISO 8601)   %U seconds since 1970   %j JSON   %J JSON, payload as a JSON value
  %A %C %D %E %F %R %S %P: alias, content type, correlation data, expiry, format, response topic,
  subscription identifiers, user properties   %@H hours, and so on (strftime)   %% \\n \\t \\0
"""
_TOKEN = re.compile(r"%@(.)|%(.)|\\(.)|([^%\\]+)|(.)", re.DOTALL)
_KNOWN = frozenset("tpxXlqrmIUjJP%") | set(PROPERTY)


def check(template: str) -> None:
    """Check a format. Raises Failure for a letter that nothing stands for."""
    for match in _TOKEN.finditer(template):
        letter = match[2]
        if match[5] or (letter and letter not in _KNOWN) or (match[3] and match[3] not in ESCAPES):
            raise Failure(f"-F: {match[0]!r} stands for nothing", "see --help", WRONG)


def as_dict(message: Arrived, parse: bool = False) -> dict[str, Any]:
    """Return a message as mosquitto_sub's %j has it; a payload that is not UTF-8 goes in base64.

    parse: as a JSON value where it is one (%J).
    """
    found: dict[str, Any] = {
        "tst": message.at.strftime("%Y-%m-%dT%H:%M:%S.%f%z"),
        "topic": message.topic,
        "qos": message.qos,
        "retain": int(message.retain),
        "payloadlen": len(message.payload),
    }
    if message.qos:
        found["mid"] = message.packet_id
    if message.properties:
        found["properties"] = {
            key: value.hex() if isinstance(value, bytes) else value
            for key, value in message.properties.items()
        }
    try:
        text = message.payload.decode()
        found["payload"] = text
        if parse:
            found["payload"] = read_json(text)
    except UnicodeDecodeError:
        found["payload_base64"] = base64.b64encode(message.payload).decode()
    except ValueError:
        found["payload"] = None if not message.payload else text
    return found


def _field(letter: str, message: Arrived) -> bytes:
    if letter == "p":
        return message.payload
    if letter in "jJ":
        return json.dumps(as_dict(message, letter == "J"), ensure_ascii=False).encode()
    if letter == "P":
        pairs = message.properties.get("user_properties", ())
        return " ".join(f"{name}:{value}" for name, value in pairs).encode()
    if letter in PROPERTY:
        value = message.properties.get(PROPERTY[letter], "")
        if isinstance(value, bytes):
            return value
        if isinstance(value, list):
            return " ".join(map(str, value)).encode()
        return str(value).encode()
    texts = {
        "t": message.topic,
        "x": message.payload.hex(),
        "X": message.payload.hex().upper(),
        "l": len(message.payload),
        "q": message.qos,
        "r": int(message.retain),
        "m": message.packet_id,
        "I": message.at.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "U": f"{message.at.timestamp():.6f}",
        "%": "%",
    }
    return str(texts[letter]).encode()


def render(template: str, message: Arrived) -> bytes:
    """Return a message in a format that `check` has passed."""
    parts = []
    for match in _TOKEN.finditer(template):
        when, letter, escape, text, _ = match.groups()
        if when:
            parts.append(message.at.strftime("%" + when).encode())
        elif letter:
            parts.append(_field(letter, message))
        elif escape:
            parts.append(ESCAPES[escape].encode())
        else:
            parts.append(text.encode())
    return b"".join(parts)

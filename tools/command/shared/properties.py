"""Properties of MQTT 5 on a command line: `-D publish content-type text/plain`, as mosquitto has
them, and in dormouse's own names."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from typing import Any

from ...amounts import utf8
from .failure import WRONG, Failure

# mosquitto's name: dormouse's, and its type.
NAMES: dict[str, tuple[str, type]] = {
    "payload-format-indicator": ("payload_format", int),
    "message-expiry-interval": ("message_expiry", int),
    "content-type": ("content_type", str),
    "response-topic": ("response_topic", str),
    "correlation-data": ("correlation_data", bytes),
    "session-expiry-interval": ("session_expiry", int),
    "will-delay-interval": ("will_delay", int),
    "receive-maximum": ("receive_maximum", int),
    "topic-alias-maximum": ("topic_alias_maximum", int),
    "maximum-packet-size": ("maximum_packet_size", int),
    "request-problem-information": ("request_problem_information", int),
    "request-response-information": ("request_response_information", int),
    "subscription-identifier": ("subscription_id", int),
    "reason-string": ("reason_string", str),
    "user-property": ("user_properties", tuple),
}


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


PUBLISHED = _names(
    "payload-format-indicator message-expiry-interval content-type response-topic "
    "correlation-data user-property"
)
# Which packet may have which (table 2-4), as far as a client may say it here.
ALLOWED = {
    "connect": _names(
        "session-expiry-interval receive-maximum topic-alias-maximum user-property "
        "request-problem-information request-response-information"
    ),
    "publish": PUBLISHED,
    "will": PUBLISHED | {"will-delay-interval"},
    "subscribe": frozenset({"subscription-identifier", "user-property"}),
    "unsubscribe": frozenset({"user-property"}),
    "disconnect": frozenset({"session-expiry-interval", "reason-string", "user-property"}),
}


def _text(name: str, word: str) -> str:
    try:
        return utf8(word)
    except argparse.ArgumentTypeError as error:
        raise Failure(f"{name}: {error}", status=WRONG) from error


def _value(name: str, kind: type, words: Sequence[str]) -> Any:
    if kind is tuple:
        if len(words) != 2:
            raise Failure("user-property takes a name and a value", status=WRONG)
        return (_text(name, words[0]), _text(name, words[1]))
    if len(words) != 1:
        raise Failure(f"{name} takes one value", status=WRONG)
    if kind is bytes:
        return os.fsencode(words[0])  # as a payload: byte for byte
    if kind is str:
        return _text(name, words[0])
    try:
        return kind(words[0])
    except ValueError as error:
        raise Failure(f"{name} is a number, not {words[0]!r}", status=WRONG) from error


class Properties:
    """What the -D options say, by packet."""

    def __init__(self, options: Sequence[Sequence[str]]) -> None:
        """options: each the words of one -D. Raises Failure."""
        self._by_packet: dict[str, dict[str, Any]] = {}
        for words in options:
            packet, name, *rest = (*words, "", "")[: max(len(words), 2)]
            if packet not in ALLOWED:
                raise Failure(f"-D {packet}: one of {', '.join(ALLOWED)}", status=WRONG)
            if name not in ALLOWED[packet]:
                names = ", ".join(sorted(ALLOWED[packet]))
                raise Failure(f"-D {packet} {name}: one of {names}", status=WRONG)
            key, kind = NAMES[name]
            value = _value(name, kind, rest)
            target = self._by_packet.setdefault(packet, {})
            if kind is tuple:
                target.setdefault(key, []).append(value)
            else:
                target[key] = value

    def __bool__(self) -> bool:
        return bool(self._by_packet)

    def of(self, packet: str) -> dict[str, Any]:
        """Return those of a packet, in dormouse's names."""
        return dict(self._by_packet.get(packet, {}))

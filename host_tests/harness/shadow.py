"""A device shadow service beside a broker, as AWS IoT's documentation describes it.

    with ShadowService(broker) as service:
        service.desire("greenhouse-7", {"period": 60})      # as an application does
        service.wait("greenhouse-7", lambda shadow: shadow.reported == {"period": 60})

Written from the AWS IoT Core Developer Guide: "Device Shadow MQTT topics", "Interacting with
shadows", "Device Shadow service documents", "Device Shadow error messages". Left out: metadata
(which clients pass over), policies, the limit of ten requests in flight.
"""

from __future__ import annotations

import copy
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from tools.testing.brokers import Broker

LIMIT = 8192  # bytes of a state document
Document = dict[str, Any]


class Rejected(Exception):
    """A request that is not granted: code and text."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(code, text)
        self.code = code
        self.text = text


@dataclass
class Shadow:
    """One shadow. A section that was never given, or was removed, is None."""

    version: int = 0
    desired: Document | None = None
    reported: Document | None = None
    exists: bool = False
    rejected: list[int] = field(default_factory=list)  # codes of requests, in order

    def state(self) -> Document:
        """Return the sections that are there."""
        sections = {"desired": self.desired, "reported": self.reported}
        return {name: part for name, part in sections.items() if part is not None}


def merge(old: Document, new: Document) -> Document:
    """Return ``old`` with ``new`` in it: objects are merged, null removes, all else replaces."""
    merged = copy.deepcopy(old)
    for key, value in new.items():
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, dict):
            below = merged.get(key)
            merged[key] = merge(below if isinstance(below, dict) else {}, value)
        else:
            merged[key] = value
    return merged


def difference(desired: Document, reported: Document) -> Document:
    """Return what of ``desired`` is not so in ``reported``."""
    found: Document = {}
    for key, value in desired.items():
        now = reported.get(key)
        if isinstance(value, dict) and isinstance(now, dict):
            below = difference(value, now)
            if below:
                found[key] = below
        elif value != now:
            found[key] = value
    return found


class ShadowService:
    """Answers on ``$aws/things/+/shadow/...``. A context manager."""

    def __init__(self, broker: Broker) -> None:
        self.shadows: dict[str, Shadow] = {}  # by the beginning of their topics
        self._changed = threading.Condition()
        self._ready = threading.Event()
        self._client = paho.Client(CallbackAPIVersion.VERSION2, "shadow-service")
        if broker.username:
            self._client.username_pw_set(broker.username, broker.password)
        self._client.on_connect = self._on_connect
        self._client.on_subscribe = lambda *_: self._ready.set()
        self._client.on_message = self._on_message
        self._client.reconnect_delay_set(1, 1)
        self._client.connect(broker.host, broker.port)
        self._client.loop_start()
        assert self._ready.wait(10)

    def __enter__(self) -> ShadowService:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    # --- for a test

    def shadow(self, thing: str, name: str = "") -> Shadow:
        """Return a shadow as it is now."""
        with self._changed:
            return copy.deepcopy(self.shadows.setdefault(_prefix(thing, name), Shadow()))

    def desire(self, thing: str, state: Document, name: str = "") -> None:
        """Ask for a state, as an application does; the broker has what follows from it then."""
        with self._changed:
            request = {"state": {"desired": state}}
            self._answer(_prefix(thing, name), "update", json.dumps(request).encode())
            last = self._last
        last.wait_for_publish(10)

    def wait(
        self, thing: str, found: Callable[[Shadow], object], name: str = "", timeout: float = 10
    ) -> None:
        """Wait until a shadow is as ``found`` says."""
        with self._changed:
            shadow = self.shadows.setdefault(_prefix(thing, name), Shadow())
            ok = self._changed.wait_for(
                lambda: found(self.shadows.get(_prefix(thing, name), shadow)), timeout
            )
            assert ok, self.shadows

    # --- inside

    def _on_connect(self, client, userdata, flags, reason, properties) -> None:
        stems = ("$aws/things/+/shadow", "$aws/things/+/shadow/name/+")
        client.subscribe([(f"{stem}/{kind}", 1) for stem in stems for kind in ("get", "update")])

    def _on_message(self, client, userdata, message: paho.MQTTMessage) -> None:
        prefix, _, kind = message.topic.rpartition("/")
        with self._changed:
            self._answer(prefix, kind, bytes(message.payload))

    def _answer(self, prefix: str, kind: str, payload: bytes) -> None:
        token: Document = {}
        try:
            if len(payload) > LIMIT:
                raise Rejected(413, "The payload exceeds the maximum size allowed")
            try:
                request = json.loads(payload or b"{}")
            except ValueError:
                raise Rejected(400, "Invalid JSON") from None
            if "clientToken" in request:
                if len(request["clientToken"]) > 64:
                    raise Rejected(400, "Invalid clientToken")
                token["clientToken"] = request["clientToken"]
            shadow = self.shadows.setdefault(prefix, Shadow())
            if kind == "get":
                self._get(prefix, shadow, token)
            else:
                self._update(prefix, shadow, request, token)
        except Rejected as error:
            self.shadows.setdefault(prefix, Shadow()).rejected.append(error.code)
            self._send(
                f"{prefix}/{kind}/rejected", {"code": error.code, "message": error.text, **token}
            )
        self._changed.notify_all()

    def _get(self, prefix: str, shadow: Shadow, token: Document) -> None:
        if not shadow.exists:
            raise Rejected(404, f"No shadow exists with name: '{prefix.split('/')[2]}'")
        state = shadow.state()
        delta = difference(shadow.desired or {}, shadow.reported or {})
        if delta:
            state["delta"] = delta
        self._send(f"{prefix}/get/accepted", {"state": state, "version": shadow.version, **token})

    def _update(self, prefix: str, shadow: Shadow, request: Document, token: Document) -> None:
        if "state" not in request:
            raise Rejected(400, "Missing required node: state")
        state = request["state"]
        if not isinstance(state, dict):
            raise Rejected(400, "State node must be an object")
        for name in state:
            if name not in ("desired", "reported"):
                raise Rejected(400, "State contains an invalid node")
            if state[name] is not None and not isinstance(state[name], dict):
                raise Rejected(400, f"{name.capitalize()} node must be an object")
        if "version" in request:
            if not isinstance(request["version"], int):
                raise Rejected(400, "Invalid version")
            if request["version"] != shadow.version:
                raise Rejected(409, "Version conflict")
        for name, change in state.items():
            old = getattr(shadow, name)
            setattr(shadow, name, None if change is None else merge(old or {}, change))
        shadow.exists = True
        shadow.version += 1
        said = {"version": shadow.version, **token}
        self._send(f"{prefix}/update/accepted", {"state": state, **said})
        delta = difference(shadow.desired or {}, shadow.reported or {})
        if delta:
            self._send(f"{prefix}/update/delta", {"state": delta, **said})

    def _send(self, topic: str, document: Document) -> None:
        document = {**document, "timestamp": int(time.time())}
        self._last = self._client.publish(topic, json.dumps(document), 1)


def _prefix(thing: str, name: str) -> str:
    return f"$aws/things/{thing}/shadow" + (f"/name/{name}" if name else "")

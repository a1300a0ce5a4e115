"""What brokers tell of themselves, under the same names: mosquitto's and EMQX's $SYS topics, the
HTTP API of RabbitMQ's management plugin (RabbitMQ has no $SYS)."""

from __future__ import annotations

import base64
import re
import time
import urllib.request
from collections import deque
from http.client import HTTPException
from typing import Any
from urllib.parse import unquote, urlsplit

from ..shared.foreign import read_json

# Name: what it is. Those with _per_s are rates; the names are also those of --capacity.
NAMES = {
    "connected": "clients connected",
    "sessions": "sessions, with those of clients that are away",
    "away": "sessions of clients that are away",
    "subscriptions": "subscriptions",
    "retained": "messages retained",
    "stored": "messages kept (queued, and retained)",
    "stored_bytes": "bytes of them",
    "received": "messages received",
    "sent": "messages sent",
    "dropped": "messages dropped",
    "received_per_s": "messages received a second",
    "sent_per_s": "messages sent a second",
    "dropped_per_s": "messages dropped a second",
    "connects_per_s": "connects a second",
    "memory": "bytes of memory",
    "uptime": "s since it started",
}
COUNTERS = ("received", "sent", "dropped")

# mosquitto 2 (man mosquitto, Broker status), behind $SYS/broker/. Loads are per minute.
MOSQUITTO = {
    "clients/connected": "connected",
    "clients/total": "sessions",
    "clients/disconnected": "away",
    "subscriptions/count": "subscriptions",
    "retained messages/count": "retained",
    "store/messages/count": "stored",
    "store/messages/bytes": "stored_bytes",
    "publish/messages/received": "received",
    "publish/messages/sent": "sent",
    "publish/messages/dropped": "dropped",
    "heap/current": "memory",
    "heap/current size": "memory",
    "uptime": "uptime",
}
MOSQUITTO_LOADS = {
    "load/publish/received/1min": "received_per_s",
    "load/publish/sent/1min": "sent_per_s",
    "load/publish/dropped/1min": "dropped_per_s",
    "load/connections/1min": "connects_per_s",
}
# EMQX 5 (its documentation, System Topic), behind $SYS/brokers/NODE/.
EMQX = {
    "stats/connections/count": "connected",
    "stats/sessions/count": "sessions",
    "stats/subscriptions/count": "subscriptions",
    "stats/retained/count": "retained",
    "metrics/messages/received": "received",
    "metrics/messages/sent": "sent",
    "metrics/messages/dropped": "dropped",
    "uptime": "uptime",
}
_UNITS = {"day": 86400, "hour": 3600, "minute": 60, "second": 1}
WINDOW = 60.0  # s, over which rates are taken of counters


def number(text: str) -> float | None:
    """Return the number that a payload says: "12", "1.5", "12 seconds", "2 hours, 3 minutes"."""
    try:
        return float(text)
    except ValueError:
        pass
    found = re.findall(r"(\d+) *(day|hour|minute|second)", text)
    return float(sum(int(n) * _UNITS[unit] for n, unit in found)) if found else None


class Figures:
    """What is known of a broker, or of a cluster: each of its nodes' figures, added up."""

    def __init__(self) -> None:
        self.version = ""
        self.alarms: dict[str, str] = {}  # what the broker complains of: name, text
        self.updated: float | None = None
        self._values: dict[str, dict[str, float]] = {}  # by node
        self._history: dict[str, deque[tuple[float, float]]] = {}

    def take(self, topic: str, payload: bytes, now: float) -> bool:
        """Take in a message; return whether it told something. now: s."""
        levels = topic.split("/")
        text = payload.decode(errors="replace")
        if levels[:2] == ["$SYS", "broker"]:
            return self._told("broker", "/".join(levels[2:]), text, now, MOSQUITTO)
        if levels[:2] == ["$SYS", "brokers"] and len(levels) > 3:
            rest = "/".join(levels[3:])
            if levels[3] == "alarms":
                return self._alarm(levels[2], levels[-1], text)
            return self._told(levels[2], rest, text, now, EMQX)
        return False

    def _told(self, node: str, rest: str, text: str, now: float, names: dict[str, str]) -> bool:
        if rest == "version":
            self.version = text
            return True
        value = number(text)
        if value is None:
            return False
        if rest in MOSQUITTO_LOADS and names is MOSQUITTO:
            self.put(node, MOSQUITTO_LOADS[rest], value / 60, now)
        elif rest in names:
            self.put(node, names[rest], value, now)
        else:
            return False
        return True

    def _alarm(self, node: str, what: str, text: str) -> bool:
        try:
            found = read_json(text)
            name = f"{node}: {found['name']}"
        except (ValueError, KeyError, TypeError):
            return False
        if what == "activate":
            self.alarms[name] = str(found.get("message", ""))
        else:
            self.alarms.pop(name, None)
        return True

    def put(self, node: str, name: str, value: float, now: float) -> None:
        """Note a figure of a node."""
        self._values.setdefault(node, {})[name] = value
        self.updated = now
        if name in COUNTERS:
            history = self._history.setdefault(f"{node} {name}", deque(maxlen=100))
            if history and value < history[-1][1]:
                history.clear()  # it has started anew
            history.append((now, value))

    def values(self) -> dict[str, float]:
        """Return what is known, in the order of NAMES."""
        found: dict[str, float] = {}
        for node in self._values.values():
            for name, value in node.items():
                add = max if name == "uptime" else sum  # of a cluster: its oldest node's
                found[name] = add((found.get(name, 0), value))
        for name in COUNTERS:
            rate = self._rate(name)
            if rate is not None:
                found.setdefault(f"{name}_per_s", rate)
        return {name: found[name] for name in NAMES if name in found}

    def _rate(self, name: str) -> float | None:
        rates = []
        for key, history in self._history.items():
            if not key.endswith(" " + name):
                continue
            end, last = history[-1]
            begin, first = next((t, v) for t, v in history if t >= end - WINDOW)
            if end > begin:
                rates.append((last - first) / (end - begin))
        return sum(rates) if rates else None


# --- RabbitMQ -------------------------------------------------------------------------------------


def _get(url: str, path: str, timeout: float) -> Any:
    parts = urlsplit(url)
    where = parts._replace(netloc=parts.netloc.rpartition("@")[2], path=path).geturl()
    request = urllib.request.Request(where)
    if parts.username:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
        request.add_header("Authorization", "Basic " + base64.b64encode(pair).decode())
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            return read_json(answer.read())
    except HTTPException as error:  # no HTTP, or it ended in its middle; a port that is no number
        raise ValueError(f"no HTTP there: {type(error).__name__}") from error


def _deep(found: Any, *path: str) -> float | None:
    for key in path:
        found = found.get(key) if isinstance(found, dict) else None
    return float(found) if isinstance(found, int | float) else None


RABBITMQ = {
    "connected": ("object_totals", "connections"),
    "sessions": ("object_totals", "queues"),  # a session is a queue there
    "subscriptions": ("object_totals", "consumers"),
    "stored": ("queue_totals", "messages"),
    "received_per_s": ("message_stats", "publish_details", "rate"),
    "sent_per_s": ("message_stats", "deliver_get_details", "rate"),
    "dropped_per_s": ("message_stats", "drop_unroutable_details", "rate"),
    "connects_per_s": ("churn_rates", "connection_created_details", "rate"),
}


def rabbitmq(figures: Figures, url: str, timeout: float = 10) -> None:
    """Ask RabbitMQ's management plugin; url: http://user:password@host:15672. Raises OSError,
    ValueError for an answer that is none."""
    overview = _get(url, "/api/overview", timeout)
    nodes = _get(url, "/api/nodes", timeout)
    if (
        not isinstance(overview, dict)
        or not isinstance(nodes, list)
        or not all(isinstance(node, dict) for node in nodes)
    ):
        raise ValueError("not the HTTP API of RabbitMQ")
    now = time.monotonic()
    figures.version = f"RabbitMQ {overview.get('rabbitmq_version', '')}".strip()
    for name, path in RABBITMQ.items():
        value = _deep(overview, *path)
        if value is not None:
            figures.put("cluster", name, value, now)
    for node in nodes:
        name = str(node.get("name", "?"))
        if (memory := _deep(node, "mem_used")) is not None:
            figures.put(name, "memory", memory, now)
        for alarm in ("mem_alarm", "disk_free_alarm"):
            key = f"{name}: {alarm}"
            if node.get(alarm):
                figures.alarms[key] = "publishers are blocked"
            else:
                figures.alarms.pop(key, None)

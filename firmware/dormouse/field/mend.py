"""What can be used of a config.json that is damaged, or has values that cannot be.

It is looked at when the file is no JSON or lacks what each node needs, at a crash, and in safe
mode.
"""

import json

from ..packet import binary, encode_topic, string

# What a setting is, where another kind of value would end the program.
_KINDS = {
    "host": str,
    "port": int,
    "topic": str,
    "client_id": str,
    "username": str,
    "password": str,
    "period": (int, float),
    "budget": int,
    "safe_period": (int, float),
    "keepalive": int,
    "timeout": (int, float),
    "store": str,
    "transport": str,
    "path": str,
    "ntp": str,
    "ntp_port": int,
    "wifi": dict,
    "tls": dict,
    "update_key": str,
    "update_topic": str,
    "node_key": str,
    "app": str,
    "outbox": int,
    "crashes": (int, float),
    "retry": (int, float),
    "watchdog": (int, float),
}

_NO_KEY = "?"  # as an update_key: one that config.make_ota refuses


def mend(name: str, data: bytes) -> dict:
    """Return the settings in what a file ``name`` holds, with "trouble" in them. One that is no
    JSON is taken line by line: all that stands whole on a line of its own, as ``make provision``
    writes it. Where it says anything of TLS that is not whole, there is no host: a password must
    not go out in clear, nor to anybody. It may have had an owner, whose key stands at its end: with
    none in what is left orders in safe mode are nobody's, and not everybody's."""
    config = {}
    trouble = []
    try:
        config = json.loads(data)
    except Exception:  # any bytes at all; nested deeper than json goes down
        trouble.append("damaged" if data else "no file")
        if data:
            config = _lines(data)
            tls = config.get("tls")
            if b"tls" in data or config.get("port") == 8883:
                if not isinstance(tls, dict) or not ("ca" in tls or "psk" in tls):
                    config["host"] = None
            config.setdefault("update_key", _NO_KEY)
    if not isinstance(config, dict):
        config = {}
    check(config, trouble)
    if not config.get("host"):
        trouble.append("no host")
    config["trouble"] = "%s: %s: make provision" % (name, ", ".join(trouble))
    print(config["trouble"])
    return config


def check(config: dict, trouble: list) -> None:
    """Leave out settings that cannot be, and name them in ``trouble``; there is a topic then. Where
    it was to be secure, and cannot be, there is no host; a key that cannot be stays one that nobody
    has."""
    port = config.get("port")
    if isinstance(port, (str, float)):  # "1884", 1884.0: Client takes it
        try:
            config["port"] = int(port)
        except (ValueError, OverflowError):
            pass
    for key in _KINDS:
        value = config.get(key)
        if value is None or _can_be(key, value):
            continue
        del config[key]
        trouble.append("no such " + key)
        if key == "tls" and value:  # (false: it was not to be)
            config["host"] = None
        if key == "update_key" and value:
            config[key] = _NO_KEY
    if config.get("username") is None:
        config.pop("password", None)  # which does not go alone
    if not config.get("topic"):
        trouble.append("no topic")
        name = config.get("client_id")
        config["topic"] = name if name and _can_be("topic", name) else _name()


def blame(config: dict) -> str:
    """Return a line for the log that names the settings that cannot be, for one may be why it
    crashed; "" if there are none."""
    wrong = []
    check(dict(config), wrong)
    return "config.json: %s\n" % ", ".join(wrong) if wrong else ""


def _can_be(key, value):
    if not isinstance(value, _KINDS[key]) or value is True:
        return False
    if key == "wifi":
        password = value.get("password", 0)
        return isinstance(value.get("ssid"), str) and (
            password is None or isinstance(password, str)
        )
    if isinstance(value, dict):
        return True
    if isinstance(value, str):
        try:
            if key[-5:] == "topic":  # (No filter: an update's topic is compared.)
                value and encode_topic(value, 0)
            elif key == "transport":
                return value in ("", "tcp", "ws")
            elif key == "password":
                binary(value)
            else:
                string(value)
        except ValueError:
            return False
        return True
    return 0 <= value < (1 << 16 if "port" in key else 1 << 30)


def _name():
    try:
        from machine import unique_id

        return unique_id().hex()
    except ImportError:  # on a desk
        return "dormouse"


def _lines(data):
    # "key": value, and of wifi and tls, an object in it.
    config = {}
    inside = config
    for line in data.split(b"\n"):
        line = line.strip()
        if line[-1:] == b",":
            line = line[:-1]
        try:
            if line == b"}":
                inside = config
            elif line[-1:] == b"{" and line != b"{":
                key = json.loads(line[:-1].strip()[:-1])
                inside = config[key] = {}
            else:
                inside.update(json.loads(b"{" + line + b"}"))
        except Exception:
            pass
    return config

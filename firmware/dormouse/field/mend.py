"""What can be used of a config.json that is damaged, or has values that cannot be.

It is looked at when the file is no JSON or lacks what each node needs, and in safe mode.
"""

import json

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
    "path": str,
    "ntp": str,
    "wifi": dict,
    "tls": dict,
    "update_key": str,
    "update_topic": str,
    "node_key": str,
    "app": str,
}


def mend(name: str, data: bytes) -> dict:
    """Return the settings in what a file ``name`` holds, with "trouble" in them. One that is no
    JSON is taken line by line: all that stands whole on a line of its own, as ``make provision``
    writes it. Where it says anything of TLS that is not whole, there is no host: a password must
    not go out in clear, nor to anybody."""
    config = {}
    trouble = []
    try:
        config = json.loads(data)
    except Exception:  # any bytes at all; nested deeper than json goes down
        trouble.append("damaged" if data else "no file")
        if data:
            config = _lines(data)
            tls = config.get("tls") or {}
            if (b"tls" in data or config.get("port") == 8883) and not ("ca" in tls or "psk" in tls):
                config["host"] = None
    if not isinstance(config, dict):
        config = {}
    check(config, trouble)
    if not config.get("host"):
        trouble.append("no host")
    if not config.get("topic"):
        trouble.append("no topic")
        config["topic"] = config.get("client_id") or _name()
    config["trouble"] = "%s: %s: make provision" % (name, ", ".join(trouble))
    print(config["trouble"])
    return config


def check(config: dict, trouble: list) -> None:
    """Leave out settings that cannot be, and name them in ``trouble``."""
    for key in _KINDS:
        value = config.get(key)
        if value is None:
            continue
        good = isinstance(value, _KINDS[key])
        if good and not isinstance(value, (str, dict)):
            good = 0 <= value < 1 << 30
        elif good and key == "wifi":
            good = isinstance(value.get("ssid"), str) and "password" in value
        if not good:
            trouble.append("no such " + key)
            del config[key]


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

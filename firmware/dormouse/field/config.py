"""The parts of a node as its settings say, which are a file that ``make provision`` writes.

Only the modules of what the settings name are loaded. docs/install.md has a table of the settings.
"""

import json

from ..client import Client


def load(name: str = "config.json") -> dict:
    """Return the settings in file ``name``. Raises ValueError without it, for what is not JSON, and
    for what has no host or topic."""
    try:
        with open(name) as f:
            config = json.load(f)
    except OSError:  # MicroPython's does not name the file
        raise ValueError(name + ": no file: make provision")
    for key in ("host", "topic"):
        if not isinstance(config, dict) or not config.get(key):
            raise ValueError("%s: no %s: make provision" % (name, key))
    return config


def make_store(config: dict):
    """Return the store that "store" names: docs/sleep.md tells which to choose."""
    name = config.get("store", "journal")
    if name == "rtc":  # ESP32: RTC memory, no wear; lost with the power
        from ..store.rtc import RTCStore

        return RTCStore()
    if name == "nvs":  # ESP32: a partition of its own
        from ..store.nvs import NVSStore

        return NVSStore()
    if name != "journal":
        raise ValueError("store", name)
    from ..store.journal import Journal  # any chip: a file; survives power loss

    return Journal("dormouse.journal")


def make_client(config: dict, **options) -> Client:
    """Return a client of the broker that the settings name; ``options`` are its others, and come
    first. Raises what Client raises, and tls.CertificateError."""
    for key in ("client_id", "username", "password", "keepalive", "timeout"):
        if key in config and key not in options:
            options[key] = config[key]
    options.setdefault("timeout", 5)
    if config.get("tls"):
        from ..net.tls import context

        options["tls"] = context(**config["tls"])
    if config.get("transport") == "ws":
        from ..net.ws import WebSocket

        options["stream"] = WebSocket(config.get("path") or "/mqtt")
    return Client(config["host"], config.get("port") or 0, **options)


def make_wifi(config: dict, store=None, network=None):
    """Return what joins the network for a Node, or None if there is nothing to do: the Wi-Fi, which
    remembers in ``store``, or a ``network`` of yours (examples/wired.py); where certificates are to
    be verified, behind it the clock."""
    wifi = config.get("wifi")
    if wifi and not network:
        from ..net.wifi import Wifi

        network = Wifi(wifi["ssid"], wifi["password"], store)
    if "ca" in (config.get("tls") or {}):
        from ..net.clock import Clock

        host = config.get("ntp") or "pool.ntp.org"
        period = config.get("period", 300)
        network = Clock(network, host, store, period, port=config.get("ntp_port", 123))
    return network


def make_ota(config: dict):
    """Return what takes updates (``ota.Ota``), or None without the setting "update_key"."""
    if config.get("update_key"):
        from .ota import Ota

        # Certificates are not for an update to change.
        keep = [name for name in (config.get("tls") or {}).values() if isinstance(name, str)]
        return Ota(config["update_key"], config["topic"], keep)

"""The parts of a node as its settings say, which are a file that ``make provision`` writes.

Only the modules of what the settings name are loaded. docs/install.md has a table of the settings.
"""

import json
from time import sleep

from micropython import const

from ..client import Client

_ENOENT = const(2)


def load(name: str = "config.json") -> dict:
    """Return the settings in file ``name``. Raises nothing: of one that is damaged, or has no host
    or topic, what can be used is used, and "trouble" tells what is wrong (see ``mend``)."""
    data = b""
    for ms in (20, 100, 400, 0):  # what is wrong with a medium may pass
        try:
            with open(name, "rb") as f:
                data = f.read()
            break
        except Exception as e:
            if getattr(e, "errno", _ENOENT) == _ENOENT:  # or MemoryError
                break
            sleep(ms / 1000)
    try:
        config = json.loads(data)
        if config["host"] and config["topic"]:
            return config
    except Exception:  # any bytes at all
        pass
    from .mend import mend

    return mend(name, data)


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

    return Journal("dormouse.journal", reserve=8192)


def make_client(config: dict, **options) -> Client:
    """Return a client of the broker that the settings name; ``options`` are its others, and come
    first. Raises what Client raises, and tls.CertificateError."""
    for key in ("client_id", "username", "password", "keepalive", "timeout"):
        if key in config and key not in options:
            options[key] = config[key]
    options.setdefault("timeout", 5)
    if config.get("tls") not in (None, False):  # {} is no TLS by a mistake: told by ``context``
        from ..net.tls import context

        options["tls"] = context(**config["tls"])
    transport = config.get("transport")
    if transport == "ws":
        from ..net.ws import WebSocket

        options["stream"] = WebSocket(config.get("path") or "/mqtt")
    elif transport and transport != "tcp":
        raise ValueError("transport: tcp or ws", transport)
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


def make_ota(config: dict, kind=None):
    """Return what takes updates (``ota.Ota``, or another ``kind``: ``LargeOta``), or None without
    the setting "update_key", and with one that would protect nothing, which is said in the setting
    "trouble"."""
    key = config.get("update_key")
    if not key:
        return None
    if not kind:
        from .ota import Ota as kind

    # Certificates are not for an update to change.
    keep = [name for name in (config.get("tls") or {}).values() if isinstance(name, str)]
    where = config.get("update_topic")
    app = config.get("app") or "main"
    try:
        return kind(key, config["topic"], where, keep, app, config.get("node_key"))
    except ValueError as e:
        print(e.args[0])
        other = config.get("trouble")
        config["trouble"] = "%s, %s" % (e.args[0], other) if other else e.args[0]

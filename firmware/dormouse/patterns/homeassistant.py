"""Home Assistant finds the node by itself: MQTT discovery, for a node that sleeps too.

    home = HomeAssistant(node, "greenhouse/7", "greenhouse-7", "Greenhouse")
    home.add("sensor", "temp", device_class="temperature", unit_of_measurement="°C")
    home.add("switch", "fan")
    home.announce()                                 # retained; only if it has changed
    home.publish("temp", 21.5)
    async for message in node.wake():               # node.subscribe = (home.filter,)
        name, value = home.command(message)
        if name == "fan":
            home.publish("fan", value)              # what it is now; Home Assistant waits for it
    home.confirm()
    node.sleep()

Options have the names that Home Assistant's documentation has, long or short:
https://www.home-assistant.io/integrations/mqtt/#mqtt-discovery. Home Assistant 2024.11 and later.
"""

import json
from hashlib import sha256
from time import gmtime, time

from ..packet import MQTTError
from .age import now, warn
from .steady import at_each

_COMMANDS = (  # (one str: a list of them takes 544 B more of heap)
    " switch number button update select text light lock fan siren cover valve "
    "alarm_control_panel date time datetime notify scene "
)
_STATELESS = ("button", "notify", "scene")
_OTHERWISE = ("light", "fan", "siren")  # what reads the state is called otherwise there
_EXPIRE = ("sensor", "binary_sensor")
_LOST = "{{ 'offline' if value_json.lost is defined else 'online' }}"


def expire(node, failures: int = 1) -> int:
    """Return after how many s without a value a node that sleeps is not to be believed any more.

    Longer than a healthy node can be silent after so many wakes in a row that did not reach the
    broker: each lets up to 1, 3, 7 ... wakes pass, ``backoff`` at most, without a try (see
    ``Node.wake``). Three periods and a bit after one failure, seven after two.
    """
    wakes = 1
    for n in range(1, failures + 1):
        wakes += min(1 << min(n, 7), node.backoff + 1)
    return int(node.away * wakes) + 1


class HomeAssistant:
    """A device in Home Assistant.

    ``who``: a Node, or a Client that stays connected. ``topic``: values go to TOPIC/NAME, commands
    come from TOPIC/NAME/set. ``id``: of the device, one for ever; letters, digits, "_" and "-".
    ``name``: how it is called. ``expire``: s, after which a sensor without a new value becomes
    unavailable; None: what ``expire(node)`` says, for a Client never. ``status``: where it says
    that it is there; None: the Node's ``status``; for a Client the topic of ``presence.online``.
    ``key``: its place in the Node's store. ``device``: model, manufacturer, sw_version,
    suggested_area ...

    ``filter``: topic filter and QoS of the commands. At QoS 2 they wait in the session, and are
    obeyed once. Raises ValueError for an ``id`` that Home Assistant would not take.
    """

    def __init__(
        self,
        who,
        topic: str,
        id: str,
        name: str | None = None,
        expire: int | None = None,
        status: str | None = None,
        prefix: str = "homeassistant",
        key: int = 0x104,
        log=print,
        **device,
    ) -> None:
        _word(id)
        self.session = who.session
        self._publish = getattr(who, "publish_nowait", None) or who.publish
        self.topic = topic
        self.filter = topic + "/+/set", 2
        self.where = "%s/device/%s/config" % (prefix, id)
        self.store = getattr(who, "store", None)
        self.key = key
        self.log = log
        self._kept = self.store.data.get(key) if self.store else None
        self._sent = None
        device["ids"] = id
        device["name"] = name or id
        self.id = id
        self.parts = {}
        self.config = {"dev": device, "o": {"name": "dormouse"}, "cmps": self.parts}
        if hasattr(who, "away"):
            if expire is None:
                expire = globals()["expire"](who)
            if not status and who.status:
                status = who.status
                self.config["avty_tpl"] = _LOST
        self.expire = expire
        if status:
            self.config["avty_t"] = status

    def add(self, platform: str, name: str, **options) -> None:
        """Add an entity: "sensor", "binary_sensor", "switch", "number", "button", "update" or
        another one of Home Assistant's MQTT platforms that need no more than a state and a command
        topic. ``name``: one topic level, and its object id. Raises ValueError for a bad one.

        ``options`` go as they are: what Home Assistant does not know it leaves out, and says
        nothing. (It learns some with each version, so what is misspelt cannot be told here.)
        """
        _word(name)
        part = {"p": platform, "~": self.topic + "/" + name}
        # Long names, for an option has precedence, long or short: to Home Assistant a short one
        # counts where both are given.
        part["unique_id"] = "%s_%s" % (self.id, name)
        part["name"] = name.replace("_", " ")
        if platform not in _STATELESS:
            part["state_topic"] = part["json_attributes_topic"] = "~"
            key = "state_value_template" if platform in _OTHERWISE else "value_template"
            part[key] = "{{ value_json.value }}"
            if platform == "update":
                part[key] = "{{ value_json.value | tojson }}"
        if " %s " % platform in _COMMANDS:
            part["command_topic"] = "~/set"
            part["qos"] = 2
        if platform == "update":
            part["payload_install"] = "INSTALL"
        if self.expire and platform in _EXPIRE:
            part["expire_after"] = self.expire
        part.update(options)
        self.parts[name] = part

    def remove(self, platform: str, name: str) -> None:
        """Let Home Assistant forget an entity that an earlier version of this program had."""
        self.parts[name] = {"p": platform}

    def announce(self) -> bool:
        """Publish what there is, retained, if it is not what was announced last. Returns whether it
        goes. Raises OutboxFull."""
        text = json.dumps(self.config)
        self._new = sha256(text.encode()).digest()[:6]
        if self._new == self._kept:
            return False
        # At QoS 0: it needs no room in the store, and goes again until ``confirm``.
        self._sent = self._publish(self.where, text, 0, True)
        return True

    def confirm(self, error=None) -> bool:
        """After a wake, with ``node.error``: note that the broker has what was announced. Returns
        whether it has.

        A wake ends well when the broker has answered to what went behind it. A broker that had
        forgotten the session may have lost what it retained: then it goes again.
        """
        sent = self._sent
        self._sent = None
        kept = self._kept
        if sent and sent.done and not sent.error and not error:
            kept = self._new
        elif not getattr(self.session, "resumed", 1) and not error:
            kept = None
        if kept != self._kept:
            try:
                if self.store:
                    self.store.save({self.key: kept})
            except (OSError, MQTTError):
                pass  # no room, say: after a reset it is announced again
            self._kept = kept
        return kept is not None

    async def keep(self, client) -> None:
        """For a Client that stays connected: announce at each connection at which it is not known
        whether the broker has it still, as ``steady.at_each`` does."""
        first = True

        async def say():
            nonlocal first
            if first or not client.session.resumed:
                first = True  # until the broker has it, at whichever connection
                await client.publish(self.where, json.dumps(self.config), 1, True)
                first = False

        await at_each(client, say)

    def publish(self, name: str, value, qos: int = 1, retain: bool = True):
        """Publish the value of an entity, with the time; return its Message. True and False are ON
        and OFF; None, and a float that is no number, are unknown there; of an "update" it is a
        dict: installed_version, latest_version ...

        The time is that of this call, if the clock is set: a value that waits for the end of an
        outage keeps it, as the entity's attribute ``measured``. (Home Assistant has no way to put a
        value into its history afterwards.) Raises what ``publish`` raises.
        """
        if value is True or value is False:
            value = "ON" if value else "OFF"
        elif isinstance(value, float) and value - value:  # 0 but for these, which JSON has not
            value = None
        said = {"value": value}
        if now():
            said["measured"] = "%04d-%02d-%02dT%02d:%02d:%02dZ" % tuple(gmtime(time())[:6])
        return self._publish("%s/%s" % (self.topic, name), json.dumps(said), qos, retain)

    def command(self, message) -> tuple:
        """Return the entity's name and what it shall be: True or False for ON and OFF, a number for
        a "number", else a str. (None, None) for what is no command, or makes no sense, which is
        logged."""
        levels = message.topic[len(self.topic) + 1 :].split("/")
        if message.topic[: len(self.topic) + 1] != self.topic + "/" or levels[1:] != ["set"]:
            return None, None
        warn(message, self.log)
        name = levels[0]
        part = self.parts.get(name) or {}
        try:
            value = str(message.payload, "utf-8")
            if "command_topic" not in part and "cmd_t" not in part:
                raise ValueError("no such command")
            if part["p"] == "number":
                value = float(value)
                low = float(part.get("min", 1))  # Home Assistant's own limits; it takes "1", too
                if not low <= value <= float(part.get("max", 100)):
                    raise ValueError("out of its range")
            elif value not in _values(part, value):
                raise ValueError("no such value")
            elif value in ("ON", "OFF"):
                value = value == "ON"
            return name, value
        except (TypeError, ValueError) as e:
            self.log("not obeyed:", message.topic, e)
            return None, None


def _values(part, value):
    # What some of them may be asked for: Home Assistant asks for no other, but others may.
    for name in ("command_template", "cmd_tpl", "schema"):  # a light's, with JSON for commands
        if name in part:
            return (value,)
    get = part.get
    if part["p"] in ("switch", "light", "fan"):
        values = get("pl_on", get("payload_on", "ON")), get("pl_off", get("payload_off", "OFF"))
    else:
        values = (part["p"] == "select" and get("ops", get("options"))) or (value,)
    return [str(v) for v in values]  # (as there: payload_on=1 is "1")


def _word(text):
    for c in text:
        if not (c == "-" or c == "_" or "0" <= c <= "9" or "A" <= c <= "Z" or "a" <= c <= "z"):
            raise ValueError("letters, digits, - and _ only", text)
    if not text:
        raise ValueError("empty")

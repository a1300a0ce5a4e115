"""Patterns that every project needs: each a module of its own, loaded by who imports it.

age             commands that waited too long; retained ones
homeassistant   discovery, values, commands
keep            Wi-Fi and broker kept, for a client that stays connected; metrics
once            what comes twice is done once
presence        online, offline, asleep, late
rpc             request and response on MQTT 3.1.1
sequence        numbers: a gap told from a repeat
shadow          a device shadow, as AWS IoT has it
state           the last known state, retained; and asking for it
steady          what keeps a program going, whatever one message or one refusal says
"""

from .. import __getattr__ as _find


def __getattr__(name):
    return _find(name, "dormouse.patterns", "")  # modules only

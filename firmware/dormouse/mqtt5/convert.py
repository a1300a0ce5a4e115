"""Messages that wait in a store, when a node changes to another version of MQTT."""

from ..expiry import varint
from ..packet import frame


def convert(packet, five: bool, expiring: bool) -> bytearray:
    """Return a stored PUBLISH as the other version has it: with no properties for MQTT 5.0, without
    its properties for 3.1.1. What ``expiry`` stored behind it stays for a session that expires."""
    n, start = varint(packet, 1)
    end = start + n
    at = start
    at += 2 + (packet[at] << 8 | packet[at + 1])
    if packet[0] & 6:
        at += 2
    head = packet[start:at]
    if five:
        head += b"\0"
    else:
        n, at = varint(packet, at)
        at += n
    return frame(packet[0], head, packet[at:end]) + (packet[end:] if expiring else b"")

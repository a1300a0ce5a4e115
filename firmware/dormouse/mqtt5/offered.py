"""What a server takes no SUBSCRIBE for, as CONNACK said. Loaded where it leaves something out."""


def refused(server: dict, pairs) -> int:
    """Return the reason code for which a server, by its properties, does not take one of the pairs
    of topic filter and options, or 0 (sections 3.2.2.3.11 to 3.2.2.3.13)."""
    for name, options in pairs:
        if options >> 8 and not server.get("subscription_id_available", 1):
            return 0xA1
        if ("#" in name or "+" in name) and not server.get("wildcard_available", 1):
            return 0xA2
        if name.startswith("$share/") and not server.get("shared_available", 1):
            return 0x9E
    return 0

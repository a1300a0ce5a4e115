"""What few servers say: that another one is to be used (section 4.11), or what SUBSCRIBE they do
not take. Loaded when one says so.
"""


def move(s, reference: str) -> bool:
    """Return whether a ``Session5`` connects at once to where the server says, and see to it. One
    packet of somebody on the way must not lead to where the password is read, or to where there is
    nothing for ever."""
    if s.redirects >= 3:  # from one to the next, and on
        return False
    owner = s.owner
    home = s.home or owner.address  # host, port, TLS; the host's name if that is an address
    host, port = server(reference)
    if not host or port > 65535:
        return False
    if host != home[3 if len(home) > 3 else 0] and not (
        home[2]
        and (s.login == (None, None) and not s.auth if s.redirect is True else host in s.redirect)
    ):
        return False
    s.home = home
    s.moving = True
    s.redirects += 1
    owner.address = host, port or home[1], home[2]
    return True


def server(reference: str) -> tuple:
    """Return the first of a list of servers: a name or address, and a port or 0. A host "" is
    none."""
    host = reference.split(" ")[0]
    if host[:1] == "[":
        host, _, rest = host[1:].partition("]")
    else:
        host, colon, rest = host.partition(":")
        rest = colon + rest
    for c in host.encode():  # (of a str each would be a name, as MicroPython keeps them)
        if not (47 < c < 59 or 64 < c < 91 or 96 < c < 123 or c in b".-_"):
            host = ""
    port = rest[1:]
    if rest and (rest[:1] != ":" or not port.isdigit() or port[:1] == "0"):
        host = ""
    return host, int(port[:6]) if host and port else 0


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

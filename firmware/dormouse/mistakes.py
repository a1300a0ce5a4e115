"""Words for what is often given wrongly to a client. Loaded when something is."""

# What other libraries call it, what it is here.
_HERE = (
    "clientid client_id user username server host broker host ssl tls ssl_params tls "
    "clean_session clean clean_start clean keep_alive keepalive lwt will"
)
_FIVE = "session_expiry properties will_properties auth redirect"


def explain(error: Exception, host, options: dict) -> Exception:
    """Return an error that says what is wrong, or the one that was raised, if it is none of these.

    options: the client's arguments by name.
    """
    will = options.get("will")
    store = options.get("store")
    keepalive = options.get("keepalive", 60)
    if not isinstance(host, str):
        return TypeError("host: a name or an address", host)
    if "/" in host or host.count(":") == 1:
        return ValueError("host: without mqtt:// and port, which are tls= and port=", host)
    if store is not None and not hasattr(store, "data"):
        return TypeError("store: an object, such as store.Journal(name)")
    if will and not (isinstance(will, tuple) and isinstance(will[0], int)):
        return TypeError("will: Will(topic, payload)")
    if not isinstance(keepalive, int):
        return TypeError("keepalive: whole seconds")
    if not 0 <= keepalive < 65536:
        return ValueError("keepalive: 0 to 65535 s", keepalive)
    said = str(error.args[0]) if error.args else ""
    if "wrap_socket" in said:
        return TypeError("tls: an SSLContext")
    if "integer" in said or "int()" in said or "to int" in said:
        return ValueError("port: a number")
    if said == "limits":
        return _limit(*error.args[1:])
    if said == "username":
        return ValueError("a password needs a username")
    if "unexpected keyword" in said:
        name = said.split("'")[-2]
        here = _HERE.split()
        if name in here[::2]:
            return TypeError("no option %s: it is %s" % (name, here[here.index(name) + 1]))
        if name in _FIVE.split():
            return TypeError("no option %s: it is of version=5" % name)
    elif isinstance(error, TypeError):
        # Text is added, bytes are looked at, and only numbers are compared and multiplied.
        if "__add__" in said or "concatenate" in said:
            return TypeError("client_id, username: str", said)
        if "buffer" in said or "bytes-like" in said:
            return TypeError("password: str or bytes", said)
        if "support" in said or "multiply" in said:
            return TypeError("timeout, window, outbox, inbox_bytes, max_packet: numbers", said)
    return error


def _limit(window, outbox, timeout, inbox_bytes, max_packet, oversize):
    if min(window, outbox, timeout) < 1:  # (of ms; it was given in s)
        return ValueError("window, outbox, timeout: more than 0", window, outbox, timeout / 1000)
    if oversize not in ("skip", "keep"):
        return ValueError("oversize: skip or keep", oversize)
    return ValueError("inbox_bytes: 64 more than max_packet", inbox_bytes, max_packet)

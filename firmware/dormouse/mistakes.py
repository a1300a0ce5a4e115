"""Words for what is often given wrongly to a client. Loaded when something is."""


def explain(error: Exception, host, options: dict) -> Exception:
    """Return an error that says what is wrong, or the one that was raised, if it is none of these.

    options: the client's arguments by name.
    """
    will = options.get("will")
    if not isinstance(host, str):
        return TypeError("host: a name or an address", host)
    if "/" in host or host.count(":") == 1:
        return ValueError("host: without mqtt:// and port, which are tls= and port=", host)
    if isinstance(options.get("store"), str):
        return TypeError("store: an object, such as store.Journal(name)")
    if will and not (isinstance(will, tuple) and isinstance(will[0], int)):
        return TypeError("will: Will(topic, payload)")
    if not isinstance(options.get("keepalive", 60), int):
        return TypeError("keepalive: whole seconds")
    return error

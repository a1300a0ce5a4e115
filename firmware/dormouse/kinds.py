"""Which kind of session a client gets, by what it is asked for."""

from .session import Session


def choose(owner, version=4, store=None, expiring=False, large=False, **options):
    """Return a kind of session and the options that are left for it. Raises ValueError."""
    kind = Session
    if version == 5:
        from .mqtt5.session import Session5 as kind

        options["owner"] = owner
    elif version != 4:
        raise ValueError("version", version)
    elif expiring:
        from .expiry import expiring as make

        kind = make()
    if store is not None:
        from .store.durable import durable

        kind = durable(kind)
        options["store"] = store
    if large:
        if large not in (True, "out", "in"):
            raise ValueError("large", large)
        if large != "in":
            from .large.sending import sending

            kind = sending(kind)
        if large != "out":
            from .large.taking import taking

            kind = taking(kind)
            kind.owner = owner
    return kind, options

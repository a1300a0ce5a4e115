"""Light sleep between the pings of a client that stays connected."""


def sleep_budget(session, now: int, planned: int) -> int:
    """Return how many ms a connected client's chip may sleep lightly, ``planned`` ms at most.

    ``session``: ``client.session``; ``now``: ms, ``time.ticks_ms()``; ``planned``: ms until the
    next wake that is planned anyway. A PINGREQ that would be due before that wake is sent now, so
    that no wake is only for it, but for a plan longer than the keep-alive allows. Let asyncio run
    until ``session.asked`` is None, its answer being there, before the chip sleeps. Raises
    ConnectionLost if the broker is silent.
    """
    left = session.tick(now)
    # (Not for a plan that no ping reaches anyway: RP2's light sleep ends often, and asks again.)
    late = session.keepalive if planned < session.keepalive else session.keepalive >> 1
    if session.asked is None and left < min(planned, late):
        session.ping(now)
    if session.asked is not None:
        left = session.keepalive  # from the answer on, which does not come into the sleep
    return min(left, planned)

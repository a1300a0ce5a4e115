"""How old a message is: a command that has waited too long is refused.

    age = Age(60)
    async for message in client.messages:
        command = fields(message.payload)       # of module steady: {"t": 1795253429, "open": 1}
        why = age.refused(message, command.get("t"))
        if not why:
            obey(command)

Who sends says when, in s since 1970: MQTT 3.1.1 has no field for it. (MQTT 5 has: a message that
was published with ``message_expiry`` does not come after it.)
"""

from time import gmtime, time

from micropython import const

_EPOCH = const(946684800)  # s from 1970 to 2000, where the time of most ports begins
_SET = const(1700000000)  # a clock that says less was never set


def now() -> int:
    """Return the clock's time, s since 1970 on every port; 0 if the clock was never set."""
    s = int(time())
    if gmtime(0)[0] == 2000:
        s += _EPOCH
    return s if s > _SET else 0


def warn(message, log) -> bool:
    """Tell whether an event or command is a retained one, and ``log`` it.

    A retained message comes again at each subscription: a door would open at each restart. Who
    publishes it has to leave out ``retain``.
    """
    if message.retain:
        log("retained, though it is no state:", message.topic)
    return message.retain


class Age:
    """Refuses what is older than ``limit`` s.

    ``ahead``: by how many s the sender's clock may be ahead of this one. ``unknown``: whether to
    take what is of unknown age, because this clock was never set or no time is in the message.
    ``log``: called with words about what was refused, and about retained messages.

    ``count``: how many were refused.
    """

    count = 0

    def __init__(self, limit: float, ahead: float = 60, unknown: bool = False, log=print) -> None:
        self.limit = limit
        self.ahead = ahead
        self.unknown = unknown
        self.log = log

    def refused(self, message, sent) -> str | None:
        """Return why a message that was sent at ``sent`` (s since 1970, or None) is not to be
        obeyed: "old", "ahead", "no clock", "no time"; None if it may be."""
        warn(message, self.log)
        clock = now()
        if not isinstance(sent, (int, float)):
            why = None if self.unknown else "no time"
        elif not clock:
            why = None if self.unknown else "no clock"
        elif not sent <= clock + self.ahead:  # nor is "not a number"
            why = "ahead"
        elif sent < clock - self.limit:
            why = "old"
        else:
            why = None
        if why:
            self.count += 1
            self.log("refused,", why + ":", message.topic)
        return why

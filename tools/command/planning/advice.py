"""Which QoS, session and keep-alive, and what is known to go wrong: each with the reason."""

from __future__ import annotations

from dataclasses import dataclass

LONGEST = 65535  # s, a keep-alive (section 3.1.2.10); 0 turns it off
KINDS = ("reading", "event", "command", "count")


@dataclass(frozen=True)
class Habits:
    """What a plan says beside sizes. Times in s; None: not said.

    kind: reading (the next one replaces it), event (happens once, must arrive), command (what is
    done must not be done twice), count (what is added up must not be added twice). client_id:
    fixed or random. keepalive: of a connected node; broker_keepalive: the longest that the broker
    takes; nat: for how long the network remembers a silent connection.
    """

    kind: str = "reading"
    qos: int | None = None
    subscriber_qos: int | None = None
    persistent: bool = True
    client_id: str = "fixed"
    listens: bool = False
    command_qos: int = 1
    session_expiry: float | None = None
    message_expiry: float | None = None
    version: int = 4
    jitter: bool = True
    retain: bool = False
    keepalive: float | None = None
    broker_keepalive: float | None = None
    nat: float | None = None
    nodes: int = 1
    period: float = 300
    asleep: bool = True


@dataclass(frozen=True)
class Choice:
    """What is recommended, and why."""

    what: str
    why: str


def qos(h: Habits) -> tuple[int, str]:
    """Return the recommended QoS and the reason."""
    if h.kind in ("command", "count"):
        return 2, (
            "twice would be wrong; if the receiver can tell a repeat (by an absolute value, by a "
            "number in the payload), QoS 1 does and costs less"
        )
    if h.kind == "event":
        return 1, "it happens once and has to arrive; twice is told by its time or number"
    if not h.persistent:
        return 1, (
            "a reading that was cut off is sent again, and a repeated one does no harm; in a clean "
            "session it waits for the broker once more than QoS 0 does, which a kept one saves"
        )
    return 1, (
        "it waits for the broker as often as QoS 0 does, so a wake is no longer, and a reading "
        "that was cut off is sent again; a repeated reading does no harm"
    )


def session(h: Habits) -> Choice:
    """Return whether to keep the session."""
    if h.listens:
        return Choice(
            "kept (clean=False)", "commands wait for a node that sleeps only in a session"
        )
    chosen = h.qos if h.qos is not None else qos(h)[0]
    if chosen == 2:
        return Choice(
            "kept (clean=False)", "without it a cut in a QoS 2 handshake loses or doubles"
        )
    if h.asleep:
        return Choice(
            "kept (clean=False)",
            "a Node needs it to send again what was cut off; without subscriptions it costs the "
            "broker next to nothing",
        )
    return Choice("clean", "it listens to nothing, and sends again by itself what it still holds")


def keepalive(h: Habits) -> Choice:
    """Return the keep-alive for a node that stays connected."""
    if h.asleep:
        return Choice("60 s", "no connection outlives a wake: longer than the budget is enough")
    limits = [limit for limit in (h.nat and h.nat * 0.8, h.broker_keepalive) if limit]
    if not limits:
        return Choice(
            "60 s",
            "nothing is known of the network (--nat): a dead link is seen within 90 s, for 4 bytes "
            "of MQTT a minute",
        )
    seconds = max(int(min(*limits, LONGEST)), 1)
    why = f"a dead link is seen within {1.5 * seconds:.0f} s"
    if h.nat:
        why += (
            f"; the network forgets a silent connection after {h.nat:g} s, and a fifth is kept back"
        )
    return Choice(f"{seconds} s", why)


def _ids(h: Habits) -> str | None:
    if h.client_id == "random" and h.persistent:
        return (
            "random client ids with kept sessions: each start leaves the broker one more session, "
            "and its queue, that nobody comes back for"
        )
    return None


def _qos_mistakes(h: Habits) -> list[str]:
    found = []
    chosen = h.qos
    if chosen == 2 and h.kind in ("reading", "event"):
        found.append(
            f"QoS 2 for a {h.kind}: more packets and more wear of the flash than at QoS 1, for a "
            "repeat that does no harm"
        )
    if chosen is not None and h.subscriber_qos is not None and h.subscriber_qos < chosen:
        found.append(
            f"published at QoS {chosen}, subscribed at QoS {h.subscriber_qos}: it is delivered at "
            "the lower one, so what the node pays for is lost on the last hop"
        )
    return found


def _expiry(h: Habits) -> list[str]:
    found = []
    if h.persistent and h.session_expiry is None:
        found.append(
            "no expiry on kept sessions: nodes that are taken down leave theirs for ever "
            "(session_expiry on MQTT 5; on 3.1.1 the broker's setting)"
        )
    if h.session_expiry is not None and h.session_expiry <= h.period * 1.25:
        found.append(
            f"a session that expires after {h.session_expiry:g} s is gone before the next wake: "
            "what waited in it is lost"
        )
    lasts = h.message_expiry if h.version == 5 else None
    if h.listens and lasts is None:
        found.append(
            "commands without a message expiry: a node that was away obeys old ones "
            "(message_expiry on MQTT 5; on 3.1.1 a time in the command: dormouse.patterns.age)"
        )
    elif lasts is not None and h.listens and h.asleep and lasts <= h.period * 1.25:
        found.append(f"a command that expires after {lasts:g} s is gone before the next wake")
    return found


def _manners(h: Habits) -> list[str]:
    found = []
    if h.listens and h.asleep and not h.command_qos:
        found.append(
            "commands at QoS 0 wait for nobody: a node that sleeps gets those of the moment that "
            "it is awake, and no other"
        )
    if not h.asleep:
        found.append(
            "wakes, charge and battery above are of a node that sleeps: one that stays connected "
            "draws its radio's current all the time, and a battery lasts days"
        )
    if not h.jitter and h.nodes > 1:
        found.append(
            f"no jitter: {h.nodes:,} nodes that got their power together connect together "
            "(dormouse's Node wakes at a point of its own, by its client id)"
        )
    if h.retain and h.kind in ("event", "command", "count"):
        found.append(
            f"a retained {h.kind}: whoever subscribes later gets it as if it happened now "
            "(retain is for states)"
        )
    if h.keepalive and h.broker_keepalive and h.keepalive > h.broker_keepalive:
        found.append(
            f"keep-alive of {h.keepalive:g} s, and the broker takes {h.broker_keepalive:g} s: "
            "3.1.1 clients are refused (mosquitto: code 2), those of 5 are told another"
        )
    if h.keepalive and h.nat and h.keepalive > h.nat:
        found.append(
            f"keep-alive of {h.keepalive:g} s behind a network that forgets after {h.nat:g} s: "
            "messages to the node vanish until the next ping"
        )
    return found


def warnings(h: Habits) -> list[str]:
    """Return the known mistakes that a plan makes."""
    mistake = _ids(h)
    return [*([mistake] if mistake else []), *_qos_mistakes(h), *_expiry(h), *_manners(h)]

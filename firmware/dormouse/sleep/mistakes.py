"""Words for a plan that cannot work. Loaded when there is such a one."""


def text(why: int) -> str:
    """Return what is wrong with a Node's arguments."""
    return (
        "",
        "the client needs a store that survives deep sleep",
        "the budget is longer than the period",
        "the broker's session expires before the next wake",
        "the will is published before the next wake: make will_delay longer",
        "the will is published when the session expires: make session_expiry longer",
        "longer than this chip can sleep: RP2 4294 s, ESP32 24 days",
        "the jitter is longer than the period",
        "subscribe: pairs of topic filter and QoS, as ((filter, 1),)",
    )[why]

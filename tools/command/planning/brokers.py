"""The settings of brokers that a plan asks for, by their real names.

mosquitto: mosquitto.conf(5) of 2.0. EMQX: 5.8, base.hocon. HiveMQ: 4, config.xml.
"""

from __future__ import annotations

from typing import NamedTuple


class Wanted(NamedTuple):
    """What a broker has to be set to. Times in s.

    queue: messages for one client; queue_bytes; session: how long a session is kept; message: how
    long a message is good for, None: for ever; keepalive: the longest that a client asks for;
    packet: the longest packet, bytes; qos0: whether messages at QoS 0 wait too.
    """

    queue: int
    queue_bytes: int
    session: int
    message: int | None
    keepalive: int
    packet: int
    qos0: bool


KNOWN = ("mosquitto", "emqx", "hivemq")
DEFAULT_QUEUE = 1000  # max_queued_messages, max_mqueue_len, max-queue-size: all the same


def _mosquitto(w: Wanted) -> list[str]:
    days = -(-w.session // 86400)
    lines = [
        "persistence true",
        f"max_queued_messages {w.queue}",
        f"max_queued_bytes {w.queue_bytes}",
        f"persistent_client_expiration {days}d",
        f"max_packet_size {w.packet}",
    ]
    if w.keepalive:
        lines.append(f"max_keepalive {w.keepalive}")
    if w.qos0:
        lines.append("queue_qos0_messages true")
    if w.message is not None:
        lines.append(f"# message expiry: only the publisher's, -D ... {w.message} (MQTT 5)")
    return lines


def _emqx(w: Wanted) -> list[str]:
    lines = [
        "mqtt {",
        f"  max_mqueue_len = {w.queue}",
        f"  mqueue_store_qos0 = {str(w.qos0).lower()}",
        f"  session_expiry_interval = {w.session}s",
        f"  max_packet_size = {max(1, -(-w.packet // 1024))}KB",
        "}",
    ]
    if w.message is not None:
        lines.append(f"# message expiry: the publisher's, {w.message} s (MQTT 5)")
    return lines


def _hivemq(w: Wanted) -> list[str]:
    lines = [
        "<mqtt>",
        "  <queued-messages>",
        f"    <max-queue-size>{w.queue}</max-queue-size>",
        "    <strategy>discard-oldest</strategy>",
        "  </queued-messages>",
        f"  <session-expiry><max-interval>{w.session}</max-interval></session-expiry>",
    ]
    if w.message is not None:
        lines.append(f"  <message-expiry><max-interval>{w.message}</max-interval></message-expiry>")
    if w.keepalive:
        keep = f"<max-keep-alive>{w.keepalive}</max-keep-alive>"
        lines.append(f"  <keep-alive>{keep}</keep-alive>")
    packet = f"<max-packet-size>{w.packet}</max-packet-size>"
    return [*lines, f"  <packets>{packet}</packets>", "</mqtt>"]


def settings(broker: str, wanted: Wanted) -> list[str]:
    """Return lines for the configuration of a broker of KNOWN."""
    return {"mosquitto": _mosquitto, "emqx": _emqx, "hivemq": _hivemq}[broker](wanted)

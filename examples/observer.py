"""Watch a node that sleeps, and tell one that is late from one that is dead. For a desktop.

    python examples/observer.py HOST PORT greenhouse/7/state

A sleeping node is not connected, so the broker cannot tell. But ``Node(status=...)`` leaves,
retained, for how long it sleeps, and the will tells of a death while it was awake. Needs paho-mqtt.
"""

import argparse
import json
import queue
import time

import paho.mqtt.client as paho
from paho.mqtt.reasoncodes import ReasonCode

FAR = 1e11  # s since 1970: the year 5138


class Watch:
    """What is known of one node. Times in s; ``missed``: wakes in a row until it is dead."""

    def __init__(self, missed: int = 3) -> None:
        self.missed = missed
        self.state = "unknown"
        self.period = 0.0
        self.due: float | None = None

    def heard(self, payload: bytes | bytearray, retained: bool, now: float) -> None:
        """Take in the node's status. What is none is passed over: anybody may write there."""
        try:
            status = json.loads(payload)
            if status.get("lost"):
                self.state, self.due = "lost: it went silent while it was awake", None
                return
            period, until = float(status["asleep"]), float(status["until"])
            if not (0 <= period < FAR and 0 <= until < FAR):  # 1e999, NaN
                raise ValueError("no time")
        except (ValueError, TypeError, KeyError, AttributeError, ArithmeticError, RecursionError):
            print("no status:", bytes(payload[:60]), flush=True)
            return
        self.period = period
        if not retained:
            self.due = now + self.period
        elif until:
            self.due = until
        else:
            # Left before this program came, by a node that does not know the time: no later than
            # a whole period from now.
            self.due = now + self.period
        self.look(now)

    def look(self, now: float) -> str:
        """Return the state as it is now."""
        if self.due is not None:
            over = now - self.due
            if over <= 0:
                self.state = "asleep"
            elif over <= self.period * (self.missed - 1):
                self.state = "late"
            else:
                self.state = "dead: %d wakes missed" % self.missed
        return self.state


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("topic", help="the node's status topic")
    parser.add_argument("--missed", type=int, default=3, help="wakes missed until it is dead (3)")
    args = parser.parse_args()
    if "+" in args.topic or "#" in args.topic:
        parser.error("one node's topic; `dormouse watch --nodes FILTER` has many")
    watch = Watch(args.missed)
    heard: queue.Queue[paho.MQTTMessage] = queue.Queue()
    client = paho.Client(paho.CallbackAPIVersion.VERSION2)
    refused: list[str] = []

    def connected(
        c: paho.Client, data: object, flags: object, code: ReasonCode, *_: object
    ) -> None:
        if code.is_failure:
            refused.append(str(code))
        else:
            c.subscribe(args.topic, 1)

    client.on_connect = connected
    client.on_message = lambda c, data, message: heard.put(message)
    try:
        client.connect(args.host, args.port)
    except (OSError, ValueError) as error:
        parser.exit(1, f"{args.host}, port {args.port}: {error}\n")
    client.loop_start()
    shown = ""
    try:
        while True:
            if refused:
                parser.exit(1, f"{args.host}, port {args.port}: {refused[0]}\n")
            try:
                message = heard.get(timeout=0.2)
                watch.heard(message.payload, message.retain, time.time())
            except queue.Empty:
                pass
            if watch.look(time.time()) != shown:
                shown = watch.state
                print(time.strftime("%H:%M:%S"), shown, flush=True)
    except KeyboardInterrupt:
        pass
    finally:
        client.disconnect()
        client.loop_stop()


if __name__ == "__main__":
    main()

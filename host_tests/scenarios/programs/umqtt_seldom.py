"""Programs for umqtt.simple that call it more seldom than an answer may take; PORT."""

import sys
import time

from dormouse.compat.umqtt import MQTTClient


def client(name):
    c = MQTTClient(name, "127.0.0.1", int(sys.argv[1]), keepalive=1, timeout=0.3)
    c.set_callback(print)
    c.connect()
    return c


pings = client("pings")
checks = client("checks")
publishes = client("publishes")
for _ in range(6):
    pings.ping()
    checks.check_msg()
    publishes.publish("seldom", "x")
    time.sleep(0.5)
print("end")

"""A program for umqtt.simple whose callback takes longer than an answer may; PORT."""

import sys
import time

from dormouse.compat.umqtt import MQTTClient


def sub_cb(topic, msg):
    print("begun")
    time.sleep(0.7)


c = MQTTClient("umqtt_slow", "127.0.0.1", int(sys.argv[1]), timeout=0.3)
c.set_callback(sub_cb)
c.connect()
try:
    while True:
        c.publish(b"answer", b"", qos=1)
        print("acknowledged")
except OSError as e:
    print("lost", repr(e))

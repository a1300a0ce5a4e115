"""A program for umqtt.robust: counts, whatever the connection does.

robust_count.py PORT COUNT
"""

import sys

from dormouse.compat.robust import MQTTClient


def sub_cb(topic, msg):
    print("got", str(msg, "utf-8"))


c = MQTTClient("robust", "127.0.0.1", int(sys.argv[1]))
c.DEBUG = True
c.DELAY = 0.02
c.set_callback(sub_cb)
if not c.connect(clean_session=False):
    c.subscribe(b"r/do", 1)
print("subscribed")
for n in range(int(sys.argv[2])):
    c.publish(b"r/n", str(n), qos=n % 3)
    c.check_msg()
print("published")
while True:
    c.wait_msg()

"""A program for umqtt.simple that sets its callback behind connect; PORT."""

import sys

from dormouse.compat.umqtt import MQTTClient

port = int(sys.argv[1])
for name in (b"umqtt_late", b"sender"):
    c = MQTTClient(name, "127.0.0.1", port)
    c.connect(name != b"umqtt_late")
    if name == b"sender":
        for n in range(100):
            c.publish(b"u/late", "%d" % n, qos=1 + n % 2)
    else:
        c.subscribe(b"u/late", 2)
    c.disconnect()

got = []
c = MQTTClient(b"umqtt_late", "127.0.0.1", port)
print("connected", c.connect(False))
c.publish(b"u/here", b"", qos=1)
c.check_msg()
c.set_callback(lambda topic, msg: got.append(int(msg)))
while len(got) < 100:
    c.wait_msg()
print("in order", got == list(range(100)))
c.disconnect()

c = MQTTClient(b"umqtt_late", "127.0.0.1", port)
c.connect()  # and has no callback at all
thief = MQTTClient(b"umqtt_late", "127.0.0.1", port)
thief.connect()
while True:
    try:
        c.check_msg()
    except OSError:
        print("the end is noticed")
        break

"""A program for umqtt.simple that answers each message from inside the callback, at QoS 1.

umqtt_answers.py PORT COUNT INBOX_BYTES [robust]
"""

import sys

if sys.argv[4:]:
    from dormouse.compat.robust import MQTTClient
else:
    from dormouse.compat.umqtt import MQTTClient

port, total, room = [int(arg) for arg in sys.argv[1:4]]
count = depth = deepest = 0


def sub_cb(topic, msg):
    global count, depth, deepest
    depth += 1
    deepest = max(deepest, depth)
    count += 1
    if msg == b"stop":
        c.disconnect()
    else:
        c.publish(b"answer", msg, qos=1)
    depth -= 1


c = MQTTClient("umqtt_answers", "127.0.0.1", port, max_packet=256, inbox_bytes=room)
c.DELAY = 0.05
c.set_callback(sub_cb)
c.connect(False)
c.subscribe(b"do")
while count < total:
    try:
        c.wait_msg()
    except OSError as e:
        print("lost", e)
        c.connect(False)
print("answered", count, deepest)
try:
    c.publish(b"more", b"", qos=1)
except OSError as e:
    print("raised", e)

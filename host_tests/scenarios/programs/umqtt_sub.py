"""A program for umqtt.simple that takes commands, waiting or in a loop with other work; answers
from inside the callback.

umqtt_sub.py PORT wait|check|poll
"""

import select
import sys
import time

from dormouse.compat.umqtt import MQTTClient, MQTTException

state = 0


def sub_cb(topic, msg):
    global state
    print("got", topic, msg)
    if msg == b"on":
        state = 1
    elif msg == b"off":
        state = 0
    elif msg == b"toggle":
        state = 1 - state
    elif msg == b"raise" and not sys.argv[3:]:
        sys.argv.append("raised")
        raise ValueError("once")
    c.publish(b"u/led", b"on" if state else b"off", qos=1)


port = int(sys.argv[1])
c = MQTTClient(b"umqtt_sub", "127.0.0.1", port, user=None, password=None, keepalive=1)
c.set_callback(sub_cb)
c.set_last_will(b"u/gone", b"yes", retain=False, qos=1)
try:
    print("connected", c.connect(clean_session=False))
except MQTTException as e:
    print("refused", e)
    sys.exit()
c.subscribe(b"u/do", qos=2)
print("subscribed")
poller = select.poll()
poller.register(c.sock, select.POLLIN)
while True:
    try:
        if sys.argv[2] == "wait":
            c.wait_msg()
        elif sys.argv[2] == "check":
            c.check_msg()
            time.sleep(0.02)
        elif poller.poll(500):
            c.check_msg()
        else:
            c.ping()
    except ValueError as e:
        print("callback", e)
    except OSError as e:
        print("lost", type(e).__name__)
        time.sleep(0.05)
        try:
            print("connected", c.connect(clean_session=False))
            poller = select.poll()
            poller.register(c.sock, select.POLLIN)
        except OSError:
            pass

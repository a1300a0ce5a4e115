"""A program for umqtt.simple that asks for one retained message, and goes on; PORT."""

import sys

from dormouse.compat.umqtt import MQTTClient

got = []
# All that umqtt.simple takes, in its order.
c = MQTTClient(b"umqtt_setting", "127.0.0.1", int(sys.argv[1]), "", "", 0, False, {})
c.set_callback(lambda topic, msg: got.append(msg))
c.connect()
for _ in range(3):
    c.subscribe(b"u/setting")
    c.wait_msg()  # not for ever: it comes right behind the answer to subscribe
    print("set", got.pop())
    c.unsubscribe(b"u/setting")
c.publish(b"u/setting", b"", qos=1)
c.check_msg()
print("end", got)
c.disconnect()

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
c.sock.settimeout(0.1)  # a read that ends with OSError is no lost connection
c.check_msg()
c.sock.close()  # as programs do before they connect again, once or more
for _ in range(2):
    try:
        c.publish(b"u/lost", b"")
    except OSError as e:
        c.sock.close()
        print("lost", e.args[0])
c.connect()
c.disconnect()
c.sock.close()
